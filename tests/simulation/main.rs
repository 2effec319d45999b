//! Deterministic simulation of the whole system in one process, with fault injection.
//!
//! The real handlers run over in-memory tables. Calls fail, hang or kill their worker. Queues redeliver and reorder. The
//! channel follows `PROTOCOL.md#d` and enforces its limits. People leave, block the bot and move; callers cancel, edit and
//! retract. One seed decides all of it. Everything runs on one thread, and virtual time advances when every task waits, so a
//! seed replays exactly.
//!
//! | file | content |
//! |---|---|
//! | `fate` | random numbers and the faults that a seed draws |
//! | `lambda` | execution environments, how they die, and the pollers that invoke them |
//! | `queues` | SQS |
//! | `store` | the tables and the event bus as a worker reaches them |
//! | `wire`, `channel` | the way of a request, and what the channel does with it |
//! | `graph` | Microsoft Graph, which installs the bot for people |
//! | `directory` | the people and groups of tenants, which Graph lists |
//! | `people`, `teams` | people and teams, and their actions during a run |
//! | `choices` | what people opt out of, and in again |
//! | `moments` | their zones and quiet hours, local times and waves |
//! | `hearing` | the activities that the bot receives, and its answers |
//! | `callers`, `audiences` | requests of callers, and the places that an audience means in truth |
//! | `functions` | the real planner and sender, wired to this world |
//! | `upstream` | events of upstream systems, and schedules of routes |
//! | `schedules` | a schedule, which an operator pauses, and of which occurrences are skipped |
//! | `book`, `invariants`, `introductions` | the record of events, and the invariants checked at every step |
//! | `subjects` | which message of a conversation shows a subject |
//! | `ends`, `reasons` | the invariants checked at the end of a run |
//! | `tokens` | the token endpoint |
//! | `rate`, `outages` | the throughput of a backlog without faults; what one refusal costs the others |
//!
//! A failing seed prints the number of the invariant that was violated:
//!
//! 1. Every recipient has exactly one delivery row. The counters are the sum of the rows. Each row states the true outcome.
//! 2. A conversation gets a notification at most once. The exception: the ledger recorded an ambiguous attempt before the
//!    retry, and the guarantee is `atLeastOnce`.
//! 3. After faults stop, every notification completes and the queues become empty.
//! 4. The channel never counts more requests than its limits. A conversation has at most one request in flight. No request
//!    is sent to a tenant before its `Retry-After` is over.
//! 5. No send starts after a cancellation, an expiry, a retraction, an edit or a removal that its worker could have read.
//! 6. An edit or a retraction is never overwritten by the send it follows: every sent message ends at the last content or
//!    deleted, or is counted as uneditable.
//! 7. Every conversation that the audience means during the whole of planning is a recipient. No message goes to a
//!    conversation that the audience does not mean.
//!    A group or directory that is refused, or deleted while it is read, is a recipient itself, for the people who were not read.
//! 8. At most one worker at a time creates a conversation with a person. A known conversation is not created again. The
//!    worker that created a conversation stores it. The same holds for installing the bot for a person.
//! 9. Every recipient without a delivery has a reason, and the reason is true.
//! 10. The record of the bot is true: no outage is left over once a fresh token was accepted.
//! 11. A message that is acknowledged is answered, and an installation is welcomed: once, also if the channel sends an activity
//!     twice, unless a worker died or the end of its turn could not be recorded.
//! 12. An event leads to one notification, however often it comes; so does a request with an idempotency key. Of the events of
//!     a subject, whatever their order, one notification shows the latest. An event that is refused is listed as failed, and its
//!     message is in the dead-letter queue.
//! 13. Each time of a schedule leads to one notification, although its messages are lost and come twice.
//! 14. No send starts to who had opted out of it, and had that confirmed, before its worker could read it, unless it is mandatory. An
//!     edit of a message that was sent is no new message.
//! 15. A retraction that a request asks for in advance is made once, not before its time, and at most half an hour after it and after
//!     the last incident, unless its caller retracted before. Invariants 5 and 6 hold for it, as for any retraction or edit.
//! 16. Each occurrence of a schedule leads to one notification, not before its time, unless it was skipped, or the schedule paused:
//!     then to none.
//! 17. A conversation shows a subject in one message at the end, that of the newest notification that was delivered there, unless an
//!     attempt was ambiguous. A notification never goes to a conversation to which a newer one of its subject was delivered, and a
//!     message that shows a newer one is never edited for an older one.
//! 18. No send starts before its local time where the person is, in quiet hours of the person unless it is mandatory, or of a wave whose
//!     cancellation was answered. That nothing due is forgotten is invariant 1.
//! 19. A message to a recipient with a row has the fields of that row, also when it is sent again, and when it is edited.
//!
//! Invariant 2 counts by conversation id. A conversation whose id changes during planning can be on two pages, under the old
//! id and the new one. A person named in several ways (user id, account id, conversation) gets one copy in their
//! conversation.
//!
//! The invariants allow three gaps:
//!
//! - A person who becomes known between the reads of two selectors that both mean them may be missed. If only their second
//!   id becomes known then, they may be counted twice, but get one copy.
//! - A person who cannot be written to need not be a recipient if the audience has `everyone`, a tenant or a tag, even if
//!   another selector names them.
//! - A person on two rosters may be missed if the planner that read one of them died and that roster cannot be read again.
//!
//! `SEEDS=n` sets the number of seeds. `SEED=n` runs one seed and prints its whole trace.

// Tests and their helpers unwrap, so that a test fails at the line that cannot go on.
#![allow(clippy::unwrap_used, clippy::panic)]
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
use self::functions::{EventsIn, Planner, Sender};
use self::lambda::poll;
use self::people::{Happening, happenings, happens, known, populate, tag};
use self::run::Run;
use self::schedules::Recurring;
use self::upstream::Upstream;

mod audiences;
mod book;
mod callers;
mod channel;
mod choices;
mod directory;
mod ends;
mod fate;
mod functions;
mod graph;
mod hearing;
mod introductions;
mod invariants;
mod lambda;
mod moments;
mod outages;
mod people;
mod queues;
mod rate;
mod reasons;
mod run;
mod schedules;
mod store;
mod subjects;
mod teams;
mod tokens;
mod trace;
mod upstream;
mod wire;

/// Notifications expire after 14 days at most, so a run that is still busy after this time never ends.
const LONGEST: Duration = Duration::from_hours(15 * 24);

/// Lines of the trace that a failing seed prints.
const TAIL: usize = 60;

/// Ignores poisoning: no critical section here leaves a value half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The result of one seed.
struct Verdict {
    violation: Option<String>,
    run: Arc<Run>,
}

thread_local! {
    /// Panics on this thread. The handlers catch panics, which would hide them from the test.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// Counts the panics of every thread, then calls the previous hook.
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

/// Runs `work` with the random numbers of a seed, in virtual time that advances when every task waits.
fn in_a_run<T>(seed: u64, work: impl AsyncFnOnce(Chance) -> T) -> T {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    // Nothing here moves to another thread, so the handlers' futures need not be `Send`.
    LocalSet::new().block_on(&runtime, work(Chance::of(seed)))
}

/// Runs a seed to its end, or to the step that violates an invariant.
fn simulate(seed: u64) -> Verdict {
    count_panics();
    PANICS.set(0);
    in_a_run(seed, async |chance: Chance| {
        let troubles = Troubles::drawn(&chance.fork());
        let page = usize::try_from(chance.between(1, 12)).unwrap();
        let run = Arc::new(Run::new(troubles, chance.fork(), page));
        Box::pin(live(&run, &chance)).await;
        if run.trace.is_endless() {
            run.violated(3, format_args!("the run loops"));
        }
        if PANICS.get() > 0 {
            run.violated(3, format_args!("a handler panicked"));
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
    moments::choose(run, &chance.fork(), storm);
    let happenings = happenings(run, &chance.fork(), storm);
    let wishes = wishes(run, &chance.fork(), storm);
    let upstream = Upstream::drawn(run, &chance.fork(), storm, wishes.len());
    run.book(|book| book.wanted.resize_with(upstream.end(), Default::default));

    if chance.below(8) == 0 {
        let (number, revision) = (chance.index(wishes.len()), chance.below(2));
        run.oversized.get_or_init(|| format!("n{number} r{revision}"));
    }
    run.stir_up();
    start_functions(run, chance);
    let publishing = upstream.start(run);
    let is_recurring = chance.below(3) == 0;
    let of_operator = chance.fork();
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
        let ends = sleep(storm);
        let clockwork = upstream.start_clockwork(run).await;
        let recurring = if is_recurring {
            Some(Recurring::start(run, of_operator, storm).await)
        } else {
            None
        };
        ends.await;
        run.calm_down();
        for acting in callers.into_iter().chain(publishing) {
            acting.await.unwrap();
        }
        people.await.unwrap();
        run.channel.with(channel::State::recover);
        run.tokens.refuse(false);
        run.book(|book| book.recovered_at = Some(run.now()));
        if let Some(clockwork) = clockwork {
            clockwork.stop(run).await;
        }
        if let Some(recurring) = recurring {
            recurring.stop(run).await;
        }
        quiet(run).await;
        upstream.correct(run).await;
        quiet(run).await;
        if run.deliveries.dead() + run.plans.dead() > 0 {
            run.tell(&"fate", format_args!("dead letters are redriven"));
            run.book(|book| book.is_redriven = true);
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
                let left = [
                    run.plans.contents(),
                    run.deliveries.contents(),
                    run.upstream.contents(),
                ];
                let left = left.concat();
                run.violated(3, format_args!("the run does not end: {left:#?}"));
            } else {
                ends::check(run);
                upstream.check(run);
            }
        }
    }
}

fn start_functions(run: &Arc<Run>, chance: &Chance) {
    let several = |most| 0..usize::try_from(chance.between(1, most)).unwrap();
    for number in several(2) {
        spawn_local(poll(Arc::clone(run), Planner, number));
    }
    for number in several(4) {
        spawn_local(poll(Arc::clone(run), Sender, number));
    }
    for number in several(2) {
        spawn_local(poll(Arc::clone(run), EventsIn, number));
    }
}

/// Resolves when all queues are empty and no invocation runs.
async fn quiet(run: &Run) {
    while !(run.plans.is_quiet() && run.deliveries.is_quiet() && run.upstream.is_quiet()) {
        tokio::select! {
            biased;
            () = run.plans.change() => {}
            () = run.deliveries.change() => {}
            () = run.upstream.change() => {}
        }
    }
    // Requests and writes of dead workers may still be in flight.
    sleep(Duration::from_mins(3)).await;
}

/// Resolves when an invariant is violated.
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
        "{tail}\ninvariant {violation}\nSEED={seed} cargo test --workspace --test simulation\n"
    ))
}

#[test]
#[allow(
    clippy::print_stdout,
    reason = "a seed that is replayed is read on the terminal"
)]
fn every_invariant_holds_under_faults() {
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
    let seeds = number("SEEDS").unwrap_or(200);
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

/// Texts in the trace that show that a kind of event happened.
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
    "ambiguous_attempts: 1",
    "ambiguous_attempts: 3",
    "LeasedElsewhere {",
    "ConversationBusy {",
    "NotDue {",
    "Ok(Conflict)",
    "as Unknown",
    "as Rejected",
    "as Gone",
    "as Skipped",
    "reason: OptedOut",
    "has its choice confirmed",
    "mandatory",
    "as Expired",
    "as Cancelled",
    "at 2: Ok(Closed)",
    "Ok(StaleRevision)",
    "update 18",
    "delete 18",
    "breaker: Some",
    "\"task\":\"sweep\"",
    "\"task\":\"retract\"",
    "\"replacement\"",
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
    "asks Graph: the people of group",
    "asks Graph: the people of users",
    "NoSuchGroup",
    "AccountDisabled",
    "DirectoryForbidden",
    "DeletesGroup",
    "DeliveryGone",
    "Renames",
    "Leaves",
    "Disables",
    "as Rejected { code: \"BotNotRegistered\"",
    "asks for a token: refused",
    "cause: NoToken",
    "cause: TokenRefused",
    "BotOutageEnded",
    "TenantRefusesBot",
    "as Rejected { code: \"MessageSizeTooBig\"",
    "is refused: MessageRefusal",
    "keeps of failedEvents",
    "removes of failedEvents",
    "keeps of subjects",
    "keeps of schedules",
    "skips 2",
    "resumes the schedule",
    "earlier: Some(",
    "supersedes: Some(",
    "reason: Superseded",
    "has failed events redriven",
    "Scheduler gives up",
    "to a newer release",
    "cannot redrive",
];

#[test]
fn every_kind_of_fault_happens_in_some_seed() {
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
