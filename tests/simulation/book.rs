//! The book of a run: every event, recorded apart from the engine's own records, and checked against the invariants.
//!
//! The engine's tables hold what the engine believes. The book is written where things happen: when a lease is granted, when
//! a request leaves, when the channel executes it, when a caller's cancellation is acknowledged. Each entry is checked
//! against the others and against the tables at that instant, so a run stops at the step that was wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use herald::audience::Selector;
use herald::conversation::{ConversationKey, State};
use herald::delivery::{self, ClaimRequest, DeliveryKey, Guarantee, Outcome, Row};
use herald::id::NotificationId;
use herald::notification::{IfNoConversation, Notification};
use herald::retry::MAX_RETRY_AFTER;
use herald_local::teams::{Operation, text_of};
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};

use super::audiences::{Span, may_mean};
use super::channel::{Done, Request as Asked};
use super::choices::Choices;
use super::hearing::Answers;
use super::introductions::Introductions;
use super::lambda::Environment;
use super::moments::Moments;
use super::run::Run;
use super::schedules::Schedule;
use super::upstream::occurrence;

/// All records of a run.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Notifications by number; the text of a message contains the number.
    pub(super) wanted: Vec<Wanted>,
    /// Every request that left a worker.
    pub(super) requests: Vec<Request>,
    /// The last lease of each delivery, by notification and conversation.
    pub(super) leases: BTreeMap<(usize, String), Lease>,
    /// Requests whose workers wait for an answer.
    pub(super) open: Vec<usize>,
    /// The notification that each message shows.
    pub(super) shown: BTreeMap<String, usize>,
    /// When a conversation became known as removed or blocked.
    pub(super) unwritable: BTreeMap<ConversationKey, Timestamp>,
    /// Conversations that were ever removed or blocked.
    unwritten: BTreeSet<String>,
    /// The waits that the channel asked for by `Retry-After`.
    pub(super) holds: Vec<Hold>,
    /// Creation leases and created conversations.
    pub(super) introductions: Introductions,
    /// Whether dead letters were redriven, which takes as long as it takes.
    pub(super) is_redriven: bool,
    /// When all incidents were over.
    pub(super) recovered_at: Option<Timestamp>,
    /// The bot's answers to activities.
    pub(super) answers: Answers,
    /// What people opted out of.
    pub(super) choices: Choices,
    pub(super) moments: Moments,
    /// The times of the schedule that were accepted.
    pub(super) occurrences: BTreeSet<String>,
    /// The schedule with an operator.
    pub(super) schedule: Schedule,
    /// Outcomes of deliveries to a person or an unknown conversation, by their row.
    ends: BTreeMap<String, Outcome>,
    heads: BTreeMap<NotificationId, Notification>,
    violation: Option<String>,
}

/// A notification as its caller knows it.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Its id, once it is accepted.
    pub(super) id: Option<NotificationId>,
    /// Whether its caller received the acceptance.
    pub(super) acknowledged: bool,
    /// The selectors of its audience.
    pub(super) audience: Vec<Selector>,
    pub(super) if_no_conversation: IfNoConversation,
    pub(super) category: Option<&'static str>,
    /// Whether it goes also to those who opted out.
    pub(super) mandatory: bool,
    /// Whether it is of the subject that several notifications have.
    pub(super) subject: bool,
    /// The time of the first request.
    pub(super) asked_at: Option<Timestamp>,
    /// The time at which all of its audience was planned.
    pub(super) planned_at: Option<Timestamp>,
    pub(super) guarantee: Guarantee,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) deliver_at: Option<Timestamp>,
    /// The wall time of its recipients.
    pub(super) local_time: Option<DateTime>,
    /// The moment of a wave whose cancellation was acknowledged.
    pub(super) cancelled_wave: Option<Timestamp>,
    /// The time at which the cancellation was acknowledged.
    pub(super) cancelled: Option<Timestamp>,
    /// The times at which the second content, the third and so on were acknowledged.
    pub(super) revised: Vec<Timestamp>,
    /// The time at which the retraction was acknowledged.
    pub(super) retracted: Option<Timestamp>,
    /// The first time at which it was recorded that the channel refuses this revision.
    pub(super) refused: Option<(u32, Timestamp)>,
    /// The last content, or `None` after a retraction.
    pub(super) text: Option<String>,
    /// The second content and those after it, in the order of the table.
    pub(super) stored: Vec<Option<String>>,
    /// When its copies are to be deleted, or to show the replacement.
    pub(super) retract_at: Option<Timestamp>,
    pub(super) replacement: Option<String>,
    /// When that was stored.
    pub(super) retracted_as_asked: Option<Timestamp>,
}

impl Wanted {
    /// The span in which its audience is planned, up to now.
    pub(super) fn planning(&self, run: &Run) -> Span {
        let now = run.now();
        Span {
            begins: self.asked_at.unwrap_or(now) - run.roster_ttl - run.off(),
            ends: self.planned_at.unwrap_or(now),
        }
    }

    /// Whether it may have expired before its audience was planned, by the clock of some worker. The members that were not
    /// found by then are replaced by one entry for their team.
    pub(super) fn ended_first(&self, run: &Run) -> bool {
        let planned = self.planning(run).ends + run.off();
        self.expires_at.is_some_and(|expires| expires <= planned)
    }

    /// Whether this is the text of one of its revisions.
    pub(super) fn sends(&self, text: &str) -> bool {
        let number = |text: &str| text.split(' ').next().map(str::to_owned);
        self.text.as_deref().is_none_or(|own| number(own) == number(text))
    }

    /// Records the acknowledged content, or a retraction if `text` is `None`.
    pub(super) fn revise(&mut self, text: Option<String>, now: Timestamp) {
        match &text {
            Some(_) => self.revised.push(now),
            None => self.retracted = Some(now),
        }
        self.text = text;
    }
}

/// A worker's lease for one attempt.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) holder: Holder,
    pub(super) key: DeliveryKey,
    pub(super) conversation: ConversationKey,
    pub(super) attempt: u32,
    pub(super) ambiguous_attempts: u32,
    pub(super) revises: bool,
    /// When the claim began that acquired it.
    pub(super) began: Timestamp,
    pub(super) until: Timestamp,
    pub(super) requests: u32,
    pub(super) written: bool,
}

/// One invocation of one environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder(String, u32);

impl Holder {
    /// The current invocation of this environment.
    pub(super) fn of(environment: &Environment) -> Self {
        let invocation = environment.invocation.load(std::sync::atomic::Ordering::Relaxed);
        Self(environment.to_string(), invocation)
    }
}

/// The state of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// In flight.
    UnderWay,
    /// The channel did not execute it.
    Refused,
    /// The channel executed it.
    CarriedOut,
}

/// A request that left a worker.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) fate: Fate,
    /// The number and the revision of the notification that it sends, if it sends one.
    pub(super) sends: Option<(usize, u32)>,
    /// The same of an update.
    pub(super) edits: Option<(usize, u32)>,
    /// The message that an update or a deletion changes.
    pub(super) message: Option<String>,
    /// The delivery, by notification and conversation id.
    pub(super) delivery: Option<(usize, String)>,
    /// The place that it leads to.
    pub(super) place: Option<usize>,
    /// The id of the message that it created.
    pub(super) activity: Option<String>,
    /// The time at which it left.
    pub(super) began: Timestamp,
    pub(super) holder: Holder,
    pub(super) conversation: Option<String>,
}

#[derive(Debug)]
pub(super) struct Hold {
    pub(super) tenant: usize,
    pub(super) holder: Holder,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Book {
    /// The first violation of this run.
    pub(super) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// Records a violation. Only the first one is kept.
    pub(super) fn violated(&mut self, invariant: u8, what: fmt::Arguments<'_>) {
        self.violation
            .get_or_insert_with(|| format!("{invariant}: {what}"));
    }

    /// The number of the notification, from the text of a message, if it has one.
    pub(super) fn number_of(text: &str) -> Option<usize> {
        let (number, _) = text.strip_prefix('n')?.split_once(" r")?;
        number.parse().ok()
    }

    /// The number of the notification and its revision, from the text of a message.
    pub(super) fn read(text: &str) -> (usize, u32) {
        let (number, revision) = text.trim_start_matches('n').split_once(" r").unwrap();
        (number.parse().unwrap(), revision.parse().unwrap())
    }

    /// The number of the notification of this delivery.
    pub(super) fn number(&self, delivery: &DeliveryKey) -> Option<usize> {
        let is_of = |id: &NotificationId| delivery.as_str().starts_with(id.as_str());
        self.wanted
            .iter()
            .position(|wanted| wanted.id.as_ref().is_some_and(is_of))
    }

    /// A notification was stored in the table.
    pub(super) fn accepted(&mut self, run: &Run, head: &Notification, text: &str) {
        let id = &head.id;
        if head.schedule.is_some() {
            if let Some(fault) = self.schedule.accept(head.expires_at, run) {
                self.violated(16, format_args!("{fault}"));
            }
            return;
        }
        if let Some(time) = occurrence(text) {
            if !self.occurrences.insert(time.to_owned()) {
                self.violated(13, format_args!("the time {time} of the schedule is sent again"));
            }
            return;
        }
        let (number, _) = Self::read(text);
        if let Some(earlier) = self.wanted[number].id.replace(id.clone()) {
            self.violated(
                12,
                format_args!("n{number} is accepted twice: as {earlier} and as {id}"),
            );
        }
    }

    /// A worker recorded that the channel refuses the message with this text.
    pub(super) fn message_refused(&mut self, id: &NotificationId, text: Option<&str>, now: Timestamp) {
        let mut wanted = self.wanted.iter_mut();
        if let Some(wanted) = wanted.find(|wanted| wanted.id.as_ref() == Some(id))
            && let Some(revision) = text.map(|text| Self::read(text).1)
            && wanted.refused.is_none_or(|(earlier, _)| earlier < revision)
        {
            wanted.refused = Some((revision, now));
        }
    }

    /// A new content of a notification was stored in the table.
    pub(super) fn content_stored(&mut self, run: &Run, revised: &Notification, text: Option<String>) {
        let mut wanted = self.wanted.iter_mut();
        let Some(wanted) = wanted.find(|wanted| wanted.id.as_ref() == Some(&revised.id)) else {
            return;
        };
        wanted.stored.push(text.clone());
        let Some(retraction) = revised
            .retraction
            .filter(|made| made.revision == Some(revised.revision))
        else {
            return;
        };
        let now = run.now();
        let fault = if wanted.retract_at != Some(retraction.at) {
            Some("is retracted, which its caller did not ask for")
        } else if retraction.at > now + run.off() {
            Some("is retracted before its time")
        } else if wanted.retracted_as_asked.replace(now).is_some() {
            Some("is retracted again")
        } else if text != wanted.replacement && !(text.is_none() && revised.is_held()) {
            Some("does not show its replacement")
        } else {
            None
        };
        wanted.revise(text, now);
        if let Some(fault) = fault {
            self.violated(15, format_args!("{} {fault}", revised.id));
        }
    }

    /// Whether this is the path of a notification that may be retracted before its caller changes it.
    pub(super) fn may_be_retracted(&self, path: &str) -> bool {
        self.wanted.iter().any(|wanted| {
            let id = wanted.id.as_ref();
            wanted.retract_at.is_some() && id.is_some_and(|id| path.contains(id.as_str()))
        })
    }

    /// A worker acquired the lease of a delivery.
    pub(super) fn claimed(
        &mut self,
        environment: &Environment,
        asked: ClaimRequest<'_>,
        conversation: &ConversationKey,
        lease: &delivery::AttemptLease,
        began: Timestamp,
    ) {
        let Some(number) = self.number(asked.delivery) else {
            return;
        };
        let name = conversation.conversation.as_str().to_owned();
        let taken = Lease {
            holder: Holder::of(environment),
            key: asked.delivery.clone(),
            conversation: conversation.clone(),
            attempt: lease.attempt,
            ambiguous_attempts: lease.ambiguous_attempts,
            revises: lease.sent.is_some(),
            began,
            until: asked.until,
            requests: 0,
            written: false,
        };
        self.leases.insert((number, name), taken);
    }

    /// A request leaves a worker.
    pub(super) fn begins(&mut self, run: &Run, environment: &Environment, asked: &Asked) -> usize {
        let (conversation, sends) = match &asked.operation {
            Operation::Create { .. }
            | Operation::CreateThread(_)
            | Operation::Read(_)
            | Operation::Batch(_) => (None, None),
            Operation::Send(activity) => (Some(&asked.id), Some(Self::read(text_of(activity)))),
            Operation::Update { .. } | Operation::Delete(_) => (Some(&asked.id), None),
        };
        let (edits, message) = match &asked.operation {
            Operation::Update { message, activity } => {
                (Some(Self::read(text_of(activity))), Some(message.clone()))
            }
            Operation::Delete(message) => (None, Some(message.clone())),
            Operation::Create { .. }
            | Operation::CreateThread(_)
            | Operation::Send(_)
            | Operation::Read(_)
            | Operation::Batch(_) => (None, None),
        };
        let number = self.requests.len();
        let place = run.channel.with(|channel| match conversation {
            Some(name) => channel.named(name),
            None => channel.find(asked),
        });
        let mut request = Request {
            fate: Fate::UnderWay,
            sends,
            edits,
            message,
            delivery: None,
            place,
            activity: None,
            began: run.now(),
            holder: Holder::of(environment),
            conversation: conversation.cloned(),
        };
        if let Some(conversation) = conversation {
            let about = match &asked.operation {
                Operation::Create { .. }
                | Operation::CreateThread(_)
                | Operation::Read(_)
                | Operation::Batch(_) => None,
                Operation::Send(_) => sends.map(|(number, _)| number),
                Operation::Update { .. } => request.edits.map(|(number, _)| number),
                Operation::Delete(message) => self.shown.get(message).copied(),
            };
            self.alone(run, &request);
            request.delivery = self.entitled(run, &request, about, conversation);
            self.meant(run, &request);
            if let Operation::Send(activity) | Operation::Update { activity, .. } = &asked.operation {
                self.own(run, activity, place);
            }
        }
        if let Operation::Create { tenant, member, .. } = &asked.operation {
            self.creates(run, &request, tenant, member);
        }
        self.paced(run, &request);
        self.requests.push(request);
        self.open.push(number);
        number
    }

    /// Checks that the audience means the conversation of this request.
    fn meant(&mut self, run: &Run, request: &Request) {
        let (Some((number, _)), Some(place)) = (request.sends, request.place) else {
            return;
        };
        let wanted = &self.wanted[number];
        let span = wanted.planning(run);
        let is_meant = run.channel.with(|channel| {
            let means = |selector| may_mean(channel, selector, place, span);
            wanted.audience.iter().any(means)
        });
        if !is_meant {
            let to = request.conversation.clone().unwrap_or_default();
            self.violated(
                7,
                format_args!("n{number} is sent to {to}, which the audience does not mean"),
            );
        }
    }

    /// A delivery to a person or an unknown conversation ended, with or without a conversation.
    pub(super) fn ended(&mut self, key: &DeliveryKey, outcome: &Outcome) {
        let tried = |outcome: &Outcome| match outcome {
            Outcome::Delivered(sent) => Some(sent.attempted_revision),
            Outcome::Rejected { .. }
            | Outcome::Gone { .. }
            | Outcome::Unknown
            | Outcome::Skipped { .. }
            | Outcome::Expired { .. }
            | Outcome::Cancelled => None,
        };
        let standing = self
            .ends
            .entry(key.as_str().to_owned())
            .or_insert_with(|| outcome.clone());
        if tried(standing).is_some() && tried(outcome) >= tried(standing) {
            *standing = outcome.clone();
        }
    }

    /// The last outcome of a delivery that had no conversation at first.
    pub(super) fn end_of(&self, key: &DeliveryKey) -> Option<&Outcome> {
        self.ends.get(key.as_str())
    }

    /// The channel answered with `Retry-After`.
    pub(super) fn told_to_wait(&mut self, run: &Run, number: usize, seconds: u64) {
        let request = &self.requests[number];
        let Some(place) = request.place else { return };
        let wait = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        self.holds.push(Hold {
            tenant: run.channel.with(|channel| channel.places[place].tenant),
            holder: request.holder.clone(),
            from: run.now(),
            until: run.now() + wait.min(MAX_RETRY_AFTER),
        });
    }

    /// The channel did not execute a request.
    pub(super) fn refused(&mut self, number: usize) {
        self.requests[number].fate = Fate::Refused;
    }

    /// The channel executed a request.
    pub(super) fn carried_out(&mut self, run: &Run, number: usize, done: &Done) {
        let request = &mut self.requests[number];
        request.fate = Fate::CarriedOut;
        if let Done::Shown(activity) = done {
            request.activity = Some(activity.clone());
            let sent = request.sends.map(|(number, _)| (activity.clone(), number));
            self.shown.extend(sent);
        }
        self.edited(run, number);
    }

    /// A worker stopped waiting for the answer to a request.
    pub(super) fn hears(&mut self, number: usize) {
        self.open.retain(|open| *open != number);
    }

    /// A worker stored the outcome of a delivery.
    pub(super) fn written(&mut self, run: &Run, key: &DeliveryKey, attempt: u32, before: Option<&Row>) {
        let own = |standing: &&mut Lease| standing.key == *key && standing.attempt == attempt;
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
            ) => old.revision <= new.revision && old.attempted_revision <= new.attempted_revision,
            (delivery::State::Settled(old), delivery::State::Settled(new)) => old == new,
            (delivery::State::Settled(_), delivery::State::Waiting { .. }) => false,
            (delivery::State::Waiting { .. }, _) => true,
        };
        if !kept {
            self.violated(
                1,
                format_args!("a settled outcome changed: {before:?}, {after:?}"),
            );
        }
    }

    /// The record of a conversation may have changed.
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

    /// The time from the first request to the last.
    pub(super) fn sending(&self) -> SignedDuration {
        let ends = self.requests.first().zip(self.requests.last());
        ends.map_or(SignedDuration::ZERO, |(first, last)| {
            last.began.duration_since(first.began)
        })
    }

    /// Whether a conversation was ever known as removed or blocked.
    pub(super) fn was_ever_unwritable(&self, conversation: &str) -> bool {
        self.unwritten.contains(conversation)
    }

    /// Checks the counters of a notification after a possible change: they add up and never decrease.
    pub(super) fn counts(&mut self, run: &Run, id: &NotificationId) {
        let Some(head) = run.head(id) else { return };
        let ended = head.counts.total();
        let fault = if ended > head.audience {
            Some("more deliveries are settled than planned")
        } else if head.chunks_closed > head.chunks || head.parts_planned > head.parts {
            Some("more chunks are closed, or parts planned, than there are")
        } else if head.revision_counts.current + head.revision_counts.uneditable > head.counts.delivered {
            Some("more messages are counted than delivered")
        } else if head.completed_at.is_some()
            && !head.is_held()
            && (head.parts_planned < head.parts || ended != head.audience)
        {
            Some("it is complete, but the counts do not add up")
        } else if self.heads.get(id).is_some_and(|before| !follows(before, &head)) {
            Some("a count has decreased")
        } else {
            None
        };
        if let Some(fault) = fault {
            self.violated(1, format_args!("{fault}: {head:?}"));
        }
        if head.parts_planned == head.parts
            && let Some(wanted) = self
                .wanted
                .iter_mut()
                .find(|wanted| wanted.id.as_ref() == Some(id))
        {
            wanted.planned_at.get_or_insert(run.now());
        }
        self.heads.insert(id.clone(), head);
    }
}

/// Whether one state of a notification may follow another.
fn follows(before: &Notification, after: &Notification) -> bool {
    let counts = before.counts.fields().into_iter().zip(after.counts.fields());
    counts.into_iter().all(|(old, new)| old.1 <= new.1)
        && before.audience <= after.audience
        && before.chunks <= after.chunks
        && before.chunks_closed <= after.chunks_closed
        && before.revision <= after.revision
        && before.retracted <= after.retracted
        && (before.cancelled_at.is_none() || before.cancelled_at == after.cancelled_at)
        && (before.completed_at.is_none() || before.completed_at == after.completed_at)
}
