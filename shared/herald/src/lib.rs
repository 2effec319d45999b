//! Herald engine.
