//! The planner: reads an audience page by page and enqueues chunks of deliveries.
//!
//! A page is stored before its chunks are enqueued. After a crash between the two, the next planner enqueues the same chunks
//! again, which the ledger makes harmless. A part that does not end within the invocation continues in the next one, by a
//! message to this function's own queue.

use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use botframework::connector::Connector;
use herald::Error;
use herald::aws;
use herald::backend::{Aws, Backend};
use herald::clock::{Clock, Random};
use herald::config::{self, Environment, http_transport, variable};
use herald::event::eventbridge;
use herald::graph_clients::GraphClients;
use herald::queue::batch::trace_notification;
use herald::queue::{Plan, Queue, Task, sqs};
use herald::rate_limit::Limits;
use herald::store::{self, Notifications, dynamodb};
use herald::time::until;
use jiff::{SignedDuration, Timestamp};

pub use bot_identity::ConfiguredBot;
use parts::PlanRun;

mod bot_identity;
mod directory;
mod graph_requests;
mod parts;
mod people;
mod reader;
mod recipients;
mod retraction;
mod roster_client;
mod team;
mod waves;

/// The timeout of one request to the channel.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the handler works with.
#[derive(Debug)]
pub struct Context<B: Backend> {
    /// Where conversations are stored.
    pub conversations: B::Conversations,
    /// Where plans are stored.
    pub notifications: B::Notifications,
    /// The preferences of tenants, and the categories.
    pub registry: B::Registry,
    /// The rate limits.
    pub ledger: B::Ledger,
    /// The queue to this function.
    pub plans: B::Queue,
    /// The queue to the sender.
    pub deliveries: B::Queue,
    /// The event bus.
    pub events: B::Events,
    /// The client of the channel, for rosters.
    pub connector: Connector,
    /// Graph in the tenants, for groups and directories; `None` if the deployment does not name the bot's app.
    pub graph_clients: Option<GraphClients>,
    /// The channel's limits.
    pub limits: Limits,
    /// TTL of cached rosters; zero disables the cache.
    pub roster_ttl: SignedDuration,
    /// The bot as the deployment configures it.
    pub bot: Option<ConfiguredBot>,
    /// The time.
    pub clock: Clock,
}

impl Context<Aws> {
    /// The context of the deployed function.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, config::Error> {
        let (clock, random) = (Clock::system(), Random::system());
        let transport = http_transport(environment).timeout(QUERY_TIMEOUT).build()?;
        let sdk = aws::Sdk::new(environment, &transport)?;
        let schedules = sqs::Schedules::from_environment(environment, &sdk, &clock)?;
        let queue = |variable| sqs::Queue::from_environment(environment, variable, &sdk, schedules.as_ref());
        let table = |variable| environment.required(variable);
        Ok(Self {
            conversations: dynamodb::Conversations::new(&sdk, table(variable::CONVERSATIONS_TABLE)?),
            notifications: dynamodb::Notifications::new(&sdk, table(variable::NOTIFICATIONS_TABLE)?),
            registry: dynamodb::Registry::new(&sdk, table(variable::NOTIFICATIONS_TABLE)?),
            ledger: dynamodb::Ledger::new(&sdk, table(variable::DELIVERIES_TABLE)?),
            plans: queue(variable::PLANS_QUEUE_URL)?,
            deliveries: queue(variable::DELIVERIES_QUEUE_URL)?,
            events: eventbridge::Bus::from_environment(environment, &sdk),
            connector: herald::credential::connector(environment, &transport, &clock, &random)?,
            graph_clients: GraphClients::from_environment(environment, &transport, &clock, &random)?,
            limits: environment.limits()?,
            roster_ttl: environment.roster_ttl()?,
            bot: ConfiguredBot::from_environment(environment),
            clock,
        })
    }
}

/// Why a page was not read.
#[derive(Debug)]
enum Failure {
    /// DynamoDB is unavailable.
    Store(store::Error),
    /// The channel cannot be asked now; retry after this time.
    Later(SignedDuration),
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// Handles a batch of plans. Returns those that failed.
pub async fn handle<B: Backend>(
    context: &Context<B>,
    event: SqsEvent,
    deadline: Timestamp,
) -> SqsBatchResponse {
    sqs::handle_each(event, |plan, _| run(context, plan, deadline)).await
}

/// Runs a plan until it is done or the deadline is near: plans the pages of its parts, or enqueues their chunks again.
///
/// # Errors
/// When DynamoDB, SQS or EventBridge is unavailable. Stored pages stay; the same message continues after them.
pub async fn run<B: Backend>(context: &Context<B>, plan: Plan, deadline: Timestamp) -> Result<(), Error> {
    trace_notification(&plan.notification);
    let Some(notification) = context.notifications.find(&plan.notification).await? else {
        tracing::warn!(error_type = "PlanWithoutNotification", notification = %plan.notification, "the notification was rolled back; nothing is planned");
        return Ok(());
    };
    if plan.task == Task::Retract {
        return Box::pin(retraction::handle(context, &notification)).await;
    }
    let now = context.clock.now();
    if let Some(begins) = notification.deliver_at
        && begins > now
        && notification.cancelled_at.is_none()
    {
        return Ok(context.plans.send(vec![plan.message(until(now, begins))]).await?);
    }
    if plan.task == Task::Plan && plan.part.is_none() {
        // First, so that nothing is sent of which the copies would stay.
        Box::pin(retraction::enqueue(context, &notification)).await?;
    }
    let run = PlanRun {
        context,
        notification: &notification,
        deadline,
        wave: plan.wave,
    };
    if let (Some(due), None) = (plan.wave, plan.part) {
        return Box::pin(run.wave(due)).await;
    }
    Box::pin(run.handle(&plan)).await
}
