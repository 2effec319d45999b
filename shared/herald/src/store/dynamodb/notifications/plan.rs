//! The items of a plan: pages, frozen pages, claimed recipients, closed chunks.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::super::attribute::{Item, Record, deflated, item, json, moment, number, text};
use super::super::table::failed;
use super::super::{Consistency, Error, Expression, MAX_CAS_ROUNDS, Put, Transaction, request_error};
use super::Notifications;
use super::head::{MATCHED_PARTS, part_numbers, revision_fields, unreachable_fields};
use super::key::{self, CLOSED, HEAD, PAGE, chunk, key, of_chunk, page};
use crate::audience::Recipient;
use crate::delivery::OutcomeCounts;
use crate::id::NotificationId;
use crate::notification::{ChunkId, ChunkResult, CountedChunk, Page};
use crate::store::{Close, PageNumber};

/// The outcomes that are counted of an open chunk.
const COUNTED: &str = "counted";

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
            Ok((record.number("number")?, record.deflated("content")?))
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
            ("content", deflated(VERB, "content", page)?),
            ("expires", self.0.expiry()),
        ]));
        let mut counters = vec![
            ("pages", 1),
            ("audience", page.recipients()),
            ("chunks", page.chunks.len() as u64),
            ("partsPlanned", u64::from(page.next.is_none())),
        ];
        counters.extend(unreachable_fields(&page.unreachable));
        // Most heads never have these attributes.
        let rare = [("batched", page.batched()), ("newcomers", page.newcomers())];
        counters.extend(rare.into_iter().filter(|(_, count)| *count > 0));
        let mut added = numbers(counters);
        if page.matched {
            added.push((MATCHED_PARTS, part_numbers([&part])));
        }
        let waves = page.waves();
        if !waves.is_empty() {
            let in_waves = waves.iter().map(|(_, recipients)| recipients).sum();
            added.extend(numbers(vec![("inWaves", in_waves)]));
        }
        // Of at most 96 recipients: with page and head, they fit into one transaction.
        let waves = waves.into_iter().map(|(due, recipients)| {
            let update = Expression::new(
                "SET #due = :due, #expires = :expires ADD #recipients :recipients",
                ["due", "expires", "recipients"],
                [
                    ("due", moment(due)),
                    ("expires", self.0.expiry()),
                    ("recipients", self::number(recipients)),
                ],
            );
            self.0.tx_update(VERB, key(id, &key::wave(due)), update, None)
        });
        let waves = waves.collect::<Result<Vec<_>, _>>()?;
        let absent = Expression::absent("part");
        let is_stored = Expression::present("part");
        let counted = self.count_with(VERB, id, (new, absent), &added, is_stored, waves);
        match counted.await? {
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
            ("content", deflated(VERB, "content", read)?),
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
                record.deflated("content")
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

    /// The first try assumes that nothing is counted of the chunk. If something is, the failed condition says what.
    pub(super) async fn close(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        revision: u32,
        result: &ChunkResult,
    ) -> Result<Close, Error> {
        const VERB: &str = "close a chunk";
        let mut stored = Counted::Nothing;
        for _ in 0..MAX_CAS_ROUNDS {
            let mut new = key(id, &of_chunk(CLOSED, chunk));
            new.extend(item([
                ("revision", number(revision)),
                ("expires", self.0.expiry()),
            ]));
            let mut counters = vec![("chunksCurrent", 1)];
            counters.extend(revision_fields(&result.revision_counts));
            let mut added = numbers(counters);
            let condition = match &stored {
                Counted::Nothing => {
                    added.push(("chunksClosed", number(1_u64)));
                    added.extend(difference(&result.counts, &OutcomeCounts::default()));
                    Expression::absent("part")
                }
                Counted::Open(counted) => {
                    added.push(("chunksClosed", number(1_u64)));
                    added.extend(difference(&result.counts, counted));
                    Expression::equal(COUNTED, json(VERB, COUNTED, counted)?)
                }
                Counted::Closed(_) => {
                    let new = [("revision", number(revision))];
                    Expression::new("#revision < :revision", ["revision"], new)
                }
            };
            let current = Expression::equal("revision", number(revision));
            let count = self.count(VERB, id, (new, condition), &added, current);
            let (item, head) = match count.await? {
                CountResult::Counted => return Ok(Close::Closed),
                CountResult::Refused { item, head } => (item, head),
            };
            // That nothing is stored any more may be said of an item that expired meanwhile.
            stored = match &item {
                ConditionResult::Failed(Some(item)) => Counted::read(Record { verb: VERB, item })?,
                ConditionResult::Failed(None) | ConditionResult::Met => Counted::Nothing,
            };
            if matches!(stored, Counted::Closed(at) if at >= revision) {
                return Ok(Close::Closed);
            }
            match head {
                ConditionResult::Failed(Some(_)) => return Ok(Close::StaleRevision),
                // The notification has expired: there is nothing to count on.
                ConditionResult::Failed(None) => return Ok(Close::Closed),
                // Something is counted of the chunk, or the head was written at the same time.
                ConditionResult::Met => {}
            }
        }
        Err(Error::contention(VERB))
    }

    /// Counts what has ended of an open chunk.
    pub(super) async fn count_open_chunk(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        counts: &OutcomeCounts,
    ) -> Result<(), Error> {
        const VERB: &str = "count an open chunk";
        let place = key(id, &of_chunk(CLOSED, chunk));
        let stored = self.0.get(Consistency::Strong, VERB, place.clone()).await?;
        let mut stored = match &stored {
            Some(item) => Counted::read(Record { verb: VERB, item })?,
            None => Counted::Nothing,
        };
        for _ in 0..MAX_CAS_ROUNDS {
            let (before, condition) = match stored {
                Counted::Nothing => (OutcomeCounts::default(), Expression::absent("part")),
                Counted::Open(counted) => (
                    counted,
                    Expression::equal(COUNTED, json(VERB, COUNTED, &counted)?),
                ),
                Counted::Closed(_) => return Ok(()),
            };
            if counts.growth_since(&before).is_none() {
                return Ok(());
            }
            let mut new = place.clone();
            new.extend(item([
                (COUNTED, json(VERB, COUNTED, counts)?),
                ("expires", self.0.expiry()),
            ]));
            let exists = Expression::present("part");
            let added = difference(counts, &before);
            let (item, head) = match self.count(VERB, id, (new, condition), &added, exists).await? {
                CountResult::Counted => return Ok(()),
                CountResult::Refused { item, head } => (item, head),
            };
            stored = match (&item, head) {
                // The notification has expired: there is nothing to count on.
                (_, ConditionResult::Failed(_)) => return Ok(()),
                (ConditionResult::Failed(Some(item)), ConditionResult::Met) => {
                    Counted::read(Record { verb: VERB, item })?
                }
                (ConditionResult::Failed(None) | ConditionResult::Met, ConditionResult::Met) => {
                    Counted::Nothing
                }
            };
        }
        Err(Error::contention(VERB))
    }

    pub(super) async fn read_counted(
        &self,
        id: &NotificationId,
        part: u16,
        page: u32,
    ) -> Result<Vec<CountedChunk>, Error> {
        const VERB: &str = "read what is counted of chunks";
        let items = self
            .all(VERB, id, format!("{CLOSED}#{part:05}#{page:010}#"))
            .await?;
        let counted = |item| {
            let record = Record { verb: VERB, item };
            let (closed_at, counts) = match Counted::read(record)? {
                Counted::Nothing => (None, OutcomeCounts::default()),
                Counted::Open(counts) => (None, counts),
                Counted::Closed(revision) => (Some(revision), OutcomeCounts::default()),
            };
            Ok(CountedChunk {
                index: chunk(record)?.index,
                closed_at,
                counts,
            })
        };
        items.iter().map(counted).collect()
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
        self.count_with(verb, id, (item, condition), added, head_condition, Vec::new())
            .await
    }

    /// The same, with other writes that have no condition.
    async fn count_with(
        &self,
        verb: &'static str,
        id: &NotificationId,
        (item, condition): (Item, Expression),
        added: &[(&str, AttributeValue)],
        head_condition: Expression,
        others: Vec<TransactWriteItem>,
    ) -> Result<CountResult, Error> {
        let add: Vec<String> = added.iter().map(|(name, _)| format!("#{name} :{name}")).collect();
        let update = Expression::new(
            format!("ADD {}", add.join(", ")),
            added.iter().map(|(name, _)| *name),
            added.iter().cloned(),
        );
        let mut writes = vec![
            self.0.tx_put(verb, item, Some(condition))?,
            self.0
                .tx_update(verb, key(id, HEAD), update, Some(head_condition))?,
        ];
        writes.extend(others);
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

/// What is counted of a chunk: the attributes of its item, if there is one.
enum Counted {
    Nothing,
    /// These outcomes, while it is open.
    Open(OutcomeCounts),
    /// All, at this revision.
    Closed(u32),
}

impl Counted {
    fn read(record: Record<'_>) -> Result<Self, Error> {
        Ok(match record.optional_number("revision")? {
            Some(revision) => Self::Closed(revision),
            None => Self::Open(record.json(COUNTED)?),
        })
    }
}

/// What the head's counters grow by. An outcome that was counted and is another one now is counted off.
fn difference(now: &OutcomeCounts, before: &OutcomeCounts) -> Vec<(&'static str, AttributeValue)> {
    let each = now.fields().into_iter().zip(before.fields());
    each.map(|((name, now), (_, before))| (name, number(i128::from(now) - i128::from(before))))
        .collect()
}

fn numbers(counters: Vec<(&'static str, u64)>) -> Vec<(&'static str, AttributeValue)> {
    let counters = counters.into_iter();
    counters.map(|(name, count)| (name, number(count))).collect()
}
