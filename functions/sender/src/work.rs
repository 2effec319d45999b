//! The work on one chunk: when each of its deliveries has its turn.
//!
//! Deliveries are begun in blocks, each when it has permits. One that has to wait a few seconds waits here; what has to
//! wait longer goes back to the queue, and so does everything when the invocation's time is up.

use futures_util::future::join_all;
use herald::Error;
use herald::audience::Recipient;
use herald::conversation::ConversationKey;
use herald::delivery::{DeliveryKey, Outcome, State};
use herald::event::{Event, Events};
use herald::notification::{PAGE_SIZE, SendMode};
use herald::queue::{Chunk, Queue};
use herald::rate_limit::{self, PermitRequest, Permits, Reservation};
use herald::store::{Conversations, Ledger, Notifications, Paces};
use jiff::{SignedDuration, Timestamp};

use crate::delivery::{Delivery, Turn, stopped};
use crate::view::View;
use crate::{Context, Invocation, later};

/// Deliveries of a chunk that are begun together: all of them. Whoever asks for permits waits for the slots of all who
/// asked before, so a chunk that asked three times would keep its function awake three times as long.
const BLOCK: usize = PAGE_SIZE;

/// A wait that is shorter is waited here.
const WAITED_HERE: SignedDuration = SignedDuration::from_secs(5);

/// One chunk under work.
pub(crate) struct Work<'a, C, N, L, Q, E> {
    pub(crate) context: &'a Context<C, N, L, Q, E>,
    pub(crate) view: &'a View<'a, C, N, L, Q, E>,
    pub(crate) invocation: &'a Invocation,
    pub(crate) chunk: &'a mut Chunk,
    pub(crate) open: Vec<Open>,
    /// What is to be told when this is over.
    news: Vec<Event>,
}

/// A delivery that is open.
pub(crate) struct Open {
    pub(crate) recipient: Recipient,
    /// From when on it may be tried.
    pub(crate) from: Timestamp,
    /// Whether there is a copy to be brought up to date.
    pub(crate) copy: bool,
}

/// What a block of deliveries may do.
enum Go {
    /// Each at its slot.
    At(Permits),
    /// At once: nothing of it leads to a request.
    Free,
    /// Nothing before then.
    NotBefore(Timestamp),
}

impl<'a, C, N, L, Q, E> Work<'a, C, N, L, Q, E>
where
    C: Conversations,
    N: Notifications,
    L: Ledger + Paces,
    Q: Queue,
    E: Events,
{
    pub(crate) fn new(
        context: &'a Context<C, N, L, Q, E>,
        view: &'a View<'a, C, N, L, Q, E>,
        invocation: &'a Invocation,
        chunk: &'a mut Chunk,
    ) -> Self {
        let now = context.clock.now();
        // Whoever fails on the way forgets the chunk: its message comes again.
        let recipients = std::mem::take(&mut chunk.recipients);
        let open = recipients.into_iter().map(|recipient| Open {
            recipient,
            from: now,
            copy: false,
        });
        Self {
            context,
            view,
            invocation,
            open: open.collect(),
            news: Vec::new(),
            chunk,
        }
    }

    /// Works until everything has ended, or has to wait: until then. What ended is counted in the chunk and told; what is
    /// open is left in it.
    pub(crate) async fn run(mut self) -> Result<Option<Timestamp>, Error> {
        let waits = match self.chunk.send_mode {
            SendMode::Batch => self.operate().await?,
            SendMode::Individual => None,
        };
        let until = match waits {
            Some(until) => Some(until),
            None => self.one_by_one().await?,
        };
        // A worker that dies before this is followed by one that finds the same settled, and tells of it. Whoever is away is
        // not waited for by those who can be sent to.
        if !self.news.is_empty() {
            self.context
                .events
                .publish(std::mem::take(&mut self.news))
                .await?;
        }
        self.chunk.recipients = self.open.into_iter().map(|open| open.recipient).collect();
        Ok(until)
    }

    /// Gives each delivery that is open its turn, until all have ended or have to wait: until then.
    async fn one_by_one(&mut self) -> Result<Option<Timestamp>, Error> {
        // One that comes twice, or late, may not have begun by itself and have copies all the same.
        if self.chunk.begun || self.chunk.revision > 0 {
            self.chunk.begun = true;
            self.look_up().await?;
        }
        loop {
            let now = self.context.clock.now();
            let Some(earliest) = self.open.iter().map(|open| open.from).min() else {
                return Ok(None);
            };
            if self.invocation.is_late(now) {
                return Ok(Some(earliest.max(now)));
            }
            if let Some(until) = self.invocation.paused_until(now)
                && !self.ends(now).await?
            {
                // Somebody has to put the bot right: that is not waited for in a running function.
                return Ok(Some(until.max(earliest)));
            }
            if earliest > now {
                let here = earliest <= later(now, WAITED_HERE) && !self.invocation.is_late(earliest);
                if !here {
                    return Ok(Some(earliest));
                }
                self.context.wait_until(earliest).await;
                continue;
            }
            let block = self.take_block(now);
            // Before the permits: nobody has slots who has no room.
            let _room = self.invocation.room(block.len()).await;
            match self.permits(&block).await? {
                Go::NotBefore(until) => {
                    self.open.extend(block);
                    if until > later(now, WAITED_HERE) {
                        return Ok(Some(until));
                    }
                    for open in &mut self.open {
                        open.from = until.max(open.from);
                    }
                }
                Go::At(permits) => self.deliver(block, Some(permits)).await?,
                Go::Free => self.deliver(block, None).await?,
            }
        }
    }

    /// Finds out what the ledger knows, so that no permit is taken for what has ended or has to wait.
    pub(crate) async fn look_up(&mut self) -> Result<(), Error> {
        let deliveries: Vec<_> = self.open.iter().map(|open| self.key(&open.recipient)).collect();
        let rows = self.context.ledger.rows(&deliveries).await?;
        let mut ended = Vec::new();
        for (mut open, row) in std::mem::take(&mut self.open).into_iter().zip(rows) {
            match row.map(|row| row.state) {
                Some(State::Settled(outcome)) if !outcome.is_behind(self.chunk.revision) => {
                    ended.push((open.recipient, outcome));
                    continue;
                }
                Some(State::Settled(_)) => open.copy = true,
                Some(State::Waiting { until, .. }) => open.from = until.max(open.from),
                None => {}
            }
            self.open.push(open);
        }
        self.count(&ended).await
    }

    /// Whether what was not sent so far is not to be sent any more.
    pub(crate) async fn ends(&self, now: Timestamp) -> Result<bool, Error> {
        let seen = self.view.newest().await?;
        Ok(seen.is_none_or(|seen| stopped(&seen.head, now).is_some()))
    }

    pub(crate) fn key(&self, recipient: &Recipient) -> DeliveryKey {
        DeliveryKey::new(&self.chunk.notification, recipient)
    }

    /// The delivery to one of its recipients.
    pub(crate) fn delivery<'s>(&'s self, recipient: &'s Recipient) -> Delivery<'s, C, N, L, Q, E> {
        Delivery {
            context: self.context,
            view: self.view,
            invocation: self.invocation,
            bucket: self.chunk.bucket.as_ref(),
            notification: &self.chunk.notification,
            recipient,
            key: self.key(recipient),
        }
    }

    /// Those that may be tried now, as many as go together: with a copy, or without.
    fn take_block(&mut self, now: Timestamp) -> Vec<Open> {
        let Some(copy) = self
            .open
            .iter()
            .find(|open| open.from <= now)
            .map(|open| open.copy)
        else {
            return Vec::new();
        };
        self.open
            .extract_if(.., |open| open.from <= now && open.copy == copy)
            .take(BLOCK)
            .collect()
    }

    /// Asks for the block's permits.
    async fn permits(&mut self, block: &[Open]) -> Result<Go, Error> {
        let now = self.context.clock.now();
        let ends = self.ends(now).await?;
        let Some(bucket) = &self.chunk.bucket else {
            return Ok(Go::Free);
        };
        if ends && !block.iter().any(|open| open.copy) {
            return Ok(Go::Free);
        }
        if let Some(until) = self.invocation.held_until(bucket, now) {
            return Ok(Go::NotBefore(until));
        }
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        // Of a notification that ends, only copies take requests.
        let rest = self.open.iter().filter(|open| open.copy || !ends).count();
        let wish = PermitRequest {
            slots: count(block.len()),
            total: count(block.len() + rest),
            ticket: self.chunk.ticket,
        };
        let limit = self.context.limits.tenant;
        let rule = |pace: &rate_limit::TenantRate| rate_limit::reserve(pace, limit, wish, now);
        Ok(match self.context.ledger.apply(bucket, rule).await? {
            Reservation::Permits(permits) => {
                // Its turn has come: the blocks after this one need not stand in line again.
                self.chunk.ticket.get_or_insert(now);
                Go::At(permits)
            }
            Reservation::Later { until, ticket, .. } => {
                self.chunk.ticket = ticket;
                Go::NotBefore(until)
            }
        })
    }

    /// Gives each of the block its turn, all of them together.
    async fn deliver(&mut self, block: Vec<Open>, permits: Option<Permits>) -> Result<(), Error> {
        self.chunk.begun = true;
        let turns = (0_u32..).zip(&block).map(|(number, Open { recipient, .. })| {
            let delivery = self.delivery(recipient);
            let slot = permits.map(|permits| permits.slot(number));
            async move { delivery.turn(slot).await }
        });
        let turns = join_all(turns).await;

        // Every delivery had its turn before a failure is told: a table that fails for one must not stop the others.
        let mut ended = Vec::new();
        let mut failure = None;
        let mut arrived = false;
        for (open, turn) in block.into_iter().zip(turns) {
            match turn {
                Ok(Turn::Ended(outcome)) => {
                    arrived |= matches!(outcome, Outcome::Delivered(_)) && !open.copy;
                    ended.push((open.recipient, outcome));
                }
                Ok(Turn::Known(outcome)) => ended.push((open.recipient, outcome)),
                Ok(Turn::EndedIn(key, outcome)) => ended.push((Recipient::Conversation(key), outcome)),
                Ok(Turn::Copy) => self.open.push(Open { copy: true, ..open }),
                Ok(Turn::Open(from)) => self.open.push(Open { from, ..open }),
                Err(error) => failure = Some(error),
            }
        }
        if arrived {
            self.acquit(permits).await?;
        }
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        self.count(&ended).await
    }

    /// A message arrived: what was suspected of the tenant is not so.
    pub(crate) async fn acquit(&self, permits: Option<Permits>) -> Result<(), Error> {
        let Some(bucket) = &self.chunk.bucket else {
            return Ok(());
        };
        let suspected = permits.is_some_and(|permits| permits.is_suspect());
        if self.invocation.acquit(bucket) || suspected {
            let rule = |pace: &rate_limit::TenantRate| ((), rate_limit::record_success(pace));
            self.context.ledger.apply(bucket, rule).await?;
        }
        Ok(())
    }

    /// Counts those that have ended.
    pub(crate) async fn count(&mut self, ended: &[(Recipient, Outcome)]) -> Result<(), Error> {
        self.note(ended).await?;
        for (_, outcome) in ended {
            self.chunk.closing.count(outcome, self.chunk.revision);
        }
        Ok(())
    }

    /// Keeps what is to be told of those that the caller asked to be told of.
    async fn note(&mut self, ended: &[(Recipient, Outcome)]) -> Result<(), Error> {
        let Some(seen) = self.view.newest().await? else {
            return Ok(());
        };
        if seen.head.events.is_empty() {
            return Ok(());
        }
        let now = self.context.clock.now();
        let news: Vec<_> = ended
            .iter()
            .filter_map(|(recipient, outcome)| {
                let conversation = conversation_key(recipient)?;
                Event::delivery(&seen.head, conversation, &self.key(recipient), outcome, now)
            })
            .collect();
        self.news.extend(news);
        Ok(())
    }
}

pub(crate) fn conversation_key(recipient: &Recipient) -> Option<&ConversationKey> {
    match recipient {
        Recipient::Conversation(key) => Some(key),
        Recipient::User(_) | Recipient::Account(_) | Recipient::UnknownConversation(_) => None,
    }
}
