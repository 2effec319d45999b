//! Who may speak to the bot: the token on an activity, checked before anything in the activity is believed.
//!
//! A channel signs what it posts, and its token names the service URL that answers go to. An activity's service URL is
//! stored and later receives the bot's own token, so the checks are the strict ones, in this order:
//!
//! | | check | denied with |
//! |---|---|---|
//! | 1 | one `Authorization` header, scheme `Bearer`, at most 8 KiB | 401 |
//! | 2 | `alg` is RS256, `kid` is there | 401 |
//! | 3 | `iss` is the cloud's | 401 |
//! | 4 | the key is among the issuer's | 401 |
//! | 5 | the signature is that key's | 401 |
//! | 6 | `exp` and `nbf` are there and within 5 minutes | 401 |
//! | 7 | `aud` is, or contains, the bot's app id | 401 |
//! | 8 | the key's `endorsements` contain the activity's `channelId` | 403 |
//! | 9 | the `serviceurl` claim is there (401) and is the activity's `serviceUrl` | 403 |
//! | 10 | the service URL passes the [`TrustRule`] | 403 |
//! | 11 | channel and tenant are among those the [`Policy`] lets in | 403 |
//!
//! Tokens of the emulator and of other bots name neither a channel nor a service URL, and anybody who holds one for
//! this bot could plant a service URL with it. They are refused unless the policy names them, and then bound:
//! the emulator to its own channel id and to service URLs on this machine, other bots to a list of their app ids.
//!
//! Time is an argument. Keys are fetched over the [`Transport`] and kept for 24 hours; see
//! [`Authenticator::prefetch`].
//!
//! # Example: nobody is let in without a token
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
//! let door = Authenticator::new(policy, trust, HttpTransport::builder().build()?, 0);
//!
//! let (headers, activity) = (http::HeaderMap::new(), Activity::message("hi"));
//! let denied = door.authenticate(&headers, &activity, SystemTime::UNIX_EPOCH).await;
//! assert_eq!(denied, Err(Denied::TokenMissing));
//! assert_eq!(Denied::TokenMissing.status(), 401);
//! # Ok(())
//! # }
//! ```

mod denied;
mod entra;
mod keys;
mod token;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;

pub use self::denied::Denied;
pub use self::keys::Source;

use self::keys::{Key, Keys};
use self::token::{Claims, Token};
use crate::activity::Activity;
use crate::cloud::Cloud;
use crate::http::Transport;
use crate::service_url::{Loopback, OtherChannels, TrustRule};

/// The channel id of the emulator, the only one that its tokens are taken for.
const EMULATOR: &str = "emulator";

/// Which names are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowList {
    /// All of them.
    Any,
    /// Those in the list, compared exactly.
    Only(BTreeSet<String>),
}

/// Whether the Bot Framework emulator may speak to the bot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emulator {
    /// No: the policy of a deployment.
    #[default]
    Refused,
    /// Yes, with a token that the bot's own credentials fetched, as channel `emulator`, from this machine. The
    /// [`TrustRule`] must trust this machine, too.
    OnLoopback,
}

/// Whom the bot lets speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The cloud whose issuers are believed.
    pub cloud: Cloud,
    /// The bot's own app id, as tokens write it: a GUID in lower case.
    pub app_id: String,
    /// The bot's own tenant, if it is registered as single-tenant: other bots may have their tokens from it.
    pub own_tenant: Option<String>,
    /// The tenants whose conversations are let in. An activity without a tenant is none of a list's.
    pub tenants: AllowList,
    /// The channels that are let in.
    pub channels: AllowList,
    /// Whether the emulator is.
    pub emulator: Emulator,
    /// The app ids of other bots that are.
    pub callers: BTreeSet<String>,
}

/// Who spoke.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The tenant of the conversation, if it has one. A channel's token vouches for what the channel says of it.
    pub tenant: Option<String>,
    /// What `callerId` of the activity is to be: `urn:botframework:azure` for a channel of the public cloud,
    /// `urn:botframework:aadappid:…` for another bot.
    pub caller_id: Option<String>,
    /// The application that the token was issued to: another bot, or for the emulator this one. A channel is none.
    pub app_id: Option<String>,
}

/// Lets in whom the policy admits, and whose service URL the trust rule takes. Shared by all requests of a process.
#[derive(Debug)]
pub struct Authenticator {
    trust: TrustRule,
    mode: AuthMode,
}

#[derive(Debug)]
enum AuthMode {
    /// Whoever reaches us may speak, from this machine.
    Loopback,
    /// Whoever has a token may.
    Tokens(Box<TokenVerifier>),
}

/// The policy, with the keys it needs.
#[derive(Debug)]
struct TokenVerifier {
    policy: Policy,
    channels: Keys,
    entra: Option<Keys>,
}

impl AllowList {
    fn contains(&self, name: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::Only(names) => name.is_some_and(|name| names.contains(name)),
        }
    }
}

impl Policy {
    /// The strict policy of a bot: its cloud's channels, of which any may speak from any tenant, and nobody else.
    pub const fn new(cloud: Cloud, app_id: String) -> Self {
        Self {
            cloud,
            app_id,
            own_tenant: None,
            tenants: AllowList::Any,
            channels: AllowList::Any,
            emulator: Emulator::Refused,
            callers: BTreeSet::new(),
        }
    }

    fn check_allow_lists(&self, activity: &Activity) -> Result<(), Denied> {
        if !self.channels.contains(activity.channel_id.as_deref()) {
            return Err(Denied::ChannelRefused);
        }
        if !self.tenants.contains(activity.tenant_id()) {
            return Err(Denied::TenantRefused);
        }
        Ok(())
    }
}

impl Authenticator {
    /// Asks for tokens. `jitter` is a number by chance, another one in each process: it spreads the fetches of keys.
    pub fn new(policy: Policy, trust: TrustRule, transport: impl Transport + 'static, jitter: u8) -> Self {
        let source = Source::of_channels(policy.cloud);
        Self::with_source(policy, trust, source, transport, jitter)
    }

    /// Asks for tokens, and takes the keys of the channels' issuer from elsewhere: from a stand-in on this machine.
    pub fn with_source(
        policy: Policy,
        trust: TrustRule,
        source: Source,
        transport: impl Transport + 'static,
        jitter: u8,
    ) -> Self {
        let transport: Arc<dyn Transport> = Arc::new(transport);
        let asks_entra = policy.emulator == Emulator::OnLoopback || !policy.callers.is_empty();
        let entra = Source::of_entra(policy.cloud)
            .filter(|_| asks_entra)
            .map(|source| Keys::new(source, transport.clone(), jitter));
        Self {
            trust,
            mode: AuthMode::Tokens(Box::new(TokenVerifier {
                policy,
                channels: Keys::new(source, transport, jitter),
                entra,
            })),
        }
    }

    /// Asks nobody for anything, and lets in only what comes from this machine: an activity whose service URL leads
    /// elsewhere is denied. For development.
    pub const fn unauthenticated(cloud: Cloud) -> Self {
        Self {
            trust: TrustRule::new(cloud, OtherChannels::Refused, Loopback::Only),
            mode: AuthMode::Loopback,
        }
    }

    /// Fetches the channels' keys if there are none yet, so that the first request need not: begin it while the
    /// process starts, and let it run beside what else there is to do. It takes four seconds at most; what goes
    /// wrong is logged, and tried again when a token asks for it.
    ///
    /// Afterwards keys are fetched again after 24 hours, and when a token names one that is not known; then at most
    /// once in five minutes, by one request while the others go on. When they cannot be fetched, those that are known
    /// serve for up to a week.
    pub async fn prefetch(&self, now: SystemTime) {
        match &self.mode {
            AuthMode::Loopback => {}
            AuthMode::Tokens(verifier) => verifier.channels.prefetch(now).await,
        }
    }

    /// Says who sent this activity.
    ///
    /// # Errors
    /// With the first check that fails, in the order above. Nothing in the activity may be believed then.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        activity: &Activity,
        now: SystemTime,
    ) -> Result<Caller, Denied> {
        let caller = match &self.mode {
            AuthMode::Loopback => {
                self.check_trust(activity)?;
                Caller::default()
            }
            AuthMode::Tokens(verifier) => {
                let caller = verifier.identify(headers, activity, now).await?;
                self.check_trust(activity)?;
                verifier.policy.check_allow_lists(activity)?;
                caller
            }
        };
        Ok(Caller {
            tenant: activity.tenant_id().map(str::to_owned),
            ..caller
        })
    }

    fn check_trust(&self, activity: &Activity) -> Result<(), Denied> {
        let url = activity.service_url.as_deref().unwrap_or_default();
        self.trust
            .check(url)
            .map(|_| ())
            .map_err(Denied::ServiceUrlUntrusted)
    }
}

impl TokenVerifier {
    /// Whom the token speaks for, once it is verified and bound to the activity.
    async fn identify(
        &self,
        headers: &HeaderMap,
        activity: &Activity,
        now: SystemTime,
    ) -> Result<Caller, Denied> {
        let token = Token::read(token::bearer(headers)?)?;
        let endpoints = self.policy.cloud.endpoints();
        if token.claims.iss == endpoints.inbound_issuer {
            let key = self.verify(&token, &self.channels, now).await?;
            check_channel(&token.claims, &key, activity)?;
            return Ok(Caller {
                caller_id: endpoints.caller_id.map(str::to_owned),
                ..Caller::default()
            });
        }
        let keys = self.entra.as_ref().ok_or(Denied::IssuerRefused)?;
        entra::check_issuer(&token.claims, &self.policy)?;
        self.verify(&token, keys, now).await?;
        entra::caller(&token.claims, &self.policy, activity)
    }

    /// The key that the token is signed with, if it is, and if the token is of this time and for this bot.
    async fn verify(&self, token: &Token<'_>, keys: &Keys, now: SystemTime) -> Result<Arc<Key>, Denied> {
        let key = keys.find(&token.key_id, now).await?;
        if !token.is_signed_by(&key) {
            return Err(Denied::SignatureInvalid);
        }
        token.claims.check_time(now)?;
        token.claims.check_audience(&self.policy.app_id)?;
        Ok(key)
    }
}

/// Checks that the channel may say this, and says it from where it says.
fn check_channel(claims: &Claims, key: &Key, activity: &Activity) -> Result<(), Denied> {
    let channel = activity.channel_id.as_deref().filter(|id| !id.is_empty());
    if !channel.is_some_and(|id| key.endorsements.iter().any(|endorsed| endorsed == id)) {
        return Err(Denied::ChannelNotEndorsed);
    }
    let claimed = claims
        .serviceurl
        .as_deref()
        .filter(|url| !url.is_empty())
        .ok_or(Denied::ServiceUrlUnclaimed)?;
    let named = activity.service_url.as_deref().unwrap_or_default();
    if same_url(claimed, named) {
        Ok(())
    } else {
        Err(Denied::ServiceUrlMismatch)
    }
}

/// Whether two service URLs are one, but for a slash at the end and the case of scheme and host.
fn same_url(one: &str, other: &str) -> bool {
    let ((one_host, one_path), (other_host, other_path)) = (at_path(one), at_path(other));
    one_host.eq_ignore_ascii_case(other_host) && one_path == other_path
}

/// A URL without one slash at its end, in two at its path.
fn at_path(url: &str) -> (&str, &str) {
    let url = url.strip_suffix('/').unwrap_or(url);
    let authority = url.find("://").map_or(0, |colon| colon + "://".len());
    let path = url[authority..]
        .find('/')
        .map_or(url.len(), |slash| authority + slash);
    url.split_at(path)
}
