//! Cancelling, editing and retracting accepted notifications.

use herald::event::EventKind;
use herald::id::NotificationId;
use herald::notification::State;
use lambda_http::Body;
use lambda_http::http::{Request, Response};
use serde_json::{Value, json};
use tests::channel::Behaviour;

use super::{Failing, hello};
use crate::world::{World, document, request, text};

fn cancel(id: &NotificationId) -> Request<Body> {
    request("POST", &format!("/api/notifications/{id}/cancel"), Body::Empty)
}

fn edit(id: &NotificationId, message: &Value) -> Request<Body> {
    let body = Body::Text(message.to_string());
    request("PUT", &format!("/api/notifications/{id}/message"), body)
}

fn retract(id: &NotificationId) -> Request<Body> {
    request("DELETE", &format!("/api/notifications/{id}/message"), Body::Empty)
}

fn cancellations(world: &World) -> Vec<String> {
    let told = world.events.take().into_iter();
    told.filter(|event| event.kind == EventKind::Cancelled)
        .map(|event| event.id)
        .collect()
}

/// The methods and texts of the requests to a conversation.
fn requests(world: &World, conversation: &str) -> Vec<(String, Value)> {
    let received = world.channel.received().into_iter();
    received
        .filter(|it| it.conversation == conversation)
        .map(|it| (it.method, it.activity["text"].clone()))
        .collect()
}

fn revision(answer: &Response<Body>) -> u64 {
    assert_eq!(answer.status(), 202, "{}", text(answer));
    document(answer)["revision"].as_u64().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_stops_open_deliveries_and_is_idempotent() {
    let world = World::of(&["ada", "eve"]).await;
    let refuse = Behaviour::Refuse {
        status: 429,
        code: "Throttled",
    };
    world.channel.when("a:eve", refuse);
    // In one chunk: the people of a tenant are planned together.
    let both = json!({"audience": {"tenant": "tenant-1"}, "message": {"text": "hello"}});
    let id = world.asks(&both).await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    world.send_one(&chunk.body).await;
    let first = world.notify(cancel(&id)).await;
    assert_eq!(first.status(), 200);
    let first = document(&first);
    // The chunk is open because of eve, and not yet counted.
    assert_eq!(
        (&first["alreadyOut"], &first["counts"]["delivered"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(first["state"], "cancelling");
    world.pass(30);
    let again = document(&world.notify(cancel(&id)).await);
    assert_eq!(again["cancelledAt"], first["cancelledAt"]);
    world.work().await;
    let done = world.notification(&id).await;
    assert_eq!(
        (done.state(), done.counts.delivered, done.counts.cancelled),
        (State::Cancelled, 1, 1)
    );
    let told = cancellations(&world);
    assert_eq!(told, [format!("{id}/cancelled"), format!("{id}/cancelled")]);
    let last = document(&world.notify(cancel(&id)).await);
    assert_eq!(
        (&last["state"], &last["alreadyOut"]),
        (&json!("cancelled"), &json!(1))
    );
}

#[tokio::test(start_paused = true)]
async fn a_completed_notification_cannot_be_cancelled() {
    let world = World::of(&["ada"]).await;
    let id = world.asks(&hello()).await;
    world.work().await;
    let answer = document(&world.notify(cancel(&id)).await);
    assert_eq!(
        (&answer["state"], &answer["alreadyOut"], &answer["cancelledAt"]),
        (&json!("completed"), &json!(1), &Value::Null)
    );
    assert!(world.plans.take().is_none());
    assert!(cancellations(&world).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_with_a_failed_sweep_is_kept_and_the_next_sweeps() {
    let world = World::of(&["ada"]).await;
    let id = world.asks(&hello()).await;
    world.plan().await;
    let answer = world.notify_over(Failing::Away, cancel(&id)).await;
    assert_eq!(answer.status(), 503);
    assert!(text(&answer).contains("is stored"), "{}", text(&answer));
    assert_eq!(world.notification(&id).await.state(), State::Cancelling);
    assert!(cancellations(&world).is_empty());
    assert_eq!(world.notify(cancel(&id)).await.status(), 200);
    assert!(world.plans.take().unwrap().body.contains("sweep"));
    assert_eq!(cancellations(&world).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_notification_ends_when_it_is_cancelled() {
    let world = World::of(&["ada"]).await;
    let mut body = hello();
    body["deliverAt"] = json!(world.in_seconds(3600).to_string());
    let id = world.asks(&body).await;
    // Its plan is a schedule for later.
    world.plans.take().unwrap();
    let began = world.now();
    assert_eq!(world.notify(cancel(&id)).await.status(), 200);
    world.work().await;
    let done = world.notification(&id).await;
    assert_eq!((done.state(), done.audience), (State::Cancelled, 0));
    assert!(world.now().duration_since(began).as_secs() < 60);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_edit_changes_every_message_once() {
    let world = World::of(&["ada"]).await;
    let id = world.asks(&hello()).await;
    world.work().await;
    let better = json!({"text": "better"});
    let first = world.notify(edit(&id, &better)).await;
    assert_eq!(revision(&first), 1);
    assert_eq!(revision(&world.notify(edit(&id, &better)).await), 1);
    world.work().await;
    let seen = requests(&world, "a:ada");
    let seen: Vec<_> = seen
        .iter()
        .map(|(method, text)| (method.as_str(), text))
        .collect();
    assert_eq!(
        seen[seen.len() - 2..],
        [("POST", &json!("hello")), ("PUT", &json!("better"))]
    );
    let path = document(&first)["statusUrl"].as_str().unwrap().to_owned();
    let status = document(&world.notify(crate::world::get(&path)).await);
    assert_eq!(status["revision"], 1);
    assert_eq!(
        status["revised"]["copies"],
        json!({"current": 1, "uneditable": 0})
    );
}

#[tokio::test(start_paused = true)]
async fn an_edit_with_a_failed_sweep_is_kept_and_its_repetition_sweeps() {
    let world = World::of(&["ada"]).await;
    let id = world.asks(&hello()).await;
    world.work().await;
    let better = json!({"text": "better"});
    let answer = world.notify_over(Failing::Away, edit(&id, &better)).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(revision(&world.notify(edit(&id, &better)).await), 1);
    world.work().await;
    assert_eq!(requests(&world, "a:ada").last().unwrap().1, json!("better"));
}

#[tokio::test(start_paused = true)]
async fn a_retraction_is_final_and_idempotent() {
    let world = World::of(&["ada"]).await;
    let id = world.asks(&hello()).await;
    world.work().await;
    let answer = world.notify_over(Failing::Away, retract(&id)).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(revision(&world.notify(retract(&id)).await), 1);
    world.work().await;
    assert_eq!(requests(&world, "a:ada").last().unwrap().0, "DELETE");
    assert_eq!(revision(&world.notify(retract(&id)).await), 1);
    let answer = world.notify(edit(&id, &json!({"text": "back"}))).await;
    assert_eq!(answer.status(), 409);
    assert!(text(&answer).contains("retracted"), "{}", text(&answer));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_id_or_a_malformed_message_changes_nothing() {
    let world = World::of(&["ada"]).await;
    let nobodys: NotificationId = "ntf_0192f0c8a1b27c3d8e4f5a6b7c8d9e0f".parse().unwrap();
    for request in [
        cancel(&nobodys),
        retract(&nobodys),
        edit(&nobodys, &json!({"text": "x"})),
    ] {
        assert_eq!(world.notify(request).await.status(), 404);
    }
    let id = world.asks(&hello()).await;
    let answer = world.notify(edit(&id, &json!({"txt": "x"}))).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(document(&answer)["errors"][0]["pointer"], "#");
    let large = json!({"text": "x".repeat(notify::BODY_MAX_BYTES)});
    assert_eq!(world.notify(edit(&id, &large)).await.status(), 413);
    assert_eq!(world.notification(&id).await.revision, 0);
}
