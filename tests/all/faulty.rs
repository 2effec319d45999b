//! A store with injected failures.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use botframework::id::{ChannelAccountId, UserRef};
use futures_util::future::BoxFuture;
use herald::batch::{BatchKey, BatchRecord};
use herald::bot_health::BotHealth;
use herald::conversation::{
    Conversation, ConversationKey, PersonId, PersonKey, PersonRecord, Preferences, StateKey, TurnClaim,
    TurnKey,
};
use herald::delivery::{Claim, ClaimRequest, ConversationLease, DeliveryKey, Row};
use herald::rate_limit::{Bucket, TenantRate};
use herald::roster_cache::{CachedRoster, RosterPage, RosterQuery, TeamKey};
use herald::store::{
    CasResult, ConversationFilter, ConversationSummary, Conversations, DatedRow, Error, Ledger, ListPage,
    PersonUpdate, RateLimits, RowGuard, RowWrite, Rule, Update,
};
use herald::subject::{SubjectCopy, SubjectCopyKey};
use jiff::Timestamp;

/// Runs before each call of a method, and may make it fail.
type Fault = dyn Fn(&'static str) -> BoxFuture<'static, Result<(), Error>> + Send + Sync;

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
        fault: impl Fn(&'static str) -> BoxFuture<'static, Result<(), Error>> + Send + Sync + 'static,
    ) -> Self {
        let fault = Arc::new(fault);
        Self { store, fault }
    }

    /// A store of which these calls of a method fail, counted from 0.
    pub(crate) fn at(store: S, method: &'static str, calls: Range<u32>) -> Self {
        let count = AtomicU32::new(0);
        Self::new(store, move |called| {
            let fails = called == method && calls.contains(&count.fetch_add(1, Ordering::Relaxed));
            Box::pin(async move { if fails { Err(unavailable()) } else { Ok(()) } })
        })
    }

    /// A store of which every call fails.
    pub(crate) fn away(store: S) -> Self {
        Self::new(store, |_| Box::pin(async { Err(unavailable()) }))
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
        (self.fault)("update_conversation").await?;
        self.store.update_conversation(key, rule).await
    }

    async fn mark_removed(&self, key: &ConversationKey, now: Timestamp) -> Result<(), Error> {
        (self.fault)("mark_removed").await?;
        self.store.mark_removed(key, now).await
    }

    async fn erase(&self, key: &ConversationKey) -> Result<bool, Error> {
        (self.fault)("erase").await?;
        self.store.erase(key).await
    }

    async fn update_person(
        &self,
        person: &PersonKey,
        rule: &mut Rule<'_, PersonRecord>,
    ) -> Result<PersonUpdate, Error> {
        (self.fault)("update_person").await?;
        self.store.update_person(person, rule).await
    }

    async fn claim_turn(&self, turn: &TurnKey, now: Timestamp, until: Timestamp) -> Result<TurnClaim, Error> {
        (self.fault)("claim_turn").await?;
        self.store.claim_turn(turn, now, until).await
    }

    async fn finish_turn(&self, turn: &TurnKey, until: Timestamp) -> Result<(), Error> {
        (self.fault)("finish_turn").await?;
        self.store.finish_turn(turn, until).await
    }

    async fn release_turn(&self, turn: &TurnKey) -> Result<(), Error> {
        (self.fault)("release_turn").await?;
        self.store.release_turn(turn).await
    }

    async fn get_many(&self, keys: &[ConversationKey]) -> Result<Vec<Conversation>, Error> {
        (self.fault)("get_many").await?;
        self.store.get_many(keys).await
    }

    async fn list(
        &self,
        filter: &ConversationFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ListPage<ConversationSummary>, Error> {
        (self.fault)("list").await?;
        self.store.list(filter, cursor, limit).await
    }

    async fn cached_roster(
        &self,
        team: &TeamKey,
        query: &RosterQuery,
        now: Timestamp,
    ) -> Result<CachedRoster, Error> {
        (self.fault)("cached_roster").await?;
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
        (self.fault)("cache_roster").await?;
        self.store
            .cache_roster(team, generation, query, page, until)
            .await
    }

    async fn invalidate_roster(&self, team: &TeamKey) -> Result<(), Error> {
        (self.fault)("invalidate_roster").await?;
        self.store.invalidate_roster(team).await
    }

    async fn bot_state(&self, key: &StateKey) -> Result<Option<(String, String)>, Error> {
        (self.fault)("bot_state").await?;
        self.store.bot_state(key).await
    }

    async fn put_bot_state(
        &self,
        key: &StateKey,
        json: Option<String>,
        expected: Option<&str>,
    ) -> Result<CasResult, Error> {
        (self.fault)("put_bot_state").await?;
        self.store.put_bot_state(key, json, expected).await
    }

    async fn erase_user_state(&self, user: &ChannelAccountId) -> Result<(), Error> {
        (self.fault)("erase_user_state").await?;
        self.store.erase_user_state(user).await
    }

    async fn update_preferences(
        &self,
        person: &PersonId,
        rule: &mut Rule<'_, Preferences>,
    ) -> Result<Update<Preferences>, Error> {
        (self.fault)("update_preferences").await?;
        self.store.update_preferences(person, rule).await
    }

    async fn erase_preferences(&self, id: &UserRef) -> Result<(), Error> {
        (self.fault)("erase_preferences").await?;
        self.store.erase_preferences(id).await
    }
}

impl<S: Ledger> Ledger for Faulty<S> {
    async fn claim(&self, request: ClaimRequest<'_>, conversation: &ConversationKey) -> Result<Claim, Error> {
        (self.fault)("claim").await?;
        self.store.claim(request, conversation).await
    }

    async fn put_row(&self, delivery: &DeliveryKey, row: &Row, guard: &RowGuard) -> Result<RowWrite, Error> {
        (self.fault)("put_row").await?;
        self.store.put_row(delivery, row, guard).await
    }

    async fn rows(&self, deliveries: &[DeliveryKey]) -> Result<Vec<Option<Row>>, Error> {
        (self.fault)("rows").await?;
        self.store.rows(deliveries).await
    }

    async fn leases(
        &self,
        conversations: &[ConversationKey],
    ) -> Result<Vec<Option<ConversationLease>>, Error> {
        (self.fault)("leases").await?;
        self.store.leases(conversations).await
    }

    async fn dated_rows(&self, deliveries: &[DeliveryKey]) -> Result<Vec<Option<DatedRow>>, Error> {
        (self.fault)("dated_rows").await?;
        self.store.dated_rows(deliveries).await
    }

    async fn batch(&self, batch: &BatchKey) -> Result<Option<BatchRecord>, Error> {
        (self.fault)("batch").await?;
        self.store.batch(batch).await
    }

    async fn compare_and_set_batch_record(
        &self,
        batch: &BatchKey,
        to: &BatchRecord,
    ) -> Result<CasResult, Error> {
        (self.fault)("compare_and_set_batch_record").await?;
        self.store.compare_and_set_batch_record(batch, to).await
    }

    async fn subject_copies(&self, keys: &[SubjectCopyKey]) -> Result<Vec<Option<SubjectCopy>>, Error> {
        (self.fault)("subject_copies").await?;
        self.store.subject_copies(keys).await
    }

    async fn compare_and_set_subject_copy(
        &self,
        key: &SubjectCopyKey,
        copy: &SubjectCopy,
    ) -> Result<CasResult, Error> {
        (self.fault)("compare_and_set_subject_copy").await?;
        self.store.compare_and_set_subject_copy(key, copy).await
    }
}

impl<S: RateLimits> RateLimits for Faulty<S> {
    async fn update_rate(&self, bucket: &Bucket, rule: &mut Rule<'_, TenantRate>) -> Result<(), Error> {
        (self.fault)("update_rate").await?;
        self.store.update_rate(bucket, rule).await
    }

    async fn update_bot_health(&self, rule: &mut Rule<'_, BotHealth>) -> Result<(), Error> {
        (self.fault)("update_bot_health").await?;
        self.store.update_bot_health(rule).await
    }
}
