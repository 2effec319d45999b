//! The token cache of one client: one request at a time, refresh before expiry, back-off after a failure.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use tokio::time::timeout;

use super::client::Client;
use super::client_auth::{AssertionContext, ClientAuth, Reload};
use super::error::{Backoff, Error};
use super::token_request::{self, TokenResponse};
use crate::http::Transport;

/// The time-out of a token request. A channel gives a bot 15 seconds for a whole turn, its response included.
pub(super) const TOKEN_TIMEOUT: Duration = Duration::from_secs(5);

/// The time before its expiry at which a token is refreshed.
const REFRESH_BEFORE_EXPIRY: Duration = Duration::from_mins(5);

/// The longest random addition to [`REFRESH_BEFORE_EXPIRY`]: environments that started together refresh apart.
const MAX_JITTER: Duration = Duration::from_mins(1);

/// The shortest interval between two refreshes because of a rejected token. A fresh token that is rejected too means
/// that the bot is rejected.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_mins(1);

/// The clock and the random source, which this crate does not have.
///
/// The clock is the wall clock: a monotonic one stands still while an execution environment is frozen, and tokens
/// expire meanwhile.
pub struct Runtime {
    now: Box<dyn Fn() -> SystemTime + Send + Sync>,
    random: Box<dyn Fn() -> [u8; 16] + Send + Sync>,
}

/// The tokens of one client, with the guarantees of [`Credential`](super::Credential). All clones share one cache.
#[derive(Clone)]
pub(crate) struct TokenCache(Arc<Shared>);

struct Shared {
    transport: Box<dyn Transport>,
    client: Client,
    client_auth: Box<dyn ClientAuth>,
    runtime: Runtime,
    state: Mutex<State>,
    /// Held during a token request.
    refresh_lock: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    cached: Option<CachedToken>,
    last_failure: Option<LastFailure>,
    /// The number of tokens received, which is the serial number of the last.
    tokens: u64,
    /// Consecutive failures.
    failures: u32,
    /// The last refresh because of a rejected token.
    rejected_at: Option<SystemTime>,
}

struct CachedToken {
    token: Token,
    requested_at: SystemTime,
    refresh_at: SystemTime,
    expires_at: SystemTime,
}

struct LastFailure {
    error: Error,
    until: SystemTime,
}

/// A token, as the value of the `Authorization` header.
#[derive(Clone)]
pub(crate) struct Token {
    authorization: HeaderValue,
    serial: u64,
}

/// The state of the cache.
enum CacheState {
    /// Use this token.
    Fresh(Token),
    /// Refresh this token; if that fails, use it.
    Stale(Token),
    /// Request a token.
    Missing,
    /// There is no token, and the last request failed less than [`Error::wait`] ago.
    BackingOff(Error),
}

impl Runtime {
    /// The clock `now`, and `random`, which returns sixteen random bytes.
    pub fn new(
        now: impl Fn() -> SystemTime + Send + Sync + 'static,
        random: impl Fn() -> [u8; 16] + Send + Sync + 'static,
    ) -> Self {
        Self {
            now: Box::new(now),
            random: Box::new(random),
        }
    }

    #[cfg(feature = "auth")]
    pub(crate) fn now(&self) -> SystemTime {
        (self.now)()
    }

    #[cfg(feature = "auth")]
    pub(crate) fn random(&self) -> [u8; 16] {
        (self.random)()
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Runtime")
    }
}

impl TokenCache {
    pub(super) fn app_id(&self) -> &str {
        self.0.client.app_id()
    }

    /// The tokens of `client`, requested over `sendMode` and authenticated by `client_auth`. Sends nothing yet.
    pub(crate) fn new(
        transport: impl Transport + 'static,
        client: Client,
        client_auth: impl ClientAuth + 'static,
        runtime: Runtime,
    ) -> Self {
        Self(Arc::new(Shared {
            transport: Box::new(transport),
            client,
            client_auth: Box::new(client_auth),
            runtime,
            state: Mutex::default(),
            refresh_lock: tokio::sync::Mutex::default(),
        }))
    }

    /// Requests a token unless one is cached.
    pub(crate) async fn ensure_token(&self) -> Result<(), Error> {
        self.token().await.map(drop)
    }

    /// When the cached token was requested.
    pub(crate) fn requested_at(&self) -> Option<SystemTime> {
        self.state().cached.as_ref().map(|cached| cached.requested_at)
    }

    pub(crate) async fn token(&self) -> Result<Token, Error> {
        let refresh = match self.cache_state() {
            CacheState::Fresh(token) => return Ok(token),
            CacheState::BackingOff(error) => return Err(error),
            CacheState::Stale(token) => match self.0.refresh_lock.try_lock() {
                Ok(refresh) => refresh,
                // Another caller is refreshing it.
                Err(_) => return Ok(token),
            },
            CacheState::Missing => self.0.refresh_lock.lock().await,
        };
        // Another caller may have refreshed it while this one waited for the lock.
        let stale = match self.cache_state() {
            CacheState::Fresh(token) => return Ok(token),
            CacheState::BackingOff(error) => return Err(error),
            CacheState::Stale(token) => Some(token),
            CacheState::Missing => None,
        };
        let requested_at = (self.0.runtime.now)();
        let outcome = self.request().await;
        let outcome = self.store(requested_at, outcome);
        drop(refresh);
        match (outcome, stale) {
            (Err(error), Some(stale)) => {
                tracing::warn!(
                    error_type = "TokenRefreshFailed",
                    %error,
                    "token not refreshed; using the cached one until it expires"
                );
                Ok(stale)
            }
            (outcome, _) => outcome,
        }
    }

    /// Returns another token than `rejected`, which a service rejected.
    pub(crate) async fn refresh_rejected(&self, rejected: &Token) -> Result<Token, Error> {
        {
            let now = (self.0.runtime.now)();
            let mut state = self.state();
            let is_recent = state
                .rejected_at
                .is_some_and(|moment| now < moment + MIN_REFRESH_INTERVAL);
            // With another serial the token has been refreshed already. The rejected one stays in use if there is no other.
            if let Some(cached) = &mut state.cached
                && cached.token.serial == rejected.serial
                && !is_recent
            {
                cached.refresh_at = now;
                state.rejected_at = Some(now);
            }
        }
        self.token().await
    }

    fn cache_state(&self) -> CacheState {
        let now = (self.0.runtime.now)();
        let state = self.state();
        let failure = state.last_failure.as_ref().filter(|failure| now < failure.until);
        let cached = state.cached.as_ref().filter(|cached| now < cached.expires_at);
        match (cached, failure) {
            (Some(cached), Some(_)) => CacheState::Fresh(cached.token.clone()),
            (Some(cached), None) if now < cached.refresh_at => CacheState::Fresh(cached.token.clone()),
            (Some(cached), None) => CacheState::Stale(cached.token.clone()),
            (None, Some(failure)) => CacheState::BackingOff(failure.error.clone()),
            (None, None) => CacheState::Missing,
        }
    }

    /// Stores the result of a token request.
    fn store(&self, requested_at: SystemTime, outcome: Result<TokenResponse, Error>) -> Result<Token, Error> {
        let now = (self.0.runtime.now)();
        let early = REFRESH_BEFORE_EXPIRY + self.jitter();
        let mut state = self.state();
        match outcome {
            Ok(TokenResponse {
                authorization,
                lifetime,
            }) => {
                state.tokens += 1;
                let token = Token {
                    authorization,
                    serial: state.tokens,
                };
                state.cached = Some(CachedToken {
                    token: token.clone(),
                    requested_at,
                    refresh_at: requested_at + lifetime - early.min(lifetime / 2),
                    expires_at: requested_at + lifetime,
                });
                (state.last_failure, state.failures) = (None, 0);
                Ok(token)
            }
            Err(error) => {
                state.failures += 1;
                state.last_failure = Some(LastFailure {
                    error: error.clone(),
                    until: now + error.wait(),
                });
                Err(error)
            }
        }
    }

    /// Requests a token; once more if the endpoint rejected the client credential and its source has changed.
    async fn request(&self) -> Result<TokenResponse, Error> {
        match self.request_once().await {
            Err(error) if error.rejects_client_auth() => match self.0.client_auth.reload().await {
                Reload::Changed => self.request_once().await,
                Reload::Unchanged => Err(error),
            },
            outcome => outcome,
        }
    }

    async fn request_once(&self) -> Result<TokenResponse, Error> {
        let Shared {
            transport,
            client,
            client_auth,
            runtime,
            ..
        } = &*self.0;
        let now = (runtime.now)();
        let backoff = Backoff {
            failures: self.state().failures,
            now,
        };
        let context = AssertionContext {
            token_url: client.token_url(),
            app_id: client.app_id(),
            now,
            random: (runtime.random)(),
        };
        let credential = client_auth
            .authenticate(context)
            .await
            .map_err(|error| Error::no_client_auth(error, backoff))?;
        let request = token_request::request(client, &credential)
            .map_err(|error| Error::no_response(error, backoff))?;
        match timeout(TOKEN_TIMEOUT, transport.send(request)).await {
            Ok(Ok(response)) => token_request::parse(&response, backoff),
            Ok(Err(error)) => Err(Error::no_response(error, backoff)),
            Err(error) => Err(Error::no_response(error, backoff)),
        }
    }

    fn jitter(&self) -> Duration {
        let [first, second, ..] = (self.0.runtime.random)();
        MAX_JITTER * u32::from(u16::from_be_bytes([first, second])) / u32::from(u16::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Token {
    /// The value of the header, marked as sensitive.
    pub(crate) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.client.fmt(formatter)
    }
}
