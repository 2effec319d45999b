//! What a failed request means: one class for whoever decides, the rest for the log.

use std::fmt;

use http::{HeaderMap, StatusCode};

use crate::credential;
use crate::http::{Body, BoxError, RetryAfter, Said, TransportError, correlation};

/// The headers by which Microsoft finds a request again.
const CORRELATION_HEADERS: [&str; 3] = ["x-correlating-operationid", "ms-cv", "x-ms-request-id"];

/// The one question a failure answers: what has become of the request?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// It was not carried out, and the same request can succeed later or at another address.
    NotSent,
    /// It was refused for what it is. Repeating it will not help.
    Rejected,
    /// The conversation cannot be reached by this bot until something happens there.
    Gone,
    /// It may have been carried out; nobody can know.
    Ambiguous,
}

/// Why a request failed: the words of the Teams documentation and of field reports, by what a sender does about
/// them (`PROTOCOL.md#d6`). Each belongs to one [`Class`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Too many requests (429).
    Throttled,
    /// Another operation on the conversation was under way (412).
    PreconditionFailed,
    /// The bot itself was refused: no token, or a fresh one was not taken (401).
    Unauthorized,
    /// The tenant is served in another region, at another service URL of the same cloud.
    WrongRegion,
    /// The tenant is in GCC, whose service URL is [`GCC_SERVICE_URL`](crate::cloud::GCC_SERVICE_URL).
    WrongCloud,
    /// Not a byte left: no name, no connection, no TLS.
    Unreachable,
    /// The person blocked or uninstalled the bot. No event will tell when that ends, but anything they do will.
    BlockedByUser,
    /// The bot is not in the conversation.
    NotInRoster,
    /// The tenant's administrator turned the bot off.
    DisabledByAdmin,
    /// The bot is not installed for this person.
    NotInstalled,
    /// The conversation's id was made for another registration of the bot; seen for everybody at once when the platform fails.
    ForeignConversationId,
    /// There is no such conversation; one in a hundred healthy ones says so at random.
    NotFound,
    /// There is no such activity: what was to be changed or deleted is gone.
    ActivityNotFound,
    /// The message has too many bytes.
    TooLarge,
    /// Refused for what it is.
    Refused,
    /// The channel failed (500), which the documentation advises against repeating.
    ServerError,
    /// No answer, or one that says that somebody on the way got none.
    NoResponse,
}

impl Reason {
    /// What has become of a request that failed for this reason.
    pub const fn class(self) -> Class {
        match self {
            Self::Throttled
            | Self::PreconditionFailed
            | Self::Unauthorized
            | Self::WrongRegion
            | Self::WrongCloud
            | Self::Unreachable => Class::NotSent,
            Self::BlockedByUser
            | Self::NotInRoster
            | Self::DisabledByAdmin
            | Self::NotInstalled
            | Self::ForeignConversationId
            | Self::NotFound => Class::Gone,
            Self::ActivityNotFound | Self::TooLarge | Self::Refused => Class::Rejected,
            Self::ServerError | Self::NoResponse => Class::Ambiguous,
        }
    }
}

/// The table, first match wins: what the Connector says, in its code or its message, then the status alone.
const REASONS: &[(Statuses, Says, Reason)] = &[
    (
        Statuses::ClientErrors,
        Says::InMessage("failed to decrypt"),
        Reason::ForeignConversationId,
    ),
    (
        Statuses::ClientErrors,
        Says::InMessage("different region"),
        Reason::WrongRegion,
    ),
    (
        Statuses::ClientErrors,
        Says::InMessage("wrong geo"),
        Reason::WrongRegion,
    ),
    (
        Statuses::One(403),
        Says::Code("InvalidBotApiHost"),
        Reason::WrongCloud,
    ),
    (
        Statuses::One(403),
        Says::Code("MessageWritesBlocked"),
        Reason::BlockedByUser,
    ),
    (
        Statuses::One(403),
        Says::Code("ConversationBlockedByUser"),
        Reason::BlockedByUser,
    ),
    (
        Statuses::One(403),
        Says::Code("BotNotInConversationRoster"),
        Reason::NotInRoster,
    ),
    (
        Statuses::One(403),
        Says::Code("BotDisabledByAdmin"),
        Reason::DisabledByAdmin,
    ),
    (
        Statuses::One(403),
        Says::Code("ForbiddenOperationException"),
        Reason::NotInstalled,
    ),
    (
        Statuses::One(404),
        Says::Code("ConversationNotFound"),
        Reason::NotFound,
    ),
    (
        Statuses::One(404),
        Says::Code("ActivityNotFoundInConversation"),
        Reason::ActivityNotFound,
    ),
    (Statuses::One(401), Says::Anything, Reason::Unauthorized),
    (Statuses::One(408), Says::Anything, Reason::NoResponse),
    (Statuses::One(412), Says::Anything, Reason::PreconditionFailed),
    (Statuses::One(413), Says::Anything, Reason::TooLarge),
    (Statuses::One(429), Says::Anything, Reason::Throttled),
    (Statuses::Redirects, Says::Anything, Reason::Refused),
    (Statuses::ClientErrors, Says::Anything, Reason::Refused),
    (Statuses::One(500), Says::Anything, Reason::ServerError),
];

/// What no row speaks of: the other 5xx, and statuses that do not exist.
const OTHERWISE: Reason = Reason::NoResponse;

#[derive(Clone, Copy)]
enum Statuses {
    One(u16),
    Redirects,
    ClientErrors,
}

#[derive(Clone, Copy)]
enum Says {
    Code(&'static str),
    /// In lower case.
    InMessage(&'static str),
    Anything,
}

/// A request to the Connector that did not succeed.
///
/// Its `Display` leaves the other side's message out, which may quote what was sent; see
/// [`Error::message`].
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
    /// What has become of the request.
    pub fn class(&self) -> Class {
        self.0.reason.class()
    }

    /// Why it failed.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The Connector's word for what went wrong, such as `BotNotInConversationRoster`.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// What the Connector says went wrong. It may quote the request: for whoever sent it, not for logs.
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// The HTTP status, if there was an answer. For logs: [`class`](Self::class) already says what it
    /// means.
    pub fn status(&self) -> Option<u16> {
        self.0.status.map(|status| status.as_u16())
    }

    /// How long the Connector asks to wait.
    pub fn retry_after(&self) -> Option<RetryAfter> {
        self.0.retry_after
    }

    /// The correlation headers of the answer, `name=value` joined by spaces, or nothing. For logs.
    pub fn correlation(&self) -> &str {
        &self.0.correlation
    }

    /// Whether it is the bot that was refused, not the request: there is no token for it, or a fresh one was not
    /// taken. Every other request would fail like this one, so whoever has many waits with all of them. The class
    /// is [`Class::NotSent`]; [`retry_after`](Self::retry_after) says how long, when that is known.
    pub fn is_unauthorized(&self) -> bool {
        self.0.reason == Reason::Unauthorized
    }

    /// A request that was refused here and never left.
    pub(super) fn refused(source: impl Into<BoxError>) -> Self {
        Self::without_answer(Reason::Refused, source.into())
    }

    /// A request that needs a token, and there is none.
    pub(super) fn without_token(error: credential::Error) -> Self {
        Self(Box::new(Inner {
            reason: Reason::Unauthorized,
            status: None,
            code: Some("NoToken".to_owned()),
            message: None,
            retry_after: Some(RetryAfter::Delay(error.wait())),
            correlation: String::new(),
            source: Some(Box::new(error)),
        }))
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
        Self(Box::new(Inner {
            reason: Reason::NoResponse,
            status: Some(status),
            code: None,
            message: None,
            retry_after: None,
            correlation: correlation(headers, &CORRELATION_HEADERS),
            source: Some(source.into()),
        }))
    }

    /// An answer that is no success.
    pub(super) fn answered(status: StatusCode, headers: &HeaderMap, body: &Body) -> Self {
        let said = Said::from_body(body);
        let mut error = Self::told(Some(status), said);
        error.0.retry_after = RetryAfter::from_headers(headers);
        error.0.correlation = correlation(headers, &CORRELATION_HEADERS);
        error
    }

    /// A failure that somebody tells of, with the status it had if that is told too.
    pub(super) fn told(status: Option<StatusCode>, said: Said) -> Self {
        let (reason, code) = classify(&said, status.map(|status| status.as_u16()));
        Self(Box::new(Inner {
            reason,
            status,
            code: code.or(said.codes.first()).cloned(),
            message: said.message,
            retry_after: None,
            correlation: String::new(),
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

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.class() {
            Class::NotSent => "request to the connector was not carried out",
            Class::Rejected => "request to the connector was rejected",
            Class::Gone => "conversation cannot be reached",
            Class::Ambiguous => "request to the connector may or may not have been carried out",
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
            .field("status", &self.status())
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

/// Why something failed with this status, or without one for its words alone, and the code that decided it, if one
/// did.
pub(super) fn classify(said: &Said, status: Option<u16>) -> (Reason, Option<&String>) {
    let message = said.message.as_deref().unwrap_or_default().to_ascii_lowercase();
    for (statuses, says, reason) in REASONS {
        let status_matches = match (statuses, status) {
            (Statuses::One(one), Some(status)) => status == *one,
            (Statuses::Redirects, Some(status)) => (300..400).contains(&status),
            (Statuses::ClientErrors, Some(status)) => (400..500).contains(&status),
            (_, None) => true,
        };
        if !status_matches {
            continue;
        }
        match says {
            Says::Anything if status.is_some() => return (*reason, None),
            Says::InMessage(words) if message.contains(words) => return (*reason, None),
            Says::Code(name) => {
                if let Some(code) = said.codes.iter().find(|code| code == name) {
                    return (*reason, Some(code));
                }
            }
            Says::InMessage(_) | Says::Anything => {}
        }
    }
    match status {
        Some(_) => (OTHERWISE, None),
        None => (Reason::Refused, None),
    }
}

#[cfg(test)]
mod tests;
