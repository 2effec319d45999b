//! The keys that tokens are signed with: fetched once, kept, and fetched again when there is reason to.

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
use crate::http::{Body, Transport, TransportError};
use crate::service_url::{Loopback, OtherChannels, TrustRule, Untrusted};

/// How old keys may become before they are fetched again, as the Bot Framework asks.
const FRESH: Duration = Duration::from_hours(24);

/// How old keys may become when they cannot be fetched again. Whoever keeps us from the issuer keeps withdrawn keys
/// alive, but not for ever.
const USABLE: Duration = Duration::from_hours(7 * 24);

/// How long no fetch follows another while there are keys: what an unknown key id can cost the issuer.
const PAUSE: Duration = Duration::from_mins(5);

/// How long no fetch follows another while there are none, and so nobody can be let in.
const PAUSE_WITHOUT_KEYS: Duration = Duration::from_secs(5);

/// How long each of the two requests of a fetch may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The largest document that is read, in bytes. The real ones have less than a tenth.
const LARGEST: usize = 512 * 1024;

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The OpenID metadata, which says where the keys are.
    metadata: String,
    /// Where the keys are known to be when the metadata cannot be had.
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

    /// Entra in a cloud, which issues the tokens of the emulator and of other bots. China has none that is known.
    pub fn of_entra(cloud: Cloud) -> Option<Self> {
        cloud.endpoints().emulator_metadata.map(|metadata| Self {
            metadata: metadata.to_owned(),
            keys: None,
        })
    }

    /// OpenID metadata on this machine, in the place of an issuer. Whoever serves it can let anybody in.
    ///
    /// # Errors
    /// When the URL leads anywhere else.
    pub fn on_loopback(metadata: &str) -> Result<Self, Untrusted> {
        TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Only).check(metadata)?;
        Ok(Self {
            metadata: metadata.to_owned(),
            keys: None,
        })
    }

    /// Whether keys may be taken from there: the metadata's own scheme, host and port, compared as they are written.
    fn pins(&self, url: &str) -> bool {
        origin(&self.metadata).is_some_and(|ours| origin(url) == Some(ours))
    }
}

/// One key.
pub(super) struct Key {
    id: String,
    pub(super) modulus: Vec<u8>,
    pub(super) exponent: Vec<u8>,
    /// The channels that the key vouches for; Entra's vouch for none.
    pub(super) endorsements: Vec<String>,
}

/// A key as it is published. What is not of this shape is no key for us.
#[derive(Deserialize)]
struct Published {
    kty: String,
    kid: String,
    n: String,
    e: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    endorsements: Vec<String>,
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
    #[error("no answer within {PATIENCE:?}")]
    TimedOut,
    #[error("no answer")]
    Transport(#[source] TransportError),
    #[error("answer has status {0}")]
    Status(StatusCode),
    #[error("answer was cut short")]
    Cut,
    #[error("answer has more than {LARGEST} bytes")]
    TooLarge,
    #[error("answer is not the document expected")]
    Malformed(#[source] serde_json::Error),
    #[error("metadata names keys on another host")]
    Elsewhere,
    #[error("there is no usable key in the answer")]
    NoKeys,
}

impl FetchError {
    fn cause(&self) -> Option<String> {
        std::error::Error::source(self).map(ToString::to_string)
    }
}

/// The keys of one issuer, as this process knows them.
pub(super) struct Keys {
    source: Source,
    transport: Arc<dyn Transport>,
    /// Added to pauses, so that processes that began together do not ask together.
    jitter: Duration,
    held: Mutex<Held>,
    /// Held by whoever fetches.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Held {
    keys: Vec<Arc<Key>>,
    fetched: Option<SystemTime>,
    /// When the last fetch began, whatever came of it.
    attempted: Option<SystemTime>,
}

impl Keys {
    /// Knows no keys yet. `jitter`, a number by chance, makes pauses up to a fifth longer.
    pub(super) fn new(source: Source, transport: Arc<dyn Transport>, jitter: u8) -> Self {
        Self {
            source,
            transport,
            jitter: PAUSE * u32::from(jitter) / (5 * 255),
            held: Mutex::default(),
            flight: tokio::sync::Mutex::default(),
        }
    }

    /// Fetches the keys if there are none yet, and returns when they are there or cannot be had.
    pub(super) async fn prefetch(&self, now: SystemTime) {
        let _flight = self.flight.lock().await;
        if self.held(now).keys.is_empty() && self.may_fetch(now) {
            self.refresh(now).await;
        }
    }

    /// The key of this id.
    ///
    /// One caller at a time fetches. The others wait for it only if they cannot go on with what is known.
    pub(super) async fn find(&self, id: &str, now: SystemTime) -> Result<Arc<Key>, Denied> {
        let known = self.known(id, now);
        let flight = match &known {
            Some(key) if self.are_fresh(now) => return Ok(key.clone()),
            Some(key) => match self.flight.try_lock() {
                Ok(flight) => flight,
                Err(_) => return Ok(key.clone()),
            },
            None => self.flight.lock().await,
        };
        // Whoever waited for a fetch begins none: it is too early for another.
        if self.may_fetch(now) {
            self.refresh(now).await;
        }
        drop(flight);
        self.known(id, now).ok_or_else(|| {
            if self.held(now).keys.is_empty() {
                Denied::KeysUnavailable
            } else {
                Denied::KeyUnknown
            }
        })
    }

    fn known(&self, id: &str, now: SystemTime) -> Option<Arc<Key>> {
        self.held(now).keys.iter().find(|key| key.id == id).cloned()
    }

    fn are_fresh(&self, now: SystemTime) -> bool {
        age(self.held(now).fetched, now).is_some_and(|age| age < FRESH)
    }

    fn may_fetch(&self, now: SystemTime) -> bool {
        let held = self.held(now);
        let pause = if held.keys.is_empty() {
            PAUSE_WITHOUT_KEYS
        } else {
            PAUSE + self.jitter
        };
        age(held.attempted, now).is_none_or(|age| age >= pause)
    }

    /// Replaces the keys, or leaves them when no new ones can be had.
    async fn refresh(&self, now: SystemTime) {
        self.held(now).attempted = Some(now);
        match self.fetch().await {
            Ok(keys) => {
                let mut held = self.held(now);
                held.keys = keys;
                held.fetched = Some(now);
            }
            Err(error) => tracing::error!(
                error_type = "KeysUnavailable",
                %error,
                cause = error.cause(),
                known_keys = self.held(now).keys.len(),
                "keys not refreshed"
            ),
        }
    }

    async fn fetch(&self) -> Result<Vec<Arc<Key>>, FetchError> {
        let url = match (self.locate().await, self.source.keys) {
            (Ok(url), _) => url,
            (Err(error), None) => return Err(error),
            (Err(error), Some(known)) => {
                tracing::warn!(
                    error_type = "MetadataUnavailable",
                    %error,
                    cause = error.cause(),
                    "keys are taken from where they are known to be"
                );
                known.to_owned()
            }
        };
        let set: KeySet = self.get(&url).await?;
        let keys: Vec<_> = set.keys.into_iter().filter_map(Key::read).map(Arc::new).collect();
        if keys.is_empty() {
            return Err(FetchError::NoKeys);
        }
        Ok(keys)
    }

    async fn locate(&self) -> Result<String, FetchError> {
        let metadata: Metadata = self.get(&self.source.metadata).await?;
        if self.source.pins(&metadata.jwks_uri) {
            Ok(metadata.jwks_uri)
        } else {
            Err(FetchError::Elsewhere)
        }
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, url: &str) -> Result<T, FetchError> {
        let request = Request::get(url)
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .body(Bytes::new())
            .map_err(FetchError::Request)?;
        let answer = tokio::time::timeout(PATIENCE, self.transport.send(request))
            .await
            .map_err(|_| FetchError::TimedOut)?
            .map_err(FetchError::Transport)?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        match answer.body() {
            Body::Truncated => Err(FetchError::Cut),
            Body::Complete(body) if body.len() > LARGEST => Err(FetchError::TooLarge),
            Body::Complete(body) => serde_json::from_slice(body).map_err(FetchError::Malformed),
        }
    }

    /// What is known, without keys that are too old.
    fn held(&self, now: SystemTime) -> MutexGuard<'_, Held> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if age(held.fetched, now).is_some_and(|age| age >= USABLE) {
            held.keys.clear();
        }
        held
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Keys")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// A published key, if it is an RSA key that signs.
    fn read(published: Value) -> Option<Self> {
        let published: Published = serde_json::from_value(published).ok()?;
        let signs = published.kty == "RSA"
            && published.alg.is_none_or(|algorithm| algorithm == "RS256")
            && published.purpose.is_none_or(|purpose| purpose == "sig");
        Some(Self {
            id: published.kid,
            modulus: number(&published.n)?,
            exponent: number(&published.e)?,
            endorsements: published.endorsements,
        })
        .filter(|_| signs)
    }
}

/// A number as a key has it: big-endian, here without leading zeros, which some publishers write.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    (zeros < bytes.len()).then(|| bytes[zeros..].to_vec())
}

/// Everything before the path, of a URL that has one.
fn origin(url: &str) -> Option<&str> {
    let authority = url.find("://")? + "://".len();
    let path = url[authority..].find('/')?;
    Some(&url[..authority + path])
}

/// How long ago that was. What lies ahead was just now: each request brings its own time, and not in their order.
fn age(then: Option<SystemTime>, now: SystemTime) -> Option<Duration> {
    then.map(|then| now.duration_since(then).unwrap_or_default())
}
