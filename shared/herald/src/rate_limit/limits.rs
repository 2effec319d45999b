//! The channel's published limits.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;

use super::Bucket;

/// A number of requests in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Requests, at least 1.
    pub requests: u32,
    /// The length of the window.
    pub per: SignedDuration,
}

/// The limits of a bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For one bot in one tenant, all its conversations together.
    pub tenant: Limit,
    /// For one bot in one conversation; all of them hold.
    pub conversation: Vec<Limit>,
    /// For the bot's app at Microsoft Graph, in one tenant.
    pub graph: Limit,
    /// The most members of one request to the batch API.
    pub batch: usize,
}

impl Limits {
    /// The limits that Teams publishes (`PROTOCOL.md#d7`): 50 requests a second for a bot in a tenant, of which 45 are used, and
    /// for a conversation 7 in one second, 8 in two, 60 in thirty, 1,800 in an hour. Of Graph, 27 of 30 a second for an app in
    /// a tenant (`PROTOCOL.md#e`). The batch API's size limit is published nowhere that we could read: a hundred is commonly
    /// quoted, and not verified.
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

    /// The limit of a bucket.
    pub fn of(&self, bucket: &Bucket) -> Limit {
        if bucket.is_graph() {
            self.graph
        } else {
            self.tenant
        }
    }
}

/// The text is not a limit.
#[derive(Debug, thiserror::Error)]
#[error("must be requests and seconds like `45/1s`")]
pub struct InvalidLimit;

impl FromStr for Limit {
    type Err = InvalidLimit;

    /// Parses `45/1s`: forty-five requests in one second.
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
    pub(super) fn rate(self) -> u64 {
        let milliseconds = u64::try_from(self.per.as_millis()).unwrap_or(u64::MAX).max(1);
        (u64::from(self.requests) * 1_000_000 / milliseconds).max(1)
    }
}
