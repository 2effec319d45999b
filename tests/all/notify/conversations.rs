//! The conversations API: listing, tags, and erasure of people.

use botframework::id::UserRef;
use herald::conversation::{
    Choice, Creation, CreationLease, PersonId, PersonKey, PreferenceChange, TAGS_MAX,
};
use herald::preferences;
use herald::store::Conversations;
use lambda_http::{Body, Response};
use serde_json::{Value, json};

use crate::world::{World, document, get, in_channel, personal, request, text};

const ADA: &str = "/api/conversations/msteams%7C28%3Abot%7Ca%3Aada";
const TEAM: &str = "19:team@thread.tacv2";

async fn ask(world: &World, method: &str, path: &str) -> Response<Body> {
    world.notify(request(method, path, Body::Empty)).await
}

/// The conversations that a query lists, through all pages.
async fn list(world: &World, query: &str) -> Vec<String> {
    let (mut found, mut path) = (Vec::new(), format!("/api/conversations?{query}&limit=1"));
    loop {
        let answer = world.notify(get(&path)).await;
        assert_eq!(answer.status(), 200, "{}", text(&answer));
        let page = document(&answer);
        let names = page["conversations"].as_array().unwrap().iter();
        found.extend(names.map(|it| it["conversation"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("/api/conversations?{query}&limit=1&cursor={next}"),
            None => break,
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn conversations_are_listed_by_each_filter() {
    let world = World::of(&["ada", "eve"]).await;
    world.hears(&in_channel(TEAM, "conversationUpdate")).await;
    let team = format!("msteams|28:bot|{TEAM}");
    let (ada, eve) = ("msteams|28:bot|a:ada", "msteams|28:bot|a:eve");
    assert_eq!(list(&world, "tenant=tenant-1").await, [&team, ada, eve]);
    assert_eq!(list(&world, "user=entra-eve").await, [eve]);
    assert_eq!(list(&world, "team=19%3Ateam%40thread.tacv2").await, [team]);
    assert_eq!(
        ask(&world, "PUT", &format!("{ADA}/tags/release%20notes"))
            .await
            .status(),
        200
    );
    assert_eq!(list(&world, "tag=release+notes").await, [ada]);
    assert_eq!(list(&world, "tag=other").await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_conversation_shows_its_stored_record() {
    let world = World::of(&["ada"]).await;
    ask(&world, "PUT", &format!("{ADA}/tags/beta")).await;
    let answer = world.notify(get(ADA)).await;
    assert_eq!(
        document(&answer),
        json!({"conversation": "msteams|28:bot|a:ada", "scope": "personal", "tenant": "tenant-1", "user": "entra-ada",
               "account": "29:ada", "tags": ["beta"], "state": "active", "since": world.now().to_string(),
               "serviceUrls": ["http://127.0.0.1:3979/"], "rememberedAt": world.now().to_string()})
    );
}

#[tokio::test]
async fn an_unknown_conversation_is_404_and_a_malformed_key_is_400() {
    let world = World::of(&[]).await;
    for (method, path, status) in [
        ("GET", ADA.to_owned(), 404),
        ("DELETE", ADA.to_owned(), 404),
        ("PUT", format!("{ADA}/tags/beta"), 404),
        ("DELETE", format!("{ADA}/tags/beta"), 404),
        ("GET", "/api/conversations/a%3Aada".to_owned(), 404),
        ("GET", "/api/conversations/a%0Aada".to_owned(), 400),
        ("GET", "/api/conversations/%FF".to_owned(), 400),
        ("GET", "/api/conversations/%7C%7C".to_owned(), 400),
        ("DELETE", "/api/conversations/a%7Cb%7C".to_owned(), 400),
        (
            "GET",
            format!("/api/conversations/a%7Cb%7C{}", "x".repeat(2049)),
            400,
        ),
        (
            "GET",
            format!("/api/conversations/{}%7Cb%7Cc", "x".repeat(2049)),
            400,
        ),
        ("PUT", format!("{ADA}/tags/%0A"), 400),
        ("PUT", format!("{ADA}/tags/{}", "x".repeat(65)), 400),
        ("DELETE", "/api/users/%0A".to_owned(), 400),
        ("POST", ADA.to_owned(), 405),
        ("GET", format!("{ADA}/tags/beta"), 405),
        ("GET", "/api/users/entra-ada".to_owned(), 405),
        ("GET", format!("{ADA}/tags"), 404),
    ] {
        assert_eq!(
            ask(&world, method, &path).await.status(),
            status,
            "{method} {path}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_does_not_move_since() {
    let world = World::of(&["ada"]).await;
    let since = document(&world.notify(get(ADA)).await)["since"].clone();
    world.pass(60);
    ask(&world, "PUT", &format!("{ADA}/tags/beta")).await;
    assert_eq!(document(&world.notify(get(ADA)).await)["since"], since);
}

#[tokio::test]
async fn a_tag_has_one_form_whoever_writes_it() {
    let world = World::of(&["ada"]).await;
    let mut said = personal("ada", "message");
    said["text"] = json!("subscribe  BUILDS");
    world.hears(&said).await;
    for tag in ["Builds", "builds%20", "%20BUILDS"] {
        let answer = ask(&world, "PUT", &format!("{ADA}/tags/{tag}")).await;
        assert_eq!(document(&answer)["tags"], json!(["builds"]), "{tag}");
    }
    let listed = document(&world.notify(get("/api/conversations?tag=BUILDS")).await);
    assert_eq!(listed["conversations"][0]["conversation"], "msteams|28:bot|a:ada");
    world
        .asks(&json!({"audience": {"tag": " Builds"}, "message": {"text": "broke"}}))
        .await;
    world.work().await;
    assert_eq!(world.channel.received().last().unwrap().activity["text"], "broke");
    let gone = ask(&world, "DELETE", &format!("{ADA}/tags/bUILDS")).await;
    assert_eq!(document(&gone)["tags"], json!([]));
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let world = World::of(&["ada", "eve"]).await;
    let first = document(
        &world
            .notify(get("/api/conversations?tenant=tenant-1&limit=1"))
            .await,
    );
    let next = first["next"].as_str().unwrap();
    for (query, status) in [
        ("tenant=tenant-1", 200),
        ("tenant=tenant-2", 400),
        ("state=blocked", 400),
        ("user=entra-ada", 400),
    ] {
        let path = format!("/api/conversations?{query}&cursor={next}");
        assert_eq!(world.notify(get(&path)).await.status(), status, "{query}");
    }
    let export = format!("/api/conversations/export?cursor={next}");
    let body = r#"{"tenant": "tenant-1"}"#;
    assert_eq!(
        world.notify(crate::world::post(&export, body)).await.status(),
        400
    );
}

#[tokio::test]
async fn adding_and_removing_a_tag_is_idempotent() {
    let world = World::of(&["ada"]).await;
    for (method, tag, expected) in [
        ("PUT", "beta", json!(["beta"])),
        ("PUT", "alpha", json!(["alpha", "beta"])),
        ("PUT", "beta", json!(["alpha", "beta"])),
        ("DELETE", "beta", json!(["alpha"])),
        ("DELETE", "beta", json!(["alpha"])),
    ] {
        let answer = ask(&world, method, &format!("{ADA}/tags/{tag}")).await;
        let expected = json!({"conversation": "msteams|28:bot|a:ada", "tags": expected});
        assert_eq!(document(&answer), expected, "{method} {tag}");
    }
    for number in 1..TAGS_MAX {
        let answer = ask(&world, "PUT", &format!("{ADA}/tags/t{number}")).await;
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(
        ask(&world, "PUT", &format!("{ADA}/tags/one-more")).await.status(),
        409
    );
}

#[tokio::test(start_paused = true)]
async fn an_erased_conversation_is_unknown_until_its_next_activity() {
    let world = World::of(&["ada"]).await;
    assert_eq!(ask(&world, "DELETE", ADA).await.status(), 204);
    assert_eq!(world.notify(get(ADA)).await.status(), 404);
    let everyone = json!({"audience": {"everyone": true}, "message": {"text": "news"}});
    let id = world.asks(&everyone).await;
    world.work().await;
    assert_eq!(world.notification(&id).await.audience, 0);
    world.hears(&personal("ada", "message")).await;
    assert_eq!(world.notify(get(ADA)).await.status(), 200);
}

#[tokio::test]
async fn a_person_is_erased_by_either_id_with_all_links() {
    for name in ["entra-ada", "29%3Aada"] {
        let world = World::of(&["ada", "eve"]).await;
        let mut second = personal("ada", "installationUpdate");
        second["conversation"]["id"] = json!("a:ada-2");
        second["from"] = json!({"id": "29:ada"});
        world.hears(&second).await;
        let person = PersonKey {
            channel: "msteams".into(),
            bot: "28:bot".into(),
            tenant: "tenant-1".into(),
            person: UserRef::Entra("entra-ada".into()),
        };
        let until = world.in_seconds(60);
        let made = Creation::Conversation("msteams|28:bot|a:ada".parse().unwrap());
        world
            .store
            .acquire_creation_lease(&person, world.now(), until)
            .await
            .unwrap();
        world.store.finish_creation(&person, &made).await.unwrap();
        let ids = [
            UserRef::Entra("entra-ada".into()),
            UserRef::Account("29:ada".into()),
        ];
        let [first, second] = ids.map(|id| PersonId {
            channel: "msteams".into(),
            tenant: Some("tenant-1".into()),
            id,
        });
        let no = PreferenceChange::All(Choice::OptedOut);
        preferences::change(&world.store, &first, None, &no, world.now())
            .await
            .unwrap();
        assert!(world.store.preferences(&second).await.unwrap().is_some());

        let answer = ask(&world, "DELETE", &format!("/api/users/{name}")).await;
        assert_eq!(
            (answer.status().as_u16(), document(&answer)),
            (200, json!({"conversations": 2})),
            "{name}"
        );
        assert_eq!(
            list(&world, "tenant=tenant-1").await,
            ["msteams|28:bot|a:eve"],
            "{name}"
        );
        let asked = world
            .store
            .acquire_creation_lease(&person, world.now(), until)
            .await
            .unwrap();
        assert!(matches!(asked, CreationLease::Acquired { .. }), "{asked:?}");
        for person in [&first, &second] {
            assert_eq!(world.store.preferences(person).await.unwrap(), None, "{name}");
        }
        let again = ask(&world, "DELETE", &format!("/api/users/{name}")).await;
        assert_eq!(document(&again)["conversations"], Value::from(0));
    }
}
