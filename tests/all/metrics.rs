//! What moves the metrics that alarms stand on: each condition is brought about, and its metric is read.

use botframework::activity::Activity;
use botframework::cloud::Cloud;
use herald::conversation::Observation;
use herald::queue::RECEIVES_MAX;
use herald::queue::batch::Receipt;
use herald::store::Conversations;
use herald::telemetry::Metric;
use lambda_http::Body;
use sender::Invocation;
use serde_json::json;
use tests::channel::Behaviour;
use tests::logs::Logs;

use crate::settle::sender;
use crate::world::{World, get, personal, request};

fn refuse(status: u16, code: &'static str) -> Behaviour {
    Behaviour::Refuse { status, code }
}

#[tokio::test(start_paused = true)]
async fn each_outcome_is_counted_once_and_an_edit_is_no_delivery() {
    let (logs, _recording) = Logs::record();
    let world = World::of(&["ada", "gone", "bad", "doubt"]).await;
    world
        .channel
        .when("a:gone", refuse(403, "ConversationBlockedByUser"));
    world.channel.when("a:bad", refuse(400, "BadSyntax"));
    world.channel.when("a:doubt", Behaviour::Cut);
    let id = world
        .asks(
            &json!({"audience": {"everyone": true}, "message": {"text": "news"}, "guarantee": "atMostOnce"}),
        )
        .await;
    world.work().await;
    let outcomes = [
        Metric::Accepted,
        Metric::Delivered,
        Metric::Gone,
        Metric::Rejected,
        Metric::Unknown,
        Metric::Expired,
    ];
    assert_eq!(outcomes.map(|metric| logs.metric(metric)), [1, 1, 1, 1, 1, 0]);

    let edit = request(
        "PUT",
        &format!("/api/notifications/{id}/message"),
        Body::Text(json!({"text": "newer"}).to_string()),
    );
    assert_eq!(world.notify(edit).await.status(), 202);
    world.work().await;
    assert_eq!(world.notification(&id).await.revision_counts.current, 1);
    assert_eq!(outcomes.map(|metric| logs.metric(metric)), [1, 1, 1, 1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn deliveries_that_wait_are_counted_with_their_age_while_none_is_delivered() {
    let (logs, _recording) = Logs::record();
    let world = World::of(&["ada"]).await;
    world.channel.when("a:ada", refuse(429, "Throttled"));
    world
        .asks(&json!({"audience": {"everyone": true}, "message": {"text": "news"}}))
        .await;
    world.plan().await;
    world.pass(600);
    while let Some(chunk) = world
        .deliveries
        .take()
        .filter(|_| logs.metric(Metric::Waiting) == 0)
    {
        world.send_one(&chunk.body).await;
    }
    assert_eq!(logs.metric(Metric::Delivered), 0);
    assert!(logs.metric(Metric::Throttled) >= 1);
    assert!(logs.metric(Metric::OldestOpen) >= 600);
}

#[tokio::test(start_paused = true)]
async fn a_bot_without_a_token_is_an_outage() {
    let (logs, _recording) = Logs::record();
    let world = World::without_token(Cloud::Public, 7_000_222);
    let mut activity = personal("ada", "installationUpdate");
    activity["serviceUrl"] = json!("https://smba.trafficmanager.net/emea/");
    let activity = Activity::from_value(activity).unwrap();
    for observation in Observation::from_activity(&activity) {
        world.store.remember(observation, world.now()).await.unwrap();
    }
    world
        .asks(&json!({"audience": {"everyone": true}, "message": {"text": "news"}}))
        .await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    world.send_one(&chunk.body).await;
    assert!(logs.metric(Metric::BotOutage) >= 1);
    assert_eq!(logs.metric(Metric::Delivered), 0);
}

#[tokio::test(start_paused = true)]
async fn workers_that_meet_at_a_delivery_are_counted() {
    let (logs, _recording) = Logs::record();
    let world = World::of(&["ada"]).await;
    world.channel.when("a:ada", Behaviour::Hold);
    world
        .asks(&json!({"audience": {"everyone": true}, "message": {"text": "news"}}))
        .await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap().body;
    let meets = async {
        world.send_one(&chunk).await;
        world.channel.let_go();
    };
    tokio::join!(world.send_one(&chunk), meets);
    assert!(logs.metric(Metric::ClaimConflict) >= 1);
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_fails_at_its_last_receive_is_given_up() {
    for (receives, given_up) in [(1, 0), (RECEIVES_MAX, 1)] {
        let (logs, _recording) = Logs::record();
        let world = World::of(&["ada"]).await;
        world
            .asks(&json!({"audience": {"everyone": true}, "message": {"text": "news"}}))
            .await;
        world.plan().await;
        let chunk = serde_json::from_str(&world.deliveries.take().unwrap().body).unwrap();
        let sender = sender(&world, "put_row", 0..u32::MAX);
        let receipt = Receipt {
            receives,
            ..Receipt::default()
        };
        let invocation = Invocation::new(&sender, world.in_seconds(90));
        sender::run(&invocation, chunk, receipt).await.unwrap_err();
        assert_eq!(logs.metric(Metric::DeadLettered), given_up);
    }
}

#[tokio::test]
async fn notifications_that_are_read_move_no_metric() {
    let (logs, _recording) = Logs::record();
    let world = World::new();
    world.notify(get("/api/notifications")).await;
    assert!(logs.with("metric").is_empty());
}
