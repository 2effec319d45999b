//! Invented people and places, and the activities that a channel sends about them.

use jiff::Timestamp;
use serde_json::{Value, json};

/// The tenant of everybody here.
pub const TENANT: &str = "11111111-2222-4333-8444-555555555555";
/// The bot, as the channel names it.
pub const BOT: &str = "28:00000000-0000-4000-8000-00000000b07a";
/// What this channel is, to the bot: only Teams has teams, and people whom Entra knows.
pub const CHANNEL_ID: &str = "msteams";

/// An invented person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// How people call them.
    pub name: String,
    /// How the channel calls them, `29:…`.
    pub id: String,
    /// How Entra calls them.
    pub entra_object_id: String,
}

/// Where people and the bot meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The id, in the form that Teams gives it.
    pub id: String,
    /// Which kind it is.
    pub scope: Scope,
    /// Who is in it, the bot aside.
    pub members: Vec<Person>,
}

/// The kinds of conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One person and the bot.
    Personal,
    /// Several people and the bot.
    GroupChat,
    /// A channel of a team.
    Channel {
        /// The team.
        team: String,
    },
}

impl Person {
    /// The person of this name. The same name is the same person.
    pub fn named(name: &str) -> Person {
        let number = name.bytes().fold(0_u64, |number, byte| {
            number.wrapping_mul(31).wrapping_add(byte.into())
        });
        Person {
            name: name.to_owned(),
            id: format!("29:1{number:016x}"),
            entra_object_id: format!("00000000-0000-4000-8000-{:012x}", number & 0xffff_ffff_ffff),
        }
    }

    pub(super) fn account(&self) -> Value {
        json!({ "id": self.id, "name": self.name, "aadObjectId": self.entra_object_id, "role": "user" })
    }

    /// As the members endpoints show a person.
    pub(super) fn member(&self) -> Value {
        let mut member = self.account();
        member["objectId"] = self.entra_object_id.as_str().into();
        member["tenantId"] = TENANT.into();
        member["userRole"] = "user".into();
        member
    }
}

impl Conversation {
    /// A person's own chat with the bot.
    pub fn personal(person: &Person) -> Conversation {
        let id = format!("a:{}", person.id.trim_start_matches("29:"));
        Conversation {
            id,
            scope: Scope::Personal,
            members: vec![person.clone()],
        }
    }

    /// A group chat of this name.
    pub fn group_chat(name: &str, members: &[Person]) -> Conversation {
        Conversation {
            id: format!("19:{name}@thread.v2"),
            scope: Scope::GroupChat,
            members: members.to_vec(),
        }
    }

    /// The channel of this name in a team.
    pub fn channel(team: &str, name: &str, members: &[Person]) -> Conversation {
        Conversation {
            id: format!("19:{name}@thread.tacv2"),
            scope: Scope::Channel {
                team: format!("19:{team}@thread.tacv2"),
            },
            members: members.to_vec(),
        }
    }

    /// The activity by which the channel tells that the bot was added.
    pub fn bot_added(&self, from: &Person) -> Value {
        let mut activity = self.activity("conversationUpdate", from);
        let mut added = vec![json!({ "id": BOT })];
        added.extend(self.members.iter().map(|member| json!({ "id": member.id })));
        activity["membersAdded"] = added.into();
        activity
    }

    /// The activity by which the channel tells what somebody wrote.
    pub fn message(&self, from: &Person, text: &str) -> Value {
        let mut activity = self.activity("message", from);
        activity["text"] = text.into();
        activity["textFormat"] = "plain".into();
        activity
    }

    /// All but what the channel stamps on it: id, time and service URL.
    fn activity(&self, kind: &str, from: &Person) -> Value {
        let (conversation_type, is_group) = match &self.scope {
            Scope::Personal => ("personal", false),
            Scope::GroupChat => ("groupChat", true),
            Scope::Channel { .. } => ("channel", true),
        };
        let mut channel_data = json!({ "tenant": { "id": TENANT } });
        if let Scope::Channel { team } = &self.scope {
            channel_data["team"] = json!({ "id": team });
            channel_data["channel"] = json!({ "id": self.id });
        }
        json!({
            "type": kind,
            "channelId": CHANNEL_ID,
            "from": from.account(),
            "recipient": { "id": BOT, "name": "bot", "role": "bot" },
            "conversation": {
                "id": self.id,
                "conversationType": conversation_type,
                "isGroup": is_group,
                "tenantId": TENANT,
            },
            "channelData": channel_data,
            "locale": "en-GB",
        })
    }
}

/// Puts the channel's stamp on an activity that goes to the bot.
pub(super) fn stamped(mut activity: Value, id: &str, service_url: &str, at: Timestamp) -> Value {
    activity["id"] = id.into();
    activity["timestamp"] = at.to_string().into();
    activity["serviceUrl"] = service_url.into();
    activity
}
