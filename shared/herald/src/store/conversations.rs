//! The port to the table of conversations.

use std::future::Future;

use botframework::id::{ChannelAccountId, ConversationId, EntraObjectId, UserRef};
use jiff::Timestamp;

use super::{CasResult, Error, ListPage, Rule, Update};
use crate::conversation::{
    self, Attributes, Conversation, ConversationKey, Creation, CreationLease, Feedback, Import, Observation,
    PersonId, PersonKey, PersonRecord, Precedence, Preferences, State, StateKey, TeamEvent, TurnClaim,
    TurnKey,
};
use crate::roster_cache::{CachedRoster, RosterPage, RosterQuery, TeamKey};
use crate::schedule::Zone;

/// What [`Conversations::remember`] or [`Conversations::import`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upsert {
    /// The conversation was not stored before.
    Created,
    /// The stored record changed.
    Changed,
    /// The record is as stored; nothing was written.
    Unchanged,
    /// With the properties of the import the record would be too large; nothing was written.
    TooLarge,
}

/// Which conversations to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConversationFilter {
    /// One segment of the whole table: the only filter that scans.
    Everyone {
        /// The segment, from 0.
        segment: u16,
        /// The number of segments.
        segments: u16,
    },
    /// The conversations of an Entra tenant, without threads.
    Tenant(String),
    /// The personal conversations of a person, by Entra object id.
    User(EntraObjectId),
    /// The personal conversations of a person, by channel account.
    Account(ChannelAccountId),
    /// A conversation id, in every bot and channel.
    Conversation(ConversationId),
    /// The channels of a team, with threads.
    Team(String),
    /// The conversations with a tag.
    Tag(String),
    /// The conversations that the channel refuses, whatever the code; the earliest change first.
    Blocked,
    /// The conversations that the bot was removed from; the earliest change first.
    Removed,
}

/// A conversation in a list: the attributes that selectors match, without the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationSummary {
    /// The primary key of the conversation.
    pub key: ConversationKey,
    /// The attributes of the indexes.
    pub attributes: Attributes,
    /// Whether it may be written to. Lists lag behind writes by about a second.
    pub state: State,
    /// When the record last changed.
    pub changed_at: Timestamp,
    /// Set if the person has other personal conversations with the bot: see [`conversation::Rank`].
    pub precedence: Option<Precedence>,
    /// The preferences of its person, or of the group chat or channel.
    pub preferences: Option<Preferences>,
    /// The time zone of its person, as their activities name it.
    pub zone: Option<Zone>,
}

/// The result of [`Conversations::update_person`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PersonUpdate {
    /// What the rule returned is stored, or it returned nothing.
    Stored,
    /// Nothing was written: the record links to a conversation that is not stored.
    NoConversation,
}

/// Stores conversations, the people that conversations are created with, and cached rosters.
pub trait Conversations: Clone + Send + Sync + 'static {
    /// Applies a rule to the record of a conversation, atomically. Without a change nothing is written.
    fn update_conversation(
        &self,
        key: &ConversationKey,
        rule: &mut Rule<'_, Conversation>,
    ) -> impl Future<Output = Result<Update<Conversation>, Error>> + Send;

    /// Marks a conversation removed for its own sake, whatever happens to its team, unless it already is. A rule of its own
    /// because it needs no read: one conditional write.
    fn mark_removed(
        &self,
        key: &ConversationKey,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Deletes everything stored of a conversation, the bot's state of it, and the people linked to it; `false` if neither a record
    /// nor a person was stored.
    ///
    /// To erase a person, erase all of [`ConversationFilter::User`] and [`ConversationFilter::Account`], and their state
    /// ([`erase_user_state`](Self::erase_user_state)). A person who is linked to
    /// no conversation expires thirty days after the last change, as everything of a notification does; a cached roster expires
    /// at the end of its TTL.
    fn erase(&self, key: &ConversationKey) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Applies a rule to the record of a person, atomically. A record that links to a conversation is written only while that
    /// conversation is stored.
    fn update_person(
        &self,
        person: &PersonKey,
        rule: &mut Rule<'_, PersonRecord>,
    ) -> impl Future<Output = Result<PersonUpdate, Error>> + Send;

    /// Claims the turn of an activity until a moment, so that one of any number of concurrent copies of it is answered. A turn that is
    /// claimed until an earlier moment than `now` can be claimed again: its worker died.
    fn claim_turn(
        &self,
        turn: &TurnKey,
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<TurnClaim, Error>> + Send;

    /// Records that a claimed turn is done. Until the moment, a copy of the activity is not answered.
    fn finish_turn(&self, turn: &TurnKey, until: Timestamp)
    -> impl Future<Output = Result<(), Error>> + Send;

    /// Releases a turn that failed, so that it can be repeated.
    fn release_turn(&self, turn: &TurnKey) -> impl Future<Output = Result<(), Error>> + Send;

    /// The stored conversations among these keys, each once and in any order. May lag behind writes by some milliseconds.
    fn get_many(
        &self,
        keys: &[ConversationKey],
    ) -> impl Future<Output = Result<Vec<Conversation>, Error>> + Send;

    /// Lists up to `limit` conversations after `cursor`, in any state. Each appears once in a list that is read to its end.
    fn list(
        &self,
        filter: &ConversationFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<ListPage<ConversationSummary>, Error>> + Send;

    /// The team's generation, and the answer that is cached in it if its TTL has not passed at `now`.
    fn cached_roster(
        &self,
        team: &TeamKey,
        query: &RosterQuery,
        now: Timestamp,
    ) -> impl Future<Output = Result<CachedRoster, Error>> + Send;

    /// Caches an answer until a moment. The generation is that of [`cached_roster`](Self::cached_roster) before the channel was
    /// asked: if the team has changed since, the answer is never returned.
    fn cache_roster(
        &self,
        team: &TeamKey,
        generation: u64,
        query: &RosterQuery,
        page: &RosterPage,
        until: Timestamp,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Starts a new generation of a team: all cached answers are stale.
    fn invalidate_roster(&self, team: &TeamKey) -> impl Future<Output = Result<(), Error>> + Send;

    /// A state of the bot as JSON, with its version.
    fn bot_state(
        &self,
        key: &StateKey,
    ) -> impl Future<Output = Result<Option<(String, String)>, Error>> + Send;

    /// Writes a state of the bot, or removes it, if the stored version is still `expected`; `None` expects that nothing is stored.
    fn put_bot_state(
        &self,
        key: &StateKey,
        json: Option<String>,
        expected: Option<&str>,
    ) -> impl Future<Output = Result<CasResult, Error>> + Send;

    /// Removes all states of a person, in every channel and of every bot.
    fn erase_user_state(&self, user: &ChannelAccountId) -> impl Future<Output = Result<(), Error>> + Send;

    /// Applies a rule to what a person opted out of, as it is stored under this id, atomically. It never expires. The copies beside
    /// conversations, and under the person's other id, are [`preferences`](crate::preferences)' concern.
    fn update_preferences(
        &self,
        person: &PersonId,
        rule: &mut Rule<'_, Preferences>,
    ) -> impl Future<Output = Result<Update<Preferences>, Error>> + Send;

    /// Removes what a person with this id opted out of, in every channel and tenant.
    fn erase_preferences(&self, id: &UserRef) -> impl Future<Output = Result<(), Error>> + Send;

    /// What a person opted out of, as it is stored under this id. A strong read.
    fn preferences(
        &self,
        person: &PersonId,
    ) -> impl Future<Output = Result<Option<Preferences>, Error>> + Send {
        async move { Ok(self.update_preferences(person, &mut |_| None).await?.before) }
    }

    /// Applies an observation, by [`conversation::remember`].
    fn remember(
        &self,
        observation: Observation,
        now: Timestamp,
    ) -> impl Future<Output = Result<Upsert, Error>> + Send {
        async move {
            let mut rule = |old: Option<&_>| conversation::remember(old, observation.clone(), now);
            let update = self.update_conversation(&observation.key, &mut rule).await?;
            Ok(update.upsert())
        }
    }

    /// Merges a record from elsewhere, by [`conversation::import()`].
    fn import(&self, import: Import, now: Timestamp) -> impl Future<Output = Result<Upsert, Error>> + Send {
        async move {
            let mut fits = true;
            let mut rule = |old: Option<&_>| {
                fits = import.fits(old);
                conversation::import(old, import.clone(), now).filter(|_| fits)
            };
            let update = self.update_conversation(&import.key, &mut rule).await?;
            Ok(if fits { update.upsert() } else { Upsert::TooLarge })
        }
    }

    /// Applies a team event, by [`conversation::apply_team_change`].
    fn apply_team_change(
        &self,
        key: &ConversationKey,
        event: TeamEvent,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        async move {
            let mut rule = |old: Option<&_>| conversation::apply_team_change(old?, event, now);
            self.update_conversation(key, &mut rule).await.map(drop)
        }
    }

    /// Applies feedback of a sender or planner, by [`conversation::apply_feedback`], to this version of the record only:
    /// an activity that was stored since is newer.
    fn apply_feedback(
        &self,
        key: &ConversationKey,
        version: u64,
        feedback: &Feedback,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        async move {
            let mut rule = |old: Option<&Conversation>| {
                let old = old.filter(|old| old.version == version)?;
                conversation::apply_feedback(old, feedback, now)
            };
            self.update_conversation(key, &mut rule).await.map(drop)
        }
    }

    /// Adds and removes tags, by [`conversation::tag`]; returns the tags then, sorted, or `None` if the conversation is not
    /// stored. Tags beyond [`TAGS_MAX`](conversation::TAGS_MAX) are not added.
    fn tag(
        &self,
        key: &ConversationKey,
        add: &[String],
        remove: &[String],
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Vec<String>>, Error>> + Send {
        async move {
            let mut rule = |old: Option<&_>| conversation::tag(old?, add, remove, now);
            let update = self.update_conversation(key, &mut rule).await?;
            Ok(update
                .after
                .or(update.before)
                .map(|record| record.attributes.tags))
        }
    }

    /// Asks for the lease to create a conversation with a person, by [`conversation::acquire_creation_lease`]. Of any number of concurrent
    /// callers one gets it.
    fn acquire_creation_lease(
        &self,
        person: &PersonKey,
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<CreationLease, Error>> + Send {
        async move {
            let mut answer = None;
            let mut rule = |known: Option<&_>| {
                let (lease, new) = conversation::acquire_creation_lease(known, now, until);
                answer = Some(lease);
                new
            };
            self.update_person(person, &mut rule).await?;
            answer.ok_or_else(|| Error::contention("acquire a creation lease"))
        }
    }

    /// Records the result of a creation attempt and releases the lease, by [`conversation::finish_creation`]. Call
    /// [`remember`](Self::remember) first: a link to an unknown conversation is stored as [`Creation::Nothing`].
    fn finish_creation(
        &self,
        person: &PersonKey,
        creation: &Creation,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        async move {
            let mut rule = |known: Option<&_>| conversation::finish_creation(known, creation);
            match self.update_person(person, &mut rule).await? {
                PersonUpdate::Stored => Ok(()),
                PersonUpdate::NoConversation => {
                    let mut rule =
                        |known: Option<&_>| conversation::finish_creation(known, &Creation::Nothing);
                    self.update_person(person, &mut rule).await.map(drop)
                }
            }
        }
    }
}
