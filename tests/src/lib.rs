//! Shared by tests and benches: a scriptable channel, server and token issuer, an in-process DynamoDB, wires that lose
//! answers, and generated people.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on must stop"
)]

pub mod backend;
pub mod bill;
pub mod channel;
pub mod counter;
pub mod credential;
pub mod crowd;
pub mod database;
mod gate;
pub mod gateway;
pub mod graph;
pub mod hostile;
pub mod http_client;
pub mod issuer;
pub mod logs;
pub mod meter;
pub mod paced;
pub mod recorder;
pub mod script;
pub mod server;
pub mod wire;
