//! SQS: the local host's model of a queue, with fault injection. Messages are delivered late, twice and out of order.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use herald::queue::{self, DELAY_MAX, DeadLetterQueue, FORMAT, Message, Queue, RECEIVES_MAX};
use herald_local::sqs::{self, DeadLetter, OperationTime, Received};
use herald_local::template;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::lambda::Environment;
use super::lock;
use super::run::Run;

/// The visibility timeout.
const VISIBILITY: Duration = Duration::from_mins(9);

/// One queue, and its dead letters.
#[derive(Debug)]
pub(super) struct Sqs {
    name: &'static str,
    /// The visibility timeout of a failed message.
    failed: Duration,
    /// Whether waits beyond 15 minutes go through EventBridge Scheduler, or end early.
    scheduler: bool,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    queue: sqs::Queue,
    dead_letters: Vec<DeadLetter>,
    sent: u64,
    /// Invocations that process messages of this queue.
    working: usize,
}

impl Sqs {
    /// An empty queue.
    pub(super) fn new(name: &'static str, failed: Duration, scheduler: bool) -> Self {
        let settings = template::Queue {
            name: name.to_owned(),
            arn: String::new(),
            visibility: VISIBILITY,
            delay: Duration::ZERO,
            redrive: Some(template::Redrive {
                target: String::new(),
                max_receives: RECEIVES_MAX,
            }),
        };
        Self {
            name,
            failed,
            scheduler,
            state: Mutex::new(State {
                queue: sqs::Queue::new(&settings),
                dead_letters: Vec::new(),
                sent: 0,
                working: 0,
            }),
            changed: Notify::new(),
        }
    }

    /// Takes what another service sends.
    pub(super) fn publish(&self, run: &Run, body: String) {
        self.put(run, &Message::text(body, Duration::ZERO));
        self.changed.notify_waiters();
    }

    fn put(&self, run: &Run, message: &Message) {
        if !message.delay.is_zero() && message.body.contains("\"clock\"") && run.strikes(run.troubles.dropped)
        {
            run.tell(&self.name, format_args!("Scheduler gives up {}", message.body));
            return;
        }
        let longest = if self.scheduler { Duration::MAX } else { DELAY_MAX };
        let copies = if run.strikes(run.troubles.doubled) { 2 } else { 1 };
        let sent = sqs::Message {
            body: of_some_release(run, &message.body),
            group: message.group.clone(),
            ..sqs::Message::default()
        };
        let delay = whole_seconds(message.delay.min(longest));
        let mut state = lock(&self.state);
        for _ in 0..copies {
            let id = state.sent.to_string();
            state.sent += 1;
            state.queue.send(&id, sent.clone(), Some(delay), moment(run));
        }
    }

    /// Receives up to `most` messages, as soon as there is one.
    pub(super) async fn receive(&self, run: &Run, most: usize) -> Vec<Received> {
        loop {
            let changed = self.changed.notified();
            let batch = self.take(run, most);
            if !batch.is_empty() {
                return batch;
            }
            let next = lock(&self.state).queue.next_visible();
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    fn take(&self, run: &Run, most: usize) -> Vec<Received> {
        let now = moment(run);
        let mut state = lock(&self.state);
        for dead in state.queue.give_up(now) {
            let id = dead.id().to_owned();
            state.dead_letters.push(dead);
            self.changed.notify_waiters();
            run.tell(&self.name, format_args!("{id} goes to the dead letters"));
        }
        let reordered = run.troubles.reordered && !run.is_calm();
        let mut visible = state.queue.visible(usize::MAX, now.instant);
        let mut batch = Vec::new();
        while batch.len() < most && !visible.is_empty() {
            let index = if reordered {
                run.chance.index(visible.len())
            } else {
                0
            };
            let hidden = run
                .strikes(run.troubles.redelivered)
                .then(|| run.chance.wait(Duration::ZERO, Duration::from_secs(100)));
            batch.extend(state.queue.take(visible.remove(index), hidden, now));
        }
        state.working += usize::from(!batch.is_empty());
        batch
    }

    /// Ends an invocation. Messages that it did not report as failed are deleted; `failed` is `None` if there was no answer.
    pub(super) fn ended(&self, run: &Run, batch: &[Received], failed: Option<&[String]>) {
        let now = moment(run);
        let mut state = lock(&self.state);
        state.working -= 1;
        for Received { id, receipt, .. } in batch {
            match failed {
                None => {}
                Some(failed) if failed.contains(id) => {
                    state.queue.change_visibility(receipt, self.failed, now).unwrap();
                }
                Some(_) if run.strikes(run.troubles.redelivered) => {
                    let hidden = run.chance.wait(Duration::ZERO, Duration::from_secs(30));
                    state.queue.change_visibility(receipt, hidden, now).unwrap();
                }
                Some(_) => state.queue.delete(receipt).unwrap(),
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Resolves when something changed.
    pub(super) async fn change(&self) {
        self.changed.notified().await;
    }

    /// Whether the queue is empty and no invocation processes its messages.
    pub(super) fn is_quiet(&self) -> bool {
        let state = lock(&self.state);
        state.queue.is_empty() && state.working == 0
    }

    /// The number of dead letters.
    pub(super) fn dead(&self) -> usize {
        lock(&self.state).dead_letters.len()
    }

    /// The bodies of the dead letters.
    pub(super) fn dead_bodies(&self) -> Vec<String> {
        let state = lock(&self.state);
        let dead = state.dead_letters.iter();
        dead.map(|dead| dead.body().to_owned()).collect()
    }

    /// Moves the dead letters back to the queue.
    pub(super) fn redrive(&self, run: &Run) {
        let mut state = lock(&self.state);
        for dead in std::mem::take(&mut state.dead_letters) {
            state.queue.move_in(dead, moment(run));
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The messages on the queue, for the report of a run that did not end.
    pub(super) fn contents(&self) -> Vec<String> {
        let state = lock(&self.state);
        let contents = state.queue.contents().map(|(body, visible)| {
            let wait = visible.saturating_duration_since(Instant::now()).as_secs();
            format!("{} in {wait} s: {body}", self.name)
        });
        contents.collect()
    }
}

/// Fields that have other names in the next release.
const OTHER_NAMES: [(&str, &str); 2] = [("recipients", "to"), ("task", "action")];

/// The body as a function of some release writes it: of the release before, or of the next one, while an update is under way.
fn of_some_release(run: &Run, body: &str) -> String {
    let Ok(mut message) = serde_json::from_str::<Map<String, Value>>(body) else {
        return body.to_owned();
    };
    if !message.contains_key("format") || !run.strikes(run.troubles.released) {
        return body.to_owned();
    }
    if run.chance.below(2) == 0 {
        message.insert("format".to_owned(), json!(FORMAT + 1));
        for (name, other) in OTHER_NAMES {
            if let Some(value) = message.remove(name) {
                message.insert(other.to_owned(), value);
            }
        }
        // A function that does not look at the format takes this for a chunk that has ended.
        message.entry("recipients").or_insert_with(|| json!([]));
    } else {
        for later in ["format", "ticket", "begun"] {
            message.remove(later);
        }
    }
    json!(message).to_string()
}

/// The body as it reaches a function, which may be of this release or of the next one. `None` if it is left to the next one.
pub(super) fn in_this_release(run: &Run, body: &str) -> Option<String> {
    let mut message = match serde_json::from_str::<Map<String, Value>>(body) {
        Ok(message) if message.get("format") == Some(&json!(FORMAT + 1)) => message,
        Ok(_) | Err(_) => return Some(body.to_owned()),
    };
    if !run.is_calm() && run.chance.below(2) == 0 {
        return None;
    }
    message.insert("format".to_owned(), json!(FORMAT));
    for (name, other) in OTHER_NAMES {
        if let Some(value) = message.remove(other) {
            message.insert(name.to_owned(), value);
        }
    }
    Some(json!(message).to_string())
}

/// Which queue.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    Plans,
    Deliveries,
    Events,
}

impl Which {
    /// The queue of a run.
    pub(super) fn of(self, run: &Run) -> &Sqs {
        match self {
            Self::Plans => &run.plans,
            Self::Deliveries => &run.deliveries,
            Self::Events => &run.upstream,
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
            // Each ten messages are one request, so a failure may come between any two requests.
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

impl DeadLetterQueue for Lane {
    async fn redrive(&self) -> Result<(), queue::Error> {
        let run = &self.environment.run;
        let away = || queue::Error::Unavailable {
            source: "away".into(),
        };
        let act = async {
            self.which.of(run).redrive(run);
            Ok(())
        };
        self.environment.call("redrive", act, away).await
    }
}

/// Sleeps in virtual time.
pub(super) async fn pause(wait: Duration) {
    if !wait.is_zero() {
        sleep(wait).await;
    }
}

fn moment(run: &Run) -> OperationTime {
    OperationTime {
        instant: Instant::now(),
        wall: run.now(),
    }
}

/// Rounded up: SQS counts delays in whole seconds.
fn whole_seconds(delay: Duration) -> Duration {
    Duration::from_secs(delay.as_secs() + u64::from(delay.subsec_nanos() > 0))
}
