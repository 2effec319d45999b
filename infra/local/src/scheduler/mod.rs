//! EventBridge Scheduler, for one-time schedules that send messages to the template's queues.
//!
//! A schedule runs in its exact second; AWS may take up to a minute more. Schedules are in memory, like the queues that
//! they send to: none survives this program, even if the tables do.

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

/// The pending schedules. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Scheduler {
    broker: Broker,
    schedules: Arc<Mutex<BTreeMap<Name, Schedule>>>,
    changed: Arc<Notify>,
}

/// The group and the name.
type Name = (String, String);

#[derive(Debug)]
struct Schedule {
    at: Instant,
    /// The target queue.
    queue: String,
    input: String,
    then: Then,
    /// The document that `GetSchedule` returns.
    document: Value,
}

/// The action after a schedule ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Delete,
    Keep,
}

/// A schedule of that name exists.
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
            .values()
            .filter(|schedule| !schedule.is_done())
            .count()
    }

    /// Runs all pending schedules now, and returns their number.
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
            // The queue was checked when the schedule was created.
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
    /// The input is never empty before it is sent.
    fn is_done(&self) -> bool {
        self.input.is_empty()
    }
}
