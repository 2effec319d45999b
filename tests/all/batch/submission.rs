//! How a batch is submitted: once, and what follows when it is not known to be.

use herald::delivery::Outcome;
use herald::rate_limit::{Bucket, TenantRate};
use herald::store::{Notifications, Paces};
use serde_json::{Value, json};
use tests::channel::batch::SUBMIT;
use tests::channel::{Behaviour, Reply};

use super::{answers, done, everyone, key, outcome, refusal, submitted, to_chat, world_of};
use crate::world::personal;

#[tokio::test(start_paused = true)]
async fn a_channel_that_knows_no_batch_is_written_to_as_ever() {
    for (status, code) in [(404, ""), (405, ""), (400, "BadArgument"), (403, "Forbidden")] {
        let world = world_of(&["ada", "eve"]).await;
        world.channel.when(SUBMIT, Behaviour::Refuse { status, code });
        let (id, notification) = done(&world, &everyone()).await;
        assert_eq!(notification.tally.delivered, 2, "{status}");
        assert_eq!(world.channel.requests(), 3, "{status}");
        assert!(
            matches!(outcome(&world, &id, "ada").await, Outcome::Delivered(copy) if copy.activity.is_some())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_throttled_waits_as_long_as_it_is_told_to() {
    let world = world_of(&["ada", "eve"]).await;
    let throttled = Reply {
        retry_after: Some(120),
        ..refusal(429, "Throttled")
    };
    world.channel.when(SUBMIT, answers([throttled]));
    let began = world.now();
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!(notification.tally.delivered, 2);
    assert!(world.now().duration_since(began).as_secs() >= 120);
    assert_eq!(world.channel.batches().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_answer_was_lost_is_sent_again_only_if_the_caller_will_have_it() {
    let retried = world_of(&["ada", "eve"]).await;
    retried
        .channel
        .when(SUBMIT, answers([refusal(502, "BadGateway")]));
    let (id, notification) = done(&retried, &everyone()).await;
    assert_eq!((notification.tally.delivered, notification.tally.unknown), (2, 0));
    assert!(matches!(
        outcome(&retried, &id, "ada").await,
        Outcome::Delivered(_)
    ));

    let given_up = world_of(&["ada", "eve"]).await;
    given_up.channel.when(SUBMIT, Behaviour::Cut);
    let mut body = everyone();
    body["onUnknown"] = json!("giveUp");
    let (_, notification) = done(&given_up, &body).await;
    assert_eq!((notification.tally.delivered, notification.tally.unknown), (0, 2));
    assert_eq!(given_up.channel.batches().len(), 1);

    // Always cut: four operations may each have reached everybody, and then it is enough.
    let often = world_of(&["ada", "eve"]).await;
    often.channel.when(SUBMIT, Behaviour::Cut);
    let (_, notification) = done(&often, &everyone()).await;
    assert_eq!(
        (notification.tally.unknown, often.channel.batches().len()),
        (2, 4)
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_taken_and_cannot_be_asked_for_ends_unknown_and_is_not_repeated() {
    let world = world_of(&["ada", "eve"]).await;
    world.channel.when(SUBMIT, Behaviour::AcceptSilently);
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!(
        (notification.tally.unknown, world.channel.batches().len()),
        (2, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_notification_that_is_stopped_before_its_batch_was_taken_sends_none() {
    for expires in [false, true] {
        let world = world_of(&["ada", "eve"]).await;
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
        let tally = world.notification(&id).await.tally;
        let expected = if expires { (2, 0) } else { (0, 2) };
        assert_eq!((tally.expired, tally.cancelled), expected);
        assert_eq!((world.channel.batches().len(), world.channel.requests()), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_senders_with_one_chunk_one_submits_it() {
    let world = world_of(&["ada", "eve"]).await;
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
    assert_eq!(world.notification(&id).await.tally.delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_died_while_it_submitted_leaves_a_doubt() {
    for (policy, batches, unknown) in [("retry", 2, 0), ("giveUp", 1, 2)] {
        let world = world_of(&["ada", "eve"]).await;
        world.channel.when(SUBMIT, Behaviour::Hold);
        let mut body = everyone();
        body["onUnknown"] = json!(policy);
        let id = world.asks(&body).await;
        world.plan().await;
        let chunk = world.deliveries.take().unwrap();
        // Killed when its request is out, and before it is answered.
        tokio::select! {
            () = world.send_one(&chunk.body) => panic!("not killed"),
            () = world.channel.asked(1) => {}
        }
        world.channel.let_go();
        if policy == "giveUp" {
            // The first one was carried out all the same.
            assert_eq!(world.channel.batches().len(), 0);
        }
        world.send_one(&chunk.body).await;
        assert_eq!(world.channel.requests(), 1, "the first may be at it still");
        world.work().await;
        world.pass(120);
        world.work().await;
        let tally = world.notification(&id).await.tally;
        assert_eq!(
            (tally.delivered, tally.unknown),
            (2 - unknown, unknown),
            "{policy}"
        );
        assert_eq!(world.channel.requests(), batches * 2 - 1, "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_have_been_in_a_batch_before_is_not_forgotten_when_it_is_refused() {
    let world = world_of(&["ada", "eve"]).await;
    world.channel.when(
        SUBMIT,
        answers([refusal(502, "BadGateway"), refusal(403, "Forbidden")]),
    );
    let (id, notification) = done(&world, &everyone()).await;
    assert_eq!(notification.tally.delivered, 2);
    assert_eq!(world.row(&id, &to_chat("ada")).await.doubts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_while_the_batch_waits_for_its_slot_is_heard() {
    let world = world_of(&["ada", "eve"]).await;
    let id = world.asks(&everyone()).await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    let bucket = Bucket::of(&key("a:ada"), Some("tenant-1"));
    let pace = TenantRate {
        next_slot: world.in_seconds(3),
        ..TenantRate::default()
    };
    world
        .store
        .apply(&bucket, |_| ((), Some(pace.clone())))
        .await
        .unwrap();
    let cancel = async {
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        world.store.cancel(&id, world.now()).await.unwrap();
    };
    tokio::join!(world.send_one(&chunk.body), cancel);
    world.work().await;
    assert_eq!(world.channel.requests(), 0);
    assert_eq!(world.notification(&id).await.tally.cancelled, 2);
}

#[tokio::test(start_paused = true)]
async fn who_was_skipped_stays_so_though_they_came_back_before_the_batch_was_taken() {
    let world = world_of(&["ada", "eve", "joe"]).await;
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
    // As it was planned, and not for the first time.
    let mut again: Value = serde_json::from_str(&chunk.body).unwrap();
    again["begun"] = json!(true);
    world.send_one(&again.to_string()).await;
    world.work().await;
    let tally = world.notification(&id).await.tally;
    assert_eq!((tally.delivered, tally.skipped), (2, 1));
    assert_eq!(world.channel.batches()[0].members, ["29:ada", "29:joe"]);
}
