//! Functions of times. All are in UTC.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use crate::cards::template::budget::Failure;
use crate::cards::template::date::{Pattern, in_utc, is_known_locale, parse};
use crate::cards::template::operand::{Operand, Outcome};
use crate::cards::template::signature::Function;

/// The result, if this is a function of times.
pub(super) fn call(function: Function, arguments: &[Operand<'_>]) -> Option<Outcome<'static>> {
    let of_date = |field: fn(jiff::civil::Date) -> i64| {
        let date = time(&arguments[0]).map(|time| in_utc(time).date());
        date.map(|date| Operand::Owned(Json::from(field(date))))
    };
    Some(match function {
        Function::FormatDateTime => time(&arguments[0]).and_then(|time| format(time, &arguments[1..])),
        Function::FormatEpoch => epoch(&arguments[0]).and_then(|time| format(time, &arguments[1..])),
        Function::AddDays => later(arguments, 86_400),
        Function::AddHours => later(arguments, 3_600),
        Function::AddMinutes => later(arguments, 60),
        Function::AddSeconds => later(arguments, 1),
        Function::Year => of_date(|date| date.year().into()),
        Function::Month => of_date(|date| date.month().into()),
        Function::DayOfMonth => of_date(|date| date.day().into()),
        Function::DayOfWeek => of_date(|date| date.weekday().to_sunday_zero_offset().into()),
        Function::DayOfYear => of_date(|date| date.day_of_year().into()),
        Function::Date => time(&arguments[0]).and_then(|time| {
            let pattern = Pattern::parse("M/dd/yyyy").map_err(|_| Failure::Unresolved)?;
            Ok(Operand::text(pattern.format(in_utc(time))))
        }),
        _ => return None,
    })
}

fn time(value: &Operand<'_>) -> Result<Timestamp, Failure> {
    match value.json() {
        Json::String(text) => parse(text).ok_or(Failure::Unresolved),
        _ => Err(Failure::Unresolved),
    }
}

/// Seconds since 1970.
fn epoch(value: &Operand<'_>) -> Result<Timestamp, Failure> {
    let milliseconds = whole(value.as_number()? * 1000.0)?;
    Timestamp::from_millisecond(milliseconds).map_err(|_| Failure::Unresolved)
}

/// The whole part of a number of milliseconds or seconds within the years that there are.
fn whole(value: f64) -> Result<i64, Failure> {
    if value.abs() > 1e15 {
        return Err(Failure::Unresolved);
    }
    #[allow(clippy::cast_possible_truncation, reason = "it was compared with 1e15")]
    Ok(value.trunc() as i64)
}

fn later(arguments: &[Operand<'_>], unit_seconds: i64) -> Outcome<'static> {
    let count = whole(arguments[1].as_number()?)?;
    let seconds = count.checked_mul(unit_seconds).ok_or(Failure::Unresolved)?;
    let time = time(&arguments[0])?.checked_add(SignedDuration::from_secs(seconds));
    format(time.map_err(|_| Failure::Unresolved)?, &arguments[2..])
}

/// By a pattern and a locale, both optional.
fn format(time: Timestamp, arguments: &[Operand<'_>]) -> Outcome<'static> {
    let pattern = arguments.first().map_or(Ok(""), Operand::as_text)?;
    let locale = arguments.get(1).map_or(Ok("en"), Operand::as_text)?;
    if !is_known_locale(locale) {
        return Err(Failure::Unresolved);
    }
    let pattern = Pattern::parse(pattern).map_err(|_| Failure::Unresolved)?;
    Ok(Operand::text(pattern.format(in_utc(time))))
}
