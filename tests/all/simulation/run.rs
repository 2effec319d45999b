//! What all parts of one run share: its time, its chance, its tables and queues, and the book of what happened.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use herald::conversation::{Conversation, ConversationKey};
use herald::delivery::{DeliveryKey, Row};
use herald::event::memory::Events;
use herald::id::NotificationId;
use herald::notification::Notification;
use herald::rate_limit::{Bucket, TenantRate};
use herald::store::memory::Store;
use herald::store::{Conversations, Ledger, Notifications, Paces};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::book::Book;
use super::channel::Channel;
use super::fate::{Chance, Odds, Troubles};
use super::lock;
use super::queues::Sqs;
use super::trace::Trace;

/// When every run begins, by the clock of nobody in particular.
const BEGINNING: i64 = 1_800_000_000;

/// One run of one seed.
#[derive(Debug)]
pub(super) struct Run {
    /// What goes wrong, until it is calm.
    pub(super) troubles: Troubles,
    /// When and where it goes wrong.
    pub(super) chance: Chance,
    /// What happened.
    pub(super) trace: Trace,
    /// What is known to have happened, and whether it may have.
    pub(super) book: Mutex<Book>,
    /// The tables.
    pub(super) store: Store,
    /// The queue to the planners.
    pub(super) plans: Sqs,
    /// The queue to the senders.
    pub(super) deliveries: Sqs,
    /// The other side.
    pub(super) channel: Channel,
    /// What was told.
    pub(super) events: Events,
    /// Conversations on a page of a listing, at most.
    pub(super) page: usize,
    /// The bot's own tenant, if it has one.
    pub(super) tenant: Option<String>,
    /// How long is believed what the channel told of a team.
    pub(super) roster_ttl: SignedDuration,
    /// The largest audience that goes ahead without a confirmation.
    pub(super) confirm_above: u64,
    /// Told once something happened that must not be.
    pub(super) stopped: Notify,
    started: Instant,
    calm: AtomicBool,
}

impl Run {
    /// A run at its beginning. To be made where tokio's clock stands still.
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
            channel: Channel::new(&troubles, page),
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

    /// Virtual time since the beginning.
    pub(super) fn elapsed(&self) -> SignedDuration {
        SignedDuration::try_from(self.started.elapsed()).unwrap()
    }

    /// The true time: by it SQS and Lambda work, and the channel.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_second(BEGINNING).unwrap() + self.elapsed()
    }

    /// Whether this trouble strikes now.
    pub(super) fn strikes(&self, odds: Odds) -> bool {
        !self.is_calm() && self.chance.strikes(odds)
    }

    /// From now on things go wrong.
    pub(super) fn stir_up(&self) {
        self.calm.store(false, Ordering::Relaxed);
        self.tell(&"fate", format_args!("faults begin: {:?}", self.troubles));
    }

    /// From now on nothing goes wrong any more.
    pub(super) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
        self.tell(&"fate", format_args!("faults stop"));
    }

    /// Whether faults have stopped.
    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Whether the channel must never count more than its limits: slots are used when they are due, by clocks that agree.
    pub(super) fn keeps_pace(&self) -> bool {
        let Troubles { slow, stall, .. } = self.troubles;
        self.troubles.clocks_agree() && [slow, stall] == [Odds(0); 2]
    }

    /// Whether no worker is still at work when its lease has ended.
    pub(super) fn workers_keep_time(&self) -> bool {
        self.troubles.clocks_agree() && self.troubles.stall == Odds(0)
    }

    /// How far two clocks are apart at most.
    pub(super) fn off(&self) -> SignedDuration {
        SignedDuration::try_from(self.troubles.skew * 2).unwrap()
    }

    /// How long may be between what a worker saw and what it does.
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

    /// The row of a delivery, as it stands.
    pub(super) fn row(&self, delivery: &DeliveryKey) -> Option<Row> {
        at_once(self.store.rows(std::slice::from_ref(delivery)))
            .pop()
            .flatten()
    }

    /// The head of a notification, as it stands.
    pub(super) fn head(&self, id: &NotificationId) -> Option<Notification> {
        at_once(self.store.find(id))
    }

    /// The record of a conversation, as it stands.
    pub(super) fn conversation(&self, key: &ConversationKey) -> Option<Conversation> {
        at_once(self.store.get_many(std::slice::from_ref(key))).pop()
    }

    /// The pace of a bucket, as it stands.
    pub(super) fn pace(&self, bucket: &Bucket) -> TenantRate {
        at_once(self.store.apply(bucket, |pace| (pace.clone(), None)))
    }

    /// Writes a line into the trace.
    pub(super) fn tell(&self, who: &dyn fmt::Display, what: fmt::Arguments<'_>) {
        self.trace.line(self.elapsed(), who, what);
        if self.trace.is_endless() {
            self.stopped.notify_one();
        }
    }

    /// Asks something of the book, or tells it. It notices what must not be; the run ends there.
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

    /// Notes what must not be.
    pub(super) fn violated(&self, invariant: u8, what: fmt::Arguments<'_>) {
        self.book(|book| book.violated(invariant, what));
    }
}

/// What the tables in memory say: they never wait, and never fail.
pub(super) fn at_once<T, E: fmt::Debug>(answer: impl Future<Output = Result<T, E>>) -> T {
    answer.now_or_never().unwrap().unwrap()
}
