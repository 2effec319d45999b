//! Documents that may be larger than an item: JSON, cut into pieces.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::attribute::{Item, Record, corrupt, item, number};
use super::super::{Error, unavailable};
use super::Notifications;
use super::key::key;
use crate::id::NotificationId;

/// How many bytes of a document one item holds; DynamoDB's limit is 400 KB, names and keys included.
const PIECE_BYTES: usize = 350_000;

impl Notifications {
    /// A document that was cut into items.
    pub(super) async fn document<T: DeserializeOwned>(
        &self,
        verb: &'static str,
        id: &NotificationId,
        name: &str,
    ) -> Result<Option<T>, Error> {
        let pieces = self.all(verb, id, &format!("{name}#")).await?;
        let Some(first) = pieces.first() else {
            return Ok(None);
        };
        // They are written in one transaction, but a query is free to see it half done.
        if pieces.len() != (Record { verb, item: first }).number::<usize>("pieces")? {
            return Err(unavailable(verb)(Incomplete));
        }
        let mut bytes = Vec::new();
        for piece in &pieces {
            match piece.get("content") {
                Some(AttributeValue::B(content)) => bytes.extend_from_slice(content.as_ref()),
                _ => return Err(corrupt(verb, "content")),
            }
        }
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|_| corrupt(verb, "content"))
    }
}

pub(super) fn piece(name: &str, index: usize) -> String {
    format!("{name}#{index:03}")
}

/// A document as the items it is kept in.
pub(super) fn pieces<T: Serialize>(
    verb: &'static str,
    id: &NotificationId,
    name: &str,
    document: &T,
    expires: &AttributeValue,
) -> Result<Vec<Item>, Error> {
    let bytes = serde_json::to_vec(document).map_err(|_| corrupt(verb, "content"))?;
    let pieces = bytes.chunks(PIECE_BYTES);
    let count = pieces.len() as u64;
    let items = pieces.enumerate().map(|(index, content)| {
        let mut attributes = key(id, &piece(name, index));
        attributes.extend(item([
            ("content", AttributeValue::B(Blob::new(content))),
            ("pieces", number(count)),
            ("expires", expires.clone()),
        ]));
        attributes
    });
    Ok(items.collect())
}

/// A document is being written while it is read.
#[derive(Debug, thiserror::Error)]
#[error("not all pieces of the document are there yet")]
struct Incomplete;
