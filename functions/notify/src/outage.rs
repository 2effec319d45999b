//! Why nothing is sent while the bot has no token, or is refused everywhere.

use herald::backend::Backend;
use herald::bot_health::{Outage, OutageCause};
use herald::notification::{Notification, State};
use herald::store::RateLimits;
use jiff::Timestamp;
use serde::Serialize;

use crate::Context;
use crate::response::ApiError;

/// The outage that a notification waits for.
#[derive(Debug, Serialize)]
pub(crate) struct OutageNotice {
    cause: OutageCause,
    code: String,
    since: Timestamp,
    detail: &'static str,
}

impl OutageNotice {
    fn of(outage: &Outage) -> Self {
        Self {
            cause: outage.cause,
            code: outage.code.clone(),
            since: outage.since,
            detail: match outage.cause {
                OutageCause::NoToken => {
                    "The bot gets no token, so nothing is sent. The deliveries wait until expiresAt. Repair the bot's credential."
                }
                OutageCause::TokenRefused => {
                    "The channel refuses the bot's token in several tenants, so nothing is sent. The deliveries wait until expiresAt. Repair the bot's registration."
                }
            },
        }
    }
}

impl<B: Backend> Context<B> {
    /// The outage of the bot that this notification waits for.
    pub(crate) async fn outage_of(
        &self,
        notification: &Notification,
    ) -> Result<Option<OutageNotice>, ApiError> {
        let waits = match notification.state() {
            State::Accepted | State::Planning | State::Sending => true,
            State::Held | State::Confirmed | State::Cancelling | State::Cancelled | State::Completed => false,
        };
        let now = self.clock.now();
        if !waits || notification.deliver_at.is_some_and(|moment| moment > now) {
            return Ok(None);
        }
        let health = self.ledger.bot_health().await?;
        Ok(health.current_outage(now).map(OutageNotice::of))
    }
}
