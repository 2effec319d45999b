//! The cost of each operation: its requests, by name.

use std::time::Duration;

use futures_util::future::join_all;
use herald::conversation::{Creation, Feedback};
use herald::delivery::{Claim, Outcome};
use herald::store::{ConversationFilter, Conversations, Ledger, Notifications};
use tests::database::{conversations_at, ledger_at, notifications_at};

use super::super::at;
use super::{
    CHUNK, DELIVERED, acceptance, claim, content, delivery, id, key, lease, member, observation, page,
    person, read_rate, reserve, result, tags, wired,
};

#[tokio::test]
async fn a_successful_delivery_costs_a_read_and_two_writes() {
    let (wire, _database) = wired().await;
    let ledger = ledger_at(wire.address());
    let lease = lease(claim(&ledger, 1, 0).await);
    assert_eq!(wire.take_operations(), ["BatchGetItem", "PutItem"]);
    ledger.settle(&delivery(1), &lease, &DELIVERED).await.unwrap();
    assert_eq!(wire.take_operations(), ["PutItem"]);
    // Repeating it costs the same.
    let (wire, _database) = wired().await;
    let ledger = ledger_at(wire.address());
    let first = self::lease(claim(&ledger, 1, 0).await);
    ledger
        .release(&delivery(1), &first, at(5), "Throttled", 0)
        .await
        .unwrap();
    wire.take_operations();
    self::lease(claim(&ledger, 1, 5).await);
    assert_eq!(wire.take_operations(), ["BatchGetItem", "PutItem"]);
}

#[tokio::test]
async fn a_lease_of_another_delivery_costs_one_more_read() {
    let (wire, _database) = wired().await;
    let ledger = ledger_at(wire.address());
    let first = lease(claim(&ledger, 1, 0).await);
    ledger.settle(&delivery(1), &first, &DELIVERED).await.unwrap();
    wire.take_operations();
    // Usually the other lease is long over. If it ended a moment ago, the own row is read again together with it.
    for (number, second) in [(2, 60), (3, 61)] {
        let lease = lease(claim(&ledger, number, second).await);
        ledger
            .settle(&delivery(number), &lease, &DELIVERED)
            .await
            .unwrap();
        let expected = ["BatchGetItem", "BatchGetItem", "PutItem", "PutItem"];
        assert_eq!(wire.take_operations(), expected);
    }
}

#[tokio::test]
async fn a_refused_claim_costs_no_write() {
    let (wire, _database) = wired().await;
    let ledger = ledger_at(wire.address());
    let lease = lease(claim(&ledger, 1, 0).await);
    wire.take_operations();
    assert!(matches!(
        claim(&ledger, 1, 1).await,
        Claim::LeasedElsewhere { .. }
    ));
    assert_eq!(wire.take_operations(), ["BatchGetItem"]);
    assert!(matches!(
        claim(&ledger, 2, 1).await,
        Claim::ConversationBusy { .. }
    ));
    assert_eq!(wire.take_operations(), ["BatchGetItem", "BatchGetItem"]);
    ledger.settle(&delivery(1), &lease, &DELIVERED).await.unwrap();
    wire.take_operations();
    assert_eq!(claim(&ledger, 1, 2).await, Claim::Settled(DELIVERED));
    assert_eq!(wire.take_operations(), ["BatchGetItem"]);
}

#[tokio::test]
async fn taking_over_an_expired_lease_costs_one_more_write() {
    let (wire, _database) = wired().await;
    let ledger = ledger_at(wire.address());
    lease(claim(&ledger, 1, 0).await);
    wire.take_operations();
    lease(claim(&ledger, 1, 60).await);
    assert_eq!(wire.take_operations(), ["BatchGetItem", "PutItem", "PutItem"]);
    lease(claim(&ledger, 2, 120).await);
    let from_another = ["BatchGetItem", "BatchGetItem", "PutItem", "PutItem"];
    assert_eq!(wire.take_operations(), from_another);
}

#[tokio::test]
async fn a_reservation_costs_one_write_and_a_wait_costs_nothing() {
    let (wire, _database) = wired().await;
    let ledger = ledger_at(wire.address());
    reserve(&ledger, 0).await.unwrap();
    assert_eq!(wire.take_operations(), ["GetItem", "PutItem"]);
    reserve(&ledger, 0).await.unwrap();
    assert_eq!(wire.take_operations(), ["PutItem"]);
    tokio::time::pause();
    read_rate(&ledger).await;
    assert_eq!(wire.take_operations(), Vec::<String>::new());
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
    read_rate(&ledger).await;
    assert_eq!(wire.take_operations(), ["GetItem"]);
}

#[tokio::test]
async fn a_stale_cached_rate_is_found_out_by_the_write() {
    let (wire, database) = wired().await;
    let ledger = ledger_at(wire.address());
    reserve(&ledger, 0).await.unwrap();
    reserve(&database.ledger(), 0).await.unwrap();
    wire.take_operations();
    reserve(&ledger, 0).await.unwrap();
    assert_eq!(wire.take_operations(), ["PutItem", "PutItem"]);
}

#[tokio::test]
async fn reservations_within_one_process_do_not_conflict() {
    let (wire, _database) = wired().await;
    let ledger = ledger_at(wire.address());
    join_all((0..20).map(|_| reserve(&ledger, 0))).await;
    let writes = wire.take_operations();
    assert_eq!(writes.len(), 21, "one read, and a write each: {writes:?}");
}

#[tokio::test]
async fn storing_costs_a_read_and_a_write_only_for_changes() {
    let (wire, _database) = wired().await;
    let conversations = conversations_at(wire.address());
    conversations.remember(observation(), at(0)).await.unwrap();
    assert_eq!(wire.take_operations(), ["GetItem", "PutItem"]);
    conversations.remember(observation(), at(1)).await.unwrap();
    assert_eq!(wire.take_operations(), ["GetItem"]);
    let feedback = Feedback::Blocked("ConversationBlockedByUser".into());
    conversations
        .apply_feedback(&key(), 1, &feedback, at(2))
        .await
        .unwrap();
    assert_eq!(wire.take_operations(), ["GetItem", "PutItem"]);
    conversations
        .apply_feedback(&key(), 1, &feedback, at(3))
        .await
        .unwrap();
    assert_eq!(wire.take_operations(), ["GetItem"]);
    conversations.mark_removed(&key(), at(4)).await.unwrap();
    assert_eq!(wire.take_operations(), ["UpdateItem"]);
}

#[tokio::test]
async fn tagging_costs_a_read_and_a_transaction_and_listing_two_reads() {
    let (wire, _database) = wired().await;
    let conversations = conversations_at(wire.address());
    conversations.remember(observation(), at(0)).await.unwrap();
    wire.take_operations();
    let vip = tags(&["vip"]);
    conversations.tag(&key(), &vip, &[], at(1)).await.unwrap();
    assert_eq!(wire.take_operations(), ["GetItem", "TransactWriteItems"]);
    conversations.tag(&key(), &vip, &[], at(1)).await.unwrap();
    assert_eq!(wire.take_operations(), ["GetItem"]);
    // Tagged conversations cost the same as all others.
    conversations.mark_removed(&key(), at(2)).await.unwrap();
    conversations.remember(observation(), at(3)).await.unwrap();
    assert_eq!(wire.take_operations(), ["UpdateItem", "GetItem", "PutItem"]);
    let selection = ConversationFilter::Tag("vip".into());
    assert_eq!(
        conversations
            .list(&selection, None, 96)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    assert_eq!(wire.take_operations(), ["Query", "BatchGetItem"]);
    let nobody = ConversationFilter::Tag("nobody".into());
    conversations.list(&nobody, None, 96).await.unwrap();
    assert_eq!(wire.take_operations(), ["Query"]);
    conversations.erase(&key()).await.unwrap();
    // First the bot's states of it.
    let expected = [
        "Query",
        "Query",
        "GetItem",
        "TransactWriteItems",
        "Query",
        "GetItem",
    ];
    assert_eq!(wire.take_operations(), expected);
}

#[tokio::test]
async fn a_creation_lease_costs_a_read_and_a_write_and_a_known_person_a_read() {
    let (wire, _database) = wired().await;
    let conversations = conversations_at(wire.address());
    conversations.remember(observation(), at(0)).await.unwrap();
    wire.take_operations();
    conversations
        .acquire_creation_lease(&person(), at(0), at(60))
        .await
        .unwrap();
    assert_eq!(wire.take_operations(), ["GetItem", "PutItem"]);
    conversations
        .acquire_creation_lease(&person(), at(1), at(61))
        .await
        .unwrap();
    assert_eq!(wire.take_operations(), ["GetItem"]);
    let nothing = conversations.finish_creation(&person(), &Creation::Nothing).await;
    nothing.unwrap();
    assert_eq!(wire.take_operations(), ["GetItem", "PutItem"]);
    let made = Creation::Conversation(key());
    conversations.finish_creation(&person(), &made).await.unwrap();
    assert_eq!(wire.take_operations(), ["GetItem", "TransactWriteItems"]);
    conversations.finish_creation(&person(), &made).await.unwrap();
    assert_eq!(wire.take_operations(), ["GetItem"]);
}

#[tokio::test]
async fn deduplication_of_a_roster_costs_one_write_a_member() {
    let (wire, _database) = wired().await;
    let notifications = notifications_at(wire.address());
    let found = vec![member(); 40];
    notifications
        .claim_recipients(&id(), (0, 0), &found)
        .await
        .unwrap();
    assert_eq!(wire.take_operations(), ["PutItem"; 40]);
}

#[tokio::test]
async fn every_other_operation_costs_one_request() {
    let (wire, _database) = wired().await;
    let (conversations, notifications, ledger) = (
        conversations_at(wire.address()),
        notifications_at(wire.address()),
        ledger_at(wire.address()),
    );
    let one = |operation: &str| assert_eq!(wire.take_operations(), [operation]);
    conversations.get_many(&[key()]).await.unwrap();
    one("BatchGetItem");
    conversations
        .list(
            &ConversationFilter::Everyone {
                segment: 0,
                segments: 1,
            },
            None,
            10,
        )
        .await
        .unwrap();
    one("Scan");
    conversations
        .list(&ConversationFilter::Tenant("t".into()), None, 10)
        .await
        .unwrap();
    one("Query");
    notifications.accept(&acceptance(None)).await.unwrap();
    one("TransactWriteItems");
    notifications.find(&id()).await.unwrap();
    one("GetItem");
    notifications.audience(&id()).await.unwrap();
    one("Query");
    notifications.message(&id(), 0).await.unwrap();
    one("Query");
    notifications.latest_page(&id(), 0).await.unwrap();
    one("Query");
    notifications.page(&id(), 0, 0).await.unwrap();
    one("GetItem");
    notifications.put_page(&id(), 0, 0, &page()).await.unwrap();
    one("TransactWriteItems");
    notifications
        .close_chunk(&id(), CHUNK, 0, &result())
        .await
        .unwrap();
    one("TransactWriteItems");
    notifications.counted_chunks(&id(), 0, 0).await.unwrap();
    one("Query");
    notifications.cancel(&id(), at(0)).await.unwrap();
    one("UpdateItem");
    notifications.start(&id(), at(0)).await.unwrap();
    one("UpdateItem");
    notifications.complete(&id(), at(0)).await.unwrap();
    one("UpdateItem");
    notifications
        .mark_dead_lettered(&id(), CHUNK, "reason")
        .await
        .unwrap();
    one("PutItem");
    notifications.dead_letters(&id()).await.unwrap();
    one("Query");
    ledger.rows(&[delivery(1), delivery(2)]).await.unwrap();
    one("BatchGetItem");
    ledger.defer(&delivery(1), at(5), "Installing", 0).await.unwrap();
    one("PutItem");
    ledger
        .settle_unclaimed(&delivery(1), &Outcome::EXPIRED)
        .await
        .unwrap();
    one("PutItem");
}

#[tokio::test]
async fn a_revision_costs_two_reads_and_a_transaction() {
    let (wire, _database) = wired().await;
    let notifications = notifications_at(wire.address());
    notifications.accept(&acceptance(None)).await.unwrap();
    notifications
        .close_chunk(&id(), CHUNK, 0, &result())
        .await
        .unwrap();
    wire.take_operations();
    notifications.revise(&id(), &content(), at(1)).await.unwrap();
    assert_eq!(
        wire.take_operations(),
        ["GetItem", "TransactWriteItems", "GetItem"]
    );
    notifications
        .close_chunk(&id(), CHUNK, 1, &result())
        .await
        .unwrap();
    assert_eq!(
        wire.take_operations(),
        ["TransactWriteItems", "TransactWriteItems"]
    );
}
