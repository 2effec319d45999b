//! The bot's standing with the channel: whether it has a token, and which tenants refuse it. One record for a deployment.
//!
//! Everything here is pure. [`crate::bot_monitor`] applies the rules to the stored record.
//!
//! | what happens | what follows |
//! |---|---|
//! | the token endpoint refuses, or does not answer | an [`Outage`]: all deliveries wait, none fails |
//! | one tenant answers 401 to a fresh token | it is the tenant's: [`TokenFault::Tenant`] |
//! | several tenants do, and none has accepted the token since | it is the bot's: [`TokenFault::Bot`], and an [`Outage`] |
//! | a tenant accepts a token that is newer than the outage | the outage is over |

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::rate_limit::Bucket;
use crate::time::{earlier, later};

/// How often a lasting outage, a refusal or an acceptance is written again.
const RECORD_INTERVAL: SignedDuration = SignedDuration::from_mins(1);

/// An outage or a refusal that was not seen again for so long is over: the longest wait for a token is 15 minutes.
const RECORD_TTL: SignedDuration = SignedDuration::from_mins(30);

/// An acceptance so long before the first refusal of a tenant still proves that the token is good.
const ACCEPTANCE_TOLERANCE: SignedDuration = SignedDuration::from_mins(1);

/// The most tenants whose refusals are kept. Two are enough to decide by.
const MAX_REFUSALS: usize = 8;

/// What is known of the bot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BotHealth {
    /// Why the whole bot can send nothing.
    #[serde(default)]
    pub outage: Option<Outage>,
    /// The tenants that refuse its token.
    #[serde(default)]
    pub refusals: Vec<TenantRefusal>,
    /// The last acceptance of its token, to the minute.
    #[serde(default)]
    pub accepted: Option<TokenAcceptance>,
}

/// The bot can send nothing: it has no token, or the channel refuses it everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outage {
    /// What is refused.
    pub cause: OutageCause,
    /// The code of the token endpoint, such as `AADSTS7000222`, or of the channel.
    pub code: String,
    /// The first failure.
    pub since: Timestamp,
    /// The last failure, to the minute.
    pub seen_at: Timestamp,
    /// Whether its event is published.
    pub announced: bool,
}

/// What is refused during an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OutageCause {
    /// The token endpoint refuses a token, or does not answer.
    NoToken,
    /// Several tenants answer 401 to a fresh token.
    TokenRefused,
}

/// A tenant that refuses the bot's token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantRefusal {
    /// The rate limit of the bot in this tenant.
    pub bucket: Bucket,
    /// The first refusal.
    pub since: Timestamp,
    /// The last refusal, to the minute.
    pub seen_at: Timestamp,
}

/// A tenant that accepted the bot's token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenAcceptance {
    /// The rate limit of the bot in this tenant.
    pub bucket: Bucket,
    /// When it accepted.
    pub at: Timestamp,
}

/// Whose fault a 401 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// Several tenants refuse the token, and none has accepted it since.
    Bot,
    /// Only this tenant is known to refuse it.
    Tenant(Evidence),
}

/// Whether the token is known to be good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Another tenant accepts it.
    AcceptedElsewhere,
    /// No other tenant is known to accept it: the fault may be the bot's after all.
    None,
}

/// The result of a rule: the outage that began or ended, and the record to write.
pub type OutageChange = (Option<Outage>, Option<BotHealth>);

impl BotHealth {
    /// The outage, unless it has not been seen for half an hour.
    pub fn current_outage(&self, now: Timestamp) -> Option<&Outage> {
        self.outage
            .as_ref()
            .filter(|outage| later(outage.seen_at, RECORD_TTL) > now)
    }

    /// The bot has no token, for this code. Returns the outage if its event is still to be published.
    pub fn no_token(&self, code: &str, now: Timestamp) -> OutageChange {
        self.fail(OutageCause::NoToken, code, now)
    }

    /// The event of the outage that began then is published.
    pub fn announced(&self, since: Timestamp) -> Option<Self> {
        let outage = self
            .outage
            .as_ref()
            .filter(|outage| outage.since == since && !outage.announced)?;
        let outage = Outage {
            announced: true,
            ..outage.clone()
        };
        Some(Self {
            outage: Some(outage),
            ..self.clone()
        })
    }

    /// A tenant refused a fresh token. `accepted` is an acceptance that may not be written yet.
    pub fn refused(
        &self,
        bucket: &Bucket,
        code: &str,
        accepted: Option<&TokenAcceptance>,
        now: Timestamp,
    ) -> (TokenFault, OutageChange) {
        let mut health = self.clone();
        let is_new = health.note_refusal(bucket, now);
        if accepted.is_some_and(|new| health.accepted.as_ref().is_none_or(|old| old.at < new.at)) {
            health.accepted = accepted.cloned();
        }
        let fault = health.fault(bucket, now);
        if fault == TokenFault::Bot {
            let (begun, changed) = health.fail(OutageCause::TokenRefused, code, now);
            return (fault, (begun, changed.or_else(|| is_new.then_some(health))));
        }
        (fault, (None, is_new.then_some(health)))
    }

    /// A tenant accepted a token that was issued at `token_since`. Returns the outage that is over.
    pub fn accepted(&self, acceptance: &TokenAcceptance, token_since: Option<Timestamp>) -> OutageChange {
        let proves_end = |outage: &&Outage| match outage.cause {
            // A token of another process may outlast the outage of the endpoint by an hour.
            OutageCause::NoToken => token_since.is_none_or(|since| since >= outage.seen_at),
            OutageCause::TokenRefused => acceptance.at >= outage.seen_at,
        };
        let ended = self.outage.as_ref().filter(proves_end).cloned();
        let is_refusal =
            |refusal: &TenantRefusal| refusal.bucket == acceptance.bucket && refusal.since <= acceptance.at;
        let is_stale = self
            .accepted
            .as_ref()
            .is_none_or(|known| later(known.at, RECORD_INTERVAL) <= acceptance.at);
        let is_evidence = self.refusals.iter().any(|refusal| {
            self.accepted
                .as_ref()
                .is_none_or(|known| known.at < refusal.since)
        });
        if ended.is_none() && !is_stale && !is_evidence && !self.refusals.iter().any(is_refusal) {
            return (None, None);
        }
        let mut health = self.clone();
        health.refusals.retain(|refusal| !is_refusal(refusal));
        health.accepted = Some(acceptance.clone());
        if ended.is_some() {
            health.outage = None;
        }
        (ended, Some(health))
    }

    fn fail(&self, cause: OutageCause, code: &str, now: Timestamp) -> OutageChange {
        let known = self.current_outage(now).filter(|outage| outage.cause == cause);
        let outage = match known {
            Some(known) if known.code == code && later(known.seen_at, RECORD_INTERVAL) > now => {
                return (Some(known.clone()).filter(|outage| !outage.announced), None);
            }
            Some(known) => Outage {
                code: code.to_owned(),
                seen_at: now.max(known.seen_at),
                ..known.clone()
            },
            None => Outage {
                cause,
                code: code.to_owned(),
                since: now,
                seen_at: now,
                announced: false,
            },
        };
        let health = Self {
            outage: Some(outage.clone()),
            ..self.clone()
        };
        (Some(outage).filter(|outage| !outage.announced), Some(health))
    }

    /// Adds a refusal, and drops those that are over. Whether that is to be written.
    fn note_refusal(&mut self, bucket: &Bucket, now: Timestamp) -> bool {
        self.refusals
            .retain(|refusal| later(refusal.seen_at, RECORD_TTL) > now);
        let is_full = self.refusals.len() >= MAX_REFUSALS;
        match self.refusals.iter_mut().find(|refusal| refusal.bucket == *bucket) {
            Some(known) if later(known.seen_at, RECORD_INTERVAL) > now => false,
            Some(known) => {
                known.seen_at = now;
                true
            }
            None if is_full => false,
            None => {
                self.refusals.push(TenantRefusal {
                    bucket: bucket.clone(),
                    since: now,
                    seen_at: now,
                });
                true
            }
        }
    }

    fn fault(&self, bucket: &Bucket, now: Timestamp) -> TokenFault {
        let is_refused = |acceptance: &&TokenAcceptance| {
            self.refusals
                .iter()
                .any(|refusal| refusal.bucket == acceptance.bucket && refusal.since >= acceptance.at)
        };
        let accepted = self
            .accepted
            .as_ref()
            .filter(|acceptance| acceptance.bucket != *bucket && !is_refused(acceptance))
            .map(|acceptance| acceptance.at);
        let own = |refusal: &&TenantRefusal| refusal.bucket == *bucket;
        let since = self
            .refusals
            .iter()
            .find(own)
            .map_or(now, |refusal| refusal.since);
        if self.refusals.iter().any(|refusal| refusal.bucket != *bucket) {
            // Only an acceptance after all of them began proves that the token is good.
            let latest = self.refusals.iter().map(|refusal| refusal.since).max();
            return match (accepted, latest) {
                (Some(accepted), Some(latest)) if accepted >= latest => {
                    TokenFault::Tenant(Evidence::AcceptedElsewhere)
                }
                _ => TokenFault::Bot,
            };
        }
        let is_recent = |accepted: &Timestamp| *accepted >= earlier(since, ACCEPTANCE_TOLERANCE);
        TokenFault::Tenant(match accepted.filter(is_recent) {
            Some(_) => Evidence::AcceptedElsewhere,
            None => Evidence::None,
        })
    }
}

#[cfg(test)]
mod tests;
