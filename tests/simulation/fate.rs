//! Random numbers, and the faults that a seed draws.
//!
//! A run draws everything from its seed: the size of its world, which faults it has, and when they strike. Faults are not
//! spread evenly: most seeds have a few kinds, some of them often, and some seeds have none. If everything failed a little,
//! all runs would be alike. If one thing fails often and the rest works, the code after that fault is reached.

use std::sync::Mutex;
use std::time::Duration;

use super::lock;

/// Reproducible random numbers: `SplitMix64`.
#[derive(Debug)]
pub(super) struct Chance(Mutex<u64>);

impl Chance {
    /// The random numbers of a seed.
    pub(super) fn of(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    fn next(&self) -> u64 {
        let mut state = lock(&self.0);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A number from `least` to `most`, both included.
    pub(super) fn between(&self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// A duration from `least` to `most`.
    pub(super) fn wait(&self, least: Duration, most: Duration) -> Duration {
        let micros = |wait: Duration| u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.between(micros(least), micros(most)))
    }

    /// Whether a fault with these odds strikes now.
    pub(super) fn strikes(&self, odds: Odds) -> bool {
        // A fault with odds of zero draws no number, so a seed without that fault runs as if it did not exist.
        odds.0 > 0 && self.below(10_000) < u64::from(odds.0)
    }

    /// One of these values.
    pub(super) fn pick<'a, T>(&self, all: &'a [T]) -> &'a T {
        let index = self.below(all.len() as u64);
        &all[usize::try_from(index).unwrap()]
    }

    /// An index into a list of this length.
    pub(super) fn index(&self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    /// Sixteen bytes, as [`herald::clock::Random`] returns them.
    pub(super) fn bytes(&self) -> [u8; 16] {
        let (high, low) = (u128::from(self.next()), u128::from(self.next()));
        (high << 64 | low).to_be_bytes()
    }

    /// A separate generator for one part of the run, so that one more draw there changes no draw elsewhere.
    pub(super) fn fork(&self) -> Self {
        Self::of(self.next())
    }
}

/// A probability in ten-thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd)]
pub(super) struct Odds(pub(super) u32);

impl Odds {
    /// Zero, except in `seeds` of a hundred seeds, where it is at most `most`.
    fn drawn(chance: &Chance, seeds: u64, most: u32) -> Self {
        if chance.below(100) < seeds {
            Self(1 + u32::try_from(chance.below(u64::from(most))).unwrap())
        } else {
            Self(0)
        }
    }
}

/// The faults of a run until it is calm.
#[derive(Clone, Debug, Default)]
pub(super) struct Troubles {
    /// A worker dies at a call to a table, a queue or the channel.
    pub(super) crash: Odds,
    /// A table, a queue or the bus refuses a call.
    pub(super) away: Odds,
    /// A call is executed and its answer is lost.
    pub(super) lost: Odds,
    /// A call takes up to [`Troubles::slowness`].
    pub(super) slow: Odds,
    /// The longest time of a slow call.
    pub(super) slowness: Duration,
    /// A worker is paused for up to two minutes, and continues if it was not killed.
    pub(super) stall: Odds,
    /// A message is on the queue twice.
    pub(super) doubled: Odds,
    /// A message becomes visible again while it is processed, or after it was deleted.
    pub(super) redelivered: Odds,
    /// Scheduler gives up a message of a schedule.
    pub(super) dropped: Odds,
    /// A message is written by a function of the release before, or of the next one.
    pub(super) released: Odds,
    /// Messages arrive in any order.
    pub(super) reordered: bool,
    /// The largest error of a worker's clock.
    pub(super) skew: Duration,
    /// The faults of the channel.
    pub(super) channel: ChannelTroubles,
}

/// The faults of the channel, apart from what people do.
#[derive(Clone, Debug, Default)]
pub(super) struct ChannelTroubles {
    /// 429 below the published limit: the channel lowered it.
    pub(super) throttled: Odds,
    /// 412 although no other request was in flight.
    pub(super) concurrent: Odds,
    /// 500, 502, 503, 504 or 408 before the request was executed.
    pub(super) failed_before: Odds,
    /// The same after the request was executed.
    pub(super) failed_after: Odds,
    /// No connection was made.
    pub(super) unconnected: Odds,
    /// The connection broke before the request was executed.
    pub(super) cut_before: Odds,
    /// The connection broke after that, before or within the answer.
    pub(super) cut_after: Odds,
    /// A success without a body.
    pub(super) silent: Odds,
    /// The answer takes about 15 seconds.
    pub(super) slow: Odds,
    /// 404 for a conversation that exists.
    pub(super) missing: Odds,
    /// The message is refused for its content.
    pub(super) refused: Odds,
    /// A page of a roster repeats a person of an earlier page.
    pub(super) repeating: Odds,
    /// A person writes to the bot as soon as a conversation with them is created.
    pub(super) eager: Odds,
    /// The channel refuses to create a conversation with a person for whom the bot is installed.
    pub(super) behind: Odds,
    /// The lifetime of a roster's continuation token; unlimited if `None`.
    pub(super) roster_kept: Option<Duration>,
}

impl Troubles {
    /// Draws the faults of a seed.
    pub(super) fn drawn(chance: &Chance) -> Self {
        // One seed in ten has no faults, only the actions of people and callers.
        if chance.below(10) == 0 {
            return Self {
                skew: Duration::from_millis(20),
                ..Self::default()
            };
        }
        let odds = |seeds, most| Odds::drawn(chance, seeds, most);
        // In one seed of twenty the tables are unavailable about half of the time, and messages become dead letters.
        let out = chance.below(20) == 0;
        // In one seed of eight clocks are far off. There workers also pause more often, until their leases expire.
        let skewed = chance.below(8) == 0;
        Self {
            crash: odds(60, 200),
            away: if out { Odds(4000) } else { odds(40, 400) },
            lost: odds(40, 400),
            slow: odds(30, 500),
            slowness: chance.wait(Duration::from_millis(100), Duration::from_secs(8)),
            stall: if skewed { odds(50, 400) } else { odds(15, 40) },
            doubled: odds(40, 1500),
            redelivered: odds(40, 2000),
            dropped: odds(40, 3000),
            released: odds(20, 5000),
            reordered: chance.below(2) == 0,
            skew: if skewed {
                chance.wait(Duration::from_millis(100), Duration::from_secs(5))
            } else {
                Duration::from_millis(20)
            },
            channel: ChannelTroubles {
                throttled: odds(30, 1500),
                concurrent: odds(20, 1000),
                failed_before: odds(25, 1500),
                failed_after: odds(25, 1500),
                unconnected: odds(20, 1500),
                cut_before: odds(20, 1000),
                cut_after: odds(30, 1500),
                silent: odds(25, 3000),
                slow: odds(20, 300),
                missing: odds(20, 800),
                refused: odds(10, 500),
                repeating: odds(50, 8000),
                eager: odds(50, 8000),
                behind: odds(50, 8000),
                roster_kept: (chance.below(4) == 0)
                    .then(|| chance.wait(Duration::from_secs(1), Duration::from_mins(5))),
            },
        }
    }

    /// Whether the tables execute every call, and in time.
    pub(super) fn tables_are_well(&self) -> bool {
        [self.crash, self.away, self.lost, self.slow, self.stall] == [Odds(0); 5]
    }

    /// Whether clocks agree well enough that permits of one clock keep their distance by another.
    pub(super) fn clocks_agree(&self) -> bool {
        self.skew <= Duration::from_millis(50)
    }
}
