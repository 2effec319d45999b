//! EventBridge Scheduler, for one-time schedules that send messages to the template's queues.
//!
//! A schedule runs in its exact second; AWS may take up to a minute more. Schedules are in memory, and with a data
//! directory also in a file. One that is due while no host runs is carried out at the next start.

mod api;

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

pub(crate) use api::router;

use crate::{
    clock,
    event::{Event, Events},
    journal::Journal,
    sqs::{Broker, Message},
};

/// The pending schedules. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Scheduler {
    broker: Broker,
    events: Events,
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    schedules: BTreeMap<Name, Schedule>,
    /// The schedules, by group and name; without one, they end with the process.
    journal: Option<Journal>,
}

/// The group and the name.
type Name = (String, String);

#[derive(Debug, Deserialize, Serialize)]
struct Schedule {
    due: Timestamp,
    /// The same by the monotonic clock, which decides.
    #[serde(skip, default = "Instant::now")]
    at: Instant,
    /// The target queue.
    queue: String,
    /// Gets the message if the target queue is not there any more.
    #[serde(default)]
    dead_letters: Option<String>,
    input: String,
    then: AfterRun,
    /// The document that `GetSchedule` returns.
    document: Value,
}

/// The action after a schedule ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
enum AfterRun {
    Delete,
    Keep,
}

/// A schedule of that name exists.
#[derive(Debug)]
struct AlreadyThere;

impl Scheduler {
    pub(crate) fn new(broker: Broker, events: Events) -> Scheduler {
        Scheduler {
            broker,
            events,
            state: Arc::default(),
            changed: Arc::default(),
        }
    }

    /// Restores the schedules of the file at this path, and keeps it up to date from now on.
    pub(crate) fn keep_in(&self, file: &Path) -> io::Result<()> {
        let (journal, kept) = Journal::open(file)?;
        let mut state = self.lock();
        state.journal = Some(journal);
        for (key, value) in kept {
            let name = key.split_once('/');
            let restored = name.and_then(|(group, name)| {
                let mut schedule = Schedule::deserialize(&value).ok()?;
                schedule.at = instant(schedule.due);
                let name = (group.to_owned(), name.to_owned());
                Some(state.schedules.insert(name, schedule))
            });
            if restored.is_none()
                && let Some(journal) = &mut state.journal
            {
                journal.remove(&key)?;
            }
        }
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Sends each message at its time. Dropping the future stops it.
    pub(crate) async fn run(self) {
        loop {
            // Later changes wake the wait below.
            let changed = self.changed.notified();
            match self.next() {
                Some(at) if at <= Instant::now() => {
                    self.send(|schedule| schedule.at <= Instant::now());
                }
                Some(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    /// The number of pending schedules.
    pub(crate) fn waiting(&self) -> usize {
        self.lock()
            .schedules
            .values()
            .filter(|schedule| !schedule.is_done())
            .count()
    }

    /// Runs all pending schedules now, and returns their number.
    pub(crate) fn bring_forward(&self) -> usize {
        self.send(|_| true)
    }

    fn create(&self, name: Name, schedule: Schedule) -> Result<(), AlreadyThere> {
        let mut state = self.lock();
        if state.schedules.contains_key(&name) {
            return Err(AlreadyThere);
        }
        self.keep(state.keep(&name, Some(&schedule)));
        state.schedules.insert(name, schedule);
        self.changed.notify_one();
        Ok(())
    }

    fn delete(&self, name: &Name) -> Option<Schedule> {
        let mut state = self.lock();
        let deleted = state.schedules.remove(name)?;
        self.keep(state.keep(name, None));
        Some(deleted)
    }

    fn show(&self, name: &Name) -> Option<Value> {
        Some(self.lock().schedules.get(name)?.document.clone())
    }

    fn next(&self) -> Option<Instant> {
        let state = self.lock();
        let waiting = state.schedules.values().filter(|schedule| !schedule.is_done());
        waiting.map(|schedule| schedule.at).min()
    }

    fn send(&self, is_meant: impl Fn(&Schedule) -> bool) -> usize {
        let mut state = self.lock();
        let is_meant = |schedule: &Schedule| !schedule.is_done() && is_meant(schedule);
        let due: Vec<Name> = state
            .schedules
            .iter()
            .filter(|(_, schedule)| is_meant(schedule))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &due {
            let Some(mut schedule) = state.schedules.remove(name) else {
                continue;
            };
            let message = Message {
                body: std::mem::take(&mut schedule.input),
                ..Message::default()
            };
            // Before the schedule is forgotten: a message that is sent twice does no harm. The queue was checked when the
            // schedule was created, but a restored schedule may be of an earlier template.
            if self.broker.send(&schedule.queue, message.clone(), None).is_err()
                && let Some(dead_letters) = &schedule.dead_letters
            {
                drop(self.broker.send(dead_letters, message, None));
            }
            if schedule.then == AfterRun::Keep {
                self.keep(state.keep(name, Some(&schedule)));
                state.schedules.insert(name.clone(), schedule);
            } else {
                self.keep(state.keep(name, None));
            }
        }
        due.len()
    }

    /// Reports a change that was not written.
    fn keep(&self, written: io::Result<()>) {
        if let Err(error) = written {
            self.events.tell(&Event::NotKept {
                resource: "schedules".into(),
                reason: error.to_string(),
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes a schedule, or that there is none.
    fn keep(&mut self, (group, name): &Name, schedule: Option<&Schedule>) -> io::Result<()> {
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        let key = format!("{group}/{name}");
        match schedule {
            Some(schedule) => journal.put(&key, schedule),
            None => journal.remove(&key),
        }
    }
}

impl Schedule {
    /// The input is never empty before it is sent.
    fn is_done(&self) -> bool {
        self.input.is_empty()
    }
}

fn instant(due: Timestamp) -> Instant {
    Instant::now() + Duration::try_from(due.duration_since(clock::now())).unwrap_or_default()
}
