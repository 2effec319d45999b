//! Builds the Adaptive Cards of hooks.

use serde_json::{Value, json};

/// The media type of an Adaptive Card.
pub(super) const ADAPTIVE_CARD: &str = "application/vnd.microsoft.card.adaptive";

/// The most characters of one text: a message has room for about 28 KB in Teams.
const TEXT_CHARS_MAX: usize = 2_000;

/// The most facts of a card, and buttons, which Teams shows six of.
const FACTS_MAX: usize = 40;
const ACTIONS_MAX: usize = 6;

/// The look of a title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
}

/// A card under construction.
#[derive(Debug)]
pub(super) struct Card {
    body: Vec<Value>,
    actions: Vec<Value>,
}

impl Card {
    pub(super) fn new() -> Self {
        Self {
            body: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// A card with this title.
    pub(super) fn titled(title: &str, tone: Tone) -> Self {
        let color = match tone {
            Tone::Plain => "default",
            Tone::Good => "good",
            Tone::Warning => "warning",
            Tone::Bad => "attention",
        };
        let mut card = Self::new();
        if !title.trim().is_empty() {
            card.body.push(
                json!({"type": "TextBlock", "text": cut(title), "weight": "bolder", "size": "medium",
                                  "color": color, "wrap": true}),
            );
        }
        card
    }

    /// A paragraph; blank ones are left out.
    pub(super) fn text(&mut self, text: &str) {
        if !text.trim().is_empty() {
            self.body
                .push(json!({"type": "TextBlock", "text": cut(text), "wrap": true}));
        }
    }

    /// A small grey paragraph.
    pub(super) fn subtle(&mut self, text: &str) {
        if !text.trim().is_empty() {
            self.body
                .push(json!({"type": "TextBlock", "text": cut(text), "isSubtle": true, "wrap": true, "spacing": "none"}));
        }
    }

    /// Names with values; those without a value are left out.
    pub(super) fn facts<'f>(&mut self, facts: impl IntoIterator<Item = (&'f str, &'f str)>) {
        let facts = facts.into_iter().filter(|(_, value)| !value.trim().is_empty());
        let facts: Vec<Value> = facts
            .take(FACTS_MAX)
            .map(|(name, value)| json!({"title": cut(name), "value": cut(value)}))
            .collect();
        if !facts.is_empty() {
            self.body.push(json!({"type": "FactSet", "facts": facts}));
        }
    }

    /// An image beside texts.
    pub(super) fn image_beside(&mut self, image: Option<&str>, texts: &[(&str, bool)]) {
        let texts = texts.iter().filter(|(text, _)| !text.trim().is_empty());
        let items: Vec<Value> = texts
            .map(|(text, is_strong)| {
                let weight = if *is_strong { "bolder" } else { "default" };
                json!({"type": "TextBlock", "text": cut(text), "weight": weight, "wrap": true, "spacing": "none"})
            })
            .collect();
        match image.filter(|image| is_link(image)) {
            Some(image) => {
                let image = json!({"type": "Image", "url": image, "size": "small", "style": "person"});
                self.body.push(json!({"type": "ColumnSet", "columns": [
                    {"type": "Column", "width": "auto", "items": [image]},
                    {"type": "Column", "width": "stretch", "items": items},
                ]}));
            }
            None => self.body.extend(items),
        }
    }

    /// A picture, if its address is one that clients load.
    pub(super) fn image(&mut self, url: &str) {
        if is_link(url) {
            self.body.push(json!({"type": "Image", "url": url}));
        }
    }

    /// A button that opens a page, if it is an address of the web.
    pub(super) fn link(&mut self, title: &str, url: &str) {
        if is_link(url) && self.actions.len() < ACTIONS_MAX {
            self.actions
                .push(json!({"type": "Action.OpenUrl", "title": cut(title), "url": url}));
        }
    }

    /// Adds the content of another card.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.body.append(&mut other.body);
        self.actions.append(&mut other.actions);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.body.is_empty() && self.actions.is_empty()
    }

    /// A message with this card; `summary` is what the toast shows.
    pub(super) fn message(self, summary: &str) -> Value {
        let mut content = json!({
            "type": "AdaptiveCard", "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "version": "1.4",
            "body": self.body, "msteams": {"width": "Full"},
        });
        if !self.actions.is_empty() {
            content["actions"] = Value::Array(self.actions);
        }
        let mut message = json!({"attachments": [{"contentType": ADAPTIVE_CARD, "content": content}]});
        if !summary.trim().is_empty() {
            message["summary"] = Value::from(cut(summary));
        }
        message
    }
}

fn is_link(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// A text without what does not fit.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
