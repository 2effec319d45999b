//! Schedules of routes: each time is sent once, whatever happens to its message.

use std::time::Duration;

use herald::queue::Message;
use jiff::Timestamp;
use lambda_http::Body;
use serde_json::{Value, json};

use super::routes::puts;
use super::{failed, notifications};
use crate::system::System;
use crate::world::{World, document, get, personal, post, request};

/// The world's time is 09:00 on Friday, 15 January 2027, in Berlin.
const NOW: &str = "2027-01-15T09:00:00+01:00";

fn stand_up() -> Value {
    json!({"schedule": {"cron": "0 9 * * MON-FRI", "zone": "Europe/Berlin"}, "audience": {"everyone": true},
           "message": {"text": "Stand-up of ${detail.weekday}, ${detail.date} ${detail.time} (week ${detail.week})"}})
}

/// The message of the next time, which is the only one that waits. The world's time does not stand still, so the wait is rounded
/// up to seconds.
fn waiting(world: &World) -> Message {
    let mut message = world.events_queue.take().unwrap();
    message.delay = Duration::from_secs(message.delay.as_millis().div_ceil(1000).try_into().unwrap());
    assert_eq!(
        world.events_queue.take(),
        None,
        "one message waits for a schedule"
    );
    message
}

/// Receives a message in time, which must be handled.
async fn receives(world: &World, message: &Message) {
    world.pass(i64::try_from(message.delay.as_secs()).unwrap());
    assert!(
        world
            .takes_events(&[("m", message.body.clone(), 1)])
            .await
            .is_empty()
    );
}

async fn next(world: &World) -> Vec<String> {
    let shown = document(&world.notify(get("/api/routes/stand-up")).await);
    serde_json::from_value(shown["next"].clone()).unwrap()
}

async fn texts(world: &World) -> Vec<String> {
    world.work().await;
    let received = world.channel.received().into_iter();
    let texts = received.filter_map(|sent| Some(sent.activity["text"].as_str()?.to_owned()));
    texts.filter(|text| text.starts_with("Stand-up")).collect()
}

#[tokio::test]
async fn a_time_is_sent_once_however_often_its_message_comes_and_the_next_one_follows() {
    let world = World::of(&["ada"]).await;
    let nine = NOW.parse::<Timestamp>().unwrap();
    assert_eq!(world.now().as_second(), nine.as_second());
    puts(&world, "stand-up", &stand_up()).await;
    assert_eq!(
        next(&world).await,
        [
            "2027-01-18T09:00:00+01:00",
            "2027-01-19T09:00:00+01:00",
            "2027-01-20T09:00:00+01:00",
            "2027-01-21T09:00:00+01:00",
            "2027-01-22T09:00:00+01:00"
        ]
    );
    let monday = waiting(&world);
    assert_eq!(monday.delay.as_secs(), 3 * 24 * 3600);
    receives(&world, &monday).await;
    let tuesday = waiting(&world);
    for _ in 0..2 {
        assert!(
            world
                .takes_events(&[("again", monday.body.clone(), 2)])
                .await
                .is_empty()
        );
        assert_eq!(world.events_queue.take(), None, "a repetition has nothing follow");
    }
    assert_eq!(next(&world).await[0], "2027-01-19T09:00:00+01:00");
    receives(&world, &tuesday).await;
    assert_eq!(
        texts(&world).await,
        [
            "Stand-up of Monday, 2027-01-18 09:00 (week 3)",
            "Stand-up of Tuesday, 2027-01-19 09:00 (week 3)"
        ]
    );
    let listed = notifications(&world).await;
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (&listed[0]["caller"], &listed[0]["category"]),
        (&json!("schedule:stand-up"), &json!("stand-up"))
    );
}

#[tokio::test]
async fn a_message_that_is_lost_is_missed_and_no_time_is_lost() {
    let world = World::of(&["ada"]).await;
    puts(&world, "stand-up", &stand_up()).await;
    let check = async || {
        let checked = world
            .takes_events(&[("check", r#"{"clock": "check"}"#.to_owned(), 1)])
            .await;
        assert!(checked.is_empty());
    };
    let _lost = waiting(&world);
    // Monday, four minutes late: it may still come.
    world.pass(3 * 24 * 3600 + 240);
    check().await;
    assert_eq!(world.events_queue.take(), None);
    // Tuesday, an hour late: the chain has stopped.
    world.pass(24 * 3600 + 3360);
    check().await;
    for _ in 0..2 {
        let late = waiting(&world);
        assert_eq!(late.delay.as_secs(), 0);
        receives(&world, &late).await;
    }
    let wednesday = waiting(&world);
    assert_eq!(wednesday.delay.as_secs(), 23 * 3600);
    assert_eq!(
        texts(&world).await,
        [
            "Stand-up of Monday, 2027-01-18 09:00 (week 3)",
            "Stand-up of Tuesday, 2027-01-19 09:00 (week 3)"
        ]
    );
    check().await;
    assert_eq!(world.events_queue.take(), None);
}

#[tokio::test]
async fn after_a_long_pause_only_the_last_day_is_made_up_for() {
    let world = World::of(&["ada"]).await;
    let mut hourly = stand_up();
    hourly["schedule"] = json!({"cron": "@hourly"});
    puts(&world, "stand-up", &hourly).await;
    let mut message = waiting(&world);
    world.pass(10 * 24 * 3600);
    let mut times = 0;
    while message.delay.is_zero() || times == 0 {
        message.delay = Duration::ZERO;
        receives(&world, &message).await;
        message = waiting(&world);
        times += 1;
    }
    // The one that waited, and those of 24 hours.
    assert_eq!((times, notifications(&world).await.len()), (1 + 24, 1 + 24));
}

#[tokio::test]
async fn a_schedule_ends_with_its_route_and_changes_with_it() {
    let world = World::of(&["ada"]).await;
    puts(&world, "stand-up", &stand_up()).await;
    let monday = waiting(&world);
    // Another text, at the same times: the same message is waited for.
    let mut other = stand_up();
    other["message"] = json!({"text": "Stand-up!"});
    puts(&world, "stand-up", &other).await;
    assert_eq!(waiting(&world), monday);
    // Other times.
    other["schedule"]["cron"] = json!("0 10 * * MON-FRI");
    puts(&world, "stand-up", &other).await;
    let at_ten = waiting(&world);
    assert_eq!(at_ten.delay.as_secs(), 3600, "today, as it is nine");
    receives(&world, &at_ten).await;
    drop(waiting(&world));
    world.pass(3 * 24 * 3600);
    receives(
        &world,
        &Message {
            delay: Duration::ZERO,
            ..monday.clone()
        },
    )
    .await;
    assert_eq!(texts(&world).await, ["Stand-up!"]);

    let delete = request("DELETE", "/api/routes/stand-up", Body::Empty);
    assert_eq!(world.notify(delete).await.status(), 204);
    for body in [monday.body, at_ten.body] {
        assert!(world.takes_events(&[("m", body, 1)]).await.is_empty());
    }
    assert_eq!(
        world.events_queue.take(),
        None,
        "nothing follows what was deleted"
    );
    assert_eq!(texts(&world).await, ["Stand-up!"]);
}

#[tokio::test]
async fn a_time_that_is_refused_is_listed_and_does_not_end_the_schedule() {
    let mut world = World::of(&["ada"]).await;
    let mut route = stand_up();
    route["audience"] = json!({"users": ["entra-ada"], "tenant": "tenant-1"});
    route["ifNoConversation"] = json!("install");
    puts(&world, "stand-up", &route).await;
    let monday = waiting(&world);
    world.pass(i64::try_from(monday.delay.as_secs()).unwrap());
    let batch = [("m", monday.body.clone(), 1)];
    assert_eq!(world.takes_events(&batch).await, ["m"]);
    let tuesday = waiting(&world);
    let listed = failed(&world).await;
    assert_eq!(listed[0]["caller"], "schedule:stand-up");
    assert_eq!(world.takes_events(&batch).await, ["m"]);
    assert_eq!(world.events_queue.take(), None);
    // The deployment names its app: both times are sent.
    world.opens_graph();
    assert!(world.takes_events(&[("m", monday.body, 3)]).await.is_empty());
    receives(&world, &tuesday).await;
    assert_eq!(notifications(&world).await.len(), 2);
    assert!(failed(&world).await.is_empty());
}

#[tokio::test]
async fn a_message_that_is_early_waits_on() {
    let world = World::of(&["ada"]).await;
    puts(&world, "stand-up", &stand_up()).await;
    let monday = waiting(&world);
    world.pass(900);
    assert!(
        world
            .takes_events(&[("m", monday.body.clone(), 1)])
            .await
            .is_empty()
    );
    let again = waiting(&world);
    assert_eq!(again.body, monday.body);
    assert_eq!(again.delay.as_secs(), monday.delay.as_secs() - 900);
    assert!(notifications(&world).await.is_empty());
}

#[tokio::test]
async fn a_time_of_a_subject_edits_the_copy_of_the_time_before() {
    let world = World::of(&["ada"]).await;
    let mut route = stand_up();
    route["subject"] = json!("stand-up");
    puts(&world, "stand-up", &route).await;
    for _ in 0..2 {
        receives(&world, &waiting(&world)).await;
        world.work().await;
    }
    assert_eq!(texts(&world).await.len(), 2);
    assert_eq!(notifications(&world).await.len(), 1);
}

#[tokio::test]
async fn a_scheduled_route_is_tried_and_a_wrong_one_is_refused() {
    let world = World::of(&["ada"]).await;
    puts(&world, "stand-up", &stand_up()).await;
    let trial = document(&world.notify(post("/api/routes/stand-up/test", "{}")).await);
    assert_eq!(
        trial["request"]["message"]["text"],
        "Stand-up of Monday, 2027-01-18 09:00 (week 3)"
    );
    assert_eq!(
        (&trial["takes"], &trial["problem"], &trial["missing"]),
        (&json!(true), &Value::Null, &Value::Null)
    );
    let pointer = async |change: Value| {
        let mut route = stand_up();
        for (name, value) in change.as_object().unwrap() {
            route[name] = value.clone();
        }
        let put = request("PUT", "/api/routes/stand-up", Body::Text(route.to_string()));
        let answer = world.notify(put).await;
        assert_eq!(answer.status(), 400);
        document(&answer)["errors"][0]["pointer"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(pointer(json!({"pattern": {"source": ["x"]}})).await, "#/schedule");
    assert_eq!(pointer(json!({"schedule": "daily"})).await, "#/schedule");
    assert_eq!(pointer(json!({"schedule": {}})).await, "#/schedule/cron");
    assert_eq!(
        pointer(json!({"schedule": {"cron": "0 0 30 2 *"}})).await,
        "#/schedule/cron"
    );
    assert_eq!(
        pointer(json!({"schedule": {"cron": "@daily", "zone": "Mars"}})).await,
        "#/schedule/zone"
    );
    assert_eq!(
        pointer(json!({"schedule": {"cron": "@daily", "timezone": "UTC"}})).await,
        "#/schedule/timezone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_waits_in_scheduler_and_comes_back_when_it_is_early() {
    let system = System::start().await;
    assert_eq!(system.hears(personal("ada", "installationUpdate")).await, 200);
    // Not now, whenever this runs: the year has two of these.
    let route = json!({"schedule": {"cron": "0 0 1 1,7 *", "zone": "Europe/Berlin"}, "audience": {"everyone": true},
                       "message": {"text": "by the clock"}});
    let url = format!("{}/api/routes/half-years", system.host.url());
    let put = system.http.put(url).header("content-type", "application/json");
    assert_eq!(put.body(route.to_string()).send().await.unwrap().status(), 201);
    for _ in 0..2 {
        assert_eq!(system.host.schedules_waiting(), 1);
        system.host.bring_schedules_forward();
        system.host.drained().await;
    }
    system.send_to_events_queue(r#"{"clock": "check"}"#).await;
    system.host.drained().await;
    assert!(system.failed_events().await.is_empty());
    assert_eq!(system.host.schedules_waiting(), 1);
    system.host.stop().await;
}
