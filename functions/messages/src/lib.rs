//! The messaging endpoint: stores every conversation that an activity names, then runs the bot's turn.
//!
//! ```text
//! POST /api/messages ── parse ── authenticate ── record (durable) ── turn ──▶ 200
//! ```
//!
//! The durable write comes before the response: Lambda freezes an execution environment once it has responded, so a later
//! write may never happen. The channel waits about 15 seconds; the handler waits for nothing but the table and the bot's own
//! requests.

use std::time::{Duration, SystemTime};

use botframework::activity::Activity;
use botframework::auth::Authenticator;
use botframework::turn::{Adapter, TurnResponse};
use herald::clock::{Clock, Random};
use herald::config::{self, Environment, http_transport, variable};
use herald::store::{Conversations, dynamodb};
use herald::telemetry::chain;
use herald::{aws, credential, inbound};
use lambda_http::http::{HeaderValue, Method, StatusCode, header};
use lambda_http::{Body, Request, Response};

pub mod bot;
mod tags;

pub use tags::{TagResult, Tags};

/// The largest accepted activity, in bytes. Teams' own limit for a message is about 100 KB (`PROTOCOL.md#b1`).
pub const ACTIVITY_MAX_BYTES: usize = 1024 * 1024;

/// How long one request of the bot may take. The function ends after 15 seconds, and the channel waits no longer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// The dependencies of [`handle`].
#[derive(Debug)]
pub struct Context<C> {
    /// The table of conversations, which each activity is recorded in.
    pub store: C,
    /// Authenticates senders and checks their service URLs.
    pub authenticator: Authenticator,
    /// Runs the bot's turn and sends its replies.
    pub adapter: Adapter,
    /// Decides whether a token has expired, and dates the records.
    pub clock: Clock,
}

impl Context<dynamodb::Conversations> {
    /// The context of the deployed function.
    ///
    /// # Errors
    /// When a variable is missing or invalid; it names it.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, config::Error> {
        let transport = http_transport(environment).timeout(REPLY_TIMEOUT).build()?;
        let sdk = aws::Sdk::new(environment, &transport)?;
        Ok(Self {
            store: dynamodb::Conversations::new(&sdk, environment.required(variable::CONVERSATIONS_TABLE)?),
            authenticator: environment.authenticator(&transport, &Random::system())?,
            adapter: Adapter::new(credential::connector(
                environment,
                &transport,
                &Clock::system(),
                &Random::system(),
            )?),
            clock: Clock::system(),
        })
    }
}

impl<C> Context<C> {
    /// Fetches the signing keys that the first request needs. Run it beside the start of the runtime.
    ///
    /// It does not fetch the bot's token: unauthenticated requests can start environments, and must not cause token
    /// requests.
    pub async fn prefetch(&self) {
        self.authenticator.prefetch(self.now()).await;
    }

    fn now(&self) -> SystemTime {
        self.clock.now().into()
    }
}

/// Answers a request to the messaging endpoint: an activity, or a health check.
pub async fn handle<C: Conversations>(context: &Context<C>, request: Request) -> Response<Body> {
    match *request.method() {
        Method::POST => {}
        // Health checks, and people who open the address in a browser.
        Method::GET | Method::HEAD => return greeting(),
        _ => return not_allowed(),
    }
    let activity = match parse(&request) {
        Ok(activity) => activity,
        Err(refused) => return status(refused),
    };
    let now = context.now();
    let activity = match context
        .authenticator
        .authenticate(request.headers(), activity, now)
        .await
    {
        Ok(activity) => activity,
        Err(denied) => {
            // The caller learns the status, the log the reason.
            tracing::warn!(error_type = denied.error_type(), error = %chain(&denied), "activity refused");
            return status(denied.status());
        }
    };
    if let Err(error) = inbound::record(&context.store, &context.clock, &activity).await {
        tracing::error!(error_type = "StoreUnavailable", error = %chain(&error), "activity not recorded");
        return status(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let tags = Tags::new(&context.store, &context.clock, &activity);
    match context.adapter.process(&activity, &bot::Bot { tags }).await {
        Ok(response) => respond(&response),
        Err(error) => {
            tracing::error!(error_type = "TurnFailed", error = %chain(&error), "the bot's turn failed");
            status(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn parse(request: &Request) -> Result<Activity, StatusCode> {
    let body = match request.body() {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        _ => &[],
    };
    if body.len() > ACTIVITY_MAX_BYTES {
        tracing::warn!(
            error_type = "ActivityTooLarge",
            body_bytes = body.len(),
            "activity refused"
        );
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    Activity::from_slice(body).map_err(|error| {
        tracing::warn!(error_type = "ActivityMalformed", %error, "activity refused");
        StatusCode::BAD_REQUEST
    })
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

fn respond(turn: &TurnResponse) -> Response<Body> {
    let mut response = status(StatusCode::from_u16(turn.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    if let Some(body) = &turn.body {
        *response.body_mut() = Body::Text(body.to_string());
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

fn greeting() -> Response<Body> {
    let mut response = status(StatusCode::OK);
    *response.body_mut() =
        Body::Text("This is a bot's messaging endpoint. Channels POST activities here.\n".to_owned());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn not_allowed() -> Response<Body> {
    let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("POST, GET, HEAD"));
    response
}
