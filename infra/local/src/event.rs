//! The events of the host, for subscribers.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::sync::mpsc;

/// An event that a function published on a bus.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// The bus.
    pub bus: String,
    /// The event's `Source`.
    pub source: String,
    /// The event's `DetailType`.
    pub detail_type: String,
    /// The event's `Detail`.
    pub detail: Value,
}

/// An event of the host. Functions and queues are given by name; durations are measured.
#[derive(Clone, Debug)]
pub enum Event {
    /// A function's process asked for its first invocation.
    Started {
        /// The function's name.
        function: String,
        /// The time since the start of the process.
        after: Duration,
    },
    /// A function's process exited or was killed.
    Stopped {
        /// The function's name.
        function: String,
        /// The reason.
        reason: String,
    },
    /// An invocation was handed to a process of a function.
    Invoked {
        /// The function's name.
        function: String,
        /// The request id, as in `lambda-runtime-aws-request-id`.
        request_id: String,
    },
    /// An invocation ended.
    Finished {
        /// The function's name.
        function: String,
        /// The request id.
        request_id: String,
        /// The failure, if there was one.
        failure: Option<String>,
        /// The time since it was handed over.
        elapsed: Duration,
    },
    /// A function wrote a line to its standard output or error.
    Logged {
        /// The function's name.
        function: String,
        /// The line.
        line: String,
    },
    /// The HTTP front sent a response.
    Answered {
        /// The HTTP method.
        method: String,
        /// The path, without its query.
        path: String,
        /// The HTTP status.
        status: u16,
        /// The time since the request's last byte.
        elapsed: Duration,
    },
    /// An event source mapping completed a batch.
    Batch {
        /// The source queue.
        queue: String,
        /// The target function.
        function: String,
        /// The number of messages.
        messages: usize,
        /// The number of messages that stay on the queue.
        failed: usize,
        /// The time from receive to delete.
        elapsed: Duration,
    },
    /// A message exceeded its receives and was moved to the dead-letter queue.
    DeadLettered {
        /// The source queue.
        queue: String,
        /// The message's id.
        message_id: String,
    },
    /// A function published an event on a bus.
    Published(Published),
    /// A change could not be written to the data directory: a restart will not know it.
    NotKept {
        /// The changed resource.
        resource: String,
        /// The system's error.
        reason: String,
    },
    /// All queues that feed functions are empty: no message is visible, delayed or in flight.
    Drained,
}

/// Publishes events to all subscribers, in order. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Events {
    subscribers: Arc<Mutex<Vec<mpsc::UnboundedSender<Event>>>>,
}

impl Events {
    /// Subscribes to all further events. A slow subscriber loses none.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Event> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().push(sender);
        receiver
    }

    pub(crate) fn tell(&self, event: &Event) {
        self.lock()
            .retain(|subscriber| subscriber.send(event.clone()).is_ok());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<mpsc::UnboundedSender<Event>>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
