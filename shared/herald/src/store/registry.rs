//! The port to small records that the deployment's people make and read: JSON, by collection and key.

use std::future::Future;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, ListPage, Rule};

/// A kind of record. Each has its keys for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Collection {
    /// Events that were refused: [`upstream::FailedEvent`](crate::upstream::FailedEvent).
    FailedEvents,
    /// Addresses for tools: [`hook::Hook`](crate::hook::Hook).
    Hooks,
    /// How fast they are posted to: [`hook::HookRate`](crate::hook::HookRate).
    HookRates,
    /// From events to notifications: [`route::RouteRecord`](crate::route::RouteRecord).
    Routes,
    /// Notifications that recur: [`recurring::ScheduleRecord`](crate::recurring::ScheduleRecord).
    Schedules,
    /// The copies that later events edit: [`route::SubjectRecord`](crate::route::SubjectRecord).
    Subjects,
    /// What kinds of notifications there are, all in one record: [`category::Categories`](crate::category::Categories).
    Categories,
    /// Messages with expressions: [`template::TemplateRecord`](crate::template::TemplateRecord).
    Templates,
    /// The defaults of tenants, all in one record: [`tenant_preferences::AllTenants`](crate::tenant_preferences::AllTenants).
    Tenants,
}

impl Collection {
    /// Whether its records can be listed. The others are spread over the table, since many are written at once.
    pub const fn is_listed(self) -> bool {
        match self {
            Self::FailedEvents | Self::Hooks | Self::Routes | Self::Schedules | Self::Templates => true,
            Self::HookRates | Self::Subjects | Self::Categories | Self::Tenants => false,
        }
    }

    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FailedEvents => "failedEvents",
            Self::Hooks => "hooks",
            Self::HookRates => "hookRates",
            Self::Routes => "routes",
            Self::Schedules => "schedules",
            Self::Subjects => "subjects",
            Self::Categories => "categories",
            Self::Templates => "templates",
            Self::Tenants => "tenants",
        }
    }
}

/// A type of record of one collection.
pub trait Record: Serialize + DeserializeOwned + Send {
    /// The collection.
    const COLLECTION: Collection;

    /// When the record may be deleted; `None` keeps it.
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }
}

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its JSON.
    pub json: String,
    /// When it may be deleted.
    pub expires_at: Option<Timestamp>,
}

/// Stores records. A key is 1 to 512 bytes of any text.
pub trait Registry: Clone + Send + Sync + 'static {
    /// The record of this key. A strong read.
    fn stored_record(
        &self,
        collection: Collection,
        key: &str,
    ) -> impl Future<Output = Result<Option<StoredRecord>, Error>> + Send;

    /// Applies a rule to the record of this key, atomically.
    fn update_stored_record(
        &self,
        collection: Collection,
        key: &str,
        rule: &mut Rule<'_, StoredRecord>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Deletes a record; `false` if there is none.
    fn remove_record(
        &self,
        collection: Collection,
        key: &str,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Up to `limit` records in the order of their keys, those after `cursor`, each with its key. Records that may be deleted
    /// are listed until they are. Only of a collection that [is listed](Collection::is_listed).
    fn stored_records(
        &self,
        collection: Collection,
        cursor: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<ListPage<(String, StoredRecord)>, Error>> + Send;

    /// The record of this key.
    fn find_record<R: Record>(&self, key: &str) -> impl Future<Output = Result<Option<R>, Error>> + Send {
        async move {
            let stored = self.stored_record(R::COLLECTION, key).await?;
            stored.as_ref().map(parse).transpose()
        }
    }

    /// Applies a rule to the record of this key, atomically. A record that cannot be parsed counts as none.
    fn update_record<R: Record>(
        &self,
        key: &str,
        rule: &mut (dyn FnMut(Option<R>) -> Option<R> + Send),
    ) -> impl Future<Output = Result<(), Error>> + Send {
        async move {
            let mut rule = |stored: Option<&StoredRecord>| {
                let record = rule(stored.and_then(|stored| parse(stored).ok()))?;
                Some(StoredRecord {
                    // Records hold texts, numbers, lists and JSON.
                    json: serde_json::to_string(&record).ok()?,
                    expires_at: record.expires_at(),
                })
            };
            self.update_stored_record(R::COLLECTION, key, &mut rule).await
        }
    }

    /// Up to `limit` records after `cursor`, each with its key.
    fn list_records<R: Record>(
        &self,
        cursor: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<ListPage<(String, R)>, Error>> + Send {
        async move {
            let page = self.stored_records(R::COLLECTION, cursor, limit).await?;
            let parsed = page.items.iter();
            let items = parsed.map(|(key, stored)| Ok((key.clone(), parse(stored)?)));
            Ok(ListPage {
                items: items.collect::<Result<_, Error>>()?,
                cursor: page.cursor,
            })
        }
    }
}

fn parse<R: Record>(stored: &StoredRecord) -> Result<R, Error> {
    serde_json::from_str(&stored.json).map_err(|_| Error::corrupt("read a record", R::COLLECTION.name()))
}
