//! Import of conversations.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use herald::conversation::{Attributes, Conversation, ConversationKey, Scope, State};
use herald::store::memory::Store;
use herald::store::{ConversationFilter, ConversationSummary, Conversations};
use lambda_http::{Body, Response};
use serde_json::{Value, json};

use crate::faulty::{Faulty, unavailable};
use crate::world::{World, document, personal, post, text};

const TEAMS: &str = "https://smba.trafficmanager.net/emea/";

/// A reference as a classic SDK stores it.
pub(super) fn reference(name: &str) -> Value {
    json!({
        "activityId": "7", "channelId": "msteams", "serviceUrl": TEAMS, "locale": "de-DE",
        "user": {"id": format!("29:{name}"), "aadObjectId": format!("entra-{name}")},
        "bot": {"id": "28:bot"},
        "conversation": {"id": format!("a:{name}"), "conversationType": "personal", "tenantId": "tenant-1"},
    })
}

fn with(mut document: Value, path: &str, value: Value) -> Value {
    *document.pointer_mut(path).unwrap() = value;
    document
}

fn without(mut document: Value, names: &[&str]) -> Value {
    for name in names {
        document.as_object_mut().unwrap().remove(*name);
    }
    document
}

async fn bring(world: &World, body: &str) -> Response<Body> {
    world.notify(post("/api/conversations/import", body)).await
}

async fn taken(world: &World, lines: &[String]) -> Value {
    let answer = bring(world, &lines.join("\n")).await;
    assert_eq!(answer.status(), 200, "{}", text(&answer));
    document(&answer)
}

async fn recall(world: &World, conversation: &str) -> Conversation {
    let key = format!("msteams|28:bot|{conversation}").parse().unwrap();
    world.store.get_many(&[key]).await.unwrap().remove(0)
}

#[tokio::test]
async fn importing_a_file_twice_changes_nothing() {
    let world = World::new();
    let agent = {
        let mut document = without(reference("eve"), &["bot"]);
        document["agent"] = json!({"id": "28:bot"});
        document
    };
    let lines = [
        format!("\u{feff}{}\r", reference("ada")),
        String::new(),
        "  \t\r".to_owned(),
        agent.to_string(),
        String::new(),
    ];
    let first = taken(&world, &lines).await;
    assert_eq!(
        first,
        json!({"lines": 2, "imported": 2, "unchanged": 0, "refused": [], "refusedCount": 0})
    );
    assert_eq!(
        recall(&world, "a:eve").await.attributes.account,
        Some("29:eve".into())
    );
    let again = taken(&world, &lines).await;
    assert_eq!(
        (&again["imported"], &again["unchanged"]),
        (&json!(0), &json!(2)),
        "{again}"
    );
    assert_eq!(recall(&world, "a:ada").await.version, 1);
    let nothing = document(&bring(&world, "").await);
    assert_eq!(nothing["lines"], 0);
}

/// Lines that must be refused, with their errors. An error quotes nothing of its line.
fn wrong_lines() -> Vec<(String, &'static str)> {
    let hostile = "https://smba.trafficmanager.net.evil.example/secret/";
    let record = |record: Value| {
        let mut whole = json!({"reference": reference("x")});
        whole
            .as_object_mut()
            .unwrap()
            .extend(record.as_object().unwrap().clone());
        whole
    };
    vec![
        ("{secret".to_owned(), "not JSON"),
        ("\"secret\"".to_owned(), "expected a JSON object"),
        (
            "{}".to_owned(),
            "conversation.id, channelId, bot.id, serviceUrl: missing",
        ),
        (
            without(reference("x"), &["bot", "serviceUrl"]).to_string(),
            "bot.id, serviceUrl: missing",
        ),
        (
            with(reference("x"), "/conversation/id", json!("")).to_string(),
            "conversation.id: missing",
        ),
        (
            with(reference("x"), "/conversation/id", json!(5)).to_string(),
            "conversation.id: expected a string, found a number",
        ),
        (
            with(reference("x"), "/bot/id", json!("secret\n")).to_string(),
            "no id",
        ),
        (
            with(reference("x"), "/locale", json!("secret".repeat(12_000))).to_string(),
            "larger than 65536 bytes",
        ),
        (
            with(reference("x"), "/serviceUrl", json!(hostile)).to_string(),
            "service URL has a host that is not trusted",
        ),
        (
            with(
                reference("x"),
                "/serviceUrl",
                json!("http://smba.trafficmanager.net/emea/"),
            )
            .to_string(),
            "service URL must begin with https://",
        ),
        (
            with(
                reference("x"),
                "/serviceUrl",
                json!("https://secret@smba.trafficmanager.net/"),
            )
            .to_string(),
            "malformed host",
        ),
        (
            with(
                reference("x"),
                "/serviceUrl",
                json!("https://slack.botframework.com/"),
            )
            .to_string(),
            "not trusted",
        ),
        (
            record(json!({"serviceUrls": [TEAMS, hostile]})).to_string(),
            "service URL has a host that is not trusted",
        ),
        (
            json!({"reference": with(reference("x"), "/serviceUrl", json!(hostile)), "serviceUrls": [TEAMS]})
                .to_string(),
            "not trusted",
        ),
        (
            record(json!({"serviceUrls": "secret"})).to_string(),
            "serviceUrls: must be a list",
        ),
        (record(json!({"tags": ["\n"]})).to_string(), "tags: must be"),
        (
            record(json!({"tags": ["a", "a"], "state": "secret"})).to_string(),
            "state: must be",
        ),
        (record(json!({"state": "blocked"})).to_string(), "state: must be"),
        (record(json!({"scope": "secret"})).to_string(), "scope: must be"),
        (
            record(json!({"scope": "personal", "tenant": 5})).to_string(),
            "tenant: must be an id",
        ),
    ]
}

#[tokio::test]
async fn invalid_lines_are_refused_by_number_and_the_rest_is_imported() {
    let (world, wrong) = (World::new(), wrong_lines());
    let mut lines = vec![reference("ada").to_string()];
    lines.extend(wrong.iter().map(|(line, _)| line.clone()));
    lines.push(reference("eve").to_string());
    let answer = taken(&world, &lines).await;
    assert_eq!(
        (&answer["imported"], &answer["refusedCount"], &answer["lines"]),
        (&json!(2), &json!(wrong.len()), &json!(wrong.len() + 2)),
        "{answer}"
    );
    for ((refused, (line, reason)), number) in
        answer["refused"].as_array().unwrap().iter().zip(&wrong).zip(2..)
    {
        assert_eq!(refused["line"], number, "{line}");
        let detail = refused["detail"].as_str().unwrap();
        assert!(
            detail.contains(reason),
            "{detail}: {}",
            &line[..line.len().min(200)]
        );
    }
    assert!(!answer.to_string().contains("secret") && !answer.to_string().contains("evil"));
    assert_eq!(everyone(&world.store).await.len(), 2);
}

async fn everyone(store: &Store) -> Vec<ConversationSummary> {
    let everyone = ConversationFilter::Everyone {
        segment: 0,
        segments: 1,
    };
    store.list(&everyone, None, 100).await.unwrap().items
}

#[tokio::test]
async fn all_refused_lines_are_counted_and_a_hundred_are_listed() {
    let world = World::new();
    let answer = taken(&world, &vec!["?".to_owned(); 150]).await;
    assert_eq!(answer["refusedCount"], 150);
    assert_eq!(answer["refused"].as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn an_import_has_the_attributes_of_an_activity() {
    let world = World::new();
    // Old payloads of Teams have no conversation type, and the tenant only in the channel data.
    let mut old = with(
        reference("ada"),
        "/conversation",
        json!({"id": "19:general", "isGroup": true}),
    );
    old["channelData"] = json!({"team": {"id": "19:general"}, "tenant": {"id": "tenant-9"}});
    let thread = with(reference("ada"), "/conversation/id", json!("19:c;messageid=5"));
    let mut elsewhere = with(reference("bob"), "/channelId", json!("slack"));
    elsewhere["channelData"] = json!({"team": {"id": "19:general"}, "tenant": {"id": "tenant-9"}});
    let lines = [old, thread, elsewhere].map(|line| line.to_string());
    assert_eq!(taken(&world, &lines).await["imported"], 3);
    let general = recall(&world, "19:general").await.attributes;
    let expected = Attributes {
        scope: Scope::Channel,
        tenant: Some("tenant-9".into()),
        user: None,
        account: None,
        team: Some("19:general".into()),
        tags: Vec::new(),
    };
    assert_eq!(general, expected);
    // A thread, and its channel.
    for id in ["19:c", "19:c;messageid=5"] {
        assert_eq!(recall(&world, id).await.attributes.scope, Scope::Channel);
    }
    // Entra ids and Teams ids are trusted from Teams only.
    let key: ConversationKey = "slack|28:bot|a:bob".parse().unwrap();
    let slack = world.store.get_many(&[key]).await.unwrap().remove(0).attributes;
    assert_eq!((slack.user, slack.account, slack.team), (None, None, None));
}

#[tokio::test]
async fn an_import_keeps_a_removal_and_the_latest_service_url() {
    let world = World::new();
    world.hears(&personal("ada", "message")).await;
    let mut left = personal("ada", "installationUpdate");
    left["action"] = json!("remove");
    world.hears(&left).await;
    taken(&world, &[reference("ada").to_string()]).await;
    let ada = recall(&world, "a:ada").await;
    assert_eq!(ada.state, State::Removed);
    assert_eq!(ada.service_urls, [crate::world::SERVICE_URL, TEAMS]);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_with_advice_to_split_it() {
    let world = World::new();
    let answer = bring(&world, &" ".repeat(notify::IMPORT_MAX_BYTES + 1)).await;
    assert_eq!(answer.status(), 413);
    assert!(text(&answer).contains("split -C 4m"), "{}", text(&answer));
    assert_eq!(
        bring(&world, &" ".repeat(notify::IMPORT_MAX_BYTES))
            .await
            .status(),
        200
    );
}

/// A store whose calls take this long, and fail after so many imports.
fn failing(store: &Store, imports: usize, takes: Duration) -> Faulty<Store> {
    let left = Arc::new(AtomicUsize::new(imports));
    Faulty::new(store.clone(), move || {
        let left = Arc::clone(&left);
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            let one_less = |left: usize| left.checked_sub(1);
            let left = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
            left.map(drop).map_err(|_| unavailable())
        })
    })
}

#[tokio::test]
async fn an_import_that_failed_halfway_can_be_repeated() {
    let world = World::new();
    let lines: Vec<String> = (0..60)
        .map(|number| reference(&format!("p{number}")).to_string())
        .collect();
    let failing = failing(&world.store, 40, Duration::ZERO);
    let request = post("/api/conversations/import", &lines.join("\n"));
    let answer = world.notify_by(world.plans.clone(), failing, request).await;
    assert_eq!(answer.status(), 503);
    assert!(
        text(&answer).contains("every line before line 41 is stored"),
        "{}",
        text(&answer)
    );
    assert_eq!(answer.headers()["retry-after"], "2");
    let again = taken(&world, &lines).await;
    assert_eq!(
        (&again["imported"], &again["unchanged"]),
        (&json!(20), &json!(40)),
        "{again}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_import_is_answered_in_time_and_continued() {
    let world = World::new();
    let lines: Vec<String> = (0..1_000)
        .map(|number| reference(&format!("p{number}")).to_string())
        .collect();
    let slow = failing(&world.store, usize::MAX, Duration::from_millis(500));
    let began = world.now();
    let request = post("/api/conversations/import", &lines.join("\n"));
    let answer = world.notify_by(world.plans.clone(), slow, request).await;
    assert_eq!(answer.status(), 503);
    assert!(
        world.now().duration_since(began).as_secs() < 29,
        "API Gateway waits no longer"
    );
    let detail = text(&answer);
    let next = detail.split("every line before line ").nth(1).unwrap();
    let next: usize = next.split(' ').next().unwrap().parse().unwrap();
    assert!((2..1_000).contains(&next), "{detail}");
    for line in [0, next - 2] {
        let name = format!("a:p{line}");
        assert_eq!(recall(&world, &name).await.state, State::Active);
    }
    let rest = taken(&world, &lines[next - 1..]).await;
    assert_eq!(rest["lines"], 1_001 - next);
    assert_eq!(taken(&world, &lines).await["unchanged"], 1_000);
}
