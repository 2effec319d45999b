//! The table of notifications: what was asked for, the plan, and the counters on the head.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::builders::{DeleteBuilder, PutBuilder};
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use botframework::activity::Activity;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::attribute::{Item, Record, corrupt, item, json, moment, names, number, text, word};
use super::{Error, Table, Transaction, expiry, failed, unavailable};
use crate::audience::Audience;
use crate::aws::Sdk;
use crate::delivery::Tally;
use crate::id::NotificationId;
use crate::notification::{ChunkId, Notification, Page};
use crate::store::{Acceptance, Accepted, Idempotency};

/// The sort key of the item with the counters.
const HEAD: &str = "head";

/// The beginnings of the sort keys of the two documents.
const AUDIENCE: &str = "audience";
const MESSAGE: &str = "message";

/// The condition that there is no item with this key.
const ABSENT: &str = "attribute_not_exists(#part)";

/// How many bytes of a document one item holds; DynamoDB's limit is 400 KB, names and keys included.
const PIECE_BYTES: usize = 350_000;

/// The notifications in DynamoDB.
///
/// All items of a notification go thirty days after it was accepted.
#[derive(Clone, Debug)]
pub struct Notifications(Table);

impl Notifications {
    /// The notifications in the table of this name.
    pub fn new(sdk: &Sdk, table: impl Into<String>) -> Self {
        Self(Table::new(sdk, table))
    }

    /// A document that was cut into items.
    async fn document<T: DeserializeOwned>(
        &self,
        verb: &'static str,
        id: &NotificationId,
        name: &str,
    ) -> Result<Option<T>, Error> {
        let mut pieces: Vec<Item> = Vec::new();
        let mut start = None;
        loop {
            let query = self.query(id, format!("{name}#")).set_exclusive_start_key(start);
            let answer = query.send().await.map_err(unavailable(verb))?;
            pieces.extend(answer.items.unwrap_or_default());
            match answer.last_evaluated_key {
                Some(last) => start = Some(last),
                None => break,
            }
        }
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

    /// A query for the items of a notification whose sort key begins so.
    fn query(&self, id: &NotificationId, beginning: String) -> QueryFluentBuilder {
        self.0
            .client
            .query()
            .table_name(&self.0.name)
            .key_condition_expression("#notification = :notification AND begins_with(#part, :beginning)")
            .set_expression_attribute_names(Some(names(["notification", "part"])))
            .expression_attribute_values(":notification", text(id.as_str()))
            .expression_attribute_values(":beginning", text(beginning))
            .consistent_read(true)
    }

    async fn head(&self, verb: &'static str, id: &NotificationId) -> Result<Option<Item>, Error> {
        self.0.get(verb, key(id, HEAD)).await
    }

    /// Puts an item where none is and adds to the head's counters: both, or neither and `false`.
    async fn count(
        &self,
        verb: &'static str,
        id: &NotificationId,
        new: Item,
        counters: &[(&str, u64)],
    ) -> Result<bool, Error> {
        let new = self
            .put(new)
            .condition_expression(ABSENT)
            .set_expression_attribute_names(Some(names(["part"])));
        let add = counters
            .iter()
            .map(|(name, _)| format!("#{name} :{name}"))
            .collect::<Vec<_>>()
            .join(", ");
        let values = counters
            .iter()
            .map(|(name, count)| (format!(":{name}"), number(*count)))
            .collect();
        let head = Update::builder()
            .table_name(&self.0.name)
            .set_key(Some(key(id, HEAD)))
            .update_expression(format!("ADD {add}"))
            .condition_expression("attribute_exists(#part)")
            .set_expression_attribute_names(Some(names(
                counters.iter().map(|(name, _)| *name).chain(["part"]),
            )))
            .set_expression_attribute_values(Some(values))
            .build()
            .map_err(unavailable(verb))?;
        let writes = vec![put(verb, new)?, TransactWriteItem::builder().update(head).build()];
        match self.0.transact(verb, writes).await? {
            Transaction::Done => Ok(true),
            Transaction::Refused(_) => Ok(false),
        }
    }

    fn put(&self, item: Item) -> PutBuilder {
        Put::builder().table_name(&self.0.name).set_item(Some(item))
    }

    fn delete(&self, key: Item) -> DeleteBuilder {
        Delete::builder().table_name(&self.0.name).set_key(Some(key))
    }
}

fn put(verb: &'static str, put: PutBuilder) -> Result<TransactWriteItem, Error> {
    Ok(TransactWriteItem::builder()
        .put(put.build().map_err(unavailable(verb))?)
        .build())
}

fn delete(verb: &'static str, delete: DeleteBuilder) -> Result<TransactWriteItem, Error> {
    Ok(TransactWriteItem::builder()
        .delete(delete.build().map_err(unavailable(verb))?)
        .build())
}

impl crate::store::Notifications for Notifications {
    async fn accept(&self, acceptance: &Acceptance) -> Result<Accepted, Error> {
        const VERB: &str = "accept a notification";
        let Acceptance {
            notification,
            audience,
            message,
            idempotency,
        } = acceptance;
        let id = &notification.id;
        let audience = pieces(VERB, id, AUDIENCE, audience)?;
        let message = pieces(VERB, id, MESSAGE, message)?;
        let mut head = write_head(VERB, notification)?;
        head.extend(item([
            ("audiencePieces", number(audience.len() as u64)),
            ("messagePieces", number(message.len() as u64)),
        ]));
        if let Some(idempotency) = idempotency {
            head.extend(item([("idempotency", text(&idempotency.key))]));
        }
        let mut writes = Vec::new();
        if let Some(idempotency) = idempotency {
            let free = self
                .put(write_idempotency(idempotency, id))
                .condition_expression("attribute_not_exists(#part) OR #until <= :now")
                .set_expression_attribute_names(Some(names(["part", "until"])))
                .expression_attribute_values(":now", moment(notification.accepted_at))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            writes.push(put(VERB, free)?);
        }
        let absent = self
            .put(head)
            .condition_expression(ABSENT)
            .set_expression_attribute_names(Some(names(["part"])));
        writes.push(put(VERB, absent)?);
        for piece in audience.into_iter().chain(message) {
            writes.push(put(VERB, self.put(piece))?);
        }
        let reasons = match self.0.transact(VERB, writes).await? {
            Transaction::Done => return Ok(Accepted::New),
            Transaction::Refused(reasons) => reasons,
        };
        match (idempotency, reasons.first()) {
            (Some(idempotency), Some(reason)) if failed(reason) => {
                let earlier = reason.item().ok_or_else(|| corrupt(VERB, "acceptedAs"))?;
                let earlier = Record {
                    verb: VERB,
                    item: earlier,
                };
                if earlier.text("body")? == idempotency.body {
                    Ok(Accepted::Repeated(earlier.word("acceptedAs")?))
                } else {
                    Ok(Accepted::Conflict)
                }
            }
            // A fresh id that is there already is our own, from a call that was answered with an error.
            _ => Ok(Accepted::New),
        }
    }

    async fn withdraw(&self, id: &NotificationId) -> Result<bool, Error> {
        const VERB: &str = "withdraw a notification";
        let Some(head) = self.head(VERB, id).await? else {
            return Ok(true);
        };
        let head = Record {
            verb: VERB,
            item: &head,
        };
        let unplanned = self
            .delete(key(id, HEAD))
            .condition_expression("attribute_not_exists(#pages)")
            .set_expression_attribute_names(Some(names(["pages"])));
        let mut writes = vec![delete(VERB, unplanned)?];
        for (name, pieces) in [(AUDIENCE, "audiencePieces"), (MESSAGE, "messagePieces")] {
            for index in 0..head.number(pieces)? {
                writes.push(delete(VERB, self.delete(key(id, &piece(name, index))))?);
            }
        }
        if let Some(digest) = head.optional_text("idempotency")? {
            let ours = self
                .delete(idempotency_key(digest))
                .condition_expression("attribute_not_exists(#part) OR #acceptedAs = :id")
                .set_expression_attribute_names(Some(names(["part", "acceptedAs"])))
                .expression_attribute_values(":id", text(id.as_str()));
            writes.push(delete(VERB, ours)?);
        }
        match self.0.transact(VERB, writes).await? {
            Transaction::Done => Ok(true),
            Transaction::Refused(_) => Ok(false),
        }
    }

    async fn find(&self, id: &NotificationId) -> Result<Option<Notification>, Error> {
        const VERB: &str = "find a notification";
        self.head(VERB, id)
            .await?
            .map(|item| {
                read_head(Record {
                    verb: VERB,
                    item: &item,
                })
            })
            .transpose()
    }

    async fn audience(&self, id: &NotificationId) -> Result<Option<Audience>, Error> {
        self.document("read an audience", id, AUDIENCE).await
    }

    async fn message(&self, id: &NotificationId) -> Result<Option<Activity>, Error> {
        self.document("read a message", id, MESSAGE).await
    }

    async fn latest_page(&self, id: &NotificationId, part: u16) -> Result<Option<(u32, Page)>, Error> {
        const VERB: &str = "read the latest page of a plan";
        let query = self
            .query(id, format!("page#{part:05}#"))
            .scan_index_forward(false)
            .limit(1);
        let answer = query.send().await.map_err(unavailable(VERB))?;
        let latest = answer.items.unwrap_or_default().pop();
        let read = |item: Item| {
            let record = Record {
                verb: VERB,
                item: &item,
            };
            Ok((record.number("number")?, record.json("content")?))
        };
        latest.map(read).transpose()
    }

    async fn plan(&self, id: &NotificationId, part: u16, number: u32, page: &Page) -> Result<bool, Error> {
        const VERB: &str = "plan a page";
        let mut new = key(id, &format!("page#{part:05}#{number:010}"));
        new.extend(item([
            ("number", self::number(number)),
            ("content", json(VERB, "content", page)?),
            ("expires", self::number(expiry(id.made_at()))),
        ]));
        let counters = [
            ("pages", 1),
            ("audience", page.recipients()),
            ("chunks", page.chunks.len() as u64),
            ("partsPlanned", u64::from(page.next.is_none())),
        ];
        self.count(VERB, id, new, &counters).await
    }

    async fn close(&self, id: &NotificationId, chunk: ChunkId, tally: &Tally) -> Result<(), Error> {
        const VERB: &str = "close a chunk";
        let ChunkId { part, page, index } = chunk;
        let mut new = key(id, &format!("closed#{part:05}#{page:010}#{index:05}"));
        new.extend(item([("expires", number(expiry(id.made_at())))]));
        let counters: Vec<_> = [("chunksClosed", 1)].into_iter().chain(tally.fields()).collect();
        self.count(VERB, id, new, &counters).await.map(|_| ())
    }
}

fn key(id: &NotificationId, part: &str) -> Item {
    item([("notification", text(id.as_str())), ("part", text(part))])
}

fn idempotency_key(digest: &str) -> Item {
    item([
        ("notification", text(format!("idempotency#{digest}"))),
        ("part", text(HEAD)),
    ])
}

fn write_idempotency(idempotency: &Idempotency, id: &NotificationId) -> Item {
    let mut attributes = idempotency_key(&idempotency.key);
    attributes.extend(item([
        ("body", text(&idempotency.body)),
        ("acceptedAs", text(id.as_str())),
        ("until", moment(idempotency.until)),
        // A second late, so that rounding lets nothing go early.
        ("expires", number(idempotency.until.as_second().saturating_add(1))),
    ]));
    attributes
}

fn piece(name: &str, index: usize) -> String {
    format!("{name}#{index:03}")
}

/// A document as the items it is kept in.
fn pieces<T: Serialize>(
    verb: &'static str,
    id: &NotificationId,
    name: &'static str,
    document: &T,
) -> Result<Vec<Item>, Error> {
    let bytes = serde_json::to_vec(document).map_err(|_| corrupt(verb, name))?;
    let pieces = bytes.chunks(PIECE_BYTES);
    let count = pieces.len() as u64;
    let items = pieces.enumerate().map(|(index, content)| {
        let mut attributes = key(id, &piece(name, index));
        attributes.extend(item([
            ("content", AttributeValue::B(Blob::new(content))),
            ("pieces", number(count)),
            ("expires", number(expiry(id.made_at()))),
        ]));
        attributes
    });
    Ok(items.collect())
}

fn write_head(verb: &'static str, notification: &Notification) -> Result<Item, Error> {
    let Notification {
        id,
        accepted_at,
        caller,
        category,
        on_unknown,
        expires_at,
        segments,
        parts,
        parts_planned,
        audience,
        chunks,
        chunks_closed,
        tally,
    } = notification;
    let mut attributes = key(id, HEAD);
    attributes.extend(item([
        ("acceptedAt", moment(*accepted_at)),
        ("caller", text(caller)),
        ("onUnknown", word(verb, "onUnknown", on_unknown)?),
        ("expiresAt", moment(*expires_at)),
        ("segments", number(*segments)),
        ("parts", number(*parts)),
        ("partsPlanned", number(*parts_planned)),
        ("audience", number(*audience)),
        ("chunks", number(*chunks)),
        ("chunksClosed", number(*chunks_closed)),
        ("expires", number(expiry(id.made_at()))),
    ]));
    attributes.extend(item(tally.fields().map(|(name, count)| (name, number(count)))));
    if let Some(category) = category {
        attributes.extend(item([("category", text(category))]));
    }
    Ok(attributes)
}

fn read_head(head: Record<'_>) -> Result<Notification, Error> {
    let mut tally = Tally::default();
    for ((name, _), count) in tally.fields().into_iter().zip(tally.fields_mut()) {
        *count = head.number(name)?;
    }
    Ok(Notification {
        id: head.word("notification")?,
        accepted_at: head.moment("acceptedAt")?,
        caller: head.text("caller")?.to_owned(),
        category: head.optional_text("category")?.map(str::to_owned),
        on_unknown: head.word("onUnknown")?,
        expires_at: head.moment("expiresAt")?,
        segments: head.number("segments")?,
        parts: head.number("parts")?,
        parts_planned: head.number("partsPlanned")?,
        audience: head.number("audience")?,
        chunks: head.number("chunks")?,
        chunks_closed: head.number("chunksClosed")?,
        tally,
    })
}

/// A document is being written while it is read.
#[derive(Debug, thiserror::Error)]
#[error("not all pieces of the document are there yet")]
struct Incomplete;
