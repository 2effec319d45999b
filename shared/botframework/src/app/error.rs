//! Why a turn failed.

use std::error::Error as StdError;

use http::StatusCode;

use crate::connector;
use crate::http::BoxError;

/// Why a turn failed, or a message could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The Connector refused a request, or its answer was lost; see [`connector::Error::class`].
    #[error("request to the channel failed")]
    Connector(#[from] connector::Error),
    /// A handler or a middleware failed.
    #[error("bot failed in the turn")]
    Bot(#[source] BoxError),
    /// [`Context::get`](super::Context::get) was asked for a type that neither the app nor a middleware put in.
    #[error("the context has no {0}: give one to App::with, or insert it in a middleware")]
    NotInContext(&'static str),
    /// The activity's `value` is not of the expected shape.
    #[error("value of the activity has another shape")]
    Value(#[source] serde_json::Error),
    /// The conversation, or the person, is not what the request needs.
    #[error("{0}")]
    Unaddressable(&'static str),
    /// A middleware ended the turn and logged why. The endpoint answers with this status.
    #[error("turn was ended with status {}", .0.as_u16())]
    Stopped(StatusCode),
}

impl Error {
    /// Wraps a failure of the bot's own code. One of these errors inside is unwrapped.
    pub fn bot(cause: impl Into<BoxError>) -> Self {
        match cause.into().downcast::<Self>() {
            Ok(own) => *own,
            Err(cause) => Self::Bot(cause),
        }
    }
}

/// The error and its causes, on one line.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        line.push_str(": ");
        line.push_str(&next.to_string());
        cause = next.source();
    }
    line
}
