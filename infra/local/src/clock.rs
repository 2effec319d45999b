//! The wall clock: the only place of this host that reads it.

use jiff::Timestamp;

/// The time now.
#[expect(clippy::disallowed_methods, reason = "this is the rim that owns the clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
