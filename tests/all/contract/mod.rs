//! The contract of the storage port (`herald::store`), run against every backend. Also the requests to DynamoDB, SQS,
//! Scheduler and EventBridge, and the handling of failures of the wire.

use jiff::Timestamp;

mod batches;
mod conversations;
mod event;
mod ledger;
mod notifications;
mod queue;
mod rate_limits;
mod registry;
mod subjects;
mod wire;

/// One test for each promise and backend. A promise is a function over the port, named for what must hold.
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

/// The time of a second, counted from the start of the tests' time.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}
