//! The port to the queues, and what travels on them.
//!
//! A queue delivers at least once, in any order; every message below is safe to handle again.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audience::Recipient;
use crate::id::NotificationId;
use crate::notification::{ChunkId, Closing, PageChunk, SendMode};
use crate::rate_limit::Bucket;

pub mod batch;
pub mod memory;
pub mod sqs;

/// The longest a queue itself delays a message: SQS' `DelaySeconds` ends at 15 minutes.
pub const DELAY_MAX: Duration = Duration::from_mins(15);

/// How often a message is received before it goes to the dead-letter queue: the template's `maxReceiveCount`.
pub const RECEIVES_MAX: u32 = 20;

/// The messages could not all be put on the queue; some may have been.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue could not be reached or refused.
    #[error("cannot enqueue: the queue is away")]
    Unavailable {
        /// What the SDK said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The queue took the request but refused some of its messages.
    #[error("cannot enqueue: the queue refused {refused} of {sent} messages, the first with {code}")]
    Refused {
        /// How many it refused.
        refused: usize,
        /// How many were sent.
        sent: usize,
        /// Its code for the first.
        code: String,
    },
}

/// One message to be put on a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The body.
    pub body: String,
    /// How long nobody should receive it. A queue that cannot wait that long hands it over earlier, though not before
    /// [`DELAY_MAX`]: whoever receives it looks at its own due time, and sends it back.
    pub delay: Duration,
    /// Whose backlog it belongs to: no group's holds up another's. One without a group is a group by itself.
    pub group: Option<String>,
}

/// Puts messages on one queue.
pub trait Queue: Clone + Send + Sync + 'static {
    /// Puts all of these on the queue.
    ///
    /// # Errors
    /// When not all of them are known to be there. Calling again with the same messages is always right.
    fn send(&self, messages: Vec<Message>) -> impl Future<Output = Result<(), Error>> + Send;
}

/// On the plans queue: plan this notification, or go on with one part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The notification.
    pub notification: NotificationId,
    /// What is to be done.
    #[serde(default)]
    pub task: Task,
    /// The part of its audience; without one, all of it, which comes to a message for each part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u16>,
    /// The last page whose chunks are known to be on the deliveries queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enqueued: Option<u32>,
}

/// What a planner is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Task {
    /// Read the audience, write its pages, and enqueue their chunks unless the notification is held.
    #[default]
    Plan,
    /// Enqueue the chunks of the pages that stand, once more: the notification was released, revised or cancelled.
    Sweep,
}

/// On the deliveries queue: deliver a notification to these recipients of one chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The notification.
    pub notification: NotificationId,
    /// The chunk.
    pub chunk: ChunkId,
    /// Whose pace its requests are made at; without one, it leads to no conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Bucket>,
    /// By which way they go. Once a batch is over, whoever is left goes the ordinary one.
    #[serde(
        default,
        rename = "transport",
        skip_serializing_if = "SendMode::is_individual"
    )]
    pub send_mode: SendMode,
    /// Those whose deliveries are open.
    pub recipients: Vec<Recipient>,
    /// How the chunk's other deliveries ended.
    #[serde(default)]
    pub closing: Closing,
    /// The revision of the notification that they ended at.
    #[serde(default)]
    pub revision: u32,
    /// Its ticket of the tenant's queue, if it got one.
    #[serde(rename = "turn", default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Timestamp>,
    /// Nothing is to be done before then, whenever it comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// Whether a sender has begun with it, so that the ledger knows of some of its deliveries.
    #[serde(default)]
    pub begun: bool,
}

impl Chunk {
    /// A chunk of which nothing is done yet.
    pub fn whole(notification: NotificationId, chunk: ChunkId, planned: PageChunk) -> Self {
        Self {
            notification,
            chunk,
            bucket: planned.bucket,
            send_mode: planned.send_mode,
            recipients: planned.recipients,
            closing: Closing::default(),
            revision: 0,
            ticket: None,
            due: None,
            begun: false,
        }
    }

    /// The message that brings it to a sender, in the group of its bucket: no tenant's backlog delays another's.
    pub fn message(&self, delay: Duration) -> Message {
        let message = Message::json(self, delay);
        match &self.bucket {
            Some(bucket) => message.in_group(bucket.as_str()),
            None => message,
        }
    }
}

impl Message {
    /// A message whose body is `content` as JSON, in no group.
    pub fn json<T: Serialize>(content: &T, delay: Duration) -> Self {
        // Our own messages hold nothing that JSON cannot: strings, numbers, lists.
        let body = serde_json::to_string(content).unwrap_or_default();
        Self {
            body,
            delay,
            group: None,
        }
    }

    /// The same message in a group. Any text names one.
    #[must_use]
    pub fn in_group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }
}
