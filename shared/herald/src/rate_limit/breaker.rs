//! The circuit breaker of a tenant.

use jiff::{SignedDuration, Timestamp};

use super::{MAX_LOOKAHEAD, TenantRate};
use crate::time::later;

/// So many failures within [`FAILURE_COUNT_TTL`] open the breaker.
const MAX_FAILURES: u32 = 3;
const FAILURE_COUNT_TTL: SignedDuration = SignedDuration::from_mins(10);

/// How long the breaker stays open. Afterwards one failure opens it again.
pub const OPEN_DURATION: SignedDuration = SignedDuration::from_mins(15);

/// How long it counts that failures of one kind opened the breaker.
const OPENINGS_TTL: SignedDuration = SignedDuration::from_hours(24);

/// How often a lasting refusal is written again.
const RECORD_INTERVAL: SignedDuration = SignedDuration::from_mins(1);

/// Failures of one kind, with no delivery in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureCount {
    /// The channel's error code.
    pub code: String,
    /// The number of failures, the first included.
    pub count: u32,
    /// When the first of them occurred; after they opened the breaker, when it closes.
    pub since: Timestamp,
    /// How often they opened the breaker.
    pub openings: u32,
    /// When they opened it for the first time.
    pub opened_at: Option<Timestamp>,
}

/// No request is made to the tenant until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerOpen {
    /// The channel's error code.
    pub code: String,
    /// When the breaker closes.
    pub until: Timestamp,
}

/// What follows when a tenant refuses the bot's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// The request is repeated: the refusal may be an accident.
    Counted,
    /// The breaker is open until then, and the request is repeated afterwards.
    Opened {
        /// When it closes.
        until: Timestamp,
        /// Whether this refusal opened it, for the first time in a row.
        is_first: bool,
    },
    /// The breaker was opened often enough: the request is not repeated.
    Final,
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
    record_failure_for(rate, code, OPEN_DURATION, now)
}

fn record_failure_for(rate: &TenantRate, code: &str, open: SignedDuration, now: Timestamp) -> TenantRate {
    let (count, since) = match &rate.failures {
        Some(failures) if failures.code == code && now.duration_since(failures.since) < FAILURE_COUNT_TTL => {
            (failures.count + 1, failures.since)
        }
        _ => (1, now),
    };
    let breaker = (count >= MAX_FAILURES).then(|| BreakerOpen {
        code: code.to_owned(),
        until: later(now, open),
    });
    let before = repeated(rate, code, now);
    let openings = before.map_or(0, |failures| failures.openings);
    let opened_at = before.and_then(|failures| failures.opened_at);
    // The first failure after it closes opens it again.
    let failures = FailureCount {
        code: code.to_owned(),
        count: count.min(MAX_FAILURES - 1),
        since: breaker.as_ref().map_or(since, |breaker| breaker.until),
        openings: openings.saturating_add(u32::from(breaker.is_some())),
        opened_at: opened_at.or(breaker.is_some().then_some(now)),
    };
    TenantRate {
        failures: Some(failures),
        breaker: breaker.or_else(|| rate.breaker.clone()),
        ..rate.clone()
    }
}

/// The rate after an operator decided that the tenant is well: neither paused, nor slowed down, nor waiting for a `Retry-After`.
/// Slots that were handed out are kept, so that the limit is.
pub fn reset(rate: &TenantRate, now: Timestamp) -> TenantRate {
    TenantRate {
        next_slot: rate.next_slot.min(later(now, MAX_LOOKAHEAD)),
        slowdown: None,
        failures: None,
        breaker: None,
        ..rate.clone()
    }
}

/// How long a tenant that refuses the bot's token is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenPatience {
    /// How long the breaker stays open.
    pub pause: SignedDuration,
    /// How often it is opened before the refusals are final. They are not before so many pauses would be over, although the breaker
    /// may have been opened with shorter ones.
    pub openings: u32,
}

impl TokenPatience {
    fn is_over(self, failures: &FailureCount, now: Timestamp) -> bool {
        let pauses = SignedDuration::from_secs(self.pause.as_secs().saturating_mul(i64::from(self.openings)));
        failures.openings >= self.openings
            && failures
                .opened_at
                .is_some_and(|opened_at| now.duration_since(opened_at) >= pauses)
    }
}

/// The rate after the tenant refused the bot's token, and what follows. The refusals open the breaker like other failures; when
/// they opened it so often with no delivery in between, the next one is final, and so are those after it.
pub fn record_token_refusal(
    rate: &TenantRate,
    code: &str,
    patience: TokenPatience,
    now: Timestamp,
) -> (TokenRefusal, Option<TenantRate>) {
    // Of a block of requests the first opens it, and the others are refused meanwhile.
    if let Some(breaker) = rate.breaker.as_ref().filter(|breaker| breaker.until > now) {
        let opened = TokenRefusal::Opened {
            until: breaker.until,
            is_first: false,
        };
        return (opened, None);
    }
    if let Some(failures) = repeated(rate, code, now).filter(|failures| patience.is_over(failures, now)) {
        let is_old = later(failures.since, RECORD_INTERVAL) <= now;
        let kept = is_old.then(|| TenantRate {
            failures: Some(FailureCount {
                since: now,
                ..failures.clone()
            }),
            ..rate.clone()
        });
        return (TokenRefusal::Final, kept);
    }
    let new = record_failure_for(rate, code, patience.pause, now);
    let opened = new.breaker.as_ref().filter(|breaker| breaker.until > now);
    let refusal = match opened {
        Some(breaker) => TokenRefusal::Opened {
            until: breaker.until,
            is_first: new
                .failures
                .as_ref()
                .is_some_and(|failures| failures.openings == 1),
        },
        None => TokenRefusal::Counted,
    };
    (refusal, Some(new))
}

/// The failures of this kind, unless they are too old to count.
fn repeated<'a>(rate: &'a TenantRate, code: &str, now: Timestamp) -> Option<&'a FailureCount> {
    rate.failures
        .as_ref()
        .filter(|failures| failures.code == code && now.duration_since(failures.since) < OPENINGS_TTL)
}

/// The rate after the same conversation was refused again. That counts only while others were refused, too: one conversation alone
/// is no incident, however often it is tried.
pub fn repeat_failure(rate: &TenantRate, code: &str, now: Timestamp) -> Option<TenantRate> {
    let others = rate.failures.as_ref().filter(|failures| {
        failures.code == code
            && failures.count >= MAX_FAILURES - 1
            && now.duration_since(failures.since) < FAILURE_COUNT_TTL
    });
    others.map(|_| record_failure(rate, code, now))
}
