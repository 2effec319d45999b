//! The channels' issuer, on this machine: signs what the host's own channel sends, with a key that protects nothing.
//!
//! Its key is printed in the repository, so everybody has it. A function takes this issuer only from a loopback URL that
//! it was given by name, and never in AWS.

use std::{fmt, io};

use axum::{Json, Router, routing::get};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use ring::{
    rand::SystemRandom,
    rsa::{KeyPair, PublicKeyComponents},
    signature::RSA_PKCS1_SHA256,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

/// The made-up key. Creation by hand, once, for this file.
const KEY: &[u8] = include_bytes!("made-up-key.der");
const KEY_ID: &str = "made-up";
/// What the public cloud's issuer calls itself, and where it keeps what it publishes.
const NAME: &str = "https://api.botframework.com";
const METADATA: &str = "/v1/.well-known/openidconfiguration";
const KEYS: &str = "/v1/.well-known/keys";
/// How long a token is good for, as the real ones are.
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// A key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is none, or not one of RSA.
    #[error("the key cannot be read: {0}")]
    Key(ring::error::KeyRejected),
    /// The system has no random numbers.
    #[error("the token cannot be signed")]
    Sign,
}

/// A key that signs.
pub struct SigningKey(KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningKey")
    }
}

impl SigningKey {
    /// An RSA key in PKCS#8, DER.
    ///
    /// # Errors
    /// When it is none, or too small.
    pub fn read(der: &[u8]) -> Result<SigningKey, Error> {
        KeyPair::from_pkcs8(der).map(SigningKey).map_err(Error::Key)
    }

    /// The public half as a JWK that vouches for these channels.
    pub fn published(&self, id: &str, endorsements: &[&str]) -> Value {
        let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(self.0.public());
        json!({
            "kty": "RSA", "use": "sig", "kid": id, "x5t": id, "endorsements": endorsements,
            "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e),
        })
    }

    /// A token with this header and these claims, whatever they are, signed by RS256.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn sign(&self, header: &Value, claims: &Value) -> Result<String, Error> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(|_| Error::Sign)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// The issuer: it signs, and it serves its metadata until it is dropped.
#[derive(Debug)]
pub struct Issuer {
    key: SigningKey,
    url: String,
    _serving: JoinSet<()>,
}

impl Issuer {
    /// Opens the issuer on a free loopback port. It vouches for one channel.
    ///
    /// # Errors
    /// When there is no port to be had.
    pub async fn open(channel: &str) -> io::Result<Issuer> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let key = SigningKey::read(KEY).map_err(io::Error::other)?;
        let metadata = json!({ "issuer": NAME, "jwks_uri": format!("{url}{KEYS}") });
        let keys = json!({ "keys": [key.published(KEY_ID, &[channel])] });
        let router = Router::new()
            .route(METADATA, get(async move || Json(metadata)))
            .route(KEYS, get(async move || Json(keys)));
        let mut serving = JoinSet::new();
        // It fails only where listening does, and then nobody gets in.
        serving.spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Issuer {
            key,
            url,
            _serving: serving,
        })
    }

    /// Where its OpenID metadata is.
    pub fn metadata_url(&self) -> String {
        format!("{}{METADATA}", self.url)
    }

    /// A token for a bot, by which the channel at this service URL may speak to it from now on.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn token(&self, app_id: &str, service_url: &str, now: Timestamp) -> Result<String, Error> {
        let header = json!({ "typ": "JWT", "alg": "RS256", "kid": KEY_ID });
        let claims = json!({
            "iss": NAME,
            "aud": app_id,
            "serviceurl": service_url,
            "nbf": now.as_second(),
            "exp": now.as_second().saturating_add(LIFETIME.as_secs()),
        });
        self.key.sign(&header, &claims)
    }
}
