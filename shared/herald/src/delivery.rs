//! A delivery's life, as pure code.
//!
//! ```text
//! (no row) ──claim──▶ leased ──settle──▶ delivered | rejected | gone | unknown | skipped | expired | cancelled
//!                       └──release──▶ waiting ──claim──▶ leased …
//! (no row) ──defer, while there is no conversation──▶ waiting
//! delivered ──claim, at a newer revision──▶ leased ──settle──▶ delivered
//! ```
//!
//! A claim takes the *turn* of the conversation: one item that says which delivery may write there now, and until when.
//! What the attempt came to is written into the delivery's *row*, and a row that is as far as the turn's attempt ends the
//! turn. So a conversation has one request under way at most, whoever sends what; its requests keep their distance; and a
//! delivery is two writes: one to take the turn, one to settle.
//!
//! The store runs [`claim`] and [`may_write`] as conditional writes, so of any number of workers one wins. The rules and the
//! proof: `DESIGN.md#ledger`.

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

/// How many attempts of one delivery may each have reached the channel before it is left as unknown: with
/// [`Guarantee::AtLeastOnce`], so many copies at the very worst.
///
/// Refusals do not count: a throttled delivery waits until its notification expires.
pub const DOUBTS_MAX: u32 = 4;

/// Why a delivery waits to whose person the bot is being installed.
pub const INSTALLING: &str = "Installing";

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
                sha256_hex(recipient.as_bytes())
            ))
        }
    }

    /// The key as it stands in the table.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key that stands so in the table.
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }
}

/// How often a message may arrive when the channel's answer to a request is lost; the caller's choice for each notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Guarantee {
    /// The request is repeated, as the channel's documentation advises.
    #[default]
    #[serde(rename = "retry")]
    AtLeastOnce,
    /// The request is not repeated; the delivery ends as unknown.
    #[serde(rename = "giveUp")]
    AtMostOnce,
}

/// The copy of a notification that a conversation has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentCopy {
    /// Its id there. Some successes name none, and such a copy cannot be edited.
    pub activity: Option<ActivityId>,
    /// The revision of the notification that it shows.
    pub shows: u32,
    /// The last revision that it was to show: a later one than it shows, if the channel refused that.
    pub tried: u32,
}

impl SentCopy {
    /// Whether there is something to be done to bring it to this revision.
    fn is_behind(&self, revision: u32) -> bool {
        self.activity.is_some() && self.tried < revision
    }
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum Outcome {
    /// The channel took it.
    Delivered(SentCopy),
    /// The channel refused this message; another one may do.
    Rejected {
        /// The channel's code.
        code: String,
        /// The channel's words. They may quote the message: for whoever sent it, not for logs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
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

impl Outcome {
    /// Whether it left a copy that can still be brought to this revision.
    pub fn is_behind(&self, revision: u32) -> bool {
        matches!(self, Self::Delivered(copy) if copy.is_behind(revision))
    }

    /// Whether the other one tells of the same copy, as it is after a later revision.
    pub fn is_outdated_by(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Delivered(one), Self::Delivered(other)) if one.tried < other.tried)
    }
}

/// Why a delivery was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SkipReason {
    /// No conversation of this person or by this id is remembered.
    NoConversation,
    /// The bot is not installed for this person.
    NotInstalled,
    /// The bot was uninstalled or taken out.
    Removed,
    /// The channel refuses this conversation until the person acts.
    Blocked,
    /// The bot may not be installed for this person: their tenant has not consented, or a policy forbids it.
    InstallForbidden,
    /// The bot's app is not in the catalog of this person's tenant, so it cannot be installed there.
    AppNotInCatalog,
    /// Their tenant knows no such person whom it could be installed for. Guests are not.
    NoSuchPerson,
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
            Outcome::Delivered(_) => &mut self.delivered,
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

/// Where a delivery stands between its claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum State {
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
    /// The claim that wrote it, from 1; 0 when it ended, or was left over, without any. Of one that leads to no conversation yet,
    /// how often somebody tried to make one.
    pub attempt: u32,
    /// How many attempts so far may have reached the channel: their worker died, or nobody knows what came of them.
    pub doubts: u32,
}

impl Row {
    /// The row of a delivery that was left over by whoever was to make it with others, and is to be asked for from `until` on.
    pub(crate) fn left(until: Timestamp, why: String, doubts: u32) -> Self {
        Self {
            state: State::Waiting { until, why },
            attempt: 0,
            doubts,
        }
    }

    /// Whether it says that the message arrived.
    pub fn arrived(&self) -> bool {
        matches!(self.state, State::Settled(Outcome::Delivered(_)))
    }

    /// What a row like this one, of a holder who did not come back, was written for.
    pub fn stage(&self) -> Stage {
        match self.state {
            State::Waiting { .. } => Stage::Sending,
            State::Settled(_) => Stage::Revising,
        }
    }
}
