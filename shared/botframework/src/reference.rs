//! The conversation reference: everything needed to send to a conversation later.

use serde_json::Value;

use crate::activity::{Activity, ActivityType, ChannelAccount, ConversationAccount};
use crate::id::{ActivityId, ConversationId};
use crate::lossless::NumberTexts;
use crate::wire::{WireValue, wire_object};

wire_object! {
    /// A conversation's address and participants. Unknown properties are kept.
    ///
    /// Another SDK stores the bot as `agent`: it is read as `bot`, and written as `bot`.
    ConversationReference {
        /// The activity that [`apply_outgoing`](ConversationReference::apply_outgoing) replies to.
        "activityId" activity_id: Option<ActivityId>,
        /// The user's account, in a personal conversation.
        "user" user: Option<ChannelAccount>,
        /// The bot's account in the channel.
        "bot" bot: Option<ChannelAccount>,
        /// The conversation with its id and kind.
        "conversation" conversation: Option<ConversationAccount>,
        /// The channel id, such as `msteams`.
        "channelId" channel_id: Option<String>,
        /// The base URL of requests. Untrusted before [`crate::service_url::TrustRule::check`].
        "serviceUrl" service_url: Option<String>,
        /// The language of the conversation, BCP 47.
        "locale" locale: Option<String>,
    }
    refuses ["activityId", "channelId", "serviceUrl", "conversation.id", "user.id", "bot.id", "agent.id"]
    then ConversationReference::adopt_agent
}

impl ConversationReference {
    /// The reference to an incoming activity and its conversation.
    ///
    /// The conversation names its tenant, also when the activity names it in the channel data only: Teams expects it in replies and
    /// proactive messages. The reference has no activity id for a `conversationUpdate` of Direct Line and Web Chat, which accept no reply to one.
    pub fn from_activity(activity: &Activity) -> Self {
        let accepts_reply = activity.kind != Some(ActivityType::ConversationUpdate)
            || !activity.channel_id.as_deref().is_some_and(|channel| {
                channel.eq_ignore_ascii_case("directline") || channel.eq_ignore_ascii_case("webchat")
            });
        Self {
            activity_id: activity.id.clone().filter(|_| accepts_reply),
            user: activity.from.clone(),
            bot: activity.recipient.clone(),
            conversation: activity
                .conversation
                .clone()
                .map(|conversation| conversation.in_tenant(activity.tenant_id())),
            channel_id: activity.channel_id.clone(),
            service_url: activity.service_url.clone(),
            locale: activity.locale.clone(),
            ..Self::default()
        }
    }

    /// The conversation id, if the reference has one.
    pub fn conversation_id(&self) -> Option<&ConversationId> {
        self.conversation
            .as_ref()
            .map(|conversation| &conversation.id)
            .filter(|id| !id.is_empty())
    }

    /// Addresses a proactive activity to the conversation; it replies to nothing.
    ///
    /// Sets sender, recipient, conversation, channel and, unless the activity has one, the locale. Removes what a bot must
    /// not send (id, timestamp, service URL, caller) and `null` properties, which some channels refuse.
    pub fn address(&self, activity: &mut Activity) {
        activity.strip_unsendable();
        activity.from = self.bot.as_ref().map(|bot| bot.to_sent().into_owned());
        activity.recipient = self.user.as_ref().map(|user| user.to_sent().into_owned());
        let conversation = self.conversation.as_ref();
        activity.conversation = conversation.map(|account| account.to_sent().into_owned());
        activity.channel_id.clone_from(&self.channel_id);
        if activity.locale.is_none() {
            activity.locale.clone_from(&self.locale);
        }
        activity.reply_to_id = None;
    }

    /// Addresses a reply to the reference's activity, as [`address`](Self::address) does. Without one, the activity keeps its
    /// own `replyToId`.
    pub fn apply_outgoing(&self, activity: &mut Activity) {
        let own = activity.reply_to_id.take();
        self.address(activity);
        activity.reply_to_id = self.activity_id.clone().or(own);
    }

    /// Sets the fields of an activity as if it had come in from this conversation.
    pub fn apply_incoming(&self, activity: &mut Activity) {
        activity.channel_id.clone_from(&self.channel_id);
        activity.service_url.clone_from(&self.service_url);
        activity.conversation.clone_from(&self.conversation);
        activity.from.clone_from(&self.user);
        activity.recipient.clone_from(&self.bot);
        if activity.locale.is_none() {
            activity.locale.clone_from(&self.locale);
        }
        if self.activity_id.is_some() {
            activity.id.clone_from(&self.activity_id);
        }
    }

    /// The event activity of a turn that no incoming activity began. It is never sent.
    pub fn continuation_activity(&self, id: ActivityId) -> Activity {
        let own = self.to_lossless().ok();
        let (relates_to, texts) = own.map(|own| (own.value, own.numbers)).unzip();
        let mut numbers = NumberTexts::default();
        numbers.put_member("relatesTo", texts.unwrap_or_default());
        Activity {
            kind: Some(ActivityType::Event),
            name: Some("ContinueConversation".to_owned()),
            id: Some(id),
            channel_id: self.channel_id.clone(),
            service_url: self.service_url.clone(),
            locale: self.locale.clone(),
            conversation: self.conversation.clone(),
            from: self.user.clone(),
            recipient: self.bot.clone(),
            relates_to,
            numbers,
            ..Activity::default()
        }
    }

    /// The reference to the channel of a thread, without an activity id; other references unchanged.
    #[must_use]
    pub fn channel_level(&self) -> Self {
        let mut level = self.clone();
        if let Some(conversation) = level
            .conversation
            .as_mut()
            .filter(|conversation| conversation.id.thread_root().is_some())
        {
            conversation.id = conversation.id.channel();
            level.activity_id = None;
        }
        level
    }

    fn adopt_agent(mut self) -> Self {
        if self.bot.is_none() && self.extra.get("agent").is_some_and(Value::is_object) {
            let mut numbers = self.numbers.take_member("agent");
            self.bot = self
                .extra
                .remove("agent")
                .and_then(|agent| ChannelAccount::from_json(agent, &mut numbers));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn incoming() -> Activity {
        Activity::from_value(json!({
            "type": "message", "id": "1700000000007", "channelId": "msteams", "serviceUrl": "https://smba.trafficmanager.net/in/",
            "from": {"id": "29:mina", "name": null, "hat": "red"}, "recipient": {"id": "28:bot"}, "locale": "nl-BE",
            "conversation": {"id": "19:c@thread.tacv2;messageid=1700000000001", "isGroup": true, "name": null, "colour": {"hue": null}}
        }))
        .unwrap()
    }

    #[test]
    fn a_reference_names_the_activity_its_user_and_the_bot() {
        let reference = ConversationReference::from_activity(&incoming());
        assert_eq!(reference.activity_id, Some("1700000000007".into()));
        assert_eq!(reference.user.unwrap().id.as_str(), "29:mina");
        assert_eq!(reference.bot.unwrap().id.as_str(), "28:bot");
        assert_eq!(reference.channel_id.as_deref(), Some("msteams"));
        assert_eq!(reference.locale.as_deref(), Some("nl-BE"));
    }

    #[test]
    fn a_tenant_that_only_the_channel_data_names_is_the_conversations_own() {
        let tenant = |channel: &str, conversation| {
            let activity = json!({"channelId": channel, "conversation": conversation, "channelData": {"tenant": {"id": "t1"}}});
            let reference = ConversationReference::from_activity(&Activity::from_value(activity).unwrap());
            reference.conversation.unwrap().tenant_id
        };
        assert_eq!(tenant("msteams", json!({"id": "a:1"})), Some("t1".into()));
        assert_eq!(
            tenant("msteams", json!({"id": "a:1", "tenantId": "t2"})),
            Some("t2".into())
        );
        assert_eq!(tenant("slack", json!({"id": "a:1"})), None);
    }

    #[test]
    fn a_conversation_update_of_direct_line_accepts_no_reply() {
        for (channel, kind, answerable) in [
            ("directline", ActivityType::ConversationUpdate, false),
            ("WebChat", ActivityType::ConversationUpdate, false),
            ("msteams", ActivityType::ConversationUpdate, true),
            ("directline", ActivityType::Message, true),
        ] {
            let activity = Activity {
                kind: Some(kind),
                channel_id: Some(channel.into()),
                ..incoming()
            };
            assert_eq!(
                ConversationReference::from_activity(&activity)
                    .activity_id
                    .is_some(),
                answerable,
                "{channel}"
            );
        }
    }

    #[test]
    fn an_outgoing_activity_has_no_property_that_a_bot_must_not_send() {
        let reference = ConversationReference::from_activity(&incoming());
        let mut echo = incoming();
        echo.caller_id = Some("urn:invented".into());
        echo.request_id = Some("r".into());
        echo.extra.insert("timestamp".into(), json!(5));
        echo.extra.insert("summary".into(), json!(null));
        reference.apply_outgoing(&mut echo);
        assert_eq!(
            serde_json::to_value(&echo).unwrap(),
            json!({
                "type": "message", "channelId": "msteams", "locale": "nl-BE", "replyToId": "1700000000007",
                "from": {"id": "28:bot"}, "recipient": {"id": "29:mina", "hat": "red"},
                "conversation": {"id": "19:c@thread.tacv2;messageid=1700000000001", "isGroup": true, "colour": {"hue": null}}
            })
        );
        reference.address(&mut echo);
        assert_eq!(echo.reply_to_id, None);
    }

    #[test]
    fn an_activity_keeps_its_own_locale_and_reply_id() {
        let reference = ConversationReference {
            activity_id: None,
            ..ConversationReference::from_activity(&incoming())
        };
        let mut activity = Activity {
            locale: Some("fr".into()),
            reply_to_id: Some("9".into()),
            ..Activity::message("hi")
        };
        reference.apply_outgoing(&mut activity);
        assert_eq!(
            (activity.locale.as_deref(), activity.reply_to_id),
            (Some("fr"), Some("9".into()))
        );
    }

    #[test]
    fn an_incoming_activity_comes_from_the_user() {
        let reference = ConversationReference::from_activity(&incoming());
        let mut activity = Activity {
            kind: Some(ActivityType::Message),
            ..Activity::default()
        };
        reference.apply_incoming(&mut activity);
        assert_eq!(activity, incoming());
    }

    #[test]
    fn a_continuation_activity_relates_to_its_reference() {
        let reference = ConversationReference::from_activity(&incoming());
        let event = reference.continuation_activity("fresh".into());
        assert_eq!(
            (event.name.as_deref(), &event.id),
            (Some("ContinueConversation"), &Some("fresh".into()))
        );
        assert_eq!((&event.from, &event.recipient), (&reference.user, &reference.bot));
        assert!(event.validate().is_ok());
        let related = ConversationReference::from_value(event.relates_to.unwrap()).unwrap();
        assert_eq!(related, reference);
    }

    #[test]
    fn the_channel_level_of_a_thread_is_its_channel() {
        let thread = ConversationReference::from_activity(&incoming());
        let channel = thread.channel_level();
        assert_eq!(
            channel.conversation.as_ref().unwrap().id.as_str(),
            "19:c@thread.tacv2"
        );
        assert_eq!(channel.activity_id, None);
        assert_eq!(channel.channel_level(), channel);
    }

    #[test]
    fn a_stored_reference_may_name_its_bot_agent() {
        let read = |document| ConversationReference::from_value(document).unwrap();
        let written = |reference| serde_json::to_value::<ConversationReference>(reference).unwrap();
        assert_eq!(
            written(read(json!({"agent": {"id": "28:b", "x": 1}, "unknown": [null]}))),
            json!({"bot": {"id": "28:b", "x": 1}, "unknown": [null]})
        );
        let both = json!({"agent": {"id": "28:a"}, "bot": {"id": "28:b"}});
        assert_eq!(written(read(both.clone())), both);
        assert_eq!(
            read(json!({"agent": {"id": "28:a"}, "bot": null}))
                .bot
                .unwrap()
                .id
                .as_str(),
            "28:a"
        );
        let error = ConversationReference::from_value(json!({"conversation": {"id": 5.5}})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "conversation.id: expected a string, found a number"
        );
    }
}
