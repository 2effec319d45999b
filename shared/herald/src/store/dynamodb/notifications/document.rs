//! Documents that may be larger than an item: JSON, split into pieces.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;

use super::super::attribute::{Item, Record, item, number};
use super::super::{Error, unavailable};
use super::Notifications;
use super::key::{self, key};
use crate::id::NotificationId;
use crate::store::Document;

/// How many bytes of a document one item holds; DynamoDB's limit is 400 KB, names and keys included.
const PIECE_BYTES: usize = 350_000;

impl Notifications {
    pub(super) async fn read_document(
        &self,
        id: &NotificationId,
        document: Document,
    ) -> Result<Option<Vec<u8>>, Error> {
        const VERB: &str = "read a document of a notification";
        let pieces = self
            .all(VERB, id, format!("{}#", key::document(document)))
            .await?;
        let Some(first) = pieces.first() else {
            return Ok(None);
        };
        let first = Record {
            verb: VERB,
            item: first,
        };
        // One transaction writes them, but a query may see it half done.
        if pieces.len() != first.number::<usize>("pieces")? {
            return Err(unavailable(VERB)(Incomplete));
        }
        let mut bytes = Vec::new();
        for piece in &pieces {
            match piece.get("content") {
                Some(AttributeValue::B(content)) => bytes.extend_from_slice(content.as_ref()),
                _ => return Err(Error::corrupt(VERB, "content")),
            }
        }
        Ok(Some(bytes))
    }
}

/// The sort key of a piece.
pub(super) fn piece(document: &str, index: usize) -> String {
    format!("{document}#{index:03}")
}

/// The items of a document.
pub(super) fn pieces<T: Serialize>(
    verb: &'static str,
    id: &NotificationId,
    document: Document,
    content: &T,
    expires: &AttributeValue,
) -> Result<Vec<Item>, Error> {
    let name = key::document(document);
    let bytes = serde_json::to_vec(content).map_err(|_| Error::corrupt(verb, "content"))?;
    let pieces = bytes.chunks(PIECE_BYTES);
    let count = pieces.len() as u64;
    let items = pieces.enumerate().map(|(index, content)| {
        let mut attributes = key(id, &piece(&name, index));
        attributes.extend(item([
            ("content", AttributeValue::B(Blob::new(content))),
            ("pieces", number(count)),
            ("expires", expires.clone()),
        ]));
        attributes
    });
    Ok(items.collect())
}

/// Another process is writing the document.
#[derive(Debug, thiserror::Error)]
#[error("not all pieces of the document are stored yet")]
struct Incomplete;
