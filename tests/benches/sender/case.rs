//! One measured case, in its own process, so that its processor time and memory are its own.

use std::error::Error;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use botframework::connector::Connector;
use botframework::http::{Body, HttpTransport, ResponseFuture, Transport};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use herald::clock::{Clock, Random};
use herald::event::memory::Events;
use herald::notification::{ChunkId, Notification};
use herald::queue::{Chunk, memory::Queue};
use herald::rate_limit::{Limit, Limits};
use herald::store::memory::Store;
use herald::store::{Acceptance, Conversations, Ledger, Notifications, RateLimits};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tests::backend::Assembled;
use tests::crowd::{self, Crowd};
use tests::{database, meter};

/// Chunks in one Lambda batch, as in the template.
const BATCH: usize = 10;

/// Requests in flight at once: a block of each chunk.
const AT_ONCE: usize = BATCH * 32;

/// The timeout of an invocation, as in the template.
const INVOCATION: Duration = Duration::from_secs(90);

/// The timeout of one request.
const REQUEST: Duration = Duration::from_secs(10);

/// The result of a case, as its process prints it for the parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) deliveries: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_bytes: u64,
}

impl Measured {
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(crate) fn per_second(&self) -> f64 {
        self.deliveries as f64 / self.seconds
    }

    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(crate) fn cpu_per_thousand(&self) -> f64 {
        self.cpu_seconds * 1000.0 / self.deliveries as f64
    }
}

/// Starts with the processor time and the current time.
pub(crate) struct Stopwatch {
    begun: Instant,
    cpu: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            begun: Instant::now(),
            cpu: meter::cpu_time()?,
        })
    }

    pub(crate) fn stop(self, deliveries: u64) -> Result<Measured, Box<dyn Error>> {
        let seconds = self.begun.elapsed().as_secs_f64();
        Ok(Measured {
            deliveries,
            seconds,
            cpu_seconds: meter::cpu_time()?.saturating_sub(self.cpu).as_secs_f64(),
            peak_bytes: meter::peak_memory()?,
        })
    }
}

fn crowd(people: u64, channel: &str) -> Crowd {
    Crowd {
        people,
        tenants: 1,
        service_url: format!("{channel}/"),
    }
}

fn http() -> Result<HttpTransport, Box<dyn Error>> {
    Ok(HttpTransport::builder().timeout(REQUEST).build()?)
}

/// A bare reqwest loop: the sender's requests, byte for byte, sent at full speed.
pub(crate) async fn bare(people: u64, channel: &str) -> Result<Measured, Box<dyn Error>> {
    // One batch of people is enough: the loop does not depend on its recipients.
    let some = crowd((BATCH * 96) as u64, channel);
    let recorder = Recorder::default();
    let requests = recorder.requests.clone();
    let store = Store::new();
    let (notification, chunks) = planned(&some, &store, &store).await?;
    let sender = sender(
        store.clone(),
        store.clone(),
        store,
        Connector::unauthenticated(recorder),
    );
    send(&sender, &notification, chunks).await?;
    let requests = std::mem::take(&mut *requests.lock().unwrap_or_else(PoisonError::into_inner));

    let client = tests::http_client::builder()
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .timeout(REQUEST)
        .build()?;
    let client = &client;
    let stopwatch = Stopwatch::start()?;
    let mut taken = stream::iter(requests.iter().cycle().take(usize::try_from(people)?))
        .map(|request| async move {
            let url = request.uri().to_string();
            let response = client
                .post(url)
                .headers(request.headers().clone())
                .body(request.body().clone())
                .send()
                .await?;
            let created = response.status() == 201;
            response.bytes().await?;
            Ok::<_, reqwest::Error>(u64::from(created))
        })
        .buffer_unordered(AT_ONCE);
    let mut created = 0;
    while let Some(one) = taken.next().await {
        created += one?;
    }
    if created != people {
        return Err(format!("{created} of {people} were taken").into());
    }
    stopwatch.stop(people)
}

/// The sender over in-memory tables.
pub(crate) async fn in_memory(people: u64, channel: &str) -> Result<Measured, Box<dyn Error>> {
    let (crowd, store) = (crowd(people, channel), Store::new());
    let (notification, chunks) = planned(&crowd, &store, &store).await?;
    let connector = Connector::unauthenticated(http()?);
    let sender = sender(store.clone(), store.clone(), store, connector);
    send(&sender, &notification, chunks).await
}

/// The sender over tables in a DynamoDB of another process.
pub(crate) async fn on_dynoxide(
    people: u64,
    channel: &str,
    database: &str,
) -> Result<Measured, Box<dyn Error>> {
    let crowd = crowd(people, channel);
    let address: SocketAddr = database.trim_start_matches("http://").parse()?;
    let (conversations, notifications) = (
        database::conversations_at(address),
        database::notifications_at(address),
    );
    let ledger = database::ledger_at(address);
    let (notification, chunks) = planned(&crowd, &conversations, &notifications).await?;
    let connector = Connector::unauthenticated(http()?);
    let sender = sender(conversations, notifications, ledger, connector);
    send(&sender, &notification, chunks).await
}

/// Stores everyone, accepts a notification to them, and plans it.
async fn planned<C: Conversations, N: Notifications>(
    crowd: &Crowd,
    conversations: &C,
    notifications: &N,
) -> Result<(Notification, Vec<Chunk>), Box<dyn Error>> {
    let now = Clock::system().now();
    let mut remembering = stream::iter(0..crowd.people)
        .map(|person| conversations.remember(crowd.observation(person), now))
        .buffer_unordered(32);
    while let Some(remembered) = remembering.next().await {
        remembered?;
    }
    let audience = json!({"tenant": crowd.tenant(0)});
    let (notification, request) = crowd::notification(&audience, now, Random::system().bytes());
    let acceptance = Acceptance {
        notification: notification.clone(),
        audience: request.audience,
        message: request.message,
        replacement: request.replacement,
        idempotency: None,
    };
    notifications.accept(&acceptance).await?;
    let mut chunks = Vec::new();
    for (number, page) in (0..).zip(crowd.pages()) {
        notifications.put_page(&notification.id, 0, number, &page).await?;
        let name = |index| ChunkId {
            part: 0,
            page: number,
            index,
        };
        let of_page = (0..).zip(page.chunks);
        chunks
            .extend(of_page.map(|(index, chunk)| Chunk::whole(notification.id.clone(), name(index), chunk)));
    }
    Ok((notification, chunks))
}

fn sender<C: Conversations + Debug, N: Notifications + Debug, L: Ledger + RateLimits + Debug>(
    conversations: C,
    notifications: N,
    ledger: L,
    connector: Connector,
) -> sender::Context<Assembled<C, N, L, Queue, Events>> {
    sender::Context {
        conversations,
        notifications,
        registry: Store::new(),
        ledger,
        deliveries: Queue::new(),
        events: Events::new(),
        connector,
        graph_clients: None,
        limits: Limits {
            tenant: Limit {
                requests: 1_000_000,
                per: SignedDuration::from_secs(1),
            },
            ..Limits::teams()
        },
        clock: Clock::system(),
        random: Random::system(),
    }
}

/// Hands the chunks to the sender as Lambda does, and measures until the last one is closed.
async fn send<C: Conversations + Debug, N: Notifications + Debug, L: Ledger + RateLimits + Debug>(
    sender: &sender::Context<Assembled<C, N, L, Queue, Events>>,
    notification: &Notification,
    chunks: Vec<Chunk>,
) -> Result<Measured, Box<dyn Error>> {
    let bodies = chunks.iter().map(|chunk| chunk.message(Duration::ZERO).body);
    let mut waiting: Vec<String> = bodies.rev().collect();
    let stopwatch = Stopwatch::start()?;
    while !waiting.is_empty() {
        let batch = waiting.split_off(waiting.len().saturating_sub(BATCH));
        let deadline = sender.clock.now().checked_add(INVOCATION)?;
        let response = sender::handle(sender, event(batch), deadline).await;
        if !response.batch_item_failures.is_empty() {
            return Err("a chunk failed".into());
        }
        while let Some(message) = sender.deliveries.take() {
            waiting.push(message.body);
        }
    }
    let found = sender.notifications.find(&notification.id).await?;
    let found = found.ok_or("the notification is gone")?;
    let (delivered, audience) = (found.counts.delivered, found.audience);
    if delivered != audience || found.completed_at.is_none() {
        return Err(format!("{delivered} of {audience} were delivered").into());
    }
    stopwatch.stop(delivered)
}

/// Messages of a queue as Lambda hands them to a function.
pub(crate) fn event(bodies: Vec<String>) -> SqsEvent {
    let records = (0..).zip(bodies).map(|(number, body): (u32, String)| {
        let mut record = SqsMessage::default();
        record.message_id = Some(number.to_string());
        record.body = Some(body);
        record
            .attributes
            .insert("ApproximateReceiveCount".to_owned(), "1".to_owned());
        record
    });
    let mut event = SqsEvent::default();
    event.records = records.collect();
    event
}

/// Accepts every request, and records it.
#[derive(Default)]
struct Recorder {
    requests: Arc<Mutex<Vec<http::Request<Bytes>>>>,
}

impl Transport for Recorder {
    fn send(&self, request: http::Request<Bytes>) -> ResponseFuture<'_> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request);
        Box::pin(async { Ok(created()) })
    }
}

/// The response of a channel that accepted a message.
pub(crate) fn created() -> http::Response<Body> {
    let mut response = http::Response::new(Body::Complete(Bytes::from_static(b"{\"id\":\"1767000100001\"}")));
    *response.status_mut() = http::StatusCode::CREATED;
    response
}
