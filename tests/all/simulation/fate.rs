//! Chance, and what a seed makes of it.
//!
//! A run draws everything from its seed: how large its world is, what goes wrong in it, and when. Trouble does not come in
//! equal parts: most seeds have a few kinds of it, some of these badly, some seeds none at all. Where everything fails a
//! little, every run is like every other; where one thing fails often and the rest works, what depends on the rest shows.

use std::sync::Mutex;
use std::time::Duration;

use super::lock;

/// Random numbers that replay: `SplitMix64`.
#[derive(Debug)]
pub(super) struct Chance(Mutex<u64>);

impl Chance {
    /// The numbers of a seed.
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

    /// A number below this one.
    pub(super) fn below(&self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A number from `least` to `most`, both included.
    pub(super) fn between(&self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// A time from `least` to `most`.
    pub(super) fn wait(&self, least: Duration, most: Duration) -> Duration {
        let micros = |wait: Duration| u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.between(micros(least), micros(most)))
    }

    /// Whether something happens that happens so often.
    pub(super) fn strikes(&self, odds: Odds) -> bool {
        // What never happens draws nothing: a seed without a kind of trouble runs as if there were none.
        odds.0 > 0 && self.below(10_000) < u64::from(odds.0)
    }

    /// One of these.
    pub(super) fn pick<'a, T>(&self, all: &'a [T]) -> &'a T {
        let index = self.below(all.len() as u64);
        &all[usize::try_from(index).unwrap()]
    }

    /// A place in a list of this length.
    pub(super) fn index(&self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    /// Sixteen bytes, as [`herald::clock::Chance`] deals them.
    pub(super) fn bytes(&self) -> [u8; 16] {
        let (high, low) = (u128::from(self.next()), u128::from(self.next()));
        (high << 64 | low).to_be_bytes()
    }

    /// Numbers of their own for one part of the run, so that one more draw there changes no draw elsewhere.
    pub(super) fn fork(&self) -> Self {
        Self::of(self.next())
    }
}

/// How often something happens, in ten thousand times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd)]
pub(super) struct Odds(pub(super) u32);

impl Odds {
    /// In `seeds` of a hundred seeds it happens at all, and then at most so often.
    fn drawn(chance: &Chance, seeds: u64, most: u32) -> Self {
        if chance.below(100) < seeds {
            Self(1 + u32::try_from(chance.below(u64::from(most))).unwrap())
        } else {
            Self(0)
        }
    }
}

/// What goes wrong in a run until it is calm.
#[derive(Clone, Debug, Default)]
pub(super) struct Troubles {
    /// A worker dies at a call to a table, a queue or the channel.
    pub(super) crash: Odds,
    /// A table, a queue or the bus refuses.
    pub(super) away: Odds,
    /// It did what was asked, and its answer was lost.
    pub(super) lost: Odds,
    /// It takes up to [`Troubles::slowness`].
    pub(super) slow: Odds,
    /// How long a slow call takes at most.
    pub(super) slowness: Duration,
    /// The worker stands still for up to two minutes, and then goes on if it was not killed.
    pub(super) stall: Odds,
    /// A message is on the queue twice.
    pub(super) doubled: Odds,
    /// A message is visible again while it is worked on, or after it was deleted.
    pub(super) redelivered: Odds,
    /// Messages come in any order.
    pub(super) reordered: bool,
    /// How far a worker's clock is off at most.
    pub(super) skew: Duration,
    /// What the channel does.
    pub(super) channel: ChannelTroubles,
}

/// What goes wrong at the channel, besides what people do.
#[derive(Clone, Debug, Default)]
pub(super) struct ChannelTroubles {
    /// 429 although no limit was reached: the channel lowered it.
    pub(super) throttled: Odds,
    /// 412 although nothing else was under way.
    pub(super) concurrent: Odds,
    /// 500, 502, 503, 504 or 408 before the request was carried out.
    pub(super) failed_before: Odds,
    /// The same after.
    pub(super) failed_after: Odds,
    /// No connection was made.
    pub(super) unconnected: Odds,
    /// The connection broke before the request was carried out.
    pub(super) cut_before: Odds,
    /// It broke after, before or within the answer.
    pub(super) cut_after: Odds,
    /// A success without a body.
    pub(super) silent: Odds,
    /// The answer takes about 15 seconds.
    pub(super) slow: Odds,
    /// A conversation is not found that is there.
    pub(super) missing: Odds,
    /// The message is refused for what it is.
    pub(super) refused: Odds,
    /// A page of a roster repeats somebody of an earlier one.
    pub(super) repeating: Odds,
    /// Whoever a conversation is created with writes in it at once.
    pub(super) eager: Odds,
    /// No conversation is created with somebody for whom the bot is installed, as if it were not.
    pub(super) behind: Odds,
    /// How long a roster can be read on from where a page ended; for ever, without it.
    pub(super) roster_kept: Option<Duration>,
}

impl Troubles {
    /// What a seed brings.
    pub(super) fn drawn(chance: &Chance) -> Self {
        // One seed in ten has no trouble but what people and callers make.
        if chance.below(10) == 0 {
            return Self {
                skew: Duration::from_millis(20),
                ..Self::default()
            };
        }
        let odds = |seeds, most| Odds::drawn(chance, seeds, most);
        // In one seed of twenty the tables are away about half of the time, and messages are given up.
        let out = chance.below(20) == 0;
        // In one of eight clocks are far off; there workers also stand still more often, until others take them for dead.
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
                behind: odds(30, 7000),
                roster_kept: (chance.below(4) == 0)
                    .then(|| chance.wait(Duration::from_secs(1), Duration::from_mins(5))),
            },
        }
    }

    /// Whether the tables do what they are asked, when they are asked.
    pub(super) fn tables_are_well(&self) -> bool {
        [self.crash, self.away, self.lost, self.slow, self.stall] == [Odds(0); 5]
    }

    /// Whether clocks are near enough for slots of one clock to keep their distance by another.
    pub(super) fn clocks_agree(&self) -> bool {
        self.skew <= Duration::from_millis(50)
    }
}
