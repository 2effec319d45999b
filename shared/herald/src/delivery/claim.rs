//! Who may make an attempt, and who may write what became of it.

use jiff::{SignedDuration, Timestamp};

use super::{DOUBTS_MAX, DeliveryKey, Guarantee, Outcome, Row, SentCopy, State};
use crate::rate_limit::ConversationRate;

/// How long a delivery whose turn another one has lets it have it before it asks again. A request takes a fraction of it.
const BUSY_WAIT: SignedDuration = SignedDuration::from_secs(1);

/// Written into the row of a worker that did not come back before its deadline.
const WORKER_DIED: &str = "WorkerDied";

/// Whose turn it is in one conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The delivery that has it, or had it last.
    pub holder: DeliveryKey,
    /// Which claim of that delivery this is.
    pub attempt: u32,
    /// How many of its attempts before this one may have reached the channel.
    pub doubts: u32,
    /// The deadline, taken from the worker's own.
    pub until: Timestamp,
    /// What the conversation's [`ConversationRate`] keeps.
    pub next: Timestamp,
}

impl Turn {
    /// Whether the holder's row says what became of this turn.
    fn is_over(&self, row: Option<&Row>) -> bool {
        row.is_some_and(|row| row.attempt >= self.attempt)
    }
}

/// The right to make one attempt, from [`claim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which claim this is.
    pub attempt: u32,
    /// How many attempts before this one may have reached the channel.
    pub doubts: u32,
    /// The copy to be brought up to date; without one, the message is to be sent.
    pub copy: Option<SentCopy>,
}

impl Lease {
    /// What it was taken for.
    pub fn stage(&self) -> Stage {
        match self.copy {
            None => Stage::Sending,
            Some(_) => Stage::Revising,
        }
    }

    /// The row that says how the delivery ended.
    pub fn settled(&self, outcome: Outcome) -> Row {
        Row {
            state: State::Settled(outcome),
            attempt: self.attempt,
            doubts: self.doubts,
        }
    }

    /// The row that gives the delivery back, to be asked for again from `until` on. A copy stays as it is meanwhile.
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

    /// Whether an attempt may be made, or the delivery has to end as unknown instead. To change or delete a copy can be
    /// repeated without harm.
    pub fn permits_attempt(&self, policy: Guarantee) -> bool {
        self.copy.is_some() || permits_after(self.doubts, policy, DOUBTS_MAX)
    }

    /// How the delivery ends when it comes to this now. What may have been sent before is never said not to have been.
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

/// Whether an attempt may follow on so many doubtful ones, of which there may be so many.
pub(crate) fn permits_after(doubts: u32, policy: Guarantee, most: u32) -> bool {
    match policy {
        Guarantee::AtLeastOnce => doubts < most,
        Guarantee::AtMostOnce => doubts == 0,
    }
}

/// What came of asking for a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is the caller's now.
    Taken(Lease),
    /// Another worker has it.
    Held {
        /// Until then, if it does not say before what became of it.
        until: Timestamp,
    },
    /// Another delivery has the conversation's turn, or had it a moment ago.
    Busy {
        /// When to ask again.
        until: Timestamp,
    },
    /// Nobody has it, and nobody may before then.
    Waiting {
        /// When to ask again.
        until: Timestamp,
    },
    /// It has ended, and its copy shows the revision asked for, if it can.
    Settled(Outcome),
}

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The delivery.
    pub delivery: &'a DeliveryKey,
    /// The notification's revision as the asker knows it.
    pub revision: u32,
    /// The present moment.
    pub now: Timestamp,
    /// The deadline of whoever asks.
    pub until: Timestamp,
    /// How far apart requests to this conversation are.
    pub spacing: ConversationRate,
}

/// What the tables say before a claim.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// The delivery's row.
    pub row: Option<&'a Row>,
    /// The conversation's turn.
    pub turn: Option<&'a Turn>,
    /// The row of the delivery that has the turn, if it is another one.
    pub holder: Option<&'a Row>,
}

/// What a claim comes to, and what has to be written for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing is written.
    Answer(Claim),
    /// A worker died: this row of the turn's holder first, and then the same question again.
    WriteUp(Row),
    /// This turn instead of the one that stands, and the lease is the caller's.
    Take(Turn, Lease),
}

/// What asking for a delivery comes to.
///
/// A turn past its deadline is over too, but its holder may have sent and died before it could say so: its row is
/// written up as possibly sent before anybody has the turn again.
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

/// What is written into the row of a holder who did not come back.
fn write_up(turn: &Turn, row: Option<&Row>, now: Timestamp) -> Row {
    match row {
        // It was changing its copy, which can be repeated.
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

/// What a claim was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// To send the message.
    Sending,
    /// To change or delete the copy that was sent.
    Revising,
}

/// Whether this row may be written over the one that stands.
///
/// Each attempt writes once, over earlier ones only, and how a delivery ended is changed by nothing but a change to its copy.
/// Who overran the deadline and was written up is too late, unless it knows that the message arrived.
pub fn may_write(standing: Option<&Row>, new: &Row, stage: Stage) -> bool {
    let earlier = standing.is_none_or(|standing| standing.attempt < new.attempt);
    match (standing.map(|standing| &standing.state), stage) {
        (None, _) => true,
        (Some(State::Waiting { .. }), Stage::Sending) => earlier || new.arrived(),
        (Some(State::Settled(_)), Stage::Revising) => earlier,
        (Some(State::Settled(_)), Stage::Sending) | (Some(State::Waiting { .. }), Stage::Revising) => false,
    }
}
