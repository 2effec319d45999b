//! Records whether the bot has a token and which tenants refuse it, and tells operators: a log line, an event and a metric.
//!
//! Sender and planner each make one for an invocation. The rules are in [`crate::bot_health`] and
//! [`rate_limit::record_token_refusal`]. A delivery never fails because the record cannot be written: that is logged.

use std::sync::{Mutex, MutexGuard, PoisonError};

use botframework::credential::{self, CredentialFault};
use jiff::{SignedDuration, Timestamp};

use crate::bot_health::{BotHealth, Evidence, Outage, OutageChange, TokenAcceptance, TokenFault};
use crate::clock::Clock;
use crate::event::{Event, Events};
use crate::rate_limit::{self, Bucket, TenantRate, TokenPatience, TokenRefusal};
use crate::store::{Error, RateLimits};
use crate::telemetry::{self, Metric, chain};
use crate::tenant_gate::TenantGate;
use crate::time::later;

/// How long the bot is paused when several tenants refuse its token. An operator has to repair its registration.
const REFUSED_PAUSE: SignedDuration = SignedDuration::from_mins(1);

/// A tenant that refuses the token while others accept it is tried for half an hour.
const OTHERS_ACCEPT: TokenPatience = TokenPatience {
    pause: rate_limit::OPEN_DURATION,
    openings: 2,
};

/// While no other tenant is known to accept it, it may be the bot's fault: it is tried for a day, and soon after an operator
/// has repaired the bot.
const NO_EVIDENCE: TokenPatience = TokenPatience {
    pause: REFUSED_PAUSE,
    openings: 24 * 60,
};

/// The monitor of one invocation.
#[derive(Debug)]
pub struct BotMonitor<'a, P, E> {
    records: &'a P,
    events: &'a E,
    clock: &'a Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last acceptance in this invocation.
    accepted: Option<TokenAcceptance>,
    /// Whether an acceptance was recorded after the last failure.
    is_recorded: bool,
}

/// What follows a 401 to a fresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenVerdict {
    /// It is the bot's fault: nothing is sent before then.
    BotPaused(Timestamp),
    /// It is the tenant's: nothing is sent there before then.
    TenantPaused(Timestamp),
    /// It may be an accident: the request is repeated.
    Retry,
    /// The tenant refuses for good: the request is not repeated.
    Final,
}

impl<'a, P: RateLimits, E: Events> BotMonitor<'a, P, E> {
    /// A monitor that has seen nothing.
    pub fn new(records: &'a P, events: &'a E, clock: &'a Clock) -> Self {
        Self {
            records,
            events,
            clock,
            state: Mutex::default(),
        }
    }

    /// The bot has no token: pauses it, and records why. Returns the end of the pause.
    pub async fn no_token(&self, gate: &TenantGate<'_, P>, error: &credential::Error) -> Timestamp {
        let wait = SignedDuration::try_from(error.wait()).unwrap_or(REFUSED_PAUSE);
        let mut is_new = false;
        let until = gate.pause_bot(later(self.clock.now(), wait), || is_new = true);
        if is_new {
            log_no_token(error);
            let (code, now) = (token_code(error), self.clock.now());
            self.fail(|health| health.no_token(&code, now)).await;
        }
        until
    }

    /// A tenant refused a fresh token with this code.
    ///
    /// # Errors
    /// When the table of rate limits is unavailable.
    pub async fn token_refused(
        &self,
        gate: &TenantGate<'_, P>,
        bucket: &Bucket,
        code: &str,
    ) -> Result<TokenVerdict, Error> {
        let now = self.clock.now();
        if let Some(until) = gate.bot_paused_until() {
            return Ok(TokenVerdict::BotPaused(until));
        }
        let accepted = self.state().accepted.clone();
        let mut fault = TokenFault::Tenant(Evidence::None);
        let mut rule = |health: &BotHealth| {
            let (found, change) = health.refused(bucket, code, accepted.as_ref(), now);
            fault = found;
            change
        };
        self.fail(&mut rule).await;
        let patience = match fault {
            TokenFault::Bot => {
                let until = gate.pause_bot(later(now, REFUSED_PAUSE), || log_refused_everywhere(code));
                return Ok(TokenVerdict::BotPaused(until));
            }
            TokenFault::Tenant(Evidence::AcceptedElsewhere) => OTHERS_ACCEPT,
            TokenFault::Tenant(Evidence::None) => NO_EVIDENCE,
        };
        let rule = |rate: &TenantRate| rate_limit::record_token_refusal(rate, code, patience, now);
        let refusal = self.records.apply(bucket, rule).await?;
        gate.suspect(bucket);
        Ok(match refusal {
            TokenRefusal::Counted => TokenVerdict::Retry,
            TokenRefusal::Opened { until, is_first } => {
                if gate.held_until(bucket).is_none() {
                    log_tenant_refuses(bucket, code, until);
                }
                gate.hold(bucket, until);
                if is_first {
                    self.publish(Event::tenant_refuses_bot(bucket, code, now)).await;
                }
                TokenVerdict::TenantPaused(until)
            }
            TokenRefusal::Final => TokenVerdict::Final,
        })
    }

    /// A tenant accepted the bot's token. Whether [`record_acceptance`](Self::record_acceptance) is to be called, which the first
    /// acceptance of an invocation and the first after a failure are.
    pub fn note_token_acceptance(&self, bucket: &Bucket) -> bool {
        let mut state = self.state();
        state.accepted = Some(TokenAcceptance {
            bucket: bucket.clone(),
            at: self.clock.now(),
        });
        !std::mem::replace(&mut state.is_recorded, true)
    }

    /// Records the acceptance of a token that was issued at `token_since`. It ends an outage.
    pub async fn record_acceptance(&self, token_since: Option<Timestamp>) {
        let Some(accepted) = self.state().accepted.clone() else {
            return;
        };
        let rule = |health: &BotHealth| health.accepted(&accepted, token_since);
        if let Some(ended) = self.change(rule).await {
            tracing::warn!(code = ended.code, since = %ended.since, "the bot has a token that is accepted again");
            if ended.announced {
                self.publish(Event::bot_outage_ended(&ended, self.clock.now()))
                    .await;
            }
        }
    }

    /// Records a failure, and publishes the event of an outage that has begun. An event that may not be published is published
    /// again with the next failure.
    async fn fail(&self, rule: impl FnMut(&BotHealth) -> OutageChange + Send) {
        self.state().is_recorded = false;
        let Some(begun) = self.change(rule).await else {
            return;
        };
        if self.publish(Event::bot_outage_began(&begun)).await {
            self.change(|health| (None, health.announced(begun.since))).await;
        }
    }

    async fn change(&self, mut rule: impl FnMut(&BotHealth) -> OutageChange + Send) -> Option<Outage> {
        let mut change = None;
        let mut update = |health: Option<&BotHealth>| {
            let (outage, new) = rule(health.unwrap_or(&BotHealth::default()));
            change = outage;
            new
        };
        if let Err(error) = self.records.update_bot_health(&mut update).await {
            tracing::error!(error_type = "BotRecordNotWritten", error = %chain(&error), "the state of the bot is not recorded");
            return None;
        }
        change
    }

    async fn publish(&self, event: Event) -> bool {
        let published = self.events.publish(vec![event]).await;
        if let Err(error) = &published {
            tracing::error!(error_type = "EventNotPublished", error = %chain(error), "an event about the bot is not published");
        }
        published.is_ok()
    }
}

impl<P, E> BotMonitor<'_, P, E> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The code of a token request that failed: Entra's number if there is one, else the error of OAuth 2.0.
pub fn token_code(error: &credential::Error) -> String {
    match (error.error_codes().first(), error.code(), error.status()) {
        (Some(number), _, _) => format!("AADSTS{number}"),
        (None, Some(code), _) => code.to_owned(),
        (None, None, Some(status)) => format!("TokenEndpointHttp{status}"),
        (None, None, None) => match error.fault() {
            CredentialFault::Configuration => "CredentialInvalid".to_owned(),
            CredentialFault::Unavailable => "TokenEndpointUnavailable".to_owned(),
        },
    }
}

fn log_no_token(error: &credential::Error) {
    telemetry::count(Metric::BotOutage);
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

fn log_refused_everywhere(code: &str) {
    telemetry::count(Metric::BotOutage);
    tracing::error!(
        error_type = "TokenRefused",
        code,
        "several tenants refuse the bot's token: nothing is sent before the next try"
    );
}

fn log_tenant_refuses(bucket: &Bucket, code: &str, until: Timestamp) {
    telemetry::count(Metric::TenantRefusal);
    tracing::error!(
        error_type = "TenantRefusesToken",
        tenant = bucket.tenant(),
        code,
        %until,
        "a tenant refuses the bot's token: nothing is sent there before the next try"
    );
}
