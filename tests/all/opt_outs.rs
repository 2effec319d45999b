//! What people opted out of is honoured by the planner and the sender, in both send modes.

use botframework::id::UserRef;
use herald::audience::Recipient;
use herald::conversation::{Choice, PersonId, PreferenceChange, change_preferences};
use herald::delivery::{Outcome, SkipReason, State};
use herald::id::NotificationId;
use herald::preferences;
use herald::store::Conversations;
use herald::telemetry::Metric;
use lambda_http::Body;
use serde_json::{Value, json};
use tests::channel::Behaviour;
use tests::logs::Logs;

use crate::notify::plans::by;
use crate::world::{World, document, get, in_channel, personal, request, text};

const SKIPPED: Outcome = Outcome::Skipped {
    reason: SkipReason::OptedOut,
};

async fn choose(world: &World, person: &str, category: Option<&str>, choice: Choice) {
    let person = PersonId {
        channel: "msteams".into(),
        tenant: Some("tenant-1".into()),
        id: UserRef::Entra(format!("entra-{person}").into()),
    };
    let change = match category {
        Some(category) => PreferenceChange::Category(category.to_owned(), choice),
        None => PreferenceChange::All(choice),
    };
    preferences::change(&world.store, &person, None, &change, world.now())
        .await
        .unwrap();
}

fn news(audience: &Value) -> Value {
    json!({"audience": audience, "message": {"text": "news"}, "category": "news"})
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

async fn status(world: &World, id: &NotificationId) -> Value {
    document(&world.notify(get(&format!("/api/notifications/{id}"))).await)
}

async fn outcome(world: &World, id: &NotificationId, recipient: Recipient) -> Outcome {
    match world.row(id, &recipient).await.state {
        State::Settled(outcome) => outcome,
        State::Waiting { .. } => panic!("it waits"),
    }
}

fn chat(person: &str) -> Recipient {
    Recipient::Conversation(format!("msteams|28:bot|a:{person}").parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn who_opted_out_is_left_out_and_counted_or_reported() {
    let world = World::of(&["ada", "eve"]).await;
    choose(&world, "ada", Some("news"), Choice::OptedOut).await;
    let everyone = news(&json!({"everyone": true}));
    let plan = world.asks(&with(everyone.clone(), "dryRun", json!(true))).await;
    world.work().await;
    let shown = document(
        &world
            .notify(get(&format!("/api/notifications/{plan}/plan")))
            .await,
    );
    assert_eq!(
        (&shown["audience"], &shown["unreachable"]["optedOut"]),
        (&json!(1), &json!(1))
    );
    let left_out = world.asks(&everyone).await;
    let reported = world
        .asks(&with(everyone, "ifUnreachable", json!("report")))
        .await;
    let named = world.asks(&news(&json!({"users": ["entra-ada"]}))).await;
    let other = json!({"audience": {"everyone": true}, "message": {"text": "others"}, "category": "outages"});
    let other = world.asks(&other).await;
    world.work().await;
    assert_eq!(world.channel.count("a:ada"), 1, "the other category");
    assert_eq!(world.channel.count("a:eve"), 3);
    assert_eq!(world.notification(&left_out).await.audience, 1);
    assert_eq!(world.notification(&other).await.counts.delivered, 2);
    for id in [reported, named] {
        assert_eq!(world.notification(&id).await.counts.skipped, 1);
        assert_eq!(outcome(&world, &id, chat("ada")).await, SKIPPED);
        let path = format!("/api/notifications/{id}/deliveries?state=skipped&format=csv");
        assert!(text(&world.notify(get(&path)).await).contains("optedOut"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_replaces_another_has_the_choices_of_its_person_from_its_first_moment() {
    let world = World::of(&["ada"]).await;
    choose(&world, "ada", Some("news"), Choice::OptedOut).await;
    let gone = Behaviour::Refuse {
        status: 404,
        code: "ConversationNotFound",
    };
    world.channel.when("a:ada", gone);
    world.channel.when("", Behaviour::Named("a:ada-anew"));
    let other = json!({"audience": {"everyone": true}, "message": {"text": "others"}, "category": "outages"});
    let other = world.asks(&other).await;
    world.work().await;
    assert_eq!(world.notification(&other).await.counts.delivered, 1);
    let anew = "msteams|28:bot|a:ada-anew".parse().unwrap();
    let stored = world.store.get_many(&[anew]).await.unwrap().remove(0);
    assert!(
        stored
            .preferences
            .is_some_and(|preferences| !preferences.permit(Some("news")))
    );
    assert_eq!(stored.version, 1, "it is in the first write");
    let unwanted = world.asks(&news(&json!({"everyone": true}))).await;
    world.work().await;
    assert_eq!(world.notification(&unwanted).await.counts.delivered, 0);
}

#[tokio::test(start_paused = true)]
async fn a_choice_after_the_plan_counts_and_an_edit_is_no_new_message() {
    let world = World::of(&["ada", "eve"]).await;
    let first = world.asks(&news(&json!({"everyone": true}))).await;
    world.work().await;
    let second = world.asks(&news(&json!({"everyone": true}))).await;
    world.plan().await;
    choose(&world, "ada", None, Choice::OptedOut).await;
    world.work().await;
    assert_eq!(outcome(&world, &second, chat("ada")).await, SKIPPED);
    assert_eq!(world.notification(&second).await.counts.delivered, 1);
    let edit = Body::Text(json!({"text": "newer"}).to_string());
    let edit = request("PUT", &format!("/api/notifications/{first}/message"), edit);
    assert_eq!(world.notify(edit).await.status(), 202);
    world.work().await;
    assert_eq!(world.notification(&first).await.revision_counts.current, 2);
    // In again, for one category.
    choose(&world, "ada", Some("news"), Choice::OptedIn).await;
    let third = world.asks(&news(&json!({"everyone": true}))).await;
    world.work().await;
    assert_eq!(world.notification(&third).await.counts.delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn a_group_chat_or_channel_opts_out_for_its_members() {
    let world = World::of(&["ada"]).await;
    let channel = "19:general@thread.tacv2";
    world.hears(&in_channel(channel, "installationUpdate")).await;
    let key = format!("msteams|28:bot|{channel}").parse().unwrap();
    let change = PreferenceChange::Category("news".to_owned(), Choice::OptedOut);
    let mut rule = |old: Option<&_>| change_preferences(old?, &change, world.now());
    world.store.update_conversation(&key, &mut rule).await.unwrap();
    let id = world.asks(&news(&json!({"everyone": true}))).await;
    let named = world.asks(&news(&json!({"channel": channel}))).await;
    world.work().await;
    assert_eq!(
        (world.channel.count("a:ada"), world.channel.count(channel)),
        (1, 0)
    );
    assert_eq!(world.notification(&id).await.unreachable.opted_out, 1);
    assert_eq!(
        outcome(&world, &named, Recipient::Conversation(key)).await,
        SKIPPED
    );
}

#[tokio::test(start_paused = true)]
async fn no_conversation_is_created_with_who_opted_out() {
    for mode in ["individual", "batch"] {
        let world = World::of(&["ada"]).await;
        choose(&world, "joe", None, Choice::OptedOut).await;
        let audience = json!({"users": ["entra-joe", "entra-eve"], "tenant": "tenant-1"});
        let body = with(news(&audience), "ifNoConversation", json!("create"));
        let id = world.asks(&with(body, "sendMode", json!(mode))).await;
        world.work().await;
        let counts = world.notification(&id).await.counts;
        assert_eq!((counts.delivered, counts.skipped), (1, 1), "{mode}");
        let joe = Recipient::User("entra-joe".into());
        assert_eq!(outcome(&world, &id, joe).await, SKIPPED, "{mode}");
        let mut received = world.channel.received().into_iter();
        assert!(
            !received.any(|it| it.activity.to_string().contains("entra-joe")),
            "{mode}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_holds_only_who_wants_it() {
    let world = World::of(&["ada", "eve"]).await;
    let id = world
        .asks(&with(
            news(&json!({"everyone": true})),
            "sendMode",
            json!("batch"),
        ))
        .await;
    world.plan().await;
    choose(&world, "ada", Some("news"), Choice::OptedOut).await;
    world.work().await;
    assert_eq!(world.channel.batches()[0].members, ["29:eve"]);
    assert_eq!(outcome(&world, &id, chat("ada")).await, SKIPPED);
}

#[tokio::test(start_paused = true)]
async fn mandatory_passes_opt_outs_takes_a_right_and_is_counted_and_audited() {
    let (logs, _recording) = Logs::record();
    let mut world = World::of(&["ada"]).await;
    world.operators = vec!["arn:aws:iam::1:role/ops".to_owned()];
    choose(&world, "ada", None, Choice::OptedOut).await;
    let body = with(news(&json!({"everyone": true})), "mandatory", json!(true));
    let (refused, problem) = by(&world, "builds", &body).await;
    assert_eq!(refused, 403);
    assert!(
        problem["detail"].as_str().unwrap().contains("Operators"),
        "{problem}"
    );
    assert_eq!(logs.metric(Metric::Mandatory), 0);
    let (accepted, answer) = by(&world, "ops", &body).await;
    assert_eq!(accepted, 202, "{answer}");
    world.work().await;
    assert_eq!(world.channel.count("a:ada"), 1);
    assert_eq!(logs.metric(Metric::Mandatory), 1);
    let id = answer["id"].as_str().unwrap();
    assert_eq!(
        status(&world, &id.parse().unwrap()).await["mandatory"],
        json!(true)
    );
    let audits = logs.with("audit").into_iter();
    let passed = audits.filter(|line| line.get("action").is_some_and(|it| it == "passOptOuts"));
    assert_eq!(
        passed
            .map(|line| line["notification"].clone())
            .collect::<Vec<_>>(),
        [id]
    );
    // What is confirmed must be what was planned.
    let (_, plan) = by(&world, "ops", &with(body.clone(), "dryRun", json!(true))).await;
    world.work().await;
    let confirm = with(news(&json!({"everyone": true})), "confirm", plan["id"].clone());
    assert_eq!(by(&world, "ops", &confirm).await.0, 409);
    let wrong = with(body, "mandatory", json!("yes"));
    assert_eq!(
        by(&world, "ops", &wrong).await.1["errors"][0]["pointer"],
        "#/mandatory"
    );
}

#[tokio::test(start_paused = true)]
async fn who_asks_the_bot_for_a_reminder_gets_it() {
    let world = World::of(&["ada"]).await;
    choose(&world, "ada", None, Choice::OptedOut).await;
    let mut asks = personal("ada", "message");
    asks["text"] = json!("remind me in 10 minutes to stretch");
    world.hears(&asks).await;
    let (logs, _recording) = Logs::record();
    world.work().await;
    let texts = world.channel.received().into_iter();
    let mut texts = texts.filter_map(|it| it.activity["text"].as_str().map(str::to_owned));
    assert!(texts.any(|text| text == "A reminder: stretch"));
    assert_eq!(logs.metric(Metric::Mandatory), 0);
}
