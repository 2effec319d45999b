use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use super::secret::Secret;
use crate::http::Cause;

/// What shows the token endpoint that the one who asks is the bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The registration's client secret.
    Secret(Secret),
    /// A JWT that the registration knows the signer of: by a certificate, or by federation.
    Assertion(Secret),
}

/// For whom and when a proof is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
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
pub enum ProofError {
    /// Somebody has to put something right: a secret that does not exist, a key that cannot be read.
    #[error("proof of the bot's identity is not to be had as configured")]
    Configuration(#[source] Cause),
    /// What keeps it cannot be reached now.
    #[error("proof of the bot's identity is not to be had now")]
    Unavailable(#[source] Cause),
}

/// Whether asking again with a new proof makes sense after one was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// What proofs are made from has changed.
    Changed,
    /// It is the same as before.
    Unchanged,
}

/// A proof on its way.
pub type Proving<'a> = Pin<Box<dyn Future<Output = Result<Proof, ProofError>> + Send + 'a>>;

/// A renewal on its way.
pub type Renewing<'a> = Pin<Box<dyn Future<Output = Renewal> + Send + 'a>>;

/// Proves that the one who asks for a token is the bot: a [`Secret`], a [`Certificate`](super::Certificate), or
/// whatever keeps one elsewhere or has another party vouch for it.
///
/// A [`Credential`](super::Credential) calls no method more than once at a time; of several that share a prover by an
/// [`Arc`], each calls on its own. Errors end up in logs: no cause may quote a secret.
pub trait Prove: Send + Sync {
    /// Gives a proof, fresh enough to be used at once.
    fn prove<'a>(&'a self, occasion: Occasion<'a>) -> Proving<'a>;

    /// Reads again whatever proofs are made from, because the last was refused: a secret that has been rotated
    /// is taken up this way.
    fn renew(&self) -> Renewing<'_> {
        Box::pin(async { Renewal::Unchanged })
    }
}

impl<P: Prove + ?Sized> Prove for Box<P> {
    fn prove<'a>(&'a self, occasion: Occasion<'a>) -> Proving<'a> {
        (**self).prove(occasion)
    }

    fn renew(&self) -> Renewing<'_> {
        (**self).renew()
    }
}

impl<P: Prove + ?Sized> Prove for Arc<P> {
    fn prove<'a>(&'a self, occasion: Occasion<'a>) -> Proving<'a> {
        (**self).prove(occasion)
    }

    fn renew(&self) -> Renewing<'_> {
        (**self).renew()
    }
}

impl Prove for Secret {
    fn prove<'a>(&'a self, _: Occasion<'a>) -> Proving<'a> {
        Box::pin(async { Ok(Proof::Secret(self.clone())) })
    }
}
