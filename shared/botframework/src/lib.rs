//! The Bot Framework for Rust: what a bot needs to be spoken to by a channel and to speak back.
//!
//! | module | what it knows |
//! |---|---|
//! | [`id`] | the ids that must not be mixed up, one type each |
//! | [`activity`] | the schema, lossless: what was parsed is written back as it came |
//! | [`teams`], [`invoke`] | what Microsoft Teams and invoke activities put inside it |
//! | [`mod@reference`] | where a conversation is, and how an activity is addressed to it |
//! | [`outgoing`] | what a bot sends: an activity, or one message to many conversations |
//! | [`cloud`], [`service_url`] | every host of every cloud, and which URLs may see the bot's token |
//! | [`auth`] | who may speak to the bot: the token on an incoming activity |
//! | [`connector`] | the client of the Connector's REST API and its one table of error classes |
//! | [`credential`] | the bot's own token: how it is had, how long it is kept, and where alone it goes |
//! | [`graph`] | the client of Microsoft Graph in one customer's tenant: installs the bot for people first |
//! | [`mod@http`] | the HTTP client beneath connector, credential, graph and auth |
//! | [`turn`] | one incoming activity, the bot's answer to it, and the HTTP answer that follows |
//!
//! The crate has no clock, no randomness and no environment of its own: a token is judged and a `Retry-After`
//! date turned into a delay by the caller's time, fresh ids are arguments.

mod wire;

pub mod activity;
pub mod auth;
pub mod cloud;
pub mod connector;
pub mod credential;
pub mod graph;
pub mod http;
pub mod id;
pub mod invoke;
pub mod outgoing;
pub mod reference;
pub mod service_url;
pub mod teams;
pub mod turn;
