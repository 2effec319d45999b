//! The real binaries with authentication on.
