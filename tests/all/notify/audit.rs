//! Audit lines, and who may change a notification.

use lambda_http::Body;
use serde_json::{Value, json};
use tests::logs::{Line, Logs};

use super::plans::by;
use super::{hello, keyed};
use crate::world::{World, document, get, personal, post, request, text};

fn line(fields: &[(&str, &str)]) -> Line {
    let own = [("audit", "true"), ("message", "audit")];
    let fields = own.iter().chain(fields);
    fields
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn each_change_export_and_erasure_leaves_one_audit_line() {
    let world = World::new();
    for person in ["ada", "eve"] {
        world.hears(&personal(person, "installationUpdate")).await;
    }
    let (logs, _recording) = Logs::record();
    let accepted = document(&world.notify(keyed("k1", &hello())).await);
    let id = accepted["id"].as_str().unwrap();
    world.notify(keyed("k1", &hello())).await;
    world.work().await;
    let path = |rest: &str| format!("/api/notifications/{id}/{rest}");
    let one = |name: &str| format!("/api/conversations/msteams%7C28:bot%7Ca:{name}");
    let reference = json!({"bot": {"id": "28:bot"}, "channelId": "msteams", "serviceUrl": crate::world::SERVICE_URL,
        "conversation": {"id": "a:new", "conversationType": "personal"}, "user": {"id": "29:new"}});
    for (method, path, body) in [
        (
            "PUT",
            path("message"),
            json!({"text": "secret words"}).to_string(),
        ),
        (
            "PUT",
            path("message"),
            json!({"text": "secret words"}).to_string(),
        ),
        ("DELETE", path("message"), String::new()),
        ("GET", path("deliveries"), String::new()),
        ("PUT", format!("{}/tags/beta", one("ada")), String::new()),
        ("DELETE", format!("{}/tags/beta", one("ada")), String::new()),
        (
            "POST",
            "/api/conversations/import".to_owned(),
            reference.to_string(),
        ),
        ("POST", "/api/conversations/export".to_owned(), String::new()),
        ("DELETE", one("new"), String::new()),
        ("DELETE", "/api/users/entra-eve".to_owned(), String::new()),
        // What changes nothing.
        ("DELETE", one("new"), String::new()),
        ("GET", one("ada"), String::new()),
    ] {
        let body = if body.is_empty() {
            Body::Empty
        } else {
            Body::Text(body)
        };
        let answer = world.notify(request(method, &path, body)).await;
        assert!(
            !answer.status().is_server_error(),
            "{method} {path}: {}",
            text(&answer)
        );
    }
    let of = |action, count| {
        line(&[
            ("action", action),
            ("caller", "nobody"),
            ("notification", id),
            ("count", count),
        ])
    };
    let conversations = |action, count| line(&[("action", action), ("caller", "nobody"), ("count", count)]);
    let mut expected = vec![line(&[
        ("action", "accept"),
        ("caller", "nobody"),
        ("notification", id),
    ])];
    expected.extend([of("edit", "2"), of("retract", "2"), of("report", "2")]);
    expected.extend([
        conversations("tag", "1"),
        conversations("untag", "1"),
        conversations("import", "1"),
        conversations("export", "3"),
        conversations("eraseConversation", "1"),
        conversations("eraseUser", "1"),
    ]);
    assert_eq!(logs.with("audit"), expected);
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_is_audited_with_what_it_stops() {
    let world = World::new();
    world.hears(&personal("ada", "installationUpdate")).await;
    let id = world.asks(&hello()).await;
    world.plan().await;
    let (logs, _recording) = Logs::record();
    world
        .notify(post(&format!("/api/notifications/{id}/cancel"), ""))
        .await;
    let (action, count) = (("action", "cancel"), ("count", "1"));
    let expected = line(&[action, ("caller", "nobody"), ("notification", id.as_str()), count]);
    assert_eq!(logs.with("audit"), [expected]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_changes_its_own_notifications_and_an_operator_those_of_all() {
    let mut world = World::new();
    let (_, accepted) = by(&world, "builds", &hello()).await;
    let id = accepted["id"].as_str().unwrap().to_owned();
    let changes = |id: &str| {
        let path = format!("/api/notifications/{id}");
        [
            request(
                "PUT",
                &format!("{path}/message"),
                Body::Text(json!({"text": "better"}).to_string()),
            ),
            post(&format!("{path}/cancel"), ""),
            request("DELETE", &format!("{path}/message"), Body::Empty),
        ]
    };
    let (logs, _recording) = Logs::record();
    for change in changes(&id) {
        let answer = world.notify(change).await;
        assert_eq!(answer.status(), 403, "{}", text(&answer));
        assert!(text(&answer).contains("Operators"), "{}", text(&answer));
    }
    assert_eq!(logs.with("audit"), []);
    let refused: Vec<String> = logs
        .with("error_type")
        .into_iter()
        .map(|line| line["action"].clone())
        .collect();
    assert_eq!(refused, ["edit", "cancel", "retract"]);
    let status = document(&world.notify(get(&format!("/api/notifications/{id}"))).await);
    assert_eq!(
        (&status["revision"], status.get("cancelledAt")),
        (&json!(0), None::<&Value>)
    );
    world.operators = vec!["arn:aws:iam::1:role/ops".to_owned(), "nobody".to_owned()];
    for change in changes(&id) {
        let answer = world.notify(change).await;
        assert!(answer.status().is_success(), "{}", text(&answer));
    }
}
