//! The table of notifications: what was asked for, the plan, and the counters on the head.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::builders::{DeleteBuilder, PutBuilder, UpdateBuilder};
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, Put, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use botframework::activity::Activity;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;

use super::attribute::{Item, Record, corrupt, is_marked, item, json, moment, names, number, text};
use super::{Condition, Error, Outrun, ROUNDS, Table, Transaction, expiry, failed, fresh_mark, unavailable};
use crate::audience::{Audience, Recipient};
use crate::aws::Sdk;
use crate::id::NotificationId;
use crate::notification::{ChunkId, Closing, Content, Notification, Page};
use crate::store::{Accept, Acceptance, Close, Idempotency, Revise};

mod document;
mod head;
mod key;

use document::{piece, pieces};
use head::{Counted, Met, Updated, copies_fields, read_head, unreachable_fields, write_head};
use key::{AUDIENCE, BURIED, CLOSED, HEAD, PAGE, chunk, idempotency_key, key, message, of_chunk, page};

/// The condition that there is no item with this key.
const ABSENT: &str = "attribute_not_exists(#part)";

/// How many of a roster are written down at once.
const FOUND_AT_ONCE: usize = 16;

/// The notifications in DynamoDB.
///
/// To plan an audience costs two items a page, but for rosters: these cost a small item more for each member, by which those
/// who are on several are found.
///
/// Head, audience and messages of a notification go thirty days after it expires, the rest a little later.
#[derive(Clone, Debug)]
pub struct Notifications(Table);

impl Notifications {
    /// The notifications in the table of this name.
    pub fn new(sdk: &Sdk, table: impl Into<String>) -> Self {
        Self(Table::new(sdk, table))
    }

    /// The items of a notification whose sort key begins so, in its order.
    async fn all(
        &self,
        verb: &'static str,
        id: &NotificationId,
        beginning: &str,
    ) -> Result<Vec<Item>, Error> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let query = self
                .query(id, beginning.to_owned())
                .set_exclusive_start_key(start);
            let answer = query.send().await.map_err(unavailable(verb))?;
            items.extend(answer.items.unwrap_or_default());
            match answer.last_evaluated_key {
                Some(last) => start = Some(last),
                None => return Ok(items),
            }
        }
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

    /// Writes down that this recipient was found on a page, unless that was on another one before.
    async fn is_repeated(
        &self,
        id: &NotificationId,
        (part, number): (u16, u32),
        recipient: &Recipient,
    ) -> Result<bool, Error> {
        const VERB: &str = "write down who was found";
        let page = text(page(part, number));
        let mut new = key(id, &key::found(recipient));
        new.extend(item([("page", page.clone()), ("expires", self.0.expiry())]));
        let here = Condition::equal("page", page).or_without("page");
        Ok(match self.0.put(VERB, new, here).await? {
            super::Put::Written => false,
            super::Put::Refused(_) => true,
        })
    }

    async fn head(&self, verb: &'static str, id: &NotificationId) -> Result<Option<Item>, Error> {
        self.0.get(verb, key(id, HEAD)).await
    }

    fn put(&self, item: Item) -> PutBuilder {
        Put::builder().table_name(&self.0.name).set_item(Some(item))
    }

    fn update(&self, key: Item) -> UpdateBuilder {
        Update::builder().table_name(&self.0.name).set_key(Some(key))
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

fn update(verb: &'static str, update: UpdateBuilder) -> Result<TransactWriteItem, Error> {
    Ok(TransactWriteItem::builder()
        .update(update.build().map_err(unavailable(verb))?)
        .build())
}

impl crate::store::Notifications for Notifications {
    async fn accept(&self, acceptance: &Acceptance) -> Result<Accept, Error> {
        const VERB: &str = "accept a notification";
        let Acceptance {
            notification,
            audience,
            message,
            idempotency,
        } = acceptance;
        let id = &notification.id;
        let expires = expiry(notification.expires_at);
        let audience = pieces(VERB, id, AUDIENCE, audience, &expires)?;
        let message = pieces(VERB, id, &self::message(notification.revision), message, &expires)?;
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
            Transaction::Done => return Ok(Accept::Created),
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
                    Ok(Accept::Duplicate(earlier.word("acceptedAs")?))
                } else {
                    Ok(Accept::Conflict)
                }
            }
            // A fresh id that is there already is our own, from a call that was answered with an error.
            _ => Ok(Accept::Created),
        }
    }

    async fn roll_back(&self, id: &NotificationId) -> Result<bool, Error> {
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
            .condition_expression("attribute_not_exists(#pages) AND #revision = :first")
            .set_expression_attribute_names(Some(names(["pages", "revision"])))
            .expression_attribute_values(":first", number(0));
        let mut writes = vec![delete(VERB, unplanned)?];
        for (name, pieces) in [
            (AUDIENCE.to_owned(), "audiencePieces"),
            (message(0), "messagePieces"),
        ] {
            for index in 0..head.number(pieces)? {
                writes.push(delete(VERB, self.delete(key(id, &piece(&name, index))))?);
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

    async fn message(&self, id: &NotificationId, revision: u32) -> Result<Option<Activity>, Error> {
        self.document("read a message", id, &message(revision)).await
    }

    async fn latest_page(&self, id: &NotificationId, part: u16) -> Result<Option<(u32, Page)>, Error> {
        const VERB: &str = "read the latest page of a plan";
        let query = self
            .query(id, format!("{PAGE}#{part:05}#"))
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

    async fn page(&self, id: &NotificationId, part: u16, number: u32) -> Result<Option<Page>, Error> {
        const VERB: &str = "read a page of a plan";
        let item = self.0.get(VERB, key(id, &page(part, number))).await?;
        item.map(|item| {
            let record = Record {
                verb: VERB,
                item: &item,
            };
            record.json("content")
        })
        .transpose()
    }

    async fn put_page(
        &self,
        id: &NotificationId,
        part: u16,
        number: u32,
        page: &Page,
    ) -> Result<bool, Error> {
        const VERB: &str = "plan a page";
        let mut new = key(id, &self::page(part, number));
        new.extend(item([
            ("number", self::number(number)),
            ("content", json(VERB, "content", page)?),
            ("expires", self.0.expiry()),
        ]));
        let new = self
            .put(new)
            .condition_expression(ABSENT)
            .set_expression_attribute_names(Some(names(["part"])));
        let mut counters = vec![
            ("pages", 1),
            ("audience", page.recipients()),
            ("chunks", page.chunks.len() as u64),
            ("partsPlanned", u64::from(page.next.is_none())),
        ];
        counters.extend(unreachable_fields(&page.unreachable));
        // Most notifications never have this one.
        counters.extend(Some(("batched", page.batched())).filter(|(_, batched)| *batched > 0));
        Ok(match self.count(VERB, id, new, &counters, None).await? {
            Counted::Counted => true,
            Counted::Refused { .. } => false,
        })
    }

    async fn freeze_page(
        &self,
        id: &NotificationId,
        (part, number): (u16, u32),
        read: &Page,
    ) -> Result<Page, Error> {
        const VERB: &str = "draft a page";
        let mut new = key(id, &key::draft(part, number));
        new.extend(item([
            ("content", json(VERB, "content", read)?),
            ("expires", self.0.expiry()),
        ]));
        match self.0.put(VERB, new, Condition::absent("part")).await? {
            super::Put::Written => Ok(read.clone()),
            super::Put::Refused(standing) => {
                let item = standing.unwrap_or_default();
                let record = Record {
                    verb: VERB,
                    item: &item,
                };
                record.json("content")
            }
        }
    }

    async fn claim_recipients(
        &self,
        id: &NotificationId,
        page: (u16, u32),
        found: &[Recipient],
    ) -> Result<Vec<Recipient>, Error> {
        let asked: Vec<_> = found
            .iter()
            .map(|recipient| self.is_repeated(id, page, recipient))
            .collect();
        let repeated: Vec<bool> = stream::iter(asked).buffered(FOUND_AT_ONCE).try_collect().await?;
        let repeated = found.iter().zip(repeated).filter(|(_, repeated)| *repeated);
        Ok(repeated.map(|(recipient, _)| recipient.clone()).collect())
    }

    async fn close_chunk(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        revision: u32,
        closing: &Closing,
    ) -> Result<Close, Error> {
        const VERB: &str = "close a chunk";
        let mut standing: Option<u32> = None;
        for _ in 0..ROUNDS {
            let mut new = key(id, &of_chunk(CLOSED, chunk));
            new.extend(item([
                ("revision", number(revision)),
                ("expires", self.0.expiry()),
            ]));
            let new = self.put(new);
            let (new, first) = match standing {
                None => (
                    new.condition_expression(ABSENT)
                        .set_expression_attribute_names(Some(names(["part"]))),
                    true,
                ),
                Some(_) => (
                    new.condition_expression("#revision < :revision")
                        .set_expression_attribute_names(Some(names(["revision"])))
                        .expression_attribute_values(":revision", number(revision)),
                    false,
                ),
            };
            let mut counters = vec![("chunksCurrent", 1)];
            counters.extend(copies_fields(&closing.copies));
            if first {
                counters.push(("chunksClosed", 1));
                counters.extend(closing.tally.fields());
            }
            let (new, head) = match self.count(VERB, id, new, &counters, Some(revision)).await? {
                Counted::Counted => return Ok(Close::Closed),
                Counted::Refused { new, head } => (new, head),
            };
            standing = match &new {
                Met::No(Some(item)) => Some(Record { verb: VERB, item }.number("revision")?),
                Met::No(None) | Met::Yes => None,
            };
            if standing.is_some_and(|standing| standing >= revision) {
                return Ok(Close::Closed);
            }
            match head {
                Met::No(Some(_)) => return Ok(Close::StaleRevision),
                // There is no such notification any more, and nothing to count on.
                Met::No(None) => return Ok(Close::Closed),
                // Closed at an earlier revision, or that was let go meanwhile.
                Met::Yes => {}
            }
        }
        Err(unavailable(VERB)(Outrun))
    }

    async fn closed_chunks(
        &self,
        id: &NotificationId,
        part: u16,
        page: u32,
    ) -> Result<Vec<(u16, u32)>, Error> {
        const VERB: &str = "read which chunks are closed";
        let items = self
            .all(VERB, id, &format!("{CLOSED}#{part:05}#{page:010}#"))
            .await?;
        items
            .iter()
            .map(|item| {
                let record = Record { verb: VERB, item };
                Ok((chunk(record)?.index, record.number("revision")?))
            })
            .collect()
    }

    async fn cancel(&self, id: &NotificationId, now: Timestamp) -> Result<Option<Notification>, Error> {
        const VERB: &str = "cancel a notification";
        let update = self
            .set_once(id, "cancelledAt", now)
            .return_values(ReturnValue::AllNew);
        match self.update_head(VERB, update).await? {
            Updated::Done(head) => {
                let item = head.ok_or_else(|| corrupt(VERB, HEAD))?;
                read_head(Record {
                    verb: VERB,
                    item: &item,
                })
                .map(Some)
            }
            Updated::Refused(_) => Ok(None),
        }
    }

    async fn revise(&self, id: &NotificationId, content: &Content, now: Timestamp) -> Result<Revise, Error> {
        const VERB: &str = "revise a notification";
        for _ in 0..ROUNDS {
            let Some(head) = self.find(id).await? else {
                return Ok(Revise::NotFound);
            };
            if head.retracted {
                return Ok(Revise::Retracted);
            }
            let revision = head.revision.saturating_add(1);
            let mut set = "SET #revision = :new, #revisedAt = :now, #chunksCurrent = :none, \
                           #copiesCurrent = :none, #copiesUneditable = :none"
                .to_owned();
            let mut update = self.update(key(id, HEAD));
            let mut pieces = Vec::new();
            match content {
                Content::Message(activity) => {
                    pieces = self::pieces(VERB, id, &message(revision), activity, &expiry(head.expires_at))?;
                }
                Content::Nothing => {
                    set += ", #retracted = :yes";
                    update = update.expression_attribute_values(":yes", AttributeValue::Bool(true));
                }
            }
            let update = update
                .update_expression(set)
                .condition_expression("#revision = :read AND attribute_not_exists(#retracted)")
                .set_expression_attribute_names(Some(names([
                    "revision",
                    "revisedAt",
                    "chunksCurrent",
                    "copiesCurrent",
                    "copiesUneditable",
                    "retracted",
                ])))
                .expression_attribute_values(":read", number(head.revision))
                .expression_attribute_values(":new", number(revision))
                .expression_attribute_values(":now", moment(now))
                .expression_attribute_values(":none", number(0));
            let mut writes = vec![self::update(VERB, update)?];
            for piece in pieces {
                writes.push(put(VERB, self.put(piece))?);
            }
            match self.0.transact(VERB, writes).await? {
                Transaction::Done => {
                    // Read anew: whoever acts on its counters must not miss what was closed while it was revised.
                    let head = self.find(id).await?;
                    return Ok(head.map_or(Revise::NotFound, |head| Revise::Revised(Box::new(head))));
                }
                Transaction::Refused(_) => {}
            }
        }
        Err(unavailable(VERB)(Outrun))
    }

    async fn start(&self, id: &NotificationId, now: Timestamp) -> Result<(), Error> {
        let update = self
            .set_once(id, "releasedAt", now)
            .condition_expression("attribute_exists(#part) AND attribute_not_exists(#cancelledAt)")
            .expression_attribute_names("#cancelledAt", "cancelledAt");
        match self.update_head("release a notification", update).await? {
            Updated::Done(_) | Updated::Refused(_) => Ok(()),
        }
    }

    async fn complete(&self, id: &NotificationId, now: Timestamp) -> Result<bool, Error> {
        const VERB: &str = "complete a notification";
        let mark = fresh_mark();
        let update = self
            .0
            .client
            .update_item()
            .table_name(&self.0.name)
            .set_key(Some(key(id, HEAD)))
            .update_expression("SET #completedAt = :now, #mark = :mark")
            .condition_expression("attribute_exists(#part) AND attribute_not_exists(#completedAt)")
            .set_expression_attribute_names(Some(names(["part", "completedAt", "mark"])))
            .expression_attribute_values(":now", moment(now))
            .expression_attribute_values(":mark", text(&mark))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match self.update_head(VERB, update).await? {
            Updated::Done(_) => Ok(true),
            // Our own, if the answer was lost.
            Updated::Refused(Some(standing)) => is_marked(VERB, &standing, &mark),
            Updated::Refused(None) => Ok(false),
        }
    }

    async fn mark_dead_lettered(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        reason: &str,
    ) -> Result<(), Error> {
        const VERB: &str = "bury a chunk";
        let mut new = key(id, &of_chunk(BURIED, chunk));
        new.extend(item([("reason", text(reason)), ("expires", self.0.expiry())]));
        let put = self
            .0
            .client
            .put_item()
            .table_name(&self.0.name)
            .set_item(Some(new));
        put.send().await.map_err(unavailable(VERB))?;
        Ok(())
    }

    async fn dead_letters(&self, id: &NotificationId) -> Result<Vec<(ChunkId, String)>, Error> {
        const VERB: &str = "read which chunks are buried";
        let items = self.all(VERB, id, &format!("{BURIED}#")).await?;
        items
            .iter()
            .map(|item| {
                let record = Record { verb: VERB, item };
                Ok((chunk(record)?, record.text("reason")?.to_owned()))
            })
            .collect()
    }
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
