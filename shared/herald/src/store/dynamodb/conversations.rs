//! The table of conversations, and the indexes it is looked up by.

use std::collections::HashSet;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use jiff::Timestamp;

use super::attribute::{Item, Record, is_marked, moment, names, number, text};
use super::{
    AsOf, Condition, Error, Outrun, Put, ROUNDS, TRIES, Table, Transaction, fresh_mark, pause, unavailable,
};
use crate::aws::Sdk;
use crate::conversation::{
    self, Conversation, ConversationKey, Creation, CreationLease, Feedback, Import, Observation, PersonKey,
    TeamEvent,
};
use crate::roster_cache::{CachedRoster, RosterPage, RosterQuery, TeamKey};
use crate::store::{ConversationFilter, ConversationSummary, ListPage, Upsert};

mod listing;
mod membership;
mod person;
mod record;
mod roster;

use listing::Position;
use person::{Known, Led};
use record::{REMOVED, TROUBLE, WITH_TEAM, candidate, conversation, key, tags};

/// The conversations in DynamoDB.
///
/// A listing by tenant leaves out threads because they have no `scope`, which the index is sorted by: a thread's scope
/// is always a channel. All other attributes stand as they are, and each is there only if it is known. What may not be written to
/// has a `trouble` beside its state, so that it is found without the others.
///
/// What is no record has no `reference`, by which reading the table itself passes over it, and no attribute that an index is
/// by. A conversation's tags stand on its record; what leads to it from a tag changes with them in one transaction. A person
/// who leads to a conversation is kept as long as that is remembered, and one who does not goes after a while, as what the
/// channel told of a team does: they have `expires`, which no record ever has.
#[derive(Clone, Debug)]
pub struct Conversations(Table);

/// What a record becomes, if it becomes another.
type Rule<'a> = dyn Fn(Option<&Conversation>) -> Option<Conversation> + Send + Sync + 'a;

impl Conversations {
    /// The conversations in the table of this name.
    pub fn new(sdk: &Sdk, table: impl Into<String>) -> Self {
        Self(Table::new(sdk, table))
    }

    /// Makes a record what a rule says, writing nothing when that says so: the record that stood then, and the one that was
    /// put in its place. Compiled once for all rules; a function would have a copy for each of its own.
    async fn alter(
        &self,
        verb: &'static str,
        key: &ConversationKey,
        rule: &Rule<'_>,
    ) -> Result<(Option<Conversation>, Option<Conversation>), Error> {
        let item = self.0.get(verb, self::key(key)).await?;
        let mut standing = item.map(|item| conversation(verb, &item)).transpose()?;
        for _ in 0..ROUNDS {
            let Some(record) = rule(standing.as_ref()) else {
                return Ok((standing, None));
            };
            // On the heap: most activities change nothing, and would carry the room for it.
            match Box::pin(self.replace(verb, standing.as_ref(), &record)).await? {
                Put::Written => return Ok((standing, Some(record))),
                Put::Refused(item) => {
                    standing = item.map(|item| conversation(verb, &item)).transpose()?;
                }
            }
        }
        Err(unavailable(verb)(Outrun))
    }
}

impl crate::store::Conversations for Conversations {
    async fn remember(&self, observation: Observation, now: Timestamp) -> Result<Upsert, Error> {
        const VERB: &str = "remember a conversation";
        let key = observation.key.clone();
        let rule = |old: Option<&Conversation>| conversation::remember(old, observation.clone(), now);
        Ok(remembered(&self.alter(VERB, &key, &rule).await?))
    }

    async fn import(&self, import: Import, now: Timestamp) -> Result<Upsert, Error> {
        const VERB: &str = "import a conversation";
        let key = import.key.clone();
        let rule = |old: Option<&Conversation>| conversation::import(old, import.clone(), now);
        Ok(remembered(&self.alter(VERB, &key, &rule).await?))
    }

    async fn apply_team_change(
        &self,
        key: &ConversationKey,
        event: TeamEvent,
        now: Timestamp,
    ) -> Result<(), Error> {
        const VERB: &str = "have a conversation follow its team";
        let rule = |old: Option<&Conversation>| conversation::apply_team_change(old?, event, now);
        self.alter(VERB, key, &rule).await?;
        Ok(())
    }

    async fn mark_removed(&self, key: &ConversationKey, now: Timestamp) -> Result<(), Error> {
        const VERB: &str = "forget a conversation";
        let update = self
            .0
            .client
            .update_item()
            .table_name(&self.0.name)
            .set_key(Some(self::key(key)))
            .update_expression(
                "SET #state = :removed, #trouble = :removed, #changedAt = :now REMOVE #withTeam ADD #version :one",
            )
            .condition_expression(
                "attribute_exists(#conversation) AND (#state <> :removed OR attribute_exists(#withTeam))",
            )
            .set_expression_attribute_names(Some(names([
                "conversation",
                "state",
                TROUBLE,
                WITH_TEAM,
                "changedAt",
                "version",
            ])))
            .expression_attribute_values(":removed", text(REMOVED))
            .expression_attribute_values(":now", moment(now))
            .expression_attribute_values(":one", number(1));
        let mut tries = 0;
        loop {
            match update.clone().send().await.map_err(SdkError::into_service_error) {
                Ok(_) | Err(UpdateItemError::ConditionalCheckFailedException(_)) => return Ok(()),
                // It is being tagged or erased just now, and the SDK takes that for final.
                Err(UpdateItemError::TransactionConflictException(_)) if tries < TRIES => {
                    tries += 1;
                    pause(tries).await;
                }
                Err(error) => return Err(unavailable(VERB)(error)),
            }
        }
    }

    async fn apply_feedback(
        &self,
        key: &ConversationKey,
        version: u64,
        feedback: &Feedback,
        now: Timestamp,
    ) -> Result<(), Error> {
        const VERB: &str = "note what became of a conversation";
        let Some(item) = self.0.get(VERB, self::key(key)).await? else {
            return Ok(());
        };
        let standing = conversation(VERB, &item)?;
        if standing.version != version {
            return Ok(());
        }
        if let Some(record) = conversation::apply_feedback(&standing, feedback, now) {
            match self.replace(VERB, Some(&standing), &record).await? {
                // Somebody was faster, and knows better; or it was us, and the answer was lost.
                Put::Written | Put::Refused(_) => {}
            }
        }
        Ok(())
    }

    async fn tag(
        &self,
        key: &ConversationKey,
        add: &[String],
        remove: &[String],
        now: Timestamp,
    ) -> Result<Option<Vec<String>>, Error> {
        const VERB: &str = "tag a conversation";
        let rule = |old: Option<&Conversation>| conversation::tag(old?, add, remove, now);
        let (old, new) = self.alter(VERB, key, &rule).await?;
        Ok(new.or(old).map(|record| record.attributes.tags))
    }

    async fn erase(&self, key: &ConversationKey) -> Result<bool, Error> {
        const VERB: &str = "erase a conversation";
        let mut erased = false;
        // The people first: while there is a record, whoever is to be erased is found by it, though this ends half-way.
        for _ in 0..ROUNDS {
            let led_here = self.remove_people(VERB, key).await?;
            let Some(item) = self.0.get(VERB, self::key(key)).await? else {
                // Somebody may have been introduced while the record was being erased.
                if !led_here {
                    return Ok(erased);
                }
                erased = true;
                continue;
            };
            // What makes no sense any more can be erased, too.
            let record = Record {
                verb: VERB,
                item: &item,
            };
            let unchanged = Condition::equal("version", number(record.number::<u64>("version")?));
            let mut writes = vec![self.0.deleting(VERB, self::key(key), Some(unchanged))?];
            for tag in tags(record)? {
                writes.push(self.leaving(VERB, &tag, key)?);
            }
            match self.0.transact(VERB, writes).await? {
                Transaction::Done => erased = true,
                Transaction::Refused(_) => {}
            }
        }
        Err(unavailable(VERB)(Outrun))
    }

    async fn acquire_creation_lease(
        &self,
        person: &PersonKey,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<CreationLease, Error> {
        const VERB: &str = "introduce a person";
        let mark = fresh_mark();
        let mut standing = self.known(VERB, person).await?;
        for _ in 0..ROUNDS {
            let known = standing.as_ref().map(|standing| &standing.record);
            let (introduction, new) = conversation::acquire_creation_lease(known, now, until);
            let Some(new) = new else {
                return Ok(introduction);
            };
            match self
                .put_person(VERB, person, standing.as_ref(), &new, &mark)
                .await?
            {
                Put::Written => return Ok(introduction),
                // Our own, whose answer was lost.
                Put::Refused(Some(item)) if is_marked(VERB, &item, &mark)? => return Ok(introduction),
                Put::Refused(item) => {
                    standing = item.map(|item| Known::read(VERB, &item)).transpose()?;
                }
            }
        }
        Err(unavailable(VERB)(Outrun))
    }

    async fn finish_creation(&self, person: &PersonKey, made: &Creation, _: Timestamp) -> Result<(), Error> {
        const VERB: &str = "write down who was introduced";
        let mark = fresh_mark();
        let mut made = made;
        let mut standing = self.known(VERB, person).await?;
        for _ in 0..ROUNDS {
            let known = standing.as_ref().map(|standing| &standing.record);
            let Some(new) = conversation::finish_creation(known, made) else {
                return Ok(());
            };
            let Some(conversation) = &new.conversation else {
                match self
                    .put_person(VERB, person, standing.as_ref(), &new, &mark)
                    .await?
                {
                    Put::Written => return Ok(()),
                    // Our own, whose answer was lost.
                    Put::Refused(Some(item)) if is_marked(VERB, &item, &mark)? => return Ok(()),
                    Put::Refused(item) => {
                        standing = item.map(|item| Known::read(VERB, &item)).transpose()?;
                    }
                }
                continue;
            };
            match self
                .lead(VERB, person, standing.as_ref(), &new, conversation)
                .await?
            {
                Led::There => return Ok(()),
                Led::Nowhere => made = &Creation::Nothing,
                Led::Outrun(known) => standing = known,
            }
        }
        Err(unavailable(VERB)(Outrun))
    }

    async fn cached_roster(
        &self,
        team: &TeamKey,
        question: &RosterQuery,
        now: Timestamp,
    ) -> Result<CachedRoster, Error> {
        self.what_was_told("look up what was told of a team", team, question, now)
            .await
    }

    async fn cache_roster(
        &self,
        team: &TeamKey,
        generation: u64,
        question: &RosterQuery,
        answer: &RosterPage,
        until: Timestamp,
    ) -> Result<(), Error> {
        self.keep_told(
            "keep what was told of a team",
            team,
            generation,
            question,
            answer,
            until,
        )
        .await
    }

    async fn invalidate_roster(&self, team: &TeamKey) -> Result<(), Error> {
        self.next_epoch("begin a new epoch of a team", team).await
    }

    async fn get_many(&self, keys: &[ConversationKey]) -> Result<Vec<Conversation>, Error> {
        const VERB: &str = "recall conversations";
        let distinct: HashSet<&ConversationKey> = keys.iter().collect();
        let keys: Vec<Item> = distinct.into_iter().map(key).collect();
        // Whoever uninstalls the bot at this very moment may still be written to, as by a request that is under way.
        let found = self.0.batch_get(AsOf::Lately, VERB, &keys).await?;
        found.iter().map(|item| conversation(VERB, item)).collect()
    }

    async fn list(
        &self,
        selection: &ConversationFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ListPage<ConversationSummary>, Error> {
        const VERB: &str = "list conversations";
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let position = Position::of(selection);
        let start = cursor.map(|cursor| position.start(VERB, cursor)).transpose()?;
        let (items, last) = self.read(VERB, &position, start, limit).await?;
        let items = match selection {
            ConversationFilter::Tag(name) => self.carrying(VERB, name, &items).await?,
            ConversationFilter::Everyone { .. }
            | ConversationFilter::Tenant(_)
            | ConversationFilter::User(_)
            | ConversationFilter::Account(_)
            | ConversationFilter::Conversation(_)
            | ConversationFilter::Team(_)
            | ConversationFilter::Blocked
            | ConversationFilter::Removed => items,
        };
        let found = items.iter().map(|item| candidate(VERB, item));
        let found = found.collect::<Result<Vec<ConversationSummary>, _>>()?;
        let next = last.map(|last| position.cursor(VERB, &last)).transpose()?;
        Ok(ListPage {
            items: found,
            cursor: next,
        })
    }
}

/// What was done to a record that stood, if one did, and that another was put in the place of, if it was.
fn remembered(altered: &(Option<Conversation>, Option<Conversation>)) -> Upsert {
    match altered {
        (_, None) => Upsert::Unchanged,
        (Some(_), Some(_)) => Upsert::Changed,
        (None, Some(_)) => Upsert::Created,
    }
}
