//! The conversations in memory.

use std::collections::BTreeSet;

use botframework::id::{ChannelAccountId, UserRef};
use jiff::Timestamp;

use super::Store;
use crate::conversation::{
    Conversation, ConversationKey, PersonId, PersonKey, PersonRecord, Preferences, State, StateKey,
    StateOwner, TurnClaim, TurnKey, TurnRecord,
};
use crate::roster_cache::{CachedRoster, RosterPage, RosterQuery, TeamKey};
use crate::store::{
    CasResult, ConversationFilter, ConversationSummary, Conversations, Error, ListPage, PersonUpdate, Rule,
    Update, cursor,
};

impl Conversations for Store {
    async fn update_conversation(
        &self,
        key: &ConversationKey,
        rule: &mut Rule<'_, Conversation>,
    ) -> Result<Update<Conversation>, Error> {
        let mut tables = self.tables();
        let before = tables.conversations.get(key).cloned();
        let after = rule(before.as_ref());
        if let Some(record) = after.clone() {
            tables.conversations.insert(key.clone(), record);
        }
        Ok(Update { before, after })
    }

    async fn mark_removed(&self, key: &ConversationKey, now: Timestamp) -> Result<(), Error> {
        if let Some(record) = self.tables().conversations.get_mut(key)
            && (record.state != State::Removed || record.removed_with_team || record.left_with_team)
        {
            record.state = State::Removed;
            (record.removed_with_team, record.left_with_team) = (false, false);
            record.version += 1;
            record.changed_at = now;
        }
        Ok(())
    }

    async fn erase(&self, key: &ConversationKey) -> Result<bool, Error> {
        let mut tables = self.tables();
        let people = tables.people.len();
        tables.states.retain(|state, _| !state.is_of(key));
        let is_linked = |person: &PersonRecord| person.conversation.as_ref() == Some(key);
        tables.people.retain(|_, person| !is_linked(person));
        let unlinked = tables.people.len() < people;
        Ok(tables.conversations.remove(key).is_some() || unlinked)
    }

    async fn update_person(
        &self,
        person: &PersonKey,
        rule: &mut Rule<'_, PersonRecord>,
    ) -> Result<PersonUpdate, Error> {
        let mut tables = self.tables();
        let Some(new) = rule(tables.people.get(person)) else {
            return Ok(PersonUpdate::Stored);
        };
        let is_stored = |key| tables.conversations.contains_key(key);
        if !new.conversation.as_ref().is_none_or(is_stored) {
            return Ok(PersonUpdate::NoConversation);
        }
        tables.people.insert(person.clone(), new);
        Ok(PersonUpdate::Stored)
    }

    async fn claim_turn(&self, turn: &TurnKey, now: Timestamp, until: Timestamp) -> Result<TurnClaim, Error> {
        let mut tables = self.tables();
        let claim = TurnClaim::of(tables.turns.get(turn).copied(), now);
        if claim == TurnClaim::Claimed {
            tables.turns.insert(turn.clone(), TurnRecord::Running { until });
        }
        Ok(claim)
    }

    async fn finish_turn(&self, turn: &TurnKey, until: Timestamp) -> Result<(), Error> {
        self.tables()
            .turns
            .insert(turn.clone(), TurnRecord::Done { until });
        Ok(())
    }

    async fn release_turn(&self, turn: &TurnKey) -> Result<(), Error> {
        self.tables().turns.remove(turn);
        Ok(())
    }

    async fn get_many(&self, keys: &[ConversationKey]) -> Result<Vec<Conversation>, Error> {
        let tables = self.tables();
        let distinct: BTreeSet<_> = keys.iter().collect();
        let stored = distinct
            .into_iter()
            .filter_map(|key| tables.conversations.get(key));
        Ok(stored.cloned().collect())
    }

    async fn list(
        &self,
        filter: &ConversationFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ListPage<ConversationSummary>, Error> {
        // The moment only where the list is sorted by it.
        let verb = "list conversations";
        let selection = format!("{filter:?}");
        let after: Option<(String, (Option<Timestamp>, ConversationKey))> =
            cursor.map(|cursor| cursor::decode(verb, cursor)).transpose()?;
        if after.as_ref().is_some_and(|(of, _)| *of != selection) {
            return Err(Error::corrupt(verb, "cursor"));
        }
        let after = after.as_ref().map(|(_, (moment, key))| (*moment, key));
        let by_change = matches!(filter, ConversationFilter::Blocked | ConversationFilter::Removed);
        let tables = self.tables();
        let listed = tables.conversations.values();
        let listed = listed.filter(|record| selects(filter, record));
        let listed = listed.map(|record| ((by_change.then_some(record.changed_at), &record.key), record));
        let listed = listed.filter(|(position, _)| after.is_none_or(|after| *position > after));
        let listed: Vec<_> = if by_change {
            let mut sorted: Vec<_> = listed.collect();
            sorted.sort_by_key(|(position, _)| *position);
            sorted.truncate(limit + 1);
            sorted
        } else {
            listed.take(limit + 1).collect()
        };
        let page = &listed[..listed.len().min(limit)];
        let last = page.last().filter(|_| listed.len() > limit);
        Ok(ListPage {
            items: page.iter().map(|(_, record)| summary(record)).collect(),
            cursor: last.map(|(position, _)| cursor::encode(&(&selection, position))),
        })
    }

    async fn cached_roster(
        &self,
        team: &TeamKey,
        query: &RosterQuery,
        now: Timestamp,
    ) -> Result<CachedRoster, Error> {
        let tables = self.tables();
        let generation = tables.generations.get(team).copied().unwrap_or_default();
        let cached = tables.rosters.get(&(team.clone(), query.clone()));
        let cached = cached.filter(|(of, _, until)| *of == generation && *until > now);
        let page = cached.map(|(_, page, _)| page.clone());
        Ok(CachedRoster { generation, page })
    }

    async fn cache_roster(
        &self,
        team: &TeamKey,
        generation: u64,
        query: &RosterQuery,
        page: &RosterPage,
        until: Timestamp,
    ) -> Result<(), Error> {
        let cached = (generation, page.clone(), until);
        let key = (team.clone(), query.clone());
        self.tables().rosters.insert(key, cached);
        Ok(())
    }

    async fn invalidate_roster(&self, team: &TeamKey) -> Result<(), Error> {
        *self.tables().generations.entry(team.clone()).or_default() += 1;
        Ok(())
    }

    async fn bot_state(&self, key: &StateKey) -> Result<Option<(String, String)>, Error> {
        let tables = self.tables();
        let stored = tables.states.get(key);
        Ok(stored.map(|(json, version)| (json.clone(), version.to_string())))
    }

    async fn put_bot_state(
        &self,
        key: &StateKey,
        json: Option<String>,
        expected: Option<&str>,
    ) -> Result<CasResult, Error> {
        let mut tables = self.tables();
        let stored = tables.states.get(key).map(|(_, version)| version.to_string());
        if stored.as_deref() != expected {
            return Ok(CasResult::Conflict);
        }
        tables.state_writes += 1;
        let version = tables.state_writes;
        match json {
            Some(json) => _ = tables.states.insert(key.clone(), (json, version)),
            None => _ = tables.states.remove(key),
        }
        Ok(CasResult::Committed)
    }

    async fn erase_user_state(&self, user: &ChannelAccountId) -> Result<(), Error> {
        let owner = StateOwner::User(user.clone());
        self.tables().states.retain(|key, _| key.owner != owner);
        Ok(())
    }

    async fn update_preferences(
        &self,
        person: &PersonId,
        rule: &mut Rule<'_, Preferences>,
    ) -> Result<Update<Preferences>, Error> {
        let mut tables = self.tables();
        let before = tables.preferences.get(person).cloned();
        let after = rule(before.as_ref());
        if let Some(record) = after.clone() {
            tables.preferences.insert(person.clone(), record);
        }
        Ok(Update { before, after })
    }

    async fn erase_preferences(&self, id: &UserRef) -> Result<(), Error> {
        self.tables().preferences.retain(|person, _| person.id != *id);
        Ok(())
    }
}

fn summary(record: &Conversation) -> ConversationSummary {
    ConversationSummary {
        key: record.key.clone(),
        attributes: record.attributes.clone(),
        state: record.state.clone(),
        changed_at: record.changed_at,
        precedence: record.precedence,
        preferences: record.preferences.clone(),
        zone: record.zone.clone(),
    }
}

fn selects(filter: &ConversationFilter, record: &Conversation) -> bool {
    match filter {
        ConversationFilter::Everyone { segment, segments } => {
            let bytes = record.key.conversation.as_str().bytes();
            let hash = bytes.fold(0_u32, |hash, byte| {
                hash.wrapping_mul(31).wrapping_add(u32::from(byte))
            });
            hash % u32::from((*segments).max(1)) == u32::from(*segment)
        }
        ConversationFilter::Tenant(tenant) => {
            record.attributes.tenant.as_ref() == Some(tenant) && !record.is_thread()
        }
        ConversationFilter::User(id) => record.attributes.user.as_ref() == Some(id),
        ConversationFilter::Account(id) => record.attributes.account.as_ref() == Some(id),
        ConversationFilter::Conversation(id) => record.key.conversation == *id,
        ConversationFilter::Team(team) => record.attributes.team.as_ref() == Some(team),
        ConversationFilter::Tag(name) => record.attributes.tags.contains(name),
        ConversationFilter::Blocked => matches!(record.state, State::Blocked { .. }),
        ConversationFilter::Removed => record.state == State::Removed,
    }
}
