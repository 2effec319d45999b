//! Both names of a conversation are understood, and what matches nothing is reported.

use herald::store::Notifications;
use lambda_http::Body;
use serde_json::{Value, json};

use crate::world::{World, document, get, in_channel, personal, post, request, text};

const KEY: &str = "msteams|28:bot|a:ada";
const TEAM: &str = "19:team@thread.tacv2";

fn to(audience: &Value) -> Value {
    json!({"audience": audience, "message": {"text": "hello"}})
}

/// The codes and pointers of the warnings in a document.
fn warnings(document: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let warnings = document["warnings"].as_array().into_iter().flatten();
    warnings
        .map(|warning| (text(&warning["code"]), text(&warning["pointer"])))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn who_is_excluded_by_key_or_id_gets_nothing() {
    for except in [KEY, "a:ada", "entra-ada", "29:ada"] {
        let world = World::of(&["ada", "eve"]).await;
        for audience in [
            json!({"everyone": true, "except": [except]}),
            json!({"tenant": "tenant-1", "except": [except]}),
            json!({"users": ["entra-ada", "entra-eve"], "except": [except]}),
            json!({"conversations": [KEY, "a:eve"], "except": [except]}),
        ] {
            let before = world.channel.count("a:eve");
            let asked = to(&audience);
            let answer = world.notify(post("/api/notifications", &asked.to_string())).await;
            assert_eq!(warnings(&document(&answer)), [], "{asked}");
            world.work().await;
            assert_eq!(world.channel.count("a:ada"), 0, "{asked}");
            assert_eq!(world.channel.count("a:eve"), before + 1, "{asked}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_conversation_is_sent_to_by_either_of_its_names_once() {
    let world = World::of(&["ada"]).await;
    world.hears(&in_channel(TEAM, "conversationUpdate")).await;
    let team = format!("msteams|28:bot|{TEAM}");
    for (audience, conversation) in [
        (json!({"conversations": [KEY, "a:ada"]}), "a:ada"),
        (
            json!([{"conversations": [KEY]}, {"conversations": ["a:ada"]}]),
            "a:ada",
        ),
        (json!({"channel": team}), TEAM),
        (json!({"team": team, "to": "general"}), TEAM),
        (json!({"groupChat": KEY}), "a:ada"),
    ] {
        let before = world.channel.count(conversation);
        world.asks(&to(&audience)).await;
        world.work().await;
        assert_eq!(world.channel.count(conversation), before + 1, "{audience}");
    }
    let before = world.channel.requests();
    let of_another_bot = world
        .asks(&to(&json!({"conversations": ["msteams|28:other|a:ada"]})))
        .await;
    world.work().await;
    assert_eq!(
        world.channel.requests(),
        before,
        "the key of another bot is not this one"
    );
    let status = document(
        &world
            .notify(get(&format!("/api/notifications/{of_another_bot}")))
            .await,
    );
    assert_eq!(status["counts"]["skipped"], 1);
    assert_eq!(warnings(&status), [("notRemembered".to_owned(), String::new())]);
}

#[tokio::test(start_paused = true)]
async fn a_conversation_is_shown_tagged_and_erased_by_its_id() {
    let world = World::of(&["ada"]).await;
    let path = "/api/conversations/a:ada";
    let shown = document(&world.notify(get(path)).await);
    assert_eq!(shown["conversation"], KEY);
    let tag = request("PUT", &format!("{path}/tags/beta"), Body::Empty);
    assert_eq!(document(&world.notify(tag).await)["tags"], json!(["beta"]));
    for (path, status) in [
        ("/api/conversations/a:nobody".to_owned(), 404),
        (format!("/api/conversations/{}", "x".repeat(3000)), 400),
    ] {
        assert_eq!(world.notify(get(&path)).await.status(), status);
    }
    let mut other = personal("ada", "installationUpdate");
    other["recipient"]["id"] = json!("28:other");
    world.hears(&other).await;
    let erase = || request("DELETE", path, Body::Empty);
    let answer = world.notify(erase()).await;
    assert_eq!(answer.status(), 409, "{}", text(&answer));
    let one = "/api/conversations/msteams%7C28:other%7Ca:ada";
    assert_eq!(
        world.notify(request("DELETE", one, Body::Empty)).await.status(),
        204
    );
    assert_eq!(world.notify(erase()).await.status(), 204);
    assert_eq!(world.notify(erase()).await.status(), 404);
}

#[tokio::test(start_paused = true)]
async fn an_excluded_id_that_matches_nothing_is_reported() {
    let world = World::of(&["ada"]).await;
    let asked = to(&json!([
        {"tag": "beta"},
        {"everyone": true, "except": ["a:ada", "a:adda", "msteams|28:bot|a:adda", "entra-ada", "entra-adda", "29:adda"]}]));
    let answer = world.notify(post("/api/notifications", &asked.to_string())).await;
    assert_eq!(answer.status(), 202);
    let at = |place: usize| {
        (
            "nothingExcluded".to_owned(),
            format!("#/audience/1/except/{place}"),
        )
    };
    assert_eq!(warnings(&document(&answer)), [at(1), at(2), at(4), at(5)]);
}

#[tokio::test(start_paused = true)]
async fn a_selector_that_matches_nothing_is_reported_once_the_audience_is_read() {
    let world = World::of(&["ada"]).await;
    let nothing = |pointer: &str| ("nothingMatched".to_owned(), pointer.to_owned());
    for (audience, expected) in [
        (json!({"tag": "nope"}), vec![nothing("#/audience")]),
        (json!({"tenant": "tenant-9"}), vec![nothing("#/audience")]),
        (
            json!({"everyone": true, "scope": "groupChat"}),
            vec![nothing("#/audience")],
        ),
        (
            json!([{"tag": "nope"}, {"everyone": true}, {"tenant": "tenant-1"}, {"tenant": "tenant-9"}]),
            vec![nothing("#/audience/0"), nothing("#/audience/3")],
        ),
        (json!({"everyone": true}), vec![]),
        (json!({"users": ["entra-ada"]}), vec![]),
    ] {
        let id = world.asks(&to(&audience)).await;
        let path = format!("/api/notifications/{id}");
        assert_eq!(
            warnings(&document(&world.notify(get(&path)).await)),
            [],
            "{audience}"
        );
        world.work().await;
        let status = document(&world.notify(get(&path)).await);
        assert_eq!(warnings(&status), expected, "{audience}");
        let stored = world.store.find(&id).await.unwrap().unwrap();
        assert_eq!(stored.state(), herald::notification::State::Completed);
        let mut dry = to(&audience);
        dry["dryRun"] = json!(true);
        let id = world.asks(&dry).await;
        world.work().await;
        let plan = world.notify(get(&format!("/api/notifications/{id}/plan"))).await;
        assert_eq!(warnings(&document(&plan)), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_audience_of_which_all_are_gone_is_told_from_an_empty_one() {
    let world = World::of(&["ada"]).await;
    let mut removal = personal("ada", "installationUpdate");
    removal["action"] = json!("remove");
    world.hears(&removal).await;
    let id = world.asks(&to(&json!({"everyone": true}))).await;
    world.work().await;
    let status = document(&world.notify(get(&format!("/api/notifications/{id}"))).await);
    assert_eq!(warnings(&status), [("nobodyReachable".to_owned(), String::new())]);
}

#[tokio::test(start_paused = true)]
async fn a_person_whose_tenant_is_not_known_is_skipped_for_that() {
    let world = World::of(&["ada"]).await;
    for (policy, reason) in [("create", "tenantUnknown"), ("skip", "noConversation")] {
        for audience in [json!({"users": ["entra-zoe"]}), json!({"accounts": ["29:zoe"]})] {
            let mut asked = to(&audience);
            asked["ifNoConversation"] = json!(policy);
            let id = world.asks(&asked).await;
            world.work().await;
            let path = format!("/api/notifications/{id}/deliveries");
            let listed = document(&world.notify(get(&path)).await);
            let delivery = &listed["deliveries"][0];
            assert_eq!(
                (&delivery["state"], &delivery["reason"]),
                (&json!("skipped"), &json!(reason))
            );
        }
    }
}
