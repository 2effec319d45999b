//! Assertions signed with the key of a registered certificate.

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

/// The lifetime of an assertion. It is used at once; the rest allows for clock skew.
const ASSERTION_TTL: Duration = Duration::from_mins(5);

/// How an assertion is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signing {
    /// RSA with PSS padding, which Entra requires.
    #[default]
    Ps256,
    /// RSA with PKCS #1 padding, for endpoints without PSS.
    Rs256,
}

/// A certificate with its private key. Authenticates by signed assertions.
pub struct Certificate {
    key: KeyPair,
    thumbprint: String,
    signing: Signing,
}

/// An unusable certificate. The error quotes nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// There is no `BEGIN CERTIFICATE` in the text.
    #[error("certificate is missing or not PEM")]
    Certificate,
    /// There is no `BEGIN PRIVATE KEY` or `BEGIN RSA PRIVATE KEY` in the text.
    #[error("private key is missing, encrypted or not PEM")]
    Key,
    /// The key is not RSA, or shorter than 2048 or longer than 4096 bits.
    #[error("private key is not an RSA key of 2048 to 4096 bits")]
    KeyKind,
    /// The key belongs to another certificate.
    #[error("private key is not the certificate's")]
    Mismatch,
}

/// The signature failed: the system has no randomness.
#[derive(Debug, thiserror::Error)]
#[error("assertion cannot be signed")]
struct SigningError;

impl Certificate {
    /// Reads the first certificate and the first private key of a PEM text, in any order.
    ///
    /// # Errors
    /// When either is missing or unusable, or they do not belong together.
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
        // A certificate contains its public key in the encoding of the key pair.
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

    /// Signs the JWT for one token request.
    fn assertion(&self, context: AssertionContext<'_>) -> Result<SecretString, SigningError> {
        let (algorithm, padding): (_, &dyn RsaEncoding) = match self.signing {
            Signing::Ps256 => ("PS256", &RSA_PSS_SHA256),
            Signing::Rs256 => ("RS256", &RSA_PKCS1_SHA256),
        };
        let now = context.now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let header = json!({"alg": algorithm, "typ": "JWT", "x5t#S256": self.thumbprint});
        let claims = json!({
            "aud": context.token_url,
            "iss": context.app_id,
            "sub": context.app_id,
            "jti": BASE64_URL_SAFE_NO_PAD.encode(context.random),
            "iat": now.as_secs(),
            "nbf": now.as_secs(),
            "exp": (now + ASSERTION_TTL).as_secs(),
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
            .map_err(|_| SigningError)?;
        assertion.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut assertion);
        Ok(assertion.into())
    }
}

impl ClientAuth for Certificate {
    fn authenticate<'a>(
        &'a self,
        context: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>> {
        Box::pin(async move {
            match self.assertion(context) {
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
