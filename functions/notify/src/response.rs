//! Responses: JSON documents, texts, and errors as problem documents.

use herald::event;
use herald::problem::Problem;
use herald::queue;
use herald::store;
use herald::telemetry::chain;
use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Response};
use serde::Serialize;

/// Why a request failed.
pub(crate) enum ApiError {
    /// The request is wrong.
    Problem(Problem),
    /// The resource has these methods only.
    Method(String),
    /// A table or queue is unavailable, and nothing was changed.
    Unavailable(Cause),
    /// A table or queue became unavailable after a change was stored. Repeating the request propagates the change.
    Unfinished(Cause),
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Refused { .. } => Problem::too_long().into(),
            store::Error::Unavailable { .. } | store::Error::Corrupt { .. } => {
                Self::Unavailable(error.into())
            }
        }
    }
}

impl From<queue::Error> for ApiError {
    fn from(error: queue::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<event::Error> for ApiError {
    fn from(error: event::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

impl ApiError {
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, detail).into()
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::NOT_FOUND, detail).into()
    }

    pub(crate) fn no_resource() -> Self {
        Self::not_found("There is nothing at this path.")
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::FORBIDDEN, detail).into()
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::CONFLICT, detail).into()
    }

    /// The same error after a change was stored.
    pub(crate) fn after_a_change(self) -> Self {
        match self {
            Self::Unavailable(cause) => Self::Unfinished(cause),
            Self::Problem(_) | Self::Method(_) | Self::Unfinished(_) => self,
        }
    }

    pub(crate) fn respond(self) -> Response<Body> {
        match self {
            Self::Problem(problem) => problem.into_response(),
            Self::Method(allowed) => {
                let detail = format!("This resource answers {allowed} only.");
                let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).into_response();
                if let Ok(allowed) = HeaderValue::from_str(&allowed) {
                    response.headers_mut().insert(header::ALLOW, allowed);
                }
                response
            }
            Self::Unavailable(error) => {
                tracing::error!(error_type = "AcceptanceFailed", error = %chain(&*error), "a table or queue is unavailable; nothing was accepted");
                Problem::unavailable().into_response()
            }
            Self::Unfinished(error) => {
                tracing::error!(error_type = "ChangeNotPropagated", error = %chain(&*error), "a stored change was not propagated");
                Problem::unfinished().into_response()
            }
        }
    }
}

pub(crate) fn json<T: Serialize>(status: StatusCode, document: &T) -> Response<Body> {
    // Documents hold strings, numbers and maps with string keys, which JSON can represent.
    let text = serde_json::to_string(document).unwrap_or_default();
    of_type(status, "application/json", text)
}

pub(crate) fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

pub(crate) fn of_type(status: StatusCode, content_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::Text(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
