//! What the APIs of the AWS services have in common: JSON requests, and errors by a code.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// An error of a service.
#[derive(Debug)]
pub(crate) struct ServiceError {
    pub(crate) status: StatusCode,
    /// The name that clients match on.
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl ServiceError {
    /// An error with the status 400.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> ServiceError {
        ServiceError {
            status: StatusCode::BAD_REQUEST,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn with_status(self, status: StatusCode) -> ServiceError {
        ServiceError { status, ..self }
    }
}

/// AWS's JSON protocol: a header names the operation, and the body of an error its code.
pub(crate) struct JsonProtocol {
    /// The prefix of an operation's name in the header `x-amz-target`.
    pub(crate) service: &'static str,
    /// The prefix of an error's code.
    pub(crate) namespace: &'static str,
    pub(crate) content_type: &'static str,
}

impl JsonProtocol {
    /// The operation that a request names; empty if it names none of this service.
    pub(crate) fn operation<'a>(&self, headers: &'a HeaderMap) -> &'a str {
        let target = headers
            .get("x-amz-target")
            .and_then(|target| target.to_str().ok());
        target
            .and_then(|target| target.strip_prefix(self.service))
            .unwrap_or_default()
    }

    pub(crate) fn respond(&self, outcome: Result<Value, ServiceError>) -> Response {
        let (status, body) = match outcome {
            Ok(answer) => (StatusCode::OK, answer),
            Err(error) => {
                let code = format!("{}{}", self.namespace, error.code);
                (error.status, json!({ "__type": code, "message": error.message }))
            }
        };
        let request_id = uuid::Uuid::new_v4().to_string();
        let headers = [
            (CONTENT_TYPE.as_str(), self.content_type),
            ("x-amzn-requestid", &request_id),
        ];
        (status, headers, body.to_string()).into_response()
    }
}

/// The body of a request.
pub(crate) fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, ServiceError> {
    serde_json::from_slice(body)
        .map_err(|error| ServiceError::new("SerializationException", error.to_string()))
}
