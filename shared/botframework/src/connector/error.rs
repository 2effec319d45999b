//! The errors of the Connector: a class to decide by, the rest for logs.

use std::fmt;

use http::{HeaderMap, StatusCode};

use crate::credential;
use crate::http::{Body, BoxError, ErrorBody, Failure, RetryAfter, ServiceError, TransportError};

/// The headers that Microsoft's support finds a request by.
const CORRELATION_HEADERS: [&str; 3] = ["x-correlating-operationid", "ms-cv", "x-ms-request-id"];

/// What has become of a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// It was not carried out, and the same request can succeed later or at another address.
    NotSent,
    /// The request is invalid or forbidden. Repeating it does not help.
    Rejected,
    /// The bot cannot reach the conversation until an activity comes from it.
    Gone,
    /// It may have been carried out or not.
    Ambiguous,
}

/// Why a request failed, as far as the sender's action depends on it (`PROTOCOL.md#d6`). Each reason belongs to one
/// [`Class`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Too many requests (429).
    Throttled,
    /// Another operation on the conversation was under way (412).
    PreconditionFailed,
    /// There is no token, so nothing was sent. The source is the [`credential::Error`].
    NoToken,
    /// A fresh token was refused (401): the bot is not known there, or is refused in this tenant.
    Unauthorized,
    /// The tenant is served in another region, at another service URL of the same cloud.
    WrongRegion,
    /// The tenant is in GCC, whose service URL is [`GCC_SERVICE_URL`](crate::cloud::GCC_SERVICE_URL).
    WrongCloud,
    /// No byte of the request left: DNS, the connection or TLS failed.
    Unreachable,
    /// The person blocked or uninstalled the bot. No event announces the end of it, but any activity of theirs shows it.
    BlockedByUser,
    /// The bot is not in the conversation.
    NotInRoster,
    /// The tenant's administrator turned the bot off.
    DisabledByAdmin,
    /// The bot is not installed for this person.
    NotInstalled,
    /// The conversation's id was made for another registration of the bot. In an outage of the platform every
    /// conversation fails so.
    ForeignConversationId,
    /// There is no such conversation. About one in a hundred requests to a healthy one fails so at random.
    NotFound,
    /// There is no such activity to change or delete.
    ActivityNotFound,
    /// The message has too many bytes.
    TooLarge,
    /// The message is invalid for every recipient: a card, an attachment or a mention that the channel does not take.
    InvalidMessage,
    /// The request is invalid or forbidden.
    Refused,
    /// The channel failed (500). The documentation advises against a retry.
    ServerError,
    /// No response, or one of a gateway that got none.
    NoResponse,
}

impl Reason {
    /// The class of a request that failed for this reason.
    pub const fn class(self) -> Class {
        match self {
            Self::Throttled
            | Self::PreconditionFailed
            | Self::NoToken
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
            Self::ActivityNotFound | Self::TooLarge | Self::InvalidMessage | Self::Refused => Class::Rejected,
            Self::ServerError | Self::NoResponse => Class::Ambiguous,
        }
    }

    /// Whether the message was refused for its content, so that it is refused for every other recipient too.
    pub const fn is_of_message(self) -> bool {
        matches!(self, Self::TooLarge | Self::InvalidMessage)
    }
}

/// The first row that matches decides: rows with a code or a message first, then rows with a status alone.
const REASONS: &[(Statuses, Pattern, Reason)] = &[
    (
        Statuses::ClientErrors,
        Pattern::InMessage("failed to decrypt"),
        Reason::ForeignConversationId,
    ),
    (
        Statuses::ClientErrors,
        Pattern::InMessage("different region"),
        Reason::WrongRegion,
    ),
    (
        Statuses::ClientErrors,
        Pattern::InMessage("wrong geo"),
        Reason::WrongRegion,
    ),
    (
        Statuses::One(403),
        Pattern::Code("InvalidBotApiHost"),
        Reason::WrongCloud,
    ),
    (
        Statuses::One(403),
        Pattern::Code("MessageWritesBlocked"),
        Reason::BlockedByUser,
    ),
    (
        Statuses::One(403),
        Pattern::Code("ConversationBlockedByUser"),
        Reason::BlockedByUser,
    ),
    (
        Statuses::One(403),
        Pattern::Code("BotNotInConversationRoster"),
        Reason::NotInRoster,
    ),
    (
        Statuses::One(403),
        Pattern::Code("BotDisabledByAdmin"),
        Reason::DisabledByAdmin,
    ),
    (
        Statuses::One(403),
        Pattern::Code("ForbiddenOperationException"),
        Reason::NotInstalled,
    ),
    (
        Statuses::One(404),
        Pattern::Code("ConversationNotFound"),
        Reason::NotFound,
    ),
    (
        Statuses::One(404),
        Pattern::Code("ActivityNotFoundInConversation"),
        Reason::ActivityNotFound,
    ),
    // The words of the channel's own texts; the codes do not tell a message from a conversation.
    (
        Statuses::One(400),
        Pattern::InMessage("mention"),
        Reason::InvalidMessage,
    ),
    (
        Statuses::One(400),
        Pattern::InMessage("attachment"),
        Reason::InvalidMessage,
    ),
    (
        Statuses::One(400),
        Pattern::InMessage("adaptive card"),
        Reason::InvalidMessage,
    ),
    (
        Statuses::One(400),
        Pattern::InMessage("card payload"),
        Reason::InvalidMessage,
    ),
    // Web Chat and Direct Line forget conversations, and name no code of their own for that, or nothing at all.
    (
        Statuses::One(404),
        Pattern::InMessage("unknown conversation"),
        Reason::NotFound,
    ),
    (Statuses::One(404), Pattern::Nothing, Reason::NotFound),
    (Statuses::One(401), Pattern::Any, Reason::Unauthorized),
    (Statuses::One(408), Pattern::Any, Reason::NoResponse),
    (Statuses::One(412), Pattern::Any, Reason::PreconditionFailed),
    (Statuses::One(413), Pattern::Any, Reason::TooLarge),
    (Statuses::One(429), Pattern::Any, Reason::Throttled),
    (Statuses::Redirects, Pattern::Any, Reason::Refused),
    (Statuses::ClientErrors, Pattern::Any, Reason::Refused),
    (Statuses::One(500), Pattern::Any, Reason::ServerError),
];

/// The reason without a row: other 5xx, and statuses that do not exist.
const FALLBACK: Reason = Reason::NoResponse;

#[derive(Clone, Copy)]
enum Statuses {
    One(u16),
    Redirects,
    ClientErrors,
}

#[derive(Clone, Copy)]
enum Pattern {
    Code(&'static str),
    /// A part of the message, in lower case.
    InMessage(&'static str),
    /// Neither a code nor a message: an empty body, or a page of HTML.
    Nothing,
    Any,
}

/// A failed request to the Connector.
pub type Error = ServiceError<Reason>;

impl Error {
    /// What has become of the request.
    pub fn class(&self) -> Class {
        self.reason().class()
    }

    /// Whether the bot was refused and not the request: there is no token, or a fresh one was refused. Every other request
    /// of the bot, without a token, or in the same tenant, would fail like this one. The class is [`Class::NotSent`];
    /// [`retry_after`](Self::retry_after) says how long, when that is known.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self.reason(), Reason::NoToken | Reason::Unauthorized)
    }

    /// Why there is no token, if that is the reason.
    pub fn token_error(&self) -> Option<&credential::Error> {
        std::error::Error::source(self)?.downcast_ref()
    }

    /// A request that this client refused to send.
    pub(super) fn not_sendable(source: impl Into<BoxError>) -> Self {
        Failure::from_source(Reason::Refused, source).into()
    }

    /// A request that needs a token, and there is none.
    pub(super) fn no_token(error: credential::Error) -> Self {
        Self::from(Failure {
            code: Some("NoToken".to_owned()),
            retry_after: Some(RetryAfter::Delay(error.wait())),
            ..Failure::from_source(Reason::NoToken, error)
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

    /// A success that cannot be used, and would not be another time.
    pub(super) fn unusable(status: StatusCode, headers: &HeaderMap, code: &'static str) -> Self {
        let failure = Failure {
            code: Some(code.to_owned()),
            ..Failure::new(Reason::Refused)
        };
        failure
            .with_response(status, headers, &CORRELATION_HEADERS)
            .into()
    }

    /// A response that is no success.
    pub(super) fn from_response(status: StatusCode, headers: &HeaderMap, body: &Body) -> Self {
        let failure = failure(Some(status), ErrorBody::from_body(body));
        Self::from(Failure {
            retry_after: RetryAfter::from_headers(headers),
            ..failure.with_response(status, headers, &CORRELATION_HEADERS)
        })
    }

    /// The failure of one entry of a batch, with the status it had if there is one.
    pub(super) fn from_entry(status: Option<StatusCode>, body: ErrorBody) -> Self {
        failure(status, body).into()
    }
}

fn failure(status: Option<StatusCode>, body: ErrorBody) -> Failure<Reason> {
    let (reason, code) = classify(&body, status.map(|status| status.as_u16()));
    let code = code.or(body.codes.first()).cloned();
    Failure {
        status,
        code,
        ..Failure::from_body(reason, body)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.class() {
            Class::NotSent => "request to the connector was not carried out",
            Class::Rejected => "request to the connector was rejected",
            Class::Gone => "conversation cannot be reached",
            Class::Ambiguous => "request to the connector may or may not have been carried out",
        })
    }
}

/// The reason of a failure with this status (without one: by the body alone), and the code that decided it, if one did.
pub(super) fn classify(body: &ErrorBody, status: Option<u16>) -> (Reason, Option<&String>) {
    let message = body.message.as_deref().unwrap_or_default().to_ascii_lowercase();
    for (statuses, pattern, reason) in REASONS {
        let status_matches = match (statuses, status) {
            (Statuses::One(one), Some(status)) => status == *one,
            (Statuses::Redirects, Some(status)) => (300..400).contains(&status),
            (Statuses::ClientErrors, Some(status)) => (400..500).contains(&status),
            (_, None) => true,
        };
        if !status_matches {
            continue;
        }
        match pattern {
            Pattern::Any if status.is_some() => return (*reason, None),
            Pattern::InMessage(words) if message.contains(words) => return (*reason, None),
            Pattern::Nothing if status.is_some() && message.is_empty() && body.codes.is_empty() => {
                return (*reason, None);
            }
            Pattern::Code(name) => {
                if let Some(code) = body.codes.iter().find(|code| code == name) {
                    return (*reason, Some(code));
                }
            }
            Pattern::InMessage(_) | Pattern::Nothing | Pattern::Any => {}
        }
    }
    match status {
        Some(_) => (FALLBACK, None),
        None => (Reason::Refused, None),
    }
}

#[cfg(test)]
mod tests;
