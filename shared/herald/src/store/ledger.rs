//! The port to the ledger: one row per delivery, one lease per conversation, one record per batch, one per copy of a subject; and rate
//! limits.

use std::future::Future;

use jiff::Timestamp;

use super::{Error, Rule};
use crate::batch::{BatchKey, BatchRecord};
use crate::bot_health::BotHealth;
use crate::conversation::ConversationKey;
use crate::delivery::{
    self, AttemptLease, Claim, ClaimRequest, ConversationLease, DeliveryKey, Outcome, Purpose, Row, State,
};
use crate::rate_limit::{Bucket, TenantRate};
use crate::subject::{SubjectCopy, SubjectCopyKey};

/// The result of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CasResult {
    /// The record is written.
    Committed,
    /// Another writer was first; nothing is written.
    Conflict,
}

/// Which stored row [`Ledger::put_row`] may replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowGuard {
    /// None, or that of an earlier attempt, by [`delivery::may_write`].
    Lease(Purpose),
    /// None, or one that waits.
    Unsettled,
    /// None: the delivery must not have a row yet.
    Absent,
    /// One that is settled with this outcome.
    Outcome(Outcome),
}

impl RowGuard {
    /// Whether `new` may replace the stored row.
    pub fn permits(&self, stored: Option<&Row>, new: &Row) -> bool {
        match (self, stored.map(|row| &row.state)) {
            (Self::Lease(purpose), _) => delivery::may_write(stored, new, *purpose),
            (Self::Unsettled, stored) => !matches!(stored, Some(State::Settled(_))),
            (Self::Absent, stored) => stored.is_none(),
            (Self::Outcome(outcome), Some(State::Settled(stored))) => outcome == stored,
            (Self::Outcome(_), Some(State::Waiting { .. }) | None) => false,
        }
    }
}

/// The result of [`Ledger::put_row`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowWrite {
    /// The row is stored, now or before.
    Written,
    /// The guard does not permit it; the stored row.
    Refused(Option<Row>),
}

impl RowWrite {
    /// How the delivery had ended before, if that is why the row is not written.
    fn settled_before(self) -> Option<Outcome> {
        match self {
            Self::Refused(Some(Row {
                state: State::Settled(outcome),
                ..
            })) => Some(outcome),
            Self::Refused(_) | Self::Written => None,
        }
    }
}

impl From<RowWrite> for CasResult {
    fn from(write: RowWrite) -> Self {
        match write {
            RowWrite::Written => Self::Committed,
            RowWrite::Refused(_) => Self::Conflict,
        }
    }
}

/// A row, and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatedRow {
    /// The row.
    pub row: Row,
    /// By the clock of the writer; `None` if it is not recorded.
    pub written_at: Option<Timestamp>,
}

/// The port to the ledger.
pub trait Ledger: Clone + Send + Sync + 'static {
    /// Asks for a delivery to a conversation, by [`delivery::claim`]. Of any number of concurrent callers, for this delivery or
    /// another one to the same conversation, one gets the lease. After an error nothing may be sent.
    fn claim(
        &self,
        request: ClaimRequest<'_>,
        conversation: &ConversationKey,
    ) -> impl Future<Output = Result<Claim, Error>> + Send;

    /// Stores the row of a delivery if the guard permits it. To store the stored row again changes nothing.
    fn put_row(
        &self,
        delivery: &DeliveryKey,
        row: &Row,
        guard: &RowGuard,
    ) -> impl Future<Output = Result<RowWrite, Error>> + Send;

    /// The rows of these deliveries, in their order. A strong read.
    fn rows(
        &self,
        deliveries: &[DeliveryKey],
    ) -> impl Future<Output = Result<Vec<Option<Row>>, Error>> + Send;

    /// The leases of these conversations, in their order. A strong read.
    fn leases(
        &self,
        conversations: &[ConversationKey],
    ) -> impl Future<Output = Result<Vec<Option<ConversationLease>>, Error>> + Send;

    /// The same rows, each with the time at which it was written. For reports: no rule depends on this time.
    fn dated_rows(
        &self,
        deliveries: &[DeliveryKey],
    ) -> impl Future<Output = Result<Vec<Option<DatedRow>>, Error>> + Send;

    /// The record of a batch. A strong read.
    fn batch(&self, batch: &BatchKey) -> impl Future<Output = Result<Option<BatchRecord>, Error>> + Send;

    /// Stores the next step of a batch over the step before; [`CasResult::Conflict`] when another step is stored. Of any number of
    /// concurrent callers one commits. After an error nothing may be submitted.
    fn compare_and_set_batch_record(
        &self,
        batch: &BatchKey,
        to: &BatchRecord,
    ) -> impl Future<Output = Result<CasResult, Error>> + Send;

    /// These copies of subjects, in their order. A strong read.
    fn subject_copies(
        &self,
        keys: &[SubjectCopyKey],
    ) -> impl Future<Output = Result<Vec<Option<SubjectCopy>>, Error>> + Send;

    /// Stores a copy of a subject over its version before; [`CasResult::Conflict`] when another one is stored.
    fn compare_and_set_subject_copy(
        &self,
        key: &SubjectCopyKey,
        copy: &SubjectCopy,
    ) -> impl Future<Output = Result<CasResult, Error>> + Send;

    /// Records the outcome of an attempt and releases its lease. After an error the lease is held until it expires.
    fn settle(
        &self,
        delivery: &DeliveryKey,
        lease: &AttemptLease,
        outcome: &Outcome,
    ) -> impl Future<Output = Result<CasResult, Error>> + Send {
        async move {
            let row = lease.settled(outcome.clone());
            let guard = RowGuard::Lease(lease.purpose());
            self.put_row(delivery, &row, &guard).await.map(CasResult::from)
        }
    }

    /// Releases a lease: the next attempt is due at `until`. After an error the lease is held until it expires.
    fn release(
        &self,
        delivery: &DeliveryKey,
        lease: &AttemptLease,
        until: Timestamp,
        reason: &str,
        ambiguous_attempts: u32,
    ) -> impl Future<Output = Result<CasResult, Error>> + Send {
        async move {
            let row = lease.released(until, reason.to_owned(), ambiguous_attempts);
            let guard = RowGuard::Lease(lease.purpose());
            self.put_row(delivery, &row, &guard).await.map(CasResult::from)
        }
    }

    /// Defers a delivery that has no conversation yet, and so was never claimed, until a moment. `attempts` counts the attempts to
    /// create one. If the delivery has ended, nothing is written and its outcome returned.
    fn defer(
        &self,
        delivery: &DeliveryKey,
        until: Timestamp,
        reason: &str,
        attempts: u32,
    ) -> impl Future<Output = Result<Option<Outcome>, Error>> + Send {
        async move {
            let row = Row {
                attempt: attempts,
                ..Row::retryable(until, reason.to_owned(), 0)
            };
            let write = self.put_row(delivery, &row, &RowGuard::Unsettled).await?;
            Ok(write.settled_before())
        }
    }

    /// Settles a delivery that was never claimed, deferred or not; its outcome, now or before. Also records a later revision of the
    /// copy of a delivery that was settled so.
    fn settle_unclaimed(
        &self,
        delivery: &DeliveryKey,
        outcome: &Outcome,
    ) -> impl Future<Output = Result<Outcome, Error>> + Send {
        async move {
            let row = Row {
                state: State::Settled(outcome.clone()),
                attempt: 0,
                ambiguous_attempts: 0,
            };
            let write = self.put_row(delivery, &row, &RowGuard::Unsettled).await?;
            match write.settled_before() {
                Some(stored) if stored.is_outdated_by(outcome) => {
                    // A faster writer stored the same outcome, or a newer one.
                    self.put_row(delivery, &row, &RowGuard::Outcome(stored)).await?;
                    Ok(outcome.clone())
                }
                Some(stored) => Ok(stored),
                None => Ok(outcome.clone()),
            }
        }
    }

    /// Records that a delivery that was never claimed is due at `until`, after so many ambiguous attempts; its outcome, if it has
    /// ended. A stored row stays as it is.
    fn mark_retryable(
        &self,
        delivery: &DeliveryKey,
        until: Timestamp,
        reason: &str,
        ambiguous_attempts: u32,
    ) -> impl Future<Output = Result<Option<Outcome>, Error>> + Send {
        async move {
            let row = Row::retryable(until, reason.to_owned(), ambiguous_attempts);
            let write = self.put_row(delivery, &row, &RowGuard::Absent).await?;
            Ok(write.settled_before())
        }
    }
}

/// Stores the rate limit of each bucket, and the state of the bot.
pub trait RateLimits: Clone + Send + Sync + 'static {
    /// Applies a rule to the state of a bucket, atomically. Without a change nothing is written.
    fn update_rate(
        &self,
        bucket: &Bucket,
        rule: &mut Rule<'_, TenantRate>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Applies a rule to the bot's record, atomically. Without a change nothing is written.
    fn update_bot_health(
        &self,
        rule: &mut Rule<'_, BotHealth>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The bot's record.
    fn bot_health(&self) -> impl Future<Output = Result<BotHealth, Error>> + Send {
        async move {
            let mut read = BotHealth::default();
            let mut rule = |health: Option<&BotHealth>| {
                read = health.cloned().unwrap_or_default();
                None
            };
            self.update_bot_health(&mut rule).await?;
            Ok(read)
        }
    }

    /// Applies a rule of [`crate::rate_limit`] to the state of a bucket and returns its answer.
    fn apply<T: Send>(
        &self,
        bucket: &Bucket,
        rule: impl Fn(&TenantRate) -> (T, Option<TenantRate>) + Send + Sync,
    ) -> impl Future<Output = Result<T, Error>> + Send {
        async move {
            let mut answer = None;
            let mut update = |rate: Option<&TenantRate>| {
                let (given, new) = rate.map_or_else(|| rule(&TenantRate::default()), &rule);
                answer = Some(given);
                new
            };
            self.update_rate(bucket, &mut update).await?;
            answer.ok_or_else(|| Error::contention("apply a rate limit"))
        }
    }
}
