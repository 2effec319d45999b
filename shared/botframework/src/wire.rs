//! Lossless conversion between JSON objects and typed ones.
//!
//! A typed field takes a property only when it represents it exactly. Any other value (a wrong type, `null`, an empty
//! list, an empty id) stays in `extra` under its own name, beside the unknown properties. On writing, a typed field
//! wins over a property of its name in `extra`.

use serde::{Serialize, Serializer};
use serde_json::{Map, Number, Value};

use crate::lossless::{Exact, ExactNumber, NumberTexts};

mod macros;

pub(crate) use macros::{open_enum, wire_object};

/// Why a JSON document is not an object of the schema.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not JSON.
    #[error("activity is not valid JSON")]
    Syntax(#[from] serde_json::Error),
    /// The JSON is not an object.
    #[error("expected a JSON object")]
    NotAnObject,
    /// A required property has another type.
    #[error("{path}: expected {expected}, found {found}")]
    WrongType {
        /// Names joined by dots.
        path: &'static str,
        /// The JSON type that the schema requires.
        expected: &'static str,
        /// The JSON type in the document.
        found: &'static str,
    },
    /// A required property is missing or empty.
    #[error("{path}: missing")]
    Missing {
        /// Names joined by dots.
        path: &'static str,
    },
}

/// A type that represents some JSON values exactly: writing one gives the same JSON.
pub(crate) trait WireValue: Sized + Serialize {
    /// See [`WireField::MAY_BE_NUMBER`].
    const MAY_BE_NUMBER: bool = false;

    /// Whether [`from_json`](Self::from_json) accepts this value.
    fn accepts(value: &Value) -> bool;

    /// The typed value; `None` when the value is not accepted. An object takes the texts of its numbers.
    fn from_json(value: Value, numbers: &mut NumberTexts) -> Option<Self>;

    /// Writes the value. `numbers` has the texts of a value that is no object of the wire.
    fn write<S: Serializer>(&self, numbers: Option<&NumberTexts>, serializer: S) -> Result<S::Ok, S::Error> {
        let _ = numbers;
        self.serialize(serializer)
    }
}

/// A field of a wire object: a value that may be absent.
pub(crate) trait WireField: Default + Serialize {
    /// Whether the field is an id that some channels write as a number. The number stays in `extra` and is written back.
    const MAY_BE_NUMBER: bool = false;

    fn accepts(value: &Value) -> bool;
    fn from_json(value: Value, numbers: &mut NumberTexts) -> Self;
    fn is_absent(&self) -> bool;

    fn write<S: Serializer>(&self, numbers: Option<&NumberTexts>, serializer: S) -> Result<S::Ok, S::Error> {
        let _ = numbers;
        self.serialize(serializer)
    }
}

/// A field with the texts of its numbers, to be written.
pub(crate) struct Written<'a, T> {
    pub(crate) field: &'a T,
    pub(crate) numbers: Option<&'a NumberTexts>,
}

impl<T: WireField> Serialize for Written<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.field.write(self.numbers, serializer)
    }
}

impl WireValue for String {
    fn accepts(value: &Value) -> bool {
        value.is_string()
    }

    fn from_json(value: Value, _: &mut NumberTexts) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

impl WireValue for bool {
    fn accepts(value: &Value) -> bool {
        value.is_boolean()
    }

    fn from_json(value: Value, _: &mut NumberTexts) -> Option<Self> {
        value.as_bool()
    }
}

impl WireValue for Number {
    fn accepts(value: &Value) -> bool {
        value.is_number()
    }

    fn from_json(value: Value, _: &mut NumberTexts) -> Option<Self> {
        match value {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    fn write<S: Serializer>(&self, numbers: Option<&NumberTexts>, serializer: S) -> Result<S::Ok, S::Error> {
        let number = self;
        ExactNumber { number, numbers }.serialize(serializer)
    }
}

/// Any JSON but `null`, which means absent.
impl WireValue for Value {
    fn accepts(value: &Value) -> bool {
        !value.is_null()
    }

    fn from_json(value: Value, _: &mut NumberTexts) -> Option<Self> {
        Some(value)
    }

    fn write<S: Serializer>(&self, numbers: Option<&NumberTexts>, serializer: S) -> Result<S::Ok, S::Error> {
        Exact::new(self, numbers).serialize(serializer)
    }
}

impl<T: WireValue> WireValue for Box<T> {
    fn accepts(value: &Value) -> bool {
        T::accepts(value)
    }

    fn from_json(value: Value, numbers: &mut NumberTexts) -> Option<Self> {
        T::from_json(value, numbers).map(Box::new)
    }

    fn write<S: Serializer>(&self, numbers: Option<&NumberTexts>, serializer: S) -> Result<S::Ok, S::Error> {
        T::write(self, numbers, serializer)
    }
}

impl<T: WireValue> WireField for Option<T> {
    const MAY_BE_NUMBER: bool = T::MAY_BE_NUMBER;

    fn accepts(value: &Value) -> bool {
        T::accepts(value)
    }

    fn from_json(value: Value, numbers: &mut NumberTexts) -> Self {
        T::from_json(value, numbers)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn write<S: Serializer>(&self, numbers: Option<&NumberTexts>, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => value.write(numbers, serializer),
            None => serializer.serialize_none(),
        }
    }
}

/// A list is accepted as a whole: one element of another type leaves all of it in `extra`.
impl<T: WireValue> WireField for Vec<T> {
    fn accepts(value: &Value) -> bool {
        value
            .as_array()
            .is_some_and(|items| !items.is_empty() && items.iter().all(T::accepts))
    }

    fn from_json(value: Value, numbers: &mut NumberTexts) -> Self {
        let Value::Array(items) = value else {
            return Self::new();
        };
        let items = items.into_iter().enumerate();
        items
            .filter_map(|(index, item)| T::from_json(item, &mut numbers.take_item(index)))
            .collect()
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

/// The digits of a number that stands in place of an id: a whole number, as it is written.
pub(crate) fn digits(value: &Value) -> Option<String> {
    let digits = value.as_number()?.to_string();
    let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_whole.then_some(digits)
}

/// Whether a required property is an id. A `channelId` is a name: `msteams`.
fn is_id(name: &str) -> bool {
    matches!(name, "id" | "activityId")
}

/// Whether an id was written as this number.
pub(crate) fn is_number_of(number: &Value, id: &impl Serialize) -> bool {
    digits(number).is_some_and(|digits| serde_json::to_value(id).is_ok_and(|id| id == digits))
}

/// Rejects a document in which one of `paths` (a property, or one of an object: `from.id`) has another value than a
/// string or `null`; an id may be a whole number.
pub(crate) fn require_strings(document: &Value, paths: &[&'static str]) -> Result<(), Error> {
    if !document.is_object() {
        return Err(Error::NotAnObject);
    }
    for path in paths {
        let (owner, name) = match path.split_once('.') {
            None => (document, *path),
            Some((owner_path, name)) => match document.get(owner_path) {
                None | Some(Value::Null) => continue,
                Some(owner @ Value::Object(_)) => (owner, name),
                Some(other) => return Err(wrong_type(owner_path, "an object", other)),
            },
        };
        match owner.get(name) {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(number) if is_id(name) && digits(number).is_some() => {}
            Some(other) => return Err(wrong_type(path, "a string", other)),
        }
    }
    Ok(())
}

fn wrong_type(path: &'static str, expected: &'static str, found: &Value) -> Error {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Error::WrongType {
        path,
        expected,
        found,
    }
}

/// Removes the `null` members of an object: channels reject them.
pub(crate) fn drop_nulls(properties: &mut Map<String, Value>) {
    properties.retain(|_, value| !value.is_null());
}

/// Whether [`drop_nulls`] would remove a member.
pub(crate) fn has_nulls(properties: &Map<String, Value>) -> bool {
    properties.values().any(Value::is_null)
}
