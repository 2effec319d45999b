//! The macros that define the objects and the open enumerations of the wire.

/// Declares a JSON object of the wire: the struct and its lossless conversion from and to JSON.
///
/// `refuses [..]` lists the paths whose wrong type rejects the document instead of staying in `extra`;
/// `then` is a function applied to a document that is read on its own, not inside another.
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
            /// Every property without a typed field, and those that their typed field does not accept.
            pub extra: serde_json::Map<String, serde_json::Value>,
            /// The texts of those numbers in `extra` and in JSON fields that would be written in another way.
            pub numbers: $crate::lossless::NumberTexts,
        }

        impl $name {
            /// Reads a JSON value that is already parsed. It has lost the texts of its numbers.
            ///
            /// # Errors
            /// When it is no object, or a property that cannot be done without has another type.
            pub fn from_value(value: serde_json::Value) -> Result<Self, $crate::wire::Error> {
                Self::from_lossless(value.into())
            }

            /// Reads a parsed document, numbers included.
            ///
            /// # Errors
            /// When it is no object, or a property that cannot be done without has another type.
            pub fn from_lossless(json: $crate::lossless::LosslessJson) -> Result<Self, $crate::wire::Error> {
                let $crate::lossless::LosslessJson { value, mut numbers } = json;
                $($crate::wire::require_strings(&value, &[$($path),+])?;)?
                let object = <Self as $crate::wire::WireValue>::from_json(value, &mut numbers)
                    .ok_or($crate::wire::Error::NotAnObject)?;
                $(let object = $then(object);)?
                Ok(object)
            }

            /// The JSON, numbers included.
            ///
            /// # Errors
            /// When a property cannot be serialised.
            pub fn to_lossless(&self) -> Result<$crate::lossless::LosslessJson, serde_json::Error> {
                $crate::lossless::LosslessJson::from_slice(&serde_json::to_vec(self)?)
            }
        }

        impl $crate::wire::WireValue for $name {
            fn accepts(value: &serde_json::Value) -> bool {
                value.is_object()
            }

            fn from_json(
                value: serde_json::Value,
                numbers: &mut $crate::lossless::NumberTexts,
            ) -> Option<Self> {
                let serde_json::Value::Object(properties) = value else { return None };
                let mut object = Self { numbers: std::mem::take(numbers), ..Self::default() };
                for (name, value) in properties {
                    match name.as_str() {
                        $($wire if <$type as $crate::wire::WireField>::accepts(&value) => {
                            if <$type as $crate::wire::WireField>::MAY_BE_NUMBER && value.is_number() {
                                object.extra.insert(name, value.clone());
                            }
                            let mut inner = object.numbers.take_member($wire);
                            object.$field = <$type as $crate::wire::WireField>::from_json(value, &mut inner);
                            object.numbers.put_member($wire, inner);
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
                $(if !$crate::wire::WireField::is_absent(&self.$field) {
                    let field = &self.$field;
                    let numbers = self.numbers.member($wire);
                    match <$type as $crate::wire::WireField>::MAY_BE_NUMBER.then(|| self.extra.get($wire)).flatten() {
                        Some(number) if $crate::wire::is_number_of(number, field) => {
                            map.serialize_entry($wire, number)?;
                        }
                        _ => map.serialize_entry($wire, &$crate::wire::Written { field, numbers })?,
                    }
                })+
                for (name, value) in &self.extra {
                    match name.as_str() {
                        $($wire if !$crate::wire::WireField::is_absent(&self.$field) => {})+
                        _ => {
                            let numbers = self.numbers.member(name);
                            map.serialize_entry(name, &$crate::lossless::Exact::new(value, numbers))?;
                        }
                    }
                }
                map.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let json = <$crate::lossless::LosslessJson as serde::Deserialize>::deserialize(deserializer)?;
                Self::from_lossless(json).map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Declares an open enumeration of the wire: the known names, and `Other` for any other.
macro_rules! open_enum {
    (
        $(#[$attribute:meta])*
        $name:ident { $($(#[$variant_attribute:meta])* $variant:ident = $wire:literal,)+ }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_attribute])* $variant,)+
            /// An unknown name. Create it by `From`, which maps known names to their variants.
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

        impl $crate::wire::WireValue for $name {
            fn accepts(value: &serde_json::Value) -> bool {
                value.is_string()
            }

            fn from_json(
                value: serde_json::Value,
                numbers: &mut $crate::lossless::NumberTexts,
            ) -> Option<Self> {
                <String as $crate::wire::WireValue>::from_json(value, numbers).map(Self::from)
            }
        }
    };
}

pub(crate) use {open_enum, wire_object};
