//! Turns events of upstream systems into notifications.
//!
//! Its queue gets what the template's `EventBridge` rules take, what is published to its SNS topics, and what is sent to it
//! ([`herald::upstream`]). A request for a notification is accepted by the routine of the API ([`herald::acceptance`]), with the
//! event's own id as idempotency key: an event that is delivered again is the same notification.
//!
//! | event | what follows |
//! |---|---|
//! | a request that is accepted | the message is deleted |
//! | a request that is refused | the problem is stored beside the event, and listed by `GET /api/events/failed`. The message is received again, and after the queue's tries goes to the dead-letter queue |
//! | an event that routes take | each makes a notification of it ([`herald::route`]), or edits the one of its subject |
//! | an event that nothing takes | it is counted, and the message is deleted |
//! | the time of a route's schedule has come | the next one is enqueued; then it is sent as an event of that route |
//! | an occurrence of a schedule has come | the same; it is accepted as a notification of its caller ([`herald::recurring`]) |
//!
//! A table or queue that is unavailable fails the message, which is received again.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use botframework::lossless::LosslessJson;
use herald::acceptance::{self, Origin, Repetition, Settings};
use herald::audit::AuditAction;
use herald::aws;
use herald::backend::{Aws, Backend};
use herald::clock::{Clock, Random};
use herald::config::{self, Environment, http_transport, variable};
use herald::problem::Problem;
use herald::queue::batch::{Handled, Received, failure_message};
use herald::queue::{self, sqs};
use herald::store::{self, Collection, Registry, dynamodb};
use herald::telemetry::{Metric, chain, count};
use herald::upstream::{EventContent, FailedEvent, UpstreamEvent};
use tokio::sync::OnceCell;

use routed::NamedRoute;

pub use worker::Worker;

mod routed;
mod scheduled;
mod worker;

/// What the handler works with.
#[derive(Debug)]
pub struct Context<B: Backend> {
    /// Where notifications are stored.
    pub notifications: B::Notifications,
    /// Where conversations are stored; read only.
    pub conversations: B::Conversations,
    /// Where routes and failed events are stored.
    pub registry: B::Registry,
    /// The queue to the planner.
    pub plans: B::Queue,
    /// Does the bot's jobs.
    pub worker: Worker,
    /// The events queue, for the next occurrence of a schedule.
    pub events_queue: B::Queue,
    /// What the deployment allows.
    pub settings: Settings,
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
    pub fn from_environment(environment: &Environment<'_>, worker: Worker) -> Result<Self, config::Error> {
        let transport = http_transport(environment).build()?;
        let clock = Clock::system();
        let sdk = aws::Sdk::new(environment, &transport)?;
        let schedules = sqs::Schedules::from_environment(environment, &sdk, &clock)?;
        let table = |name| environment.required(name);
        let queue = |name| sqs::Queue::from_environment(environment, name, &sdk, schedules.as_ref());
        Ok(Self {
            notifications: dynamodb::Notifications::new(&sdk, table(variable::NOTIFICATIONS_TABLE)?),
            conversations: dynamodb::Conversations::new(&sdk, table(variable::CONVERSATIONS_TABLE)?),
            registry: dynamodb::Registry::new(&sdk, table(variable::NOTIFICATIONS_TABLE)?),
            plans: queue(variable::PLANS_QUEUE_URL)?,
            events_queue: queue(variable::EVENTS_QUEUE_URL)?,
            worker,
            settings: Settings::from_environment(environment)?,
            clock,
            random: Random::system(),
        })
    }
}

/// Why an event became no notification.
enum Failure {
    /// The event is at fault.
    Refused(Problem),
    /// A table or queue is unavailable; the event is received again.
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<queue::Error> for Failure {
    fn from(error: queue::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

impl Failure {
    /// The failure of one of the routes that take an event.
    fn of_route(self, name: &str) -> Self {
        match self {
            Self::Refused(mut problem) => {
                problem.detail = format!(
                    "The route {name} makes a request of the event that is refused. {}",
                    problem.detail
                );
                Self::Refused(problem)
            }
            unavailable @ Self::Unavailable(_) => unavailable,
        }
    }
}

impl From<acceptance::Error> for Failure {
    fn from(error: acceptance::Error) -> Self {
        match error.refusal() {
            Some(problem) => Self::Refused(problem),
            None => Self::Unavailable(error.into()),
        }
    }
}

/// Handles a batch of events. Returns those that failed.
pub async fn handle<B: Backend>(context: &Context<B>, event: SqsEvent) -> SqsBatchResponse {
    // They are read once, and only for foreign events.
    let routes = OnceCell::new();
    sqs::handle_bodies(event, |message| handle_message(context, &routes, message)).await
}

async fn handle_message<B: Backend>(
    context: &Context<B>,
    routes: &OnceCell<Vec<NamedRoute>>,
    message: Received,
) -> Handled {
    let event = UpstreamEvent::read(&message);
    let outcome = match event.content.clone() {
        Ok(EventContent::Request(request)) => context.accept(&event, &request).await,
        Ok(EventContent::Job(job)) => context.do_job(*job).await,
        Ok(EventContent::Foreign(value)) => match routes.get_or_try_init(|| context.routes()).await {
            Ok(routes) => context.route(routes, &event, &value).await,
            Err(error) => Err(error.into()),
        },
        Ok(EventContent::Clock(message)) => context.clock(&event, &message).await,
        Err(problem) => Err(Failure::Refused(problem)),
    };
    match outcome {
        Ok(()) => {
            context.forget_failure(&message).await;
            Handled::Done
        }
        Err(Failure::Refused(problem)) => {
            context.record_failure(&event, &message, problem).await;
            Handled::Failed
        }
        Err(Failure::Unavailable(error)) => {
            let receipt = message.receipt;
            tracing::error!(error_type = "MessageFailed", receives = receipt.receives, error = %chain(&*error), "{}", failure_message(receipt));
            Handled::Failed
        }
    }
}

impl<B: Backend> Context<B> {
    async fn accept(&self, event: &UpstreamEvent, request: &LosslessJson) -> Result<(), Failure> {
        let origin = Origin {
            caller: event.caller.clone(),
            schedule: None,
            idempotency_key: Some(&event.id),
            repetition: Repetition::SameDocument,
        };
        let accepted = self.acceptor().accept_document(request, origin).await?;
        if !accepted.replayed {
            count(Metric::EventAccepted);
            AuditAction::Accept.of_notification(&event.caller, &accepted.id, None);
        }
        Ok(())
    }

    /// Stores the problem beside an event that is refused. Its message goes its way whether that succeeds or not.
    async fn record_failure(&self, event: &UpstreamEvent, message: &Received, problem: Problem) {
        count(Metric::EventRefused);
        tracing::warn!(
            error_type = "EventRefused",
            caller = event.caller,
            event = event.id,
            status = problem.status,
            receives = message.receipt.receives,
            "{}",
            failure_message(message.receipt)
        );
        let now = self.clock.now();
        let mut rule = |earlier: Option<FailedEvent>| {
            let problem = problem.clone();
            Some(FailedEvent::refused(
                event,
                message,
                problem,
                now,
                earlier.as_ref(),
            ))
        };
        let key = FailedEvent::key(message);
        if let Err(error) = self.registry.update_record(&key, &mut rule).await {
            tracing::error!(error_type = "FailedEventNotRecorded", event = event.id, error = %chain(&error), "the problem of a refused event could not be stored");
        }
    }

    /// Removes the record of an event that failed before. One that stays is listed until it expires.
    async fn forget_failure(&self, message: &Received) {
        if message.receipt.receives < 2 {
            return;
        }
        let key = FailedEvent::key(message);
        if let Err(error) = self.registry.remove_record(Collection::FailedEvents, &key).await {
            tracing::warn!(error_type = "FailedEventNotRemoved", error = %chain(&error), "the record of an event that was refused before could not be removed");
        }
    }
}
