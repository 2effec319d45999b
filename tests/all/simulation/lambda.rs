//! Lambda: environments that live and die, and the pollers that bring them messages.
//!
//! A worker dies where chance will have it: at any call to a table, a queue, the bus or the channel, before it or after it.
//! Its future is dropped there and then, with all that it had under way, and nothing of it runs again. What it had asked of
//! others goes on without it: a request that was under way to the channel may still be carried out.

use std::fmt;
use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use herald::clock::{Chance, Clock};
use herald_local::sqs::Received;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::queues::{Which, pause};
use super::run::Run;

/// How long an ordinary call takes.
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
    /// A new process, with a clock that is a little off.
    pub(super) fn start(run: &Arc<Run>, name: String) -> Arc<Self> {
        let skew = if run.is_calm() && !run.troubles.clocks_agree() {
            // What is far off has been put right.
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

    /// Its clock.
    pub(super) fn clock(self: &Arc<Self>) -> Clock {
        let environment = Arc::clone(self);
        Clock::told_by(move || environment.run.now() + environment.skew)
    }

    /// Its chance.
    pub(super) fn chance(self: &Arc<Self>) -> Chance {
        let environment = Arc::clone(self);
        Chance::dealt_by(move || environment.run.chance.bytes())
    }

    /// It dies here: the caller of this never goes on.
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

    /// Runs an invocation to its end; `None` when it did not live to see it.
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

    /// A call to something outside, with everything that may go wrong with it.
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
        // Half of it on the way there.
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

/// One function as a poller drives it: what a batch comes to in an environment.
pub(super) trait Function {
    /// What an environment keeps between invocations.
    type Context;

    /// Its name in the trace.
    const NAME: &'static str;
    /// The queue it is driven by.
    const QUEUE: Which;
    /// Messages in a batch, at most.
    const BATCH: u64;
    /// How long an invocation may take.
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

/// Brings batches to one environment after the other, for ever.
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
            let handling = F::handle(&context, event(&batch), deadline);
            let answer = environment.invoke(F::LIMIT, handling).await;
            let failed = answer.map(|answer| failures(&answer));
            if let Some(failed) = failed.as_ref().filter(|failed| !failed.is_empty()) {
                run.tell(&environment, format_args!("reports as failed {failed:?}"));
            }
            queue.ended(&run, &batch, failed.as_deref());
            // Lambda lets an environment go when it likes.
            if environment.is_dead() || run.chance.below(12) == 0 {
                break;
            }
        }
        // A dead one takes a moment to be replaced.
        sleep(run.chance.wait(Duration::ZERO, Duration::from_secs(1))).await;
    }
}

fn event(batch: &[Received]) -> SqsEvent {
    let record = |received: &Received| {
        let mut message = SqsMessage::default();
        message.message_id = Some(received.id.clone());
        message.body = Some(received.message.body.clone());
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
