//! The `message` of a request: a Bot Framework activity of type message, or a template of one.

use botframework::activity::Activity;
use botframework::lossless::LosslessJson;
use serde_json::{Map, Value};

use super::super::summary;
use crate::audience::kind;
use crate::problem::{Fault, Faults, pointer, suggestion};
use crate::template::{Bindings, MessageSource, check};

/// The largest message, in bytes of JSON. Teams accepts about 100 KB, without pictures (`PROTOCOL.md#b1`).
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// The fields of an edit that is written as a request is.
const EDIT_FIELDS: [&str; 3] = ["message", "data", "texts"];

/// Parses the message that replaces the message of a notification: an activity; or, as in a request, an object with the
/// `message` and its `data` and `texts`.
///
/// # Errors
/// Every invalid field, with its JSON pointer. So is a `template` by name, which has to be looked up before.
pub fn replacement(body: LosslessJson) -> Result<MessageSource, Vec<Fault>> {
    let mut faults = Faults::default();
    let object = body.value.as_object();
    let as_request =
        object.filter(|members| members.contains_key("message") || members.contains_key("template"));
    let Some(object) = as_request else {
        let source = parse(body, "#", None, &mut faults).map(|(source, _)| source);
        return faults.none_in(source);
    };
    for name in object.keys().filter(|name| !EDIT_FIELDS.contains(&name.as_str())) {
        let detail = format!("is not a field of an edit{}", suggestion(name, &EDIT_FIELDS));
        faults.note(pointer("#", name), detail);
    }
    let bindings = Bindings::parse(object, &mut faults).unwrap_or_default();
    of_request(&body, Some(&bindings), faults)
}

/// Parses the `message` of a request, with its `data` and `texts`; its other fields do not matter.
///
/// # Errors
/// Every invalid field of these, with its JSON pointer.
pub fn message_of(request: &LosslessJson) -> Result<MessageSource, Vec<Fault>> {
    let mut faults = Faults::default();
    let object = request.value.as_object();
    let bindings = object.and_then(|object| Bindings::parse(object, &mut faults));
    of_request(request, bindings.as_ref(), faults)
}

fn of_request(
    request: &LosslessJson,
    bindings: Option<&Bindings>,
    mut faults: Faults,
) -> Result<MessageSource, Vec<Fault>> {
    let message = request.get("message").unwrap_or_default();
    let source = parse(message, "#/message", bindings, &mut faults);
    faults.none_in(source.map(|(source, _)| source))
}

/// Parses a message, which is a template if there are bindings. Returns it with its size in bytes.
pub(super) fn parse(
    mut json: LosslessJson,
    at: &str,
    bindings: Option<&Bindings>,
    faults: &mut Faults,
) -> Option<(MessageSource, u64)> {
    let Value::Object(object) = &json.value else {
        faults.note(at, format!("must be an object, found {}", kind(&json.value)));
        return None;
    };
    let before = faults.count();
    check_fields(object, at, faults);
    let bytes = json.to_string().len();
    if bytes > MESSAGE_BYTES_MAX {
        faults.note(at, format!("may have {MESSAGE_BYTES_MAX} bytes, found {bytes}"));
    }
    if bindings.is_some() {
        check(&json.value, at, faults);
    }
    if faults.count() > before || faults.are_full() {
        return None;
    }
    json.value["type"] = Value::from("message");
    let mut activity = Activity::from_lossless(json)
        .map_err(|error| faults.note(at, format!("is not an activity: {error}")))
        .ok()?;
    let Some(bindings) = bindings else {
        summary::complete(&mut activity);
        return Some((activity.into(), bytes as u64));
    };
    let source = MessageSource {
        activity,
        bindings: Some(bindings.clone()),
    };
    Some((source, bytes as u64))
}

fn check_fields(object: &Map<String, Value>, at: &str, faults: &mut Faults) {
    let before = faults.count();
    match object.get("type") {
        None => {}
        Some(Value::String(name)) if name == "message" => {}
        Some(other) => {
            let found = if other.is_string() {
                "another type"
            } else {
                kind(other)
            };
            let detail = format!("must be \"message\" or left out, found {found}");
            faults.note(format!("{at}/type"), detail);
        }
    }
    for name in ["text", "summary"] {
        if let Some(other) = object.get(name).filter(|value| !value.is_string()) {
            let detail = format!("must be a string, found {}", kind(other));
            faults.note(format!("{at}/{name}"), detail);
        }
    }
    let attachments = match object.get("attachments") {
        None => &[],
        Some(Value::Array(attachments)) => attachments.as_slice(),
        Some(other) => {
            let detail = format!("must be an array, found {}", kind(other));
            faults.note(format!("{at}/attachments"), detail);
            &[]
        }
    };
    for (index, attachment) in attachments.iter().enumerate() {
        let content_type = attachment.get("contentType").and_then(Value::as_str);
        if content_type.is_none_or(str::is_empty) {
            let field = format!("{at}/attachments/{index}/contentType");
            faults.note(
                field,
                "must be a non-empty string: it says what the attachment is",
            );
        }
        if faults.are_full() {
            return;
        }
    }
    let text = object.get("text").and_then(Value::as_str).unwrap_or_default();
    if faults.count() == before && is_blank(text) && attachments.is_empty() {
        let detail =
            "must have a `text` that is not blank, or `attachments`: an empty message cannot be sent";
        faults.note(at, detail);
    }
    check_mentions(object, text, at, faults);
}

/// Whether nothing of a text can be seen.
fn is_blank(text: &str) -> bool {
    text.chars().all(|one| {
        let is_zero_width = matches!(one, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}');
        one.is_whitespace() || one.is_control() || is_zero_width
    })
}

/// Teams refuses a message for each recipient when the text of a mention is neither in the message nor in a card.
fn check_mentions(object: &Map<String, Value>, text: &str, at: &str, faults: &mut Faults) {
    let entities = object.get("entities").and_then(Value::as_array);
    for (index, entity) in entities.into_iter().flatten().enumerate() {
        let is_mention = entity.get("type").and_then(Value::as_str) == Some("mention");
        let field = format!("{at}/entities/{index}/text");
        match entity.get("text").and_then(Value::as_str).filter(|_| is_mention) {
            _ if !is_mention => {}
            None | Some("") => faults.note(field, "must be a string: the text of the mention, as in the message"),
            Some(mentioned) if text.contains(mentioned) => {}
            Some(mentioned) if is_in_cards(object, mentioned) => {}
            Some(_) => faults.note(
                field,
                "is not in the message: Teams refuses a mention whose text is neither in its `text` nor in a card",
            ),
        }
        if faults.are_full() {
            return;
        }
    }
}

fn is_in_cards(object: &Map<String, Value>, mentioned: &str) -> bool {
    let attachments = object.get("attachments");
    attachments.is_some_and(|attachments| holds_text(attachments, mentioned))
}

fn holds_text(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text.contains(wanted),
        Value::Array(values) => values.iter().any(|value| holds_text(value, wanted)),
        Value::Object(members) => members.values().any(|value| holds_text(value, wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn taken(message: Value) -> Result<Activity, Vec<Fault>> {
        replacement(LosslessJson::from(message)).map(MessageSource::into_activity)
    }

    fn pointers(message: &Value) -> Vec<String> {
        let faults = taken(message.clone()).map(|_| ()).unwrap_err();
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn a_blank_text_is_no_message() {
        for text in ["", " ", "\n\t", "\u{a0}\u{3000}", "\u{200b}\u{feff}"] {
            assert_eq!(pointers(&json!({"text": text})), ["#"], "{text:?}");
        }
        assert!(taken(json!({"text": " ", "attachments": [{"contentType": "image/png"}]})).is_ok());
    }

    #[test]
    fn a_mention_that_is_not_in_the_message_is_refused() {
        let mention = |text: Value| json!({"type": "mention", "text": text, "mentioned": {"id": "29:ada", "name": "Ada"}});
        let message = |text: &str, entities: Value| json!({"text": text, "entities": entities});
        assert!(
            taken(message(
                "<at>Ada</at>, look",
                json!([mention(json!("<at>Ada</at>"))])
            ))
            .is_ok()
        );
        assert!(taken(message("hi", json!([{"type": "clientInfo"}]))).is_ok());
        let two = json!([{"type": "clientInfo"}, mention(json!("<at>Ada</at>"))]);
        assert_eq!(pointers(&message("<at>ada</at>", two)), ["#/entities/1/text"]);
        for text in [json!(null), json!(""), json!(7)] {
            assert_eq!(
                pointers(&message("hi", json!([mention(text)]))),
                ["#/entities/0/text"]
            );
        }
        let card = json!({"contentType": "application/vnd.microsoft.card.adaptive",
            "content": {"body": [{"type": "TextBlock", "text": "Hello <at>Ada</at>"}]}});
        let in_card = json!({"attachments": [card], "entities": [mention(json!("<at>Ada</at>"))]});
        assert!(taken(in_card).is_ok());
    }
}
