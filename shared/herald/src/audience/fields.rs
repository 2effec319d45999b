//! Members that several selectors have, and how a fault describes what it found.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{Guests, IDS_MAX};
use crate::conversation::{ID_BYTES_MAX, is_id};
use crate::id::normalize_guid;
use crate::problem::Faults;

pub(super) fn guests(object: &Map<String, Value>, at: &str, faults: &mut Faults) -> Guests {
    match object.get("guests") {
        None | Some(Value::Bool(true)) => Guests::Included,
        Some(Value::Bool(false)) => Guests::Skipped,
        Some(other) => {
            let detail = format!("must be true or false, found {}", kind(other));
            faults.note(format!("{at}/guests"), detail);
            Guests::default()
        }
    }
}

pub(super) fn id(object: &Map<String, Value>, name: &str, at: &str, faults: &mut Faults) -> Option<String> {
    match &object[name] {
        Value::String(id) if is_id(id) => Some(normalize_guid(id)),
        other => {
            faults.note(format!("{at}/{name}"), not_an_id(other));
            None
        }
    }
}

pub(super) fn ids<T: From<String>>(value: &Value, at: &str, faults: &mut Faults) -> Option<Vec<T>> {
    let Value::Array(items) = value else {
        faults.note(at, format!("must be an array of ids, found {}", kind(value)));
        return None;
    };
    if items.is_empty() || items.len() > IDS_MAX {
        faults.note(at, format!("must hold 1 to {IDS_MAX} ids, found {}", items.len()));
        return None;
    }
    let mut seen = HashSet::new();
    let mut list = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match item {
            Value::String(id) if is_id(id) => {
                let id = normalize_guid(id);
                if seen.insert(id.clone()) {
                    list.push(T::from(id));
                }
            }
            other => faults.note(format!("{at}/{index}"), not_an_id(other)),
        }
        if faults.are_full() {
            return None;
        }
    }
    Some(list)
}

pub(super) fn not_an_id(found: &Value) -> String {
    format!(
        "must be a string of 1 to {ID_BYTES_MAX} bytes without control characters, found {}",
        size(found)
    )
}

/// The JSON type of a value, for a message that must not quote the value.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty string",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The JSON type of a value, and how long a text is.
pub(crate) fn size(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => format!("{} bytes", text.len()),
        other => kind(other).to_owned(),
    }
}
