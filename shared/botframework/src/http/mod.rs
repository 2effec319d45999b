//! The HTTP layer: the port [`Transport`], its implementation [`HttpTransport`], and the parts that all clients of REST
//! services share.

mod client;
mod error_body;
mod retry_after;
mod service_error;
#[cfg(test)]
mod tests;
mod transport;
mod url;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::uri::InvalidUri;
use http::{HeaderMap, HeaderValue, Method, Request};
use serde::Deserialize;

pub use self::client::{BuildError, HttpTransport, HttpTransportBuilder, HttpVersions};
pub use self::retry_after::RetryAfter;
pub use self::service_error::ServiceError;
pub use self::transport::{Body, BodyLimit, BoxError, BoxFuture, ResponseFuture, Transport, TransportError};

pub(crate) use self::error_body::{ErrorBody, MAX_TEXT};
#[cfg(feature = "client")]
pub(crate) use self::service_error::Failure;
#[cfg(feature = "client")]
pub(crate) use self::url::{OUTSIDE_UNRESERVED, Part, address};

/// The user agent, in the form of the Bot Framework's own clients; telemetry only.
const AGENT: HeaderValue = HeaderValue::from_static(concat!(
    "Microsoft-BotFramework/3.1 (botframework/",
    env!("CARGO_PKG_VERSION"),
    "; Rust)"
));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const JSON_UTF8: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// A request to a JSON service, of whose answer [`BodyLimit::SMALL`] is read. An empty body has no content type.
pub(crate) fn json_request(method: Method, url: String, body: Bytes) -> Result<Request<Bytes>, InvalidUri> {
    let has_body = !body.is_empty();
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = url.try_into()?;
    request.extensions_mut().insert(BodyLimit::SMALL);
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, AGENT);
    headers.insert(ACCEPT, JSON);
    if has_body {
        headers.insert(CONTENT_TYPE, JSON_UTF8);
    }
    Ok(request)
}

/// Reads a JSON object. A struct can also be read from an array of its fields in their order, which no peer means.
pub(crate) fn read_object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, serde_json::Error> {
    let first = json.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        return Err(serde::de::Error::custom("an array in place of an object"));
    }
    serde_json::from_slice(json)
}

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
