//! Digests that stand for texts which are too long, or too secret, to be stored.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// The SHA-256 of these bytes, in 64 hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut digits, byte| {
            // Writing to a string cannot fail.
            let _ = write!(digits, "{byte:02x}");
            digits
        })
}
