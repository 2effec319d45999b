use std::sync::Arc;
use std::time::SystemTime;

use secrecy::SecretString;

use crate::http::{BoxError, BoxFuture};

/// The credential in a token request.
#[derive(Clone, Debug)]
pub enum ClientCredential {
    /// The registration's client secret.
    Secret(SecretString),
    /// A JWT whose signer is registered: by a certificate, or as a federated credential.
    Assertion(SecretString),
}

/// The token request that needs a credential.
#[derive(Clone, Copy, Debug)]
pub struct AssertionContext<'a> {
    /// The token endpoint: the audience of an assertion.
    pub token_url: &'a str,
    /// The bot's application id: the issuer of an assertion.
    pub app_id: &'a str,
    /// The time of the request, for the lifetime of an assertion.
    pub now: SystemTime,
    /// Random bytes for the id of an assertion.
    pub random: [u8; 16],
}

/// Why there is no client credential.
#[derive(Debug, thiserror::Error)]
pub enum ClientAuthError {
    /// An operator must correct the configuration: a secret that does not exist, a key that cannot be read.
    #[error("no client credential as configured")]
    Configuration(#[source] BoxError),
    /// The store of the credential is unavailable.
    #[error("no client credential now")]
    Unavailable(#[source] BoxError),
}

/// Whether the credential has changed, so that the token request is worth repeating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The source of the credential has changed.
    Changed,
    /// The source is the same as before.
    Unchanged,
}

/// Authenticates token requests: a [`SecretString`], a [`Certificate`](super::Certificate), a store of either, or a
/// third party's assertion.
///
/// A [`Credential`](super::Credential) makes one call at a time; several that share an implementation by an [`Arc`] call
/// it concurrently. Errors are logged: no cause may quote a secret.
pub trait ClientAuth: Send + Sync {
    /// Returns a credential for immediate use.
    fn authenticate<'a>(
        &'a self,
        context: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>>;

    /// Reads the source of the credential again after the endpoint rejected the last one. Picks up a rotated secret.
    fn reload(&self) -> BoxFuture<'_, Reload> {
        Box::pin(async { Reload::Unchanged })
    }
}

impl<P: ClientAuth + ?Sized> ClientAuth for Box<P> {
    fn authenticate<'a>(
        &'a self,
        context: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>> {
        (**self).authenticate(context)
    }

    fn reload(&self) -> BoxFuture<'_, Reload> {
        (**self).reload()
    }
}

impl<P: ClientAuth + ?Sized> ClientAuth for Arc<P> {
    fn authenticate<'a>(
        &'a self,
        context: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>> {
        (**self).authenticate(context)
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
