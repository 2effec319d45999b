//! A store of conversations with injected failures.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use herald::conversation::{Conversation, ConversationKey, PersonKey, PersonRecord, TurnClaim, TurnKey};
use herald::roster_cache::{CachedRoster, RosterPage, RosterQuery, TeamKey};
use herald::store::{
    ConversationFilter, ConversationSummary, Conversations, Error, ListPage, PersonUpdate, Rule, Update,
};
use jiff::Timestamp;

/// Runs before each call, and may make it fail.
type Fault = dyn Fn() -> BoxFuture<'static, Result<(), Error>> + Send + Sync;

/// A store, and the fault before each call to it.
#[derive(Clone)]
pub(crate) struct Faulty<S> {
    store: S,
    fault: Arc<Fault>,
}

impl<S> fmt::Debug for Faulty<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Faulty")
    }
}

impl<S> Faulty<S> {
    pub(crate) fn new(
        store: S,
        fault: impl Fn() -> BoxFuture<'static, Result<(), Error>> + Send + Sync + 'static,
    ) -> Self {
        let fault = Arc::new(fault);
        Self { store, fault }
    }

    /// A store of which every call fails.
    pub(crate) fn away(store: S) -> Self {
        Self::new(store, || Box::pin(async { Err(unavailable()) }))
    }
}

pub(crate) fn unavailable() -> Error {
    Error::Unavailable {
        verb: "do anything",
        source: "connection refused".into(),
    }
}

impl<S: Conversations> Conversations for Faulty<S> {
    async fn update_conversation(
        &self,
        key: &ConversationKey,
        rule: &mut Rule<'_, Conversation>,
    ) -> Result<Update<Conversation>, Error> {
        (self.fault)().await?;
        self.store.update_conversation(key, rule).await
    }

    async fn mark_removed(&self, key: &ConversationKey, now: Timestamp) -> Result<(), Error> {
        (self.fault)().await?;
        self.store.mark_removed(key, now).await
    }

    async fn erase(&self, key: &ConversationKey) -> Result<bool, Error> {
        (self.fault)().await?;
        self.store.erase(key).await
    }

    async fn update_person(
        &self,
        person: &PersonKey,
        rule: &mut Rule<'_, PersonRecord>,
    ) -> Result<PersonUpdate, Error> {
        (self.fault)().await?;
        self.store.update_person(person, rule).await
    }

    async fn claim_turn(&self, turn: &TurnKey, now: Timestamp, until: Timestamp) -> Result<TurnClaim, Error> {
        (self.fault)().await?;
        self.store.claim_turn(turn, now, until).await
    }

    async fn finish_turn(&self, turn: &TurnKey, until: Timestamp) -> Result<(), Error> {
        (self.fault)().await?;
        self.store.finish_turn(turn, until).await
    }

    async fn release_turn(&self, turn: &TurnKey) -> Result<(), Error> {
        (self.fault)().await?;
        self.store.release_turn(turn).await
    }

    async fn get_many(&self, keys: &[ConversationKey]) -> Result<Vec<Conversation>, Error> {
        (self.fault)().await?;
        self.store.get_many(keys).await
    }

    async fn list(
        &self,
        filter: &ConversationFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ListPage<ConversationSummary>, Error> {
        (self.fault)().await?;
        self.store.list(filter, cursor, limit).await
    }

    async fn cached_roster(
        &self,
        team: &TeamKey,
        query: &RosterQuery,
        now: Timestamp,
    ) -> Result<CachedRoster, Error> {
        (self.fault)().await?;
        self.store.cached_roster(team, query, now).await
    }

    async fn cache_roster(
        &self,
        team: &TeamKey,
        generation: u64,
        query: &RosterQuery,
        page: &RosterPage,
        until: Timestamp,
    ) -> Result<(), Error> {
        (self.fault)().await?;
        self.store
            .cache_roster(team, generation, query, page, until)
            .await
    }

    async fn invalidate_roster(&self, team: &TeamKey) -> Result<(), Error> {
        (self.fault)().await?;
        self.store.invalidate_roster(team).await
    }
}
