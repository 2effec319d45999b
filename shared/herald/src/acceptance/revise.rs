//! Gives an accepted notification another message, or none.
//!
//! The change is stored first. Then a sweep enqueues the chunks that are planned once more, so that senders apply it. A
//! repetition of a change that was cut short in between changes nothing and enqueues the sweep.

use std::time::Duration;

use super::{Acceptor, has_message};
use crate::backend::Backend;
use crate::id::NotificationId;
use crate::notification::{Content, Notification, SendMode};
use crate::queue::{self, Plan, Queue, Task};
use crate::store::{self, Notifications, Revise};

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
    /// DynamoDB is unavailable, and nothing was changed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The change is stored, and the queue is unavailable. Its repetition enqueues the sweep.
    #[error(transparent)]
    Queue(#[from] queue::Error),
}

impl<B: Backend> Acceptor<'_, B> {
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
        let revision = self.store_content(notification, content).await?;
        self.sweep(revision.notification()).await?;
        Ok(revision)
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
