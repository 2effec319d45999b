//! What a failed request to Graph means: one class for whoever decides, the rest for the log.

use std::fmt;

use http::{HeaderMap, StatusCode};

use crate::credential;
use crate::http::{Body, BoxError, RetryAfter, Said, TransportError, correlation};

/// The headers by which Microsoft finds a request to Graph again.
const CORRELATION_HEADERS: [&str; 2] = ["request-id", "client-request-id"];

/// Entra's numbers for a token that is refused because the application is not at home in the tenant: it is not known
/// there, nobody consented to it, it is turned off there, or there is no such tenant.
const NOT_IN_TENANT: [u64; 5] = [700_016, 7_000_229, 65_001, 7_000_112, 90_002];

/// The one question a failure answers: what would help?
///
/// Whether the request was carried out is no question: every one of these may be made twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Time. The same request may be made again, later.
    Later,
    /// The tenant's administrator. Until they do something, no request of this kind succeeds in the tenant.
    Tenant,
    /// Another target. This person, team or app is not there or may not be used; others may succeed.
    Target,
    /// Nothing: it was refused for what it is.
    Rejected,
}

/// Why a request to Graph failed, by what one does about it. Each belongs to one [`Class`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Too many requests (429).
    Throttled,
    /// Not a byte left: no name, no connection, no TLS.
    Unreachable,
    /// No answer, or none that can be read.
    NoResponse,
    /// Graph failed (5xx).
    ServerError,
    /// No token for a reason that is not the tenant's, or a fresh one was not taken (401).
    Unauthorized,
    /// The bot has no consent in the tenant for what it asks, is unknown there, or is not the one that its manifest names
    /// (`webApplicationInfo`).
    NotConsented,
    /// It may not be done for this person or team: a policy of the administrator, mostly (403).
    NotAllowed,
    /// The person, the team, the app in the catalog or the installation is not there (404). Graph does not say which in
    /// a way to rely on: a catalog id that was kept must be looked up again.
    NotFound,
    /// Refused for what it is.
    Refused,
}

impl Reason {
    /// What would help after a failure for this reason.
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

/// A request to Graph that did not succeed.
///
/// Its `Display` leaves the other side's message out, which may name people; see [`Error::message`].
pub struct Error(Box<Inner>);

struct Inner {
    reason: Reason,
    status: Option<StatusCode>,
    code: Option<String>,
    message: Option<String>,
    retry_after: Option<RetryAfter>,
    correlation: String,
    source: Option<BoxError>,
}

impl Error {
    /// What would help.
    pub fn class(&self) -> Class {
        self.0.reason.class()
    }

    /// Why it failed.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// Graph's word for what went wrong, such as `Forbidden`.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// What Graph says went wrong: which permission is missing, or which policy forbids it. It may name a person or an
    /// app: for whoever asked, not for logs.
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// How long Graph asks to wait, or for how long there is no token. It is missing at times even from
    /// [`Reason::Throttled`].
    pub fn retry_after(&self) -> Option<RetryAfter> {
        self.0.retry_after
    }

    /// The correlation headers of the answer, `name=value` joined by spaces, or nothing. For logs.
    pub fn correlation(&self) -> &str {
        &self.0.correlation
    }

    /// A request that was refused here and never left.
    pub(super) fn refused(source: impl Into<BoxError>) -> Self {
        Self::without_answer(Reason::Refused, source.into())
    }

    /// A request that needs a token, and there is none.
    pub(super) fn without_token(error: credential::Error) -> Self {
        let not_here = error
            .error_codes()
            .iter()
            .any(|code| NOT_IN_TENANT.contains(code));
        let reason = if not_here {
            Reason::NotConsented
        } else {
            Reason::Unauthorized
        };
        let wait = RetryAfter::Delay(error.wait());
        let mut failed = Self::without_answer(reason, Box::new(error));
        failed.0.code = Some("NoToken".to_owned());
        failed.0.retry_after = Some(wait);
        failed
    }

    /// A request without an answer.
    pub(super) fn unanswered(failure: TransportError) -> Self {
        let reason = match failure {
            TransportError::NotSent(_) => Reason::Unreachable,
            TransportError::MaybeSent(_) => Reason::NoResponse,
        };
        Self::without_answer(reason, Box::new(failure))
    }

    /// A success whose body was needed and cannot be read.
    pub(super) fn unreadable(status: StatusCode, headers: &HeaderMap, source: impl Into<BoxError>) -> Self {
        let mut failed = Self::without_answer(Reason::NoResponse, source.into());
        failed.0.status = Some(status);
        failed.0.correlation = correlation(headers, &CORRELATION_HEADERS);
        failed
    }

    /// An answer that is no success.
    pub(super) fn answered(status: StatusCode, headers: &HeaderMap, body: &Body) -> Self {
        let said = Said::from_body(body);
        Self(Box::new(Inner {
            reason: reason(status, &said),
            status: Some(status),
            code: said.codes.into_iter().next(),
            message: said.message,
            retry_after: RetryAfter::from_headers(headers),
            correlation: correlation(headers, &CORRELATION_HEADERS),
            source: None,
        }))
    }

    fn without_answer(reason: Reason, source: BoxError) -> Self {
        Self(Box::new(Inner {
            reason,
            status: None,
            code: None,
            message: None,
            retry_after: None,
            correlation: String::new(),
            source: Some(source),
        }))
    }
}

fn reason(status: StatusCode, said: &Said) -> Reason {
    match status.as_u16() {
        401 => Reason::Unauthorized,
        403 if speaks_of_consent(said) => Reason::NotConsented,
        403 => Reason::NotAllowed,
        404 => Reason::NotFound,
        408 => Reason::NoResponse,
        429 => Reason::Throttled,
        ..500 => Reason::Refused,
        _ => Reason::ServerError,
    }
}

/// Whether a 403 is about the application in the tenant, and not about one person or team. The words are those of
/// reports from the field: `Missing role permissions on the request`, `Insufficient privileges to complete the
/// operation`, `AAD App Id … is not allowed to manage the Teams App`.
fn speaks_of_consent(said: &Said) -> bool {
    let message = said.message.as_deref().unwrap_or_default().to_ascii_lowercase();
    let words = [
        "missing role permissions",
        "missing scope permissions",
        "insufficient privileges",
        "not allowed to manage the teams app",
    ];
    said.codes
        .iter()
        .any(|code| code == "Authorization_RequestDenied")
        || words.iter().any(|words| message.contains(words))
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0.reason {
            Reason::Throttled => "graph takes no more requests now",
            Reason::Unreachable => "graph cannot be reached",
            Reason::NoResponse => "graph gave no answer that can be read",
            Reason::ServerError => "graph failed",
            Reason::Unauthorized => "graph does not know the bot, or there is no token for it",
            Reason::NotConsented => "the bot has no consent in the tenant",
            Reason::NotAllowed => "graph does not allow it for this person or team",
            Reason::NotFound => "graph knows no such person, team, app or installation",
            Reason::Refused => "request to graph was refused",
        })?;
        if let Some(status) = self.0.status {
            write!(formatter, " (status {}", status.as_u16())?;
            if let Some(code) = &self.0.code {
                write!(formatter, ", {code}")?;
            }
            formatter.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Error")
            .field("reason", &self.0.reason)
            .field("status", &self.0.status.map(|status| status.as_u16()))
            .field("code", &self.0.code)
            .field("retry_after", &self.0.retry_after)
            .field("correlation", &self.0.correlation)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
