//! The state machine of a chunk that is sent by the channel's batch API, as pure code.
//!
//! ```text
//! (none) ──begin──▶ submitting ──submitted──▶ submitted(id) ──▶ (its deliveries are settled)
//!            ▲          ├─ not executed, or ambiguous ──▶ waiting ─┐  └─ some are not ──▶ done
//!            └──────────┼──────────────────────────────────────────┘
//!                       ├─ accepted, but the response has no id ──▶ id lost
//!                       └─ refused ──▶ done
//! ```
//!
//! One record is the claim of all the deliveries of its chunk: of any number of workers one submits, because each step is
//! stored over the step that it was decided on ([`crate::store::Ledger::compare_and_set_batch_record`]). A worker that dies while it
//! submits leaves an ambiguous attempt; the notification's [`Guarantee`] says what follows.
//!
//! The channel reports the members' outcomes when the batch has ended, and only then are rows written: one write for each
//! delivery. After a crash in between, another worker polls the batch again and writes the same. The rest is delivered
//! individually: the members that the channel did not reach, and those [excluded](BatchRecord::excluded) from the batch.

use botframework::id::OperationId;
use jiff::{SignedDuration, Timestamp};

use crate::audience::Recipient;
use crate::delivery::{AttemptLease, Guarantee, MAX_AMBIGUOUS_ATTEMPTS, may_retry_ambiguous};
use crate::id::NotificationId;
use crate::notification::ChunkId;
use crate::time::later;

#[cfg(test)]
mod tests;

/// When to read a batch again that another worker is submitting.
const SUBMISSION_POLL: SignedDuration = SignedDuration::from_secs(5);

/// The shortest time between polls, and before the first.
const MIN_POLL: SignedDuration = SignedDuration::from_secs(5);

/// The longest time between polls if the channel names none.
const MAX_POLL: SignedDuration = SignedDuration::from_mins(1);

/// The longest time between polls if it does: a cancellation is passed on with a poll, and a wrong clock must not delay it for
/// days.
const MAX_NAMED_POLL: SignedDuration = SignedDuration::from_mins(15);

/// For how long after its submission a batch may be unknown to the channel.
const VISIBILITY_GRACE: SignedDuration = SignedDuration::from_mins(1);

/// For how long a batch is polled after its notification expired.
const MAX_POLL_AFTER_EXPIRY: SignedDuration = SignedDuration::from_hours(24);

/// Names the batch of one chunk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchKey(String);

impl BatchKey {
    /// The batch of this chunk.
    pub fn new(notification: &NotificationId, chunk: ChunkId) -> Self {
        let ChunkId { part, page, index } = chunk;
        Self(format!("{notification}|{part}.{page}.{index}"))
    }

    /// The stored key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The stored state of a chunk's batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRecord {
    /// Counts the steps, from 1.
    pub step: u32,
    /// How many earlier submissions are ambiguous.
    pub ambiguous_attempts: u32,
    /// Its stage.
    pub stage: Stage,
    /// The recipients of the chunk that are not in the batch, and are delivered individually afterwards.
    pub excluded: Vec<Recipient>,
}

/// The stage of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits for its next submission.
    Waiting {
        /// The earliest moment.
        until: Timestamp,
        /// The channel's code, or what failed.
        reason: String,
    },
    /// A worker submits it, or died while it did.
    Submitting {
        /// The worker's deadline.
        until: Timestamp,
    },
    /// The channel accepted it.
    Submitted(Submitted),
    /// The channel may have accepted it, and it cannot be polled.
    IdLost,
    /// It has ended, or none was accepted.
    Done,
}

/// A batch that the channel accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The channel's id of it.
    pub id: OperationId,
    /// Where it was submitted.
    pub service_url: String,
    /// When.
    pub at: Timestamp,
    /// Whether the channel was asked to cancel it.
    pub cancelled: bool,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Submit it.
    Submit,
    /// Nothing before then.
    Wait(Timestamp),
    /// Poll the channel for its progress.
    Poll(Submitted),
    /// Settle its deliveries as unknown.
    MarkUnknown,
    /// Deliver the rest individually.
    FallBack,
}

impl BatchRecord {
    /// The first step, or the next attempt: a worker with the deadline `until` submits it.
    #[must_use]
    pub fn begin(stored: Option<&Self>, until: Timestamp, excluded: Vec<Recipient>) -> Self {
        Self {
            excluded,
            ..Self::after(stored, Stage::Submitting { until })
        }
    }

    /// Nothing is submitted any more.
    #[must_use]
    pub fn done(stored: Option<&Self>) -> Self {
        Self::after(stored, Stage::Done)
    }

    /// The next step, to this stage.
    #[must_use]
    pub fn at(&self, stage: Stage) -> Self {
        Self::after(Some(self), stage)
    }

    /// The lease by which the outcomes of its deliveries are decided, as of one attempt.
    pub fn lease(&self) -> AttemptLease {
        AttemptLease {
            attempt: self.step,
            ambiguous_attempts: self.ambiguous_attempts,
            sent: None,
            edits: None,
        }
    }

    fn after(stored: Option<&Self>, stage: Stage) -> Self {
        let excluded = stored.map(|stored| stored.excluded.clone());
        Self {
            step: stored.map_or(0, |stored| stored.step) + 1,
            ambiguous_attempts: ambiguous_attempts(stored, &stage),
            stage,
            excluded: excluded.unwrap_or_default(),
        }
    }
}

/// Ambiguous submissions after this step. Submitting again over an unfinished submission adds one.
fn ambiguous_attempts(stored: Option<&BatchRecord>, stage: &Stage) -> u32 {
    let Some(BatchRecord {
        stage: before,
        ambiguous_attempts,
        ..
    }) = stored
    else {
        return 0;
    };
    match (before, stage) {
        (Stage::Submitting { .. }, Stage::Submitting { .. }) => ambiguous_attempts + 1,
        _ => *ambiguous_attempts,
    }
}

/// What to do next about a batch.
pub fn next(stored: Option<&BatchRecord>, policy: Guarantee, now: Timestamp) -> Step {
    let Some(BatchRecord {
        stage,
        ambiguous_attempts,
        ..
    }) = stored
    else {
        return Step::Submit;
    };
    match stage {
        Stage::Waiting { until, .. } if *until > now => Step::Wait(*until),
        Stage::Waiting { .. } => Step::Submit,
        Stage::Submitting { until } if *until > now => Step::Wait((*until).min(later(now, SUBMISSION_POLL))),
        // The worker that submitted it died, before the request or after it.
        Stage::Submitting { .. }
            if may_retry_ambiguous(ambiguous_attempts + 1, policy, MAX_AMBIGUOUS_ATTEMPTS) =>
        {
            Step::Submit
        }
        Stage::Submitting { .. } | Stage::IdLost => Step::MarkUnknown,
        Stage::Submitted(submitted) => Step::Poll(submitted.clone()),
        Stage::Done => Step::FallBack,
    }
}

impl Submitted {
    /// When to poll it next: when the channel says; otherwise five seconds after its submission, and then at growing intervals of up
    /// to a minute.
    pub fn next_poll(&self, named: Option<&str>, now: Timestamp) -> Timestamp {
        let named = named.and_then(|moment| moment.parse::<Timestamp>().ok());
        let wait = match named.map(|moment| moment.duration_since(now)) {
            Some(wait) => wait.min(MAX_NAMED_POLL),
            None => (now.duration_since(self.at) / 2).min(MAX_POLL),
        };
        later(now, wait.max(MIN_POLL))
    }

    /// Whether the channel may not know it yet.
    pub fn is_new(&self, now: Timestamp) -> bool {
        now.duration_since(self.at) < VISIBILITY_GRACE
    }
}

/// Whether a batch is not polled any more, whose notification expires then.
pub fn is_abandoned(expires_at: Timestamp, now: Timestamp) -> bool {
    now >= later(expires_at, MAX_POLL_AFTER_EXPIRY)
}
