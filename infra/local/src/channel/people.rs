//! Invented people and their conversations.

use serde_json::{Value, json};

use super::TENANT;

/// An invented person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The display name.
    pub name: String,
    /// The channel account id, `29:…`.
    pub id: String,
    /// The Entra object id.
    pub entra_object_id: String,
}

/// A conversation with the bot: the personal one of its only member, or a channel of a team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Its id, in Teams' form.
    pub id: String,
    /// The team's id, for a channel.
    pub team: Option<String>,
    /// Its members without the bot.
    pub members: Vec<Person>,
}

impl Person {
    /// The person of this name. The same name gives the same ids.
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

    /// The person's entry in rosters.
    pub(super) fn entry(&self) -> Value {
        let address = format!("{}@library.example", self.name.to_lowercase());
        json!({
            "id": self.id, "name": self.name, "aadObjectId": self.entra_object_id, "objectId": self.entra_object_id,
            "givenName": self.name, "email": address, "userPrincipalName": address,
            "tenantId": TENANT, "role": "user", "userRole": "user",
        })
    }
}

impl Conversation {
    /// A person's personal conversation.
    pub fn personal(person: &Person) -> Conversation {
        Conversation {
            id: format!("a:{}", person.id.trim_start_matches("29:")),
            team: None,
            members: vec![person.clone()],
        }
    }

    /// The channel of this name in a team. The General channel has the team's name.
    pub fn channel(team: &str, name: &str, members: &[Person]) -> Conversation {
        Conversation {
            id: format!("19:{name}@thread.tacv2"),
            team: Some(format!("19:{team}@thread.tacv2")),
            members: members.to_vec(),
        }
    }
}
