//! The planner: turns an audience into chunks of deliveries, page by page, and never holds it whole.
//!
//! A page is written down before its chunks are enqueued, so a planner that dies between the two is followed by one
//! that enqueues the same chunks again; the ledger makes that harmless. A part that does not end within the
//! invocation goes on in the next, by a message to itself.

use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use botframework::connector::Connector;
use herald::Error;
use herald::aws;
use herald::backend::{Aws, Backend};
use herald::clock::{Chance, Clock};
use herald::config::{self, Environment, http_transport, variable};
use herald::event::{Event, Events, eventbridge};
use herald::id::NotificationId;
use herald::notification::{self, ChunkId, Notification, Page, StartPolicy};
use herald::queue::{Chunk, Message, Plan, Queue, Task, sqs};
use herald::rate_limit::Limits;
use herald::store::{self, Notifications, dynamodb};
use jiff::{SignedDuration, Timestamp};

pub use bot_identity::Bot;
use reader::Reader;
use recipients::PagePosition;

mod bot_identity;
mod reader;
mod recipients;
mod roster_client;
mod team;

/// How long one question to the channel may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a plan waits at least for what the channel cannot tell now.
const MIN_RETRY: Duration = Duration::from_secs(1);

/// And how long at most.
const MAX_RETRY: Duration = Duration::from_mins(15);

/// How long before the invocation's end no new page is begun: one page must fit in, with its retries.
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
    /// The channel, which knows the members and channels of a team.
    pub connector: Connector,
    /// The channel's limits.
    pub limits: Limits,
    /// TTL of cached rosters; zero disables the cache.
    pub roster_ttl: SignedDuration,
    /// The bot as the deployment configures it.
    pub bot: Option<Bot>,
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
            connector: herald::credential::connector(environment, &transport, &clock, &Chance::system())?,
            limits: environment.limits()?,
            roster_ttl: environment.roster_ttl()?,
            bot: Bot::from_environment(environment),
            clock,
        })
    }
}

/// Why there is no page.
#[derive(Debug)]
enum Failure {
    /// A table is away.
    Store(store::Error),
    /// The channel is to be asked again, so long from now.
    Later(SignedDuration),
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// Handles a batch; what failed comes back alone.
pub async fn handle<B: Backend>(
    context: &Context<B>,
    event: SqsEvent,
    deadline: Timestamp,
) -> SqsBatchResponse {
    sqs::handle_each(event, |plan, _| run(context, plan, deadline)).await
}

/// Carries a plan on as far as the time goes: of a whole notification, makes a message for each part; of a part, plans its
/// pages, or enqueues those that stand once more.
///
/// # Errors
/// When a table, a queue or the event bus is away. What was planned stands, and the same message goes on from there.
pub async fn run<B: Backend>(context: &Context<B>, plan: Plan, deadline: Timestamp) -> Result<(), Error> {
    let Some(notification) = context.notifications.find(&plan.notification).await? else {
        tracing::warn!(error_type = "PlanWithoutNotification", notification = %plan.notification, "withdrawn: nothing is planned");
        return Ok(());
    };
    let now = context.clock.now();
    if let Some(begins) = notification.deliver_at
        && begins > now
        && notification.cancelled_at.is_none()
    {
        let wait = Duration::try_from(begins.duration_since(now)).unwrap_or(Duration::ZERO);
        return Ok(context.plans.send(vec![Message::json(&plan, wait)]).await?);
    }
    match (plan.part, plan.task) {
        (None, _) => fan_out(context, &notification, plan.task).await,
        (Some(part), Task::Plan) => plan_part(context, &notification, part, plan.enqueued, deadline).await,
        (Some(part), Task::Sweep) => sweep_part(context, &notification, part, plan.enqueued, deadline).await,
    }
}

/// A message for each part. Each of them is a plan that can fail, wait and come again on its own.
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
    // Whoever does not hear of it does not hold it up.
    if task == Task::Plan {
        let accepted = Event::accepted(notification);
        context.events.publish(vec![accepted]).await?;
    }
    Ok(())
}

/// Plans the pages of one part from where they end.
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
    let mut standing = context.notifications.latest_page(id, part_number).await?;
    loop {
        if let Some((number, page)) = &standing
            && enqueued != Some(*number)
            && !notification.is_held()
        {
            let chunks = chunks(id, part_number, *number, page, false, |_| true);
            context.deliveries.send(chunks).await?;
            enqueued = Some(*number);
        }
        let (number, cursor) = match &standing {
            None => (0, None),
            Some((
                number,
                Page {
                    next: Some(cursor), ..
                },
            )) => (number + 1, Some(cursor.as_str())),
            Some((number, Page { next: None, .. })) => {
                tracing::debug!(notification = %id, part = part_number, pages = number + 1, "planned");
                return planned(context, id).await;
            }
        };
        if is_late(context.clock.now(), deadline) {
            let rest = Plan {
                notification: id.clone(),
                task: Task::Plan,
                part: Some(part_number),
                enqueued,
            };
            return Ok(context
                .plans
                .send(vec![Message::json(&rest, Duration::ZERO)])
                .await?);
        }
        let stopped = context
            .notifications
            .find(id)
            .await?
            .is_none_or(|head| head.is_stopped());
        let page = if stopped {
            // Whoever is not planned yet is not meant any more.
            Page::default()
        } else {
            let position = PagePosition {
                page: (part_number, number),
                cursor,
            };
            match reader.read(position).await {
                Ok(page) => page.split_batches(context.limits.batch),
                Err(Failure::Store(error)) => return Err(error.into()),
                // Nobody is written to any more who is not found by now.
                Err(Failure::Later(_)) if notification.expires_at <= context.clock.now() => {
                    reader.give_up_page(position).await?
                }
                Err(Failure::Later(wait)) => {
                    let rest = Plan {
                        notification: id.clone(),
                        task: Task::Plan,
                        part: Some(part_number),
                        enqueued,
                    };
                    let wait = Duration::try_from(wait).unwrap_or(Duration::ZERO);
                    // Whoever names no time at all is not asked without end, nor is it waited for longer than anybody would.
                    let wait = wait.clamp(MIN_RETRY, MAX_RETRY);
                    return Ok(context.plans.send(vec![Message::json(&rest, wait)]).await?);
                }
            }
        };
        standing = if context
            .notifications
            .put_page(id, part_number, number, &page)
            .await?
        {
            Some((number, page))
        } else {
            // Another planner was first, or the notification is gone; what stands is what counts.
            match context.notifications.latest_page(id, part_number).await? {
                Some(latest) => Some(latest),
                None => return Ok(()),
            }
        };
    }
}

/// What follows when a part is planned to its end: with the last of them the audience is counted.
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
    // An audience of nobody is complete with its plan; so is one that was reached faster than it was planned.
    herald::completion::check(&context.notifications, &context.events, id, context.clock.now()).await
}

/// Enqueues the chunks of one part that are not closed at the present revision, once more.
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
    // Of one that is just let go, the ledger knows nothing yet.
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
            return Ok(context
                .plans
                .send(vec![Message::json(&rest, Duration::ZERO)])
                .await?);
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
