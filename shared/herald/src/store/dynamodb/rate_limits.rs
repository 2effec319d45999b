//! Rate limits, in the ledger's table.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::attribute::{Item, Record, has_token, item, moment, number, text};
use super::ledger::{Ledger, key, prefixed_key};
use super::{Consistency, Error, Expression, MAX_CAS_ROUNDS, Put, backoff, new_write_token};
use crate::bot_health::BotHealth;
use crate::rate_limit::{BreakerOpen, Bucket, FailureCount, Slowdown, TenantRate};
use crate::store::{RateLimits, Rule};

const VERB: &str = "update a rate limit";

/// How many buckets one process caches.
const MAX_SLOTS: usize = 1000;

/// How old the cached state may be for an answer that writes nothing.
const CACHE_TTL: Duration = Duration::from_secs(1);

/// The state of each bucket that this process read or wrote last.
///
/// A write is conditional on the cached version, so a stale cache costs one failed write, whose error brings the stored state. Only an
/// answer that writes nothing (wait) is not verified. It comes from a state at most [`CACHE_TTL`] old by this machine's clock, so
/// the caller returns a second too early or too late at worst. A process that was frozen may not count that time; then a caller
/// waits once more by the old state.
#[derive(Debug, Default)]
pub(super) struct RateCache(Mutex<HashMap<Bucket, CacheSlot>>);

/// Serialises updates of one bucket within this process, so that they do not conflict in the table.
type CacheSlot = Arc<tokio::sync::Mutex<Option<CachedRate>>>;

impl RateCache {
    fn slot(&self, bucket: &Bucket) -> CacheSlot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(bucket) {
            return Arc::clone(slot);
        }
        // To clear the cache costs one read a bucket. Two tasks may then hold different slots of a bucket; the conditional write
        // still decides.
        if slots.len() == MAX_SLOTS {
            slots.clear();
        }
        Arc::clone(slots.entry(bucket.clone()).or_default())
    }
}

/// The stored state of a bucket, when it was read or written.
#[derive(Debug)]
struct CachedRate {
    /// `None` if there is no item.
    rate: Option<TenantRate>,
    /// Counts the writes, from 1; 0 if there is no item.
    version: u64,
    at: Instant,
}

impl CachedRate {
    fn read(item: Option<&Item>) -> Result<Self, Error> {
        let record = item.map(|item| Record { verb: VERB, item });
        let version = record.map_or(Ok(0), |record| record.number("version"))?;
        // An unreadable rate must not stop its tenant for ever: it is written anew.
        let rate = record.map(|record| {
            read(record).unwrap_or_else(|error| {
                tracing::error!(error_type = "RateUnreadable", %error, "a rate limit cannot be read and starts anew");
                TenantRate::default()
            })
        });
        Ok(Self {
            rate,
            version,
            at: Instant::now(),
        })
    }
}

impl RateLimits for Ledger {
    async fn update_rate(&self, bucket: &Bucket, rule: &mut Rule<'_, TenantRate>) -> Result<(), Error> {
        let key = key(&prefixed_key("rate", bucket.as_str()));
        let token = new_write_token();
        let read = async || {
            let item = self.table.get(Consistency::Strong, VERB, key.clone()).await?;
            CachedRate::read(item.as_ref())
        };
        let slot = self.rates.slot(bucket);
        let mut cached = slot.lock().await;
        // Taken, so that an error below leaves nothing in the cache that may be wrong.
        let mut stored = match cached.take() {
            Some(stored) => stored,
            None => read().await?,
        };
        for tries in 1..=MAX_CAS_ROUNDS {
            let Some(rate) = rule(stored.rate.as_ref()) else {
                if stored.at.elapsed() < CACHE_TTL {
                    *cached = Some(stored);
                    return Ok(());
                }
                stored = read().await?;
                continue;
            };
            let condition = match stored.version {
                0 => Expression::absent("delivery"),
                version => Expression::equal("version", number(version)),
            };
            let version = stored.version + 1;
            let mut attributes = write(&rate);
            attributes.extend(key.clone());
            attributes.extend(item([
                ("version", number(version)),
                ("writeToken", text(&token)),
                ("expires", self.table.expiry()),
            ]));
            match self.table.put(VERB, attributes, condition).await? {
                // Or our own write, whose answer was lost.
                Put::Refused(item) if !is_ours(item.as_ref(), &token)? => {
                    stored = CachedRate::read(item.as_ref())?;
                }
                Put::Written(_) | Put::Refused(_) => {
                    *cached = Some(CachedRate {
                        rate: Some(rate),
                        version,
                        at: Instant::now(),
                    });
                    return Ok(());
                }
            }
            backoff(tries).await;
        }
        Err(Error::contention(VERB))
    }

    async fn update_bot_health(&self, rule: &mut Rule<'_, BotHealth>) -> Result<(), Error> {
        self.write_bot_health(rule).await
    }
}

fn is_ours(stored: Option<&Item>, token: &str) -> Result<bool, Error> {
    stored.map_or(Ok(false), |item| has_token(VERB, item, token))
}

fn write(rate: &TenantRate) -> Item {
    let TenantRate {
        next_slot: next,
        queue_end: line,
        now_serving: serving,
        slowdown: slowed,
        failures: strikes,
        breaker: pause,
    } = rate;
    let mut attributes = item([
        ("next", moment(*next)),
        ("queueEnd", moment(*line)),
        ("nowServing", moment(*serving)),
    ]);
    if let Some(Slowdown { at, rate }) = slowed {
        attributes.extend(item([("slowedAt", moment(*at)), ("slowedTo", number(*rate))]));
    }
    if let Some(FailureCount {
        code,
        count,
        since,
        openings,
    }) = strikes
    {
        attributes.extend(item([
            ("failures", number(*count)),
            ("strikesCode", text(code)),
            ("strikesSince", moment(*since)),
            ("openings", number(*openings)),
        ]));
    }
    if let Some(BreakerOpen { code, until }) = pause {
        attributes.extend(item([("pausedUntil", moment(*until)), ("pausedFor", text(code))]));
    }
    attributes
}

fn read(record: Record<'_>) -> Result<TenantRate, Error> {
    let slowed = match record.optional_moment("slowedAt")? {
        None => None,
        Some(at) => Some(Slowdown {
            at,
            rate: record.number("slowedTo")?,
        }),
    };
    let strikes = match record.optional_number("failures")? {
        None => None,
        Some(count) => Some(FailureCount {
            code: record.text("strikesCode")?.to_owned(),
            count,
            since: record.moment("strikesSince")?,
            openings: record.optional_number("openings")?.unwrap_or_default(),
        }),
    };
    let pause = match record.optional_moment("pausedUntil")? {
        None => None,
        Some(until) => Some(BreakerOpen {
            code: record.text("pausedFor")?.to_owned(),
            until,
        }),
    };
    Ok(TenantRate {
        next_slot: record.moment("next")?,
        queue_end: record.moment("queueEnd")?,
        now_serving: record.moment("nowServing")?,
        slowdown: slowed,
        failures: strikes,
        breaker: pause,
    })
}
