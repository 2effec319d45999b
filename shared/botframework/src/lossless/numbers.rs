//! The texts of numbers, by their places in a document.

use std::collections::BTreeMap;

use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use super::scan;

/// The texts of those numbers of a JSON value that [`Number`] would write in another way, such as `1.10`.
///
/// A text is used as long as the number at its place is the same; a number that was changed is written as it is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NumberTexts(Option<Box<Node>>);

/// The texts in one JSON value.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// The value is a number with this text.
    Text(Box<str>),
    /// The value is an object; its members with texts, at least one.
    Members(BTreeMap<String, NumberTexts>),
    /// The value is an array; its items with texts, at least one.
    Items(BTreeMap<usize, NumberTexts>),
}

impl NumberTexts {
    pub(super) fn text(text: &str) -> Self {
        Self(Some(Box::new(Node::Text(text.into()))))
    }

    /// The texts in the members of an object.
    pub(super) fn members(mut members: BTreeMap<String, Self>) -> Self {
        members.retain(|_, numbers| !numbers.is_empty());
        Self((!members.is_empty()).then(|| Box::new(Node::Members(members))))
    }

    /// The texts in the items of an array.
    pub(super) fn items(mut items: BTreeMap<usize, Self>) -> Self {
        items.retain(|_, numbers| !numbers.is_empty());
        Self((!items.is_empty()).then(|| Box::new(Node::Items(items))))
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The texts in a member of an object, if there are any.
    pub fn member(&self, name: &str) -> Option<&Self> {
        match self.0.as_deref()? {
            Node::Members(members) => members.get(name),
            Node::Text(_) | Node::Items(_) => None,
        }
    }

    fn item(&self, index: usize) -> Option<&Self> {
        match self.0.as_deref()? {
            Node::Items(items) => items.get(&index),
            Node::Text(_) | Node::Members(_) => None,
        }
    }

    /// Takes the texts of a member out.
    pub(crate) fn take_member(&mut self, name: &str) -> Self {
        let Some(Node::Members(members)) = self.0.as_deref_mut() else {
            return Self::default();
        };
        let taken = members.remove(name).unwrap_or_default();
        if members.is_empty() {
            self.0 = None;
        }
        taken
    }

    /// Takes the texts of an item out.
    pub(crate) fn take_item(&mut self, index: usize) -> Self {
        let Some(Node::Items(items)) = self.0.as_deref_mut() else {
            return Self::default();
        };
        let taken = items.remove(&index).unwrap_or_default();
        if items.is_empty() {
            self.0 = None;
        }
        taken
    }

    /// Sets the texts of a member, unless there are none.
    pub(crate) fn put_member(&mut self, name: &str, numbers: Self) {
        if numbers.is_empty() {
            return;
        }
        match self.0.as_deref_mut() {
            Some(Node::Members(members)) => {
                members.insert(name.to_owned(), numbers);
            }
            _ => *self = Self::members(BTreeMap::from([(name.to_owned(), numbers)])),
        }
    }
}

/// A JSON value that is written with the texts of its numbers.
pub(crate) struct Exact<'a> {
    value: &'a Value,
    numbers: Option<&'a NumberTexts>,
}

impl<'a> Exact<'a> {
    pub(crate) fn new(value: &'a Value, numbers: Option<&'a NumberTexts>) -> Self {
        Self { value, numbers }
    }
}

impl Serialize for Exact<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(numbers) = self.numbers else {
            return self.value.serialize(serializer);
        };
        match (self.value, numbers.0.as_deref()) {
            (Value::Number(number), Some(Node::Text(_))) => ExactNumber {
                number,
                numbers: Some(numbers),
            }
            .serialize(serializer),
            (Value::Object(members), Some(Node::Members(_))) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, member) in members {
                    map.serialize_entry(name, &Exact::new(member, numbers.member(name)))?;
                }
                map.end()
            }
            (Value::Array(items), Some(Node::Items(_))) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for (index, item) in items.iter().enumerate() {
                    list.serialize_element(&Exact::new(item, numbers.item(index)))?;
                }
                list.end()
            }
            _ => self.value.serialize(serializer),
        }
    }
}

/// A number that is written with its text.
pub(crate) struct ExactNumber<'a> {
    pub(crate) number: &'a Number,
    pub(crate) numbers: Option<&'a NumberTexts>,
}

impl Serialize for ExactNumber<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.numbers.and_then(|numbers| numbers.0.as_deref()) {
            Some(Node::Text(text)) if scan::number(text).as_ref() == Some(self.number) => {
                let raw: &RawValue = serde_json::from_str(text).map_err(S::Error::custom)?;
                raw.serialize(serializer)
            }
            _ => self.number.serialize(serializer),
        }
    }
}
