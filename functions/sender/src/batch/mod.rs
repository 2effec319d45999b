//! A chunk that goes by the channel's batch API: one request for all of it, and polls for what became of each.
//!
//! ```text
//! read ── nothing begun ── members ── permit ── begin ── submit ───────────────── re-queued, with a delay
//!   ├──── submitted ── stopped? cancel ── permit ── poll ── still running? ─────────────┘
//!   │                                                └─ done ── failed members ── a row for each
//!   └──── refused whole, or done ── those that are left, individually
//! ```
//!
//! The state machine is [`herald::batch`]; a member that the batch did not reach is classified by the same table as a request
//! to it alone. No row of a delivery is written before its batch is done, unless it is not in the batch.

use botframework::connector;
use futures_util::future::join_all;
use herald::Error;
use herald::backend::Backend;
use herald::batch::{self, BatchKey, BatchRecord, Stage, Step};
use herald::delivery::Outcome;
use herald::id::NotificationId;
use herald::rate_limit::Permits;
use herald::store::{self, CasResult, Ledger};
use herald::tenant_gate::Admission;
use herald::time::later;
use jiff::{SignedDuration, Timestamp};

use crate::chunk::{ChunkRun, Pending, conversation_of};

mod members;
mod poll;
mod submit;

/// When to read a batch again that another worker has just changed.
const CONFLICT_POLL: SignedDuration = SignedDuration::from_secs(2);

/// The batch of one chunk.
pub(crate) struct BatchRun<'r, 'a, B: Backend> {
    run: &'r mut ChunkRun<'a, B>,
    key: BatchKey,
}

/// What to do with the chunk.
enum ChunkAction {
    /// It is re-queued until then.
    Requeue(Timestamp),
    /// Those that are left are delivered individually.
    Individually,
}

/// Why a step ends early.
enum StepExit {
    Fate(ChunkAction),
    Failed(Error),
}

impl<E: Into<Error>> From<E> for StepExit {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl StepExit {
    fn requeue(until: Timestamp) -> Self {
        Self::Fate(ChunkAction::Requeue(until))
    }
}

/// What a batch that is done means for one delivery.
enum MemberOutcome {
    /// It ended.
    Ends(Outcome),
    /// It is delivered individually, not before then.
    Waits {
        until: Timestamp,
        reason: String,
        ambiguous_attempts: u32,
    },
    /// It is delivered individually: nothing is known of it.
    Individually,
}

impl<'r, 'a, B: Backend> BatchRun<'r, 'a, B> {
    pub(crate) fn new(run: &'r mut ChunkRun<'a, B>) -> Self {
        let key = BatchKey::new(&run.chunk.notification, run.chunk.chunk);
        Self { run, key }
    }

    /// Takes the next step. Returns until when the chunk has to wait; `None` when the batch is done, and those that are left are
    /// delivered individually.
    pub(crate) async fn step(mut self) -> Result<Option<Timestamp>, Error> {
        match self.next_step().await {
            Ok(ChunkAction::Requeue(until)) | Err(StepExit::Fate(ChunkAction::Requeue(until))) => {
                Ok(Some(until))
            }
            Ok(ChunkAction::Individually) | Err(StepExit::Fate(ChunkAction::Individually)) => Ok(None),
            Err(StepExit::Failed(error)) => Err(error),
        }
    }

    async fn next_step(&mut self) -> Result<ChunkAction, StepExit> {
        let now = self.now();
        if self.run.invocation.is_ending(now) {
            return Ok(ChunkAction::Requeue(now));
        }
        let snapshot = self.run.cache.latest().await?;
        let current = self.ledger().batch(&self.key).await?;
        let step = batch::next(current.as_ref(), snapshot.head.guarantee, now);
        match (step, current) {
            (Step::Wait(until), _) => Ok(ChunkAction::Requeue(until)),
            (Step::Submit, current) => self.submit(current.as_ref(), &snapshot).await,
            (Step::Poll(submitted), Some(current)) => self.poll(current, submitted, &snapshot).await,
            (Step::MarkUnknown, Some(current)) => self.mark_unknown(&current).await,
            (Step::FallBack | Step::Poll(_) | Step::MarkUnknown, _) => Ok(ChunkAction::Individually),
        }
    }

    /// The result of the batch cannot be known.
    async fn mark_unknown(&mut self, batch: &BatchRecord) -> Result<ChunkAction, StepExit> {
        tracing::warn!(error_type = "BatchUnknown", notification = %self.run.chunk.notification, "the result of a batch cannot be known");
        let outcome = |open: &Pending| {
            if batch.excluded.contains(&open.recipient) {
                self.excluded_outcome(batch)
            } else {
                MemberOutcome::Ends(Outcome::Unknown)
            }
        };
        let outcomes = self.run.open.iter().map(outcome).collect();
        self.write_outcomes(outcomes).await?;
        self.finish(batch).await
    }

    /// A recipient that was not in the batch may have been in an earlier one.
    fn excluded_outcome(&self, batch: &BatchRecord) -> MemberOutcome {
        match batch.ambiguous_attempts {
            0 => MemberOutcome::Individually,
            ambiguous_attempts => MemberOutcome::Waits {
                until: self.now(),
                reason: "BatchAmbiguous".to_owned(),
                ambiguous_attempts,
            },
        }
    }

    /// Writes the outcome of each open delivery, in their order. Those that continue stay open.
    async fn write_outcomes(&mut self, outcomes: Vec<MemberOutcome>) -> Result<(), Error> {
        self.run.chunk.begun = true;
        let invocation = self.run.invocation;
        let _slots = invocation.acquire_slots(self.run.open.len()).await;
        let ledger = self.ledger();
        let writes = self.run.open.iter().zip(outcomes).map(|(open, outcome)| {
            let key = self.run.key(&open.recipient);
            let is_person = conversation_of(&open.recipient).is_none();
            async move {
                Ok::<_, store::Error>(match outcome {
                    MemberOutcome::Ends(outcome) => Ok(ledger.settle_unclaimed(&key, &outcome).await?),
                    // A person has no row that keeps ambiguous attempts: the conversation's has.
                    MemberOutcome::Waits {
                        ambiguous_attempts: 0,
                        until,
                        ..
                    } if is_person => Err(Some(until)),
                    MemberOutcome::Waits { .. } if is_person => {
                        Ok(ledger.settle_unclaimed(&key, &Outcome::Unknown).await?)
                    }
                    MemberOutcome::Waits {
                        until,
                        reason,
                        ambiguous_attempts,
                    } => ledger
                        .mark_retryable(&key, until, &reason, ambiguous_attempts)
                        .await?
                        .ok_or(Some(until)),
                    MemberOutcome::Individually => Err(None),
                })
            }
        });
        let written = join_all(writes).await.into_iter();
        let written = written.collect::<Result<Vec<_>, _>>()?;
        let mut ended = Vec::new();
        for (open, written) in std::mem::take(&mut self.run.open).into_iter().zip(written) {
            match written {
                Ok(outcome) => ended.push((open.recipient, outcome)),
                Err(until) => self.run.open.push(Pending {
                    from: until.map_or(open.from, |until| until.max(open.from)),
                    ..open
                }),
            }
        }
        self.run.count_batched(&ended).await
    }

    /// The batch is done. That is written if recipients are left, who are delivered individually.
    async fn finish(&self, batch: &BatchRecord) -> Result<ChunkAction, StepExit> {
        if !self.run.open.is_empty() {
            // Another worker may have written the same, or a cancellation, after which it is found to be done once more.
            self.ledger()
                .compare_and_set_batch_record(&self.key, &batch.at(Stage::Done))
                .await?;
        }
        Ok(ChunkAction::Individually)
    }

    /// Writes the next state over the one that it was decided by; exits when another worker was faster.
    async fn write(&self, to: &BatchRecord) -> Result<(), StepExit> {
        let write = async || self.ledger().compare_and_set_batch_record(&self.key, to).await;
        match self.run.invocation.record(write).await? {
            CasResult::Committed => Ok(()),
            CasResult::Conflict => Err(self.conflict()),
        }
    }

    fn conflict(&self) -> StepExit {
        StepExit::requeue(later(self.now(), CONFLICT_POLL))
    }

    /// Takes a permit for one request and waits for its slot.
    async fn acquire_permit(&mut self) -> Result<Permits, StepExit> {
        let invocation = self.run.invocation;
        let chunk = &mut *self.run.chunk;
        let Some(bucket) = &chunk.bucket else {
            return Err(StepExit::requeue(invocation.now()));
        };
        let class = self.run.cache.latest().await?.head.queue_class();
        let admission = invocation
            .gate
            .acquire_in_turn(bucket, class, &mut chunk.ticket)
            .await?;
        let now = invocation.now();
        match admission {
            Admission::Later(until) => Err(StepExit::requeue(until)),
            Admission::Granted(_) if invocation.is_ending(now) => Err(StepExit::requeue(now)),
            Admission::Granted(permits) => Ok(permits),
        }
    }

    fn ledger(&self) -> &'a B::Ledger {
        &self.run.invocation.context.ledger
    }

    fn now(&self) -> Timestamp {
        self.run.invocation.now()
    }
}

fn log(error: &connector::Error, notification: &NotificationId, what: &'static str) {
    tracing::warn!(
        error_type = "BatchFailed",
        reason = ?error.reason(),
        code = error.code(),
        status = error.status(),
        notification = %notification,
        correlation = error.correlation(),
        "{what}"
    );
}
