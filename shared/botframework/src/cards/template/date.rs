//! Times and their texts.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The names of days and months are English.
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Whether dates can be formatted for this locale.
pub(super) fn is_known_locale(name: &str) -> bool {
    let language = name.split('-').next().unwrap_or_default();
    language.eq_ignore_ascii_case("en")
}

/// An ISO 8601 date, or a date and a time with an offset or without. Without one it is UTC.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let parsed = text.parse::<Timestamp>().ok();
    parsed.or_else(|| {
        text.parse::<DateTime>()
            .ok()?
            .to_zoned(TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp())
    })
}

/// The date and time in UTC.
pub(super) fn in_utc(time: Timestamp) -> DateTime {
    time.to_zoned(TimeZone::UTC).datetime()
}

/// A pattern for dates: .NET's letters, and those of Day.js, which the reference formats with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Character(char),
    Year2,
    Year4,
    Month,
    Month2,
    MonthShort,
    MonthName,
    Day,
    Day2,
    WeekdayShort,
    WeekdayName,
    Hour24,
    Hour24Two,
    Hour12,
    Hour12Two,
    Minute,
    Minute2,
    Second,
    Second2,
    Millisecond3,
    Meridiem,
    MeridiemLower,
    Offset,
    OffsetPlain,
}

impl Pattern {
    /// `2026-12-01T09:30:00.000Z`, as the empty pattern has it.
    fn iso() -> Self {
        use Part::{Character, Day2, Hour24Two, Millisecond3, Minute2, Month2, Second2, Year4};
        Self(vec![
            Year4,
            Character('-'),
            Month2,
            Character('-'),
            Day2,
            Character('T'),
            Hour24Two,
            Character(':'),
            Minute2,
            Character(':'),
            Second2,
            Character('.'),
            Millisecond3,
            Character('Z'),
        ])
    }

    /// Reads a pattern.
    ///
    /// # Errors
    /// The part that has no meaning here.
    pub(super) fn parse(pattern: &str) -> Result<Self, &str> {
        if pattern.is_empty() {
            return Ok(Self::iso());
        }
        // .NET's standard patterns that the reference has no form for.
        if ["R", "r", "O", "o", "U", "u"].contains(&pattern) {
            return Err(pattern);
        }
        let mut parts = Vec::new();
        let mut rest = pattern;
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '\'' => {
                    let text = rest[1..].split_once('\'').ok_or(rest)?.0;
                    parts.extend(text.chars().map(Part::Character));
                    text.len() + 2
                }
                '\\' => {
                    let escaped = rest[1..].chars().next().ok_or(rest)?;
                    parts.push(Part::Character(escaped));
                    1 + escaped.len_utf8()
                }
                '%' => 1,
                '[' | ']' | '`' => return Err(&rest[..1]),
                _ => {
                    let length = rest.len() - rest.trim_start_matches(first).len();
                    let count = length / first.len_utf8();
                    match letters(first, count) {
                        Letters::Means(part) => parts.push(part),
                        Letters::Text => parts.extend(std::iter::repeat_n(Part::Character(first), count)),
                        Letters::Unknown => return Err(&rest[..length]),
                    }
                    length
                }
            };
            rest = &rest[length..];
        }
        Ok(Self(parts))
    }

    /// The date and time as text.
    pub(super) fn format(&self, time: DateTime) -> String {
        let mut text = String::new();
        for part in &self.0 {
            // Writing to a string cannot fail.
            let _ = part.write(&mut text, time);
        }
        text
    }
}

/// What the same letter several times means.
enum Letters {
    Means(Part),
    Text,
    Unknown,
}

fn letters(letter: char, count: usize) -> Letters {
    Letters::Means(match (letter, count) {
        ('d' | 'D', 1) => Part::Day,
        ('d' | 'D', 2) => Part::Day2,
        ('d', 3) => Part::WeekdayShort,
        ('d', _) => Part::WeekdayName,
        ('M', 1) => Part::Month,
        ('M', 2) => Part::Month2,
        ('M', 3) => Part::MonthShort,
        ('M', _) => Part::MonthName,
        ('y', 1 | 2) | ('Y', 2) => Part::Year2,
        ('y', _) | ('Y', 4) => Part::Year4,
        ('H', 1) => Part::Hour24,
        ('H', _) => Part::Hour24Two,
        ('h', 1) => Part::Hour12,
        ('h', _) => Part::Hour12Two,
        ('m', 1) => Part::Minute,
        ('m', _) => Part::Minute2,
        ('s', 1) => Part::Second,
        ('s', _) => Part::Second2,
        ('f' | 'F', 3..) | ('S', 3) => Part::Millisecond3,
        ('t', _) | ('A', 1) => Part::Meridiem,
        ('a', 1) => Part::MeridiemLower,
        ('z', 3..) | ('K' | 'Z', 1) => Part::Offset,
        ('z', _) | ('Z', 2) => Part::OffsetPlain,
        ('D' | 'Y' | 'f' | 'F' | 'g' | 'S' | 'A' | 'a' | 'K' | 'Z', _) => return Letters::Unknown,
        _ => return Letters::Text,
    })
}

impl Part {
    fn write(self, text: &mut String, time: DateTime) -> std::fmt::Result {
        let hour12 = match time.hour() % 12 {
            0 => 12,
            hour => hour,
        };
        let is_morning = time.hour() < 12;
        let month = MONTHS[usize::try_from(time.month() - 1).unwrap_or(0)];
        let weekday = WEEKDAYS[usize::try_from(time.date().weekday().to_sunday_zero_offset()).unwrap_or(0)];
        match self {
            Self::Character(character) => {
                text.push(character);
                Ok(())
            }
            Self::Year2 => write!(text, "{:02}", time.year().rem_euclid(100)),
            Self::Year4 => write!(text, "{:04}", time.year()),
            Self::Month => write!(text, "{}", time.month()),
            Self::Month2 => write!(text, "{:02}", time.month()),
            Self::MonthShort => text.write_str(&month[..3]),
            Self::MonthName => text.write_str(month),
            Self::Day => write!(text, "{}", time.day()),
            Self::Day2 => write!(text, "{:02}", time.day()),
            Self::WeekdayShort => text.write_str(&weekday[..3]),
            Self::WeekdayName => text.write_str(weekday),
            Self::Hour24 => write!(text, "{}", time.hour()),
            Self::Hour24Two => write!(text, "{:02}", time.hour()),
            Self::Hour12 => write!(text, "{hour12}"),
            Self::Hour12Two => write!(text, "{hour12:02}"),
            Self::Minute => write!(text, "{}", time.minute()),
            Self::Minute2 => write!(text, "{:02}", time.minute()),
            Self::Second => write!(text, "{}", time.second()),
            Self::Second2 => write!(text, "{:02}", time.second()),
            Self::Millisecond3 => write!(text, "{:03}", time.millisecond()),
            Self::Meridiem => text.write_str(if is_morning { "AM" } else { "PM" }),
            Self::MeridiemLower => text.write_str(if is_morning { "am" } else { "pm" }),
            Self::Offset => text.write_str("+00:00"),
            Self::OffsetPlain => text.write_str("+0000"),
        }
    }
}
