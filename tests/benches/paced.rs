//! The time of 10,000 deliveries to one tenant at a channel that allows 50 requests a second, in real time and over real
//! HTTP: `cargo bench -p tests --bench paced`, which fails when a budget is exceeded. It takes five minutes.
//! Then how long a message to one person takes beside a broadcast, after its cancellation and after its expiry.
//!
//! `tests/all/paced.rs` tests the same in virtual time.

#![allow(clippy::print_stdout, reason = "a bench is read on the terminal")]

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use botframework::connector::Connector;
use botframework::http::HttpTransport;
use tests::paced::{Ending, Limited, delays, run};
use tests::recorder::Recorder;
use tokio::time::{Instant, sleep_until};

const PEOPLE: u64 = 10_000;
const SENDERS: usize = 3;
const ALLOWED: usize = 50;

/// The broadcasts beside which a message to one person is timed. One that goes on takes 45 seconds.
const BESIDE: [(Ending, u64); 3] = [
    (Ending::None, 2_000),
    (Ending::Cancelled, PEOPLE),
    (Ending::Expired, PEOPLE),
];
const DELAY_BUDGET: Duration = Duration::from_secs(2);

const TIME_BUDGET: Duration = Duration::from_secs(230);
/// One request in this many may be answered with 429.
const REFUSED_BUDGET: u64 = 1_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let channel = Limited::to(ALLOWED);
    let answering = channel.clone();
    let server = Recorder::answering(move |_, _| {
        if answering.takes() {
            (201, String::new(), r#"{"id":"1767000100001"}"#.to_owned())
        } else {
            (429, "retry-after: 1\r\n".to_owned(), String::new())
        }
    })
    .await?;
    let connector = Connector::unauthenticated(HttpTransport::builder().build()?);
    let stall = Arc::new(Mutex::new(Duration::ZERO));
    tokio::spawn(watch(Arc::clone(&stall)));
    let report = run(PEOPLE, &format!("{}/", server.url), connector, SENDERS).await;
    let stall = *stall.lock().unwrap_or_else(PoisonError::into_inner);

    let counts = channel.counts();
    let delivered = report.notification.counts.delivered;
    let in_time = report.took <= TIME_BUDGET;
    let few = counts.refused * REFUSED_BUDGET < counts.taken;
    println!(
        "\n{delivered} of {PEOPLE} delivered to one tenant, {SENDERS} senders, {ALLOWED} requests a second allowed"
    );
    println!(
        "took     {:>8.1} s   budget {} s {}",
        report.took.as_secs_f64(),
        TIME_BUDGET.as_secs(),
        verdict(in_time)
    );
    println!(
        "refused  {:>8}     budget less than one in {REFUSED_BUDGET} {}",
        counts.refused,
        verdict(few)
    );
    println!(
        "awake    {:>8.1} s   in {} invocations; {} messages sent, {} received",
        report.awake.as_secs_f64(),
        report.invocations,
        report.enqueued,
        report.received
    );
    println!(
        "stalled  {:>8.1} ms  at worst; what stands still for more than 110 ms sends more than 50 in the second after it",
        stall.as_secs_f64() * 1000.0
    );
    if delivered != PEOPLE || counts.taken != PEOPLE {
        return Err(format!("{delivered} delivered by {} requests", counts.taken).into());
    }
    let mut at_once = true;
    for (ending, people) in BESIDE {
        let connector = Connector::unauthenticated(HttpTransport::builder().build()?);
        let delays = delays(
            people,
            &format!("{}/", server.url),
            connector,
            SENDERS + 1,
            ending,
        )
        .await;
        let longest = delays.iter().copied().max().unwrap_or_default();
        at_once &= longest <= DELAY_BUDGET;
        println!(
            "one      {:>8.1} ms  at most, beside {people} ({ending:?} after 10 s), of {}   budget {} s {}",
            longest.as_secs_f64() * 1000.0,
            delays.len(),
            DELAY_BUDGET.as_secs(),
            verdict(longest <= DELAY_BUDGET)
        );
    }
    if in_time && few && at_once {
        Ok(())
    } else {
        Err(format!("{:.1} s, {} refused", report.took.as_secs_f64(), counts.refused).into())
    }
}

/// Measures the longest time for which the system did not schedule this process: another program's fault, and a cause of
/// 429.
async fn watch(worst: Arc<Mutex<Duration>>) {
    const TICK: Duration = Duration::from_millis(10);
    loop {
        let due = Instant::now() + TICK;
        sleep_until(due).await;
        let mut worst = worst.lock().unwrap_or_else(PoisonError::into_inner);
        *worst = due.elapsed().max(*worst);
    }
}

fn verdict(kept: bool) -> &'static str {
    if kept { "ok" } else { "MISSED" }
}
