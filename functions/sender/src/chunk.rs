//! Processes the deliveries of one chunk: permits, slots, results.
//!
//! Deliveries are processed in blocks, each when it has permits. A wait of a few seconds is slept here; for a longer one the chunk
//! goes back to the queue, and so it does at the invocation's end.

use futures_util::future::join_all;
use herald::Error;
use herald::audience::Recipient;
use herald::backend::Backend;
use herald::conversation::ConversationKey;
use herald::delivery::{DeliveryKey, Outcome, State};
use herald::event::{Event, Events};
use herald::notification::PAGE_SIZE;
use herald::queue::Chunk;
use herald::rate_limit::Permits;
use herald::store::Ledger;
use herald::tenant_gate::Admission;
use herald::time::later;
use jiff::{SignedDuration, Timestamp};

use crate::delivery::{Delivery, Step};
use crate::invocation::Invocation;
use crate::notification_cache::NotificationCache;
use crate::tenant::Tenant;

/// Deliveries of a chunk that are processed together: all of them. A request for permits waits for all slots that were reserved
/// before, so a chunk that asked three times would keep its function awake three times as long.
const BLOCK: usize = PAGE_SIZE;

/// The longest wait that is slept in the function.
const MAX_INLINE_WAIT: SignedDuration = SignedDuration::from_secs(5);

/// One chunk in one invocation.
pub(crate) struct ChunkRun<'a, B: Backend> {
    pub(crate) invocation: &'a Invocation<'a, B>,
    pub(crate) cache: &'a NotificationCache<'a, B>,
    pub(crate) chunk: &'a mut Chunk,
    pub(crate) open: Vec<Pending>,
    /// Published at the end.
    events: Vec<Event>,
}

/// A delivery that is open.
pub(crate) struct Pending {
    pub(crate) recipient: Recipient,
    /// When it is due.
    pub(crate) from: Timestamp,
    /// Whether there is a sent message to be updated.
    pub(crate) is_update: bool,
}

/// What a block of deliveries may do.
enum Grant {
    /// Each may make a request at its slot.
    Slots(Permits),
    /// They make no requests.
    NoRequests,
    /// Nothing before then.
    Later(Timestamp),
}

impl<'a, B: Backend> ChunkRun<'a, B> {
    pub(crate) fn new(
        invocation: &'a Invocation<'a, B>,
        cache: &'a NotificationCache<'a, B>,
        chunk: &'a mut Chunk,
    ) -> Self {
        let now = invocation.now();
        // After an error the chunk is dropped: its message comes again.
        let recipients = std::mem::take(&mut chunk.recipients);
        let open = recipients.into_iter().map(|recipient| Pending {
            recipient,
            from: now,
            is_update: false,
        });
        Self {
            invocation,
            cache,
            open: open.collect(),
            events: Vec::new(),
            chunk,
        }
    }

    /// Publishes the events of what ended, and leaves what is open in the chunk.
    ///
    /// A worker that crashes before this is followed by one that finds the same outcomes and publishes them.
    pub(crate) async fn finish(self) -> Result<(), Error> {
        if !self.events.is_empty() {
            self.invocation.context.events.publish(self.events).await?;
        }
        self.chunk.recipients = self.open.into_iter().map(|open| open.recipient).collect();
        Ok(())
    }

    /// Processes each open delivery until all have ended or have to wait: until then.
    pub(crate) async fn deliver_individually(&mut self) -> Result<Option<Timestamp>, Error> {
        // A chunk that comes twice, or late, may not have begun itself and have sent messages all the same.
        if self.chunk.begun || self.chunk.revision > 0 {
            self.chunk.begun = true;
            self.look_up().await?;
        }
        loop {
            let now = self.invocation.now();
            let Some(earliest) = self.open.iter().map(|open| open.from).min() else {
                return Ok(None);
            };
            if self.invocation.is_ending(now) {
                return Ok(Some(earliest.max(now)));
            }
            if let Some(until) = self.invocation.gate.bot_paused_until()
                && !self.is_stopped(now).await?
            {
                // Somebody has to repair the bot: that takes longer than a function should sleep.
                return Ok(Some(until.max(earliest)));
            }
            if earliest > now {
                if earliest > later(now, MAX_INLINE_WAIT) || self.invocation.is_ending(earliest) {
                    return Ok(Some(earliest));
                }
                self.invocation.context.clock.sleep_until(earliest).await;
                continue;
            }
            let block = self.take_block(now);
            // Before the permits: a delivery without room must not hold a slot.
            let invocation = self.invocation;
            let _slots = invocation.acquire_slots(block.len()).await;
            match self.acquire_permits(&block).await? {
                Grant::Later(until) => {
                    self.open.extend(block);
                    if until > later(now, MAX_INLINE_WAIT) {
                        return Ok(Some(until));
                    }
                    for open in &mut self.open {
                        open.from = until.max(open.from);
                    }
                }
                Grant::Slots(permits) => self.process(block, Some(permits)).await?,
                Grant::NoRequests => self.process(block, None).await?,
            }
        }
    }

    /// Reads the ledger, so that no permit is taken for what has ended or has to wait.
    pub(crate) async fn look_up(&mut self) -> Result<(), Error> {
        let deliveries: Vec<_> = self.open.iter().map(|open| self.key(&open.recipient)).collect();
        let rows = self.invocation.context.ledger.rows(&deliveries).await?;
        let mut ended = Vec::new();
        for (mut open, row) in std::mem::take(&mut self.open).into_iter().zip(rows) {
            match row.map(|row| row.state) {
                Some(State::Settled(outcome)) if !outcome.is_stale(self.chunk.revision) => {
                    ended.push((open.recipient, outcome));
                    continue;
                }
                Some(State::Settled(_)) => open.is_update = true,
                Some(State::Waiting { until, .. }) => open.from = until.max(open.from),
                None => {}
            }
            self.open.push(open);
        }
        self.count(&ended).await
    }

    /// Whether what was not sent so far is not to be sent any more.
    pub(crate) async fn is_stopped(&self, now: Timestamp) -> Result<bool, Error> {
        Ok(self.cache.latest().await?.stop_outcome(now).is_some())
    }

    pub(crate) fn key(&self, recipient: &Recipient) -> DeliveryKey {
        DeliveryKey::new(&self.chunk.notification, recipient)
    }

    pub(crate) fn tenant(&self) -> Tenant<'_, B> {
        Tenant {
            invocation: self.invocation,
            bucket: self.chunk.bucket.as_ref(),
        }
    }

    /// The deliveries that are due now, as many as go together: sent messages to be updated, or others.
    fn take_block(&mut self, now: Timestamp) -> Vec<Pending> {
        let due = self.open.iter().find(|open| open.from <= now);
        let Some(is_update) = due.map(|open| open.is_update) else {
            return Vec::new();
        };
        self.open
            .extract_if(.., |open| open.from <= now && open.is_update == is_update)
            .take(BLOCK)
            .collect()
    }

    async fn acquire_permits(&mut self, block: &[Pending]) -> Result<Grant, Error> {
        let is_stopped = self.is_stopped(self.invocation.now()).await?;
        let Some(bucket) = &self.chunk.bucket else {
            return Ok(Grant::NoRequests);
        };
        if is_stopped && !block.iter().any(|open| open.is_update) {
            return Ok(Grant::NoRequests);
        }
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        // Of a notification that was stopped, only sent messages take requests.
        let rest = self.open.iter().filter(|open| open.is_update || !is_stopped);
        let (slots, total) = (count(block.len()), count(block.len() + rest.count()));
        let gate = &self.invocation.gate;
        let admission = gate.reserve(bucket, slots, total, &mut self.chunk.ticket).await?;
        Ok(match admission {
            Admission::Granted(permits) => Grant::Slots(permits),
            Admission::Later(until) => Grant::Later(until),
        })
    }

    /// Processes the deliveries of a block, all of them concurrently.
    async fn process(&mut self, block: Vec<Pending>, permits: Option<Permits>) -> Result<(), Error> {
        self.chunk.begun = true;
        let steps = (0_u32..).zip(&block).map(|(number, Pending { recipient, .. })| {
            let delivery = Delivery {
                tenant: self.tenant(),
                cache: self.cache,
                notification: &self.chunk.notification,
                recipient,
                key: self.key(recipient),
            };
            let slot = permits.map(|permits| permits.slot(number));
            async move { delivery.process(slot).await }
        });
        let steps = join_all(steps).await;

        // A failure is returned at the end: a table that fails for one delivery must not stop the others.
        let mut ended = Vec::new();
        let mut failure = None;
        let mut has_delivered = false;
        for (open, step) in block.into_iter().zip(steps) {
            match step {
                Ok(Step::Ended(outcome)) => {
                    has_delivered |= matches!(outcome, Outcome::Delivered(_)) && !open.is_update;
                    ended.push((open.recipient, outcome));
                }
                Ok(Step::AlreadyEnded(outcome)) => ended.push((open.recipient, outcome)),
                Ok(Step::EndedAs(key, outcome)) => ended.push((Recipient::Conversation(key), outcome)),
                Ok(Step::NeedsPermit) => self.open.push(Pending {
                    is_update: true,
                    ..open
                }),
                Ok(Step::Open(from)) => self.open.push(Pending { from, ..open }),
                Err(error) => failure = Some(error),
            }
        }
        if has_delivered {
            self.record_success(permits).await?;
        }
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        self.count(&ended).await
    }

    /// Resets the tenant's circuit breaker after a delivery.
    pub(crate) async fn record_success(&self, permits: Option<Permits>) -> Result<(), Error> {
        if let Some(bucket) = &self.chunk.bucket {
            self.invocation.gate.record_success(bucket, permits).await?;
        }
        Ok(())
    }

    /// Counts deliveries that have ended, and keeps the events that the caller asked for.
    pub(crate) async fn count(&mut self, ended: &[(Recipient, Outcome)]) -> Result<(), Error> {
        let snapshot = self.cache.latest().await?;
        let now = self.invocation.now();
        for (recipient, outcome) in ended {
            self.chunk.result.count(outcome, self.chunk.revision);
            if let Some(conversation) = conversation_of(recipient)
                && !snapshot.head.events.is_empty()
            {
                let key = self.key(recipient);
                let event = Event::delivery(&snapshot.head, conversation, &key, outcome, now);
                self.events.extend(event);
            }
        }
        Ok(())
    }
}

pub(crate) fn conversation_of(recipient: &Recipient) -> Option<&ConversationKey> {
    match recipient {
        Recipient::Conversation(key) => Some(key),
        Recipient::User(_) | Recipient::Account(_) | Recipient::UnknownConversation(_) => None,
    }
}
