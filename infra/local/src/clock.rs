//! The wall clock. Only this module reads it.

use jiff::Timestamp;

/// The current time.
#[expect(clippy::disallowed_methods, reason = "this module owns the clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
