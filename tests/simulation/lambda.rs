//! Lambda: execution environments that start and die, and the pollers that invoke them.
//!
//! A worker dies at random: at any call to a table, a queue, the bus or the channel, before the call or after it. Its future
//! is dropped at that point with everything it had in flight, and none of its code runs again. What it asked of others
//! continues without it: a request in flight to the channel may still be executed.

use std::fmt;
use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use herald::clock::{Clock, Random};
use herald_local::sqs::Received;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::queues::{Which, in_this_release, pause};
use super::run::Run;

/// The duration of an ordinary call.
const CALL: (Duration, Duration) = (Duration::from_micros(1500), Duration::from_millis(12));

/// One execution environment: a process, its clock, and whether it is alive.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) run: Arc<Run>,
    name: String,
    skew: SignedDuration,
    died: AtomicBool,
    death: Notify,
    /// Counts its invocations.
    pub(super) invocation: AtomicU32,
}

impl fmt::Display for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.name)
    }
}

impl Environment {
    /// A new process, with a clock that is slightly off.
    pub(super) fn start(run: &Arc<Run>, name: String) -> Arc<Self> {
        let skew = if run.is_calm() && !run.troubles.clocks_agree() {
            // After faults stop, clocks are correct.
            Duration::ZERO
        } else {
            run.troubles.skew
        };
        let off = run.chance.wait(Duration::ZERO, skew * 2);
        Arc::new(Self {
            run: Arc::clone(run),
            name,
            skew: SignedDuration::try_from(off).unwrap() - SignedDuration::try_from(skew).unwrap(),
            died: AtomicBool::new(false),
            death: Notify::new(),
            invocation: AtomicU32::new(0),
        })
    }

    /// The clock of this environment.
    pub(super) fn clock(self: &Arc<Self>) -> Clock {
        let environment = Arc::clone(self);
        Clock::from_fn(move || environment.run.now() + environment.skew)
    }

    /// The random numbers of this environment.
    pub(super) fn random(self: &Arc<Self>) -> Random {
        let environment = Arc::clone(self);
        Random::from_fn(move || environment.run.chance.bytes())
    }

    /// Kills the environment: the caller never continues.
    pub(super) async fn die(&self, at: &str) {
        self.run.tell(self, format_args!("dies {at}"));
        self.died.store(true, Ordering::Relaxed);
        self.death.notify_one();
        pending::<()>().await;
    }

    /// Whether it has died.
    pub(super) fn is_dead(&self) -> bool {
        self.died.load(Ordering::Relaxed)
    }

    /// Runs an invocation. `None` if the environment died during it.
    pub(super) async fn invoke<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        self.invocation.fetch_add(1, Ordering::Relaxed);
        let ended = async {
            tokio::select! {
                biased;
                () = self.death.notified() => None,
                answer = work => Some(answer),
            }
        };
        match timeout(limit, ended).await {
            Ok(answer) => answer,
            Err(_) => {
                self.run.tell(self, format_args!("is killed at its time-out"));
                self.died.store(true, Ordering::Relaxed);
                None
            }
        }
    }

    /// A call to an outside service, with its injected faults.
    pub(super) async fn call<T, E>(
        &self,
        verb: &'static str,
        act: impl Future<Output = Result<T, E>>,
        away: impl Fn() -> E,
    ) -> Result<T, E> {
        let run = &self.run;
        let troubles = &run.troubles;
        if run.strikes(troubles.crash) {
            self.die(verb).await;
        }
        if run.strikes(troubles.stall) {
            let wait = run.chance.wait(Duration::from_secs(5), Duration::from_mins(2));
            run.tell(
                self,
                format_args!("stands still for {} s before: {verb}", wait.as_secs()),
            );
            pause(wait).await;
        }
        let wait = if run.strikes(troubles.slow) {
            run.chance.wait(CALL.1, troubles.slowness)
        } else {
            run.chance.wait(CALL.0, CALL.1)
        };
        // Half of the delay is before the call.
        pause(wait / 2).await;
        if run.strikes(troubles.away) {
            run.tell(self, format_args!("cannot {verb}"));
            return Err(away());
        }
        let answer = act.await;
        pause(wait / 2).await;
        if run.strikes(troubles.crash) {
            self.die(&format!("after: {verb}")).await;
        }
        if answer.is_ok() && run.strikes(troubles.lost) {
            run.tell(self, format_args!("does not hear what came of: {verb}"));
            return Err(away());
        }
        answer
    }
}

/// One function as a poller invokes it.
pub(super) trait Function {
    /// The state that an environment keeps between invocations.
    type Context;

    /// Its name in the trace.
    const NAME: &'static str;
    /// The queue that triggers it.
    const QUEUE: Which;
    /// The largest number of messages in a batch.
    const BATCH: u64;
    /// The timeout of an invocation.
    const LIMIT: Duration;

    /// The context of a new environment.
    fn context(&self, environment: &Arc<Environment>) -> Self::Context;

    /// Handles a batch.
    fn handle(
        context: &Self::Context,
        event: SqsEvent,
        deadline: Timestamp,
    ) -> impl Future<Output = SqsBatchResponse>;
}

/// Invokes one environment after the other, for ever.
pub(super) async fn poll<F: Function>(run: Arc<Run>, function: F, number: usize) {
    let queue = F::QUEUE.of(&run);
    for generation in 1.. {
        let environment = Environment::start(&run, format!("{} {number}.{generation}", F::NAME));
        let context = function.context(&environment);
        loop {
            let most = run.chance.between(1, F::BATCH);
            let batch = queue.receive(&run, usize::try_from(most).unwrap()).await;
            let ids: Vec<&str> = batch.iter().map(|received| received.id.as_str()).collect();
            run.tell(&environment, format_args!("receives {ids:?}"));
            let deadline = run.now() + SignedDuration::try_from(F::LIMIT).unwrap();
            let handling = F::handle(&context, event(&run, &environment, &batch), deadline);
            let answer = environment.invoke(F::LIMIT, handling).await;
            let failed = answer.map(|answer| failures(&answer));
            if let Some(failed) = failed.as_ref().filter(|failed| !failed.is_empty()) {
                run.tell(&environment, format_args!("reports as failed {failed:?}"));
            }
            queue.ended(&run, &batch, failed.as_deref());
            // Lambda may recycle an environment at any time.
            if environment.is_dead() || run.chance.below(12) == 0 {
                break;
            }
        }
        // Replacing a dead environment takes a moment.
        sleep(run.chance.wait(Duration::ZERO, Duration::from_secs(1))).await;
    }
}

fn event(run: &Run, environment: &Environment, batch: &[Received]) -> SqsEvent {
    let record = |received: &Received| {
        let (id, body) = (&received.id, &received.message.body);
        let known = in_this_release(run, body);
        if known.is_none() {
            run.tell(environment, format_args!("leaves {id} to a newer release"));
        }
        let mut message = SqsMessage::default();
        message.message_id = Some(id.clone());
        message.body = Some(known.unwrap_or_else(|| body.clone()));
        let attributes = [
            ("ApproximateReceiveCount", received.receives.to_string()),
            ("SentTimestamp", received.sent.as_millisecond().to_string()),
        ];
        message.attributes = attributes.map(|(name, value)| (name.to_owned(), value)).into();
        message
    };
    let mut event = SqsEvent::default();
    event.records = batch.iter().map(record).collect();
    event
}

fn failures(answer: &SqsBatchResponse) -> Vec<String> {
    let failures = answer.batch_item_failures.iter();
    failures.map(|failure| failure.item_identifier.clone()).collect()
}
