//! Dry runs, audiences above the confirmation limit, and confirmations.

use herald::event::EventKind;
use herald::notification::State;
use lambda_http::Body;
use lambda_http::http::Request;
use serde_json::{Value, json};

use super::{hello, keyed};
use crate::world::{World, document, get, personal, post, text};

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut body = hello();
    body[name] = value.into();
    body
}

/// The response to a request by this caller.
pub(crate) async fn by(world: &World, role: &str, body: &Value) -> (u16, Value) {
    let fixture = include_str!("../../fixtures/events/notify-post.json");
    let mut event: Value = serde_json::from_str(fixture).unwrap();
    let arn = format!("arn:aws:sts::1:assumed-role/{role}/session");
    event["requestContext"]["authorizer"] = json!({"iam": {"userArn": arn}});
    event["body"] = json!(body.to_string());
    event["isBase64Encoded"] = json!(false);
    let request: Request<Body> = tests::gateway::received(event).unwrap();
    let answer = world.notify(request).await;
    (answer.status().as_u16(), document(&answer))
}

async fn plan_of(world: &World, id: &impl std::fmt::Display) -> Value {
    let answer = world.notify(get(&format!("/api/notifications/{id}/plan"))).await;
    assert_eq!(answer.status(), 200, "{}", text(&answer));
    document(&answer)
}

async fn status_of(world: &World, id: &impl std::fmt::Display) -> Value {
    document(&world.notify(get(&format!("/api/notifications/{id}"))).await)
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_reports_counts_and_cost_and_sends_nothing() {
    let world = World::of(&["ada", "eve"]).await;
    let mut gone = personal("eve", "installationUpdate");
    gone["action"] = json!("remove");
    world.hears(&gone).await;
    let received = world.channel.requests();
    let id = world.asks(&with("dryRun", true)).await;
    let early = plan_of(&world, &id).await;
    assert_eq!(
        (&early["counted"], &early["confirm"]),
        (&json!(false), &Value::Null)
    );
    world.work().await;
    assert_eq!(world.channel.requests(), received);
    let plan = plan_of(&world, &id).await;
    assert_eq!(plan["counted"], true);
    assert_eq!(plan["confirm"], json!(id));
    assert_eq!(
        (&plan["audience"], &plan["unreachable"]["removed"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(plan["message"]["withinLimit"], true);
    assert_eq!(plan["predicted"]["atMostSeconds"], 1);
    let dollars = plan["cost"]["usDollars"].as_f64().unwrap();
    assert!((0.0..0.001).contains(&dollars), "{dollars}");
    let status = status_of(&world, &id).await;
    assert_eq!(
        (&status["state"], &status["confirm"]),
        (&json!("held"), &json!(id))
    );
    assert!(status["why"].as_str().unwrap().contains("dry run"));
    assert_eq!(status["counts"]["open"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_too_large_for_teams_is_reported_by_a_dry_run() {
    let world = World::of(&["ada"]).await;
    let mut body = with("dryRun", true);
    body["message"]["text"] = json!("x".repeat(51_000));
    let id = world.asks(&body).await;
    world.work().await;
    assert_eq!(plan_of(&world, &id).await["message"]["withinLimit"], false);
}

#[tokio::test(start_paused = true)]
async fn an_audience_above_the_limit_is_held_until_it_is_confirmed() {
    let mut world = World::of(&["ada", "eve"]).await;
    world.confirm_above = 1;
    let requests = world.channel.requests();
    let held = world.asks(&hello()).await;
    world.work().await;
    assert_eq!(world.channel.requests(), requests);
    let status = status_of(&world, &held).await;
    assert_eq!(
        (&status["state"], &status["heldAbove"]),
        (&json!("held"), &json!(1))
    );
    assert!(status["why"].as_str().unwrap().contains("larger than 1"));
    let confirmed = world.asks(&with("confirm", held.to_string())).await;
    world.work().await;
    let done = world.notification(&confirmed).await;
    assert_eq!((done.state(), done.counts.delivered), (State::Completed, 2));
    assert_eq!(world.notification(&held).await.state(), State::Confirmed);
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_confirmed_once_and_names_what_it_is_sent_as() {
    let world = World::of(&["ada"]).await;
    let plan = world.asks(&with("dryRun", true)).await;
    world.work().await;
    let confirm = with("confirm", plan.to_string());
    let sent = world.asks(&confirm).await;
    let again = world
        .notify(post("/api/notifications", &confirm.to_string()))
        .await;
    assert_eq!(again.status(), 409);
    let detail = document(&again)["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(sent.as_str()), "{detail}");
    world.work().await;
    assert_eq!(world.channel.count("a:ada"), 1);
    for shown in [status_of(&world, &plan).await, plan_of(&world, &plan).await] {
        assert_eq!(shown["state"], "confirmed");
        assert_eq!(
            (&shown["confirm"], &shown["confirmedAs"]),
            (&Value::Null, &json!(sent))
        );
    }
    let why = status_of(&world, &plan).await["why"].as_str().unwrap().to_owned();
    assert!(why.contains(sent.as_str()), "{why}");
    // Changes of the plan would change nothing that is sent.
    for (method, path, body) in [
        ("POST", "cancel", String::new()),
        ("PUT", "message", json!({"text": "better"}).to_string()),
        ("DELETE", "message", String::new()),
    ] {
        let path = format!("/api/notifications/{plan}/{path}");
        let answer = world
            .notify(crate::world::request(method, &path, Body::Text(body)))
            .await;
        assert_eq!(answer.status(), 409, "{method} {path}");
        assert!(text(&answer).contains(sent.as_str()), "{}", text(&answer));
    }
    let explained = world
        .notify(get(&format!("/api/notifications/{plan}/explain")))
        .await;
    assert_eq!(document(&explained)["reasons"][0]["reason"], "confirmed");
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_repeated_under_its_key_is_the_same_notification() {
    let world = World::of(&["ada"]).await;
    let plan = world.asks(&with("dryRun", true)).await;
    world.work().await;
    let confirm = with("confirm", plan.to_string());
    let first = document(&world.notify(keyed("k1", &confirm)).await);
    world.work().await;
    let again = document(&world.notify(keyed("k1", &confirm)).await);
    assert_eq!((&again["id"], &again["replayed"]), (&first["id"], &json!(true)));
}

#[tokio::test(start_paused = true)]
async fn a_retracted_plan_is_over_and_cannot_be_confirmed() {
    let world = World::of(&["ada"]).await;
    let plan = world.asks(&with("dryRun", true)).await;
    world.work().await;
    let path = format!("/api/notifications/{plan}/message");
    let retract = crate::world::request("DELETE", &path, Body::Empty);
    assert_eq!(world.notify(retract).await.status(), 202);
    world.work().await;
    let status = status_of(&world, &plan).await;
    assert_eq!(
        (
            &status["state"],
            &status["counts"]["cancelled"],
            status.get("why")
        ),
        (&json!("cancelled"), &json!(1), None)
    );
    assert!(status["completedAt"].is_string());
    let explained = world
        .notify(get(&format!("/api/notifications/{plan}/explain")))
        .await;
    let explained = document(&explained);
    assert_eq!(
        (&explained["reasons"], &explained["examined"]["complete"]),
        (&json!([]), &json!(true))
    );
    let confirm = with("confirm", plan.to_string());
    let answer = world
        .notify(post("/api/notifications", &confirm.to_string()))
        .await;
    assert_eq!(answer.status(), 409);
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_announced_in_the_answer_and_published() {
    let mut world = World::of(&["ada", "eve"]).await;
    let ids = |world: &World| {
        let published = world.events.take().into_iter();
        let held = published.filter(|event| event.kind == EventKind::Held);
        held.map(|event| {
            (
                event.detail["notification"].clone(),
                event.detail["heldAbove"].clone(),
            )
        })
        .collect::<Vec<_>>()
    };
    let answer = world
        .notify(post("/api/notifications", &hello().to_string()))
        .await;
    assert_eq!(document(&answer)["heldAbove"], 10_000);
    world.work().await;
    assert_eq!(ids(&world), [], "a small audience is not held");
    world.confirm_above = 1;
    let answer = document(
        &world
            .notify(post("/api/notifications", &hello().to_string()))
            .await,
    );
    assert_eq!(
        (&answer["state"], &answer["heldAbove"]),
        (&json!("accepted"), &json!(1))
    );
    world.work().await;
    let mut held = ids(&world);
    held.dedup();
    assert_eq!(held, [(answer["id"].clone(), json!(1))]);
    let one = json!({"audience": {"users": ["entra-ada"]}, "message": {"text": "hello"}});
    let answer = document(&world.notify(post("/api/notifications", &one.to_string())).await);
    assert_eq!(answer.get("heldAbove"), None, "its list is short enough");
}

#[tokio::test(start_paused = true)]
async fn a_short_list_starts_at_once_and_a_longer_one_is_counted() {
    let mut world = World::of(&["ada", "eve"]).await;
    world.confirm_above = 1;
    for (users, state) in [
        (json!(["entra-ada"]), State::Completed),
        (json!(["entra-ada", "entra-eve"]), State::Held),
    ] {
        let id = world
            .asks(&json!({"audience": {"users": users}, "message": {"text": "hello"}}))
            .await;
        world.work().await;
        assert_eq!(world.notification(&id).await.state(), state);
    }
}

#[tokio::test(start_paused = true)]
async fn an_audience_that_grew_since_it_was_confirmed_is_held_again() {
    let mut world = World::of(&["ada"]).await;
    world.confirm_above = 0;
    let held = world.asks(&hello()).await;
    world.work().await;
    // An audience may grow by a tenth plus a hundred.
    for number in 0..101 {
        world
            .hears(&personal(&format!("new-{number}"), "installationUpdate"))
            .await;
    }
    let confirmed = world.asks(&with("confirm", held.to_string())).await;
    world.work().await;
    let status = status_of(&world, &confirmed).await;
    assert_eq!(
        (&status["state"], &status["heldAbove"]),
        (&json!("held"), &json!(101))
    );
}

#[tokio::test(start_paused = true)]
async fn only_the_callers_own_recent_plan_can_be_confirmed() {
    let mut world = World::of(&["ada"]).await;
    // Who cancels below.
    world.operators = vec!["nobody".to_owned()];
    let world = world;
    let plan = async |body: Value| {
        let (status, answer) = by(&world, "builds", &body).await;
        assert_eq!(status, 202, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    };
    let refused = async |role: &str, body: Value| {
        let (status, problem) = by(&world, role, &body).await;
        (status, problem["detail"].as_str().unwrap_or_default().to_owned())
    };
    let sent = plan(hello()).await;
    let good = plan(with("dryRun", true)).await;
    let (status, detail) = refused("builds", with("confirm", good.clone())).await;
    assert!(
        status == 409 && detail.contains("still being counted"),
        "{detail}"
    );
    world.work().await;
    let cancelled = plan(with("dryRun", true)).await;
    world.work().await;
    let cancel = format!("/api/notifications/{cancelled}/cancel");
    assert_eq!(world.notify(post(&cancel, "")).await.status(), 200);

    let mut other_audience = with("confirm", good.clone());
    other_audience["audience"] = json!({"users": ["entra-ada"]});
    let mut other_message = with("confirm", good.clone());
    other_message["message"]["text"] = json!("something else");
    let nobodys = "ntf_0192f0c8a1b27c3d8e4f5a6b7c8d9e0f";
    for (role, body, why) in [
        ("builds", with("confirm", nobodys), "no plan of yours"),
        ("orders", with("confirm", good.clone()), "no plan of yours"),
        ("builds", with("confirm", sent), "is being sent already"),
        ("builds", with("confirm", cancelled), "was cancelled"),
        ("builds", other_audience, "another audience"),
        ("builds", other_message, "another message"),
    ] {
        let (status, detail) = refused(role, body).await;
        assert!(status == 409 && detail.contains(why), "{why}: {detail}");
    }
    world.pass(24 * 3600 + 1);
    let (status, detail) = refused("builds", with("confirm", good)).await;
    assert!(status == 409 && detail.contains("24 hours"), "{detail}");
}

#[tokio::test(start_paused = true)]
async fn confirming_an_edited_plan_sends_the_edited_message() {
    let world = World::of(&["ada"]).await;
    let plan = world.asks(&with("dryRun", true)).await;
    world.work().await;
    let edit = crate::world::request(
        "PUT",
        &format!("/api/notifications/{plan}/message"),
        Body::Text(json!({"text": "better"}).to_string()),
    );
    assert_eq!(world.notify(edit).await.status(), 202);
    assert!(world.plans.take().is_none(), "nothing is planned to be sent");
    let old = with("confirm", plan.to_string());
    let answer = world.notify(post("/api/notifications", &old.to_string())).await;
    assert_eq!(answer.status(), 409);
    let mut new = old;
    new["message"] = json!({"text": "better"});
    let id = world.asks(&new).await;
    world.work().await;
    assert_eq!(world.notification(&id).await.counts.delivered, 1);
}

#[tokio::test(start_paused = true)]
async fn a_sent_notification_cannot_be_confirmed() {
    let world = World::of(&["ada"]).await;
    let id = world
        .asks(&json!({"audience": {"users": ["entra-ada"]}, "message": {"text": "hello"}}))
        .await;
    let answer = world.notify(get(&format!("/api/notifications/{id}/plan"))).await;
    assert_eq!(answer.status(), 409);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_planned_before_its_time_but_a_dry_run() {
    let world = World::of(&["ada"]).await;
    let tomorrow = world.in_seconds(24 * 3600).to_string();
    let id = world.asks(&with("deliverAt", tomorrow.clone())).await;
    let plan = world.plans.take().unwrap();
    assert!(plan.delay.as_secs().abs_diff(24 * 3600) <= 1, "{:?}", plan.delay);
    assert_eq!(status_of(&world, &id).await["deliverAt"], json!(tomorrow));
    let mut dry = with("deliverAt", tomorrow);
    dry["dryRun"] = json!(true);
    let dry = world.asks(&dry).await;
    assert!(world.plans.take().unwrap().delay.is_zero());
    assert_eq!(status_of(&world, &dry).await["deliverAt"], Value::Null);
}
