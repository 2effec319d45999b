//! `POST /api/notifications` and `GET /api/notify`: the HTTP side of [`herald::acceptance`].

use herald::acceptance::{self, Accepted, Acceptor, Origin, Repetition};
use herald::backend::Backend;
use herald::id::NotificationId;
use herald::notification::State;
use herald::problem::{Fault, Problem};
use herald::warning::Warning;
use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Request, Response};
use serde::Serialize;

use crate::request::document;
use crate::response::{ApiError, json, of_type};
use crate::{Context, caller};
use herald::audit::AuditAction;

/// The longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_MAX_BYTES: usize = 255;

/// The body of the 202.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    id: NotificationId,
    state: State,
    status_url: String,
    /// If the audience is counted first: a larger one is held until it is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_above: Option<u64>,
    /// Present and true if the request was accepted before, under the same `Idempotency-Key`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replayed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

impl From<Accepted> for Answer {
    fn from(accepted: Accepted) -> Self {
        Self {
            status_url: format!("/api/notifications/{}", accepted.id),
            id: accepted.id,
            state: accepted.state,
            held_above: accepted.held_above,
            replayed: accepted.replayed,
            warnings: accepted.warnings,
        }
    }
}

impl<B: Backend> Context<B> {
    /// `POST /api/notifications`
    pub(crate) async fn create(&self, request: &Request) -> Result<Response<Body>, ApiError> {
        let document = document(request)?;
        let origin = Origin {
            caller: caller::of(request),
            schedule: None,
            idempotency_key: idempotency_key(request)?,
            repetition: Repetition::SameDocument,
        };
        let caller = origin.caller.clone();
        let accepted = self.acceptor().accept_document(&document, origin).await?;
        if !accepted.replayed {
            AuditAction::Accept.of_notification(&caller, &accepted.id, None);
        }
        let answer = Answer::from(accepted);
        let mut response = json(StatusCode::ACCEPTED, &answer);
        if let Ok(location) = HeaderValue::from_str(&answer.status_url) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(response)
    }

    /// `GET /api/notify`: the trigger of the Bot Framework's sample.
    pub(crate) async fn legacy_trigger(&self, request: &Request) -> Result<Response<Body>, ApiError> {
        let document =
            serde_json::json!({"audience": {"everyone": true}, "message": {"text": self.legacy_text}});
        let caller = caller::of(request);
        let origin = Origin {
            caller: caller.clone(),
            schedule: None,
            idempotency_key: None,
            repetition: Repetition::SameDocument,
        };
        let accepted = self.acceptor().accept_document(&document.into(), origin).await?;
        AuditAction::Accept.of_notification(&caller, &accepted.id, None);
        let page = legacy_page(&accepted.id, accepted.held_above);
        Ok(of_type(StatusCode::OK, "text/html; charset=utf-8", page))
    }

    pub(crate) fn acceptor(&self) -> Acceptor<'_, B> {
        Acceptor {
            notifications: &self.notifications,
            conversations: &self.conversations,
            registry: &self.registry,
            plans: &self.plans,
            settings: &self.settings,
            clock: &self.clock,
            random: &self.random,
        }
    }
}

impl From<acceptance::Error> for ApiError {
    fn from(error: acceptance::Error) -> Self {
        if let Some(problem) = error.refusal() {
            return problem.into();
        }
        match error {
            acceptance::Error::Store(error) => error.into(),
            acceptance::Error::Queue(error) => error.into(),
            acceptance::Error::Unknown
            | acceptance::Error::Invalid(_)
            | acceptance::Error::Forbidden(_)
            | acceptance::Error::Conflict(_) => Problem::undecided().into(),
        }
    }
}

/// The page of the Bot Framework's sample for proactive messages. It says what is known by now: nothing was sent yet.
fn legacy_page(id: &NotificationId, held_above: Option<u64>) -> String {
    let held = held_above.map_or_else(String::new, |above| {
        format!(" If more than {above} conversations are remembered, nothing is sent until it is confirmed.")
    });
    format!(
        "<html><body><h1>Proactive messages have been accepted.</h1><p>They are notification \
         <a href=\"/api/notifications/{id}\">{id}</a>.{held}</p></body></html>"
    )
}

fn idempotency_key(request: &Request) -> Result<Option<&str>, Problem> {
    let Some(value) = request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default();
    if !(1..=IDEMPOTENCY_KEY_MAX_BYTES).contains(&key.len()) {
        let detail = format!("must have 1 to {IDEMPOTENCY_KEY_MAX_BYTES} ASCII characters");
        return Err(Problem {
            errors: vec![Fault::new("Idempotency-Key", detail)],
            ..Problem::new(StatusCode::BAD_REQUEST, "A header is invalid.")
        });
    }
    Ok(Some(key))
}
