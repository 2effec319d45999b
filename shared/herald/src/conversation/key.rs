//! The primary key of a conversation.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use botframework::id::{ChannelAccountId, ConversationId};
use botframework::reference::ConversationReference;
use serde::{Deserialize, Serialize};

use super::ID_BYTES_MAX;

/// Names one conversation of one bot on one channel; the primary key of the conversations table.
///
/// The conversation id alone is not unique: two bots in one group chat see the same id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ConversationKey {
    /// The conversation, a thread's `;messageid=` included.
    pub conversation: ConversationId,
    /// The channel, as the activity named it: `msteams`, `slack`, …
    pub channel: String,
    /// The bot's account in that channel: in Teams `28:` and the app id.
    pub bot: ChannelAccountId,
}

impl ConversationKey {
    /// The key of a reference's conversation. `None` when channel, bot or conversation is missing, longer than
    /// [`ID_BYTES_MAX`], or has control characters.
    pub fn of(reference: &ConversationReference) -> Option<Self> {
        let conversation = reference.conversation.as_ref()?.id.clone();
        let channel = reference.channel_id.clone()?;
        let bot = reference.bot.as_ref()?.id.clone();
        let key = Self {
            conversation,
            channel,
            bot,
        };
        key.is_storable().then_some(key)
    }

    /// Whether the tables can hold this key.
    fn is_storable(&self) -> bool {
        let parts = [self.conversation.as_str(), &*self.channel, self.bot.as_str()];
        parts.into_iter().all(is_id) && self.place().len() <= ID_BYTES_MAX
    }

    /// The sort key beside the conversation id: channel and bot, with `|` between.
    pub fn place(&self) -> String {
        format!("{}|{}", escape(&self.channel), escape(self.bot.as_str()))
    }

    /// The key from its two table attributes.
    ///
    /// # Errors
    /// When `place` is not what [`place`](Self::place) writes.
    pub fn from_place(conversation: ConversationId, place: &str) -> Result<Self, InvalidKey> {
        let (channel, bot) = place.split_once('|').ok_or(InvalidKey)?;
        Ok(Self {
            conversation,
            channel: unescape(channel),
            bot: unescape(bot).into(),
        })
    }
}

/// The text is not a conversation key.
#[derive(Debug, thiserror::Error)]
#[error(
    "not a conversation key: it must be channel, bot and conversation with `|` between, and none of them empty or longer than 1024 bytes"
)]
pub struct InvalidKey;

impl fmt::Display for ConversationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The conversation is last and unescaped: the first two bars are the separators, whatever it holds.
        let (channel, bot) = (escape(&self.channel), escape(self.bot.as_str()));
        write!(f, "{channel}|{bot}|{}", self.conversation)
    }
}

impl From<ConversationKey> for String {
    fn from(key: ConversationKey) -> Self {
        key.to_string()
    }
}

impl FromStr for ConversationKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '|');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(channel), Some(bot), Some(conversation)) => {
                let key = Self {
                    conversation: conversation.into(),
                    channel: unescape(channel),
                    bot: unescape(bot).into(),
                };
                Some(key).filter(Self::is_storable).ok_or(InvalidKey)
            }
            _ => Err(InvalidKey),
        }
    }
}

impl TryFrom<String> for ConversationKey {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Whether a text is usable as an id in tables and URLs.
pub fn is_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// The part with bars escaped.
pub(super) fn escape(part: &str) -> Cow<'_, str> {
    if part.contains(['%', '|']) {
        Cow::Owned(part.replace('%', "%25").replace('|', "%7C"))
    } else {
        Cow::Borrowed(part)
    }
}

fn unescape(part: &str) -> String {
    if part.contains('%') {
        part.replace("%7C", "|").replace("%25", "%")
    } else {
        part.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_no_table_can_hold_is_no_key() {
        let long = "x".repeat(ID_BYTES_MAX + 1);
        for text in [
            "",
            "|",
            "||",
            "a|b|",
            "a||c",
            "|b|c",
            "a|b|c\n",
            "a%7|\u{7}|c",
            &format!("{long}|b|c"),
            &format!("a|{long}|c"),
            &format!("a|b|{long}"),
            &format!("{}|{}|c", "x".repeat(600), "y".repeat(600)),
        ] {
            assert!(text.parse::<ConversationKey>().is_err(), "{text:?}");
        }
        for text in [
            "a|b|c",
            "a|b|c|d",
            "a%7Cx|b%25|c",
            &format!("a|b|{}", "x".repeat(ID_BYTES_MAX)),
        ] {
            assert_eq!(text.parse::<ConversationKey>().unwrap().to_string(), text);
        }
    }
}
