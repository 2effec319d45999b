//! References as other SDKs store them: Python in `snake_case`, .NET in `PascalCase`.

use serde_json::{Map, Value};

/// The properties that are read, as they are spelt on the wire.
const NAMES: [&str; 18] = [
    "activityId",
    "user",
    "bot",
    "agent",
    "conversation",
    "channelId",
    "serviceUrl",
    "locale",
    "id",
    "name",
    "aadObjectId",
    "role",
    "isGroup",
    "conversationType",
    "tenantId",
    "channelData",
    "reference",
    "conversationReference",
];

/// The properties of a reference that are objects with properties of their own.
const OBJECTS: [&str; 5] = ["user", "bot", "agent", "conversation", "conversationReference"];

/// Properties that serializers of Python add.
const ARTEFACTS: [&str; 2] = ["py/object", "additional_properties"];

/// The name on the wire of a property that is read, however it is spelt.
pub fn wire_name(name: &str) -> Option<&'static str> {
    let fold = |name: &str| name.replace('_', "").to_ascii_lowercase();
    let folded = fold(name);
    NAMES.into_iter().find(|known| fold(known) == folded)
}

/// A reference with the names of the wire. Properties that have those names already stay, and so do unknown ones.
pub(super) fn normalize(document: Value) -> Value {
    let Value::Object(properties) = document else {
        return document;
    };
    let mut reference = rename(properties);
    for name in OBJECTS {
        if let Some(Value::Object(properties)) = reference.get_mut(name) {
            let renamed = rename(std::mem::take(properties));
            *properties = renamed;
        }
    }
    // Some bots store the reference beside other things.
    match reference.remove("conversationReference") {
        Some(inner @ Value::Object(_)) if !reference.contains_key("conversation") => normalize(inner),
        Some(other) => {
            reference.insert("conversationReference".to_owned(), other);
            Value::Object(reference)
        }
        None => Value::Object(reference),
    }
}

fn rename(properties: Map<String, Value>) -> Map<String, Value> {
    let (known, others): (Vec<_>, Vec<_>) = properties
        .into_iter()
        .filter(|(name, _)| !ARTEFACTS.contains(&name.as_str()))
        .partition(|(name, _)| NAMES.contains(&name.as_str()));
    let mut renamed: Map<String, Value> = known.into_iter().collect();
    for (name, value) in others {
        match wire_name(&name).filter(|known| !renamed.contains_key(*known)) {
            Some(known) => renamed.insert(known.to_owned(), value),
            None => renamed.insert(name, value),
        };
    }
    renamed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_of_python_and_dotnet_get_the_names_of_the_wire() {
        let wire = json!({
            "channelId": "msteams", "serviceUrl": "https://smba.trafficmanager.net/emea/", "bot": {"id": "28:bot"},
            "user": {"id": "29:ada", "aadObjectId": "entra-ada"},
            "conversation": {"id": "a:ada", "isGroup": null, "conversationType": "personal", "tenantId": "t1"},
        });
        let python = json!({
            "py/object": "botbuilder.schema._models_py3.ConversationReference", "additional_properties": {},
            "channel_id": "msteams", "service_url": "https://smba.trafficmanager.net/emea/",
            "bot": {"py/object": "botbuilder.schema._models_py3.ChannelAccount", "id": "28:bot"},
            "user": {"id": "29:ada", "aad_object_id": "entra-ada"},
            "conversation": {"id": "a:ada", "is_group": null, "conversation_type": "personal", "tenant_id": "t1"},
        });
        let dotnet = json!({
            "ChannelId": "msteams", "ServiceUrl": "https://smba.trafficmanager.net/emea/", "Bot": {"Id": "28:bot"},
            "User": {"Id": "29:ada", "AadObjectId": "entra-ada"},
            "Conversation": {"Id": "a:ada", "IsGroup": null, "ConversationType": "personal", "TenantId": "t1"},
        });
        let beside = json!({"userId": "29:ada", "conversation_reference": python});
        for document in [wire.clone(), python, dotnet, beside] {
            assert_eq!(normalize(document), wire);
        }
    }

    #[test]
    fn a_property_of_the_wire_is_kept_beside_another_spelling_of_it() {
        let both = json!({"channelId": "msteams", "ChannelId": "other", "novel": {"Id": 1}});
        assert_eq!(normalize(both.clone()), both);
    }
}
