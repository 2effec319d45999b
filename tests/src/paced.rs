//! One tenant's backlog, a few senders fed from a queue as Lambda feeds them, and a channel with a strict limit of requests
//! a second.
//!
//! Time is tokio's own: real in a bench, virtual in a test that pauses it.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use botframework::connector::Connector;
use botframework::http::{Body, ResponseFuture, Transport};
use bytes::Bytes;
use futures_util::future::{Either, join, join_all, select};
use herald::audience::Recipient;
use herald::backend::Backend;
use herald::clock::{Clock, Random};
use herald::event::memory::Events;
use herald::id::NotificationId;
use herald::notification::request::Request;
use herald::notification::{ChunkId, Notification, Page};
use herald::queue::{self, Chunk, DELAY_MAX, Message};
use herald::rate_limit::{Bucket, Limits};
use herald::store::memory::Store;
use herald::store::{Acceptance, Conversations, Ledger, Notifications, RateLimits, Registry};
use herald_local::sqs::Broker;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backend::Assembled;
use crate::crowd::{self, Crowd};
use crate::database::stack;

/// The batch size of the event source mapping and the timeout of an invocation, as in the template.
const BATCH: usize = 10;
const INVOCATION: Duration = Duration::from_secs(90);

const QUEUE: &str = "DeliveriesQueue";

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The notification at its end.
    pub notification: Notification,
    /// The time from the first chunk on the queue to the last one deleted.
    pub took: Duration,
    /// The total time for which senders were awake.
    pub awake: Duration,
    /// The number of sender invocations.
    pub invocations: u64,
    /// The number of messages put on the queue, with repetitions.
    pub enqueued: u64,
    /// The number of messages received from the queue, with repetitions.
    pub received: u64,
    /// Requests to the queue as SQS bills them: send, receive and delete.
    pub queue_requests: u64,
}

/// A channel that accepts a limited number of requests in any second, and answers 429 to the rest.
#[derive(Clone, Debug)]
pub struct Limited(Arc<Mutex<Window>>);

#[derive(Debug)]
struct Window {
    most: usize,
    taken: VecDeque<Instant>,
    counts: Counts,
}

/// The requests that a channel has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that it accepted.
    pub taken: u64,
    /// Requests that it answered with 429.
    pub refused: u64,
}

impl Limited {
    /// A channel that accepts `most` requests in any second.
    pub fn to(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Window {
            most,
            taken: VecDeque::new(),
            counts: Counts::default(),
        })))
    }

    /// The requests so far.
    pub fn counts(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counts
    }

    /// Whether a request is accepted now.
    pub fn takes(&self) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while window
            .taken
            .front()
            .is_some_and(|first| now.duration_since(*first) >= Duration::from_secs(1))
        {
            window.taken.pop_front();
        }
        let takes = window.taken.len() < window.most;
        if takes {
            window.taken.push_back(now);
            window.counts.taken += 1;
        } else {
            window.counts.refused += 1;
        }
        takes
    }
}

impl Transport for Limited {
    fn send(&self, _: http::Request<Bytes>) -> ResponseFuture<'_> {
        let (status, body) = if self.takes() {
            (http::StatusCode::CREATED, r#"{"id":"1767000100001"}"#)
        } else {
            (http::StatusCode::TOO_MANY_REQUESTS, "")
        };
        let mut response = http::Response::new(Body::Complete(Bytes::from_static(body.as_bytes())));
        *response.status_mut() = status;
        if status == http::StatusCode::TOO_MANY_REQUESTS {
            let second = http::HeaderValue::from_static("1");
            response.headers_mut().insert(http::header::RETRY_AFTER, second);
        }
        Box::pin(async move { Ok(response) })
    }
}

/// The tables of a sender.
#[derive(Clone, Debug)]
pub struct Tables<C, N, L, R> {
    /// Where conversations are.
    pub conversations: C,
    /// Where notifications are.
    pub notifications: N,
    /// The ledger and the tenant rates.
    pub ledger: L,
    /// Where categories and the preferences of tenants are.
    pub registry: R,
}

/// The deliveries queue of the local host, for a sender.
#[derive(Clone, Debug)]
struct Deliveries {
    broker: Broker,
    enqueued: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
}

impl Deliveries {
    fn new(broker: &Broker) -> Self {
        Self {
            broker: broker.clone(),
            enqueued: Arc::default(),
            requests: Arc::default(),
        }
    }
}

impl queue::Queue for Deliveries {
    async fn send(&self, messages: Vec<Message>) -> Result<(), queue::Error> {
        let requests = billed(messages.iter().map(|message| message.body.len()));
        self.requests.fetch_add(requests, Ordering::Relaxed);
        for message in messages {
            // SQS counts delays in whole seconds.
            let seconds = message.delay.as_millis().div_ceil(1000);
            let delay = Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)).min(DELAY_MAX);
            let sent = herald_local::sqs::Message {
                body: message.body,
                group: message.group,
                ..herald_local::sqs::Message::default()
            };
            self.broker.send(QUEUE, sent, Some(delay)).unwrap();
            self.enqueued.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The number of requests that SQS bills for messages of these sizes: at most ten of them and a mebibyte together, and one
/// for each 64 KB.
pub fn billed(sizes: impl Iterator<Item = usize>) -> u64 {
    const TOGETHER_BYTES: usize = 1024 * 1024;
    let (mut billed, mut messages, mut bytes) = (0, 0, 0);
    for size in sizes {
        if messages == BATCH || bytes + size > TOGETHER_BYTES {
            billed += bytes.div_ceil(64 * 1024).max(1) as u64;
            (messages, bytes) = (0, 0);
        }
        messages += 1;
        bytes += size;
    }
    if messages > 0 {
        billed += bytes.div_ceil(64 * 1024).max(1) as u64;
    }
    billed
}

/// Delivers a notification to `people` of one tenant over `connector`, at the limits of Teams, over in-memory tables, with
/// this many senders.
pub async fn run(people: u64, service_url: &str, connector: Connector, senders: usize) -> Report {
    let clock = clock();
    let crowd = Crowd {
        people,
        tenants: 1,
        service_url: service_url.to_owned(),
    };
    let store = Store::new();
    let (notification, messages) = planned(&crowd, &store, clock.now(), None).await;
    let tables = Tables {
        conversations: store.clone(),
        notifications: store.clone(),
        registry: store.clone(),
        ledger: store,
    };
    deliver(&tables, &notification.id, messages, connector, clock, senders).await
}

/// A clock that follows tokio's, from a fixed start.
pub fn clock() -> Clock {
    let began = Instant::now();
    Clock::from_fn(move || {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        start.checked_add(began.elapsed()).unwrap()
    })
}

/// Plans until the plans queue is empty. Returns how many messages it had.
pub async fn plan<B: Backend<Queue = queue::memory::Queue>>(
    planner: &planner::Context<B>,
    plans: &queue::memory::Queue,
) -> u64 {
    let mut count = 0;
    while let Some(plan) = plans.take() {
        let plan = serde_json::from_str(&plan.body).unwrap();
        let deadline = planner.clock.now() + jiff::SignedDuration::from_mins(1);
        planner::run(planner, plan, deadline).await.unwrap();
        count += 1;
    }
    count
}

/// Puts the messages of a notification on the queue and delivers them, at the limits of Teams.
pub async fn deliver<C, N, L, R>(
    tables: &Tables<C, N, L, R>,
    id: &NotificationId,
    messages: Vec<Message>,
    connector: Connector,
    clock: Clock,
    senders: usize,
) -> Report
where
    C: Conversations + Debug,
    N: Notifications + Debug,
    L: Ledger + RateLimits + Debug,
    R: Registry + Debug,
{
    let broker = Broker::new(&stack(), herald_local::Events::default());
    let deliveries = Deliveries::new(&broker);
    let context = sending(tables, &deliveries, connector, clock);
    let begun = Instant::now();
    queue::Queue::send(&deliveries, messages).await.unwrap();
    let workers = join_all((0..senders).map(|_| work(&context, &broker))).await;
    let took = begun.elapsed();
    let sum = |each: fn(&Worked) -> u64| workers.iter().map(each).sum::<u64>();
    Report {
        notification: tables.notifications.find(id).await.unwrap().unwrap(),
        took,
        awake: workers.iter().map(|worked| worked.awake).sum(),
        invocations: sum(|worked| worked.invocations),
        enqueued: deliveries.enqueued.load(Ordering::Relaxed),
        received: sum(|worked| worked.received),
        queue_requests: deliveries.requests.load(Ordering::Relaxed) + sum(|worked| worked.requests),
    }
}

fn sending<C, N, L, R>(
    tables: &Tables<C, N, L, R>,
    deliveries: &Deliveries,
    connector: Connector,
    clock: Clock,
) -> sender::Context<Assembled<C, N, L, Deliveries, Events, R>>
where
    C: Conversations + Debug,
    N: Notifications + Debug,
    L: Ledger + RateLimits + Debug,
    R: Registry + Debug,
{
    sender::Context {
        conversations: tables.conversations.clone(),
        notifications: tables.notifications.clone(),
        registry: tables.registry.clone(),
        ledger: tables.ledger.clone(),
        deliveries: deliveries.clone(),
        events: Events::new(),
        connector,
        graph_clients: None,
        limits: Limits::teams(),
        clock,
        random: Random::from_fn(|| [7; 16]),
    }
}

/// How a broadcast ends, ten seconds after it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It goes on.
    None,
    /// It is cancelled.
    Cancelled,
    /// It expires.
    Expired,
}

/// When a message to one person is sent, in seconds after the broadcast began.
const MOMENTS: [u64; 7] = [1, 3, 6, 9, 11, 13, 17];

/// How long messages to one person take beside a broadcast to `people` of their tenant: from acceptance to completion, at
/// several moments while the broadcast is under way and after its end.
pub async fn delays(
    people: u64,
    service_url: &str,
    connector: Connector,
    senders: usize,
    ending: Ending,
) -> Vec<Duration> {
    const END: Duration = Duration::from_secs(10);
    let clock = clock();
    let crowd = Crowd {
        people,
        tenants: 1,
        service_url: service_url.to_owned(),
    };
    let store = Store::new();
    let lasts = match ending {
        Ending::Expired => Some(END),
        Ending::None | Ending::Cancelled => None,
    };
    let (broadcast, messages) = planned(&crowd, &store, clock.now(), lasts).await;
    let tables = Tables {
        conversations: store.clone(),
        notifications: store.clone(),
        registry: store.clone(),
        ledger: store.clone(),
    };
    let broker = Broker::new(&stack(), herald_local::Events::default());
    let deliveries = Deliveries::new(&broker);
    let context = sending(&tables, &deliveries, connector, clock.clone());
    queue::Queue::send(&deliveries, messages).await.unwrap();
    let begun = Instant::now();
    let callers = async {
        let mut ids = Vec::new();
        let mut is_over = false;
        for second in MOMENTS {
            let moment = Duration::from_secs(second);
            if ending == Ending::Cancelled && moment > END && !is_over {
                tokio::time::sleep_until(begun + END).await;
                store.cancel(&broadcast.id, clock.now()).await.unwrap();
                is_over = true;
            }
            tokio::time::sleep_until(begun + moment).await;
            // A person whom the broadcast has reached, or reaches much later: a conversation has limits of its own.
            let number = u8::try_from(second).unwrap();
            let (id, message) = single(&crowd, &store, people - 1 - second, clock.now(), number).await;
            queue::Queue::send(&deliveries, vec![message]).await.unwrap();
            ids.push(id);
        }
        ids
    };
    let (over, is_over) = watch::channel(false);
    let callers = async {
        let ids = callers.await;
        over.send_replace(true);
        ids
    };
    let workers = (0..senders).map(|_| async {
        // The queue may be empty between two messages.
        let mut is_over = is_over.clone();
        while !*is_over.borrow() {
            work(&context, &broker).await;
            let next = Box::pin(broker.wait_visible(QUEUE));
            select(next, Box::pin(is_over.wait_for(|over| *over))).await;
        }
        work(&context, &broker).await;
    });
    let (ids, _) = Box::pin(join(callers, join_all(workers))).await;
    let mut delays = Vec::new();
    for id in ids {
        let head = store.find(&id).await.unwrap().unwrap();
        let took = head.completed_at.unwrap().duration_since(head.accepted_at);
        delays.push(Duration::try_from(took).unwrap());
    }
    delays
}

/// A notification to one person, planned, and the message of its chunk.
async fn single(
    crowd: &Crowd,
    store: &Store,
    person: u64,
    now: Timestamp,
    number: u8,
) -> (NotificationId, Message) {
    let (key, attributes) = crowd.candidate(person);
    let audience = json!({"conversations": [key.conversation]});
    let (notification, request) = crowd::notification(&audience, now, [number; 16]);
    accept(store, &notification, request).await;
    let bucket = Bucket::of(&key, attributes.tenant.as_deref());
    let page = Page::group([(Some(bucket), Recipient::Conversation(key))], None);
    store.put_page(&notification.id, 0, 0, &page).await.unwrap();
    let name = ChunkId {
        part: 0,
        page: 0,
        index: 0,
    };
    let planned = page.chunks.into_iter().next().unwrap();
    let chunk = Chunk::whole(notification.id.clone(), name, planned);
    (notification.id, chunk.message(Duration::ZERO))
}

async fn accept(store: &Store, notification: &Notification, request: Request) {
    let acceptance = Acceptance {
        notification: notification.clone(),
        audience: request.audience,
        message: request.message,
        replacement: request.replacement,
        idempotency: None,
    };
    store.accept(&acceptance).await.unwrap();
}

async fn planned(
    crowd: &Crowd,
    store: &Store,
    now: Timestamp,
    lasts: Option<Duration>,
) -> (Notification, Vec<Message>) {
    for person in 0..crowd.people {
        store.remember(crowd.observation(person), now).await.unwrap();
    }
    let (mut notification, request) = crowd::notification(&json!({"tenant": crowd.tenant(0)}), now, [1; 16]);
    if let Some(lasts) = lasts {
        notification.expires_at = now.checked_add(lasts).unwrap();
    }
    accept(store, &notification, request).await;
    let mut messages = Vec::new();
    for (page, planned) in (0..).zip(crowd.pages()) {
        store.put_page(&notification.id, 0, page, &planned).await.unwrap();
        let of_page = (0..).zip(planned.chunks).map(|(index, chunk)| {
            let name = ChunkId { part: 0, page, index };
            Chunk::whole(notification.id.clone(), name, chunk).message(Duration::ZERO)
        });
        messages.extend(of_page);
    }
    (notification, messages)
}

#[derive(Default)]
struct Worked {
    awake: Duration,
    invocations: u64,
    received: u64,
    requests: u64,
}

/// One environment of the sender: takes batch after batch until the queue stays empty.
async fn work<C, N, L, R>(
    context: &sender::Context<Assembled<C, N, L, Deliveries, Events, R>>,
    broker: &Broker,
) -> Worked
where
    C: Conversations + Debug,
    N: Notifications + Debug,
    L: Ledger + RateLimits + Debug,
    R: Registry + Debug,
{
    let mut worked = Worked::default();
    loop {
        match select(Box::pin(broker.wait_visible(QUEUE)), Box::pin(broker.drained())).await {
            Either::Left((visible, _)) => visible.unwrap(),
            Either::Right(_) => return worked,
        }
        let batch = broker.receive(QUEUE, BATCH, None).unwrap();
        if batch.is_empty() {
            // Another environment received them first.
            continue;
        }
        worked.received += batch.len() as u64;
        worked.invocations += 1;
        // Received together and deleted together.
        worked.requests += billed(batch.iter().map(|received| received.message.body.len())) + 1;
        let records = batch.iter().map(|received| {
            let mut record = SqsMessage::default();
            record.message_id = Some(received.id.clone());
            record.body = Some(received.message.body.clone());
            let receives = received.receives.to_string();
            record
                .attributes
                .insert("ApproximateReceiveCount".to_owned(), receives);
            record
        });
        let mut event = SqsEvent::default();
        event.records = records.collect();
        let begun = Instant::now();
        let deadline = context.clock.now().checked_add(INVOCATION).unwrap();
        let response = sender::handle(context, event, deadline).await;
        assert!(response.batch_item_failures.is_empty(), "a chunk failed");
        worked.awake += begun.elapsed();
        for received in batch {
            broker.delete(QUEUE, &received.receipt).unwrap();
        }
    }
}
