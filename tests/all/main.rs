//! All tests across crates, in one binary.

// Tests and their helpers unwrap, so that a test fails at the line that cannot go on.
#![allow(clippy::unwrap_used, clippy::panic)]

mod authentication;
mod batch;
mod citations;
mod console;
mod contract;
mod credential;
mod directory;
mod events;
mod examples;
mod faulty;
mod fuzz;
mod hooks;
mod http_api;
mod infra;
mod install;
mod later;
mod lossless;
mod messages;
mod metrics;
mod names;
mod notify;
mod opt_outs;
mod paced;
mod people;
mod pipeline;
mod reach;
mod reactions;
mod retractions;
mod rosters;
mod service_url;
mod settle;
mod subjects;
mod system;
mod teams;
mod templates;
mod transitions;
mod way_out;
mod when;
mod world;
