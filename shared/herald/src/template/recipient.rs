//! What a template can say of its recipient.

use botframework::id::EntraObjectId;
use serde_json::{Map, Value};

use crate::conversation::{Conversation, Scope};

/// What expressions read as `recipient`. All of it comes from the record of the conversation, which the sender reads before each
/// message. What is not known is left out.
///
/// | name | |
/// |---|---|
/// | `scope` | `personal`, `groupChat` or `channel` |
/// | `tenant` | the Entra tenant |
/// | `user` | the Entra object id of the person |
/// | `name`, `givenName` | of the person, as the channel names them |
/// | `locale` | the language of the person's client, BCP 47 |
/// | `timeZone` | the person's time zone, IANA: the one that they chose, else the one that their client names |
pub fn recipient(conversation: &Conversation) -> Value {
    let attributes = &conversation.attributes;
    let mut known = Map::new();
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            known.insert(name.to_owned(), Value::from(value));
        }
    };
    put("scope", Some(attributes.scope.as_str()));
    put("tenant", attributes.tenant.as_deref());
    if attributes.scope == Scope::Personal {
        let person = conversation.reference.user.as_ref();
        put("user", attributes.user.as_ref().map(EntraObjectId::as_str));
        put("name", person.and_then(|person| person.name.as_deref()));
        put(
            "givenName",
            person.and_then(|person| person.extra.get("givenName")?.as_str()),
        );
        put("locale", conversation.reference.locale.as_deref());
    }
    let chosen = conversation.preferences.as_ref();
    let zone = chosen.and_then(|chosen| chosen.zone.as_ref());
    if let Some(zone) = zone.or(conversation.zone.as_ref()) {
        known.insert("timeZone".to_owned(), Value::from(zone.to_string()));
    }
    Value::Object(known)
}
