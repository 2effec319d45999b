//! One request to the token endpoint, and its answer: `PROTOCOL.md#c5`.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use percent_encoding::utf8_percent_encode;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;

use super::client::Application;
use super::client_auth::ClientCredential;
use super::error::{Backoff, Error, ErrorResponse};
use crate::http::{Body, OUTSIDE_UNRESERVED, RetryAfter};

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

/// The longest answer that is looked at, in bytes. Real ones have about 2,000.
const LARGEST_ANSWER: usize = 64 * 1024;

/// The longest token that is taken, in bytes: what common servers take as a header, and five times a real one.
const LONGEST_TOKEN: usize = 8 * 1024;

/// The longest that a token is believed to hold. Entra's hold for an hour, with continuous access evaluation for
/// up to 28.
const LONGEST_LIFETIME: Duration = Duration::from_hours(28);

/// The words for a failure that are passed on; the endpoint may say anything.
const CODES: [&str; 10] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_resource",
    "access_denied",
    "server_error",
    "temporarily_unavailable",
];

/// The most of Entra's numbers that are kept.
const MOST_CODES: usize = 8;

/// A token as it came.
pub(super) struct Grant {
    /// `Bearer …`, marked so that nothing prints it.
    pub(super) authorization: HeaderValue,
    /// How long it holds, counted from the request.
    pub(super) lifetime: Duration,
}

/// A success that is none.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("token endpoint's answer was cut short or is too long")]
    Cut,
    #[error("token endpoint's answer is not the document expected")]
    Malformed,
    #[error("token endpoint's answer has no bearer token")]
    NoToken,
    #[error("token endpoint's answer does not say how long the token holds")]
    NoLifetime,
}

/// The request that a token is asked for with.
pub(super) fn request(
    application: &Application,
    proof: &ClientCredential,
) -> Result<Request<Bytes>, http::Error> {
    let mut form = String::from("grant_type=client_credentials");
    let mut field = |name: &str, value: &str| {
        form.extend(["&", name, "="]);
        form.extend(utf8_percent_encode(value, OUTSIDE_UNRESERVED));
    };
    field("client_id", application.app_id());
    field("scope", application.scope());
    match proof {
        ClientCredential::Secret(secret) => field("client_secret", secret.expose_secret()),
        ClientCredential::Assertion(assertion) => {
            field(
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            );
            field("client_assertion", assertion.expose_secret());
        }
    }
    Request::builder()
        .method(Method::POST)
        .uri(application.token_url())
        .header(CONTENT_TYPE, FORM)
        .header(ACCEPT, JSON)
        .body(form.into())
}

/// What the endpoint answered.
pub(super) fn read(response: &Response<Body>, backoff: Backoff) -> Result<Grant, Error> {
    let body = match response.body() {
        Body::Complete(bytes) if bytes.len() <= LARGEST_ANSWER => Some(bytes),
        Body::Complete(_) | Body::Truncated => None,
    };
    if response.status() != StatusCode::OK {
        let error = error_response(response, body);
        return Err(Error::from_response(response.status(), error, backoff));
    }
    body.ok_or(Unreadable::Cut)
        .and_then(|bytes| grant(bytes))
        .map_err(|error| Error::no_response(error, backoff))
}

fn grant(body: &[u8]) -> Result<Grant, Unreadable> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        token_type: Cow<'a, str>,
        #[serde(borrow)]
        access_token: Cow<'a, str>,
        #[serde(default)]
        expires_in: Value,
    }
    // The parser's own words may quote what it read.
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(|_| Unreadable::Malformed)?;
    let token = &*answer.access_token;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if !answer.token_type.eq_ignore_ascii_case("bearer")
        || token.is_empty()
        || token.len() > LONGEST_TOKEN
        || !token.bytes().all(plain)
    {
        return Err(Unreadable::NoToken);
    }
    let seconds = match &answer.expires_in {
        Value::Number(number) => number.as_u64(),
        // The older endpoints write it as a text.
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let lifetime = match seconds {
        None | Some(0) => return Err(Unreadable::NoLifetime),
        Some(seconds) => Duration::from_secs(seconds).min(LONGEST_LIFETIME),
    };
    let mut authorization =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| Unreadable::NoToken)?;
    authorization.set_sensitive(true);
    Ok(Grant {
        authorization,
        lifetime,
    })
}

/// What a refusal says, as far as it can hold no secret: descriptions are not looked at.
fn error_response(response: &Response<Body>, body: Option<&Bytes>) -> ErrorResponse {
    let document: Value = body
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
        .unwrap_or_default();
    let said = document.get("error").and_then(Value::as_str);
    let numbers = document.get("error_codes").and_then(Value::as_array);
    let correlation = document.get("correlation_id").and_then(Value::as_str);
    let request_id = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    ErrorResponse {
        code: said.and_then(|said| CODES.into_iter().find(|code| *code == said)),
        error_codes: numbers
            .into_iter()
            .flatten()
            .filter_map(Value::as_u64)
            .take(MOST_CODES)
            .collect(),
        correlation: correlation
            .or(request_id)
            .filter(|id| is_guid(id))
            .map(str::to_owned),
        retry_after: RetryAfter::from_headers(response.headers()),
    }
}

/// Eight, four, four, four and twelve hexadecimal digits.
fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
