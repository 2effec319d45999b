//! The planner function.
