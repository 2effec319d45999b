//! Why there is no token, told without a word that could hold a secret.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::client_auth::ClientAuthError;
use crate::http::{BoxError, RetryAfter};

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Somebody has to put the bot's registration or configuration right; until then no request of the bot can
    /// succeed, and none is lost by waiting.
    Configuration,
    /// The token endpoint, or what keeps the proof, is away or asks to wait. It comes back by itself.
    Unavailable,
}

/// There is no token for the bot. Cheap to clone: whoever waits for one token is told of one failure.
///
/// The endpoint's own description is never kept: it may quote what was sent. What is kept are words of a fixed
/// list, numbers and a correlation id.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    fault: Fault,
    status: Option<StatusCode>,
    code: Option<&'static str>,
    error_codes: Vec<u64>,
    correlation: Option<String>,
    wait: Duration,
    source: Option<BoxError>,
}

/// What a token endpoint that gives no token says about it.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    pub(super) code: Option<&'static str>,
    pub(super) error_codes: Vec<u64>,
    pub(super) correlation: Option<String>,
    pub(super) retry_after: Option<RetryAfter>,
}

/// How long to wait after a failure that names no time of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Failures one after another before this one.
    pub(super) failures: u32,
    pub(super) now: SystemTime,
}

impl Patience {
    /// The shortest and the longest wait. A `Retry-After` beyond is cut, so that nothing the other side says
    /// can stop the bot for good.
    const BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(15));

    /// A minute when somebody has to act; else a second, doubled with each failure, at most a minute.
    fn wait(self, fault: Fault, retry_after: Option<RetryAfter>) -> Duration {
        const MINUTE: Duration = Duration::from_mins(1);
        let (shortest, longest) = Self::BOUNDS;
        match (retry_after, fault) {
            (Some(asked), _) => asked.delay(self.now).clamp(shortest, longest),
            (None, Fault::Configuration) => MINUTE,
            (None, Fault::Unavailable) => (shortest * (1 << self.failures.min(6))).min(MINUTE),
        }
    }
}

impl Error {
    /// Whether it mends itself.
    pub fn fault(&self) -> Fault {
        self.0.fault
    }

    /// The endpoint's word for it, of those that OAuth 2.0 and Entra know, such as `invalid_client`.
    pub fn code(&self) -> Option<&'static str> {
        self.0.code
    }

    /// Entra's numbers for it, such as 7000215 (`AADSTS7000215`, a wrong secret).
    pub fn error_codes(&self) -> &[u64] {
        &self.0.error_codes
    }

    /// The id by which Microsoft finds the request again.
    pub fn correlation(&self) -> Option<&str> {
        self.0.correlation.as_deref()
    }

    /// The HTTP status, if there was an answer. For logs: [`fault`](Self::fault) says what it means.
    pub fn status(&self) -> Option<u16> {
        self.0.status.map(|status| status.as_u16())
    }

    /// How long asking again is of no use: what the endpoint asked for, or what we choose.
    pub fn wait(&self) -> Duration {
        self.0.wait
    }

    /// The endpoint answered, and brought no token.
    pub(super) fn refused(status: StatusCode, refusal: Refusal, patience: Patience) -> Self {
        let fault = match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Fault::Unavailable,
            status if status.is_client_error() && refusal.code != Some("temporarily_unavailable") => {
                Fault::Configuration
            }
            _ => Fault::Unavailable,
        };
        Self(Arc::new(Inner {
            fault,
            status: Some(status),
            code: refusal.code,
            error_codes: refusal.error_codes,
            correlation: refusal.correlation,
            wait: patience.wait(fault, refusal.retry_after),
            source: None,
        }))
    }

    /// There was no answer, or none that can be read.
    pub(super) fn unanswered(source: impl Into<BoxError>, patience: Patience) -> Self {
        Self::without_answer(Fault::Unavailable, source.into(), patience)
    }

    /// There was nothing to ask with.
    pub(super) fn unproved(error: ClientAuthError, patience: Patience) -> Self {
        let fault = match &error {
            ClientAuthError::Configuration(_) => Fault::Configuration,
            ClientAuthError::Unavailable(_) => Fault::Unavailable,
        };
        Self::without_answer(fault, Box::new(error), patience)
    }

    fn without_answer(fault: Fault, source: BoxError, patience: Patience) -> Self {
        Self(Arc::new(Inner {
            fault,
            status: None,
            code: None,
            error_codes: Vec::new(),
            correlation: None,
            wait: patience.wait(fault, None),
            source: Some(source),
        }))
    }

    /// Whether it was the proof that was refused, so that another one may do.
    pub(super) fn refuses_proof(&self) -> bool {
        self.0.code == Some("invalid_client") || self.0.status == Some(StatusCode::UNAUTHORIZED)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0.fault {
            Fault::Configuration => "no token for the bot, as it is registered or configured",
            Fault::Unavailable => "no token for the bot now",
        })?;
        if let Some(status) = self.0.status {
            write!(formatter, " (status {}", status.as_u16())?;
            if let Some(code) = self.0.code {
                write!(formatter, ", {code}")?;
            }
            for code in &self.0.error_codes {
                write!(formatter, ", AADSTS{code}")?;
            }
            if let Some(correlation) = &self.0.correlation {
                write!(formatter, ", correlation {correlation}")?;
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
            .field("fault", &self.0.fault)
            .field("status", &self.status())
            .field("code", &self.0.code)
            .field("error_codes", &self.0.error_codes)
            .field("correlation", &self.0.correlation)
            .field("wait", &self.0.wait)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
