//! The ledger: a row for each delivery, a lease for each conversation.

use std::collections::HashMap;
use std::sync::Arc;

use super::attribute::{Item, Record, item, moment, text};
use super::grouped::{GroupedPuts, GroupedReads, Replaces};
use super::rate_cache::RateCache;
use super::{Consistency, Error, Put, Table};
use crate::aws::Sdk;
use crate::batch::{BatchKey, BatchRecord};
use crate::conversation::ConversationKey;
use crate::delivery::{Claim, ClaimRequest, ConversationLease, DeliveryKey, Row};
use crate::digest::sha256_hex;
use crate::store::{CasResult, DatedRow, RowGuard, RowWrite};
use crate::subject::{SubjectCopy, SubjectCopyKey};

mod claim;
mod row;

#[cfg(test)]
pub(super) use row::tests::billed_bytes;
use row::{condition, read_row, write_row};

/// The longest name in a key; a longer one is digested. DynamoDB's keys hold 2,048 bytes.
const MAX_NAME_BYTES: usize = 2000;

/// The ledger in DynamoDB, with rate limits and batches in the same table.
///
/// A delivery costs two reads and two writes: the claim reads the row and the lease and writes the lease, the settlement writes the
/// row. If the lease was another delivery's before, that one's row is one more read. What many deliveries ask for at once goes in a
/// few requests.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(super) table: Table,
    pub(super) rates: Arc<RateCache>,
    pub(super) strong_reads: GroupedReads,
    eventual_reads: GroupedReads,
    pub(super) puts: GroupedPuts,
}

impl Ledger {
    /// The ledger in the table of this name.
    pub fn new(sdk: &Sdk, table: impl Into<String>) -> Self {
        let table = Table::new(sdk, table);
        let reads = |consistency| GroupedReads::new(table.clone(), consistency, &["delivery"]);
        Self {
            rates: Arc::default(),
            strong_reads: reads(Consistency::Strong),
            eventual_reads: reads(Consistency::Eventual),
            puts: GroupedPuts::new(table.clone(), "delivery"),
            table,
        }
    }

    async fn write(
        &self,
        verb: &'static str,
        delivery: &DeliveryKey,
        row: &Row,
        guard: &RowGuard,
    ) -> Result<RowWrite, Error> {
        let condition = condition(verb, row, guard)?;
        let attributes = write_row(verb, row)?;
        let mut new = key(delivery.as_str());
        new.extend(attributes.clone());
        new.extend(item([
            ("writtenAt", moment(self.table.now())),
            ("expires", self.table.expiry()),
        ]));
        // Before the row of a later attempt there is one; the first may find one of a batch, or one that was deferred.
        let put = if row.attempt <= 1 && guard.permits(None, row) {
            self.puts.put(verb, new, Replaces::Nothing, condition).await?
        } else {
            self.table.put(verb, new, condition).await?
        };
        let stored = match put {
            Put::Written(_) => return Ok(RowWrite::Written),
            Put::Refused(stored) => stored,
        };
        // The row that is to be stored: our own write, whose answer was lost.
        let is_ours = |stored: &Item| {
            let mut attributes = attributes.iter();
            attributes.all(|(name, value)| stored.get(name) == Some(value))
        };
        match stored {
            Some(stored) if is_ours(&stored) => Ok(RowWrite::Written),
            Some(stored) => Ok(RowWrite::Refused(Some(read_row(verb, &stored)?))),
            None => Ok(RowWrite::Refused(None)),
        }
    }

    /// The items with these keys, by key.
    async fn read(
        &self,
        verb: &'static str,
        keys: impl IntoIterator<Item = &str>,
    ) -> Result<HashMap<String, Item>, Error> {
        let mut distinct: Vec<&str> = keys.into_iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let keys: Vec<Item> = distinct.into_iter().map(key).collect();
        let items = self.table.batch_get(Consistency::Strong, verb, &keys).await?;
        let keyed = items.into_iter().map(|item| {
            let key = Record { verb, item: &item }.text("delivery")?.to_owned();
            Ok((key, item))
        });
        keyed.collect()
    }
}

impl crate::store::Ledger for Ledger {
    async fn claim(&self, request: ClaimRequest<'_>, conversation: &ConversationKey) -> Result<Claim, Error> {
        self.acquire(request, conversation).await
    }

    async fn put_row(&self, delivery: &DeliveryKey, row: &Row, guard: &RowGuard) -> Result<RowWrite, Error> {
        self.write("write a row of the ledger", delivery, row, guard)
            .await
    }

    async fn rows(&self, deliveries: &[DeliveryKey]) -> Result<Vec<Option<Row>>, Error> {
        let rows = self.dated_rows(deliveries).await?.into_iter();
        Ok(rows.map(|row| row.map(|row| row.row)).collect())
    }

    async fn dated_rows(&self, deliveries: &[DeliveryKey]) -> Result<Vec<Option<DatedRow>>, Error> {
        const VERB: &str = "look up deliveries";
        let found = self
            .read(VERB, deliveries.iter().map(DeliveryKey::as_str))
            .await?;
        let row = |delivery: &DeliveryKey| {
            let item = found.get(delivery.as_str());
            let read = |item| {
                let written_at = Record { verb: VERB, item }.optional_moment("writtenAt")?;
                let row = read_row(VERB, item)?;
                Ok(DatedRow { row, written_at })
            };
            item.map(read).transpose()
        };
        deliveries.iter().map(row).collect()
    }

    async fn leases(
        &self,
        conversations: &[ConversationKey],
    ) -> Result<Vec<Option<ConversationLease>>, Error> {
        self.read_leases(conversations).await
    }

    async fn batch(&self, batch: &BatchKey) -> Result<Option<BatchRecord>, Error> {
        self.read_batch(batch).await
    }

    async fn compare_and_set_batch_record(
        &self,
        batch: &BatchKey,
        to: &BatchRecord,
    ) -> Result<CasResult, Error> {
        self.write_batch(batch, to).await
    }

    async fn subject_copies(&self, keys: &[SubjectCopyKey]) -> Result<Vec<Option<SubjectCopy>>, Error> {
        self.read_subject_copies(keys).await
    }

    async fn compare_and_set_subject_copy(
        &self,
        key: &SubjectCopyKey,
        copy: &SubjectCopy,
    ) -> Result<CasResult, Error> {
        self.write_subject_copy(key, copy).await
    }
}

pub(super) fn key(name: &str) -> Item {
    item([("delivery", text(name))])
}

/// The key of an item that is no row. A row's key begins with the id of a notification.
pub(super) fn prefixed_key(kind: &str, name: &str) -> String {
    let key = format!("{kind}|{name}");
    if key.len() <= MAX_NAME_BYTES {
        key
    } else {
        // A name has at least two bars, and a digest none.
        format!("{kind}|{}", sha256_hex(name.as_bytes()))
    }
}
