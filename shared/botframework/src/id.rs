//! The ids of the Bot Framework. Each kind has a type of its own, so they cannot be mixed up.
//!
//! Ids are opaque and compared exactly. An empty id counts as absent. Some channels write the id of an account, a conversation or
//! an activity as a whole number: it is read as its digits, and written back as the number.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::lossless::NumberTexts;
use crate::wire::{WireField, WireValue, digits};

/// The longest id that is taken from an answer of a service, in bytes. Real ones have less than a fifth. A longer one is as good
/// as none: it could be neither stored nor sent.
pub const MAX_ID_BYTES: usize = 1024;

const THREAD: &str = ";messageid=";

/// Declares an id. `number` says whether channels may write it as a whole number.
macro_rules! id {
    ($(#[$attribute:meta])* $name:ident, number: $is_number:literal) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The id, as on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether the id is empty, and so absent.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }

            /// The id as a `String`.
            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id)
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.to_owned())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl WireValue for $name {
            const MAY_BE_NUMBER: bool = $is_number;

            fn accepts(value: &Value) -> bool {
                value.as_str().is_some_and(|id| !id.is_empty()) || ($is_number && digits(value).is_some())
            }

            fn from_json(value: Value, numbers: &mut NumberTexts) -> Option<Self> {
                let number = $is_number.then(|| digits(&value)).flatten();
                number.or_else(|| String::from_json(value, numbers)).map(Self)
            }
        }

        impl WireField for $name {
            const MAY_BE_NUMBER: bool = $is_number;

            fn accepts(value: &Value) -> bool {
                <Self as WireValue>::accepts(value)
            }

            fn from_json(value: Value, numbers: &mut NumberTexts) -> Self {
                <Self as WireValue>::from_json(value, numbers).unwrap_or_default()
            }

            fn is_absent(&self) -> bool {
                self.is_empty()
            }
        }
    };
}

id! {
    /// A conversation: a person, a group chat, a channel, or (with a `;messageid=…` suffix) one thread in a
    /// channel.
    ConversationId, number: true
}
id! {
    /// An activity; unique within its conversation.
    ActivityId, number: true
}
id! {
    /// The channel's id of a user or bot; in Teams `29:…`, which differs from bot to bot, or `28:<app id>`.
    ChannelAccountId, number: true
}
id! {
    /// The Entra object id of a user, the same for every bot.
    EntraObjectId, number: false
}
id! {
    /// A tenant of Microsoft Entra, a GUID.
    TenantId, number: false
}
id! {
    /// A team of Teams, which is also the id of its General channel: `19:…@thread.tacv2`. Graph names a team by an
    /// [`EntraGroupId`].
    TeamId, number: false
}
id! {
    /// The id of a group in Microsoft Entra. Graph names a team by its group.
    EntraGroupId, number: false
}
id! {
    /// Graph's id of an app in a tenant's catalog. For a store app it equals the id in the manifest.
    CatalogAppId, number: false
}
id! {
    /// Graph's id of an app that is installed for a user or in a team.
    InstallationId, number: false
}
id! {
    /// A batch operation of Teams: one message to many recipients.
    OperationId, number: false
}

impl From<&TeamId> for ConversationId {
    /// The General channel of the team.
    fn from(team: &TeamId) -> Self {
        Self(team.0.clone())
    }
}

impl ConversationId {
    /// The id without its `;messageid=…` suffix: for a thread the id of its channel, else unchanged.
    #[must_use]
    pub fn channel(&self) -> Self {
        match self.0.split_once(THREAD) {
            Some((channel, _)) => Self(channel.to_owned()),
            None => self.clone(),
        }
    }

    /// The id of the thread's first message; `None` if this is not a thread in a channel.
    pub fn thread_root(&self) -> Option<ActivityId> {
        self.0.split_once(THREAD).map(|(_, root)| ActivityId::from(root))
    }

    /// The id of the thread whose first message is `root`, in this channel, or in the channel of this thread.
    ///
    /// # Errors
    /// When `root` is not a decimal number other than zero. Message ids of Teams channels are such numbers.
    pub fn thread(&self, root: &ActivityId) -> Result<Self, InvalidThreadRoot> {
        let digits = root.as_str();
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) || digits.bytes().all(|byte| byte == b'0') {
            return Err(InvalidThreadRoot(root.clone()));
        }
        let channel = self
            .0
            .split_once(';')
            .map_or(self.0.as_str(), |(channel, _)| channel);
        Ok(Self(format!("{channel}{THREAD}{digits}")))
    }
}

/// A message id that cannot be the root of a thread.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message id {0:?} cannot be the root of a thread: it is not a decimal number other than zero")]
pub struct InvalidThreadRoot(ActivityId);

/// Names a person to the channel, by either id that Teams accepts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserRef {
    /// The Entra object id. Teams finds the person only if the bot is installed for them; otherwise the request fails
    /// with [`Reason::NotInstalled`](crate::connector::Reason::NotInstalled).
    Entra(EntraObjectId),
    /// The channel's id: `29:…`, from an activity or a roster. It differs from bot to bot.
    Account(ChannelAccountId),
}

impl From<EntraObjectId> for UserRef {
    fn from(id: EntraObjectId) -> Self {
        Self::Entra(id)
    }
}

impl From<ChannelAccountId> for UserRef {
    fn from(id: ChannelAccountId) -> Self {
        Self::Account(id)
    }
}

impl UserRef {
    /// The id, as on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Entra(id) => id.as_str(),
            Self::Account(id) => id.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_knows_its_channel_and_its_root() {
        let channel = ConversationId::from("19:general@thread.tacv2");
        let thread = channel.thread(&"1700000000001".into()).unwrap();
        assert_eq!(thread.as_str(), "19:general@thread.tacv2;messageid=1700000000001");
        assert_eq!(thread.channel(), channel);
        assert_eq!(thread.thread_root(), Some("1700000000001".into()));
        assert_eq!(thread.thread(&"1700000000002".into()).unwrap().channel(), channel);
        assert_eq!(
            (channel.channel(), channel.thread_root()),
            (channel.clone(), None)
        );
    }

    #[test]
    fn a_thread_begins_with_a_decimal_number_other_than_zero() {
        let channel = ConversationId::from("19:general@thread.tacv2");
        for root in ["", "0", "000", "12a", "-5", "1.5", " 1", "١"] {
            assert_eq!(channel.thread(&root.into()), Err(InvalidThreadRoot(root.into())));
        }
    }

    #[test]
    fn an_id_of_another_channel_keeps_its_semicolons() {
        let slack = ConversationId::from("B0:T0;C0");
        assert_eq!(slack.channel(), slack);
    }
}
