use std::error::Error as StdError;
use std::pin::Pin;

use bytes::Bytes;

/// A cause that a transport gives for its failure.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// What a transport promises to bring.
pub type Exchange<'a> =
    Pin<Box<dyn Future<Output = Result<http::Response<Body>, TransportError>> + Send + 'a>>;

/// What carries a request to the Connector and its response back: [`HttpTransport`](super::HttpTransport),
/// or a channel inside the same process.
pub trait Transport: Send + Sync {
    /// Sends the request once. Follows no redirect and repeats nothing that may have left.
    fn send(&self, request: http::Request<Bytes>) -> Exchange<'_>;
}

/// What came of a response's body after its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// The connection broke, the time ran out or the size went beyond all bounds before its end.
    Cut,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Not a byte of the request left: the connection was never there.
    #[error("request was not sent")]
    NotSent(#[source] Cause),
    /// The request may have arrived and been carried out.
    #[error("request may have been sent, but no answer came")]
    MaybeSent(#[source] Cause),
}
