//! The messaging endpoint: stores every conversation that an activity names, then runs the bot's turn.
//!
//! ```text
//! POST /api/messages ── token ── activity ── record (durable) ── turn, once ──▶ 200
//! ```
//!
//! The token is verified before the body is parsed. The durable write comes before the response: Lambda freezes an execution
//! environment once it has responded, so a later write may never happen. The channel waits about 15 seconds; the handler waits
//! for nothing but the table and the bot's own requests.

use std::time::{Duration, SystemTime};

use botframework::activity::{Activity, ChannelAccount};
use botframework::auth::{Authenticator, Denied, VerifiedActivity};
use botframework::id::{ActivityId, ChannelAccountId};
use botframework::teams::is_teams;
use botframework::turn::{Adapter, TurnResponse};
use herald::clock::{Clock, Random};
use herald::config::{self, Environment, http_transport, variable};
use herald::conversation::is_id;
use herald::problem::Problem;
use herald::store::{self, Conversations, dynamodb};
use herald::telemetry::chain;
use herald::{aws, credential, inbound};
use lambda_http::http::{HeaderValue, Method, StatusCode, header};
use lambda_http::{Body, Request, Response};

use turns::{Claim, ClaimedTurn, Turns};

pub mod bot;
mod tags;
mod topics;
mod turns;

pub use tags::{TagResult, Tags};
pub use topics::Topics;
pub use turns::Welcome;

/// The largest accepted activity, in bytes. Teams' own limit for a message is about 100 KB (`PROTOCOL.md#b1`).
pub const ACTIVITY_MAX_BYTES: usize = 256 * 1024;

/// The bot's account where neither the activity nor the configuration names one: without authentication.
const UNCONFIGURED_BOT: &str = "bot";

/// How long one request of the bot may take. The function ends after 15 seconds, and the channel waits no longer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// The methods of the endpoint.
const METHODS: &str = "POST, GET, HEAD";

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
    /// The tags that people may join.
    pub topics: Topics,
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
            topics: Topics::from_environment(environment)?,
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
    // Boxed: the response to a health check needs none of it.
    match Box::pin(receive(context, &request)).await {
        Ok(response) => response,
        Err(refused) => status(refused),
    }
}

/// Answers an activity.
async fn receive<C: Conversations>(
    context: &Context<C>,
    request: &Request,
) -> Result<Response<Body>, StatusCode> {
    let activity = authenticate(context, request).await?;
    let not_recorded = |error: &store::Error| {
        tracing::error!(error_type = "StoreUnavailable", error = %chain(error), "activity not recorded");
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let recorded = inbound::record(&context.store, &context.clock, &activity).await;
    recorded.map_err(|error| not_recorded(&error))?;
    let turns = Turns {
        store: &context.store,
        clock: &context.clock,
    };
    let claimed = turns.claim(&activity).await;
    match claimed.map_err(|error| not_recorded(&error))? {
        Claim::Turn(turn) => run(context, &activity, &turns, &turn).await,
        Claim::Repeated => {
            tracing::info!("a copy of an activity that was answered: not answered again");
            Ok(status(StatusCode::OK))
        }
        Claim::Running => {
            tracing::warn!(
                error_type = "TurnRunning",
                "another copy of the activity is being answered: the channel may repeat it"
            );
            Err(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

/// Runs the bot's turn.
async fn run<C: Conversations>(
    context: &Context<C>,
    activity: &VerifiedActivity,
    turns: &Turns<'_, C>,
    turn: &ClaimedTurn,
) -> Result<Response<Body>, StatusCode> {
    let bot = bot::Bot {
        tags: Tags::new(&context.store, &context.clock, &context.topics, activity),
        welcome: turn.welcome(),
    };
    match context.adapter.process(activity, &bot).await {
        Ok(response) => {
            turns.finish(turn).await;
            Ok(respond(&response))
        }
        Err(error) => {
            tracing::error!(error_type = "TurnFailed", error = %chain(&error), "the bot's turn failed");
            turns.release(turn).await;
            Err(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// The activity of a request, from an authenticated sender.
async fn authenticate<C>(context: &Context<C>, request: &Request) -> Result<VerifiedActivity, StatusCode> {
    let refused = |denied: Denied| {
        // The caller learns the status, the log the reason.
        tracing::warn!(error_type = denied.error_type(), error = %chain(&denied), "activity refused");
        denied.status()
    };
    let (authenticator, body) = (&context.authenticator, body(request)?);
    let token = authenticator.verify_token(request.headers(), context.now()).await;
    let token = token.map_err(refused)?;
    let mut activity = parse(body)?;
    if activity.recipient.as_ref().is_none_or(|bot| bot.id.is_empty()) {
        // Some emulators of Direct Line name no recipient.
        activity.recipient = Some(ChannelAccount::new(bot_account(context, &activity)));
    }
    let activity = authenticator.verify_activity(&token, activity);
    activity.map_err(refused)
}

/// The bot's account in the channel of an activity, by configuration.
fn bot_account<C>(context: &Context<C>, activity: &Activity) -> ChannelAccountId {
    let app_id = context.authenticator.app_id().unwrap_or(UNCONFIGURED_BOT);
    if is_teams(activity.channel_id.as_deref()) {
        format!("28:{app_id}").into()
    } else {
        app_id.into()
    }
}

fn body(request: &Request) -> Result<&[u8], StatusCode> {
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
    Ok(body)
}

/// The activity in a body. Its ids must fit the tables and the paths of requests.
fn parse(body: &[u8]) -> Result<Activity, StatusCode> {
    let activity = Activity::from_slice(body).map_err(|error| {
        tracing::warn!(error_type = "ActivityMalformed", %error, "activity refused");
        StatusCode::BAD_REQUEST
    })?;
    if let Some(property) = invalid_id(&activity) {
        tracing::warn!(
            error_type = "ActivityMalformed",
            property,
            "an id is too long, or has control characters: activity refused"
        );
        return Err(StatusCode::BAD_REQUEST);
    }
    Ok(activity)
}

/// The property of an id that can be neither stored nor part of a path.
fn invalid_id(activity: &Activity) -> Option<&'static str> {
    let conversation = activity.conversation.as_ref().map(|it| it.id.as_str());
    let bot = activity.recipient.as_ref().map(|it| it.id.as_str());
    let ids = [
        ("conversation.id", conversation),
        ("channelId", activity.channel_id.as_deref()),
        ("recipient.id", bot),
        ("id", activity.id.as_ref().map(ActivityId::as_str)),
    ];
    let is_invalid = |id: &str| !id.is_empty() && !is_id(id);
    let invalid = ids.into_iter().find(|(_, id)| id.is_some_and(is_invalid));
    invalid.map(|(property, _)| property)
}

/// A response without a body; of an error, a problem document. It says nothing of why a token was refused.
fn status(status: StatusCode) -> Response<Body> {
    if status.is_client_error() || status.is_server_error() {
        return Problem::new(status, detail(status)).into_response();
    }
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

fn detail(status: StatusCode) -> String {
    match status {
        StatusCode::BAD_REQUEST => "The body is not an activity of the Bot Framework.".to_owned(),
        StatusCode::UNAUTHORIZED => "The request has no valid token of a channel.".to_owned(),
        StatusCode::FORBIDDEN => {
            "The token is valid, but this channel, tenant, bot or service URL is not accepted.".to_owned()
        }
        StatusCode::METHOD_NOT_ALLOWED => format!("This endpoint answers {METHODS} only."),
        StatusCode::PAYLOAD_TOO_LARGE => format!("An activity may have {ACTIVITY_MAX_BYTES} bytes."),
        StatusCode::NOT_IMPLEMENTED => "The bot does not handle this invoke.".to_owned(),
        _ => "The activity was not processed. It may be sent again.".to_owned(),
    }
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
        .insert(header::ALLOW, HeaderValue::from_static(METHODS));
    response
}
