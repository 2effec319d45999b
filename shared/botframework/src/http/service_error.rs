//! The error of a request to a REST service: the reason for callers, the details for logs.

use std::fmt;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};

use super::transport::BoxError;
use super::{ErrorBody, RetryAfter};

/// A failed request to a REST service, with the service's own reasons `R`.
///
/// `Display` leaves out the service's message, which may quote the request: see [`message`](Self::message).
pub struct ServiceError<R>(Box<Failure<R>>);

/// The content of a [`ServiceError`].
pub(crate) struct Failure<R> {
    pub(crate) reason: R,
    pub(crate) status: Option<StatusCode>,
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) retry_after: Option<RetryAfter>,
    pub(crate) correlation: String,
    pub(crate) source: Option<BoxError>,
}

impl<R> Failure<R> {
    pub(crate) const fn new(reason: R) -> Self {
        Self {
            reason,
            status: None,
            code: None,
            message: None,
            retry_after: None,
            correlation: String::new(),
            source: None,
        }
    }

    /// A failure without a response, or with one that cannot be read.
    pub(crate) fn from_source(reason: R, source: impl Into<BoxError>) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::new(reason)
        }
    }

    /// A failure that the service reports, in the response or in an entry of it.
    pub(crate) fn from_body(reason: R, body: ErrorBody) -> Self {
        Self {
            code: body.codes.into_iter().next(),
            message: body.message,
            ..Self::new(reason)
        }
    }

    /// Adds the status of a response and those of the headers `names` that are present.
    pub(crate) fn with_response(self, status: StatusCode, headers: &HeaderMap, names: &[&str]) -> Self {
        Self {
            status: Some(status),
            correlation: super::correlation(headers, names),
            ..self
        }
    }
}

impl<R> From<Failure<R>> for ServiceError<R> {
    fn from(failure: Failure<R>) -> Self {
        Self(Box::new(failure))
    }
}

impl<R: Copy> ServiceError<R> {
    /// Why the request failed.
    pub fn reason(&self) -> R {
        self.0.reason
    }
}

impl<R> ServiceError<R> {
    /// The service's error code, such as `BotNotInConversationRoster`.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The service's error message. It may name people or quote the request: show it to the caller, keep it out of logs.
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// The HTTP status, if there was a response. For logs: the reason already says what it means.
    pub fn status(&self) -> Option<u16> {
        self.0.status.map(|status| status.as_u16())
    }

    /// The `Retry-After` of the response, or the time until a token can be requested again.
    pub fn retry_after(&self) -> Option<RetryAfter> {
        self.0.retry_after
    }

    /// The delay left at `now` until the request may be repeated, if the service names one.
    pub fn retry_after_from(&self, now: SystemTime) -> Option<Duration> {
        self.0.retry_after.map(|retry_after| retry_after.delay(now))
    }

    /// The correlation headers of the response, `name=value` joined by spaces. For logs; empty without a response.
    pub fn correlation(&self) -> &str {
        &self.0.correlation
    }
}

impl<R: fmt::Display> ServiceError<R> {
    /// `Display` with `details` after the status and the code. Without a response there are none.
    pub(crate) fn fmt_with(
        &self,
        formatter: &mut fmt::Formatter<'_>,
        details: impl Iterator<Item = String>,
    ) -> fmt::Result {
        self.0.reason.fmt(formatter)?;
        let Some(status) = self.0.status else {
            return Ok(());
        };
        write!(formatter, " (status {}", status.as_u16())?;
        for detail in self.0.code.iter().cloned().chain(details) {
            write!(formatter, ", {detail}")?;
        }
        formatter.write_str(")")
    }
}

impl<R: fmt::Display> fmt::Display for ServiceError<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_with(formatter, std::iter::empty())
    }
}

impl<R: fmt::Debug> fmt::Debug for ServiceError<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServiceError")
            .field("reason", &self.0.reason)
            .field("status", &self.status())
            .field("code", &self.0.code)
            .field("retry_after", &self.0.retry_after)
            .field("correlation", &self.0.correlation)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl<R: fmt::Debug + fmt::Display> std::error::Error for ServiceError<R> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
