//! Schedules: each occurrence is one notification, although its message comes twice, late or never, and another caller changes the schedule.

use std::time::Duration;

use herald::queue::Message;
use herald::recurring::{OccurrenceState, ScheduleRecord};
use herald::store::Registry;
use lambda_http::Body;
use serde_json::{Value, json};

use super::{failed, notifications};
use crate::system::System;
use crate::world::{World, document, get, personal, request, text};

/// The world's time is 09:00 on Friday, 15 January 2027, in Berlin.
const MONDAY: &str = "2027-01-18T09:00:00+01:00";
const TUESDAY: &str = "2027-01-19T09:00:00+01:00";
const WEDNESDAY: &str = "2027-01-20T09:00:00+01:00";

fn stand_up() -> Value {
    json!({"cron": "0 9 * * MON-FRI", "zone": "Europe/Berlin",
           "notification": {"audience": {"everyone": true}, "message": {"text": "Stand-up!"}}})
}

/// Asks as a role; the answer's status and document.
async fn by(world: &World, role: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() {
        Body::Empty
    } else {
        Body::Text(body.to_string())
    };
    let mut event = tests::gateway::event(request(method, &format!("/api/schedules/{path}"), body));
    let arn = format!("arn:aws:sts::1:assumed-role/{role}/session");
    event["requestContext"]["authorizer"] = json!({"iam": {"userArn": arn}});
    let answer = world.notify(tests::gateway::received(event).unwrap()).await;
    let shown = if text(&answer).is_empty() {
        Value::Null
    } else {
        document(&answer)
    };
    (answer.status().as_u16(), shown)
}

async fn puts(world: &World, schedule: &Value) -> Value {
    let (status, shown) = by(world, "builds", "PUT", "stand-up", schedule).await;
    assert!((200..300).contains(&status), "{shown}");
    shown
}

/// Posts what must be answered 200.
async fn posts(world: &World, action: &str, body: &Value) -> Value {
    let (status, shown) = by(world, "builds", "POST", &format!("stand-up/{action}"), body).await;
    assert_eq!(status, 200, "{shown}");
    shown
}

async fn shown(world: &World) -> Value {
    by(world, "builds", "GET", "stand-up", &Value::Null).await.1
}

/// The message of the next occurrence, which is the only one that waits, in whole seconds.
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

/// Receives a message when its wait is over, and returns the ids of those that failed.
async fn receives(world: &World, message: &Message) -> Vec<String> {
    world.pass(i64::try_from(message.delay.as_secs()).unwrap());
    again(world, message).await
}

async fn again(world: &World, message: &Message) -> Vec<String> {
    world.takes_events(&[("m", message.body.clone(), 2)]).await
}

async fn check(world: &World) {
    let message = ("check", r#"{"clock": "check"}"#.to_owned(), 1);
    assert!(world.takes_events(&[message]).await.is_empty());
}

fn states(shown: &Value) -> Vec<(&str, &str)> {
    let past = shown["past"].as_array().unwrap().iter();
    past.map(|past| (past["at"].as_str().unwrap(), past["state"].as_str().unwrap()))
        .collect()
}

#[tokio::test]
async fn an_occurrence_is_one_notification_of_the_caller_and_the_next_one_follows() {
    let world = World::of(&["ada"]).await;
    let written = puts(&world, &stand_up()).await;
    assert_eq!(
        (&written["state"], &written["next"][0], &written["next"][4]),
        (
            &json!("active"),
            &json!(MONDAY),
            &json!("2027-01-22T09:00:00+01:00")
        )
    );
    let monday = waiting(&world);
    assert_eq!(monday.delay.as_secs(), 3 * 24 * 3600);
    assert!(receives(&world, &monday).await.is_empty());
    let tuesday = waiting(&world);
    for _ in 0..2 {
        assert!(again(&world, &monday).await.is_empty());
        assert_eq!(world.events_queue.take(), None, "a repetition has nothing follow");
    }
    assert!(receives(&world, &tuesday).await.is_empty());
    world.work().await;
    assert_eq!(world.channel.count("a:ada"), 2);
    let listed = notifications(&world).await;
    assert_eq!(
        (&listed[0]["schedule"], &listed[0]["caller"]),
        (
            &json!("stand-up"),
            &json!("iam:arn:aws:sts::1:assumed-role/builds/session")
        )
    );
    let shown = shown(&world).await;
    assert_eq!(states(&shown), [(TUESDAY, "sent"), (MONDAY, "sent")]);
    assert_eq!(shown["past"][0]["notification"], listed[0]["id"]);
    assert_eq!(shown["next"][0], WEDNESDAY);
}

#[tokio::test]
async fn an_occurrence_that_was_accepted_and_not_recorded_is_not_sent_again() {
    let mut world = World::of(&["ada"]).await;
    puts(&world, &stand_up()).await;
    let monday = waiting(&world);
    assert!(receives(&world, &monday).await.is_empty());
    // The function died between the notification and the record, and an operator has written the schedule since.
    let mut rule = |stored: Option<ScheduleRecord>| {
        let mut stored = stored?;
        stored.past[0].state = OccurrenceState::Due;
        Some(stored)
    };
    world.store.update_record("stand-up", &mut rule).await.unwrap();
    world.operators = vec!["arn:aws:iam::1:role/ops".to_owned()];
    assert_eq!(by(&world, "ops", "PUT", "stand-up", &stand_up()).await.0, 200);
    assert!(again(&world, &monday).await.is_empty());
    assert_eq!(notifications(&world).await.len(), 1);
    assert_eq!(states(&shown(&world).await), [(MONDAY, "sent")]);
}

#[tokio::test]
async fn a_message_that_is_lost_is_missed_and_no_occurrence_is_lost() {
    let world = World::of(&["ada"]).await;
    puts(&world, &stand_up()).await;
    let _lost = waiting(&world);
    // Tuesday, an hour late: the chain has stopped.
    world.pass(4 * 24 * 3600 + 3600);
    check(&world).await;
    let monday = waiting(&world);
    assert!(again(&world, &monday).await.is_empty());
    let tuesday = waiting(&world);
    assert_eq!(tuesday.delay.as_secs(), 0);
    assert!(again(&world, &tuesday).await.is_empty());
    // Monday's was older than a day.
    assert_eq!(
        states(&shown(&world).await),
        [(TUESDAY, "sent"), (MONDAY, "missed")]
    );
    assert_eq!(notifications(&world).await.len(), 1);
    assert_eq!(waiting(&world).delay.as_secs(), 23 * 3600);
    check(&world).await;
    assert_eq!(world.events_queue.take(), None);
}

#[tokio::test]
async fn a_skipped_occurrence_is_not_sent_and_a_paused_schedule_sends_nothing() {
    let world = World::of(&["ada"]).await;
    puts(&world, &stand_up()).await;
    let monday = waiting(&world);
    let skipped = posts(&world, "skip", &json!({"at": TUESDAY})).await;
    assert_eq!(
        (&skipped["next"][0], &skipped["next"][1], &skipped["skipped"]),
        (&json!(MONDAY), &json!(WEDNESDAY), &json!([TUESDAY]))
    );
    assert_eq!(waiting(&world).body, monday.body);
    let skipped = posts(&world, "skip", &Value::Null).await;
    assert_eq!(skipped["skipped"], json!([MONDAY, TUESDAY]));
    assert_eq!(waiting(&world).body, monday.body);
    assert!(receives(&world, &monday).await.is_empty());
    let tuesday = waiting(&world);
    assert!(receives(&world, &tuesday).await.is_empty());
    let wednesday = waiting(&world);
    assert_eq!(
        states(&shown(&world).await),
        [(TUESDAY, "skipped"), (MONDAY, "skipped")]
    );

    let paused = posts(&world, "pause", &Value::Null).await;
    assert_eq!(
        (&paused["state"], &paused["next"]),
        (&json!("paused"), &json!([]))
    );
    assert!(paused["pausedAt"].is_string());
    assert!(receives(&world, &wednesday).await.is_empty());
    check(&world).await;
    assert_eq!(
        world.events_queue.take(),
        None,
        "nothing follows while it is paused"
    );
    let resumed = posts(&world, "resume", &Value::Null).await;
    assert_eq!(resumed["next"][0], "2027-01-21T09:00:00+01:00");
    let thursday = waiting(&world);
    assert!(again(&world, &wednesday).await.is_empty());
    assert_eq!(notifications(&world).await, [] as [Value; 0]);
    assert!(receives(&world, &thursday).await.is_empty());
    assert_eq!(notifications(&world).await.len(), 1);
}

#[tokio::test]
async fn a_schedule_ends_and_can_be_written_again_as_it_is() {
    let world = World::of(&["ada"]).await;
    let mut ending = stand_up();
    ending["endsAt"] = json!(TUESDAY);
    assert_eq!(puts(&world, &ending).await["next"], json!([MONDAY]));
    assert!(receives(&world, &waiting(&world)).await.is_empty());
    assert_eq!(world.events_queue.take(), None);
    let ended = puts(&world, &ending).await;
    assert_eq!((&ended["state"], &ended["next"]), (&json!("ended"), &json!([])));
    assert_eq!(notifications(&world).await.len(), 1);
    let (status, _) = by(&world, "builds", "POST", "stand-up/skip", &Value::Null).await;
    assert_eq!(status, 409);
    ending["endsAt"] = json!(MONDAY);
    let (status, problem) = by(&world, "builds", "PUT", "stand-up", &ending).await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (400, &json!("#/endsAt"))
    );
}

#[tokio::test]
async fn a_refused_occurrence_is_listed_and_tried_again_and_does_not_end_the_schedule() {
    let mut world = World::of(&["ada"]).await;
    world.operators = vec!["arn:aws:iam::1:role/builds".to_owned()];
    let mut mandatory = stand_up();
    mandatory["notification"]["mandatory"] = json!(true);
    puts(&world, &mandatory).await;
    let monday = waiting(&world);
    // Its caller has lost the right.
    world.operators = Vec::new();
    assert_eq!(receives(&world, &monday).await, ["m"]);
    let tuesday = waiting(&world);
    assert_eq!(failed(&world).await[0]["caller"], "schedule:stand-up");
    let refused = shown(&world).await;
    assert_eq!(states(&refused), [(MONDAY, "refused")]);
    assert_eq!(refused["past"][0]["problem"]["status"], 403);
    world.operators = vec!["*".to_owned()];
    assert!(again(&world, &monday).await.is_empty());
    assert!(receives(&world, &tuesday).await.is_empty());
    assert_eq!(
        states(&shown(&world).await),
        [(TUESDAY, "sent"), (MONDAY, "sent")]
    );
    assert!(failed(&world).await.is_empty());
}

#[tokio::test]
async fn an_occurrence_expires_and_is_retracted_by_its_own_time() {
    let world = World::of(&["ada"]).await;
    let mut menu = stand_up();
    menu["notification"]["expiresIn"] = json!("PT2H");
    menu["notification"]["retractIn"] = json!("PT4H30M");
    menu["notification"]["replacement"] = json!({"text": "It is over."});
    puts(&world, &menu).await;
    let monday = waiting(&world);
    assert!(receives(&world, &monday).await.is_empty());
    let listed = notifications(&world).await;
    assert_eq!(
        (&listed[0]["expiresAt"], &listed[0]["retractAt"]),
        (&json!("2027-01-18T10:00:00Z"), &json!("2027-01-18T12:30:00Z"))
    );
    // Tuesday's message comes after its notification would have expired.
    let mut tuesday = waiting(&world);
    tuesday.delay += Duration::from_hours(2);
    assert!(receives(&world, &tuesday).await.is_empty());
    assert_eq!(
        states(&shown(&world).await),
        [(TUESDAY, "missed"), (MONDAY, "sent")]
    );
    assert_eq!(notifications(&world).await.len(), 1);
}

#[tokio::test]
async fn a_schedule_is_its_callers_and_the_operators() {
    let mut world = World::of(&["ada"]).await;
    let (created, _) = by(&world, "builds", "PUT", "stand-up", &stand_up()).await;
    assert_eq!(created, 201);
    for (method, path) in [
        ("PUT", "stand-up"),
        ("DELETE", "stand-up"),
        ("POST", "stand-up/pause"),
        ("POST", "stand-up/resume"),
        ("POST", "stand-up/skip"),
    ] {
        let body = if method == "PUT" { stand_up() } else { Value::Null };
        let (status, problem) = by(&world, "other", method, path, &body).await;
        assert_eq!(status, 403, "{method} {path}: {problem}");
    }
    let mut mandatory = stand_up();
    mandatory["notification"]["mandatory"] = json!(true);
    assert_eq!(by(&world, "builds", "PUT", "stand-up", &mandatory).await.0, 403);
    world.operators = vec!["arn:aws:iam::1:role/other".to_owned()];
    assert_eq!(by(&world, "other", "PUT", "stand-up", &mandatory).await.0, 200);
    let listed = document(&world.notify(get("/api/schedules")).await);
    let listed = &listed["schedules"][0];
    assert_eq!(
        (&listed["name"], &listed["caller"], &listed["schedule"]["cron"]),
        (
            &json!("stand-up"),
            &json!("iam:arn:aws:sts::1:assumed-role/other/session"),
            &json!("0 9 * * MON-FRI")
        )
    );
    assert_eq!(listed["schedule"].get("notification"), None);
    assert_eq!(
        by(&world, "other", "DELETE", "stand-up", &Value::Null).await.0,
        204
    );
    assert_eq!(by(&world, "other", "GET", "stand-up", &Value::Null).await.0, 404);
    let monday = world.events_queue.take().unwrap();
    assert!(receives(&world, &monday).await.is_empty());
    assert!(notifications(&world).await.is_empty());
}

#[tokio::test]
async fn what_is_wrong_is_said_by_its_field_and_what_may_be_is_warned_of() {
    let world = World::of(&["ada"]).await;
    let pointers = async |change: &dyn Fn(&mut Value)| {
        let mut schedule = stand_up();
        change(&mut schedule);
        let (status, problem) = by(&world, "builds", "PUT", "stand-up", &schedule).await;
        assert_eq!(status, 400, "{problem}");
        let errors = problem["errors"].as_array().unwrap().iter();
        let pointers = errors.map(|error| error["pointer"].as_str().unwrap().to_owned());
        pointers.collect::<Vec<_>>()
    };
    let all_at_once = pointers(&|schedule| {
        schedule["cron"] = json!("daily");
        schedule["notification"]["message"] = json!({"text": 7});
    });
    assert_eq!(all_at_once.await, ["#/cron"]);
    let wrong = pointers(&|schedule| {
        schedule["description"] = json!(7);
        schedule["notification"]["message"] = json!({"text": 7});
        schedule["notification"]["confirm"] = json!("ntf_1");
    });
    assert_eq!(
        wrong.await,
        [
            "#/description",
            "#/notification/confirm",
            "#/notification/message/text"
        ]
    );
    let install = pointers(&|schedule| schedule["notification"]["ifNoConversation"] = json!("install"));
    assert_eq!(install.await, ["#/notification/ifNoConversation"]);
    let batch = pointers(&|schedule| {
        schedule["notification"]["sendMode"] = json!("batch");
        schedule["notification"]["retractIn"] = json!("PT1H");
    });
    assert_eq!(batch.await, ["#/notification/retractIn"]);
    assert_eq!(by(&world, "builds", "PUT", "Stand-Up", &stand_up()).await.0, 400);

    let mut except = stand_up();
    except["notification"]["audience"] = json!({"everyone": true, "except": ["entra-unheard-of"]});
    let written = puts(&world, &except).await;
    assert_eq!(
        written["warnings"][0]["pointer"], "#/notification/audience/except/0",
        "{written}"
    );
    for (body, pointer) in [
        (json!({"at": "2027-01-18T09:01:00+01:00"}), "#/at"),
        (json!({"at": "monday"}), "#/at"),
        (json!({"when": MONDAY}), "#/when"),
        (json!([MONDAY]), "#"),
    ] {
        let (status, problem) = by(&world, "builds", "POST", "stand-up/skip", &body).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &json!(pointer)));
    }
}

#[tokio::test]
async fn changes_are_audited() {
    let world = World::of(&["ada"]).await;
    let (logs, _recording) = tests::logs::Logs::record();
    puts(&world, &stand_up()).await;
    for action in ["skip", "pause", "resume"] {
        posts(&world, action, &Value::Null).await;
    }
    by(&world, "builds", "DELETE", "stand-up", &Value::Null).await;
    let lines = logs.with("audit");
    let actions: Vec<_> = lines.iter().map(|line| line["action"].as_str()).collect();
    assert_eq!(
        actions,
        [
            "putSchedule",
            "skipOccurrence",
            "pauseSchedule",
            "resumeSchedule",
            "deleteSchedule"
        ]
    );
    assert!(lines.iter().all(|line| line["schedule"] == "stand-up"));
}

/// The real functions, over DynamoDB's wire and the local Scheduler.
#[tokio::test(flavor = "multi_thread")]
async fn an_occurrence_is_delivered_and_a_copy_vanishes_at_its_time() {
    let system = System::start().await;
    assert_eq!(system.hears(personal("ada", "installationUpdate")).await, 200);
    // The pattern came six minutes ago, and comes again tomorrow.
    let minutes = jiff::SignedDuration::from_mins(6);
    let came = herald::clock::Clock::system()
        .now()
        .saturating_sub(minutes)
        .unwrap();
    let came = jiff::Timestamp::from_second(came.as_second().div_euclid(60) * 60).unwrap();
    let schedule = json!({"cron": came.strftime("%-M %-H * * *").to_string(),
                          "notification": {"audience": {"everyone": true}, "message": {"text": "by the clock"}}});
    let url = format!("{}/api/schedules/daily", system.host.url());
    let put = system.http.put(&url).header("content-type", "application/json");
    assert_eq!(put.body(schedule.to_string()).send().await.unwrap().status(), 201);
    assert_eq!(system.host.schedules_waiting(), 1);
    // As if it had been written yesterday, and the message of today had been lost.
    let mut rule = |stored: Option<ScheduleRecord>| {
        let due = Some(came);
        Some(ScheduleRecord { due, ..stored? })
    };
    system.registry().update_record("daily", &mut rule).await.unwrap();
    system.send_to_events_queue(r#"{"clock": "check"}"#).await;
    system.host.drained().await;
    let shown = system.http.get(&url).send().await.unwrap().text().await.unwrap();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["past"][0]["state"], "sent", "{shown}");
    let texts: Vec<_> = system
        .channel
        .received()
        .into_iter()
        .map(|sent| sent.activity["text"].clone())
        .collect();
    assert_eq!(texts, ["by the clock"]);

    let soon = herald::clock::Clock::system()
        .now()
        .saturating_add(jiff::SignedDuration::from_secs(1))
        .unwrap();
    let body = json!({"audience": {"everyone": true}, "message": {"text": "soon gone"}, "retractAt": soon});
    assert_eq!(system.post("/api/notifications", body.to_string()).await.0, 202);
    system.host.drained().await;
    let methods: Vec<_> = system
        .channel
        .received()
        .into_iter()
        .map(|sent| sent.method)
        .collect();
    assert_eq!(methods, ["POST", "POST", "DELETE"]);
    assert!(system.failed_events().await.is_empty());
    system.host.stop().await;
}
