//! Functions of texts. Lengths and places are counted in UTF-16, as JavaScript does.

use serde_json::Value as Json;

use crate::cards::template::budget::{Budget, Failure};
use crate::cards::template::error::RenderError;
use crate::cards::template::number::{NumberLocale, is_space, number_text, trim};
use crate::cards::template::operand::{Operand, Outcome, TextBuffer};
use crate::cards::template::signature::Function;

/// The result, if this is a function of texts.
pub(super) fn call(
    function: Function,
    arguments: &[Operand<'_>],
    budget: &Budget,
) -> Option<Outcome<'static>> {
    let text = |index: usize| arguments[index].as_text();
    Some(match function {
        Function::String => string(arguments, budget),
        Function::Length => text(0).map(|text| Operand::count(text.encode_utf16().count())),
        Function::ToUpper => text(0).map(|text| Operand::text(text.to_uppercase())),
        Function::ToLower => text(0).map(|text| Operand::text(text.to_lowercase())),
        Function::TitleCase => text(0).map(|text| Operand::text(title_case(text))),
        Function::SentenceCase => text(0).map(|text| Operand::text(capitalized(text))),
        Function::Trim => text(0).map(|text| Operand::text(trim(text))),
        Function::Substring => substring(arguments),
        Function::Replace => replace(arguments, budget),
        Function::Split => split(arguments, budget),
        Function::StartsWith => both(arguments, |text, part| text.starts_with(part)),
        Function::EndsWith => both(arguments, |text, part| text.ends_with(part)),
        Function::CountWord => text(0).map(|text| Operand::count(count_words(text))),
        Function::UriComponent => match arguments[0].json() {
            Json::String(text) => Ok(Operand::text(encode_uri_component(text))),
            _ => Err(Failure::Unresolved),
        },
        _ => return None,
    })
}

fn both(arguments: &[Operand<'_>], holds: fn(&str, &str) -> bool) -> Outcome<'static> {
    Ok(Operand::boolean(holds(
        arguments[0].as_text()?,
        arguments[1].as_text()?,
    )))
}

/// A number has its thousands apart; arrays and objects are JSON.
fn string(arguments: &[Operand<'_>], budget: &Budget) -> Outcome<'static> {
    let locale = match arguments.get(1) {
        Some(name) => NumberLocale::named(name.as_text()?).ok_or(Failure::Unresolved)?,
        None => NumberLocale::ENGLISH,
    };
    match arguments[0].json() {
        Json::Number(number) => {
            let plain = number_text(number);
            let digits = plain.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            let value = number.as_f64().ok_or(Failure::Unresolved)?;
            // Below 1e-6, where the reference has 0.
            let is_tiny = plain.contains("e-");
            Ok(Operand::text(if is_tiny {
                plain
            } else {
                locale.format(value, digits)
            }))
        }
        value => {
            let mut buffer = TextBuffer::new(budget);
            push_string(&mut buffer, value)?;
            Ok(Operand::text(buffer.finish()))
        }
    }
}

/// A value as `concat` shows it: arrays and objects are JSON, null is nothing.
pub(super) fn push_string(buffer: &mut TextBuffer<'_>, value: &Json) -> Result<(), RenderError> {
    match value {
        Json::Array(_) | Json::Object(_) => buffer.push_json(value, 0),
        other => buffer.push_value(other),
    }
}

fn capitalized(text: &str) -> String {
    let lower = text.to_lowercase();
    let mut characters = lower.chars();
    match characters.next() {
        // A character outside of the first 65,536 is no character to JavaScript.
        Some(first) if first.len_utf16() == 1 => first.to_uppercase().chain(characters).collect(),
        _ => lower,
    }
}

/// The first letter of each word is a capital. A word begins with an ASCII letter, a digit or `_`, and ends before white space.
fn title_case(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut in_word = false;
    for character in text.to_lowercase().chars() {
        let begins = !in_word && (character.is_ascii_alphanumeric() || character == '_');
        in_word = (in_word || begins) && !is_space(character);
        result.push(if begins {
            character.to_ascii_uppercase()
        } else {
            character
        });
    }
    result
}

fn substring(arguments: &[Operand<'_>]) -> Outcome<'static> {
    if arguments[0].is_undefined() {
        return Ok(Operand::text(""));
    }
    let units: Vec<u16> = arguments[0].as_text()?.encode_utf16().collect();
    let start = place(&arguments[1], units.len())?;
    let length = match arguments.get(2) {
        Some(length) => place(length, units.len() - start)?,
        None => units.len() - start,
    };
    Ok(Operand::text(String::from_utf16_lossy(
        &units[start..start + length],
    )))
}

/// A place from 0 to `most`.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "whole numbers between 0 and the length of a text or an array"
)]
pub(super) fn place(value: &Operand<'_>, most: usize) -> Result<usize, Failure> {
    let value = value.as_integer()?;
    if (0.0..=most as f64).contains(&value) {
        Ok(value as usize)
    } else {
        Err(Failure::Unresolved)
    }
}

fn replace(arguments: &[Operand<'_>], budget: &Budget) -> Outcome<'static> {
    let (text, old, new) = (
        arguments[0].as_text()?,
        arguments[1].as_text()?,
        arguments[2].as_text()?,
    );
    if old.is_empty() {
        return Err(Failure::Unresolved);
    }
    let mut buffer = TextBuffer::new(budget);
    for (index, part) in text.split(old).enumerate() {
        buffer.push(if index > 0 { new } else { "" })?;
        buffer.push(part)?;
    }
    Ok(Operand::text(buffer.finish()))
}

fn split(arguments: &[Operand<'_>], budget: &Budget) -> Outcome<'static> {
    let text = arguments[0].as_text()?;
    let separator = arguments.get(1).map_or(Ok(""), Operand::as_text)?;
    let parts = if separator.is_empty() {
        text.len()
    } else {
        text.matches(separator).count() + 1
    };
    // Each part is a value of its own, with its own memory.
    budget.work(parts * 8)?;
    let parts: Vec<Json> = if separator.is_empty() {
        text.encode_utf16()
            .map(|unit| Json::String(String::from_utf16_lossy(&[unit])))
            .collect()
    } else {
        text.split(separator).map(Json::from).collect()
    };
    Ok(Operand::Owned(Json::Array(parts)))
}

/// The empty text has one word: an empty one.
fn count_words(text: &str) -> usize {
    trim(text)
        .split(is_space)
        .filter(|word| !word.is_empty())
        .count()
        .max(1)
}

/// `encodeURIComponent`.
fn encode_uri_component(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
