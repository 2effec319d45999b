//! What the chunks of one invocation share.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use herald::backend::Backend;
use herald::bot_monitor::BotMonitor;
use herald::id::NotificationId;
use herald::rate_limit::Bucket;
use herald::store::{self, CasResult};
use herald::telemetry::chain;
use herald::tenant_gate::TenantGate;
use herald::time::later;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::context::Context;

/// How long before the invocation's end no delivery is begun: a claim, a request, a token, the repeated request and a
/// settlement must fit in, each as slow as its time-out allows.
const SHUTDOWN_MARGIN: SignedDuration = SignedDuration::from_secs(50);

/// How long before the invocation's end an attempt makes no further request.
const LAST_REQUEST_MARGIN: SignedDuration = SignedDuration::from_secs(25);

/// How many deliveries one environment has in flight. Each may keep a connection to the channel or to a table for a while, and
/// an environment has 1,024 file descriptors.
const MAX_CONCURRENCY: usize = 480;

/// How long to wait before the outcome of an attempt is written again.
const RECORD_BACKOFF: [SignedDuration; 4] = [
    SignedDuration::from_millis(200),
    SignedDuration::from_secs(1),
    SignedDuration::from_secs(2),
    SignedDuration::from_secs(4),
];

/// One invocation of the function.
#[derive(Debug)]
pub struct Invocation<'a, B: Backend> {
    pub(crate) context: &'a Context<B>,
    pub(crate) gate: TenantGate<'a, B::Ledger>,
    pub(crate) monitor: BotMonitor<'a, B::Ledger, B::Events>,
    pub(crate) deadline: Timestamp,
    /// The service URLs at which conversations of these buckets are created.
    service_urls: Mutex<HashMap<Bucket, String>>,
    /// How often the channel refused each message for its content before it accepted one.
    message_refusals: Mutex<HashMap<(NotificationId, u32), u32>>,
    slots: Semaphore,
}

impl<'a, B: Backend> Invocation<'a, B> {
    /// An invocation that ends at `deadline`.
    pub fn new(context: &'a Context<B>, deadline: Timestamp) -> Self {
        Self {
            context,
            gate: TenantGate::new(&context.ledger, &context.limits, &context.clock),
            monitor: BotMonitor::new(&context.ledger, &context.events, &context.clock),
            deadline,
            service_urls: Mutex::default(),
            message_refusals: Mutex::default(),
            slots: Semaphore::new(MAX_CONCURRENCY),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// Whether no delivery may be begun any more.
    pub(crate) fn is_ending(&self, now: Timestamp) -> bool {
        later(now, SHUTDOWN_MARGIN) > self.deadline
    }

    /// Whether no request may be made any more.
    pub(crate) fn out_of_time(&self) -> bool {
        later(self.now(), LAST_REQUEST_MARGIN) > self.deadline
    }

    /// Writes what an attempt led to. The channel has answered: that must not become a doubt because a table is away for a moment.
    pub(crate) async fn record(
        &self,
        write: impl AsyncFn() -> Result<CasResult, store::Error>,
    ) -> Result<CasResult, store::Error> {
        for wait in RECORD_BACKOFF {
            match write().await {
                Err(error @ store::Error::Unavailable { .. }) if !self.out_of_time() => {
                    tracing::warn!(error_type = "OutcomeNotRecorded", error = %chain(&error), "the outcome of an attempt could not be written; it is written again");
                    self.context.clock.sleep_until(later(self.now(), wait)).await;
                }
                written => return written,
            }
        }
        write().await
    }

    /// Waits until so many deliveries may be in flight, and reserves their slots until the permit is dropped.
    pub(crate) async fn acquire_slots(&self, deliveries: usize) -> Option<SemaphorePermit<'_>> {
        let deliveries = deliveries.min(MAX_CONCURRENCY);
        // The semaphore is never closed.
        self.slots
            .acquire_many(u32::try_from(deliveries).unwrap_or(u32::MAX))
            .await
            .ok()
    }

    /// Counts a refusal of this message, and returns how many there were.
    pub(crate) fn count_message_refusal(&self, id: &NotificationId, revision: u32) -> u32 {
        let mut refusals = self
            .message_refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = refusals.entry((id.clone(), revision)).or_default();
        *count = count.saturating_add(1);
        *count
    }

    pub(crate) fn cached_service_url(&self, bucket: &Bucket) -> Option<String> {
        let urls = self.service_urls.lock().unwrap_or_else(PoisonError::into_inner);
        urls.get(bucket).cloned()
    }

    pub(crate) fn cache_service_url(&self, bucket: &Bucket, url: &str) {
        let mut urls = self.service_urls.lock().unwrap_or_else(PoisonError::into_inner);
        urls.insert(bucket.clone(), url.to_owned());
    }
}
