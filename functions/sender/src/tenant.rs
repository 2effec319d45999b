//! The tenant of a chunk: its permits, its 429s and failures, and whether the bot has a token for it.

use botframework::connector;
use botframework::credential::{self, CredentialFault};
use herald::backend::Backend;
use herald::rate_limit::Bucket;
use herald::retry::retry_after;
use herald::store;
use herald::telemetry::chain;
use herald::tenant_gate::Admission;
use herald::time::later;
use jiff::{SignedDuration, Timestamp};

use crate::context::Context;
use crate::invocation::Invocation;

/// How long the bot is paused when its token is not accepted and the channel names no time. An operator has to repair the
/// credential.
const TOKEN_REFUSED_BACKOFF: SignedDuration = SignedDuration::from_mins(1);

/// The longest such pause, whatever the channel names: once the bot is repaired, its work goes on.
const MAX_TOKEN_REFUSED_BACKOFF: SignedDuration = SignedDuration::from_mins(15);

/// The tenant of a chunk, within one invocation. Without a bucket, the chunk leads to no conversation, and to no request.
pub(crate) struct Tenant<'a, B: Backend> {
    pub(crate) invocation: &'a Invocation<'a, B>,
    pub(crate) bucket: Option<&'a Bucket>,
}

impl<B: Backend> Clone for Tenant<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Tenant<'_, B> {}

impl<'a, B: Backend> Tenant<'a, B> {
    pub(crate) fn context(&self) -> &'a Context<B> {
        self.invocation.context
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.invocation.now()
    }

    /// Until when its permits are void.
    pub(crate) fn held_until(&self) -> Option<Timestamp> {
        self.invocation.gate.held_until(self.bucket?)
    }

    /// Whether an attempt may make another request: takes a permit for it, unless there is no time or no permit soon.
    pub(crate) async fn can_continue(&self) -> Result<bool, store::Error> {
        if self.invocation.out_of_time() {
            return Ok(false);
        }
        let Some(bucket) = self.bucket else {
            return Ok(true);
        };
        let admission = self.invocation.gate.acquire(bucket).await?;
        Ok(matches!(admission, Admission::Granted(_)))
    }

    pub(crate) async fn throttle(&self, retry_after: Option<SignedDuration>) -> Result<(), store::Error> {
        match self.bucket {
            Some(bucket) => self.invocation.gate.throttle(bucket, retry_after).await,
            None => Ok(()),
        }
    }

    /// Counts a refusal that may concern the whole tenant. Returns when the circuit breaker closes, if it is open.
    pub(crate) async fn record_failure(&self, code: &str) -> Result<Option<Timestamp>, store::Error> {
        match self.bucket {
            Some(bucket) => self.invocation.gate.record_failure(bucket, code).await,
            None => Ok(None),
        }
    }

    /// Until when there is no token for this service URL, if there is none now.
    pub(crate) async fn token_missing_until(&self, service_url: &str) -> Option<Timestamp> {
        let error = self.context().connector.ensure_token(service_url).await.err()?;
        let wait = SignedDuration::try_from(error.wait()).unwrap_or(TOKEN_REFUSED_BACKOFF);
        let until = later(self.now(), wait);
        Some(self.invocation.gate.pause_bot(until, || log_no_token(&error)))
    }

    /// Pauses the bot, whose token was not accepted. Returns the end of the pause.
    pub(crate) fn token_refused(&self, error: &connector::Error) -> Timestamp {
        let wait = retry_after(error, self.now())
            .unwrap_or(TOKEN_REFUSED_BACKOFF)
            .min(MAX_TOKEN_REFUSED_BACKOFF);
        let until = later(self.now(), wait);
        self.invocation.gate.pause_bot(until, || log_refused(error))
    }
}

/// The channel's error code, or ours when it has none.
pub(crate) fn error_code(error: &connector::Error) -> String {
    use connector::Reason;
    match (error.code(), error.status(), error.reason()) {
        (Some(code), _, _) => code.to_owned(),
        (None, Some(status), _) => format!("Http{status}"),
        (None, None, Reason::Unreachable) => "NotConnected".to_owned(),
        (None, None, Reason::NoResponse) => "NoAnswer".to_owned(),
        (None, None, _) => "NotSendable".to_owned(),
    }
}

fn log_no_token(error: &credential::Error) {
    tracing::error!(
        error_type = match error.fault() {
            CredentialFault::Configuration => "TokenMisconfigured",
            CredentialFault::Unavailable => "TokenUnavailable",
        },
        code = error.code(),
        error_codes = ?error.error_codes(),
        status = error.status(),
        correlation = error.correlation(),
        wait_s = error.wait().as_secs(),
        error = chain(error),
        "the bot has no token: nothing is sent before the next try"
    );
}

fn log_refused(error: &connector::Error) {
    tracing::error!(
        error_type = if error.status().is_some() {
            "TokenRefused"
        } else {
            "TokenUnavailable"
        },
        code = error.code(),
        status = error.status(),
        correlation = error.correlation(),
        error = chain(error),
        "the channel refuses the bot's token: nothing is sent before the next try"
    );
}
