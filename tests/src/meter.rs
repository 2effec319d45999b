//! The resources that this process has used, as Linux reports them.

use std::fs;
use std::io;
use std::time::Duration;

/// Ticks of a second in `/proc`, on every Linux that runs Rust's standard library.
const TICKS: u64 = 100;

/// Processor time of all threads, in user and kernel mode, to ten milliseconds.
///
/// # Errors
///
/// The system has no `/proc`.
pub fn cpu_time() -> io::Result<Duration> {
    let told = fs::read_to_string("/proc/self/stat")?;
    // The name in brackets may contain any character; after it the state is the third field.
    let fields = told.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut ticks = fields
        .split_whitespace()
        .skip(11)
        .map_while(|field| field.parse::<u64>().ok());
    let used = ticks.next().unwrap_or(0) + ticks.next().unwrap_or(0);
    Ok(Duration::from_millis(used * 1000 / TICKS))
}

/// Processor time of this thread: the first number in its file under `/proc`, in nanoseconds.
///
/// # Errors
///
/// The system has no `/proc`.
pub fn thread_cpu_time() -> io::Result<Duration> {
    let told = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = told.split(' ').next().and_then(|number| number.parse().ok());
    nanoseconds
        .map(Duration::from_nanos)
        .ok_or_else(|| io::Error::other("/proc/thread-self/schedstat names no time"))
}

/// The peak of resident memory, in bytes.
///
/// # Errors
///
/// The system has no `/proc`.
pub fn peak_memory() -> io::Result<u64> {
    let told = fs::read_to_string("/proc/self/status")?;
    let kilobytes = told
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<u64>().ok());
    kilobytes
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| io::Error::other("/proc/self/status names no peak"))
}
