//! The card of a notification.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::activity::{Activity, Attachment, TextFormat};

/// A notification that answers the questions of its reader: what happened, what came of it, who or what caused it, what can be
/// done, and how to stop such messages.
///
/// The texts are shown as they are: none of them is read as Markdown.
///
/// # Example: a deployment, as a card and as a text
/// ```
/// use botframework::cards::notification::{NotificationAction, NotificationCard};
///
/// let notification = NotificationCard {
///     title: "Version 7 is deployed".to_owned(),
///     result: Some("All 12 checks passed.".to_owned()),
///     triggered_by: Some("Ada, by a merge".to_owned()),
///     actions: vec![NotificationAction::open_url("Open", "https://deploy.example/7")],
///     how_to_stop: Some("Reply \"stop deployments\" to get no more of these.".to_owned()),
/// };
/// let message = notification.message();
/// assert_eq!(message.summary.as_deref(), Some("Version 7 is deployed: All 12 checks passed."));
/// assert_eq!(message.attachments[0].content.as_ref().unwrap()["actions"][0]["type"], "Action.OpenUrl");
///
/// // For a channel that shows no cards.
/// assert!(notification.text_message().text.unwrap().contains("Open: https://deploy.example/7"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NotificationCard {
    /// What happened, in one line.
    pub title: String,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The person, the system or the event that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggered_by: Option<String>,
    /// What can be done: the buttons, in their order. Teams shows six at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<NotificationAction>,
    /// How to get no more of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub how_to_stop: Option<String>,
}

/// A button of a [`NotificationCard`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum NotificationAction {
    /// Opens a page.
    OpenUrl {
        /// The text of the button.
        title: String,
        /// The address of the page.
        url: String,
    },
    /// Is answered by the bot's handler of the verb.
    Execute {
        /// The text of the button.
        title: String,
        /// The name that the bot has for it.
        verb: String,
        /// What the handler gets.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        data: Value,
    },
}

impl NotificationAction {
    /// A button that opens a page.
    pub fn open_url(title: impl Into<String>, url: impl Into<String>) -> Self {
        Self::OpenUrl {
            title: title.into(),
            url: url.into(),
        }
    }

    /// A button that the bot answers.
    pub fn execute(title: impl Into<String>, verb: impl Into<String>, data: Value) -> Self {
        Self::Execute {
            title: title.into(),
            verb: verb.into(),
            data,
        }
    }

    fn card_action(&self) -> Value {
        match self {
            Self::OpenUrl { title, url } => json!({"type": "Action.OpenUrl", "title": title, "url": url}),
            Self::Execute { title, verb, data } => {
                let mut action = json!({"type": "Action.Execute", "title": title, "verb": verb});
                if !data.is_null() {
                    action["data"] = data.clone();
                }
                action
            }
        }
    }
}

impl NotificationCard {
    /// The Adaptive Card, of version 1.4. A client that cannot show it shows [`text`](Self::text).
    pub fn card(&self) -> Value {
        let mut body = vec![text_run(
            &self.title,
            &json!({"weight": "bolder", "size": "medium"}),
            false,
        )];
        body.extend(self.result.iter().map(|text| text_run(text, &json!({}), false)));
        let subtle = json!({"isSubtle": true});
        body.extend(
            self.triggered_by
                .iter()
                .map(|text| text_run(text, &subtle, false)),
        );
        let small = json!({"isSubtle": true, "size": "small"});
        body.extend(self.how_to_stop.iter().map(|text| text_run(text, &small, true)));
        let actions: Vec<Value> = self.actions.iter().map(NotificationAction::card_action).collect();
        let mut card =
            json!({"type": "AdaptiveCard", "version": "1.4", "fallbackText": self.text(), "body": body});
        if !actions.is_empty() {
            card["actions"] = actions.into();
        }
        card
    }

    /// The same as lines of text: with the addresses of pages, and without what only a card can do.
    pub fn text(&self) -> String {
        let mut lines = vec![self.title.clone()];
        lines.extend(self.result.clone());
        lines.extend(self.triggered_by.clone());
        lines.extend(self.actions.iter().filter_map(|action| match action {
            NotificationAction::OpenUrl { title, url } => Some(format!("{title}: {url}")),
            NotificationAction::Execute { .. } => None,
        }));
        lines.extend(self.how_to_stop.clone());
        lines.join("\n")
    }

    /// One line, for lists and alerts: what happened and what came of it.
    pub fn summary(&self) -> String {
        match &self.result {
            Some(result) => format!("{}: {result}", self.title),
            None => self.title.clone(),
        }
    }

    /// The message with the card. The alert about it shows the summary.
    pub fn message(&self) -> Activity {
        Activity {
            text: None,
            summary: Some(self.summary()),
            attachments: vec![Attachment::adaptive_card(self.card())],
            ..Activity::message("")
        }
    }

    /// The message for a channel without cards: the text, which is not Markdown.
    pub fn text_message(&self) -> Activity {
        Activity {
            summary: Some(self.summary()),
            text_format: Some(TextFormat::Plain),
            ..Activity::message(self.text())
        }
    }
}

/// A paragraph. A `TextBlock` would read it as Markdown.
fn text_run(text: &str, style: &Value, has_separator: bool) -> Value {
    let mut run = json!({"type": "TextRun", "text": text});
    if let (Value::Object(run), Value::Object(style)) = (&mut run, style) {
        run.extend(style.clone());
    }
    let mut block = json!({"type": "RichTextBlock", "inlines": [run]});
    if has_separator {
        block["separator"] = true.into();
    }
    block
}

#[cfg(test)]
mod tests;
