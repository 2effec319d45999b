//! `GET /api/notifications`, and the content in a status.

use herald::id::NotificationId;
use lambda_http::Body;
use serde_json::{Value, json};

use super::hello;
use super::plans::by;
use crate::world::{World, document, get, personal, request, text};

async fn listed(world: &World, query: &str) -> (Vec<Value>, Option<String>) {
    let answer = world.notify(get(&format!("/api/notifications{query}"))).await;
    assert_eq!(answer.status(), 200, "{}", text(&answer));
    let mut page = document(&answer);
    let Value::Array(found) = page["notifications"].take() else {
        panic!("{page}")
    };
    (found, page["next"].as_str().map(str::to_owned))
}

fn ids(found: &[Value]) -> Vec<&str> {
    found.iter().map(|found| found["id"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lost_id_is_found_in_the_list_newest_first() {
    let world = World::new();
    world.hears(&personal("ada", "installationUpdate")).await;
    let mut asked: Vec<NotificationId> = Vec::new();
    for _ in 0..5 {
        asked.push(world.asks(&hello()).await);
        world.pass(1);
    }
    asked.reverse();
    let asked: Vec<&str> = asked.iter().map(NotificationId::as_str).collect();
    world.work().await;
    let (found, next) = listed(&world, "").await;
    assert_eq!((ids(&found), next), (asked.clone(), None));
    assert_eq!(found[0]["state"], "completed");
    assert_eq!(found[0]["counts"]["delivered"], 1);
    assert_eq!(found[0].get("message"), None, "a list has no content");
    let (mut all, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let (found, next) = listed(&world, &query).await;
        assert!(found.len() <= 2);
        all.extend(found);
        let Some(next) = next else { break };
        query = format!("?limit=2&cursor={next}");
    }
    assert_eq!(ids(&all), asked);
}

#[tokio::test(start_paused = true)]
async fn the_list_is_filtered_by_caller_category_and_state() {
    let world = World::new();
    let mut news = hello();
    news["category"] = json!("news");
    let (_, of_builds) = by(&world, "builds", &news).await;
    world.work().await;
    let open = world.asks(&news).await;
    let caller = of_builds["caller"]
        .as_str()
        .unwrap_or("iam:arn:aws:sts::1:assumed-role/builds/other");
    for (query, expected) in [
        (
            format!("?caller={caller}"),
            vec![of_builds["id"].as_str().unwrap()],
        ),
        ("?caller=nobody".to_owned(), vec![open.as_str()]),
        ("?category=news&state=accepted".to_owned(), vec![open.as_str()]),
        (
            "?state=completed".to_owned(),
            vec![of_builds["id"].as_str().unwrap()],
        ),
        ("?category=new".to_owned(), vec![]),
        ("?state=held".to_owned(), vec![]),
    ] {
        assert_eq!(ids(&listed(&world, &query).await.0), expected, "{query}");
    }
    for query in ["?state=done", "?cursor=bnRmXzA", "?limit=0", "?callers=a"] {
        let answer = world.notify(get(&format!("/api/notifications{query}"))).await;
        assert_eq!(answer.status(), 400, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_shows_the_audience_as_asked_for_and_the_message_as_sent() {
    let world = World::new();
    let asked = json!({
        "audience": [{"users": ["entra-ada"], "tenant": "tenant-1"}, {"tag": "beta", "except": ["a:eve"]}],
        "message": {"text": "hello", "importance": "high"}});
    let id = world.asks(&asked).await;
    let path = format!("/api/notifications/{id}");
    let shown = document(&world.notify(get(&path)).await);
    assert_eq!(shown["audience"], asked["audience"]);
    assert_eq!(
        shown["message"],
        json!({"type": "message", "text": "hello", "importance": "high"})
    );
    let (of_message, better) = (format!("{path}/message"), json!({"text": "better"}));
    let edit = request("PUT", &of_message, Body::Text(better.to_string()));
    assert_eq!(world.notify(edit).await.status(), 202);
    let shown = document(&world.notify(get(&path)).await);
    assert_eq!(shown["message"]["text"], "better");
    let retract = request("DELETE", &of_message, Body::Empty);
    assert_eq!(world.notify(retract).await.status(), 202);
    let shown = document(&world.notify(get(&path)).await);
    assert_eq!(
        (shown.get("message"), &shown["revised"]["retracted"]),
        (None, &json!(true))
    );
}
