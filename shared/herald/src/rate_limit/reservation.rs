//! Hands out the slots of one bucket: who gets the next ones, and when the others ask again.

use jiff::{SignedDuration, Timestamp};

use super::flow::{self, Flow, QueueClass, Size, Ticket};
use super::tenant::span;
use super::{Limit, TenantRate};
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
const EARLY_WAKEUP: SignedDuration = SignedDuration::from_millis(1000);

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

/// Serves a request that queues, by its flow's turn and share (`DESIGN.md#rate-limit`).
fn reserve_in_turn(
    rate: &TenantRate,
    limit: Limit,
    slots: u32,
    place: QueuePlace,
    now: Timestamp,
) -> (Reservation, Option<TenantRate>) {
    let requests = place.total.max(slots);
    let mut flows = flow::kept(&rate.flows, now);
    let class = flow::admit(&mut flows, place.class, now);
    let shown = place.ticket.filter(|ticket| ticket.flow == class.flow);
    let known = flows.iter().position(|flow| flow.id == class.flow);
    let mut flow = match known {
        Some(index) => flows.remove(index),
        None => Flow::begin(class, shown, place.total, now),
    };
    flow.weight = class.weight;
    let ticket = shown.unwrap_or_else(|| flow.issue(requests));
    let full = rate.rate(limit, now);
    let share = rate.share(class, full, now);
    // Alone it has no share to keep.
    let used_up = if share < full { flow.next } else { now };
    let from = rate.next_slot.max(now);
    let in_turn = turn(class, ticket, requests, full, used_up, from);
    let unused = earlier(from, SPARE_LOOKAHEAD);
    if in_turn.min(unused) > now {
        // At the full limit, as if the flow were alone: the others may end at any time, and who comes too late leaves slots unused.
        let ahead = span(flow.ahead_of(ticket), limit.rate());
        let begins = in_turn.min(unused.max(later(now, MAX_SHARE_WAIT)));
        let answer = Reservation::Later {
            until: comes_back(begins, ahead, now),
            ticket: Some(ticket),
            reason: WaitReason::Queued,
        };
        flows.push(flow);
        // A ticket that was shown changes nothing.
        let new = shown.is_none().then(|| TenantRate {
            flows,
            ..rate.clone()
        });
        return (answer, new);
    }
    let slots = slots.min(largest_grant(full));
    let mut paid = ticket.paid;
    if paid == 0 {
        paid = requests.min(largest_turn(full)).max(slots);
        let until = later(used_up.max(now), span(u64::from(paid), share));
        flow.charge(paid, until.min(later(now, largest_charge(&flows, now))));
    }
    let paid = paid.saturating_sub(slots);
    flow.owed = paid;
    // What is alone and done needs no flow.
    if known.is_some() || place.total > slots || !flows.is_empty() {
        flows.push(flow);
    }
    let (permits, new) = grant(rate, limit, slots, now);
    let answer = Reservation::Permits {
        permits,
        ticket: Some(Ticket { paid, ..ticket }),
    };
    (answer, Some(TenantRate { flows, ..new }))
}

/// When a caller is served at the latest whose flow has used up its share until then, and the first free slot is at `from`.
///
/// What fits into one grant of a small notification waits for no chunk. Chunks take turns: one whose turn is paid for goes on,
/// before the flows that have not used up their share.
fn turn(
    class: QueueClass,
    ticket: Ticket,
    requests: u32,
    full: u64,
    used_up: Timestamp,
    from: Timestamp,
) -> Timestamp {
    let is_paid = ticket.paid > 0;
    let lookahead = if class.size == Size::Small && requests <= largest_grant(full) {
        MAX_LOOKAHEAD
    } else if is_paid {
        CONTINUE_LOOKAHEAD
    } else {
        SHARE_LOOKAHEAD
    };
    let free = earlier(from, lookahead);
    if is_paid {
        free
    } else {
        free.max(earlier(used_up, SHARE_CREDIT))
    }
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
