//! The sender: takes a chunk of deliveries, waits for permits, leases each conversation, sends, and settles.
//!
//! ```text
//! chunk ── closed already? ── permits ── for each: resolve ── claim ── send ── settle or release ── all ended? ── close
//!                                └─ none now ─────────────────────────────────┴─ some open ── the rest is re-queued
//! ```
//!
//! A chunk comes at least once. A worker that handles it again finds in the ledger which deliveries ended, which another worker
//! has leased, and which a crashed worker left; so nothing is lost, and nothing that ended is sent again. A chunk that comes
//! when its notification has another content is handled the same way: its sent messages are stale, and are updated.
//!
//! While the bot has no token, or its token is not accepted, no delivery fails: none is leased, and the chunk comes back later,
//! as often as it takes.
//!
//! | module | what it decides | uses |
//! |---|---|---|
//! | `lib` | what becomes of a chunk | all |
//! | `batch` | a chunk that goes by the channel's batch API, as one request | chunk, resolve, outcome |
//! | `chunk` | when its deliveries are processed: permits, waits, the invocation's end | block |
//! | `block` | deliveries that have permits, while others are under way | delivery |
//! | `delivery` | one delivery: resolve, claim, attempt, settle | resolve, request, outcome |
//! | `resolve` | the conversation of a recipient, under the creation lease | `create_conversation`, install |
//! | `create_conversation`, `install` | creates a person's conversation; installs the bot for them | tenant |
//! | `request` | the requests of one attempt | outcome |
//! | `outcome` | what an answer means for its delivery, and beyond it | tenant |
//! | `tenant` | permits, 429s, failures and tokens of one tenant | invocation |
//! | `notification_cache`, `invocation`, `context` | what they share | |

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use herald::Error;
use herald::backend::Backend;
use herald::completion;
use herald::notification::SendMode;
use herald::queue::batch::{Receipt, trace_notification};
use herald::queue::{Chunk, Queue, sqs};
use herald::store::{Close, Notifications};
use herald::telemetry::{self, Metric, chain};
use herald::time::{later, until};
use jiff::{SignedDuration, Timestamp};

use crate::batch::BatchRun;
use crate::chunk::ChunkRun;
use crate::notification_cache::NotificationCache;

pub use context::Context;
pub use invocation::Invocation;

mod batch;
mod block;
mod chunk;
mod context;
mod create_conversation;
mod delivery;
mod install;
mod invocation;
mod notification_cache;
mod outcome;
mod request;
mod resolve;
mod tenant;

/// What has ended of a chunk that goes on sooner than this is counted with the rest: a count costs a transaction.
const UNCOUNTED_WAIT: SignedDuration = SignedDuration::from_secs(5);

/// A chunk that comes so little before its time is handled: clocks differ.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(1);

/// Handles a batch, its chunks concurrently; those that failed come back alone.
pub async fn handle<B: Backend>(
    context: &Context<B>,
    event: SqsEvent,
    deadline: Timestamp,
) -> SqsBatchResponse {
    let invocation = &Invocation::new(context, deadline);
    sqs::handle_each(event, |chunk, receipt| run(invocation, chunk, receipt)).await
}

/// Handles one chunk.
///
/// # Errors
/// When a table, a queue or the event bus is unavailable. The same message, handled again, continues from the ledger; when it
/// does not come again, the notification says why.
pub async fn run<B: Backend>(
    invocation: &Invocation<'_, B>,
    mut chunk: Chunk,
    receipt: Receipt,
) -> Result<(), Error> {
    let (id, name) = (chunk.notification.clone(), chunk.chunk);
    trace_notification(&id);
    chunk.begun |= receipt.receives > 1;
    let Err(error) = deliver(invocation, chunk).await else {
        return Ok(());
    };
    if receipt.is_last() {
        // It is in the dead-letter queue from now on. To redrive it is safe: what has ended is in the ledger.
        let reason = chain(&error);
        telemetry::count(Metric::DeadLettered);
        let notifications = &invocation.context.notifications;
        if let Err(error) = notifications.mark_dead_lettered(&id, name, &reason).await {
            tracing::error!(error_type = "DeadLetterNotRecorded", notification = %id, error = %chain(&error), "chunk moved to the dead-letter queue; the reason could not be stored");
        }
    }
    Err(error)
}

async fn deliver<B: Backend>(invocation: &Invocation<'_, B>, mut chunk: Chunk) -> Result<(), Error> {
    let context = invocation.context;
    let now = invocation.now();
    if let Some(due) = chunk.due.filter(|due| *due > later(now, CLOCK_SKEW)) {
        return requeue(context, chunk, due).await;
    }
    let (id, name) = (chunk.notification.clone(), chunk.chunk);
    let Some(cache) = NotificationCache::open(context, &chunk).await? else {
        tracing::warn!(error_type = "ChunkWithoutNotification", notification = %id, "nothing is sent");
        return Ok(());
    };
    let revision = cache.latest().await?.head.revision;
    let counted = context
        .notifications
        .counted_chunks(&id, name.part, name.page)
        .await?;
    if counted
        .iter()
        .any(|chunk| chunk.index == name.index && chunk.is_closed_at(revision))
    {
        // The worker that closed it may have crashed before the next step.
        return completion::check(&context.notifications, &context.events, &id, now).await;
    }
    loop {
        // Newer contents take effect while the chunk is processed; it is closed at the one of the beginning.
        let revision = cache.latest().await?.head.revision;
        if chunk.begun && chunk.revision < revision && !reset(context, &mut chunk).await? {
            return Ok(());
        }
        chunk.revision = revision;
        if let Some(until) = process(invocation, &cache, &mut chunk).await? {
            // What is not sent by then ends then, however long it would have to wait.
            let head = &cache.latest().await?.head;
            let now = invocation.now();
            let is_sooner = head.expires_at < until && head.expires_at > now;
            let until = if is_sooner { head.expires_at } else { until };
            telemetry::record(Metric::Waiting, chunk.recipients.len() as u64);
            // What quiet hours hold is not late.
            if !chunk.held {
                let since = chunk.wave.or(head.deliver_at).unwrap_or(head.accepted_at);
                let open_for = now.duration_since(since).as_secs();
                telemetry::record(Metric::OldestOpen, u64::try_from(open_for).unwrap_or(0));
            }
            if until > later(invocation.now(), UNCOUNTED_WAIT) {
                count(context, &chunk).await;
            }
            return requeue(context, chunk, until).await;
        }
        let Chunk { revision, result, .. } = &chunk;
        match context
            .notifications
            .close_chunk(&id, name, *revision, result)
            .await?
        {
            Close::Closed => {
                tracing::info!(notification = %id, deliveries = result.counts.total(), delivered = result.counts.delivered, "chunk ended");
                return completion::check(&context.notifications, &context.events, &id, invocation.now())
                    .await;
            }
            Close::StaleRevision => cache.reset().await,
        }
    }
}

/// Processes the chunk until everything has ended, or has to wait: until then. What is open is left in it.
async fn process<B: Backend>(
    invocation: &Invocation<'_, B>,
    cache: &NotificationCache<'_, B>,
    chunk: &mut Chunk,
) -> Result<Option<Timestamp>, Error> {
    let mut run = ChunkRun::new(invocation, cache, chunk);
    let mut until = match run.chunk.send_mode {
        SendMode::Batch => BatchRun::new(&mut run).step().await?,
        SendMode::Individual => None,
    };
    if until.is_none() {
        if run.chunk.send_mode == SendMode::Batch {
            // What the batch leaves over queues like any other chunk.
            run.chunk.ticket = None;
        }
        run.chunk.send_mode = SendMode::Individual;
        until = Box::pin(run.deliver_individually()).await?;
    }
    run.finish().await?;
    Ok(until)
}

/// Makes the chunk what it was at the beginning: its sent messages have to be updated. `false` when there is no such chunk.
async fn reset<B: Backend>(context: &Context<B>, chunk: &mut Chunk) -> Result<bool, Error> {
    let name = chunk.chunk;
    let page = context
        .notifications
        .page(&chunk.notification, name.part, name.page)
        .await?;
    let Some(planned) = page.and_then(|page| page.chunks.into_iter().nth(usize::from(name.index))) else {
        return Ok(false);
    };
    *chunk = Chunk {
        begun: true,
        ticket: chunk.ticket,
        cancelled: chunk.cancelled,
        ..Chunk::whole(chunk.notification.clone(), name, planned)
    };
    Ok(true)
}

/// Counts what has ended of a chunk that is not closed for a while. When that fails, it is counted with the rest.
async fn count<B: Backend>(context: &Context<B>, chunk: &Chunk) {
    let Chunk {
        notification: id,
        result,
        ..
    } = chunk;
    let counted = context
        .notifications
        .count_open_chunk(id, chunk.chunk, &result.counts);
    if let Err(error) = counted.await {
        tracing::warn!(error_type = "ChunkNotCounted", notification = %id, error = %chain(&error), "what has ended of a chunk could not be counted; it is counted when the chunk ends");
    }
}

/// Puts what is left of the chunk back on the queue, due then.
async fn requeue<B: Backend>(context: &Context<B>, mut chunk: Chunk, due: Timestamp) -> Result<(), Error> {
    let wait = until(context.clock.now(), due);
    chunk.due = Some(due);
    tracing::info!(notification = %chunk.notification, open = chunk.recipients.len(), wait_s = wait.as_secs(), "chunk requeued");
    Ok(context.deliveries.send(vec![chunk.message(wait)]).await?)
}
