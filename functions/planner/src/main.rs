//! Cold start of the planner function.
fn main() {}
