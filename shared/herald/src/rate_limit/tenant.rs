//! The rate limit of one bucket: slots and tickets.

use jiff::{SignedDuration, Timestamp};

use super::{BreakerOpen, FailureCount, Limit};
use crate::time::{ceil_millisecond, earlier, later};

/// Slots further ahead than this are not handed out.
pub const MAX_LOOKAHEAD: SignedDuration = SignedDuration::from_secs(4);

/// A ticket's holder is re-queued until so long before its moment: SQS delays by whole seconds.
const EARLY_WAKEUP: SignedDuration = SignedDuration::from_secs(2);

/// The shortest time for which a caller is re-queued.
const MIN_RETRY: SignedDuration = SignedDuration::from_secs(1);

/// How fast a slowed rate recovers: requests in 1,000 seconds, each second. So one a second.
const RECOVERY_PER_SECOND: u64 = 1000;

/// The slowest rate after a 429: one request a second.
const MIN_RATE: u64 = 1000;

/// Tickets of a bucket without a request for so long are void: their holders were cancelled, or had nothing to send.
const IDLE_RESET: SignedDuration = SignedDuration::from_secs(30);

/// 429s within this window halve the rate once.
const THROTTLE_WINDOW: SignedDuration = SignedDuration::from_secs(2);

/// How long the next slot is deferred by a 429 without `Retry-After`.
const DEFAULT_RETRY_AFTER: SignedDuration = SignedDuration::from_secs(1);

/// The state of one bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantRate {
    /// The first free slot.
    pub next_slot: Timestamp,
    /// When all ticket holders will have been served.
    pub queue_end: Timestamp,
    /// The ticket that was served last.
    pub now_serving: Timestamp,
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

    /// When so many more requests will have been made, after those of all ticket holders.
    pub fn finish(&self, limit: Limit, requests: u64, now: Timestamp) -> Timestamp {
        let resumes = self
            .breaker
            .as_ref()
            .map_or(now, |breaker| breaker.until.max(now));
        let begins = self.next_slot.max(resumes).max(self.queue_end);
        later(begins, span(requests, self.rate(limit, now)))
    }
}

/// A request for permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermitRequest {
    /// Slots to be used now.
    pub slots: u32,
    /// Slots to be used now and by later requests of the same caller: the size of its place in the queue.
    pub total: u32,
    /// The ticket of an earlier answer.
    pub ticket: Option<Timestamp>,
}

/// The answer to a [`PermitRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// Requests may be made at these moments.
    Permits(Permits),
    /// No slot is free; ask again later.
    Later {
        /// When to ask again.
        until: Timestamp,
        /// The place in the queue, to be shown when asking again.
        ticket: Option<Timestamp>,
        /// Why there is no slot.
        reason: WaitReason,
    },
}

/// Why there is no permit now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// Others are before it.
    Queued,
    /// The circuit breaker is open, for this error code.
    BreakerOpen(String),
}

/// Moments at which one request each may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permits {
    from: Timestamp,
    rate: u64,
    suspect: bool,
}

impl Permits {
    /// Whether failures were counted that may concern the tenant: a delivery is to be reported by
    /// [`record_success`](super::record_success).
    pub fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// The moment of the request with this number, from 0.
    pub fn slot(&self, number: u32) -> Timestamp {
        later(self.from, span(u64::from(number), self.rate))
    }
}

/// Hands out slots, or a ticket. Returns the rate to store, if it changes.
pub fn reserve(
    rate: &TenantRate,
    limit: Limit,
    request: PermitRequest,
    now: Timestamp,
) -> (Reservation, Option<TenantRate>) {
    if let Some(breaker) = &rate.breaker
        && breaker.until > now
    {
        let answer = Reservation::Later {
            until: breaker.until,
            ticket: request.ticket,
            reason: WaitReason::BreakerOpen(breaker.code.clone()),
        };
        return (answer, None);
    }
    let from = rate.next_slot.max(now);
    // A ticket holder who comes after the reset keeps the ticket and is served first.
    let idle = (now.duration_since(rate.next_slot) > IDLE_RESET).then(|| TenantRate {
        queue_end: now,
        now_serving: now,
        ..rate.clone()
    });
    let rate = idle.as_ref().unwrap_or(rate);
    let is_near = from.duration_since(now) <= MAX_LOOKAHEAD;
    let place = request.ticket.unwrap_or(rate.queue_end);
    if is_near && place.duration_since(now) <= MAX_LOOKAHEAD {
        return grant(rate, limit, request, from, now);
    }
    enqueue(rate, limit, request, from, now)
}

/// Hands out the slots from `from` on.
fn grant(
    rate: &TenantRate,
    limit: Limit,
    request: PermitRequest,
    from: Timestamp,
    now: Timestamp,
) -> (Reservation, Option<TenantRate>) {
    let requests = rate.rate(limit, now);
    let next_slot = ceil_millisecond(later(from, span(u64::from(request.slots), requests)));
    let new = TenantRate {
        next_slot,
        queue_end: rate.queue_end.max(next_slot),
        // Without a ticket it counts as the first in the queue.
        now_serving: rate.now_serving.max(request.ticket.unwrap_or(from)),
        breaker: None,
        slowdown: rate.slowdown.filter(|_| requests < limit.rate()),
        ..rate.clone()
    };
    let permits = Permits {
        from,
        rate: requests,
        suspect: rate.is_suspect(),
    };
    (Reservation::Permits(permits), Some(new))
}

/// Issues a ticket, or confirms the caller's.
fn enqueue(
    rate: &TenantRate,
    limit: Limit,
    request: PermitRequest,
    from: Timestamp,
    now: Timestamp,
) -> (Reservation, Option<TenantRate>) {
    let (ticket, now_serving, new) = match request.ticket {
        Some(ticket) => (ticket, rate.now_serving, None),
        None => {
            // Tickets are issued at the full limit: a holder who comes too early waits once more, one who comes too late
            // would leave slots unused.
            let ticket = rate.queue_end.max(from);
            let queue_end = ceil_millisecond(later(ticket, span(u64::from(request.total), limit.rate())));
            // The first in a new queue is next; what was served long ago says nothing about this queue.
            let now_serving = if rate.queue_end <= from {
                from
            } else {
                rate.now_serving
            };
            let new = TenantRate {
                queue_end,
                now_serving,
                ..rate.clone()
            };
            (ticket, now_serving, Some(new))
        }
    };
    // When the bucket is slower than its queue, all tickets are late by as much as those that are served now.
    let late = now.duration_since(now_serving).max(SignedDuration::ZERO);
    let until = earlier(from.max(later(ticket, late)), EARLY_WAKEUP);
    let answer = Reservation::Later {
        until: until.max(later(now, MIN_RETRY)),
        ticket: Some(ticket),
        reason: WaitReason::Queued,
    };
    (answer, new)
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
fn span(requests: u64, rate: u64) -> SignedDuration {
    let nanoseconds = u128::from(requests) * 1_000_000_000_000 / u128::from(rate.max(1));
    SignedDuration::from_nanos(i64::try_from(nanoseconds).unwrap_or(i64::MAX))
}
