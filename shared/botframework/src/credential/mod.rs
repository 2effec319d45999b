//! The bot's own token: how it is had, how long it is kept, and where alone it goes.
//!
//! ```text
//! ClientAuth ── proof ──▶ token endpoint ── token ──▶ Credential ──▶ Connector, to a URL that passed the trust rule
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
//! let rim = Runtime::new(SystemTime::now, random_bytes);
//! let credential = Credential::new(transport.clone(), bot, secret, rim);
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
pub use self::error::{Error, Fault};
pub use self::registration::{Registration, Tenancy};
pub use self::token_cache::Runtime;
/// Secrets that cannot be printed or serialised and are wiped from memory when they are dropped.
pub use secrecy::{ExposeSecret, SecretString};

pub(crate) use self::client::{Application, stand_in};
use self::registration::Origin;
pub(crate) use self::token_cache::{Token, Tokens};
use crate::http::Transport;
use crate::service_url::ServiceUrl;

/// The right to the bot's tokens for the Connector: fetches one when it is needed, and keeps it. Cheap to clone; all
/// clones share one token.
///
/// - A token is replaced five to six minutes before its end. Until its end, one that cannot be replaced serves on.
/// - Of any number that need one at once, one asks and the others get what it got, the failure too.
/// - After a failure nobody asks again before [`Error::wait`] has passed.
#[derive(Clone, Debug)]
pub struct Credential {
    tokens: Tokens,
    origin: Origin,
}

impl Credential {
    /// The tokens of the bot `registration`, asked for over `transport` with what `prover` gives. Nothing is
    /// asked yet.
    pub fn new(
        transport: impl Transport + 'static,
        registration: Registration,
        prover: impl ClientAuth + 'static,
        rim: Runtime,
    ) -> Self {
        let (application, origin) = registration.into_parts();
        Self {
            tokens: Tokens::new(transport, application, prover, rim),
            origin,
        }
    }

    /// Makes sure that there is a token.
    ///
    /// # Errors
    /// When there is none; [`Error::fault`] says whether it comes by itself.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        self.tokens.ready().await
    }

    /// The tokens, for a service URL that passed the trust rule, if they may go there at all.
    pub(crate) fn tokens_for(&self, service_url: ServiceUrl<'_>) -> Option<&Tokens> {
        self.origin.speaks_to(service_url).then_some(&self.tokens)
    }
}
