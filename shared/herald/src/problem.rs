//! HTTP errors as problem documents (RFC 9457).
//!
//! What a caller may read stands in the [`Problem`]; what only an operator may read goes to the log where the failure
//! is handled. Nothing from a cause ever reaches the document.

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

/// One thing that is wrong with a request, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The place in the body, as a JSON pointer in a URI fragment (`#/audience/0/users/3`), as RFC 9457 shows it.
    pub pointer: String,
    /// What is wrong there and what would be right. Never the value itself.
    pub detail: String,
}

impl Fault {
    /// A fault at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

/// The JSON pointer of a member, whose name may hold anything.
pub fn pointer(of: &str, member: &str) -> String {
    format!("{of}/{}", member.replace('~', "~0").replace('/', "~1"))
}

/// What is wrong with a request, as far as anybody reads: at most [`Faults::MAX`], however long the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// The most faults that are told.
    pub const MAX: usize = 20;

    /// Notes one more fault, if there is room.
    pub fn note(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        if !self.are_full() {
            self.0.push(Fault::new(pointer, detail));
        }
    }

    /// Whether no more will be told, so that nobody need look for more.
    pub fn are_full(&self) -> bool {
        self.0.len() >= Self::MAX
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// `value` if there is no fault, else the faults.
    ///
    /// # Errors
    /// With the faults.
    pub fn none_in<T>(self, value: Option<T>) -> Result<T, Vec<Fault>> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self.0),
        }
    }
}

/// A problem document. `type` is left out, which RFC 9457 reads as `about:blank`: the status says it all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The status' own words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What to do about it, in a sentence.
    pub detail: String,
    /// Each thing that is wrong with the body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

impl Problem {
    /// A problem of this status.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    /// The body is JSON, but not a request we can take.
    pub fn invalid(errors: Vec<Fault>) -> Self {
        Self {
            errors,
            ..Self::new(
                StatusCode::BAD_REQUEST,
                "The request has fields that must be mended.",
            )
        }
    }

    /// Our tables or queues went away in the middle: what became of the request is not known.
    pub fn undecided() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Whether the notification was accepted is not known. With an Idempotency-Key it can be repeated safely.",
        )
    }

    /// Our tables or queues went away after a change was written and before everybody was told. Repeating the request
    /// finishes it.
    pub fn unfinished() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The change stands, but was not passed on to everybody. Repeat the request in a moment: it finishes what this one began.",
        )
    }

    /// Our tables or queues are away. Nothing was taken; the same request may be repeated.
    pub fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Nothing was accepted. Repeat the request in a moment.",
        )
    }

    /// The document as an HTTP answer.
    pub fn into_response<B: From<String>>(self) -> Response<B> {
        let body = serde_json::to_string(&self).unwrap_or_default();
        let mut response = Response::new(B::from(body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}
