//! Back-off: how long to wait before the next try. One routine, and a schedule for each kind of failure.

use jiff::SignedDuration;

/// The shortest wait after a refusal.
pub(crate) const MIN_WAIT: SignedDuration = SignedDuration::from_millis(500);

/// Exponential back-off with jitter.
#[derive(Clone, Copy, Debug)]
struct Backoff {
    /// The wait after the first failure, in seconds.
    first: u32,
    /// The factor from one wait to the next, as a power of two.
    factor_bits: u32,
    /// How often the wait grows.
    max_growths: u32,
    /// The longest wait, however many failures there were.
    max: SignedDuration,
    /// The part of the wait that is certain and the part that is random, in halves.
    certain: i32,
    random: i32,
}

/// A request that was refused and not carried out.
const RETRY: Backoff = Backoff {
    first: 2,
    factor_bits: 1,
    max_growths: 5,
    max: SignedDuration::from_mins(1),
    certain: 0,
    random: 2,
};

/// A conversation that was not created. This goes on until the notification expires, so it must not be often.
const CREATION: Backoff = Backoff {
    first: 15,
    factor_bits: 1,
    max_growths: 6,
    max: SignedDuration::from_mins(15),
    certain: 1,
    random: 1,
};

/// A request that may have been carried out. An outage of the channel lasts minutes, and each attempt may be a duplicate.
const AMBIGUOUS: Backoff = Backoff {
    first: 15,
    factor_bits: 2,
    max_growths: 3,
    max: SignedDuration::from_mins(16),
    certain: 1,
    random: 2,
};

impl Backoff {
    fn wait(self, failures: u32, random: u32) -> SignedDuration {
        let growths = self.factor_bits * failures.min(self.max_growths);
        let wait = SignedDuration::from_secs(i64::from(self.first) << growths).min(self.max);
        let half = wait / 2;
        (half * self.certain).saturating_add(jitter(half * self.random, random))
    }
}

/// The wait after a refusal in this attempt, from 1: the channel's `Retry-After` and up to 2, 4, 8 … seconds of jitter,
/// so that requests that were refused together retry apart.
pub(crate) fn retry_backoff(
    attempt: u32,
    retry_after: Option<SignedDuration>,
    random: u32,
) -> SignedDuration {
    let ours = RETRY.wait(attempt.saturating_sub(1), random).max(MIN_WAIT);
    let asked = retry_after.unwrap_or_default().max(SignedDuration::ZERO);
    asked.saturating_add(ours)
}

/// The wait after a conversation was not created, which failed `failures` times before: about 15 seconds, doubled each time, 15
/// minutes at most; and no less than the other side asks for.
pub fn creation_backoff(failures: u32, retry_after: Option<SignedDuration>, random: u32) -> SignedDuration {
    let ours = CREATION.wait(failures, random);
    let spread = SignedDuration::from_secs(i64::from(CREATION.first));
    let asked = retry_after.map(|asked| asked.saturating_add(jitter(spread, random)));
    ours.max(asked.unwrap_or_default())
}

/// The wait after an attempt that may have reached the channel, as `attempts` did before: about 15 seconds, one minute, four.
pub(crate) fn ambiguous_backoff(attempts: u32, random: u32) -> SignedDuration {
    AMBIGUOUS.wait(attempts, random)
}

/// A random part of this wait.
fn jitter(wait: SignedDuration, random: u32) -> SignedDuration {
    let milliseconds = wait.as_millis().max(0) * i128::from(random) / i128::from(u32::MAX);
    SignedDuration::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX))
}
