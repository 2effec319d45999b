//! The state machine of a delivery, as pure code.
//!
//! ```text
//! (no row) ──claim──▶ leased ──settle──▶ delivered | rejected | gone | unknown | skipped | expired | cancelled
//!                       └──release──▶ waiting ──claim──▶ leased …
//! (no row) ──defer, while there is no conversation──▶ waiting
//! delivered ──claim, at a newer revision──▶ leased ──settle──▶ delivered
//! ```
//!
//! A claim takes the conversation's *turn*: a lease that names one delivery and a deadline. The outcome of the attempt is
//! written into the delivery's *row*. A row that has reached the turn's attempt ends the turn. So a conversation has at
//! most one request under way, its requests keep their distance, and a delivery costs two writes: claim and settle.
//!
//! The store runs [`claim`] and [`may_write`] as conditional writes, so one of any number of workers wins. The rules and
//! the proof: `DESIGN.md#ledger`.

use botframework::id::ActivityId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audience::Recipient;
use crate::digest::sha256_hex;
use crate::id::NotificationId;

mod attempt;
mod claim;
#[cfg(test)]
mod tests;

pub use attempt::{Attempt, Next, Policy, next};
pub(crate) use claim::permits_after;
pub use claim::{Asked, Claim, Decision, Lease, Stage, Standing, Turn, claim, may_write};

/// The most ambiguous attempts of one delivery, before it ends as unknown. With [`Guarantee::AtLeastOnce`] this bounds
/// the copies.
///
/// Refusals do not count: a throttled delivery waits until its notification expires.
pub const DOUBTS_MAX: u32 = 4;

/// The reason of a delivery that waits for the installation of the bot.
pub const INSTALLING: &str = "Installing";

/// The longest recipient that a ledger key holds verbatim, in bytes. A DynamoDB key has at most 2,048; a notification's
/// id takes 36.
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
                sha256_hex(recipient.as_bytes())
            ))
        }
    }

    /// The table's partition key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of a stored row.
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }
}

/// How often a message may arrive when the response to a request is lost. The caller chooses it for each notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Guarantee {
    /// An ambiguous request is retried, as the channel's documentation advises.
    #[default]
    #[serde(rename = "retry")]
    AtLeastOnce,
    /// An ambiguous request is not retried; the delivery ends as unknown.
    #[serde(rename = "giveUp")]
    AtMostOnce,
}

/// The message in a conversation that shows a notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentCopy {
    /// Its activity id. The channel omits it in some successes; such a copy can be neither edited nor deleted.
    pub activity: Option<ActivityId>,
    /// The notification's revision that it shows.
    pub shows: u32,
    /// The last revision that was attempted: later than `shows` if the channel refused the update.
    pub tried: u32,
}

impl SentCopy {
    /// Whether it can be updated to this revision, and no update was attempted.
    fn is_behind(&self, revision: u32) -> bool {
        self.activity.is_some() && self.tried < revision
    }
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum Outcome {
    /// The channel accepted the message.
    Delivered(SentCopy),
    /// The channel refused this message. Another message may be accepted.
    Rejected {
        /// The channel's error code.
        code: String,
        /// The channel's error text. It may quote the message, so it goes to the sender of the message and not into logs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// The channel refused this conversation, for any message.
    Gone {
        /// The channel's error code.
        code: String,
    },
    /// The request may have been carried out.
    Unknown,
    /// No request was made.
    Skipped {
        /// Why no request was made.
        reason: SkipReason,
    },
    /// The notification expired first.
    Expired,
    /// The notification was cancelled first.
    Cancelled,
}

impl Outcome {
    /// Whether its copy can still be updated to this revision.
    pub fn is_behind(&self, revision: u32) -> bool {
        matches!(self, Self::Delivered(copy) if copy.is_behind(revision))
    }

    /// Whether `other` is the outcome of the same copy after a later revision.
    pub fn is_outdated_by(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Delivered(one), Self::Delivered(other)) if one.tried < other.tried)
    }
}

/// Why a delivery was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SkipReason {
    /// No conversation is stored for this person or id.
    NoConversation,
    /// The bot is not installed for this person.
    NotInstalled,
    /// The bot was uninstalled or removed.
    Removed,
    /// The channel refuses this conversation until the person acts.
    Blocked,
    /// The bot may not be installed for this person: their tenant has not consented, or a policy forbids it.
    InstallForbidden,
    /// The bot's app is not in the catalog of this person's tenant, so it cannot be installed there.
    AppNotInCatalog,
    /// The person's tenant does not know the person, so the bot cannot be installed. Guests are such people.
    NoSuchPerson,
}

/// The number of deliveries by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// See [`Outcome::Delivered`].
    pub delivered: u64,
    /// See [`Outcome::Rejected`].
    pub rejected: u64,
    /// See [`Outcome::Gone`].
    pub gone: u64,
    /// See [`Outcome::Unknown`].
    pub unknown: u64,
    /// See [`Outcome::Skipped`].
    pub skipped: u64,
    /// See [`Outcome::Expired`].
    pub expired: u64,
    /// See [`Outcome::Cancelled`].
    pub cancelled: u64,
}

impl Tally {
    /// Counts an outcome.
    pub fn count(&mut self, outcome: &Outcome) {
        *match outcome {
            Outcome::Delivered(_) => &mut self.delivered,
            Outcome::Rejected { .. } => &mut self.rejected,
            Outcome::Gone { .. } => &mut self.gone,
            Outcome::Unknown => &mut self.unknown,
            Outcome::Skipped { .. } => &mut self.skipped,
            Outcome::Expired => &mut self.expired,
            Outcome::Cancelled => &mut self.cancelled,
        } += 1;
    }

    /// Adds the counts of another tally.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.fields_mut().into_iter().zip(other.fields()) {
            *mine += theirs.1;
        }
    }

    /// The number of deliveries that ended.
    pub fn total(&self) -> u64 {
        self.fields().iter().map(|(_, count)| count).sum()
    }

    /// Each count with its name in tables and API responses.
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

    /// Each count, mutable, in the order of [`fields`](Self::fields).
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

/// The state of a delivery without a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum State {
    /// No worker has it, and no worker may claim it before `until`.
    Waiting {
        /// The earliest moment of the next attempt.
        until: Timestamp,
        /// The channel's error code, or the failure.
        why: String,
    },
    /// It ended with this outcome.
    Settled(Outcome),
}

/// The ledger's record of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The state that the last claim left.
    #[serde(flatten)]
    pub state: State,
    /// The claim that wrote it, from 1; 0 if it was settled or deferred without a claim. While no conversation exists, it
    /// counts the attempts to create one.
    pub attempt: u32,
    /// Ambiguous attempts so far: the worker died, or the response was lost.
    pub doubts: u32,
}

impl Row {
    /// The row of a delivery that was in a batch, was not sent by it, and may be claimed from `until` on.
    pub(crate) fn left(until: Timestamp, why: String, doubts: u32) -> Self {
        Self {
            state: State::Waiting { until, why },
            attempt: 0,
            doubts,
        }
    }

    /// Whether the message arrived.
    pub fn arrived(&self) -> bool {
        matches!(self.state, State::Settled(Outcome::Delivered(_)))
    }

    /// The purpose of the claim that wrote this row, if its holder did not settle.
    pub fn stage(&self) -> Stage {
        match self.state {
            State::Waiting { .. } => Stage::Sending,
            State::Settled(_) => Stage::Revising,
        }
    }
}
