//! What the tests share: a channel and a server that do as they are told.

pub mod channel;
pub mod recorder;
