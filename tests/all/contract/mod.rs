//! What the port to the tables promises (`herald::store`), asked of every backend; and of DynamoDB, SQS, Scheduler
//! and EventBridge, what they are sent, and what becomes of it when the wire fails.

use jiff::Timestamp;

mod conversations;
mod event;
mod ledger;
mod notifications;
mod operations;
mod paces;
mod queue;
mod wire;

/// A test of each promise on each backend. A promise is a function over the port, named for what is promised.
macro_rules! on_every_backend {
    ($table:ident: $($promise:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(herald::store::memory::Store::new()).await;
            })+
        }

        mod dynamodb {
            $(#[tokio::test]
            async fn $promise() {
                let database = tests::database::Database::start().await;
                super::$promise(database.$table()).await;
            })+
        }
    };
}
use on_every_backend;

/// A moment, so many seconds into the tests' time.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}
