//! Recurring times: a cron pattern, by the wall clock of a time zone.
//!
//! Each wall time of the pattern comes once, also on the days on which the clock changes:
//!
//! | the wall time | comes |
//! |---|---|
//! | exists once | then |
//! | does not exist, since the clock goes forward over it | at the moment of the change. Several such times, and the time that the clock goes to, are one |
//! | exists twice, since the clock goes back over it | the first time |
//!
//! So `30 2 * * *` in `Europe/Berlin` comes at 03:00 on the day on which there is no half past two, and `*/15 * * * *` comes four
//! times in the hour that is there twice. What has to come in equal intervals names the zone `UTC`.
//!
//! The time zone database is built in, so that a schedule means the same on every machine.

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan, Zoned};

mod quiet_hours;
mod recurrence;
mod zone;

pub use quiet_hours::{QuietChoice, QuietHours, stored_choice};
pub use recurrence::{FIELDS, Recurrence};
pub use zone::Zone;

/// The zone of a schedule that names none.
pub const DEFAULT_ZONE: &str = "UTC";

/// A valid schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

/// Why a schedule is refused. The texts are for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The pattern cannot be read.
    #[error(
        "must be five fields (minute, hour, day of month, month, day of week), like \"0 9 * * MON-FRI\", or one of @hourly, @daily, @weekly, @monthly and @yearly"
    )]
    Pattern,
    /// No day fits the pattern.
    #[error("never comes: no day fits it")]
    Never,
    /// The time zone is not in the database.
    #[error("must be a name of the IANA time zone database, like \"Europe/Berlin\"")]
    Zone,
}

impl Schedule {
    /// Reads a pattern of five fields as cron's, and the name of a time zone.
    ///
    /// If both day of month and day of week are restricted, either is enough; `+` before the day of week asks for both. `L` is a
    /// month's last day, `MON#1` its first Monday, `15W` the weekday next to the 15th.
    ///
    /// # Errors
    /// When the pattern or the name is wrong.
    pub fn parse(pattern: &str, zone: &str) -> Result<Self, Error> {
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser.parse(pattern).map_err(|_| Error::Pattern)?;
        let zone = TimeZone::get(zone).map_err(|_| Error::Zone)?;
        let schedule = Self { cron, zone };
        // A pattern repeats itself every 400 years at the latest, so any moment decides.
        match schedule.next_after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(Error::Never),
        }
    }

    /// The first occurrence after this moment; `None` at the end of the calendar.
    pub fn next_after(&self, moment: Timestamp) -> Option<Timestamp> {
        let mut wall = self.zone.to_datetime(moment);
        loop {
            wall = self.cron.find_next_occurrence(&wall, false).ok()?;
            let at = instant(wall, &self.zone)?;
            // A wall time that is there for the second time has been.
            if at > moment {
                return Some(at);
            }
        }
    }

    /// The occurrences after this moment, in their order.
    pub fn all_after(&self, moment: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next_after(moment), |at| self.next_after(*at))
    }

    /// Whether this moment is an occurrence.
    pub fn has(&self, moment: Timestamp) -> bool {
        let before = moment.checked_sub(1.second());
        before.is_ok_and(|before| self.next_after(before) == Some(moment))
    }

    /// A moment on the schedule's wall clock.
    pub fn zoned(&self, moment: Timestamp) -> Zoned {
        moment.to_zoned(self.zone.clone())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = self.zone.iana_name().unwrap_or(DEFAULT_ZONE);
        write!(formatter, "{} {zone}", self.cron.as_str())
    }
}

/// When a wall time comes in a zone, by the rule of this module. Of two wall times the later never comes first. `None` at the
/// ends of the calendar.
pub fn instant(wall: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(wall);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
        AmbiguousOffset::Gap { after, .. } => {
            // With the offset after the change, the wall time would have been before it.
            let before = ambiguous.earlier().ok()?;
            let mut changes = zone.following(before);
            let change = changes.find(|change| change.offset() == after)?;
            Some(change.timestamp())
        }
    }
}

#[cfg(test)]
mod tests;
