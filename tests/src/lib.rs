//! What the tests share: a channel and issuers of tokens that do as they are told.

pub mod channel;
pub mod hostile;
pub mod issuer;
