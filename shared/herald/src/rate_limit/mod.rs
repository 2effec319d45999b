//! Rate limits: when a request may be made to a tenant, and when to a conversation.
//!
//! The channel's limits are data ([`Limits`]). For each [`Bucket`] (a bot in a tenant, at one service) the store keeps one
//! [`TenantRate`]. The rules below return its next value; the store applies a rule in one conditional write, so any number of
//! workers stay under the limit together. The proof: `DESIGN.md#permits`.
//!
//! - [`reserve`] hands out slots by virtual scheduling (GCRA without a burst): a request takes the next free slots, one after
//!   the other. Slots are handed out a second or so ahead: a function never sleeps long, a crashed worker wastes little, and a
//!   new notification finds a free slot soon.
//! - The notifications of a tenant are [`Flow`]s with shares of the rate. What fits into one grant is sent at once; chunks of
//!   large notifications take turns. A caller whose turn has not come gets a [`Ticket`] and comes back.
//! - [`throttle`] records a 429: no slot before `Retry-After`, and half the rate; it recovers by one request a second each
//!   second.
//! - [`record_failure`] and [`record_success`] are a circuit breaker: several refusals that concern the tenant, with no
//!   delivery in between, stop all requests to it for a while.
//!
//! [`ConversationRate`] is the limit of one conversation, kept in its lease ([`crate::delivery::ConversationLease`]).

mod breaker;
mod bucket;
mod conversation;
mod flow;
mod limits;
mod reservation;
mod tenant;
#[cfg(test)]
mod tests;

pub use breaker::{
    BreakerOpen, FailureCount, OPEN_DURATION, TokenPatience, TokenRefusal, record_failure, record_success,
    record_token_refusal, repeat_failure, reset,
};
pub use bucket::{Bucket, InvalidBucket};
pub use conversation::ConversationRate;
pub use flow::{Flow, FlowId, MAX_FLOWS, QueueClass, Size, Ticket};
pub use limits::{InvalidLimit, Limit, Limits};
pub use reservation::{MAX_LOOKAHEAD, PermitRequest, Permits, QueuePlace, Reservation, WaitReason, reserve};
pub use tenant::{Slowdown, TenantRate, throttle};
