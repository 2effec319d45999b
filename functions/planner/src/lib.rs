//! The planner: turns an audience into chunks of deliveries, page by page, and never holds it whole.
//!
//! A page is written down before its chunks are enqueued, so a planner that dies between the two is followed by one
//! that enqueues the same chunks again; the ledger makes that harmless. A part that does not end within the
//! invocation goes on in the next, by a message to itself.

use std::time::Duration;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use botframework::connector::HttpTransport;
use futures_util::{StreamExt, TryStreamExt, stream};
use herald::audience::{Audience, Matcher, Recipient, Selector};
use herald::aws;
use herald::clock::Clock;
use herald::config::{self, Environment, variable};
use herald::notification::{self, ChunkId, PAGE_SIZE, Page, Part};
use herald::queue::{self, Chunk, Message, Plan, Queue, sqs};
use herald::store::{self, Candidate, Conversations, Notifications, Selection, dynamodb};
use herald::telemetry::chain;
use jiff::{SignedDuration, Timestamp};

/// How many ids of a list are looked up for one page. One id may have several conversations, so fewer than a page.
const IDS_PER_PAGE: usize = PAGE_SIZE / 2;

/// How many look-ups are under way at once.
const LOOK_UPS: usize = 16;

/// Conversations taken of one id at most; a person has one with each bot and channel.
const CONVERSATIONS_PER_ID: usize = 4;

/// How long before the invocation's end no new page is begun.
const MARGIN: SignedDuration = SignedDuration::from_secs(5);

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

/// A page could not be planned; the message goes back to the queue.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A table is away.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A queue is away.
    #[error(transparent)]
    Queue(#[from] queue::Error),
}

/// Handles a batch; what failed comes back alone.
pub async fn handle<C: Conversations, N: Notifications, Q: Queue>(
    context: &Context<C, N, Q>,
    event: SqsEvent,
    deadline: Timestamp,
) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for record in event.records {
        let body = record.body.as_deref().unwrap_or_default();
        let outcome = match serde_json::from_str::<Plan>(body) {
            Ok(plan) => run(context, plan, deadline).await.map_err(|error| chain(&error)),
            Err(error) => Err(format!("the message is not a plan: {error}")),
        };
        if let Err(error) = outcome {
            tracing::error!(
                error_type = "PlanFailed",
                error,
                "the plan goes back to the queue"
            );
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = record.message_id.unwrap_or_default();
            response.batch_item_failures.push(failure);
        }
    }
    response
}

/// Plans one part of one notification as far as the time goes.
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
        part: part_number,
        mut enqueued,
    } = plan;
    let Some(audience) = context.notifications.audience(&id).await? else {
        tracing::warn!(error_type = "PlanWithoutNotification", notification = %id, "withdrawn: nothing is planned");
        return Ok(());
    };
    let parts = notification::parts(&audience);
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
                part: part_number,
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
        let start: usize = match cursor {
            None => 0,
            Some(text) => text.parse().map_err(|_| store::Error::Corrupt {
                verb: "plan a page",
                what: "cursor".to_owned(),
            })?,
        };
        let end = (start + IDS_PER_PAGE).min(ids.len());
        let look_ups = ids
            .get(start..end)
            .unwrap_or_default()
            .iter()
            .cloned()
            .map(|id| async move {
                let mut found = self
                    .conversations
                    .list(&selection(id.clone()), None, CONVERSATIONS_PER_ID)
                    .await?
                    .found;
                found.retain(|found| self.matcher.means(&found.key.conversation, &found.facts));
                if found.is_empty() {
                    return Ok(vec![(None, unknown(id))]);
                }
                found.retain(|found| !self.matcher.is_taken(&found.key.conversation, &found.facts));
                Ok::<_, store::Error>(found.into_iter().map(recipient).collect())
            });
        let found: Vec<Vec<_>> = stream::iter(look_ups).buffered(LOOK_UPS).try_collect().await?;
        let next = (end < ids.len()).then(|| end.to_string());
        Ok(Page::group(found.into_iter().flatten(), next))
    }
}

fn recipient(candidate: Candidate) -> (Option<String>, Recipient) {
    (candidate.facts.tenant, Recipient::Conversation(candidate.key))
}
