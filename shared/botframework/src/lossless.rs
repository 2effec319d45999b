//! A JSON document whose numbers are written back as they came.
//!
//! [`Value`] holds a number as `u64`, `i64` or `f64`. Some numbers have another text then: `1.10` becomes `1.1`, `1e2` becomes
//! `100.0`, and of twenty digits seventeen stay. `serde_json` has a feature that keeps the text of every number, but Cargo would
//! turn it on for the whole program, in which `untagged` and `flatten` then read no `f64` any more. So a document keeps the
//! texts itself, beside the value: of those numbers only, each at its place ([`NumberTexts`]). Most documents have none.
//!
//! That is the feature `lossless-numbers`. Without it numbers are written as `serde_json` writes them, and a number beyond the range
//! of `f64` is an error.

mod numbers;
#[cfg_attr(
    not(feature = "lossless-numbers"),
    allow(dead_code, reason = "no document is scanned")
)]
mod scan;

use std::fmt;

use serde::de::{self, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::json;

pub use self::numbers::NumberTexts;
pub(crate) use self::numbers::{Exact, ExactNumber};

/// What `serde_json` calls its `RawValue`. With another name its deserializer would offer the parsed JSON, without the texts of
/// numbers.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// A JSON value with the texts of those numbers that [`Value`] would write in another way.
///
/// # Example: a number keeps its digits
/// ```
/// use botframework::lossless::LosslessJson;
///
/// let document = LosslessJson::from_slice(br#"{"price":1.10}"#)?;
/// assert_eq!(document.value["price"], 1.1);
/// assert_eq!(document.to_string(), r#"{"price":1.10}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LosslessJson {
    /// The JSON.
    pub value: Value,
    /// The texts of its numbers.
    pub numbers: NumberTexts,
}

impl LosslessJson {
    /// Parses a document. A number beyond the range of `f64` is the largest or smallest `f64` in the value; what
    /// [`json::from_slice`] repairs is repaired.
    ///
    /// # Errors
    /// When the text is not JSON.
    pub fn from_slice(text: &[u8]) -> Result<Self, serde_json::Error> {
        Self::read(text).or_else(|error| match json::repair(text) {
            Some(repaired) => Self::read(&repaired),
            None => Err(error),
        })
    }

    #[cfg(not(feature = "lossless-numbers"))]
    fn read(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<Value>(text).map(Self::from)
    }

    #[cfg(feature = "lossless-numbers")]
    fn read(text: &[u8]) -> Result<Self, serde_json::Error> {
        let tokens = scan::inexact_numbers(text);
        if tokens.is_empty() {
            return Ok(Self::from(serde_json::from_slice::<Value>(text)?));
        }
        let value = serde_json::from_slice(&scan::within_range(text, &tokens))?;
        let numbers = scan::numbers(text);
        Ok(Self { value, numbers })
    }

    /// A value with the texts that its owner keeps for it.
    pub(crate) fn of(value: Value, numbers: Option<&NumberTexts>) -> Self {
        let numbers = numbers.cloned().unwrap_or_default();
        Self { value, numbers }
    }

    /// A copy of the member of an object, if there is one.
    pub fn get(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name)?.clone();
        Some(Self::of(value, self.numbers.member(name)))
    }

    /// Adds the members that only `other` has, at every depth of objects.
    pub fn fill(&mut self, other: Self) {
        fill(&mut self.value, &mut self.numbers, other.value, other.numbers);
    }
}

fn fill(value: &mut Value, numbers: &mut NumberTexts, other: Value, mut others: NumberTexts) {
    let (Value::Object(members), Value::Object(other)) = (value, other) else {
        return;
    };
    for (name, member) in other {
        let text = others.take_member(&name);
        match members.get_mut(&name) {
            Some(present) => {
                let mut inner = numbers.take_member(&name);
                fill(present, &mut inner, member, text);
                numbers.put_member(&name, inner);
            }
            None => {
                numbers.put_member(&name, text);
                members.insert(name, member);
            }
        }
    }
}

impl From<Value> for LosslessJson {
    fn from(value: Value) -> Self {
        Self {
            value,
            numbers: NumberTexts::default(),
        }
    }
}

/// The JSON text.
impl fmt::Display for LosslessJson {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        formatter.write_str(&text)
    }
}

impl Serialize for LosslessJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Exact::new(&self.value, Some(&self.numbers)).serialize(serializer)
    }
}

/// From a JSON text all numbers keep their texts; from anything else, such as a [`Value`] or the buffer of an `untagged`
/// enumeration, those that it has.
impl<'de> Deserialize<'de> for LosslessJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(RAW_VALUE, JsonVisitor)
    }
}

struct JsonVisitor;

fn parsed<E: de::Error>(value: impl IntoDeserializer<'static, E>) -> Result<LosslessJson, E> {
    Value::deserialize(value.into_deserializer()).map(LosslessJson::from)
}

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = LosslessJson;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<LosslessJson, D::Error> {
        Value::deserialize(deserializer).map(LosslessJson::from)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LosslessJson, A::Error> {
        let mut members = Map::new();
        let mut name = map.next_key::<String>()?;
        if name.as_deref() == Some(RAW_VALUE) {
            let text: String = map.next_value()?;
            return LosslessJson::from_slice(text.as_bytes()).map_err(de::Error::custom);
        }
        while let Some(member) = name {
            members.insert(member, map.next_value()?);
            name = map.next_key()?;
        }
        Ok(LosslessJson::from(Value::Object(members)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<LosslessJson, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element()? {
            values.push(value);
        }
        Ok(LosslessJson::from(Value::Array(values)))
    }

    fn visit_unit<E: de::Error>(self) -> Result<LosslessJson, E> {
        Ok(LosslessJson::default())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<LosslessJson, E> {
        parsed(value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<LosslessJson, E> {
        parsed(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<LosslessJson, E> {
        parsed(value)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<LosslessJson, E> {
        parsed(value)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<LosslessJson, E> {
        parsed(value.to_owned())
    }
}

#[cfg(test)]
mod tests;
