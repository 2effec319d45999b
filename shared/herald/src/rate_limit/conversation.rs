//! The rate limit of one conversation.

use jiff::{SignedDuration, Timestamp};

use super::Limit;
use crate::time::{earlier, later};

/// The rate of requests to one conversation (GCRA): a burst, then one request every interval.
///
/// No window of any of its limits ever holds more than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversationRate {
    burst: u32,
    interval: SignedDuration,
}

impl ConversationRate {
    /// The rate that keeps all of these limits.
    ///
    /// After a burst of `b`, one request every `T`: a window of length `w` sees `b + w/T` at most, so `T` is the longest
    /// `w / (n - b)` of all limits of `n` in `w`, and `b` is one less than the smallest `n`.
    pub fn within(limits: &[Limit]) -> Self {
        let least = limits.iter().map(|limit| limit.requests).min().unwrap_or(1);
        let burst = least.saturating_sub(1).max(1);
        let interval = limits
            .iter()
            .map(|limit| {
                let left = limit.requests.saturating_sub(burst).max(1);
                // Rounded up to the millisecond, the precision of the tables.
                let milliseconds = limit.per.as_millis().max(0) / i128::from(left) + 1;
                SignedDuration::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX))
            })
            .max()
            .unwrap_or_default();
        Self { burst, interval }
    }

    /// Takes one request at `now`. `next` is the result of the last call; returns its new value.
    ///
    /// # Errors
    /// Too early: the time from which a request is allowed.
    pub fn take(self, next: Option<Timestamp>, now: Timestamp) -> Result<Timestamp, Timestamp> {
        let next = next.unwrap_or(now).max(now);
        let ahead = i32::try_from(self.burst - 1).unwrap_or(i32::MAX);
        let free = earlier(next, self.interval.saturating_mul(ahead));
        if free > now {
            return Err(free);
        }
        Ok(later(next, self.interval))
    }
}
