//! The items of a plan: pages, frozen pages, claimed recipients, closed chunks.

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::super::attribute::{Item, Record, item, json, number, text};
use super::super::table::failed;
use super::super::{Consistency, Error, Expression, MAX_CAS_ROUNDS, Put, Transaction, request_error};
use super::Notifications;
use super::head::{MATCHED_PARTS, part_numbers, revision_fields, unreachable_fields};
use super::key::{self, CLOSED, HEAD, PAGE, chunk, key, of_chunk, page};
use crate::audience::Recipient;
use crate::id::NotificationId;
use crate::notification::{ChunkId, ChunkResult, Page};
use crate::store::{Close, PageNumber};

/// How many recipients of a roster are claimed at once.
const CLAIM_CONCURRENCY: usize = 16;

/// The result of writing an item and counting it on the head.
enum CountResult {
    Counted,
    /// Nothing is written, because of one condition or both.
    Refused {
        item: ConditionResult,
        head: ConditionResult,
    },
}

/// Whether a condition was met.
enum ConditionResult {
    Met,
    /// The stored item, if there is one.
    Failed(Option<Item>),
}

impl Notifications {
    pub(super) async fn read_page(
        &self,
        id: &NotificationId,
        part: u16,
        number: PageNumber,
    ) -> Result<Option<(u32, Page)>, Error> {
        const VERB: &str = "read a page of a plan";
        let item = match number {
            PageNumber::At(number) => {
                let key = key(id, &page(part, number));
                self.0.get(Consistency::Strong, VERB, key).await?
            }
            PageNumber::Latest => {
                let prefix = format!("{PAGE}#{part:05}#");
                let query = self.0.query(("notification", id.as_str()), ("part", prefix));
                let query = query.scan_index_forward(false).limit(1);
                let answer = query.send().await.map_err(request_error(VERB))?;
                answer.items.unwrap_or_default().pop()
            }
        };
        let read = |item: Item| {
            let record = Record {
                verb: VERB,
                item: &item,
            };
            Ok((record.number("number")?, record.json("content")?))
        };
        item.map(read).transpose()
    }

    pub(super) async fn write_page(
        &self,
        id: &NotificationId,
        part: u16,
        number: u32,
        page: &Page,
    ) -> Result<bool, Error> {
        const VERB: &str = "store a page of a plan";
        let mut new = key(id, &self::page(part, number));
        new.extend(item([
            ("number", self::number(number)),
            ("content", json(VERB, "content", page)?),
            ("expires", self.0.expiry()),
        ]));
        let mut counters = vec![
            ("pages", 1),
            ("audience", page.recipients()),
            ("chunks", page.chunks.len() as u64),
            ("partsPlanned", u64::from(page.next.is_none())),
        ];
        counters.extend(unreachable_fields(&page.unreachable));
        // Most heads never have this attribute.
        counters.extend(Some(("batched", page.batched())).filter(|(_, batched)| *batched > 0));
        let mut added = numbers(counters);
        if page.matched {
            added.push((MATCHED_PARTS, part_numbers([&part])));
        }
        let absent = Expression::absent("part");
        let is_stored = Expression::present("part");
        match self.count(VERB, id, (new, absent), &added, is_stored).await? {
            CountResult::Counted => Ok(true),
            CountResult::Refused { .. } => Ok(false),
        }
    }

    pub(super) async fn freeze(
        &self,
        id: &NotificationId,
        (part, number): (u16, u32),
        read: &Page,
    ) -> Result<Page, Error> {
        const VERB: &str = "freeze a page";
        let mut new = key(id, &key::draft(part, number));
        new.extend(item([
            ("content", json(VERB, "content", read)?),
            ("expires", self.0.expiry()),
        ]));
        match self.0.put(VERB, new, Expression::absent("part")).await? {
            Put::Written(_) => Ok(read.clone()),
            Put::Refused(frozen) => {
                let item = frozen.unwrap_or_default();
                let record = Record {
                    verb: VERB,
                    item: &item,
                };
                record.json("content")
            }
        }
    }

    pub(super) async fn claim_all(
        &self,
        id: &NotificationId,
        page: (u16, u32),
        found: &[Recipient],
    ) -> Result<Vec<Recipient>, Error> {
        let claims: Vec<_> = found
            .iter()
            .map(|recipient| self.claim_recipient(id, page, recipient))
            .collect();
        let claimed: Vec<bool> = stream::iter(claims)
            .buffered(CLAIM_CONCURRENCY)
            .try_collect()
            .await?;
        let others = found.iter().zip(claimed).filter(|(_, claimed)| !claimed);
        Ok(others.map(|(recipient, _)| recipient.clone()).collect())
    }

    /// Claims a recipient for a page; `false` if another page did before.
    async fn claim_recipient(
        &self,
        id: &NotificationId,
        (part, number): (u16, u32),
        recipient: &Recipient,
    ) -> Result<bool, Error> {
        let page = text(page(part, number));
        let mut new = key(id, &key::found(recipient));
        new.extend(item([("page", page.clone()), ("expires", self.0.expiry())]));
        let ours = Expression::equal("page", page).or(Expression::absent("page"));
        Ok(match self.0.put("claim a recipient", new, ours).await? {
            Put::Written(_) => true,
            Put::Refused(_) => false,
        })
    }

    /// The first try assumes a first close. If the chunk was closed at an earlier revision, the failed condition says so.
    pub(super) async fn close(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        revision: u32,
        result: &ChunkResult,
    ) -> Result<Close, Error> {
        const VERB: &str = "close a chunk";
        let mut closed_at: Option<u32> = None;
        for _ in 0..MAX_CAS_ROUNDS {
            let mut new = key(id, &of_chunk(CLOSED, chunk));
            new.extend(item([
                ("revision", number(revision)),
                ("expires", self.0.expiry()),
            ]));
            let mut counters = vec![("chunksCurrent", 1)];
            counters.extend(revision_fields(&result.revision_counts));
            let condition = if closed_at.is_none() {
                counters.push(("chunksClosed", 1));
                counters.extend(result.counts.fields());
                Expression::absent("part")
            } else {
                let new = [("revision", number(revision))];
                Expression::new("#revision < :revision", ["revision"], new)
            };
            let current = Expression::equal("revision", number(revision));
            let added = numbers(counters);
            let count = self.count(VERB, id, (new, condition), &added, current);
            let (item, head) = match count.await? {
                CountResult::Counted => return Ok(Close::Closed),
                CountResult::Refused { item, head } => (item, head),
            };
            closed_at = match &item {
                ConditionResult::Failed(Some(item)) => Some(Record { verb: VERB, item }.number("revision")?),
                ConditionResult::Failed(None) | ConditionResult::Met => None,
            };
            if closed_at.is_some_and(|closed_at| closed_at >= revision) {
                return Ok(Close::Closed);
            }
            match head {
                ConditionResult::Failed(Some(_)) => return Ok(Close::StaleRevision),
                // The notification has expired: there is nothing to count on.
                ConditionResult::Failed(None) => return Ok(Close::Closed),
                // The chunk is closed at an earlier revision, or that item expired meanwhile.
                ConditionResult::Met => {}
            }
        }
        Err(Error::contention(VERB))
    }

    pub(super) async fn read_closed(
        &self,
        id: &NotificationId,
        part: u16,
        page: u32,
    ) -> Result<Vec<(u16, u32)>, Error> {
        const VERB: &str = "read which chunks are closed";
        let items = self
            .all(VERB, id, format!("{CLOSED}#{part:05}#{page:010}#"))
            .await?;
        let closed = |item| {
            let record = Record { verb: VERB, item };
            Ok((chunk(record)?.index, record.number("revision")?))
        };
        items.iter().map(closed).collect()
    }

    /// Writes an item and adds to the head's counters and sets, in one transaction.
    async fn count(
        &self,
        verb: &'static str,
        id: &NotificationId,
        (item, condition): (Item, Expression),
        added: &[(&str, AttributeValue)],
        head_condition: Expression,
    ) -> Result<CountResult, Error> {
        let add: Vec<String> = added.iter().map(|(name, _)| format!("#{name} :{name}")).collect();
        let update = Expression::new(
            format!("ADD {}", add.join(", ")),
            added.iter().map(|(name, _)| *name),
            added.iter().cloned(),
        );
        let writes = vec![
            self.0.tx_put(verb, item, Some(condition))?,
            self.0.tx_update(verb, key(id, HEAD), update, head_condition)?,
        ];
        let reasons = match self.0.transact(verb, writes).await? {
            Transaction::Done => return Ok(CountResult::Counted),
            Transaction::Refused(reasons) => reasons,
        };
        let mut results = reasons.into_iter().map(|reason| {
            if failed(&reason) {
                ConditionResult::Failed(reason.item)
            } else {
                ConditionResult::Met
            }
        });
        let mut next = || results.next().unwrap_or(ConditionResult::Met);
        Ok(CountResult::Refused {
            item: next(),
            head: next(),
        })
    }
}

fn numbers(counters: Vec<(&'static str, u64)>) -> Vec<(&'static str, AttributeValue)> {
    let counters = counters.into_iter();
    counters.map(|(name, count)| (name, number(count))).collect()
}
