//! Gives an accepted notification another message, or none: when a caller asks, or at the time that its request names.
//!
//! The change is stored first. Then a sweep enqueues the chunks that are planned once more, so that senders apply it. A
//! repetition of a change that was cut short in between changes nothing and enqueues the sweep.

use std::time::Duration;

use super::{Acceptor, has_message};
use crate::audit::AuditAction;
use crate::backend::Backend;
use crate::clock::Clock;
use crate::id::NotificationId;
use crate::notification::{Content, Notification, RetractionKind, SendMode};
use crate::queue::{self, Plan, Queue, Task};
use crate::store::{self, Notifications, Revise};
use crate::template::RenderingError;

/// A notification that has the message that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revision {
    /// It has it now.
    New(Box<Notification>),
    /// It had it before.
    Same(Box<Notification>),
}

impl Revision {
    /// The notification.
    pub fn notification(&self) -> &Notification {
        match self {
            Self::New(notification) | Self::Same(notification) => notification,
        }
    }
}

/// Why a notification was not given another message.
#[derive(Debug, thiserror::Error)]
pub enum ReviseError {
    /// There is no such notification any more.
    #[error("there is no such notification")]
    NotFound,
    /// It goes by Teams' batch API, which does not return the activity ids of its copies.
    #[error("it goes by Teams' batch API")]
    Batch,
    /// It was a plan, and is sent as this notification.
    #[error("it is sent as {0}")]
    Confirmed(NotificationId),
    /// Its copies are deleted, for good.
    #[error("it is retracted")]
    Retracted,
    /// Its template makes no message of its data.
    #[error("it cannot be rendered")]
    Unrenderable(#[from] RenderingError),
    /// DynamoDB is unavailable, and nothing was changed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The change is stored, and the queue is unavailable. Its repetition enqueues the sweep.
    #[error(transparent)]
    Queue(#[from] queue::Error),
}

impl<'a, B: Backend> Acceptor<'a, B> {
    /// Changes what was accepted.
    pub fn reviser(&self) -> Reviser<'a, B> {
        Reviser {
            notifications: self.notifications,
            plans: self.plans,
            clock: self.clock,
        }
    }
}

/// Changes the content of accepted notifications.
#[derive(Debug)]
pub struct Reviser<'a, B: Backend> {
    /// Where notifications are stored.
    pub notifications: &'a B::Notifications,
    /// The queue to the planner.
    pub plans: &'a B::Queue,
    /// Dates the revisions.
    pub clock: &'a Clock,
}

impl<B: Backend> Reviser<'_, B> {
    /// Gives a notification this content: every copy is edited or deleted, and open deliveries send it. Content that it has
    /// already changes nothing, but completes a change that was cut short.
    ///
    /// # Errors
    /// [`ReviseError`] says for each case whether something was changed.
    pub async fn revise(
        &self,
        notification: &Notification,
        content: &Content,
    ) -> Result<Revision, ReviseError> {
        if notification.send_mode == SendMode::Batch {
            return Err(ReviseError::Batch);
        }
        if let Some(sent_as) = &notification.confirmed_as {
            return Err(ReviseError::Confirmed(sent_as.clone()));
        }
        let content = notification.settled_content(content)?;
        let revision = self.store_content(notification, &content).await?;
        self.sweep(revision.notification()).await?;
        Ok(revision)
    }

    /// Makes the retraction that the request asked for, in the name of its caller. Repeated, it completes what was cut short and
    /// changes nothing: an edit that came later stays.
    ///
    /// # Errors
    /// When the table or the queue is unavailable.
    pub async fn retract_as_scheduled(&self, notification: &Notification) -> Result<(), ReviseError> {
        let id = &notification.id;
        let replacement = match notification.retraction.map(|retraction| retraction.kind) {
            Some(RetractionKind::Replace) => {
                let stored = self.notifications.replacement(id).await?;
                Some(stored.ok_or_else(|| store::Error::corrupt("retract a notification", "replacement"))?)
            }
            Some(RetractionKind::Delete) | None => None,
        };
        let now = self.clock.now();
        let made = self
            .notifications
            .retract_as_scheduled(id, replacement.as_ref(), now);
        let notification = match made.await? {
            Revise::Revised(notification) => {
                let action = if notification.retracted {
                    AuditAction::Retract
                } else {
                    AuditAction::Edit
                };
                action.of_notification(&notification.caller, id, Some(notification.audience));
                notification
            }
            Revise::Unchanged(notification) => notification,
            Revise::Retracted => Box::new(notification.clone()),
            Revise::Confirmed(_) | Revise::NotFound => return Ok(()),
        };
        Ok(self.sweep(&notification).await?)
    }

    async fn store_content(
        &self,
        notification: &Notification,
        content: &Content,
    ) -> Result<Revision, ReviseError> {
        // Of a repeated message no new revision is made, which would edit every copy to the same message.
        if let Content::Message(message) = content
            && !notification.retracted
            && has_message(self.notifications, notification, message).await?
        {
            return Ok(Revision::Same(Box::new(notification.clone())));
        }
        let revise = self
            .notifications
            .revise(&notification.id, content, self.clock.now());
        match (revise.await?, content) {
            (Revise::Revised(notification), _) => Ok(Revision::New(notification)),
            (Revise::Unchanged(notification), _) => Ok(Revision::Same(notification)),
            (Revise::NotFound, _) => Err(ReviseError::NotFound),
            (Revise::Confirmed(sent_as), _) => Err(ReviseError::Confirmed(sent_as)),
            (Revise::Retracted, Content::Message(_)) => Err(ReviseError::Retracted),
            (Revise::Retracted, Content::Nothing) => {
                let retracted = self.notifications.find(&notification.id).await?;
                let retracted = retracted.ok_or(ReviseError::NotFound)?;
                Ok(Revision::Same(Box::new(retracted)))
            }
        }
    }

    /// Has the planner enqueue the planned chunks once more. A held notification has none: its start enqueues them. If it is
    /// stopped nothing else wakes the planner, which finds it complete.
    ///
    /// # Errors
    /// When the queue is unavailable.
    pub async fn sweep(&self, notification: &Notification) -> Result<(), queue::Error> {
        let task = match (notification.is_held(), notification.is_stopped()) {
            (false, _) => Task::Sweep,
            (true, true) => Task::Plan,
            (true, false) => return Ok(()),
        };
        let plan = Plan::whole(notification.id.clone(), task).message(Duration::ZERO);
        self.plans.send(vec![plan]).await
    }
}
