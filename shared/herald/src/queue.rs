//! The port to the queues, and what travels on them.
//!
//! A queue delivers at least once, in any order; every message below is safe to handle again.

use std::future::Future;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audience::Recipient;
use crate::delivery::Tally;
use crate::id::NotificationId;
use crate::notification::ChunkId;

pub mod batch;
pub mod memory;
pub mod sqs;

/// The longest a message can be delayed: SQS' `DelaySeconds` ends at 15 minutes.
pub const DELAY_MAX: Duration = Duration::from_mins(15);

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
    /// How long nobody may receive it; at most [`DELAY_MAX`].
    pub delay: Duration,
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
    /// The part of its audience; without one, all of it, which comes to a message for each part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u16>,
    /// The last page whose chunks are known to be on the deliveries queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enqueued: Option<u32>,
}

/// On the deliveries queue: deliver a notification to these recipients of one chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The notification.
    pub notification: NotificationId,
    /// The chunk.
    pub chunk: ChunkId,
    /// Those whose deliveries are open.
    pub recipients: Vec<Recipient>,
    /// How the chunk's other deliveries ended.
    #[serde(default)]
    pub settled: Tally,
}

impl Message {
    /// A message whose body is `content` as JSON.
    pub fn json<T: Serialize>(content: &T, delay: Duration) -> Self {
        // Our own messages hold nothing that JSON cannot: strings, numbers, lists.
        let body = serde_json::to_string(content).unwrap_or_default();
        Self {
            body,
            delay: delay.min(DELAY_MAX),
        }
    }
}
