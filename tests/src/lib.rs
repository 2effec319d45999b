//! What the tests share: a channel that does as it is told, a DynamoDB of one's own, and wires that fail.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on must stop"
)]

pub mod channel;
pub mod database;
pub mod script;
pub mod wire;
