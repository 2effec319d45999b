//! The circuit breaker of a tenant.

use jiff::{SignedDuration, Timestamp};

use super::TenantRate;
use crate::time::later;

/// So many failures within [`FAILURE_COUNT_TTL`] open the breaker.
const MAX_FAILURES: u32 = 3;
const FAILURE_COUNT_TTL: SignedDuration = SignedDuration::from_mins(10);

/// How long the breaker stays open. Afterwards one failure opens it again.
const OPEN_DURATION: SignedDuration = SignedDuration::from_mins(15);

/// Failures of one kind, with no delivery in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureCount {
    /// The channel's error code.
    pub code: String,
    /// The number of failures, the first included.
    pub count: u32,
    /// When the first of them occurred.
    pub since: Timestamp,
}

/// No request is made to the tenant until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerOpen {
    /// The channel's error code.
    pub code: String,
    /// When the breaker closes.
    pub until: Timestamp,
}

/// The rate after a delivery: `None` when no failure was counted.
pub fn record_success(rate: &TenantRate) -> Option<TenantRate> {
    rate.is_suspect().then(|| TenantRate {
        failures: None,
        breaker: None,
        ..rate.clone()
    })
}

/// The rate after a conversation was refused for a reason that may concern its whole tenant. Several such failures with no
/// delivery in between ([`record_success`]) open the breaker of the returned rate.
pub fn record_failure(rate: &TenantRate, code: &str, now: Timestamp) -> TenantRate {
    let (count, since) = match &rate.failures {
        Some(failures) if failures.code == code && now.duration_since(failures.since) < FAILURE_COUNT_TTL => {
            (failures.count + 1, failures.since)
        }
        _ => (1, now),
    };
    let breaker = (count >= MAX_FAILURES).then(|| BreakerOpen {
        code: code.to_owned(),
        until: later(now, OPEN_DURATION),
    });
    // The first failure after it closes opens it again.
    let failures = FailureCount {
        code: code.to_owned(),
        count: count.min(MAX_FAILURES - 1),
        since: breaker.as_ref().map_or(since, |breaker| breaker.until),
    };
    TenantRate {
        failures: Some(failures),
        breaker: breaker.or_else(|| rate.breaker.clone()),
        ..rate.clone()
    }
}
