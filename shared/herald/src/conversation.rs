//! What is remembered of a conversation, and what changes it.
//!
//! Everything here is pure: [`Observation::from_activity`] reads an activity; [`remember`] says what the record becomes when that is seen,
//! [`apply_feedback`] what it becomes when a sender finds something out, [`import()`] when somebody brings what was kept elsewhere,
//! [`apply_team_change`] when something happens to its team, if it changes at all. The store makes the read and the write one step.

use std::str::FromStr;

use botframework::id::{ChannelAccountId, EntraObjectId};
use botframework::reference::ConversationReference;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

mod creation_lease;
mod import;
mod key;
mod observation;
mod record;
mod team;
#[cfg(test)]
mod tests;

pub use creation_lease::{
    Creation, CreationLease, INSTALL_EVENT_TIMEOUT, Person, PersonKey, PersonRecord, acquire_creation_lease,
    finish_creation,
};
pub use import::{Export, Import, ImportError, import};
pub use key::{ConversationKey, InvalidKey, is_id};
pub use observation::{Membership, Observation, Observations, Unstorable};
pub use record::{Feedback, NOT_FOUND_DAYS, NotFoundStreak, apply_feedback, remember, tag};
pub use team::{TEAM_ARCHIVED, TeamChange, TeamEvent, TeamKey, apply_team_change};

/// How many service URLs are kept for one conversation, the newest first.
///
/// Nothing announces a tenant's move to another region (`PROTOCOL.md#a5`); the older ones are what a sender can fall
/// back to. Four is more regions than any conversation was ever seen in.
pub const SERVICE_URLS_KEPT: usize = 4;

/// The longest id that is taken, in bytes. Those of Teams have about a hundred; DynamoDB's sort keys hold 1,024.
pub const ID_BYTES_MAX: usize = 1024;

/// The longest tag, in bytes.
pub const TAG_BYTES_MAX: usize = 64;

/// The most tags one conversation carries.
pub const TAGS_MAX: usize = 20;

/// Whether this can be a tag.
pub fn is_tag(name: &str) -> bool {
    (1..=TAG_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// What kind of place a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// The bot and one person.
    Personal,
    /// A group chat or a meeting's chat.
    GroupChat,
    /// A channel of a team, or a thread in one.
    Channel,
}

impl Scope {
    /// The word Teams uses, which is also the one in our tables and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Personal => "personal",
            Self::GroupChat => "groupChat",
            Self::Channel => "channel",
        }
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Personal, Self::GroupChat, Self::Channel]
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or(UnknownScope)
    }
}

/// The text names no scope.
#[derive(Debug, thiserror::Error)]
#[error("not a scope: it must be `personal`, `groupChat` or `channel`")]
pub struct UnknownScope;

/// What a conversation is looked up by; the attributes of the indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// What kind of place it is.
    pub scope: Scope,
    /// The customer's Entra tenant; channels other than Teams have none.
    pub tenant: Option<String>,
    /// The person of a personal conversation, as Entra names them.
    pub user: Option<EntraObjectId>,
    /// The person of a personal conversation, as the channel names them.
    pub account: Option<ChannelAccountId>,
    /// The team a channel belongs to.
    pub team: Option<String>,
    /// What callers and the bot put it under, sorted.
    pub tags: Vec<String>,
}

/// Whether a conversation may be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It may.
    Active,
    /// The channel refused with this code, and will until the person acts; or, with [`TEAM_ARCHIVED`], would.
    Blocked {
        /// The channel's error code, for example `ConversationBlockedByUser`.
        code: String,
    },
    /// The bot was uninstalled or taken out, or the place is gone.
    ///
    /// The channel cannot be relied on to refuse (`PROTOCOL.md#a5`), so we do.
    Removed,
}

/// One remembered conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// Its name.
    pub key: ConversationKey,
    /// The reference, whole: unknown fields are kept. Without an activity id, since a proactive message replies to nothing.
    pub reference: ConversationReference,
    /// What it is looked up by.
    pub attributes: Attributes,
    /// Service URLs seen, the one to use first.
    pub service_urls: Vec<String>,
    /// Whether it may be written to.
    pub state: State,
    /// Whether it is removed only because its team was deleted, with which it comes back.
    pub removed_with_team: bool,
    /// On how many days in a row it was not found, if it was not when it was last written to.
    pub not_found: Option<NotFoundStreak>,
    /// Counts the writes, from 1.
    pub version: u64,
    /// When it was first seen.
    pub remembered_at: Timestamp,
    /// When the record last changed.
    pub changed_at: Timestamp,
}

impl Conversation {
    /// Whether this is a thread in a channel: remembered for replies, but no place of its own that `everyone` means.
    pub fn is_thread(&self) -> bool {
        self.key.conversation.thread_root().is_some()
    }
}
