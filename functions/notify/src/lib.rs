//! The notification API: what a caller asks for is checked whole, stored whole, and planned later.
//!
//! | request | answer |
//! |---|---|
//! | `POST /api/notifications` | 202 `{id, state, statusUrl}` |
//! | `GET /api/notifications/{id}` | 200, state and counts |
//! | `GET /api/notify` | 200, the classic sample's page; sends the configured text to everyone |
//!
//! Problems are RFC 9457 documents. A 202 is a promise: the notification is in the table, and on the queue.

use std::time::Duration;

use botframework::activity::Activity;
use botframework::connector::HttpTransport;
use herald::audience::{Audience, Selector};
use herald::aws;
use herald::clock::{Chance, Clock};
use herald::config::{self, Environment, variable};
use herald::delivery::{OnUnknown, Tally};
use herald::id::{NotificationId, digest};
use herald::notification::request::{Request as Asked, SENT_FOR_MAX};
use herald::notification::{Notification, State};
use herald::problem::{Fault, Problem};
use herald::queue::{self, Message, Plan, Queue, sqs};
use herald::store::{self, Acceptance, Accepted, Idempotency, Notifications, dynamodb};
use herald::telemetry::chain;
use jiff::{SignedDuration, Timestamp};
use lambda_http::http::{HeaderValue, Method, StatusCode, header};
use lambda_http::{Body, Request, Response};
use serde::Serialize;

mod caller;

/// The largest request body, in bytes.
pub const BODY_MAX_BYTES: usize = 1024 * 1024;

/// The longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_MAX_BYTES: usize = 255;

/// How long a key names its request.
const IDEMPOTENCY_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// What the classic sample sends.
const CLASSIC_TEXT: &str = "proactive hello";

/// What the classic sample answers.
const CLASSIC_PAGE: &str = "<html><body><h1>Proactive messages have been sent.</h1></body></html>";

/// What the handler works with.
#[derive(Debug)]
pub struct Context<S, Q> {
    /// Where notifications are kept.
    pub store: S,
    /// The queue to the planner.
    pub plans: Q,
    /// What `GET /api/notify` sends.
    pub classic_text: String,
    /// The time.
    pub clock: Clock,
    /// Chance for fresh ids.
    pub chance: Chance,
}

impl Context<dynamodb::Notifications, sqs::Queue> {
    /// The context of the deployed function.
    ///
    /// # Errors
    /// When a variable is missing or wrong; it names it.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, config::Error> {
        let sdk = aws::Sdk::new(environment, &HttpTransport::builder().build()?)?;
        Ok(Self {
            store: dynamodb::Notifications::new(&sdk, environment.required(variable::NOTIFICATIONS_TABLE)?),
            plans: sqs::Queue::new(&sdk, environment.required(variable::PLANS_QUEUE_URL)?),
            classic_text: environment
                .optional(variable::NOTIFY_TEXT)
                .unwrap_or_else(|| CLASSIC_TEXT.to_owned()),
            clock: Clock::system(),
            chance: Chance::system(),
        })
    }
}

/// Answers one request. It never fails: whatever happens has a status.
pub async fn handle<S: Notifications, Q: Queue>(context: &Context<S, Q>, request: Request) -> Response<Body> {
    let path = request.uri().path().trim_end_matches('/').to_owned();
    let answer = match (request.method(), path.as_str()) {
        (&Method::POST, "/api/notifications") => ask(context, &request).await,
        (_, "/api/notifications") => Err(not_allowed("POST")),
        (&Method::GET, "/api/notify") => classic(context, &request).await,
        (_, "/api/notify") => Err(not_allowed("GET")),
        (method, path) => match (method, path.strip_prefix("/api/notifications/")) {
            (&Method::GET, Some(id)) => show(context, id).await,
            (_, Some(_)) => Err(not_allowed("GET")),
            (_, None) => Err(Problem::new(StatusCode::NOT_FOUND, "There is nothing at this path.").into()),
        },
    };
    answer.unwrap_or_else(Refusal::respond)
}

/// Why a request was not carried out.
enum Refusal {
    /// By the caller's doing.
    Problem(Problem),
    /// The method is not one of these.
    Method(&'static str),
    /// The tables or queues are away; the log says which.
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
}

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

fn not_allowed(allowed: &'static str) -> Refusal {
    Refusal::Method(allowed)
}

impl Refusal {
    fn respond(self) -> Response<Body> {
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
        }
    }
}

/// `POST /api/notifications`
async fn ask<S: Notifications, Q: Queue>(
    context: &Context<S, Q>,
    request: &Request,
) -> Result<Response<Body>, Refusal> {
    let body = bytes(request.body());
    if body.len() > BODY_MAX_BYTES {
        let detail = format!("The body may hold {BODY_MAX_BYTES} bytes, found {}.", body.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into());
    }
    let document: serde_json::Value = serde_json::from_slice(body).map_err(|error| {
        let detail = format!(
            "The body is not JSON: see line {}, column {}.",
            error.line(),
            error.column()
        );
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    let now = context.clock.now();
    let asked = Asked::parse(&document, now).map_err(Problem::invalid)?;
    let caller = caller::of(request);
    let key = idempotency_key(request)?;
    let idempotency = key.map(|key| Idempotency {
        // Each caller's keys are their own. No name of a caller has a line break in it.
        key: digest(format!("{}\n{key}", caller::principal(&caller)).as_bytes()),
        // Of the document, not of its bytes: a caller who repeats a request may well print it anew.
        body: digest(document.to_string().as_bytes()),
        until: now.saturating_add(IDEMPOTENCY_KEPT).unwrap_or(now),
    });
    let id = accept(context, asked, caller, idempotency, now).await?;
    let status_url = format!("/api/notifications/{id}");
    let answer = serde_json::json!({ "id": id, "state": State::Accepted, "statusUrl": status_url });
    let mut response = json(StatusCode::ACCEPTED, &answer);
    if let Ok(location) = HeaderValue::from_str(&status_url) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Stores the notification and enqueues its plan: both, or neither as far as the caller is told.
async fn accept<S: Notifications, Q: Queue>(
    context: &Context<S, Q>,
    asked: Asked,
    caller: String,
    idempotency: Option<Idempotency>,
    now: Timestamp,
) -> Result<NotificationId, Refusal> {
    let repeatable = idempotency.is_some();
    let id = NotificationId::fresh(now, context.chance.draw());
    let acceptance = Acceptance {
        notification: Notification::begin(id.clone(), now, caller, &asked),
        audience: asked.audience,
        message: asked.message,
        idempotency,
    };
    let id = match context.store.accept(&acceptance).await? {
        Accepted::New => id,
        Accepted::Conflict => {
            let detail = "This Idempotency-Key was used for another body. Use a new key for a new request.";
            return Err(Problem::new(StatusCode::CONFLICT, detail).into());
        }
        Accepted::Repeated(id) => match context.store.find(&id).await? {
            // The first request may have died between the table and the queue; then this one finishes its work.
            Some(earlier) if earlier.state() == State::Accepted => id,
            _ => return Ok(id),
        },
    };
    // One message, which is there or is not. The planner makes one for each part of it.
    let plan = Plan {
        notification: id.clone(),
        part: None,
        enqueued: None,
    };
    let Err(away) = context
        .plans
        .send(vec![Message::json(&plan, Duration::ZERO)])
        .await
    else {
        tracing::info!(notification = %id, parts = acceptance.notification.parts, "accepted");
        return Ok(id);
    };
    if repeatable {
        // The caller's repetition finds it and goes on.
        return Err(away.into());
    }
    match context.store.withdraw(&id).await {
        Ok(true) => Err(away.into()),
        // The answer was lost, not the message: it is being planned.
        Ok(false) => Ok(id),
        Err(error) => {
            tracing::error!(error_type = "Undecided", notification = %id, queue = %chain(&away), store = %chain(&error),
                "neither planned nor withdrawn for certain");
            Err(Problem::undecided().into())
        }
    }
}

/// `GET /api/notifications/{id}`
async fn show<S: Notifications, Q>(context: &Context<S, Q>, id: &str) -> Result<Response<Body>, Refusal> {
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "No notification has this id.");
    let id = id.parse::<NotificationId>().map_err(|_| unknown())?;
    let notification = context.store.find(&id).await?.ok_or_else(unknown)?;
    Ok(json(StatusCode::OK, &Status::of(&notification)))
}

/// `GET /api/notify`: the classic proactive sample's trigger.
async fn classic<S: Notifications, Q: Queue>(
    context: &Context<S, Q>,
    request: &Request,
) -> Result<Response<Body>, Refusal> {
    let now = context.clock.now();
    let asked = Asked {
        audience: Audience(vec![Selector::Everyone]),
        message: Activity::message(&*context.classic_text),
        category: None,
        on_unknown: OnUnknown::default(),
        expires_at: now.saturating_add(SENT_FOR_MAX).unwrap_or(Timestamp::MAX),
    };
    accept(context, asked, caller::of(request), None, now).await?;
    let mut response = Response::new(Body::Text(CLASSIC_PAGE.to_owned()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    Ok(response)
}

/// What a caller reads of a notification.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    id: &'a NotificationId,
    state: State,
    accepted_at: Timestamp,
    caller: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a str>,
    on_unknown: OnUnknown,
    expires_at: Timestamp,
    counts: Counts,
}

/// Always: audience = open and all the others together.
#[derive(Debug, Serialize)]
struct Counts {
    audience: u64,
    open: u64,
    #[serde(flatten)]
    ended: Tally,
}

impl<'a> Status<'a> {
    fn of(notification: &'a Notification) -> Self {
        Self {
            id: &notification.id,
            state: notification.state(),
            accepted_at: notification.accepted_at,
            caller: &notification.caller,
            category: notification.category.as_deref(),
            on_unknown: notification.on_unknown,
            expires_at: notification.expires_at,
            counts: Counts {
                audience: notification.audience,
                open: notification.open(),
                ended: notification.tally,
            },
        }
    }
}

fn idempotency_key(request: &Request) -> Result<Option<&str>, Problem> {
    let mut values = request.headers().get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default();
    if values.next().is_some() || !(1..=IDEMPOTENCY_KEY_MAX_BYTES).contains(&key.len()) {
        let detail = format!("must be sent once, with 1 to {IDEMPOTENCY_KEY_MAX_BYTES} ASCII characters");
        return Err(Problem {
            errors: vec![Fault::new("Idempotency-Key", detail)],
            ..Problem::new(StatusCode::BAD_REQUEST, "A header must be mended.")
        });
    }
    Ok(Some(key))
}

fn bytes(body: &Body) -> &[u8] {
    match body {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        _ => &[],
    }
}

fn json<T: Serialize>(status: StatusCode, document: &T) -> Response<Body> {
    // Strings, numbers and maps with string keys: nothing JSON cannot hold.
    let mut response = Response::new(Body::Text(serde_json::to_string(document).unwrap_or_default()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
