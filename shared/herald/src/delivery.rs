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
use crate::id::{self, NotificationId};

/// How many attempts of one delivery may each have reached the channel before it is left as unknown: with
/// [`OnUnknown::Retry`], so many copies at the very worst.
///
/// Refusals do not count: a throttled delivery waits until its notification expires.
pub const DOUBTS_MAX: u32 = 4;

/// The longest wait that is ours to choose after a refusal. The channel's own `Retry-After` may be longer.
const REFUSED_WAIT_MAX: SignedDuration = SignedDuration::from_mins(1);

/// The longest recipient that stands in a ledger key as it is. DynamoDB's keys hold 2,048 bytes, a notification's id has
/// 36 of them.
const RECIPIENT_BYTES_MAX: usize = 2000;

/// Names one delivery: one notification to one recipient. The ledger's primary key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeliveryKey(String);

impl DeliveryKey {
    /// The delivery of `notification` to `recipient`.
    pub fn new(notification: &NotificationId, recipient: &Recipient) -> Self {
        let recipient = recipient.ledger_key();
        if recipient.len() <= RECIPIENT_BYTES_MAX {
            Self(format!("{notification}|{recipient}"))
        } else {
            Self(format!(
                "{notification}|sha256|{}",
                id::digest(recipient.as_bytes())
            ))
        }
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
    /// How many attempts so far may have reached the channel: their worker died, or nobody knows what came of them.
    pub doubts: u32,
}

/// The right to make one attempt, from [`claim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which claim this is.
    pub attempt: u32,
    /// How many attempts before this one may have reached the channel.
    pub doubts: u32,
}

impl Lease {
    /// Whether an attempt may be made, or the delivery has to end as unknown instead.
    pub fn permits_attempt(self, policy: OnUnknown) -> bool {
        match policy {
            OnUnknown::Retry => self.doubts < DOUBTS_MAX,
            OnUnknown::GiveUp => self.doubts == 0,
        }
    }

    /// How the delivery ends when it comes to this now. What may have been sent before is never said not to have been.
    pub fn ending(self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Delivered { .. } | Outcome::Unknown => outcome,
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
    let (attempt, doubts) = match row {
        None => (1, 0),
        Some(row) => match &row.state {
            State::Settled(outcome) => return (Claim::Settled(outcome.clone()), None),
            State::Claimed { until } if *until > now => return (Claim::Held { until: *until }, None),
            State::Waiting { until, .. } if *until > now => return (Claim::Waiting { until: *until }, None),
            State::Claimed { .. } => (row.attempt + 1, row.doubts + 1),
            State::Waiting { .. } => (row.attempt + 1, row.doubts),
        },
    };
    let state = State::Claimed { until };
    let row = Row {
        state,
        attempt,
        doubts,
    };
    (Claim::Taken(Lease { attempt, doubts }), Some(row))
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
        /// How many attempts, this one included, may have reached the channel.
        doubts: u32,
    },
}

/// What an attempt means for its delivery, of a notification that expires then.
pub fn next(
    lease: Lease,
    attempt: Attempt,
    policy: OnUnknown,
    now: Timestamp,
    expires_at: Timestamp,
) -> Next {
    let (wait, why, lease) = match attempt {
        Attempt::Delivered(activity) => return Next::Settle(Outcome::Delivered { activity }),
        Attempt::Rejected(code) => return Next::Settle(lease.ending(Outcome::Rejected { code })),
        Attempt::Gone(code) => return Next::Settle(lease.ending(Outcome::Gone { code })),
        Attempt::NotSent { code, retry_after } => {
            let ours = SignedDuration::from_secs(1 << lease.attempt.clamp(1, 6)).min(REFUSED_WAIT_MAX);
            (retry_after.unwrap_or_default().max(ours), code, lease)
        }
        Attempt::Unknown(code) => {
            let doubtful = Lease {
                doubts: lease.doubts + 1,
                ..lease
            };
            if !doubtful.permits_attempt(policy) {
                return Next::Settle(Outcome::Unknown);
            }
            // 15 seconds, one minute, four: an outage of the channel lasts minutes, and each attempt may be a copy.
            let wait = SignedDuration::from_secs(15 << (2 * lease.doubts.min(3)));
            (wait, code, doubtful)
        }
    };
    match now.checked_add(wait) {
        Ok(until) if until < expires_at => Next::Wait {
            until,
            why,
            doubts: lease.doubts,
        },
        _ => Next::Settle(lease.ending(Outcome::Expired)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn lease(attempt: u32, doubts: u32) -> Lease {
        Lease { attempt, doubts }
    }

    fn waits(lease: Lease, attempt: Attempt) -> (SignedDuration, u32) {
        match next(lease, attempt, OnUnknown::Retry, at(0), at(1_000_000)) {
            Next::Wait { until, doubts, .. } => (until.duration_since(at(0)), doubts),
            Next::Settle(outcome) => panic!("settled as {outcome:?}"),
        }
    }

    fn throttled(retry_after: Option<i64>) -> Attempt {
        let retry_after = retry_after.map(SignedDuration::from_secs);
        Attempt::NotSent {
            code: "Throttled".into(),
            retry_after,
        }
    }

    #[test]
    fn a_claim_is_one_workers_until_its_deadline_and_then_the_takers() {
        let (claimed, row) = claim(None, at(0), at(60));
        assert_eq!(claimed, Claim::Taken(lease(1, 0)));
        let row = row.unwrap();
        assert_eq!(
            claim(Some(&row), at(59), at(119)),
            (Claim::Held { until: at(60) }, None)
        );
        let (taken, row) = claim(Some(&row), at(60), at(120));
        assert_eq!(taken, Claim::Taken(lease(2, 1)));
        assert_eq!(row.unwrap().state, State::Claimed { until: at(120) });
    }

    #[test]
    fn a_waiting_delivery_is_claimed_when_its_time_has_come() {
        let state = State::Waiting {
            until: at(10),
            why: "Throttled".into(),
        };
        let row = Row {
            state,
            attempt: 3,
            doubts: 0,
        };
        assert_eq!(
            claim(Some(&row), at(9), at(60)).0,
            Claim::Waiting { until: at(10) }
        );
        assert_eq!(claim(Some(&row), at(10), at(60)).0, Claim::Taken(lease(4, 0)));
    }

    #[test]
    fn a_settled_delivery_is_never_claimed_again() {
        let row = Row {
            state: State::Settled(Outcome::Unknown),
            attempt: 1,
            doubts: 0,
        };
        assert_eq!(
            claim(Some(&row), at(1_000_000), at(1_000_060)),
            (Claim::Settled(Outcome::Unknown), None)
        );
    }

    #[test]
    fn an_unknown_outcome_follows_the_policy() {
        let unknown = || Attempt::Unknown("Timeout".into());
        let give_up = next(lease(1, 0), unknown(), OnUnknown::GiveUp, at(0), at(1_000_000));
        assert_eq!(give_up, Next::Settle(Outcome::Unknown));
        let seconds: Vec<_> = (0..3).map(|doubts| waits(lease(1, doubts), unknown())).collect();
        let expected =
            [(15, 1), (60, 2), (240, 3)].map(|(wait, doubts)| (SignedDuration::from_secs(wait), doubts));
        assert_eq!(seconds, expected);
        let last = next(
            lease(9, DOUBTS_MAX - 1),
            unknown(),
            OnUnknown::Retry,
            at(0),
            at(1_000_000),
        );
        assert_eq!(last, Next::Settle(Outcome::Unknown));
        assert!(lease(2, 1).permits_attempt(OnUnknown::Retry));
        assert!(!lease(2, 1).permits_attempt(OnUnknown::GiveUp));
        assert!(!lease(5, DOUBTS_MAX).permits_attempt(OnUnknown::Retry));
    }

    #[test]
    fn a_refusal_waits_as_long_as_the_channel_asks_and_never_hurries() {
        assert_eq!(
            waits(lease(1, 0), throttled(Some(645))).0,
            SignedDuration::from_secs(645)
        );
        assert_eq!(
            waits(lease(1, 0), throttled(Some(0))).0,
            SignedDuration::from_secs(2)
        );
        assert_eq!(
            waits(lease(40, 0), throttled(None)).0,
            SignedDuration::from_mins(1)
        );
    }

    #[test]
    fn no_number_of_refusals_gives_a_delivery_up_but_its_expiry_does() {
        let until_expiry = |lease| next(lease, throttled(Some(100)), OnUnknown::Retry, at(0), at(100));
        assert_eq!(until_expiry(lease(500, 0)), Next::Settle(Outcome::Expired));
        assert_eq!(until_expiry(lease(500, 1)), Next::Settle(Outcome::Unknown));
        assert_eq!(
            waits(lease(500, 0), throttled(Some(99))).0,
            SignedDuration::from_secs(99)
        );
    }

    #[test]
    fn what_may_have_been_sent_is_not_said_to_have_been_refused() {
        let gone = || Attempt::Gone("ConversationBlockedByUser".into());
        let after = |doubts| next(lease(2, doubts), gone(), OnUnknown::Retry, at(0), at(100));
        assert!(matches!(after(0), Next::Settle(Outcome::Gone { .. })));
        assert_eq!(after(1), Next::Settle(Outcome::Unknown));
        assert_eq!(
            lease(2, 1).ending(Outcome::Skipped {
                reason: SkipReason::Removed
            }),
            Outcome::Unknown
        );
    }

    #[test]
    fn a_key_fits_however_long_its_recipient() {
        let notification = NotificationId::fresh(at(0), [0; 16]);
        let key = |name: &str| DeliveryKey::new(&notification, &Recipient::User(name.into()));
        assert!(key(&"x".repeat(9000)).as_str().len() < 2048);
        assert_ne!(key(&"x".repeat(9000)), key(&"x".repeat(9001)));
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
