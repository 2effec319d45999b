//! What callers see of it.

use herald::notification::SendMode;
use serde_json::{Value, json};
use tests::channel::batch::Course;

use super::{done, everyone, submitted, world_of};
use crate::world::{document, get, post, request};

#[tokio::test(start_paused = true)]
async fn what_went_by_batch_cannot_be_changed_and_says_so() {
    let world = world_of(&["ada", "eve"]).await;
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
    assert_eq!(document(&status)["transport"], "batch");
}

#[tokio::test(start_paused = true)]
async fn the_deployment_says_by_which_way_unless_the_caller_does() {
    let mut world = world_of(&["ada", "eve"]).await;
    world.send_mode = SendMode::Batch;
    let mut body = everyone();
    body.as_object_mut().unwrap().remove("transport");
    let (_, notification) = done(&world, &body).await;
    assert_eq!(
        (notification.send_mode, notification.batched),
        (SendMode::Batch, 2)
    );
    body["transport"] = json!("conversation");
    let (_, notification) = done(&world, &body).await;
    assert_eq!(
        (notification.send_mode, notification.batched),
        (SendMode::Individual, 0)
    );
    assert_eq!(world.channel.batches().len(), 1);
    body["transport"] = json!("pigeon");
    let refused = world.notify(post("/api/notifications", &body.to_string())).await;
    assert_eq!(refused.status(), 400);
    assert_eq!(document(&refused)["errors"][0]["pointer"], "#/transport");
}

#[tokio::test(start_paused = true)]
async fn a_plan_says_how_many_go_by_batch_and_does_not_guess_how_long_that_takes() {
    let world = world_of(&["ada", "eve"]).await;
    let mut body = everyone();
    body["dryRun"] = json!(true);
    let (id, _) = done(&world, &body).await;
    let plan = document(&world.notify(get(&format!("/api/notifications/{id}/plan"))).await);
    assert_eq!((&plan["audience"], &plan["batched"]), (&json!(2), &json!(2)));
    assert_eq!(plan["predicted"]["atMostSeconds"], Value::Null);
    // It is confirmed as what it is.
    let mut confirming = everyone();
    confirming["confirm"] = json!(id.to_string());
    confirming["transport"] = json!("conversation");
    let other = world
        .notify(post("/api/notifications", &confirming.to_string()))
        .await;
    assert_eq!(other.status(), 409);
    confirming["transport"] = json!("batch");
    let (_, notification) = done(&world, &confirming).await;
    assert_eq!(notification.tally.delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn it_is_explained_that_the_channel_has_it() {
    let world = world_of(&["ada", "eve"]).await;
    world.channel.course(Course {
        at_once: 1,
        rounds: 3,
        ..Course::default()
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
    assert_eq!(world.notification(&id).await.tally.delivered, 2);
}
