//! The channel's limits (`protocol D.7`), counted as the channel counts them: when a request arrives.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// So many requests in so long.
type Limit = (usize, Duration);

/// For one bot in one tenant, all its conversations together.
pub(super) const TENANT: &[Limit] = &[(50, Duration::from_secs(1))];

/// For one app at Graph in one tenant (`protocol E`).
pub(super) const GRAPH: &[Limit] = &[(30, Duration::from_secs(1))];

/// For one bot in one conversation.
pub(super) const CONVERSATION: &[Limit] = &[
    (7, Duration::from_secs(1)),
    (8, Duration::from_secs(2)),
    (60, Duration::from_secs(30)),
    (1800, Duration::from_hours(1)),
];

/// The requests of the last hour, or of the last second.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<Instant>);

impl Window {
    /// Counts a request; the limit that it breaks, if it breaks one.
    pub(super) fn count(&mut self, limits: &[Limit], now: Instant) -> Option<Limit> {
        let longest = limits.last().map_or(Duration::ZERO, |(_, per)| *per);
        while self
            .0
            .front()
            .is_some_and(|first| now.duration_since(*first) >= longest)
        {
            self.0.pop_front();
        }
        self.0.push_back(now);
        limits.iter().copied().find(|(most, per)| {
            let earlier = self.0.len().checked_sub(most + 1);
            earlier.is_some_and(|earlier| now.duration_since(self.0[earlier]) < *per)
        })
    }
}
