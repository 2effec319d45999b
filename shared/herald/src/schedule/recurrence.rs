//! A schedule with an end, as requests write it.

use jiff::{Timestamp, Zoned};
use serde_json::{Map, Value};

use super::{DEFAULT_ZONE, Error, Schedule};
use crate::problem::{Faults, pointer};

/// The fields of a request that say when something recurs.
pub const FIELDS: [&str; 3] = ["cron", "zone", "endsAt"];

/// A pattern by the wall clock of a zone, until its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recurrence {
    schedule: Schedule,
    ends_at: Option<Timestamp>,
}

impl Recurrence {
    /// Reads the members `cron`, `zone` and `endsAt` of the object at this pointer. Each fault is noted.
    pub fn read(object: &Map<String, Value>, at: &str, faults: &mut Faults) -> Option<Self> {
        let text = |name| object.get(name).map(|value| value.as_str().unwrap_or_default());
        let ends_at = text("endsAt").map(str::parse::<Timestamp>).transpose();
        if ends_at.is_err() {
            let detail = "must be a time with offset (RFC 3339), like 2026-12-31T17:00:00Z";
            faults.note(pointer(at, "endsAt"), detail);
        }
        // What is no text is no pattern, and no zone.
        let zone = text("zone").unwrap_or(DEFAULT_ZONE);
        match Schedule::parse(text("cron").unwrap_or_default(), zone) {
            Ok(schedule) => Some(Self {
                schedule,
                ends_at: ends_at.ok()?,
            }),
            Err(error) => {
                let field = match error {
                    Error::Pattern | Error::Never => "cron",
                    Error::Zone => "zone",
                };
                faults.note(pointer(at, field), error.to_string());
                None
            }
        }
    }

    /// The first occurrence after this moment; `None` after the end. An occurrence at the end is none.
    pub fn next_after(&self, moment: Timestamp) -> Option<Timestamp> {
        let next = self.schedule.next_after(moment)?;
        self.ends_at.is_none_or(|ends_at| next < ends_at).then_some(next)
    }

    /// The occurrences after this moment, in their order.
    pub fn all_after(&self, moment: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next_after(moment), |at| self.next_after(*at))
    }

    /// Whether this moment is an occurrence.
    pub fn has(&self, moment: Timestamp) -> bool {
        self.schedule.has(moment) && self.ends_at.is_none_or(|ends_at| moment < ends_at)
    }

    /// A moment on the wall clock of the zone.
    pub fn zoned(&self, moment: Timestamp) -> Zoned {
        self.schedule.zoned(moment)
    }

    /// A moment on the wall clock of the zone, as answers show it: RFC 3339 with the zone's offset.
    pub fn shown(&self, moment: Timestamp) -> String {
        self.zoned(moment).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }
}
