//! The functions that take values. Those that decide what is evaluated are in [`super::evaluate`].

mod list;
mod math;
mod text;
mod time;

use serde_json::{Map, Value as Json};

use super::MAX_DEPTH;
use super::budget::{Budget, Failure};
use super::error::RenderError;
use super::number::{leading_float, leading_integer};
use super::operand::{Operand, Outcome, TextBuffer};
use super::signature::Function;
pub(super) use list::{contains, object_of_pairs, pairs};

/// The result of a function. Its arguments have been counted by the parser.
pub(super) fn call<'s>(function: Function, arguments: Vec<Operand<'s>>, budget: &Budget) -> Outcome<'s> {
    charge(&arguments, budget)?;
    match function {
        Function::IsString => Ok(Operand::boolean(arguments[0].json().is_string())),
        Function::IsBoolean => Ok(Operand::boolean(arguments[0].json().is_boolean())),
        Function::IsArray => Ok(Operand::boolean(arguments[0].json().is_array())),
        // As JavaScript has it: null and arrays, too.
        Function::IsObject => Ok(Operand::boolean(
            !arguments[0].is_undefined()
                && matches!(arguments[0].json(), Json::Null | Json::Array(_) | Json::Object(_)),
        )),
        Function::IsInteger => Ok(Operand::boolean(arguments[0].as_integer().is_ok())),
        Function::IsFloat => Ok(Operand::boolean(
            arguments[0].json().is_number() && arguments[0].as_integer().is_err(),
        )),
        Function::Json => parse_json(&arguments[0]),
        Function::JsonStringify => {
            if arguments[0].is_undefined() {
                return Ok(Operand::Undefined);
            }
            let mut buffer = TextBuffer::new(budget);
            buffer.push_json(arguments[0].json(), 0)?;
            Ok(Operand::text(buffer.finish()))
        }
        Function::Int => convert(&arguments[0], leading_integer, f64::trunc),
        Function::Float => convert(&arguments[0], leading_float, |number| number),
        Function::CreateArray => {
            let items: Result<_, _> = arguments.into_iter().map(|item| item.into_json(budget)).collect();
            Ok(Operand::Owned(Json::Array(items?)))
        }
        _ => math::call(function, &arguments)
            .or_else(|| text::call(function, &arguments, budget))
            .or_else(|| time::call(function, &arguments))
            .unwrap_or_else(|| list::call(function, arguments, budget)),
    }
}

/// Takes the work of reading the arguments.
pub(super) fn charge(arguments: &[Operand<'_>], budget: &Budget) -> Result<(), RenderError> {
    for argument in arguments {
        budget.work(match argument.json() {
            Json::String(text) => text.len() / 8,
            Json::Array(items) => items.len(),
            _ => 0,
        })?;
    }
    Ok(())
}

/// A number from a text or another number. Of anything else there is none.
fn convert(
    value: &Operand<'_>,
    parse: fn(&str) -> Option<f64>,
    of_number: fn(f64) -> f64,
) -> Outcome<'static> {
    match value.json() {
        Json::String(text) => Operand::number(parse(text).ok_or(Failure::Unresolved)?),
        Json::Number(number) => Operand::number(of_number(number.as_f64().ok_or(Failure::Unresolved)?)),
        _ => Ok(Operand::Undefined),
    }
}

fn parse_json(value: &Operand<'_>) -> Outcome<'static> {
    let Json::String(text) = value.json() else {
        return Err(Failure::Unresolved);
    };
    // `serde_json` refuses more than 128 levels.
    let parsed: Json = serde_json::from_str(text).map_err(|_| Failure::Unresolved)?;
    Ok(Operand::Owned(parsed))
}

/// `bool`: false for 0, for a text that has "false" in it, and for nothing.
pub(super) fn to_boolean(value: &Json, budget: &Budget) -> Result<bool, RenderError> {
    Ok(match value {
        Json::Null => false,
        Json::Bool(value) => *value,
        Json::Number(number) => number.as_f64() != Some(0.0),
        Json::Object(_) => true,
        Json::String(_) | Json::Array(_) => {
            let mut buffer = TextBuffer::new(budget);
            buffer.push_value(value)?;
            !buffer.finish().to_ascii_lowercase().contains("false")
        }
    })
}

/// Members of an object as JSON, in the order in which the object has them.
fn object(members: impl IntoIterator<Item = (&'static str, Json)>) -> Json {
    Json::Object(
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<Map<_, _>>(),
    )
}

/// Arrays and objects inside of each other, as far as they may be.
const _: () = assert!(MAX_DEPTH < 128, "what is rendered can be parsed by `serde_json`");
