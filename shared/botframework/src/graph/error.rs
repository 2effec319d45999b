//! The errors of Graph: a class to decide by, the rest for logs.

use std::fmt;

use http::{HeaderMap, StatusCode};

use crate::credential;
use crate::http::{Body, BoxError, ErrorBody, Failure, RetryAfter, ServiceError, TransportError};

/// The headers that Microsoft's support finds a request to Graph by.
const CORRELATION_HEADERS: [&str; 2] = ["request-id", "client-request-id"];

/// Entra's error codes for an application that cannot have a token in the tenant: it is unknown there, has no consent,
/// is disabled there, or there is no such tenant.
const NOT_IN_TENANT: [u64; 5] = [700_016, 7_000_229, 65_001, 7_000_112, 90_002];

/// The remedy of a failed request. Whether it was carried out does not matter: every request to Graph may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Repeat the same request later.
    Later,
    /// The tenant's administrator must act. Until then no request of this kind succeeds in the tenant.
    Tenant,
    /// This person, team or app does not exist or may not be used; requests for others may succeed.
    Target,
    /// The request is invalid; there is none.
    Rejected,
}

/// Why a request to Graph failed. Each reason belongs to one [`Class`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Too many requests (429).
    Throttled,
    /// No byte of the request left: DNS, the connection or TLS failed.
    Unreachable,
    /// No response, or none that can be read.
    NoResponse,
    /// Graph failed (5xx).
    ServerError,
    /// No token for a reason outside the tenant, or a fresh one was refused (401).
    Unauthorized,
    /// The bot lacks a consented permission in the tenant, is unknown there, or is not the application that the manifest
    /// names (`webApplicationInfo`).
    NotConsented,
    /// Forbidden for this person or team (403), mostly by an administrator's policy.
    NotAllowed,
    /// The person, the team, the app in the catalog or the installation does not exist (404). Graph does not reliably say
    /// which: look a cached catalog id up again.
    NotFound,
    /// The request is invalid.
    Refused,
}

impl Reason {
    /// The remedy of a failure for this reason.
    pub const fn class(self) -> Class {
        match self {
            Self::Throttled
            | Self::Unreachable
            | Self::NoResponse
            | Self::ServerError
            | Self::Unauthorized => Class::Later,
            Self::NotConsented => Class::Tenant,
            Self::NotAllowed | Self::NotFound => Class::Target,
            Self::Refused => Class::Rejected,
        }
    }
}

/// A failed request to Graph.
pub type Error = ServiceError<Reason>;

impl Error {
    /// The remedy, which the reason decides.
    pub fn class(&self) -> Class {
        self.reason().class()
    }

    /// A request that this client refused to send.
    pub(super) fn not_sendable(source: impl Into<BoxError>) -> Self {
        Failure::from_source(Reason::Refused, source).into()
    }

    /// A request that needs a token, and there is none.
    pub(super) fn no_token(error: credential::Error) -> Self {
        let codes = error.error_codes();
        let reason = if codes.iter().any(|code| NOT_IN_TENANT.contains(code)) {
            Reason::NotConsented
        } else {
            Reason::Unauthorized
        };
        Self::from(Failure {
            code: Some("NoToken".to_owned()),
            retry_after: Some(RetryAfter::Delay(error.wait())),
            ..Failure::from_source(reason, error)
        })
    }

    /// A request without a response.
    pub(super) fn no_response(error: TransportError) -> Self {
        let reason = match error {
            TransportError::NotSent(_) => Reason::Unreachable,
            TransportError::MaybeSent(_) => Reason::NoResponse,
        };
        Failure::from_source(reason, error).into()
    }

    /// A success whose body is needed and cannot be read.
    pub(super) fn unreadable(status: StatusCode, headers: &HeaderMap, source: impl Into<BoxError>) -> Self {
        let failure = Failure::from_source(Reason::NoResponse, source);
        failure
            .with_response(status, headers, &CORRELATION_HEADERS)
            .into()
    }

    /// A response that is no success.
    pub(super) fn from_response(status: StatusCode, headers: &HeaderMap, body: &Body) -> Self {
        let body = ErrorBody::from_body(body);
        let failure = Failure::from_body(reason(status, &body), body);
        Self::from(Failure {
            retry_after: RetryAfter::from_headers(headers),
            ..failure.with_response(status, headers, &CORRELATION_HEADERS)
        })
    }
}

fn reason(status: StatusCode, body: &ErrorBody) -> Reason {
    match status.as_u16() {
        401 => Reason::Unauthorized,
        403 if is_about_consent(body) => Reason::NotConsented,
        403 => Reason::NotAllowed,
        404 => Reason::NotFound,
        408 => Reason::NoResponse,
        429 => Reason::Throttled,
        ..500 => Reason::Refused,
        _ => Reason::ServerError,
    }
}

/// Whether a 403 is about the application in the tenant, not about one person or team. The phrases come from field
/// reports: `Missing role permissions on the request`, `Insufficient privileges to complete the
/// operation`, `AAD App Id … is not allowed to manage the Teams App`.
fn is_about_consent(body: &ErrorBody) -> bool {
    let message = body.message.as_deref().unwrap_or_default().to_ascii_lowercase();
    let words = [
        "missing role permissions",
        "missing scope permissions",
        "insufficient privileges",
        "not allowed to manage the teams app",
    ];
    body.codes
        .iter()
        .any(|code| code == "Authorization_RequestDenied")
        || words.iter().any(|words| message.contains(words))
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Reason::Throttled => "graph throttles requests",
            Reason::Unreachable => "graph cannot be reached",
            Reason::NoResponse => "graph returned no readable response",
            Reason::ServerError => "graph failed",
            Reason::Unauthorized => "graph rejected the bot's token, or there is none",
            Reason::NotConsented => "the bot has no consent in the tenant",
            Reason::NotAllowed => "graph does not allow it for this person or team",
            Reason::NotFound => "graph does not find the person, team, app or installation",
            Reason::Refused => "request to graph was refused",
        })
    }
}
