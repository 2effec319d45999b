//! `MessageCard`s of Office 365 connectors, as Adaptive Cards.

use serde_json::Value;

use super::super::card::{Card, Tone};
use super::text;

pub(super) fn is_one(value: &Value) -> bool {
    let context = text(value, "/@context");
    value["@type"] == "MessageCard"
        || context.contains("schema.org/extensions")
        // Senders leave both out, and connectors took that.
        || (value["sections"].is_array() && value["blocks"].is_null())
}

/// The message; `None` if the card shows nothing.
pub(super) fn message(card: &Value) -> Option<Value> {
    let title = text(card, "/title");
    let mut shown = Card::titled(title, tone(text(card, "/themeColor")));
    shown.text(text(card, "/text"));
    for section in card["sections"].as_array().into_iter().flatten() {
        add_section(&mut shown, section);
    }
    add_actions(&mut shown, &card["potentialAction"]);
    if shown.is_empty() {
        return None;
    }
    let summary = [text(card, "/summary"), title, text(card, "/text")];
    let summary = summary.into_iter().find(|text| !text.trim().is_empty());
    Some(shown.message(summary.unwrap_or_default()))
}

/// The tone of a colour: what tools use for success, warning and failure is clearly green, yellow or red.
fn tone(color: &str) -> Tone {
    let digits = color.trim_start_matches('#');
    let part = |range: std::ops::Range<usize>| u8::from_str_radix(digits.get(range)?, 16).ok();
    match (part(0..2), part(2..4), part(4..6)) {
        (Some(red), Some(green), Some(blue)) if digits.len() == 6 => {
            let (strong, weak) = (160, 110);
            match (red >= strong, green >= strong, blue > 160) {
                (true, true, false) => Tone::Warning,
                (true, false, false) if green >= weak => Tone::Warning,
                (true, false, false) => Tone::Bad,
                (false, _, false) if green > red && green > blue && green >= weak => Tone::Good,
                (_, _, _) => Tone::Plain,
            }
        }
        (_, _, _) => Tone::Plain,
    }
}

fn add_section(card: &mut Card, section: &Value) {
    let at = |name: &str| text(section, &format!("/{name}"));
    let strong = |text: &str| {
        if text.is_empty() {
            String::new()
        } else {
            format!("**{text}**")
        }
    };
    card.text(&strong(at("title")));
    let activity = [
        (at("activityTitle"), true),
        (at("activitySubtitle"), false),
        (at("activityText"), false),
    ];
    let image = section["activityImage"].as_str();
    if image.is_some() || activity.iter().any(|(text, _)| !text.is_empty()) {
        card.image_beside(image, &activity);
    }
    card.text(at("text"));
    let facts = section["facts"].as_array().into_iter().flatten();
    card.facts(facts.map(|fact| (text(fact, "/name"), text(fact, "/value"))));
    card.image(text(section, "/heroImage/image"));
    for image in section["images"].as_array().into_iter().flatten() {
        card.image(text(image, "/image"));
    }
    add_actions(card, &section["potentialAction"]);
}

/// Buttons that open pages. Those that send requests have no counterpart.
fn add_actions(card: &mut Card, actions: &Value) {
    for action in actions.as_array().into_iter().flatten() {
        let name = text(action, "/name");
        match text(action, "/@type") {
            "OpenUri" | "OpenUrl" => {
                let targets: Vec<&Value> = action["targets"].as_array().into_iter().flatten().collect();
                let default = targets.iter().find(|target| target["os"] == "default");
                if let Some(target) = default.or(targets.first()) {
                    card.link(name, text(target, "/uri"));
                }
            }
            "ViewAction" => card.link(name, text(action, "/target/0")),
            _ => {}
        }
    }
}
