//! The planner: turns an audience into chunks of deliveries, page by page, and never holds it whole.
//!
//! A page is written down before its chunks are enqueued, so a planner that dies between the two is followed by one
//! that enqueues the same chunks again; the ledger makes that harmless. A part that does not end within the
//! invocation goes on in the next, by a message to itself.

use std::pin::pin;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use botframework::connector::HttpTransport;
use futures_util::{StreamExt, TryStreamExt, stream};
use herald::Error;
use herald::audience::{Audience, Matcher, Recipient, Selector};
use herald::aws;
use herald::clock::Clock;
use herald::config::{self, Environment, variable};
use herald::conversation::State;
use herald::delivery::SkipReason;
use herald::event::{Event, Events, eventbridge};
use herald::id::NotificationId;
use herald::notification::{self, ChunkId, Notification, PAGE_SIZE, Page, Part, Start, Unreachable};
use herald::pace::Bucket;
use herald::queue::{Chunk, Message, Plan, Queue, Task, sqs};
use herald::store::{self, Candidate, Conversations, Notifications, Selection, dynamodb};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How many look-ups are under way at once.
const LOOK_UPS: usize = 16;

/// How long before the invocation's end no new page is begun: one page must fit in, with its retries.
const MARGIN: SignedDuration = SignedDuration::from_secs(20);

/// What the handler works with.
#[derive(Debug)]
pub struct Context<C, N, Q, E> {
    /// Where conversations are found.
    pub conversations: C,
    /// Where plans are written.
    pub notifications: N,
    /// The queue to this function.
    pub plans: Q,
    /// The queue to the sender.
    pub deliveries: Q,
    /// Who wants to know.
    pub events: E,
    /// The time.
    pub clock: Clock,
}

impl Context<dynamodb::Conversations, dynamodb::Notifications, sqs::Queue, eventbridge::Bus> {
    /// The context of the deployed function.
    ///
    /// # Errors
    /// When a variable is missing or wrong; it names it.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, config::Error> {
        let clock = Clock::system();
        let transport = HttpTransport::builder().build()?;
        let sdk = aws::Sdk::new(environment, &transport)?;
        let schedules = sqs::Schedules::from_environment(environment, &transport, &clock)?;
        let queue = |variable| sqs::Queue::from_environment(environment, variable, &sdk, schedules.as_ref());
        let table = |variable| environment.required(variable);
        Ok(Self {
            conversations: dynamodb::Conversations::new(&sdk, table(variable::CONVERSATIONS_TABLE)?),
            notifications: dynamodb::Notifications::new(&sdk, table(variable::NOTIFICATIONS_TABLE)?),
            plans: queue(variable::PLANS_QUEUE_URL)?,
            deliveries: queue(variable::DELIVERIES_QUEUE_URL)?,
            events: eventbridge::Bus::from_environment(environment, &transport, &clock)?,
            clock,
        })
    }
}

/// Handles a batch; what failed comes back alone.
pub async fn handle<C: Conversations, N: Notifications, Q: Queue, E: Events>(
    context: &Context<C, N, Q, E>,
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
pub async fn run<C: Conversations, N: Notifications, Q: Queue, E: Events>(
    context: &Context<C, N, Q, E>,
    plan: Plan,
    deadline: Timestamp,
) -> Result<(), Error> {
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
async fn fan_out<C: Conversations, N: Notifications, Q: Queue, E: Events>(
    context: &Context<C, N, Q, E>,
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
async fn plan_part<C: Conversations, N: Notifications, Q: Queue, E: Events>(
    context: &Context<C, N, Q, E>,
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
        .and_then(|part| Reader::new(context, &audience, *part));
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
            reader.read(cursor).await?
        };
        standing = if context.notifications.plan(id, part_number, number, &page).await? {
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
async fn planned<C, N: Notifications, Q: Queue, E: Events>(
    context: &Context<C, N, Q, E>,
    id: &NotificationId,
) -> Result<(), Error> {
    let Some(notification) = context.notifications.find(id).await? else {
        return Ok(());
    };
    if notification.parts_planned < notification.parts {
        return Ok(());
    }
    if let Start::Counted { at_most } = notification.start
        && notification.audience <= at_most
        && !notification.is_stopped()
    {
        context.notifications.release(id, context.clock.now()).await?;
        let sweep = Plan {
            notification: id.clone(),
            task: Task::Sweep,
            part: None,
            enqueued: None,
        };
        context
            .plans
            .send(vec![Message::json(&sweep, Duration::ZERO)])
            .await?;
    }
    // An audience of nobody is complete with its plan; so is one that was reached faster than it was planned.
    herald::completion::check(&context.notifications, &context.events, id, context.clock.now()).await
}

/// Enqueues the chunks of one part that are not closed at the present revision, once more.
async fn sweep_part<C, N: Notifications, Q: Queue, E>(
    context: &Context<C, N, Q, E>,
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
            context.notifications.closed(id, part, number)
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
    now > deadline.saturating_sub(MARGIN).unwrap_or(deadline)
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

/// Reads the pages of one part.
struct Reader<'a, C> {
    conversations: &'a C,
    part: Part<'a>,
    matcher: Matcher<'a>,
}

impl<'a, C: Conversations> Reader<'a, C> {
    fn new<N, Q, E>(
        context: &'a Context<C, N, Q, E>,
        audience: &'a Audience,
        part: Part<'a>,
    ) -> Option<Self> {
        let matcher = Matcher::new(audience, part.selector.0)?;
        Some(Self {
            conversations: &context.conversations,
            part,
            matcher,
        })
    }

    async fn read(&self, cursor: Option<&str>) -> Result<Page, store::Error> {
        match self.part.selector.1 {
            Selector::Everyone => {
                let (segment, segments) = self.part.segment;
                self.listed(&Selection::Everyone { segment, segments }, cursor)
                    .await
            }
            Selector::Tenant(tenant) => self.listed(&Selection::Tenant(tenant.clone()), cursor).await,
            Selector::Users { ids, .. } => self.named(ids, cursor, Selection::User, Recipient::User).await,
            Selector::Accounts(ids) => {
                self.named(ids, cursor, Selection::Account, Recipient::Account)
                    .await
            }
            Selector::Conversations(ids) => {
                self.named(
                    ids,
                    cursor,
                    Selection::Conversation,
                    Recipient::UnknownConversation,
                )
                .await
            }
        }
    }

    /// A page of a listing: those that are active and not another selector's.
    async fn listed(&self, selection: &Selection, cursor: Option<&str>) -> Result<Page, store::Error> {
        let listing = self.conversations.list(selection, cursor, PAGE_SIZE).await?;
        let meant = listing
            .found
            .into_iter()
            .filter(|found| self.matcher.means(&found.key.conversation, &found.facts))
            .filter(|found| !self.matcher.is_taken(&found.key.conversation, &found.facts));
        let mut unreachable = Unreachable::default();
        let mut reachable = Vec::new();
        for candidate in meant {
            match out_of_reach(&candidate) {
                None => reachable.push(recipient(candidate)),
                Some(reason) => unreachable.count(reason),
            }
        }
        Ok(Page {
            unreachable,
            ..Page::group(reachable, listing.next)
        })
    }

    /// A page of a list of ids. Who was named and is not known, or not active, is a recipient too: the sender says
    /// why nothing was sent.
    async fn named<T: Clone + Send + Sync>(
        &self,
        ids: &[T],
        cursor: Option<&str>,
        selection: fn(T) -> Selection,
        unknown: fn(T) -> Recipient,
    ) -> Result<Page, store::Error> {
        let start = Position::read(cursor)?;
        let look_ups = ids.iter().enumerate().skip(start.index).map(|(index, id)| {
            let after = start.after.as_deref().filter(|_| index == start.index);
            async move {
                let listing = self
                    .conversations
                    .list(&selection(id.clone()), after, PAGE_SIZE)
                    .await?;
                Ok::<_, store::Error>((index, id, after.is_some(), listing))
            }
        });
        let mut look_ups = pin!(stream::iter(look_ups).buffered(LOOK_UPS));
        let mut page = Vec::new();
        let mut unreachable = Unreachable::default();
        while let Some((index, id, continued, listing)) = look_ups.try_next().await? {
            if page.len() + listing.found.len().max(1) > PAGE_SIZE {
                let next = Position { index, after: None }.write();
                return Ok(Page {
                    unreachable,
                    ..Page::group(page, Some(next))
                });
            }
            let mut found = listing.found;
            found.retain(|found| self.matcher.means(&found.key.conversation, &found.facts));
            let unknown = unknown(id.clone());
            if found.is_empty()
                && !continued
                && listing.next.is_none()
                && !self.matcher.is_named_before(&unknown)
            {
                page.push((None, unknown));
                unreachable.count(SkipReason::NoConversation);
            }
            found.retain(|found| !self.matcher.is_taken(&found.key.conversation, &found.facts));
            for reason in found.iter().filter_map(out_of_reach) {
                unreachable.count(reason);
            }
            page.extend(found.into_iter().map(recipient));
            if let Some(after) = listing.next {
                let after = Some(after);
                let next = Position { index, after }.write();
                return Ok(Page {
                    unreachable,
                    ..Page::group(page, Some(next))
                });
            }
        }
        Ok(Page {
            unreachable,
            ..Page::group(page, None)
        })
    }
}

/// Where a page of a list of ids begins: at which id, and how far into its conversations.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Position {
    index: usize,
    after: Option<String>,
}

impl Position {
    fn read(cursor: Option<&str>) -> Result<Self, store::Error> {
        let corrupt = |_| store::Error::Corrupt {
            verb: "plan a page",
            what: "cursor".to_owned(),
        };
        cursor.map_or_else(
            || Ok(Self::default()),
            |text| serde_json::from_str(text).map_err(corrupt),
        )
    }

    fn write(&self) -> String {
        // A number and a string: nothing JSON cannot hold.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Why this conversation would be skipped, if it would.
fn out_of_reach(candidate: &Candidate) -> Option<SkipReason> {
    match candidate.state {
        State::Active => None,
        State::Removed => Some(SkipReason::Removed),
        State::Blocked { .. } => Some(SkipReason::Blocked),
    }
}

fn recipient(candidate: Candidate) -> (Option<Bucket>, Recipient) {
    let bucket = Bucket::of(&candidate.key, candidate.facts.tenant.as_deref());
    (Some(bucket), Recipient::Conversation(candidate.key))
}
