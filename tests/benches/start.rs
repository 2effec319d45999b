//! Sizes of the release functions, and the time from process start to the first `next` of the runtime API.
//!
//! `cargo bench -p tests --bench start` builds the functions as deployed (about four minutes the first time) and fails when
//! a budget is exceeded. Each start is printed beside that of an empty process in the same run; the difference is the
//! function's.

#![allow(clippy::print_stdout, reason = "a bench is read on the terminal")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const FUNCTIONS: [&str; 5] = ["events", "messages", "notify", "planner", "sender"];
const RUNS: usize = 41;

const SIZE_BUDGET_BYTES: u64 = 8_000_000;
const START_BUDGET: Duration = Duration::from_millis(3);

fn main() -> Result<(), Box<dyn Error>> {
    let directory = build()?;
    let idle = median(|| {
        let begun = Instant::now();
        Command::new("/bin/true").status().map(|_| begun.elapsed())
    })?;
    println!(
        "\n{:<10} {:>9} {:>14}   (median of {RUNS}; `true` alone {:.2} ms)",
        "function",
        "size",
        "to first next",
        ms(idle)
    );
    let mut broken = Vec::new();
    for function in FUNCTIONS {
        let binary = directory.join(function);
        let size = binary.metadata()?.len();
        let start = median(|| first_next(&binary))?;
        println!(
            "{function:<10} {:>6.2} MB {:>11.2} ms",
            megabytes(size),
            ms(start)
        );
        if size > SIZE_BUDGET_BYTES {
            broken.push(format!(
                "{function} has {size} bytes, the budget is {SIZE_BUDGET_BYTES}"
            ));
        }
        if start > START_BUDGET {
            broken.push(format!(
                "{function} starts in {:.2} ms, the budget is {:.2} ms",
                ms(start),
                ms(START_BUDGET)
            ));
        }
    }
    println!(
        "budgets    {:>6.2} MB {:>11.2} ms",
        megabytes(SIZE_BUDGET_BYTES),
        ms(START_BUDGET)
    );
    if broken.is_empty() {
        Ok(())
    } else {
        Err(broken.join("; ").into())
    }
}

/// Builds the functions and returns their folder.
fn build() -> Result<PathBuf, Box<dyn Error>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["build", "--release", "--bins"]);
    for function in FUNCTIONS {
        cargo.args(["-p", function]);
    }
    if !cargo.status()?.success() {
        return Err("the functions do not build".into());
    }
    // This bench runs from target/release/deps.
    let bench = std::env::current_exe()?;
    let release = bench
        .ancestors()
        .nth(2)
        .ok_or("the bench is not in target/release/deps")?;
    Ok(release.to_owned())
}

/// The time from process start until the function asks the runtime API for its first event.
fn first_next(binary: &Path) -> std::io::Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let begun = Instant::now();
    let mut function = Command::new(binary)
        .env_clear()
        .envs([
            (
                "AWS_LAMBDA_RUNTIME_API",
                listener.local_addr()?.to_string().as_str(),
            ),
            ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "bench"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "bench"),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "bench"),
            ("AWS_SECRET_ACCESS_KEY", "bench"),
            ("HERALD_UNAUTHENTICATED", "loopback-only"),
            ("HERALD_CONVERSATIONS_TABLE", "conversations"),
            ("HERALD_NOTIFICATIONS_TABLE", "notifications"),
            ("HERALD_DELIVERIES_TABLE", "deliveries"),
            ("HERALD_PLANS_QUEUE_URL", "http://127.0.0.1:9/plans"),
            ("HERALD_EVENTS_QUEUE_URL", "http://127.0.0.1:9/events"),
            ("HERALD_FAILED_EVENTS_QUEUE_URL", "http://127.0.0.1:9/failed"),
            ("HERALD_DELIVERIES_QUEUE_URL", "http://127.0.0.1:9/deliveries"),
        ])
        .stdout(Stdio::null())
        .spawn()?;
    let (mut connection, _) = listener.accept()?;
    let mut request = [0; 1024];
    let read = connection.read(&mut request)?;
    let elapsed = begun.elapsed();
    let asked = String::from_utf8_lossy(&request[..read]).contains("/runtime/invocation/next");
    // The function gets no event; it is stopped here.
    let _ = connection.write_all(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n");
    function.kill()?;
    function.wait()?;
    if asked {
        Ok(elapsed)
    } else {
        Err(std::io::Error::other("the function did not ask for an event"))
    }
}

fn median(mut run: impl FnMut() -> std::io::Result<Duration>) -> std::io::Result<Duration> {
    run()?;
    let mut times = (0..RUNS).map(|_| run()).collect::<Result<Vec<_>, _>>()?;
    times.sort();
    Ok(times[RUNS / 2])
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
