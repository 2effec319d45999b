//! The bot's access tokens: request, cache and use.
//!
//! ```text
//! ClientAuth ── credential ──▶ token endpoint ── token ──▶ Credential ──▶ Connector, to a URL that passed the trust rule
//! ```
//!
//! A token works for every conversation of the bot, like a password. This module does not return it: a
//! [`Connector`](crate::connector::Connector) owns the [`Credential`] and attaches the token in one place.
//! The [`ClientCredential`] of the token request is a client secret, an assertion signed with a [`Certificate`], or an
//! assertion of a third party that the registration trusts, which needs no secret at all.
//!
//! # Example: a bot with a client secret
//! ```
//! use std::time::SystemTime;
//!
//! use botframework::cloud::Cloud;
//! use botframework::connector::Connector;
//! use botframework::http::HttpTransport;
//! use botframework::credential::{Credential, Registration, Runtime, SecretString, Tenancy};
//! use botframework::service_url::{Loopback, OtherChannels, TrustRule};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tenancy = Tenancy::SingleTenant("contoso.example".to_owned());
//! let bot = Registration::new(Cloud::Public, &tenancy, "00000000-0000-4000-8000-00000000b07a")?;
//! let secret = SecretString::from("read from a safe place".to_owned());
//! let transport = HttpTransport::builder().build()?;
//! let runtime = Runtime::new(SystemTime::now, random_bytes);
//! let credential = Credential::new(transport.clone(), bot, secret, runtime);
//! let trust = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Refused);
//! let connector = Connector::new(transport, trust, credential);
//! # fn random_bytes() -> [u8; 16] { [7; 16] }
//! # Ok(())
//! # }
//! ```

mod certificate;
mod client;
mod client_auth;
mod error;
mod registration;
#[cfg(test)]
pub(crate) mod tests;
mod token_cache;
mod token_request;

pub use self::certificate::{Certificate, InvalidCertificate, Signing};
pub use self::client::InvalidRegistration;
pub use self::client_auth::{AssertionContext, ClientAuth, ClientAuthError, ClientCredential, Reload};
pub use self::error::{CredentialFault, Error};
pub use self::registration::{Registration, Tenancy};
pub use self::token_cache::Runtime;
/// Secrets that cannot be printed or serialised and are wiped from memory when they are dropped.
pub use secrecy::{ExposeSecret, SecretString};

#[cfg(feature = "graph")]
pub(crate) use self::client::Client;
pub(crate) use self::client::stand_in;
use self::registration::TokenScope;
pub(crate) use self::token_cache::{Token, TokenCache};
use crate::http::Transport;
use crate::service_url::ServiceUrl;

/// The bot's Connector tokens: requests one on demand and caches it. Cheap to clone; all clones share one cache.
///
/// - A token is refreshed five to six minutes before it expires. When the refresh fails, it is used until it expires.
/// - Concurrent callers share one token request and its result, an error too.
/// - After a failure there is no token request before [`Error::wait`] has passed.
#[derive(Clone, Debug)]
pub struct Credential {
    tokens: TokenCache,
    token_scope: TokenScope,
}

impl Credential {
    /// The tokens of the bot `registration`, requested over `sendMode` and authenticated by `client_auth`. Sends
    /// nothing yet.
    pub fn new(
        transport: impl Transport + 'static,
        registration: Registration,
        client_auth: impl ClientAuth + 'static,
        runtime: Runtime,
    ) -> Self {
        let (client, token_scope) = registration.into_parts();
        Self {
            tokens: TokenCache::new(transport, client, client_auth, runtime),
            token_scope,
        }
    }

    /// Requests a token unless one is cached.
    ///
    /// # Errors
    /// When there is none; [`Error::fault`] says whether the failure ends by itself.
    pub(crate) async fn ensure_token(&self) -> Result<(), Error> {
        self.tokens.ensure_token().await
    }

    /// The application id of the bot.
    pub(crate) fn app_id(&self) -> &str {
        self.tokens.app_id()
    }

    /// The tokens for the cloud's own services, unless they are a stand-in's.
    pub(crate) fn tokens_for_cloud(&self) -> Option<&TokenCache> {
        (self.token_scope == TokenScope::Cloud).then_some(&self.tokens)
    }

    /// The tokens for a service URL that passed the trust rule, unless it is outside their scope.
    pub(crate) fn tokens_for(&self, service_url: ServiceUrl<'_>) -> Option<&TokenCache> {
        self.token_scope.covers(service_url).then_some(&self.tokens)
    }
}
