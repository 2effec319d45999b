//! The errors of token requests. They hold no text that could quote a secret.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::client_auth::ClientAuthError;
use crate::http::{BoxError, Failure, RetryAfter, ServiceError};

/// Who can end the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialFault {
    /// An operator, by correcting the bot's registration or configuration. Until then no request of the bot can
    /// succeed, and waiting loses none.
    Configuration,
    /// Time: the token endpoint or the store of the client credential is unavailable or asks to wait.
    Unavailable,
}

/// There is no token for the bot. Cheap to clone: all callers that wait for one token get the same error.
///
/// The endpoint's description is dropped, because it may quote the request. An error keeps words of a fixed list,
/// numbers and a correlation id.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    service: ServiceError<CredentialFault>,
    error_codes: Vec<u64>,
    wait: Duration,
}

/// The error response of a token endpoint.
#[derive(Debug, Default)]
pub(super) struct ErrorResponse {
    pub(super) code: Option<&'static str>,
    pub(super) error_codes: Vec<u64>,
    pub(super) correlation: Option<String>,
    pub(super) retry_after: Option<RetryAfter>,
}

/// The wait after a failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    /// Consecutive failures before this one.
    pub(super) failures: u32,
    pub(super) now: SystemTime,
}

impl Backoff {
    const MIN_WAIT: Duration = Duration::from_secs(1);
    /// The longest wait. A longer `Retry-After` is cut, so that no response can stop the bot for good.
    const MAX_WAIT: Duration = Duration::from_mins(15);
    /// The longest wait without a `Retry-After`.
    const MAX_OWN_WAIT: Duration = Duration::from_mins(1);

    /// `Retry-After` within the bounds; without it a minute for a configuration, else a second, doubled with each
    /// failure, at most a minute.
    fn wait(self, fault: CredentialFault, retry_after: Option<RetryAfter>) -> Duration {
        match (retry_after, fault) {
            (Some(retry_after), _) => retry_after.delay(self.now).clamp(Self::MIN_WAIT, Self::MAX_WAIT),
            (None, CredentialFault::Configuration) => Self::MAX_OWN_WAIT,
            (None, CredentialFault::Unavailable) => {
                (Self::MIN_WAIT * (1 << self.failures.min(6))).min(Self::MAX_OWN_WAIT)
            }
        }
    }
}

impl Error {
    /// Whether the failure ends by itself.
    pub fn fault(&self) -> CredentialFault {
        self.0.service.reason()
    }

    /// The endpoint's error code, of those that OAuth 2.0 and Entra define, such as `invalid_client`.
    pub fn code(&self) -> Option<&str> {
        self.0.service.code()
    }

    /// Entra's error codes, such as 7000215 (`AADSTS7000215`, a wrong secret).
    pub fn error_codes(&self) -> &[u64] {
        &self.0.error_codes
    }

    /// The id that Microsoft's support finds the request by.
    pub fn correlation(&self) -> Option<&str> {
        Some(self.0.service.correlation()).filter(|id| !id.is_empty())
    }

    /// The HTTP status, if there was a response. For logs: [`fault`](Self::fault) says what it means.
    pub fn status(&self) -> Option<u16> {
        self.0.service.status()
    }

    /// How long no token is requested again: the endpoint's `Retry-After`, or the client's own back-off.
    pub fn wait(&self) -> Duration {
        self.0.wait
    }

    /// A response without a token.
    pub(super) fn from_response(status: StatusCode, response: ErrorResponse, backoff: Backoff) -> Self {
        let fault = match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => CredentialFault::Unavailable,
            status if status.is_client_error() && response.code != Some("temporarily_unavailable") => {
                CredentialFault::Configuration
            }
            _ => CredentialFault::Unavailable,
        };
        let failure = Failure {
            status: Some(status),
            code: response.code.map(str::to_owned),
            retry_after: response.retry_after,
            correlation: response.correlation.unwrap_or_default(),
            ..Failure::new(fault)
        };
        Self::new(failure, response.error_codes, backoff)
    }

    /// There is no response, or none that can be read.
    pub(super) fn no_response(source: impl Into<BoxError>, backoff: Backoff) -> Self {
        Self::new(
            Failure::from_source(CredentialFault::Unavailable, source),
            Vec::new(),
            backoff,
        )
    }

    /// There is no client credential to send.
    pub(super) fn no_client_auth(error: ClientAuthError, backoff: Backoff) -> Self {
        let fault = match &error {
            ClientAuthError::Configuration(_) => CredentialFault::Configuration,
            ClientAuthError::Unavailable(_) => CredentialFault::Unavailable,
        };
        Self::new(Failure::from_source(fault, error), Vec::new(), backoff)
    }

    fn new(failure: Failure<CredentialFault>, error_codes: Vec<u64>, backoff: Backoff) -> Self {
        Self(Arc::new(Inner {
            wait: backoff.wait(failure.reason, failure.retry_after),
            service: failure.into(),
            error_codes,
        }))
    }

    /// Whether the endpoint rejected the client credential, so that another one may be accepted.
    pub(super) fn rejects_client_auth(&self) -> bool {
        self.code() == Some("invalid_client") || self.status() == Some(StatusCode::UNAUTHORIZED.as_u16())
    }
}

impl fmt::Display for CredentialFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Configuration => "no token for the bot, as it is registered or configured",
            Self::Unavailable => "no token for the bot now",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codes = self.error_codes().iter().map(|code| format!("AADSTS{code}"));
        let correlation = self.correlation().map(|id| format!("correlation {id}"));
        self.0.service.fmt_with(formatter, codes.chain(correlation))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Error")
            .field("service", &self.0.service)
            .field("error_codes", &self.0.error_codes)
            .field("wait", &self.0.wait)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.service.source()
    }
}
