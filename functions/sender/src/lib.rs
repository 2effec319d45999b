//! The sender: takes a chunk of deliveries, waits for permits, claims each, sends it, and settles it.
//!
//! ```text
//! chunk ── closed already? ── permits ── for each: recall ── claim ── send ── settle or release ── all ended? ── close
//!                                └─ none now ─────────────────────────────────┴─ some open ── the rest goes back, with a delay
//! ```
//!
//! A chunk comes at least once. Whoever handles it again finds in the ledger what ended, what another worker holds,
//! and what a dead worker left; so nothing is lost, and nothing that ended is sent again. A chunk that comes when its
//! notification has another content is handled the same way: its copies are behind, and are brought up to date.
//!
//! While the bot itself cannot speak, because there is no token for it or its token is not taken, no delivery fails:
//! none is claimed, and the work comes back later, as often as it takes.
//!
//! | file | what is decided there |
//! |---|---|
//! | `lib.rs` | what becomes of a chunk |
//! | `work.rs` | when its deliveries have their turns: permits, waits, the invocation's time |
//! | `delivery.rs` | one delivery: whether, claim, settle |
//! | `attempt.rs` | one attempt: its requests, and what follows from each failure |
//! | `operation.rs` | a chunk that goes by the channel's batch API, as one request |
//! | `person.rs` | where a recipient is reached; of whom nothing is known, the conversation is made, by one of all workers |
//! | `creation.rs` | the conversation with a person, created where they are served |
//! | `install.rs` | how the bot is installed for a person who has not got it |
//! | `successor.rs` | a conversation that is called something else by now |
//! | `view.rs` | the notification, as it was a second ago at most |

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use botframework::connector::Connector;
use herald::Error;
use herald::aws;
use herald::clock::{Chance, Clock};
use herald::completion;
use herald::config::{self, Environment, http_transport, variable};
use herald::event::{Events, eventbridge};
use herald::graph::Customers;
use herald::queue::batch::Receipt;
use herald::queue::{Chunk, Queue, sqs};
use herald::rate_limit::{Bucket, ConversationRate, Limits};
use herald::store::{Close, Conversations, Ledger, Notifications, Paces, dynamodb};
use herald::telemetry::chain;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::view::View;
use crate::work::Work;

mod attempt;
mod creation;
mod delivery;
mod install;
mod operation;
mod person;
mod successor;
mod view;
mod work;

/// How long one request to the channel may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long before the invocation's end no new delivery is begun: a claim, a request, a new token, the
/// request once more and a settling must fit in, each as slow as its time-outs let it be.
const MARGIN: SignedDuration = SignedDuration::from_secs(50);

/// How many deliveries one environment has under way. Each has a connection to the channel or to a table, which is kept for a
/// while, and an environment has 1,024 file descriptors.
const AT_ONCE: usize = 480;

/// A chunk that comes so little before its time is handled: clocks differ.
const EARLY: SignedDuration = SignedDuration::from_secs(1);

/// What the handler works with.
#[derive(Debug)]
pub struct Context<C, N, L, Q, E> {
    /// Where recipients' references are.
    pub conversations: C,
    /// Where messages are.
    pub notifications: N,
    /// The deliveries, and the paces they are made at.
    pub ledger: L,
    /// The queue to this function.
    pub deliveries: Q,
    /// Who wants to know.
    pub events: E,
    /// The way to the channel.
    pub connector: Connector,
    /// Those in whose tenants the bot can be installed for people, if the deployment names its app.
    pub customers: Option<Customers>,
    /// What the channel lets us do.
    pub limits: Limits,
    /// The time.
    pub clock: Clock,
    /// Chance, to spread waits.
    pub chance: Chance,
}

impl
    Context<dynamodb::Conversations, dynamodb::Notifications, dynamodb::Ledger, sqs::Queue, eventbridge::Bus>
{
    /// The context of the deployed function.
    ///
    /// # Errors
    /// When a variable is missing or wrong; it names it.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, config::Error> {
        let (clock, chance) = (Clock::system(), Chance::system());
        let transport = http_transport(environment).timeout(SEND_TIMEOUT).build()?;
        let sdk = aws::Sdk::new(environment, &transport)?;
        let schedules = sqs::Schedules::from_environment(environment, &sdk, &clock)?;
        let table = |variable| environment.required(variable);
        Ok(Self {
            conversations: dynamodb::Conversations::new(&sdk, table(variable::CONVERSATIONS_TABLE)?),
            notifications: dynamodb::Notifications::new(&sdk, table(variable::NOTIFICATIONS_TABLE)?),
            ledger: dynamodb::Ledger::new(&sdk, table(variable::DELIVERIES_TABLE)?),
            deliveries: sqs::Queue::from_environment(
                environment,
                variable::DELIVERIES_QUEUE_URL,
                &sdk,
                schedules.as_ref(),
            )?,
            events: eventbridge::Bus::from_environment(environment, &sdk),
            connector: herald::credential::connector(environment, &transport, &clock, &chance)?,
            customers: Customers::from_environment(environment, &transport, &clock, &chance)?,
            limits: environment.limits()?,
            clock,
            chance,
        })
    }
}

impl<C, N, L, Q, E> Context<C, N, L, Q, E> {
    /// Fetches what the first request would wait for. To be run beside the start, not before it.
    pub async fn prefetch(&self) {
        self.connector.prefetch().await;
    }

    /// Waits until this moment by the context's own clock.
    async fn wait_until(&self, moment: Timestamp) {
        if let Ok(wait) = Duration::try_from(moment.duration_since(self.clock.now())) {
            tokio::time::sleep(wait).await;
        }
    }

    /// A number by chance.
    fn draw(&self) -> u32 {
        let [a, b, c, d, ..] = self.chance.draw();
        u32::from_be_bytes([a, b, c, d])
    }

    fn spacing(&self) -> ConversationRate {
        ConversationRate::within(&self.limits.conversation)
    }
}

/// What all the work of one invocation shares.
#[derive(Debug)]
pub struct Invocation {
    deadline: Timestamp,
    /// Set when the bot itself was refused: nothing is begun before then.
    pause: Mutex<Option<Timestamp>>,
    /// Buckets that were throttled: the permits we have for them are void before then.
    held: Mutex<HashMap<Bucket, Timestamp>>,
    /// Buckets in which a conversation refused for what may be its tenant's.
    struck: Mutex<HashSet<Bucket>>,
    /// Where the tenants are served in which conversations are made.
    served: Mutex<HashMap<Bucket, String>>,
    /// Deliveries that may be begun beside those that are under way.
    room: Semaphore,
}

impl Invocation {
    /// An invocation that ends at `deadline`.
    pub fn new(deadline: Timestamp) -> Self {
        Self {
            deadline,
            pause: Mutex::default(),
            held: Mutex::default(),
            struck: Mutex::default(),
            served: Mutex::default(),
            room: Semaphore::new(AT_ONCE),
        }
    }

    /// Waits until so many deliveries may be begun, and keeps their room until it is dropped.
    async fn room(&self, deliveries: usize) -> Option<SemaphorePermit<'_>> {
        let deliveries = deliveries.min(AT_ONCE);
        // It is never closed.
        self.room
            .acquire_many(u32::try_from(deliveries).unwrap_or(u32::MAX))
            .await
            .ok()
    }

    /// Begins nothing before `until`. Whoever is first tells why, once for each pause.
    fn pause(&self, until: Timestamp, now: Timestamp, tell: impl FnOnce()) -> Timestamp {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        match *pause {
            Some(standing) if standing > now => standing,
            Some(_) | None => {
                tell();
                *pause = Some(until);
                until
            }
        }
    }

    fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        let pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        pause.filter(|until| *until > now)
    }

    /// Makes no request to this bucket before `until`.
    fn hold(&self, bucket: &Bucket, until: Timestamp) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = held.entry(bucket.clone()).or_insert(until);
        *standing = until.max(*standing);
    }

    /// Something was refused for what may be the tenant's.
    fn suspect(&self, bucket: &Bucket) {
        let mut struck = self.struck.lock().unwrap_or_else(PoisonError::into_inner);
        struck.insert(bucket.clone());
    }

    /// Something arrived: what was suspected is not so. Whether anything was.
    fn acquit(&self, bucket: &Bucket) -> bool {
        let mut struck = self.struck.lock().unwrap_or_else(PoisonError::into_inner);
        struck.remove(bucket)
    }

    fn held_until(&self, bucket: &Bucket, now: Timestamp) -> Option<Timestamp> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(bucket).copied().filter(|until| *until > now)
    }

    /// Where conversations of this bucket are made, if that was found out.
    fn served_at(&self, bucket: &Bucket) -> Option<String> {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.get(bucket).cloned()
    }

    fn serve_at(&self, bucket: &Bucket, url: &str) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.insert(bucket.clone(), url.to_owned());
    }

    /// Whether no delivery may be begun any more.
    fn is_late(&self, now: Timestamp) -> bool {
        later(now, MARGIN) > self.deadline
    }
}

/// Handles a batch, its chunks at once; what failed comes back alone.
pub async fn handle<C: Conversations, N: Notifications, L: Ledger + Paces, Q: Queue, E: Events>(
    context: &Context<C, N, L, Q, E>,
    event: SqsEvent,
    deadline: Timestamp,
) -> SqsBatchResponse {
    let invocation = &Invocation::new(deadline);
    sqs::handle_each(event, |chunk, receipt| run(context, chunk, receipt, invocation)).await
}

/// Handles one chunk.
///
/// # Errors
/// When a table, a queue or the event bus is away. The same message, handled again, goes on from what the ledger says; when
/// it does not come again, the notification says why.
pub async fn run<C: Conversations, N: Notifications, L: Ledger + Paces, Q: Queue, E: Events>(
    context: &Context<C, N, L, Q, E>,
    mut chunk: Chunk,
    receipt: Receipt,
    invocation: &Invocation,
) -> Result<(), Error> {
    let (id, name) = (chunk.notification.clone(), chunk.chunk);
    chunk.begun |= receipt.receives > 1;
    let Err(error) = deliver(context, chunk, invocation).await else {
        return Ok(());
    };
    if receipt.is_last() {
        // It is in the dead-letter queue from now on. To redrive it is safe: whatever has ended is in the ledger.
        let reason = chain(&error);
        if let Err(error) = context.notifications.mark_dead_lettered(&id, name, &reason).await {
            tracing::error!(error_type = "NotBuried", notification = %id, error = %chain(&error), "nobody is told why");
        }
    }
    Err(error)
}

async fn deliver<C: Conversations, N: Notifications, L: Ledger + Paces, Q: Queue, E: Events>(
    context: &Context<C, N, L, Q, E>,
    mut chunk: Chunk,
    invocation: &Invocation,
) -> Result<(), Error> {
    let now = context.clock.now();
    if let Some(due) = chunk.due.filter(|due| *due > later(now, EARLY)) {
        return send_back(context, chunk, due).await;
    }
    let (id, name) = (chunk.notification.clone(), chunk.chunk);
    let view = View::new(context, &id);
    let Some(seen) = view.newest().await? else {
        tracing::warn!(error_type = "ChunkWithoutNotification", notification = %id, "nothing is sent");
        return Ok(());
    };
    let closed = context
        .notifications
        .closed_chunks(&id, name.part, name.page)
        .await?;
    if closed
        .iter()
        .any(|closed| closed.0 == name.index && closed.1 >= seen.head.revision)
    {
        // Whoever closed it may have died before the next step.
        return completion::check(&context.notifications, &context.events, &id, now).await;
    }
    loop {
        // Newer contents are seen while the work is done; it is closed at the one that was seen before.
        let Some(seen) = view.newest().await? else {
            return Ok(());
        };
        if chunk.begun && chunk.revision < seen.head.revision && !anew(context, &mut chunk).await? {
            return Ok(());
        }
        chunk.revision = seen.head.revision;
        let work = Work::new(context, &view, invocation, &mut chunk);
        if let Some(until) = work.run().await? {
            return send_back(context, chunk, until).await;
        }
        let Chunk {
            revision, closing, ..
        } = &chunk;
        match context
            .notifications
            .close_chunk(&id, name, *revision, closing)
            .await?
        {
            Close::Closed => {
                tracing::info!(notification = %id, deliveries = closing.tally.total(), delivered = closing.tally.delivered, "chunk ended");
                return completion::check(&context.notifications, &context.events, &id, context.clock.now())
                    .await;
            }
            Close::StaleRevision => view.forget().await,
        }
    }
}

/// Makes the chunk what it was at the beginning: its copies have to show something else. `false` when there is no such chunk.
async fn anew<C, N: Notifications, L, Q, E>(
    context: &Context<C, N, L, Q, E>,
    chunk: &mut Chunk,
) -> Result<bool, Error> {
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
        ..Chunk::whole(chunk.notification.clone(), name, planned)
    };
    Ok(true)
}

/// What is left of the chunk goes back to the queue until then.
async fn send_back<C, N, L, Q: Queue, E>(
    context: &Context<C, N, L, Q, E>,
    mut chunk: Chunk,
    until: Timestamp,
) -> Result<(), Error> {
    let wait = Duration::try_from(until.duration_since(context.clock.now())).unwrap_or(Duration::ZERO);
    chunk.due = Some(until);
    tracing::info!(notification = %chunk.notification, open = chunk.recipients.len(), wait_s = wait.as_secs(), "chunk goes on later");
    Ok(context.deliveries.send(vec![chunk.message(wait)]).await?)
}

fn later(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(now)
}
