//! All queues of the stack.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Deserialize;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    message::Message,
    queue::{Counts, InvalidReceipt, OperationTime, Queue, Received, StoredMessage},
};
use crate::{
    clock,
    event::{Event, Events},
    journal::Journal,
    template::Stack,
};

/// The queues of the stack. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Broker {
    queues: Arc<Mutex<Queues>>,
    /// The queues with an event source mapping.
    feeding: Arc<BTreeSet<String>>,
    /// The number of messages in those queues. Updated at each change, so waiting needs no polling.
    outstanding: watch::Sender<usize>,
    events: Events,
}

#[derive(Debug)]
struct Queues {
    by_name: BTreeMap<String, Queue>,
    /// The messages, by queue and number; without one, they end with the process.
    journal: Option<Journal>,
}

/// No queue has this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no queue {0}")]
pub struct NoSuchQueue(pub String);

/// Why an operation on a received message failed.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// There is no such queue.
    #[error(transparent)]
    NoSuchQueue(#[from] NoSuchQueue),
    /// The receipt handle is invalid.
    #[error(transparent)]
    InvalidReceipt(#[from] InvalidReceipt),
}

impl Broker {
    /// The queues of this stack, empty. They use tokio's clock, so tests can pause time.
    pub fn new(stack: &Stack, events: Events) -> Broker {
        let queues = stack
            .queues
            .iter()
            .map(|queue| (queue.name.clone(), Queue::new(queue)))
            .collect();
        let feeding = stack
            .mappings
            .iter()
            .map(|mapping| mapping.queue.clone())
            .collect();
        Broker {
            queues: Arc::new(Mutex::new(Queues {
                by_name: queues,
                journal: None,
            })),
            feeding: Arc::new(feeding),
            outstanding: watch::Sender::new(0),
            events,
        }
    }

    /// The queues of this stack with the messages of the file at this path, which is kept up to date from now on.
    /// Messages of a queue that the stack does not have any more are dropped.
    pub(crate) fn open(stack: &Stack, events: Events, file: &Path) -> io::Result<Broker> {
        let broker = Broker::new(stack, events);
        let (journal, kept) = Journal::open(file)?;
        let now = moment();
        {
            let mut queues = broker.lock();
            queues.journal = Some(journal);
            queues.by_name.values_mut().for_each(Queue::track_changes);
            for (key, value) in kept {
                let restored = queues.restore(&key, &value, now);
                if !restored && let Some(journal) = &mut queues.journal {
                    journal.remove(&key)?;
                }
            }
            broker.changed(&mut queues, now);
        }
        Ok(broker)
    }

    /// The names of the queues.
    pub fn names(&self) -> Vec<String> {
        self.lock().by_name.keys().cloned().collect()
    }

    /// Sends a message and returns its id.
    ///
    /// # Errors
    /// When there is no such queue.
    pub fn send(
        &self,
        queue: &str,
        message: Message,
        delay: Option<Duration>,
    ) -> Result<String, NoSuchQueue> {
        let id = uuid::Uuid::new_v4().to_string();
        self.change(queue, |queue, now| queue.send(&id, message, delay, now))?;
        Ok(id)
    }

    /// Receives up to `most` visible messages. Moves messages that exceed their receives to the dead-letter queue.
    ///
    /// # Errors
    /// When there is no such queue.
    pub fn receive(
        &self,
        queue: &str,
        most: usize,
        visibility: Option<Duration>,
    ) -> Result<Vec<Received>, NoSuchQueue> {
        let mut queues = self.lock();
        let now = moment();
        let source = queues
            .by_name
            .get_mut(queue)
            .ok_or_else(|| NoSuchQueue(queue.to_owned()))?;
        let (received, dead) = source.receive(most, visibility, now);
        if let Some(target) = source.redrive.as_ref().map(|redrive| redrive.target.clone()) {
            for dead in dead {
                let event = Event::DeadLettered {
                    queue: queue.to_owned(),
                    message_id: dead.id().to_owned(),
                };
                self.events.tell(&event);
                if let Some(target) = queues.by_name.get_mut(&target) {
                    target.move_in(dead, now);
                }
            }
        }
        self.changed(&mut queues, now);
        Ok(received)
    }

    /// Deletes a message by its latest receipt.
    ///
    /// # Errors
    /// When there is no such queue, or the receipt handle is invalid.
    pub fn delete(&self, queue: &str, receipt: &str) -> Result<(), ReceiptError> {
        Ok(self.change(queue, |queue, _| queue.delete(receipt))??)
    }

    /// Sets when a received message becomes visible again.
    ///
    /// # Errors
    /// When there is no such queue, or the receipt handle is invalid.
    pub fn change_visibility(
        &self,
        queue: &str,
        receipt: &str,
        visibility: Duration,
    ) -> Result<(), ReceiptError> {
        Ok(self.change(queue, |queue, now| {
            queue.change_visibility(receipt, visibility, now)
        })??)
    }

    /// The number of messages in a queue.
    ///
    /// # Errors
    /// When there is no such queue.
    pub fn counts(&self, name: &str) -> Result<Counts, NoSuchQueue> {
        let queues = self.lock();
        let queue = queues.by_name.get(name);
        let queue = queue.ok_or_else(|| NoSuchQueue(name.to_owned()))?;
        Ok(queue.counts(Instant::now()))
    }

    /// Waits until a message of the queue is visible. Never returns if none arrives.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn wait_visible(&self, queue: &str) -> Result<(), NoSuchQueue> {
        let mut changes = self.outstanding.subscribe();
        loop {
            changes.mark_unchanged();
            let next = {
                let queues = self.lock();
                queues
                    .by_name
                    .get(queue)
                    .ok_or_else(|| NoSuchQueue(queue.to_owned()))?
                    .next_visible()
            };
            match next {
                Some(at) if at <= Instant::now() => return Ok(()),
                Some(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    _ = changes.changed() => {}
                },
                // The sender lives as long as this broker.
                None => drop(changes.changed().await),
            }
        }
    }

    /// Waits until all queues with an event source mapping are empty.
    pub async fn drained(&self) {
        let mut outstanding = self.outstanding.subscribe();
        // The sender lives as long as this broker.
        let _ = outstanding.wait_for(|outstanding| *outstanding == 0).await;
    }

    /// Delivers the next `count` messages of the queue twice, each copy by itself, as SQS may: it delivers at least once.
    ///
    /// # Errors
    /// When there is no such queue.
    pub fn duplicate_next(&self, queue: &str, count: usize) -> Result<(), NoSuchQueue> {
        self.change(queue, |queue, _| queue.duplicate_next(count))
    }

    /// Delivers the queue's deleted messages (the last 1,000) once more, and returns their number.
    ///
    /// # Errors
    /// When there is no such queue.
    pub fn redeliver(&self, queue: &str) -> Result<usize, NoSuchQueue> {
        self.change(queue, |queue, now| queue.redeliver(now.instant))
    }

    /// Moves all visible messages of a dead-letter queue back to the queue that it serves, as new messages. Returns their
    /// number.
    ///
    /// # Errors
    /// When no queue has it as its dead-letter queue.
    pub fn redrive(&self, dead_letters: &str) -> Result<usize, NoSuchQueue> {
        let mut queues = self.lock();
        let is_served = |queue: &Queue| {
            let redrive = queue.redrive.as_ref();
            redrive.is_some_and(|redrive| redrive.target == dead_letters)
        };
        let served = queues.by_name.iter().find(|(_, queue)| is_served(queue));
        let served = served.map(|(name, _)| name.clone());
        let unknown = || NoSuchQueue(dead_letters.to_owned());
        let served = served.ok_or_else(unknown)?;
        let now = moment();
        let source = queues.by_name.get_mut(dead_letters).ok_or_else(unknown)?;
        let (messages, _) = source.receive(usize::MAX, None, now);
        for message in &messages {
            // The receipt is the one of a moment ago.
            let _ = source.delete(&message.receipt);
        }
        if let Some(served) = queues.by_name.get_mut(&served) {
            for message in &messages {
                let id = uuid::Uuid::new_v4().to_string();
                served.send(&id, message.message.clone(), Some(Duration::ZERO), now);
            }
        }
        self.changed(&mut queues, now);
        Ok(messages.len())
    }

    fn change<T>(
        &self,
        name: &str,
        change: impl FnOnce(&mut Queue, OperationTime) -> T,
    ) -> Result<T, NoSuchQueue> {
        let mut queues = self.lock();
        let queue = queues.by_name.get_mut(name);
        let queue = queue.ok_or_else(|| NoSuchQueue(name.to_owned()))?;
        let now = moment();
        let outcome = change(queue, now);
        self.changed(&mut queues, now);
        Ok(outcome)
    }

    /// Counts and keeps messages under the lock of the change, so a message that moves between queues is never missed.
    fn changed(&self, queues: &mut Queues, now: OperationTime) {
        if let Err(error) = queues.keep(now) {
            self.events.tell(&Event::NotKept {
                resource: "queues".into(),
                reason: error.to_string(),
            });
        }
        let outstanding = self
            .feeding
            .iter()
            .filter_map(|name| queues.by_name.get(name))
            .map(Queue::len)
            .sum();
        let before = self.outstanding.send_replace(outstanding);
        if outstanding == 0 && before > 0 {
            self.events.tell(&Event::Drained);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    /// Writes the changes of all queues.
    fn keep(&mut self, now: OperationTime) -> io::Result<()> {
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        for (name, queue) in &mut self.by_name {
            for (number, kept) in queue.take_changes(now) {
                // Padded, so that the keys are in the order of the numbers.
                let key = format!("{name}/{number:020}");
                match kept {
                    Some(kept) => journal.put(&key, &kept)?,
                    None => journal.remove(&key)?,
                }
            }
        }
        Ok(())
    }

    /// Restores a kept message. False if it is of no queue of the stack.
    fn restore(&mut self, key: &str, value: &serde_json::Value, now: OperationTime) -> bool {
        let place = key.rsplit_once('/').and_then(|(name, number)| {
            let queue = self.by_name.get_mut(name)?;
            Some((
                queue,
                number.parse().ok()?,
                StoredMessage::deserialize(value).ok()?,
            ))
        });
        place
            .map(|(queue, number, kept)| queue.restore(number, kept, now))
            .is_some()
    }
}

fn moment() -> OperationTime {
    OperationTime {
        instant: Instant::now(),
        wall: clock::now(),
    }
}
