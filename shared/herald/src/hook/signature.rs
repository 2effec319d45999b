//! GitHub's signatures, and the secret that checks them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};

/// What the value of `X-Hub-Signature-256` begins with.
const PREFIX: &str = "sha256=";

/// A secret, encrypted under that of the hook's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    nonce: String,
    sealed: String,
}

/// The key that an address's secret gives. The secret has 256 random bits, so a digest of it is as good.
fn key(address_secret: &str) -> Option<LessSafeKey> {
    let bytes = digest::digest(
        &digest::SHA256,
        format!("githubSecret\n{address_secret}").as_bytes(),
    );
    let key = UnboundKey::new(&CHACHA20_POLY1305, bytes.as_ref()).ok()?;
    Some(LessSafeKey::new(key))
}

impl SealedSecret {
    /// Encrypts a secret. An address's secret encrypts one only, so a random nonce is never used twice.
    pub(super) fn seal(secret: &str, address_secret: &str, random: [u8; 16]) -> Option<Self> {
        let nonce: [u8; NONCE_LEN] = random.get(..NONCE_LEN)?.try_into().ok()?;
        let mut bytes = secret.as_bytes().to_vec();
        let nonce_value = Nonce::assume_unique_for_key(nonce);
        key(address_secret)?
            .seal_in_place_append_tag(nonce_value, Aad::empty(), &mut bytes)
            .ok()?;
        Some(Self {
            nonce: BASE64_STANDARD.encode(nonce),
            sealed: BASE64_STANDARD.encode(bytes),
        })
    }

    fn open(&self, address_secret: &str) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = BASE64_STANDARD.decode(&self.nonce).ok()?.try_into().ok()?;
        let mut bytes = BASE64_STANDARD.decode(&self.sealed).ok()?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = key(address_secret)?
            .open_in_place(nonce, Aad::empty(), &mut bytes)
            .ok()?;
        Some(opened.to_vec())
    }
}

/// Whether the value of `X-Hub-Signature-256` signs this body with this secret. Takes the same time for every wrong one.
pub fn is_signed(body: &[u8], signature: Option<&str>, secret: &SealedSecret, address_secret: &str) -> bool {
    let tag = signature.and_then(|signature| hexadecimal(signature.strip_prefix(PREFIX)?));
    let (Some(tag), Some(secret)) = (tag, secret.open(address_secret)) else {
        return false;
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    hmac::verify(&key, body, &tag).is_ok()
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_of_githubs_own_example_is_verified() {
        // "Validating webhook deliveries" of GitHub's documentation.
        let secret = SealedSecret::seal("It's a Secret to Everybody", "address", [7; 16]).unwrap();
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let is = |body: &str, signature, address| is_signed(body.as_bytes(), signature, &secret, address);
        assert!(is("Hello, World!", Some(signature), "address"));
        assert!(!is("Hello, World?", Some(signature), "address"));
        assert!(!is("Hello, World!", Some(signature), "another"));
        for wrong in [
            None,
            Some(""),
            Some("sha256="),
            Some("sha256=zz"),
            Some(&signature[7..]),
        ] {
            assert!(!is("Hello, World!", wrong, "address"), "{wrong:?}");
        }
    }

    #[test]
    fn the_stored_secret_cannot_be_read_without_the_address() {
        let sealed = SealedSecret::seal("plain secret", "address", [1; 16]).unwrap();
        let stored = serde_json::to_string(&sealed).unwrap();
        assert!(!stored.contains("plain"), "{stored}");
        assert_eq!(sealed.open("address").unwrap(), b"plain secret");
        assert_eq!(sealed.open("other"), None);
    }
}
