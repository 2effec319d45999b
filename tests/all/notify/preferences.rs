//! Categories, and what people opted out of.

use botframework::id::UserRef;
use herald::conversation::{Choice, PersonId, PreferenceChange};
use lambda_http::{Body, Response};
use serde_json::{Value, json};
use tests::logs::Logs;

use crate::world::{World, document, get, in_channel, personal, request, text};

const TENANT: &str = "11111111-2222-4333-8444-555555555555";

async fn put(world: &World, path: &str, body: &Value) -> Response<Body> {
    world
        .notify(request("PUT", path, Body::Text(body.to_string())))
        .await
}

async fn read(world: &World, path: &str) -> Value {
    let answer = world.notify(get(path)).await;
    assert_eq!(answer.status(), 200, "{path}: {}", text(&answer));
    document(&answer)
}

fn of(person: &str) -> String {
    format!("/api/people/{person}/preferences")
}

#[tokio::test]
async fn categories_are_written_listed_by_name_and_deleted() {
    let (logs, _recording) = Logs::record();
    let world = World::new();
    assert_eq!(read(&world, "/api/categories").await, json!({"categories": []}));
    let news = json!({"title": "News", "description": "What is new"});
    assert_eq!(put(&world, "/api/categories/news", &news).await.status(), 201);
    assert_eq!(put(&world, "/api/categories/news", &news).await.status(), 200);
    assert_eq!(
        put(&world, "/api/categories/build%20failures", &json!({}))
            .await
            .status(),
        201
    );
    let builds = json!({"name": "build failures", "title": "build failures"});
    let news = json!({"name": "news", "title": "News", "description": "What is new"});
    assert_eq!(
        read(&world, "/api/categories").await,
        json!({"categories": [builds, news.clone()]})
    );
    assert_eq!(read(&world, "/api/categories/news").await, news);
    let delete = || request("DELETE", "/api/categories/news", Body::Empty);
    assert_eq!(world.notify(delete()).await.status(), 204);
    assert_eq!(world.notify(delete()).await.status(), 404);
    assert_eq!(world.notify(get("/api/categories/news")).await.status(), 404);
    let audits = logs.with("audit").into_iter().map(|line| line["action"].clone());
    assert_eq!(
        audits.collect::<Vec<_>>(),
        ["putCategory", "putCategory", "putCategory", "deleteCategory"]
    );
}

#[tokio::test]
async fn a_wrong_category_is_refused_and_there_are_fifty_at_most() {
    let world = World::new();
    let wrong = put(&world, "/api/categories/news", &json!({"titel": "News"})).await;
    assert_eq!(wrong.status(), 400);
    assert!(text(&wrong).contains("did you mean `title`?"), "{}", text(&wrong));
    let long = format!("/api/categories/{}", "x".repeat(65));
    assert_eq!(put(&world, &long, &json!({})).await.status(), 400);
    for number in 0..50 {
        let path = format!("/api/categories/c{number}");
        assert_eq!(put(&world, &path, &json!({})).await.status(), 201);
    }
    assert_eq!(
        put(&world, "/api/categories/more", &json!({})).await.status(),
        409
    );
    assert_eq!(put(&world, "/api/categories/c7", &json!({})).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn what_is_put_is_read_by_either_id_and_honoured() {
    let (logs, _recording) = Logs::record();
    let world = World::of(&["ada", "eve"]).await;
    let nothing = json!({"channel": "msteams", "tenant": "tenant-1", "all": "optedIn", "categories": {}});
    assert_eq!(read(&world, &of("entra-ada")).await, nothing);
    let choices = json!({"all": "optedOut", "categories": {"outages": "optedIn"}});
    let answer = put(&world, &of("29%3Aada"), &choices).await;
    assert_eq!(answer.status(), 200, "{}", text(&answer));
    let shown = read(&world, &of("entra-ada")).await;
    assert_eq!(shown, document(&answer));
    assert_eq!(
        (&shown["all"], &shown["categories"]),
        (&choices["all"], &choices["categories"])
    );
    assert!(shown["changedAt"].is_string());
    assert_eq!(read(&world, &of("29%3Aeve")).await["all"], "optedIn");
    for (category, delivered) in [("news", 1), ("outages", 2)] {
        let body = json!({"audience": {"everyone": true}, "message": {"text": "x"}, "category": category});
        let id = world.asks(&body).await;
        world.work().await;
        assert_eq!(
            world.notification(&id).await.counts.delivered,
            delivered,
            "{category}"
        );
    }
    // An empty document wants everything again.
    assert_eq!(put(&world, &of("entra-ada"), &json!({})).await.status(), 200);
    assert_eq!(read(&world, &of("29%3Aada")).await["all"], "optedIn");
    let audits = logs.with("audit").into_iter();
    let mut audits = audits.filter(|line| line["action"] == "putPreferences");
    assert!(audits.all(|line| !line.values().any(|value| value.contains("ada"))));
}

#[tokio::test(start_paused = true)]
async fn a_person_whom_the_bot_does_not_know_needs_a_tenant_and_then_counts_at_once() {
    let world = World::new();
    let choices = json!({"all": "optedOut"});
    let refused = put(&world, &of("entra-ada"), &choices).await;
    assert_eq!(refused.status(), 400);
    assert!(text(&refused).contains("tenant"), "{}", text(&refused));
    let path = of("entra-ada") + "?tenant=tenant-1";
    assert_eq!(put(&world, &path, &choices).await.status(), 200);
    world.hears(&personal("ada", "installationUpdate")).await;
    assert_eq!(read(&world, &of("29%3Aada")).await["all"], "optedOut");
    let elsewhere = format!("{}?tenant={TENANT}", of("entra-ada"));
    assert_eq!(read(&world, &elsewhere).await["all"], "optedIn");
    // Known in two tenants: which one is meant must be said.
    let mut other = personal("ada", "installationUpdate");
    other["conversation"] = json!({"id": "a:ada-2", "conversationType": "personal", "tenantId": TENANT});
    world.hears(&other).await;
    assert_eq!(world.notify(get(&of("entra-ada"))).await.status(), 400);
    assert_eq!(read(&world, &elsewhere).await["tenant"], TENANT);
}

#[tokio::test]
async fn wrong_preferences_are_refused_with_their_fields() {
    let world = World::of(&["ada"]).await;
    let many: serde_json::Map<_, _> = (0..101)
        .map(|number| (number.to_string(), json!("optedIn")))
        .collect();
    for (body, pointers) in [
        (json!([]), vec!["#"]),
        (
            json!({"all": "no", "categorys": {}}),
            vec!["#/categorys", "#/all"],
        ),
        (json!({"categories": ["news"]}), vec!["#/categories"]),
        (
            json!({"categories": {"news": false, " ": "optedIn"}}),
            vec!["#/categories/ ", "#/categories/news"],
        ),
        (json!({"categories": many}), vec!["#/categories"]),
    ] {
        let answer = put(&world, &of("29%3Aada"), &body).await;
        assert_eq!(answer.status(), 400, "{body}");
        let errors = document(&answer)["errors"].as_array().unwrap().clone();
        let found: Vec<_> = errors.iter().map(|it| it["pointer"].as_str().unwrap()).collect();
        assert_eq!(found, pointers, "{body}");
    }
    assert_eq!(put(&world, &of("%0A"), &json!({})).await.status(), 400);
    assert_eq!(
        world.notify(get(&(of("29%3Aada") + "?tennant=x"))).await.status(),
        400
    );
}

#[tokio::test(start_paused = true)]
async fn zone_and_quiet_hours_are_written_with_the_choices_and_words_keep_them() {
    let world = World::of(&["ada"]).await;
    let path = of("entra-ada");
    let quiet = json!({"from": "22:00", "to": "07:00"});
    let whole = json!({"categories": {"news": "optedOut"}, "zone": "europe/berlin", "quietHours": quiet});
    assert_eq!(put(&world, &path, &whole).await.status(), 200);
    let shown = read(&world, &path).await;
    assert_eq!(
        (&shown["zone"], &shown["quietHours"]),
        (&json!("Europe/Berlin"), &quiet)
    );
    let person = PersonId {
        channel: "msteams".to_owned(),
        tenant: Some("tenant-1".to_owned()),
        id: UserRef::Entra("entra-ada".into()),
    };
    let no = PreferenceChange::All(Choice::OptedOut);
    herald::preferences::change(&world.store, &person, None, &no, world.now())
        .await
        .unwrap();
    let shown = read(&world, &path).await;
    assert_eq!(
        (&shown["all"], &shown["zone"], &shown["quietHours"]),
        (&json!("optedOut"), &json!("Europe/Berlin"), &quiet)
    );
    // "Never" is a choice; without the field, none is made.
    assert_eq!(
        put(&world, &path, &json!({"quietHours": null})).await.status(),
        200
    );
    let shown = read(&world, &path).await;
    assert_eq!(
        (shown.get("quietHours"), shown.get("zone")),
        (Some(&Value::Null), None)
    );
    assert_eq!(put(&world, &path, &json!({})).await.status(), 200);
    assert_eq!(read(&world, &path).await.get("quietHours"), None);
    let wrong = put(
        &world,
        &path,
        &json!({"zone": "Berlin", "quietHours": {"from": "22:05", "to": "07:00"}}),
    )
    .await;
    assert_eq!(wrong.status(), 400);
    for pointer in ["#/zone", "#/quietHours/from"] {
        assert!(text(&wrong).contains(pointer), "{}", text(&wrong));
    }
}

#[tokio::test]
async fn a_tenant_has_a_zone_and_quiet_hours_for_those_who_chose_nothing() {
    let (logs, _recording) = Logs::record();
    let world = World::new();
    let path = format!("/api/tenants/{TENANT}/preferences");
    assert_eq!(world.notify(get(&path)).await.status(), 404);
    let whole = json!({"zone": "Asia/Tokyo", "quietHours": {"from": "20:00", "to": "08:00"}});
    assert_eq!(put(&world, &path, &whole).await.status(), 201);
    assert_eq!(put(&world, &path, &whole).await.status(), 200);
    let shown = read(&world, &path).await;
    assert_eq!(
        (&shown["tenant"], &shown["zone"]),
        (&json!(TENANT), &json!("Asia/Tokyo"))
    );
    let wrong = put(&world, &path, &json!({"zone": 9, "quiet": {}})).await;
    assert_eq!(wrong.status(), 400);
    for pointer in ["#/zone", "#/quiet"] {
        assert!(text(&wrong).contains(pointer), "{}", text(&wrong));
    }
    let delete = || request("DELETE", &path, Body::Empty);
    assert_eq!(world.notify(delete()).await.status(), 204);
    assert_eq!(world.notify(delete()).await.status(), 404);
    let audits = logs.with("audit").into_iter().map(|line| line["action"].clone());
    let expected = [
        "putTenantPreferences",
        "putTenantPreferences",
        "deleteTenantPreferences",
    ];
    assert_eq!(audits.collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_channel_has_preferences_of_its_own_and_a_personal_chat_those_of_its_person() {
    const CHANNEL: &str = "19:general@thread.tacv2";
    let (logs, _recording) = Logs::record();
    let world = World::of(&["ada"]).await;
    world.hears(&in_channel(CHANNEL, "installationUpdate")).await;
    let path = "/api/conversations/19:general%40thread.tacv2/preferences";
    let before = read(&world, path).await;
    assert_eq!(
        (&before["all"], before.get("changedAt")),
        (&json!("optedIn"), None),
        "{before}"
    );
    let chosen = json!({"zone": "Europe/Berlin", "quietHours": {"from": "08:00", "to": "10:00"}});
    let answer = put(&world, path, &chosen).await;
    assert_eq!(answer.status(), 200, "{}", text(&answer));
    let shown = read(&world, path).await;
    assert_eq!(shown, document(&answer));
    assert_eq!(
        (&shown["zone"], &shown["quietHours"]),
        (&chosen["zone"], &chosen["quietHours"])
    );
    assert!(
        shown["conversation"].as_str().unwrap().ends_with(CHANNEL),
        "{shown}"
    );
    // It is nine in Berlin.
    let body = json!({"audience": {"everyone": true}, "message": {"text": "news"}});
    let id = world.asks(&body).await;
    // Only what is due now: the wave's own message waits for an hour.
    for message in std::iter::from_fn(|| world.plans.take()).collect::<Vec<_>>() {
        world.plan_one(&message.body).await;
    }
    let status = read(&world, &format!("/api/notifications/{id}")).await;
    let wave = json!({"instant": "2027-01-15T09:00:00Z", "recipients": 1, "state": "waiting"});
    assert_eq!(status["waves"], json!([wave]), "{status}");

    let of_chat = "/api/conversations/a:ada/preferences";
    assert_eq!(
        put(&world, of_chat, &json!({"all": "optedOut"})).await.status(),
        200
    );
    assert_eq!(read(&world, &of("entra-ada")).await["all"], "optedOut");
    let unknown = "/api/conversations/a:nobody/preferences";
    assert_eq!(put(&world, unknown, &json!({})).await.status(), 404);
    assert_eq!(world.notify(get(unknown)).await.status(), 404);
    let wrong = put(&world, path, &json!({"zone": "Mars"})).await;
    assert!(text(&wrong).contains("#/zone"), "{}", text(&wrong));
    let audits = logs.with("audit").into_iter();
    let audits = audits.filter(|line| line["action"] == "putPreferences");
    assert_eq!(audits.count(), 2);
}
