//! What the tests share: a channel that does as it is told.

pub mod channel;
