//! Submitting a batch: once, and what follows if the answer is lost.

use herald::delivery::Outcome;
use herald::rate_limit::{Bucket, TenantRate};
use herald::store::{Notifications, RateLimits};
use serde_json::{Value, json};
use tests::channel::batch::SUBMIT;
use tests::channel::{Behaviour, Reply};

use super::{answers, done, everyone, key, outcome, refusal, submitted, to_chat};
use crate::world::{World, personal};

#[tokio::test(start_paused = true)]
async fn without_a_batch_api_messages_are_sent_individually() {
    for (status, code) in [(404, ""), (405, ""), (400, "BadArgument"), (403, "Forbidden")] {
        let world = World::of(&["ada", "eve"]).await;
        world.channel.when(SUBMIT, Behaviour::Refuse { status, code });
        let (id, notification) = done(&world, &everyone()).await;
        assert_eq!(notification.counts.delivered, 2, "{status}");
        assert_eq!(world.channel.requests(), 3, "{status}");
        assert!(
            matches!(outcome(&world, &id, "ada").await, Outcome::Delivered(sent) if sent.activity.is_some())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_batch_waits_for_retry_after() {
    let world = World::of(&["ada", "eve"]).await;
    let throttled = Reply {
        retry_after: Some(120),
        ..refusal(429, "Throttled")
    };
    world.channel.when(SUBMIT, answers([throttled]));
    let began = world.now();
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!(notification.counts.delivered, 2);
    assert!(world.now().duration_since(began).as_secs() >= 120);
    assert_eq!(world.channel.batches().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_with_a_lost_answer_is_retried_only_at_least_once() {
    let retried = World::of(&["ada", "eve"]).await;
    retried
        .channel
        .when(SUBMIT, answers([refusal(502, "BadGateway")]));
    let (id, notification) = done(&retried, &everyone()).await;
    assert_eq!(
        (notification.counts.delivered, notification.counts.unknown),
        (2, 0)
    );
    assert!(matches!(
        outcome(&retried, &id, "ada").await,
        Outcome::Delivered(_)
    ));

    let given_up = World::of(&["ada", "eve"]).await;
    given_up.channel.when(SUBMIT, Behaviour::Cut);
    let mut body = everyone();
    body["guarantee"] = json!("atMostOnce");
    let (_, notification) = done(&given_up, &body).await;
    assert_eq!(
        (notification.counts.delivered, notification.counts.unknown),
        (0, 2)
    );
    assert_eq!(given_up.channel.batches().len(), 1);

    // Every connection is cut. Each of four batches may have reached everyone, so the sender stops there.
    let often = World::of(&["ada", "eve"]).await;
    often.channel.when(SUBMIT, Behaviour::Cut);
    let (_, notification) = done(&often, &everyone()).await;
    assert_eq!(
        (notification.counts.unknown, often.channel.batches().len()),
        (2, 4)
    );
}

#[tokio::test(start_paused = true)]
async fn a_submitted_batch_without_an_id_ends_unknown_and_is_not_repeated() {
    let world = World::of(&["ada", "eve"]).await;
    world.channel.when(SUBMIT, Behaviour::AcceptSilently);
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!(
        (notification.counts.unknown, world.channel.batches().len()),
        (2, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_notification_stopped_before_submission_sends_no_batch() {
    for expires in [false, true] {
        let world = World::of(&["ada", "eve"]).await;
        let throttled = Reply {
            retry_after: Some(600),
            ..refusal(429, "Throttled")
        };
        world.channel.when(SUBMIT, answers([throttled]));
        let mut body = everyone();
        body["expiresAt"] = json!(world.in_seconds(300).to_string());
        let id = world.asks(&body).await;
        submitted(&world).await;
        if !expires {
            world.store.cancel(&id, world.now()).await.unwrap();
        }
        world.pass(600);
        crate::reactions::sweep(&world, &id).await;
        world.work().await;
        let counts = world.notification(&id).await.counts;
        let expected = if expires { (2, 0) } else { (0, 2) };
        assert_eq!((counts.expired, counts.cancelled), expected);
        assert_eq!((world.channel.batches().len(), world.channel.requests()), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_senders_with_one_chunk_only_one_submits_it() {
    let world = World::of(&["ada", "eve"]).await;
    world.channel.when(SUBMIT, Behaviour::Hold);
    let id = world.asks(&everyone()).await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    let go = async {
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        world.channel.let_go();
    };
    tokio::join!(world.send_one(&chunk.body), world.send_one(&chunk.body), go);
    world.work().await;
    assert_eq!(
        (world.channel.batches().len(), world.channel.count("a:ada")),
        (1, 1)
    );
    assert_eq!(world.notification(&id).await.counts.delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_dies_while_submitting_leaves_an_ambiguous_attempt() {
    for (policy, batches, unknown) in [("atLeastOnce", 2, 0), ("atMostOnce", 1, 2)] {
        let world = World::of(&["ada", "eve"]).await;
        world.channel.when(SUBMIT, Behaviour::Hold);
        let mut body = everyone();
        body["guarantee"] = json!(policy);
        let id = world.asks(&body).await;
        world.plan().await;
        let chunk = world.deliveries.take().unwrap();
        // Killed after its request left and before the answer.
        tokio::select! {
            () = world.send_one(&chunk.body) => panic!("not killed"),
            () = world.channel.asked(1) => {}
        }
        world.channel.let_go();
        if policy == "atMostOnce" {
            // The channel executed no batch.
            assert_eq!(world.channel.batches().len(), 0);
        }
        world.send_one(&chunk.body).await;
        assert_eq!(
            world.channel.requests(),
            1,
            "the first worker may still be submitting"
        );
        world.work().await;
        world.pass(120);
        world.work().await;
        let counts = world.notification(&id).await.counts;
        assert_eq!(
            (counts.delivered, counts.unknown),
            (2 - unknown, unknown),
            "{policy}"
        );
        assert_eq!(world.channel.requests(), batches * 2 - 1, "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_resubmission_keeps_the_earlier_attempt_ambiguous() {
    let world = World::of(&["ada", "eve"]).await;
    world.channel.when(
        SUBMIT,
        answers([refusal(502, "BadGateway"), refusal(403, "Forbidden")]),
    );
    let (id, notification) = done(&world, &everyone()).await;
    assert_eq!(notification.counts.delivered, 2);
    assert_eq!(world.row(&id, &to_chat("ada")).await.ambiguous_attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_waiting_for_a_permit_sees_a_cancellation() {
    let world = World::of(&["ada", "eve"]).await;
    let id = world.asks(&everyone()).await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    let bucket = Bucket::of(&key("a:ada"), Some("tenant-1"));
    let rate = TenantRate {
        next_slot: world.in_seconds(3),
        ..TenantRate::default()
    };
    world
        .store
        .apply(&bucket, |_| ((), Some(rate.clone())))
        .await
        .unwrap();
    let cancel = async {
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        world.store.cancel(&id, world.now()).await.unwrap();
    };
    tokio::join!(world.send_one(&chunk.body), cancel);
    world.work().await;
    assert_eq!(world.channel.requests(), 0);
    assert_eq!(world.notification(&id).await.counts.cancelled, 2);
}

#[tokio::test(start_paused = true)]
async fn a_skipped_recipient_stays_skipped_after_returning() {
    let world = World::of(&["ada", "eve", "joe"]).await;
    let id = world.asks(&everyone()).await;
    world.plan().await;
    let mut left = personal("eve", "installationUpdate");
    left["action"] = json!("remove");
    world.hears(&left).await;
    world.channel.when(SUBMIT, answers([refusal(429, "Throttled")]));
    let chunk = world.deliveries.take().unwrap();
    world.send_one(&chunk.body).await;
    world.hears(&personal("eve", "message")).await;
    world.pass(60);
    // The chunk as planned, redelivered.
    let mut again: Value = serde_json::from_str(&chunk.body).unwrap();
    again["begun"] = json!(true);
    world.send_one(&again.to_string()).await;
    world.work().await;
    let counts = world.notification(&id).await.counts;
    assert_eq!((counts.delivered, counts.skipped), (2, 1));
    assert_eq!(world.channel.batches()[0].members, ["29:ada", "29:joe"]);
}
