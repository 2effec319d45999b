//! Rate limits. As in Teams, a request counts on arrival.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

/// A number of requests in a period.
pub type Limit = (usize, SignedDuration);

/// The rate limits of a bot. Each list is sorted by period; an empty list is no limit.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// For all conversations of a tenant together.
    pub tenant: Vec<Limit>,
    /// For one conversation.
    pub conversation: Vec<Limit>,
    /// For one app at Graph in one tenant.
    pub graph: Vec<Limit>,
}

impl Limits {
    /// The limits that Microsoft documents for Teams and for Graph's installations.
    pub fn documented() -> Limits {
        let per = |most, seconds| (most, SignedDuration::from_secs(seconds));
        Limits {
            tenant: vec![per(50, 1)],
            conversation: vec![per(7, 1), per(8, 2), per(60, 30), per(1800, 3600)],
            graph: vec![per(30, 1)],
        }
    }
}

/// The arrivals within the longest period.
#[derive(Clone, Debug, Default)]
pub(super) struct Window(VecDeque<Timestamp>);

impl Window {
    /// Counts a request, and returns the limit that it exceeds.
    pub(super) fn count(&mut self, limits: &[Limit], now: Timestamp) -> Option<Limit> {
        let (_, longest) = limits.last()?;
        let is_over = |first: &Timestamp| now.duration_since(*first) >= *longest;
        while self.0.front().is_some_and(is_over) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        limits.iter().copied().find(|(most, per)| {
            let earlier = self.0.len().checked_sub(most + 1);
            earlier.is_some_and(|earlier| now.duration_since(self.0[earlier]) < *per)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eighth_request_of_a_second_is_too_many_and_a_second_later_it_is_not() {
        let (mut window, limits) = (Window::default(), Limits::documented().conversation);
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).unwrap();
        for _ in 0..7 {
            assert_eq!(window.count(&limits, at(0)), None);
        }
        assert_eq!(window.count(&limits, at(999)), Some(limits[0]));
        assert_eq!(window.count(&limits, at(1_999)), Some(limits[1]));
        assert_eq!(window.count(&limits, at(4_000)), None);
    }
}
