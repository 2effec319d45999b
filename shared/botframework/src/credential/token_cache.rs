//! The machinery of tokens, the same for whatever they are for: one at a time, in time, kept until it ends.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use tokio::time::timeout;

use super::client::Application;
use super::client_auth::{AssertionContext, ClientAuth, Reload};
use super::error::{Backoff, Error};
use super::token_request::{self, Grant};
use crate::http::Transport;

/// How long the token endpoint may take. A channel gives a bot 15 seconds for a whole turn, with the answer to it.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long before its end a token is replaced.
const EARLY: Duration = Duration::from_mins(5);

/// By how much more, at most and by chance: environments that started together do not ask together.
const JITTER: Duration = Duration::from_mins(1);

/// How long a token that replaced a refused one is not replaced for the same reason: what refuses it, refuses the bot.
const REFUSALS_APART: Duration = Duration::from_mins(1);

/// The time and the chance that this crate has none of.
///
/// The time is the wall clock's: others stand still while an execution environment is frozen, and a token does
/// not.
pub struct Runtime {
    now: Box<dyn Fn() -> SystemTime + Send + Sync>,
    chance: Box<dyn Fn() -> [u8; 16] + Send + Sync>,
}

/// The tokens of one application for one purpose, had and kept as [`Credential`](super::Credential) promises. All
/// clones share them.
#[derive(Clone)]
pub(crate) struct Tokens(Arc<Shared>);

struct Shared {
    transport: Box<dyn Transport>,
    application: Application,
    prover: Box<dyn ClientAuth>,
    rim: Runtime,
    state: Mutex<State>,
    /// Held by the one who asks.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    failed: Option<Failed>,
    /// Tokens had so far: their serial numbers.
    tokens: u64,
    /// Failures since the last token.
    failures: u32,
    /// When a token was last replaced because it was refused.
    refused_at: Option<SystemTime>,
}

struct Held {
    token: Token,
    replace_at: SystemTime,
    ends_at: SystemTime,
}

struct Failed {
    error: Error,
    until: SystemTime,
}

/// A token, as the one header that it is for.
#[derive(Clone)]
pub(crate) struct Token {
    authorization: HeaderValue,
    serial: u64,
}

/// What is to be done about a token.
enum Standing {
    /// Use this one.
    Good(Token),
    /// Replace this one; if that fails, use it.
    Old(Token),
    /// Ask for one.
    Missing,
    /// Nothing: asking failed just now.
    Failing(Error),
}

impl Runtime {
    /// The time by `now`, and sixteen bytes of chance at a time by `chance`.
    pub fn new(
        now: impl Fn() -> SystemTime + Send + Sync + 'static,
        chance: impl Fn() -> [u8; 16] + Send + Sync + 'static,
    ) -> Self {
        Self {
            now: Box::new(now),
            chance: Box::new(chance),
        }
    }
}

impl Tokens {
    /// The tokens of `application`, asked for over `transport` with what `prover` gives. Nothing is asked yet.
    pub(crate) fn new(
        transport: impl Transport + 'static,
        application: Application,
        prover: impl ClientAuth + 'static,
        rim: Runtime,
    ) -> Self {
        Self(Arc::new(Shared {
            transport: Box::new(transport),
            application,
            prover: Box::new(prover),
            rim,
            state: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }))
    }

    /// Makes sure that there is a token.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        self.token().await.map(drop)
    }

    pub(crate) async fn token(&self) -> Result<Token, Error> {
        let asking = match self.standing() {
            Standing::Good(token) => return Ok(token),
            Standing::Failing(error) => return Err(error),
            Standing::Old(token) => match self.0.asking.try_lock() {
                Ok(asking) => asking,
                // Somebody is at it.
                Err(_) => return Ok(token),
            },
            Standing::Missing => self.0.asking.lock().await,
        };
        // Somebody may have been at it until now.
        let old = match self.standing() {
            Standing::Good(token) => return Ok(token),
            Standing::Failing(error) => return Err(error),
            Standing::Old(token) => Some(token),
            Standing::Missing => None,
        };
        let asked_at = (self.0.rim.now)();
        let outcome = self.ask().await;
        let outcome = self.keep(asked_at, outcome);
        drop(asking);
        match (outcome, old) {
            (Err(error), Some(old)) => {
                tracing::warn!(
                    error_type = "TokenNotReplaced",
                    %error,
                    "the token that is there serves on until its end"
                );
                Ok(old)
            }
            (outcome, _) => outcome,
        }
    }

    /// Another token than the one that was refused.
    pub(crate) async fn token_instead_of(&self, refused: &Token) -> Result<Token, Error> {
        {
            let now = (self.0.rim.now)();
            let mut state = self.state();
            let lately = state
                .refused_at
                .is_some_and(|moment| now < moment + REFUSALS_APART);
            // Whoever was refused first has had it replaced for all. It serves on if there is no other.
            if let Some(held) = &mut state.held
                && held.token.serial == refused.serial
                && !lately
            {
                held.replace_at = now;
                state.refused_at = Some(now);
            }
        }
        self.token().await
    }

    fn standing(&self) -> Standing {
        let now = (self.0.rim.now)();
        let state = self.state();
        let failing = state.failed.as_ref().filter(|failed| now < failed.until);
        let held = state.held.as_ref().filter(|held| now < held.ends_at);
        match (held, failing) {
            (Some(held), Some(_)) => Standing::Good(held.token.clone()),
            (Some(held), None) if now < held.replace_at => Standing::Good(held.token.clone()),
            (Some(held), None) => Standing::Old(held.token.clone()),
            (None, Some(failed)) => Standing::Failing(failed.error.clone()),
            (None, None) => Standing::Missing,
        }
    }

    /// Notes what came of asking.
    fn keep(&self, asked_at: SystemTime, outcome: Result<Grant, Error>) -> Result<Token, Error> {
        let now = (self.0.rim.now)();
        let early = EARLY + self.jitter();
        let mut state = self.state();
        match outcome {
            Ok(Grant {
                authorization,
                lifetime,
            }) => {
                state.tokens += 1;
                let token = Token {
                    authorization,
                    serial: state.tokens,
                };
                state.held = Some(Held {
                    token: token.clone(),
                    replace_at: asked_at + lifetime - early.min(lifetime / 2),
                    ends_at: asked_at + lifetime,
                });
                (state.failed, state.failures) = (None, 0);
                Ok(token)
            }
            Err(error) => {
                state.failures += 1;
                state.failed = Some(Failed {
                    error: error.clone(),
                    until: now + error.wait(),
                });
                Err(error)
            }
        }
    }

    /// Asks; and once more, if what proves us was refused and has changed since it was read.
    async fn ask(&self) -> Result<Grant, Error> {
        match self.ask_once().await {
            Err(error) if error.rejects_client_auth() => match self.0.prover.reload().await {
                Reload::Changed => self.ask_once().await,
                Reload::Unchanged => Err(error),
            },
            outcome => outcome,
        }
    }

    async fn ask_once(&self) -> Result<Grant, Error> {
        let Shared {
            transport,
            application,
            prover,
            rim,
            ..
        } = &*self.0;
        let now = (rim.now)();
        let backoff = Backoff {
            failures: self.state().failures,
            now,
        };
        let occasion = AssertionContext {
            token_url: application.token_url(),
            app_id: application.app_id(),
            now,
            chance: (rim.chance)(),
        };
        let proof = prover
            .authenticate(occasion)
            .await
            .map_err(|error| Error::no_client_auth(error, backoff))?;
        let request = token_request::request(application, &proof)
            .map_err(|error| Error::no_response(error, backoff))?;
        match timeout(ANSWER_TIMEOUT, transport.send(request)).await {
            Ok(Ok(response)) => token_request::read(&response, backoff),
            Ok(Err(error)) => Err(Error::no_response(error, backoff)),
            Err(error) => Err(Error::no_response(error, backoff)),
        }
    }

    fn jitter(&self) -> Duration {
        let [first, second, ..] = (self.0.rim.chance)();
        JITTER * u32::from(u16::from_be_bytes([first, second])) / u32::from(u16::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Token {
    /// The header's value; marked, so that nothing prints it.
    pub(crate) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.application.fmt(formatter)
    }
}
