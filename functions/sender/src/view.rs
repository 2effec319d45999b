//! The notification, as it was a second ago at most: who cancelled or edited it meanwhile is heard.

use std::sync::Arc;

use botframework::outgoing::SharedMessage;
use herald::id::NotificationId;
use herald::notification::Notification;
use herald::store::{self, Notifications};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use crate::{Context, later};

/// How old a look may be that decides whether something is sent.
const AGE_MAX: SignedDuration = SignedDuration::from_secs(1);

/// A notification that is looked at again and again.
pub(crate) struct View<'a, C, N, L, Q, E> {
    context: &'a Context<C, N, L, Q, E>,
    id: &'a NotificationId,
    last: Mutex<Option<(Timestamp, Arc<Seen>)>>,
}

/// A notification and its present content.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) head: Notification,
    /// None once it is retracted.
    pub(crate) message: Option<Arc<SharedMessage>>,
}

impl<'a, C, N: Notifications, L, Q, E> View<'a, C, N, L, Q, E> {
    pub(crate) fn new(context: &'a Context<C, N, L, Q, E>, id: &'a NotificationId) -> Self {
        Self {
            context,
            id,
            last: Mutex::new(None),
        }
    }

    /// The notification as it is, or was less than a second ago; `None` when there is none.
    pub(crate) async fn newest(&self) -> Result<Option<Arc<Seen>>, store::Error> {
        // Held over the look: those who want one at the same moment share it.
        let mut last = self.last.lock().await;
        let now = self.context.clock.now();
        if let Some((at, seen)) = &*last
            && later(*at, AGE_MAX) > now
        {
            return Ok(Some(Arc::clone(seen)));
        }
        let Some(head) = self.context.notifications.find(self.id).await? else {
            return Ok(None);
        };
        let message = match &*last {
            Some((_, seen)) if seen.head.revision == head.revision => seen.message.clone(),
            _ => {
                let message = self.context.notifications.message(self.id, head.revision).await?;
                // A message that was read can be written.
                let shared = message.as_ref().map(SharedMessage::from_activity).transpose();
                shared
                    .map_err(|_| store::Error::Corrupt {
                        verb: "read a message",
                        what: "message".to_owned(),
                    })?
                    .map(Arc::new)
            }
        };
        let seen = Arc::new(Seen { head, message });
        *last = Some((now, Arc::clone(&seen)));
        Ok(Some(seen))
    }

    /// The next look is a new one.
    pub(crate) async fn forget(&self) {
        *self.last.lock().await = None;
    }
}
