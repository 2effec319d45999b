//! Reminders, as people ask for them in English.

use jiff::civil::{Date, Time, Weekday, time};
use jiff::{Span, Zoned};

/// The time of a reminder whose day alone is named.
const MORNING: Time = time(9, 0, 0, 0);

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

/// What a person wants to be reminded of, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reminder {
    /// When, at the wall clock of the person. It may have passed.
    pub(crate) at: Zoned,
    /// Of what.
    pub(crate) of: String,
}

impl Reminder {
    /// Reads what follows `remind me`: `tomorrow at 9 to call Ada`, `to call Ada in 2 hours`, `on friday about the report`.
    /// `None` if it names no moment or nothing to remember. `now` is the time where the person is.
    ///
    /// | | |
    /// |---|---|
    /// | in a time | `in 10 minutes`, `in an hour`, `in 1 hour 30 minutes`, `in 2 weeks` |
    /// | at a time | `at 9`, `at 9:30`, `at 5pm`, `at noon`: the next one |
    /// | on a day | `today`, `tomorrow`, `friday`, `2027-01-31`; at 9 unless a time stands beside it |
    pub(crate) fn read(said: &str, now: &Zoned) -> Option<Self> {
        let words: Vec<&str> = said.split_whitespace().collect();
        let first = (1..=words.len()).rev().find_map(|end| {
            let (moment, rest) = words.split_at(end);
            Some((read_moment(moment, now)?, rest))
        });
        let last = || {
            (1..words.len()).find_map(|start| {
                let (rest, moment) = words.split_at(start);
                Some((read_moment(moment, now)?, rest))
            })
        };
        let (at, rest) = first.or_else(last)?;
        let of = match rest {
            ["to" | "that" | "about" | "of", rest @ ..] | rest => rest.join(" "),
        };
        (!of.is_empty()).then_some(Self { at, of })
    }
}

/// The moment that these words name, all of them.
fn read_moment(words: &[&str], now: &Zoned) -> Option<Zoned> {
    let text = words.join(" ").to_lowercase();
    let text = text.trim_end_matches(['.', ',', '!', '?', ':']);
    if let Some(wait) = text.strip_prefix("in ") {
        return now
            .checked_add(read_span(wait)?)
            .ok()
            .filter(|moment| moment > now);
    }
    let words: Vec<&str> = text.split(' ').collect();
    let days = |words: &[&str]| read_day(words, now.date());
    let on = |date: Date, time: Time| date.to_datetime(time).to_zoned(now.time_zone().clone()).ok();
    if let Some(date) = days(&words) {
        return on(date, MORNING);
    }
    if let ["at", words @ ..] = words.as_slice()
        && let Some(time) = read_time(words)
    {
        let today = on(now.date(), time).filter(|moment| moment > now);
        return today.or_else(|| on(now.date().tomorrow().ok()?, time));
    }
    (1..words.len()).find_map(|middle| {
        let (one, other) = words.split_at(middle);
        let (date, time) = match days(one) {
            Some(date) => (date, other),
            None => (days(other)?, one),
        };
        let time = match time {
            ["at", time @ ..] => time,
            // A number alone may be anything.
            time if !time.concat().bytes().all(|byte| byte.is_ascii_digit()) => time,
            _ => return None,
        };
        on(date, read_time(time)?)
    })
}

/// `10 minutes`, `an hour`.
fn read_span(text: &str) -> Option<Span> {
    let text = match text.split_once(' ') {
        Some(("a" | "an", unit)) => format!("1 {unit}"),
        _ => text.to_owned(),
    };
    text.parse().ok()
}

/// `today`, `tomorrow`, `friday`, `on friday`, `next friday`, `2027-01-31`. A weekday is the next one after today.
fn read_day(words: &[&str], today: Date) -> Option<Date> {
    let (&[word] | &["on" | "next", word]) = words else {
        return None;
    };
    match word {
        "today" => Some(today),
        "tomorrow" => today.tomorrow().ok(),
        _ => {
            let weekday = WEEKDAYS.iter().find(|(name, _)| *name == word);
            let weekday = weekday.and_then(|(_, weekday)| today.nth_weekday(1, *weekday).ok());
            // A date has dashes: jiff also reads `20270131`.
            weekday.or_else(|| word.contains('-').then(|| word.parse().ok())?)
        }
    }
}

/// `9`, `9:30`, `17:00`, `9am`, `9:30 pm`, `noon`.
fn read_time(words: &[&str]) -> Option<Time> {
    let text = words.concat();
    if text == "noon" {
        return Some(time(12, 0, 0, 0));
    }
    let (digits, half) = match text.strip_suffix("am") {
        Some(digits) => (digits, Some(0)),
        None => match text.strip_suffix("pm") {
            Some(digits) => (digits, Some(12)),
            None => (&*text, None),
        },
    };
    let (hour, minute) = digits.split_once(':').unwrap_or((digits, "0"));
    let (hour, minute): (i8, i8) = (hour.parse().ok()?, minute.parse().ok()?);
    let hour = match half {
        None => hour,
        Some(half) if (1..=12).contains(&hour) => hour % 12 + half,
        Some(_) => return None,
    };
    Time::new(hour, minute, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Friday, five hours behind UTC.
    fn now() -> Zoned {
        "2027-01-15T10:20:00-05:00[America/New_York]".parse().unwrap()
    }

    fn read(said: &str) -> Option<(String, String)> {
        let reminder = Reminder::read(said, &now())?;
        Some((reminder.at.strftime("%F %H:%M").to_string(), reminder.of))
    }

    #[test]
    fn a_moment_is_read_as_people_say_it() {
        for (said, at) in [
            ("tomorrow at 9 to call Ada", "2027-01-16 09:00"),
            ("to call Ada tomorrow at 9", "2027-01-16 09:00"),
            ("to call Ada at 9:30 pm tomorrow.", "2027-01-16 21:30"),
            ("Tomorrow to call Ada", "2027-01-16 09:00"),
            ("tomorrow 9am to call Ada", "2027-01-16 09:00"),
            ("in 10 minutes to call Ada", "2027-01-15 10:30"),
            ("to call Ada in an hour", "2027-01-15 11:20"),
            ("in 1 hour 30 minutes to call Ada", "2027-01-15 11:50"),
            ("in 2 weeks to call Ada", "2027-01-29 10:20"),
            ("at 11 to call Ada", "2027-01-15 11:00"),
            ("at 9:05 to call Ada", "2027-01-16 09:05"),
            ("at noon to call Ada", "2027-01-15 12:00"),
            ("at 12am to call Ada", "2027-01-16 00:00"),
            ("today at 8 to call Ada", "2027-01-15 08:00"),
            ("on Monday to call Ada", "2027-01-18 09:00"),
            ("friday at 17:00 to call Ada", "2027-01-22 17:00"),
            ("on 2027-03-01 at 8:15 to call Ada", "2027-03-01 08:15"),
        ] {
            assert_eq!(read(said), Some((at.to_owned(), "call Ada".to_owned())), "{said}");
        }
        // The clocks change on 14 March: nine in the morning stays nine.
        assert_eq!(
            Reminder::read("in 8 weeks to call", &now()).unwrap().at.hour(),
            10
        );
        let same = read("about the 9 reports at 5 minutes to 12 tomorrow");
        assert_eq!(same.unwrap().1, "the 9 reports at 5 minutes to 12");
    }

    #[test]
    fn what_names_no_moment_or_nothing_to_remember_is_no_reminder() {
        for said in [
            "",
            "tomorrow",
            "in 10 minutes to",
            "to call Ada",
            "9 eggs",
            "in -5 minutes to call",
            "in 10 bananas to call",
            "at 25 to call Ada",
            "at 13pm to call Ada",
            "at 9:75 to call Ada",
            "on 2027-02-30 to call Ada",
            "in 900000 weeks to call Ada",
        ] {
            assert_eq!(read(said), None, "{said}");
        }
    }
}
