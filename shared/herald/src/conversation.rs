//! The record of a conversation, and the rules that change it.
//!
//! Everything here is pure. [`Observations::from_activity`] reads an activity. [`remember`] applies an observation to a
//! record, [`apply_feedback`] a response of the channel, [`apply_team_change`] an event of the team, [`import()`] a
//! record from elsewhere. Each returns nothing when nothing changes. The store makes read and write one atomic step.

use std::str::FromStr;

use botframework::id::{ChannelAccountId, EntraObjectId};
use botframework::reference::ConversationReference;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::schedule::Zone;

mod companion;
mod creation_lease;
mod import;
mod key;
mod membership;
mod name;
mod observation;
mod preferences;
mod record;
mod state_key;
mod tag_name;
mod team;
#[cfg(test)]
mod tests;
mod turn;

pub use companion::{Precedence, Product, Rank, add_companions};
pub use creation_lease::{
    Creation, CreationLease, INSTALL_EVENT_TIMEOUT, PersonKey, PersonRecord, acquire_creation_lease,
    finish_creation,
};
pub use import::{Export, Import, ImportError, import, wire_name};
pub use key::{ConversationKey, InvalidKey, is_id};
pub use membership::Membership;
pub use name::ConversationName;
pub(crate) use name::Names;
pub use observation::{Observation, Observations, Unstorable};
pub use preferences::{
    CHOICES_MAX, Choice, PersonId, PreferenceChange, Preferences, change_preferences, latest_preferences,
    set_preferences,
};
pub use record::{Feedback, NOT_FOUND_DAYS, NotFoundStreak, apply_feedback, remember, tag};
pub(crate) use state_key::state_prefix;
pub use state_key::{StateKey, StateOwner};
pub use tag_name::{TAG_BYTES_MAX, normalize_tag};
pub use team::{
    TEAM_ARCHIVED, TeamChange, TeamEvent, TeamKey, apply_team_change, leave_with_team, return_with_team,
};
pub use turn::{TurnClaim, TurnKey, TurnRecord};

/// How many service URLs are stored for one conversation, the newest first.
///
/// Nothing announces a tenant's move to another region (`PROTOCOL.md#a5`); the older ones are fallbacks. No conversation was
/// observed in as many as four regions.
pub const SERVICE_URLS_KEPT: usize = 4;

/// The longest accepted id, in bytes. Those of Teams have about a hundred; DynamoDB's sort keys hold 1,024.
pub const ID_BYTES_MAX: usize = 1024;

/// The most tags of one conversation.
pub const TAGS_MAX: usize = 20;

/// The kind of a conversation.
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
    /// The word of Teams, also used in tables and the API.
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

/// The text is not a scope.
#[derive(Debug, thiserror::Error)]
#[error("not a scope: it must be `personal`, `groupChat` or `channel`")]
pub struct UnknownScope;

/// The attributes of a conversation that the indexes are built on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Personal, group chat or channel.
    pub scope: Scope,
    /// The Entra tenant; channels other than Teams have none.
    pub tenant: Option<String>,
    /// The Entra object id of the person, in a personal conversation.
    pub user: Option<EntraObjectId>,
    /// The channel's account id of the person, in a personal conversation.
    pub account: Option<ChannelAccountId>,
    /// The team of a channel.
    pub team: Option<String>,
    /// Tags of callers and the bot, sorted.
    pub tags: Vec<String>,
}

/// Whether a conversation may be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Messages may be sent.
    Active,
    /// The channel refuses messages until the person acts, or, with [`TEAM_ARCHIVED`], until the team is unarchived.
    Blocked {
        /// The channel's error code, for example `ConversationBlockedByUser`.
        code: String,
    },
    /// The bot was uninstalled or removed, or the conversation was deleted. The channel does not reliably refuse messages
    /// then (`PROTOCOL.md#a5`), so the sender does.
    Removed,
}

/// The stored record of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// The primary key of the table.
    pub key: ConversationKey,
    /// The complete reference, with unknown properties. It has no activity id: a proactive message replies to nothing.
    pub reference: ConversationReference,
    /// The values of the indexes.
    pub attributes: Attributes,
    /// Known service URLs, in order of preference.
    pub service_urls: Vec<String>,
    /// Whether it may be written to.
    pub state: State,
    /// Where the person talks to the bot, in a personal conversation.
    pub product: Product,
    /// Set if the person has other personal conversations with the bot: one of them gets notifications.
    pub precedence: Option<Precedence>,
    /// The preferences of its person, or of the group chat or channel; `None` if none was ever chosen.
    pub preferences: Option<Preferences>,
    /// The time zone of its person, as their activities name it.
    pub zone: Option<Zone>,
    /// Whether it was removed with its team, and is restored with it.
    pub removed_with_team: bool,
    /// Whether the bot left it with its team, and returns with the team.
    pub left_with_team: bool,
    /// The streak of days on which the channel did not know it.
    pub not_found: Option<NotFoundStreak>,
    /// Incremented by each write, from 1.
    pub version: u64,
    /// When it was first stored.
    pub remembered_at: Timestamp,
    /// Since when it has its state. Other changes of the record do not move it.
    pub changed_at: Timestamp,
}

impl Conversation {
    /// An active conversation that is stored now for the first time, without a service URL.
    pub(crate) fn new(
        key: ConversationKey,
        reference: ConversationReference,
        attributes: Attributes,
        now: Timestamp,
    ) -> Self {
        Self {
            key,
            reference,
            attributes,
            service_urls: Vec::new(),
            state: State::Active,
            product: Product::default(),
            precedence: None,
            preferences: None,
            zone: None,
            removed_with_team: false,
            left_with_team: false,
            not_found: None,
            version: 1,
            remembered_at: now,
            changed_at: now,
        }
    }

    /// The record to write instead of `old`; `None` if nothing has changed.
    pub(crate) fn if_changed(self, old: &Self, now: Timestamp) -> Option<Self> {
        (self != *old).then(|| Self {
            version: old.version + 1,
            changed_at: if self.state == old.state {
                old.changed_at
            } else {
                now
            },
            ..self
        })
    }

    /// Whether this is a thread in a channel: stored for replies, but not part of the audience `everyone`.
    pub fn is_thread(&self) -> bool {
        self.key.conversation.thread_root().is_some()
    }
}
