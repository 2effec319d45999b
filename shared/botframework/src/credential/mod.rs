//! The bot's own token: how it is had, how long it is kept, and where alone it goes.
//!
//! ```text
//! Prove ── proof ──▶ token endpoint ── token ──▶ Credential ──▶ Connector, to a URL that passed the trust rule
//! ```
//!
//! The token works for every conversation of the bot, like a password. Nothing here gives it out: a
//! [`Credential`] is handed to a [`Connector`](crate::connector::Connector), and that attaches it in one place.
//! The [`Proof`] that buys it is a client secret, an assertion signed with a [`Certificate`], or an assertion
//! by somebody else whom the registration trusts; of these, the last needs no secret anywhere.
//!
//! # Example: a bot with a client secret
//! ```
//! use std::time::SystemTime;
//!
//! use botframework::cloud::Cloud;
//! use botframework::connector::{Connector, HttpTransport};
//! use botframework::credential::{Credential, Registration, Rim, Secret, Tenancy};
//! use botframework::service_url::{Loopback, OtherChannels, TrustRule};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tenancy = Tenancy::SingleTenant("contoso.example".to_owned());
//! let bot = Registration::new(Cloud::Public, &tenancy, "00000000-0000-4000-8000-00000000b07a")?;
//! let secret = Secret::from("read from a safe place".to_owned());
//! let transport = HttpTransport::builder().build()?;
//! let rim = Rim::new(SystemTime::now, random_bytes);
//! let credential = Credential::new(transport.clone(), bot, secret, rim);
//! let trust = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Refused);
//! let connector = Connector::new(transport, trust, credential);
//! # fn random_bytes() -> [u8; 16] { [7; 16] }
//! # Ok(())
//! # }
//! ```

mod certificate;
mod error;
mod grant;
mod proof;
mod registration;
mod secret;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use tokio::time::timeout;

pub use self::certificate::{Certificate, InvalidCertificate, Signing};
pub use self::error::{Error, Fault};
pub use self::proof::{Occasion, Proof, ProofError, Prove, Proving, Renewal, Renewing};
pub use self::registration::{InvalidRegistration, Registration, Tenancy};
pub use self::secret::Secret;

use self::error::Patience;
use self::grant::Grant;
use crate::connector::Transport;
use crate::service_url::ServiceUrl;

/// How long the token endpoint may take. A channel gives a bot 15 seconds for a whole turn, with the answer to it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

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
pub struct Rim {
    now: Box<dyn Fn() -> SystemTime + Send + Sync>,
    chance: Box<dyn Fn() -> [u8; 16] + Send + Sync>,
}

/// The right to the bot's tokens: fetches one when it is needed, and keeps it. Cheap to clone; all clones share
/// one token.
///
/// - A token is replaced five to six minutes before its end. Until its end, one that cannot be replaced serves on.
/// - Of any number that need one at once, one asks and the others get what it got, the failure too.
/// - After a failure nobody asks again before [`Error::wait`] has passed.
#[derive(Clone)]
pub struct Credential(Arc<Shared>);

struct Shared {
    transport: Box<dyn Transport>,
    registration: Registration,
    prover: Box<dyn Prove>,
    rim: Rim,
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

/// The bot's token, as the one header that it is for.
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

impl Rim {
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

impl Credential {
    /// The tokens of the bot `registration`, asked for over `transport` with what `prover` gives. Nothing is
    /// asked yet.
    pub fn new(
        transport: impl Transport + 'static,
        registration: Registration,
        prover: impl Prove + 'static,
        rim: Rim,
    ) -> Self {
        Self(Arc::new(Shared {
            transport: Box::new(transport),
            registration,
            prover: Box::new(prover),
            rim,
            state: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }))
    }

    /// Makes sure that there is a token.
    ///
    /// # Errors
    /// When there is none; [`Error::fault`] says whether it comes by itself.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        self.token().await.map(drop)
    }

    /// Whether the bot's tokens may go to this service URL at all.
    pub(crate) fn speaks_to(&self, service_url: ServiceUrl<'_>) -> bool {
        self.0.registration.speaks_to(service_url)
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
            Err(error) if error.refuses_proof() => match self.0.prover.renew().await {
                Renewal::Changed => self.ask_once().await,
                Renewal::Unchanged => Err(error),
            },
            outcome => outcome,
        }
    }

    async fn ask_once(&self) -> Result<Grant, Error> {
        let Shared {
            transport,
            registration,
            prover,
            rim,
            ..
        } = &*self.0;
        let now = (rim.now)();
        let patience = Patience {
            failures: self.state().failures,
            now,
        };
        let occasion = Occasion {
            token_url: registration.token_url(),
            app_id: registration.app_id(),
            now,
            chance: (rim.chance)(),
        };
        let proof = prover
            .prove(occasion)
            .await
            .map_err(|error| Error::unproved(error, patience))?;
        let request =
            grant::request(registration, &proof).map_err(|error| Error::unanswered(error, patience))?;
        match timeout(ANSWER_TIMEOUT, transport.send(request)).await {
            Ok(Ok(response)) => grant::read(&response, patience),
            Ok(Err(error)) => Err(Error::unanswered(error, patience)),
            Err(error) => Err(Error::unanswered(error, patience)),
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

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credential")
            .field("registration", &self.0.registration)
            .finish_non_exhaustive()
    }
}
