//! The events of the host, sent to subscribers.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::sync::mpsc;

/// An event that a function published on a bus.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// The bus's name.
    pub bus: String,
    /// The source.
    pub source: String,
    /// The kind of event.
    pub detail_type: String,
    /// The content.
    pub detail: Value,
}

/// Something that happened. Functions and queues go by their names, durations are real ones.
#[derive(Clone, Debug)]
pub enum Event {
    /// A function's process asked for its first invocation.
    Started {
        /// The function.
        function: String,
        /// From the start of the process.
        after: Duration,
    },
    /// A function's process ended, or was ended.
    Stopped {
        /// The function.
        function: String,
        /// Why.
        reason: String,
    },
    /// An invocation was handed to a function.
    Invoked {
        /// The function.
        function: String,
        /// The request id, as in `lambda-runtime-aws-request-id`.
        request_id: String,
    },
    /// An invocation ended.
    Finished {
        /// The function.
        function: String,
        /// The request id.
        request_id: String,
        /// The failure, if there was one.
        failure: Option<String>,
        /// From the moment it was handed over.
        elapsed: Duration,
    },
    /// A function wrote a line to its standard output or error.
    Logged {
        /// The function.
        function: String,
        /// The line.
        line: String,
    },
    /// The HTTP front answered.
    Answered {
        /// The method.
        method: String,
        /// The path, without its query.
        path: String,
        /// The status.
        status: u16,
        /// From the request's last byte.
        elapsed: Duration,
    },
    /// An event source mapping's batch was dealt with.
    Batch {
        /// The queue it came from.
        queue: String,
        /// The function it went to.
        function: String,
        /// How many messages it had.
        messages: usize,
        /// How many of them go back to the queue.
        failed: usize,
        /// From receive to delete.
        elapsed: Duration,
    },
    /// A message was received too often and went to its dead-letter queue.
    DeadLettered {
        /// The queue it came from.
        queue: String,
        /// The message's id.
        message_id: String,
    },
    /// A function published an event on a bus.
    Published(Published),
    /// No message is left in any queue that feeds a function, waiting, delayed or in flight.
    Drained,
}

/// Tells every subscriber everything, in order. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Events {
    subscribers: Arc<Mutex<Vec<mpsc::UnboundedSender<Event>>>>,
}

impl Events {
    /// All events from now on. A slow reader loses none.
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
