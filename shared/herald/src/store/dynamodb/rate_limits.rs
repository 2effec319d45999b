//! Rate limits, in the ledger's table.

use tokio::time::Instant;

use super::attribute::{Item, Record, has_token, item, json, moment, number, text};
use super::ledger::{Ledger, key, prefixed_key};
use super::rate_cache::{CACHE_TTL, CachedRate};
use super::{Consistency, Error, Expression, MAX_CAS_ROUNDS, Put, backoff, new_write_token};
use crate::bot_health::BotHealth;
use crate::rate_limit::{BreakerOpen, Bucket, FailureCount, Slowdown, TenantRate};
use crate::store::{RateLimits, Rule};

const VERB: &str = "update a rate limit";

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
            let mut attributes = write(&rate)?;
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

fn write(rate: &TenantRate) -> Result<Item, Error> {
    let TenantRate {
        next_slot: next,
        flows,
        slowdown: slowed,
        failures: strikes,
        breaker: pause,
    } = rate;
    let mut attributes = item([("next", moment(*next))]);
    if !flows.is_empty() {
        attributes.extend(item([("flows", json(VERB, "flows", flows)?)]));
    }
    if let Some(Slowdown { at, rate }) = slowed {
        attributes.extend(item([("slowedAt", moment(*at)), ("slowedTo", number(*rate))]));
    }
    if let Some(FailureCount {
        code,
        count,
        since,
        openings,
        opened_at,
    }) = strikes
    {
        attributes.extend(item([
            ("failures", number(*count)),
            ("strikesCode", text(code)),
            ("strikesSince", moment(*since)),
            ("openings", number(*openings)),
        ]));
        attributes.extend(opened_at.map(|at| ("openedAt".to_owned(), moment(at))));
    }
    if let Some(BreakerOpen { code, until }) = pause {
        attributes.extend(item([("pausedUntil", moment(*until)), ("pausedFor", text(code))]));
    }
    Ok(attributes)
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
            opened_at: record.optional_moment("openedAt")?,
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
        flows: match record.optional_text("flows")? {
            Some(_) => record.json("flows")?,
            None => Vec::new(),
        },
        slowdown: slowed,
        failures: strikes,
        breaker: pause,
    })
}
