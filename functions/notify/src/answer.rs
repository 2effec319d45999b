//! What is answered: documents, and why a request was not carried out.

use herald::event;
use herald::problem::Problem;
use herald::queue;
use herald::store;
use herald::telemetry::chain;
use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Response};
use serde::Serialize;

/// Why a request was not carried out.
pub(crate) enum Refusal {
    /// By the caller's doing.
    Problem(Problem),
    /// The method is not one of these.
    Method(&'static str),
    /// The tables or queues are away; the log says which.
    Unavailable(Cause),
    /// They went away after a change was written: it stands, and is to be repeated until it is passed on.
    Unfinished(Cause),
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<queue::Error> for Refusal {
    fn from(error: queue::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<event::Error> for Refusal {
    fn from(error: event::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

impl Refusal {
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, detail).into()
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::NOT_FOUND, detail).into()
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::CONFLICT, detail).into()
    }

    /// The same after a change was written.
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
                response
                    .headers_mut()
                    .insert(header::ALLOW, HeaderValue::from_static(allowed));
                response
            }
            Self::Unavailable(error) => {
                tracing::error!(error_type = "NotAccepted", error = %chain(&*error), "tables or queues are away");
                Problem::unavailable().into_response()
            }
            Self::Unfinished(error) => {
                tracing::error!(error_type = "Unfinished", error = %chain(&*error), "a change stands and was not passed on");
                Problem::unfinished().into_response()
            }
        }
    }
}

/// A document as JSON.
pub(crate) fn json<T: Serialize>(status: StatusCode, document: &T) -> Response<Body> {
    // Strings, numbers and maps with string keys: nothing JSON cannot hold.
    let text = serde_json::to_string(document).unwrap_or_default();
    of_type(status, "application/json", text)
}

/// It is done, and there is nothing to say of it.
pub(crate) fn nothing() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A text of this content type.
pub(crate) fn of_type(status: StatusCode, content_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::Text(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
