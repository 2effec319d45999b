//! The rate limit of one bucket: slots, and whose they are.

use jiff::{SignedDuration, Timestamp};

use super::flow::{self, Flow, QueueClass, Size, Ticket};
use super::{BreakerOpen, FailureCount, Limit};
use crate::time::{ceil_millisecond, earlier, later};

/// Slots further ahead than this are not handed out.
pub const MAX_LOOKAHEAD: SignedDuration = SignedDuration::from_secs(4);

/// How far ahead a caller gets slots that was served before and has more requests: few chunks are under way at once, and each
/// is done soon.
const CONTINUE_LOOKAHEAD: SignedDuration = SignedDuration::from_millis(800);

/// How far ahead a caller gets its first slots whose flow has not used up its share.
const SHARE_LOOKAHEAD: SignedDuration = SignedDuration::from_millis(600);

/// A flow counts as using up its share this much later: the last slots of a chunk are handed out before it is done.
const SHARE_CREDIT: SignedDuration = SignedDuration::from_secs(1);

/// How far ahead a caller gets its first slots whose flow has used up its share: slots that would stay unused.
const SPARE_LOOKAHEAD: SignedDuration = SignedDuration::from_millis(300);

/// How long the slots of one grant last, in milliseconds. Queues fill a bucket for [`CONTINUE_LOOKAHEAD`] and one grant; behind
/// that, a notification to one person finds its slot.
const GRANT_MS: u64 = 600;

/// A caller that waits in a queue comes back so long before its turn: SQS delays by whole seconds.
const EARLY_WAKEUP: SignedDuration = SignedDuration::from_millis(1500);

/// A caller that waits for the end of a longer `Retry-After` comes back after half of it.
const MAX_UNCHECKED_HOLD: SignedDuration = SignedDuration::from_mins(1);

/// What a caller is charged for at once lasts this long at the full rate, in milliseconds: a chunk at the limit of Teams, and
/// fewer requests where the rate is lower.
const TURN_MS: u64 = 2200;

/// No flow is charged further ahead, or twice the turns of all flows if that is longer: however small its share, it has a turn
/// in this time.
const MAX_CHARGE: SignedDuration = SignedDuration::from_secs(15);

/// A caller whose flow has used up its share comes back after at most so long, in case the other flows end. It does not wait for
/// spare slots, which others that are there would take.
const MAX_SHARE_WAIT: SignedDuration = SignedDuration::from_secs(5);

/// The shortest wait in a queue.
const MIN_WAIT: SignedDuration = SignedDuration::from_millis(20);

/// The shortest wait of a request outside the queues.
const MIN_RETRY: SignedDuration = SignedDuration::from_secs(1);

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
    fn share(&self, class: QueueClass, rate: u64, now: Timestamp) -> u64 {
        let total = flow::total_weight(&self.flows, class, now);
        (rate * u64::from(class.weight.max(1)) / total).max(1)
    }
}

/// A request for permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermitRequest {
    /// Slots to be used now. Fewer may be granted.
    pub slots: u32,
    /// The caller's queue. A request without one comes before those that queue: it continues what is under way.
    pub place: Option<QueuePlace>,
}

/// A caller's place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePlace {
    /// Which queue.
    pub class: QueueClass,
    /// Slots to be used now and by later requests of the same caller.
    pub total: u32,
    /// The ticket of an earlier answer.
    pub ticket: Option<Ticket>,
}

/// The answer to a [`PermitRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// Requests may be made at these moments.
    Permits {
        /// The moments.
        permits: Permits,
        /// The place in the queue, to be shown when asking for more.
        ticket: Option<Ticket>,
    },
    /// No slot is free; ask again later.
    Later {
        /// When to ask again.
        until: Timestamp,
        /// The place in the queue, to be shown when asking again.
        ticket: Option<Ticket>,
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
    count: u32,
    suspect: bool,
}

impl Permits {
    /// Whether failures were counted that may concern the tenant: a delivery is to be reported by
    /// [`record_success`](super::record_success).
    pub fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// How many requests may be made; at least 1.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The moment of the request with this number, from 0.
    pub fn slot(&self, number: u32) -> Timestamp {
        later(self.from, span(u64::from(number), self.rate))
    }
}

/// Hands out slots, or says when to ask again. Returns the rate to store, if it changes.
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
            ticket: request.place.and_then(|place| place.ticket),
            reason: WaitReason::BreakerOpen(breaker.code.clone()),
        };
        return (answer, None);
    }
    match request.place {
        Some(place) => reserve_in_turn(rate, limit, request.slots, place, now),
        None => reserve_ahead(rate, limit, request.slots, now),
    }
}

/// Serves a request that does not queue.
fn reserve_ahead(
    rate: &TenantRate,
    limit: Limit,
    slots: u32,
    now: Timestamp,
) -> (Reservation, Option<TenantRate>) {
    let from = rate.next_slot.max(now);
    if from.duration_since(now) <= MAX_LOOKAHEAD {
        let (permits, new) = grant(rate, limit, slots, now);
        let answer = Reservation::Permits {
            permits,
            ticket: None,
        };
        return (answer, Some(new));
    }
    let answer = Reservation::Later {
        until: earlier(from, MAX_LOOKAHEAD).max(later(now, MIN_RETRY)),
        ticket: None,
        reason: WaitReason::Queued,
    };
    (answer, None)
}

/// Serves a request that queues.
///
/// What fits into one grant gets the next free slot while its flow has not used up its share: it waits for no chunk. Larger
/// callers, chunks of a broadcast, take turns: one that was served goes on, before the flows that have not used up their share,
/// before all others.
fn reserve_in_turn(
    rate: &TenantRate,
    limit: Limit,
    slots: u32,
    place: QueuePlace,
    now: Timestamp,
) -> (Reservation, Option<TenantRate>) {
    let mut flows = flow::kept(&rate.flows, now);
    let class = flow::admit(&mut flows, place.class, now);
    let shown = place.ticket.filter(|ticket| ticket.flow == class.flow);
    let known = flows.iter().position(|flow| flow.id == class.flow);
    let mut flow = match known {
        Some(index) => flows.remove(index),
        None => Flow::begin(class, shown, place.total, now),
    };
    flow.weight = class.weight;
    let ticket = shown.unwrap_or_else(|| {
        let position = flow.issued.max(flow.granted);
        flow.issued = position + u64::from(place.total.max(slots));
        Ticket {
            flow: class.flow,
            position,
            paid: 0,
        }
    });
    let full = rate.rate(limit, now);
    let share = rate.share(class, full, now);
    let largest = largest_grant(full);
    let from = rate.next_slot.max(now);
    let lookahead = if class.size == Size::Small && place.total.max(slots) <= largest {
        MAX_LOOKAHEAD
    } else if ticket.paid > 0 {
        CONTINUE_LOOKAHEAD
    } else {
        SHARE_LOOKAHEAD
    };
    // Alone, or under way, it has no share to keep.
    let is_alone = share >= full;
    let in_turn = if ticket.paid > 0 || is_alone {
        now
    } else {
        flow.next
    };
    let in_turn = earlier(from, lookahead).max(earlier(in_turn, SHARE_CREDIT));
    let unused = earlier(from, SPARE_LOOKAHEAD);
    if in_turn.min(unused) <= now {
        let slots = slots.min(largest);
        let (permits, mut new) = grant(rate, limit, slots, now);
        let mut paid = ticket.paid;
        if paid == 0 {
            paid = place.total.max(slots).min(largest_turn(full)).max(slots);
            flow.granted += u64::from(paid);
            let charged = if is_alone { now } else { flow.next.max(now) };
            let longest = largest_charge(&flows, now);
            flow.next = later(charged, span(u64::from(paid), share)).min(later(now, longest));
        }
        // What is alone and done needs no flow.
        if known.is_some() || place.total > slots || !flows.is_empty() {
            flows.push(flow);
        }
        new.flows = flows;
        let answer = Reservation::Permits {
            permits,
            ticket: Some(Ticket {
                paid: paid.saturating_sub(slots),
                ..ticket
            }),
        };
        return (answer, Some(new));
    }
    // At the full limit, as if the flow were alone: the others may end at any time, and who comes too late leaves slots unused.
    let ahead = span(ticket.position.saturating_sub(flow.granted), limit.rate());
    let begins = in_turn.min(unused.max(later(now, MAX_SHARE_WAIT)));
    let answer = Reservation::Later {
        until: comes_back(begins, ahead, now),
        ticket: Some(ticket),
        reason: WaitReason::Queued,
    };
    // A ticket that was shown changes nothing.
    let new = shown.is_none().then(|| {
        flows.push(flow);
        TenantRate {
            flows,
            ..rate.clone()
        }
    });
    (answer, new)
}

/// When a caller asks again whose flow has slots from then on, and which has so much before it in its flow.
fn comes_back(begins: Timestamp, ahead: SignedDuration, now: Timestamp) -> Timestamp {
    let hold = begins.duration_since(now);
    // A long hold may be lifted by an operator.
    let hold = hold.min((hold / 2).max(MAX_UNCHECKED_HOLD));
    let wait = hold + ahead;
    let wait = if wait <= EARLY_WAKEUP {
        wait
    } else {
        wait - EARLY_WAKEUP
    };
    later(now, wait.max(MIN_WAIT))
}

/// The most slots of one grant at this rate.
fn largest_grant(rate: u64) -> u32 {
    u32::try_from((rate * GRANT_MS / 1_000_000).max(1)).unwrap_or(u32::MAX)
}

/// The most requests that a caller is charged for at once.
fn largest_turn(rate: u64) -> u32 {
    u32::try_from((rate * TURN_MS / 1_000_000).max(1)).unwrap_or(u32::MAX)
}

/// How far ahead a flow is charged at most, beside these.
fn largest_charge(others: &[Flow], now: Timestamp) -> SignedDuration {
    let live = others.iter().filter(|flow| flow.is_live(now)).count() + 1;
    let turns = 2 * TURN_MS.saturating_mul(live as u64);
    MAX_CHARGE.max(SignedDuration::from_millis(
        i64::try_from(turns).unwrap_or(i64::MAX),
    ))
}

/// Hands out the next slots.
fn grant(rate: &TenantRate, limit: Limit, slots: u32, now: Timestamp) -> (Permits, TenantRate) {
    let from = rate.next_slot.max(now);
    let requests = rate.rate(limit, now);
    let new = TenantRate {
        next_slot: ceil_millisecond(later(from, span(u64::from(slots), requests))),
        breaker: None,
        slowdown: rate.slowdown.filter(|_| requests < limit.rate()),
        ..rate.clone()
    };
    let permits = Permits {
        from,
        rate: requests,
        count: slots,
        suspect: rate.is_suspect(),
    };
    (permits, new)
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
