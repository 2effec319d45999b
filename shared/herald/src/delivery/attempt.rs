//! The result of an attempt, and what it means for its delivery.

use botframework::id::ActivityId;
use jiff::{SignedDuration, Timestamp};

use super::claim::may_retry_ambiguous;
use super::{AttemptLease, Guarantee, Outcome, SentMessage};
use crate::backoff::{ambiguous_backoff, retry_backoff};

/// The result of one attempt: the Connector's classes, with what the ledger keeps of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The channel accepted it.
    Delivered(Option<ActivityId>),
    /// Known not to have been executed.
    NotSent {
        /// The channel's code, or what failed.
        code: String,
        /// The delay that the channel asked for.
        retry_after: Option<SignedDuration>,
    },
    /// The channel refused the message.
    Rejected {
        /// The channel's code, or what failed.
        code: String,
        /// The channel's message.
        detail: Option<String>,
    },
    /// The sent message that was to be updated does not exist any more.
    MessageDeleted,
    /// The channel refused the conversation.
    Gone(String),
    /// Possibly executed.
    Unknown {
        /// The channel's code, or what failed.
        code: String,
        /// How many ambiguous attempts there may be at most.
        max: u32,
    },
}

/// What to write after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The delivery ends with this outcome.
    Settle(Outcome),
    /// It is retried later.
    Wait {
        /// The earliest moment of the next attempt.
        until: Timestamp,
        /// The channel's code, or what failed.
        reason: String,
        /// How many attempts, this one included, are ambiguous.
        ambiguous_attempts: u32,
    },
}

/// The limits of a delivery.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Whether an ambiguous attempt is retried.
    pub guarantee: Guarantee,
    /// The revision that the attempt brought.
    pub revision: u32,
    /// When retries end.
    pub ends_at: Timestamp,
}

/// The channel's code for a message that does not exist any more.
const MESSAGE_DELETED: &str = "ActivityNotFoundInConversation";

/// What an attempt means for its delivery. `random` is the jitter of the backoff.
pub fn disposition(
    lease: &AttemptLease,
    outcome: AttemptOutcome,
    policy: RetryPolicy,
    now: Timestamp,
    random: u32,
) -> Disposition {
    match &lease.sent {
        None => after_send(lease, outcome, policy, now, random),
        Some(sent) => after_update(lease, sent, outcome, policy, now, random),
    }
}

fn after_send(
    lease: &AttemptLease,
    outcome: AttemptOutcome,
    policy: RetryPolicy,
    now: Timestamp,
    random: u32,
) -> Disposition {
    let RetryPolicy {
        guarantee,
        revision,
        ends_at,
    } = policy;
    let (wait, reason, ambiguous_attempts) = match outcome {
        AttemptOutcome::Delivered(activity) => {
            return Disposition::Settle(Outcome::Delivered(sent_message(lease, activity, revision)));
        }
        AttemptOutcome::Rejected { code, detail } => {
            return Disposition::Settle(lease.final_outcome(Outcome::Rejected { code, detail }));
        }
        // The message to edit is gone: it is sent instead, by the next attempt.
        AttemptOutcome::MessageDeleted if lease.edits.is_some() => (
            SignedDuration::ZERO,
            MESSAGE_DELETED.to_owned(),
            lease.ambiguous_attempts,
        ),
        AttemptOutcome::MessageDeleted => {
            let code = MESSAGE_DELETED.to_owned();
            return Disposition::Settle(lease.final_outcome(Outcome::Rejected { code, detail: None }));
        }
        AttemptOutcome::Gone(code) => {
            return Disposition::Settle(lease.final_outcome(Outcome::Gone { code }));
        }
        AttemptOutcome::NotSent { code, retry_after } => (
            retry_backoff(lease.attempt, retry_after, random),
            code,
            lease.ambiguous_attempts,
        ),
        AttemptOutcome::Unknown { code, max } => {
            let ambiguous_attempts = lease.ambiguous_attempts + 1;
            // An edit is idempotent.
            if lease.edits.is_none() && !may_retry_ambiguous(ambiguous_attempts, guarantee, max) {
                return Disposition::Settle(Outcome::Unknown);
            }
            (
                ambiguous_backoff(lease.ambiguous_attempts, random),
                code,
                ambiguous_attempts,
            )
        }
    };
    match now.checked_add(wait) {
        Ok(until) if until < ends_at => Disposition::Wait {
            until,
            reason,
            ambiguous_attempts,
        },
        _ if ambiguous_attempts > 0 => Disposition::Settle(Outcome::Unknown),
        _ => Disposition::Settle(Outcome::Expired { why: Some(reason) }),
    }
}

/// The message that an attempt sent, or the earlier copy that it edited.
fn sent_message(lease: &AttemptLease, activity: Option<ActivityId>, revision: u32) -> SentMessage {
    let (activity, supersedes) = match lease.edits.clone() {
        Some(copy) => (Some(copy.activity), copy.notification),
        None => (activity, None),
    };
    SentMessage {
        activity,
        revision,
        attempted_revision: revision,
        supersedes,
    }
}

fn after_update(
    lease: &AttemptLease,
    sent: &SentMessage,
    outcome: AttemptOutcome,
    policy: RetryPolicy,
    now: Timestamp,
    random: u32,
) -> Disposition {
    let RetryPolicy {
        revision, ends_at, ..
    } = policy;
    let settle = |sent| Disposition::Settle(Outcome::Delivered(sent));
    let refused = SentMessage {
        attempted_revision: revision,
        ..sent.clone()
    };
    let (wait, reason) = match outcome {
        AttemptOutcome::Delivered(_) => {
            return settle(SentMessage { revision, ..refused });
        }
        AttemptOutcome::MessageDeleted => {
            return settle(SentMessage {
                activity: None,
                ..refused
            });
        }
        AttemptOutcome::Rejected { .. } | AttemptOutcome::Gone(_) => return settle(refused),
        AttemptOutcome::NotSent { code, retry_after } => {
            (retry_backoff(lease.attempt, retry_after, random), code)
        }
        AttemptOutcome::Unknown { code, .. } => (retry_backoff(lease.attempt, None, random), code),
    };
    match now.checked_add(wait) {
        Ok(until) if until < ends_at => Disposition::Wait {
            until,
            reason,
            ambiguous_attempts: lease.ambiguous_attempts,
        },
        _ => settle(refused),
    }
}
