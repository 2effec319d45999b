//! The book of a run: what is known to have happened, kept apart from the engine's own records, and whether it may have.
//!
//! The engine's tables say what the engine believes. The book is written where things happen: when a lease is given, when a
//! request leaves, when the channel carries it out, when a caller's cancel is acknowledged. Each entry is held against the
//! others and against the tables at that very instant, so a run that goes wrong ends at the step that was wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use herald::audience::Selector;
use herald::conversation::{ConversationKey, State};
use herald::delivery::{self, Asked as Claiming, DeliveryKey, OnUnknown, Outcome, Row};
use herald::id::NotificationId;
use herald::notification::Notification;
use jiff::{SignedDuration, Timestamp};

use super::channel::Done;
use super::lambda::Environment;
use super::run::Run;
use super::wire::{Asked, Heard, Verb};

/// How long after a word of the caller nothing may begin any more against it.
const HEARD_WITHIN: SignedDuration = SignedDuration::from_millis(1100);

/// How long permits that were given before a `Retry-After` may still be used by those who have not heard of it.
const PERMITS_OUTLIVE: SignedDuration = SignedDuration::from_secs(40);

/// What a run has come to.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// By their number, which their messages say.
    pub(super) wanted: Vec<Wanted>,
    /// Every request that ever left a worker.
    pub(super) requests: Vec<Request>,
    /// The last lease of each delivery, by notification and conversation.
    leases: BTreeMap<(usize, String), Lease>,
    /// Requests whose workers wait for an answer.
    open: Vec<usize>,
    /// Since when conversations are known to be removed or blocked.
    unwritable: BTreeMap<ConversationKey, Timestamp>,
    /// Those that ever were.
    unwritten: BTreeSet<String>,
    /// What the channel asked for by `Retry-After`.
    holds: Vec<Hold>,
    heads: BTreeMap<NotificationId, Notification>,
    violation: Option<String>,
}

/// A notification as its caller knows it.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Its id, once it is accepted.
    pub(super) id: Option<NotificationId>,
    /// Whether its caller was told that it is accepted.
    pub(super) acknowledged: bool,
    /// Who it is for.
    pub(super) audience: Vec<Selector>,
    pub(super) on_unknown: OnUnknown,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) deliver_at: Option<Timestamp>,
    /// When it was acknowledged that it is cancelled.
    pub(super) cancelled: Option<Timestamp>,
    /// When it was acknowledged that it has its second content, its third, …
    pub(super) revised: Vec<Timestamp>,
    /// When it was acknowledged that it is retracted.
    pub(super) retracted: Option<Timestamp>,
    /// What its last content says; nothing, when it is retracted.
    pub(super) text: Option<String>,
}

impl Wanted {
    /// It was acknowledged that it shows this from now on; nothing, when it is retracted.
    pub(super) fn revise(&mut self, text: Option<String>, now: Timestamp) {
        match &text {
            Some(_) => self.revised.push(now),
            None => self.retracted = Some(now),
        }
        self.text = text;
    }
}

/// A worker's right to one attempt.
#[derive(Debug)]
struct Lease {
    holder: Holder,
    key: DeliveryKey,
    conversation: ConversationKey,
    place: Option<usize>,
    attempt: u32,
    revises: bool,
    /// When the claim began that it came from.
    began: Timestamp,
    until: Timestamp,
    requests: u32,
    written: bool,
}

/// One invocation of one environment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder(String, u32);

impl Holder {
    fn of(environment: &Environment) -> Self {
        let invocation = environment.invocation.load(std::sync::atomic::Ordering::Relaxed);
        Self(environment.to_string(), invocation)
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing yet.
    UnderWay,
    /// It was not carried out.
    Refused,
    /// It was.
    CarriedOut,
}

/// A request that left a worker.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) fate: Fate,
    /// Which notification it sent, and in which revision, if it sent one.
    pub(super) sends: Option<(usize, u32)>,
    /// Of which delivery, by the id of its conversation.
    pub(super) delivery: Option<(usize, String)>,
    /// Where it leads.
    pub(super) place: Option<usize>,
    /// The message it brought about.
    pub(super) activity: Option<String>,
    /// When it left.
    began: Timestamp,
    holder: Holder,
    conversation: Option<String>,
}

#[derive(Debug)]
struct Hold {
    tenant: usize,
    holder: Holder,
    from: Timestamp,
    until: Timestamp,
}

impl Book {
    /// What must not be, and has happened.
    pub(super) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// Notes what must not be. The first is the one that counts.
    pub(super) fn violated(&mut self, invariant: u8, what: fmt::Arguments<'_>) {
        self.violation
            .get_or_insert_with(|| format!("{invariant}: {what}"));
    }

    /// What the text of a message says of it: the number of its notification, and its revision.
    fn read(text: &str) -> (usize, u32) {
        let (number, revision) = text.trim_start_matches('n').split_once(" r").unwrap();
        (number.parse().unwrap(), revision.parse().unwrap())
    }

    /// The notification with this id.
    pub(super) fn number(&self, delivery: &DeliveryKey) -> Option<usize> {
        let is_of = |id: &NotificationId| delivery.as_str().starts_with(id.as_str());
        self.wanted
            .iter()
            .position(|wanted| wanted.id.as_ref().is_some_and(is_of))
    }

    /// A notification stands in the table.
    pub(super) fn accepted(&mut self, id: &NotificationId, text: &str) {
        let (number, _) = Self::read(text);
        self.wanted[number].id = Some(id.clone());
    }

    /// A worker was given a delivery.
    pub(super) fn claimed(
        &mut self,
        run: &Run,
        environment: &Environment,
        asked: Claiming<'_>,
        conversation: &ConversationKey,
        lease: &delivery::Lease,
        began: Timestamp,
    ) {
        let Some(number) = self.number(asked.delivery) else {
            return;
        };
        let name = conversation.conversation.as_str().to_owned();
        let place = run.channel.with(|channel| channel.named(&name));
        let taken = Lease {
            holder: Holder::of(environment),
            key: asked.delivery.clone(),
            conversation: conversation.clone(),
            place,
            attempt: lease.attempt,
            revises: lease.copy.is_some(),
            began,
            until: asked.until,
            requests: 0,
            written: false,
        };
        self.leases.insert((number, name), taken);
    }

    /// A request leaves a worker.
    pub(super) fn begins(&mut self, run: &Run, environment: &Environment, asked: &Asked) -> usize {
        let (conversation, sends) = match &asked.verb {
            Verb::Create { .. } => (None, None),
            Verb::Send { conversation, text } => (Some(conversation), Some(Self::read(text))),
            Verb::Update { conversation, .. } | Verb::Delete { conversation, .. } => {
                (Some(conversation), None)
            }
        };
        let number = self.requests.len();
        let place = conversation.and_then(|name| run.channel.with(|channel| channel.named(name)));
        let mut request = Request {
            fate: Fate::UnderWay,
            sends,
            delivery: None,
            place,
            activity: None,
            began: run.now(),
            holder: Holder::of(environment),
            conversation: conversation.cloned(),
        };
        if let Some(conversation) = conversation {
            let about = match &asked.verb {
                Verb::Create { .. } => None,
                Verb::Send { .. } => sends.map(|(number, _)| number),
                Verb::Update { activity, .. } | Verb::Delete { activity, .. } => self.sender_of(activity),
            };
            self.alone(run, &request);
            request.delivery = self.entitled(run, &request, about, conversation);
            self.paced(run, &request);
        }
        self.requests.push(request);
        self.open.push(number);
        number
    }

    /// The notification of a message that was shown.
    fn sender_of(&self, activity: &str) -> Option<usize> {
        let brought = |request: &&Request| request.activity.as_deref() == Some(activity);
        self.requests
            .iter()
            .find(brought)?
            .sends
            .map(|(number, _)| number)
    }

    /// One request is under way to a conversation at most, as far as workers know.
    fn alone(&mut self, run: &Run, request: &Request) {
        let other = self
            .open
            .iter()
            .copied()
            .find(|other| self.requests[*other].conversation == request.conversation);
        if let Some(other) = other
            && run.workers_keep_time()
        {
            self.violated(
                4,
                format_args!("two requests at once to one conversation: {other} and this one"),
            );
        }
    }

    /// Whoever sends has the right to: now, this delivery, this content, to this conversation.
    fn entitled(
        &mut self,
        run: &Run,
        request: &Request,
        about: Option<usize>,
        conversation: &str,
    ) -> Option<(usize, String)> {
        let about = about?;
        let now = run.now();
        let name = (about, conversation.to_owned());
        let own = |lease: &&mut Lease| lease.holder == request.holder && !lease.written;
        let Some(lease) = self.leases.get_mut(&name).filter(own) else {
            self.violated(
                2,
                format_args!("a request of n{about} to {conversation} without a lease"),
            );
            return None;
        };
        lease.requests += 1;
        let (first, began, until, revises) = (lease.requests == 1, lease.began, lease.until, lease.revises);
        let (key, place) = (lease.key.clone(), lease.conversation.clone());
        if now > until.saturating_add(run.off()).unwrap() {
            self.violated(2, format_args!("a request of n{about} after its lease has ended"));
        }
        if let Some(sends) = request.sends {
            self.once(run, about, &key, &name, request);
            self.heeded(run, sends, began, now);
        } else if !revises {
            self.violated(2, format_args!("a change of n{about} by who was to send it"));
        }
        let known = self.unwritable.get(&place).copied();
        if first
            && let Some(since) = known
            && since.saturating_add(run.slack()).unwrap() < began
        {
            self.violated(
                5,
                format_args!("a request to {conversation}, removed or blocked before its claim"),
            );
        }
        Some(name)
    }

    /// What may have been sent before is in doubt, in the ledger, before it is sent again; and at most once is at most once.
    fn once(
        &mut self,
        run: &Run,
        about: usize,
        key: &DeliveryKey,
        name: &(usize, String),
        request: &Request,
    ) {
        let earlier = self
            .requests
            .iter()
            .filter(|earlier| {
                earlier.fate != Fate::Refused && earlier.sends.is_some_and(|sends| sends.0 == about)
            })
            // What is sent to a name that is no more arrives nowhere.
            .filter(|earlier| earlier.place == request.place && earlier.conversation == request.conversation);
        let (own, others): (Vec<_>, Vec<_>) =
            earlier.partition(|earlier| earlier.delivery.as_ref() == Some(name));
        let (own, others) = (own.len(), others.len());
        let doubts = run.row(key).map_or(0, |row| row.doubts as usize);
        if own > doubts {
            let row = run.row(key);
            self.violated(
                2,
                format_args!(
                    "n{about} goes to {} again, {own} may have arrived: {row:?}",
                    name.1
                ),
            );
        }
        if own > 0 && self.wanted[about].on_unknown == OnUnknown::GiveUp {
            self.violated(
                2,
                format_args!("n{about} goes to {} again, and was to give up", name.1),
            );
        }
        if others > 0 {
            self.violated(
                2,
                format_args!("n{about} goes to {} by a second delivery", name.1),
            );
        }
    }

    /// Nothing begins against a word of the caller that was heard: cancelled, expired, retracted, other content.
    fn heeded(&mut self, run: &Run, sends: (usize, u32), claimed: Timestamp, now: Timestamp) {
        let (number, revision) = sends;
        let wanted = &self.wanted[number];
        let heard = |moment: Timestamp| moment + HEARD_WITHIN + run.slack() < claimed;
        let newest = wanted.revised.iter().filter(|moment| heard(**moment)).count();
        let fault = if wanted.cancelled.is_some_and(heard) {
            Some("it is cancelled")
        } else if wanted
            .expires_at
            .is_some_and(|ends| ends + run.off() + run.slack() < now)
        {
            Some("it has expired")
        } else if wanted.deliver_at.is_some_and(|begins| begins > now + run.off()) {
            Some("its time has not come")
        } else if wanted.retracted.is_some_and(heard) {
            Some("it is retracted")
        } else if newest > revision as usize {
            Some("it has another content")
        } else {
            None
        };
        if let Some(fault) = fault {
            self.violated(
                5,
                format_args!("n{number} is sent in revision {revision}, and {fault}"),
            );
        }
    }

    /// Nobody makes a request whom the channel asked to wait.
    fn paced(&mut self, run: &Run, request: &Request) {
        let now = run.now();
        let Some(tenant) = request
            .place
            .map(|place| run.channel.with(|channel| channel.places[place].tenant))
        else {
            return;
        };
        let early = self.holds.iter().any(|hold| {
            let outlives = if hold.holder == request.holder {
                SignedDuration::from_millis(200)
            } else {
                PERMITS_OUTLIVE
            };
            hold.tenant == tenant && now > hold.from + outlives && now + run.off() < hold.until
        });
        if early && run.troubles.tables_are_well() && run.troubles.clocks_agree() {
            self.violated(4, format_args!("a request in spite of Retry-After"));
        }
    }

    /// The channel asked a worker to wait.
    pub(super) fn told_to_wait(&mut self, run: &Run, number: usize, seconds: u64) {
        let request = &self.requests[number];
        let Some(place) = request.place else { return };
        self.holds.push(Hold {
            tenant: run.channel.with(|channel| channel.places[place].tenant),
            holder: request.holder.clone(),
            from: run.now(),
            until: run.now() + SignedDuration::from_secs(i64::try_from(seconds).unwrap()),
        });
    }

    /// The channel did not carry a request out.
    pub(super) fn refused(&mut self, number: usize) {
        self.requests[number].fate = Fate::Refused;
    }

    /// The channel carried a request out.
    pub(super) fn carried_out(&mut self, number: usize, done: &Done) {
        let request = &mut self.requests[number];
        request.fate = Fate::CarriedOut;
        if let Done::Shown(activity) = done {
            request.activity = Some(activity.clone());
        }
    }

    /// A worker waits no longer for what came of a request.
    pub(super) fn hears(&mut self, number: usize, _heard: Heard) {
        self.open.retain(|open| *open != number);
    }

    /// A worker wrote what became of a delivery.
    pub(super) fn written(
        &mut self,
        run: &Run,
        key: &DeliveryKey,
        lease: &delivery::Lease,
        before: Option<&Row>,
    ) {
        let own = |standing: &&mut Lease| standing.key == *key && standing.attempt == lease.attempt;
        if let Some(standing) = self.leases.values_mut().find(own) {
            standing.written = true;
        }
        let (Some(before), Some(after)) = (before, run.row(key)) else {
            return;
        };
        let kept = match (&before.state, &after.state) {
            (
                delivery::State::Settled(Outcome::Delivered(old)),
                delivery::State::Settled(Outcome::Delivered(new)),
            ) => old.shows <= new.shows && old.tried <= new.tried,
            (delivery::State::Settled(old), delivery::State::Settled(new)) => old == new,
            (delivery::State::Settled(_), delivery::State::Waiting { .. }) => false,
            (delivery::State::Waiting { .. }, _) => true,
        };
        if !kept {
            self.violated(
                1,
                format_args!("what had ended is something else now: {before:?}, {after:?}"),
            );
        }
    }

    /// A conversation's record may have changed.
    pub(super) fn writable(&mut self, run: &Run, key: &ConversationKey) {
        match run.conversation(key).map(|record| record.state) {
            Some(State::Removed | State::Blocked { .. }) => {
                self.unwritable.entry(key.clone()).or_insert(run.now());
                self.unwritten.insert(key.conversation.as_str().to_owned());
            }
            Some(State::Active) | None => {
                self.unwritable.remove(key);
            }
        }
    }

    /// How long it was from the first request to the last.
    pub(super) fn sending(&self) -> SignedDuration {
        let ends = self.requests.first().zip(self.requests.last());
        ends.map_or(SignedDuration::ZERO, |(first, last)| {
            last.began.duration_since(first.began)
        })
    }

    /// Whether a conversation was ever known to be removed or blocked.
    pub(super) fn was_ever_unwritable(&self, conversation: &str) -> bool {
        self.unwritten.contains(conversation)
    }

    /// A notification's counters may have changed: they add up, and never go back.
    pub(super) fn counts(&mut self, run: &Run, id: &NotificationId) {
        let Some(head) = run.head(id) else { return };
        let ended = head.tally.total();
        let fault = if ended > head.audience {
            Some("more ended than were meant")
        } else if head.chunks_closed > head.chunks || head.parts_planned > head.parts {
            Some("more is done than there is")
        } else if head.copies.current + head.copies.uneditable > head.tally.delivered {
            Some("more copies are counted than were delivered")
        } else if head.completed_at.is_some()
            && !head.is_held()
            && (head.parts_planned < head.parts || ended != head.audience)
        {
            Some("it is complete, and the counts do not add up")
        } else if self.heads.get(id).is_some_and(|before| !follows(before, &head)) {
            Some("a count has gone back")
        } else {
            None
        };
        if let Some(fault) = fault {
            self.violated(1, format_args!("{fault}: {head:?}"));
        }
        self.heads.insert(id.clone(), head);
    }
}

/// Whether one state of a notification can come after another.
fn follows(before: &Notification, after: &Notification) -> bool {
    let tallies = before.tally.fields().into_iter().zip(after.tally.fields());
    tallies.into_iter().all(|(old, new)| old.1 <= new.1)
        && before.audience <= after.audience
        && before.chunks <= after.chunks
        && before.chunks_closed <= after.chunks_closed
        && before.revision <= after.revision
        && before.retracted <= after.retracted
        && (before.cancelled_at.is_none() || before.cancelled_at == after.cancelled_at)
        && (before.completed_at.is_none() || before.completed_at == after.completed_at)
}
