//! An issuer of channels' tokens on this machine: keys, tokens, and an HTTP server for the metadata and for tokens of bots.
//!
//! Its private key is in the repository and protects nothing. A function accepts this issuer only if a loopback URL in
//! its configuration names it, and never in AWS.

use std::{fmt, io};

use axum::{
    Json, Router,
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use ring::{
    rand::SystemRandom,
    rsa::{KeyPair, PublicKeyComponents},
    signature::RSA_PKCS1_SHA256,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::server::{self, Limits, guard::guarded};

/// The private key.
const KEY: &[u8] = include_bytes!("made-up-key.der");
const KEY_ID: &str = "made-up";
/// The issuer of the public cloud's channels.
const NAME: &str = "https://api.botframework.com";
/// The paths of the published documents.
const METADATA: &str = "/v1/.well-known/openidconfiguration";
const KEYS: &str = "/v1/.well-known/keys";
/// The path of the token endpoint.
const TOKENS: &str = "/token";
/// The lifetime of a token, which is that of a real one.
const TOKEN_TTL: SignedDuration = SignedDuration::from_hours(1);

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not an RSA key in PKCS#8.
    #[error("the key cannot be read: {0}")]
    Key(ring::error::KeyRejected),
    /// The system's random source failed.
    #[error("the token cannot be signed")]
    Sign,
}

/// An RSA key pair.
pub struct SigningKey(KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningKey")
    }
}

impl SigningKey {
    /// Reads an RSA key in PKCS#8, DER.
    ///
    /// # Errors
    /// When the bytes are not such a key, or it is too small.
    pub fn read(der: &[u8]) -> Result<SigningKey, Error> {
        KeyPair::from_pkcs8(der).map(SigningKey).map_err(Error::Key)
    }

    /// The public key as a JWK with these endorsements.
    pub fn published(&self, id: &str, endorsements: &[&str]) -> Value {
        let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(self.0.public());
        json!({
            "kty": "RSA", "use": "sig", "kid": id, "x5t": id, "endorsements": endorsements,
            "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e),
        })
    }

    /// A token with this header and these claims, signed by RS256.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn sign(&self, header: &impl fmt::Display, claims: &impl fmt::Display) -> Result<String, Error> {
        let (header, claims) = (header.to_string(), claims.to_string());
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
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

/// The OpenID metadata of an issuer whose keys are at this URL.
pub fn metadata(jwks_uri: &str) -> Value {
    json!({ "issuer": NAME, "jwks_uri": jwks_uri })
}

/// A JWKS document with these keys.
pub fn key_set(keys: &Value) -> Value {
    json!({ "keys": keys })
}

fn granted() -> Value {
    json!({ "token_type": "Bearer", "expires_in": TOKEN_TTL.as_secs(), "access_token": "made-up" })
}

/// The issuer. Dropping it closes its port.
#[derive(Debug)]
pub struct Issuer {
    key: SigningKey,
    url: String,
    _serving: (JoinSet<()>, watch::Sender<bool>),
}

impl Issuer {
    /// Opens an issuer for one channel on a free loopback port.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn open(channel: &str) -> io::Result<Issuer> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let key = SigningKey::read(KEY).map_err(io::Error::other)?;
        let metadata = metadata(&format!("{url}{KEYS}"));
        let keys = key_set(&json!([key.published(KEY_ID, &[channel])]));
        let router = Router::new()
            .route(METADATA, get(async move || Json(metadata)))
            .route(KEYS, get(async move || Json(keys)))
            .route(TOKENS, post(async || Json(granted())));
        let mut serving = JoinSet::new();
        let (stop, stopping) = watch::channel(false);
        serving.spawn(server::serve(
            listener,
            guarded(router),
            Limits::small_service(),
            stopping,
        ));
        Ok(Issuer {
            key,
            url,
            _serving: (serving, stop),
        })
    }

    /// The URL of the OpenID metadata.
    pub fn metadata_url(&self) -> String {
        format!("{}{METADATA}", self.url)
    }

    /// The URL of a token endpoint that grants a bot a token whatever its credential. Only stand-ins take it.
    pub fn token_url(&self) -> String {
        format!("{}{TOKENS}", self.url)
    }

    /// A token of the channel at this service URL for a bot, valid from `now` on.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn token(&self, app_id: &str, service_url: &str, now: Timestamp) -> Result<String, Error> {
        let header = json!({ "typ": "JWT", "alg": "RS256", "kid": KEY_ID });
        let claims = json!({
            "iss": NAME,
            "aud": app_id,
            "serviceurl": service_url,
            "nbf": now.as_second(),
            "exp": now.as_second().saturating_add(TOKEN_TTL.as_secs()),
        });
        self.key.sign(&header, &claims)
    }
}
