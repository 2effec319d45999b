//! Permits: when a request may be made to a tenant, and when to a conversation.
//!
//! The channel's limits are data ([`Limits`]). For each [`Bucket`], one bot in one tenant, the store keeps one [`Pace`];
//! the rules below say what it becomes, and the store applies a rule in one conditional write, so any number of workers
//! stay under the limit together.
//!
//! - [`reserve`] hands out slots by virtual scheduling (GCRA without a burst): a block of requests takes the next free
//!   slots, one after the other. Only slots of the next few seconds ([`HORIZON`]) are handed out, so that a worker never
//!   waits long in a running function, and what a dead worker had reserved is a second's worth.
//! - Who comes while more is waiting than that *stands in line*: it gets the moment of its turn, goes back to the queue
//!   until then, and keeps its place however the tenant's pace changes.
//! - [`throttle`] is the channel's 429: nobody's slot is before its `Retry-After`, and the rate is halved; it recovers by
//!   one request a second each second.
//! - [`strike`] counts refusals that speak of the tenant rather than of a conversation; several with no message arriving in
//!   between pause the tenant, and one that arrives ends that ([`clear`]).
//!
//! [`Spacing`] is the limit of one conversation, kept in its turn ([`crate::delivery::Turn`]).

use std::fmt;
use std::str::FromStr;

use botframework::id::ConversationId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::conversation::{ConversationKey, Person, PersonKey};

#[cfg(test)]
mod tests;

/// Slots further ahead than this are not handed out.
pub const HORIZON: SignedDuration = SignedDuration::from_secs(4);

/// A chunk comes back from the line so long before its turn: SQS counts delays in whole seconds.
const EARLY: SignedDuration = SignedDuration::from_secs(2);

/// Nobody is asked to come again sooner.
const SOONEST: SignedDuration = SignedDuration::from_secs(1);

/// How much faster a slowed tenant becomes each second: requests in 1,000 seconds, so one a second.
const RECOVERY: u64 = 1000;

/// The slowest a tenant becomes: one request a second.
const SLOWEST: u64 = 1000;

/// After so long without a request nobody stands in line any more: those who did were cancelled, or had nothing to send.
const DESERTED: SignedDuration = SignedDuration::from_secs(30);

/// Refusals of one burst count as one.
const BURST: SignedDuration = SignedDuration::from_secs(2);

/// How long the next slot is put off by a 429 that names no time.
const UNNAMED_WAIT: SignedDuration = SignedDuration::from_secs(1);

/// So many strikes within [`STRIKES_WITHIN`] pause a tenant.
const STRIKES_MAX: u32 = 3;
const STRIKES_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// How long a tenant is paused. Then one delivery after the other finds out whether it is still so.
const PAUSE: SignedDuration = SignedDuration::from_mins(15);

/// What one pace is kept for: a bot in a tenant, on a channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bucket(String);

impl Bucket {
    /// The bucket of a conversation. Channels without tenants have one for each bot.
    pub fn of(conversation: &ConversationKey, tenant: Option<&str>) -> Self {
        Self(format!("{}|{}", conversation.place(), tenant.unwrap_or_default()))
    }

    /// The bucket of the same bot at Microsoft Graph, in the same tenant. No channel is called so.
    #[must_use]
    pub fn of_graph(&self) -> Self {
        let after_channel = self.0.split_once('|').map_or("", |(_, rest)| rest);
        Self(format!("graph|{after_channel}"))
    }

    /// The bucket as it stands in tables and queues.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Channel and bot, as [`ConversationKey::place`] has them: neither has a bar in it.
    fn place(&self) -> &str {
        let bars = self.0.match_indices('|').map(|(at, _)| at);
        bars.take(2).last().map_or(&self.0, |second| &self.0[..second])
    }

    /// Whether the conversation is of this bucket's bot, on its channel.
    pub fn is_of(&self, conversation: &ConversationKey) -> bool {
        self.place() == conversation.place()
    }

    /// The conversation of this bucket's bot, on its channel, by its id.
    pub fn conversation(&self, id: ConversationId) -> Option<ConversationKey> {
        ConversationKey::from_place(id, self.place()).ok()
    }

    /// A person of this bucket's tenant, if it has one.
    pub fn person(&self, person: Person) -> Option<PersonKey> {
        let tenant = self.tenant()?.to_owned();
        let ConversationKey { channel, bot, .. } = self.conversation("".into())?;
        Some(PersonKey {
            channel,
            bot,
            tenant,
            person,
        })
    }

    /// Whether its channel is Teams.
    pub fn is_of_teams(&self) -> bool {
        self.0.split('|').next() == Some("msteams")
    }

    /// The tenant, if there is one.
    pub fn tenant(&self) -> Option<&str> {
        let tenant = self.0.splitn(3, '|').nth(2)?;
        (!tenant.is_empty()).then_some(tenant)
    }
}

/// So many requests in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Requests, at least 1.
    pub requests: u32,
    /// The window.
    pub per: SignedDuration,
}

/// What a channel lets a bot do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For one bot in one tenant, all its conversations together.
    pub tenant: Limit,
    /// For one bot in one conversation; each of them holds.
    pub conversation: Vec<Limit>,
    /// For the bot's app at Microsoft Graph, in one tenant.
    pub graph: Limit,
    /// How many people one request of the batch API may name.
    pub batch: usize,
}

impl Limits {
    /// Those that Teams publishes (`PROTOCOL.md#d7`): 50 requests a second for a bot in a tenant, of which we take 45, and
    /// for a conversation 7 in one second, 8 in two, 60 in thirty, 1,800 in an hour. Of Graph, 27 of 30 a second for an app in a
    /// tenant (`PROTOCOL.md#e`). How long a list of the batch API may be is published nowhere that we could read: a hundred is
    /// commonly quoted, and not verified.
    pub fn teams() -> Self {
        let limit = |requests, seconds| Limit {
            requests,
            per: SignedDuration::from_secs(seconds),
        };
        Self {
            tenant: limit(45, 1),
            conversation: vec![limit(7, 1), limit(8, 2), limit(60, 30), limit(1800, 3600)],
            graph: limit(27, 1),
            batch: 100,
        }
    }
}

/// The text is not a limit.
#[derive(Debug, thiserror::Error)]
#[error("must be requests and seconds like `45/1s`")]
pub struct InvalidLimit;

impl FromStr for Limit {
    type Err = InvalidLimit;

    /// Reads `45/1s`: forty-five requests in one second.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (requests, seconds) = text
            .trim()
            .strip_suffix('s')
            .and_then(|text| text.split_once('/'))
            .ok_or(InvalidLimit)?;
        let requests: u32 = requests.parse().map_err(|_| InvalidLimit)?;
        let seconds: u32 = seconds.parse().map_err(|_| InvalidLimit)?;
        if requests == 0 || seconds == 0 {
            return Err(InvalidLimit);
        }
        Ok(Self {
            requests,
            per: SignedDuration::from_secs(i64::from(seconds)),
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}s", self.requests, self.per.as_secs())
    }
}

impl Limit {
    /// Requests in 1,000 seconds.
    fn rate(self) -> u64 {
        let milliseconds = u64::try_from(self.per.as_millis()).unwrap_or(u64::MAX).max(1);
        (u64::from(self.requests) * 1_000_000 / milliseconds).max(1)
    }
}

/// How far apart requests to one conversation are: a few at once, then one every so often.
///
/// Made so that no window of any of its limits ever holds more than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spacing {
    burst: u32,
    interval: SignedDuration,
}

impl Spacing {
    /// The spacing that keeps all of these limits.
    ///
    /// After a burst of `b`, one request every `T`: a window of length `w` sees `b + w/T` at most, so `T` is the longest
    /// `w / (n - b)` of all limits of `n` in `w`, and `b` is one less than the smallest `n`.
    pub fn within(limits: &[Limit]) -> Self {
        let least = limits.iter().map(|limit| limit.requests).min().unwrap_or(1);
        let burst = least.saturating_sub(1).max(1);
        let interval = limits
            .iter()
            .map(|limit| {
                let left = limit.requests.saturating_sub(burst).max(1);
                // Rounded up to the millisecond in which tables keep moments.
                let milliseconds = limit.per.as_millis().max(0) / i128::from(left) + 1;
                SignedDuration::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX))
            })
            .max()
            .unwrap_or_default();
        Self { burst, interval }
    }

    /// Takes the right to one request at `now`, after those that brought `next` about: what `next` becomes.
    ///
    /// # Errors
    /// The moment from which on it may be taken.
    pub fn take(self, next: Option<Timestamp>, now: Timestamp) -> Result<Timestamp, Timestamp> {
        let next = next.unwrap_or(now).max(now);
        let ahead = i32::try_from(self.burst - 1).unwrap_or(i32::MAX);
        let free = earlier(next, self.interval.saturating_mul(ahead));
        if free > now {
            return Err(free);
        }
        Ok(later(next, self.interval))
    }
}

/// What is known of one bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// The first free slot.
    pub next: Timestamp,
    /// When everything that stands in line will have been sent.
    pub line: Timestamp,
    /// The turn of whoever was served last.
    pub serving: Timestamp,
    /// The rate it was slowed to, and when.
    pub slowed: Option<Slowed>,
    /// Refusals that may be the tenant's.
    pub strikes: Option<Strikes>,
    /// Nothing is sent before then.
    pub pause: Option<Pause>,
}

/// A rate below the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slowed {
    /// Since when.
    pub at: Timestamp,
    /// Requests in 1,000 seconds at that moment.
    pub rate: u64,
}

/// Refusals of one kind, with no message arriving in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strikes {
    /// The channel's code.
    pub code: String,
    /// How many.
    pub count: u32,
    /// Since when.
    pub since: Timestamp,
}

/// A tenant to which nothing is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The channel's code.
    pub code: String,
    /// Until when.
    pub until: Timestamp,
}

impl Pace {
    /// Whether refusals were counted that may be the tenant's.
    pub fn is_suspected(&self) -> bool {
        self.strikes.is_some() || self.pause.is_some()
    }

    /// Requests in 1,000 seconds at this moment.
    fn rate(&self, limit: Limit, now: Timestamp) -> u64 {
        let full = limit.rate();
        let Some(slowed) = self.slowed else { return full };
        let seconds = u64::try_from(now.duration_since(slowed.at).as_secs()).unwrap_or(0);
        slowed
            .rate
            .saturating_add(seconds.saturating_mul(RECOVERY))
            .min(full)
    }

    /// Requests a second at this moment, for whoever wants to know.
    pub fn requests_per_second(&self, limit: Limit, now: Timestamp) -> f64 {
        f64::from(u32::try_from(self.rate(limit, now)).unwrap_or(u32::MAX)) / 1000.0
    }

    /// When so many more requests will have been made, all that stand in line before them.
    pub fn finish(&self, limit: Limit, requests: u64, now: Timestamp) -> Timestamp {
        let resumes = self.pause.as_ref().map_or(now, |pause| pause.until.max(now));
        let begins = self.next.max(resumes).max(self.line);
        later(begins, span(requests, self.rate(limit, now)))
    }
}

/// What a worker asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Slots to be used now.
    pub block: u32,
    /// Slots that will be asked for with them and after them: what a place in the line is for.
    pub whole: u32,
    /// The turn it was given before, if it stood in line.
    pub turn: Option<Timestamp>,
}

/// What a worker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Requests may be made at these moments.
    Permits(Permits),
    /// None now; ask again then.
    Later {
        /// When.
        until: Timestamp,
        /// The place in the line.
        turn: Option<Timestamp>,
        /// Why.
        why: Why,
    },
}

/// Why there is no permit now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Others are before it.
    InLine,
    /// The tenant is paused, for this code.
    Paused(String),
}

/// Moments at which one request each may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permits {
    from: Timestamp,
    rate: u64,
    suspected: bool,
}

impl Permits {
    /// Whether refusals were counted that may be the tenant's: a message that arrives is to be told by [`clear`].
    pub fn suspected(&self) -> bool {
        self.suspected
    }

    /// The moment of the request with this number, from 0.
    pub fn slot(&self, number: u32) -> Timestamp {
        later(self.from, span(u64::from(number), self.rate))
    }
}

/// Hands out slots, or a place in the line. The pace to write, if it changes.
pub fn reserve(pace: &Pace, limit: Limit, wish: Wish, now: Timestamp) -> (Answer, Option<Pace>) {
    if let Some(pause) = &pace.pause
        && pause.until > now
    {
        let answer = Answer::Later {
            until: pause.until,
            turn: wish.turn,
            why: Why::Paused(pause.code.clone()),
        };
        return (answer, None);
    }
    let rate = pace.rate(limit, now);
    let from = pace.next.max(now);
    // Whoever comes then with a turn keeps it, and is served before it.
    let deserted = (now.duration_since(pace.next) > DESERTED).then(|| Pace {
        line: now,
        serving: now,
        ..pace.clone()
    });
    let pace = deserted.as_ref().unwrap_or(pace);
    let near = from.duration_since(now) <= HORIZON;
    let ours = match wish.turn {
        Some(turn) => turn.duration_since(now) <= HORIZON,
        None => pace.line.duration_since(now) <= HORIZON,
    };
    if near && ours {
        let next = whole_millisecond(later(from, span(u64::from(wish.block), rate)));
        let new = Pace {
            next,
            line: pace.line.max(next),
            // Who did not stand in line is served as if it stood first in one.
            serving: pace.serving.max(wish.turn.unwrap_or(from)),
            pause: None,
            slowed: pace.slowed.filter(|_| rate < limit.rate()),
            ..pace.clone()
        };
        let permits = Permits {
            from,
            rate,
            suspected: pace.is_suspected(),
        };
        return (Answer::Permits(permits), Some(new));
    }
    let (turn, serving, new) = match wish.turn {
        // It keeps its place.
        Some(turn) => (turn, pace.serving, None),
        None => {
            // The line moves as fast as the limit lets it: who comes too early waits a little more, who comes too late
            // would leave slots unused.
            let turn = pace.line.max(from);
            let line = whole_millisecond(later(turn, span(u64::from(wish.whole), limit.rate())));
            // Who stands first in a new line is next; what was served long ago says nothing of this one.
            let serving = if pace.line <= from { from } else { pace.serving };
            let new = Pace {
                line,
                serving,
                ..pace.clone()
            };
            (turn, serving, Some(new))
        }
    };
    // When the tenant is slower than its line, everybody in it is late by as much as those who are served now.
    let late = now.duration_since(serving).max(SignedDuration::ZERO);
    let until = earlier(from.max(later(turn, late)), EARLY);
    let answer = Answer::Later {
        until: until.max(later(now, SOONEST)),
        turn: Some(turn),
        why: Why::InLine,
    };
    (answer, new)
}

/// What the pace becomes when the channel throttled a request, and asked for so long a wait.
pub fn throttle(pace: &Pace, limit: Limit, asked: Option<SignedDuration>, now: Timestamp) -> Pace {
    let burst = pace
        .slowed
        .is_some_and(|slowed| now.duration_since(slowed.at) < BURST);
    let rate = (pace.rate(limit, now) / 2).max(SLOWEST.min(limit.rate()));
    let next = whole_millisecond(later(now, asked.unwrap_or(UNNAMED_WAIT)));
    Pace {
        next: pace.next.max(next),
        slowed: if burst {
            pace.slowed
        } else {
            Some(Slowed { at: now, rate })
        },
        ..pace.clone()
    }
}

/// What the pace becomes when a message arrived in a tenant that was suspected to refuse them all: it does not.
pub fn clear(pace: &Pace) -> Option<Pace> {
    pace.is_suspected().then(|| Pace {
        strikes: None,
        pause: None,
        ..pace.clone()
    })
}

/// What the pace becomes when a conversation was refused for what may be its tenant's. Several such refusals with no message
/// arriving in between ([`clear`]) pause the tenant; the pause is then in the pace that is returned.
pub fn strike(pace: &Pace, code: &str, now: Timestamp) -> Pace {
    let (count, since) = match &pace.strikes {
        Some(strikes) if strikes.code == code && now.duration_since(strikes.since) < STRIKES_WITHIN => {
            (strikes.count + 1, strikes.since)
        }
        _ => (1, now),
    };
    let pause = (count >= STRIKES_MAX).then(|| Pause {
        code: code.to_owned(),
        until: later(now, PAUSE),
    });
    // After the pause the first such refusal pauses it again.
    let strikes = Strikes {
        code: code.to_owned(),
        count: count.min(STRIKES_MAX - 1),
        since: if pause.is_some() { later(now, PAUSE) } else { since },
    };
    Pace {
        strikes: Some(strikes),
        pause: pause.or_else(|| pace.pause.clone()),
        ..pace.clone()
    }
}

/// How long so many requests take at a rate of requests in 1,000 seconds.
fn span(requests: u64, rate: u64) -> SignedDuration {
    let nanoseconds = u128::from(requests) * 1_000_000_000_000 / u128::from(rate.max(1));
    SignedDuration::from_nanos(i64::try_from(nanoseconds).unwrap_or(i64::MAX))
}

fn later(moment: Timestamp, wait: SignedDuration) -> Timestamp {
    moment.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

fn earlier(moment: Timestamp, by: SignedDuration) -> Timestamp {
    moment.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

/// Tables keep moments in milliseconds; a slot must not come back earlier than it was.
fn whole_millisecond(moment: Timestamp) -> Timestamp {
    let milliseconds = moment.as_millisecond();
    match Timestamp::from_millisecond(milliseconds) {
        Ok(whole) if whole < moment => Timestamp::from_millisecond(milliseconds + 1).unwrap_or(moment),
        Ok(whole) => whole,
        Err(_) => moment,
    }
}
