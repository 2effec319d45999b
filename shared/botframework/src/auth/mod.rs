//! Authentication of incoming activities: nothing in an activity is trusted before its token is verified.
//!
//! A channel signs its requests, and its token names the service URL for replies. An activity's service URL is stored and
//! later receives the bot's own token, so the checks are strict. They run in this order:
//!
//! | | check | denied with |
//! |---|---|---|
//! | 1 | one `Authorization` header, scheme `Bearer`, at most 8 KiB | 401 |
//! | 2 | `alg` is RS256, `kid` is present | 401 |
//! | 3 | `iss` is the cloud's | 401 |
//! | 4 | the key is among the issuer's | 401 |
//! | 5 | the signature is that key's | 401 |
//! | 6 | `exp` and `nbf` are present and within 5 minutes | 401 |
//! | 7 | `aud` is, or contains, the bot's app id | 401 |
//! | 8 | a channel's token has the `serviceurl` claim; another one is of an application that the policy accepts | 401 |
//! | 9 | the activity has its [required fields](Activity::validate) | 400 |
//! | 10 | the key's `endorsements` contain the activity's `channelId` | 403 |
//! | 11 | the `serviceurl` claim is the activity's `serviceUrl` | 403 |
//! | 12 | the service URL passes the [`TrustRule`] | 403 |
//! | 13 | channel and tenant are in the allow lists of the [`Policy`] | 403 |
//!
//! The first eight need no activity: [`Authenticator::verify_token`]. An endpoint makes them before it parses the body, which
//! costs more. [`Authenticator::verify_activity`] makes the others.
//!
//! Tokens of the emulator and of other bots name neither a channel nor a service URL; the holder of one could plant a
//! service URL. They are refused unless the policy accepts them, and then bound: the emulator to its own channel id and
//! to service URLs on this machine, other bots to a list of their app ids.
//!
//! Time is an argument. Keys are fetched over the [`Transport`] and cached for 24 hours; see
//! [`Authenticator::prefetch`].
//!
//! # Example: a request without a token is denied
//! ```
//! use std::time::SystemTime;
//!
//! use botframework::activity::Activity;
//! use botframework::auth::{Authenticator, Denied, Policy};
//! use botframework::cloud::Cloud;
//! use botframework::http::HttpTransport;
//! use botframework::service_url::{Loopback, OtherChannels, TrustRule};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Policy::new(Cloud::Public, "0000000a-0000-4000-8000-00000000b07a".to_owned());
//! let trust = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Refused);
//! let authenticator = Authenticator::new(policy, trust, HttpTransport::builder().build()?, 0);
//!
//! let body = br#"{"type":"message","channelId":"msteams","from":{"id":"29:ada"},"conversation":{"id":"a:1"}}"#;
//! let (headers, activity) = (http::HeaderMap::new(), Activity::from_slice(body)?);
//! let denied = authenticator.authenticate(&headers, activity, SystemTime::UNIX_EPOCH).await;
//! assert_eq!(denied, Err(Denied::TokenMissing));
//! assert_eq!(Denied::TokenMissing.status(), 401);
//! # Ok(())
//! # }
//! ```

mod denied;
mod entra;
mod keys;
mod policy;
mod token;
mod verified;
mod verifier;

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;

pub use self::denied::Denied;
pub use self::keys::Source;
pub use self::policy::{AllowList, Emulator, Policy};
pub use self::verified::{Caller, VerifiedActivity};

use self::verifier::{Sender, TokenVerifier};
use crate::activity::{Activity, Error};
use crate::cloud::Cloud;
use crate::http::Transport;
use crate::service_url::{Loopback, OtherChannels, TrustRule};

/// Authenticates incoming activities by a [`Policy`] and a [`TrustRule`]. One serves all requests of a process.
#[derive(Debug)]
pub struct Authenticator {
    trust: TrustRule,
    mode: AuthMode,
}

#[derive(Debug)]
enum AuthMode {
    /// No token is required; the service URL must be on this machine.
    Loopback,
    /// A token is required.
    Tokens(Box<TokenVerifier>),
}

/// The token of a request, verified as far as that is possible without the activity. Only
/// [`Authenticator::verify_token`] creates one.
#[derive(Debug)]
pub struct VerifiedToken(Option<Sender>);

impl Authenticator {
    /// Requires tokens. `jitter` is a random number, different in each process: it spreads the fetches of keys.
    pub fn new(policy: Policy, trust: TrustRule, transport: impl Transport + 'static, jitter: u8) -> Self {
        let source = Source::of_channels(policy.cloud);
        Self::with_source(policy, trust, source, transport, jitter)
    }

    /// Requires tokens, with another source of the channels' keys: a stand-in for the issuer on this machine.
    pub fn with_source(
        policy: Policy,
        trust: TrustRule,
        source: Source,
        transport: impl Transport + 'static,
        jitter: u8,
    ) -> Self {
        let verifier = TokenVerifier::new(policy, source, Arc::new(transport), jitter);
        Self {
            trust,
            mode: AuthMode::Tokens(Box::new(verifier)),
        }
    }

    /// Requires no token, and denies every activity whose service URL is not on this machine. For development.
    pub const fn unauthenticated(cloud: Cloud) -> Self {
        Self {
            trust: TrustRule::new(cloud, OtherChannels::Refused, Loopback::Only),
            mode: AuthMode::Loopback,
        }
    }

    /// Fetches the channels' keys unless they are cached. Start it at process start, beside other work, so that the first
    /// request need not wait. It takes four seconds at most; a failure is logged, and the next token retries.
    ///
    /// Afterwards keys are fetched again after 24 hours, and when a token names an unknown key; then at most once in five
    /// minutes, by one request while the others go on. If a fetch fails, cached keys stay in use for up to a week.
    pub async fn prefetch(&self, now: SystemTime) {
        match &self.mode {
            AuthMode::Loopback => {}
            AuthMode::Tokens(verifier) => verifier.prefetch(now).await,
        }
    }

    /// The bot's own app id, if tokens are required.
    pub fn app_id(&self) -> Option<&str> {
        match &self.mode {
            AuthMode::Loopback => None,
            AuthMode::Tokens(verifier) => Some(&verifier.policy.app_id),
        }
    }

    /// Verifies the token of a request whose body is not read yet.
    ///
    /// # Errors
    /// With the first check that fails, in the order of the module's table.
    pub async fn verify_token(&self, headers: &HeaderMap, now: SystemTime) -> Result<VerifiedToken, Denied> {
        match &self.mode {
            AuthMode::Loopback => Ok(VerifiedToken(None)),
            AuthMode::Tokens(verifier) => Ok(VerifiedToken(Some(verifier.verify(headers, now).await?))),
        }
    }

    /// Validates the activity of a request, and binds the token of the same request to it.
    ///
    /// # Errors
    /// With the first check that fails, in the order of the module's table.
    pub fn verify_activity(
        &self,
        token: &VerifiedToken,
        activity: Activity,
    ) -> Result<VerifiedActivity, Denied> {
        activity.validate().map_err(|error| match error {
            Error::Missing { path } | Error::WrongType { path, .. } => Denied::ActivityIncomplete(path),
            Error::Syntax(_) | Error::NotAnObject => Denied::ActivityIncomplete("activity"),
        })?;
        let mut caller = match (&self.mode, &token.0) {
            (AuthMode::Loopback, _) => {
                self.check_trust(&activity)?;
                Caller::default()
            }
            (AuthMode::Tokens(_), None) => return Err(Denied::TokenMissing),
            (AuthMode::Tokens(verifier), Some(sender)) => {
                let caller = verifier.bind(sender, &activity)?;
                self.check_trust(&activity)?;
                verifier.policy.check_allow_lists(&activity)?;
                caller
            }
        };
        caller.tenant = activity.tenant_id();
        Ok(VerifiedActivity::new(activity, caller))
    }

    /// [`verify_token`](Self::verify_token), then [`verify_activity`](Self::verify_activity).
    ///
    /// # Errors
    /// With the first check that fails, in the order of the module's table.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        activity: Activity,
        now: SystemTime,
    ) -> Result<VerifiedActivity, Denied> {
        let token = self.verify_token(headers, now).await?;
        self.verify_activity(&token, activity)
    }

    fn check_trust(&self, activity: &Activity) -> Result<(), Denied> {
        let url = activity.service_url.as_deref().unwrap_or_default();
        self.trust
            .check(url)
            .map(|_| ())
            .map_err(Denied::ServiceUrlUntrusted)
    }
}
