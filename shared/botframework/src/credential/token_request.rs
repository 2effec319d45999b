//! The token request and its response: `PROTOCOL.md#c5`.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use percent_encoding::utf8_percent_encode;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;

use super::client::Client;
use super::client_auth::ClientCredential;
use super::error::{Backoff, Error, ErrorResponse};
use crate::http::{Body, BodyLimit, OUTSIDE_UNRESERVED, RetryAfter, read_object};

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

/// The longest response that is read, in bytes. Real ones have about 2,000.
const MAX_BODY: usize = 64 * 1024;

/// The longest token that is accepted, in bytes: the header limit of common servers, and five times a real one.
const MAX_TOKEN: usize = 8 * 1024;

/// The longest lifetime of a token that is accepted. Entra's are valid for an hour, with continuous access evaluation
/// for up to 28.
const MAX_LIFETIME: Duration = Duration::from_hours(28);

/// The error codes that are kept. Any other may quote the request.
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

/// The most of Entra's error codes that are kept.
const MAX_ERROR_CODES: usize = 8;

/// A token with its lifetime.
pub(super) struct TokenResponse {
    /// `Bearer …`, marked as sensitive.
    pub(super) authorization: HeaderValue,
    /// Counted from the request.
    pub(super) lifetime: Duration,
}

/// Why a response with status 200 has no usable token.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("token response is truncated or too long")]
    Truncated,
    #[error("token response is not the expected document")]
    Malformed,
    #[error("token response has no bearer token")]
    NoToken,
    #[error("token response has no lifetime")]
    NoLifetime,
}

/// Builds the token request.
pub(super) fn request(client: &Client, credential: &ClientCredential) -> Result<Request<Bytes>, http::Error> {
    let mut form = String::from("grant_type=client_credentials");
    let mut field = |name: &str, value: &str| {
        form.extend(["&", name, "="]);
        form.extend(utf8_percent_encode(value, OUTSIDE_UNRESERVED));
    };
    field("client_id", client.app_id());
    field("scope", client.scope());
    match credential {
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
        .uri(client.token_url())
        .header(CONTENT_TYPE, FORM)
        .header(ACCEPT, JSON)
        .extension(BodyLimit(MAX_BODY))
        .body(form.into())
}

/// Parses the response of the token endpoint.
pub(super) fn parse(response: &Response<Body>, backoff: Backoff) -> Result<TokenResponse, Error> {
    let body = match response.body() {
        Body::Complete(bytes) if bytes.len() <= MAX_BODY => Some(bytes),
        Body::Complete(_) | Body::Truncated | Body::TooLarge => None,
    };
    if response.status() != StatusCode::OK {
        let error = error_response(response, body);
        return Err(Error::from_response(response.status(), error, backoff));
    }
    body.ok_or(Unreadable::Truncated)
        .and_then(|bytes| token_response(bytes))
        .map_err(|error| Error::no_response(error, backoff))
}

fn token_response(body: &[u8]) -> Result<TokenResponse, Unreadable> {
    #[derive(Deserialize)]
    struct Document<'a> {
        #[serde(borrow)]
        token_type: Cow<'a, str>,
        #[serde(borrow)]
        access_token: Cow<'a, str>,
        #[serde(default)]
        expires_in: Value,
    }
    // The parser's error may quote the token.
    let document: Document<'_> = read_object(body).map_err(|_| Unreadable::Malformed)?;
    let token = &*document.access_token;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if !document.token_type.eq_ignore_ascii_case("bearer")
        || token.is_empty()
        || token.len() > MAX_TOKEN
        || !token.bytes().all(plain)
    {
        return Err(Unreadable::NoToken);
    }
    let seconds = match &document.expires_in {
        Value::Number(number) => number.as_u64(),
        // The older endpoints write it as a string.
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let lifetime = match seconds {
        None | Some(0) => return Err(Unreadable::NoLifetime),
        Some(seconds) => Duration::from_secs(seconds).min(MAX_LIFETIME),
    };
    let mut authorization =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| Unreadable::NoToken)?;
    authorization.set_sensitive(true);
    Ok(TokenResponse {
        authorization,
        lifetime,
    })
}

/// Reads an error response, without its descriptions, which may quote a secret.
fn error_response(response: &Response<Body>, body: Option<&Bytes>) -> ErrorResponse {
    let document: Value = body
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
        .unwrap_or_default();
    let code = document.get("error").and_then(Value::as_str);
    let numbers = document.get("error_codes").and_then(Value::as_array);
    let correlation = document.get("correlation_id").and_then(Value::as_str);
    let request_id = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    ErrorResponse {
        code: code.and_then(|code| CODES.into_iter().find(|known| *known == code)),
        error_codes: numbers
            .into_iter()
            .flatten()
            .filter_map(Value::as_u64)
            .take(MAX_ERROR_CODES)
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
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
