//! Notifications to many say how to opt out of them, as the deployment or their category decides.

use herald::id::NotificationId;
use herald::notification::way_out::{VERB, WayOutForm};
use lambda_http::Body;
use serde_json::{Value, json};

use crate::world::{World, document, get, personal, request, text};

const CARD: &str = "application/vnd.microsoft.card.adaptive";

/// A deployment that adds a line, with two categories of which one has a button and one has nothing.
async fn deployment(people: &[&str]) -> World {
    let mut world = World::of(people).await;
    world.way_out = WayOutForm::Line;
    for (name, document) in [
        ("news", json!({"title": "News", "wayOut": "button"})),
        ("alarms", json!({"title": "Alarms", "wayOut": "none"})),
    ] {
        let path = format!("/api/categories/{name}");
        let body = Body::Text(document.to_string());
        assert_eq!(world.notify(request("PUT", &path, body)).await.status(), 201);
    }
    world
}

fn to_everyone(category: Option<&str>, message: &Value) -> Value {
    let mut body = json!({"audience": {"everyone": true}, "message": message});
    if let Some(category) = category {
        body["category"] = json!(category);
    }
    body
}

fn card() -> Value {
    json!({"attachments": [{"contentType": CARD, "content": {"type": "AdaptiveCard", "version": "1.5", "body": []}}]})
}

/// The message that came last to a conversation.
fn last(world: &World, conversation: &str) -> Value {
    let received = world.channel.received().into_iter().rev();
    let mut of_conversation = received.filter(|one| one.conversation == conversation);
    of_conversation.next().unwrap().activity
}

async fn sent(world: &World, body: &Value) -> (NotificationId, Value) {
    let id = world.asks(body).await;
    world.work().await;
    (id, last(world, "a:ada"))
}

#[tokio::test(start_paused = true)]
async fn a_notification_to_many_has_the_way_out_of_its_category_or_of_the_deployment() {
    let world = deployment(&["ada", "ben"]).await;
    let hi = json!({"text": "hi"});
    let (id, message) = sent(&world, &to_everyone(None, &hi)).await;
    assert_eq!(message["text"], "hi\n\nTo stop these messages, say **stop**.");
    let status = document(&world.notify(get(&format!("/api/notifications/{id}"))).await);
    assert_eq!(status["wayOut"], "line");

    let (_, message) = sent(&world, &to_everyone(Some("news"), &card())).await;
    let action = &message["attachments"][0]["content"]["actions"][0];
    assert_eq!(
        (&action["verb"], &action["data"]["category"]),
        (&json!(VERB), &json!("news"))
    );
    // Nothing can be said about a category that is not declared.
    let (_, message) = sent(&world, &to_everyone(Some("builds"), &hi)).await;
    assert!(
        message["text"].as_str().unwrap().ends_with("say **stop**."),
        "{message}"
    );

    let (id, message) = sent(&world, &to_everyone(Some("alarms"), &hi)).await;
    assert_eq!(message["text"], "hi");
    let status = document(&world.notify(get(&format!("/api/notifications/{id}"))).await);
    assert_eq!(status["wayOut"], Value::Null);
    let to_one = json!({"audience": {"users": ["entra-ada"], "tenant": "tenant-1"}, "message": hi});
    let (_, message) = sent(&world, &to_one).await;
    assert_eq!(message["text"], "hi", "a message to one person");
}

#[tokio::test(start_paused = true)]
async fn an_edited_message_has_it_too_and_a_plan_says_when_there_is_none() {
    let world = deployment(&["ada", "ben"]).await;
    let (id, _) = sent(&world, &to_everyone(None, &json!({"text": "hi"}))).await;
    let path = format!("/api/notifications/{id}/message");
    let edit = request("PUT", &path, Body::Text(json!({"text": "hello"}).to_string()));
    assert_eq!(world.notify(edit).await.status(), 202);
    world.work().await;
    assert_eq!(
        last(&world, "a:ada")["text"],
        "hello\n\nTo stop these messages, say **stop**."
    );

    for (category, expected) in [(None, json!([])), (Some("alarms"), json!(["noWayOut"]))] {
        let mut dry_run = to_everyone(category, &json!({"text": "hi"}));
        dry_run["dryRun"] = json!(true);
        let id = world.asks(&dry_run).await;
        world.work().await;
        let plan = document(&world.notify(get(&format!("/api/notifications/{id}/plan"))).await);
        let warnings = plan["warnings"].as_array().into_iter().flatten();
        let codes: Vec<_> = warnings.map(|warning| warning["code"].clone()).collect();
        assert_eq!(json!(codes), expected, "{plan}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_button_opts_out_of_the_category_and_answers_without_replacing_the_notification() {
    let world = deployment(&["ada", "ben"]).await;
    let (_, message) = sent(&world, &to_everyone(Some("news"), &card())).await;
    let mut click = personal("ada", "invoke");
    click["name"] = json!("adaptiveCard/action");
    click["value"] = json!({"action": message["attachments"][0]["content"]["actions"][0]});
    let body = Body::Text(click.to_string());
    let answer = document(&world.messages(request("POST", "/api/messages", body)).await);
    assert_eq!(answer["type"], "application/vnd.microsoft.activity.message");
    // A client shows it as it is, without Markdown.
    assert_eq!(
        answer["value"],
        "I send nothing about News here any more. Say start news to get it again."
    );

    let before = world.channel.count("a:ada");
    world.asks(&to_everyone(Some("news"), &card())).await;
    world.work().await;
    assert_eq!(world.channel.count("a:ada"), before, "ada opted out");
    assert_eq!(world.channel.count("a:ben"), 2);
    let preferences = get("/api/people/entra-ada/preferences?tenant=tenant-1");
    let preferences = text(&world.notify(preferences).await);
    assert!(preferences.contains(r#""news":"optedOut""#), "{preferences}");
}
