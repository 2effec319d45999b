//! Cold start of the notify function.
fn main() {}
