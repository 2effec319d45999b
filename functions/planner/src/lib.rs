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
use herald::notification::{self, ChunkId, PAGE_SIZE, Page, Part};
use herald::queue::{Chunk, Message, Plan, Queue, sqs};
use herald::store::{self, Candidate, Conversations, Notifications, Selection, dynamodb};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How many look-ups are under way at once.
const LOOK_UPS: usize = 16;

/// How long before the invocation's end no new page is begun: one page must fit in, with its retries.
const MARGIN: SignedDuration = SignedDuration::from_secs(20);

/// What the handler works with.
#[derive(Debug)]
pub struct Context<C, N, Q> {
    /// Where conversations are found.
    pub conversations: C,
    /// Where plans are written.
    pub notifications: N,
    /// The queue to this function.
    pub plans: Q,
    /// The queue to the sender.
    pub deliveries: Q,
    /// The time.
    pub clock: Clock,
}

impl Context<dynamodb::Conversations, dynamodb::Notifications, sqs::Queue> {
    /// The context of the deployed function.
    ///
    /// # Errors
    /// When a variable is missing or wrong; it names it.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, config::Error> {
        let sdk = aws::Sdk::new(environment, &HttpTransport::builder().build()?)?;
        Ok(Self {
            conversations: dynamodb::Conversations::new(
                &sdk,
                environment.required(variable::CONVERSATIONS_TABLE)?,
            ),
            notifications: dynamodb::Notifications::new(
                &sdk,
                environment.required(variable::NOTIFICATIONS_TABLE)?,
            ),
            plans: sqs::Queue::new(&sdk, environment.required(variable::PLANS_QUEUE_URL)?),
            deliveries: sqs::Queue::new(&sdk, environment.required(variable::DELIVERIES_QUEUE_URL)?),
            clock: Clock::system(),
        })
    }
}

/// Handles a batch; what failed comes back alone.
pub async fn handle<C: Conversations, N: Notifications, Q: Queue>(
    context: &Context<C, N, Q>,
    event: SqsEvent,
    deadline: Timestamp,
) -> SqsBatchResponse {
    sqs::handle_each(event, |plan| run(context, plan, deadline)).await
}

/// Plans one part of one notification as far as the time goes; or, of a whole notification, makes a message for each
/// part.
///
/// # Errors
/// When a table or a queue is away. What was planned stands, and the same message goes on from there.
pub async fn run<C: Conversations, N: Notifications, Q: Queue>(
    context: &Context<C, N, Q>,
    plan: Plan,
    deadline: Timestamp,
) -> Result<(), Error> {
    let Plan {
        notification: id,
        part,
        mut enqueued,
    } = plan;
    let found = tokio::try_join!(
        context.notifications.find(&id),
        context.notifications.audience(&id)
    )?;
    let (Some(notification), Some(audience)) = found else {
        tracing::warn!(error_type = "PlanWithoutNotification", notification = %id, "withdrawn: nothing is planned");
        return Ok(());
    };
    let parts = notification::parts(&audience, notification.segments);
    let Some(part_number) = part else {
        let each = (0..notification.parts).map(|part| Plan {
            notification: id.clone(),
            part: Some(part),
            enqueued: None,
        });
        let each = each.map(|plan| Message::json(&plan, Duration::ZERO)).collect();
        return Ok(context.plans.send(each).await?);
    };
    let Some(part) = parts.get(usize::from(part_number)) else {
        tracing::warn!(error_type = "PlanWithoutPart", notification = %id, part = part_number, "nothing is planned");
        return Ok(());
    };
    let Some(reader) = Reader::new(context, &audience, *part) else {
        return Ok(());
    };

    let mut standing = context.notifications.latest_page(&id, part_number).await?;
    loop {
        if let Some((number, page)) = &standing
            && enqueued != Some(*number)
        {
            let chunks = chunks(&id, part_number, *number, page);
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
                return Ok(());
            }
        };
        if context.clock.now() > deadline.saturating_sub(MARGIN).unwrap_or(deadline) {
            let rest = Plan {
                notification: id,
                part: Some(part_number),
                enqueued,
            };
            context
                .plans
                .send(vec![Message::json(&rest, Duration::ZERO)])
                .await?;
            return Ok(());
        }
        let page = reader.read(cursor).await?;
        standing = if context
            .notifications
            .plan(&id, part_number, number, &page)
            .await?
        {
            Some((number, page))
        } else {
            // Another planner was first, or the notification is gone; what stands is what counts.
            match context.notifications.latest_page(&id, part_number).await? {
                Some(latest) => Some(latest),
                None => return Ok(()),
            }
        };
    }
}

fn chunks(id: &herald::id::NotificationId, part: u16, page: u32, planned: &Page) -> Vec<Message> {
    (0_u16..)
        .zip(&planned.chunks)
        .map(|(index, recipients)| {
            let chunk = Chunk {
                notification: id.clone(),
                chunk: ChunkId { part, page, index },
                recipients: recipients.clone(),
                settled: herald::delivery::Tally::default(),
            };
            Message::json(&chunk, Duration::ZERO)
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
    fn new<N, Q>(context: &'a Context<C, N, Q>, audience: &'a Audience, part: Part<'a>) -> Option<Self> {
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
            .filter(|candidate| candidate.state == herald::conversation::State::Active)
            .filter(|found| self.matcher.means(&found.key.conversation, &found.facts))
            .filter(|found| !self.matcher.is_taken(&found.key.conversation, &found.facts))
            .map(recipient);
        Ok(Page::group(meant, listing.next))
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
        while let Some((index, id, continued, listing)) = look_ups.try_next().await? {
            if page.len() + listing.found.len().max(1) > PAGE_SIZE {
                return Ok(Page::group(page, Some(Position { index, after: None }.write())));
            }
            let mut found = listing.found;
            found.retain(|found| self.matcher.means(&found.key.conversation, &found.facts));
            if found.is_empty() && !continued && listing.next.is_none() {
                page.push((None, unknown(id.clone())));
            }
            found.retain(|found| !self.matcher.is_taken(&found.key.conversation, &found.facts));
            page.extend(found.into_iter().map(recipient));
            if let Some(after) = listing.next {
                return Ok(Page::group(
                    page,
                    Some(
                        Position {
                            index,
                            after: Some(after),
                        }
                        .write(),
                    ),
                ));
            }
        }
        Ok(Page::group(page, None))
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

fn recipient(candidate: Candidate) -> (Option<String>, Recipient) {
    (candidate.facts.tenant, Recipient::Conversation(candidate.key))
}
