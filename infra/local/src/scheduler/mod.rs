//! EventBridge Scheduler, as far as one-time schedules send messages to the template's queues.
//!
//! A schedule is done in the second it names; AWS takes up to a minute more. Schedules live in memory, as the queues do
//! that they send to: none survives this program, whatever the tables do.

mod api;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

pub(crate) use api::router;

use crate::{
    clock,
    sqs::{Broker, Message},
};

/// The schedules that wait for their time. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Scheduler {
    broker: Broker,
    schedules: Arc<Mutex<BTreeMap<Name, Schedule>>>,
    changed: Arc<Notify>,
}

/// A group and a name in it.
type Name = (String, String);

#[derive(Debug)]
struct Schedule {
    at: Instant,
    /// The queue's name.
    queue: String,
    input: String,
    then: Then,
    /// As it is shown.
    document: Value,
}

/// What happens to a schedule after it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Delete,
    Keep,
}

/// There is a schedule of that name already.
#[derive(Debug)]
struct AlreadyThere;

impl Scheduler {
    pub(crate) fn new(broker: Broker) -> Scheduler {
        Scheduler {
            broker,
            schedules: Arc::default(),
            changed: Arc::default(),
        }
    }

    /// Sends each message at its time, until it is dropped.
    pub(crate) async fn run(self) {
        loop {
            // Changes from here on end the wait below.
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

    /// How many wait for their time.
    pub(crate) fn waiting(&self) -> usize {
        self.lock()
            .values()
            .filter(|schedule| !schedule.is_done())
            .count()
    }

    /// Runs all waiting schedules now, and returns how many those were.
    pub(crate) fn bring_forward(&self) -> usize {
        self.send(|_| true)
    }

    fn create(
        &self,
        name: Name,
        due: Timestamp,
        make: impl FnOnce(Instant) -> Schedule,
    ) -> Result<(), AlreadyThere> {
        let wait = Duration::try_from(due.duration_since(clock::now())).unwrap_or_default();
        let mut schedules = self.lock();
        if schedules.contains_key(&name) {
            return Err(AlreadyThere);
        }
        schedules.insert(name, make(Instant::now() + wait));
        self.changed.notify_one();
        Ok(())
    }

    fn delete(&self, name: &Name) -> Option<Schedule> {
        self.lock().remove(name)
    }

    fn show(&self, name: &Name) -> Option<Value> {
        Some(self.lock().get(name)?.document.clone())
    }

    fn next(&self) -> Option<Instant> {
        let schedules = self.lock();
        let waiting = schedules.values().filter(|schedule| !schedule.is_done());
        waiting.map(|schedule| schedule.at).min()
    }

    fn send(&self, is_meant: impl Fn(&Schedule) -> bool) -> usize {
        let mut sent = 0;
        self.lock().retain(|_, schedule| {
            if schedule.is_done() || !is_meant(schedule) {
                return true;
            }
            sent += 1;
            let message = Message {
                body: std::mem::take(&mut schedule.input),
                ..Message::default()
            };
            // That there is such a queue was asked when the schedule was made.
            drop(self.broker.send(&schedule.queue, message, None));
            schedule.then == Then::Keep
        });
        sent
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Schedule>> {
        self.schedules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Schedule {
    /// An input is never empty before it is sent.
    fn is_done(&self) -> bool {
        self.input.is_empty()
    }
}
