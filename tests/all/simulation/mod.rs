//! The proof: the whole system in one process, with everything going wrong that can.
//!
//! The real handlers run over the tables in memory, through calls that fail, hang and kill; queues that repeat themselves; a
//! channel that behaves by `PROTOCOL.md#d`, its limits included; people who leave, block and move; callers who change their
//! minds. One seed decides all of it, on one thread, by a clock that moves when everybody waits: a seed replays exactly.
//!
//! | file | what is in it |
//! |---|---|
//! | `fate` | chance, and what a seed makes of it |
//! | `lambda` | environments, where and how they die, and the pollers that feed them |
//! | `queues` | SQS |
//! | `store` | the tables and the event bus, as a worker reaches them |
//! | `wire`, `channel` | a request's way, and what the channel does with it |
//! | `graph` | Microsoft Graph, by which the bot is installed for people |
//! | `people`, `teams` | who is there, and what they do meanwhile |
//! | `callers`, `audiences` | what callers want meanwhile, and whom they mean in truth |
//! | `functions` | the real planner and sender, put into this world |
//! | `book`, `invariants`, `introductions` | what happened, and what must be true at every step |
//! | `ends`, `reasons` | what must be true in the end |
//! | `rate` | a backlog that nothing holds up, and how fast it is sent |
//!
//! What must be true has numbers, as a failing seed prints them:
//!
//! 1. every recipient has one row, the counts are the sum of the rows, and the rows say what happened;
//! 2. nobody gets a notification twice unless the ledger was in doubt and the policy is to send again;
//! 3. when faults stop, every notification completes, and nothing is left on the queues;
//! 4. the channel never counts more than its limits, hears one request at a time in a conversation, and is left alone when it
//!    says so;
//! 5. nothing begins to be sent after a cancel, an expiry, a retraction, an edit or a removal was heard;
//! 6. an edit or a retraction never loses to the send that it follows;
//! 7. whoever is meant as long as the audience is planned is a recipient, and nobody is written to who is not meant;
//! 8. nobody's conversation is made by two at once, made again once it is known, or forgotten by who made it; and so it is with
//!    installing the bot for somebody;
//! 9. what was not delivered has a reason, and it is true.
//!
//! *Nobody* is a conversation in the second of them. One whose name changes while a plan is half made can be on two of its
//! pages, under the old name and the new. By whichever names somebody is meant, their conversation has one copy.
//!
//! What no invariant asks for: a union may miss whoever becomes known between the readings of two selectors that both mean
//! them, or count somebody twice (who gets one copy) whose second name becomes known there; one who is listed and cannot be written to is no recipient beside `everyone`, a tenant or a tag; and whoever is on two
//! rosters may be missed if one of them was read by a planner that died, and cannot be read again.
//!
//! `SEEDS=n` says how many seeds are run, `SEED=n` runs one and prints its whole trace.

#![allow(
    clippy::large_futures,
    reason = "whole handlers are awaited here, one at a time"
)]

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use self::callers::{call, wishes};
use self::fate::{Chance, Troubles};
use self::functions::{Planner, Sender};
use self::lambda::poll;
use self::people::{Happening, happenings, happens, known, populate, tag};
use self::run::Run;

mod audiences;
mod book;
mod callers;
mod channel;
mod ends;
mod fate;
mod functions;
mod graph;
mod introductions;
mod invariants;
mod lambda;
mod people;
mod queues;
mod rate;
mod reasons;
mod run;
mod store;
mod teams;
mod trace;
mod wire;

/// Notifications expire after 14 days at most: a run that does not come to rest in this time never does.
const LONGEST: Duration = Duration::from_hours(15 * 24);

/// Lines of a failing seed's trace that are printed.
const TAIL: usize = 60;

/// Nothing here leaves a value half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What came of a seed.
struct Verdict {
    violation: Option<String>,
    run: Arc<Run>,
}

thread_local! {
    /// Panics on this thread: handlers are kept from them, and would hide them.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// Counts the panics of every thread, before they are told as ever.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            tell(panic);
        }));
    });
}

/// Runs something on the numbers of a seed, where time passes when everybody waits.
fn in_a_run<T>(seed: u64, work: impl AsyncFnOnce(Chance) -> T) -> T {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    // Nothing here is ever sent to another thread, and the handlers' futures need not be able to be.
    LocalSet::new().block_on(&runtime, work(Chance::of(seed)))
}

/// Runs a seed to its end, or to the step that must not be.
fn simulate(seed: u64) -> Verdict {
    count_panics();
    PANICS.set(0);
    in_a_run(seed, async |chance: Chance| {
        let troubles = Troubles::drawn(&chance.fork());
        let page = usize::try_from(chance.between(1, 12)).unwrap();
        let run = Arc::new(Run::new(troubles, chance.fork(), page));
        live(&run, &chance).await;
        if run.trace.is_endless() {
            run.violated(3, format_args!("it goes round in circles"));
        }
        if PANICS.get() > 0 {
            run.violated(3, format_args!("something panicked"));
        }
        let violation = run.book(|book| book.violation().map(str::to_owned));
        Verdict { violation, run }
    })
}

async fn live(run: &Arc<Run>, chance: &Chance) {
    let places = chance.between(3, 60);
    populate(run, &chance.fork(), usize::try_from(places).unwrap());
    let known = known(run, chance);
    for place in &known {
        happens(run, Happening::Appears(*place)).await;
    }
    tag(run, &chance.fork());
    let storm = chance.wait(Duration::from_mins(1), Duration::from_mins(20));
    let happenings = happenings(run, &chance.fork(), storm);
    let wishes = wishes(run, &chance.fork(), storm);
    run.book(|book| book.wanted.resize_with(wishes.len(), Default::default));

    run.stir_up();
    for number in 0..usize::try_from(chance.between(1, 2)).unwrap() {
        spawn_local(poll(Arc::clone(run), Planner, number));
    }
    for number in 0..usize::try_from(chance.between(1, 4)).unwrap() {
        spawn_local(poll(Arc::clone(run), Sender, number));
    }
    let callers: Vec<_> = wishes
        .into_iter()
        .enumerate()
        .map(|(number, wish)| spawn_local(call(Arc::clone(run), number, wish)))
        .collect();
    let people = spawn_local({
        let run = Arc::clone(run);
        async move {
            let mut before = Duration::ZERO;
            for (moment, happening) in happenings {
                sleep(moment.saturating_sub(before)).await;
                before = moment;
                happens(&run, happening).await;
            }
        }
    });
    let rest = async {
        sleep(storm).await;
        run.calm_down();
        for caller in callers {
            caller.await.unwrap();
        }
        people.await.unwrap();
        run.channel.with(channel::State::recover);
        quiet(run).await;
        if run.deliveries.dead() + run.plans.dead() > 0 {
            run.tell(&"fate", format_args!("dead letters are redriven"));
            run.deliveries.redrive(run);
            run.plans.redrive(run);
            quiet(run).await;
        }
    };
    tokio::select! {
        biased;
        () = violation(run) => {}
        rested = timeout(LONGEST, rest) => {
            if rested.is_err() {
                let left = [run.plans.contents(), run.deliveries.contents()].concat();
                run.violated(3, format_args!("it never comes to rest: {left:#?}"));
            } else {
                ends::check(run);
            }
        }
    }
}

/// Until nothing is left to be done.
async fn quiet(run: &Run) {
    while !(run.plans.is_quiet() && run.deliveries.is_quiet()) {
        tokio::select! {
            biased;
            () = run.plans.change() => {}
            () = run.deliveries.change() => {}
        }
    }
    // Requests and writes whose workers have died may still be under way.
    sleep(Duration::from_mins(3)).await;
}

/// Until something happened that must not be.
async fn violation(run: &Run) {
    run.stopped.notified().await;
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

fn failure(seed: u64, verdict: &Verdict) -> Option<String> {
    let violation = verdict.violation.as_ref()?;
    let tail = verdict.run.trace.tail(TAIL);
    Some(format!(
        "{tail}\ninvariant {violation}\nSEED={seed} cargo test --release -p tests simulation\n"
    ))
}

#[test]
#[allow(
    clippy::print_stdout,
    reason = "a seed that is replayed is read on the terminal"
)]
fn whatever_goes_wrong_the_promises_hold() {
    if let Some(seed) = number("SEED") {
        let verdict = simulate(seed);
        println!("{}", verdict.run.trace.whole());
        assert!(
            verdict.violation.is_none(),
            "{}",
            failure(seed, &verdict).unwrap()
        );
        return;
    }
    let seeds = number("SEEDS").unwrap_or(if cfg!(debug_assertions) { 200 } else { 10_000 });
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || lock(&failures).len() >= 5 {
                        return;
                    }
                    if let Some(failure) = failure(seed, &simulate(seed)) {
                        lock(&failures).push((seed, failure));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    assert!(
        failures.is_empty(),
        "{}",
        failures
            .into_iter()
            .map(|(_, failure)| failure)
            .collect::<Vec<_>>()
            .join("\n")
    );
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..20 {
        let (first, second) = (simulate(seed), simulate(seed));
        assert_eq!(first.run.trace.digest(), second.run.trace.digest(), "seed {seed}");
    }
}

/// What a run says of itself when this has happened in it.
const KINDS: &[&str] = &[
    "dies claim",
    "dies after: settle",
    "dies before a request",
    "dies while a request is under way",
    "is killed at its time-out",
    "stands still",
    "has a write land late: settle",
    "cannot plan",
    "cannot enqueue",
    "cannot publish",
    "does not hear what came of: claim",
    "does not hear what came of: settle",
    "does not hear what came of: close",
    "does not hear what came of: enqueue",
    "goes to the dead letters",
    "reports as failed",
    "no connection",
    "no answer in time",
    "the connection broke",
    ": 401",
    ": 404",
    ": 408",
    ": 412",
    ": 429",
    ": 500",
    ": 503",
    "at the global address",
    "at GCC",
    "create 29:",
    "Blocked(",
    "NotFound(",
    "ServiceUrl(",
    "doubts: 1",
    "doubts: 3",
    "Held {",
    "Busy {",
    "Waiting {",
    "Ok(Conflict)",
    "as Unknown",
    "as Rejected",
    "as Gone",
    "as Skipped",
    "as Expired",
    "as Cancelled",
    "at 2: Ok(Closed)",
    "Ok(StaleRevision)",
    "update 18",
    "delete 18",
    "breaker: Some",
    "\"task\":\"sweep\"",
    "Retract is acknowledged",
    "dryRun",
    "deliverAt",
    "create 0000",
    "members of",
    "thread.tacv2 from ",
    "is not read on from",
    "asks to meet: HeldElsewhere",
    "asks to meet: Exists",
    "channels of",
    "Joins",
    "Quits",
    "NotInstalled",
    "asks Graph: install",
    "asks Graph: the chat",
    "asks to meet: InstallPending",
    "IsTold",
    "InstallForbidden",
    "AppNotInCatalog",
    "NoSuchPerson",
    "DeliveryGone",
    "Renames",
    "Leaves",
    "Disables",
];

#[test]
fn everything_that_can_go_wrong_does_in_some_seed() {
    let missing = Mutex::new(KINDS.to_vec());
    let (next, seeds) = (AtomicU64::new(0), number("SEEDS").unwrap_or(1500));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !lock(&missing).is_empty() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let told = simulate(seed).run.trace.whole();
                    lock(&missing).retain(|kind| !told.contains(kind));
                }
            });
        }
    });
    let missing = missing.into_inner().unwrap();
    assert!(missing.is_empty(), "never happened: {missing:#?}");
}
