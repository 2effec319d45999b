//! The port to the queues, and the messages on them.
//!
//! A queue delivers at least once, in any order; every message below is safe to handle again.
//!
//! While a deployment is updated or rolled back, messages of one release are received by functions of another. Each names its
//! [`FORMAT`]. A field that a message lacks has a default, and one that is unknown is ignored: for such a change the format stays.
//! For any other it is raised, and a function of an older release leaves the message on the queue for the newer ones.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audience::{Fields, Recipient};
use crate::id::NotificationId;
use crate::notification::{ChunkId, ChunkResult, PageChunk, SendMode};
use crate::rate_limit::{Bucket, Ticket};

pub mod batch;
pub mod memory;
pub mod sqs;

/// The longest delay of a queue itself: SQS' `DelaySeconds` ends at 15 minutes.
pub const DELAY_MAX: Duration = Duration::from_mins(15);

/// The format of the messages below, which this release writes. It reads this one and all before it; those before the first one name
/// none. Since 2 the message of a chunk's notification may be a template, and its recipients may have rows.
pub const FORMAT: u16 = 2;

/// Receives of a message before it goes to the dead-letter queue: the template's `maxReceiveCount`.
pub const RECEIVES_MAX: u32 = 20;

/// Not all messages are known to be on the queue; some may be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request failed; it may have been carried out.
    #[error("cannot enqueue: queue unavailable")]
    Unavailable {
        /// The SDK's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The queue accepted the request and refused some of its messages.
    #[error("cannot enqueue: the queue refused {refused} of {sent} messages, the first with {code}")]
    Refused {
        /// Messages that the queue refused.
        refused: usize,
        /// Messages in the request.
        sent: usize,
        /// The queue's error code for the first.
        code: String,
    },
}

/// One message to be put on a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The message as JSON.
    pub body: String,
    /// Time until it may be received. A queue that cannot delay it that long delivers it earlier, but not before
    /// [`DELAY_MAX`]: the receiver compares the message's own due time, and sends it back.
    pub delay: Duration,
    /// The fairness group: the backlog of one group does not delay another. A message without a group is a group by itself.
    pub group: Option<String>,
}

/// Puts messages on one queue.
pub trait Queue: Clone + Send + Sync + 'static {
    /// Enqueues all messages.
    ///
    /// # Errors
    /// When not all of them are known to be on the queue. Calling again with the same messages is always right.
    fn send(&self, messages: Vec<Message>) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A dead-letter queue.
pub trait DeadLetterQueue: Clone + Send + Sync + 'static {
    /// Starts to move all messages back to the queues that they came from.
    ///
    /// # Errors
    /// When it is not known to have started. Calling again is always right.
    fn redrive(&self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// On the plans queue: plan a notification, or continue with one part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The notification to plan.
    pub notification: NotificationId,
    /// The planner's task.
    #[serde(default)]
    pub task: Task,
    /// The part of its audience. Without one the planner enqueues a message for each part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u16>,
    /// The last page whose chunks are known to be on the deliveries queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enqueued: Option<u32>,
    /// Only the chunks of this wave, which begins if it still waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<Timestamp>,
}

/// What the planner does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Task {
    /// Resolve the audience, write its pages, and enqueue their chunks unless the notification awaits its start.
    #[default]
    Plan,
    /// Enqueue the chunks of the written pages again: the notification was started, revised or cancelled.
    Sweep,
    /// Make the retraction that the request asks for, from its time on.
    Retract,
}

/// On the deliveries queue: deliver a notification to these recipients of one chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The notification that the chunk belongs to.
    pub notification: NotificationId,
    /// The chunk's place in the plan.
    pub chunk: ChunkId,
    /// The rate limit of its requests. A chunk without one has no recipient with a conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Bucket>,
    /// How it is sent. Recipients that a batch left open are sent to individually.
    #[serde(default, rename = "sendMode", skip_serializing_if = "SendMode::is_individual")]
    pub send_mode: SendMode,
    /// The recipients whose deliveries are open.
    pub recipients: Vec<Recipient>,
    /// The fields of their rows, in the same order; none if they have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Fields>,
    /// The outcomes of the chunk's other deliveries.
    #[serde(default)]
    pub result: ChunkResult,
    /// The revision of the notification at which they ended.
    #[serde(default)]
    pub revision: u32,
    /// Its place in the queue for permits, if it has one.
    #[serde(rename = "ticket", default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Ticket>,
    /// The chunk must not be processed before this time, whenever it is received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// Whether a sender has processed it before, so that the ledger may hold some of its deliveries. A message of an earlier release
    /// does not say it: then it may have been.
    #[serde(default = "may_have_begun")]
    pub begun: bool,
    /// The wave that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<Timestamp>,
    /// Whether its wave was cancelled: its deliveries end as cancelled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
    /// Whether quiet hours hold some of its deliveries.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

const fn may_have_begun() -> bool {
    true
}

impl Plan {
    /// The plan of a whole notification.
    pub fn whole(notification: NotificationId, task: Task) -> Self {
        Self {
            notification,
            task,
            part: None,
            enqueued: None,
            wave: None,
        }
    }

    /// The plan that begins a wave, or ends one that was cancelled.
    pub fn of_wave(notification: NotificationId, due: Timestamp) -> Self {
        Self {
            wave: Some(due),
            ..Self::whole(notification, Task::Sweep)
        }
    }

    /// The message that carries it.
    pub fn message(&self, delay: Duration) -> Message {
        Message::json(self, delay)
    }
}

impl Chunk {
    /// A chunk whose deliveries are all open.
    pub fn whole(notification: NotificationId, chunk: ChunkId, planned: PageChunk) -> Self {
        Self {
            notification,
            chunk,
            bucket: planned.bucket,
            send_mode: planned.send_mode,
            recipients: planned.recipients,
            fields: planned.fields,
            result: ChunkResult::default(),
            revision: 0,
            ticket: None,
            due: None,
            begun: false,
            wave: planned.wave,
            cancelled: false,
            held: false,
        }
    }

    /// Its message, in the group of its bucket: the backlog of one tenant does not delay another.
    pub fn message(&self, delay: Duration) -> Message {
        let message = Message::json(self, delay);
        match &self.bucket {
            Some(bucket) => message.in_group(bucket.as_str()),
            None => message,
        }
    }
}

/// A message with its format.
#[derive(Serialize, Deserialize)]
struct Formatted<T> {
    #[serde(default)]
    format: u16,
    #[serde(flatten, skip_deserializing)]
    content: Option<T>,
}

/// Whether a message is of a newer release, in a format that this one does not know.
fn is_of_newer_release(body: &str) -> bool {
    serde_json::from_str::<Formatted<()>>(body).is_ok_and(|message| message.format > FORMAT)
}

impl Message {
    /// A message whose body is the object `content` as JSON, with its [`FORMAT`], in no group.
    pub fn json<T: Serialize>(content: &T, delay: Duration) -> Self {
        let formatted = Formatted {
            format: FORMAT,
            content: Some(content),
        };
        // Our own messages hold only what JSON can: strings, numbers, lists.
        Self::text(serde_json::to_string(&formatted).unwrap_or_default(), delay)
    }

    /// A message with this body, in no group.
    pub fn text(body: impl Into<String>, delay: Duration) -> Self {
        Self {
            body: body.into(),
            delay,
            group: None,
        }
    }

    /// The message in this group; any text names one.
    #[must_use]
    pub fn in_group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }
}
