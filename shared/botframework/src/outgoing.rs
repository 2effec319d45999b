//! Outgoing activities: a single one, or a message to many conversations that is serialised once.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::activity::{Activity, ChannelAccount, ConversationAccount};
use crate::id::ConversationId;
use crate::reference::ConversationReference;

/// A body that the Connector accepts for sending.
pub trait OutgoingActivity: Serialize + Sync {}

impl OutgoingActivity for Activity {}

impl OutgoingActivity for AddressedMessage<'_> {}

impl OutgoingActivity for SharedMessage {}

/// A message that goes to many conversations. Its content is serialised once; each request adds the address.
///
/// Serialised by itself it has no address, as the batch API of Teams takes it.
///
/// # Example: the same message to two conversations
/// ```
/// use botframework::activity::Activity;
/// use botframework::outgoing::SharedMessage;
/// use botframework::reference::ConversationReference;
///
/// let news = SharedMessage::from_activity(&Activity::message("news"))?;
/// for id in ["a:1", "a:2"] {
///     let reference = ConversationReference::from_value(serde_json::json!({"conversation": {"id": id}}))?;
///     let sent = serde_json::to_value(news.to(&reference))?;
///     assert_eq!((&sent["text"], &sent["conversation"]["id"]), (&"news".into(), &id.into()));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SharedMessage {
    members: Vec<(String, Box<RawValue>)>,
    has_locale: bool,
}

/// A shared message addressed to one conversation. Its JSON equals that of the activity after
/// [`ConversationReference::address`].
#[derive(Clone, Copy, Debug)]
pub struct AddressedMessage<'a> {
    message: &'a SharedMessage,
    reference: &'a ConversationReference,
    conversation: Option<&'a ConversationId>,
    recipient: Option<&'a ChannelAccount>,
}

impl SharedMessage {
    /// Takes the content of an activity: without the properties that a bot must not send or that the address sets.
    ///
    /// # Errors
    /// When the activity cannot be serialised.
    pub fn from_activity(activity: &Activity) -> Result<Self, serde_json::Error> {
        let mut own = activity.clone();
        own.strip_unsendable();
        let has_locale = own.locale.is_some();
        own.from = None;
        own.recipient = None;
        own.conversation = None;
        own.channel_id = None;
        own.reply_to_id = None;
        let members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&serde_json::to_vec(&own)?)?;
        let members = members.into_iter().collect();
        Ok(Self { members, has_locale })
    }

    /// Addresses the message to the reference's conversation and user. It replies to no activity.
    pub fn to<'a>(&'a self, reference: &'a ConversationReference) -> AddressedMessage<'a> {
        AddressedMessage {
            message: self,
            reference,
            conversation: None,
            recipient: reference.user.as_ref(),
        }
    }
}

impl Serialize for SharedMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.members.iter().map(|(name, value)| (name, value)))
    }
}

impl<'a> AddressedMessage<'a> {
    /// Leaves out the recipient, as for a group or a channel.
    #[must_use]
    pub fn without_recipient(self) -> Self {
        Self {
            recipient: None,
            ..self
        }
    }

    /// Replaces the conversation id of the reference.
    #[must_use]
    pub fn in_conversation(self, id: &'a ConversationId) -> Self {
        Self {
            conversation: Some(id),
            ..self
        }
    }

    fn account(&self) -> Option<Cow<'a, ConversationAccount>> {
        let mut account = self.reference.conversation.as_ref()?.to_sent();
        if let Some(id) = self.conversation.filter(|id| **id != account.id) {
            account.to_mut().id = id.clone();
        }
        Some(account)
    }
}

impl Serialize for AddressedMessage<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let from = self.reference.bot.as_ref().map(ChannelAccount::to_sent);
        let recipient = self.recipient.map(ChannelAccount::to_sent);
        let conversation = self.account();
        let channel = self.reference.channel_id.as_deref();
        let locale = self.reference.locale.as_deref();
        let locale = locale.filter(|_| !self.message.has_locale);

        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.message.members {
            // The address replaces a property of the same name that no typed field could hold.
            let is_replaced = match name.as_str() {
                "from" => from.is_some(),
                "recipient" => recipient.is_some(),
                "conversation" => conversation.is_some(),
                "channelId" => channel.is_some(),
                "locale" => locale.is_some(),
                _ => false,
            };
            if !is_replaced {
                map.serialize_entry(name, value)?;
            }
        }
        if let Some(from) = from {
            map.serialize_entry("from", &*from)?;
        }
        if let Some(recipient) = recipient {
            map.serialize_entry("recipient", &*recipient)?;
        }
        if let Some(conversation) = conversation {
            map.serialize_entry("conversation", &*conversation)?;
        }
        if let Some(channel) = channel {
            map.serialize_entry("channelId", channel)?;
        }
        if let Some(locale) = locale {
            map.serialize_entry("locale", locale)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn addressed(message: &Activity, reference: &ConversationReference) -> Value {
        let mut activity = message.clone();
        reference.address(&mut activity);
        serde_json::to_value(&activity).unwrap()
    }

    #[test]
    fn an_addressed_message_equals_the_addressed_activity() {
        let whole = json!({
            "activityId": "1", "channelId": "msteams", "serviceUrl": "https://smba.trafficmanager.net/in/", "locale": "nl-BE",
            "user": {"id": "29:mina", "name": null, "hat": "red"}, "bot": {"id": "28:bot", "name": "Herald"},
            "conversation": {"id": "a:1", "isGroup": false, "name": null, "colour": {"hue": null}},
        });
        let references = [whole, json!({}), json!({"conversation": {"id": "a:1"}})]
            .map(|reference| ConversationReference::from_value(reference).unwrap());
        let messages = [
            json!({"type": "message", "text": "hi \u{e9}\n", "summary": "s", "attachments": [{"contentType": "x", "content": {"a": [1.10, null]}}]}),
            json!({"type": "message", "locale": "fr", "id": "7", "timestamp": "t", "serviceUrl": "s", "callerId": "c",
                "from": {"id": "29:other"}, "recipient": {"id": "x"}, "conversation": {"id": "y"}, "channelId": "z",
                "replyToId": "9", "unknown": {"deep": [null]}, "nothing": null}),
            json!({"type": "message", "locale": 5, "timestamp": 5, "requestId": 1}),
            json!({}),
        ]
        .map(|message| Activity::from_value(message).unwrap());
        for reference in &references {
            for message in &messages {
                let shared = SharedMessage::from_activity(message).unwrap();
                let sent = serde_json::to_string(&shared.to(reference)).unwrap();
                let sent: Value = serde_json::from_str(&sent).unwrap();
                assert_eq!(sent, addressed(message, reference));
            }
        }
    }

    #[test]
    fn a_shared_message_without_an_address_has_content_only() {
        let message = json!({"type": "message", "text": "hi", "id": "7", "from": {"id": "28:b"}, "serviceUrl": "s",
            "conversation": {"id": "y"}, "novel": [1.10, null]});
        let shared = SharedMessage::from_activity(&Activity::from_value(message).unwrap()).unwrap();
        assert_eq!(
            serde_json::to_value(&shared).unwrap(),
            json!({"type": "message", "text": "hi", "novel": [1.10, null]})
        );
    }

    #[test]
    fn an_addressed_message_can_replace_the_conversation_and_omit_the_recipient() {
        let reference = json!({"user": {"id": "29:mina"}, "conversation": {"id": "a:1", "isGroup": true}});
        let reference = ConversationReference::from_value(reference).unwrap();
        let shared = SharedMessage::from_activity(&Activity::message("hi")).unwrap();
        let id = "a:2".into();
        let sent = shared.to(&reference).without_recipient().in_conversation(&id);
        assert_eq!(
            serde_json::to_value(sent).unwrap(),
            json!({"type": "message", "text": "hi", "conversation": {"id": "a:2", "isGroup": true}})
        );
    }
}
