//! The `message` of a request: a Bot Framework activity of type message.

use botframework::activity::Activity;
use botframework::lossless::LosslessJson;
use serde_json::{Map, Value};

use super::super::summary;
use crate::audience::kind;
use crate::problem::{Fault, Faults};

/// The largest message, in bytes of JSON. Teams accepts about 100 KB, without pictures (`PROTOCOL.md#b1`).
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Parses the message that replaces the message of a notification.
///
/// # Errors
/// Every invalid field, with its JSON pointer.
pub fn replacement(body: LosslessJson) -> Result<Activity, Vec<Fault>> {
    let mut faults = Faults::default();
    let message = parse(body, "#", &mut faults).map(|(message, _)| message);
    faults.none_in(message)
}

/// Parses a message. Returns it with its size in bytes.
pub(super) fn parse(mut json: LosslessJson, at: &str, faults: &mut Faults) -> Option<(Activity, u64)> {
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
    if faults.count() > before || faults.are_full() {
        return None;
    }
    json.value["type"] = Value::from("message");
    let mut activity = Activity::from_lossless(json)
        .map_err(|error| faults.note(at, format!("is not an activity: {error}")))
        .ok()?;
    summary::complete(&mut activity);
    Some((activity, bytes as u64))
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
    if faults.count() == before && text.is_empty() && attachments.is_empty() {
        let detail = "must have a `text` or `attachments`: an empty message cannot be sent";
        faults.note(at, detail);
    }
}
