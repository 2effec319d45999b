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
use herald::event::{Event, Events, eventbridge};
use herald::id::NotificationId;
use herald::notification::{self, ChunkId, Notification, Page, StartPolicy};
use herald::queue::{Chunk, Message, Plan, Queue, Task, sqs};
use herald::rate_limit::Limits;
use herald::store::{self, Notifications, dynamodb};
use jiff::{SignedDuration, Timestamp};

pub use bot_identity::ConfiguredBot;
use reader::Reader;
use recipients::PagePosition;

mod bot_identity;
mod reader;
mod recipients;
mod roster_client;
mod team;

/// The timeout of one request to the channel.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// The shortest wait before a request to the channel is repeated.
const MIN_RETRY: Duration = Duration::from_secs(1);

/// The longest wait before a request to the channel is repeated, whatever it asks for.
const MAX_RETRY: Duration = Duration::from_mins(15);

/// No page is begun this long before the end of the invocation: one page takes no longer, retries included.
const SHUTDOWN_MARGIN: SignedDuration = SignedDuration::from_secs(20);

/// What the handler works with.
#[derive(Debug)]
pub struct Context<B: Backend> {
    /// Where conversations are stored.
    pub conversations: B::Conversations,
    /// Where plans are stored.
    pub notifications: B::Notifications,
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
        let clock = Clock::system();
        let transport = http_transport(environment).timeout(QUERY_TIMEOUT).build()?;
        let sdk = aws::Sdk::new(environment, &transport)?;
        let schedules = sqs::Schedules::from_environment(environment, &sdk, &clock)?;
        let queue = |variable| sqs::Queue::from_environment(environment, variable, &sdk, schedules.as_ref());
        let table = |variable| environment.required(variable);
        Ok(Self {
            conversations: dynamodb::Conversations::new(&sdk, table(variable::CONVERSATIONS_TABLE)?),
            notifications: dynamodb::Notifications::new(&sdk, table(variable::NOTIFICATIONS_TABLE)?),
            ledger: dynamodb::Ledger::new(&sdk, table(variable::DELIVERIES_TABLE)?),
            plans: queue(variable::PLANS_QUEUE_URL)?,
            deliveries: queue(variable::DELIVERIES_QUEUE_URL)?,
            events: eventbridge::Bus::from_environment(environment, &sdk),
            connector: herald::credential::connector(environment, &transport, &clock, &Random::system())?,
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

/// Runs a plan until it is done or the deadline is near: splits a notification into its parts, plans the pages of a part, or
/// enqueues its planned chunks again.
///
/// # Errors
/// When DynamoDB, SQS or EventBridge is unavailable. Stored pages stay; the same message continues after them.
pub async fn run<B: Backend>(context: &Context<B>, plan: Plan, deadline: Timestamp) -> Result<(), Error> {
    let Some(notification) = context.notifications.find(&plan.notification).await? else {
        tracing::warn!(error_type = "PlanWithoutNotification", notification = %plan.notification, "the notification was rolled back; nothing is planned");
        return Ok(());
    };
    let now = context.clock.now();
    if let Some(begins) = notification.deliver_at
        && begins > now
        && notification.cancelled_at.is_none()
    {
        let wait = Duration::try_from(begins.duration_since(now)).unwrap_or_default();
        return enqueue(context, &plan, wait).await;
    }
    match (plan.part, plan.task) {
        (None, _) => fan_out(context, &notification, plan.task).await,
        (Some(part), Task::Plan) => plan_part(context, &notification, part, plan.enqueued, deadline).await,
        (Some(part), Task::Sweep) => sweep_part(context, &notification, part, plan.enqueued, deadline).await,
    }
}

/// Enqueues a plan for each part, so that each is retried on its own.
async fn fan_out<B: Backend>(
    context: &Context<B>,
    notification: &Notification,
    task: Task,
) -> Result<(), Error> {
    let each = (0..notification.parts).map(|part| Plan {
        notification: notification.id.clone(),
        task,
        part: Some(part),
        enqueued: None,
    });
    let each = each.map(|plan| Message::json(&plan, Duration::ZERO)).collect();
    context.plans.send(each).await?;
    // After the plans: an unavailable event bus does not delay them.
    if task == Task::Plan {
        let accepted = Event::accepted(notification);
        context.events.publish(vec![accepted]).await?;
    }
    Ok(())
}

/// Plans the pages of one part, from the first that is not stored.
async fn plan_part<B: Backend>(
    context: &Context<B>,
    notification: &Notification,
    part_number: u16,
    mut enqueued: Option<u32>,
    deadline: Timestamp,
) -> Result<(), Error> {
    let id = &notification.id;
    let Some(audience) = context.notifications.audience(id).await? else {
        return Ok(());
    };
    let parts = notification::parts(&audience, notification.segments);
    let reader = parts
        .get(usize::from(part_number))
        .and_then(|part| Reader::new(context, notification, &audience, *part));
    let Some(reader) = reader else {
        tracing::warn!(error_type = "PlanWithoutPart", notification = %id, part = part_number, "nothing is planned");
        return Ok(());
    };
    let mut latest = context.notifications.latest_page(id, part_number).await?;
    loop {
        if let Some((number, page)) = &latest
            && enqueued != Some(*number)
            && !notification.is_held()
        {
            let chunks = chunks(id, part_number, *number, page, false, |_| true);
            context.deliveries.send(chunks).await?;
            enqueued = Some(*number);
        }
        let (number, cursor) = match latest.as_ref().map(|(number, page)| (number, &page.next)) {
            None => (0, None),
            Some((number, Some(cursor))) => (number + 1, Some(cursor.as_str())),
            Some((number, None)) => {
                tracing::debug!(notification = %id, part = part_number, pages = number + 1, "planned");
                return planned(context, id).await;
            }
        };
        let rest = Plan {
            notification: id.clone(),
            task: Task::Plan,
            part: Some(part_number),
            enqueued,
        };
        if is_late(context.clock.now(), deadline) {
            return enqueue(context, &rest, Duration::ZERO).await;
        }
        let page = (part_number, number);
        let page = match next_page(context, notification, &reader, PagePosition { page, cursor }).await? {
            NextPage::Read(page) => page,
            NextPage::Later(wait) => return enqueue(context, &rest, wait).await,
        };
        let is_first = context
            .notifications
            .put_page(id, part_number, number, &page)
            .await?;
        latest = if is_first {
            Some((number, page))
        } else {
            // Another planner stored this page, whose content counts; or the notification is gone.
            match context.notifications.latest_page(id, part_number).await? {
                Some(latest) => Some(latest),
                None => return Ok(()),
            }
        };
    }
}

/// The next page of a part.
enum NextPage {
    /// It was read.
    Read(Page),
    /// The channel cannot be asked now; retry after this time.
    Later(Duration),
}

/// Reads the page at this position. The part of a stopped notification ends here, with an empty page.
async fn next_page<B: Backend>(
    context: &Context<B>,
    notification: &Notification,
    reader: &Reader<'_, B>,
    position: PagePosition<'_>,
) -> Result<NextPage, Error> {
    let current = context.notifications.find(&notification.id).await?;
    if current.is_none_or(|current| current.is_stopped()) {
        return Ok(NextPage::Read(Page::default()));
    }
    Ok(match reader.read(position).await {
        Ok(page) => NextPage::Read(page.split_batches(context.limits.batch)),
        Err(Failure::Store(error)) => return Err(error.into()),
        Err(Failure::Later(_)) if notification.expires_at <= context.clock.now() => {
            NextPage::Read(reader.give_up_page(position).await?)
        }
        Err(Failure::Later(wait)) => {
            let wait = Duration::try_from(wait).unwrap_or_default();
            NextPage::Later(wait.clamp(MIN_RETRY, MAX_RETRY))
        }
    })
}

/// Sends a plan to this function's own queue, for an invocation after `wait`.
async fn enqueue<B: Backend>(context: &Context<B>, plan: &Plan, wait: Duration) -> Result<(), Error> {
    Ok(context.plans.send(vec![Message::json(plan, wait)]).await?)
}

/// Handles the end of a part. After the last part the audience is counted, and a counted notification starts.
async fn planned<B: Backend>(context: &Context<B>, id: &NotificationId) -> Result<(), Error> {
    let Some(notification) = context.notifications.find(id).await? else {
        return Ok(());
    };
    if notification.parts_planned < notification.parts {
        return Ok(());
    }
    if let StartPolicy::AfterCount { at_most } = notification.start
        && notification.audience <= at_most
        && !notification.is_stopped()
    {
        context.notifications.start(id, context.clock.now()).await?;
        let sweep = Plan::whole(id.clone(), Task::Sweep).message(Duration::ZERO);
        context.plans.send(vec![sweep]).await?;
    }
    // All deliveries may have ended already, or there are none.
    herald::completion::check(&context.notifications, &context.events, id, context.clock.now()).await
}

/// Enqueues the chunks of one part that are not closed at the current revision.
async fn sweep_part<B: Backend>(
    context: &Context<B>,
    notification: &Notification,
    part: u16,
    mut enqueued: Option<u32>,
    deadline: Timestamp,
) -> Result<(), Error> {
    let id = &notification.id;
    if notification.is_held() {
        return Ok(());
    }
    // A notification that was just started has no deliveries in the ledger.
    let begun = notification.is_stopped() || notification.revision > 0;
    loop {
        let number = enqueued.map_or(0, |enqueued| enqueued + 1);
        if is_late(context.clock.now(), deadline) {
            let rest = Plan {
                notification: id.clone(),
                task: Task::Sweep,
                part: Some(part),
                enqueued,
            };
            return enqueue(context, &rest, Duration::ZERO).await;
        }
        let found = tokio::try_join!(
            context.notifications.page(id, part, number),
            context.notifications.closed_chunks(id, part, number)
        )?;
        let (Some(page), closed) = found else {
            return Ok(());
        };
        let is_open = |index| {
            !closed
                .iter()
                .any(|closed| closed.0 == index && closed.1 >= notification.revision)
        };
        let chunks = chunks(id, part, number, &page, begun, is_open);
        if !chunks.is_empty() {
            context.deliveries.send(chunks).await?;
        }
        enqueued = Some(number);
    }
}

fn is_late(now: Timestamp, deadline: Timestamp) -> bool {
    now > deadline.saturating_sub(SHUTDOWN_MARGIN).unwrap_or(deadline)
}

fn chunks(
    id: &NotificationId,
    part: u16,
    page: u32,
    planned: &Page,
    begun: bool,
    is_wanted: impl Fn(u16) -> bool,
) -> Vec<Message> {
    (0_u16..)
        .zip(&planned.chunks)
        .filter(|(index, _)| is_wanted(*index))
        .map(|(index, chunk)| {
            let chunk = Chunk {
                begun,
                ..Chunk::whole(id.clone(), ChunkId { part, page, index }, chunk.clone())
            };
            chunk.message(Duration::ZERO)
        })
        .collect()
}
