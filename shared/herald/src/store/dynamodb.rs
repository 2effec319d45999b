//! The tables in DynamoDB.
//!
//! | table | partition key | sort key | what an item is |
//! |---|---|---|---|
//! | conversations | `conversation` | `place`: channel and bot | one remembered conversation |
//! | | | `person\|<digest of place>\|<digest>` | that this person leads to it |
//! | | `tag\|<name>` | the conversation's name | that this conversation carries the tag |
//! | | `team\|<team>` | `epoch` | how often the team has changed |
//! | | | `told#<digest>` | what the channel answered to a question of it, and in which epoch |
//! | | `person\|<person>` | `person` | what is known of making a conversation with them |
//! | notifications | `notification` | `part`: `head` | what was asked for, with the counters |
//! | | | `audience#000` … | the audience: JSON, cut to what an item holds |
//! | | | `message#<revision>#000` … | what is sent at this revision, in the same way |
//! | | | `page#<part>#<number>` | one page of the plan |
//! | | | `draft#<part>#<number>` | what that page was read as, of a roster, before it was planned |
//! | | | `found#<digest>` | on which page this recipient was found first, on a roster |
//! | | | `closed#<part>#<page>#<chunk>` | that this chunk was counted, and at which revision |
//! | | | `buried#<part>#<page>#<chunk>` | why this chunk is in the dead-letter queue |
//! | | `idempotency#<digest>` | `head` | what a caller's key stands for |
//! | deliveries | `delivery` | | one row of the ledger |
//! | | `turn`, a bar and the conversation | | whose turn it is there |
//! | | `pace`, a bar and the bucket | | the pace of one bot in one tenant |
//! | | `operation`, a bar and the chunk | | how far the batch of one chunk is |
//!
//! Reading and writing is one step by conditions on writes; where two items must change together, by a transaction.
//! No call reads what a write can say: a failed condition brings the item it failed on.
//!
//! # When an answer is lost
//!
//! The SDK repeats a request whose answer did not come, although the first may have been carried out. Each write is
//! made so that its repetition finds out:
//!
//! - A transaction has a token of its own, so DynamoDB answers its repetition as it answered the first; when that fails
//!   too and the caller calls again, the transaction finds its own items.
//! - A turn, a pace, an operation, a person and a completion carry a mark of the call that wrote them; who finds their own mark was the one.
//! - To settle, to release or to write up writes a row that says which attempt it is of; who finds the row that it wanted to
//!   write has written it.
//! - A further epoch that nobody asked for makes the channel be asked once more.
//! - To remember, import, follow, tell, note, forget, tag, erase, cancel, release, bury or find once more changes nothing.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    self, AttributeValue, CancellationReason, KeysAndAttributes, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem,
};
use jiff::{SignedDuration, Timestamp};

use super::Error;
use crate::aws::Sdk;
use crate::clock::Clock;
use crate::notification::request::SENT_FOR_MAX;

mod attribute;
mod conversations;
mod ledger;
mod notifications;
mod operations;
mod paces;

use attribute::{Item, corrupt, names};
pub use conversations::Conversations;
pub use ledger::Ledger;
pub use notifications::Notifications;

/// How long what is kept for a while is kept: longer than a message can stay in a queue and then in its dead-letter
/// queue, which is fourteen days each.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How often a write is made anew because others were faster, before that is an error. Each of these rounds some
/// other writer finishes.
const ROUNDS: u32 = 32;

/// How often a request is made that DynamoDB puts off for a moment (a transaction that met another, keys that an answer
/// had no room for), some two seconds altogether.
const TRIES: u32 = 8;

/// Most keys one `BatchGetItem` takes.
const BATCH: usize = 100;

/// One table. Cheap to clone.
#[derive(Clone, Debug)]
struct Table {
    client: Client,
    name: String,
    /// What is let go is let go by DynamoDB's own clock, so this is the machine's, whatever time the callers live in.
    clock: Clock,
}

/// What the item that stands must be like for a write to be made.
struct Condition {
    expression: String,
    names: HashMap<String, String>,
    values: Item,
}

impl Condition {
    /// There is none with this key.
    fn absent(key: &str) -> Self {
        Self {
            expression: format!("attribute_not_exists(#{key})"),
            names: names([key]),
            values: Item::new(),
        }
    }

    /// There is one with this key.
    fn present(key: &str) -> Self {
        Self {
            expression: format!("attribute_exists(#{key})"),
            names: names([key]),
            values: Item::new(),
        }
    }

    /// This attribute has this value.
    fn equal(name: &str, value: AttributeValue) -> Self {
        Self {
            expression: format!("#{name} = :{name}"),
            names: names([name]),
            values: Item::from([(format!(":{name}"), value)]),
        }
    }

    /// Or it has no such attribute; what is not there has none.
    fn or_without(mut self, name: &str) -> Self {
        self.expression = format!("{} OR attribute_not_exists(#{name})", self.expression);
        self.names.extend(names([name]));
        self
    }

    /// Its values; DynamoDB takes none, but not an empty map of them.
    fn values(&self) -> Option<Item> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }
}

/// What became of putting an item.
enum Put {
    /// It is written.
    Written,
    /// It is not, because of the condition; the item that stands, if there is one.
    Refused(Option<Item>),
}

/// Up to when a read knows what was written. To know of all costs twice as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AsOf {
    /// All that was written before.
    Now,
    /// What was written until a moment ago: nearly always, some milliseconds.
    Lately,
}

/// What became of a transaction.
enum Transaction {
    /// All of it is written.
    Done,
    /// Nothing of it is, because of a condition; the reasons are in the order of the writes.
    Refused(Vec<CancellationReason>),
}

impl Table {
    fn new(sdk: &Sdk, name: impl Into<String>) -> Self {
        Self {
            client: sdk.dynamodb.clone(),
            name: name.into(),
            clock: Clock::system(),
        }
    }

    /// The value of the attribute by which DynamoDB lets go an item that is written now.
    ///
    /// It outlasts the notification it is of, of which [`expiry`] knows more: nothing of that was written before the
    /// notification could be sent.
    fn expiry(&self) -> AttributeValue {
        expiry(
            self.clock
                .now()
                .saturating_add(SENT_FOR_MAX)
                .unwrap_or(Timestamp::MAX),
        )
    }

    /// The item with this key, as of all that was written before.
    async fn get(&self, verb: &'static str, key: Item) -> Result<Option<Item>, Error> {
        self.get_as_of(AsOf::Now, verb, key).await
    }

    async fn get_as_of(&self, as_of: AsOf, verb: &'static str, key: Item) -> Result<Option<Item>, Error> {
        let get = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key))
            .consistent_read(as_of == AsOf::Now);
        Ok(get.send().await.map_err(unavailable(verb))?.item)
    }

    /// The items with these keys that are there, in any order. No key may come twice: DynamoDB would refuse them all.
    async fn batch_get(&self, as_of: AsOf, verb: &'static str, keys: &[Item]) -> Result<Vec<Item>, Error> {
        let mut found = Vec::with_capacity(keys.len());
        for batch in keys.chunks(BATCH) {
            let mut open = batch.to_vec();
            let mut tries = 0;
            loop {
                let asked = KeysAndAttributes::builder()
                    .set_keys(Some(open))
                    .consistent_read(as_of == AsOf::Now)
                    .build()
                    .map_err(unavailable(verb))?;
                let request = self.client.batch_get_item().request_items(&self.name, asked);
                let answer = request.send().await.map_err(unavailable(verb))?;
                found.extend(
                    answer
                        .responses
                        .into_iter()
                        .flat_map(HashMap::into_values)
                        .flatten(),
                );
                let left = answer.unprocessed_keys.into_iter().flatten();
                open = left.flat_map(|(_, rest)| rest.keys).collect();
                tries += 1;
                if open.is_empty() {
                    break;
                }
                if tries == TRIES {
                    return Err(unavailable(verb)(PutOff));
                }
                pause(tries).await;
            }
        }
        Ok(found)
    }

    /// Writes an item whole, if the one that stands is so.
    async fn put(&self, verb: &'static str, item: Item, condition: Condition) -> Result<Put, Error> {
        let Condition {
            expression,
            names,
            values,
        } = condition;
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression(expression)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values((!values.is_empty()).then_some(values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let mut tries = 0;
        loop {
            match put.clone().send().await.map_err(SdkError::into_service_error) {
                Ok(_) => return Ok(Put::Written),
                Err(PutItemError::ConditionalCheckFailedException(failure)) => {
                    return Ok(Put::Refused(failure.item));
                }
                // A transaction is at the item just now, and the SDK takes that for final.
                Err(PutItemError::TransactionConflictException(_)) if tries < TRIES => {
                    tries += 1;
                    pause(tries).await;
                }
                Err(error) => return Err(unavailable(verb)(error)),
            }
        }
    }

    /// The write of a transaction that puts an item whole, if the one that stands is so.
    fn putting(
        &self,
        verb: &'static str,
        item: Item,
        condition: Option<Condition>,
    ) -> Result<TransactWriteItem, Error> {
        let mut put = types::Put::builder().table_name(&self.name).set_item(Some(item));
        if let Some(condition) = condition {
            put = put
                .set_expression_attribute_values(condition.values())
                .condition_expression(condition.expression)
                .set_expression_attribute_names(Some(condition.names))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        }
        let put = put.build().map_err(unavailable(verb))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// The write of a transaction that deletes an item, if it is so.
    fn deleting(
        &self,
        verb: &'static str,
        key: Item,
        condition: Option<Condition>,
    ) -> Result<TransactWriteItem, Error> {
        let mut delete = types::Delete::builder().table_name(&self.name).set_key(Some(key));
        if let Some(condition) = condition {
            delete = delete
                .set_expression_attribute_values(condition.values())
                .condition_expression(condition.expression)
                .set_expression_attribute_names(Some(condition.names));
        }
        let delete = delete.build().map_err(unavailable(verb))?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// The part of a transaction that changes nothing, and lets the rest happen only if this item is so.
    fn checking(
        &self,
        verb: &'static str,
        key: Item,
        condition: Condition,
    ) -> Result<TransactWriteItem, Error> {
        let check = types::ConditionCheck::builder()
            .table_name(&self.name)
            .set_key(Some(key))
            .set_expression_attribute_values(condition.values())
            .condition_expression(condition.expression)
            .set_expression_attribute_names(Some(condition.names))
            .build()
            .map_err(unavailable(verb))?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }

    /// Writes all of these or none.
    ///
    /// Others who write to the same item at the same moment (every page and chunk of a notification counts on its
    /// head) make DynamoDB cancel one of the transactions, which the SDK takes for final; so it is tried again here.
    async fn transact(
        &self,
        verb: &'static str,
        writes: Vec<TransactWriteItem>,
    ) -> Result<Transaction, Error> {
        let mut tries = 0;
        loop {
            let answer = self
                .client
                .transact_write_items()
                .set_transact_items(Some(writes.clone()))
                .send()
                .await;
            let Err(error) = answer else {
                return Ok(Transaction::Done);
            };
            let reasons = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    cancelled.cancellation_reasons().to_vec()
                }
                _ => return Err(unavailable(verb)(error)),
            };
            let passing = |reason: &CancellationReason| {
                matches!(
                    reason.code(),
                    None | Some(
                        "None" | "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded"
                    )
                )
            };
            if reasons.iter().any(failed) {
                return Ok(Transaction::Refused(reasons));
            }
            tries += 1;
            if tries == TRIES || !reasons.iter().all(passing) {
                return Err(unavailable(verb)(error));
            }
            pause(tries).await;
        }
    }
}

/// Whether this write's own condition was not met.
fn failed(reason: &CancellationReason) -> bool {
    reason.code() == Some("ConditionalCheckFailed")
}

/// Waits 10 ms after the first try, doubled with each, and up to as long again by chance, so that those who met do not
/// meet again.
async fn pause(tries: u32) {
    let [chance, ..] = uuid::Uuid::new_v4().into_bytes();
    let least = 5_u64 << tries.min(TRIES);
    tokio::time::sleep(Duration::from_millis(least + least * u64::from(chance) / 256)).await;
}

/// The value of the attribute by which DynamoDB lets an item go that is of use until then: seconds since 1970.
fn expiry(until: Timestamp) -> AttributeValue {
    attribute::number(until.as_second().saturating_add(KEPT.as_secs()))
}

/// What tells the writes of one call from everybody else's.
fn fresh_mark() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn unavailable<E>(verb: &'static str) -> impl FnOnce(E) -> Error
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |error| Error::Unavailable {
        verb,
        source: error.into(),
    }
}

/// Others changed the item each time before we could.
#[derive(Debug, thiserror::Error)]
#[error("others changed the item {ROUNDS} times in a row")]
struct Outrun;

/// The request was put off each time.
#[derive(Debug, thiserror::Error)]
#[error("put off {TRIES} times in a row")]
struct PutOff;
