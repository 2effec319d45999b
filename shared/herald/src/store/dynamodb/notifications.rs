//! The table of notifications: heads with counters, documents, and plans.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::attribute::{Item, Record, has_token, item, moment, number, text};
use super::table::failed;
use super::{Consistency, Error, Expression, Put, Table, Transaction, expiry, new_write_token};
use crate::audience::Recipient;
use crate::aws::Sdk;
use crate::delivery::OutcomeCounts;
use crate::id::NotificationId;
use crate::notification::{
    ChunkId, ChunkResult, Content, CountedChunk, MessageRefusal, Notification, NotificationFilter, Page,
    Wave, WaveDecision,
};
use crate::store::{
    Accept, Acceptance, CasResult, Close, Document, Idempotency, ListPage, Milestone, PageNumber, SetOnce,
};

mod document;
mod head;
mod key;
mod listing;
mod plan;
mod waves;

use document::{piece, pieces};
use head::{CONFIRMED_AS, read_head, write_head};
use key::{DEAD_LETTER, HEAD, chunk, idempotency_key, key, of_chunk};

/// The notifications in DynamoDB.
///
/// A plan costs two writes a page. A roster costs one small item more for each member, by which those who are on several rosters
/// are found. Head, audience and messages expire thirty days after the notification, the rest a little later.
#[derive(Clone, Debug)]
pub struct Notifications(Table);

impl Notifications {
    /// The notifications in the table of this name.
    pub fn new(sdk: &Sdk, table: impl Into<String>) -> Self {
        Self(Table::new(sdk, table))
    }

    /// The items of a notification whose sort key has this prefix, in its order.
    async fn all(&self, verb: &'static str, id: &NotificationId, prefix: String) -> Result<Vec<Item>, Error> {
        let query = self.0.query(("notification", id.as_str()), ("part", prefix));
        self.0.query_all(verb, query).await
    }

    async fn head(&self, verb: &'static str, id: &NotificationId) -> Result<Option<Item>, Error> {
        self.0.get(Consistency::Strong, verb, key(id, HEAD)).await
    }
}

impl crate::store::Notifications for Notifications {
    async fn accept(&self, acceptance: &Acceptance) -> Result<Accept, Error> {
        const VERB: &str = "accept a notification";
        let Acceptance {
            notification,
            audience,
            message,
            replacement,
            idempotency,
        } = acceptance;
        let id = &notification.id;
        let expires = expiry(notification.expires_at);
        let first = Document::Message {
            revision: notification.revision,
        };
        let audience = pieces(VERB, id, Document::Audience, audience, &expires)?;
        let message = pieces(VERB, id, first, message, &expires)?;
        let replacement = match replacement {
            Some(message) => pieces(VERB, id, Document::Replacement, message, &expires)?,
            None => Vec::new(),
        };
        let mut head = write_head(VERB, notification)?;
        head.extend(item([
            ("audiencePieces", number(audience.len() as u64)),
            ("messagePieces", number(message.len() as u64)),
        ]));
        if !replacement.is_empty() {
            head.extend(item([("replacementPieces", number(replacement.len() as u64))]));
        }
        let mut writes = Vec::new();
        if let Some(idempotency) = idempotency {
            head.extend(item([("idempotency", text(&idempotency.key))]));
            let now = moment(notification.accepted_at);
            let has_ended = Expression::new("#until <= :now", ["until"], [("now", now)]);
            let free = Expression::absent("part").or(has_ended);
            let key = write_idempotency(idempotency, id);
            writes.push(self.0.tx_put(VERB, key, Some(free))?);
        }
        writes.push(self.0.tx_put(VERB, head, Some(Expression::absent("part")))?);
        let plan_at = writes.len();
        if let Some(plan) = &notification.confirms {
            let update = Expression::new(
                format!("SET #{CONFIRMED_AS} = :as"),
                [CONFIRMED_AS],
                [("as", text(id.as_str()))],
            );
            let open = Expression::present("part")
                .and(Expression::absent(CONFIRMED_AS))
                .and(Expression::absent("cancelledAt"))
                .and(Expression::absent("retracted"));
            writes.push(self.0.tx_update(VERB, key(plan, HEAD), update, Some(open))?);
        }
        for piece in audience.into_iter().chain(message).chain(replacement) {
            writes.push(self.0.tx_put(VERB, piece, None)?);
        }
        let reasons = match self.0.transact(VERB, writes).await? {
            Transaction::Done => return Ok(Accept::Created),
            Transaction::Refused(reasons) => reasons,
        };
        match (idempotency, reasons.first()) {
            (Some(idempotency), Some(reason)) if failed(reason) => {
                let item = reason.item().ok_or_else(|| Error::corrupt(VERB, "acceptedAs"))?;
                let earlier = Record { verb: VERB, item };
                if earlier.text("body")? == idempotency.body {
                    Ok(Accept::Duplicate(earlier.word("acceptedAs")?))
                } else {
                    Ok(Accept::Conflict)
                }
            }
            // Ids are random: a stored one is our own, from a call whose answers were lost.
            _ if notification.confirms.is_none() || reasons.get(plan_at - 1).is_some_and(failed) => {
                Ok(Accept::Created)
            }
            _ => {
                let plan = reasons.get(plan_at).and_then(|reason| reason.item());
                let plan = plan.map(|item| read_head(VERB, item).map(Box::new)).transpose()?;
                Ok(Accept::NotConfirmable(plan))
            }
        }
    }

    async fn accepted_as(
        &self,
        idempotency: &Idempotency,
        now: Timestamp,
    ) -> Result<Option<NotificationId>, Error> {
        const VERB: &str = "look up an idempotency key";
        let key = idempotency_key(&idempotency.key);
        let Some(item) = self.0.get(Consistency::Strong, VERB, key).await? else {
            return Ok(None);
        };
        let earlier = Record {
            verb: VERB,
            item: &item,
        };
        let is_same = earlier.moment("until")? > now && earlier.text("body")? == idempotency.body;
        is_same.then(|| earlier.word("acceptedAs")).transpose()
    }

    async fn roll_back(&self, id: &NotificationId) -> Result<bool, Error> {
        const VERB: &str = "roll back a notification";
        let Some(head) = self.head(VERB, id).await? else {
            return Ok(true);
        };
        let head = Record {
            verb: VERB,
            item: &head,
        };
        let unplanned = Expression::new(
            "attribute_not_exists(#pages) AND #revision = :first",
            ["pages", "revision"],
            [("first", number(0))],
        );
        let mut writes = vec![self.0.tx_delete(VERB, key(id, HEAD), Some(unplanned))?];
        for (document, pieces) in [
            (Document::Audience, "audiencePieces"),
            (Document::Message { revision: 0 }, "messagePieces"),
            (Document::Replacement, "replacementPieces"),
        ] {
            for index in 0..head.optional_number(pieces)?.unwrap_or_default() {
                let key = key(id, &piece(&key::document(document), index));
                writes.push(self.0.tx_delete(VERB, key, None)?);
            }
        }
        if let Some(digest) = head.optional_text("idempotency")? {
            let ours = Expression::new(
                "attribute_not_exists(#part) OR #acceptedAs = :id",
                ["part", "acceptedAs"],
                [("id", text(id.as_str()))],
            );
            writes.push(self.0.tx_delete(VERB, idempotency_key(digest), Some(ours))?);
        }
        if let Some(plan) = head.optional_word("confirms")? {
            let update = Expression::new(format!("REMOVE #{CONFIRMED_AS}"), [CONFIRMED_AS], []);
            let ours = Expression::equal(CONFIRMED_AS, text(id.as_str()));
            writes.push(self.0.tx_update(VERB, key(&plan, HEAD), update, Some(ours))?);
        }
        match self.0.transact(VERB, writes).await? {
            Transaction::Done => Ok(true),
            Transaction::Refused(_) => Ok(false),
        }
    }

    async fn find(&self, id: &NotificationId) -> Result<Option<Notification>, Error> {
        const VERB: &str = "find a notification";
        let head = self.head(VERB, id).await?;
        head.map(|item| read_head(VERB, &item)).transpose()
    }

    async fn list_newest(
        &self,
        filter: &NotificationFilter,
        before: Option<&NotificationId>,
        now: Timestamp,
        limit: usize,
    ) -> Result<ListPage<Notification>, Error> {
        self.read_newest(filter, before, now, limit).await
    }

    async fn document(&self, id: &NotificationId, document: Document) -> Result<Option<Vec<u8>>, Error> {
        self.read_document(id, document).await
    }

    async fn stored_page(
        &self,
        id: &NotificationId,
        part: u16,
        number: PageNumber,
    ) -> Result<Option<(u32, Page)>, Error> {
        self.read_page(id, part, number).await
    }

    async fn put_page(
        &self,
        id: &NotificationId,
        part: u16,
        number: u32,
        page: &Page,
    ) -> Result<bool, Error> {
        self.write_page(id, part, number, page).await
    }

    async fn waves(&self, id: &NotificationId) -> Result<Vec<Wave>, Error> {
        self.read_waves(id).await
    }

    async fn decide_wave(
        &self,
        id: &NotificationId,
        due: Timestamp,
        decision: WaveDecision,
        now: Timestamp,
    ) -> Result<Option<Wave>, Error> {
        self.decide(id, due, decision, now).await
    }

    async fn freeze_page(&self, id: &NotificationId, page: (u16, u32), read: &Page) -> Result<Page, Error> {
        self.freeze(id, page, read).await
    }

    async fn claim_recipients(
        &self,
        id: &NotificationId,
        page: (u16, u32),
        found: &[Recipient],
    ) -> Result<Vec<Recipient>, Error> {
        self.claim_all(id, page, found).await
    }

    async fn close_chunk(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        revision: u32,
        result: &ChunkResult,
    ) -> Result<Close, Error> {
        self.close(id, chunk, revision, result).await
    }

    async fn count_open_chunk(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        counts: &OutcomeCounts,
    ) -> Result<(), Error> {
        self.count_open_chunk(id, chunk, counts).await
    }

    async fn counted_chunks(
        &self,
        id: &NotificationId,
        part: u16,
        page: u32,
    ) -> Result<Vec<CountedChunk>, Error> {
        self.read_counted(id, part, page).await
    }

    async fn set_once(
        &self,
        id: &NotificationId,
        milestone: Milestone,
        now: Timestamp,
    ) -> Result<SetOnce, Error> {
        const VERB: &str = "set a milestone of a notification";
        let token = new_write_token();
        let name = match milestone {
            Milestone::Cancelled => "cancelledAt",
            Milestone::Started => "releasedAt",
            Milestone::Completed => "completedAt",
        };
        let update = Expression::new(
            format!("SET #{name} = :now, #writeToken = :token"),
            [name, "writeToken"],
            [("now", moment(now)), ("token", text(&token))],
        );
        let unset = Expression::new(
            format!("attribute_exists(#part) AND attribute_not_exists(#{name})"),
            ["part"],
            [],
        );
        let condition = match milestone {
            Milestone::Cancelled => unset.and(Expression::absent(CONFIRMED_AS)),
            Milestone::Completed => unset,
            Milestone::Started => unset
                .and(Expression::absent("cancelledAt"))
                .and(Expression::absent("retracted")),
        };
        let update = self.0.update(VERB, key(id, HEAD), update, Some(condition));
        let head = |item: &Item| read_head(VERB, item).map(Box::new);
        Ok(match update.await? {
            Put::Written(Some(item)) => SetOnce::Set(head(&item)?),
            // Our own write, whose answer was lost.
            Put::Refused(Some(item)) if has_token(VERB, &item, &token)? => SetOnce::Set(head(&item)?),
            Put::Refused(Some(item)) => SetOnce::Unchanged(head(&item)?),
            Put::Written(None) | Put::Refused(None) => SetOnce::NotFound,
        })
    }

    async fn refuse_message(&self, id: &NotificationId, refusal: &MessageRefusal) -> Result<(), Error> {
        const VERB: &str = "record that a message is refused";
        let MessageRefusal {
            channel,
            code,
            revision,
        } = refusal;
        let update = Expression::new(
            "SET #refusedBy = :channel, #refusedFor = :code, #refusedRevision = :revision",
            ["refusedBy", "refusedFor", "refusedRevision"],
            [
                ("channel", text(channel)),
                ("code", text(code)),
                ("revision", number(*revision)),
            ],
        );
        let condition = Expression::new(
            "#revision = :revision AND (attribute_not_exists(#refusedRevision) OR #refusedRevision < :revision)",
            ["revision"],
            [],
        );
        // Otherwise it has another message by now, or another worker was faster.
        self.0
            .update(VERB, key(id, HEAD), update, Some(condition))
            .await
            .map(drop)
    }

    async fn compare_and_set_content(
        &self,
        revised: &Notification,
        content: &Content,
    ) -> Result<CasResult, Error> {
        const VERB: &str = "revise a notification";
        let Notification {
            id,
            revision,
            revised_at,
            expires_at,
            retraction,
            released_at,
            ..
        } = revised;
        let is_scheduled = retraction.is_some_and(|retraction| retraction.revision == Some(*revision));
        let (as_scheduled, scheduled_name) = if is_scheduled {
            (", #retractionRevision = :new", Some("retractionRevision"))
        } else {
            ("", None)
        };
        let (retract, pieces) = match content {
            Content::Message(message) => {
                let (document, expires) = (Document::Message { revision: *revision }, expiry(*expires_at));
                ("", pieces(VERB, id, document, message, &expires)?)
            }
            Content::Nothing => (", #retracted = :yes", Vec::new()),
        };
        let counters = [
            "chunksCurrent",
            "copiesCurrent",
            "copiesUneditable",
            "copiesSuperseding",
        ];
        let mut update = Expression::new(
            format!(
                "SET #revision = :new, #revisedAt = :now, #chunksCurrent = :none, #copiesCurrent = :none, \
                 #copiesUneditable = :none, #copiesSuperseding = :none{retract}{as_scheduled}"
            ),
            counters
                .into_iter()
                .chain(["revision", "revisedAt", "retracted"])
                .chain(scheduled_name),
            [
                ("new", number(*revision)),
                ("now", moment(revised_at.unwrap_or_default())),
                ("none", number(0)),
            ],
        );
        if revised.retracted {
            update = update.value("yes", AttributeValue::Bool(true));
        }
        let condition = Expression::new(
            "#revision = :read AND attribute_not_exists(#retracted)",
            [],
            [("read", number(revision.saturating_sub(1)))],
        )
        .and(Expression::absent(CONFIRMED_AS))
        .and(match released_at {
            Some(_) => Expression::present("releasedAt"),
            None => Expression::absent("releasedAt"),
        });
        let mut writes = vec![self.0.tx_update(VERB, key(id, HEAD), update, Some(condition))?];
        for piece in pieces {
            writes.push(self.0.tx_put(VERB, piece, None)?);
        }
        Ok(match self.0.transact(VERB, writes).await? {
            Transaction::Done => CasResult::Committed,
            Transaction::Refused(_) => CasResult::Conflict,
        })
    }

    async fn mark_dead_lettered(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        reason: &str,
    ) -> Result<(), Error> {
        let mut new = key(id, &of_chunk(DEAD_LETTER, chunk));
        new.extend(item([("reason", text(reason)), ("expires", self.0.expiry())]));
        self.0.overwrite("mark a chunk dead-lettered", new).await
    }

    async fn dead_letters(&self, id: &NotificationId) -> Result<Vec<(ChunkId, String)>, Error> {
        const VERB: &str = "read which chunks are dead-lettered";
        let items = self.all(VERB, id, format!("{DEAD_LETTER}#")).await?;
        let dead_letter = |item| {
            let record = Record { verb: VERB, item };
            Ok((chunk(record)?, record.text("reason")?.to_owned()))
        };
        items.iter().map(dead_letter).collect()
    }
}

fn write_idempotency(idempotency: &Idempotency, id: &NotificationId) -> Item {
    let mut attributes = idempotency_key(&idempotency.key);
    attributes.extend(item([
        ("body", text(&idempotency.body)),
        ("acceptedAs", text(id.as_str())),
        ("until", moment(idempotency.until)),
        // A second later, so that rounding expires nothing early.
        ("expires", number(idempotency.until.as_second().saturating_add(1))),
    ]));
    attributes
}
