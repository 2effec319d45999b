//! Slack's messages: text, blocks and attachments, as far as they map.

use serde_json::Value;

use super::super::card::{Card, Tone};
use super::text;

/// The message of blocks and attachments; `None` if they show nothing.
pub(super) fn message(body: &Value) -> Option<Value> {
    let fallback = markdown(text(body, "/text"));
    let blocks: Vec<&Value> = body["blocks"].as_array().into_iter().flatten().collect();
    let mut card = Card::new();
    // The text of a message with blocks is for its notification only.
    if blocks.is_empty() {
        card.text(&fallback);
    }
    for block in blocks {
        add_block(&mut card, block);
    }
    for attachment in body["attachments"].as_array().into_iter().flatten() {
        add_attachment(&mut card, attachment);
    }
    if card.is_empty() {
        card.text(&fallback);
    }
    let summary = if fallback.trim().is_empty() {
        markdown(text(body, "/attachments/0/fallback"))
    } else {
        fallback
    };
    (!card.is_empty()).then(|| card.message(&summary))
}

fn add_block(card: &mut Card, block: &Value) {
    match text(block, "/type") {
        "header" => {
            let mut titled = Card::titled(text(block, "/text/text"), Tone::Plain);
            card.append(&mut titled);
        }
        "section" => {
            card.text(&of_text(&block["text"]));
            for field in block["fields"].as_array().into_iter().flatten() {
                card.text(&of_text(field));
            }
            add_element(card, &block["accessory"]);
        }
        "context" => {
            for element in block["elements"].as_array().into_iter().flatten() {
                card.subtle(&of_text(element));
            }
        }
        "actions" => {
            for element in block["elements"].as_array().into_iter().flatten() {
                add_element(card, element);
            }
        }
        "image" => card.image(text(block, "/image_url")),
        "rich_text" => card.text(&rich_text(block)),
        // Dividers, inputs and what is new.
        _ => {}
    }
}

/// A button with an address, or an image.
fn add_element(card: &mut Card, element: &Value) {
    match text(element, "/type") {
        "button" => card.link(text(element, "/text/text"), text(element, "/url")),
        "image" => card.image(text(element, "/image_url")),
        _ => {}
    }
}

fn add_attachment(card: &mut Card, attachment: &Value) {
    let at = |name: &str| text(attachment, &format!("/{name}"));
    card.text(&markdown(at("pretext")));
    let title = markdown(at("title"));
    match (title.is_empty(), at("title_link")) {
        (true, _) => {}
        (false, url) => card.text(&format!("**{}**", super::link(&title, url))),
    }
    card.text(&markdown(at("text")));
    let fields = attachment["fields"].as_array().into_iter().flatten();
    let fields: Vec<(&str, String)> = fields
        .map(|field| (text(field, "/title"), markdown(text(field, "/value"))))
        .collect();
    card.facts(fields.iter().map(|(name, value)| (*name, value.as_str())));
    card.image(at("image_url"));
    for block in attachment["blocks"].as_array().into_iter().flatten() {
        add_block(card, block);
    }
    for action in attachment["actions"].as_array().into_iter().flatten() {
        card.link(text(action, "/text"), text(action, "/url"));
    }
    card.subtle(&markdown(at("footer")));
}

/// A text object, of either kind.
fn of_text(object: &Value) -> String {
    let written = text(object, "/text");
    match text(object, "/type") {
        "mrkdwn" => markdown(written),
        "image" => String::new(),
        _ => written.to_owned(),
    }
}

/// The texts and links of a rich text block.
fn rich_text(block: &Value) -> String {
    let mut whole = String::new();
    for section in block["elements"].as_array().into_iter().flatten() {
        for element in section["elements"].as_array().into_iter().flatten() {
            match text(element, "/type") {
                "link" => {
                    let url = text(element, "/url");
                    let title = text(element, "/text");
                    whole += &super::link(if title.is_empty() { url } else { title }, url);
                }
                _ => whole += text(element, "/text"),
            }
        }
        whole.push('\n');
    }
    whole
}

/// Slack's markup as markdown: links, bold and strikethrough, and its three escapes.
pub(super) fn markdown(written: &str) -> String {
    let mut whole = String::new();
    let mut rest = written;
    while let Some((before, after)) = rest.split_once('<') {
        let Some((inside, remainder)) = after.split_once('>') else {
            break;
        };
        whole += &emphasis(before);
        whole += &reference(inside);
        rest = remainder;
    }
    whole += &emphasis(rest);
    whole
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

/// What stands between angle brackets: an address with or without a title, or a mention, of which the name stays.
fn reference(inside: &str) -> String {
    let (target, title) = inside.split_once('|').unwrap_or((inside, ""));
    if target.starts_with("http://") || target.starts_with("https://") {
        return super::link(if title.is_empty() { target } else { title }, target);
    }
    if target.starts_with("mailto:") {
        return title.to_owned();
    }
    match target.chars().next() {
        Some('!' | '#' | '@') if !title.is_empty() => title.to_owned(),
        Some('!') => format!("@{}", &target[1..]),
        Some('#' | '@') => target.to_owned(),
        // It was no reference.
        _ => format!("<{inside}>"),
    }
}

/// `*bold*` is `**bold**`, and `~gone~` is `~~gone~~`, where they surround words.
fn emphasis(text: &str) -> String {
    let mut whole = String::new();
    let mut before = None::<char>;
    let mut characters = text.char_indices().peekable();
    let mut open = Vec::new();
    while let Some((index, one)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        let is_mark = matches!(one, '*' | '~');
        let opens = is_mark
            && before.is_none_or(|before| !before.is_alphanumeric() && before != one)
            && next.is_some_and(|next| !next.is_whitespace() && next != one)
            && text[index + 1..].contains(one);
        let closes =
            is_mark && open.last() == Some(&one) && before.is_some_and(|before| !before.is_whitespace());
        whole.push(one);
        if closes {
            open.pop();
            whole.push(one);
        } else if opens && !open.contains(&one) {
            open.push(one);
            whole.push(one);
        }
        before = Some(one);
    }
    whole
}
