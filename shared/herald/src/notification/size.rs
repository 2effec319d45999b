//! How large Teams finds a message (`PROTOCOL.md#b1`).

use botframework::activity::Activity;
use serde_json::Value;

/// The largest message that Teams takes, in bytes as it counts them: "about 100 KB". A larger one is refused with 413.
pub const TEAMS_BYTES_MAX: u64 = 100 * 1000;

/// The size of a message as Teams counts it: all of it as UTF-16, but for the pictures in it.
pub fn as_teams_counts(message: &Activity) -> u64 {
    // An activity that was parsed can be written.
    let mut document = message.to_lossless().unwrap_or_default();
    leave_out_pictures(&mut document.value);
    2 * document.to_string().encode_utf16().count() as u64
}

fn leave_out_pictures(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with("data:image/") => text.clear(),
        Value::Array(values) => values.iter_mut().for_each(leave_out_pictures),
        Value::Object(members) => members.values_mut().for_each(leave_out_pictures),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn size(message: Value) -> u64 {
        as_teams_counts(&Activity::from_value(message).unwrap())
    }

    #[test]
    fn every_character_has_two_bytes_whatever_its_script() {
        let empty = size(json!({"type": "message", "text": ""}));
        assert_eq!(size(json!({"type": "message", "text": "abc"})) - empty, 6);
        assert_eq!(size(json!({"type": "message", "text": "日本語"})) - empty, 6);
        assert_eq!(size(json!({"type": "message", "text": "😀"})) - empty, 4);
    }

    #[test]
    fn pictures_do_not_count() {
        let with = |picture: &str| {
            size(
                json!({"type": "message", "attachments": [{"contentType": "image/png", "contentUrl": picture}]}),
            )
        };
        assert_eq!(
            with(&format!("data:image/png;base64,{}", "A".repeat(90_000))),
            with("")
        );
        assert!(with("https://example.com/picture.png") > with(""));
    }
}
