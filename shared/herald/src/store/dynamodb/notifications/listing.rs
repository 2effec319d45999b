//! The list of notifications, newest first, by an index of their heads.
//!
//! The index has a few partitions for each month of acceptance, because a partition takes 1,000 writes a second. It has no
//! attribute that changes, so that counters write nothing to it. Each partition is sorted by id, which is by time, so a
//! position in the list is one id, whatever the partition.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::try_join_all;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::super::attribute::{Item, Record, text};
use super::super::{Consistency, Error, unavailable};
use super::Notifications;
use super::head::read_head;
use super::key::{HEAD, key};
use crate::caller::principal;
use crate::id::NotificationId;
use crate::notification::{Notification, NotificationFilter};
use crate::store::{LISTED_FOR, ListPage};
use crate::time::{earlier, later};

/// The index, and the attribute that partitions it.
const INDEX: &str = "byMonth";
pub(super) const BY_MONTH: &str = "month";

/// Partitions of a month.
const SHARDS: u8 = 4;

/// How many heads are read at once.
const HEADS: usize = 100;

/// How many times one call queries the index: each time the partitions of one month, concurrently.
const ROUNDS: usize = 30;

const VERB: &str = "list notifications";

/// The partition of a notification: the month of its acceptance, and a digit.
pub(super) fn month_of(id: &NotificationId) -> String {
    let random = id.as_str().bytes().last().unwrap_or_default();
    partition(first_day(id.made_at()), random % SHARDS)
}

fn partition(first: Date, shard: u8) -> String {
    format!("{:04}-{:02}#{shard}", first.year(), first.month())
}

/// The first day of the month of this time, in UTC.
fn first_day(time: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(time).date().first_of_month()
}

/// The ids that a query found in one partition.
#[derive(Debug, Default)]
struct Found {
    ids: Vec<NotificationId>,
    /// The last id that the query read, if more may follow.
    last: Option<NotificationId>,
}

/// The ids of all partitions that come next in the list, newest first; and the last one, if more may follow.
///
/// A partition with more to read says nothing of the ids below its last one, so the list ends at the newest of these.
fn merge(found: Vec<Found>) -> (Vec<NotificationId>, Option<NotificationId>) {
    let last = found
        .iter()
        .filter_map(|found| found.last.as_ref())
        .max()
        .cloned();
    let ids = found.into_iter().flat_map(|found| found.ids);
    let mut ids: Vec<_> = ids
        .filter(|id| last.as_ref().is_none_or(|last| id >= last))
        .collect();
    ids.sort_by(|one, other| other.cmp(one));
    (ids, last)
}

impl Notifications {
    pub(super) async fn read_newest(
        &self,
        filter: &NotificationFilter,
        before: Option<&NotificationId>,
        now: Timestamp,
        limit: usize,
    ) -> Result<ListPage<Notification>, Error> {
        // An acceptor's clock may be ahead of this one.
        let end = || NotificationId::lowest_at(later(now, SignedDuration::from_hours(1)));
        let mut before = before.cloned().unwrap_or_else(end);
        let oldest = NotificationId::lowest_at(earlier(now, LISTED_FOR));
        let mut items = Vec::new();
        for _ in 0..ROUNDS {
            if before <= oldest {
                return Ok(ListPage { items, cursor: None });
            }
            let month = first_day(earlier(before.made_at(), SignedDuration::from_millis(1)));
            let shards = (0..SHARDS).map(|shard| self.query_shard(month, shard, &before, filter, limit));
            let (ids, last) = merge(try_join_all(shards).await?);
            for ids in ids.chunks(HEADS) {
                for head in self.heads(ids).await? {
                    if filter.matches(&head) {
                        items.push(head);
                    }
                    if items.len() == limit {
                        let cursor = items.last().map(|last| last.id.to_string());
                        return Ok(ListPage { items, cursor });
                    }
                }
            }
            before = match last {
                Some(last) => last,
                None => NotificationId::lowest_at(start_of(month)?),
            };
        }
        let cursor = Some(before.to_string());
        Ok(ListPage { items, cursor })
    }

    /// The ids before `before` in one partition, newest first. The filter's state is not in the index.
    async fn query_shard(
        &self,
        month: Date,
        shard: u8,
        before: &NotificationId,
        filter: &NotificationFilter,
        limit: usize,
    ) -> Result<Found, Error> {
        let mut query = self
            .0
            .client
            .query()
            .table_name(&self.0.name)
            .index_name(INDEX)
            .key_condition_expression("#month = :month AND #notification < :before")
            .projection_expression("#notification")
            .expression_attribute_names("#month", BY_MONTH)
            .expression_attribute_names("#notification", "notification")
            .expression_attribute_values(":month", text(partition(month, shard)))
            .expression_attribute_values(":before", text(before.as_str()))
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let mut conditions = Vec::new();
        // Without the session; what else begins so is left out by its head.
        for (name, value, condition) in [
            (
                "caller",
                filter.caller.as_deref().map(principal),
                "begins_with(#caller, :caller)",
            ),
            ("category", filter.category.as_deref(), "#category = :category"),
        ] {
            if let Some(value) = value {
                query = query
                    .expression_attribute_names(format!("#{name}"), name)
                    .expression_attribute_values(format!(":{name}"), text(value));
                conditions.push(condition);
            }
        }
        if !conditions.is_empty() {
            query = query.filter_expression(conditions.join(" AND "));
        }
        let answer = query.send().await.map_err(unavailable(VERB))?;
        let items = answer.items.unwrap_or_default();
        Ok(Found {
            ids: items.iter().map(id_of).collect::<Result<_, _>>()?,
            last: answer.last_evaluated_key.as_ref().map(id_of).transpose()?,
        })
    }

    /// The heads with these ids, in their order. Those that have expired since are left out.
    async fn heads(&self, ids: &[NotificationId]) -> Result<Vec<Notification>, Error> {
        let keys: Vec<Item> = ids.iter().map(|id| key(id, HEAD)).collect();
        let items = self.0.batch_get(Consistency::Eventual, VERB, &keys).await?;
        let mut heads = HashMap::new();
        for item in items {
            if let Some(AttributeValue::S(id)) = item.get("notification") {
                heads.insert(id.clone(), item);
            }
        }
        let stored = ids.iter().filter_map(|id| heads.get(id.as_str()));
        stored.map(|item| read_head(VERB, item)).collect()
    }
}

fn id_of(item: &Item) -> Result<NotificationId, Error> {
    Record { verb: VERB, item }.word("notification")
}

fn start_of(month: Date) -> Result<Timestamp, Error> {
    let start = TimeZone::UTC.to_timestamp(month.into());
    start.map_err(|_| Error::corrupt(VERB, BY_MONTH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> NotificationId {
        format!("ntf_{number:032}").parse().unwrap()
    }

    fn found(ids: &[u32], last: Option<u32>) -> Found {
        Found {
            ids: ids.iter().copied().map(id).collect(),
            last: last.map(id),
        }
    }

    #[test]
    fn partitions_are_merged_as_far_as_each_of_them_was_read() {
        let (ids, last) = merge(vec![
            found(&[9, 5], Some(4)),
            found(&[8, 7, 2], None),
            found(&[6], Some(6)),
            found(&[], None),
        ]);
        assert_eq!(ids, [9, 8, 7, 6].map(id));
        assert_eq!(last, Some(id(6)));
        let (ids, last) = merge(vec![found(&[3], None), found(&[4], None)]);
        assert_eq!((ids, last), ([4, 3].map(id).to_vec(), None));
    }

    #[test]
    fn a_partition_is_named_by_month_and_digit() {
        let time = "2026-11-30T23:59:59.999Z".parse().unwrap();
        let id = NotificationId::fresh(time, [7; 16]);
        assert_eq!(month_of(&id), "2026-11#3");
        let next = NotificationId::lowest_at("2026-12-01T00:00:00Z".parse().unwrap());
        assert_eq!(month_of(&next), "2026-12#0");
        assert_eq!(
            start_of(first_day(time)).unwrap().to_string(),
            "2026-11-01T00:00:00Z"
        );
    }
}
