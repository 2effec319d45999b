//! Polling a batch: answers, missing answers, and forgotten operations.

use herald::delivery::Outcome;
use herald::notification::State as Stage;
use herald::store::Notifications;
use serde_json::json;
use tests::channel::batch::{ASK, BatchScenario, LIST};
use tests::channel::{Behaviour, Reply};

use super::{answers, done, everyone, failure, refusal, submitted, to_chat};
use crate::world::{World, document, request};

#[tokio::test(start_paused = true)]
async fn a_batch_is_polled_with_backoff_and_after_retry_after() {
    let world = World::of(&["ada", "eve"]).await;
    let course = BatchScenario {
        at_once: 1,
        rounds: 10,
        ..BatchScenario::default()
    };
    world.channel.course(course.clone());
    world.asks(&everyone()).await;
    let mut message = submitted(&world).await;
    let mut waits = Vec::new();
    for _ in 0..10 {
        world.send_one(&message).await;
        let next = world.deliveries.take().unwrap();
        waits.push(next.delay.as_secs());
        world.pass(i64::try_from(next.delay.as_secs()).unwrap() + 1);
        message = next.body;
    }
    assert!(waits.is_sorted() && waits[0] == 5 && waits[9] == 60, "{waits:?}");
    world.channel.course(BatchScenario {
        rounds: 20,
        retry_after: Some(world.in_seconds(90).to_string()),
        ..course
    });
    world.send_one(&message).await;
    let next = world.deliveries.take().unwrap();
    assert_eq!(
        next.delay.as_secs(),
        89 + u64::from(next.delay.subsec_millis() == 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_with_complete_counts_is_done_whatever_its_state() {
    let world = World::of(&["ada", "eve"]).await;
    world.channel.course(BatchScenario {
        rounds: 100,
        ..BatchScenario::default()
    });
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!((notification.counts.delivered, world.channel.requests()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_batch_is_ended_once_and_names_missed_recipients() {
    let world = World::of(&["ada", "eve", "joe"]).await;
    world.channel.course(BatchScenario {
        at_once: 1,
        rounds: 100,
        lingers: 3,
        ..BatchScenario::default()
    });
    let id = world.asks(&everyone()).await;
    let message = submitted(&world).await;
    let path = format!("/api/notifications/{id}/cancel");
    let cancelled = world
        .notify(request("POST", &path, lambda_http::Body::Empty))
        .await;
    assert_eq!(document(&cancelled)["state"], "cancelling");
    world.work().await;
    // The messages that were in flight before arrive late.
    world.send_one(&message).await;
    world.work().await;
    let notification = world.notification(&id).await;
    assert_eq!(
        (
            notification.state(),
            notification.counts.delivered,
            notification.counts.cancelled
        ),
        (Stage::Cancelled, 1, 2)
    );
    assert_eq!(world.channel.batches()[0].cancelled, 1);
    let requests = world.channel.requests();
    assert_eq!(requests, 7, "submitted, cancelled, polled four times, listed");
}

#[tokio::test(start_paused = true)]
async fn recipients_missing_from_a_cancelled_batch_are_unknown() {
    let world = World::of(&["ada", "eve", "joe"]).await;
    world.channel.course(BatchScenario {
        at_once: 1,
        rounds: 100,
        tells_cancelled: false,
        ..BatchScenario::default()
    });
    world
        .channel
        .fails("29:joe", failure(403, "ConversationBlockedByUser"));
    let id = world.asks(&everyone()).await;
    submitted(&world).await;
    world.store.cancel(&id, world.now()).await.unwrap();
    crate::reactions::sweep(&world, &id).await;
    world.work().await;
    let counts = world.notification(&id).await.counts;
    assert_eq!((counts.unknown, counts.gone, counts.total()), (2, 1, 3));
}

#[tokio::test(start_paused = true)]
async fn deliveries_of_a_batch_that_the_channel_forgot_are_unknown() {
    let world = World::of(&["ada", "eve"]).await;
    world.channel.when(
        ASK,
        Behaviour::Refuse {
            status: 404,
            code: "NotFound",
        },
    );
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!(
        (notification.counts.unknown, world.channel.batches().len()),
        (2, 1)
    );

    // A new operation may not be visible yet, so it is polled again.
    let soon = World::of(&["ada", "eve"]).await;
    soon.channel.when(ASK, answers([refusal(404, "NotFound")]));
    let (_, notification) = done(&soon, &everyone()).await;
    assert_eq!(notification.counts.delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn a_poll_without_an_answer_is_retried() {
    for place in [ASK, LIST] {
        let world = World::of(&["ada", "eve"]).await;
        world.channel.fails("29:eve", failure(400, "BadSyntax"));
        let throttled = Reply {
            retry_after: Some(90),
            ..refusal(429, "Throttled")
        };
        world
            .channel
            .when(place, answers([throttled, refusal(503, "ServiceUnavailable")]));
        let began = world.now();
        let (_, notification) = done(&world, &everyone()).await;
        assert_eq!(
            (notification.counts.delivered, notification.counts.rejected),
            (1, 1)
        );
        assert!(world.now().duration_since(began).as_secs() >= 90, "{place}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_never_ends_is_given_up_a_day_after_the_expiry() {
    let world = World::of(&["ada", "eve"]).await;
    world.channel.course(BatchScenario {
        at_once: 1,
        rounds: usize::MAX,
        ..BatchScenario::default()
    });
    let mut body = everyone();
    body["expiresAt"] = json!(world.in_seconds(60).to_string());
    let id = world.asks(&body).await;
    let message = submitted(&world).await;
    world.pass(60 + 86_000);
    world.send_one(&message).await;
    assert_eq!(world.notification(&id).await.counts.total(), 0);
    world.work().await;
    assert!(world.now() >= world.notification(&id).await.expires_at);
    world.work().await;
    let counts = world.notification(&id).await.counts;
    assert_eq!((counts.unknown, counts.expired), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn after_a_sender_dies_while_writing_the_next_writes_the_same() {
    let world = World::of(&["ada", "eve", "joe"]).await;
    world.channel.fails("29:joe", failure(429, "Throttled"));
    let id = world.asks(&everyone()).await;
    let message = submitted(&world).await;
    // The first worker wrote one row only; then the chunk is redelivered.
    let sent = herald::delivery::SentMessage {
        activity: None,
        revision: 0,
        attempted_revision: 0,
        supersedes: None,
    };
    let ada = herald::delivery::DeliveryKey::new(&id, &to_chat("ada"));
    herald::store::Ledger::settle_unclaimed(&world.store, &ada, &Outcome::Delivered(sent))
        .await
        .unwrap();
    world.send_one(&message).await;
    // One more redelivery.
    world.send_one(&message).await;
    world.work().await;
    let notification = world.notification(&id).await;
    assert_eq!(
        (notification.state(), notification.counts.delivered),
        (Stage::Completed, 3)
    );
    for person in ["ada", "eve", "joe"] {
        assert_eq!(world.channel.count(&format!("a:{person}")), 1, "{person}");
    }
}
