//! Detects that a notification is complete, or held.

use jiff::Timestamp;

use crate::Error;
use crate::event::{Event, Events};
use crate::id::NotificationId;
use crate::notification::{Notification, State};
use crate::store::Notifications;

/// Publishes an event and stores the time of completion, if every delivery of a notification has ended. Publishes an event if
/// the notification is counted and held.
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
    match notification.state() {
        State::Completed | State::Cancelled if notification.completed_at.is_none() => {
            complete(notifications, events, &notification, now).await
        }
        State::Held => {
            events.publish(vec![Event::held(&notification, now)]).await?;
            tracing::info!(notification = %id, audience = notification.audience, "held: nothing is sent until the plan is confirmed");
            Ok(())
        }
        State::Completed
        | State::Cancelled
        | State::Accepted
        | State::Planning
        | State::Confirmed
        | State::Sending
        | State::Cancelling => Ok(()),
    }
}

async fn complete<N: Notifications, E: Events>(
    notifications: &N,
    events: &E,
    notification: &Notification,
    now: Timestamp,
) -> Result<(), Error> {
    let id = &notification.id;
    events.publish(vec![Event::completed(notification, now)]).await?;
    if notifications.complete(id, now).await? {
        tracing::info!(notification = %id, audience = notification.audience, delivered = notification.counts.delivered, "completed");
    }
    Ok(())
}
