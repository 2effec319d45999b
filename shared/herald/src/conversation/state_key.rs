//! The key of a state that a bot keeps of a person or a conversation.

use std::borrow::Cow;

use botframework::id::{ChannelAccountId, ConversationId};
use percent_encoding::percent_decode_str;

use super::ConversationKey;
use crate::digest::sha256_hex;

/// Whose state it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateOwner {
    /// A person, by the channel's own id.
    User(ChannelAccountId),
    /// A conversation; a thread has its own state.
    Conversation(ConversationId),
}

/// Names one state of a bot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateKey {
    /// Whose state it is.
    pub owner: StateOwner,
    /// Channel and bot, as [`ConversationKey::place`] writes them.
    place: String,
    /// The name that the bot's code gives it.
    name: String,
}

impl StateOwner {
    /// Names the owner without saying who it is.
    pub(crate) fn partition(&self) -> String {
        let (kind, id) = match self {
            Self::User(id) => ("user", id.as_str()),
            Self::Conversation(id) => ("conversation", id.as_str()),
        };
        format!("state|{kind}|{}", sha256_hex(id.as_bytes()))
    }
}

impl StateKey {
    /// Reads a key of [`Storage`](botframework::app::Storage).
    pub fn parse(key: &str) -> Option<Self> {
        let parts: Option<Vec<Cow<'_, str>>> = key
            .split('/')
            .map(|part| percent_decode_str(part).decode_utf8().ok())
            .collect();
        let [channel, bot, kind, id, name] = parts?.try_into().ok()?;
        let owner = match &*kind {
            "users" => StateOwner::User((*id).into()),
            "conversations" => StateOwner::Conversation((*id).into()),
            _ => return None,
        };
        let place = ConversationKey {
            conversation: ConversationId::default(),
            channel: channel.into_owned(),
            bot: (*bot).into(),
        };
        Some(Self {
            owner,
            place: place.place(),
            name: name.into_owned(),
        })
    }

    /// Whether it is a state of this conversation.
    pub(crate) fn is_of(&self, conversation: &ConversationKey) -> bool {
        self.owner == StateOwner::Conversation(conversation.conversation.clone())
            && self.place == conversation.place()
    }

    /// The sort key: channel, bot and name.
    pub(crate) fn sort_key(&self) -> String {
        format!("{}{}", prefix(&self.place), self.name)
    }
}

/// What the sort keys of the states in a place begin with.
fn prefix(place: &str) -> String {
    format!("{place}|")
}

/// What the sort keys of the states of a conversation begin with.
pub(crate) fn state_prefix(conversation: &ConversationKey) -> String {
    prefix(&conversation.place())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_storage_names_owner_place_and_name() {
        let key = StateKey::parse("msteams/28%3Abot/users/29%3Aa%2Fb/said").unwrap();
        assert_eq!(key.owner, StateOwner::User("29:a/b".into()));
        assert_eq!(key.sort_key(), "msteams|28:bot|said");
        assert!(!key.owner.partition().contains("29:a"));
        let key = StateKey::parse("msteams/28%3Abot/conversations/a%3Aada/asked").unwrap();
        assert!(key.is_of(&"msteams|28:bot|a:ada".parse().unwrap()));
        assert!(!key.is_of(&"msteams|28:other|a:ada".parse().unwrap()));
        for other in [
            "",
            "a/b/users/c",
            "a/b/teams/c/d",
            "a/b/users/%ff/d",
            "a/b/users/c/d/e",
        ] {
            assert_eq!(StateKey::parse(other), None, "{other}");
        }
    }
}
