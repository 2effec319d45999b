//! Fair queueing: the flows that share the rate of one bucket.
//!
//! A *flow* is all requests that queue together: those of one notification at one revision. Small notifications of one
//! priority share a flow. Each flow has a *weight*; its share of the rate is its weight among the flows that made requests
//! in the last seconds. A flow that makes no requests has no share, so a broadcast that was cancelled, or has expired, holds
//! nothing up.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::digest::sha256_hex;

/// The most flows of one bucket with a queue of their own. The next ones join the shared flow of their weight. The state of a
/// bucket stays below one kilobyte, which is what one write unit of DynamoDB takes.
pub const MAX_FLOWS: usize = 12;

/// A flow that was not served for so long after it used up its share has none: its notification was cancelled, has expired, or
/// waits for the end of a `Retry-After`. One without tickets has none as soon as it has used it up.
const FLOW_TTL: SignedDuration = SignedDuration::from_secs(5);

/// For so long the positions of its tickets are kept.
const TICKETS_TTL: SignedDuration = SignedDuration::from_mins(20);

/// Identifies a flow of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FlowId(u64);

impl FlowId {
    /// Ids of named flows begin here; those below are shared flows, by weight. JSON numbers are exact to 2^53.
    const NAMED: u64 = 1 << 52;

    /// The flow of this name. Two names meet in one flow once in 2^52 pairs, and then share its turns.
    pub fn named(name: &str) -> Self {
        // Thirteen hexadecimal digits are 52 bits.
        let digest = sha256_hex(name.as_bytes());
        let number = u64::from_str_radix(&digest[..13], 16).unwrap_or_default();
        Self(number | Self::NAMED)
    }

    /// The shared flow of this weight.
    pub const fn shared(weight: u32) -> Self {
        Self(weight as u64)
    }

    fn is_shared(self) -> bool {
        self.0 < Self::NAMED
    }
}

/// A place in the queue of a flow: the number of requests before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// The flow that issued it. In another flow it says nothing.
    pub flow: FlowId,
    /// Requests of the flow before it, since the flow began.
    pub position: u64,
    /// Requests for which its flow was charged, and which its holder has not made yet.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub paid: u32,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// How the requests of a notification queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueClass {
    /// Its flow.
    pub flow: FlowId,
    /// Its share of the rate beside others.
    pub weight: u32,
    /// Whether what fits into one grant waits for no chunk.
    pub size: Size,
}

/// The size of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// One page.
    Small,
    /// More.
    Large,
}

/// The state of one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredFlow", into = "StoredFlow")]
pub struct Flow {
    /// Which flow it is.
    pub id: FlowId,
    /// Its weight.
    pub weight: u32,
    /// When it has used up its share: a turn is charged when it begins.
    pub next: Timestamp,
    /// Requests for which it has issued tickets.
    pub issued: u64,
    /// Requests that were charged.
    pub granted: u64,
    /// Requests of the latest turn that are charged and have no slots yet.
    pub owed: u32,
}

/// The stored form of a flow: a list, which is shorter than an object.
#[derive(Serialize, Deserialize)]
struct StoredFlow(FlowId, u32, i64, u64, u64, #[serde(default)] u32);

impl From<Flow> for StoredFlow {
    fn from(flow: Flow) -> Self {
        Self(
            flow.id,
            flow.weight,
            flow.next.as_millisecond(),
            flow.issued,
            flow.granted,
            flow.owed,
        )
    }
}

impl From<StoredFlow> for Flow {
    fn from(StoredFlow(id, weight, next, issued, granted, owed): StoredFlow) -> Self {
        Self {
            id,
            weight,
            next: Timestamp::from_millisecond(next).unwrap_or_default(),
            issued,
            granted,
            owed,
        }
    }
}

impl Flow {
    /// A flow in which the request with this ticket is the next one, and so many requests wait.
    pub(super) fn begin(class: QueueClass, ticket: Option<Ticket>, total: u32, now: Timestamp) -> Self {
        // After a break, the first to come is served first. The distances between tickets stay right.
        let position = ticket.map_or(0, |ticket| ticket.position);
        let waiting = ticket.map_or(0, |_| u64::from(total));
        Self {
            id: class.flow,
            weight: class.weight,
            next: now,
            issued: position + waiting,
            granted: position,
            owed: 0,
        }
    }

    /// A ticket for so many requests, after all others.
    pub(super) fn issue(&mut self, requests: u32) -> Ticket {
        let position = self.issued.max(self.granted);
        self.issued = position + u64::from(requests);
        Ticket {
            flow: self.id,
            position,
            paid: 0,
        }
    }

    /// Charges it for so many requests, which use up its share until then.
    pub(super) fn charge(&mut self, requests: u32, until: Timestamp) {
        self.granted += u64::from(requests);
        self.next = until;
    }

    /// Requests that wait for their turn.
    pub fn waiting(&self) -> u64 {
        self.issued.saturating_sub(self.granted)
    }

    /// Requests that get slots before this ticket does.
    pub(super) fn ahead_of(&self, ticket: Ticket) -> u64 {
        if ticket.paid > 0 {
            return 0;
        }
        ticket.position.saturating_sub(self.granted) + u64::from(self.owed)
    }

    /// Whether it has a share.
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        let idle = now.duration_since(self.next);
        idle < SignedDuration::ZERO || (self.waiting() > 0 && idle < FLOW_TTL)
    }
}

/// The flows whose tickets are kept. A shared flow is kept while it has a share: its notifications come and go.
pub(super) fn kept(flows: &[Flow], now: Timestamp) -> Vec<Flow> {
    let is_kept = |flow: &&Flow| {
        flow.is_live(now) || (!flow.id.is_shared() && now.duration_since(flow.next) < TICKETS_TTL)
    };
    flows.iter().filter(is_kept).copied().collect()
}

/// The class in which a request queues among these flows: its own, or the shared flow of its weight while there are too many.
pub(super) fn admit(flows: &mut Vec<Flow>, class: QueueClass, now: Timestamp) -> QueueClass {
    let is_known = flows.iter().any(|flow| flow.id == class.flow);
    let named = flows.iter().filter(|flow| !flow.id.is_shared()).count();
    if class.flow.is_shared() || is_known || named < MAX_FLOWS {
        return class;
    }
    let ended = (0..flows.len())
        .filter(|place| !flows[*place].id.is_shared() && !flows[*place].is_live(now))
        .min_by_key(|place| flows[*place].next);
    if let Some(place) = ended {
        flows.remove(place);
        return class;
    }
    QueueClass {
        flow: FlowId::shared(class.weight),
        ..class
    }
}

/// The weight of all flows that have a share, with this one.
pub(super) fn total_weight(flows: &[Flow], class: QueueClass, now: Timestamp) -> u64 {
    let others = flows
        .iter()
        .filter(|flow| flow.id != class.flow && flow.is_live(now))
        .map(|flow| u64::from(flow.weight))
        .sum::<u64>();
    others + u64::from(class.weight.max(1))
}
