//! Detects that a notification is complete.

use jiff::Timestamp;

use crate::Error;
use crate::event::{Event, Events};
use crate::id::NotificationId;
use crate::notification::State;
use crate::store::Notifications;

/// Publishes an event and stores the time of completion, if every delivery of a notification has ended.
///
/// Planner and sender call it after the last page and after each closed chunk. The event comes first: after a crash between the
/// two it is published again with the same id. The first stored time stays.
///
/// # Errors
/// When DynamoDB or EventBridge is unavailable. The SQS message is retried, and this check with it.
pub async fn check<N: Notifications, E: Events>(
    notifications: &N,
    events: &E,
    id: &NotificationId,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(notification) = notifications.find(id).await? else {
        return Ok(());
    };
    let over = match notification.state() {
        State::Completed | State::Cancelled => true,
        State::Accepted | State::Planning | State::Held | State::Sending | State::Cancelling => false,
    };
    if !over || notification.completed_at.is_some() {
        return Ok(());
    }
    events.publish(vec![Event::completed(&notification, now)]).await?;
    if notifications.complete(id, now).await? {
        tracing::info!(notification = %id, audience = notification.audience, delivered = notification.counts.delivered, "completed");
    }
    Ok(())
}
