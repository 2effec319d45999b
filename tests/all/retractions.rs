//! Retractions that requests ask for in advance: at `retractAt` the copies vanish, or show another message.

use std::time::Duration;

use herald::id::NotificationId;
use herald::notification::State;
use herald::queue::{Message, Plan, Task};
use herald::store::Notifications;
use lambda_http::Body;
use serde_json::{Value, json};

use crate::world::{World, document, get, post, request, text};

/// A notification to everyone that is retracted after an hour, with more fields.
fn menu(world: &World, more: &Value) -> Value {
    let mut body = json!({"audience": {"everyone": true}, "message": {"text": "today: soup"},
                          "retractAt": world.in_seconds(3_600)});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// Plans a notification and returns the message of its retraction, which is the only one that waits.
async fn planned(world: &World) -> Message {
    let plan = world.plans.take().unwrap();
    world.plan_one(&plan.body).await;
    waiting(world)
}

fn waiting(world: &World) -> Message {
    let message = world.plans.take().unwrap();
    let plan: Plan = serde_json::from_str(&message.body).unwrap();
    assert_eq!((plan.task, plan.part), (Task::Retract, None));
    assert_eq!(world.plans.take(), None, "one message waits for a retraction");
    message
}

/// Lets the time of the retraction come.
async fn comes_due(world: &World, retraction: &Message) {
    world.pass(3_600);
    world.plan_one(&retraction.body).await;
    world.work().await;
}

/// What was done in the channel: the method, with the text if there is one.
fn done(world: &World) -> Vec<(String, Option<String>)> {
    let received = world.channel.received().into_iter();
    let done = received.map(|sent| (sent.method, sent.activity["text"].as_str().map(str::to_owned)));
    done.collect()
}

fn only(method: &str, text: Option<&str>) -> (String, Option<String>) {
    (method.to_owned(), text.map(str::to_owned))
}

async fn status(world: &World, id: &NotificationId) -> Value {
    document(&world.notify(get(&format!("/api/notifications/{id}"))).await)
}

#[tokio::test]
async fn copies_vanish_at_their_time_and_a_message_that_comes_again_does_nothing() {
    let world = World::of(&["ada"]).await;
    let id = world.asks(&menu(&world, &json!({}))).await;
    let retraction = planned(&world).await;
    assert_eq!(retraction.delay.as_secs().div_ceil(60), 60);
    world.work().await;
    assert_eq!(done(&world), [only("POST", Some("today: soup"))]);
    let shown = status(&world, &id).await;
    assert!(shown["retractAt"].is_string(), "{shown}");
    assert_eq!(shown["replacement"], Value::Null);

    for _ in 0..2 {
        comes_due(&world, &retraction).await;
        assert_eq!(
            done(&world),
            [only("POST", Some("today: soup")), only("DELETE", None)]
        );
    }
    let shown = status(&world, &id).await;
    assert_eq!(
        (
            &shown["state"],
            &shown["revision"],
            &shown["revised"]["retracted"]
        ),
        (&json!("completed"), &json!(1), &json!(true))
    );
    assert_eq!(shown["revised"]["copies"]["current"], 1);
}

#[tokio::test]
async fn what_is_not_sent_by_then_is_not_sent_any_more() {
    let world = World::of(&["ada", "bob"]).await;
    let id = world.asks(&menu(&world, &json!({}))).await;
    let retraction = planned(&world).await;
    let explained = document(
        &world
            .notify(get(&format!("/api/notifications/{id}/explain")))
            .await,
    );
    assert_eq!(explained["retractAt"], status(&world, &id).await["retractAt"]);
    comes_due(&world, &retraction).await;
    assert_eq!(done(&world), []);
    let ended = world.notification(&id).await;
    assert_eq!((ended.counts.cancelled, ended.open()), (2, 0));
    let explained = document(
        &world
            .notify(get(&format!("/api/notifications/{id}/explain")))
            .await,
    );
    assert_eq!(explained["retractAt"], Value::Null, "it is made");
}

#[tokio::test]
async fn a_prediction_ends_with_the_deletion() {
    let mut world = World::of(&["ada", "bob", "eve"]).await;
    world.limits.tenant.per *= 1_000;
    let soon = world.in_seconds(1);
    let id = world.asks(&menu(&world, &json!({"retractAt": soon}))).await;
    planned(&world).await;
    let explained = document(
        &world
            .notify(get(&format!("/api/notifications/{id}/explain")))
            .await,
    );
    let finish: jiff::Timestamp = serde_json::from_value(explained["predictedFinish"].clone()).unwrap();
    assert!(finish <= soon.max(world.now()), "{explained}");
}

#[tokio::test]
async fn a_replacement_is_shown_from_then_on_and_an_edit_after_it_stays() {
    let world = World::of(&["ada"]).await;
    let over = json!({"replacement": {"text": "lunch is over"}});
    let id = world.asks(&menu(&world, &over)).await;
    let retraction = planned(&world).await;
    world.work().await;
    assert_eq!(status(&world, &id).await["replacement"]["text"], "lunch is over");
    comes_due(&world, &retraction).await;
    let edit = request(
        "PUT",
        &format!("/api/notifications/{id}/message"),
        Body::Text(json!({"text": "see you tomorrow"}).to_string()),
    );
    assert_eq!(world.notify(edit).await.status(), 202);
    world.work().await;
    comes_due(&world, &retraction).await;
    assert_eq!(
        done(&world),
        [
            only("POST", Some("today: soup")),
            only("PUT", Some("lunch is over")),
            only("PUT", Some("see you tomorrow"))
        ]
    );
    assert_eq!(world.notification(&id).await.revision, 2);
}

#[tokio::test]
async fn who_gets_it_after_its_time_gets_the_replacement() {
    let world = World::of(&["ada"]).await;
    let over = json!({"replacement": {"text": "lunch is over"}});
    world.asks(&menu(&world, &over)).await;
    let retraction = planned(&world).await;
    comes_due(&world, &retraction).await;
    assert_eq!(done(&world), [only("POST", Some("lunch is over"))]);
}

#[tokio::test]
async fn an_edit_before_its_time_does_not_keep_the_copies() {
    let world = World::of(&["ada"]).await;
    let id = world.asks(&menu(&world, &json!({}))).await;
    let retraction = planned(&world).await;
    world.work().await;
    let edit = Body::Text(json!({"text": "today: stew"}).to_string());
    let edit = request("PUT", &format!("/api/notifications/{id}/message"), edit);
    assert_eq!(world.notify(edit).await.status(), 202);
    world.work().await;
    comes_due(&world, &retraction).await;
    assert_eq!(done(&world).last(), Some(&only("DELETE", None)));
}

#[tokio::test]
async fn a_retraction_by_the_caller_is_final() {
    let world = World::of(&["ada"]).await;
    let over = json!({"replacement": {"text": "lunch is over"}});
    let id = world.asks(&menu(&world, &over)).await;
    let retraction = planned(&world).await;
    world.work().await;
    let path = format!("/api/notifications/{id}/message");
    assert_eq!(
        world.notify(request("DELETE", &path, Body::Empty)).await.status(),
        202
    );
    world.work().await;
    comes_due(&world, &retraction).await;
    assert_eq!(
        done(&world),
        [only("POST", Some("today: soup")), only("DELETE", None)]
    );
    assert_eq!(world.notification(&id).await.revision, 1);
}

#[tokio::test]
async fn a_cancelled_notification_loses_the_copies_that_are_out() {
    let world = World::of(&["ada"]).await;
    let id = world.asks(&menu(&world, &json!({}))).await;
    let retraction = planned(&world).await;
    world.work().await;
    let cancel = post(&format!("/api/notifications/{id}/cancel"), "{}");
    assert_eq!(world.notify(cancel).await.status(), 200);
    world.work().await;
    comes_due(&world, &retraction).await;
    assert_eq!(done(&world).last(), Some(&only("DELETE", None)));
}

#[tokio::test]
async fn a_message_that_is_early_waits_on() {
    let world = World::of(&["ada"]).await;
    world.asks(&menu(&world, &json!({}))).await;
    let retraction = planned(&world).await;
    world.pass(900);
    world.plan_one(&retraction.body).await;
    let again = waiting(&world);
    assert_eq!(again.body, retraction.body);
    assert!(again.delay + Duration::from_mins(15) <= retraction.delay);
}

#[tokio::test]
async fn a_retraction_that_was_cut_short_is_completed_by_its_message() {
    let world = World::of(&["ada"]).await;
    let id = world.asks(&menu(&world, &json!({}))).await;
    let retraction = planned(&world).await;
    world.work().await;
    world.pass(3_600);
    // The planner died between the table and the queue.
    let made = world.store.retract_as_scheduled(&id, None, world.now()).await;
    made.unwrap();
    world.plan_one(&retraction.body).await;
    world.work().await;
    assert_eq!(done(&world).last(), Some(&only("DELETE", None)));
    assert_eq!(world.notification(&id).await.revision, 1);
}

#[tokio::test]
async fn a_held_notification_ends_without_being_sent() {
    for more in [json!({}), json!({"replacement": {"text": "lunch is over"}})] {
        let mut world = World::of(&["ada"]).await;
        world.confirm_above = 0;
        let id = world.asks(&menu(&world, &more)).await;
        let retraction = planned(&world).await;
        assert_eq!(world.notification(&id).await.state(), State::Held);
        comes_due(&world, &retraction).await;
        let ended = status(&world, &id).await;
        assert_eq!(
            (&ended["state"], &ended["counts"]["cancelled"]),
            (&json!("cancelled"), &json!(1))
        );
        assert_eq!(done(&world), []);
    }
}

#[tokio::test]
async fn a_dry_run_has_nothing_to_retract() {
    let world = World::of(&["ada"]).await;
    let dry = json!({"dryRun": true, "replacement": {"text": "lunch is over"}});
    let id = world.asks(&menu(&world, &dry)).await;
    world.plan().await;
    let held = status(&world, &id).await;
    assert_eq!(
        (&held["state"], &held["retractAt"], &held["replacement"]),
        (&json!("held"), &Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn what_cannot_be_retracted_is_refused_by_its_field() {
    let mut world = World::of(&["ada"]).await;
    let pointers = async |world: &World, more: Value| {
        let body = menu(world, &more).to_string();
        let answer = world.notify(post("/api/notifications", &body)).await;
        assert_eq!(answer.status(), 400, "{}", text(&answer));
        let problem = document(&answer);
        let errors = problem["errors"].as_array().unwrap().iter();
        let pointers = errors.map(|error| error["pointer"].as_str().unwrap().to_owned());
        pointers.collect::<Vec<_>>()
    };
    let day = 24 * 3_600;
    let (later, much_later) = (world.in_seconds(7_200), world.in_seconds(28 * day + 7_200));
    for wrong in [
        json!({"retractAt": "tomorrow"}),
        json!({"retractAt": "2026-01-01T00:00:00Z"}),
        json!({"deliverAt": later}),
        json!({"retractAt": much_later}),
        json!({"sendMode": "batch"}),
    ] {
        assert_eq!(pointers(&world, wrong.clone()).await, ["#/retractAt"], "{wrong}");
    }
    let with_delay = json!({"deliverAt": world.in_seconds(3 * 3_600), "retractAt": much_later});
    world.asks(&menu(&world, &with_delay)).await;
    assert_eq!(
        pointers(&world, json!({"replacement": {"text": 7}})).await,
        ["#/replacement/text"]
    );
    let mut without_time = menu(&world, &json!({"replacement": {"text": "over"}}));
    without_time.as_object_mut().unwrap().remove("retractAt");
    let answer = world
        .notify(post("/api/notifications", &without_time.to_string()))
        .await;
    assert_eq!(document(&answer)["errors"][0]["pointer"], "#/replacement");
    world.send_mode = herald::notification::SendMode::Batch;
    assert_eq!(pointers(&world, json!({})).await, ["#/retractAt"]);
}
