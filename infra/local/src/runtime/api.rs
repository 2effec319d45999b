//! The Lambda Runtime API over HTTP, one path prefix for each process: `/{function}/{process}/2018-06-01/runtime/…`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{
    Failure,
    session::{NotRunning, Session},
};
use crate::clock;

/// The largest response of a function, in bytes.
const ANSWER_BYTES: usize = 6 * 1024 * 1024;

/// The sessions, by process id.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<Mutex<HashMap<String, Arc<Session>>>>);

impl Sessions {
    pub(super) fn insert(&self, process: &str, session: Arc<Session>) {
        self.lock().insert(process.to_owned(), session);
    }

    pub(super) fn remove(&self, process: &str) {
        self.lock().remove(process);
    }

    fn get(&self, process: &str) -> Result<Arc<Session>, StatusCode> {
        self.lock().get(process).cloned().ok_or(StatusCode::FORBIDDEN)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn router(sessions: Sessions) -> Router {
    let api = Router::new()
        .route("/invocation/next", get(next))
        .route("/invocation/{request}/response", post(response))
        .route("/invocation/{request}/error", post(error))
        .route("/init/error", post(init_error))
        // The handler checks the size itself, so the waiting caller gets the error.
        .layer(DefaultBodyLimit::disable())
        .with_state(sessions);
    Router::new().nest("/{function}/{process}/2018-06-01/runtime", api)
}

async fn next(
    State(sessions): State<Sessions>,
    Path((_, process)): Path<(String, String)>,
) -> Result<Response, StatusCode> {
    let session = sessions.get(&process)?;
    let (request_id, payload) = session.next().await.ok_or(StatusCode::GONE)?;
    let now = clock::now();
    let deadline_ms = now.as_millisecond() + i64::try_from(session.timeout.as_millis()).unwrap_or(i64::MAX);
    let random = uuid::Uuid::new_v4().simple().to_string();
    let trace = format!(
        "Root=1-{:08x}-{};Parent={};Sampled=0",
        now.as_second(),
        &random[..24],
        &random[16..]
    );
    let headers = [
        ("lambda-runtime-aws-request-id", request_id),
        ("lambda-runtime-deadline-ms", deadline_ms.to_string()),
        ("lambda-runtime-invoked-function-arn", session.arn.clone()),
        ("lambda-runtime-trace-id", trace),
        ("content-type", "application/json".into()),
    ];
    Ok((headers, payload).into_response())
}

async fn response(
    State(sessions): State<Sessions>,
    Path((_, process, request)): Path<(String, String, String)>,
    body: Bytes,
) -> Result<Response, StatusCode> {
    let session = sessions.get(&process)?;
    let size = body.len();
    let (answer, status) = if size > ANSWER_BYTES {
        let message = format!("the answer of {size} bytes is larger than {ANSWER_BYTES}");
        let failure = Failure::Handler {
            kind: "Function.ResponseSizeTooLarge".into(),
            message,
        };
        (Err(failure), StatusCode::PAYLOAD_TOO_LARGE)
    } else {
        (Ok(body), StatusCode::ACCEPTED)
    };
    Ok(taken(&session, &request, answer, status))
}

async fn error(
    State(sessions): State<Sessions>,
    Path((_, process, request)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, StatusCode> {
    let session = sessions.get(&process)?;
    Ok(taken(
        &session,
        &request,
        Err(diagnosis(&headers, &body)),
        StatusCode::ACCEPTED,
    ))
}

async fn init_error(
    State(sessions): State<Sessions>,
    Path((_, process)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, StatusCode> {
    let session = sessions.get(&process)?;
    session.record_last_line(&diagnosis(&headers, &body).to_string());
    Ok(StatusCode::ACCEPTED)
}

fn taken(session: &Session, request: &str, answer: Result<Bytes, Failure>, status: StatusCode) -> Response {
    let (status, body) = match session.answer(request, answer) {
        Ok(()) => (status, json!({ "status": "OK" })),
        Err(NotRunning) => (
            StatusCode::BAD_REQUEST,
            json!({ "errorType": "InvalidRequestID", "errorMessage": "Invalid request ID" }),
        ),
    };
    (status, body.to_string()).into_response()
}

/// The error that a function reports: Lambda's error document in the body, or the type in the header.
fn diagnosis(headers: &HeaderMap, body: &[u8]) -> Failure {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let header = headers
        .get("lambda-runtime-function-error-type")
        .and_then(|kind| kind.to_str().ok());
    Failure::Handler {
        kind: text("errorType")
            .or(header.map(str::to_owned))
            .unwrap_or_else(|| "Unknown".into()),
        message: text("errorMessage").unwrap_or_default(),
    }
}
