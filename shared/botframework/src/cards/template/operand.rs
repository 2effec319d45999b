//! Values of expressions.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value as Json};

use super::budget::{Budget, Failure};
use super::error::RenderError;
use super::number::{number, number_text};
use super::{MAX_DEPTH, MAX_WORK};

/// The value of an expression.
#[derive(Clone, Debug)]
pub(super) enum Operand<'a> {
    /// No value: what JavaScript calls undefined. A member whose value this is, is left out.
    Undefined,
    Borrowed(&'a Json),
    Owned(Json),
}

pub(super) type Outcome<'a> = Result<Operand<'a>, Failure>;

impl<'a> Operand<'a> {
    /// A number, if it is finite.
    pub(super) fn number(value: f64) -> Outcome<'static> {
        match number(value) {
            Some(number) => Ok(Operand::Owned(Json::Number(number))),
            None => Err(Failure::Unresolved),
        }
    }

    pub(super) fn count(value: usize) -> Operand<'static> {
        Operand::Owned(Json::from(value))
    }

    pub(super) fn boolean(value: bool) -> Operand<'static> {
        Operand::Owned(Json::Bool(value))
    }

    pub(super) fn text(value: impl Into<String>) -> Operand<'static> {
        Operand::Owned(Json::String(value.into()))
    }

    /// The value; nothing is null.
    pub(super) fn json(&self) -> &Json {
        match self {
            Self::Undefined => &Json::Null,
            Self::Borrowed(value) => value,
            Self::Owned(value) => value,
        }
    }

    /// The value for a list or a result that outlives it.
    pub(super) fn into_owned(self, budget: &Budget) -> Outcome<'static> {
        Ok(match self {
            Self::Undefined => Operand::Undefined,
            Self::Borrowed(value) => Operand::Owned(budget.copy(value)?),
            Self::Owned(value) => Operand::Owned(value),
        })
    }

    /// The value as JSON. Nothing becomes null.
    pub(super) fn into_json(self, budget: &Budget) -> Result<Json, RenderError> {
        match self {
            Self::Undefined => Ok(Json::Null),
            Self::Borrowed(value) => budget.copy(value),
            Self::Owned(value) => Ok(value),
        }
    }

    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined)
    }

    pub(super) fn is_null(&self) -> bool {
        self.json().is_null()
    }

    /// Everything is true but `false`, null and nothing: also 0 and the empty text.
    pub(super) fn is_true(&self) -> bool {
        !matches!(self.json(), Json::Null | Json::Bool(false))
    }

    pub(super) fn as_number(&self) -> Result<f64, Failure> {
        self.json().as_f64().ok_or(Failure::Unresolved)
    }

    /// A whole number.
    pub(super) fn as_integer(&self) -> Result<f64, Failure> {
        let number = self.as_number()?;
        if number.fract() == 0.0 {
            Ok(number)
        } else {
            Err(Failure::Unresolved)
        }
    }

    pub(super) fn as_array(&self) -> Result<&[Json], Failure> {
        match self.json() {
            Json::Array(items) => Ok(items),
            _ => Err(Failure::Unresolved),
        }
    }

    /// A text. No value is the empty one, null is none.
    pub(super) fn as_text(&self) -> Result<&str, Failure> {
        match (self, self.json()) {
            (Self::Undefined, _) => Ok(""),
            (_, Json::String(text)) => Ok(text),
            _ => Err(Failure::Unresolved),
        }
    }

    /// The property of this name: in this case, or, without one, in another. Of an array, its number.
    pub(super) fn property(self, name: &str, budget: &Budget) -> Outcome<'a> {
        Ok(match self {
            Self::Undefined => Operand::Undefined,
            Self::Borrowed(Json::Object(members)) => match members.get(name) {
                Some(member) => Operand::Borrowed(member),
                None => match other_case(members, name, budget)? {
                    Some(found) => members.get(&found).map_or(Operand::Undefined, Operand::Borrowed),
                    None => Operand::Undefined,
                },
            },
            Self::Owned(Json::Object(mut members)) => match members.remove(name) {
                Some(member) => Operand::Owned(member),
                None => match other_case(&members, name, budget)? {
                    Some(found) => members.remove(&found).map_or(Operand::Undefined, Operand::Owned),
                    None => Operand::Undefined,
                },
            },
            other => match (other.json(), name.parse()) {
                (Json::Array(_), Ok(index)) => other.item(index),
                _ => Operand::Undefined,
            },
        })
    }

    /// The item of an array.
    pub(super) fn item(self, index: usize) -> Self {
        match self {
            Self::Borrowed(Json::Array(items)) => {
                items.get(index).map_or(Operand::Undefined, Operand::Borrowed)
            }
            Self::Owned(Json::Array(mut items)) if index < items.len() => {
                Operand::Owned(items.swap_remove(index))
            }
            _ => Operand::Undefined,
        }
    }
}

/// The name of a member that differs from `name` in case only.
fn other_case(
    members: &Map<String, Json>,
    name: &str,
    budget: &Budget,
) -> Result<Option<String>, RenderError> {
    budget.work(members.len())?;
    let lower = name.to_lowercase();
    let found = members
        .keys()
        .find(|key| key.eq_ignore_ascii_case(name) || (!key.is_ascii() && key.to_lowercase() == lower));
    Ok(found.cloned())
}

/// Whether `==` holds. Null and no value are the same; numbers are compared by value.
pub(super) fn equals(left: &Json, right: &Json, budget: &Budget) -> Result<bool, RenderError> {
    equals_at(left, right, budget, 0)
}

fn equals_at(left: &Json, right: &Json, budget: &Budget, level: usize) -> Result<bool, RenderError> {
    if level > MAX_DEPTH {
        return Err(RenderError::TooDeep);
    }
    match (left, right) {
        (Json::Number(left), Json::Number(right)) => Ok(same_number(left, right)),
        (Json::String(left), Json::String(right)) => {
            budget.work(left.len().min(right.len()) / 8)?;
            Ok(left == right)
        }
        (Json::Array(left), Json::Array(right)) if left.len() == right.len() => {
            budget.work(left.len())?;
            all(left.iter().zip(right), |(left, right)| {
                equals_at(left, right, budget, level + 1)
            })
        }
        (Json::Object(left), Json::Object(right)) if left.len() == right.len() => {
            budget.work(left.len())?;
            all(left, |(name, left)| match right.get(name) {
                Some(right) => equals_at(left, right, budget, level + 1),
                None => Ok(false),
            })
        }
        (Json::Null | Json::Bool(_), _) => Ok(left == right),
        _ => Ok(false),
    }
}

fn all<T>(
    items: impl IntoIterator<Item = T>,
    mut holds: impl FnMut(T) -> Result<bool, RenderError>,
) -> Result<bool, RenderError> {
    for item in items {
        if !holds(item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Numbers of 64 bits are compared exactly, others as the reference does.
fn same_number(left: &Number, right: &Number) -> bool {
    if !left.is_f64() && !right.is_f64() {
        return left == right;
    }
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => (left - right).abs() < f64::EPSILON,
        _ => false,
    }
}

/// The order of two numbers, or of two texts by their UTF-16.
pub(super) fn order(left: &Json, right: &Json) -> Option<Ordering> {
    match (left, right) {
        (Json::Number(left), Json::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Json::String(left), Json::String(right)) => Some(left.encode_utf16().cmp(right.encode_utf16())),
        _ => None,
    }
}

/// A text that is made, with each byte taken from the budget before it is.
pub(super) struct TextBuffer<'b> {
    text: String,
    budget: &'b Budget,
}

impl<'b> TextBuffer<'b> {
    pub(super) fn new(budget: &'b Budget) -> Self {
        Self {
            text: String::new(),
            budget,
        }
    }

    pub(super) fn push(&mut self, part: &str) -> Result<(), RenderError> {
        if self.text.len() + part.len() > MAX_WORK {
            return Err(RenderError::TooMuchWork);
        }
        self.budget.work(1 + part.len() / 8)?;
        self.text.push_str(part);
        Ok(())
    }

    /// A value as `${…}` in a text shows it: null is nothing, the items of an array are joined with commas, an object is JSON.
    pub(super) fn push_value(&mut self, value: &Json) -> Result<(), RenderError> {
        match value {
            Json::Null => Ok(()),
            Json::Bool(value) => self.push(if *value { "true" } else { "false" }),
            Json::Number(number) => self.push(&number_text(number)),
            Json::String(text) => self.push(text),
            Json::Array(items) => self.push_joined(items, ",", 0),
            Json::Object(_) => self.push_json(value, 0),
        }
    }

    /// The items of an array with a text between them.
    pub(super) fn push_joined(
        &mut self,
        items: &[Json],
        separator: &str,
        level: usize,
    ) -> Result<(), RenderError> {
        if level > MAX_DEPTH {
            return Err(RenderError::TooDeep);
        }
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.push(separator)?;
            }
            match item {
                Json::Array(items) => self.push_joined(items, ",", level + 1)?,
                other => self.push_value(other)?,
            }
        }
        Ok(())
    }

    /// JSON, as `JSON.stringify` writes it.
    pub(super) fn push_json(&mut self, value: &Json, level: usize) -> Result<(), RenderError> {
        if level > MAX_DEPTH {
            return Err(RenderError::TooDeep);
        }
        match value {
            Json::Null => self.push("null"),
            Json::Bool(_) | Json::Number(_) => self.push_value(value),
            Json::String(text) => self.push_quoted(text),
            Json::Array(items) => {
                self.push("[")?;
                for (index, item) in items.iter().enumerate() {
                    self.push(if index > 0 { "," } else { "" })?;
                    self.push_json(item, level + 1)?;
                }
                self.push("]")
            }
            Json::Object(members) => {
                self.push("{")?;
                for (index, (name, member)) in members.iter().enumerate() {
                    self.push(if index > 0 { "," } else { "" })?;
                    self.push_quoted(name)?;
                    self.push(":")?;
                    self.push_json(member, level + 1)?;
                }
                self.push("}")
            }
        }
    }

    fn push_quoted(&mut self, text: &str) -> Result<(), RenderError> {
        self.budget.work(text.len() / 8)?;
        self.push(&Json::from(text).to_string())
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}
