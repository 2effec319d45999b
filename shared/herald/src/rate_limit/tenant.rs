//! The rate of one bucket: its free slots, its flows, and how a 429 slows it down.

use jiff::{SignedDuration, Timestamp};

use super::flow::{self, Flow, QueueClass};
use super::{BreakerOpen, FailureCount, Limit};
use crate::time::{ceil_millisecond, later};

/// How fast a slowed rate recovers: requests in 1,000 seconds, each second. So one a second.
const RECOVERY_PER_SECOND: u64 = 1000;

/// The slowest rate after a 429: one request a second.
const MIN_RATE: u64 = 1000;

/// 429s within this window halve the rate once.
const THROTTLE_WINDOW: SignedDuration = SignedDuration::from_secs(2);

/// How long the next slot is deferred by a 429 without `Retry-After`.
const DEFAULT_RETRY_AFTER: SignedDuration = SignedDuration::from_secs(1);

/// The state of one bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantRate {
    /// The first free slot.
    pub next_slot: Timestamp,
    /// The flows that made requests lately, or wait.
    pub flows: Vec<Flow>,
    /// The rate after a 429.
    pub slowdown: Option<Slowdown>,
    /// The circuit breaker's count.
    pub failures: Option<FailureCount>,
    /// Set while the circuit breaker is open, and until a delivery succeeds afterwards.
    pub breaker: Option<BreakerOpen>,
}

/// A rate below the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slowdown {
    /// When it was set.
    pub at: Timestamp,
    /// Requests in 1,000 seconds at that moment.
    pub rate: u64,
}

impl TenantRate {
    /// Whether failures were counted that may concern the tenant.
    pub fn is_suspect(&self) -> bool {
        self.failures.is_some() || self.breaker.is_some()
    }

    /// Requests in 1,000 seconds at this moment.
    pub(super) fn rate(&self, limit: Limit, now: Timestamp) -> u64 {
        let full = limit.rate();
        let Some(slowdown) = self.slowdown else {
            return full;
        };
        let seconds = u64::try_from(now.duration_since(slowdown.at).as_secs()).unwrap_or(0);
        slowdown
            .rate
            .saturating_add(seconds.saturating_mul(RECOVERY_PER_SECOND))
            .min(full)
    }

    /// Requests a second at this moment, for display.
    pub fn requests_per_second(&self, limit: Limit, now: Timestamp) -> f64 {
        f64::from(u32::try_from(self.rate(limit, now)).unwrap_or(u32::MAX)) / 1000.0
    }

    /// When all waiting requests will have been made; `None` when none waits.
    pub fn queue_end(&self, limit: Limit, now: Timestamp) -> Option<Timestamp> {
        let waiting = self.waiting(now, |_| true);
        (waiting > 0).then(|| later(self.resumes(now), span(waiting, self.rate(limit, now))))
    }

    /// When the waiting requests of this class will have been made; `None` when none waits.
    pub fn flow_end(&self, class: QueueClass, limit: Limit, now: Timestamp) -> Option<Timestamp> {
        let waiting = self.waiting(now, |flow| flow.id == class.flow);
        (waiting > 0).then(|| self.finish(class, limit, waiting, now))
    }

    /// When so many requests of this class will have been made: at its share of the rate, and no later than after all
    /// waiting requests.
    pub fn finish(&self, class: QueueClass, limit: Limit, requests: u64, now: Timestamp) -> Timestamp {
        let begins = self.resumes(now);
        let rate = self.rate(limit, now);
        let others = self.waiting(now, |flow| flow.id != class.flow);
        let by_share = span(requests, self.share(class, rate, now));
        let after_all = span(requests.saturating_add(others), rate);
        later(begins, by_share.min(after_all))
    }

    fn resumes(&self, now: Timestamp) -> Timestamp {
        let breaker = self.breaker.as_ref().map_or(now, |breaker| breaker.until);
        self.next_slot.max(breaker).max(now)
    }

    fn waiting(&self, now: Timestamp, of: impl Fn(&Flow) -> bool) -> u64 {
        let flows = self.flows.iter();
        flows
            .filter(|flow| of(flow) && flow.is_live(now))
            .map(Flow::waiting)
            .sum()
    }

    /// The part of this rate that a class has while all active flows make requests.
    pub(super) fn share(&self, class: QueueClass, rate: u64, now: Timestamp) -> u64 {
        let total = flow::total_weight(&self.flows, class, now);
        (rate * u64::from(class.weight.max(1)) / total).max(1)
    }
}

/// The rate after a 429 with this `Retry-After`.
pub fn throttle(
    rate: &TenantRate,
    limit: Limit,
    retry_after: Option<SignedDuration>,
    now: Timestamp,
) -> TenantRate {
    let is_same_burst = rate
        .slowdown
        .is_some_and(|slowdown| now.duration_since(slowdown.at) < THROTTLE_WINDOW);
    let halved = (rate.rate(limit, now) / 2).max(MIN_RATE.min(limit.rate()));
    let next_slot = ceil_millisecond(later(now, retry_after.unwrap_or(DEFAULT_RETRY_AFTER)));
    TenantRate {
        next_slot: rate.next_slot.max(next_slot),
        slowdown: if is_same_burst {
            rate.slowdown
        } else {
            Some(Slowdown {
                at: now,
                rate: halved,
            })
        },
        ..rate.clone()
    }
}

/// How long so many requests take at a rate of requests in 1,000 seconds.
pub(super) fn span(requests: u64, rate: u64) -> SignedDuration {
    let nanoseconds = u128::from(requests) * 1_000_000_000_000 / u128::from(rate.max(1));
    SignedDuration::from_nanos(i64::try_from(nanoseconds).unwrap_or(i64::MAX))
}
