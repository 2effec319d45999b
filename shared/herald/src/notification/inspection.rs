//! What a message has that its recipients may see differently from its author.

use botframework::activity::{Activity, Attachment, Entity};
use serde_json::Value;

use crate::problem::pointer;
use crate::warning::{Warning, WarningCode};

/// The newest version of an Adaptive Card that Teams shows (`PROTOCOL.md#b1`).
const CARD_VERSION_MAX: (u32, u32) = (1, 5);

/// The most warnings of one message.
const WARNINGS_MAX: usize = 20;

/// Warnings about a message as it is sent. Their pointers begin with `at`.
pub fn inspect(message: &Activity, at: &str) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (index, attachment) in message.attachments.iter().enumerate() {
        let is_card = attachment.content_type.as_deref() == Some(Attachment::ADAPTIVE_CARD);
        if let Some(card) = attachment.content.as_ref().filter(|_| is_card) {
            inspect_card(card, &format!("{at}/attachments/{index}/content"), &mut warnings);
        }
    }
    let text = message.text.as_deref().unwrap_or_default();
    let mentions = message.entities.iter().map(Entity::as_mention).enumerate();
    for (index, mention) in mentions {
        let mentioned = mention.and_then(|mention| mention.text);
        let is_absent = |mentioned: &String| {
            let attachments = message.attachments.iter();
            let mut cards = attachments.filter_map(|attachment| attachment.content.as_ref());
            !text.contains(mentioned) && !cards.any(|card| card.to_string().contains(mentioned))
        };
        if mentioned.as_ref().is_some_and(is_absent) {
            let detail =
                "Teams refuses a mention whose text is neither in the message's `text` nor in a card.";
            warnings.push(Warning::at(
                format!("{at}/entities/{index}/text"),
                WarningCode::MentionAbsent,
                detail,
            ));
        }
    }
    warnings.truncate(WARNINGS_MAX);
    warnings
}

fn inspect_card(card: &Value, at: &str, warnings: &mut Vec<Warning>) {
    let version = card["version"].as_str().and_then(version);
    if version.is_none_or(|version| version > CARD_VERSION_MAX) {
        let detail = "Teams shows Adaptive Cards up to version 1.5. Of a newer one, or one that names no version, people see the `fallbackText` at best.";
        warnings.push(Warning::at(
            format!("{at}/version"),
            WarningCode::CardVersion,
            detail,
        ));
    }
    let fallback = card["fallbackText"].as_str().unwrap_or_default();
    if fallback.trim().is_empty() {
        let detail =
            "The card has no `fallbackText`, which is what a client shows that cannot show the card.";
        warnings.push(Warning::at(
            format!("{at}/fallbackText"),
            WarningCode::NoFallbackText,
            detail,
        ));
    }
    inspect_images(card, at, warnings);
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Images at any depth of a card. Its depth is bounded by that of a body.
fn inspect_images(value: &Value, at: &str, warnings: &mut Vec<Warning>) {
    if warnings.len() >= WARNINGS_MAX {
        return;
    }
    match value {
        Value::Object(members) => {
            let alternative = members.get("altText").and_then(Value::as_str).unwrap_or_default();
            if members.get("type").and_then(Value::as_str) == Some("Image") && alternative.trim().is_empty() {
                let detail = "The image has no `altText`, which is what a screen reader says.";
                warnings.push(Warning::at(
                    format!("{at}/altText"),
                    WarningCode::NoAltText,
                    detail,
                ));
            }
            for (name, member) in members {
                inspect_images(member, &pointer(at, name), warnings);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                inspect_images(item, &format!("{at}/{index}"), warnings);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(message: Value) -> Vec<(WarningCode, String)> {
        let message = Activity::from_value(message).unwrap();
        let warnings = inspect(&message, "#/message").into_iter();
        warnings
            .map(|warning| (warning.code, warning.pointer.unwrap_or_default()))
            .collect()
    }

    fn of_card(card: &Value) -> Vec<(WarningCode, String)> {
        let attachment = json!({"contentType": Attachment::ADAPTIVE_CARD, "content": card});
        found(json!({"type": "message", "attachments": [attachment]}))
    }

    #[test]
    fn a_card_is_warned_of_where_people_may_not_see_it() {
        let image = json!({"type": "Image", "url": "https://x.example/a.png"});
        let mut card = json!({"type": "AdaptiveCard", "version": "1.6", "body": [
            {"type": "Container", "items": [image.clone(), {"type": "TextBlock", "text": "a"}]}]});
        let at = |place: &str| format!("#/message/attachments/0/content/{place}");
        assert_eq!(
            of_card(&card),
            [
                (WarningCode::CardVersion, at("version")),
                (WarningCode::NoFallbackText, at("fallbackText")),
                (WarningCode::NoAltText, at("body/0/items/0/altText")),
            ]
        );
        card["version"] = json!("1.5");
        card["fallbackText"] = json!("a");
        card["body"][0]["items"][0]["altText"] = json!("a house");
        assert_eq!(of_card(&card), []);
        for version in [json!("2.0"), json!("1.10"), json!(1.5), json!("new"), Value::Null] {
            card["version"] = version;
            assert_eq!(
                of_card(&card),
                [(WarningCode::CardVersion, at("version"))],
                "{card}"
            );
        }
        card["body"] = vec![image; 50].into();
        assert_eq!(of_card(&card).len(), WARNINGS_MAX);
    }

    #[test]
    fn a_mention_is_warned_of_if_its_text_is_nowhere() {
        let message = |text: &str| {
            json!({"type": "message", "text": text, "entities": [
                {"type": "clientInfo"}, {"type": "mention", "text": "<at>Ada</at>", "mentioned": {"id": "29:ada"}}]})
        };
        assert_eq!(found(message("hi <at>Ada</at>")), []);
        let at = "#/message/entities/1/text".to_owned();
        assert_eq!(found(message("hi Ada")), [(WarningCode::MentionAbsent, at)]);
    }
}
