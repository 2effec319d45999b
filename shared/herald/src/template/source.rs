//! What a message is made of.

use botframework::activity::Activity;
use botframework::cards::template::Template;
use botframework::lossless::LosslessJson;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use super::bindings::Bindings;
use super::texts::Texts;
use crate::problem::Faults;

/// What the message of a recipient is made of: an activity that is sent as it is, or a template of one with its data.
///
/// Its JSON is that of the activity; of a template it is `{template, data, texts}`.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageSource {
    /// The activity, or its template.
    pub activity: Activity,
    /// What the template reads; `None` if it is none.
    pub bindings: Option<Bindings>,
}

impl From<Activity> for MessageSource {
    fn from(activity: Activity) -> Self {
        Self {
            activity,
            bindings: None,
        }
    }
}

impl MessageSource {
    /// Whether each recipient may get another message: it is a template that reads `recipient` or `texts`.
    pub fn is_personal(&self) -> bool {
        self.bindings.is_some()
            && parsed(&self.activity).is_ok_and(|template| template.may_read(&["recipient", "texts"]))
    }

    /// Whether another source makes the same messages, as far as their documents say.
    pub fn is_same_document(&self, other: &Self) -> bool {
        match (self.activity.to_lossless(), other.activity.to_lossless()) {
            (Ok(one), Ok(two)) => one == two && self.bindings == other.bindings,
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    /// The activity; of a template its text and cards with their expressions, as they are written.
    pub fn into_activity(self) -> Activity {
        self.activity
    }
}

/// Notes what a template has that the language does not have, or that a message cannot have.
pub fn check(message: &Value, at: &str, faults: &mut Faults) {
    for name in ["$data", "$when"] {
        if message.get(name).is_some() {
            let detail = "cannot be used for the message itself: it has to be in an attachment";
            faults.note(format!("{at}/{name}"), detail);
        }
    }
    for error in Template::parse(message).err().into_iter().flatten() {
        let detail = match error.position {
            0 => error.kind.to_string(),
            position => format!("has, after {position} characters, a fault: {}", error.kind),
        };
        faults.note(format!("{at}{}", error.pointer), detail);
    }
}

/// The template of a message.
pub(super) fn parsed(activity: &Activity) -> Result<Template, NotATemplate> {
    let document = activity.to_lossless().map_err(|_| NotATemplate)?;
    Template::parse(&document.value).map_err(|_| NotATemplate)
}

/// The activity is no template, although it was checked when it was accepted.
#[derive(Debug, thiserror::Error)]
#[error("the message is no template")]
pub(super) struct NotATemplate;

impl Serialize for MessageSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(bindings) = &self.bindings else {
            return self.activity.serialize(serializer);
        };
        let mut source = serializer.serialize_struct("MessageSource", 3)?;
        source.serialize_field("template", &self.activity)?;
        source.serialize_field("data", &bindings.data)?;
        source.serialize_field("texts", &bindings.texts)?;
        source.end()
    }
}

impl<'de> Deserialize<'de> for MessageSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = LosslessJson::deserialize(deserializer)?;
        // An activity that is stored always names its type.
        let template = stored
            .get("template")
            .filter(|_| stored.value.get("type").is_none());
        let Some(template) = template else {
            let activity = Activity::from_lossless(stored).map_err(de::Error::custom)?;
            return Ok(activity.into());
        };
        let member = |name: &str| stored.value.get(name).cloned().unwrap_or_default();
        let data: Map<String, Value> = serde_json::from_value(member("data")).map_err(de::Error::custom)?;
        let texts: Texts = serde_json::from_value(member("texts")).map_err(de::Error::custom)?;
        Ok(Self {
            activity: Activity::from_lossless(template).map_err(de::Error::custom)?,
            bindings: Some(Bindings { data, texts }),
        })
    }
}
