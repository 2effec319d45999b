//! Deliveries of a chunk whose reads and writes go together.

use futures_util::future::{join, join_all};
use herald::audience::Recipient;
use herald::conversation::ConversationKey;
use herald::delivery::{AttemptLease, Claim, ClaimRequest, DeliveryKey, State};
use herald::id::NotificationId;
use herald::rate_limit::{ConversationRate, Limits};
use herald::store::dynamodb::Ledger as DynamoLedger;
use herald::store::{CasResult, Ledger};
use tests::database::ledger_at;

use super::super::at;
use super::{DELIVERED, key, wired};

/// Deliveries of one notification, each to its own conversation.
fn deliveries(notification: u8, count: u32) -> Vec<(DeliveryKey, ConversationKey)> {
    let id = NotificationId::fresh(at(0), [notification; 16]);
    let conversation = |number: u32| ConversationKey {
        conversation: format!("a:{number}").into(),
        ..key()
    };
    let each = (0..count).map(conversation);
    each.map(|to| (DeliveryKey::new(&id, &Recipient::Conversation(to.clone())), to))
        .collect()
}

/// The claims of a worker that handles them all at once.
async fn claim_all(ledger: &DynamoLedger, of: &[(DeliveryKey, ConversationKey)], second: i64) -> Vec<Claim> {
    let claims = of.iter().map(|(delivery, to)| {
        let request = ClaimRequest {
            delivery,
            revision: 0,
            now: at(second),
            until: at(second + 60),
            spacing: ConversationRate::within(&Limits::teams().conversation),
        };
        async move { ledger.claim(request, to).await.unwrap() }
    });
    join_all(claims).await
}

fn acquired(claim: &Claim) -> Option<&AttemptLease> {
    match claim {
        Claim::Acquired(lease) => Some(lease),
        _ => None,
    }
}

#[tokio::test]
async fn of_two_workers_with_the_same_chunk_one_acquires_each_delivery() {
    let (_, database) = wired().await;
    let workers = [ledger_at(database.address()), ledger_at(database.address())];
    // Of the second notification, each conversation has had a lease.
    for (notification, second) in [(1, 0), (2, 100)] {
        let chunk = deliveries(notification, 60);
        let claims = join(
            claim_all(&workers[0], &chunk, second),
            claim_all(&workers[1], &chunk, second),
        );
        let claims = <[Vec<Claim>; 2]>::from(claims.await);
        for number in 0..chunk.len() {
            let leases = claims.iter().filter_map(|claims| acquired(&claims[number]));
            assert_eq!(leases.count(), 1, "delivery {number} of {notification}");
        }
        for (worker, claims) in workers.iter().zip(&claims) {
            let settled = chunk.iter().zip(claims).filter_map(|((delivery, _), claim)| {
                let lease = acquired(claim)?;
                Some(async move { worker.settle(delivery, lease, &DELIVERED).await.unwrap() })
            });
            let settled = join_all(settled).await;
            assert!(settled.iter().all(|write| *write == CasResult::Committed));
        }
        let keys: Vec<DeliveryKey> = chunk.into_iter().map(|(delivery, _)| delivery).collect();
        let rows = workers[0].rows(&keys).await.unwrap();
        let delivered = |row: &Option<herald::delivery::Row>| {
            row.as_ref()
                .is_some_and(|row| row.state == State::Settled(DELIVERED))
        };
        assert!(rows.iter().all(delivered));
    }
}

#[tokio::test]
async fn a_row_that_another_worker_wrote_is_not_overwritten_by_a_group() {
    let (_, database) = wired().await;
    let (first, second) = (ledger_at(database.address()), ledger_at(database.address()));
    let chunk = deliveries(1, 30);
    let claims = claim_all(&first, &chunk, 0).await;
    // Its lease expires; the other worker records that, and takes over.
    let taken = claim_all(&second, &chunk, 61).await;
    let lease = |claim: &Claim| acquired(claim).cloned().unwrap();
    let skipped = herald::delivery::Outcome::Unknown;
    let late = chunk.iter().zip(&claims).map(|((delivery, _), claim)| {
        let (first, skipped, lease) = (&first, &skipped, lease(claim));
        async move { first.settle(delivery, &lease, skipped).await.unwrap() }
    });
    let late = join_all(late).await;
    assert!(late.iter().all(|write| *write == CasResult::Conflict), "{late:?}");
    assert!(taken.iter().all(|claim| lease(claim).ambiguous_attempts == 1));
}

#[tokio::test]
async fn a_group_survives_a_lost_answer() {
    let (wire, _database) = wired().await;
    let ledger = ledger_at(wire.address());
    let chunk = deliveries(1, 30);
    // After the read of all rows and leases: 25 leases, and the other five.
    wire.lose_answers_after(1, 2);
    let claims = claim_all(&ledger, &chunk, 0).await;
    assert!(claims.iter().all(|claim| acquired(claim).is_some()));
    let operations = wire.take_operations();
    let count = |name: &str| operations.iter().filter(|operation| *operation == name).count();
    assert_eq!((count("BatchGetItem"), count("BatchExecuteStatement")), (1, 4));
    assert_eq!(count("PutItem"), 30, "each found by itself that it was written");
    // Another worker finds the leases held.
    let others = claim_all(&ledger_at(wire.address()), &chunk, 1).await;
    let held = |claim: &Claim| *claim == Claim::LeasedElsewhere { until: at(60) };
    assert!(others.iter().all(held), "{others:?}");
}
