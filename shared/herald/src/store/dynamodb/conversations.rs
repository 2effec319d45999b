//! The table of conversations, and the indexes it is looked up by.

use std::collections::HashSet;

use botframework::id::{ChannelAccountId, UserRef};
use jiff::Timestamp;

use super::attribute::{Item, Record, moment, number, text};
use super::grouped::GroupedReads;
use super::{Consistency, Error, Expression, MAX_CAS_ROUNDS, Put, Table, Transaction, new_write_token};
use crate::aws::Sdk;
use crate::conversation::{
    Conversation, ConversationKey, PersonId, PersonKey, PersonRecord, Preferences, StateKey, StateOwner,
    TurnClaim, TurnKey, TurnRecord, state_prefix,
};
use crate::roster_cache::{CachedRoster, RosterPage, RosterQuery, TeamKey};
use crate::store::{
    CasResult, ConversationFilter, ConversationSummary, ListPage, PersonUpdate, Rule, Update,
};

mod listing;
mod membership;
mod person;
mod preferences;
mod record;
mod roster;
mod state;
mod turn;

use listing::Position;
use record::{LEFT_WITH_TEAM, REMOVED, REMOVED_WITH_TEAM, UNREACHABLE, conversation, key, summary, tags};

/// The conversations in DynamoDB.
///
/// Threads have no `scope`, which the index by tenant is sorted by, so that a list of a tenant leaves them out: a thread's scope is
/// always a channel. All other index attributes are written if they are known. A conversation that may not be written to has a
/// `unreachable` beside its state, by which the index of those finds it.
///
/// Items that are no conversation have no `reference`, by which a scan filters, and no attribute of an index. Tag items change in
/// one transaction with the conversation's tags. States of the bot, and what people opted out of, never expire. Turns expire
/// within a day. A person who is linked to a conversation is stored as long as it is; other people and rosters expire: they have
/// `expires`, which no conversation has.
#[derive(Clone, Debug)]
pub struct Conversations {
    table: Table,
    reads: GroupedReads,
}

impl Conversations {
    /// The conversations in the table of this name.
    pub fn new(sdk: &Sdk, table: impl Into<String>) -> Self {
        let table = Table::new(sdk, table);
        Self {
            reads: GroupedReads::new(table.clone(), Consistency::Eventual, &["conversation", "place"]),
            table,
        }
    }
}

impl crate::store::Conversations for Conversations {
    async fn update_conversation(
        &self,
        key: &ConversationKey,
        rule: &mut Rule<'_, Conversation>,
    ) -> Result<Update<Conversation>, Error> {
        const VERB: &str = "update a conversation";
        let read = |item: Item| conversation(VERB, &item);
        let item = self.table.get(Consistency::Strong, VERB, self::key(key)).await?;
        let mut before = item.map(read).transpose()?;
        for _ in 0..MAX_CAS_ROUNDS {
            let Some(record) = rule(before.as_ref()) else {
                return Ok(Update { before, after: None });
            };
            // Boxed: most activities change nothing, and would carry the size of this future.
            match Box::pin(self.replace(VERB, before.as_ref(), &record)).await? {
                Put::Written(_) => {
                    let after = Some(record);
                    return Ok(Update { before, after });
                }
                Put::Refused(item) => before = item.map(read).transpose()?,
            }
        }
        Err(Error::contention(VERB))
    }

    async fn mark_removed(&self, key: &ConversationKey, now: Timestamp) -> Result<(), Error> {
        let names = [
            "state",
            UNREACHABLE,
            "changedAt",
            REMOVED_WITH_TEAM,
            LEFT_WITH_TEAM,
            "version",
        ];
        let update = Expression::new(
            "SET #state = :removed, #unreachable = :removed, #changedAt = :now REMOVE #removedWithTeam, #leftWithTeam ADD #version :one",
            names,
            [
                ("removed", text(REMOVED)),
                ("now", moment(now)),
                ("one", number(1)),
            ],
        );
        let condition = Expression::new(
            "attribute_exists(#conversation) AND (#state <> :removed OR attribute_exists(#removedWithTeam) OR attribute_exists(#leftWithTeam))",
            ["conversation"],
            [],
        );
        let verb = "mark a conversation removed";
        let update = self.table.update(verb, self::key(key), update, Some(condition));
        update.await.map(drop)
    }

    async fn erase(&self, key: &ConversationKey) -> Result<bool, Error> {
        const VERB: &str = "erase a conversation";
        let mut erased = false;
        let owner = StateOwner::Conversation(key.conversation.clone());
        self.remove_states(&owner.partition(), state_prefix(key)).await?;
        // People first: while the record is stored, a caller finds by it what is left to erase.
        for _ in 0..MAX_CAS_ROUNDS {
            let unlinked = self.remove_people(VERB, key).await?;
            let item = self.table.get(Consistency::Strong, VERB, self::key(key)).await?;
            let Some(item) = item else {
                // A person may have been linked while the record was deleted.
                if !unlinked {
                    return Ok(erased);
                }
                erased = true;
                continue;
            };
            // Not parsed: a corrupt record can be erased, too.
            let record = Record {
                verb: VERB,
                item: &item,
            };
            let unchanged = Expression::equal("version", number(record.number::<u64>("version")?));
            let mut writes = vec![self.table.tx_delete(VERB, self::key(key), Some(unchanged))?];
            for tag in tags(record)? {
                writes.push(self.remove_tag_link(VERB, &tag, key)?);
            }
            match self.table.transact(VERB, writes).await? {
                Transaction::Done => erased = true,
                Transaction::Refused(_) => {}
            }
        }
        Err(Error::contention(VERB))
    }

    async fn update_person(
        &self,
        person: &PersonKey,
        rule: &mut Rule<'_, PersonRecord>,
    ) -> Result<PersonUpdate, Error> {
        self.apply_to_person(person, rule, &new_write_token()).await
    }

    async fn claim_turn(&self, turn: &TurnKey, now: Timestamp, until: Timestamp) -> Result<TurnClaim, Error> {
        self.put_claim(turn, now, until).await
    }

    async fn finish_turn(&self, turn: &TurnKey, until: Timestamp) -> Result<(), Error> {
        self.put_turn("finish a turn", turn, TurnRecord::Done { until })
            .await
    }

    async fn release_turn(&self, turn: &TurnKey) -> Result<(), Error> {
        // Without a permission to delete: a lease that has expired is none.
        let until = Timestamp::UNIX_EPOCH;
        self.put_turn("release a turn", turn, TurnRecord::Running { until })
            .await
    }

    async fn get_many(&self, keys: &[ConversationKey]) -> Result<Vec<Conversation>, Error> {
        const VERB: &str = "read conversations";
        // A person who uninstalls the bot at this moment may still get a message, as by a request in flight.
        if let [key] = keys {
            let found = self.reads.get(VERB, self::key(key)).await?;
            return found.iter().map(|item| conversation(VERB, item)).collect();
        }
        let distinct: HashSet<&ConversationKey> = keys.iter().collect();
        let keys: Vec<Item> = distinct.into_iter().map(key).collect();
        let found = self.table.batch_get(Consistency::Eventual, VERB, &keys).await?;
        found.iter().map(|item| conversation(VERB, item)).collect()
    }

    async fn list(
        &self,
        filter: &ConversationFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ListPage<ConversationSummary>, Error> {
        const VERB: &str = "list conversations";
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let position = Position::of(filter);
        let start = cursor.map(|cursor| position.start(VERB, cursor)).transpose()?;
        let (mut items, last) = self.read(VERB, &position, start, limit).await?;
        if let ConversationFilter::Tag(name) = filter {
            items = self.with_tag(VERB, name, &items).await?;
        }
        let items = items.iter().map(|item| summary(VERB, item));
        Ok(ListPage {
            items: items.collect::<Result<_, _>>()?,
            cursor: last.map(|last| position.cursor(VERB, &last)).transpose()?,
        })
    }

    async fn cached_roster(
        &self,
        team: &TeamKey,
        query: &RosterQuery,
        now: Timestamp,
    ) -> Result<CachedRoster, Error> {
        self.read_roster(team, query, now).await
    }

    async fn cache_roster(
        &self,
        team: &TeamKey,
        generation: u64,
        query: &RosterQuery,
        page: &RosterPage,
        until: Timestamp,
    ) -> Result<(), Error> {
        let item = roster::write(team, generation, query, page, until)?;
        self.table.overwrite(roster::CACHE, item).await
    }

    async fn invalidate_roster(&self, team: &TeamKey) -> Result<(), Error> {
        self.next_generation(team).await
    }

    async fn bot_state(&self, key: &StateKey) -> Result<Option<(String, String)>, Error> {
        self.read_state(key).await
    }

    async fn put_bot_state(
        &self,
        key: &StateKey,
        json: Option<String>,
        expected: Option<&str>,
    ) -> Result<CasResult, Error> {
        match json {
            Some(json) => self.write_state(key, json, expected).await,
            None => self.remove_state(state::key(key), expected).await,
        }
    }

    async fn erase_user_state(&self, user: &ChannelAccountId) -> Result<(), Error> {
        let owner = StateOwner::User(user.clone());
        self.remove_states(&owner.partition(), String::new()).await
    }

    async fn update_preferences(
        &self,
        person: &PersonId,
        rule: &mut Rule<'_, Preferences>,
    ) -> Result<Update<Preferences>, Error> {
        self.apply_to_preferences(person, rule).await
    }

    async fn erase_preferences(&self, id: &UserRef) -> Result<(), Error> {
        self.remove_preferences(id).await
    }
}
