//! Templates that are stored under a name, and those that are built in.

use std::borrow::Cow;

use botframework::lossless::LosslessJson;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::store::{Collection, Record};

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The built-in card of a notification: its fields are those of [`botframework::cards::notification::NotificationCard`].
const NOTIFICATION: &str = include_str!("notification.json");

/// A template as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateRecord {
    /// Who wrote this version.
    pub caller: String,
    /// When.
    pub changed_at: Timestamp,
    /// Counts the contents that it has had, from 1.
    pub version: u32,
    /// The template as it was written: its message, and what it says of itself.
    pub template: LosslessJson,
}

impl Record for TemplateRecord {
    const COLLECTION: Collection = Collection::Templates;
}

impl TemplateRecord {
    /// The record after a caller has written a template. The same content again changes nothing.
    pub fn written(stored: Option<Self>, caller: &str, template: &LosslessJson, now: Timestamp) -> Self {
        match stored {
            Some(same) if same.template == *template => same,
            other => Self {
                caller: caller.to_owned(),
                changed_at: now,
                version: other.map_or(0, |other| other.version).saturating_add(1),
                template: template.clone(),
            },
        }
    }

    /// Its message.
    pub fn message(&self) -> Option<LosslessJson> {
        self.template.get("message")
    }
}

/// Whether a text may name a template: 1 to 64 small letters, digits and `-`.
pub fn is_template_name(name: &str) -> bool {
    let is_allowed = |one: u8| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'-';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// The message of a template that is built in.
pub fn built_in(name: &str) -> Option<LosslessJson> {
    let message = || serde_json::from_str::<Value>(NOTIFICATION).ok();
    (name == "notification").then(message)?.map(LosslessJson::from)
}

/// The template that a request names instead of a message.
pub fn named_in(request: &LosslessJson) -> Option<&str> {
    let name = request.value.get("template")?.as_str()?;
    (is_template_name(name) && request.value.get("message").is_none()).then_some(name)
}

/// The request with this message of its template, and with `data`.
pub fn filled_in(request: &LosslessJson, message: &LosslessJson) -> LosslessJson {
    let mut filled = request.clone();
    if let Some(members) = filled.value.as_object_mut() {
        members.remove("template");
    }
    let mut rest = LosslessJson::from(json!({"data": {}}));
    rest.fill(wrapped(message));
    filled.fill(rest);
    filled
}

/// The message as the member of an object.
fn wrapped(message: &LosslessJson) -> LosslessJson {
    let text = format!(r#"{{"message":{message}}}"#);
    LosslessJson::from_slice(text.as_bytes()).unwrap_or_default()
}

/// The request with some message in the place of the template that it names: to check the rest of a request whose template is
/// looked up when it is accepted.
pub fn with_stand_in(request: &LosslessJson) -> Cow<'_, LosslessJson> {
    match named_in(request) {
        Some(_) => Cow::Owned(filled_in(request, &json!({"text": "-"}).into())),
        None => Cow::Borrowed(request),
    }
}
