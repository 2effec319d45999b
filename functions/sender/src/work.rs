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
use herald::pace::{self, Answer, Permits, Wish};
use herald::queue::{Chunk, Queue};
use herald::store::{Conversations, Ledger, Notifications, Paces};
use jiff::{SignedDuration, Timestamp};

use crate::delivery::{Delivery, Turn};
use crate::view::View;
use crate::{Context, Invocation, later};

/// Deliveries of a chunk that are begun together.
const BLOCK: usize = 32;

/// A wait that is shorter is waited here.
const WAITED_HERE: SignedDuration = SignedDuration::from_secs(5);

/// One chunk under work.
pub(crate) struct Work<'a, C, N, L, Q, E> {
    context: &'a Context<C, N, L, Q, E>,
    view: &'a View<'a, C, N, L, Q, E>,
    invocation: &'a Invocation,
    chunk: &'a mut Chunk,
    /// Those that are open, and from when on each may be tried.
    open: Vec<(Recipient, Timestamp)>,
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
        let open = recipients.into_iter().map(|recipient| (recipient, now));
        Self {
            context,
            view,
            invocation,
            open: open.collect(),
            chunk,
        }
    }

    /// Works until everything has ended, or has to wait: until then. What ended is counted in the chunk and told; what is
    /// open is left in it.
    pub(crate) async fn run(mut self) -> Result<Option<Timestamp>, Error> {
        if self.chunk.begun {
            self.look_up().await?;
        }
        let until = loop {
            let now = self.context.clock.now();
            let Some(earliest) = self.open.iter().map(|(_, from)| *from).min() else {
                break None;
            };
            if self.invocation.is_late(now) {
                break Some(earliest.max(now));
            }
            if let Some(until) = self.invocation.paused_until(now) {
                // Somebody has to put the bot right: that is not waited for in a running function.
                break Some(until.max(earliest));
            }
            if earliest > now {
                let here = earliest <= later(now, WAITED_HERE) && !self.invocation.is_late(earliest);
                if !here {
                    break Some(earliest);
                }
                self.context.wait_until(earliest).await;
                continue;
            }
            let block = self.take_block(now);
            match self.permits(&block).await? {
                Go::NotBefore(until) => {
                    self.open.extend(block);
                    if until > later(now, WAITED_HERE) {
                        break Some(until);
                    }
                    for (_, from) in &mut self.open {
                        *from = until.max(*from);
                    }
                }
                Go::At(permits) => self.deliver(block, Some(permits)).await?,
                Go::Free => self.deliver(block, None).await?,
            }
        };
        self.chunk.recipients = self.open.into_iter().map(|(recipient, _)| recipient).collect();
        Ok(until)
    }

    /// Finds out what the ledger knows, so that no permit is taken for what has ended or has to wait.
    async fn look_up(&mut self) -> Result<(), Error> {
        let deliveries: Vec<_> = self
            .open
            .iter()
            .map(|(recipient, _)| self.key(recipient))
            .collect();
        let rows = self.context.ledger.look_up(&deliveries).await?;
        let mut ended = Vec::new();
        for ((recipient, from), row) in std::mem::take(&mut self.open).into_iter().zip(rows) {
            match row.map(|row| row.state) {
                Some(State::Settled(outcome)) if !outcome.is_behind(self.chunk.revision) => {
                    ended.push((recipient, outcome));
                }
                Some(State::Waiting { until, .. }) => self.open.push((recipient, until.max(from))),
                Some(State::Settled(_)) | None => self.open.push((recipient, from)),
            }
        }
        self.count(&ended).await
    }

    fn key(&self, recipient: &Recipient) -> DeliveryKey {
        DeliveryKey::new(&self.chunk.notification, recipient)
    }

    /// Those that may be tried now, as many as go together.
    fn take_block(&mut self, now: Timestamp) -> Vec<(Recipient, Timestamp)> {
        self.open
            .extract_if(.., |(_, from)| *from <= now)
            .take(BLOCK)
            .collect()
    }

    /// Asks for the block's permits.
    async fn permits(&mut self, block: &[(Recipient, Timestamp)]) -> Result<Go, Error> {
        let Some(bucket) = &self.chunk.bucket else {
            return Ok(Go::Free);
        };
        let Some(seen) = self.view.newest().await? else {
            return Ok(Go::Free);
        };
        let now = self.context.clock.now();
        let ends = seen.head.is_stopped() || seen.head.expires_at <= now;
        if ends && self.chunk.revision == 0 {
            return Ok(Go::Free);
        }
        if let Some(until) = self.invocation.held_until(bucket, now) {
            return Ok(Go::NotBefore(until));
        }
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let wish = Wish {
            block: count(block.len()),
            whole: count(block.len() + self.open.len()),
            turn: self.chunk.turn,
        };
        let limit = self.context.limits.tenant;
        let rule = |pace: &pace::Pace| pace::reserve(pace, limit, wish, now);
        Ok(match self.context.ledger.apply(bucket, rule).await? {
            Answer::Permits(permits) => {
                // Its turn has come: the blocks after this one need not stand in line again.
                self.chunk.turn.get_or_insert(now);
                Go::At(permits)
            }
            Answer::Later { until, turn, .. } => {
                self.chunk.turn = turn;
                Go::NotBefore(until)
            }
        })
    }

    /// Gives each of the block its turn, all of them together.
    async fn deliver(
        &mut self,
        block: Vec<(Recipient, Timestamp)>,
        permits: Option<Permits>,
    ) -> Result<(), Error> {
        self.chunk.begun = true;
        let chunk = &*self.chunk;
        let turns = (0_u32..).zip(&block).map(|(number, (recipient, _))| {
            let delivery = Delivery {
                context: self.context,
                view: self.view,
                invocation: self.invocation,
                bucket: chunk.bucket.as_ref(),
                recipient,
                key: self.key(recipient),
            };
            let slot = permits.map(|permits| permits.slot(number));
            async move { delivery.turn(slot).await }
        });
        let turns = join_all(turns).await;

        // Every delivery had its turn before a failure is told: a table that fails for one must not stop the others.
        let mut ended = Vec::new();
        let mut failure = None;
        for ((recipient, _), turn) in block.into_iter().zip(turns) {
            match turn {
                Ok(Turn::Ended(outcome)) => ended.push((recipient, outcome)),
                Ok(Turn::Open(until)) => self.open.push((recipient, until)),
                Err(error) => failure = Some(error),
            }
        }
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        self.count(&ended).await
    }

    /// Counts those that have ended.
    async fn count(&mut self, ended: &[(Recipient, Outcome)]) -> Result<(), Error> {
        self.tell(ended).await?;
        for (_, outcome) in ended {
            self.chunk.closing.count(outcome, self.chunk.revision);
        }
        Ok(())
    }

    /// Tells of those that the caller asked to be told of. A worker that dies after it is followed by one that finds them
    /// settled, and tells of them again.
    async fn tell(&self, ended: &[(Recipient, Outcome)]) -> Result<(), Error> {
        let Some(seen) = self.view.newest().await? else {
            return Ok(());
        };
        if seen.head.events.is_empty() {
            return Ok(());
        }
        let now = self.context.clock.now();
        let events: Vec<_> = ended
            .iter()
            .filter_map(|(recipient, outcome)| {
                let conversation = conversation_key(recipient)?;
                Event::delivery(&seen.head, conversation, &self.key(recipient), outcome, now)
            })
            .collect();
        if !events.is_empty() {
            self.context.events.publish(events).await?;
        }
        Ok(())
    }
}

pub(crate) fn conversation_key(recipient: &Recipient) -> Option<&ConversationKey> {
    match recipient {
        Recipient::Conversation(key) => Some(key),
        Recipient::User(_) | Recipient::Account(_) | Recipient::UnknownConversation(_) => None,
    }
}
