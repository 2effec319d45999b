//! Functions of numbers.

use serde_json::Value as Json;

use crate::cards::template::budget::Failure;
use crate::cards::template::number::{NumberLocale, number_text, round_half_up, round_to};
use crate::cards::template::operand::{Operand, Outcome};
use crate::cards::template::signature::Function;

/// The result, if this is a function of numbers.
pub(super) fn call(function: Function, arguments: &[Operand<'_>]) -> Option<Outcome<'static>> {
    let first = || arguments[0].as_number();
    Some(match function {
        Function::Add => add(arguments),
        Function::Subtract => fold(arguments, |left, right| Some(left - right)),
        Function::Multiply => fold(arguments, |left, right| Some(left * right)),
        Function::Divide => fold(arguments, divide),
        Function::Power => fold(arguments, |left, right| Some(left.powf(right))),
        Function::Modulo => modulo(&arguments[0], &arguments[1]),
        Function::Min => extreme(arguments, f64::min),
        Function::Max => extreme(arguments, f64::max),
        Function::Sum => total(&arguments[0]).and_then(|(sum, _)| Operand::number(sum)),
        Function::Average => total(&arguments[0]).and_then(|(sum, count)| Operand::number(sum / count)),
        Function::Round => round(arguments),
        Function::Floor => first().and_then(|value| Operand::number(value.floor())),
        Function::Ceiling => first().and_then(|value| Operand::number(value.ceil())),
        Function::Abs => first().and_then(|value| Operand::number(value.abs())),
        Function::Sqrt => first().and_then(|value| Operand::number(value.sqrt())),
        Function::AddOrdinal => arguments[0]
            .as_integer()
            .map(|value| Operand::text(ordinal(value))),
        Function::FormatNumber => format_number(arguments),
        _ => return None,
    })
}

/// Applies an operator from the left. All arguments are numbers.
fn fold(arguments: &[Operand<'_>], apply: fn(f64, f64) -> Option<f64>) -> Outcome<'static> {
    let mut result = arguments[0].as_number()?;
    for argument in &arguments[1..] {
        result = apply(result, argument.as_number()?).ok_or(Failure::Unresolved)?;
    }
    Operand::number(result)
}

/// Whole numbers have a whole quotient: the one below.
fn divide(left: f64, right: f64) -> Option<f64> {
    let quotient = left / right;
    let is_whole = left.fract() == 0.0 && right.fract() == 0.0;
    (right != 0.0).then_some(if is_whole { quotient.floor() } else { quotient })
}

fn modulo(left: &Operand<'_>, right: &Operand<'_>) -> Outcome<'static> {
    let (left, right) = (left.as_integer()?, right.as_integer()?);
    if right == 0.0 {
        Err(Failure::Unresolved)
    } else {
        Operand::number(left % right)
    }
}

/// Adds numbers; with a text among two, joins them. No value is the empty text, and nothing that a number is added to.
fn add(arguments: &[Operand<'_>]) -> Outcome<'static> {
    let part = |argument: &Operand<'_>| match argument {
        Operand::Undefined => Ok(None),
        other => match other.json() {
            value @ (Json::String(_) | Json::Number(_)) => Ok(Some(value.clone())),
            _ => Err(Failure::Unresolved),
        },
    };
    let mut sum = part(&arguments[0])?;
    for argument in &arguments[1..] {
        sum = match (sum, part(argument)?) {
            (Some(Json::Number(left)), Some(Json::Number(right))) => {
                let sum = left
                    .as_f64()
                    .zip(right.as_f64())
                    .map(|(left, right)| left + right);
                match Operand::number(sum.ok_or(Failure::Unresolved)?)? {
                    Operand::Owned(sum) => Some(sum),
                    _ => None,
                }
            }
            (Some(Json::Number(_)), None) | (None, Some(Json::Number(_))) => return Err(Failure::Unresolved),
            (left, right) => Some(Json::String(as_text(left) + &as_text(right))),
        };
    }
    Ok(sum.map_or(Operand::Undefined, Operand::Owned))
}

fn as_text(value: Option<Json>) -> String {
    match value {
        Some(Json::String(text)) => text,
        Some(Json::Number(number)) => number_text(&number),
        _ => String::new(),
    }
}

/// The least or greatest of numbers and of the numbers in arrays.
fn extreme(arguments: &[Operand<'_>], choose: fn(f64, f64) -> f64) -> Outcome<'static> {
    let mut result: Option<f64> = None;
    let mut take = |value: &Json| {
        let value = value.as_f64().ok_or(Failure::Unresolved)?;
        result = Some(result.map_or(value, |result| choose(result, value)));
        Ok::<_, Failure>(())
    };
    for argument in arguments {
        match argument.json() {
            Json::Array(items) => items.iter().try_for_each(&mut take)?,
            value => take(value)?,
        }
    }
    Operand::number(result.ok_or(Failure::Unresolved)?)
}

/// The sum of an array's numbers, of which there is at least one, and their count.
fn total(list: &Operand<'_>) -> Result<(f64, f64), Failure> {
    let items = list.as_array()?;
    let mut sum = 0.0;
    let mut count = 0.0;
    for item in items {
        sum += item.as_f64().ok_or(Failure::Unresolved)?;
        count += 1.0;
    }
    if items.is_empty() {
        Err(Failure::Unresolved)
    } else {
        Ok((sum, count))
    }
}

fn round(arguments: &[Operand<'_>]) -> Outcome<'static> {
    let value = arguments[0].as_number()?;
    match arguments.get(1) {
        None => Operand::number(round_half_up(value)),
        Some(digits) => Operand::number(round_to(value, digits_up_to(digits, 15)?)),
    }
}

/// A number of digits.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number from 0 to 20"
)]
fn digits_up_to(value: &Operand<'_>, most: u8) -> Result<u8, Failure> {
    let value = value.as_integer()?;
    let is_possible = (0.0..=f64::from(most)).contains(&value);
    if is_possible {
        Ok(value as u8)
    } else {
        Err(Failure::Unresolved)
    }
}

/// 1st, 2nd, 3rd, 4th.
fn ordinal(value: f64) -> String {
    let number = crate::cards::template::number::float_text(value);
    let suffix = match (value % 100.0, value % 10.0) {
        _ if value <= 0.0 => "",
        (hundred, _) if (11.0..=13.0).contains(&hundred) => "th",
        (_, 1.0) => "st",
        (_, 2.0) => "nd",
        (_, 3.0) => "rd",
        _ => "th",
    };
    number + suffix
}

fn format_number(arguments: &[Operand<'_>]) -> Outcome<'static> {
    let value = arguments[0].as_number()?;
    let digits = digits_up_to(&arguments[1], 20)?;
    let locale = match arguments.get(2) {
        Some(name) => NumberLocale::named(name.as_text()?).ok_or(Failure::Unresolved)?,
        None => NumberLocale::ENGLISH,
    };
    let rounded = round_to(value, digits);
    if !rounded.is_finite() {
        return Err(Failure::Unresolved);
    }
    Ok(Operand::text(locale.format(rounded, usize::from(digits))))
}
