//! What to do after a failed request: the one table, beside `PROTOCOL.md#d6`.
//!
//! | reason | the channel's response | what follows |
//! |---|---|---|
//! | `Throttled` | 429 | the tenant waits for `Retry-After` and its rate is lowered; the delivery is retried |
//! | `PreconditionFailed` | 412 | the delivery is retried, with exponential backoff and jitter |
//! | `Unreachable` | none: no byte was sent | the same |
//! | `NoToken` | none: there is no token | the whole bot is paused, and the outage recorded; the attempt does not count |
//! | `Unauthorized` | 401 to a fresh token | counts against the tenant, whose circuit breaker opens; after half an hour the delivery is rejected. When other tenants do the same, the whole bot is paused: [`crate::bot_health`] |
//! | `WrongRegion`, `WrongCloud` | another service URL serves this tenant | each other URL is tried once; the one that works is stored |
//! | `NotFound` | no such conversation | a person's conversation is created again, once, which returns the same or its replacement; any other is tried twice more, and then gone; outside Teams it is gone at once, and blocked until its person writes |
//! | `BlockedByUser`, `NotInRoster`, `NotInstalled` | 403 | gone; the conversation is blocked until an event unblocks it |
//! | `DisabledByAdmin` | 403 | gone and blocked; several of them open the tenant's circuit breaker, and deliveries are retried |
//! | `ForeignConversationId` | 400, 403 | retried after two minutes, when a person's conversation is created again first; gone and blocked after three attempts. Several conversations open the tenant's circuit breaker, and all of them wait |
//! | `ActivityNotFound`, `Refused` | other 3xx and 4xx | rejected, with the channel's message |
//! | `TooLarge`, `InvalidMessage` | 413, 400 about a card, an attachment or a mention | the same; after three of them the notification asks for no other recipient on that channel: [`crate::notification::MessageRefusal`] |
//! | `ServerError` | 500 | ambiguous; retried once if the policy allows it |
//! | `NoResponse` | 408, other 5xx, timeouts, broken connections | ambiguous; retried three times if the policy allows it |
//!
//! Ambiguous requests are retried only if the notification's policy allows it. Requests known not to have been executed are
//! retried until the notification expires.

use std::time::Duration;

use botframework::connector::{Class, Reason};
use botframework::http::ServiceError;
use jiff::{SignedDuration, Timestamp};

/// What to do after a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Retry the delivery later.
    Retry,
    /// The same, and lower the tenant's rate.
    ThrottleTenant,
    /// Pause the whole bot.
    PauseBot,
    /// Count it against the tenant, or pause the whole bot when other tenants refuse its token too.
    CountTokenRefusal,
    /// Try the other service URLs.
    TryOtherUrl,
    /// Create the conversation again.
    RecreateConversation,
    /// Block the conversation; the delivery is gone.
    Block,
    /// The same, unless the tenant's circuit breaker opens.
    CountFailure,
    /// Settle the delivery as rejected.
    Reject,
    /// Retry while the policy allows another ambiguous attempt; else the outcome is unknown.
    RetryAmbiguous {
        /// How many ambiguous attempts there may be at most.
        max: u32,
    },
}

/// After an answer that may never come.
const RETRY_AMBIGUOUS: Action = Action::RetryAmbiguous {
    max: crate::delivery::MAX_AMBIGUOUS_ATTEMPTS,
};

/// The longest `Retry-After` that is obeyed. No answer, be it a mistake or an attack, stops a tenant for longer; Teams itself was
/// seen to ask for about ten minutes.
pub const MAX_RETRY_AFTER: SignedDuration = SignedDuration::from_mins(15);

/// The delay left at `now` until a request may be repeated, if the service names one; at most [`MAX_RETRY_AFTER`].
pub fn retry_after<R>(error: &ServiceError<R>, now: Timestamp) -> Option<SignedDuration> {
    let asked = error.retry_after_from(now.into())?;
    Some(cap_retry_after(asked, error.status()))
}

/// A delay that a service asks for, cut to [`MAX_RETRY_AFTER`]. What is cut is logged.
pub fn cap_retry_after(asked: Duration, status: Option<u16>) -> SignedDuration {
    match SignedDuration::try_from(asked) {
        Ok(wait) if wait <= MAX_RETRY_AFTER => wait,
        _ => {
            tracing::warn!(
                error_type = "RetryAfterCut",
                status,
                asked_s = asked.as_secs(),
                wait_s = MAX_RETRY_AFTER.as_secs(),
                "a service asks for a longer wait than is obeyed"
            );
            MAX_RETRY_AFTER
        }
    }
}

/// What to do after a request that failed for this reason. One that this version does not know is treated as its class.
pub const fn action_for(reason: Reason) -> Action {
    match reason {
        Reason::Throttled => Action::ThrottleTenant,
        Reason::PreconditionFailed | Reason::Unreachable => Action::Retry,
        Reason::NoToken => Action::PauseBot,
        Reason::Unauthorized => Action::CountTokenRefusal,
        Reason::WrongRegion | Reason::WrongCloud => Action::TryOtherUrl,
        Reason::NotFound => Action::RecreateConversation,
        Reason::BlockedByUser | Reason::NotInRoster | Reason::NotInstalled => Action::Block,
        Reason::DisabledByAdmin | Reason::ForeignConversationId => Action::CountFailure,
        Reason::ActivityNotFound | Reason::TooLarge | Reason::InvalidMessage | Reason::Refused => {
            Action::Reject
        }
        Reason::ServerError => Action::RetryAmbiguous { max: 2 },
        Reason::NoResponse => RETRY_AMBIGUOUS,
        _ => match reason.class() {
            Class::NotSent => Action::Retry,
            Class::Gone => Action::Block,
            Class::Rejected => Action::Reject,
            Class::Ambiguous => RETRY_AMBIGUOUS,
        },
    }
}
