//! The assertion that a bot signs itself, with the key of a certificate that its registration knows.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::client_auth::{AssertionContext, ClientAuth, ClientAuthError, ClientCredential};
use crate::http::BoxFuture;

/// How long an assertion holds: it is used at once, the rest is for clocks that differ.
const LIFETIME: Duration = Duration::from_mins(5);

/// How an assertion is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signing {
    /// RSA with PSS padding, as Entra asks for.
    #[default]
    Ps256,
    /// RSA with PKCS #1 padding, for whatever does not take the other.
    Rs256,
}

/// A certificate with its key: proves by an assertion that it signs.
pub struct Certificate {
    key: KeyPair,
    thumbprint: String,
    signing: Signing,
}

/// A certificate that cannot be used. Nothing of it is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// There is no `BEGIN CERTIFICATE` in the text.
    #[error("certificate is missing or no PEM")]
    Certificate,
    /// There is no `BEGIN PRIVATE KEY` or `BEGIN RSA PRIVATE KEY` in the text.
    #[error("private key is missing, encrypted or no PEM")]
    Key,
    /// The key is not RSA, or shorter than 2048 or longer than 4096 bits.
    #[error("private key is no RSA key of 2048 to 4096 bits")]
    KeyKind,
    /// The key belongs to another certificate.
    #[error("private key is not the certificate's")]
    Mismatch,
}

/// The key could not be used; the machine has no randomness.
#[derive(Debug, thiserror::Error)]
#[error("assertion cannot be signed")]
struct Unsigned;

impl Certificate {
    /// The first certificate and the first private key of a PEM text; they may stand in any order.
    ///
    /// # Errors
    /// When either is missing or of no use, or they do not belong together.
    pub fn from_pem(pem: &str, signing: Signing) -> Result<Self, InvalidCertificate> {
        let certificate =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| InvalidCertificate::Certificate)?;
        let key = match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
            Ok(PrivateKeyDer::Pkcs8(key)) => KeyPair::from_pkcs8(key.secret_pkcs8_der()),
            Ok(PrivateKeyDer::Pkcs1(key)) => KeyPair::from_der(key.secret_pkcs1_der()),
            Ok(_) => return Err(InvalidCertificate::KeyKind),
            Err(_) => return Err(InvalidCertificate::Key),
        }
        .map_err(|_| InvalidCertificate::KeyKind)?;
        // A certificate holds its public key in the very encoding that the key pair gives.
        let public = key.public().as_ref();
        if !certificate.windows(public.len()).any(|window| window == public) {
            return Err(InvalidCertificate::Mismatch);
        }
        let thumbprint = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, &certificate));
        Ok(Self {
            key,
            thumbprint,
            signing,
        })
    }

    /// A JWT by which the bot speaks for itself, on this occasion only.
    fn assertion(&self, occasion: AssertionContext<'_>) -> Result<SecretString, Unsigned> {
        let (algorithm, padding): (_, &dyn RsaEncoding) = match self.signing {
            Signing::Ps256 => ("PS256", &RSA_PSS_SHA256),
            Signing::Rs256 => ("RS256", &RSA_PKCS1_SHA256),
        };
        let now = occasion.now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let header = json!({"alg": algorithm, "typ": "JWT", "x5t#S256": self.thumbprint});
        let claims = json!({
            "aud": occasion.token_url,
            "iss": occasion.app_id,
            "sub": occasion.app_id,
            "jti": BASE64_URL_SAFE_NO_PAD.encode(occasion.chance),
            "iat": now.as_secs(),
            "nbf": now.as_secs(),
            "exp": (now + LIFETIME).as_secs(),
        });
        let part = |document: Value| BASE64_URL_SAFE_NO_PAD.encode(document.to_string());
        let mut assertion = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(
                padding,
                &SystemRandom::new(),
                assertion.as_bytes(),
                &mut signature,
            )
            .map_err(|_| Unsigned)?;
        assertion.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut assertion);
        Ok(assertion.into())
    }
}

impl ClientAuth for Certificate {
    fn authenticate<'a>(
        &'a self,
        occasion: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>> {
        Box::pin(async move {
            match self.assertion(occasion) {
                Ok(assertion) => Ok(ClientCredential::Assertion(assertion)),
                Err(error) => Err(ClientAuthError::Unavailable(Box::new(error))),
            }
        })
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Certificate")
            .field("thumbprint", &self.thumbprint)
            .field("signing", &self.signing)
            .finish_non_exhaustive()
    }
}
