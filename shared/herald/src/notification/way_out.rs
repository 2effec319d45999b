//! The way out: what a notification to many says about how to opt out of it.
//!
//! It is decided when the notification is accepted, and added when its message is sent, so an edited message has it too. The stored
//! message stays as its author wrote it.

use botframework::activity::{Activity, Attachment, TextFormat};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::size::{TEAMS_BYTES_MAX, as_teams_counts};
use crate::conversation::Choice;
use crate::language::{LANGUAGES, Language};

/// The verb of the button.
pub const VERB: &str = "herald/stop";

/// The actions of a card that Teams shows without a menu.
const ACTIONS_MAX: usize = 6;

/// How a way out is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WayOutForm {
    /// There is none.
    #[default]
    None,
    /// A line under the text, or at the end of the card: say `stop news`.
    Line,
    /// A button of the card. A message without an Adaptive Card of version 1.4 or later has the line.
    Button,
}

/// The way out of a notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WayOut {
    /// How it is shown.
    pub form: WayOutForm,
    /// The category that it opts out of, which is declared. Without one it opts out of everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
}

/// The data of a button that makes a choice: of this one, and of the settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChoiceButton {
    /// The code of the language of the answer.
    pub language: String,
    /// The category; everything if there is none.
    pub category: Option<String>,
    /// What is chosen.
    pub choice: Choice,
}

impl WayOut {
    /// Whether a message with it is not larger than what Teams takes.
    pub fn fits(&self, message: &Activity) -> bool {
        as_teams_counts(&self.add_to(message.clone())) <= TEAMS_BYTES_MAX
    }

    /// The message with the way out, in the language of its `locale`.
    #[must_use]
    pub fn add_to(&self, mut message: Activity) -> Activity {
        let language = message.locale.as_deref().and_then(Language::of_locale);
        let language = language.unwrap_or(&LANGUAGES[0]);
        match self.form {
            WayOutForm::None => {}
            WayOutForm::Button if self.add_button(&mut message, language).is_some() => {}
            WayOutForm::Button | WayOutForm::Line => self.add_line(&mut message, language),
        }
        message
    }

    fn add_button(&self, message: &mut Activity, language: &Language) -> Option<()> {
        let card = card(message)?;
        if !has_execute(card) {
            return None;
        }
        let data = ChoiceButton {
            language: language.code.to_owned(),
            category: self.category.clone(),
            choice: Choice::OptedOut,
        };
        let title = language.way_out_button;
        let mut action = json!({"type": "Action.Execute", "verb": VERB, "title": title, "data": data});
        let actions = list(card, "actions");
        if let Some(actions) = actions.filter(|actions| actions.len() < ACTIONS_MAX) {
            // In the menu of the card's own actions. Without any, the menu would be a button that says nothing.
            if !actions.is_empty() {
                action["mode"] = "secondary".into();
            }
            actions.push(action);
        } else {
            list(card, "body")?.push(json!({"type": "ActionSet", "actions": [action]}));
        }
        Some(())
    }

    fn add_line(&self, message: &mut Activity, language: &Language) {
        let has_text = message.text.as_ref().is_some_and(|text| !text.is_empty());
        if !has_text && let Some(body) = card(message).and_then(|card| list(card, "body")) {
            let text = self.line(language, None);
            body.push(json!({
                "type": "TextBlock", "text": text, "wrap": true, "isSubtle": true, "size": "small", "separator": true,
            }));
            return;
        }
        let line = self.line(language, message.text_format.as_ref());
        let line_break = match message.text_format {
            Some(TextFormat::Xml) => "<br/><br/>",
            _ => "\n\n",
        };
        let text = message.text.get_or_insert_default();
        if !text.is_empty() {
            text.push_str(line_break);
        }
        text.push_str(&line);
    }

    /// What a person can say, in a sentence. Markdown is the format of texts that name none, and of cards.
    fn line(&self, language: &Language, format: Option<&TextFormat>) -> String {
        let stop = language.stop[0];
        let said = match &self.category {
            Some(category) => format!("{stop} {category}"),
            None => stop.to_owned(),
        };
        let (before, after) = match format {
            Some(TextFormat::Plain) => ("", ""),
            Some(TextFormat::Xml) => ("<b>", "</b>"),
            _ => ("**", "**"),
        };
        let said = match format {
            Some(TextFormat::Plain) => said,
            Some(TextFormat::Xml) => escaped_xml(&said),
            _ => escaped_markdown(&said),
        };
        language
            .way_out
            .replace("**{}**", &format!("{before}{said}{after}"))
    }
}

/// The first Adaptive Card of a message.
fn card(message: &mut Activity) -> Option<&mut Value> {
    let mut attachments = message.attachments.iter_mut();
    let card = attachments
        .find(|attachment| attachment.content_type.as_deref() == Some(Attachment::ADAPTIVE_CARD))?;
    card.content.as_mut().filter(|content| content.is_object())
}

/// Whether a card may have an `Action.Execute`.
fn has_execute(card: &Value) -> bool {
    let version = card["version"]
        .as_str()
        .and_then(|version| version.split_once('.'));
    let number = |(major, minor): (&str, &str)| Some((major.parse::<u8>().ok()?, minor.parse::<u8>().ok()?));
    version.and_then(number).is_some_and(|version| version >= (1, 4))
}

/// A list of a card, which may be absent.
fn list<'c>(card: &'c mut Value, name: &str) -> Option<&'c mut Vec<Value>> {
    let members = card.as_object_mut()?;
    members.entry(name).or_insert_with(|| json!([])).as_array_mut()
}

fn escaped_markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for one in text.chars() {
        if r"\`*_~[]<>&#|".contains(one) {
            escaped.push('\\');
        }
        escaped.push(one);
    }
    escaped
}

fn escaped_xml(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
