//! The local host: all of Herald on one machine, for development. It emulates the part of AWS that the template uses.
//!
//! It reads `infra/template.yaml` and runs it: tables in an embedded DynamoDB ([`dynamodb`]), queues with SQS's semantics
//! ([`sqs`]), one-time schedules ([`Host::bring_schedules_forward`]), event buses ([`eventbridge`]) and topics, the function
//! binaries under the Lambda Runtime API ([`runtime`]), and the HTTP API in front of them ([`front`]). A [`channel`] with
//! its own [`issuer`] replaces Teams; it serves the model in [`teams`]. [`Host`] starts and stops all of it, and
//! publishes [`Event`]s.
//!
//! It differs from AWS: services authenticate no client, functions have all permissions, processes are neither frozen
//! between invocations nor limited in memory, and it listens on loopback only. Without a [data directory](data), all is
//! lost when it ends.

pub mod binaries;
pub mod channel;
pub mod client;
mod clock;
pub mod data;
pub mod dynamodb;
mod event;
pub mod eventbridge;
pub mod front;
mod host;
pub mod iam;
pub mod issuer;
mod journal;
mod options;
pub mod runtime;
mod scheduler;
mod server;
mod service_api;
pub(crate) mod sns;
pub mod sqs;
pub mod teams;
pub mod template;
pub mod variables;

pub use event::{Event, Events, Published};
pub use host::{Error, Host};
pub use options::Options;
