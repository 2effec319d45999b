//! The notification API: what a caller asks for is checked whole, stored whole, and planned later.
//!
//! | request | answer |
//! |---|---|
//! | `POST /api/notifications` | 202 `{id, state, statusUrl}` |
//! | `GET /api/notifications/{id}` | 200, state and counts |
//! | `POST /api/notifications/{id}/cancel` | 200, what is left open is not sent any more |
//! | `PUT /api/notifications/{id}/message` | 202, every copy is edited, and what is open sends the new message; 409 of one that goes by batch |
//! | `DELETE /api/notifications/{id}/message` | 202, every copy is deleted, and nothing more is sent; 409 of one that goes by batch |
//! | `GET /api/notifications/{id}/explain` | 200, why it is not finished, and when it should be |
//! | `GET /api/notifications/{id}/plan` | 200, what sending it would come to; of one that is held |
//! | `GET /api/notifications/{id}/deliveries` | 200, each delivery, in pages, as JSON or CSV |
//! | `GET /api/conversations` | 200, those of a tenant, person, team or tag, or that blocked or removed the bot, in pages |
//! | `POST /api/conversations/import` | 200, what was kept elsewhere is remembered; a document a line |
//! | `POST /api/conversations/export` | 200, what is remembered, in the same form |
//! | `GET /api/conversations/{key}` | 200, what is remembered of one |
//! | `DELETE /api/conversations/{key}` | 204, it is forgotten, and so is who led to it |
//! | `PUT /api/conversations/{key}/tags/{tag}` | 200, it is under the tag |
//! | `DELETE /api/conversations/{key}/tags/{tag}` | 200, it is not any more |
//! | `DELETE /api/users/{id}` | 200, all conversations of a person are forgotten |
//! | `GET /api/notify` | 200, the classic sample's page; sends the configured text to everyone |
//!
//! Problems are RFC 9457 documents. A 202 is a promise: the notification, or the change to it, is in the table and on the
//! queue. Whatever answers 503 may be repeated, and then goes on where it stopped.

use botframework::service_url::TrustRule;
use herald::aws;
use herald::clock::{Chance, Clock};
use herald::config::{self, Environment, http_transport, variable};
use herald::event::{Events, eventbridge};
use herald::notification::SendMode;
use herald::queue::{Queue, sqs};
use herald::rate_limit::Limits;
use herald::store::{Conversations, Ledger, Notifications, Paces, dynamodb};
use lambda_http::http::Method;
use lambda_http::{Body, Request, Response};

use answer::Refusal;

mod accept;
mod answer;
mod caller;
mod change;
mod conversations;
mod csv;
mod deliveries;
mod explanation;
mod export;
mod import;
mod pages;
mod plan;
mod query;
mod status;
mod users;

pub use accept::{BODY_MAX_BYTES, IDEMPOTENCY_KEY_MAX_BYTES};
pub use export::EXPORT_MAX_BYTES;
pub use import::IMPORT_MAX_BYTES;

/// What the classic sample sends.
const CLASSIC_TEXT: &str = "proactive hello";

/// What the handler works with.
#[derive(Debug)]
pub struct Context<S, C, L, Q, E> {
    /// Where notifications are kept.
    pub store: S,
    /// Where conversations are found.
    pub conversations: C,
    /// The ledger and the paces; read only.
    pub ledger: L,
    /// The queue to the planner.
    pub plans: Q,
    /// Who wants to know.
    pub events: E,
    /// What the channel lets the bot do: what is predicted is predicted from it.
    pub limits: Limits,
    /// Which service URLs may be brought here.
    pub trust: TrustRule,
    /// The largest audience that goes ahead without a confirmation.
    pub confirm_above: u64,
    /// The id in the manifest of the bot's Teams app. Without one the bot can be installed for nobody.
    pub teams_app_id: Option<String>,
    /// By which way notifications go whose callers do not say.
    pub send_mode: SendMode,
    /// What `GET /api/notify` sends.
    pub classic_text: String,
    /// The time.
    pub clock: Clock,
    /// Chance for fresh ids.
    pub chance: Chance,
}

impl
    Context<dynamodb::Notifications, dynamodb::Conversations, dynamodb::Ledger, sqs::Queue, eventbridge::Bus>
{
    /// The context of the deployed function.
    ///
    /// # Errors
    /// When a variable is missing or wrong; it names it.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, config::Error> {
        let transport = http_transport(environment).build()?;
        let clock = Clock::system();
        let sdk = aws::Sdk::new(environment, &transport)?;
        let schedules = sqs::Schedules::from_environment(environment, &sdk, &clock)?;
        let table = |name| environment.required(name);
        Ok(Self {
            store: dynamodb::Notifications::new(&sdk, table(variable::NOTIFICATIONS_TABLE)?),
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
            confirm_above: environment.confirm_above()?,
            teams_app_id: environment.teams_app_id()?,
            send_mode: environment.send_mode()?,
            classic_text: environment
                .optional(variable::NOTIFY_TEXT)
                .unwrap_or_else(|| CLASSIC_TEXT.to_owned()),
            clock,
            chance: Chance::system(),
        })
    }
}

/// Answers one request. It never fails: whatever happens has a status.
pub async fn handle<S, C, L, Q, E>(context: &Context<S, C, L, Q, E>, request: Request) -> Response<Body>
where
    S: Notifications,
    C: Conversations,
    L: Ledger + Paces,
    Q: Queue,
    E: Events,
{
    let path = request.uri().path().trim_end_matches('/').to_owned();
    let method = request.method();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let answer = match parts.as_slice() {
        ["api", "notifications"] => match *method {
            Method::POST => context.ask(&request).await,
            _ => Err(Refusal::Method("POST")),
        },
        ["api", "notify"] => match *method {
            Method::GET => context.classic(&request).await,
            _ => Err(Refusal::Method("GET")),
        },
        ["api", "conversations"] => match *method {
            Method::GET => context.conversations(&request).await,
            _ => Err(Refusal::Method("GET")),
        },
        ["api", "conversations", "import"] if *method == Method::POST => context.import(&request).await,
        ["api", "conversations", "export"] if *method == Method::POST => context.export(&request).await,
        ["api", "conversations", key] => match *method {
            Method::GET => context.conversation(key).await,
            Method::DELETE => context.forget(key).await,
            _ => Err(Refusal::Method("GET, DELETE")),
        },
        ["api", "conversations", key, "tags", tag] => match *method {
            Method::PUT => context.tag(key, tag).await,
            Method::DELETE => context.untag(key, tag).await,
            _ => Err(Refusal::Method("PUT, DELETE")),
        },
        ["api", "users", id] => match *method {
            Method::DELETE => context.erase_user(id).await,
            _ => Err(Refusal::Method("DELETE")),
        },
        ["api", "notifications", id] => match *method {
            Method::GET => context.show(id).await,
            _ => Err(Refusal::Method("GET")),
        },
        ["api", "notifications", id, "cancel"] => match *method {
            Method::POST => context.cancel(id).await,
            _ => Err(Refusal::Method("POST")),
        },
        ["api", "notifications", id, "message"] => match *method {
            Method::PUT => context.edit(id, &request).await,
            Method::DELETE => context.retract(id).await,
            _ => Err(Refusal::Method("PUT, DELETE")),
        },
        ["api", "notifications", id, "explain"] => match *method {
            Method::GET => context.explain(id, &request).await,
            _ => Err(Refusal::Method("GET")),
        },
        ["api", "notifications", id, "plan"] => match *method {
            Method::GET => context.plan(id).await,
            _ => Err(Refusal::Method("GET")),
        },
        ["api", "notifications", id, "deliveries"] => match *method {
            Method::GET => context.deliveries(id, &request).await,
            _ => Err(Refusal::Method("GET")),
        },
        _ => Err(Refusal::not_found("There is nothing at this path.")),
    };
    answer.unwrap_or_else(Refusal::respond)
}
