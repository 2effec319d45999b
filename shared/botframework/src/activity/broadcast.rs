//! One message to many: written once, and addressed to each.

use std::borrow::Cow;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Activity, ChannelAccount, ConversationAccount};
use crate::id::ConversationId;
use crate::reference::ConversationReference;

/// What a bot can send: an activity, or a broadcast that is addressed.
pub trait Outgoing: Serialize + Sync {}

impl Outgoing for Activity {}

impl Outgoing for Addressed<'_> {}

impl Outgoing for Broadcast {}

/// A message that goes to many conversations. Its own part is written as JSON once; what each request adds is the address.
///
/// # Example: the same message to two conversations
/// ```
/// use botframework::activity::{Activity, Broadcast};
/// use botframework::reference::ConversationReference;
///
/// let news = Broadcast::of(&Activity::message("news"))?;
/// for id in ["a:1", "a:2"] {
///     let reference = ConversationReference::from_value(serde_json::json!({"conversation": {"id": id}}))?;
///     let sent = serde_json::to_value(news.to(&reference))?;
///     assert_eq!((&sent["text"], &sent["conversation"]["id"]), (&"news".into(), &id.into()));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Broadcast {
    members: Vec<(String, Box<RawValue>)>,
    names_locale: bool,
}

/// A broadcast on its way to one conversation: as JSON what [`ConversationReference::address`] makes of the message.
#[derive(Clone, Copy, Debug)]
pub struct Addressed<'a> {
    broadcast: &'a Broadcast,
    reference: &'a ConversationReference,
    conversation: Option<&'a ConversationId>,
    recipient: Option<&'a ChannelAccount>,
}

impl Broadcast {
    /// The message, without what a bot must not send and what the address will set.
    ///
    /// # Errors
    /// When the message cannot be written as JSON.
    pub fn of(message: &Activity) -> Result<Self, serde_json::Error> {
        let mut own = message.clone();
        own.strip_unsendable();
        let names_locale = own.locale.is_some();
        own.from = None;
        own.recipient = None;
        own.conversation = None;
        own.channel_id = None;
        own.reply_to_id = None;
        let members: Map<String, Value> = serde_json::from_str(&serde_json::to_string(&own)?)?;
        let members = members
            .into_iter()
            .map(|(name, value)| Ok((name, serde_json::value::to_raw_value(&value)?)))
            .collect::<Result<_, serde_json::Error>>()?;
        Ok(Self {
            members,
            names_locale,
        })
    }

    /// Addressed to the conversation of this reference, and in a personal one to the person, in answer to nothing.
    pub fn to<'a>(&'a self, reference: &'a ConversationReference) -> Addressed<'a> {
        Addressed {
            broadcast: self,
            reference,
            conversation: None,
            recipient: reference.user.as_ref(),
        }
    }
}

/// Without an address: to whom it goes stands beside it, as in the batch API of Teams.
impl Serialize for Broadcast {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.members.iter().map(|(name, value)| (name, value)))
    }
}

impl<'a> Addressed<'a> {
    /// Addressed to nobody there in particular.
    #[must_use]
    pub fn to_nobody_in_particular(self) -> Self {
        Self {
            recipient: None,
            ..self
        }
    }

    /// In the same place, which has another id by now.
    #[must_use]
    pub fn in_conversation(self, id: &'a ConversationId) -> Self {
        Self {
            conversation: Some(id),
            ..self
        }
    }

    fn place(&self) -> Option<Cow<'a, ConversationAccount>> {
        let mut place = self.reference.conversation.as_ref()?.to_sent();
        if let Some(id) = self.conversation.filter(|id| **id != place.id) {
            place.to_mut().id = id.clone();
        }
        Some(place)
    }
}

impl Serialize for Addressed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let from = self.reference.bot.as_ref().map(ChannelAccount::to_sent);
        let recipient = self.recipient.map(ChannelAccount::to_sent);
        let conversation = self.place();
        let channel = self.reference.channel_id.as_deref();
        let locale = self.reference.locale.as_deref();
        let locale = locale.filter(|_| !self.broadcast.names_locale);

        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.broadcast.members {
            // A member of the message that no field could hold gives way to the address.
            let is_address = match name.as_str() {
                "from" => from.is_some(),
                "recipient" => recipient.is_some(),
                "conversation" => conversation.is_some(),
                "channelId" => channel.is_some(),
                "locale" => locale.is_some(),
                _ => false,
            };
            if !is_address {
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
    use serde_json::json;

    use super::*;

    fn addressed(message: &Activity, reference: &ConversationReference) -> Value {
        let mut activity = message.clone();
        reference.address(&mut activity);
        serde_json::to_value(&activity).unwrap()
    }

    #[test]
    fn a_broadcast_is_addressed_as_an_activity_is() {
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
                let broadcast = Broadcast::of(message).unwrap();
                let sent = serde_json::to_string(&broadcast.to(reference)).unwrap();
                let sent: Value = serde_json::from_str(&sent).unwrap();
                assert_eq!(sent, addressed(message, reference));
            }
        }
    }

    #[test]
    fn without_an_address_it_says_what_there_is_to_say_and_to_nobody() {
        let message = json!({"type": "message", "text": "hi", "id": "7", "from": {"id": "28:b"}, "serviceUrl": "s",
            "conversation": {"id": "y"}, "novel": [1.10, null]});
        let broadcast = Broadcast::of(&Activity::from_value(message).unwrap()).unwrap();
        assert_eq!(
            serde_json::to_value(&broadcast).unwrap(),
            json!({"type": "message", "text": "hi", "novel": [1.10, null]})
        );
    }

    #[test]
    fn the_place_may_have_another_id_and_nobody_in_particular_to_write_to() {
        let reference = json!({"user": {"id": "29:mina"}, "conversation": {"id": "a:1", "isGroup": true}});
        let reference = ConversationReference::from_value(reference).unwrap();
        let broadcast = Broadcast::of(&Activity::message("hi")).unwrap();
        let id = "a:2".into();
        let sent = broadcast
            .to(&reference)
            .to_nobody_in_particular()
            .in_conversation(&id);
        assert_eq!(
            serde_json::to_value(sent).unwrap(),
            json!({"type": "message", "text": "hi", "conversation": {"id": "a:2", "isGroup": true}})
        );
    }
}
