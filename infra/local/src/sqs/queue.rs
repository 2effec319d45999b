//! A standard queue as a pure state machine: times and message ids are arguments.
//!
//! The local host serves it over HTTP; the simulation injects faults around it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::message::Message;
use crate::template::Redrive;

/// The number of deleted messages that can be delivered again.
const DELETED_KEPT: usize = 1_000;

/// A received message.
#[derive(Clone, Debug)]
pub struct Received {
    /// The message's id, the same at each receive.
    pub id: String,
    /// The receipt handle, new at each receive.
    pub receipt: String,
    /// The message as it was sent.
    pub message: Message,
    /// The number of receives, this one included.
    pub receives: u32,
    /// The time of sending.
    pub sent: Timestamp,
    /// The time of the first receive.
    pub first_received: Timestamp,
}

#[derive(Clone, Debug)]
struct Entry {
    id: String,
    message: Message,
    sent: Timestamp,
    visible_at: Instant,
    receives: u32,
    first_received: Option<Timestamp>,
}

/// A standard queue.
#[derive(Debug)]
pub struct Queue {
    visibility: Duration,
    delay: Duration,
    pub(super) redrive: Option<Redrive>,
    /// In order of arrival.
    entries: BTreeMap<u64, Entry>,
    next: u64,
    deleted: VecDeque<Entry>,
    /// How many of the next messages are stored twice.
    duplicated: usize,
    /// The numbers of messages that have changed, if they are [tracked](Queue::track_changes).
    changed: Option<BTreeSet<u64>>,
}

/// A message of a queue in a form that outlives the process: by the wall clock.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct StoredMessage {
    id: String,
    message: Message,
    sent: Timestamp,
    visible_at: Timestamp,
    receives: u32,
    first_received: Option<Timestamp>,
}

/// The time of an operation, by two clocks.
#[derive(Clone, Copy, Debug)]
pub struct OperationTime {
    /// The monotonic clock, which decides about visibility.
    pub instant: Instant,
    /// The wall clock, for the timestamps of messages.
    pub wall: Timestamp,
}

/// The number of messages in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Visible.
    pub visible: usize,
    /// In flight: received, and neither deleted nor visible again.
    pub in_flight: usize,
    /// Delayed.
    pub delayed: usize,
}

impl Queue {
    /// An empty queue with these settings.
    pub fn new(queue: &crate::template::Queue) -> Queue {
        Queue {
            visibility: queue.visibility,
            delay: queue.delay,
            redrive: queue.redrive.clone(),
            entries: BTreeMap::new(),
            next: 0,
            deleted: VecDeque::new(),
            duplicated: 0,
            changed: None,
        }
    }

    /// From now on remembers which messages change, for [`Queue::take_changes`].
    pub(super) fn track_changes(&mut self) {
        self.changed = Some(BTreeSet::new());
    }

    /// The messages that have changed since the last call, by number; `None` for a removed one.
    pub(super) fn take_changes(&mut self, now: OperationTime) -> Vec<(u64, Option<StoredMessage>)> {
        let changed = self.changed.as_mut().map(std::mem::take).unwrap_or_default();
        let kept = |number: u64| (number, self.entries.get(&number).map(|entry| entry.kept(now)));
        changed.into_iter().map(kept).collect()
    }

    /// Stores a message that an earlier process kept. A message that was in flight is visible at once: its receiver ended
    /// with that process.
    pub(super) fn restore(&mut self, number: u64, kept: StoredMessage, now: OperationTime) {
        let wait = Duration::try_from(kept.visible_at.duration_since(now.wall)).unwrap_or_default();
        let wait = if kept.receives == 0 { wait } else { Duration::ZERO };
        self.next = self.next.max(number + 1);
        let entry = Entry {
            id: kept.id,
            message: kept.message,
            sent: kept.sent,
            visible_at: now.instant + wait,
            receives: kept.receives,
            first_received: kept.first_received,
        };
        self.entries.insert(number, entry);
        self.note(number);
    }

    /// The number of messages: visible, delayed and in flight.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it contains no message.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bodies of all messages with the times at which they become visible, in order of arrival.
    pub fn contents(&self) -> impl Iterator<Item = (&str, Instant)> {
        let entries = self.entries.values();
        entries.map(|entry| (entry.message.body.as_str(), entry.visible_at))
    }

    /// Stores a message under a new id. Without `delay` the queue's own applies.
    pub fn send(&mut self, id: &str, message: Message, delay: Option<Duration>, now: OperationTime) {
        let entry = Entry {
            id: id.to_owned(),
            message,
            sent: now.wall,
            visible_at: now.instant + delay.unwrap_or(self.delay),
            receives: 0,
            first_received: None,
        };
        if self.duplicated > 0 {
            self.duplicated -= 1;
            self.insert(entry.clone());
        }
        self.insert(entry);
    }

    /// Stores a message of another queue's dead letters, visible at once, with its id and age.
    pub fn move_in(&mut self, DeadLetter(entry): DeadLetter, now: OperationTime) {
        self.insert(Entry {
            visible_at: now.instant,
            receives: 0,
            first_received: None,
            ..entry
        });
    }

    /// Receives up to `most` visible messages and hides them for `visibility` or the queue's own time-out. Returns those
    /// that exceed their receives as dead letters.
    pub fn receive(
        &mut self,
        most: usize,
        visibility: Option<Duration>,
        now: OperationTime,
    ) -> (Vec<Received>, Vec<DeadLetter>) {
        let dead = self.give_up(now);
        let next = self.visible(most, now.instant).into_iter();
        let received = next.filter_map(|number| self.take(number, visibility, now));
        (received.collect(), dead)
    }

    /// Removes the visible messages that have reached the redrive policy's receive count.
    pub fn give_up(&mut self, now: OperationTime) -> Vec<DeadLetter> {
        let max_receives = self
            .redrive
            .as_ref()
            .map_or(u32::MAX, |redrive| redrive.max_receives);
        let is_dead =
            |_: &u64, entry: &mut Entry| entry.visible_at <= now.instant && entry.receives >= max_receives;
        let dead: Vec<(u64, Entry)> = self.entries.extract_if(.., is_dead).collect();
        for (number, _) in &dead {
            self.note(*number);
        }
        dead.into_iter().map(|(_, entry)| DeadLetter(entry)).collect()
    }

    /// Receives the message of this number and hides it for `visibility` or the queue's own time-out.
    pub fn take(
        &mut self,
        number: u64,
        visibility: Option<Duration>,
        now: OperationTime,
    ) -> Option<Received> {
        let entry = self.entries.get_mut(&number)?;
        entry.receives += 1;
        entry.visible_at = now.instant + visibility.unwrap_or(self.visibility);
        let received = Received {
            id: entry.id.clone(),
            receipt: format!("{number}.{}", entry.receives),
            message: entry.message.clone(),
            receives: entry.receives,
            sent: entry.sent,
            first_received: *entry.first_received.get_or_insert(now.wall),
        };
        self.note(number);
        Some(received)
    }

    /// The numbers of up to `most` visible messages, in the order of receiving: the next one is the oldest of the group
    /// with the fewest in flight; a message without a group is its own group. SQS does so once a group has a backlog;
    /// this queue always does.
    pub fn visible(&self, most: usize, now: Instant) -> Vec<u64> {
        let mut in_flight: BTreeMap<&str, usize> = BTreeMap::new();
        let mut waiting: BTreeMap<&str, VecDeque<u64>> = BTreeMap::new();
        let mut alone = VecDeque::new();
        for (number, entry) in &self.entries {
            match (entry.message.group.as_deref(), entry.visible_at <= now) {
                (Some(group), true) => {
                    let oldest = waiting.entry(group).or_default();
                    if oldest.len() < most {
                        oldest.push_back(*number);
                    }
                }
                (Some(group), false) if entry.receives > 0 => *in_flight.entry(group).or_default() += 1,
                (None, true) if alone.len() < most => alone.push_back(*number),
                (Some(_) | None, _) => {}
            }
        }
        let mut next: BTreeSet<(usize, u64, Option<&str>)> =
            alone.into_iter().map(|number| (0, number, None)).collect();
        for (group, numbers) in &mut waiting {
            let in_flight = in_flight.get(group).copied().unwrap_or_default();
            next.extend(
                numbers
                    .pop_front()
                    .map(|oldest| (in_flight, oldest, Some(*group))),
            );
        }
        let mut order = Vec::new();
        while order.len() < most
            && let Some((in_flight, number, group)) = next.pop_first()
        {
            order.push(number);
            let numbers = group.and_then(|group| waiting.get_mut(group));
            next.extend(
                numbers
                    .and_then(VecDeque::pop_front)
                    .map(|older| (in_flight + 1, older, group)),
            );
        }
        order
    }

    /// Deletes a message by its latest receipt. An older receipt deletes nothing and is no error.
    ///
    /// # Errors
    /// When the text is not a receipt handle of this queue.
    pub fn delete(&mut self, receipt: &str) -> Result<(), InvalidReceipt> {
        let (number, receives) = parse(receipt)?;
        if self
            .entries
            .get(&number)
            .is_some_and(|entry| entry.receives == receives)
            && let Some(entry) = self.entries.remove(&number)
        {
            if self.deleted.len() == DELETED_KEPT {
                self.deleted.pop_front();
            }
            self.deleted.push_back(entry);
            self.note(number);
        }
        Ok(())
    }

    /// Sets for how long a received message stays hidden. An older receipt changes nothing and is no error.
    ///
    /// # Errors
    /// When the text is not a receipt handle of this queue.
    pub fn change_visibility(
        &mut self,
        receipt: &str,
        visibility: Duration,
        now: OperationTime,
    ) -> Result<(), InvalidReceipt> {
        let (number, receives) = parse(receipt)?;
        if let Some(entry) = self
            .entries
            .get_mut(&number)
            .filter(|entry| entry.receives == receives)
        {
            entry.visible_at = now.instant + visibility;
            self.note(number);
        }
        Ok(())
    }

    /// When the next message becomes visible; `None` if the queue is empty.
    pub fn next_visible(&self) -> Option<Instant> {
        self.entries.values().map(|entry| entry.visible_at).min()
    }

    /// The numbers of visible, in-flight and delayed messages.
    pub fn counts(&self, now: Instant) -> Counts {
        let mut counts = Counts::default();
        for entry in self.entries.values() {
            match (entry.visible_at <= now, entry.receives) {
                (true, _) => counts.visible += 1,
                (false, 0) => counts.delayed += 1,
                (false, _) => counts.in_flight += 1,
            }
        }
        counts
    }

    /// Stores the next `count` messages twice with the same id, so two receivers can have one message.
    pub fn duplicate_next(&mut self, count: usize) {
        self.duplicated += count;
    }

    /// Makes the last 1,000 deleted messages visible again, and returns their number.
    pub fn redeliver(&mut self, now: Instant) -> usize {
        let deleted = std::mem::take(&mut self.deleted);
        let count = deleted.len();
        for entry in deleted {
            self.insert(Entry {
                visible_at: now,
                ..entry
            });
        }
        count
    }

    fn insert(&mut self, entry: Entry) {
        self.entries.insert(self.next, entry);
        self.note(self.next);
        self.next += 1;
    }

    fn note(&mut self, number: u64) {
        self.changed.as_mut().map(|changed| changed.insert(number));
    }
}

impl Entry {
    fn kept(&self, now: OperationTime) -> StoredMessage {
        let wait = self.visible_at.saturating_duration_since(now.instant);
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::ZERO);
        StoredMessage {
            id: self.id.clone(),
            message: self.message.clone(),
            sent: self.sent,
            visible_at: now.wall.saturating_add(wait).unwrap_or(now.wall),
            receives: self.receives,
            first_received: self.first_received,
        }
    }
}

/// A message that exceeded its receives.
#[derive(Clone, Debug)]
pub struct DeadLetter(Entry);

impl DeadLetter {
    /// The message's id.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The message's body.
    pub fn body(&self) -> &str {
        &self.0.message.body
    }
}

/// The text is not a receipt handle of this queue.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the receipt handle is not valid")]
pub struct InvalidReceipt;

fn parse(receipt: &str) -> Result<(u64, u32), InvalidReceipt> {
    let (number, receives) = receipt.split_once('.').ok_or(InvalidReceipt)?;
    Ok((
        number.parse().map_err(|_| InvalidReceipt)?,
        receives.parse().map_err(|_| InvalidReceipt)?,
    ))
}

#[cfg(test)]
mod tests;
