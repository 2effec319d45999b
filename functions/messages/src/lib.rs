//! The messages function.
