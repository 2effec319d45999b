//! One standard queue, as a state machine over time: every operation is told what time it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::message::Message;
use crate::template::Redrive;

/// How many acknowledged messages a queue can deliver once more.
const REMEMBERED: usize = 1_000;

/// What a receiver gets.
#[derive(Clone, Debug)]
pub struct Received {
    /// The message's id, the same at every receive.
    pub id: String,
    /// What deletes it; another at every receive.
    pub receipt: String,
    /// The message.
    pub message: Message,
    /// How often it has been received, this time included.
    pub receives: u32,
    /// When it was sent.
    pub sent: Timestamp,
    /// When it was first received.
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
pub(super) struct Queue {
    visibility: Duration,
    delay: Duration,
    pub(super) redrive: Option<Redrive>,
    /// By order of arrival.
    entries: BTreeMap<u64, Entry>,
    next: u64,
    acknowledged: VecDeque<Entry>,
    /// How many of the coming messages are kept in two copies.
    doubled: usize,
}

/// The moment of an operation: the clock that timers run on, and the one that people read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) instant: Instant,
    pub(super) wall: Timestamp,
}

/// How many messages a queue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ready to be received.
    pub visible: usize,
    /// Received and neither deleted nor visible again.
    pub in_flight: usize,
    /// Sent with a delay that is not over.
    pub delayed: usize,
}

impl Queue {
    pub(super) fn new(queue: &crate::template::Queue) -> Queue {
        Queue {
            visibility: queue.visibility,
            delay: queue.delay,
            redrive: queue.redrive.clone(),
            entries: BTreeMap::new(),
            next: 0,
            acknowledged: VecDeque::new(),
            doubled: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes in a message and returns its id. Without a delay of its own it gets the queue's.
    pub(super) fn send(&mut self, message: Message, delay: Option<Duration>, now: Moment) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        let entry = Entry {
            id: id.clone(),
            message,
            sent: now.wall,
            visible_at: now.instant + delay.unwrap_or(self.delay),
            receives: 0,
            first_received: None,
        };
        if self.doubled > 0 {
            self.doubled -= 1;
            self.insert(entry.clone());
        }
        self.insert(entry);
        id
    }

    /// Takes in a message that another queue gave up: same id, same age, visible at once.
    pub(super) fn bury(&mut self, dead: Dead, now: Moment) {
        self.insert(Entry {
            visible_at: now.instant,
            receives: 0,
            first_received: None,
            ..dead.0
        });
    }

    /// Up to `most` visible messages, invisible from now on for `visibility` or the queue's own; and those that were
    /// received too often before and are received no more.
    ///
    /// It is fair at once, where SQS is when a group gets loud: the next message is the oldest of the group with the
    /// fewest in flight. A message without a group is one by itself.
    pub(super) fn receive(
        &mut self,
        most: usize,
        visibility: Option<Duration>,
        now: Moment,
    ) -> (Vec<Received>, Vec<Dead>) {
        let max_receives = self
            .redrive
            .as_ref()
            .map_or(u32::MAX, |redrive| redrive.max_receives);
        let visible_at = now.instant + visibility.unwrap_or(self.visibility);
        let worn_out: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.visible_at <= now.instant && entry.receives >= max_receives)
            .map(|(number, _)| *number)
            .collect();
        let dead = worn_out
            .into_iter()
            .filter_map(|number| self.entries.remove(&number).map(Dead))
            .collect();
        let mut received = Vec::new();
        for number in self.fairest(most, now.instant) {
            let Some(entry) = self.entries.get_mut(&number) else {
                continue;
            };
            entry.receives += 1;
            entry.visible_at = visible_at;
            received.push(Received {
                id: entry.id.clone(),
                receipt: format!("{number}.{}", entry.receives),
                message: entry.message.clone(),
                receives: entry.receives,
                sent: entry.sent,
                first_received: *entry.first_received.get_or_insert(now.wall),
            });
        }
        (received, dead)
    }

    /// The numbers of up to `most` visible messages, in the order in which they are handed out.
    fn fairest(&self, most: usize, now: Instant) -> Vec<u64> {
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
        // Each group by how many it has in flight, then by its oldest; those alone have none.
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
        let mut fairest = Vec::new();
        while fairest.len() < most
            && let Some((in_flight, number, group)) = next.pop_first()
        {
            fairest.push(number);
            let numbers = group.and_then(|group| waiting.get_mut(group));
            next.extend(
                numbers
                    .and_then(VecDeque::pop_front)
                    .map(|older| (in_flight + 1, older, group)),
            );
        }
        fairest
    }

    /// Deletes by the latest receipt; an older one deletes nothing, and that is no error either.
    ///
    /// # Errors
    /// When the receipt is none that this queue ever gave.
    pub(super) fn delete(&mut self, receipt: &str) -> Result<(), NotAReceipt> {
        let (number, receives) = parse(receipt)?;
        if self
            .entries
            .get(&number)
            .is_some_and(|entry| entry.receives == receives)
            && let Some(entry) = self.entries.remove(&number)
        {
            if self.acknowledged.len() == REMEMBERED {
                self.acknowledged.pop_front();
            }
            self.acknowledged.push_back(entry);
        }
        Ok(())
    }

    /// Sets when a received message becomes visible again.
    ///
    /// # Errors
    /// When the receipt is none that this queue ever gave. One that is no longer the latest changes nothing.
    pub(super) fn change_visibility(
        &mut self,
        receipt: &str,
        visibility: Duration,
        now: Moment,
    ) -> Result<(), NotAReceipt> {
        let (number, receives) = parse(receipt)?;
        if let Some(entry) = self
            .entries
            .get_mut(&number)
            .filter(|entry| entry.receives == receives)
        {
            entry.visible_at = now.instant + visibility;
        }
        Ok(())
    }

    /// When the next message becomes visible; `None` in an empty queue.
    pub(super) fn next_visible(&self) -> Option<Instant> {
        self.entries.values().map(|entry| entry.visible_at).min()
    }

    pub(super) fn counts(&self, now: Instant) -> Counts {
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

    /// Keeps the next `count` messages in two copies of the same id, so that two receivers can hold one message.
    pub(super) fn double(&mut self, count: usize) {
        self.doubled += count;
    }

    /// Makes the acknowledged messages (the last 1,000) visible once more, and says how many those are.
    pub(super) fn redeliver(&mut self, now: Instant) -> usize {
        let again = std::mem::take(&mut self.acknowledged);
        let count = again.len();
        for entry in again {
            self.insert(Entry {
                visible_at: now,
                ..entry
            });
        }
        count
    }

    fn insert(&mut self, entry: Entry) {
        self.entries.insert(self.next, entry);
        self.next += 1;
    }
}

/// A message that was received too often.
#[derive(Debug)]
pub(super) struct Dead(Entry);

impl Dead {
    pub(super) fn id(&self) -> &str {
        &self.0.id
    }
}

/// The text is no receipt handle of this queue.
#[derive(Debug)]
pub(super) struct NotAReceipt;

fn parse(receipt: &str) -> Result<(u64, u32), NotAReceipt> {
    let (number, receives) = receipt.split_once('.').ok_or(NotAReceipt)?;
    Ok((
        number.parse().map_err(|_| NotAReceipt)?,
        receives.parse().map_err(|_| NotAReceipt)?,
    ))
}

#[cfg(test)]
mod tests;
