//! Records that hold all things of a kind, by name, so that one read shows all of them.

use std::collections::BTreeMap;

use super::{Error, Record, Registry};

/// The key of the one record of a collection.
const KEY: &str = "all";

/// All things of a kind, by name.
pub trait Catalogue: Record + Default {
    /// One of them.
    type Entry: Clone + Send + Sync;

    /// The most of them: all fit into one record, which has 400 KB at most.
    const ENTRIES_MAX: usize;

    /// All of them.
    fn entries(&mut self) -> &mut BTreeMap<String, Self::Entry>;
}

/// What [`put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutEntry {
    /// There was none of this name.
    Created,
    /// It replaced one of this name.
    Replaced,
    /// There are [`Catalogue::ENTRIES_MAX`] others.
    Full,
}

/// All things of a kind.
///
/// # Errors
/// When the store is unavailable.
pub async fn all<C: Catalogue>(registry: &impl Registry) -> Result<C, Error> {
    Ok(registry.find_record(KEY).await?.unwrap_or_default())
}

/// Writes one.
///
/// # Errors
/// When the store is unavailable.
pub async fn put<C: Catalogue>(
    registry: &impl Registry,
    name: &str,
    entry: &C::Entry,
) -> Result<PutEntry, Error> {
    let mut done = PutEntry::Full;
    let mut rule = |stored: Option<C>| {
        let mut catalogue = stored.unwrap_or_default();
        let entries = catalogue.entries();
        let is_full = entries.len() >= C::ENTRIES_MAX;
        done = match entries.insert(name.to_owned(), entry.clone()) {
            Some(_) => PutEntry::Replaced,
            None if is_full => PutEntry::Full,
            None => PutEntry::Created,
        };
        (done != PutEntry::Full).then_some(catalogue)
    };
    registry.update_record(KEY, &mut rule).await?;
    Ok(done)
}

/// Deletes one; `false` if there is none of this name.
///
/// # Errors
/// When the store is unavailable.
pub async fn remove<C: Catalogue>(registry: &impl Registry, name: &str) -> Result<bool, Error> {
    let mut was_there = false;
    let mut rule = |stored: Option<C>| {
        let mut catalogue = stored?;
        was_there = catalogue.entries().remove(name).is_some();
        was_there.then_some(catalogue)
    };
    registry.update_record(KEY, &mut rule).await?;
    Ok(was_there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::category::{Categories, Category};
    use crate::store::memory::Store;
    use serde_json::json;

    #[tokio::test]
    async fn there_are_so_many_entries_at_most_and_each_can_be_replaced_and_deleted() {
        let store = Store::new();
        let category = Category::parse("x", &json!({})).unwrap();
        let written = async |name: &str| put::<Categories>(&store, name, &category).await.unwrap();
        for number in 0..Categories::ENTRIES_MAX {
            assert_eq!(written(&number.to_string()).await, PutEntry::Created);
        }
        assert_eq!(written("more").await, PutEntry::Full);
        assert_eq!(written("7").await, PutEntry::Replaced);
        assert!(remove::<Categories>(&store, "7").await.unwrap());
        assert!(!remove::<Categories>(&store, "7").await.unwrap());
        let left: Categories = all(&store).await.unwrap();
        assert_eq!(left.0.len(), Categories::ENTRIES_MAX - 1);
    }
}
