//! What a failed operation says: its name and AWS' error code. The service's message may quote the request, and is dropped.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::error::operation::BuildError;

/// The longest error code that is passed on, in bytes.
const CODE_BYTES_MAX: usize = 64;

/// Why an AWS operation failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{operation} cannot be requested")]
    Request {
        operation: &'static str,
        source: BoxError,
    },
    #[error("{operation} timed out")]
    Timeout { operation: &'static str },
    #[error("{operation} got no response")]
    NoResponse {
        operation: &'static str,
        source: BoxError,
    },
    #[error("{operation} was refused with {code} (status {status})")]
    Refused {
        operation: &'static str,
        status: u16,
        code: String,
    },
    #[error("{operation} returned an unreadable response")]
    Unreadable { operation: &'static str },
    /// The secret or token that was requested is absent from the response, or is no text.
    #[error("{operation} returned no text")]
    NoText { operation: &'static str },
}

impl Error {
    pub(crate) fn new<E>(operation: &'static str, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        if let Some(response) = error.raw_response() {
            let status = response.status();
            return if status.is_success() {
                Self::Unreadable { operation }
            } else {
                let (status, code) = (status.as_u16(), sanitize_code(error.code()));
                Self::Refused {
                    operation,
                    status,
                    code,
                }
            };
        }
        match error {
            SdkError::TimeoutError(_) => Self::Timeout { operation },
            SdkError::ConstructionFailure(_) => Self::Request {
                operation,
                source: error.into(),
            },
            _ => Self::NoResponse {
                operation,
                source: error.into(),
            },
        }
    }

    /// A required part of a request is missing.
    pub(crate) fn request(operation: &'static str, error: BuildError) -> Self {
        let source = Box::new(error);
        Self::Request { operation, source }
    }

    /// Whether the same operation may succeed the next time: no response, or the service was unable to serve us.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::NoResponse { .. } | Self::Unreadable { .. } => true,
            // Services that speak JSON throttle with a 400.
            Self::Refused { status, code, .. } => {
                !(400..500).contains(status) || *status == 429 || code.contains("Throttl")
            }
            Self::Request { .. } | Self::NoText { .. } => false,
        }
    }
}

/// The error code of a service, if it looks like one: nothing else of a response reaches a log.
pub(crate) fn sanitize_code(code: Option<&str>) -> String {
    let is_code = |code: &&str| {
        (1..=CODE_BYTES_MAX).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    code.filter(is_code).unwrap_or("no code").to_owned()
}
