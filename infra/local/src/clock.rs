//! The wall clock. This host is the rim of the system: here, and only here, it asks what time it is.

use jiff::Timestamp;

/// The time now.
#[expect(clippy::disallowed_methods, reason = "this is the rim that owns the clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
