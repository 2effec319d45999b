use std::sync::Arc;
use std::time::SystemTime;

use secrecy::SecretString;

use crate::http::{BoxError, BoxFuture};

/// What shows the token endpoint that the one who asks is the bot.
#[derive(Clone, Debug)]
pub enum ClientCredential {
    /// The registration's client secret.
    Secret(SecretString),
    /// A JWT that the registration knows the signer of: by a certificate, or by federation.
    Assertion(SecretString),
}

/// For whom and when a proof is asked for.
#[derive(Clone, Copy, Debug)]
pub struct AssertionContext<'a> {
    /// The token endpoint, whom an assertion is for.
    pub token_url: &'a str,
    /// The bot, who an assertion is by.
    pub app_id: &'a str,
    /// The time.
    pub now: SystemTime,
    /// Sixteen bytes of chance: an assertion's id.
    pub chance: [u8; 16],
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ClientAuthError {
    /// Somebody has to put something right: a secret that does not exist, a key that cannot be read.
    #[error("proof of the bot's identity is not to be had as configured")]
    Configuration(#[source] BoxError),
    /// What keeps it cannot be reached now.
    #[error("proof of the bot's identity is not to be had now")]
    Unavailable(#[source] BoxError),
}

/// Whether asking again with a new proof makes sense after one was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// What proofs are made from has changed.
    Changed,
    /// It is the same as before.
    Unchanged,
}

/// Proves that the one who asks for a token is the bot: a [`SecretString`], a [`Certificate`](super::Certificate), or
/// whatever keeps one elsewhere or has another party vouch for it.
///
/// A [`Credential`](super::Credential) calls no method more than once at a time; of several that share a prover by an
/// [`Arc`], each calls on its own. Errors end up in logs: no cause may quote a secret.
pub trait ClientAuth: Send + Sync {
    /// Gives a proof, fresh enough to be used at once.
    fn authenticate<'a>(
        &'a self,
        occasion: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>>;

    /// Reads again whatever proofs are made from, because the last was refused: a secret that has been rotated
    /// is taken up this way.
    fn reload(&self) -> BoxFuture<'_, Reload> {
        Box::pin(async { Reload::Unchanged })
    }
}

impl<P: ClientAuth + ?Sized> ClientAuth for Box<P> {
    fn authenticate<'a>(
        &'a self,
        occasion: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>> {
        (**self).authenticate(occasion)
    }

    fn reload(&self) -> BoxFuture<'_, Reload> {
        (**self).reload()
    }
}

impl<P: ClientAuth + ?Sized> ClientAuth for Arc<P> {
    fn authenticate<'a>(
        &'a self,
        occasion: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>> {
        (**self).authenticate(occasion)
    }

    fn reload(&self) -> BoxFuture<'_, Reload> {
        (**self).reload()
    }
}

impl ClientAuth for SecretString {
    fn authenticate<'a>(
        &'a self,
        _: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>> {
        Box::pin(async { Ok(ClientCredential::Secret(self.clone())) })
    }
}
