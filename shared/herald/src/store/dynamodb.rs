//! The tables in DynamoDB.
//!
//! | table | partition key | sort key | what an item is |
//! |---|---|---|---|
//! | conversations | `conversation` | `place`: channel and bot | one remembered conversation |
//! | notifications | `notification` | `part`: `head` | what was asked for, with the counters |
//! | | | `audience#000` …, `message#000` … | the audience, the message: JSON, cut to what an item holds |
//! | | | `page#<part>#<number>` | one page of the plan |
//! | | | `closed#<part>#<page>#<chunk>` | that this chunk was counted |
//! | | `idempotency#<digest>` | `head` | what a caller's key stands for |
//! | deliveries | `delivery` | | one row of the ledger |
//!
//! Reading and writing is one step by conditions on writes; where two items must change together, by a transaction.
//! No call reads what a write can say: a failed condition brings the item it failed on.
//!
//! # When an answer is lost
//!
//! The SDK repeats a request whose answer did not come, although the first may have been carried out. Each write is
//! made so that its repetition finds out:
//!
//! - A transaction carries a token that the SDK keeps over its repetitions; DynamoDB answers a known token as it
//!   answered before. When the SDK has given up and the caller calls again, the transaction finds its own items.
//! - A claim writes a mark of its own into the row; who finds their own mark has the claim.
//! - To settle or release writes a row that only the holder of the lease can write; who finds it has written it.
//! - To remember or forget once more changes nothing.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, TransactWriteItem};
use jiff::{SignedDuration, Timestamp};

use super::Error;
use crate::aws::Sdk;

mod attribute;
mod conversations;
mod ledger;
mod notifications;

use attribute::{Item, corrupt};
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

/// One table. Cheap to clone.
#[derive(Clone, Debug)]
struct Table {
    client: Client,
    name: String,
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
        }
    }

    /// The item with this key, as of all that was written before.
    async fn get(&self, verb: &'static str, key: Item) -> Result<Option<Item>, Error> {
        let get = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key))
            .consistent_read(true);
        Ok(get.send().await.map_err(unavailable(verb))?.item)
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

/// The value of the attribute by which DynamoDB lets an item go: seconds since 1970.
fn expiry(from: Timestamp) -> i64 {
    from.as_second().saturating_add(KEPT.as_secs())
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
