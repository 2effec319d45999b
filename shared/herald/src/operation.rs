//! The operation of a chunk that goes by the channel's batch API, as pure code.
//!
//! ```text
//! (none) ──begin──▶ submitting ──submitted──▶ submitted(operation) ──▶ (its deliveries have ended)
//!            ▲          ├─ not carried out, or in doubt ─▶ waiting ─┐       └─ some are left ──▶ over
//!            └──────────┼───────────────────────────────────────────┘
//!                       ├─ taken, and nobody can ask what became of it ──▶ lost
//!                       └─ refused whole ──▶ over
//! ```
//!
//! One record is the claim of all the deliveries of its chunk: of any number of workers one submits, because each step is
//! written over the step that it was decided by ([`crate::store::Ledger::compare_and_set_batch`]). A worker that died while it submitted leaves
//! a doubt, as one that died while it sent does; the notification's [`Guarantee`] says what follows.
//!
//! Whom the operation reached is told when it is over, and only then are rows written: one write for each delivery. A crash in
//! between is followed by a worker that asks the channel again and writes the same. Whoever is left is delivered the ordinary
//! way: those whom the channel could not take, and those who stood [aside](Operation::aside).

use botframework::id::OperationId;
use jiff::{SignedDuration, Timestamp};

use crate::audience::Recipient;
use crate::delivery::{DOUBTS_MAX, Guarantee, Lease, permits_after};
use crate::id::NotificationId;
use crate::notification::ChunkId;
use crate::time::later;

#[cfg(test)]
mod tests;

/// When to ask again for an operation that another worker is submitting.
const ASK_SUBMITTER_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// How soon after its beginning, and after each question, an operation is asked for.
const ASKED_AFTER_MIN: SignedDuration = SignedDuration::from_secs(5);

/// How long at most between two questions, if the channel names no time.
const ASKED_AFTER_MAX: SignedDuration = SignedDuration::from_mins(1);

/// How long at most if it does: a cancellation is passed on by whoever asks, and a wrong clock must not hold it up for days.
const ASKED_AS_NAMED_MAX: SignedDuration = SignedDuration::from_mins(15);

/// How long an operation that the channel says not to know may not be known yet.
const KNOWN_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// How long an operation is asked for after its notification has expired.
const ASKED_FOR_AFTER_EXPIRY: SignedDuration = SignedDuration::from_hours(24);

/// Names the operation of one chunk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationKey(String);

impl OperationKey {
    /// The operation of this chunk.
    pub fn new(notification: &NotificationId, chunk: ChunkId) -> Self {
        let ChunkId { part, page, index } = chunk;
        Self(format!("{notification}|{part}.{page}.{index}"))
    }

    /// The key as it stands in the table.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How far the operation of a chunk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Counts the steps, from 1.
    pub step: u32,
    /// How many requests before this one may have begun an operation of which nobody knows.
    pub doubts: u32,
    /// Where it stands.
    pub stage: Stage,
    /// Those of the chunk who are not in it, and are delivered the ordinary way afterwards.
    pub aside: Vec<Recipient>,
}

/// Where an operation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nobody is to submit it before then.
    Waiting {
        /// The earliest moment.
        until: Timestamp,
        /// The channel's code, or what failed.
        why: String,
    },
    /// A worker submits it, or died over it.
    Submitting {
        /// The worker's deadline.
        until: Timestamp,
    },
    /// The channel has it.
    Submitted(Submitted),
    /// The channel may have it, and nobody can ask.
    Lost,
    /// There is none any more, or none was taken.
    Over,
}

/// An operation that the channel took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The channel's name for it.
    pub id: OperationId,
    /// Where it was submitted.
    pub service_url: String,
    /// When.
    pub at: Timestamp,
    /// Whether the channel was asked to cancel it.
    pub cancelled: bool,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is to be submitted.
    Submit,
    /// Nothing before then.
    Wait(Timestamp),
    /// The channel is to be asked what became of it.
    Ask(Submitted),
    /// Its deliveries end as unknown.
    GiveUp,
    /// Whoever is left goes the ordinary way.
    OneByOne,
}

impl Operation {
    /// The first step, or the next attempt: a worker whose time ends at `until` submits it.
    #[must_use]
    pub fn begin(standing: Option<&Self>, until: Timestamp, aside: Vec<Recipient>) -> Self {
        Self {
            aside,
            ..Self::following(standing, Stage::Submitting { until })
        }
    }

    /// Nothing is submitted any more.
    #[must_use]
    pub fn over(standing: Option<&Self>) -> Self {
        Self::following(standing, Stage::Over)
    }

    /// It comes to this.
    #[must_use]
    pub fn at(&self, stage: Stage) -> Self {
        Self::following(Some(self), stage)
    }

    /// What becomes of a delivery in it is decided as of one attempt, which began with these doubts.
    pub fn lease(&self) -> Lease {
        Lease {
            attempt: self.step,
            doubts: self.doubts,
            copy: None,
        }
    }

    fn following(standing: Option<&Self>, stage: Stage) -> Self {
        let aside = standing.map(|standing| standing.aside.clone());
        Self {
            step: standing.map_or(0, |standing| standing.step) + 1,
            doubts: doubts(standing, &stage),
            stage,
            aside: aside.unwrap_or_default(),
        }
    }
}

/// How many doubts there are after a step to this stage: whoever begins anew where another one was submitting has one more.
fn doubts(standing: Option<&Operation>, stage: &Stage) -> u32 {
    let Some(Operation {
        stage: before,
        doubts,
        ..
    }) = standing
    else {
        return 0;
    };
    match (before, stage) {
        (Stage::Submitting { .. }, Stage::Submitting { .. }) => doubts + 1,
        _ => *doubts,
    }
}

/// What is to be done about an operation.
pub fn next(standing: Option<&Operation>, policy: Guarantee, now: Timestamp) -> Step {
    let Some(Operation { stage, doubts, .. }) = standing else {
        return Step::Submit;
    };
    match stage {
        Stage::Waiting { until, .. } if *until > now => Step::Wait(*until),
        Stage::Waiting { .. } => Step::Submit,
        Stage::Submitting { until } if *until > now => {
            Step::Wait((*until).min(later(now, ASK_SUBMITTER_AGAIN)))
        }
        // Whoever submitted it has died, before the request or after it.
        Stage::Submitting { .. } if permits_after(doubts + 1, policy, DOUBTS_MAX) => Step::Submit,
        Stage::Submitting { .. } | Stage::Lost => Step::GiveUp,
        Stage::Submitted(submitted) => Step::Ask(submitted.clone()),
        Stage::Over => Step::OneByOne,
    }
}

impl Submitted {
    /// When to ask for it again: when the channel names a moment, then; else five seconds after its beginning, and later and
    /// later, up to a minute apart.
    pub fn asked_again(&self, named: Option<&str>, now: Timestamp) -> Timestamp {
        let named = named.and_then(|moment| moment.parse::<Timestamp>().ok());
        let wait = match named.map(|moment| moment.duration_since(now)) {
            Some(wait) => wait.min(ASKED_AS_NAMED_MAX),
            None => (now.duration_since(self.at) / 2).min(ASKED_AFTER_MAX),
        };
        later(now, wait.max(ASKED_AFTER_MIN))
    }

    /// Whether it may be so new that the channel does not know it yet.
    pub fn is_new(&self, now: Timestamp) -> bool {
        now.duration_since(self.at) < KNOWN_AFTER
    }
}

/// Whether an operation of a notification that expires then is not asked for any more.
pub fn is_given_up(expires_at: Timestamp, now: Timestamp) -> bool {
    now >= later(expires_at, ASKED_FOR_AFTER_EXPIRY)
}
