//! The leases: which worker may make an attempt, and which may write its result.

use botframework::id::ActivityId;
use jiff::{SignedDuration, Timestamp};

use super::{DeliveryKey, Guarantee, MAX_AMBIGUOUS_ATTEMPTS, Outcome, Row, SentMessage, State};
use crate::id::NotificationId;
use crate::rate_limit::ConversationRate;

/// When to ask again while another delivery holds the conversation's lease. A request takes a fraction of it.
const BUSY_WAIT: SignedDuration = SignedDuration::from_secs(1);

/// The reason in the row of a worker that did not finish before its deadline.
pub(crate) const WORKER_DIED: &str = "WorkerDied";

/// The lease on one conversation: which delivery may write there, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationLease {
    /// The delivery that holds it, or held it last.
    pub holder: DeliveryKey,
    /// The holder's attempt that it was acquired for.
    pub attempt: u32,
    /// How many earlier attempts of the holder are ambiguous.
    pub ambiguous_attempts: u32,
    /// When it expires: the worker's deadline.
    pub until: Timestamp,
    /// What the conversation's [`ConversationRate`] keeps.
    pub next: Timestamp,
}

impl ConversationLease {
    /// Whether the holder's row has the result of this attempt.
    pub(crate) fn is_finished(&self, row: Option<&Row>) -> bool {
        row.is_some_and(|row| row.attempt >= self.attempt)
    }
}

/// The right to make one attempt, from [`claim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptLease {
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// How many earlier attempts are ambiguous.
    pub ambiguous_attempts: u32,
    /// The sent message to update; `None` to send it.
    pub sent: Option<SentMessage>,
    /// The message that the attempt edits instead of sending one. A claim knows of none.
    pub edits: Option<EarlierCopy>,
}

/// A message of an earlier notification of the same subject, which a delivery edits instead of sending one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierCopy {
    /// Its id in the conversation.
    pub activity: ActivityId,
    /// The notification that it was sent for; `None` if that is the delivery's own.
    pub notification: Option<NotificationId>,
    /// Whether it belongs to this delivery already: each ambiguous attempt since then was an edit.
    pub is_taken_over: bool,
}

impl AttemptLease {
    /// What it was acquired for.
    pub fn purpose(&self) -> Purpose {
        match self.sent {
            None => Purpose::Send,
            Some(_) => Purpose::Update,
        }
    }

    /// The row of a delivery that ended with this attempt.
    pub fn settled(&self, outcome: Outcome) -> Row {
        Row {
            state: State::Settled(outcome),
            attempt: self.attempt,
            ambiguous_attempts: self.ambiguous_attempts,
        }
    }

    /// The row of a delivery that may be claimed again from `until` on. A sent message keeps its outcome meanwhile.
    pub fn released(&self, until: Timestamp, reason: String, ambiguous_attempts: u32) -> Row {
        let state = match &self.sent {
            None => State::Waiting { until, reason },
            Some(sent) => State::Settled(Outcome::Delivered(sent.clone())),
        };
        Row {
            state,
            attempt: self.attempt,
            ambiguous_attempts,
        }
    }

    /// Whether an attempt may be made; otherwise the delivery ends as unknown. Updates and deletions are idempotent, so they
    /// always may.
    pub fn permits_attempt(&self, policy: Guarantee) -> bool {
        let repeats_edit = self.edits.as_ref().is_some_and(|copy| copy.is_taken_over);
        self.sent.is_some()
            || repeats_edit
            || may_retry_ambiguous(self.ambiguous_attempts, policy, MAX_AMBIGUOUS_ATTEMPTS)
    }

    /// The outcome to settle with. After an ambiguous attempt a delivery is never reported as not sent.
    pub fn final_outcome(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Delivered(_) | Outcome::Unknown => outcome,
            Outcome::Rejected { .. }
            | Outcome::Gone { .. }
            | Outcome::Skipped { .. }
            | Outcome::Expired { .. }
            | Outcome::Cancelled => {
                if self.ambiguous_attempts == 0 {
                    outcome
                } else {
                    Outcome::Unknown
                }
            }
        }
    }
}

/// Whether another attempt is permitted after this many ambiguous ones, of which there may be `max`.
pub(crate) fn may_retry_ambiguous(ambiguous_attempts: u32, policy: Guarantee, max: u32) -> bool {
    match policy {
        Guarantee::AtLeastOnce => ambiguous_attempts < max,
        Guarantee::AtMostOnce => ambiguous_attempts == 0,
    }
}

/// The result of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The caller holds the lease.
    Acquired(AttemptLease),
    /// Another worker holds the lease of this delivery.
    LeasedElsewhere {
        /// When it expires.
        until: Timestamp,
    },
    /// Another delivery holds the conversation's lease, or its rate is exhausted.
    ConversationBusy {
        /// When to ask again.
        until: Timestamp,
    },
    /// The delivery waits for its next attempt.
    NotDue {
        /// When to ask again.
        until: Timestamp,
    },
    /// It has ended, and its message is at the revision asked for, if it can be updated.
    Settled(Outcome),
}

/// The arguments of a claim.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRequest<'a> {
    /// The delivery.
    pub delivery: &'a DeliveryKey,
    /// The notification's revision as the worker knows it.
    pub revision: u32,
    /// The current time.
    pub now: Timestamp,
    /// The worker's deadline.
    pub until: Timestamp,
    /// The rate limit of this conversation.
    pub spacing: ConversationRate,
}

/// What is stored before a claim.
#[derive(Clone, Copy, Debug)]
pub struct ClaimState<'a> {
    /// The delivery's row.
    pub row: Option<&'a Row>,
    /// The conversation's lease.
    pub lease: Option<&'a ConversationLease>,
    /// The row of the delivery that holds the lease, if it is another one.
    pub holder: Option<&'a Row>,
}

/// The decision on a claim, and what to write for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Write nothing.
    Reply(Claim),
    /// A worker died: write this row for the holder of the lease, and then decide again.
    RecordCrash(Row),
    /// Write this conversation lease over the stored one; then the caller holds the attempt lease.
    Acquire(ConversationLease, AttemptLease),
}

/// Decides on a claim.
///
/// The holder of an expired lease may have sent and died before it wrote the result: its row is written as ambiguous before
/// anyone acquires the lease again.
pub fn claim(request: ClaimRequest<'_>, state: ClaimState<'_>) -> Decision {
    let ClaimRequest {
        delivery,
        revision,
        now,
        until,
        spacing,
    } = request;
    let sent = match state.row.map(|row| &row.state) {
        Some(State::Settled(Outcome::Delivered(sent))) if sent.is_stale(revision) => Some(sent.clone()),
        Some(State::Settled(outcome)) => return Decision::Reply(Claim::Settled(outcome.clone())),
        Some(State::Waiting { until, .. }) if *until > now => {
            return Decision::Reply(Claim::NotDue { until: *until });
        }
        Some(State::Waiting { .. }) | None => None,
    };
    if let Some(lease) = state.lease {
        let own = lease.holder == *delivery;
        let row = if own { state.row } else { state.holder };
        if !lease.is_finished(row) {
            return if lease.until <= now {
                Decision::RecordCrash(record_crash(lease, row, now))
            } else if own {
                Decision::Reply(Claim::LeasedElsewhere { until: lease.until })
            } else {
                let again = now.saturating_add(BUSY_WAIT).unwrap_or(lease.until);
                Decision::Reply(Claim::ConversationBusy {
                    until: lease.until.min(again),
                })
            };
        }
    }
    let next = match spacing.take(state.lease.map(|lease| lease.next), now) {
        Ok(next) => next,
        Err(until) => return Decision::Reply(Claim::ConversationBusy { until }),
    };
    let attempt = state.row.map_or(0, |row| row.attempt) + 1;
    let ambiguous_attempts = state.row.map_or(0, |row| row.ambiguous_attempts);
    let lease = ConversationLease {
        holder: delivery.clone(),
        attempt,
        ambiguous_attempts,
        until,
        next,
    };
    Decision::Acquire(
        lease,
        AttemptLease {
            attempt,
            ambiguous_attempts,
            sent,
            edits: None,
        },
    )
}

/// The row of a holder whose lease expired.
fn record_crash(lease: &ConversationLease, row: Option<&Row>, now: Timestamp) -> Row {
    match row {
        // It was updating its message, which is idempotent.
        Some(Row {
            state: state @ State::Settled(_),
            ambiguous_attempts,
            ..
        }) => Row {
            state: state.clone(),
            attempt: lease.attempt,
            ambiguous_attempts: *ambiguous_attempts,
        },
        Some(Row {
            state: State::Waiting { .. },
            ..
        })
        | None => Row {
            state: State::Waiting {
                until: now,
                reason: WORKER_DIED.to_owned(),
            },
            attempt: lease.attempt,
            ambiguous_attempts: lease.ambiguous_attempts + 1,
        },
    }
}

/// What a lease is acquired for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To send the message.
    Send,
    /// To update or delete the sent message.
    Update,
}

/// Whether `new` may replace the stored row.
///
/// Each attempt writes once, over earlier attempts only, and an outcome is changed only by an update of the sent message. A
/// worker that missed its deadline and was recorded as crashed is too late, unless it knows that the message arrived.
pub fn may_write(stored: Option<&Row>, new: &Row, purpose: Purpose) -> bool {
    let earlier = stored.is_none_or(|stored| stored.attempt < new.attempt);
    match (stored.map(|stored| &stored.state), purpose) {
        (None, _) => true,
        (Some(State::Waiting { .. }), Purpose::Send) => earlier || new.arrived(),
        (Some(State::Settled(_)), Purpose::Update) => earlier,
        (Some(State::Settled(_)), Purpose::Send) | (Some(State::Waiting { .. }), Purpose::Update) => false,
    }
}
