//! Retractions that requests ask for in advance.
//!
//! One message waits for the time. It is enqueued before the first page is planned, so that no copy is sent that would stay. A message
//! that comes early waits on; one that comes twice, or after another change, finds what there is to do in the notification.

use herald::Error;
use herald::acceptance::{ReviseError, Reviser};
use herald::backend::Backend;
use herald::notification::{Notification, ScheduledRetraction};
use herald::queue::{Plan, Queue, Task};
use herald::time::until;

use crate::Context;

/// Enqueues the message of the retraction, if it is still to come.
pub(crate) async fn enqueue<B: Backend>(
    context: &Context<B>,
    notification: &Notification,
) -> Result<(), Error> {
    match notification.pending_retraction() {
        Some(retraction) => send(context, notification, retraction).await,
        None => Ok(()),
    }
}

async fn send<B: Backend>(
    context: &Context<B>,
    notification: &Notification,
    retraction: ScheduledRetraction,
) -> Result<(), Error> {
    let wait = until(context.clock.now(), retraction.at);
    let message = Plan::whole(notification.id.clone(), Task::Retract).message(wait);
    Ok(context.plans.send(vec![message]).await?)
}

/// Retracts the notification as its request asks, or waits on.
pub(crate) async fn handle<B: Backend>(
    context: &Context<B>,
    notification: &Notification,
) -> Result<(), Error> {
    let Some(retraction) = notification.retraction else {
        return Ok(());
    };
    if retraction.at > context.clock.now() {
        return send(context, notification, retraction).await;
    }
    let reviser = Reviser::<B> {
        notifications: &context.notifications,
        plans: &context.plans,
        clock: &context.clock,
    };
    match reviser.retract_as_scheduled(notification).await {
        Ok(()) => Ok(()),
        Err(ReviseError::Store(error)) => Err(error.into()),
        Err(ReviseError::Queue(error)) => Err(error.into()),
        // Acceptance refuses it for batches, and renders the replacement; a retraction that was made is no error.
        Err(
            ReviseError::NotFound
            | ReviseError::Batch
            | ReviseError::Confirmed(_)
            | ReviseError::Retracted
            | ReviseError::Unrenderable(_),
        ) => Ok(()),
    }
}
