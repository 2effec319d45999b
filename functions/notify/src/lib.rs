//! The notification API.
//!
//! | request | response |
//! |---|---|
//! | `POST /api/notifications` | 202 `{id, state, statusUrl}` |
//! | `GET /api/notifications` | 200, a page of notifications, newest first |
//! | `GET /api/notifications/{id}` | 200, what was asked for, state and counts |
//! | `POST /api/notifications/{id}/cancel` | 200; open deliveries are not sent any more |
//! | `PUT /api/notifications/{id}/message` | 202; every copy is edited, open deliveries send the new message; 409 after a batch |
//! | `DELETE /api/notifications/{id}/message` | 202; every copy is deleted, nothing more is sent; 409 after a batch |
//! | `GET /api/notifications/{id}/explain` | 200, why deliveries are open, and when they should end |
//! | `GET /api/notifications/{id}/plan` | 200, size, duration and cost of a held notification |
//! | `GET /api/notifications/{id}/deliveries` | 200, a page of deliveries, as JSON or CSV |
//! | `GET /api/conversations` | 200, a page of the conversations of a tenant, person, team, tag or state |
//! | `POST /api/conversations/import` | 200; stores conversations from JSON lines |
//! | `POST /api/conversations/export` | 200, conversations as JSON lines |
//! | `GET /api/conversations/{key}` | 200, one conversation |
//! | `DELETE /api/conversations/{key}` | 204; the conversation and the links to it are erased |
//! | `PUT /api/conversations/{key}/tags/{tag}` | 200; adds a tag |
//! | `DELETE /api/conversations/{key}/tags/{tag}` | 200; removes a tag |
//! | `DELETE /api/users/{id}` | 200; erases all conversations of a person |
//! | `DELETE /api/rates/{bucket}` | 204; a tenant that is paused or slowed down is sent to again |
//! | `GET /api/notify` | 200, the page of the Bot Framework's sample; sends the configured text to everyone |
//!
//! Errors are RFC 9457 problem documents. After a 202 the notification, or its change, is stored and enqueued. A request that
//! got 503 may be repeated, and continues where the first one stopped.

use botframework::service_url::TrustRule;
use herald::acceptance::Settings;
use herald::aws;
use herald::backend::{Aws, Backend};
use herald::clock::{Clock, Random};
use herald::config::{self, Environment, http_transport, variable};
use herald::event::eventbridge;
use herald::queue::sqs;
use herald::rate_limit::Limits;
use herald::store::dynamodb;
use lambda_http::http::Method;
use lambda_http::{Body, Request, Response};

use response::ApiError;

mod audit;
mod caller;
mod conversations;
mod create;
mod csv;
mod deliveries;
mod explain;
mod export;
mod import;
mod list;
mod outage;
mod plan;
mod plan_pages;
mod rates;
mod request;
mod response;
mod revise;
mod status;
mod users;

pub use create::IDEMPOTENCY_KEY_MAX_BYTES;
pub use export::EXPORT_MAX_BYTES;
pub use import::IMPORT_MAX_BYTES;
pub use request::BODY_MAX_BYTES;

/// The text that the Bot Framework's sample sends.
const LEGACY_TEXT: &str = "proactive hello";

/// What the handler works with.
#[derive(Debug)]
pub struct Context<B: Backend> {
    /// Where notifications are stored.
    pub notifications: B::Notifications,
    /// Where conversations are stored.
    pub conversations: B::Conversations,
    /// Deliveries, which are only read, and rate limits.
    pub ledger: B::Ledger,
    /// The queue to the planner.
    pub plans: B::Queue,
    /// The event bus.
    pub events: B::Events,
    /// The channel's limits, from which durations are predicted.
    pub limits: Limits,
    /// Which service URLs an import may bring.
    pub trust: TrustRule,
    /// What the deployment allows.
    pub settings: Settings,
    /// The text that `GET /api/notify` sends.
    pub legacy_text: String,
    /// The time.
    pub clock: Clock,
    /// Randomness for ids.
    pub random: Random,
}

impl Context<Aws> {
    /// The context of the deployed function.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, config::Error> {
        let transport = http_transport(environment).build()?;
        let clock = Clock::system();
        let sdk = aws::Sdk::new(environment, &transport)?;
        let schedules = sqs::Schedules::from_environment(environment, &sdk, &clock)?;
        let table = |name| environment.required(name);
        Ok(Self {
            notifications: dynamodb::Notifications::new(&sdk, table(variable::NOTIFICATIONS_TABLE)?),
            conversations: dynamodb::Conversations::new(&sdk, table(variable::CONVERSATIONS_TABLE)?),
            ledger: dynamodb::Ledger::new(&sdk, table(variable::DELIVERIES_TABLE)?),
            plans: sqs::Queue::from_environment(
                environment,
                variable::PLANS_QUEUE_URL,
                &sdk,
                schedules.as_ref(),
            )?,
            events: eventbridge::Bus::from_environment(environment, &sdk),
            limits: environment.limits()?,
            trust: environment.trust_rule()?,
            settings: Settings::from_environment(environment)?,
            legacy_text: environment
                .optional(variable::NOTIFY_TEXT)
                .unwrap_or_else(|| LEGACY_TEXT.to_owned()),
            clock,
            random: Random::system(),
        })
    }
}

/// Answers one request. Errors become problem documents.
pub async fn handle<B: Backend>(context: &Context<B>, request: Request) -> Response<Body> {
    let path = request.uri().path().trim_end_matches('/').to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let response = match segments.as_slice() {
        ["api", "notify"] => match *request.method() {
            Method::GET => context.legacy_trigger(&request).await,
            _ => Err(ApiError::Method("GET")),
        },
        ["api", "notifications", rest @ ..] => context.notifications_route(rest, &request).await,
        ["api", "conversations", rest @ ..] => context.conversations_route(rest, &request).await,
        ["api", "users", id] => match *request.method() {
            Method::DELETE => context.erase_user(id, &caller::of(&request)).await,
            _ => Err(ApiError::Method("DELETE")),
        },
        ["api", "rates", bucket] => match *request.method() {
            Method::DELETE => context.reset_rate(bucket, &caller::of(&request)).await,
            _ => Err(ApiError::Method("DELETE")),
        },
        _ => Err(ApiError::no_resource()),
    };
    response.unwrap_or_else(ApiError::respond)
}

impl<B: Backend> Context<B> {
    async fn notifications_route(
        &self,
        path: &[&str],
        request: &Request,
    ) -> Result<Response<Body>, ApiError> {
        match (path, request.method()) {
            ([], &Method::POST) => self.create(request).await,
            ([], &Method::GET) => self.notifications(request).await,
            ([], _) => Err(ApiError::Method("GET, POST")),
            ([id], &Method::GET) => self.status(id).await,
            ([id, "cancel"], &Method::POST) => self.cancel(id, &caller::of(request)).await,
            ([_, "cancel"], _) => Err(ApiError::Method("POST")),
            ([id, "message"], &Method::PUT) => self.edit(id, request, &caller::of(request)).await,
            ([id, "message"], &Method::DELETE) => self.retract(id, &caller::of(request)).await,
            ([_, "message"], _) => Err(ApiError::Method("PUT, DELETE")),
            ([id, "explain"], &Method::GET) => self.explain(id, request).await,
            ([id, "plan"], &Method::GET) => self.plan(id).await,
            ([id, "deliveries"], &Method::GET) => self.deliveries(id, request).await,
            ([_] | [_, "explain" | "plan" | "deliveries"], _) => Err(ApiError::Method("GET")),
            _ => Err(ApiError::no_resource()),
        }
    }

    async fn conversations_route(
        &self,
        path: &[&str],
        request: &Request,
    ) -> Result<Response<Body>, ApiError> {
        match (path, request.method()) {
            ([], &Method::GET) => self.conversations(request).await,
            ([], _) => Err(ApiError::Method("GET")),
            (["import"], &Method::POST) => self.import(request).await,
            (["export"], &Method::POST) => self.export(request).await,
            ([key], &Method::GET) => self.conversation(key).await,
            ([key], &Method::DELETE) => self.erase_conversation(key, &caller::of(request)).await,
            ([_], _) => Err(ApiError::Method("GET, DELETE")),
            ([key, "tags", tag], &Method::PUT) => self.tag(key, tag, &caller::of(request)).await,
            ([key, "tags", tag], &Method::DELETE) => self.untag(key, tag, &caller::of(request)).await,
            ([_, "tags", _], _) => Err(ApiError::Method("PUT, DELETE")),
            _ => Err(ApiError::no_resource()),
        }
    }
}
