//! From the result of an attempt to the next state of its delivery.

use botframework::id::ActivityId;
use jiff::{SignedDuration, Timestamp};

use super::claim::permits_after;
use super::{Guarantee, Lease, Outcome, SentCopy};
use crate::backoff::{ambiguous_backoff, retry_backoff};

/// The result of one attempt: the Connector's classes, with the data that the ledger stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The channel accepted it. The activity id is missing in some successes.
    Delivered(Option<ActivityId>),
    /// The request was certainly not carried out.
    NotSent {
        /// The channel's error code, or the failure.
        code: String,
        /// The wait that the channel asked for.
        retry_after: Option<SignedDuration>,
    },
    /// The channel refused the message.
    Rejected {
        /// The channel's error code, or the failure.
        code: String,
        /// The channel's error text.
        detail: Option<String>,
    },
    /// The message that was to be updated or deleted no longer exists.
    CopyGone,
    /// The channel refused the conversation, with this code.
    Gone(String),
    /// The request may have been carried out.
    Unknown {
        /// The channel's error code, or the failure.
        code: String,
        /// The most ambiguous attempts for a failure of this kind.
        most: u32,
    },
}

/// The state to write after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The delivery ends with this outcome.
    Settle(Outcome),
    /// The delivery waits for its next attempt.
    Wait {
        /// The earliest moment of the next attempt.
        until: Timestamp,
        /// The channel's error code, or the failure.
        why: String,
        /// Ambiguous attempts, this one included.
        doubts: u32,
    },
}

/// What decides whether a delivery is retried.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Whether ambiguous requests are retried.
    pub guarantee: Guarantee,
    /// The notification's revision that the attempt sent.
    pub revision: u32,
    /// When the notification expires. Nothing is attempted from then on.
    pub ends_at: Timestamp,
}

/// The state that follows an attempt. `chance` adds jitter, so deliveries that failed together retry apart.
pub fn next(lease: &Lease, attempt: Attempt, policy: Policy, now: Timestamp, chance: u32) -> Next {
    match &lease.copy {
        None => after_sending(lease, attempt, policy, now, chance),
        Some(copy) => after_revising(lease, copy, attempt, policy, now, chance),
    }
}

fn after_sending(lease: &Lease, attempt: Attempt, policy: Policy, now: Timestamp, chance: u32) -> Next {
    let Policy {
        guarantee,
        revision,
        ends_at,
    } = policy;
    let (wait, why, doubts) = match attempt {
        Attempt::Delivered(activity) => {
            return Next::Settle(Outcome::Delivered(SentCopy {
                activity,
                shows: revision,
                tried: revision,
            }));
        }
        Attempt::Rejected { code, detail } => {
            return Next::Settle(lease.ending(Outcome::Rejected { code, detail }));
        }
        Attempt::CopyGone => {
            let code = "ActivityNotFoundInConversation".to_owned();
            return Next::Settle(lease.ending(Outcome::Rejected { code, detail: None }));
        }
        Attempt::Gone(code) => return Next::Settle(lease.ending(Outcome::Gone { code })),
        Attempt::NotSent { code, retry_after } => (
            retry_backoff(lease.attempt, retry_after, chance),
            code,
            lease.doubts,
        ),
        Attempt::Unknown { code, most } => {
            let doubts = lease.doubts + 1;
            if !permits_after(doubts, guarantee, most) {
                return Next::Settle(Outcome::Unknown);
            }
            (ambiguous_backoff(lease.doubts, chance), code, doubts)
        }
    };
    match now.checked_add(wait) {
        Ok(until) if until < ends_at => Next::Wait { until, why, doubts },
        _ if doubts > 0 => Next::Settle(Outcome::Unknown),
        _ => Next::Settle(Outcome::Expired),
    }
}

fn after_revising(
    lease: &Lease,
    copy: &SentCopy,
    attempt: Attempt,
    policy: Policy,
    now: Timestamp,
    chance: u32,
) -> Next {
    let Policy {
        revision, ends_at, ..
    } = policy;
    let settle = |copy| Next::Settle(Outcome::Delivered(copy));
    let refused = SentCopy {
        tried: revision,
        ..copy.clone()
    };
    let (wait, why) = match attempt {
        Attempt::Delivered(_) => {
            return settle(SentCopy {
                shows: revision,
                ..refused
            });
        }
        Attempt::CopyGone => {
            return settle(SentCopy {
                activity: None,
                ..refused
            });
        }
        Attempt::Rejected { .. } | Attempt::Gone(_) => return settle(refused),
        Attempt::NotSent { code, retry_after } => (retry_backoff(lease.attempt, retry_after, chance), code),
        Attempt::Unknown { code, .. } => (retry_backoff(lease.attempt, None, chance), code),
    };
    match now.checked_add(wait) {
        Ok(until) if until < ends_at => Next::Wait {
            until,
            why,
            doubts: lease.doubts,
        },
        _ => settle(refused),
    }
}
