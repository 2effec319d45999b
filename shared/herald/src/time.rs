//! Arithmetic on moments that saturates instead of failing.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// `moment + wait`, or the latest moment if that overflows.
pub fn later(moment: Timestamp, wait: SignedDuration) -> Timestamp {
    moment.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

/// `moment - by`, or the earliest moment if that overflows.
pub fn earlier(moment: Timestamp, by: SignedDuration) -> Timestamp {
    moment.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

/// The time from now to a moment; zero if it has come.
pub fn until(now: Timestamp, moment: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(now)).unwrap_or_default()
}

/// Rounded down to the millisecond, the precision of the tables and of the API.
pub fn floor_millisecond(moment: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(moment.as_millisecond()).unwrap_or(moment)
}

/// Rounded up to the millisecond, the precision of the tables: a stored slot never moves to an earlier moment.
pub(crate) fn ceil_millisecond(moment: Timestamp) -> Timestamp {
    let milliseconds = moment.as_millisecond();
    match Timestamp::from_millisecond(milliseconds) {
        Ok(whole) if whole < moment => Timestamp::from_millisecond(milliseconds + 1).unwrap_or(moment),
        Ok(whole) => whole,
        Err(_) => moment,
    }
}
