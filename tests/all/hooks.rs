//! Hooks: their administration, and what tools post to them.

use lambda_http::Body;
use lambda_http::http::{HeaderValue, Request, Response};
use serde_json::{Value, json};

use crate::world::{World, document, get, post, request, text};

/// A hook for everyone with these further fields, and the path of its address.
async fn made(world: &World, more: &Value) -> (Value, String) {
    let mut body = json!({"name": "alerts", "audience": {"everyone": true}});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let create = with_headers("/api/hooks", &body.to_string(), &[("host", "127.0.0.1:3978")]);
    let answer = world.notify(create).await;
    assert_eq!(answer.status(), 201, "{}", text(&answer));
    let hook = document(&answer);
    let url = hook["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("http://127.0.0.1:3978/api/hooks/hook_"), "{url}");
    (
        hook,
        url.strip_prefix("http://127.0.0.1:3978").unwrap().to_owned(),
    )
}

async fn posts(world: &World, path: &str, payload: &Value) -> Response<Body> {
    world.notify(post(path, &payload.to_string())).await
}

fn with_headers(path: &str, body: &str, headers: &[(&'static str, &str)]) -> Request<Body> {
    let mut request = post(path, body);
    for (name, value) in headers {
        request
            .headers_mut()
            .insert(*name, HeaderValue::from_str(value).unwrap());
    }
    request
}

async fn notifications(world: &World) -> Vec<Value> {
    let listed = document(&world.notify(get("/api/notifications")).await);
    listed["notifications"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_a_tool_posts_reaches_the_hooks_audience() {
    let world = World::of(&["ada"]).await;
    let (hook, path) = made(&world, &json!({"category": "alerts"})).await;
    let answer = posts(&world, &path, &json!({"text": "The disk is full"})).await;
    assert_eq!((answer.status().as_u16(), text(&answer).as_str()), (200, "1"));
    let alerts: Value = serde_json::from_str(include_str!("../fixtures/hooks/alertmanager.json")).unwrap();
    assert_eq!(posts(&world, &path, &alerts).await.status(), 200);
    world.work().await;
    let sent: Vec<Value> = world
        .channel
        .received()
        .into_iter()
        .map(|sent| serde_json::to_value(sent.activity).unwrap())
        .collect();
    assert!(sent.iter().any(|activity| activity["text"] == "The disk is full"));
    let card = sent
        .iter()
        .find(|activity| activity["attachments"].is_array())
        .unwrap();
    assert_eq!(card["summary"], "[FIRING:2] DiskWillFillIn4Hours");
    let listed = notifications(&world).await;
    assert_eq!(listed.len(), 2);
    let caller = format!("hook:{}", hook["id"].as_str().unwrap());
    assert!(
        listed
            .iter()
            .all(|one| one["caller"] == caller && one["category"] == "alerts")
    );
    assert_eq!(listed[0]["priority"], "urgent", "a critical alert is urgent");
}

#[tokio::test]
async fn the_address_is_shown_once_and_a_wrong_one_does_not_exist() {
    let world = World::of(&["ada"]).await;
    let (hook, path) = made(&world, &json!({})).await;
    let id = hook["id"].as_str().unwrap();
    let secret = path.rsplit('/').next().unwrap();
    for shown in ["/api/hooks".to_owned(), format!("/api/hooks/{id}")] {
        let answer = world.notify(get(&shown)).await;
        assert_eq!(answer.status(), 200);
        assert!(
            text(&answer).contains(id) && !text(&answer).contains(secret),
            "{shown}"
        );
    }
    let hello = json!({"text": "hello"});
    let wrong = posts(&world, &format!("/api/hooks/{id}/{}", "x".repeat(43)), &hello).await;
    let unknown = posts(
        &world,
        &format!("/api/hooks/hook_{}/{secret}", "f".repeat(32)),
        &hello,
    )
    .await;
    assert_eq!((wrong.status().as_u16(), unknown.status().as_u16()), (404, 404));
    assert_eq!(
        text(&wrong),
        text(&unknown),
        "nobody learns which hooks there are"
    );

    let rotated = world
        .notify(request("PUT", &format!("/api/hooks/{id}/secret"), Body::Empty))
        .await;
    assert_eq!(rotated.status(), 200);
    let url = document(&rotated)["url"].as_str().unwrap().to_owned();
    assert_eq!(posts(&world, &path, &hello).await.status(), 404);
    let path = url.as_str();
    assert!(
        path.starts_with("/api/hooks/"),
        "without a host it is the path: {path}"
    );
    assert_eq!(posts(&world, path, &hello).await.status(), 200);

    let deleted = world
        .notify(request("DELETE", &format!("/api/hooks/{id}"), Body::Empty))
        .await;
    assert_eq!(deleted.status(), 204);
    assert_eq!(posts(&world, path, &hello).await.status(), 404);
    assert_eq!(notifications(&world).await.len(), 1);
}

#[tokio::test]
async fn a_hook_that_is_posted_to_too_fast_asks_to_wait() {
    let world = World::of(&["ada"]).await;
    let (_, path) = made(&world, &json!({"perMinute": 12})).await;
    let hello = json!({"text": "hello"});
    assert_eq!(posts(&world, &path, &hello).await.status(), 200);
    assert_eq!(posts(&world, &path, &hello).await.status(), 200);
    let refused = posts(&world, &path, &hello).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "5");
    world.pass(5);
    assert_eq!(posts(&world, &path, &hello).await.status(), 200);
    assert_eq!(notifications(&world).await.len(), 3);
}

#[tokio::test]
async fn githubs_signature_is_checked_and_its_delivery_counts_once() {
    let world = World::of(&["ada"]).await;
    let (hook, path) = made(&world, &json!({"githubSecret": "It's a Secret to Everybody"})).await;
    assert_eq!(hook["checksGithubSignature"], true);
    let body = include_str!("../fixtures/hooks/github-push.json");
    let tag = ring::hmac::sign(
        &ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"It's a Secret to Everybody"),
        body.as_bytes(),
    );
    let digits: Vec<String> = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let signature = format!("sha256={}", digits.concat());
    let signed = [
        ("x-github-event", "push"),
        ("x-github-delivery", "00000000-0000-4000-8000-000000000007"),
        ("x-hub-signature-256", signature.as_str()),
    ];
    for _ in 0..2 {
        let answer = world.notify(with_headers(&path, body, &signed)).await;
        assert_eq!(answer.status(), 200, "{}", text(&answer));
    }
    assert_eq!(notifications(&world).await.len(), 1);
    assert_eq!(
        world
            .notify(with_headers(&path, body, &signed[..2]))
            .await
            .status(),
        401
    );
    let other = body.replace("main", "evil");
    assert_eq!(
        world.notify(with_headers(&path, &other, &signed)).await.status(),
        401
    );
    let id = hook["id"].as_str().unwrap();
    let rotate = |body: &str| {
        request(
            "PUT",
            &format!("/api/hooks/{id}/secret"),
            Body::Text(body.to_owned()),
        )
    };
    assert_eq!(
        world.notify(rotate("")).await.status(),
        400,
        "the check must not be lost silently"
    );
    let rotated = world.notify(rotate(r#"{"githubSecret": "another"}"#)).await;
    assert_eq!(document(&rotated)["checksGithubSignature"], true);
}

#[tokio::test]
async fn what_is_no_payload_sends_nothing_and_a_ping_is_taken() {
    let world = World::of(&["ada"]).await;
    let (_, path) = made(&world, &json!({})).await;
    for (body, status) in [
        ("{}", 400),
        ("<xml/>", 400),
        ("", 400),
        (r#"{"text": 7}"#, 400),
        (&format!(r#"{{"text": "{}"}}"#, "x".repeat(256 * 1024)), 413),
    ] {
        assert_eq!(
            world.notify(post(&path, body)).await.status(),
            status,
            "{}",
            &body[..body.len().min(20)]
        );
    }
    let ping = with_headers(
        &path,
        r#"{"zen": "Keep it logically awesome."}"#,
        &[("x-github-event", "ping")],
    );
    let answer = world.notify(ping).await;
    assert_eq!((answer.status().as_u16(), text(&answer).as_str()), (200, "1"));
    assert!(notifications(&world).await.is_empty());
}

#[tokio::test]
async fn a_wrong_hook_is_refused_as_a_wrong_notification_is() {
    let world = World::new();
    let answer = world
        .notify(post(
            "/api/hooks",
            r#"{"name": "a", "audiance": {"everyone": true}, "perMinute": 1000}"#,
        ))
        .await;
    assert_eq!(answer.status(), 400);
    let problem = document(&answer);
    let pointers = problem["errors"].as_array().unwrap().iter();
    let pointers: Vec<_> = pointers.map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["#/audiance", "#/perMinute", "#/audience"]);
}
