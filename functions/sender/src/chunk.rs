//! Processes the deliveries of one chunk: permits, slots, results.
//!
//! Deliveries are processed in blocks, each when it has permits. A wait of a few seconds is slept here; for a longer one the chunk
//! goes back to the queue, and so it does at the invocation's end.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use herald::Error;
use herald::audience::{Fields, Recipient};
use herald::backend::Backend;
use herald::conversation::ConversationKey;
use herald::delivery::{DeliveryKey, Outcome, OutcomeCounts, State};
use herald::event::{Event, Events};
use herald::notification::PAGE_SIZE;
use herald::queue::Chunk;
use herald::rate_limit::Permits;
use herald::store::Ledger;
use herald::telemetry;
use herald::tenant_gate::Admission;
use herald::time::later;
use jiff::{SignedDuration, Timestamp};

use crate::block::{Block, ChunkSource, Processed, meanwhile};
use crate::delivery::Step;
use crate::invocation::Invocation;
use crate::notification_cache::NotificationCache;
use crate::tenant::Tenant;

/// Deliveries of a chunk that ask for permits together: all of them. As many are processed together as get permits.
const BLOCK: usize = PAGE_SIZE;

/// The longest wait for a delivery that is slept in the function.
const MAX_INLINE_WAIT: SignedDuration = SignedDuration::from_secs(5);

/// The longest wait for permits that is slept in the function. Functions that wait for a busy tenant are not there for others.
const MAX_PERMIT_WAIT: SignedDuration = SignedDuration::from_secs(2);

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
    /// The fields of its row.
    pub(crate) fields: Option<Fields>,
    /// When it is due.
    pub(crate) from: Timestamp,
    /// Whether there is a sent message to be updated.
    pub(crate) is_update: bool,
}

/// What a block of deliveries may do.
enum BlockGrant {
    /// So many may make a request, each at its slot.
    Slots(Permits),
    /// They make no requests.
    NoRequests,
    /// Nothing before then.
    Later(Timestamp),
}

/// What a chunk does next.
enum NextStep<'a> {
    /// Processes these deliveries, while others are under way.
    Begin(Block<'a>),
    /// Asks again then.
    Wait(Timestamp),
    /// Goes back to its queue until then, or is done, once nothing is under way.
    Leave(Option<Timestamp>),
}

impl<'a, B: Backend> ChunkRun<'a, B> {
    pub(crate) fn new(
        invocation: &'a Invocation<'a, B>,
        cache: &'a NotificationCache<'a, B>,
        chunk: &'a mut Chunk,
    ) -> Self {
        let now = invocation.now();
        // A wave comes so little before its moment, but its messages do not.
        let from = chunk.due.filter(|due| chunk.wave == Some(*due));
        let from = from.map_or(now, |due| due.max(now));
        chunk.held = false;
        // After an error the chunk is dropped: its message comes again.
        let recipients = std::mem::take(&mut chunk.recipients);
        let mut fields = std::mem::take(&mut chunk.fields).into_iter();
        let open = recipients.into_iter().map(|recipient| Pending {
            recipient,
            fields: fields.next(),
            from,
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
        for open in self.open {
            self.chunk.recipients.push(open.recipient);
            self.chunk.fields.extend(open.fields);
        }
        Ok(())
    }

    /// Processes each open delivery until all have ended or have to wait: until then.
    ///
    /// The next permits are asked for while deliveries are under way, so that the time of their responses is not lost.
    pub(crate) async fn deliver_individually(&mut self) -> Result<Option<Timestamp>, Error> {
        // A chunk that comes twice, or late, may not have begun itself and have sent messages all the same.
        if self.chunk.begun || self.chunk.revision > 0 {
            self.chunk.begun = true;
            self.look_up().await?;
        }
        let source = ChunkSource {
            invocation: self.invocation,
            cache: self.cache,
            notification: self.chunk.notification.clone(),
            bucket: self.chunk.bucket.clone(),
        };
        let mut under_way = FuturesUnordered::new();
        let mut processed = Vec::new();
        // A failure is returned at the end: a table that fails for one delivery must not stop the others.
        let mut failure = None;
        loop {
            while let Some(block) = processed.pop() {
                let settling = meanwhile(&mut under_way, &mut processed, self.settle(block));
                failure = settling.await.err().or(failure);
            }
            let next = if failure.is_some() {
                Ok(NextStep::Leave(None))
            } else {
                meanwhile(&mut under_way, &mut processed, self.begin()).await
            };
            match next {
                Ok(NextStep::Begin(block)) => {
                    self.chunk.begun = true;
                    under_way.push(source.process(block));
                }
                Err(error) => failure = Some(error),
                // Their results may open others.
                Ok(_) if !processed.is_empty() => {}
                Ok(NextStep::Wait(until)) => {
                    let sleep = self.invocation.context.clock.sleep_until(until);
                    meanwhile(&mut under_way, &mut processed, sleep).await;
                }
                Ok(NextStep::Leave(_)) if !under_way.is_empty() => processed.extend(under_way.next().await),
                Ok(NextStep::Leave(until)) => return failure.map_or(Ok(until), Err),
            }
        }
    }

    /// The next deliveries that are due and have permits.
    async fn begin(&mut self) -> Result<NextStep<'a>, Error> {
        let invocation = self.invocation;
        let now = invocation.now();
        let Some(earliest) = self.open.iter().map(|open| open.from).min() else {
            return Ok(NextStep::Leave(None));
        };
        if invocation.is_ending(now) {
            return Ok(NextStep::Leave(Some(earliest.max(now))));
        }
        if let Some(until) = invocation.gate.bot_paused_until()
            && !self.is_stopped(now).await?
        {
            // An operator has to repair the bot, which takes longer than a function should sleep.
            return Ok(NextStep::Leave(Some(until.max(earliest))));
        }
        if earliest > now {
            let is_long = earliest > later(now, MAX_INLINE_WAIT) || invocation.is_ending(earliest);
            return Ok(if is_long {
                NextStep::Leave(Some(earliest))
            } else {
                NextStep::Wait(earliest)
            });
        }
        let mut deliveries = self.take_block(now);
        // Before the permits: a delivery without room must not hold a slot.
        let mut room = invocation.acquire_slots(deliveries.len()).await;
        let now = invocation.now();
        if invocation.is_ending(now) {
            self.open.extend(deliveries);
            return Ok(NextStep::Leave(Some(now)));
        }
        let permits = match self.acquire_permits(&deliveries).await? {
            BlockGrant::Later(until) => {
                self.open.extend(deliveries);
                return Ok(if until > later(now, MAX_PERMIT_WAIT) {
                    NextStep::Leave(Some(until))
                } else {
                    NextStep::Wait(until)
                });
            }
            BlockGrant::Slots(permits) => {
                // What has no permit asks again.
                let granted = usize::try_from(permits.count()).unwrap_or(usize::MAX);
                self.open
                    .extend(deliveries.drain(granted.min(deliveries.len())..));
                room = room.and_then(|mut room| room.split(deliveries.len()));
                Some(permits)
            }
            BlockGrant::NoRequests => None,
        };
        Ok(NextStep::Begin(Block {
            deliveries,
            permits,
            room,
        }))
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

    async fn acquire_permits(&mut self, block: &[Pending]) -> Result<BlockGrant, Error> {
        let snapshot = self.cache.latest().await?;
        let is_stopped = snapshot.stop_outcome(self.invocation.now()).is_some();
        let Some(bucket) = &self.chunk.bucket else {
            return Ok(BlockGrant::NoRequests);
        };
        if is_stopped && !block.iter().any(|open| open.is_update) {
            return Ok(BlockGrant::NoRequests);
        }
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        // Of a notification that was stopped, only sent messages take requests.
        let rest = self.open.iter().filter(|open| open.is_update || !is_stopped);
        let (slots, total) = (count(block.len()), count(block.len() + rest.count()));
        let gate = &self.invocation.gate;
        let class = snapshot.head.queue_class();
        let admission = gate
            .reserve(bucket, class, slots, total, &mut self.chunk.ticket)
            .await?;
        Ok(match admission {
            Admission::Granted(permits) => BlockGrant::Slots(permits),
            Admission::Later(until) => BlockGrant::Later(until),
        })
    }

    /// Counts what ended of a block, and keeps what is open.
    async fn settle(&mut self, processed: Processed) -> Result<(), Error> {
        let Processed {
            deliveries,
            permits,
            steps,
        } = processed;
        let mut ended = Vec::new();
        let mut failure = None;
        let mut new = OutcomeCounts::default();
        for (open, step) in deliveries.into_iter().zip(steps) {
            match step {
                Ok(Step::Ended(outcome)) => {
                    if !open.is_update {
                        new.count(&outcome);
                    }
                    ended.push((open.recipient, outcome));
                }
                Ok(Step::AlreadyEnded(outcome)) => ended.push((open.recipient, outcome)),
                Ok(Step::EndedAs(key, outcome)) => {
                    new.count(&outcome);
                    ended.push((Recipient::Conversation(key), outcome));
                }
                Ok(Step::NeedsPermit) => self.open.push(Pending {
                    is_update: true,
                    ..open
                }),
                Ok(Step::Open(from)) => self.open.push(Pending { from, ..open }),
                Ok(Step::Quiet(until)) => {
                    self.chunk.held = true;
                    self.open.push(Pending { from: until, ..open });
                }
                Err(error) => failure = Some(error),
            }
        }
        telemetry::count_outcomes(&new);
        if new.delivered > 0 {
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

    /// Counts deliveries that this chunk's batch ended.
    pub(crate) async fn count_batched(&mut self, ended: &[(Recipient, Outcome)]) -> Result<(), Error> {
        let mut new = OutcomeCounts::default();
        for (_, outcome) in ended {
            new.count(outcome);
        }
        telemetry::count_outcomes(&new);
        self.count(ended).await
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
        Recipient::User(_)
        | Recipient::Account(_)
        | Recipient::UnknownConversation(_)
        | Recipient::Missed(_) => None,
    }
}
