//! One binary for everything that is tested across crates.

// What must be there is unwrapped, in helpers too: a test that cannot go on fails where it stands.
#![allow(clippy::unwrap_used, clippy::panic)]

mod authentication;
mod batch;
mod citations;
mod contract;
mod credential;
mod faulty;
mod fuzz;
mod infra;
mod install;
mod messages;
mod notify;
mod paced;
mod pipeline;
mod reach;
mod reactions;
mod rosters;
mod service_url;
mod simulation;
mod system;
mod teams;
mod world;
