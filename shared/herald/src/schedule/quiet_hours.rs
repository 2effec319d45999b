//! Quiet hours: a time of each day in which a person, a category or a tenant gets no messages. What comes then is held until they end.
//!
//! They begin and end at instants, by the rule of [`instant`]: a wall time that does not exist is the change of the clock, one that
//! exists twice is the first. So the hour that exists twice is quiet only until its first end, and a quiet time that lies in a gap
//! of the clock is none.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::instant;
use crate::audience::kind;
use crate::problem::{Faults, pointer, suggestion};

/// The fields of quiet hours.
const FIELDS: [&str; 2] = ["from", "to"];

/// What a text has to be.
const TIME: &str = "must be a time of the day in quarters of an hour, like \"22:00\"";

/// From one wall time to another, of each day. If the end is not after the beginning, it is on the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    #[serde(with = "minutes")]
    from: Time,
    #[serde(with = "minutes")]
    to: Time,
}

/// A choice about quiet hours. Without one, a more general choice counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum QuietChoice {
    /// No hours are quiet, whatever a more general choice says: `null`.
    Never,
    /// These are, each day.
    Daily(QuietHours),
}

impl QuietHours {
    /// Quiet hours between two times of the day, in quarters of an hour; `None` if they are the same.
    pub fn between(from: Time, to: Time) -> Option<Self> {
        let is_quarter = |time: Time| time == quarter(time);
        (from != to && is_quarter(from) && is_quarter(to)).then_some(Self { from, to })
    }

    /// When it is not quiet any more; `None` if it is not quiet at this moment. The end of quiet hours is no part of them.
    pub fn end(&self, moment: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut end = self.end_of_one(moment, zone)?;
        // When the clock goes forward over the time between them, those of the next day begin at once.
        while let Some(next) = self.end_of_one(end, zone) {
            end = next;
        }
        Some(end)
    }

    /// The end of the quiet hours that this moment lies in.
    fn end_of_one(&self, moment: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let today = zone.to_datetime(moment).date();
        // Those that began the day before may go on. When the clock goes back over midnight, those of the next day may have begun.
        [-1, 0, 1].into_iter().find_map(|days| {
            let day = today.checked_add(days.days()).ok()?;
            let last = if self.from < self.to {
                day
            } else {
                day.tomorrow().ok()?
            };
            let begins = instant(day.to_datetime(self.from), zone)?;
            let ends = instant(last.to_datetime(self.to), zone)?;
            (begins <= moment && moment < ends).then_some(ends)
        })
    }
}

impl QuietChoice {
    /// The hours that are quiet, if any are.
    pub fn hours(self) -> Option<QuietHours> {
        match self {
            Self::Never => None,
            Self::Daily(hours) => Some(hours),
        }
    }

    /// Reads the choice in a JSON document.
    pub fn parse(value: &Value, at: &str, faults: &mut Faults) -> Option<Self> {
        let object = match value {
            Value::Null => return Some(Self::Never),
            Value::Object(object) => object,
            other => {
                let detail = format!(
                    "must be an object with `from` and `to`, or null, found {}",
                    kind(other)
                );
                faults.note(at.to_owned(), detail);
                return None;
            }
        };
        for unknown in object.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
            let detail = format!("is not a field of quiet hours{}", suggestion(unknown, &FIELDS));
            faults.note(pointer(at, unknown), detail);
        }
        let mut time = |name: &str| {
            let time = object.get(name).and_then(Value::as_str).and_then(read);
            if time.is_none() {
                faults.note(pointer(at, name), TIME);
            }
            time
        };
        let (from, to) = (time("from"), time("to"));
        let hours = QuietHours::between(from?, to?);
        if hours.is_none() {
            faults.note(pointer(at, "to"), "must be another time than `from`");
        }
        hours.map(Self::Daily)
    }
}

/// A choice in a stored document, where `null` is one, and no field is none. To be used with `default`.
///
/// # Errors
/// When the document has something else.
pub fn stored_choice<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<QuietChoice>, D::Error> {
    let hours = Option::<QuietHours>::deserialize(deserializer)?;
    Ok(Some(hours.map_or(QuietChoice::Never, QuietChoice::Daily)))
}

/// The time, cut to a quarter of an hour.
fn quarter(time: Time) -> Time {
    Time::constant(time.hour(), time.minute() / 15 * 15, 0, 0)
}

fn read(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':').filter(|_| text.len() == 5)?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(hour) || !is_number(minute) {
        return None;
    }
    let time = Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()?;
    Some(time).filter(|time| *time == quarter(*time))
}

/// Times as `22:00`.
mod minutes {
    use jiff::civil::Time;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:02}:{:02}", time.hour(), time.minute()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::read(&text).ok_or_else(|| D::Error::custom(super::TIME))
    }
}

#[cfg(test)]
mod tests;
