//! SQS: standard queues and event source mappings, with visibility, receive counts, delays, fair groups, dead letters,
//! partial batch failures, concurrency, and at-least-once delivery on request.
//!
//! Queues are in memory, and with a data directory also in a file. One deliberate difference is an option: messages of a failed batch become visible again after
//! [`crate::Options::retry_visibility`]. In AWS it is the queue's visibility time-out, which is six times the function's
//! time-out, so that each failure would take minutes.

mod api;
mod broker;
mod mapping;
mod message;
mod queue;

pub(crate) use api::router;
pub use broker::{Broker, NoSuchQueue, ReceiptError};
pub(crate) use mapping::Poller;
pub use message::{Attribute, Message};
pub use queue::{Counts, DeadLetter, InvalidReceipt, OperationTime, Queue, Received};
