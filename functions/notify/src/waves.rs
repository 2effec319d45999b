//! `POST /api/notifications/{id}/waves/{instant}/cancel`: cancels the recipients that are due at one moment.

use std::time::Duration;

use herald::audit::AuditAction;
use herald::backend::Backend;
use herald::notification::{WaveDecision, WaveState};
use herald::queue::{Plan, Queue};
use herald::store::Notifications;
use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Response};

use crate::Context;
use crate::response::{ApiError, json};

impl<B: Backend> Context<B> {
    /// Cancels a wave that waits. If its end cannot be enqueued the response is 503, and a repetition of the request enqueues it.
    pub(crate) async fn cancel_wave(
        &self,
        id: &str,
        instant: &str,
        caller: &str,
    ) -> Result<Response<Body>, ApiError> {
        let notification = self.find_changeable(id, caller, AuditAction::CancelWave).await?;
        let due: Timestamp = instant.parse().map_err(|_| no_wave())?;
        let waves = self.notifications.waves(&notification.id).await?;
        let known = waves
            .into_iter()
            .find(|wave| wave.due == due)
            .ok_or_else(no_wave)?;
        if notification.is_held() {
            return Err(ApiError::conflict(
                "This notification is held, so none of its waves is sent. Cancel the waves of the notification that confirms it.",
            ));
        }
        // Also at a moment that has come: nothing of it is enqueued before it has begun.
        let decision = WaveDecision::Cancel;
        let decided = match known.state {
            WaveState::Waiting => {
                let now = self.clock.now();
                let decided = self
                    .notifications
                    .decide_wave(&notification.id, due, decision, now);
                decided.await?.ok_or_else(no_wave)?
            }
            WaveState::Begun | WaveState::Cancelled | WaveState::Expired => known,
        };
        if decided.state != WaveState::Cancelled {
            return Err(ApiError::conflict(
                "This wave has begun: its messages are being sent. Cancel or retract the notification.",
            ));
        }
        AuditAction::CancelWave.of_notification(caller, &notification.id, Some(decided.recipients));
        let ends = Plan::of_wave(notification.id.clone(), due).message(Duration::ZERO);
        let sent = self.plans.send(vec![ends]).await;
        sent.map_err(|error| ApiError::from(error).after_a_change())?;
        Ok(json(StatusCode::OK, &decided))
    }
}

fn no_wave() -> ApiError {
    ApiError::not_found("This notification has no wave at this instant.")
}
