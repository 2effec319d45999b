//! What an attempt means for its delivery.

use botframework::id::ActivityId;
use jiff::{SignedDuration, Timestamp};

use super::claim::permits_after;
use super::{Guarantee, Lease, Outcome, SentCopy};
use crate::backoff::{ambiguous_backoff, retry_backoff};

/// What one attempt came to; the Connector's classes with what the ledger keeps of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Taken by the channel.
    Delivered(Option<ActivityId>),
    /// Certainly not carried out.
    NotSent {
        /// The channel's code, or what failed.
        code: String,
        /// The wait the channel asked for.
        retry_after: Option<SignedDuration>,
    },
    /// The message was refused.
    Rejected {
        /// The channel's code, or what failed.
        code: String,
        /// The channel's words.
        detail: Option<String>,
    },
    /// The copy that was to be changed is not there any more.
    CopyGone,
    /// The conversation was refused.
    Gone(String),
    /// Possibly carried out.
    Unknown {
        /// The channel's code, or what failed.
        code: String,
        /// How many such attempts there may be.
        most: u32,
    },
}

/// What is written after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It ended so.
    Settle(Outcome),
    /// It waits until then.
    Wait {
        /// The earliest moment of the next attempt.
        until: Timestamp,
        /// The channel's code, or what failed.
        why: String,
        /// How many attempts, this one included, may have reached the channel.
        doubts: u32,
    },
}

/// What decides how a delivery goes on.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What an unknown outcome becomes.
    pub guarantee: Guarantee,
    /// The revision that the attempt brought.
    pub revision: u32,
    /// Nothing is tried from then on.
    pub ends_at: Timestamp,
}

/// What an attempt means for its delivery. `chance` spreads the waits of those who failed together.
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
