//! What handlers return, and what can be sent.

use std::borrow::Cow;

use serde::Serialize;

use super::error::Error;
use crate::activity::{Activity, Attachment};
use crate::connector::SendReceipt;
use crate::http::BoxError;
use crate::invoke::InvokeResponse;

/// Something that can be sent: a text, a card, an attachment, or a whole activity.
pub trait IntoActivity {
    /// The activity, not yet addressed.
    ///
    /// # Errors
    /// When it cannot be represented as JSON.
    fn into_activity(self) -> Result<Activity, Error>;
}

/// Something that a handler returns: nothing, something to send, the response to an invoke, or a `Result` or `Option` of these.
///
/// The error of a `Result` is of any type that becomes a boxed error: those of the standard library, of `anyhow`, or a text.
pub trait IntoReply {
    /// The reply.
    ///
    /// # Errors
    /// When the handler failed; the endpoint answers 500.
    fn into_reply(self) -> Result<Reply, Error>;
}

/// What a handler said. How it is said depends on what it answers: see [`App`](super::App#what-a-handler-returns).
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Nothing.
    Nothing,
    /// A message, or another activity.
    Activity(Box<Activity>),
    /// The response to an invoke.
    Invoke(InvokeResponse),
}

/// An Adaptive Card: JSON, or anything that serialises as one.
///
/// # Example: a card from a struct
/// ```
/// use botframework::app::{AdaptiveCard, IntoActivity};
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct Card {
///     r#type: &'static str,
///     version: &'static str,
///     body: Vec<serde_json::Value>,
/// }
///
/// let card = Card { r#type: "AdaptiveCard", version: "1.5", body: vec![] };
/// let message = AdaptiveCard(card).into_activity()?;
/// assert_eq!(message.attachments[0].content.as_ref().unwrap()["version"], "1.5");
/// # Ok::<(), botframework::app::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdaptiveCard<T>(pub T);

impl<T: Serialize> AdaptiveCard<T> {
    /// The card as an attachment, to send beside others or with a text.
    ///
    /// # Errors
    /// When it does not serialise as JSON.
    pub fn into_attachment(self) -> Result<Attachment, Error> {
        Ok(Attachment::adaptive_card(
            serde_json::to_value(self.0).map_err(Error::bot)?,
        ))
    }
}

impl IntoActivity for Activity {
    fn into_activity(self) -> Result<Activity, Error> {
        Ok(self)
    }
}

impl IntoActivity for String {
    fn into_activity(self) -> Result<Activity, Error> {
        Ok(Activity::message(self))
    }
}

impl IntoActivity for &str {
    fn into_activity(self) -> Result<Activity, Error> {
        Ok(Activity::message(self))
    }
}

impl IntoActivity for &String {
    fn into_activity(self) -> Result<Activity, Error> {
        Ok(Activity::message(self.as_str()))
    }
}

impl IntoActivity for Cow<'_, str> {
    fn into_activity(self) -> Result<Activity, Error> {
        Ok(Activity::message(self))
    }
}

impl IntoActivity for Attachment {
    fn into_activity(self) -> Result<Activity, Error> {
        Ok(Activity {
            text: None,
            attachments: vec![self],
            ..Activity::message("")
        })
    }
}

impl<T: Serialize> IntoActivity for AdaptiveCard<T> {
    fn into_activity(self) -> Result<Activity, Error> {
        self.into_attachment()?.into_activity()
    }
}

impl<T: IntoActivity> IntoReply for T {
    fn into_reply(self) -> Result<Reply, Error> {
        Ok(Reply::Activity(Box::new(self.into_activity()?)))
    }
}

impl IntoReply for Reply {
    fn into_reply(self) -> Result<Reply, Error> {
        Ok(self)
    }
}

impl IntoReply for () {
    fn into_reply(self) -> Result<Reply, Error> {
        Ok(Reply::Nothing)
    }
}

impl IntoReply for InvokeResponse {
    fn into_reply(self) -> Result<Reply, Error> {
        Ok(Reply::Invoke(self))
    }
}

/// What was sent is said already.
impl IntoReply for SendReceipt {
    fn into_reply(self) -> Result<Reply, Error> {
        Ok(Reply::Nothing)
    }
}

impl<T: IntoReply> IntoReply for Option<T> {
    fn into_reply(self) -> Result<Reply, Error> {
        self.map_or(Ok(Reply::Nothing), T::into_reply)
    }
}

impl<T: IntoReply, E: Into<BoxError>> IntoReply for Result<T, E> {
    fn into_reply(self) -> Result<Reply, Error> {
        self.map_err(Error::bot)?.into_reply()
    }
}
