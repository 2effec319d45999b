//! The tenant of a chunk: its permits, its 429s and failures, and whether the bot has a token for it.

use botframework::connector;
use herald::backend::Backend;
use herald::bot_monitor::TokenVerdict;
use herald::clock::timestamp;
use herald::rate_limit::Bucket;
use herald::store;
use herald::tenant_gate::Admission;
use herald::time::later;
use jiff::{SignedDuration, Timestamp};

use crate::context::Context;
use crate::invocation::Invocation;

/// How long the bot is paused without a token when the reason is not known.
const NO_TOKEN_BACKOFF: SignedDuration = SignedDuration::from_mins(1);

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

    /// Counts a refusal of a conversation, by the number of its attempt: later ones count only while others are refused, too.
    pub(crate) async fn record_attempt(
        &self,
        code: &str,
        attempt: u32,
    ) -> Result<Option<Timestamp>, store::Error> {
        match self.bucket {
            Some(bucket) if attempt > 1 => self.invocation.gate.repeat_failure(bucket, code).await,
            Some(_) | None => self.record_failure(code).await,
        }
    }

    /// Until when there is no token for this service URL, if there is none now.
    pub(crate) async fn token_missing_until(&self, service_url: &str) -> Option<Timestamp> {
        let error = self.context().connector.ensure_token(service_url).await.err()?;
        let Invocation { gate, monitor, .. } = self.invocation;
        Some(monitor.no_token(gate, &error).await)
    }

    /// Pauses the bot, which has no token. Returns the end of the pause.
    pub(crate) async fn no_token(&self, error: &connector::Error) -> Timestamp {
        let Invocation { gate, monitor, .. } = self.invocation;
        match error.token_error() {
            Some(error) => monitor.no_token(gate, error).await,
            None => gate.pause_bot(later(self.now(), NO_TOKEN_BACKOFF), || ()),
        }
    }

    /// Counts a 401 to a fresh token, and says what follows.
    pub(crate) async fn token_refused(&self, error: &connector::Error) -> Result<TokenVerdict, store::Error> {
        let Invocation { gate, monitor, .. } = self.invocation;
        match self.bucket {
            Some(bucket) => monitor.token_refused(gate, bucket, &error_code(error)).await,
            None => Ok(TokenVerdict::Retry),
        }
    }

    /// Notes that the tenant accepted the bot's token. Whether that is to be recorded.
    pub(crate) fn note_token_acceptance(&self) -> bool {
        self.bucket
            .is_some_and(|bucket| self.invocation.monitor.note_token_acceptance(bucket))
    }

    /// Records that the tenant accepted the bot's token at this service URL.
    pub(crate) async fn record_acceptance(&self, service_url: &str) {
        let requested_at = self.context().connector.last_token_request(service_url);
        let monitor = &self.invocation.monitor;
        monitor.record_acceptance(requested_at.map(timestamp)).await;
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
