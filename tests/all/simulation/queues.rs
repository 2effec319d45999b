//! SQS, as far as it matters: a message is hidden while it is worked on, comes again if it is not deleted in time, comes
//! twice or in another order if chance will have it, and lies with the dead after twenty receives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use herald::queue::{self, DELAY_MAX, Message, Queue, RECEIVES_MAX};
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::lambda::Environment;
use super::lock;
use super::run::Run;

/// One queue, and its dead letters.
#[derive(Debug)]
pub(super) struct Sqs {
    name: &'static str,
    /// How long a message is hidden once it was received.
    visibility: Duration,
    /// How soon one comes again that was reported as failed.
    failed: Duration,
    /// Whether waits beyond 15 minutes go through EventBridge Scheduler, or end early.
    scheduler: bool,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By order of arrival.
    entries: BTreeMap<u64, Entry>,
    dead: Vec<Entry>,
    arrived: u64,
    /// Invocations that work on messages of this queue.
    working: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    body: String,
    sent: Timestamp,
    visible: Instant,
    receives: u32,
}

/// A message as a worker gets it.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// Which message.
    pub(super) number: u64,
    /// Its body.
    pub(super) body: String,
    /// How often it was received, this time included.
    pub(super) receives: u32,
    /// When it was sent.
    pub(super) sent: Timestamp,
}

impl Sqs {
    /// An empty queue.
    pub(super) fn new(name: &'static str, failed: Duration, scheduler: bool) -> Self {
        Self {
            name,
            visibility: Duration::from_mins(9),
            failed,
            scheduler,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    fn put(&self, run: &Run, message: &Message) {
        let longest = if self.scheduler { Duration::MAX } else { DELAY_MAX };
        let copies = if run.strikes(run.troubles.doubled) { 2 } else { 1 };
        let mut state = lock(&self.state);
        for _ in 0..copies {
            let number = state.arrived;
            state.arrived += 1;
            let entry = Entry {
                body: message.body.clone(),
                sent: run.now(),
                // SQS counts whole seconds.
                visible: Instant::now() + whole_seconds(message.delay.min(longest)),
                receives: 0,
            };
            state.entries.insert(number, entry);
        }
    }

    /// Up to so many messages, as soon as there is one.
    pub(super) async fn receive(&self, run: &Run, most: usize) -> Vec<Received> {
        loop {
            let changed = self.changed.notified();
            let batch = self.take(run, most);
            if !batch.is_empty() {
                return batch;
            }
            let next = lock(&self.state)
                .entries
                .values()
                .map(|entry| entry.visible)
                .min();
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    fn take(&self, run: &Run, most: usize) -> Vec<Received> {
        let now = Instant::now();
        let mut state = lock(&self.state);
        let mut visible: Vec<u64> = state
            .entries
            .iter()
            .filter(|(_, entry)| entry.visible <= now)
            .map(|(number, _)| *number)
            .collect();
        let mut batch = Vec::new();
        while batch.len() < most && !visible.is_empty() {
            let index = if run.troubles.reordered && !run.is_calm() {
                run.chance.index(visible.len())
            } else {
                0
            };
            let number = visible.remove(index);
            let Some(entry) = state.entries.get_mut(&number) else {
                continue;
            };
            if entry.receives >= RECEIVES_MAX {
                let dead = state.entries.remove(&number);
                state.dead.extend(dead);
                self.changed.notify_waiters();
                run.tell(&self.name, format_args!("{number} goes to the dead letters"));
                continue;
            }
            entry.receives += 1;
            let hidden = if run.strikes(run.troubles.redelivered) {
                run.chance.wait(Duration::ZERO, Duration::from_secs(100))
            } else {
                self.visibility
            };
            entry.visible = now + hidden;
            batch.push(Received {
                number,
                body: entry.body.clone(),
                receives: entry.receives,
                sent: entry.sent,
            });
        }
        state.working += usize::from(!batch.is_empty());
        batch
    }

    /// An invocation has ended: what it did not report as failed is deleted, if it lived to tell.
    pub(super) fn ended(&self, run: &Run, batch: &[Received], failed: Option<&[u64]>) {
        let now = Instant::now();
        let mut state = lock(&self.state);
        state.working -= 1;
        for received in batch {
            let Some(entry) = state.entries.get_mut(&received.number) else {
                continue;
            };
            // An old receipt deletes nothing.
            if entry.receives != received.receives {
                continue;
            }
            match failed {
                None => {}
                Some(failed) if failed.contains(&received.number) => {
                    entry.visible = entry.visible.min(now + self.failed);
                }
                Some(_) if run.strikes(run.troubles.redelivered) => {
                    entry.visible = now + run.chance.wait(Duration::ZERO, Duration::from_secs(30));
                }
                Some(_) => {
                    state.entries.remove(&received.number);
                }
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Resolves when something changed.
    pub(super) async fn change(&self) {
        self.changed.notified().await;
    }

    /// Whether there is nothing on it, and nobody at work on it.
    pub(super) fn is_quiet(&self) -> bool {
        let state = lock(&self.state);
        state.entries.is_empty() && state.working == 0
    }

    /// How many dead letters there are.
    pub(super) fn dead(&self) -> usize {
        lock(&self.state).dead.len()
    }

    /// Puts the dead letters back on the queue.
    pub(super) fn redrive(&self) {
        let mut state = lock(&self.state);
        for entry in std::mem::take(&mut state.dead) {
            let number = state.arrived;
            state.arrived += 1;
            let entry = Entry {
                receives: 0,
                visible: Instant::now(),
                ..entry
            };
            state.entries.insert(number, entry);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// What is on it, for whoever finds out why a run did not end.
    pub(super) fn contents(&self) -> Vec<String> {
        let state = lock(&self.state);
        let of = |(number, entry): (&u64, &Entry)| {
            let wait = entry.visible.saturating_duration_since(Instant::now()).as_secs();
            format!("{} {number} in {wait} s: {}", self.name, entry.body)
        };
        state.entries.iter().map(of).collect()
    }
}

/// Which queue.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    Plans,
    Deliveries,
}

impl Which {
    /// The queue of a run.
    pub(super) fn of(self, run: &Run) -> &Sqs {
        match self {
            Self::Plans => &run.plans,
            Self::Deliveries => &run.deliveries,
        }
    }
}

/// A queue as a worker reaches it.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) environment: Arc<Environment>,
    pub(super) which: Which,
}

impl Queue for Lane {
    async fn send(&self, messages: Vec<Message>) -> Result<(), queue::Error> {
        let run = &self.environment.run;
        let queue = self.which.of(run);
        let away = || queue::Error::Unavailable {
            source: "away".into(),
        };
        let act = async {
            // Batches of ten are requests of their own: a failure may come between any two.
            for (index, batch) in messages.chunks(10).enumerate() {
                if index > 0 && run.strikes(run.troubles.away) {
                    return Err(away());
                }
                for message in batch {
                    queue.put(run, message);
                    let seconds = message.delay.as_secs_f32();
                    run.tell(
                        &self.environment,
                        format_args!("enqueues on {} in {seconds:.1} s: {}", queue.name, message.body),
                    );
                }
            }
            queue.changed.notify_waiters();
            Ok(())
        };
        self.environment.call("enqueue", act, away).await
    }
}

/// Waits a moment of virtual time.
pub(super) async fn pause(wait: Duration) {
    if !wait.is_zero() {
        sleep(wait).await;
    }
}

/// As SQS counts delays: rounded up.
fn whole_seconds(delay: Duration) -> Duration {
    Duration::from_secs(delay.as_secs() + u64::from(delay.subsec_nanos() > 0))
}
