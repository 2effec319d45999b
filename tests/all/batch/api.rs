//! Batch mode as callers see it in the API.

use herald::notification::SendMode;
use serde_json::{Value, json};
use tests::channel::batch::BatchScenario;

use super::{done, everyone, submitted};
use crate::world::{World, document, get, post, request};

#[tokio::test(start_paused = true)]
async fn a_notification_sent_by_batch_cannot_be_changed() {
    let world = World::of(&["ada", "eve"]).await;
    let (id, _) = done(&world, &everyone()).await;
    let path = format!("/api/notifications/{id}/message");
    let asked = world.channel.requests();
    for (method, body) in [
        ("PUT", json!({"text": "better news"}).to_string()),
        ("DELETE", String::new()),
    ] {
        let answer = world.notify(request(method, &path, body.into())).await;
        let problem = document(&answer);
        assert_eq!(answer.status(), 409, "{method}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("batch") && detail.contains("cancelled"),
            "{detail}"
        );
    }
    world.work().await;
    assert_eq!(
        (world.channel.requests(), world.notification(&id).await.revision),
        (asked, 0)
    );
    let status = world.notify(get(&format!("/api/notifications/{id}"))).await;
    assert_eq!(document(&status)["sendMode"], "batch");
}

#[tokio::test(start_paused = true)]
async fn the_send_mode_of_the_caller_overrides_the_deployments() {
    let mut world = World::of(&["ada", "eve"]).await;
    world.send_mode = SendMode::Batch;
    let mut body = everyone();
    body.as_object_mut().unwrap().remove("sendMode");
    let (_, notification) = done(&world, &body).await;
    assert_eq!(
        (notification.send_mode, notification.batched),
        (SendMode::Batch, 2)
    );
    body["sendMode"] = json!("individual");
    let (_, notification) = done(&world, &body).await;
    assert_eq!(
        (notification.send_mode, notification.batched),
        (SendMode::Individual, 0)
    );
    assert_eq!(world.channel.batches().len(), 1);
    body["sendMode"] = json!("pigeon");
    let refused = world.notify(post("/api/notifications", &body.to_string())).await;
    assert_eq!(refused.status(), 400);
    assert_eq!(document(&refused)["errors"][0]["pointer"], "#/sendMode");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_counts_batch_recipients_without_a_duration() {
    let world = World::of(&["ada", "eve"]).await;
    let mut body = everyone();
    body["dryRun"] = json!(true);
    let (id, _) = done(&world, &body).await;
    let plan = document(&world.notify(get(&format!("/api/notifications/{id}/plan"))).await);
    assert_eq!((&plan["audience"], &plan["batched"]), (&json!(2), &json!(2)));
    assert_eq!(plan["predicted"]["atMostSeconds"], Value::Null);
    // The confirmation names the same send mode.
    let mut confirming = everyone();
    confirming["confirm"] = json!(id.to_string());
    confirming["sendMode"] = json!("individual");
    let other = world
        .notify(post("/api/notifications", &confirming.to_string()))
        .await;
    assert_eq!(other.status(), 409);
    confirming["sendMode"] = json!("batch");
    let (_, notification) = done(&world, &confirming).await;
    assert_eq!(notification.counts.delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn explain_reports_a_submitted_batch() {
    let world = World::of(&["ada", "eve"]).await;
    world.channel.course(BatchScenario {
        at_once: 1,
        rounds: 3,
        ..BatchScenario::default()
    });
    let id = world.asks(&everyone()).await;
    let message = submitted(&world).await;
    let explained = document(
        &world
            .notify(get(&format!("/api/notifications/{id}/explain")))
            .await,
    );
    let reasons = explained["reasons"].as_array().unwrap();
    assert_eq!(
        (reasons.len(), &reasons[0]["reason"], &reasons[0]["deliveries"]),
        (1, &json!("inBatch"), &json!(2))
    );
    assert_eq!(
        (&explained["open"], &explained["predictedFinish"]),
        (&json!(2), &Value::Null)
    );
    world.send_one(&message).await;
    world.work().await;
    assert_eq!(world.notification(&id).await.counts.delivered, 2);
}
