//! What a bot asks for itself: a message to one conversation, at once or later.

use botframework::activity::Activity;
use botframework::lossless::LosslessJson;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Acceptor, Error, Origin, Repetition};
use crate::audit::AuditAction;
use crate::backend::Backend;
use crate::conversation::ConversationKey;
use crate::job;
use crate::problem::Fault;

/// A message that a bot asks for.
#[derive(Clone, Debug)]
pub struct BotMessage<'a> {
    /// The conversation that it goes to; a thread is one.
    pub conversation: &'a ConversationKey,
    /// The message.
    pub message: Activity,
    /// When it is due; at once if `None`. At most a year ahead.
    pub deliver_at: Option<Timestamp>,
    /// Names the request among those of the bot. A turn or a job that runs again asks by the same key, and the first request counts,
    /// although the second may differ from it.
    pub key: &'a str,
}

impl<B: Backend> Acceptor<'_, B> {
    /// Accepts a message of the bot as a notification. Its caller is the bot: [`job::caller`].
    ///
    /// # Errors
    /// As of [`accept_document`](Self::accept_document).
    pub async fn accept_of_bot(&self, asked: BotMessage<'_>) -> Result<(), Error> {
        let caller = job::caller(asked.conversation);
        let document = document(&asked)
            .map_err(|_| Error::Invalid(vec![Fault::new("#/message", "cannot be represented as JSON")]))?;
        let origin = Origin {
            caller: caller.clone(),
            schedule: None,
            idempotency_key: Some(asked.key),
            repetition: Repetition::SameKey,
        };
        let accepted = self.accept_document(&document, origin).await?;
        if !accepted.replayed {
            AuditAction::Accept.of_notification(&caller, &accepted.id, None);
        }
        Ok(())
    }
}

/// The request as a caller of the API would write it. It is mandatory: opt-outs do not stop what a person asked the bot for. The
/// numbers of the message stay as they were written.
fn document(asked: &BotMessage<'_>) -> Result<LosslessJson, serde_json::Error> {
    let audience = json!({ "conversations": [asked.conversation] });
    let message = asked.message.to_lossless()?;
    let deliver_at = asked.deliver_at.map_or(Value::Null, |moment| json!(moment));
    let at = if deliver_at.is_null() {
        String::new()
    } else {
        format!(r#","deliverAt":{deliver_at}"#)
    };
    LosslessJson::from_slice(
        format!(r#"{{"audience":{audience},"message":{message},"mandatory":true{at}}}"#).as_bytes(),
    )
}
