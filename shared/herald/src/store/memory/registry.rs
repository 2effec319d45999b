//! Records in memory.

use std::ops::Bound;

use super::Store;
use crate::store::{Collection, Error, ListPage, Registry, Rule, StoredRecord};

impl Registry for Store {
    async fn stored_record(&self, collection: Collection, key: &str) -> Result<Option<StoredRecord>, Error> {
        let tables = self.tables();
        Ok(tables.records.get(&(collection, key.to_owned())).cloned())
    }

    async fn update_stored_record(
        &self,
        collection: Collection,
        key: &str,
        rule: &mut Rule<'_, StoredRecord>,
    ) -> Result<(), Error> {
        let mut tables = self.tables();
        let key = (collection, key.to_owned());
        if let Some(new) = rule(tables.records.get(&key)) {
            tables.records.insert(key, new);
        }
        Ok(())
    }

    async fn remove_record(&self, collection: Collection, key: &str) -> Result<bool, Error> {
        let removed = self.tables().records.remove(&(collection, key.to_owned()));
        Ok(removed.is_some())
    }

    async fn stored_records(
        &self,
        collection: Collection,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ListPage<(String, StoredRecord)>, Error> {
        let tables = self.tables();
        let after = (collection, cursor.unwrap_or_default().to_owned());
        let following = tables.records.range((Bound::Excluded(after), Bound::Unbounded));
        let mut following = following.take_while(|((of, _), _)| *of == collection);
        let items: Vec<_> = following
            .by_ref()
            .take(limit)
            .map(|((_, key), stored)| (key.clone(), stored.clone()))
            .collect();
        let has_more = following.next().is_some();
        let last = items.last().map(|(key, _)| key.clone());
        Ok(ListPage {
            cursor: last.filter(|_| has_more),
            items,
        })
    }
}
