//! Functions of arrays, and of what can be an array or a text.

use std::cmp::Ordering;

use serde_json::{Map, Value as Json};

use super::object;
use super::text::{place, push_string};
use crate::cards::template::budget::{Budget, Failure};
use crate::cards::template::error::RenderError;
use crate::cards::template::operand::{Operand, Outcome, TextBuffer, equals, order};
use crate::cards::template::signature::Function;

/// The result of a function of lists. There is none for a function that is not one.
pub(super) fn call<'s>(function: Function, mut arguments: Vec<Operand<'s>>, budget: &Budget) -> Outcome<'s> {
    match function {
        Function::Concat => concat(arguments, budget),
        Function::Join => join(&arguments, budget),
        Function::First => Ok(end(arguments.swap_remove(0), |_| 0)),
        Function::Last => Ok(end(arguments.swap_remove(0), |length| length - 1)),
        Function::Count => count(arguments[0].json()),
        Function::IndexOf => index_of(&arguments, budget, first_place, <[_]>::first),
        Function::LastIndexOf => index_of(&arguments, budget, last_place, <[_]>::last),
        Function::Skip => {
            let items = arguments[0].as_array()?;
            let count = up_to(&arguments[1], items.len())?;
            slice(&items[count..], budget)
        }
        Function::Take => take(&arguments, budget),
        Function::SubArray => {
            let items = arguments[0].as_array()?;
            let start = place(&arguments[1], items.len())?;
            let end = arguments
                .get(2)
                .map_or(Ok(items.len()), |end| place(end, items.len()))?;
            slice(items.get(start..end).unwrap_or_default(), budget)
        }
        Function::SortBy => sort(&arguments, budget).map(|items| Operand::Owned(Json::Array(items))),
        Function::SortByDescending => sort(&arguments, budget).map(|mut items| {
            items.reverse();
            Operand::Owned(Json::Array(items))
        }),
        Function::IndicesAndValues => indices_and_values(&arguments[0], budget),
        _ => Err(Failure::Unresolved),
    }
}

/// The members of an object as `{key, value}`. The name of the first is given.
pub(in crate::cards::template) fn pairs(
    key: &'static str,
    members: &Map<String, Json>,
    budget: &Budget,
) -> Result<Vec<Json>, RenderError> {
    let pair = |(name, value): (&String, &Json)| {
        Ok(object([
            (key, Json::String(name.clone())),
            ("value", budget.copy(value)?),
        ]))
    };
    members.iter().map(pair).collect()
}

/// The object whose [`pairs`] these are.
pub(in crate::cards::template) fn object_of_pairs(pairs: Vec<Json>) -> Operand<'static> {
    let members = pairs.into_iter().filter_map(|mut pair| match pair["key"].take() {
        Json::String(name) => Some((name, pair["value"].take())),
        _ => None,
    });
    Operand::Owned(Json::Object(members.collect()))
}

/// Joins arrays to one, and anything else to a text. Null joins with both.
fn concat<'s>(arguments: Vec<Operand<'s>>, budget: &Budget) -> Outcome<'s> {
    let mut parts = arguments.into_iter();
    let mut sum = parts.next().unwrap_or(Operand::Undefined);
    for part in parts {
        sum = match (sum.json(), part.json()) {
            (Json::Null, Json::Null) => Operand::Undefined,
            (Json::Null, Json::Array(_)) => part,
            (Json::Array(_), Json::Null) => sum,
            (Json::Array(_), Json::Array(_)) => match (sum.into_owned(budget)?, part.into_owned(budget)?) {
                (Operand::Owned(Json::Array(mut sum)), Operand::Owned(Json::Array(part))) => {
                    sum.extend(part);
                    Operand::Owned(Json::Array(sum))
                }
                _ => return Err(Failure::Unresolved),
            },
            (left, right) => {
                let mut buffer = TextBuffer::new(budget);
                push_string(&mut buffer, left)?;
                push_string(&mut buffer, right)?;
                Operand::text(buffer.finish())
            }
        };
    }
    Ok(sum)
}

/// With a third argument, that stands before the last item of three or more, and between two.
fn join(arguments: &[Operand<'_>], budget: &Budget) -> Outcome<'static> {
    let items = arguments[0].as_array()?;
    let separator = |index: usize| match arguments[index].json() {
        Json::String(text) => Ok(text.as_str()),
        _ => Err(Failure::Unresolved),
    };
    let mut buffer = TextBuffer::new(budget);
    match items {
        _ if arguments.len() == 2 => buffer.push_joined(items, separator(1)?, 0)?,
        [rest @ .., last] if items.len() > 2 => {
            buffer.push_joined(rest, separator(1)?, 0)?;
            buffer.push(separator(2)?)?;
            buffer.push_value(last)?;
        }
        _ => buffer.push_joined(items, separator(2)?, 0)?,
    }
    Ok(Operand::text(buffer.finish()))
}

/// An item of an array, or a character of a text. Nothing, when there is none.
fn end(list: Operand<'_>, index: impl Fn(usize) -> usize) -> Operand<'_> {
    match list.json() {
        Json::String(text) if !text.is_empty() => {
            let units: Vec<u16> = text.encode_utf16().collect();
            Operand::text(String::from_utf16_lossy(&[units[index(units.len())]]))
        }
        Json::Array(items) if !items.is_empty() => {
            let index = index(items.len());
            list.item(index)
        }
        _ => Operand::Undefined,
    }
}

fn count(list: &Json) -> Outcome<'static> {
    Ok(Operand::count(match list {
        Json::String(text) => text.encode_utf16().count(),
        Json::Array(items) => items.len(),
        Json::Object(members) => members.len(),
        _ => return Err(Failure::Unresolved),
    }))
}

/// Whether a text has a part, an array an item, or an object a member.
pub(in crate::cards::template) fn contains(
    list: &Operand<'_>,
    wanted: &Operand<'_>,
    budget: &Budget,
) -> Result<bool, Failure> {
    Ok(match (list.json(), wanted.json()) {
        (Json::String(text), Json::String(part)) => text.contains(part.as_str()),
        (Json::Array(items), wanted) => find(items, wanted, budget)?,
        (list, Json::String(name)) => !Operand::Borrowed(list).property(name, budget)?.is_undefined(),
        _ => false,
    })
}

fn find(items: &[Json], wanted: &Json, budget: &Budget) -> Result<bool, RenderError> {
    for item in items {
        if equals(item, wanted, budget)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The place of a part in a text, or of an item in an array; -1 when there is none. Arrays and objects are never found.
fn index_of(
    arguments: &[Operand<'_>],
    budget: &Budget,
    in_text: fn(&str, &str) -> Option<usize>,
    choose: fn(&[usize]) -> Option<&usize>,
) -> Outcome<'static> {
    let index = match arguments[0].json() {
        Json::Null | Json::String(_) => {
            let text = arguments[0].json().as_str().unwrap_or_default();
            let part = arguments[1].as_text()?;
            in_text(text, part)
        }
        Json::Array(items) => {
            let wanted = arguments[1].json();
            let mut found = Vec::new();
            if !matches!(wanted, Json::Array(_) | Json::Object(_)) {
                for (index, item) in items.iter().enumerate() {
                    if equals(item, wanted, budget)? {
                        found.push(index);
                    }
                }
            }
            choose(&found).copied()
        }
        _ => return Err(Failure::Unresolved),
    };
    Ok(index.map_or(Operand::Owned(Json::from(-1)), Operand::count))
}

fn first_place(text: &str, part: &str) -> Option<usize> {
    text.find(part).map(|place| text[..place].encode_utf16().count())
}

/// The empty text is found at the last place, and not behind it.
fn last_place(text: &str, part: &str) -> Option<usize> {
    if part.is_empty() {
        return Some(text.encode_utf16().count().saturating_sub(1));
    }
    text.rfind(part).map(|place| text[..place].encode_utf16().count())
}

fn slice(items: &[Json], budget: &Budget) -> Outcome<'static> {
    let items: Result<Vec<_>, _> = items.iter().map(|item| budget.copy(item)).collect();
    Ok(Operand::Owned(Json::Array(items?)))
}

/// A number of items: less than none are none, more than all are all.
fn up_to(count: &Operand<'_>, all: usize) -> Result<usize, Failure> {
    match count.as_integer()? {
        count if count <= 0.0 => Ok(0),
        _ => Ok(place(count, all).unwrap_or(all)),
    }
}

fn take(arguments: &[Operand<'_>], budget: &Budget) -> Outcome<'static> {
    match arguments[0].json() {
        Json::String(text) => {
            let units: Vec<u16> = text.encode_utf16().collect();
            let count = up_to(&arguments[1], units.len())?;
            Ok(Operand::text(String::from_utf16_lossy(&units[..count])))
        }
        Json::Array(items) => slice(&items[..up_to(&arguments[1], items.len())?], budget),
        _ => Err(Failure::Unresolved),
    }
}

/// Sorts by the texts of the items, or by a property of them: numbers come before texts, and both before all others, which stay in
/// their order.
fn sort(arguments: &[Operand<'_>], budget: &Budget) -> Result<Vec<Json>, Failure> {
    let items = arguments[0].as_array()?;
    budget.work(items.len() * 8)?;
    let mut keyed = Vec::with_capacity(items.len());
    for item in items {
        let key = match arguments.get(1) {
            Some(name) => item
                .get(name.as_text()?)
                .map_or(Ok(Json::Null), |key| budget.copy(key))?,
            None => {
                let mut buffer = TextBuffer::new(budget);
                buffer.push_value(item)?;
                Json::String(buffer.finish())
            }
        };
        keyed.push((key, budget.copy(item)?));
    }
    // A total order: the library's sort may panic on another.
    let rank = |key: &Json| match key {
        Json::Number(_) => 0,
        Json::String(_) => 1,
        _ => 2,
    };
    keyed.sort_by(|(left, _), (right, _)| {
        rank(left)
            .cmp(&rank(right))
            .then_with(|| order(left, right).unwrap_or(Ordering::Equal))
    });
    Ok(keyed.into_iter().map(|(_, item)| item).collect())
}

fn indices_and_values(list: &Operand<'_>, budget: &Budget) -> Outcome<'static> {
    let pairs = match list.json() {
        Json::Array(items) => {
            let pair = |(index, value): (usize, &Json)| {
                Ok(object([
                    ("index", Json::from(index)),
                    ("value", budget.copy(value)?),
                ]))
            };
            items
                .iter()
                .enumerate()
                .map(pair)
                .collect::<Result<_, RenderError>>()?
        }
        Json::Object(members) => pairs("index", members, budget)?,
        _ => return Err(Failure::Unresolved),
    };
    Ok(Operand::Owned(Json::Array(pairs)))
}
