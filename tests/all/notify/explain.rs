//! The explain API: why a notification is not complete.

use botframework::activity::Activity;
use botframework::cloud::Cloud;
use herald::audience::Recipient;
use herald::conversation::Observation;
use herald::delivery::{AttemptLease, Claim, ClaimRequest, DeliveryKey, Outcome, SentMessage};
use herald::event::EventKind;
use herald::id::NotificationId;
use herald::notification::{ChunkId, ChunkResult, Page, PageChunk, SendMode};
use herald::queue::Queue as _;
use herald::rate_limit::{self, Bucket, ConversationRate, Limits, TenantRate};
use herald::store::{Conversations, Ledger, Notifications, RateLimits};
use jiff::{SignedDuration, Timestamp};
use lambda_http::Body;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tests::channel::{Behaviour, Reply};

use super::hello;
use crate::world::{World, document, get, personal, request, text};

/// The state in which a delivery was left.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Nothing,
    Claimed,
    Released,
    Doubted,
    Delivered,
    Ended,
}

/// A chunk: the states of its deliveries, and whether it was closed or dead-lettered. A chunk is closed when all deliveries
/// are settled.
#[derive(Clone, Debug)]
struct Made {
    tenant: Option<u8>,
    deeds: Vec<Deed>,
    is_closed: bool,
    is_buried: bool,
}

fn made() -> impl Strategy<Value = Made> {
    let deed = prop_oneof![
        Just(Deed::Nothing),
        Just(Deed::Claimed),
        Just(Deed::Released),
        Just(Deed::Doubted),
        Just(Deed::Delivered),
        Just(Deed::Ended),
    ];
    let deeds = prop::collection::vec(deed, 1..8);
    let tenant = prop::option::weighted(0.9, 0..3_u8);
    (tenant, deeds, any::<bool>(), prop::bool::weighted(0.2)).prop_map(
        |(tenant, deeds, is_closed, is_buried)| Made {
            tenant,
            deeds,
            is_closed,
            is_buried,
        },
    )
}

fn bucket(tenant: u8) -> Bucket {
    serde_json::from_value(json!(format!("msteams|28:bot|tenant-{tenant}"))).unwrap()
}

/// The recipient with this number.
fn recipient(number: usize) -> Recipient {
    Recipient::Conversation(format!("msteams|28:bot|a:{number}").parse().unwrap())
}

async fn claim(world: &World, delivery: &DeliveryKey, recipient: &Recipient) -> AttemptLease {
    let Recipient::Conversation(conversation) = recipient else {
        panic!("{recipient:?}");
    };
    let request = ClaimRequest {
        delivery,
        revision: 0,
        now: world.now(),
        until: world.in_seconds(60),
        spacing: ConversationRate::within(&Limits::teams().conversation),
    };
    match world.store.claim(request, conversation).await.unwrap() {
        Claim::Acquired(lease) => lease,
        other => panic!("{other:?}"),
    }
}

async fn bring_about(world: &World, id: &NotificationId, recipient: &Recipient, deed: Deed) {
    let delivery = DeliveryKey::new(id, recipient);
    let outcome = match deed {
        Deed::Nothing => return,
        Deed::Delivered => Outcome::Delivered(SentMessage {
            activity: None,
            revision: 0,
            attempted_revision: 0,
            supersedes: None,
        }),
        Deed::Ended => Outcome::Unknown,
        Deed::Claimed | Deed::Released | Deed::Doubted => {
            let lease = claim(world, &delivery, recipient).await;
            let (until, ambiguous_attempts) =
                (world.in_seconds(100), u32::from(matches!(deed, Deed::Doubted)));
            if !matches!(deed, Deed::Claimed) {
                let released = Ledger::release(
                    &world.store,
                    &delivery,
                    &lease,
                    until,
                    "Throttled",
                    ambiguous_attempts,
                );
                released.await.unwrap();
            }
            return;
        }
    };
    let lease = claim(world, &delivery, recipient).await;
    world.store.settle(&delivery, &lease, &outcome).await.unwrap();
}

/// A notification planned in these pages, in a state that a planner and senders may leave.
async fn left(world: &World, pages: &[Vec<Made>]) -> NotificationId {
    let id = world
        .asks(&json!({"audience": {"tenant": "tenant-0"}, "message": {"text": "hello"}}))
        .await;
    Notifications::start(&world.store, &id, world.now())
        .await
        .unwrap();
    let mut numbers = 0..;
    for (number, page) in (0_u32..).zip(pages) {
        let chunks: Vec<PageChunk> = page
            .iter()
            .map(|made| PageChunk {
                fields: Vec::new(),
                bucket: made.tenant.map(bucket),
                send_mode: SendMode::Individual,
                wave: None,
                recipients: made
                    .deeds
                    .iter()
                    .zip(&mut numbers)
                    .map(|(_, it)| recipient(it))
                    .collect(),
            })
            .collect();
        let is_last = number as usize + 1 == pages.len();
        let planned = Page {
            chunks: chunks.clone(),
            next: (!is_last).then(|| "more".to_owned()),
            ..Page::default()
        };
        world.store.put_page(&id, 0, number, &planned).await.unwrap();
        for (index, (made, chunk)) in (0_u16..).zip(page.iter().zip(&chunks)) {
            let chunk_id = ChunkId {
                part: 0,
                page: number,
                index,
            };
            let mut result = ChunkResult::default();
            for (deed, recipient) in made.deeds.iter().zip(&chunk.recipients) {
                let deed = if made.is_closed { Deed::Ended } else { *deed };
                bring_about(world, &id, recipient, deed).await;
                result.count(&Outcome::Unknown, 0);
            }
            if made.is_closed {
                world.store.close_chunk(&id, chunk_id, 0, &result).await.unwrap();
            }
            if made.is_buried {
                world
                    .store
                    .mark_dead_lettered(&id, chunk_id, "the table was away")
                    .await
                    .unwrap();
            }
        }
    }
    id
}

async fn explain(world: &World, id: &NotificationId, query: &str) -> Value {
    let answer = world
        .notify(get(&format!("/api/notifications/{id}/explain{query}")))
        .await;
    assert_eq!(answer.status(), 200, "{}", text(&answer));
    document(&answer)
}

fn reasons(explanation: &Value) -> Vec<(&str, u64)> {
    let reasons = explanation["reasons"].as_array().unwrap().iter();
    reasons
        .map(|it| {
            (
                it["reason"].as_str().unwrap(),
                it["deliveries"].as_u64().unwrap_or(0),
            )
        })
        .collect()
}

fn sum(explanation: &Value) -> u64 {
    reasons(explanation).iter().map(|(_, count)| count).sum()
}

#[test]
fn the_reasons_add_up_to_the_open_deliveries() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let pages = prop::collection::vec(prop::collection::vec(made(), 0..4), 1..6);
    let happened = (pages, any::<bool>(), any::<bool>(), any::<bool>());
    TestRunner::new(Config::with_cases(128))
        .run(&happened, |(pages, is_cancelled, is_paused, is_late)| {
            runtime.block_on(async {
                let world = World::new();
                let id = left(&world, &pages).await;
                if is_cancelled {
                    world.store.cancel(&id, world.now()).await.unwrap();
                }
                if is_paused {
                    let until = world.now();
                    let strikes = |rate: &TenantRate| {
                        let struck = (0..3).fold(rate.clone(), |rate, _| {
                            rate_limit::record_failure(&rate, "BotDisabledByAdmin", until)
                        });
                        ((), Some(struck))
                    };
                    world.store.apply(&bucket(0), strikes).await.unwrap();
                }
                if is_late {
                    world.pass(1000);
                }
                let open = world.notification(&id).await.open();
                let explanation = explain(&world, &id, "").await;
                prop_assert_eq!(explanation["open"].as_u64(), Some(open));
                prop_assert_eq!(sum(&explanation), open, "{}", explanation);
                prop_assert_eq!(explanation["examined"]["deliveries"].as_u64(), Some(open));
                prop_assert_eq!(&explanation["examined"]["complete"], &json!(true));
                Ok(())
            })
        })
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_ended_of_a_chunk_is_counted_while_the_rest_waits() {
    let people: Vec<String> = (0..9).map(|number| format!("p{number}")).collect();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    let world = World::of(&people).await;
    let ambiguous = || Reply {
        status: 502,
        code: "BadGateway",
        ..Reply::default()
    };
    let three = [ambiguous(), ambiguous(), ambiguous()];
    world.channel.when("a:p4", Behaviour::Answers(three.into()));
    let everybody = json!({"audience": {"tenant": "tenant-1"}, "message": {"text": "news"}});
    let id = world.asks(&everybody).await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    world.send_one(&chunk.body).await;
    let head = world.notification(&id).await;
    assert_eq!(
        (head.counts.delivered, head.open(), head.chunks_closed),
        (8, 1, 0)
    );
    let explanation = explain(&world, &id, "").await;
    assert_eq!(explanation["open"], 1);
    assert_eq!(reasons(&explanation), [("retryingAmbiguous", 1)]);
    let rest = world.deliveries.take().unwrap();
    world.deliveries.send(vec![rest]).await.unwrap();
    world.work().await;
    let head = world.notification(&id).await;
    assert_eq!(
        (head.counts.delivered, head.open(), head.chunks_closed),
        (9, 0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_throttled_delivery_is_explained_with_its_next_attempt() {
    let world = World::new();
    for person in ["ada", "eve"] {
        world.hears(&personal(person, "installationUpdate")).await;
    }
    let refuse = Behaviour::Refuse {
        status: 429,
        code: "Throttled",
    };
    world.channel.when("a:eve", refuse);
    // In one chunk: the people of a tenant are planned together.
    let both = json!({"audience": {"tenant": "tenant-1"}, "message": {"text": "hello"}});
    let id = world.asks(&both).await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    world.send_one(&chunk.body).await;
    let explanation = explain(&world, &id, "").await;
    assert_eq!(
        reasons(&explanation),
        [("retrying", 1), ("ended", 1)],
        "{explanation}"
    );
    let retrying = &explanation["reasons"][0];
    assert_eq!(retrying["code"], "Throttled");
    assert_eq!(retrying["examples"], json!(["msteams|28:bot|a:eve"]));
    assert!(retrying["until"].as_str() > Some(&world.now().to_string()));
    assert!(explanation["predictedFinish"].as_str() >= retrying["until"].as_str());
    let rate = &explanation["rates"][0];
    assert_eq!(rate["tenant"], "tenant-1");
    assert!(
        rate["requestsPerSecond"].as_f64().unwrap() < 45.0,
        "slowed by the 429"
    );
}

#[tokio::test(start_paused = true)]
async fn each_stage_of_a_notification_explains_itself() {
    let world = World::new();
    world.hears(&personal("ada", "installationUpdate")).await;
    let id = world.asks(&hello()).await;
    assert_eq!(reasons(&explain(&world, &id, "").await), [("notYetPlanned", 0)]);
    world.plan().await;
    assert_eq!(reasons(&explain(&world, &id, "").await), [("inFlight", 1)]);
    world.work().await;
    let done = explain(&world, &id, "").await;
    assert_eq!(
        (&done["state"], &done["reasons"]),
        (&json!("completed"), &json!([]))
    );
    let mut dry = hello();
    dry["dryRun"] = json!(true);
    let held = world.asks(&dry).await;
    world.work().await;
    let held = explain(&world, &held, "").await;
    assert_eq!(
        (reasons(&held), &held["predictedFinish"]),
        (vec![("held", 1)], &Value::Null)
    );
    let mut later = hello();
    later["deliverAt"] = json!(world.in_seconds(100).to_string());
    let scheduled = world.asks(&later).await;
    assert_eq!(
        reasons(&explain(&world, &scheduled, "").await),
        [("scheduled", 0)]
    );
}

#[tokio::test(start_paused = true)]
async fn an_edit_under_way_is_explained_too() {
    let world = World::new();
    world.hears(&personal("ada", "installationUpdate")).await;
    let id = world.asks(&hello()).await;
    world.work().await;
    let better = herald::notification::Content::Nothing;
    world.store.revise(&id, &better, world.now()).await.unwrap();
    let explanation = explain(&world, &id, "").await;
    assert_eq!(
        explanation["revising"],
        json!({"revision": 1, "chunks": 1, "chunksCurrent": 0})
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_explained_as_such() {
    let world = World::new();
    let buried = Made {
        tenant: Some(0),
        deeds: vec![Deed::Nothing, Deed::Delivered],
        is_closed: false,
        is_buried: true,
    };
    let id = left(&world, &[vec![buried]]).await;
    let explanation = explain(&world, &id, "").await;
    assert_eq!(reasons(&explanation), [("deadLetter", 1), ("ended", 1)]);
    assert_eq!(explanation["reasons"][0]["code"], "the table was away");
    assert_eq!(explanation["predictedFinish"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_long_explanation_continues_in_the_next_request() {
    let world = World::new();
    let chunk = Made {
        tenant: Some(0),
        deeds: vec![Deed::Nothing],
        is_closed: false,
        is_buried: false,
    };
    let id = left(&world, &vec![vec![chunk]; 120]).await;
    let (mut total, mut requests, mut query) = (0, 0, String::new());
    loop {
        let explanation = explain(&world, &id, &query).await;
        assert_eq!(explanation["open"], 120);
        assert_eq!(explanation["examined"]["complete"], false);
        total += sum(&explanation);
        requests += 1;
        match explanation["next"].as_str() {
            Some(next) => query = format!("?cursor={next}"),
            None => break,
        }
    }
    assert_eq!((total, requests), (120, 3));
}

#[tokio::test(start_paused = true)]
async fn without_a_token_status_explain_and_an_event_say_so_with_the_code_and_since_when() {
    let world = World::without_token(Cloud::Public, 7_000_222);
    let mut activity = personal("ada", "installationUpdate");
    activity["serviceUrl"] = json!("https://smba.trafficmanager.net/emea/");
    let activity = Activity::from_value(activity).unwrap();
    for observation in Observation::from_activity(&activity) {
        world.store.remember(observation, world.now()).await.unwrap();
    }
    let id = world.asks(&hello()).await;
    world.plan().await;
    world.events.take();
    let began = world.now();
    for _ in 0..3 {
        let chunk = world.deliveries.take().unwrap();
        assert!(chunk.delay.as_secs() <= 900, "{:?}", chunk.delay);
        world.pass(i64::try_from(chunk.delay.as_secs()).unwrap());
        world.send_one(&chunk.body).await;
    }
    assert_eq!(world.channel.requests(), 0);

    let explained = document(
        &world
            .notify(get(&format!("/api/notifications/{id}/explain")))
            .await,
    );
    let [reason] = &explained["reasons"].as_array().unwrap()[..] else {
        panic!("{explained}");
    };
    assert_eq!(
        (&reason["reason"], &reason["code"], &reason["deliveries"]),
        (&json!("botOutage"), &json!("AADSTS7000222"), &json!(1))
    );
    let since: Timestamp = reason["since"].as_str().unwrap().parse().unwrap();
    assert!(since.duration_since(began).as_secs() < 60, "{since}");
    assert_eq!(explained["predictedFinish"], Value::Null);

    let status = document(&world.notify(get(&format!("/api/notifications/{id}"))).await);
    let outage = &status["outage"];
    assert_eq!(
        (&outage["cause"], &outage["code"], &outage["since"]),
        (&json!("noToken"), &json!("AADSTS7000222"), &reason["since"])
    );
    let events = world.events.take();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(
        (events[0].kind, &events[0].detail["code"]),
        (EventKind::BotOutageBegan, &json!("AADSTS7000222"))
    );
}

#[tokio::test(start_paused = true)]
async fn an_operator_ends_the_pause_of_a_tenant() {
    let world = World::new();
    world.hears(&personal("ada", "installationUpdate")).await;
    let bucket: Bucket = "msteams|28:bot|tenant-1".parse().unwrap();
    let now = world.now();
    for _ in 0..3 {
        let rule = |rate: &TenantRate| {
            (
                (),
                Some(rate_limit::record_failure(rate, "BotDisabledByAdmin", now)),
            )
        };
        world.store.apply(&bucket, rule).await.unwrap();
    }
    let throttle = |rate: &TenantRate| {
        let wait = Some(SignedDuration::from_mins(15));
        (
            (),
            Some(rate_limit::throttle(rate, Limits::teams().tenant, wait, now)),
        )
    };
    world.store.apply(&bucket, throttle).await.unwrap();

    for (path, status) in [
        ("msteams%7C28:bot%7Ctenant-1", 204),
        ("msteams%7C28:bot%7Ctenant-1", 204),
        ("msteams%7C28:bot%7Cnobody", 204),
        ("msteams", 400),
        ("%7C%7C", 400),
        ("msteams%7C28:bot%7C%00", 400),
    ] {
        let request = request("DELETE", &format!("/api/rates/{path}"), Body::Empty);
        assert_eq!(world.notify(request).await.status(), status, "{path}");
    }
    let reset = world
        .store
        .apply(&bucket, |rate| (rate.clone(), None))
        .await
        .unwrap();
    assert_eq!(
        (reset.breaker, reset.failures, reset.slowdown),
        (None, None, None)
    );
    assert!(
        reset.next_slot.duration_since(now).as_secs() <= 4,
        "{}",
        reset.next_slot
    );
    let id = world.asks(&hello()).await;
    world.work().await;
    assert_eq!(world.notification(&id).await.counts.delivered, 1);
    assert!(world.now().duration_since(now).as_secs() < 60);
}
