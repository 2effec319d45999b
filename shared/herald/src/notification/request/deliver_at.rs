//! `deliverAt`: a moment, a wall time in a zone, or a wall time where each recipient is.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::moment;
use crate::audience::kind;
use crate::problem::{Faults, pointer, suggestion};
use crate::schedule::{self, Zone, instant};
use crate::time::{earlier, later};
use crate::warning::{Warning, WarningCode};

/// How far the caller's clock may be behind: an earlier `deliverAt` is a mistake.
const CLOCK_SKEW_MAX: SignedDuration = SignedDuration::from_mins(5);

/// The latest `deliverAt`, from now.
const DELIVER_WITHIN_MAX: SignedDuration = SignedDuration::from_hours(365 * 24);

/// A notification for the recipients' local time is planned so long before the earliest moment that it can be anywhere, so that its waves
/// can be seen and cancelled.
const PLAN_AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// The offsets of the zones in which a day begins first and last.
const FIRST_HOURS: i8 = 14;
const LAST_HOURS: i8 = -12;

/// The zone of a wall time that is where each recipient is.
const RECIPIENT: &str = "recipient";

const FIELDS: [&str; 3] = ["at", "zone", "fallback"];

/// A wall time where each recipient is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalTime {
    /// The wall time.
    pub at: DateTime,
    /// The zone of recipients whose own is not known; UTC without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Zone>,
}

/// When a notification is planned and sent.
#[derive(Debug, Default)]
pub(super) struct DeliveryTime {
    /// It is not planned before; `None` at once.
    pub(super) planned_at: Option<Timestamp>,
    pub(super) local_time: Option<LocalTime>,
    /// The latest moment at which a recipient is due by it.
    pub(super) latest: Option<Timestamp>,
}

impl LocalTime {
    /// The first moment at which it can be this time anywhere.
    fn earliest(&self) -> Option<Timestamp> {
        instant(self.at, &TimeZone::fixed(Offset::constant(FIRST_HOURS)))
    }

    /// The last moment at which it can be this time anywhere.
    fn latest(&self) -> Option<Timestamp> {
        instant(self.at, &TimeZone::fixed(Offset::constant(LAST_HOURS)))
    }
}

pub(super) fn parse(
    object: &Map<String, Value>,
    now: Timestamp,
    faults: &mut Faults,
    warnings: &mut Vec<Warning>,
) -> DeliveryTime {
    match object.get("deliverAt") {
        None => DeliveryTime::default(),
        Some(Value::Object(wall)) => wall_time(wall, now, faults, warnings).unwrap_or_default(),
        Some(value) => at_moment(moment(value), "#/deliverAt", now, faults),
    }
}

/// One moment for all.
fn at_moment(moment: Option<Timestamp>, at: &str, now: Timestamp, faults: &mut Faults) -> DeliveryTime {
    let latest = later(now, DELIVER_WITHIN_MAX);
    match moment {
        Some(moment) if moment > latest => faults.note(at, "may be at most a year ahead"),
        Some(moment) if moment < earlier(now, CLOCK_SKEW_MAX) => {
            let detail = format!("has passed: here it is {now}. Leave it out to send at once");
            faults.note(at, detail);
        }
        Some(moment) => {
            let moment = Some(moment).filter(|moment| *moment > now);
            return DeliveryTime {
                planned_at: moment,
                local_time: None,
                latest: moment,
            };
        }
        None => {
            let detail = "must be a time with offset (RFC 3339), like 2026-12-31T17:00:00Z, or an object with `at` and `zone`";
            faults.note(at, detail);
        }
    }
    DeliveryTime::default()
}

fn wall_time(
    wall: &Map<String, Value>,
    now: Timestamp,
    faults: &mut Faults,
    warnings: &mut Vec<Warning>,
) -> Option<DeliveryTime> {
    const AT: &str = "#/deliverAt/at";
    for unknown in wall.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
        let detail = format!("is not a field of `deliverAt`{}", suggestion(unknown, &FIELDS));
        faults.note(pointer("#/deliverAt", unknown), detail);
    }
    let at = wall.get("at").and_then(Value::as_str).and_then(read);
    if at.is_none() {
        let detail = "must be a wall time without offset, to the minute, like \"2027-03-28T09:00\"";
        faults.note(AT, detail);
    }
    let zone = match wall.get("zone") {
        Some(Value::String(zone)) => zone,
        other => {
            let found = other.map_or("nothing", kind);
            let detail = format!("must be \"recipient\" or the name of a time zone, found {found}");
            faults.note("#/deliverAt/zone", detail);
            return None;
        }
    };
    let named = |name: &str, at: &str, faults: &mut Faults| {
        let zone = Zone::named(name);
        if zone.is_none() {
            faults.note(at, schedule::Error::Zone.to_string());
        }
        zone
    };
    let fallback = wall.get("fallback");
    if zone == RECIPIENT {
        let fallback = match fallback {
            None => None,
            Some(name) => Some(named(
                name.as_str().unwrap_or_default(),
                "#/deliverAt/fallback",
                faults,
            )?),
        };
        let local_time = LocalTime { at: at?, fallback };
        return for_recipients(local_time, now, faults, warnings);
    }
    if fallback.is_some() {
        faults.note("#/deliverAt/fallback", "is only for the zone \"recipient\"");
    }
    let zone = named(zone, "#/deliverAt/zone", faults)?;
    Some(at_moment(instant(at?, &zone.rules()), AT, now, faults))
}

fn for_recipients(
    local_time: LocalTime,
    now: Timestamp,
    faults: &mut Faults,
    warnings: &mut Vec<Warning>,
) -> Option<DeliveryTime> {
    const AT: &str = "#/deliverAt/at";
    let (earliest, latest) = (local_time.earliest()?, local_time.latest()?);
    if latest > later(now, DELIVER_WITHIN_MAX) {
        faults.note(AT, "may be at most a year ahead, wherever a recipient is");
        return None;
    }
    if latest < earlier(now, CLOCK_SKEW_MAX) {
        let detail =
            format!("has passed everywhere: here it is {now}. Leave `deliverAt` out to send at once");
        faults.note(AT, detail);
        return None;
    }
    if earliest < now {
        let detail = "This time has passed in some zones. Recipients there get the message at once.";
        warnings.push(Warning::at(AT, WarningCode::TimePassed, detail));
    }
    Some(DeliveryTime {
        planned_at: Some(earlier(earliest, PLAN_AHEAD)).filter(|moment| *moment > now),
        local_time: Some(local_time),
        latest: Some(latest),
    })
}

/// A wall time to the minute, without offset or zone.
fn read(text: &str) -> Option<DateTime> {
    let is_digit = |index: usize| text.as_bytes().get(index).is_some_and(u8::is_ascii_digit);
    let is_minute = text.len() == 16 || (text.len() == 19 && text.ends_with(":00"));
    if !is_minute || !is_digit(0) || !is_digit(15) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests;
