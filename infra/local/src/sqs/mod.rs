//! SQS, as far as a standard queue and its event source mapping matter: visibility, receive counts, delays, fair groups,
//! dead letters, batches with partial failures, concurrency, and at-least-once delivery on request.
//!
//! Queues are in memory. One deliberate difference is an option: a failed batch's messages
//! become visible again after [`crate::Options::retry_visibility`] instead of the queue's visibility time-out, which by
//! Lambda's rule is six times the function's own and would make every failure take minutes.

mod api;
mod broker;
mod mapping;
mod message;
mod queue;

pub(crate) use api::router;
pub use broker::{Broker, NoSuchQueue, ReceiptError};
pub(crate) use mapping::Poller;
pub use message::{Attribute, Message};
pub use queue::{Counts, DeadLetter, InvalidReceipt, Moment, Queue, Received};
