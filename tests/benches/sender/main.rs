//! The sender's throughput and its processor time: `cargo bench -p tests --bench sender`, which fails when a budget is
//! exceeded.
//!
//! Each case is compared with a bare reqwest loop of the same run, which sends the same bytes to the same channel: the
//! difference is the sender's. Every case, the channel and the database are processes of their own. The cases run
//! alternately, and the median of [`ROUNDS`] is reported, so that other programs on the machine disturb all cases alike.

#![allow(clippy::print_stdout, reason = "a bench is read on the terminal")]

use std::error::Error;
use std::process::{Command, Stdio};
use std::time::Duration;

mod case;
mod channel;
mod flat;

use case::Measured;
use channel::Server;

const ROUNDS: usize = 3;

/// Deliveries in one case, which then takes a second or a few.
const IN_MEMORY: u64 = 38_400;
const ON_DYNOXIDE: u64 = 9_600;

/// The least share of the bare loop's speed, with the Connector at 0 ms and the ledger in memory.
const RATIO_BUDGET: f64 = 0.60;
/// The most processor seconds for 1,000 messages in the same case.
const CPU_BUDGET: f64 = 0.048;
const MEMORY_BUDGET: u64 = 64_000_000;
/// The most bytes that a thousand times the audience may add.
const GROWTH_BUDGET: u64 = 4_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    // cargo passes `--bench` to every bench.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => report(),
        ["channel", delay] => {
            let delay = Duration::from_millis(delay.parse()?);
            // The server has two processors and the cases one, as a function has, so it is never the slower side.
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            runtime.block_on(channel::serve(delay))
        }
        ["database"] => tokio::runtime::Runtime::new()?.block_on(async {
            let database = tests::database::Database::start().await;
            channel::say(&format!("http://{}", database.address()))?;
            std::future::pending().await
        }),
        ["case", case @ ..] => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let measured = runtime.block_on(measure(case))?;
            println!("{}", serde_json::to_string(&measured)?);
            Ok(())
        }
        other => Err(format!("{other:?} is no case").into()),
    }
}

async fn measure(case: &[&str]) -> Result<Measured, Box<dyn Error>> {
    match case {
        ["bare", people, channel] => case::bare(people.parse()?, channel).await,
        ["memory", people, channel] => case::in_memory(people.parse()?, channel).await,
        ["dynoxide", people, channel, database] => {
            case::on_dynoxide(people.parse()?, channel, database).await
        }
        ["flat", people] => flat::run(people.parse()?).await,
        other => Err(format!("{other:?} is no case").into()),
    }
}

/// Runs a case in its own process.
fn run(words: &[&str]) -> Result<Measured, Box<dyn Error>> {
    let output = Command::new(std::env::current_exe()?)
        .arg("case")
        .args(words)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{words:?} failed").into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn report() -> Result<(), Box<dyn Error>> {
    println!("\n(median of {ROUNDS}; one thread; a card of 1 KB; CPU of the sender's process alone)");
    println!(
        "{:<28} {:>12} {:>8} {:>14} {:>10}",
        "", "deliveries/s", "of bare", "CPU s / 1,000", "peak"
    );
    let mut missed = Vec::new();
    for delay in ["0", "50"] {
        let (bare, in_memory, on_dynoxide) = at(delay)?;
        print(&format!("bare loop, {delay} ms"), &bare, None);
        print(&format!("in memory, {delay} ms"), &in_memory, Some(&bare));
        if delay == "0" {
            let ratio = in_memory.per_second() / bare.per_second();
            let cpu = in_memory.cpu_per_thousand();
            println!(
                "{:<28} {:>12} {:>8} {:>14}",
                "  budget",
                "",
                format!("{:.0} % {}", RATIO_BUDGET * 100.0, verdict(ratio >= RATIO_BUDGET)),
                format!("{CPU_BUDGET:.3} {}", verdict(cpu <= CPU_BUDGET)),
            );
            if ratio < RATIO_BUDGET {
                missed.push(format!("{:.0} % of the bare loop's speed", ratio * 100.0));
            }
            if cpu > CPU_BUDGET {
                missed.push(format!("{cpu:.3} s of CPU for 1,000"));
            }
        }
        print(&format!("on dynoxide, {delay} ms"), &on_dynoxide, Some(&bare));
    }
    println!("(peak includes the tables in memory; those of dynoxide are in its own process)");

    let (few, many) = (run(&["flat", "1000"])?, run(&["flat", "1000000"])?);
    println!("\nplanner and sender together, over tables that keep nothing");
    for measured in [&few, &many] {
        println!(
            "{:>9} recipients: peak {:>5.1} MB, {:.1} s",
            measured.deliveries,
            megabytes(measured.peak_bytes),
            measured.seconds
        );
    }
    let grown = many.peak_bytes.saturating_sub(few.peak_bytes);
    let (small, level) = (many.peak_bytes <= MEMORY_BUDGET, grown <= GROWTH_BUDGET);
    println!(
        "   budget {:.0} MB {}, flat within {:.0} MB {}",
        megabytes(MEMORY_BUDGET),
        verdict(small),
        megabytes(GROWTH_BUDGET),
        verdict(level)
    );
    if !small || !level {
        missed.push(format!("{:.1} MB at a million", megabytes(many.peak_bytes)));
    }
    if missed.is_empty() {
        Ok(())
    } else {
        Err(missed.join("; ").into())
    }
}

/// The three cases at one delay, alternately.
fn at(delay: &str) -> Result<(Measured, Measured, Measured), Box<dyn Error>> {
    let channel = Server::start(&["channel", delay])?;
    let people = IN_MEMORY.to_string();
    let few = ON_DYNOXIDE.to_string();
    let (mut bare, mut in_memory, mut on_dynoxide) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(run(&["bare", &people, &channel.url])?);
        in_memory.push(run(&["memory", &people, &channel.url])?);
        let database = Server::start(&["database"])?;
        on_dynoxide.push(run(&["dynoxide", &few, &channel.url, &database.url])?);
    }
    Ok((median(bare), median(in_memory), median(on_dynoxide)))
}

fn median(mut measured: Vec<Measured>) -> Measured {
    measured.sort_by(|one, other| one.per_second().total_cmp(&other.per_second()));
    measured.swap_remove(measured.len() / 2)
}

fn print(name: &str, measured: &Measured, bare: Option<&Measured>) {
    let ratio = bare.map(|bare| format!("{:.0} %", measured.per_second() / bare.per_second() * 100.0));
    println!(
        "{name:<28} {:>12.0} {:>8} {:>14.4} {:>7.1} MB",
        measured.per_second(),
        ratio.unwrap_or_default(),
        measured.cpu_per_thousand(),
        megabytes(measured.peak_bytes)
    );
}

fn verdict(kept: bool) -> &'static str {
    if kept { "ok" } else { "MISSED" }
}

#[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
