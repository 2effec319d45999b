//! The whole of Herald on one machine.
