//! The notification API: creation here, and its other endpoints in the files below.

use herald::queue::{Error, Message, Queue};
use lambda_http::Body;
use lambda_http::http::{HeaderValue, Request};
use serde_json::{Value, json};

use crate::world::{World, document, get, personal, post, request, text};

mod audit;
mod changes;
mod conversations;
mod explain;
mod exports;
mod imports;
mod listing;
mod lists;
mod names;
pub(crate) mod plans;
mod preferences;

fn hello() -> Value {
    json!({"audience": {"everyone": true}, "message": {"text": "hello"}})
}

#[tokio::test]
async fn a_notification_is_accepted_and_can_be_looked_up() {
    let world = World::new();
    let answer = world
        .notify(post("/api/notifications", &hello().to_string()))
        .await;
    assert_eq!(answer.status(), 202);
    let accepted = document(&answer);
    assert_eq!(accepted["state"], "accepted");
    assert_eq!(
        answer.headers()["location"],
        accepted["statusUrl"].as_str().unwrap()
    );
    let status = world.notify(get(accepted["statusUrl"].as_str().unwrap())).await;
    assert_eq!(status.status(), 200);
    let status = document(&status);
    assert_eq!(status["id"], accepted["id"]);
    assert_eq!(status["guarantee"], "atLeastOnce");
    assert_eq!(
        status["counts"],
        json!({"audience": 0, "open": 0, "delivered": 0, "rejected": 0, "gone": 0, "unknown": 0, "skipped": 0,
               "expired": 0, "cancelled": 0})
    );
    assert!(world.plans.take().is_some());
}

#[tokio::test]
async fn a_problem_names_each_field_and_stores_nothing() {
    let world = World::new();
    let answer = world
        .notify(post(
            "/api/notifications",
            r#"{"audience": {"users": ["a", 7]}, "mesage": {}}"#,
        ))
        .await;
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem = document(&answer);
    assert_eq!(
        (&problem["title"], &problem["status"]),
        (&json!("Bad Request"), &json!(400))
    );
    let pointers: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| &error["pointer"])
        .collect();
    assert_eq!(pointers, ["#/mesage", "#/audience/users/1", "#/message"]);
    assert!(world.plans.take().is_none());
}

#[tokio::test]
async fn a_malformed_or_oversized_body_is_refused() {
    let world = World::new();
    let broken = world
        .notify(post("/api/notifications", "{\"audience\": \n <secret>"))
        .await;
    assert_eq!(broken.status(), 400);
    assert!(text(&broken).contains("line 2"), "{}", text(&broken));
    assert!(!text(&broken).contains("secret"));
    let large = world
        .notify(post(
            "/api/notifications",
            &"x".repeat(notify::BODY_MAX_BYTES + 1),
        ))
        .await;
    assert_eq!(large.status(), 413);
}

fn keyed(key: &str, body: &Value) -> Request<Body> {
    let mut request = post("/api/notifications", &body.to_string());
    request
        .headers_mut()
        .insert("idempotency-key", HeaderValue::from_str(key).unwrap());
    request
}

#[tokio::test]
async fn the_same_key_and_body_is_the_same_notification() {
    let world = World::new();
    let mut first = document(&world.notify(keyed("k1", &hello())).await);
    assert_eq!(first.get("replayed"), None);
    let again = world.notify(keyed("k1", &hello())).await;
    assert_eq!(again.status(), 202);
    first["replayed"] = json!(true);
    assert_eq!(document(&again), first);
    let other_key = document(&world.notify(keyed("k2", &hello())).await);
    assert_ne!(other_key["id"], first["id"]);
}

#[tokio::test]
async fn a_replay_says_the_present_state() {
    let world = World::new();
    let first = document(&world.notify(keyed("k1", &hello())).await);
    world.work().await;
    let again = document(&world.notify(keyed("k1", &hello())).await);
    assert_eq!(
        (&again["id"], &again["state"], &again["replayed"]),
        (&first["id"], &json!("completed"), &json!(true))
    );
}

#[tokio::test]
async fn a_replay_is_the_same_notification_although_its_times_have_passed() {
    let world = World::new();
    let mut body = hello();
    body["deliverAt"] = json!(world.in_seconds(60).to_string());
    body["expiresAt"] = json!(world.in_seconds(120).to_string());
    let first = document(&world.notify(keyed("k1", &body)).await);
    world.pass(3600);
    let again = world.notify(keyed("k1", &body)).await;
    assert_eq!(again.status(), 202);
    assert_eq!(
        (&document(&again)["id"], &document(&again)["replayed"]),
        (&first["id"], &json!(true))
    );
    assert_eq!(world.notify(keyed("k2", &body)).await.status(), 400);
    body["message"]["text"] = json!("another");
    assert_eq!(world.notify(keyed("k1", &body)).await.status(), 400);
}

#[tokio::test]
async fn the_answer_warns_of_an_expiry_that_is_cut() {
    let world = World::new();
    let mut body = hello();
    body["expiresAt"] = json!("2999-01-01T00:00:00Z");
    let answer = world.notify(post("/api/notifications", &body.to_string())).await;
    assert_eq!(answer.status(), 202);
    let answer = document(&answer);
    assert_eq!(answer["warnings"][0]["code"], "expiryCapped");
    assert_eq!(answer["warnings"][0]["pointer"], "#/expiresAt");
}

#[tokio::test]
async fn the_same_key_and_another_body_is_a_conflict() {
    let world = World::new();
    world.notify(keyed("k1", &hello())).await;
    let mut other = hello();
    other["message"]["text"] = json!("something else");
    let answer = world.notify(keyed("k1", &other)).await;
    assert_eq!(answer.status(), 409);
    assert!(
        document(&answer)["detail"]
            .as_str()
            .unwrap()
            .contains("Idempotency-Key")
    );
}

/// A queue that is unavailable, or that accepts the message and loses its answer.
#[derive(Clone, Debug)]
enum Failing {
    Away,
    Deaf(herald::queue::memory::Queue),
}

impl Queue for Failing {
    async fn send(&self, messages: Vec<Message>) -> Result<(), Error> {
        if let Self::Deaf(queue) = self {
            queue.send(messages).await?;
        }
        Err(Error::Unavailable {
            source: "no answer".into(),
        })
    }
}

#[tokio::test]
async fn a_notification_that_cannot_be_enqueued_is_not_accepted() {
    let world = World::new();
    world.hears(&personal("ada", "installationUpdate")).await;
    let answer = world
        .notify_over(Failing::Away, post("/api/notifications", &hello().to_string()))
        .await;
    assert_eq!(
        (answer.status().as_u16(), document(&answer)["status"].as_u64()),
        (503, Some(503))
    );
    assert_eq!(answer.headers()["retry-after"], "2");
    // The same when the queue did accept the message: a refused notification is not sent.
    let deaf = Failing::Deaf(world.plans.clone());
    let answer = world
        .notify_over(deaf, post("/api/notifications", &hello().to_string()))
        .await;
    assert_eq!(answer.status(), 503);
    world.work().await;
    assert_eq!(world.channel.requests(), 0);
}

#[tokio::test]
async fn a_repeated_request_enqueues_what_the_first_could_not() {
    let world = World::new();
    world.hears(&personal("ada", "installationUpdate")).await;
    assert_eq!(
        world
            .notify_over(Failing::Away, keyed("k1", &hello()))
            .await
            .status(),
        503
    );
    for _ in 0..2 {
        assert_eq!(world.notify(keyed("k1", &hello())).await.status(), 202);
    }
    world.work().await;
    assert_eq!(world.channel.count("a:ada"), 1);
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_its_recorded_caller() {
    let world = World::new();
    let by = |arn: &str| {
        let fixture = include_str!("../../fixtures/events/notify-post.json");
        let mut event: Value = serde_json::from_str(fixture).unwrap();
        event["requestContext"]["authorizer"] = json!({"iam": {"userArn": arn}});
        event["headers"]["idempotency-key"] = json!("k1");
        tests::gateway::received(event).unwrap()
    };
    let mut ids = Vec::new();
    for arn in [
        "arn:aws:sts::1:assumed-role/builds/a",
        "arn:aws:sts::1:assumed-role/orders/a",
        "arn:aws:sts::1:assumed-role/builds/b",
    ] {
        let accepted = document(&world.notify(by(arn)).await);
        let status = world.notify(get(accepted["statusUrl"].as_str().unwrap())).await;
        let role = arn.rsplit_once('/').unwrap().0;
        assert!(
            document(&status)["caller"]
                .as_str()
                .unwrap()
                .starts_with(&format!("iam:{role}"))
        );
        ids.push(accepted["id"].clone());
    }
    assert_eq!(ids[0], ids[2]);
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn an_idempotency_key_is_short_ascii() {
    let world = World::new();
    for key in ["", "ä", &"k".repeat(256)] {
        assert_eq!(world.notify(keyed(key, &hello())).await.status(), 400, "{key}");
    }
    // The gateway joins a repeated header: it is one key.
    let mut twice = keyed("k1", &hello());
    twice
        .headers_mut()
        .append("idempotency-key", HeaderValue::from_static("k2"));
    let twice = document(&world.notify(twice).await);
    let joined = document(&world.notify(keyed("k1,k2", &hello())).await);
    assert_eq!(joined["id"], twice["id"]);
}

#[tokio::test]
async fn the_legacy_trigger_returns_its_page_and_sends_to_everyone() {
    let world = World::new();
    world.hears(&personal("ada", "installationUpdate")).await;
    let answer = world.notify(get("/api/notify")).await;
    assert_eq!(answer.status(), 200);
    let page = text(&answer);
    let id = &page[page.find("ntf_").unwrap()..][..36];
    assert!(page.contains(&format!(">{id}</a>")), "{page}");
    assert!(page.contains("more than 10000"), "{page}");
    world.work().await;
    assert_eq!(
        document(&world.notify(get(&format!("/api/notifications/{id}"))).await)["state"],
        "completed"
    );
    assert_eq!(world.channel.received()[0].activity["text"], "proactive hello");
}

#[tokio::test]
async fn unknown_paths_are_404_and_other_methods_are_405() {
    let world = World::new();
    for path in [
        "/api/notifications/ntf_0",
        "/api/notifications/ntf_0192f0c8a1b27c3d8e4f5a6b7c8d9e0f",
        "/api/notifications/ntf_0192f0c8a1b27c3d8e4f5a6b7c8d9e0f/explain",
        "/api/notifications/ntf_0192f0c8a1b27c3d8e4f5a6b7c8d9e0f/plan",
        "/api/notifications/ntf_0192f0c8a1b27c3d8e4f5a6b7c8d9e0f/deliveries",
        "/api/notifications/ntf_0192f0c8a1b27c3d8e4f5a6b7c8d9e0f/other",
        "/api",
        "/",
    ] {
        assert_eq!(world.notify(get(path)).await.status(), 404, "{path}");
    }
    for (method, path, allow) in [
        ("DELETE", "/api/notifications", "GET, POST"),
        ("HEAD", "/api/notify", "GET"),
        ("POST", "/api/notify", "GET"),
        ("DELETE", "", "GET"),
        ("GET", "/cancel", "POST"),
        ("POST", "/message", "PUT, DELETE"),
        ("POST", "/explain", "GET"),
        ("PUT", "/plan", "GET"),
        ("DELETE", "/deliveries", "GET"),
        ("POST", "/api/conversations", "GET"),
    ] {
        let path = if path.starts_with("/api") {
            path.to_owned()
        } else {
            format!("/api/notifications/ntf_0192f0c8a1b27c3d8e4f5a6b7c8d9e0f{path}")
        };
        let path = path.as_str();
        let answer = world.notify(request(method, path, Body::Empty)).await;
        assert_eq!(answer.status(), 405, "{method} {path}");
        assert_eq!(answer.headers()["allow"], allow);
    }
    assert!(world.plans.take().is_none());
}
