//! Occurrences: the times at which routes and schedules send, as they arrive on the events queue.
//!
//! A record keeps the occurrence that is [`due`](RecurringRecord::due). One message waits for it. Handling it enqueues the next
//! one first, then records that the occurrence has come, and then sends: a refusal does not end a schedule. A message that comes
//! twice finds that another one is due, and that the notification of its occurrence is there. One that never comes is missed by
//! the next [`ClockMessage::Check`]. What is done with an occurrence is decided by the record as it is then; a schedule that was
//! changed or deleted has it no more.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::queue::{FORMAT, Message};
use crate::schedule::Recurrence;
use crate::store::Record;
use crate::time::{earlier, later, until};

/// Occurrences that are missed are made up for, but not those that are older than this. An idempotency key is kept as long, so
/// none is sent twice.
pub const SKIPPED_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// How late an occurrence may be before its message counts as lost. Scheduler takes up to a minute; the queue may be behind.
const LOST_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// On the events queue: the time has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClockMessage {
    /// Of a route or a schedule.
    Occurrence(Occurrence),
    /// To look for occurrences whose messages are lost: sent by the template's rule.
    Check,
}

/// One time of a route or of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    /// What recurs.
    #[serde(flatten)]
    pub source: OccurrenceSource,
    /// When.
    pub at: Timestamp,
}

/// What recurs, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OccurrenceSource {
    /// The event of a route with a schedule.
    Route(String),
    /// The notification of a schedule.
    Schedule(String),
}

/// A record whose occurrences come one after another.
pub trait RecurringRecord: Record + Clone {
    /// What recurs, by the record's key.
    fn source(key: &str) -> OccurrenceSource;

    /// The occurrence that comes next, or that is under way.
    fn due(&self) -> Option<Timestamp>;

    /// The record after the occurrences up to this one have come.
    #[must_use]
    fn after(self, at: Timestamp, recurrence: &Recurrence, now: Timestamp) -> Self;
}

/// The message, in a member of its own: no event and no request has this form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(default)]
    format: u16,
    clock: Value,
}

impl ClockMessage {
    /// Reads a message of the queue, if it is one.
    ///
    /// # Errors
    /// When it is one of a newer release: it is left to the functions of that.
    pub fn read(body: &Value) -> Option<Result<Self, Problem>> {
        let Envelope { format, clock } = Envelope::deserialize(body).ok()?;
        let message = Self::deserialize(clock).ok().filter(|_| format <= FORMAT);
        let newer = || {
            let detail = "`clock` is a message of a newer release, whose functions handle it.";
            Problem::new(StatusCode::BAD_REQUEST, detail)
        };
        Some(message.ok_or_else(newer))
    }
}

impl OccurrenceSource {
    /// Its name among its kind.
    pub fn name(&self) -> &str {
        match self {
            Self::Route(name) | Self::Schedule(name) => name,
        }
    }

    /// Its kind, in a word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Route(_) => "route",
            Self::Schedule(_) => "schedule",
        }
    }
}

impl Occurrence {
    /// The next message of a record, if an occurrence is due.
    pub fn due_of<R: RecurringRecord>(key: &str, record: &R) -> Option<Self> {
        let source = R::source(key);
        record.due().map(|at| Self { source, at })
    }

    /// Whether the next one is to follow it: it is the one that is due, or its message has come before the one before it was
    /// recorded as handled. A message that comes again has had its successor.
    pub fn is_due(&self, due: Option<Timestamp>, recurrence: &Recurrence, now: Timestamp) -> bool {
        due.is_some_and(|due| due == self.at || following(due, recurrence, now) == Some(self.at))
    }

    /// The message that waits for it.
    pub fn message(self, now: Timestamp) -> Message {
        let wait = until(now, self.at);
        let clock = ClockMessage::Occurrence(self);
        Message::json(&json!({ "clock": clock }), wait)
    }

    /// Whether its message should have come by now.
    pub fn is_lost(&self, now: Timestamp) -> bool {
        later(self.at, LOST_AFTER) <= now
    }

    /// The occurrence that follows it.
    pub fn following(&self, recurrence: &Recurrence, now: Timestamp) -> Option<Self> {
        let at = following(self.at, recurrence, now)?;
        let source = self.source.clone();
        Some(Self { source, at })
    }
}

/// The occurrence after this one: the next one, but none that is [too old](SKIPPED_AFTER).
pub fn following(at: Timestamp, recurrence: &Recurrence, now: Timestamp) -> Option<Timestamp> {
    recurrence.next_after(at.max(earlier(now, SKIPPED_AFTER)))
}
