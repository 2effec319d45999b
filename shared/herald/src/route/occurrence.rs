//! Occurrences of schedules, as they arrive on the events queue, and as the events that they are.
//!
//! A route keeps the occurrence that is [`due`](RouteRecord::due). One message waits for it. Handling it enqueues the next one
//! first, and then sends: a refusal does not end a schedule. A message that comes twice finds that another one is due, and that the
//! notification of its occurrence is there. One that never comes is missed by the next [`ClockMessage::Check`]. What is done with
//! an occurrence is decided by the route as it is then; a schedule that was changed or deleted has it no more.

use std::time::Duration;

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::RouteRecord;
use crate::problem::Problem;
use crate::queue::{FORMAT, Message};
use crate::schedule::Schedule;
use crate::time::{earlier, later};

/// Occurrences that are missed are made up for, but not those that are older than this.
pub const SKIPPED_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// How late an occurrence may be before its message counts as lost. Scheduler takes up to a minute; the queue may be behind.
const LOST_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// On the events queue: the time has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClockMessage {
    /// Of a route's schedule.
    Occurrence(Occurrence),
    /// To look for occurrences whose messages are lost: sent by the template's rule.
    Check,
}

/// One time of a route's schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    /// The route's name.
    pub route: String,
    /// When.
    pub at: Timestamp,
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

impl Occurrence {
    /// The next message of a route, if it has a schedule.
    pub fn due_of(route: &str, record: &RouteRecord) -> Option<Self> {
        let route = route.to_owned();
        record.due.map(|at| Self { route, at })
    }

    /// Whether the next one is to follow it: it is the one that is due, or its message has come before the one before it was
    /// recorded as handled. A message that comes again has had its successor.
    pub fn is_due_in(&self, record: &RouteRecord, schedule: &Schedule, now: Timestamp) -> bool {
        let due = Self::due_of(&self.route, record);
        due.is_some_and(|due| due == *self || due.following(schedule, now).as_ref() == Some(self))
    }

    /// The message that waits for it.
    pub fn message(self, now: Timestamp) -> Message {
        let wait = Duration::try_from(self.at.duration_since(now)).unwrap_or_default();
        let clock = ClockMessage::Occurrence(self);
        Message::json(&json!({ "clock": clock }), wait)
    }

    /// Whether its message should have come by now.
    pub fn is_lost(&self, now: Timestamp) -> bool {
        later(self.at, LOST_AFTER) <= now
    }

    /// The occurrence that follows it: the next one, but none that is [too old](SKIPPED_AFTER).
    pub fn following(&self, schedule: &Schedule, now: Timestamp) -> Option<Self> {
        let at = schedule.next_after(self.at.max(earlier(now, SKIPPED_AFTER)))?;
        Some(Self {
            route: self.route.clone(),
            at,
        })
    }

    /// The event that it is, in the form of `EventBridge`.
    pub fn event(&self, schedule: &Schedule) -> Value {
        let wall = schedule.zoned(self.at);
        json!({
            "version": "0", "id": self.at, "source": "herald", "detail-type": "Scheduled Time", "time": self.at, "resources": [],
            "detail": {
                "route": self.route,
                "date": wall.date(),
                "time": wall.strftime("%H:%M").to_string(),
                "weekday": wall.strftime("%A").to_string(),
                "week": wall.date().iso_week_date().week(),
                "zone": wall.time_zone().iana_name(),
            },
        })
    }
}
