//! A 1-second cache of the notification: a cancellation or an edit takes effect while a chunk is under way.

use std::borrow::Cow;
use std::sync::Arc;

use botframework::outgoing::SharedMessage;
use herald::audience::Fields;
use herald::backend::Backend;
use herald::conversation::Conversation;
use herald::delivery::Outcome;
use herald::notification::{MessageRefusal, Notification};
use herald::queue::Chunk;
use herald::store::{self, Notifications};
use herald::template::{self, MessageRenderer, RenderingError};
use herald::time::{earlier, later};
use herald::timing::{self, Defaults, Habits};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use crate::context::Context;

/// How old a snapshot may be that decides whether something is sent.
const TTL: SignedDuration = SignedDuration::from_secs(1);

/// The cache of one notification.
pub(crate) struct NotificationCache<'a, B: Backend> {
    context: &'a Context<B>,
    last: Mutex<(Timestamp, Arc<Snapshot>)>,
}

/// a notification and its content at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) head: Notification,
    /// The channel of the chunk that is processed.
    channel: Option<String>,
    /// None once it is retracted.
    pub(crate) outgoing: Option<Arc<SentContent>>,
    /// What counts for recipients who chose nothing, as it was when the chunk was opened.
    defaults: Arc<Defaults>,
    /// Whether the wave of the chunk was cancelled.
    is_cancelled_wave: bool,
}

/// What recipients are sent.
#[derive(Debug)]
pub(crate) enum SentContent {
    /// The same message to all.
    Shared(SharedMessage),
    /// To each what a template makes for them.
    Template(Box<MessageRenderer>),
}

impl Snapshot {
    /// The message of the recipient whose conversation this is, with the fields of their row; `None` once it is retracted.
    ///
    /// # Errors
    /// When the template makes no message for them.
    pub(crate) fn message_to(
        &self,
        conversation: &Conversation,
        fields: Option<&Fields>,
    ) -> Result<Option<Cow<'_, SharedMessage>>, RenderingError> {
        let renderer = match self.outgoing.as_deref() {
            None => return Ok(None),
            Some(SentContent::Shared(message)) => return Ok(Some(Cow::Borrowed(message))),
            Some(SentContent::Template(renderer)) => renderer,
        };
        let message = self
            .head
            .render(renderer, template::recipient(conversation), fields)?;
        let shared = SharedMessage::from_activity(&message).map_err(|_| RenderingError::NotAMessage)?;
        Ok(Some(Cow::Owned(shared)))
    }

    /// Whether each recipient gets another message.
    pub(crate) fn is_personal(&self) -> bool {
        matches!(self.outgoing.as_deref(), Some(SentContent::Template(_)))
    }

    /// The channel's refusal of this message for all recipients.
    pub(crate) fn refusal(&self) -> Option<&MessageRefusal> {
        self.head.refusal(self.channel.as_deref()?)
    }

    /// Until when a message is held that would be sent to this recipient now, for their quiet hours.
    pub(crate) fn quiet_until(&self, of: Habits<'_>, now: Timestamp) -> Option<Timestamp> {
        timing::quiet_until(&self.head, &self.defaults, of, now)
    }

    /// The outcome of a delivery that has not begun; one that expired in the quiet hours of its recipient says so.
    pub(crate) fn explained(&self, outcome: Outcome, of: Option<&Conversation>) -> Outcome {
        let was_quiet = |known| {
            self.quiet_until(
                Habits::from(known),
                earlier(self.head.expires_at, SignedDuration::from_millis(1)),
            )
        };
        match outcome {
            Outcome::Expired { why: None } if of.and_then(was_quiet).is_some() => Outcome::Expired {
                why: Some(Outcome::QUIET_HOURS.to_owned()),
            },
            other => other,
        }
    }

    /// How a delivery ends that has not begun, when the notification was cancelled, retracted or has expired, or the channel
    /// refuses its message.
    pub(crate) fn stop_outcome(&self, now: Timestamp) -> Option<Outcome> {
        if self.head.is_stopped() || self.is_cancelled_wave {
            Some(Outcome::Cancelled)
        } else if self.head.expires_at <= now {
            Some(Outcome::EXPIRED)
        } else {
            self.refusal().map(|refusal| Outcome::Rejected {
                code: refusal.code.clone(),
                detail: None,
            })
        }
    }
}

impl<'a, B: Backend> NotificationCache<'a, B> {
    /// Reads the notification of a chunk; `None` when there is none.
    pub(crate) async fn open(context: &'a Context<B>, chunk: &Chunk) -> Result<Option<Self>, store::Error> {
        let now = context.clock.now();
        let Some(head) = context.notifications.find(&chunk.notification).await? else {
            return Ok(None);
        };
        let outgoing = read_content(context, &head).await?;
        let defaults = Arc::new(Box::pin(Defaults::of(&context.registry, &head)).await?);
        let channel = chunk.bucket.as_ref().map(|bucket| bucket.channel().to_owned());
        let snapshot = Arc::new(Snapshot {
            head,
            channel,
            outgoing,
            defaults,
            is_cancelled_wave: chunk.cancelled,
        });
        Ok(Some(Self {
            context,
            last: Mutex::new((now, snapshot)),
        }))
    }

    /// The notification as it was less than a second ago. One that has vanished meanwhile counts as cancelled.
    pub(crate) async fn latest(&self) -> Result<Arc<Snapshot>, store::Error> {
        // Held over the read: callers at the same moment share it.
        let mut last = self.last.lock().await;
        let now = self.context.clock.now();
        let (read_at, snapshot) = &*last;
        if later(*read_at, TTL) > now {
            return Ok(Arc::clone(snapshot));
        }
        let (head, outgoing) = match self.context.notifications.find(&snapshot.head.id).await? {
            Some(head) if head.revision == snapshot.head.revision => (head, snapshot.outgoing.clone()),
            Some(head) => {
                let outgoing = read_content(self.context, &head).await?;
                (head, outgoing)
            }
            None => {
                let head = Notification {
                    cancelled_at: Some(now),
                    ..snapshot.head.clone()
                };
                (head, snapshot.outgoing.clone())
            }
        };
        let snapshot = Arc::new(Snapshot {
            head,
            outgoing,
            channel: snapshot.channel.clone(),
            defaults: Arc::clone(&snapshot.defaults),
            is_cancelled_wave: snapshot.is_cancelled_wave,
        });
        *last = (now, Arc::clone(&snapshot));
        Ok(snapshot)
    }

    /// Makes the next read a fresh one.
    pub(crate) async fn reset(&self) {
        self.last.lock().await.0 = Timestamp::MIN;
    }
}

async fn read_content<B: Backend>(
    context: &Context<B>,
    head: &Notification,
) -> Result<Option<Arc<SentContent>>, store::Error> {
    let Some(source) = context.notifications.message(&head.id, head.revision).await? else {
        return Ok(None);
    };
    let outgoing = if source.bindings.is_some() {
        head.renderer(&source).map(Box::new).map(SentContent::Template)
    } else {
        let message = head.outgoing(source.into_activity());
        SharedMessage::from_activity(&message)
            .ok()
            .map(SentContent::Shared)
    };
    // A message that was parsed can be serialised, and a template that was accepted can be parsed.
    let outgoing = outgoing.ok_or_else(|| store::Error::Corrupt {
        verb: "read a message",
        what: "message".to_owned(),
    })?;
    Ok(Some(Arc::new(outgoing)))
}
