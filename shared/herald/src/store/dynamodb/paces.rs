//! The paces, in the ledger's table.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::attribute::{Item, Record, is_marked, item, moment, number, text};
use super::ledger::{Ledger, beside, key};
use super::{Condition, Error, Outrun, Put, ROUNDS, fresh_mark, pause, unavailable};
use crate::rate_limit::{BreakerOpen, Bucket, FailureCount, Slowdown, TenantRate};
use crate::store::Paces;

const VERB: &str = "keep a pace";

/// How many buckets one process knows at a time.
const SEATS_MAX: usize = 1000;

/// How old what was seen may be for an answer that writes nothing.
const FRESH: Duration = Duration::from_secs(1);

/// What this process saw last of each bucket.
///
/// A pace is written on the version that was seen, so what is too old costs a write that fails and no more. Only an
/// answer that writes nothing (wait, and keep your place) goes unproved, and that one is given by what was seen within
/// the last second of the machine's clock: whoever waits by it comes back a second too early or too late at the worst. A
/// machine that was frozen in between may not have counted that time; then somebody waits once more for what the pace
/// was before.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<HashMap<Bucket, Seat>>);

/// Those of this process who ask for one bucket take their turns here, so that they do not race each other in the table.
type Seat = Arc<tokio::sync::Mutex<Option<Seen>>>;

impl Seats {
    fn seat(&self, bucket: &Bucket) -> Seat {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seat) = seats.get(bucket) {
            return Arc::clone(seat);
        }
        // To forget costs a read each. Who still sits on a forgotten seat races the others in the table, which is no harm.
        if seats.len() == SEATS_MAX {
            seats.clear();
        }
        Arc::clone(seats.entry(bucket.clone()).or_default())
    }
}

/// What stands in the table, as far as is known.
#[derive(Debug)]
struct Seen {
    pace: TenantRate,
    /// Counts the puts, from 1; 0 when there is no item.
    version: u64,
    at: Instant,
}

impl Seen {
    fn of(verb: &'static str, item: Option<&Item>) -> Result<Self, Error> {
        let (pace, version) = match item {
            Some(item) => {
                let record = Record { verb, item };
                (read(record)?, record.number("version")?)
            }
            None => (TenantRate::default(), 0),
        };
        Ok(Self {
            pace,
            version,
            at: Instant::now(),
        })
    }
}

impl Paces for Ledger {
    async fn apply<T: Send>(
        &self,
        bucket: &Bucket,
        rule: impl Fn(&TenantRate) -> (T, Option<TenantRate>) + Send + Sync,
    ) -> Result<T, Error> {
        let mut answer = None;
        let mut rule = |pace: &TenantRate| {
            let (given, new) = rule(pace);
            answer = Some(given);
            new
        };
        self.keep(bucket, &mut rule).await?;
        answer.ok_or_else(|| unavailable(VERB)(Outrun))
    }
}

/// A rule, of which only what it has written is of interest.
type Rule<'a> = dyn FnMut(&TenantRate) -> Option<TenantRate> + Send + 'a;

impl Ledger {
    /// Applies a rule until what it says stands. Compiled once for all rules; a function would have a copy for each of its own.
    async fn keep(&self, bucket: &Bucket, rule: &mut Rule<'_>) -> Result<(), Error> {
        let key = key(&beside("pace", bucket.as_str()));
        let mark = fresh_mark();
        let look = async || Seen::of(VERB, self.table.get(VERB, key.clone()).await?.as_ref());
        let seat = self.seats.seat(bucket);
        let mut last = seat.lock().await;
        // Taken away: who fails below leaves nothing that may be wrong.
        let mut seen = match last.take() {
            Some(seen) => seen,
            None => look().await?,
        };
        for tries in 1..=ROUNDS {
            let Some(pace) = rule(&seen.pace) else {
                if seen.at.elapsed() < FRESH {
                    *last = Some(seen);
                    return Ok(());
                }
                seen = look().await?;
                continue;
            };
            let version = seen.version + 1;
            let condition = match seen.version {
                0 => Condition::absent("delivery"),
                version => Condition::equal("version", number(version)),
            };
            let mut attributes = write(&pace);
            attributes.extend(key.clone());
            attributes.extend(item([
                ("version", number(version)),
                ("mark", text(&mark)),
                ("expires", self.table.expiry()),
            ]));
            let standing = match self.table.put(VERB, attributes, condition).await? {
                Put::Written => None,
                // Our own, whose answer was lost.
                Put::Refused(Some(standing)) if is_marked(VERB, &standing, &mark)? => None,
                Put::Refused(standing) => Some(Seen::of(VERB, standing.as_ref())?),
            };
            match standing {
                None => {
                    *last = Some(Seen {
                        pace,
                        version,
                        at: Instant::now(),
                    });
                    return Ok(());
                }
                Some(standing) => seen = standing,
            }
            pause(tries).await;
        }
        Err(unavailable(VERB)(Outrun))
    }
}

fn write(pace: &TenantRate) -> Item {
    let TenantRate {
        next_slot: next,
        queue_end: line,
        now_serving: serving,
        slowdown: slowed,
        failures: strikes,
        breaker: pause,
    } = pace;
    let mut attributes = item([
        ("next", moment(*next)),
        ("line", moment(*line)),
        ("serving", moment(*serving)),
    ]);
    if let Some(Slowdown { at, rate }) = slowed {
        attributes.extend(item([("slowedAt", moment(*at)), ("slowedTo", number(*rate))]));
    }
    if let Some(FailureCount { code, count, since }) = strikes {
        attributes.extend(item([
            ("strikes", number(*count)),
            ("strikesCode", text(code)),
            ("strikesSince", moment(*since)),
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
    let strikes = match record.optional_number("strikes")? {
        None => None,
        Some(count) => Some(FailureCount {
            code: record.text("strikesCode")?.to_owned(),
            count,
            since: record.moment("strikesSince")?,
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
        queue_end: record.moment("line")?,
        now_serving: record.moment("serving")?,
        slowdown: slowed,
        failures: strikes,
        breaker: pause,
    })
}
