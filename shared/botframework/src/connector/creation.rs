//! What a conversation is created from, and what comes of it.

use serde_json::{Value, json};

use crate::activity::{Activity, ChannelAccount};
use crate::id::{ActivityId, ChannelAccountId, ConversationId, EntraObjectId};
use crate::wire::wire_object;

/// One person, by either of the ids that Teams takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Person<'a> {
    /// As the channel names them to this bot: `29:…`, from an activity or a roster.
    Account(&'a ChannelAccountId),
    /// As Microsoft Entra names them. Found only if the bot is installed for them; otherwise
    /// [`Reason::NotInstalled`](super::Reason::NotInstalled).
    Entra(&'a EntraObjectId),
}

impl Person<'_> {
    /// The id as it is on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Account(id) => id.as_str(),
            Self::Entra(id) => id.as_str(),
        }
    }
}

wire_object! {
    /// What a new conversation is to be. Teams knows two kinds, and each has its constructor:
    /// [`one_person`](ConversationParameters::one_person) and [`new_thread`](ConversationParameters::new_thread).
    ConversationParameters {
        /// Whether it is a group; in Teams `true` for a new thread in a channel, `false` for one person.
        "isGroup" is_group: Option<bool>,
        /// The bot.
        "bot" bot: Option<ChannelAccount>,
        /// With whom. In Teams exactly one, whose `id` is a `29:` id or an Entra object id.
        "members" members: Vec<ChannelAccount>,
        /// The conversation's name.
        "topicName" topic_name: Option<String>,
        /// The tenant.
        "tenantId" tenant_id: Option<String>,
        /// The first message: needed for a thread in a channel, left out for one person (it would be sent
        /// again each time).
        "activity" activity: Option<Box<Activity>>,
        /// What only this channel knows; in Teams the tenant, or the channel of a new thread.
        "channelData" channel_data: Option<Value>,
    }
}

wire_object! {
    /// The conversation that was created, or for one person the one that existed already.
    ConversationResource {
        /// Its id. Absent when the Connector's answer was lost after the success was known.
        "id" id: Option<ConversationId>,
        /// The id of the first message, if one was sent with it and the channel tells.
        "activityId" activity_id: Option<ActivityId>,
        /// Where to send from now on, if elsewhere. It has passed the rule: one that does not is dropped.
        "serviceUrl" service_url: Option<String>,
    }
}

impl ConversationParameters {
    /// The conversation of a bot of Teams with one person. Repeating it gives the same one, so it carries no
    /// message: Teams would send that again each time, and tell its id never. Send when it is there.
    ///
    /// An Entra object id goes where a `29:` id would, in the member's `id`: as `aadObjectId` it is refused. The
    /// tenant is named twice, because older and newer versions of the service look in different places.
    pub fn one_person(person: Person<'_>, bot: &ChannelAccountId, tenant: &str) -> Self {
        Self {
            is_group: Some(false),
            bot: Some(ChannelAccount::new(bot.clone())),
            members: vec![ChannelAccount::new(person.as_str())],
            tenant_id: Some(tenant.to_owned()),
            channel_data: Some(json!({"tenant": {"id": tenant}})),
            ..Self::default()
        }
    }

    /// A new thread in a channel of Teams, begun by this message. Repeating it begins another one.
    ///
    /// Of a thread, it is the channel that is meant: a reply is sent to the thread itself.
    pub fn new_thread(channel: &ConversationId, tenant: &str, message: Activity) -> Self {
        Self {
            is_group: Some(true),
            tenant_id: Some(tenant.to_owned()),
            activity: Some(Box::new(message)),
            channel_data: Some(json!({"channel": {"id": channel.channel().as_str()}})),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(parameters: &ConversationParameters) -> Value {
        serde_json::to_value(parameters).unwrap()
    }

    proptest! {
        #[test]
        fn one_person_is_asked_for_as_teams_wants_it_by_either_id(id in ".+", tenant in ".*", bot in ".+") {
            let expected = json!({
                "isGroup": false, "bot": {"id": bot}, "members": [{"id": id}], "tenantId": tenant,
                "channelData": {"tenant": {"id": tenant}},
            });
            let bot = ChannelAccountId::from(bot);
            let (account, user) = (ChannelAccountId::from(&*id), EntraObjectId::from(&*id));
            for person in [Person::Account(&account), Person::Entra(&user)] {
                let parameters = ConversationParameters::one_person(person, &bot, &tenant);
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
            let parameters = ConversationParameters::new_thread(&place, "t", Activity::message(&*text));
            prop_assert_eq!(written(&parameters), json!({
                "isGroup": true, "tenantId": "t", "channelData": {"channel": {"id": channel}},
                "activity": {"type": "message", "text": text},
            }));
        }
    }
}
