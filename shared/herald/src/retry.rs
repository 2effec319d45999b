//! What follows from each way a request can fail: the one table, beside `PROTOCOL.md#d6`.
//!
//! | reason | what the channel said | what follows |
//! |---|---|---|
//! | `Throttled` | 429 | the tenant waits `Retry-After` and slows down; the delivery waits |
//! | `Concurrent` | 412 | the delivery waits, longer each time, by chance |
//! | `Unreachable` | nothing: not a byte left | the same |
//! | `Unauthorized` | 401 twice, or there is no token | the whole bot waits; no delivery is tried |
//! | `WrongRegion`, `WrongCloud` | another service URL serves this tenant | the others are tried, once each; the one that works is kept |
//! | `NotFound` | no such conversation | one person's is created again, once, which gives the same or its successor; else it is looked for twice more, and then gone |
//! | `BlockedByUser`, `NotInRoster`, `NotInstalled` | 403 | gone; the conversation is blocked until the event that revives it |
//! | `DisabledByAdmin`, `Undecryptable` | 403 | gone and blocked; several of them pause the tenant, and then deliveries wait |
//! | `ActivityNotFound`, `TooLarge`, `Refused` | other 3xx and 4xx | rejected, with the channel's words |
//! | `Failed` | 500 | unknown; by policy tried once more |
//! | `Unanswered` | 408, other 5xx, time-outs, cut connections | unknown; by policy tried three times more |
//!
//! Nothing that may have been carried out is repeated but by the notification's policy; what was refused before it was
//! carried out is repeated until the notification expires.

use botframework::connector::Reason;
use botframework::http::ServiceError;
use jiff::{SignedDuration, Timestamp};

/// What follows from a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// The delivery waits.
    Wait,
    /// The delivery waits, and so does its tenant.
    Slow,
    /// The whole bot waits.
    Stop,
    /// Other service URLs are tried.
    Readdress,
    /// The conversation is created again.
    Recreate,
    /// It is gone, and its conversation blocked.
    Block,
    /// The same, unless it turns out to be the tenant's.
    Strike,
    /// It is rejected.
    Reject,
    /// It is unknown; by policy it is tried again until so many attempts are in doubt.
    Doubt {
        /// At most so many.
        most: u32,
    },
}

/// The delay left at `now` until a request may be repeated, if the service names one.
pub fn retry_after<R>(error: &ServiceError<R>, now: Timestamp) -> Option<SignedDuration> {
    SignedDuration::try_from(error.retry_after_from(now.into())?).ok()
}

/// What follows from a request that failed for this reason.
pub const fn reaction(reason: Reason) -> Reaction {
    match reason {
        Reason::Throttled => Reaction::Slow,
        Reason::PreconditionFailed | Reason::Unreachable => Reaction::Wait,
        Reason::Unauthorized => Reaction::Stop,
        Reason::WrongRegion | Reason::WrongCloud => Reaction::Readdress,
        Reason::NotFound => Reaction::Recreate,
        Reason::BlockedByUser | Reason::NotInRoster | Reason::NotInstalled => Reaction::Block,
        Reason::DisabledByAdmin | Reason::ForeignConversationId => Reaction::Strike,
        Reason::ActivityNotFound | Reason::TooLarge | Reason::Refused => Reaction::Reject,
        Reason::ServerError => Reaction::Doubt { most: 2 },
        Reason::NoResponse => Reaction::Doubt {
            most: crate::delivery::DOUBTS_MAX,
        },
    }
}
