//! The Bot Framework for Rust.
