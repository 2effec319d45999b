//! The life cycle of a delivery, as pure code.
//!
//! ```text
//! (no row) ──claim──▶ leased ──settle──▶ delivered | rejected | gone | unknown | skipped | expired | cancelled
//!                       └──release──▶ waiting ──claim──▶ leased …
//! (no row) ──defer, while there is no conversation──▶ waiting
//! delivered ──claim, at a newer revision──▶ leased ──settle──▶ delivered
//! ```
//!
//! A claim acquires the conversation's lease: one item that says which delivery may write there, and until when. The result of
//! the attempt is written into the delivery's row, and a row with the lease's attempt number ends the lease. So a conversation
//! has at most one request in flight, its rate limit holds, and a delivery takes two writes: one to claim, one to settle.
//!
//! The store runs [`claim`] and [`may_write`] as conditional writes, so of any number of workers one wins. The rules and the
//! proof: `DESIGN.md#ledger`.

use botframework::id::ActivityId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audience::{MissReason, Recipient};
use crate::digest::sha256_hex;
use crate::id::NotificationId;

mod attempt;
mod claim;
#[cfg(test)]
mod tests;

pub use attempt::{AttemptOutcome, Disposition, RetryPolicy, disposition};
pub use claim::{
    AttemptLease, Claim, ClaimRequest, ClaimState, ConversationLease, Decision, EarlierCopy, Purpose, claim,
    may_write,
};
pub(crate) use claim::{WORKER_DIED, may_retry_ambiguous};

/// How many ambiguous attempts a delivery may have before it ends as unknown: with [`Guarantee::AtLeastOnce`], the largest number
/// of duplicates.
///
/// Refusals do not count: a throttled delivery is retried until its notification expires.
pub const MAX_AMBIGUOUS_ATTEMPTS: u32 = 4;

/// The reason of a delivery that waits for the installation of the bot.
pub const INSTALLING: &str = "Installing";

/// The longest recipient that a ledger key holds unhashed. DynamoDB's keys hold 2,048 bytes, of which a notification's id takes 36.
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

    /// The stored key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A key that was read from the table.
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }
}

/// Whether a request is retried when its response is lost. The caller chooses for each notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Guarantee {
    /// The request is retried, as the channel's documentation advises.
    #[default]
    #[serde(rename = "atLeastOnce")]
    AtLeastOnce,
    /// The request is not retried; the delivery ends as unknown.
    #[serde(rename = "atMostOnce")]
    AtMostOnce,
}

/// A message in a conversation, sent for a notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SentMessage {
    /// Its id there. Some successful responses have none; then the message cannot be updated.
    pub activity: Option<ActivityId>,
    /// The notification's revision that it has.
    pub revision: u32,
    /// The last revision that an update was attempted to; later than `revision` if the channel refused it.
    pub attempted_revision: u32,
    /// The notification whose message this was: the delivery edited the earlier copy of its subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<NotificationId>,
}

impl SentMessage {
    /// Whether an update to this revision is due.
    fn is_stale(&self, revision: u32) -> bool {
        self.activity.is_some() && self.attempted_revision < revision
    }
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum Outcome {
    /// The channel accepted it.
    Delivered(SentMessage),
    /// The channel refused this message.
    Rejected {
        /// The channel's code.
        code: String,
        /// The channel's message. It may quote the content, so it is never logged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// The channel refused this conversation, whatever the message.
    Gone {
        /// The channel's code.
        code: String,
    },
    /// Whether it arrived cannot be known.
    Unknown,
    /// Not attempted.
    Skipped {
        /// Why.
        reason: SkipReason,
    },
    /// The notification expired first.
    Expired {
        /// What it waited for: the code of its last attempt, or [`QUIET_HOURS`](Self::QUIET_HOURS). `None` if it was not reached in time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// The notification was cancelled first.
    Cancelled,
}

impl Outcome {
    /// Expired, for no reason of its own.
    pub const EXPIRED: Self = Self::Expired { why: None };

    /// Why a delivery expired whose recipient had quiet hours until the end.
    pub const QUIET_HOURS: &str = "quietHours";

    /// Whether it left a message for which an update to this revision is due.
    pub fn is_stale(&self, revision: u32) -> bool {
        matches!(self, Self::Delivered(sent) if sent.is_stale(revision))
    }

    /// Whether `other` is the outcome of the same message after a later update.
    pub fn is_outdated_by(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Delivered(one), Self::Delivered(other)) if one.attempted_revision < other.attempted_revision)
    }
}

/// Why a delivery was not attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SkipReason {
    /// No conversation of this person, or with this id, is stored.
    NoConversation,
    /// The person, group chat or channel opted out of the notification's category, or of everything.
    OptedOut,
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
    /// Their tenant has no such member. Guests are not members.
    NoSuchPerson,
    /// Their tenant has no such group.
    NoSuchGroup,
    /// The person's account is disabled.
    AccountDisabled,
    /// The person is a guest, and the audience leaves guests out.
    Guest,
    /// The bot lacks the permission to read the directory of this tenant, or is unknown there.
    DirectoryForbidden,
    /// The bot is in no conversation of this person's tenant, and the channel refuses to create one: a member of a shared
    /// channel from another tenant.
    NotInTenant,
    /// A conversation would be created with this person, and their tenant is not known.
    TenantUnknown,
    /// A newer notification of the same subject was sent there, or may have been.
    Superseded,
}

impl From<MissReason> for SkipReason {
    fn from(reason: MissReason) -> Self {
        match reason {
            MissReason::NoSuchPerson => Self::NoSuchPerson,
            MissReason::NoSuchGroup => Self::NoSuchGroup,
            MissReason::AccountDisabled => Self::AccountDisabled,
            MissReason::Guest => Self::Guest,
            MissReason::Forbidden => Self::DirectoryForbidden,
            MissReason::TenantUnknown => Self::TenantUnknown,
            // As of a roster that the channel did not return. The notification has expired by then.
            MissReason::Unavailable => Self::NoConversation,
        }
    }
}

/// How many deliveries ended with each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeCounts {
    /// The channel accepted it.
    pub delivered: u64,
    /// The channel refused the message.
    pub rejected: u64,
    /// The channel refused the conversation.
    pub gone: u64,
    /// It cannot be known.
    pub unknown: u64,
    /// Not attempted.
    pub skipped: u64,
    /// The notification expired first.
    pub expired: u64,
    /// The notification was cancelled first.
    pub cancelled: u64,
}

impl OutcomeCounts {
    /// Counts one more.
    pub fn count(&mut self, outcome: &Outcome) {
        *match outcome {
            Outcome::Delivered(_) => &mut self.delivered,
            Outcome::Rejected { .. } => &mut self.rejected,
            Outcome::Gone { .. } => &mut self.gone,
            Outcome::Unknown => &mut self.unknown,
            Outcome::Skipped { .. } => &mut self.skipped,
            Outcome::Expired { .. } => &mut self.expired,
            Outcome::Cancelled => &mut self.cancelled,
        } += 1;
    }

    /// Adds other counts to these.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.fields_mut().into_iter().zip(other.fields()) {
            *mine += theirs.1;
        }
    }

    /// Counts `now` in the place of `before`, which was added to these.
    pub(crate) fn recount(&mut self, before: &Self, now: &Self) {
        let each = before.fields().into_iter().zip(now.fields());
        for (mine, (before, now)) in self.fields_mut().into_iter().zip(each) {
            *mine = (*mine + now.1).saturating_sub(before.1);
        }
    }

    /// What these counts have more than earlier ones; `None` if one of them is lower, or none is higher.
    pub fn growth_since(&self, earlier: &Self) -> Option<Self> {
        let mut growth = Self::default();
        for (grown, (now, before)) in growth
            .fields_mut()
            .into_iter()
            .zip(self.fields().into_iter().zip(earlier.fields()))
        {
            *grown = now.1.checked_sub(before.1)?;
        }
        (growth.total() > 0).then_some(growth)
    }

    /// How many ended.
    pub fn total(&self) -> u64 {
        self.fields().iter().map(|(_, count)| count).sum()
    }

    /// Each count with its name in tables and responses.
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

    /// Each count in the order of [`fields`](Self::fields).
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

/// The state of a delivery between claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum State {
    /// It waits for its next attempt.
    Waiting {
        /// The earliest moment of the next attempt.
        until: Timestamp,
        /// The channel's code, or what failed.
        reason: String,
    },
    /// It ended.
    Settled(Outcome),
}

/// The ledger's one row for one delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The state of the delivery.
    #[serde(flatten)]
    pub state: State,
    /// The attempt that wrote it, from 1; 0 if there was none. While the recipient has no conversation: how often its creation
    /// failed.
    pub attempt: u32,
    /// How many attempts are ambiguous: the worker died, or the response was lost.
    pub ambiguous_attempts: u32,
}

impl Row {
    /// The row of a delivery that its batch did not reach; it may be claimed from `until` on.
    pub(crate) fn retryable(until: Timestamp, reason: String, ambiguous_attempts: u32) -> Self {
        Self {
            state: State::Waiting { until, reason },
            attempt: 0,
            ambiguous_attempts,
        }
    }

    /// Whether the message arrived.
    pub fn arrived(&self) -> bool {
        matches!(self.state, State::Settled(Outcome::Delivered(_)))
    }

    /// What the attempt was for whose crash this row records.
    pub fn purpose(&self) -> Purpose {
        match self.state {
            State::Waiting { .. } => Purpose::Send,
            State::Settled(_) => Purpose::Update,
        }
    }
}
