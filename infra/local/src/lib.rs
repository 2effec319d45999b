//! The whole of Herald on one machine: a development host that is AWS for this system, as far as the template uses it.
//!
//! It reads `infra/template.yaml`, so the template is what runs: tables in an embedded DynamoDB ([`dynamodb`]), queues
//! with SQS's semantics ([`sqs`]), schedules that send to them ([`Host::bring_schedules_forward`]), event buses
//! ([`eventbridge`]), the four real binaries under the Lambda Runtime API ([`runtime`]), and the HTTP API in front of them
//! ([`front`]). A [`channel`] with an [`issuer`] of its own stands in for Teams; it serves the model in [`teams`]. [`Host`] starts
//! and stops all of it, and sends [`Event`]s.
//!
//! It is not AWS: its services authenticate nobody, functions have all permissions, it forgets its queues
//! and schedules when it ends, does not freeze a process between invocations nor hold it to its memory, and binds to loopback only.

pub mod binaries;
pub mod channel;
pub mod client;
mod clock;
pub mod dynamodb;
mod event;
pub mod eventbridge;
pub mod front;
mod host;
pub mod issuer;
pub mod runtime;
mod scheduler;
mod service_api;
pub mod sqs;
pub mod teams;
pub mod template;

pub use event::{Event, Events, Published};
pub use host::{Error, Host, Options};
