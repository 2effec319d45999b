//! The state machine of a batch operation: one for each chunk in batch mode. Pure code.
//!
//! ```text
//! (none) ──begin──▶ submitting ──submitted──▶ submitted(operation) ──▶ (its deliveries have ended)
//!            ▲          ├─ not carried out, or ambiguous ▶ waiting ─┐       └─ some are left ──▶ over
//!            └──────────┼───────────────────────────────────────────┘
//!                       ├─ accepted, and its id is lost ──▶ lost
//!                       └─ rejected ──▶ over
//! ```
//!
//! One record leases all deliveries of its chunk. Of any number of workers one submits, because each step is a
//! compare-and-set on the step that it was decided by ([`crate::store::Ledger::compare_and_set_batch`]). A worker that
//! died while it submitted leaves an ambiguous submission; the notification's [`Guarantee`] decides what follows.
//!
//! The channel reports the people it reached when the operation is over. Only then are the ledger's rows written, one
//! write for each delivery. After a crash in between, another worker polls again and writes the same rows. The remaining
//! recipients are sent to individually: people the channel could not reach, and those [aside](Operation::aside).

use botframework::id::OperationId;
use jiff::{SignedDuration, Timestamp};

use crate::audience::Recipient;
use crate::delivery::{AttemptLease, Guarantee, MAX_AMBIGUOUS_ATTEMPTS, may_retry_ambiguous};
use crate::id::NotificationId;
use crate::notification::ChunkId;
use crate::time::later;

#[cfg(test)]
mod tests;

/// The wait before polling an operation that another worker is submitting.
const ASK_SUBMITTER_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// The first poll interval.
const ASKED_AFTER_MIN: SignedDuration = SignedDuration::from_secs(5);

/// The longest poll interval, unless the channel asks for a time.
const ASKED_AFTER_MAX: SignedDuration = SignedDuration::from_mins(1);

/// The longest poll interval that the channel may ask for. The poll also passes on a cancellation, and the channel's
/// clock may be wrong.
const ASKED_AS_NAMED_MAX: SignedDuration = SignedDuration::from_mins(15);

/// For this long a new operation may be unknown to the channel.
const KNOWN_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// For this long after its notification expired an operation is polled.
const ASKED_FOR_AFTER_EXPIRY: SignedDuration = SignedDuration::from_hours(24);

/// Names the operation of a chunk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationKey(String);

impl OperationKey {
    /// The key for this chunk.
    pub fn new(notification: &NotificationId, chunk: ChunkId) -> Self {
        let ChunkId { part, page, index } = chunk;
        Self(format!("{notification}|{part}.{page}.{index}"))
    }

    /// The table's partition key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The record of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The version of the record, from 1.
    pub step: u32,
    /// How many requests before this one may have begun an operation of which nobody knows.
    pub ambiguous_attempts: u32,
    /// Where it stands.
    pub stage: Stage,
    /// Recipients of the chunk that the batch excludes; they are sent to individually afterwards.
    pub aside: Vec<Recipient>,
}

/// The state of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is not submitted before `until`.
    Waiting {
        /// The earliest moment of the next submission.
        until: Timestamp,
        /// The channel's code, or what failed.
        reason: String,
    },
    /// A worker is submitting it, or died while it did.
    Submitting {
        /// The deadline of the submitting worker.
        until: Timestamp,
    },
    /// The channel accepted it.
    Submitted(Submitted),
    /// The channel may have accepted it, and its id is lost.
    Lost,
    /// It has ended, or was never accepted.
    Over,
}

/// An operation that the channel accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The channel's id of it.
    pub id: OperationId,
    /// The service URL it was submitted to.
    pub service_url: String,
    /// When it was submitted.
    pub at: Timestamp,
    /// Whether the channel was asked to cancel it.
    pub cancelled: bool,
}

/// The next step of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Submit the batch.
    Submit,
    /// Do nothing before this time.
    Wait(Timestamp),
    /// Poll the channel for its result.
    Ask(Submitted),
    /// End its deliveries as unknown.
    GiveUp,
    /// Send to the remaining recipients individually.
    OneByOne,
}

impl Operation {
    /// The record of a submission by a worker whose deadline is `until`.
    #[must_use]
    pub fn begin(standing: Option<&Self>, until: Timestamp, aside: Vec<Recipient>) -> Self {
        Self {
            aside,
            ..Self::following(standing, Stage::Submitting { until })
        }
    }

    /// The record of an operation that is not submitted again.
    #[must_use]
    pub fn over(standing: Option<&Self>) -> Self {
        Self::following(standing, Stage::Over)
    }

    /// The record at its next state.
    #[must_use]
    pub fn at(&self, stage: Stage) -> Self {
        Self::following(Some(self), stage)
    }

    /// What becomes of a delivery in it is decided as of one attempt, which began with these doubts.
    pub fn lease(&self) -> AttemptLease {
        AttemptLease {
            attempt: self.step,
            ambiguous_attempts: self.ambiguous_attempts,
            copy: None,
        }
    }

    fn following(standing: Option<&Self>, stage: Stage) -> Self {
        let aside = standing.map(|standing| standing.aside.clone());
        Self {
            step: standing.map_or(0, |standing| standing.step) + 1,
            ambiguous_attempts: ambiguous_attempts(standing, &stage),
            stage,
            aside: aside.unwrap_or_default(),
        }
    }
}

/// How many doubts there are after a step to this stage: whoever begins anew where another one was submitting has one more.
fn ambiguous_attempts(standing: Option<&Operation>, stage: &Stage) -> u32 {
    let Some(Operation {
        stage: before,
        ambiguous_attempts,
        ..
    }) = standing
    else {
        return 0;
    };
    match (before, stage) {
        (Stage::Submitting { .. }, Stage::Submitting { .. }) => ambiguous_attempts + 1,
        _ => *ambiguous_attempts,
    }
}

/// Decides on the next step.
pub fn next(standing: Option<&Operation>, policy: Guarantee, now: Timestamp) -> Step {
    let Some(Operation {
        stage,
        ambiguous_attempts,
        ..
    }) = standing
    else {
        return Step::Submit;
    };
    match stage {
        Stage::Waiting { until, .. } if *until > now => Step::Wait(*until),
        Stage::Waiting { .. } => Step::Submit,
        Stage::Submitting { until } if *until > now => {
            Step::Wait((*until).min(later(now, ASK_SUBMITTER_AGAIN)))
        }
        // Whoever submitted it has died, before the request or after it.
        Stage::Submitting { .. }
            if may_retry_ambiguous(ambiguous_attempts + 1, policy, MAX_AMBIGUOUS_ATTEMPTS) =>
        {
            Step::Submit
        }
        Stage::Submitting { .. } | Stage::Lost => Step::GiveUp,
        Stage::Submitted(submitted) => Step::Ask(submitted.clone()),
        Stage::Over => Step::OneByOne,
    }
}

impl Submitted {
    /// When to poll it again: at the time the channel asks for, or at intervals that grow from five seconds to a minute.
    pub fn asked_again(&self, named: Option<&str>, now: Timestamp) -> Timestamp {
        let named = named.and_then(|moment| moment.parse::<Timestamp>().ok());
        let wait = match named.map(|moment| moment.duration_since(now)) {
            Some(wait) => wait.min(ASKED_AS_NAMED_MAX),
            None => (now.duration_since(self.at) / 2).min(ASKED_AFTER_MAX),
        };
        later(now, wait.max(ASKED_AFTER_MIN))
    }

    /// Whether the channel may not know it yet.
    pub fn is_new(&self, now: Timestamp) -> bool {
        now.duration_since(self.at) < KNOWN_AFTER
    }
}

/// Whether an operation is not polled any more, because its notification expired long ago.
pub fn is_given_up(expires_at: Timestamp, now: Timestamp) -> bool {
    now >= later(expires_at, ASKED_FOR_AFTER_EXPIRY)
}
