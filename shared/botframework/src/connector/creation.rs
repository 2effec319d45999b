//! The parameters and the result of a new conversation.

use serde_json::{Value, json};

use crate::activity::{Activity, ChannelAccount};
use crate::id::{ActivityId, ChannelAccountId, ConversationId, TenantId, UserRef};
use crate::wire::wire_object;

wire_object! {
    /// The parameters of a new conversation. Teams has two kinds, each with a constructor:
    /// [`one_person`](ConversationParameters::one_person) and [`new_thread`](ConversationParameters::new_thread).
    ConversationParameters {
        /// Whether it is a group; in Teams `true` for a new thread in a channel, `false` for one person.
        "isGroup" is_group: Option<bool>,
        /// The bot's account in the channel.
        "bot" bot: Option<ChannelAccount>,
        /// The other members. Teams accepts exactly one, whose `id` is a `29:` id or an Entra object id.
        "members" members: Vec<ChannelAccount>,
        /// The topic of a group. Teams ignores it.
        "topicName" topic_name: Option<String>,
        /// The Entra tenant; required by Teams.
        "tenantId" tenant_id: Option<TenantId>,
        /// The first message. Required for a thread in a channel. Omit it for one person: each repetition would send it
        /// again.
        "activity" activity: Option<Box<Activity>>,
        /// Channel-specific data; in Teams the tenant, or the channel of a new thread.
        "channelData" channel_data: Option<Value>,
    }
}

wire_object! {
    /// The conversation that was created. For one person, the existing one if there is one. For a new thread, the channel's answer
    /// may name the thread (`…;messageid=…`), or the channel: see [`ConversationResource::thread`].
    ConversationResource {
        /// Its id; see [`ConversationResource::thread`]. Absent if the body of the success was lost.
        "id" id: Option<ConversationId>,
        /// The id of the first message, if one was sent and the channel returns its id.
        "activityId" activity_id: Option<ActivityId>,
        /// The service URL for further requests, if it is another one. A URL that is not trusted is dropped.
        "serviceUrl" service_url: Option<String>,
    }
}

impl ConversationParameters {
    /// A conversation of a bot in Teams with one person. A repetition returns the same conversation, so it carries no
    /// message: Teams would send it again each time, without returning its id. Send the message afterwards.
    ///
    /// An Entra object id goes into the member's `id`; Teams rejects it as `aadObjectId`. The tenant appears twice,
    /// because older and newer versions of the service read different properties.
    pub fn one_person(person: &UserRef, bot: &ChannelAccountId, tenant: &TenantId) -> Self {
        Self {
            is_group: Some(false),
            bot: Some(ChannelAccount::new(bot.clone())),
            members: vec![ChannelAccount::new(person.as_str())],
            tenant_id: Some(tenant.clone()),
            channel_data: Some(json!({"tenant": {"id": tenant}})),
            ..Self::default()
        }
    }

    /// A new thread in a channel of Teams, started by this message. A repetition starts another thread.
    ///
    /// For a thread, the new thread starts in its channel; a reply is sent to the thread itself.
    pub fn new_thread(channel: &ConversationId, tenant: &TenantId, message: Activity) -> Self {
        Self {
            is_group: Some(true),
            tenant_id: Some(tenant.clone()),
            activity: Some(Box::new(message)),
            channel_data: Some(json!({"channel": {"id": channel.channel().as_str()}})),
            ..Self::default()
        }
    }
}

impl ConversationResource {
    /// The conversation of the new thread in this channel, to send replies to: the answer's `id` if it names a thread, else the
    /// channel with the first message's id (`PROTOCOL.md#d3`). `None` if the answer has neither.
    pub fn thread(&self, channel: &ConversationId) -> Option<ConversationId> {
        let named = self.id.clone().filter(|id| id.thread_root().is_some());
        named.or_else(|| channel.thread(self.activity_id.as_ref()?).ok())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(parameters: &ConversationParameters) -> Value {
        serde_json::to_value(parameters).unwrap()
    }

    #[test]
    fn the_thread_is_what_the_answer_names_or_the_channel_with_the_first_message() {
        let channel = ConversationId::from("19:c@thread.tacv2");
        let thread = |answer: Value| ConversationResource::from_value(answer).unwrap().thread(&channel);
        let expected = Some("19:c@thread.tacv2;messageid=5".into());
        for answer in [
            json!({"id": "19:c@thread.tacv2;messageid=5"}),
            json!({"id": "19:c@thread.tacv2;messageid=5", "activityId": "7"}),
            json!({"id": "19:c@thread.tacv2", "activityId": "5"}),
            json!({"activityId": "5"}),
        ] {
            assert_eq!(thread(answer.clone()), expected, "{answer}");
        }
        for answer in [
            json!({}),
            json!({"id": "19:c@thread.tacv2"}),
            json!({"activityId": "f:x"}),
        ] {
            assert_eq!(thread(answer.clone()), None, "{answer}");
        }
    }

    proptest! {
        #[test]
        fn one_person_is_asked_for_as_teams_wants_it_by_either_id(id in ".+", tenant in ".*", bot in ".+") {
            let expected = json!({
                "isGroup": false, "bot": {"id": bot}, "members": [{"id": id}], "tenantId": tenant,
                "channelData": {"tenant": {"id": tenant}},
            });
            let bot = ChannelAccountId::from(bot);
            for person in [UserRef::Account((&*id).into()), UserRef::Entra((&*id).into())] {
                let parameters = ConversationParameters::one_person(&person, &bot, &tenant.as_str().into());
                prop_assert_eq!(written(&parameters), expected.clone());
            }
        }

        #[test]
        fn a_new_thread_is_in_the_channel_whichever_of_its_threads_is_named(
            channel in "19:[a-zA-Z0-9_-]{1,40}@thread[.]tacv2", root in proptest::option::of("[1-9][0-9]{12}"),
            text in ".*",
        ) {
            let place = ConversationId::from(&*channel);
            let place = root.map_or(place.clone(), |root| place.thread(&root.into()).unwrap());
            let parameters = ConversationParameters::new_thread(&place, &"t".into(), Activity::message(&*text));
            prop_assert_eq!(written(&parameters), json!({
                "isGroup": true, "tenantId": "t", "channelData": {"channel": {"id": channel}},
                "activity": {"type": "message", "text": text},
            }));
        }
    }
}
