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
    /// The connection broke or the time-out struck before the body's end.
    Truncated,
    /// The body has more bytes than are read: [`BodyLimit`].
    TooLarge,
}

/// The most bytes of a successful response that are read. A [`Transport`] finds it in the extensions of a request; error
/// responses are read to [`BodyLimit::SMALL`] at most. A request without one has the limit of its transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit(pub usize);

impl BodyLimit {
    /// Errors, receipts and single records: real ones have less than a tenth.
    pub const SMALL: Self = Self(64 * 1024);
    /// A page of a list, such as a roster: 500 members have about 300 KB.
    pub const PAGE: Self = Self(2 * 1024 * 1024);
    /// A whole roster: 10,000 members, the most that Teams lists, have about 6 MB.
    pub const WHOLE: Self = Self(8 * 1024 * 1024);
}

/// Why the body of a success cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnreadableBody {
    #[error("response is truncated")]
    Truncated,
    #[error("response has more bytes than are read")]
    TooLarge,
    #[error("response is not the expected document")]
    Malformed(#[source] serde_json::Error),
}

impl Body {
    /// Parses the whole body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, UnreadableBody> {
        match self {
            Self::Complete(bytes) => crate::json::from_slice(bytes).map_err(UnreadableBody::Malformed),
            Self::Truncated => Err(UnreadableBody::Truncated),
            Self::TooLarge => Err(UnreadableBody::TooLarge),
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
