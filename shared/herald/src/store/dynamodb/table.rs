//! One table: reads, conditional writes and transactions, with their retries.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    self, AttributeValue, CancellationReason, KeysAndAttributes, ReturnValue,
    ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use jiff::Timestamp;

use super::attribute::{Item, text};
use super::{Error, Expression, MAX_RETRIES, backoff, expiry, request_error, unavailable};
use crate::aws::Sdk;
use crate::clock::Clock;
use crate::notification::request::SENT_FOR_MAX;

/// Most keys of one `BatchGetItem`.
pub(super) const READ_BATCH: usize = 100;

/// One table. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) client: Client,
    pub(super) name: String,
    /// DynamoDB expires items (TTL) by wall-clock time, so this uses the system clock even when callers inject another.
    clock: Clock,
}

/// The consistency of a read. A strong one costs twice as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consistency {
    /// Every earlier write is visible.
    Strong,
    /// Writes of the last milliseconds may be missing.
    Eventual,
}

/// The result of a conditional write.
pub(super) enum Put {
    /// The item is written. After an update, the new item.
    Written(Option<Item>),
    /// The condition failed; the stored item, if there is one.
    Refused(Option<Item>),
}

/// The result of a transaction.
pub(super) enum Transaction {
    /// All is written.
    Done,
    /// Nothing is written because a condition failed; the reasons are in the order of the writes.
    Refused(Vec<CancellationReason>),
}

/// Whether this write's own condition failed.
pub(super) fn failed(reason: &CancellationReason) -> bool {
    reason.code() == Some("ConditionalCheckFailed")
}

const ALL_OLD: ReturnValuesOnConditionCheckFailure = ReturnValuesOnConditionCheckFailure::AllOld;

impl Table {
    pub(super) fn new(sdk: &Sdk, name: impl Into<String>) -> Self {
        Self {
            client: sdk.dynamodb.clone(),
            name: name.into(),
            clock: Clock::system(),
        }
    }

    /// The time of writes. No rule depends on it.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The TTL attribute of an item that is written now: it outlasts the notification it belongs to, which may have been
    /// accepted long before.
    pub(super) fn expiry(&self) -> AttributeValue {
        let latest = self.clock.now().saturating_add(SENT_FOR_MAX);
        expiry(latest.unwrap_or(Timestamp::MAX))
    }

    pub(super) async fn get(
        &self,
        consistency: Consistency,
        verb: &'static str,
        key: Item,
    ) -> Result<Option<Item>, Error> {
        let get = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key))
            .consistent_read(consistency == Consistency::Strong);
        Ok(get.send().await.map_err(request_error(verb))?.item)
    }

    /// The stored items with these keys, in any order. No key may appear twice: DynamoDB would refuse them all.
    pub(super) async fn batch_get(
        &self,
        consistency: Consistency,
        verb: &'static str,
        keys: &[Item],
    ) -> Result<Vec<Item>, Error> {
        let mut found = Vec::with_capacity(keys.len());
        for batch in keys.chunks(READ_BATCH) {
            let mut open = batch.to_vec();
            let mut tries = 0;
            loop {
                let asked = KeysAndAttributes::builder()
                    .set_keys(Some(open))
                    .consistent_read(consistency == Consistency::Strong)
                    .build()
                    .map_err(unavailable(verb))?;
                let request = self.client.batch_get_item().request_items(&self.name, asked);
                let answer = request.send().await.map_err(request_error(verb))?;
                let responses = answer.responses.into_iter().flat_map(HashMap::into_values);
                found.extend(responses.flatten());
                let left = answer.unprocessed_keys.into_iter().flatten();
                open = left.flat_map(|(_, rest)| rest.keys).collect();
                tries += 1;
                if open.is_empty() {
                    break;
                }
                if tries == MAX_RETRIES {
                    return Err(unavailable(verb)(Throttled));
                }
                backoff(tries).await;
            }
        }
        Ok(found)
    }

    /// A strongly consistent query for the items of a partition whose sort key has this prefix.
    pub(super) fn query(
        &self,
        (partition_key, partition): (&str, &str),
        (sort_key, prefix): (&str, String),
    ) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.name)
            .key_condition_expression(format!(
                "#{partition_key} = :{partition_key} AND begins_with(#{sort_key}, :prefix)"
            ))
            .expression_attribute_names(format!("#{partition_key}"), partition_key)
            .expression_attribute_names(format!("#{sort_key}"), sort_key)
            .expression_attribute_values(format!(":{partition_key}"), text(partition))
            .expression_attribute_values(":prefix", text(prefix))
            .consistent_read(true)
    }

    /// All items of a query.
    pub(super) async fn query_all(
        &self,
        verb: &'static str,
        query: QueryFluentBuilder,
    ) -> Result<Vec<Item>, Error> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let page = query.clone().set_exclusive_start_key(start);
            let answer = page.send().await.map_err(request_error(verb))?;
            items.extend(answer.items.unwrap_or_default());
            match answer.last_evaluated_key {
                Some(last) => start = Some(last),
                None => return Ok(items),
            }
        }
    }

    /// Writes an item whole, if the stored one meets the condition.
    pub(super) async fn put(
        &self,
        verb: &'static str,
        item: Item,
        condition: Expression,
    ) -> Result<Put, Error> {
        let values = condition.values();
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression(condition.text)
            .set_expression_attribute_names(Some(condition.names))
            .set_expression_attribute_values(values)
            .return_values_on_condition_check_failure(ALL_OLD);
        let mut tries = 0;
        loop {
            match put.clone().send().await.map_err(SdkError::into_service_error) {
                Ok(_) => return Ok(Put::Written(None)),
                Err(PutItemError::ConditionalCheckFailedException(failure)) => {
                    return Ok(Put::Refused(failure.item));
                }
                // A transaction holds the item; the SDK does not retry that.
                Err(PutItemError::TransactionConflictException(_)) if tries < MAX_RETRIES => {
                    tries += 1;
                    backoff(tries).await;
                }
                Err(error) => return Err(request_error(verb)(error)),
            }
        }
    }

    /// Writes an item whole, whatever is stored.
    pub(super) async fn overwrite(&self, verb: &'static str, item: Item) -> Result<(), Error> {
        let put = self.client.put_item().table_name(&self.name);
        let put = put.set_item(Some(item)).send().await;
        put.map(drop).map_err(request_error(verb))
    }

    /// Updates an item, if the stored one meets the condition.
    pub(super) async fn update(
        &self,
        verb: &'static str,
        key: Item,
        update: Expression,
        condition: Option<Expression>,
    ) -> Result<Put, Error> {
        let (update, condition) = update.with(condition);
        let update = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key))
            .set_expression_attribute_values(update.values())
            .update_expression(update.text)
            .set_condition_expression(condition)
            .set_expression_attribute_names(Some(update.names))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ALL_OLD);
        let mut tries = 0;
        loop {
            match update.clone().send().await.map_err(SdkError::into_service_error) {
                Ok(answer) => return Ok(Put::Written(answer.attributes)),
                Err(UpdateItemError::ConditionalCheckFailedException(failure)) => {
                    return Ok(Put::Refused(failure.item));
                }
                Err(UpdateItemError::TransactionConflictException(_)) if tries < MAX_RETRIES => {
                    tries += 1;
                    backoff(tries).await;
                }
                Err(error) => return Err(request_error(verb)(error)),
            }
        }
    }

    /// Part of a transaction: writes an item whole, if the stored one meets the condition.
    pub(super) fn tx_put(
        &self,
        verb: &'static str,
        item: Item,
        condition: Option<Expression>,
    ) -> Result<TransactWriteItem, Error> {
        let mut put = types::Put::builder().table_name(&self.name).set_item(Some(item));
        if let Some(condition) = condition {
            put = put
                .set_expression_attribute_values(condition.values())
                .condition_expression(condition.text)
                .set_expression_attribute_names(Some(condition.names))
                .return_values_on_condition_check_failure(ALL_OLD);
        }
        let put = put.build().map_err(unavailable(verb))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Part of a transaction: updates an item, if the stored one meets the condition.
    pub(super) fn tx_update(
        &self,
        verb: &'static str,
        key: Item,
        update: Expression,
        condition: Option<Expression>,
    ) -> Result<TransactWriteItem, Error> {
        let (update, condition) = update.with(condition);
        let update = types::Update::builder()
            .table_name(&self.name)
            .set_key(Some(key))
            .set_expression_attribute_values(update.values())
            .update_expression(update.text)
            .set_condition_expression(condition)
            .set_expression_attribute_names(Some(update.names))
            .return_values_on_condition_check_failure(ALL_OLD)
            .build()
            .map_err(unavailable(verb))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// Part of a transaction: deletes an item, if it meets the condition.
    pub(super) fn tx_delete(
        &self,
        verb: &'static str,
        key: Item,
        condition: Option<Expression>,
    ) -> Result<TransactWriteItem, Error> {
        let mut delete = types::Delete::builder().table_name(&self.name).set_key(Some(key));
        if let Some(condition) = condition {
            delete = delete
                .set_expression_attribute_values(condition.values())
                .condition_expression(condition.text)
                .set_expression_attribute_names(Some(condition.names));
        }
        let delete = delete.build().map_err(unavailable(verb))?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// Part of a transaction: changes nothing; the rest is written only if this item meets the condition.
    pub(super) fn tx_check(
        &self,
        verb: &'static str,
        key: Item,
        condition: Expression,
    ) -> Result<TransactWriteItem, Error> {
        let check = types::ConditionCheck::builder()
            .table_name(&self.name)
            .set_key(Some(key))
            .set_expression_attribute_values(condition.values())
            .condition_expression(condition.text)
            .set_expression_attribute_names(Some(condition.names))
            .build()
            .map_err(unavailable(verb))?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }

    /// Writes all of these or none.
    ///
    /// Concurrent transactions on one item (every page and chunk of a notification counts on its head) make DynamoDB cancel one of
    /// them. The SDK does not retry that; this does.
    pub(super) async fn transact(
        &self,
        verb: &'static str,
        writes: Vec<TransactWriteItem>,
    ) -> Result<Transaction, Error> {
        let mut tries = 0;
        loop {
            let request = self.client.transact_write_items();
            let answer = request.set_transact_items(Some(writes.clone())).send().await;
            let Err(error) = answer else {
                return Ok(Transaction::Done);
            };
            let reasons = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    cancelled.cancellation_reasons().to_vec()
                }
                _ => return Err(request_error(verb)(error)),
            };
            if reasons.iter().any(failed) {
                return Ok(Transaction::Refused(reasons));
            }
            if reasons.iter().any(is_invalid) {
                let source = error.into();
                return Err(Error::Refused { verb, source });
            }
            tries += 1;
            if tries == MAX_RETRIES || !reasons.iter().all(is_transient) {
                return Err(unavailable(verb)(error));
            }
            backoff(tries).await;
        }
    }
}

/// Whether DynamoDB refuses what this write contains.
fn is_invalid(reason: &CancellationReason) -> bool {
    matches!(
        reason.code(),
        Some("ValidationError" | "ItemCollectionSizeLimitExceeded")
    )
}

fn is_transient(reason: &CancellationReason) -> bool {
    let code = reason.code().unwrap_or("None");
    [
        "None",
        "TransactionConflict",
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
    ]
    .contains(&code)
}

/// DynamoDB returned unprocessed keys each time.
#[derive(Debug, thiserror::Error)]
#[error("throttled {MAX_RETRIES} times in a row")]
struct Throttled;
