//! Attributes of items.
//!
//! Ids and documents are strings, documents as JSON; numbers are integers; moments are milliseconds since 1970. Pages are
//! compressed JSON.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::str::FromStr;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;

/// An item, or a part of one.
pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn texts(values: &[String]) -> AttributeValue {
    AttributeValue::L(values.iter().map(text).collect())
}

pub(super) fn number(value: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

pub(super) fn moment(value: Timestamp) -> AttributeValue {
    number(value.as_millisecond())
}

pub(super) fn json<T: Serialize>(verb: &'static str, name: &str, value: &T) -> Result<AttributeValue, Error> {
    serde_json::to_string(value)
        .map(AttributeValue::S)
        .map_err(|_| Error::corrupt(verb, name))
}

/// A document that is written once and is large: its JSON, deflated. DynamoDB bills each kilobyte of a write.
pub(super) fn deflated<T: Serialize>(
    verb: &'static str,
    name: &str,
    value: &T,
) -> Result<AttributeValue, Error> {
    let json = serde_json::to_vec(value).map_err(|_| Error::corrupt(verb, name))?;
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    let bytes = encoder.write_all(&json).and_then(|()| encoder.finish());
    bytes
        .map(|bytes| AttributeValue::B(Blob::new(bytes)))
        .map_err(|_| Error::corrupt(verb, name))
}

/// The variant of an enum, as serde spells it.
pub(super) fn word<T: Serialize>(verb: &'static str, name: &str, value: &T) -> Result<AttributeValue, Error> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(AttributeValue::S(word)),
        _ => Err(Error::corrupt(verb, name)),
    }
}

pub(super) fn item<const N: usize>(attributes: [(&str, AttributeValue); N]) -> Item {
    attributes
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Whether the item was written by the call with this write token.
pub(super) fn has_token(verb: &'static str, item: &Item, token: &str) -> Result<bool, Error> {
    Ok(Record { verb, item }.optional_text("writeToken")? == Some(token))
}

/// An item, with the operation that reads it.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) verb: &'static str,
    pub(super) item: &'a Item,
}

impl<'a> Record<'a> {
    pub(super) fn optional_text(self, name: &str) -> Result<Option<&'a str>, Error> {
        match self.item.get(name) {
            None => Ok(None),
            Some(AttributeValue::S(text)) => Ok(Some(text)),
            Some(_) => Err(self.corrupt(name)),
        }
    }

    pub(super) fn text(self, name: &str) -> Result<&'a str, Error> {
        self.optional_text(name)?.ok_or_else(|| self.corrupt(name))
    }

    pub(super) fn optional_texts(self, name: &str) -> Result<Option<Vec<String>>, Error> {
        let values = match self.item.get(name) {
            None => return Ok(None),
            Some(AttributeValue::L(values)) => values.iter(),
            Some(_) => return Err(self.corrupt(name)),
        };
        values
            .map(|value| value.as_s().cloned().map_err(|_| self.corrupt(name)))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    pub(super) fn optional_number<T: FromStr>(self, name: &str) -> Result<Option<T>, Error> {
        match self.item.get(name) {
            None => Ok(None),
            Some(AttributeValue::N(digits)) => digits.parse().map(Some).map_err(|_| self.corrupt(name)),
            Some(_) => Err(self.corrupt(name)),
        }
    }

    pub(super) fn number<T: FromStr>(self, name: &str) -> Result<T, Error> {
        self.optional_number(name)?.ok_or_else(|| self.corrupt(name))
    }

    pub(super) fn optional_moment(self, name: &str) -> Result<Option<Timestamp>, Error> {
        self.optional_number(name)?
            .map(|number| Timestamp::from_millisecond(number).map_err(|_| self.corrupt(name)))
            .transpose()
    }

    pub(super) fn moment(self, name: &str) -> Result<Timestamp, Error> {
        self.optional_moment(name)?.ok_or_else(|| self.corrupt(name))
    }

    pub(super) fn json<T: DeserializeOwned>(self, name: &str) -> Result<T, Error> {
        serde_json::from_str(self.text(name)?).map_err(|_| self.corrupt(name))
    }

    /// Reads what [`deflated`] wrote.
    pub(super) fn deflated<T: DeserializeOwned>(self, name: &str) -> Result<T, Error> {
        let Some(AttributeValue::B(bytes)) = self.item.get(name) else {
            return Err(self.corrupt(name));
        };
        let mut json = Vec::new();
        let read = DeflateDecoder::new(bytes.as_ref()).read_to_end(&mut json);
        read.map_err(|_| self.corrupt(name))?;
        serde_json::from_slice(&json).map_err(|_| self.corrupt(name))
    }

    pub(super) fn word<T: DeserializeOwned>(self, name: &str) -> Result<T, Error> {
        serde_json::from_value(self.text(name)?.into()).map_err(|_| self.corrupt(name))
    }

    pub(super) fn optional_word<T: DeserializeOwned>(self, name: &str) -> Result<Option<T>, Error> {
        self.optional_text(name)?.map(|_| self.word(name)).transpose()
    }

    pub(super) fn corrupt(self, name: &str) -> Error {
        Error::corrupt(self.verb, name)
    }
}
