//! Cursors of lists: JSON, opaque to clients.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;

/// The cursor for a position: numbers, texts and lists of them, all of which JSON can hold.
pub fn encode<P: Serialize>(position: &P) -> String {
    serde_json::to_string(position).unwrap_or_default()
}

/// The position that [`encode`] wrote.
///
/// # Errors
/// [`Error::Corrupt`] when the cursor is not one of this list.
pub fn decode<P: DeserializeOwned>(verb: &'static str, cursor: &str) -> Result<P, Error> {
    serde_json::from_str(cursor).map_err(|_| Error::corrupt(verb, "cursor"))
}
