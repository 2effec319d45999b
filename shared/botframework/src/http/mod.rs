//! HTTP under everything else: the port [`Transport`], its implementation [`HttpTransport`], and what every client
//! of a REST service needs.

mod client;
mod error_body;
mod retry_after;
mod service_error;
#[cfg(test)]
mod tests;
mod transport;
mod url;

use http::{HeaderMap, HeaderValue};

pub use self::client::{BuildError, HttpTransport, HttpTransportBuilder, HttpVersions};
pub use self::retry_after::RetryAfter;
pub use self::service_error::ServiceError;
pub use self::transport::{Body, BoxError, BoxFuture, ResponseFuture, Transport, TransportError};

pub(crate) use self::error_body::{ErrorBody, MAX_TEXT};
pub(crate) use self::service_error::Failure;
pub(crate) use self::url::{OUTSIDE_UNRESERVED, Part, address};

/// The user agent, in the form the Bot Framework's own clients use; telemetry only.
pub(crate) const AGENT: HeaderValue = HeaderValue::from_static(concat!(
    "Microsoft-BotFramework/3.1 (botframework/",
    env!("CARGO_PKG_VERSION"),
    "; Rust)"
));
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const JSON_UTF8: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// Those of the headers `names` that are present, `name=value` joined by spaces.
pub(crate) fn correlation(headers: &HeaderMap, names: &[&str]) -> String {
    let mut found = String::new();
    for name in names {
        if let Some(value) = headers.get(*name).and_then(|value| value.to_str().ok()) {
            let space = if found.is_empty() { "" } else { " " };
            found.extend([space, *name, "="]);
            found.extend(value.chars().take(MAX_TEXT));
        }
    }
    found
}
