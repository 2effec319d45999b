//! From an accepted notification to the channel: planner, ledger, sender.

use aws_lambda_events::event::sqs::SqsEvent;
use herald::audience::Recipient;
use herald::delivery::{ClaimRequest, DeliveryKey, Outcome, SkipReason, State};
use herald::notification::{self, PAGE_SIZE, Page};
use herald::queue::Queue as _;
use herald::rate_limit::{Bucket, ConversationRate, Limits};
use herald::store::{Ledger, Notifications};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tests::backend::Assembled;
use tests::channel::Behaviour;

use crate::faulty::Faulty;
use crate::world::{World, in_channel, personal};

fn to(audience: &Value) -> Value {
    json!({"audience": audience, "message": {"text": "news"}})
}

fn everyone() -> Value {
    to(&json!({"everyone": true}))
}

fn recipient(person: &str) -> Recipient {
    Recipient::Conversation(format!("msteams|28:bot|a:{person}").parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn everyone_selects_each_person_group_and_channel_once() {
    let world = World::of(&["ada", "eve"]).await;
    for place in [
        "19:team@thread.tacv2",
        "19:c@thread.tacv2;messageid=7",
        "19:c@thread.tacv2;messageid=8",
    ] {
        world.hears(&in_channel(place, "installationUpdate")).await;
    }
    let mut gone = personal("gone", "installationUpdate");
    world.hears(&gone).await;
    gone["action"] = json!("remove");
    world.hears(&gone).await;

    let id = world.asks(&everyone()).await;
    world.work().await;
    let mut reached: Vec<_> = world
        .channel
        .received()
        .into_iter()
        .map(|it| it.conversation)
        .collect();
    reached.sort();
    assert_eq!(
        reached,
        ["19:c@thread.tacv2", "19:team@thread.tacv2", "a:ada", "a:eve"]
    );
    let done = world.notification(&id).await;
    assert_eq!(done.state(), notification::State::Completed);
    assert_eq!((done.audience, done.counts.delivered), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_sent_to_the_conversation_without_a_reply_id() {
    let world = World::of(&["ada"]).await;
    world.asks(&everyone()).await;
    world.work().await;
    let sent = world.channel.received().remove(0);
    assert_eq!(
        (sent.method.as_str(), sent.path.as_str()),
        ("POST", "/v3/conversations/a%3Aada/activities")
    );
    assert_eq!(
        sent.activity,
        json!({"type": "message", "text": "news", "channelId": "msteams", "from": {"id": "28:bot"},
               "recipient": {"id": "29:ada", "aadObjectId": "entra-ada"},
               "conversation": {"id": "a:ada", "conversationType": "personal", "tenantId": "tenant-1"}})
    );
}

#[tokio::test(start_paused = true)]
async fn a_card_alone_arrives_with_a_summary() {
    let world = World::of(&["ada"]).await;
    let card =
        json!({"contentType": "application/vnd.microsoft.card.hero", "content": {"title": "Order shipped"}});
    world
        .asks(&json!({"audience": {"everyone": true}, "message": {"attachments": [card]}}))
        .await;
    world.work().await;
    let activity = world.channel.received().remove(0).activity;
    assert_eq!(
        (&activity["summary"], &activity["attachments"][0]),
        (&json!("Order shipped"), &card)
    );
}

#[tokio::test(start_paused = true)]
async fn each_selector_finds_its_recipients_and_a_union_has_no_duplicates() {
    let world = World::of(&["ada", "eve", "joe"]).await;
    world
        .hears(&in_channel("19:team@thread.tacv2;messageid=7", "message"))
        .await;
    let before = world.channel.requests();
    let id = world
        .asks(&to(&json!([
            {"users": ["entra-ada"]}, {"accounts": ["29:ada", "29:eve"]}, {"conversations": ["a:joe", "a:ada"]},
            {"conversations": ["19:team@thread.tacv2;messageid=7"]}, {"tenant": "tenant-1"}, {"everyone": true},
        ])))
        .await;
    world.work().await;
    for place in ["a:ada", "a:eve", "a:joe", "19:team@thread.tacv2"] {
        assert_eq!(world.channel.count(place), 1, "{place}");
    }
    let done = world.notification(&id).await;
    assert_eq!((done.audience, done.counts.delivered), (5, 5));
    assert_eq!(world.channel.requests() - before, 5);
}

#[tokio::test(start_paused = true)]
async fn a_user_id_of_another_tenant_does_not_match() {
    let world = World::of(&["ada"]).await;
    let id = world
        .asks(&to(&json!({"users": ["entra-ada"], "tenant": "tenant-2"})))
        .await;
    world.work().await;
    assert_eq!(world.channel.requests(), 0);
    let row = world.row(&id, &Recipient::User("entra-ada".into())).await;
    assert_eq!(
        row.state,
        State::Settled(Outcome::Skipped {
            reason: SkipReason::NoConversation
        })
    );
}

#[tokio::test(start_paused = true)]
async fn unknown_and_removed_recipients_are_skipped_with_the_reason() {
    let world = World::of(&["ada"]).await;
    let mut left = personal("ada", "installationUpdate");
    left["action"] = json!("remove");
    world.hears(&left).await;
    let id = world
        .asks(&to(&json!({"users": ["entra-ada", "entra-nobody"]})))
        .await;
    world.work().await;
    let done = world.notification(&id).await;
    assert_eq!(
        (done.audience, done.counts.skipped, done.state()),
        (2, 2, notification::State::Completed)
    );
    let reason = |row: herald::delivery::Row| row.state;
    let skipped = |reason| State::Settled(Outcome::Skipped { reason });
    assert_eq!(
        reason(world.row(&id, &recipient("ada")).await),
        skipped(SkipReason::Removed)
    );
    let nobody = Recipient::User("entra-nobody".into());
    assert_eq!(
        reason(world.row(&id, &nobody).await),
        skipped(SkipReason::NoConversation)
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_conversation_among_live_ones_does_not_stop_the_rest() {
    let world = World::of(&["ada", "dead", "eve", "bad"]).await;
    world.channel.when(
        "a:dead",
        Behaviour::Refuse {
            status: 403,
            code: "ConversationBlockedByUser",
        },
    );
    world.channel.when(
        "a:bad",
        Behaviour::Refuse {
            status: 400,
            code: "BadSyntax",
        },
    );
    let id = world.asks(&everyone()).await;
    world.work().await;
    let done = world.notification(&id).await;
    assert_eq!(
        (
            done.counts.delivered,
            done.counts.gone,
            done.counts.rejected,
            done.open()
        ),
        (2, 1, 1, 0)
    );
    let code = "ConversationBlockedByUser".to_owned();
    assert_eq!(
        world.row(&id, &recipient("dead")).await.state,
        State::Settled(Outcome::Gone { code })
    );
}

#[tokio::test(start_paused = true)]
async fn a_throttled_message_is_sent_later_and_once() {
    let world = World::of(&["ada", "eve"]).await;
    world.channel.when(
        "a:ada",
        Behaviour::Refuse {
            status: 429,
            code: "Throttled",
        },
    );
    let id = world.asks(&everyone()).await;
    world.plan().await;
    while let Some(chunk) = world.deliveries.take() {
        world.send_one(&chunk.body).await;
        if world.notification(&id).await.state() == notification::State::Sending
            && world
                .store
                .rows(&[DeliveryKey::new(&id, &recipient("ada"))])
                .await
                .unwrap()[0]
                .is_some()
        {
            break;
        }
    }
    assert!(
        matches!(world.row(&id, &recipient("ada")).await.state, State::Waiting { reason, .. } if reason == "Throttled")
    );
    world.channel.when("a:ada", Behaviour::Accept);
    world.work().await;
    assert_eq!(
        (world.channel.count("a:ada"), world.channel.count("a:eve")),
        (1, 1)
    );
    assert_eq!(world.notification(&id).await.counts.delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn an_ambiguous_attempt_follows_the_callers_guarantee() {
    for (policy, copies) in [("atMostOnce", 1), ("atLeastOnce", 2)] {
        let world = World::of(&["ada"]).await;
        world.channel.when("a:ada", Behaviour::Cut);
        let mut body = everyone();
        body["guarantee"] = json!(policy);
        let id = world.asks(&body).await;
        world.plan().await;
        let chunk = world.deliveries.take().unwrap();
        world.send_one(&chunk.body).await;
        world.channel.when("a:ada", Behaviour::Accept);
        world.work().await;
        assert_eq!(world.channel.count("a:ada"), copies, "{policy}");
        let done = world.notification(&id).await;
        assert_eq!(
            (done.counts.unknown, done.counts.delivered),
            if copies == 1 { (1, 0) } else { (0, 1) }
        );
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_copies_of_a_chunk_are_delivered_once() {
    let world = World::of(&["ada", "eve", "joe"]).await;
    let id = world.asks(&to(&json!({"tenant": "tenant-1"}))).await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap().body;
    tokio::join!(
        world.send_one(&chunk),
        world.send_one(&chunk),
        world.send_one(&chunk)
    );
    world.work().await;
    for person in ["a:ada", "a:eve", "a:joe"] {
        assert_eq!(world.channel.count(person), 1);
    }
    let done = world.notification(&id).await;
    assert_eq!(
        (done.counts.delivered, done.chunks, done.chunks_closed),
        (3, 1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn an_expired_lease_is_taken_over_as_an_ambiguous_attempt() {
    for (policy, sent) in [("atMostOnce", 0), ("atLeastOnce", 1)] {
        let world = World::of(&["ada"]).await;
        let mut body = to(&json!({"tenant": "tenant-1"}));
        body["guarantee"] = json!(policy);
        let id = world.asks(&body).await;
        let delivery = DeliveryKey::new(&id, &recipient("ada"));
        let deadline = world.now().checked_add(SignedDuration::from_secs(30)).unwrap();
        let request = ClaimRequest {
            delivery: &delivery,
            revision: 0,
            now: world.now(),
            until: deadline,
            spacing: ConversationRate::within(&Limits::teams().conversation),
        };
        world
            .store
            .claim(request, &"msteams|28:bot|a:ada".parse().unwrap())
            .await
            .unwrap();

        world.plan().await;
        let chunk = world.deliveries.take().unwrap();
        world.send_one(&chunk.body).await;
        assert_eq!(world.channel.count("a:ada"), 0, "its deadline has not come");
        world.work().await;
        assert_eq!(world.channel.count("a:ada"), sent, "{policy}");
        assert_eq!(world.notification(&id).await.open(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_after_the_expiry() {
    let world = World::of(&["ada"]).await;
    let mut body = everyone();
    body["expiresAt"] = json!(
        world
            .now()
            .checked_add(SignedDuration::from_secs(60))
            .unwrap()
            .to_string()
    );
    let id = world.asks(&body).await;
    world.pass(61);
    world.work().await;
    assert_eq!(world.channel.requests(), 0);
    assert_eq!(world.notification(&id).await.counts.expired, 1);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_was_written_but_not_enqueued_is_enqueued_by_the_next_planner() {
    let world = World::of(&["ada"]).await;
    let id = world.asks(&to(&json!({"tenant": "tenant-1"}))).await;
    let bucket = Bucket::of(&"msteams|28:bot|a:ada".parse().unwrap(), Some("tenant-1"));
    let page = Page::group([(Some(bucket), recipient("ada"))], None);
    assert!(world.store.put_page(&id, 0, 0, &page).await.unwrap());
    // A newcomer does not change a finished plan.
    world.hears(&personal("eve", "installationUpdate")).await;
    world.work().await;
    assert_eq!(
        (world.channel.count("a:ada"), world.channel.count("a:eve")),
        (1, 0)
    );
    assert_eq!(world.notification(&id).await.audience, 1);
}

#[tokio::test(start_paused = true)]
async fn a_redelivered_plan_sends_no_message_twice() {
    let world = World::of(&["ada", "eve"]).await;
    let id = world.asks(&everyone()).await;
    let plans: Vec<_> = std::iter::from_fn(|| world.plans.take()).collect();
    for plan in plans.iter().chain(&plans) {
        world.plan_one(&plan.body).await;
    }
    world.work().await;
    assert_eq!(
        (world.channel.count("a:ada"), world.channel.count("a:eve")),
        (1, 1)
    );
    assert_eq!(world.notification(&id).await.audience, 2);
}

#[tokio::test(start_paused = true)]
async fn a_sender_out_of_time_sends_nothing_and_loses_nothing() {
    let world = World::of(&["ada"]).await;
    let id = world.asks(&to(&json!({"tenant": "tenant-1"}))).await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    let soon: Timestamp = world.now().checked_add(SignedDuration::from_secs(1)).unwrap();
    world.send_until(&chunk.body, soon).await;
    assert_eq!(world.channel.requests(), 0);
    world.work().await;
    assert_eq!(world.notification(&id).await.counts.delivered, 1);
}

#[tokio::test(start_paused = true)]
async fn an_audience_of_several_pages_is_reached_whole() {
    let people: Vec<String> = (0..PAGE_SIZE * 9 + 5)
        .map(|number| format!("p{number}"))
        .collect();
    let world = World::new();
    for person in &people {
        world.hears(&personal(person, "installationUpdate")).await;
    }
    for audience in [
        json!({"everyone": true}),
        json!({"users": people.iter().map(|it| format!("entra-{it}")).collect::<Vec<_>>()}),
    ] {
        let before = world.channel.requests();
        let id = world.asks(&to(&audience)).await;
        world.work().await;
        let done = world.notification(&id).await;
        assert_eq!(
            (done.audience, done.counts.delivered),
            (people.len() as u64, people.len() as u64)
        );
        assert_eq!(world.channel.requests() - before, people.len());
    }
    assert!(
        people
            .iter()
            .all(|person| world.channel.count(&format!("a:{person}")) == 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_person_with_more_conversations_than_a_page_is_reached_once() {
    let world = World::new();
    let chats: Vec<_> = (0..=PAGE_SIZE * 2)
        .map(|number| format!("a:session-{number}"))
        .collect();
    for chat in &chats {
        let mut session = personal("ada", "installationUpdate");
        session["conversation"]["id"] = json!(chat);
        world.hears(&session).await;
    }
    world.hears(&personal("eve", "installationUpdate")).await;
    let id = world
        .asks(&to(&json!({"accounts": ["29:ada", "29:nobody", "29:eve"]})))
        .await;
    world.work().await;
    let reached: usize = chats.iter().map(|chat| world.channel.count(chat)).sum();
    assert_eq!((reached, world.channel.count("a:eve")), (1, 1));
    let done = world.notification(&id).await;
    assert_eq!((done.counts.delivered, done.counts.skipped), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_planner_out_of_time_continues_where_it_stopped() {
    let world = World::new();
    for number in 0..=PAGE_SIZE * 2 {
        world
            .hears(&personal(&format!("p{number}"), "installationUpdate"))
            .await;
    }
    let id = world.asks(&to(&json!({"tenant": "tenant-1"}))).await;
    let whole = serde_json::from_str(&world.plans.take().unwrap().body).unwrap();
    planner::run(&world.planner(), whole, world.in_seconds(1))
        .await
        .unwrap();
    assert_eq!(
        world.notification(&id).await.chunks,
        0,
        "the planner stops before its first page"
    );
    world.work().await;
    assert_eq!(
        world.notification(&id).await.counts.delivered,
        PAGE_SIZE as u64 * 2 + 1
    );
    assert_eq!(world.channel.requests(), PAGE_SIZE * 2 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_small_audience_is_planned_and_started_by_one_planner() {
    let world = World::of(&["ada", "bob", "eve", "ida", "kim"]).await;
    let named = to(&json!({"users": ["entra-ada", "entra-bob"]}));
    for (body, people) in [(named, 2), (everyone(), 5)] {
        let id = world.asks(&body).await;
        let plan = world.plans.take().unwrap();
        world.plan_one(&plan.body).await;
        assert!(world.plans.take().is_none(), "{body}");
        while let Some(chunk) = world.deliveries.take() {
            world.send_one(&chunk.body).await;
        }
        let head = world.notification(&id).await;
        assert_eq!(
            (head.counts.delivered, head.state()),
            (people, notification::State::Completed)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_fails_is_tried_again_by_itself() {
    let world = World::of(&["ada", "bob"]).await;
    let union = json!([{"tenant": "tenant-1"}, {"users": ["entra-ada", "entra-nobody"]}]);
    let id = world.asks(&to(&union)).await;
    let planner = world.planner();
    let planner = planner::Context::<Assembled<_, _, _, _, _>> {
        conversations: Faulty::at(planner.conversations, "list", 0..1),
        notifications: planner.notifications,
        registry: planner.registry,
        ledger: planner.ledger,
        plans: planner.plans,
        deliveries: planner.deliveries,
        events: planner.events,
        connector: planner.connector,
        graph_clients: planner.graph_clients,
        limits: planner.limits,
        roster_ttl: planner.roster_ttl,
        bot: planner.bot,
        clock: planner.clock,
    };
    let plan = serde_json::from_str(&world.plans.take().unwrap().body).unwrap();
    planner::run(&planner, plan, world.in_seconds(60)).await.unwrap();
    let parts: Vec<_> = std::iter::from_fn(|| world.plans.take()).collect();
    assert_eq!(parts.len(), 2, "the part that failed, and the one after it");
    world.plans.send(parts).await.unwrap();
    world.work().await;
    let head = world.notification(&id).await;
    assert_eq!((head.counts.delivered, head.counts.skipped), (2, 1));
    assert_eq!(head.state(), notification::State::Completed);
}

#[tokio::test(start_paused = true)]
async fn only_failed_messages_of_a_lambda_batch_are_redelivered() {
    let world = World::of(&["ada"]).await;
    world.asks(&everyone()).await;
    let record = |id: &str, body: &str| json!({"messageId": id, "body": body});
    let batch = |records: Value| serde_json::from_value::<SqsEvent>(json!({"Records": records})).unwrap();
    let plan = world.plans.take().unwrap().body;
    let event = batch(json!([record("good", &plan), record("bad", "{}")]));
    let answer = planner::handle(&world.planner(), event, world.in_seconds(60)).await;
    assert_eq!(
        serde_json::to_value(answer).unwrap(),
        json!({"batchItemFailures": [{"itemIdentifier": "bad"}]})
    );
    world.plan().await;
    let mut records: Vec<_> = std::iter::from_fn(|| world.deliveries.take())
        .map(|it| record("good", &it.body))
        .collect();
    records.push(record("bad", "null"));
    let answer = sender::handle(&world.sender(), batch(json!(records)), world.in_seconds(60)).await;
    assert_eq!(
        serde_json::to_value(answer).unwrap(),
        json!({"batchItemFailures": [{"itemIdentifier": "bad"}]})
    );
    assert_eq!(world.channel.count("a:ada"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_functions_accept_the_events_of_the_fixtures() {
    let world = World::new();
    let event = |name: &str| {
        let path = format!("{}/fixtures/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    let queued = |name: &str| serde_json::from_str::<SqsEvent>(&event(name)).unwrap();
    let soon = world.in_seconds(60);
    assert!(
        planner::handle(&world.planner(), queued("planner-plan"), soon)
            .await
            .batch_item_failures
            .is_empty()
    );
    assert!(
        sender::handle(&world.sender(), queued("sender-chunk"), soon)
            .await
            .batch_item_failures
            .is_empty()
    );
    let http = |name: &str| tests::gateway::received(serde_json::from_str(&event(name)).unwrap()).unwrap();
    assert_eq!(
        world
            .messages(http("messages-conversation-update"))
            .await
            .status(),
        200
    );
    assert_eq!(world.notify(http("notify-post")).await.status(), 202);
    assert_eq!(world.notify(http("notify-status")).await.status(), 404);
    assert_eq!(world.notify(http("notify-classic")).await.status(), 200);
    world.work().await;
    assert_eq!(
        world.channel.received().len(),
        3,
        "the welcome and two notifications"
    );
}
