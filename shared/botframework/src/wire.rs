//! How a JSON object becomes a typed one without losing anything.
//!
//! A typed field takes a property only when it can hold it exactly. Whatever it cannot hold (a wrong type,
//! `null`, an empty list, an empty id) stays in `extra` under its own name, beside the properties nobody
//! knows. Written out, a typed field wins over a property of its name in `extra`.

use serde::Serialize;
use serde_json::{Map, Number, Value};

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
        /// A JSON type.
        expected: &'static str,
        /// A JSON type.
        found: &'static str,
    },
    /// A required property is missing or empty.
    #[error("{path}: missing")]
    Missing {
        /// Names joined by dots.
        path: &'static str,
    },
}

/// One JSON value that a type holds exactly, so that writing it gives the same JSON.
pub(crate) trait Held: Sized + Serialize {
    /// Whether [`hold`](Self::hold) will take this value.
    fn fits(value: &Value) -> bool;

    /// The typed value, or nothing when it does not fit.
    fn hold(value: Value) -> Option<Self>;
}

/// A field of a wire object: a value that may be absent.
pub(crate) trait Member: Default + Serialize {
    fn fits(value: &Value) -> bool;
    fn hold(value: Value) -> Self;
    fn is_absent(&self) -> bool;
}

impl Held for String {
    fn fits(value: &Value) -> bool {
        value.is_string()
    }

    fn hold(value: Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

impl Held for bool {
    fn fits(value: &Value) -> bool {
        value.is_boolean()
    }

    fn hold(value: Value) -> Option<Self> {
        value.as_bool()
    }
}

impl Held for Number {
    fn fits(value: &Value) -> bool {
        value.is_number()
    }

    fn hold(value: Value) -> Option<Self> {
        match value {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }
}

/// Any JSON but `null`, which means absent.
impl Held for Value {
    fn fits(value: &Value) -> bool {
        !value.is_null()
    }

    fn hold(value: Value) -> Option<Self> {
        Some(value)
    }
}

impl<T: Held> Held for Box<T> {
    fn fits(value: &Value) -> bool {
        T::fits(value)
    }

    fn hold(value: Value) -> Option<Self> {
        T::hold(value).map(Box::new)
    }
}

impl<T: Held> Member for Option<T> {
    fn fits(value: &Value) -> bool {
        T::fits(value)
    }

    fn hold(value: Value) -> Self {
        T::hold(value)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

/// A list is taken whole or not at all: one element of another type leaves it in `extra` as it came.
impl<T: Held> Member for Vec<T> {
    fn fits(value: &Value) -> bool {
        value
            .as_array()
            .is_some_and(|items| !items.is_empty() && items.iter().all(T::fits))
    }

    fn hold(value: Value) -> Self {
        match value {
            Value::Array(items) => items.into_iter().filter_map(T::hold).collect(),
            _ => Self::new(),
        }
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

/// Refuses a document in which one of `paths` (a property, or one of an object: `from.id`) holds anything
/// but a string or nothing.
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

/// Declares a JSON object of the wire: the struct, its lossless reading and its writing.
///
/// `refuses [..]` names the paths whose wrong type refuses the document instead of staying in `extra`;
/// `then` names what is done to a document that was read on its own (and not inside another).
macro_rules! wire_object {
    (
        $(#[$attribute:meta])*
        $name:ident {
            $($(#[$field_attribute:meta])* $wire:literal $field:ident: $type:ty,)+
        }
        $(refuses [$($path:literal),+ $(,)?])?
        $(then $then:path)?
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $($(#[$field_attribute])* pub $field: $type,)+
            /// Every property without a typed field, and those their typed field could not hold.
            pub extra: serde_json::Map<String, serde_json::Value>,
        }

        impl $name {
            /// Reads a JSON value that is already parsed.
            ///
            /// # Errors
            /// When it is no object, or a property that cannot be done without has another type.
            pub fn from_value(value: serde_json::Value) -> Result<Self, $crate::wire::Error> {
                $($crate::wire::require_strings(&value, &[$($path),+])?;)?
                let object = <Self as $crate::wire::Held>::hold(value).ok_or($crate::wire::Error::NotAnObject)?;
                $(let object = $then(object);)?
                Ok(object)
            }
        }

        impl $crate::wire::Held for $name {
            fn fits(value: &serde_json::Value) -> bool {
                value.is_object()
            }

            fn hold(value: serde_json::Value) -> Option<Self> {
                let serde_json::Value::Object(properties) = value else { return None };
                let mut object = Self::default();
                for (name, value) in properties {
                    match name.as_str() {
                        $($wire if <$type as $crate::wire::Member>::fits(&value) => {
                            object.$field = <$type as $crate::wire::Member>::hold(value);
                        })+
                        _ => { object.extra.insert(name, value); }
                    }
                }
                Some(object)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                let mut map = serializer.serialize_map(None)?;
                $(if !$crate::wire::Member::is_absent(&self.$field) {
                    map.serialize_entry($wire, &self.$field)?;
                })+
                for (name, value) in &self.extra {
                    match name.as_str() {
                        $($wire if !$crate::wire::Member::is_absent(&self.$field) => {})+
                        _ => map.serialize_entry(name, value)?,
                    }
                }
                map.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = <serde_json::Value as serde::Deserialize>::deserialize(deserializer)?;
                Self::from_value(value).map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Declares an enumeration of the wire: the names known today, and `Other` for every name to come.
macro_rules! open_enum {
    (
        $(#[$attribute:meta])*
        $name:ident { $($(#[$variant_attribute:meta])* $variant:ident = $wire:literal,)+ }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_attribute])* $variant,)+
            /// A name not known here, as it came. Make it by `From`, which knows the known names.
            Other(String),
        }

        impl $name {
            /// The name on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $wire,)+
                    Self::Other(name) => name,
                }
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                match name.as_str() {
                    $($wire => Self::$variant,)+
                    _ => Self::Other(name),
                }
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                match name {
                    $($wire => Self::$variant,)+
                    _ => Self::Other(name.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer).map(Self::from)
            }
        }

        impl $crate::wire::Held for $name {
            fn fits(value: &serde_json::Value) -> bool {
                value.is_string()
            }

            fn hold(value: serde_json::Value) -> Option<Self> {
                <String as $crate::wire::Held>::hold(value).map(Self::from)
            }
        }
    };
}

/// Takes the members of an object that are `null` out of it: channels accept none in what is sent to them.
pub(crate) fn drop_nulls(properties: &mut Map<String, Value>) {
    properties.retain(|_, value| !value.is_null());
}

/// Whether there is something for [`drop_nulls`] to do.
pub(crate) fn has_nulls(properties: &Map<String, Value>) -> bool {
    properties.values().any(Value::is_null)
}

pub(crate) use {open_enum, wire_object};
