//! The names of a conversation: its key, as lists and reports print it, and its id on the channel.

use std::collections::HashSet;
use std::fmt;

use botframework::id::ConversationId;
use serde::{Deserialize, Serialize};

use super::ConversationKey;

/// A conversation as a caller names it: by key (`channel|bot|conversation`), or by its id in any channel and bot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConversationName(String);

impl ConversationName {
    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key, if this is one. Conversation ids have at most one bar.
    pub fn key(&self) -> Option<ConversationKey> {
        let key: ConversationKey = self.0.parse().ok()?;
        let is_whole = !key.channel.is_empty() && !key.bot.as_str().is_empty();
        (is_whole && !key.conversation.as_str().is_empty()).then_some(key)
    }

    /// The conversation's id, without channel and bot.
    pub fn id(&self) -> ConversationId {
        self.key()
            .map_or_else(|| self.0.as_str().into(), |key| key.conversation)
    }

    /// Whether it names this conversation.
    pub fn names(&self, key: &ConversationKey) -> bool {
        self.key()
            .map_or_else(|| self.0 == key.conversation.as_str(), |own| own == *key)
    }
}

impl<T: Into<String>> From<T> for ConversationName {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for ConversationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A list of names, of conversations and perhaps of people.
#[derive(Debug, Default)]
pub(crate) struct Names<'a> {
    texts: HashSet<&'a str>,
    keys: HashSet<ConversationKey>,
    /// The ids in the keys.
    ids: HashSet<ConversationId>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(texts: impl Iterator<Item = &'a str> + Clone) -> Self {
        let keys = texts
            .clone()
            .filter_map(|text| ConversationName::from(text).key());
        let keys: HashSet<ConversationKey> = keys.collect();
        Self {
            ids: keys.iter().map(|key| key.conversation.clone()).collect(),
            keys,
            texts: texts.collect(),
        }
    }

    /// Whether the conversation is named, by its key or its id.
    pub(crate) fn contain(&self, key: &ConversationKey) -> bool {
        self.texts.contains(key.conversation.as_str()) || self.keys.contains(key)
    }

    /// Whether a conversation with this name may be named.
    pub(crate) fn contain_name(&self, name: &ConversationName) -> bool {
        match name.key() {
            Some(key) => self.contain(&key),
            None => self.contain_text(name.as_str()) || self.ids.contains(&name.id()),
        }
    }

    /// Whether this text is one of the names.
    pub(crate) fn contain_text(&self, text: &str) -> bool {
        self.texts.contains(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(channel: &str, bot: &str, conversation: &str) -> ConversationKey {
        ConversationKey {
            conversation: conversation.into(),
            channel: channel.to_owned(),
            bot: bot.into(),
        }
    }

    #[test]
    fn a_conversation_is_named_by_its_key_and_by_its_id() {
        let anna = key("msteams", "28:app", "a:anna");
        let other_bot = key("msteams", "28:other", "a:anna");
        let (by_key, by_id) = (
            ConversationName::from(anna.to_string()),
            ConversationName::from("a:anna"),
        );
        assert_eq!((by_key.id(), by_id.id()), ("a:anna".into(), "a:anna".into()));
        assert!(by_key.names(&anna) && !by_key.names(&other_bot));
        assert!(by_id.names(&anna) && by_id.names(&other_bot));
        let strange = key("x%|y", "b|", "a|b|c");
        assert!(ConversationName::from(strange.to_string()).names(&strange));
        for plain in [
            "",
            "a:anna",
            "19:x@thread.tacv2;messageid=1",
            "guid|livechat",
            "||",
            "a||b",
            "|b|c",
            "a|b|",
        ] {
            assert_eq!(ConversationName::from(plain).key(), None, "{plain}");
        }
    }

    #[test]
    fn a_list_contains_what_its_names_name() {
        let anna = key("msteams", "28:app", "a:anna");
        let texts = [anna.to_string(), "19:group".to_owned(), "entra-eve".to_owned()];
        let names = Names::new(texts.iter().map(String::as_str));
        assert!(names.contain(&anna));
        assert!(!names.contain(&key("msteams", "28:other", "a:anna")));
        assert!(names.contain(&key("msteams", "28:other", "19:group")));
        assert!(names.contain_text("entra-eve") && !names.contain_text("a:anna"));
        assert!(names.contain_name(&"a:anna".into()) && !names.contain_name(&"a:eve".into()));
        assert!(!names.contain_name(&"msteams|28:other|a:anna".into()));
    }
}
