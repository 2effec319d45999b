//! Renders the message of each recipient from one template.

use std::collections::BTreeSet;

use botframework::activity::{Activity, TextFormat};
use botframework::cards::template::{RenderError, Template, UnresolvedExpression};
use serde_json::Value;

use super::bindings::Bindings;
use super::source::{MessageSource, NotATemplate};
use crate::audience::Fields;

/// Why a template makes no message for a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderingError {
    /// A bound of the language was passed.
    #[error(transparent)]
    Bound(#[from] RenderError),
    /// What was rendered is not an activity: a value has a type that its field does not take.
    #[error("what is rendered is not a message: a field has a value of another type")]
    NotAMessage,
    /// Neither a text nor an attachment is left.
    #[error("what is rendered is empty")]
    Empty,
    /// The message is larger than what Teams takes.
    #[error("the message has {bytes} bytes as Teams counts them, and may have {limit}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The largest.
        limit: u64,
    },
}

impl RenderingError {
    /// The code of a delivery that is rejected for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Bound(_) | Self::NotAMessage | Self::Empty => "NotRendered",
            Self::TooLarge { .. } => "RenderedTooLarge",
        }
    }
}

/// A template that is parsed, with its data.
#[derive(Clone, Debug)]
pub struct MessageRenderer {
    /// All of the message but its text.
    message: Template,
    text: Option<Template>,
    format: Option<TextFormat>,
    /// The members of the template that no field of an activity takes.
    untyped: BTreeSet<String>,
    bindings: Bindings,
    /// What expressions read as `notification`.
    notification: Value,
}

impl MessageRenderer {
    /// The renderer of a source that is a template; `None` if it is none. `notification` is what expressions read by this name.
    pub fn new(source: &MessageSource, notification: Value) -> Option<Self> {
        Self::parse(source, notification).ok().flatten()
    }

    fn parse(source: &MessageSource, notification: Value) -> Result<Option<Self>, NotATemplate> {
        let Some(bindings) = source.bindings.clone() else {
            return Ok(None);
        };
        let mut document = source.activity.to_lossless().map_err(|_| NotATemplate)?.value;
        let text = document
            .as_object_mut()
            .and_then(|members| members.remove("text"));
        let parsed = |value: &Value| Template::parse(value).map_err(|_| NotATemplate);
        Ok(Some(Self {
            message: parsed(&document)?,
            text: text.as_ref().map(parsed).transpose()?,
            format: source.activity.text_format.clone(),
            untyped: source.activity.extra.keys().cloned().collect(),
            bindings,
            notification,
        }))
    }

    /// The message of a recipient. `recipient` is what expressions read by this name, `fields` are those of the recipient's row,
    /// which come before the data.
    ///
    /// # Errors
    /// When it makes no message for this recipient.
    pub fn render(&self, recipient: Value, fields: Option<&Fields>) -> Result<Activity, RenderingError> {
        let root = self.root(recipient, fields);
        let rendered = self.message.render(&root)?;
        self.message_of(rendered, &root)
    }

    /// The message of a recipient, with the expressions that are left as text in it.
    ///
    /// # Errors
    /// As of [`render`](Self::render).
    pub fn render_with_unresolved(
        &self,
        recipient: Value,
        fields: Option<&Fields>,
    ) -> Result<(Activity, Vec<UnresolvedExpression>), RenderingError> {
        let root = self.root(recipient, fields);
        let mut unresolved = Vec::new();
        if let Some(text) = &self.text {
            let (_, of_text) = text.render_with_unresolved(&root)?;
            unresolved.extend(of_text.into_iter().map(|found| UnresolvedExpression {
                pointer: "/text".to_owned(),
                ..found
            }));
        }
        let (rendered, others) = self.message.render_with_unresolved(&root)?;
        unresolved.extend(others);
        Ok((self.message_of(rendered, &root)?, unresolved))
    }

    /// The data in the scope of the whole template.
    fn root(&self, recipient: Value, fields: Option<&Fields>) -> Value {
        let mut root = self.bindings.data.clone();
        for (name, value) in fields.into_iter().flatten() {
            root.insert(name.clone(), value.clone());
        }
        if !self.bindings.texts.is_empty() {
            let locale = recipient["locale"].as_str();
            let texts = self.bindings.texts.in_language(locale);
            root.insert("texts".to_owned(), Value::Object(texts));
        }
        root.insert("recipient".to_owned(), recipient);
        root.insert("notification".to_owned(), self.notification.clone());
        Value::Object(root)
    }

    fn message_of(&self, rendered: Value, root: &Value) -> Result<Activity, RenderingError> {
        let mut message = Activity::from_value(rendered).map_err(|_| RenderingError::NotAMessage)?;
        // A value of another type than its field takes.
        if message.extra.keys().any(|name| !self.untyped.contains(name)) {
            return Err(RenderingError::NotAMessage);
        }
        if let Some(text) = &self.text {
            let escape = |value: &str| match &self.format {
                Some(TextFormat::Plain) => value.to_owned(),
                _ => escaped(value),
            };
            message.text = text.render_text(root, escape)?;
            self.adopt_mentions(&mut message);
        }
        let has_text = message
            .text
            .as_deref()
            .is_some_and(|text| !text.trim().is_empty());
        if !has_text && message.attachments.is_empty() {
            return Err(RenderingError::Empty);
        }
        Ok(message)
    }

    /// Gives mentions the text that they have in the message, in which the data is escaped.
    fn adopt_mentions(&self, message: &mut Activity) {
        if self.format == Some(TextFormat::Plain) {
            return;
        }
        let text = message.text.clone().unwrap_or_default();
        for entity in &mut message.entities {
            let Some(mention) = entity.as_mention() else {
                continue;
            };
            let written = mention.text.clone().unwrap_or_default();
            let name = written
                .strip_prefix("<at>")
                .and_then(|rest| rest.strip_suffix("</at>"));
            let Some(name) = name.filter(|_| !text.contains(&written)) else {
                continue;
            };
            let shown = format!("<at>{}</at>", escaped(name));
            if text.contains(&shown) {
                entity.extra.insert("text".to_owned(), Value::from(shown));
            }
        }
    }
}

/// A value of the data in a text that is Markdown or XML: it makes no mention, no tag and no entity.
fn escaped(value: &str) -> String {
    value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
