//! The signing keys of an issuer (JWKS): fetched on demand and cached.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderValue, Request, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::denied::Denied;
use crate::cloud::Cloud;
use crate::http::{Body, BodyLimit, Transport, TransportError, read_object};
use crate::service_url::{Loopback, OtherChannels, TrustRule, Untrusted};

/// The age at which keys are fetched again, which the Bot Framework prescribes.
const REFRESH_AFTER: Duration = Duration::from_hours(24);

/// The age at which keys are dropped when they cannot be fetched again. It bounds how long an attacker who blocks the
/// issuer can keep a revoked key in use.
const MAX_STALE: Duration = Duration::from_hours(7 * 24);

/// The shortest interval between two fetches while there are keys. It bounds the requests that unknown key ids cause.
const MIN_FETCH_INTERVAL: Duration = Duration::from_mins(5);

/// The shortest interval between two fetches while there are no keys, and so every request is denied.
const MIN_FETCH_INTERVAL_WITHOUT_KEYS: Duration = Duration::from_secs(5);

/// The time-out of each of the two requests of a fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest document that is read, in bytes. Real ones have less than a tenth.
const MAX_BODY: usize = 512 * 1024;

/// The location of an issuer's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The URL of the OpenID metadata, which has the URL of the keys.
    metadata: String,
    /// The URL of the keys when the metadata is unavailable.
    keys: Option<&'static str>,
}

impl Source {
    /// The channels' issuer of a cloud.
    pub fn of_channels(cloud: Cloud) -> Self {
        let endpoints = cloud.endpoints();
        Self {
            metadata: endpoints.openid_metadata.to_owned(),
            keys: Some(endpoints.keys),
        }
    }

    /// Entra in a cloud, which issues the tokens of the emulator and of other bots. None is known for China.
    pub fn of_entra(cloud: Cloud) -> Option<Self> {
        cloud.endpoints().emulator_metadata.map(|metadata| Self {
            metadata: metadata.to_owned(),
            keys: None,
        })
    }

    /// OpenID metadata on this machine in place of an issuer. Its server can authenticate any caller.
    ///
    /// # Errors
    /// When the URL is not on this machine.
    pub fn on_loopback(metadata: &str) -> Result<Self, Untrusted> {
        TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Only).check(metadata)?;
        Ok(Self {
            metadata: metadata.to_owned(),
            keys: None,
        })
    }

    /// Whether the URL has the scheme, host and port of the metadata, compared as text.
    fn is_same_origin(&self, url: &str) -> bool {
        origin(&self.metadata).is_some_and(|ours| origin(url) == Some(ours))
    }
}

/// The public key of a signer, with its endorsements.
#[derive(Debug)]
pub(super) struct Key {
    id: String,
    pub(super) modulus: Vec<u8>,
    pub(super) exponent: Vec<u8>,
    /// The channels that the key endorses; Entra's keys endorse none.
    pub(super) endorsements: Vec<String>,
}

/// A key of the JWKS document. Keys of another shape are skipped.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    n: String,
    e: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    /// Absent or null in keys that endorse no channel.
    endorsements: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Metadata {
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("request for keys cannot be made")]
    Request(#[source] http::Error),
    #[error("no response within {FETCH_TIMEOUT:?}")]
    TimedOut,
    #[error("no response")]
    Transport(#[source] TransportError),
    #[error("response has status {0}")]
    Status(StatusCode),
    #[error("response is truncated")]
    Truncated,
    #[error("response has more than {MAX_BODY} bytes")]
    TooLarge,
    #[error("response is not the expected document")]
    Malformed(#[source] serde_json::Error),
    #[error("metadata names keys on another host")]
    OtherHost,
    #[error("response has no usable key")]
    NoKeys,
}

impl FetchError {
    fn cause(&self) -> Option<String> {
        std::error::Error::source(self).map(ToString::to_string)
    }
}

/// The keys of one issuer, cached in this process.
pub(super) struct JwksCache {
    source: Source,
    transport: Arc<dyn Transport>,
    /// Added to [`MIN_FETCH_INTERVAL`]: processes that started together fetch apart.
    jitter: Duration,
    cached: Mutex<CachedKeys>,
    /// Held during a fetch.
    fetch_lock: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct CachedKeys {
    keys: Vec<Arc<Key>>,
    fetched_at: Option<SystemTime>,
    /// The start of the last fetch, successful or not.
    attempted_at: Option<SystemTime>,
}

impl JwksCache {
    /// An empty cache. `jitter`, a random number, extends [`MIN_FETCH_INTERVAL`] by up to a fifth.
    pub(super) fn new(source: Source, transport: Arc<dyn Transport>, jitter: u8) -> Self {
        Self {
            source,
            transport,
            jitter: MIN_FETCH_INTERVAL * u32::from(jitter) / (5 * 255),
            cached: Mutex::default(),
            fetch_lock: tokio::sync::Mutex::default(),
        }
    }

    /// Fetches the keys if there are none yet.
    pub(super) async fn prefetch(&self, now: SystemTime) {
        let _fetching = self.fetch_lock.lock().await;
        if self.cached(now).keys.is_empty() && self.may_fetch(now) {
            self.refresh(now).await;
        }
    }

    /// The key with this id.
    ///
    /// One caller at a time fetches. The others wait for it only if the cache does not have the key.
    pub(super) async fn find(&self, id: &str, now: SystemTime) -> Result<Arc<Key>, Denied> {
        let known = self.known(id, now);
        let fetching = match &known {
            Some(key) if self.are_fresh(now) => return Ok(key.clone()),
            Some(key) => match self.fetch_lock.try_lock() {
                Ok(fetching) => fetching,
                Err(_) => return Ok(key.clone()),
            },
            None => self.fetch_lock.lock().await,
        };
        // A caller that waited for a fetch does not fetch again: MIN_FETCH_INTERVAL has not passed.
        if self.may_fetch(now) {
            self.refresh(now).await;
        }
        drop(fetching);
        self.known(id, now).ok_or_else(|| {
            if self.cached(now).keys.is_empty() {
                Denied::KeysUnavailable
            } else {
                Denied::KeyUnknown
            }
        })
    }

    fn known(&self, id: &str, now: SystemTime) -> Option<Arc<Key>> {
        self.cached(now).keys.iter().find(|key| key.id == id).cloned()
    }

    fn are_fresh(&self, now: SystemTime) -> bool {
        age(self.cached(now).fetched_at, now).is_some_and(|age| age < REFRESH_AFTER)
    }

    fn may_fetch(&self, now: SystemTime) -> bool {
        let cached = self.cached(now);
        let pause = if cached.keys.is_empty() {
            MIN_FETCH_INTERVAL_WITHOUT_KEYS
        } else {
            MIN_FETCH_INTERVAL + self.jitter
        };
        age(cached.attempted_at, now).is_none_or(|age| age >= pause)
    }

    /// Fetches the keys. Keeps the cached ones when that fails.
    async fn refresh(&self, now: SystemTime) {
        self.cached(now).attempted_at = Some(now);
        match self.fetch().await {
            Ok(keys) => {
                let mut cached = self.cached(now);
                cached.keys = keys;
                cached.fetched_at = Some(now);
            }
            Err(error) => tracing::error!(
                error_type = "KeysUnavailable",
                %error,
                cause = error.cause(),
                known_keys = self.cached(now).keys.len(),
                "keys not refreshed"
            ),
        }
    }

    async fn fetch(&self) -> Result<Vec<Arc<Key>>, FetchError> {
        let url = match (self.keys_url().await, self.source.keys) {
            (Ok(url), _) => url,
            (Err(error), None) => return Err(error),
            (Err(error), Some(known)) => {
                tracing::warn!(
                    error_type = "MetadataUnavailable",
                    %error,
                    cause = error.cause(),
                    "metadata unavailable; using the known URL of the keys"
                );
                known.to_owned()
            }
        };
        let set: KeySet = self.get(&url).await?;
        let keys: Vec<_> = set
            .keys
            .into_iter()
            .filter_map(Key::from_jwk)
            .map(Arc::new)
            .collect();
        if keys.is_empty() {
            return Err(FetchError::NoKeys);
        }
        Ok(keys)
    }

    async fn keys_url(&self) -> Result<String, FetchError> {
        let metadata: Metadata = self.get(&self.source.metadata).await?;
        if self.source.is_same_origin(&metadata.jwks_uri) {
            Ok(metadata.jwks_uri)
        } else {
            Err(FetchError::OtherHost)
        }
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, url: &str) -> Result<T, FetchError> {
        let request = Request::get(url)
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .extension(BodyLimit(MAX_BODY))
            .body(Bytes::new())
            .map_err(FetchError::Request)?;
        let response = tokio::time::timeout(FETCH_TIMEOUT, self.transport.send(request))
            .await
            .map_err(|_| FetchError::TimedOut)?
            .map_err(FetchError::Transport)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        match response.body() {
            Body::Truncated => Err(FetchError::Truncated),
            Body::TooLarge => Err(FetchError::TooLarge),
            Body::Complete(body) if body.len() > MAX_BODY => Err(FetchError::TooLarge),
            Body::Complete(body) => read_object(body).map_err(FetchError::Malformed),
        }
    }

    /// The cache, without keys older than [`MAX_STALE`].
    fn cached(&self, now: SystemTime) -> MutexGuard<'_, CachedKeys> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if age(cached.fetched_at, now).is_some_and(|age| age >= MAX_STALE) {
            cached.keys.clear();
        }
        cached
    }
}

impl fmt::Debug for JwksCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("JwksCache")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// Reads a JWK, if it is an RSA signing key.
    fn from_jwk(jwk: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(Some(jwk).filter(Value::is_object)?).ok()?;
        let signs = jwk.kty == "RSA"
            && jwk.alg.is_none_or(|algorithm| algorithm == "RS256")
            && jwk.purpose.is_none_or(|purpose| purpose == "sig");
        Some(Self {
            id: jwk.kid,
            modulus: integer(&jwk.n)?,
            exponent: integer(&jwk.e)?,
            endorsements: jwk.endorsements.unwrap_or_default(),
        })
        .filter(|_| signs)
    }
}

/// Decodes a big-endian integer and drops leading zeros, which some issuers write.
fn integer(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    (zeros < bytes.len()).then(|| bytes[zeros..].to_vec())
}

/// The part of a URL before its path.
fn origin(url: &str) -> Option<&str> {
    let authority = url.find("://")? + "://".len();
    let path = url[authority..].find('/')?;
    Some(&url[..authority + path])
}

/// The age at `now`; zero for a time in the future. Each request brings its own time, and not in order.
fn age(then: Option<SystemTime>, now: SystemTime) -> Option<Duration> {
    then.map(|then| now.duration_since(then).unwrap_or_default())
}
