//! The end of a notification, found once.

use jiff::Timestamp;

use crate::Error;
use crate::event::{Event, Events};
use crate::id::NotificationId;
use crate::notification::State;
use crate::store::Notifications;

/// Finds out whether every delivery of a notification has ended, and if so tells it and writes it down.
///
/// Asked by whoever planned the last page or closed a chunk. It is told before it is written: a worker that dies between
/// the two is followed by one that tells it again, under the same id. Only the first one's moment stands.
///
/// # Errors
/// When the table or the event bus is away: the message in hand comes again, and so does this question.
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
        tracing::info!(notification = %id, audience = notification.audience, delivered = notification.tally.delivered, "completed");
    }
    Ok(())
}
