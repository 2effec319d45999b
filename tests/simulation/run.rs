//! The state that all parts of a run share: time, random numbers, tables, queues, and the book.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use herald::bot_health::BotHealth;
use herald::conversation::{Conversation, ConversationKey};
use herald::delivery::{DeliveryKey, Row};
use herald::event::memory::Events;
use herald::id::NotificationId;
use herald::notification::Notification;
use herald::rate_limit::{Bucket, TenantRate};
use herald::store::memory::Store;
use herald::store::{Conversations, Ledger, Notifications, RateLimits};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::book::Book;
use super::channel::Channel;
use super::fate::{Chance, Odds, Troubles};
use super::lock;
use super::queues::Sqs;
use super::tokens::Tokens;
use super::trace::Trace;

/// The true time at the start of every run, in seconds since 1970.
const BEGINNING: i64 = 1_800_000_000;

/// One run of one seed.
#[derive(Debug)]
pub(super) struct Run {
    /// The faults, until the run is calm.
    pub(super) troubles: Troubles,
    /// Decides when and where faults strike.
    pub(super) chance: Chance,
    /// The trace of events.
    pub(super) trace: Trace,
    /// The record of events, checked against the invariants.
    pub(super) book: Mutex<Book>,
    /// The tables.
    pub(super) store: Store,
    /// The queue to the planners.
    pub(super) plans: Sqs,
    /// The queue to the senders.
    pub(super) deliveries: Sqs,
    /// The queue to the function `events`.
    pub(super) upstream: Sqs,
    /// The other side.
    pub(super) channel: Channel,
    /// Where the bot gets its tokens.
    pub(super) tokens: Tokens,
    /// The published events.
    pub(super) events: Events,
    /// The text of a message that the channel refuses for its size.
    pub(super) oversized: OnceLock<String>,
    /// The largest page of a listing of conversations.
    pub(super) page: usize,
    /// The bot's own tenant, if it has one.
    pub(super) tenant: Option<String>,
    /// The TTL of cached rosters.
    pub(super) roster_ttl: SignedDuration,
    /// The largest audience that starts without a confirmation.
    pub(super) confirm_above: u64,
    /// Notified when an invariant is violated.
    pub(super) stopped: Notify,
    started: Instant,
    calm: AtomicBool,
}

impl Run {
    /// A run at its start. Requires that tokio's clock is paused.
    pub(super) fn new(troubles: Troubles, chance: Chance, page: usize) -> Self {
        let failed = *chance.pick(&[5, 60, 540]);
        let failed = Duration::from_secs(failed);
        let scheduler = chance.below(2) == 0;
        Self {
            confirm_above: if chance.below(5) == 0 {
                chance.between(1, 40)
            } else {
                10_000
            },
            roster_ttl: *chance.pick(&[SignedDuration::ZERO, SignedDuration::from_mins(5)]),
            tenant: (chance.below(2) == 0).then(|| "tenant0".to_owned()),
            plans: Sqs::new("plans", failed, scheduler),
            deliveries: Sqs::new("deliveries", failed, scheduler),
            upstream: Sqs::new("events", failed, scheduler),
            channel: Channel::new(&troubles, page),
            tokens: Tokens::default(),
            oversized: OnceLock::new(),
            troubles,
            chance,
            trace: Trace::default(),
            book: Mutex::default(),
            store: Store::new(),
            events: Events::new(),
            page,
            stopped: Notify::new(),
            started: Instant::now(),
            calm: AtomicBool::new(true),
        }
    }

    /// Virtual time since the start.
    pub(super) fn elapsed(&self) -> SignedDuration {
        SignedDuration::try_from(self.started.elapsed()).unwrap()
    }

    /// The true time, which SQS, Lambda and the channel use.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_second(BEGINNING).unwrap() + self.elapsed()
    }

    /// Whether this fault strikes now.
    pub(super) fn strikes(&self, odds: Odds) -> bool {
        !self.is_calm() && self.chance.strikes(odds)
    }

    /// Starts the faults.
    pub(super) fn stir_up(&self) {
        self.calm.store(false, Ordering::Relaxed);
        self.tell(&"fate", format_args!("faults begin: {:?}", self.troubles));
    }

    /// Stops the faults.
    pub(super) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
        self.tell(&"fate", format_args!("faults stop"));
    }

    /// Whether faults have stopped.
    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Whether the channel must never count more than its limits: permits are used when they are due, by clocks that agree.
    pub(super) fn keeps_rate_limits(&self) -> bool {
        let Troubles { slow, stall, .. } = self.troubles;
        self.troubles.clocks_agree() && [slow, stall] == [Odds(0); 2]
    }

    /// Whether every worker stops before its lease expires.
    pub(super) fn workers_keep_time(&self) -> bool {
        self.troubles.clocks_agree() && self.troubles.stall == Odds(0)
    }

    /// The largest difference between two clocks.
    pub(super) fn off(&self) -> SignedDuration {
        SignedDuration::try_from(self.troubles.skew * 2).unwrap()
    }

    /// The longest time between a worker's read and its next request.
    pub(super) fn slack(&self) -> SignedDuration {
        let Troubles {
            slow,
            slowness,
            stall,
            ..
        } = self.troubles;
        let mut slack = Duration::from_millis(60) + self.troubles.skew * 2;
        if slow > Odds(0) {
            slack += slowness * 2;
        }
        if stall > Odds(0) {
            slack += Duration::from_mins(2);
        }
        SignedDuration::try_from(slack).unwrap()
    }

    /// The current row of a delivery.
    pub(super) fn row(&self, delivery: &DeliveryKey) -> Option<Row> {
        at_once(self.store.rows(std::slice::from_ref(delivery)))
            .pop()
            .flatten()
    }

    /// The current head of a notification.
    pub(super) fn head(&self, id: &NotificationId) -> Option<Notification> {
        at_once(self.store.find(id))
    }

    /// The current record of a conversation.
    pub(super) fn conversation(&self, key: &ConversationKey) -> Option<Conversation> {
        at_once(self.store.get_many(std::slice::from_ref(key))).pop()
    }

    /// The current rate state of a bucket.
    pub(super) fn rate(&self, bucket: &Bucket) -> TenantRate {
        at_once(self.store.apply(bucket, |rate| (rate.clone(), None)))
    }

    /// The current record of the bot.
    pub(super) fn bot_health(&self) -> BotHealth {
        at_once(self.store.bot_health())
    }

    /// Writes a line into the trace.
    pub(super) fn tell(&self, who: &dyn fmt::Display, what: fmt::Arguments<'_>) {
        self.trace.line(self.elapsed(), who, what);
        if self.trace.is_endless() {
            self.stopped.notify_one();
        }
    }

    /// Reads or changes the book. If that records a violation, the run ends.
    pub(super) fn book<T>(&self, ask: impl FnOnce(&mut Book) -> T) -> T {
        let mut book = lock(&self.book);
        let before = book.violation().is_some();
        let answer = ask(&mut book);
        if !before && let Some(violation) = book.violation() {
            self.tell(&"invariant", format_args!("{violation}"));
            self.stopped.notify_one();
        }
        answer
    }

    /// Records a violation.
    pub(super) fn violated(&self, invariant: u8, what: fmt::Arguments<'_>) {
        self.book(|book| book.violated(invariant, what));
    }
}

/// The result of a call to the in-memory tables, which never wait and never fail.
pub(super) fn at_once<T, E: fmt::Debug>(answer: impl Future<Output = Result<T, E>>) -> T {
    answer.now_or_never().unwrap().unwrap()
}
