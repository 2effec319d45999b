//! The toast of a message that is nothing but cards.
//!
//! Teams shows an activity's `summary` in the toast and the activity feed. Without it the toast of a card-only message
//! reads "sent a card".

use botframework::activity::Activity;
use serde_json::Value;

/// The longest summary made from a card, in characters; a toast shows about one line.
const CHARACTERS_MAX: usize = 120;

/// The summary of cards without text.
const WORDLESS: &str = "New notification";

/// Gives a message of cards without text or summary a `summary`: the first words of its cards.
pub fn complete(message: &mut Activity) {
    let has = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.trim().is_empty());
    if has(&message.text) || has(&message.summary) || message.attachments.is_empty() {
        return;
    }
    let words = message
        .attachments
        .iter()
        .filter_map(|attachment| attachment.content.as_ref())
        .find_map(first_words);
    message.summary = Some(words.unwrap_or_else(|| WORDLESS.to_owned()));
}

/// A card's title, else its first text: hero cards and Adaptive Cards alike.
fn first_words(card: &Value) -> Option<String> {
    ["title", "fallbackText", "text", "subtitle"]
        .into_iter()
        .find_map(|name| card.get(name).and_then(Value::as_str).and_then(shorten))
        .or_else(|| {
            ["body", "items", "columns"]
                .into_iter()
                .find_map(|name| first_text(card.get(name)?))
        })
}

/// The first `TextBlock` in the containers of an Adaptive Card, depth first.
fn first_text(elements: &Value) -> Option<String> {
    elements
        .as_array()?
        .iter()
        .find_map(|element| match element.get("type").and_then(Value::as_str) {
            Some("TextBlock") => element.get("text").and_then(Value::as_str).and_then(shorten),
            _ => ["items", "columns", "body"]
                .into_iter()
                .find_map(|name| first_text(element.get(name)?)),
        })
}

fn shorten(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    match text.char_indices().nth(CHARACTERS_MAX) {
        None => Some(text.to_owned()),
        Some((end, _)) => Some(format!("{}…", text[..end].trim_end())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn summary_of(message: &Value) -> Option<String> {
        let mut activity: Activity = serde_json::from_value(message.clone()).unwrap();
        complete(&mut activity);
        activity.summary
    }

    fn card(content: &Value) -> Value {
        json!({"type": "message", "attachments": [
            {"contentType": "application/vnd.microsoft.card.adaptive", "content": content}]})
    }

    #[test]
    fn a_card_only_message_is_summed_up_by_its_first_words() {
        let nested = json!({"type": "AdaptiveCard", "body": [
            {"type": "Image", "url": "https://example.com/a.png"},
            {"type": "ColumnSet", "columns": [{"type": "Column", "items": [{"type": "TextBlock", "text": "Build 7 broke"}]}]},
            {"type": "TextBlock", "text": "second"}]});
        assert_eq!(summary_of(&card(&nested)).unwrap(), "Build 7 broke");
        assert_eq!(
            summary_of(&card(&json!({"title": "Order shipped", "text": "…"}))).unwrap(),
            "Order shipped"
        );
    }

    #[test]
    fn a_wordless_card_still_gets_one() {
        assert_eq!(summary_of(&card(&json!({"images": []}))).unwrap(), WORDLESS);
    }

    #[test]
    fn words_of_the_callers_own_stay() {
        let mut message = card(&json!({"title": "Card"}));
        message["summary"] = json!("Mine");
        assert_eq!(summary_of(&message).unwrap(), "Mine");
        let mut message = card(&json!({"title": "Card"}));
        message["text"] = json!("Text");
        assert_eq!(summary_of(&message), None);
    }

    #[test]
    fn a_long_title_is_cut_between_characters() {
        let summary = summary_of(&card(&json!({"title": "ä".repeat(500)}))).unwrap();
        assert_eq!(summary.chars().count(), CHARACTERS_MAX + 1);
    }
}
