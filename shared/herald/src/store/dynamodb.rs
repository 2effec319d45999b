//! The tables in DynamoDB.
//!
//! | table | partition key | sort key | the item |
//! |---|---|---|---|
//! | conversations | `conversation` | `place`: channel and bot | one conversation |
//! | | | `person\|<digest of place>\|<digest>` | a person who is linked to it |
//! | | `tag\|<name>` | the conversation's key | one conversation with the tag |
//! | | `team\|<team>` | `generation` | the team's generation |
//! | | | `roster#<digest>` | one cached answer of the channel, with its generation |
//! | | `person\|<person>` | `person` | the creation lease of a person, or the conversation they are linked to |
//! | | `preferences\|<kind>\|<digest>` | `preferences\|<digest>` | the preferences of a person, under one of their ids in one tenant |
//! | | `state\|user\|<digest>`, `state\|conversation\|<digest>` | channel, bot and name | a state that the bot keeps of them |
//! | | `turn\|<digest>` | `turn` | the claim on the turn of an activity, or on a welcome |
//! | notifications | `notification` | `part`: `head` | the notification, with its counters; in the index `byMonth` |
//! | | | `audience#000` … | the audience: JSON, split to the size of an item |
//! | | | `message#<revision>#000` … | the message of this revision, in the same way |
//! | | | `page#<part>#<number>` | one page of the plan |
//! | | | `frozen#<part>#<number>` | a frozen page, before it is planned |
//! | | | `recipient#<digest>` | the page that claimed this recipient first |
//! | | | `closed#<part>#<page>#<chunk>` | a closed chunk, with its revision; or what is counted of an open one |
//! | | | `wave#<milliseconds>` | a wave: its recipients, and whether it was begun or cancelled |
//! | | | `deadLetter#<part>#<page>#<chunk>` | a dead-lettered chunk, with the reason |
//! | | `idempotency#<digest>` | `head` | the notification accepted with this idempotency key |
//! | | `registry#<collection>`, of some with `#<key>` | the record's key | a record of the registry |
//! | deliveries | `delivery` | | one row of the ledger |
//! | | `lease`, a bar and the conversation | | the lease on a conversation |
//! | | `rate`, a bar and the bucket | | the rate limit of a bucket |
//! | | `batch`, a bar and the chunk | | the state of a chunk's batch |
//! | | `subject`, a bar, the digest of caller and subject, a bar and the conversation | | the copy of the subject there |
//! | | `bot\|health` | | the bot's standing with the channel |
//!
//! Read-modify-write is optimistic: a conditional write on the version that was read, or a transaction if two items
//! change together. A failed condition returns the stored item, so a conflict costs no read.
//!
//! # Lost responses
//!
//! The SDK retries a request whose response was lost, although the first may have been executed. Each write recognises
//! its own repetition:
//!
//! - A transaction has a client request token, so DynamoDB answers the retry as it answered the first. If all responses
//!   are lost and the caller retries, the new transaction finds its own items.
//! - A decision about a wave is not made twice: a refused one finds the decision that stands, be it its own.
//! - A lease, a rate limit, the bot's record, a record of the registry, a batch, a copy of a subject, a person, a turn, a state of the bot and a milestone have the write token of the call that
//!   wrote them.
//! - A row has its attempt number: a worker that finds the row it meant to write has written it.
//! - A generation may be incremented twice: the channel is asked once more.
//! - All other writes are idempotent.

use std::time::Duration;

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};

use super::{Error, MAX_CAS_ROUNDS};

mod attribute;
mod batches;
mod bot_health;
mod conversations;
mod expression;
mod group;
mod grouped;
mod ledger;
mod notifications;
mod rate_cache;
mod rate_limits;
mod registry;
mod subjects;
mod table;

pub use conversations::Conversations;
use expression::Expression;
pub use ledger::Ledger;
pub use notifications::Notifications;
pub use registry::Registry;
use table::{Consistency, Put, Table, Transaction};

/// How long items that expire are kept after their last use: longer than a message can stay in a queue and then in its
/// dead-letter queue, fourteen days each.
const RETENTION: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How often a request is retried that DynamoDB throttles, or that conflicts with a transaction: about two seconds in total.
const MAX_RETRIES: u32 = 8;

/// Waits 10 ms after the first try, doubled with each, plus up to as much jitter.
async fn backoff(tries: u32) {
    let [random, ..] = uuid::Uuid::new_v4().into_bytes();
    let least = 5_u64 << tries.min(MAX_RETRIES);
    tokio::time::sleep(Duration::from_millis(least + least * u64::from(random) / 256)).await;
}

/// The TTL attribute of an item that is in use until a moment: seconds since 1970.
fn expiry(until: Timestamp) -> AttributeValue {
    attribute::number(until.as_second().saturating_add(RETENTION.as_secs()))
}

/// Identifies the writes of one call, so that the call recognises them after a lost answer.
fn new_write_token() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// The error of a request that failed: final when DynamoDB refuses what it contains.
fn request_error<E>(verb: &'static str) -> impl FnOnce(E) -> Error
where
    E: ProvideErrorMetadata + Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |error| match error.code() {
        Some("ValidationException") => Error::Refused {
            verb,
            source: error.into(),
        },
        _ => unavailable(verb)(error),
    }
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
