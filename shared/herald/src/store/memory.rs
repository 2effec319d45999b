//! The tables in memory, for tests, simulations and benches. It keeps every promise of the port but durability.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::{
    CasResult, Collection, DatedRow, Error, Idempotency, Ledger, RateLimits, RowGuard, RowWrite, Rule,
    StoredRecord,
};
use crate::batch::{BatchKey, BatchRecord};
use crate::bot_health::BotHealth;
use crate::clock::Clock;
use crate::conversation::{
    Conversation, ConversationKey, PersonId, PersonKey, PersonRecord, Preferences, StateKey, TurnKey,
    TurnRecord,
};
use crate::delivery::{self, Claim, ClaimRequest, ClaimState, ConversationLease, Decision, DeliveryKey, Row};
use crate::id::NotificationId;
use crate::rate_limit::{Bucket, TenantRate};
use crate::roster_cache::{RosterPage, RosterQuery, TeamKey};
use crate::subject::{SubjectCopy, SubjectCopyKey};

mod conversations;
mod notifications;
mod registry;

use notifications::Entry;

/// All tables. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Store(Arc<Mutex<Tables>>);

#[derive(Debug, Default)]
struct Tables {
    conversations: BTreeMap<ConversationKey, Conversation>,
    people: HashMap<PersonKey, PersonRecord>,
    preferences: HashMap<PersonId, Preferences>,
    turns: HashMap<TurnKey, TurnRecord>,
    /// As JSON, each with the number of its write.
    states: HashMap<StateKey, (String, u64)>,
    /// All writes so far, so that a version never comes again.
    state_writes: u64,
    generations: HashMap<TeamKey, u64>,
    /// With their generation and the end of their TTL.
    rosters: HashMap<(TeamKey, RosterQuery), (u64, RosterPage, Timestamp)>,
    notifications: HashMap<NotificationId, Entry>,
    idempotency: HashMap<String, (Idempotency, NotificationId)>,
    deliveries: HashMap<DeliveryKey, Row>,
    /// When each row was written, if there is a clock.
    written_at: HashMap<DeliveryKey, Timestamp>,
    clock: Option<Clock>,
    leases: HashMap<ConversationKey, ConversationLease>,
    batches: HashMap<BatchKey, BatchRecord>,
    subjects: HashMap<SubjectCopyKey, SubjectCopy>,
    rates: HashMap<Bucket, TenantRate>,
    bot_health: Option<BotHealth>,
    records: BTreeMap<(Collection, String), StoredRecord>,
}

impl Store {
    /// Tables without items.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with a clock that dates rows.
    pub fn with_clock(clock: Clock) -> Self {
        let store = Self::default();
        store.tables().clock = Some(clock);
        store
    }

    // No method below leaves the tables half changed, so a lock that a panicking test poisoned is usable.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for Store {
    async fn claim(&self, request: ClaimRequest<'_>, conversation: &ConversationKey) -> Result<Claim, Error> {
        let mut tables = self.tables();
        loop {
            let held = tables.leases.get(conversation);
            let state = ClaimState {
                row: tables.deliveries.get(request.delivery),
                lease: held,
                holder: held.and_then(|held| tables.deliveries.get(&held.holder)),
            };
            match delivery::claim(request, state) {
                Decision::Reply(claim) => return Ok(claim),
                Decision::RecordCrash(row) => {
                    let holder = held.map_or(request.delivery, |held| &held.holder).clone();
                    tables.put_row(&holder, &row, &RowGuard::Lease(row.purpose()));
                }
                Decision::Acquire(held, lease) => {
                    tables.leases.insert(conversation.clone(), held);
                    return Ok(Claim::Acquired(lease));
                }
            }
        }
    }

    async fn put_row(&self, delivery: &DeliveryKey, row: &Row, guard: &RowGuard) -> Result<RowWrite, Error> {
        Ok(self.tables().put_row(delivery, row, guard))
    }

    async fn rows(&self, deliveries: &[DeliveryKey]) -> Result<Vec<Option<Row>>, Error> {
        let tables = self.tables();
        let rows = deliveries.iter().map(|delivery| tables.deliveries.get(delivery));
        Ok(rows.map(Option::<&Row>::cloned).collect())
    }

    async fn leases(
        &self,
        conversations: &[ConversationKey],
    ) -> Result<Vec<Option<ConversationLease>>, Error> {
        let tables = self.tables();
        let leases = conversations.iter().map(|key| tables.leases.get(key));
        Ok(leases.map(Option::<&ConversationLease>::cloned).collect())
    }

    async fn dated_rows(&self, deliveries: &[DeliveryKey]) -> Result<Vec<Option<DatedRow>>, Error> {
        let tables = self.tables();
        let dated = |delivery| {
            Some(DatedRow {
                row: tables.deliveries.get(delivery)?.clone(),
                written_at: tables.written_at.get(delivery).copied(),
            })
        };
        Ok(deliveries.iter().map(dated).collect())
    }

    async fn batch(&self, batch: &BatchKey) -> Result<Option<BatchRecord>, Error> {
        Ok(self.tables().batches.get(batch).cloned())
    }

    async fn compare_and_set_batch_record(
        &self,
        batch: &BatchKey,
        to: &BatchRecord,
    ) -> Result<CasResult, Error> {
        let mut tables = self.tables();
        let step = tables.batches.get(batch).map_or(0, |stored| stored.step);
        if step + 1 != to.step {
            return Ok(CasResult::Conflict);
        }
        tables.batches.insert(batch.clone(), to.clone());
        Ok(CasResult::Committed)
    }

    async fn subject_copies(&self, keys: &[SubjectCopyKey]) -> Result<Vec<Option<SubjectCopy>>, Error> {
        let tables = self.tables();
        Ok(keys.iter().map(|key| tables.subjects.get(key).cloned()).collect())
    }

    async fn compare_and_set_subject_copy(
        &self,
        key: &SubjectCopyKey,
        copy: &SubjectCopy,
    ) -> Result<CasResult, Error> {
        let mut tables = self.tables();
        let version = tables.subjects.get(key).map_or(0, |stored| stored.version);
        if version + 1 != copy.version {
            return Ok(CasResult::Conflict);
        }
        tables.subjects.insert(key.clone(), copy.clone());
        Ok(CasResult::Committed)
    }
}

impl Tables {
    fn put_row(&mut self, delivery: &DeliveryKey, row: &Row, guard: &RowGuard) -> RowWrite {
        let stored = self.deliveries.get(delivery);
        if stored == Some(row) {
            return RowWrite::Written;
        }
        if !guard.permits(stored, row) {
            return RowWrite::Refused(stored.cloned());
        }
        self.deliveries.insert(delivery.clone(), row.clone());
        if let Some(clock) = &self.clock {
            self.written_at.insert(delivery.clone(), clock.now());
        }
        RowWrite::Written
    }
}

impl RateLimits for Store {
    async fn update_rate(&self, bucket: &Bucket, rule: &mut Rule<'_, TenantRate>) -> Result<(), Error> {
        let mut tables = self.tables();
        if let Some(new) = rule(tables.rates.get(bucket)) {
            tables.rates.insert(bucket.clone(), new);
        }
        Ok(())
    }

    async fn update_bot_health(&self, rule: &mut Rule<'_, BotHealth>) -> Result<(), Error> {
        let mut tables = self.tables();
        if let Some(new) = rule(tables.bot_health.as_ref()) {
            tables.bot_health = Some(new);
        }
        Ok(())
    }
}
