//! Rate limits: when a request may be made to a tenant, and when to a conversation.
//!
//! The channel's limits are data ([`Limits`]). For each [`Bucket`] (a bot in a tenant, at one service) the store keeps one
//! [`TenantRate`]. The rules below return its next value; the store applies a rule in one conditional write, so any number of
//! workers stay under the limit together. The proof: `DESIGN.md#permits`.
//!
//! - [`reserve`] hands out slots by virtual scheduling (GCRA without a burst): a request takes the next free slots, one after
//!   the other. Only slots within [`MAX_LOOKAHEAD`] are handed out, so that a function never sleeps long and a crashed worker
//!   wastes seconds' worth of slots at most.
//! - If the backlog exceeds the look-ahead, the caller gets a *ticket* (a moment), is re-queued until then, and keeps the
//!   ticket when the rate changes.
//! - [`throttle`] records a 429: no slot before `Retry-After`, and half the rate; it recovers by one request a second each
//!   second.
//! - [`record_failure`] and [`record_success`] are a circuit breaker: several refusals that concern the tenant, with no
//!   delivery in between, stop all requests to it for a while.
//!
//! [`ConversationRate`] is the limit of one conversation, kept in its lease ([`crate::delivery::ConversationLease`]).

mod breaker;
mod bucket;
mod conversation;
mod limits;
mod tenant;
#[cfg(test)]
mod tests;

pub use breaker::{
    BreakerOpen, FailureCount, TokenRefusal, record_failure, record_success, record_token_refusal,
    repeat_failure, reset,
};
pub use bucket::{Bucket, InvalidBucket};
pub use conversation::ConversationRate;
pub use limits::{InvalidLimit, Limit, Limits};
pub use tenant::{
    MAX_LOOKAHEAD, PermitRequest, Permits, Reservation, Slowdown, TenantRate, WaitReason, reserve, throttle,
};
