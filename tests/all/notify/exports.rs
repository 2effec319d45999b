//! Export of conversations.

use lambda_http::{Body, Response};
use serde_json::{Value, json};

use super::imports::reference;
use crate::world::{World, document, in_channel, personal, post, request, text};

async fn world_of(people: usize) -> World {
    let world = World::new();
    for number in 0..people {
        world
            .hears(&personal(&format!("p{number}"), "installationUpdate"))
            .await;
    }
    world
}

async fn page(world: &World, body: &str, cursor: &str) -> Response<Body> {
    world
        .notify(post(&format!("/api/conversations/export{cursor}"), body))
        .await
}

/// All lines of an export, sorted, and the number of responses.
async fn lines(world: &World, body: &str) -> (Vec<String>, usize) {
    let (mut lines, mut answers, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let answer = page(world, body, &cursor).await;
        assert_eq!(answer.status(), 200, "{}", text(&answer));
        assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
        lines.extend(text(&answer).lines().map(str::to_owned));
        answers += 1;
        let Some(link) = answer.headers().get("link") else {
            assert!(!answer.headers().contains_key("herald-cursor"));
            lines.sort();
            return (lines, answers);
        };
        let plain = answer.headers()["herald-cursor"].to_str().unwrap();
        cursor = format!("?cursor={plain}");
        assert_eq!(
            link.to_str().unwrap(),
            format!("</api/conversations/export{cursor}>; rel=\"next\"")
        );
    }
}

fn names(lines: &[String]) -> Vec<String> {
    let documents = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut names: Vec<String> = documents
        .map(|line| {
            line["reference"]["conversation"]["id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_export_is_imported_unchanged_by_another_deployment() {
    let world = world_of(70).await;
    let mut left = personal("p7", "installationUpdate");
    left["action"] = json!("remove");
    world.hears(&left).await;
    world
        .hears(&in_channel("19:c@thread.tacv2;messageid=5", "message"))
        .await;
    let tag = "/api/conversations/msteams%7C28%3Abot%7Ca%3Ap3/tags/beta";
    assert_eq!(world.notify(request("PUT", tag, Body::Empty)).await.status(), 200);
    let (exported, _) = lines(&world, "").await;
    assert_eq!(exported.len(), 72);

    let other = World::new();
    let brought = other
        .notify(post("/api/conversations/import", &exported.join("\n")))
        .await;
    assert_eq!(document(&brought)["imported"], 72, "{}", text(&brought));
    assert_eq!(lines(&other, "{}").await.0, exported);
}

#[tokio::test]
async fn an_export_can_be_filtered() {
    let world = world_of(3).await;
    let mut left = personal("p1", "installationUpdate");
    left["action"] = json!("remove");
    world.hears(&left).await;
    world.hears(&in_channel("19:c@thread.tacv2", "message")).await;
    for (filter, expected) in [
        (json!({"user": "entra-p2"}), vec!["a:p2"]),
        (json!({"state": "removed"}), vec!["a:p1"]),
        (json!({"team": "19:team@thread.tacv2"}), vec!["19:c@thread.tacv2"]),
        (
            json!({"tenant": "tenant-1"}),
            vec!["19:c@thread.tacv2", "a:p0", "a:p1", "a:p2"],
        ),
        (json!({"tag": "beta"}), vec![]),
    ] {
        let (exported, _) = lines(&world, &filter.to_string()).await;
        assert_eq!(names(&exported), expected, "{filter}");
    }
}

#[tokio::test]
async fn everything_is_exported_once_over_all_segments() {
    let world = world_of(100).await;
    let (whole, _) = lines(&world, "").await;
    let mut parts = Vec::new();
    for segment in 0..4 {
        let part = lines(&world, &json!({"segment": segment, "segments": 4}).to_string()).await;
        parts.extend(part.0);
    }
    parts.sort();
    assert_eq!((whole.len(), &parts), (100, &whole));
}

#[tokio::test]
async fn a_page_of_an_export_stays_within_lambdas_response_limit() {
    let world = World::new();
    // Each quotation mark takes two bytes in a JSON string.
    let large = "\"".repeat(30_000);
    for number in 0..120 {
        let mut document = reference(&format!("p{number}"));
        document["novel"] = json!(large);
        let brought = world
            .notify(post("/api/conversations/import", &document.to_string()))
            .await;
        assert_eq!(crate::world::document(&brought)["imported"], 1);
    }
    let answer = page(&world, "", "").await;
    let bytes = json!(text(&answer)).to_string().len();
    assert!(bytes < 6 * 1024 * 1024, "{bytes}");
    let (exported, answers) = lines(&world, "").await;
    assert_eq!(exported.len(), 120);
    assert!(answers > 1);
}

#[tokio::test]
async fn a_malformed_filter_or_cursor_is_refused() {
    let world = world_of(1).await;
    for body in [
        "[]",
        "{",
        r#"{"tenants": "x"}"#,
        r#"{"tenant": 5}"#,
        r#"{"tenant": "x", "user": "y"}"#,
        r#"{"state": "active"}"#,
        r#"{"tag": ""}"#,
        r#"{"segment": 4, "segments": 4}"#,
        r#"{"segment": 0, "segments": 65}"#,
        r#"{"segment": 0}"#,
    ] {
        assert_eq!(page(&world, body, "").await.status(), 400, "{body}");
    }
    for cursor in ["?cursor=x", "?cursor=%20", "?limit=5"] {
        assert_eq!(page(&world, "", cursor).await.status(), 400, "{cursor}");
    }
    for method in ["PUT", "PATCH"] {
        let path = "/api/conversations/export";
        assert_eq!(
            world.notify(request(method, path, Body::Empty)).await.status(),
            405
        );
    }
}
