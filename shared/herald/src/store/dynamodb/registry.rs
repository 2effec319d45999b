//! Records, in the table of notifications: a partition for each collection, or for each record of one that is not listed.

use std::collections::HashMap;

use jiff::Timestamp;

use super::attribute::{Item, Record, has_token, item, number, text};
use super::{
    Consistency, Error, Expression, MAX_CAS_ROUNDS, Put, Table, backoff, new_write_token, request_error,
};
use crate::aws::Sdk;
use crate::store::{Collection, ListPage, Rule, StoredRecord};

/// The records in DynamoDB.
#[derive(Clone, Debug)]
pub struct Registry(Table);

impl Registry {
    /// The records in the table of notifications of this name.
    pub fn new(sdk: &Sdk, table: impl Into<String>) -> Self {
        Self(Table::new(sdk, table))
    }
}

/// The partition of a record. A notification's begins with `ntf_`.
fn partition(collection: Collection, key: &str) -> String {
    let name = collection.name();
    if collection.is_listed() {
        format!("registry#{name}")
    } else {
        format!("registry#{name}#{key}")
    }
}

fn key(collection: Collection, key: &str) -> Item {
    item([
        ("notification", text(partition(collection, key))),
        ("part", text(key)),
    ])
}

fn stored(record: Record<'_>) -> Result<StoredRecord, Error> {
    let expires: Option<i64> = record.optional_number("expires")?;
    Ok(StoredRecord {
        json: record.text("record")?.to_owned(),
        expires_at: expires.and_then(|seconds| Timestamp::from_second(seconds).ok()),
    })
}

impl crate::store::Registry for Registry {
    async fn stored_record(&self, collection: Collection, name: &str) -> Result<Option<StoredRecord>, Error> {
        const VERB: &str = "read a record";
        let found = self
            .0
            .get(Consistency::Strong, VERB, key(collection, name))
            .await?;
        let found = found.as_ref();
        found.map(|item| stored(Record { verb: VERB, item })).transpose()
    }

    async fn update_stored_record(
        &self,
        collection: Collection,
        name: &str,
        rule: &mut Rule<'_, StoredRecord>,
    ) -> Result<(), Error> {
        const VERB: &str = "write a record";
        let token = new_write_token();
        let mut found = self
            .0
            .get(Consistency::Strong, VERB, key(collection, name))
            .await?;
        for tries in 1..=MAX_CAS_ROUNDS {
            let (before, version) = match &found {
                None => (None, 0),
                Some(item) => {
                    let record = Record { verb: VERB, item };
                    (Some(stored(record)?), record.number::<u64>("version")?)
                }
            };
            let Some(new) = rule(before.as_ref()) else {
                return Ok(());
            };
            let condition = match version {
                0 => Expression::absent("part"),
                version => Expression::equal("version", number(version)),
            };
            let mut attributes = key(collection, name);
            attributes.extend(item([
                ("record", text(new.json)),
                ("version", number(version + 1)),
                ("writeToken", text(&token)),
            ]));
            if let Some(expires_at) = new.expires_at {
                attributes.extend(item([("expires", number(expires_at.as_second()))]));
            }
            match self.0.put(VERB, attributes, condition).await? {
                Put::Written(_) => return Ok(()),
                // Our own write, whose answer was lost.
                Put::Refused(Some(item)) if has_token(VERB, &item, &token)? => return Ok(()),
                Put::Refused(item) => found = item,
            }
            backoff(tries).await;
        }
        Err(Error::contention(VERB))
    }

    async fn remove_record(&self, collection: Collection, name: &str) -> Result<bool, Error> {
        let delete = self
            .0
            .client
            .delete_item()
            .table_name(&self.0.name)
            .set_key(Some(key(collection, name)))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllOld);
        let deleted = delete.send().await.map_err(request_error("delete a record"))?;
        Ok(deleted.attributes.is_some())
    }

    async fn stored_records(
        &self,
        collection: Collection,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ListPage<(String, StoredRecord)>, Error> {
        const VERB: &str = "list records";
        let after = cursor.map(|after| key(collection, after));
        let query = self
            .0
            .client
            .query()
            .table_name(&self.0.name)
            .key_condition_expression("#notification = :partition")
            .expression_attribute_names("#notification", "notification")
            .expression_attribute_values(":partition", text(partition(collection, "")))
            .consistent_read(true)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(after);
        let answer = query.send().await.map_err(request_error(VERB))?;
        let found = answer.items.unwrap_or_default();
        let items = found.iter().map(|item| {
            let record = Record { verb: VERB, item };
            Ok((record.text("part")?.to_owned(), stored(record)?))
        });
        Ok(ListPage {
            items: items.collect::<Result<_, Error>>()?,
            cursor: answer.last_evaluated_key.as_ref().and_then(last_key),
        })
    }
}

fn last_key(key: &HashMap<String, aws_sdk_dynamodb::types::AttributeValue>) -> Option<String> {
    key.get("part")?.as_s().ok().cloned()
}
