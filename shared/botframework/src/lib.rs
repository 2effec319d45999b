//! Bots for Microsoft Teams and the Bot Framework: they answer, and they speak first with *proactive* messages ([`app`]).
//!
//! | module | content |
//! |---|---|
//! | [`json`] | reads JSON as channels write it |
//! | [`id`] | ids of the wire, one type each |
//! | [`activity`] | the activity schema, parsed and serialised without loss |
//! | [`lossless`] | JSON whose numbers are written back as they came |
//! | [`teams`], [`invoke`] | the properties of Microsoft Teams and of invoke activities |
//! | [`cards`] | Adaptive Cards from templates and data |
//! | [`mod@reference`] | the address of a conversation |
//! | [`outgoing`] | outgoing activities; one message to many conversations |
//! | [`cloud`], [`service_url`] | the hosts of each cloud; which service URLs are trusted with the bot's token |
//! | [`auth`] | authentication of incoming activities |
//! | [`connector`] | the client of the Connector's REST API, with its error table |
//! | [`credential`] | the bot's access tokens: request, cache, scope |
//! | [`graph`] | the client of Microsoft Graph in a customer's tenant: installs the bot for people |
//! | [`mod@http`] | the HTTP client of connector, credential, graph and auth |
//! | [`app`] | the bot: handlers, middlewares, proactive messages, the messaging endpoint |
//! | `testing` | a bot and its channel in one process, for the tests of bots (feature `testing`) |
//!
//! | feature | default | |
//! |---|---|---|
//! | `client` | yes | [`connector`], [`credential`], [`mod@http`]: what sends |
//! | `auth` | yes | [`auth`]: what authenticates activities. With `client`, [`app`] |
//! | `graph` | yes | [`graph`] |
//! | `cards` | yes | [`cards`] |
//! | `lossless-numbers` | yes | numbers are written back as they came ([`lossless`]); without it, as `serde_json` writes them |
//! | `axum` | no | `App::serve` and `App::into_router` |
//! | `testing` | no | `testing` |
//! | `platform-roots` | no | trusts the certificates of the machine instead of those compiled in |
//!
//! Without features the crate is the schema: activities, references, ids, invokes, the trust of service URLs.
//!
//! But for [`App::from_env`](app::App::from_env), the crate has no clock, no random source and no environment: times and random
//! numbers are arguments.

mod wire;

/// The programs of the front page.
#[cfg(all(doctest, feature = "axum", feature = "testing"))]
#[doc = include_str!("../README.md")]
struct FrontPage;

pub mod activity;
#[cfg(all(feature = "client", feature = "auth"))]
pub mod app;
#[cfg(feature = "auth")]
pub mod auth;
#[cfg(feature = "cards")]
pub mod cards;
pub mod cloud;
#[cfg(feature = "client")]
pub mod connector;
#[cfg(feature = "client")]
pub mod credential;
#[cfg(feature = "graph")]
pub mod graph;
#[cfg(feature = "http-client")]
#[cfg_attr(
    not(feature = "client"),
    allow(dead_code, reason = "the clients of services share it")
)]
pub mod http;
pub mod id;
pub mod invoke;
pub mod json;
pub mod lossless;
pub mod outgoing;
pub mod reference;
pub mod service_url;
pub mod teams;
#[cfg(feature = "testing")]
pub mod testing;
