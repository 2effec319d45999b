//! The notification API.
//!
//! | request | response |
//! |---|---|
//! | `POST /api/notifications` | 202 `{id, state, statusUrl}` |
//! | `POST /api/notifications/preview` | 200, what a recipient would get; nothing is sent |
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
//! | `GET`, `PUT /api/people/{id}/preferences` | 200; opt-outs, time zone and quiet hours of a person |
//! | `GET`, `PUT /api/conversations/{key}/preferences` | 200; those of a group chat or channel, or of the person in a personal conversation |
//! | `GET`, `PUT`, `DELETE /api/tenants/{id}/preferences` | 200 or 201; 204; what holds for those who chose nothing |
//! | `GET /api/categories`, `GET`, `PUT`, `DELETE /api/categories/{name}` | 200, 201 or 204; the kinds of notifications |
//! | `GET /api/templates`, `GET`, `PUT`, `DELETE /api/templates/{name}` | 200, 201 or 204; messages with expressions |
//! | `DELETE /api/rates/{bucket}` | 204; a tenant that is paused or slowed down is sent to again |
//! | `POST /api/hooks` | 201, a new hook with its address |
//! | `GET /api/hooks`, `GET /api/hooks/{id}` | 200, hooks without their addresses |
//! | `PUT /api/hooks/{id}/secret` | 200, the hook with a new address |
//! | `DELETE /api/hooks/{id}` | 204 |
//! | `POST /api/hooks/{id}/{secret}` | 200 `1`; a tool's payload becomes a notification |
//! | `GET /api/routes`, `GET /api/routes/{name}` | 200, routes from events to notifications |
//! | `PUT /api/routes/{name}` | 201, 200; writes a route |
//! | `DELETE /api/routes/{name}` | 204 |
//! | `POST /api/routes/{name}/test` | 200, what a route would make of an event |
//! | `GET /api/schedules`, `GET`, `PUT`, `DELETE /api/schedules/{name}` | 200, 201 or 204; notifications that recur |
//! | `POST /api/schedules/{name}/pause`, `…/resume`, `…/skip` | 200, the schedule |
//! | `GET /api/events/failed` | 200, upstream events that were refused, with their problems |
//! | `POST /api/events/failed/redrive` | 202; those in the dead-letter queue are tried again |
//! | `GET /console`, `GET /console/{file}` | 200; the console, a page on this API |
//! | `GET /api/notify` | 200, the page of the Bot Framework's sample; sends the configured text to everyone |
//!
//! A request is dispatched by the route key that the gateway matched and authorised ([`herald::http_api`]). Errors are RFC 9457
//! problem documents. After a 202 the notification, or its change, is stored and enqueued. A request that
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
use lambda_http::http::{HeaderValue, header};
use lambda_http::{Body, Request, Response};

use request::Query;
use response::ApiError;
use route::{Endpoint, Route};

mod caller;
mod categories;
mod console;
mod conversations;
mod create;
mod csv;
mod deliveries;
mod event_routes;
mod explain;
mod export;
mod failed_events;
mod hooks;
mod import;
mod list;
mod outage;
mod plan;
mod plan_pages;
mod preferences;
mod preview;
mod rates;
mod request;
mod response;
mod revise;
mod rights;
mod route;
mod schedules;
mod status;
mod templates;
mod tenants;
mod users;
mod waves;

pub use console::{ConsoleSignIn, console_files};
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
    /// Where hooks, routes and failed upstream events are stored.
    pub registry: B::Registry,
    /// The queue to the planner.
    pub plans: B::Queue,
    /// The events queue, for the occurrences of schedules.
    pub events_queue: B::Queue,
    /// The dead-letter queue of upstream events.
    pub failed_events: B::DeadLetters,
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
    /// Where people sign in to the console.
    pub console: ConsoleSignIn,
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
        let queue = |name| sqs::Queue::from_environment(environment, name, &sdk, schedules.as_ref());
        Ok(Self {
            notifications: dynamodb::Notifications::new(&sdk, table(variable::NOTIFICATIONS_TABLE)?),
            conversations: dynamodb::Conversations::new(&sdk, table(variable::CONVERSATIONS_TABLE)?),
            ledger: dynamodb::Ledger::new(&sdk, table(variable::DELIVERIES_TABLE)?),
            registry: dynamodb::Registry::new(&sdk, table(variable::NOTIFICATIONS_TABLE)?),
            failed_events: sqs::DeadLetters::new(
                &sdk,
                environment.required(variable::FAILED_EVENTS_QUEUE_URL)?,
                &environment.required(variable::EVENTS_QUEUE_URL)?,
            ),
            plans: queue(variable::PLANS_QUEUE_URL)?,
            events_queue: queue(variable::EVENTS_QUEUE_URL)?,
            events: eventbridge::Bus::from_environment(environment, &sdk),
            limits: environment.limits()?,
            trust: environment.trust_rule()?,
            settings: Settings::from_environment(environment)?,
            legacy_text: environment
                .optional(variable::NOTIFY_TEXT)
                .unwrap_or_else(|| LEGACY_TEXT.to_owned()),
            console: ConsoleSignIn::from_environment(environment)?,
            clock,
            random: Random::system(),
        })
    }
}

/// The route keys that the template must have, besides `$default`.
pub fn route_keys() -> impl Iterator<Item = String> {
    Route::keys()
}

/// Answers one request, whose extensions hold the [`RequestContext`](herald::http_api::RequestContext) of the gateway.
/// Errors become problem documents.
pub async fn handle<B: Backend>(context: &Context<B>, request: Request) -> Response<Body> {
    let response = context.dispatch(&request).await;
    let mut response = response.unwrap_or_else(ApiError::respond);
    // A browser must not take a report for a page.
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

impl<B: Backend> Context<B> {
    /// Refuses a change of what another caller has written, but to operators.
    fn require_own(&self, what: &str, owner: &str, caller: &str) -> Result<(), ApiError> {
        if self.settings.operators.may_change(caller, owner) {
            return Ok(());
        }
        Err(ApiError::forbidden(format!(
            "This {what} is another caller's. It may be changed by its caller, and by the callers that the deployment names as its `Operators`."
        )))
    }

    async fn dispatch(&self, request: &Request) -> Result<Response<Body>, ApiError> {
        let route = Route::of(request)?;
        rights::check(request, route.endpoint)?;
        let query = &Query::parse(request, route.query)?;
        let path = |name| route::parameter(request, name);
        let caller = &caller::of(request);
        match route.endpoint {
            Endpoint::Create => self.create(request).await,
            Endpoint::Preview => Box::pin(self.preview(request)).await,
            Endpoint::ListNotifications => self.notifications(query).await,
            Endpoint::Status => self.status(&path("id")?).await,
            Endpoint::Cancel => self.cancel(&path("id")?, caller).await,
            Endpoint::CancelWave => Box::pin(self.cancel_wave(&path("id")?, &path("instant")?, caller)).await,
            Endpoint::Edit => self.edit(&path("id")?, request, caller).await,
            Endpoint::Retract => self.retract(&path("id")?, caller).await,
            Endpoint::Explain => self.explain(&path("id")?, query).await,
            Endpoint::Plan => self.plan(&path("id")?).await,
            Endpoint::Deliveries => self.deliveries(&path("id")?, query, request).await,
            Endpoint::ListConversations => self.conversations(query).await,
            Endpoint::Import => self.import(request).await,
            Endpoint::Export => self.export(query, request).await,
            Endpoint::ShowConversation => self.conversation(&path("key")?).await,
            Endpoint::EraseConversation => self.erase_conversation(&path("key")?, caller).await,
            Endpoint::Tag => self.tag(&path("key")?, &path("tag")?, caller).await,
            Endpoint::Untag => self.untag(&path("key")?, &path("tag")?, caller).await,
            Endpoint::EraseUser => self.erase_user(&path("id")?, caller).await,
            Endpoint::ShowPreferences => self.preferences(&path("id")?, query).await,
            Endpoint::PutPreferences => self.put_preferences(&path("id")?, query, request, caller).await,
            Endpoint::ShowConversationPreferences => self.conversation_preferences(&path("key")?).await,
            Endpoint::PutConversationPreferences => {
                self.put_conversation_preferences(&path("key")?, request, caller)
                    .await
            }
            Endpoint::ShowTenant => self.tenant_preferences(&path("id")?).await,
            Endpoint::PutTenant => self.put_tenant_preferences(&path("id")?, request, caller).await,
            Endpoint::DeleteTenant => self.delete_tenant_preferences(&path("id")?, caller).await,
            Endpoint::ListCategories => self.categories().await,
            Endpoint::ShowCategory => self.category(&path("name")?).await,
            Endpoint::PutCategory => self.put_category(&path("name")?, request, caller).await,
            Endpoint::DeleteCategory => self.delete_category(&path("name")?, caller).await,
            Endpoint::ListTemplates => self.templates(query).await,
            Endpoint::ShowTemplate => self.template(&path("name")?).await,
            Endpoint::PutTemplate => self.put_template(&path("name")?, request, caller).await,
            Endpoint::DeleteTemplate => self.delete_template(&path("name")?, caller).await,
            Endpoint::ResetRate => self.reset_rate(&path("bucket")?, caller).await,
            Endpoint::CreateHook => self.create_hook(request).await,
            Endpoint::ListHooks => self.hooks(query).await,
            Endpoint::ShowHook => self.hook(&path("id")?).await,
            Endpoint::RotateHook => self.rotate_hook(&path("id")?, request, caller).await,
            Endpoint::DeleteHook => self.delete_hook(&path("id")?, caller).await,
            Endpoint::Receive => self.receive(&path("id")?, &path("secret")?, request).await,
            Endpoint::ListRoutes => self.routes(query).await,
            Endpoint::ShowRoute => self.event_route(&path("name")?).await,
            Endpoint::PutRoute => self.put_route(&path("name")?, request, caller).await,
            Endpoint::DeleteRoute => self.delete_route(&path("name")?, caller).await,
            Endpoint::TestRoute => self.test_route(&path("name")?, request).await,
            Endpoint::ListSchedules => self.schedules(query).await,
            Endpoint::ShowSchedule => self.schedule(&path("name")?).await,
            Endpoint::PutSchedule => self.put_schedule(&path("name")?, request, caller).await,
            Endpoint::DeleteSchedule => self.delete_schedule(&path("name")?, caller).await,
            Endpoint::PauseSchedule => self.pause_schedule(&path("name")?, caller).await,
            Endpoint::ResumeSchedule => self.resume_schedule(&path("name")?, caller).await,
            Endpoint::SkipOccurrence => self.skip_occurrence(&path("name")?, request, caller).await,
            Endpoint::FailedEvents => self.failed_events(query).await,
            Endpoint::RedriveEvents => self.redrive_events(caller).await,
            Endpoint::LegacyTrigger => self.legacy_trigger(request).await,
            Endpoint::Console => console::page(&self.console, request),
            Endpoint::ConsoleFile => console::file(&path("file")?, &self.console, request),
        }
    }
}
