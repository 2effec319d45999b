//! Cold start of the sender function.
fn main() {}
