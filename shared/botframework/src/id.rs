//! The ids of the Bot Framework, one type each, so that none is passed for another.
//!
//! All are opaque and compared exactly; an empty one means that there is none.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::wire::{WireField, WireValue};

const THREAD: &str = ";messageid=";

macro_rules! id {
    ($(#[$attribute:meta])* $name:ident) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The id as it is on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether there is no id.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }

            /// The id as an owned string.
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
            fn accepts(value: &Value) -> bool {
                value.as_str().is_some_and(|id| !id.is_empty())
            }

            fn from_json(value: Value) -> Option<Self> {
                String::from_json(value).map(Self)
            }
        }

        impl WireField for $name {
            fn accepts(value: &Value) -> bool {
                <Self as WireValue>::accepts(value)
            }

            fn from_json(value: Value) -> Self {
                <Self as WireValue>::from_json(value).unwrap_or_default()
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
    ConversationId
}
id! {
    /// An activity, within its conversation.
    ActivityId
}
id! {
    /// A user or bot as the channel names it; in Teams `29:…` (differs from bot to bot) or `28:<app id>`.
    ChannelAccountId
}
id! {
    /// A user as Microsoft Entra names it, the same for every bot.
    EntraObjectId
}
id! {
    /// A group in Microsoft Entra; a team has one of its own, which Graph knows the team by.
    EntraGroupId
}
id! {
    /// An app in a tenant's catalog, as Graph names it. An app from the store has the id of its manifest.
    CatalogAppId
}
id! {
    /// An app installed for one user or in one team, as Graph names it.
    InstallationId
}
id! {
    /// A batch operation of Teams: one message on its way to many.
    OperationId
}

impl ConversationId {
    /// The id without its `;messageid=…` suffix: of a thread, the channel it is in; of anything else,
    /// itself.
    #[must_use]
    pub fn channel(&self) -> Self {
        match self.0.split_once(THREAD) {
            Some((channel, _)) => Self(channel.to_owned()),
            None => self.clone(),
        }
    }

    /// The message that began the thread, when this is a thread in a channel.
    pub fn thread_root(&self) -> Option<ActivityId> {
        self.0.split_once(THREAD).map(|(_, root)| ActivityId::from(root))
    }

    /// The thread that began with the message `root` in this channel, or in the channel this thread is in.
    ///
    /// # Errors
    /// When the root is not a decimal number other than zero, as every message of a Teams channel is.
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

/// A message id that no thread of a channel can begin with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message id {0:?} cannot be the root of a thread: it is not a decimal number other than zero")]
pub struct InvalidThreadRoot(ActivityId);

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
