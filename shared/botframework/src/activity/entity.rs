//! Entities: metadata of an activity.

use serde_json::Value;

use crate::wire::{WireValue, wire_object};

use super::account::ChannelAccount;
use super::vocabulary::SemanticActionState;

wire_object! {
    /// Metadata of an activity: a type and, in `extra`, the properties of that type.
    Entity {
        /// The type; `type` on the wire.
        "type" kind: Option<String>,
    }
}

wire_object! {
    /// A mention in the text.
    Mention {
        /// The account that the text mentions.
        "mentioned" mentioned: Option<ChannelAccount>,
        /// The part of the text that mentions it, `<at>…</at>`, exactly as in the text.
        "text" text: Option<String>,
    }
}

wire_object! {
    /// A programmatic action attached to an activity.
    SemanticAction {
        /// The id of the action.
        "id" id: Option<String>,
        /// The progress of the action.
        "state" state: Option<SemanticActionState>,
        /// Its parameters, by name.
        "entities" entities: Option<Value>,
    }
}

impl Mention {
    /// The mention as metadata of an activity.
    pub(super) fn into_entity(self) -> Entity {
        let properties = serde_json::to_value(&self).ok();
        let entity = properties.and_then(|properties| Entity::from_value(properties).ok());
        let mut entity = entity.unwrap_or_default();
        entity.kind = Some("mention".to_owned());
        entity
    }
}

impl Entity {
    /// The entity as a mention, if it is one. As in other SDKs, entity types are compared without case.
    pub fn as_mention(&self) -> Option<Mention> {
        let is_mention = self
            .kind
            .as_ref()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("mention"));
        let properties = is_mention.then(|| Value::Object(self.extra.clone()))?;
        Mention::from_json(properties, &mut self.numbers.clone())
    }
}
