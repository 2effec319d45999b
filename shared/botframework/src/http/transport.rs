use std::error::Error as StdError;
use std::pin::Pin;

use bytes::Bytes;
use serde::de::DeserializeOwned;

/// The cause of a failure.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A future of a port that is used as a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The response to one request.
pub type ResponseFuture<'a> = BoxFuture<'a, Result<http::Response<Body>, TransportError>>;

/// The HTTP client port: [`HttpTransport`](super::HttpTransport), or a server inside the same process.
pub trait Transport: Send + Sync {
    /// Sends the request once. Follows no redirect and repeats no request that may have left.
    fn send(&self, request: http::Request<Bytes>) -> ResponseFuture<'_>;
}

/// The body of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The whole body.
    Complete(Bytes),
    /// The connection broke, the time-out struck or the size limit was exceeded before the body's end.
    Truncated,
}

/// Why the body of a success cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnreadableBody {
    #[error("response is truncated")]
    Truncated,
    #[error("response is not the expected document")]
    Malformed(#[source] serde_json::Error),
}

impl Body {
    /// Parses the whole body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, UnreadableBody> {
        match self {
            Self::Complete(bytes) => serde_json::from_slice(bytes).map_err(UnreadableBody::Malformed),
            Self::Truncated => Err(UnreadableBody::Truncated),
        }
    }
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No byte of the request left: there was no connection.
    #[error("request was not sent")]
    NotSent(#[source] BoxError),
    /// The request may have arrived and been carried out.
    #[error("request may have been sent, but no response came")]
    MaybeSent(#[source] BoxError),
}
