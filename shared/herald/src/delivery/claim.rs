//! Which worker may make an attempt, and which may write its outcome.

use jiff::{SignedDuration, Timestamp};

use super::{DOUBTS_MAX, DeliveryKey, Guarantee, Outcome, Row, SentCopy, State};
use crate::rate_limit::ConversationRate;

/// The wait before a delivery asks again for a turn that another one holds. A request takes a fraction of it.
const BUSY_WAIT: SignedDuration = SignedDuration::from_secs(1);

/// The code in the row of a worker that did not settle before its deadline.
const WORKER_DIED: &str = "WorkerDied";

/// The lease on a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The delivery that holds it, or held it last.
    pub holder: DeliveryKey,
    /// The number of the holder's claim.
    pub attempt: u32,
    /// The holder's ambiguous attempts before this one.
    pub doubts: u32,
    /// When the lease expires; taken from the worker's own deadline.
    pub until: Timestamp,
    /// The state of the conversation's [`ConversationRate`].
    pub next: Timestamp,
}

impl Turn {
    /// Whether the holder's row has the outcome of this turn.
    fn is_over(&self, row: Option<&Row>) -> bool {
        row.is_some_and(|row| row.attempt >= self.attempt)
    }
}

/// The right to make one attempt, from [`claim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The number of the claim.
    pub attempt: u32,
    /// Ambiguous attempts before this one.
    pub doubts: u32,
    /// The copy to update or delete; `None` to send the message.
    pub copy: Option<SentCopy>,
}

impl Lease {
    /// The purpose of the claim.
    pub fn stage(&self) -> Stage {
        match self.copy {
            None => Stage::Sending,
            Some(_) => Stage::Revising,
        }
    }

    /// The row of the settled delivery.
    pub fn settled(&self, outcome: Outcome) -> Row {
        Row {
            state: State::Settled(outcome),
            attempt: self.attempt,
            doubts: self.doubts,
        }
    }

    /// The row of a released delivery, which may be claimed from `until` on. Its copy stays as it is.
    pub fn released(&self, until: Timestamp, why: String, doubts: u32) -> Row {
        let state = match &self.copy {
            None => State::Waiting { until, why },
            Some(copy) => State::Settled(Outcome::Delivered(copy.clone())),
        };
        Row {
            state,
            attempt: self.attempt,
            doubts,
        }
    }

    /// Whether an attempt may be made. If not, the delivery ends as unknown. An update or a deletion of a copy can always
    /// be repeated.
    pub fn permits_attempt(&self, policy: Guarantee) -> bool {
        self.copy.is_some() || permits_after(self.doubts, policy, DOUBTS_MAX)
    }

    /// The outcome of a delivery that ends with this one now. If the message may have been sent, the outcome never denies
    /// it.
    pub fn ending(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Delivered(_) | Outcome::Unknown => outcome,
            Outcome::Rejected { .. }
            | Outcome::Gone { .. }
            | Outcome::Skipped { .. }
            | Outcome::Expired
            | Outcome::Cancelled => {
                if self.doubts == 0 {
                    outcome
                } else {
                    Outcome::Unknown
                }
            }
        }
    }
}

/// Whether another attempt may follow this many ambiguous ones. `most` bounds them.
pub(crate) fn permits_after(doubts: u32, policy: Guarantee, most: u32) -> bool {
    match policy {
        Guarantee::AtLeastOnce => doubts < most,
        Guarantee::AtMostOnce => doubts == 0,
    }
}

/// The result of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The caller has the lease.
    Taken(Lease),
    /// Another worker has the lease.
    Held {
        /// When that lease expires. It may end earlier.
        until: Timestamp,
    },
    /// Another delivery holds the conversation's turn, or held it a moment ago.
    Busy {
        /// When to ask again.
        until: Timestamp,
    },
    /// No worker has it, and no worker may claim it before `until`.
    Waiting {
        /// When to ask again.
        until: Timestamp,
    },
    /// It has ended. Its copy, if it can be updated, shows the requested revision.
    Settled(Outcome),
}

/// The parameters of a claim.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The delivery to lease.
    pub delivery: &'a DeliveryKey,
    /// The notification's revision, as the caller read it.
    pub revision: u32,
    /// The caller's present time.
    pub now: Timestamp,
    /// The caller's deadline; the lease expires then.
    pub until: Timestamp,
    /// The rate limit of the conversation.
    pub spacing: ConversationRate,
}

/// What the tables hold before a claim.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// The delivery's row, as stored.
    pub row: Option<&'a Row>,
    /// The lease on the conversation, as stored.
    pub turn: Option<&'a Turn>,
    /// The row of the turn's holder, if that is another delivery.
    pub holder: Option<&'a Row>,
}

/// The decision on a claim, and the write it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// No write is needed.
    Answer(Claim),
    /// A worker died: write this row of the turn's holder, then decide again.
    WriteUp(Row),
    /// Replace the stored turn by this one; the caller gets the lease.
    Take(Turn, Lease),
}

/// Decides on a claim.
///
/// The holder of an expired turn may have sent and died before it could settle. So its row is written as ambiguous before
/// another delivery gets the turn.
pub fn claim(asked: Asked<'_>, standing: Standing<'_>) -> Decision {
    let Asked {
        delivery,
        revision,
        now,
        until,
        spacing,
    } = asked;
    let copy = match standing.row.map(|row| &row.state) {
        Some(State::Settled(Outcome::Delivered(copy))) if copy.is_behind(revision) => Some(copy.clone()),
        Some(State::Settled(outcome)) => return Decision::Answer(Claim::Settled(outcome.clone())),
        Some(State::Waiting { until, .. }) if *until > now => {
            return Decision::Answer(Claim::Waiting { until: *until });
        }
        Some(State::Waiting { .. }) | None => None,
    };
    if let Some(turn) = standing.turn {
        let own = turn.holder == *delivery;
        let row = if own { standing.row } else { standing.holder };
        if !turn.is_over(row) {
            return if turn.until <= now {
                Decision::WriteUp(write_up(turn, row, now))
            } else if own {
                Decision::Answer(Claim::Held { until: turn.until })
            } else {
                let again = now.saturating_add(BUSY_WAIT).unwrap_or(turn.until);
                Decision::Answer(Claim::Busy {
                    until: turn.until.min(again),
                })
            };
        }
    }
    let next = match spacing.take(standing.turn.map(|turn| turn.next), now) {
        Ok(next) => next,
        Err(until) => return Decision::Answer(Claim::Busy { until }),
    };
    let attempt = standing.row.map_or(0, |row| row.attempt) + 1;
    let doubts = standing.row.map_or(0, |row| row.doubts);
    let turn = Turn {
        holder: delivery.clone(),
        attempt,
        doubts,
        until,
        next,
    };
    Decision::Take(
        turn,
        Lease {
            attempt,
            doubts,
            copy,
        },
    )
}

/// The row of a holder that did not settle before its deadline.
fn write_up(turn: &Turn, row: Option<&Row>, now: Timestamp) -> Row {
    match row {
        // It was updating its copy, which can be repeated.
        Some(Row {
            state: state @ State::Settled(_),
            doubts,
            ..
        }) => Row {
            state: state.clone(),
            attempt: turn.attempt,
            doubts: *doubts,
        },
        Some(Row {
            state: State::Waiting { .. },
            ..
        })
        | None => Row {
            state: State::Waiting {
                until: now,
                why: WORKER_DIED.to_owned(),
            },
            attempt: turn.attempt,
            doubts: turn.doubts + 1,
        },
    }
}

/// The purpose of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// To send the message.
    Sending,
    /// To update or delete the copy that was sent.
    Revising,
}

/// Whether this row may replace the stored one.
///
/// Each attempt writes once and over earlier attempts only. A settled outcome changes only by an update of its copy. A
/// worker that overran its deadline is too late once its row was written up, unless its message arrived.
pub fn may_write(standing: Option<&Row>, new: &Row, stage: Stage) -> bool {
    let earlier = standing.is_none_or(|standing| standing.attempt < new.attempt);
    match (standing.map(|standing| &standing.state), stage) {
        (None, _) => true,
        (Some(State::Waiting { .. }), Stage::Sending) => earlier || new.arrived(),
        (Some(State::Settled(_)), Stage::Revising) => earlier,
        (Some(State::Settled(_)), Stage::Sending) | (Some(State::Waiting { .. }), Stage::Revising) => false,
    }
}
