//! Cold start of the messages function.
fn main() {}
