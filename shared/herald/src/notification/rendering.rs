//! The messages of a notification as its recipients get them.

use botframework::activity::Activity;
use botframework::cards::template::UnresolvedExpression;
use serde_json::{Value, json};

use super::size::{TEAMS_BYTES_MAX, as_teams_counts};
use super::{Content, Notification, summary};
use crate::audience::Fields;
use crate::template::{MessageRenderer, MessageSource, RenderingError};

impl Notification {
    /// A message of it as recipients get it: with its way out.
    pub fn outgoing(&self, message: Activity) -> Activity {
        match &self.way_out {
            Some(way_out) => way_out.add_to(message),
            None => message,
        }
    }

    /// What renders this source for each recipient; `None` if it is no template.
    pub fn renderer(&self, source: &MessageSource) -> Option<MessageRenderer> {
        MessageRenderer::new(source, self.facts())
    }

    /// What a recipient gets of a template: with its summary and its way out. `recipient` is what is [known of
    /// them](crate::template::recipient), `fields` are those of their row.
    ///
    /// # Errors
    /// When the template makes no message for this recipient, or one that is larger than what Teams takes.
    pub fn render(
        &self,
        renderer: &MessageRenderer,
        recipient: Value,
        fields: Option<&Fields>,
    ) -> Result<Activity, RenderingError> {
        self.finished(renderer.render(recipient, fields)?)
    }

    /// The same, with the expressions that are left as text in it.
    ///
    /// # Errors
    /// As of [`render`](Self::render).
    pub fn render_with_unresolved(
        &self,
        renderer: &MessageRenderer,
        recipient: Value,
        fields: Option<&Fields>,
    ) -> Result<(Activity, Vec<UnresolvedExpression>), RenderingError> {
        let (message, unresolved) = renderer.render_with_unresolved(recipient, fields)?;
        Ok((self.finished(message)?, unresolved))
    }

    /// The source as it is stored: a template that makes the same message for each recipient is rendered, and is none any more.
    ///
    /// # Errors
    /// When it makes no message.
    pub fn settled(&self, source: &MessageSource) -> Result<MessageSource, RenderingError> {
        let Some(renderer) = self
            .renderer(source)
            .filter(|_| !self.has_rows && !source.is_personal())
        else {
            return Ok(source.clone());
        };
        let mut message = renderer.render(json!({}), None)?;
        summary::complete(&mut message);
        Ok(message.into())
    }

    /// The content as it is stored: its message [settled](Self::settled).
    ///
    /// # Errors
    /// When it makes no message.
    pub fn settled_content(&self, content: &Content) -> Result<Content, RenderingError> {
        Ok(match content {
            Content::Message(source) => Content::Message(Box::new(self.settled(source)?)),
            Content::Nothing => Content::Nothing,
        })
    }

    /// What expressions read as `notification`.
    fn facts(&self) -> Value {
        let mut facts = json!({"id": self.id, "acceptedAt": self.accepted_at});
        for (name, value) in [("category", &self.category), ("subject", &self.subject)] {
            if let Some(value) = value {
                facts[name] = Value::from(value.as_str());
            }
        }
        facts
    }

    /// A message that was rendered, as it is sent. Where it has no room for the way out, it goes without.
    fn finished(&self, mut message: Activity) -> Result<Activity, RenderingError> {
        summary::complete(&mut message);
        let outgoing = self.outgoing(message.clone());
        if as_teams_counts(&outgoing) <= TEAMS_BYTES_MAX {
            return Ok(outgoing);
        }
        match as_teams_counts(&message) {
            bytes if bytes <= TEAMS_BYTES_MAX => Ok(message),
            bytes => Err(RenderingError::TooLarge {
                bytes,
                limit: TEAMS_BYTES_MAX,
            }),
        }
    }
}
