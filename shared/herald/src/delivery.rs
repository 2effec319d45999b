//! A delivery's life, as pure code.
//!
//! ```text
//! (no row) ──claim──▶ claimed ──settle──▶ delivered | rejected | gone | unknown | skipped | expired | cancelled
//!                       └──release──▶ waiting ──claim──▶ claimed …
//! ```
//!
//! A row exists from the first claim on; what is planned but not yet claimed is known from the plan's pages
//! ([`crate::notification`]). The store runs [`claim`] as one conditional write, so of any number of workers one wins.

use botframework::id::ActivityId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::audience::Recipient;
use crate::id::NotificationId;

/// Requests made for one delivery before it is given up: the ten overall of `protocol F`, item 4.
pub const ATTEMPTS_MAX: u32 = 10;

/// Names one delivery: one notification to one recipient. The ledger's primary key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeliveryKey(String);

impl DeliveryKey {
    /// The delivery of `notification` to `recipient`.
    pub fn new(notification: &NotificationId, recipient: &Recipient) -> Self {
        Self(format!("{notification}|{}", recipient.ledger_key()))
    }

    /// The key as it stands in the table.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an unknown outcome becomes; the caller's choice for each notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnUnknown {
    /// Sent again: at least once, as the channel's documentation advises.
    #[default]
    Retry,
    /// Left alone and counted as unknown: at most once.
    GiveUp,
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum Outcome {
    /// The channel took it.
    Delivered {
        /// Its id there; some successes name none, and such a copy cannot be edited later.
        activity: Option<ActivityId>,
    },
    /// The channel refused this message; another one may do.
    Rejected {
        /// The channel's code.
        code: String,
    },
    /// The channel refused this conversation; no message will do.
    Gone {
        /// The channel's code.
        code: String,
    },
    /// Nobody can know whether it arrived.
    Unknown,
    /// Not tried.
    Skipped {
        /// Why.
        reason: SkipReason,
    },
    /// Its time had passed.
    Expired,
    /// The notification was cancelled first.
    Cancelled,
}

/// Why a delivery was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SkipReason {
    /// No conversation of this person or by this id is remembered.
    NoConversation,
    /// The bot was uninstalled or taken out.
    Removed,
    /// The channel refuses this conversation until the person acts.
    Blocked,
}

/// How many deliveries ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The channel took it.
    pub delivered: u64,
    /// The channel refused the message.
    pub rejected: u64,
    /// The channel refused the conversation.
    pub gone: u64,
    /// Nobody can know.
    pub unknown: u64,
    /// Not tried.
    pub skipped: u64,
    /// Too late.
    pub expired: u64,
    /// Cancelled first.
    pub cancelled: u64,
}

impl Tally {
    /// Counts one more.
    pub fn count(&mut self, outcome: &Outcome) {
        *match outcome {
            Outcome::Delivered { .. } => &mut self.delivered,
            Outcome::Rejected { .. } => &mut self.rejected,
            Outcome::Gone { .. } => &mut self.gone,
            Outcome::Unknown => &mut self.unknown,
            Outcome::Skipped { .. } => &mut self.skipped,
            Outcome::Expired => &mut self.expired,
            Outcome::Cancelled => &mut self.cancelled,
        } += 1;
    }

    /// Adds another tally to this one.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.fields_mut().into_iter().zip(other.fields()) {
            *mine += theirs.1;
        }
    }

    /// All that ended.
    pub fn total(&self) -> u64 {
        self.fields().iter().map(|(_, count)| count).sum()
    }

    /// Each count with its name, as tables and answers spell it.
    pub fn fields(&self) -> [(&'static str, u64); 7] {
        [
            ("delivered", self.delivered),
            ("rejected", self.rejected),
            ("gone", self.gone),
            ("unknown", self.unknown),
            ("skipped", self.skipped),
            ("expired", self.expired),
            ("cancelled", self.cancelled),
        ]
    }

    /// Each count in the order of [`fields`](Self::fields), to be written.
    pub fn fields_mut(&mut self) -> [&mut u64; 7] {
        [
            &mut self.delivered,
            &mut self.rejected,
            &mut self.gone,
            &mut self.unknown,
            &mut self.skipped,
            &mut self.expired,
            &mut self.cancelled,
        ]
    }
}

/// Whether an earlier attempt may have reached the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Earlier {
    /// Certainly not.
    NotSent,
    /// It may have: its worker died, or its outcome is unknown.
    MaybeSent,
}

/// Where a delivery stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum State {
    /// A worker has it until then.
    Claimed {
        /// The deadline, taken from the worker's own.
        until: Timestamp,
    },
    /// Nobody has it, and nobody may before then.
    Waiting {
        /// The earliest moment of the next attempt.
        until: Timestamp,
        /// The channel's code, or what failed.
        why: String,
    },
    /// It ended.
    Settled(Outcome),
}

/// The ledger's one row for one delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Where it stands.
    #[serde(flatten)]
    pub state: State,
    /// Claims so far, from 1. Also the row's version: each claim counts it up, and only its holder writes until the next.
    pub attempt: u32,
    /// Whether an attempt before this claim may have reached the channel.
    pub earlier: Earlier,
}

/// The right to make one attempt, from [`claim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which claim this is.
    pub attempt: u32,
    /// Whether an attempt before this one may have reached the channel.
    pub earlier: Earlier,
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
    /// Nobody has it, and nobody may before then.
    Waiting {
        /// When to ask again.
        until: Timestamp,
    },
    /// It has ended.
    Settled(Outcome),
}

/// What asking for the delivery at `now` comes to, and the row to write if it is taken.
///
/// A claim past its deadline is taken over. Its holder may have sent and died before it could say so, so the taker
/// must treat the earlier attempt as possibly sent.
pub fn claim(row: Option<&Row>, now: Timestamp, until: Timestamp) -> (Claim, Option<Row>) {
    let (attempt, earlier) = match row {
        None => (1, Earlier::NotSent),
        Some(Row {
            state,
            attempt,
            earlier,
        }) => match state {
            State::Settled(outcome) => return (Claim::Settled(outcome.clone()), None),
            State::Claimed { until } if *until > now => return (Claim::Held { until: *until }, None),
            State::Waiting { until, .. } if *until > now => return (Claim::Waiting { until: *until }, None),
            State::Claimed { .. } => (attempt + 1, Earlier::MaybeSent),
            State::Waiting { .. } => (attempt + 1, *earlier),
        },
    };
    let row = Row {
        state: State::Claimed { until },
        attempt,
        earlier,
    };
    (Claim::Taken(Lease { attempt, earlier }), Some(row))
}

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
    Rejected(String),
    /// The conversation was refused.
    Gone(String),
    /// Possibly carried out.
    Unknown(String),
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
        /// Whether this attempt or one before it may have reached the channel.
        earlier: Earlier,
    },
}

/// What an attempt means for its delivery.
pub fn next(lease: Lease, attempt: Attempt, policy: OnUnknown, now: Timestamp) -> Next {
    let last = lease.attempt >= ATTEMPTS_MAX;
    match attempt {
        Attempt::Delivered(activity) => Next::Settle(Outcome::Delivered { activity }),
        Attempt::Rejected(code) => Next::Settle(Outcome::Rejected { code }),
        Attempt::Gone(code) => Next::Settle(Outcome::Gone { code }),
        Attempt::NotSent { code, .. } if last => match lease.earlier {
            Earlier::NotSent => Next::Settle(Outcome::Rejected { code }),
            Earlier::MaybeSent => Next::Settle(Outcome::Unknown),
        },
        Attempt::NotSent { code, retry_after } => Next::Wait {
            until: later(now, retry_after.unwrap_or_else(|| backoff(lease.attempt))),
            why: code,
            earlier: lease.earlier,
        },
        Attempt::Unknown(code) => match policy {
            OnUnknown::Retry if !last => Next::Wait {
                until: later(now, backoff(lease.attempt)),
                why: code,
                earlier: Earlier::MaybeSent,
            },
            OnUnknown::Retry | OnUnknown::GiveUp => Next::Settle(Outcome::Unknown),
        },
    }
}

/// Whether an attempt may be made under this lease, or the delivery has to be settled as unknown instead.
pub fn may_attempt(lease: Lease, policy: OnUnknown) -> bool {
    match (lease.earlier, policy) {
        (Earlier::NotSent, _) | (Earlier::MaybeSent, OnUnknown::Retry) => true,
        (Earlier::MaybeSent, OnUnknown::GiveUp) => false,
    }
}

/// Two seconds, doubled with each attempt, at most a quarter of an hour (what an SQS message can be delayed by).
fn backoff(attempt: u32) -> SignedDuration {
    SignedDuration::from_secs(1_i64 << attempt.clamp(1, 10)).min(SignedDuration::from_mins(15))
}

fn later(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn lease(attempt: u32, earlier: Earlier) -> Lease {
        Lease { attempt, earlier }
    }

    #[test]
    fn a_claim_is_one_workers_until_its_deadline_and_then_the_takers() {
        let (claimed, row) = claim(None, at(0), at(60));
        assert_eq!(claimed, Claim::Taken(lease(1, Earlier::NotSent)));
        let row = row.unwrap();
        assert_eq!(
            claim(Some(&row), at(59), at(119)),
            (Claim::Held { until: at(60) }, None)
        );
        let (taken, row) = claim(Some(&row), at(60), at(120));
        assert_eq!(taken, Claim::Taken(lease(2, Earlier::MaybeSent)));
        assert_eq!(row.unwrap().state, State::Claimed { until: at(120) });
    }

    #[test]
    fn a_waiting_delivery_is_claimed_when_its_time_has_come() {
        let row = Row {
            state: State::Waiting {
                until: at(10),
                why: "Throttled".into(),
            },
            attempt: 3,
            earlier: Earlier::NotSent,
        };
        assert_eq!(
            claim(Some(&row), at(9), at(60)).0,
            Claim::Waiting { until: at(10) }
        );
        assert_eq!(
            claim(Some(&row), at(10), at(60)).0,
            Claim::Taken(lease(4, Earlier::NotSent))
        );
    }

    #[test]
    fn a_settled_delivery_is_never_claimed_again() {
        let row = Row {
            state: State::Settled(Outcome::Unknown),
            attempt: 1,
            earlier: Earlier::NotSent,
        };
        assert_eq!(
            claim(Some(&row), at(1_000_000), at(1_000_060)),
            (Claim::Settled(Outcome::Unknown), None)
        );
    }

    #[test]
    fn an_unknown_outcome_follows_the_policy() {
        let unknown = || Attempt::Unknown("Timeout".into());
        let first = lease(1, Earlier::NotSent);
        assert_eq!(
            next(first, unknown(), OnUnknown::GiveUp, at(0)),
            Next::Settle(Outcome::Unknown)
        );
        let Next::Wait { until, earlier, .. } = next(first, unknown(), OnUnknown::Retry, at(0)) else {
            panic!("retry waits");
        };
        assert!(until > at(0));
        assert_eq!(earlier, Earlier::MaybeSent);
        assert!(!may_attempt(lease(2, earlier), OnUnknown::GiveUp));
        assert!(may_attempt(lease(2, earlier), OnUnknown::Retry));
    }

    #[test]
    fn a_wait_the_channel_asked_for_is_kept() {
        let attempt = Attempt::NotSent {
            code: "Throttled".into(),
            retry_after: Some(SignedDuration::from_secs(645)),
        };
        let expected = Next::Wait {
            until: at(645),
            why: "Throttled".into(),
            earlier: Earlier::NotSent,
        };
        assert_eq!(
            next(lease(1, Earlier::NotSent), attempt, OnUnknown::Retry, at(0)),
            expected
        );
    }

    #[test]
    fn the_last_attempt_settles_as_what_is_known() {
        let not_sent = || Attempt::NotSent {
            code: "Throttled".into(),
            retry_after: None,
        };
        let settle = |earlier| next(lease(ATTEMPTS_MAX, earlier), not_sent(), OnUnknown::Retry, at(0));
        assert_eq!(
            settle(Earlier::NotSent),
            Next::Settle(Outcome::Rejected {
                code: "Throttled".into()
            })
        );
        assert_eq!(settle(Earlier::MaybeSent), Next::Settle(Outcome::Unknown));
        let unknown = next(
            lease(ATTEMPTS_MAX, Earlier::NotSent),
            Attempt::Unknown("504".into()),
            OnUnknown::Retry,
            at(0),
        );
        assert_eq!(unknown, Next::Settle(Outcome::Unknown));
    }

    #[test]
    fn a_tally_counts_each_outcome_under_its_own_name() {
        let mut tally = Tally::default();
        for outcome in [
            Outcome::Delivered { activity: None },
            Outcome::Rejected { code: "x".into() },
            Outcome::Gone { code: "x".into() },
            Outcome::Unknown,
            Outcome::Skipped {
                reason: SkipReason::Removed,
            },
            Outcome::Expired,
            Outcome::Cancelled,
        ] {
            let name = serde_json::to_value(&outcome).unwrap()["outcome"]
                .as_str()
                .unwrap()
                .to_owned();
            let before = tally;
            tally.count(&outcome);
            let changed: Vec<_> = tally
                .fields()
                .into_iter()
                .zip(before.fields())
                .filter(|(now, then)| now.1 != then.1)
                .collect();
            assert_eq!(changed.len(), 1);
            assert_eq!(changed[0].0.0, name);
        }
        assert_eq!(tally.total(), 7);
    }
}
