//! Import of conversations.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use herald::conversation::{Attributes, Conversation, ConversationKey, Scope, State};
use herald::store::memory::Store;
use herald::store::{ConversationFilter, ConversationSummary, Conversations};
use lambda_http::{Body, Response};
use serde_json::{Value, json};

use crate::faulty::{Faulty, unavailable};
use crate::world::{World, document, personal, post, request, text};

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
    let report = document(&answer);
    let is_refused = report["lines"] != 0 && report["lines"] == report["refusedCount"];
    assert_eq!(answer.status(), if is_refused { 422 } else { 200 }, "{report}");
    report
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
            with(reference("x"), "/conversation/id", json!(5.5)).to_string(),
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
    Faulty::new(store.clone(), move |_| {
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
    // Some calls for each line.
    let failing = failing(&world.store, 240, Duration::ZERO);
    let request = post("/api/conversations/import", &lines.join("\n"));
    let answer = world.notify_by(world.plans.clone(), failing, request).await;
    assert_eq!(answer.status(), 503);
    let detail = text(&answer);
    let next = detail.split("every line before line ").nth(1).unwrap();
    let next: u64 = next.split(' ').next().unwrap().parse().unwrap();
    assert!((2..60).contains(&next), "{detail}");
    assert_eq!(answer.headers()["retry-after"], "2");
    let again = taken(&world, &lines).await;
    assert!(again["unchanged"].as_u64().unwrap() >= next - 1, "{again}");
    assert_eq!(again["lines"], 60);
    assert_eq!(everyone(&world.store).await.len(), 60);
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

#[tokio::test]
async fn references_of_other_sdks_are_taken_in_any_arrangement() {
    let python = |name: &str| {
        json!({
            "py/object": "botbuilder.schema._models_py3.ConversationReference", "channel_id": "msteams", "service_url": TEAMS,
            "user": {"id": format!("29:{name}"), "aad_object_id": format!("entra-{name}")}, "bot": {"id": "28:bot"},
            "conversation": {"id": format!("a:{name}"), "conversation_type": "personal", "tenant_id": "tenant-1"},
        })
    };
    let dotnet = json!({
        "ChannelId": "msteams", "ServiceUrl": TEAMS, "Bot": {"Id": "28:bot"},
        "User": {"Id": "29:net", "AadObjectId": "entra-net"},
        "Conversation": {"Id": "a:net", "ConversationType": "personal", "TenantId": "tenant-1"},
    });
    let array = json!([python("one"), reference("two")]);
    let map = json!({"29:three": python("three"), "29:four": reference("four")});
    let pretty = serde_json::to_string_pretty(&json!([reference("five"), python("six")])).unwrap();
    let world = World::new();
    for (body, imported) in [
        (format!("{}\n{dotnet}", python("zero")), 2),
        (array.to_string(), 2),
        (map.to_string(), 2),
        (pretty, 2),
        (format!("{array}\n{map}\n"), 0),
    ] {
        let answer = bring(&world, &body).await;
        assert_eq!(answer.status(), 200, "{}", text(&answer));
        assert_eq!(document(&answer)["imported"], imported, "{body}");
    }
    for name in ["zero", "one", "two", "three", "four", "five", "six", "net"] {
        let attributes = recall(&world, &format!("a:{name}")).await.attributes;
        assert_eq!(attributes.user, Some(format!("entra-{name}").as_str().into()));
        assert_eq!(attributes.tenant.as_deref(), Some("tenant-1"));
    }
}

#[tokio::test]
async fn a_compressed_file_is_taken_and_a_bomb_is_not() {
    let compressed = |body: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        Body::Binary(encoder.finish().unwrap())
    };
    let world = World::new();
    let import = async |body| {
        world
            .notify(request("POST", "/api/conversations/import", body))
            .await
    };
    let file = format!("{}\n{}\n", reference("ada"), reference("eve"));
    let answer = import(compressed(file.as_bytes())).await;
    assert_eq!(document(&answer)["imported"], 2);
    let bomb = import(compressed(&vec![b' '; 40 * 1024 * 1024])).await;
    assert_eq!(bomb.status(), 413);
    let cut = import(Body::Binary(vec![0x1f, 0x8b, 8, 0])).await;
    assert_eq!(cut.status(), 400);
}

#[tokio::test]
async fn a_document_that_is_too_large_is_refused_and_the_rest_goes_on() {
    let world = World::new();
    let nested = format!("[[{}0]]", "{\"\":0},".repeat(40_000));
    let answer = taken(&world, &[nested, reference("ada").to_string()]).await;
    assert_eq!(
        (&answer["imported"], &answer["refusedCount"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        answer["refused"][0],
        json!({"line": 1, "detail": "larger than 262144 bytes"})
    );
    // Unknown properties of many lines do not make a record that cannot be stored.
    for number in 0..7 {
        let mut large = reference("ada");
        large["conversation"][format!("novel{number}")] = json!("x".repeat(60_000));
        let answer = taken(&world, &[large.to_string(), reference("eve").to_string()]).await;
        assert_eq!(answer["refusedCount"], u64::from(number > 0), "{answer}");
    }
}

#[tokio::test]
async fn a_person_imported_with_two_conversations_gets_one_of_them() {
    let world = World::new();
    let copilot = with(reference("ada"), "/conversation/id", json!("a:ada-copilot"));
    taken(&world, &[reference("ada").to_string(), copilot.to_string()]).await;
    for id in ["a:ada", "a:ada-copilot"] {
        assert!(recall(&world, id).await.precedence.is_some(), "{id}");
    }
}
