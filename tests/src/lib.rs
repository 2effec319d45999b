//! What the tests and benches share: a channel, a server and issuers of tokens that do as they are told, a DynamoDB of
//! one's own, wires that fail, people in any number.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on must stop"
)]

pub mod backend;
pub mod channel;
pub mod counter;
pub mod credential;
pub mod crowd;
pub mod database;
pub mod graph;
pub mod hostile;
pub mod http_client;
pub mod issuer;
pub mod meter;
pub mod paced;
pub mod recorder;
pub mod script;
pub mod server;
pub mod wire;
