//! When recipients get a notification: at their local time, in waves, and not in quiet hours.

use botframework::id::UserRef;
use herald::audience::Recipient;
use herald::conversation::{Choice, PersonId, PreferenceChange, Preferences};
use herald::delivery::{Outcome, State};
use herald::id::NotificationId;
use herald::notification;
use herald::preferences;
use herald::schedule::{QuietChoice, QuietHours, Zone};
use herald::store::catalogue;
use herald::tenant_preferences::{AllTenants, TenantPreferences};
use jiff::Timestamp;
use jiff::civil::time;
use serde_json::{Value, json};

use crate::notify::plans::by;
use crate::world::{World, document, get, personal, post, text};

/// The time of a new world.
const BEGINS: &str = "2027-01-15T08:00:00Z";

/// A world in which these people wrote, each with the zone of their client.
async fn world_of(people: &[(&str, Option<&str>)]) -> World {
    let world = World::new();
    assert_eq!(world.now().to_string(), BEGINS);
    for (person, zone) in people {
        let mut message = personal(person, "installationUpdate");
        message["action"] = json!("add");
        if let Some(zone) = zone {
            message["localTimezone"] = json!(zone);
        }
        world.hears(&message).await;
    }
    world
}

/// Lets everything happen that is due by a moment. What is due later goes back to its queue.
async fn until(world: &World, moment: &str) {
    let moment: Timestamp = moment.parse().unwrap();
    world.pass(moment.duration_since(world.now()).as_secs().max(0));
    for _ in 0..6 {
        for message in std::iter::from_fn(|| world.plans.take()).collect::<Vec<_>>() {
            world.plan_one(&message.body).await;
        }
        for message in std::iter::from_fn(|| world.deliveries.take()).collect::<Vec<_>>() {
            world.send_one(&message.body).await;
        }
    }
}

async fn choose(world: &World, person: &str, chosen: Preferences) {
    let person = PersonId {
        channel: "msteams".into(),
        tenant: Some("tenant-1".into()),
        id: UserRef::Entra(format!("entra-{person}").into()),
    };
    let change = PreferenceChange::Replace(chosen);
    let stored = preferences::change(&world.store, &person, None, &change, world.now());
    stored.await.unwrap();
}

fn quiet(from: i8, to: i8) -> QuietChoice {
    let hours = QuietHours::between(time(from, 0, 0, 0), time(to, 0, 0, 0)).unwrap();
    QuietChoice::Daily(hours)
}

fn at(at: &str) -> Value {
    json!({
        "audience": {"everyone": true}, "message": {"text": "news"},
        "deliverAt": {"at": at, "zone": "recipient", "fallback": "Asia/Tokyo"},
    })
}

fn now() -> Value {
    json!({"audience": {"everyone": true}, "message": {"text": "news"}})
}

async fn read(world: &World, id: &NotificationId, what: &str) -> Value {
    let answer = world.notify(get(&format!("/api/notifications/{id}{what}"))).await;
    assert_eq!(answer.status(), 200, "{}", text(&answer));
    document(&answer)
}

/// The waves that the status shows: moment, recipients, state.
async fn waves(world: &World, id: &NotificationId) -> Vec<(String, u64, String)> {
    let status = read(world, id, "").await;
    let waves = status["waves"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let shown = waves.iter().map(|wave| {
        let recipients = wave["recipients"].as_u64().unwrap();
        (text(&wave["instant"]), recipients, text(&wave["state"]))
    });
    shown.collect()
}

/// The texts that arrived, but for the bot's greetings.
fn sent(world: &World) -> Vec<String> {
    let received = world.channel.received().into_iter();
    let texts = received.filter_map(|received| Some(received.activity["text"].as_str()?.to_owned()));
    texts
        .filter(|text| ["news", "newer"].contains(&text.as_str()))
        .collect()
}

async fn delivered(world: &World, id: &NotificationId) -> u64 {
    let head = world.notification(id).await;
    head.counts.delivered
}

fn wave(instant: &str, recipients: u64, state: &str) -> (String, u64, String) {
    (instant.to_owned(), recipients, state.to_owned())
}

#[tokio::test(start_paused = true)]
async fn each_gets_it_at_the_wall_time_where_they_are() {
    let people = [
        ("ada", Some("Europe/Berlin")),
        ("bob", Some("America/New_York")),
        ("joe", None),
        ("eve", Some("Europe/Paris")),
    ];
    let world = world_of(&people).await;
    let id = world.asks(&at("2027-01-16T09:00")).await;
    until(&world, "2027-01-15T08:00:30Z").await;
    let (tokyo, berlin, new_york) = (
        "2027-01-16T00:00:00Z",
        "2027-01-16T08:00:00Z",
        "2027-01-16T14:00:00Z",
    );
    let of = |states: [&str; 3]| {
        vec![
            wave(tokyo, 1, states[0]),
            wave(berlin, 2, states[1]),
            wave(new_york, 1, states[2]),
        ]
    };
    assert_eq!(waves(&world, &id).await, of(["waiting"; 3]));
    let status = read(&world, &id, "").await;
    let asked = json!({"at": "2027-01-16T09:00:00", "zone": "recipient", "fallback": "Asia/Tokyo"});
    assert_eq!(status["deliverAt"], asked);
    let explained = read(&world, &id, "/explain").await;
    assert_eq!(
        (
            &explained["reasons"][0]["reason"],
            &explained["reasons"][0]["deliveries"],
            &explained["reasons"][0]["until"]
        ),
        (&json!("scheduled"), &json!(4), &json!(new_york))
    );
    until(&world, "2027-01-15T23:59:50Z").await;
    assert_eq!(delivered(&world, &id).await, 0, "nobody gets it early");
    until(&world, "2027-01-16T00:00:05Z").await;
    assert_eq!(
        (delivered(&world, &id).await, waves(&world, &id).await),
        (1, of(["begun", "waiting", "waiting"]))
    );
    until(&world, "2027-01-16T08:00:05Z").await;
    assert_eq!(delivered(&world, &id).await, 3);
    until(&world, "2027-01-16T14:00:05Z").await;
    assert_eq!(waves(&world, &id).await, of(["begun"; 3]));
    let head = world.notification(&id).await;
    assert_eq!(
        (head.counts.delivered, head.state()),
        (4, notification::State::Completed)
    );
    // A message that comes again does nothing.
    let again = herald::queue::Plan::of_wave(id.clone(), berlin.parse().unwrap());
    world
        .plan_one(&again.message(std::time::Duration::ZERO).body)
        .await;
    until(&world, "2027-01-16T14:10:00Z").await;
    assert_eq!(sent(&world).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn who_is_past_the_time_gets_it_at_once_and_the_caller_is_warned() {
    let world = world_of(&[("ada", Some("Asia/Tokyo")), ("bob", Some("Europe/Berlin"))]).await;
    let answer = world
        .notify(post("/api/notifications", &at("2027-01-15T12:00").to_string()))
        .await;
    assert_eq!(answer.status(), 202, "{}", text(&answer));
    let accepted = document(&answer);
    assert_eq!(accepted["warnings"][0]["code"], "timePassed");
    let id: NotificationId = accepted["id"].as_str().unwrap().parse().unwrap();
    until(&world, "2027-01-15T08:00:30Z").await;
    assert_eq!(delivered(&world, &id).await, 1);
    assert_eq!(
        waves(&world, &id).await,
        [wave("2027-01-15T11:00:00Z", 1, "waiting")]
    );
    until(&world, "2027-01-15T11:00:05Z").await;
    assert_eq!(delivered(&world, &id).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_wave_is_cancelled_until_it_has_begun() {
    let world = world_of(&[("ada", Some("Europe/Berlin")), ("bob", Some("America/New_York"))]).await;
    let id = world.asks(&at("2027-01-15T15:00")).await;
    until(&world, "2027-01-15T08:00:30Z").await;
    let cancel = async |instant: &str| {
        let path = format!("/api/notifications/{id}/waves/{instant}/cancel");
        let answer = world.notify(post(&path, "")).await;
        (answer.status().as_u16(), document(&answer))
    };
    assert_eq!(cancel("2027-01-15T15:00:00Z").await.0, 404);
    assert_eq!(cancel("tomorrow").await.0, 404);
    until(&world, "2027-01-15T14:00:05Z").await;
    assert_eq!(delivered(&world, &id).await, 1);
    assert_eq!(cancel("2027-01-15T14:00:00Z").await.0, 409);
    let (status, wave) = cancel("2027-01-15T20:00:00Z").await;
    assert_eq!((status, &wave["state"]), (200, &json!("cancelled")));
    // Twice is once.
    assert_eq!(cancel("2027-01-15T20:00:00Z").await.0, 200);
    until(&world, "2027-01-15T14:01:00Z").await;
    let head = world.notification(&id).await;
    assert_eq!((head.counts.delivered, head.counts.cancelled), (1, 1));
    assert_eq!(head.state(), notification::State::Completed);
    until(&world, "2027-01-15T20:01:00Z").await;
    assert_eq!(sent(&world).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_notification_ends_its_waves_at_once_and_an_edit_reaches_later_ones() {
    let world = world_of(&[("ada", Some("Europe/Berlin"))]).await;
    let (cancelled, edited) = (
        world.asks(&at("2027-01-15T15:00")).await,
        world.asks(&at("2027-01-15T15:00")).await,
    );
    until(&world, "2027-01-15T08:00:30Z").await;
    let answer = world
        .notify(post(&format!("/api/notifications/{cancelled}/cancel"), ""))
        .await;
    assert_eq!(answer.status(), 200);
    let edit = crate::world::request(
        "PUT",
        &format!("/api/notifications/{edited}/message"),
        lambda_http::Body::Text(json!({"text": "newer"}).to_string()),
    );
    assert_eq!(world.notify(edit).await.status(), 202);
    until(&world, "2027-01-15T08:01:00Z").await;
    let head = world.notification(&cancelled).await;
    assert_eq!(
        (head.state(), head.counts.cancelled),
        (notification::State::Cancelled, 1)
    );
    assert_eq!(
        waves(&world, &cancelled).await,
        [wave("2027-01-15T14:00:00Z", 1, "cancelled")]
    );
    assert_eq!(
        delivered(&world, &edited).await,
        0,
        "an edit sends nothing before its time"
    );
    until(&world, "2027-01-15T14:00:05Z").await;
    assert_eq!(sent(&world), ["newer"]);
}

#[tokio::test(start_paused = true)]
async fn quiet_hours_hold_and_do_not_drop() {
    let world = world_of(&[
        ("ada", Some("Europe/Berlin")),
        ("bob", Some("Europe/Berlin")),
        ("eve", None),
    ])
    .await;
    // It is nine in Berlin.
    choose(
        &world,
        "ada",
        Preferences {
            quiet_hours: Some(quiet(8, 10)),
            ..Preferences::default()
        },
    )
    .await;
    let never = Preferences {
        quiet_hours: Some(QuietChoice::Never),
        ..Preferences::default()
    };
    choose(&world, "eve", never).await;
    let id = world.asks(&now()).await;
    until(&world, "2027-01-15T08:00:30Z").await;
    assert_eq!(delivered(&world, &id).await, 2);
    assert_eq!(
        waves(&world, &id).await,
        [wave("2027-01-15T09:00:00Z", 1, "waiting")]
    );
    let explained = read(&world, &id, "/explain").await;
    assert_eq!(explained["reasons"][0]["reason"], "quietHours");
    assert_eq!(explained["reasons"][0]["until"], "2027-01-15T09:00:00Z");
    until(&world, "2027-01-15T09:00:05Z").await;
    assert_eq!(delivered(&world, &id).await, 3);
}

#[tokio::test(start_paused = true)]
async fn quiet_hours_that_are_chosen_after_the_plan_hold_at_the_last_moment() {
    let world = world_of(&[("ada", Some("Europe/Berlin")), ("bob", Some("Europe/Berlin"))]).await;
    let id = world.asks(&now()).await;
    world.plan().await;
    choose(
        &world,
        "ada",
        Preferences {
            quiet_hours: Some(quiet(8, 10)),
            ..Preferences::default()
        },
    )
    .await;
    until(&world, "2027-01-15T08:00:30Z").await;
    let head = world.notification(&id).await;
    assert_eq!(
        (head.counts.delivered, head.state()),
        (1, notification::State::Sending)
    );
    assert_eq!(waves(&world, &id).await, []);
    let explained = read(&world, &id, "/explain").await;
    let group = explained["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["reason"] == "quietHours");
    assert_eq!(group.unwrap()["until"], "2027-01-15T09:00:00Z", "{explained}");
    until(&world, "2027-01-15T09:00:05Z").await;
    assert_eq!(delivered(&world, &id).await, 2);
}

#[tokio::test(start_paused = true)]
async fn those_of_the_tenant_and_the_category_hold_who_chose_none() {
    let world = world_of(&[("ada", Some("Europe/Berlin")), ("bob", None)]).await;
    let of_tenant = TenantPreferences {
        zone: Zone::named("Asia/Tokyo"),
        quiet_hours: Some(quiet(17, 19)),
    };
    catalogue::put::<AllTenants>(&world.store, "tenant-1", &of_tenant)
        .await
        .unwrap();
    // It is nine in Berlin and five in the afternoon in Tokyo.
    let id = world.asks(&now()).await;
    until(&world, "2027-01-15T08:00:30Z").await;
    assert_eq!(
        (delivered(&world, &id).await, waves(&world, &id).await),
        (1, vec![wave("2027-01-15T10:00:00Z", 1, "waiting")])
    );
    let outages = json!({"title": "Outages", "quietHours": null});
    let put = crate::world::request(
        "PUT",
        "/api/categories/outages",
        lambda_http::Body::Text(outages.to_string()),
    );
    assert_eq!(world.notify(put).await.status(), 201);
    let mut outage = now();
    outage["category"] = json!("outages");
    let outage = world.asks(&outage).await;
    until(&world, "2027-01-15T08:01:00Z").await;
    assert_eq!(delivered(&world, &outage).await, 2);
    until(&world, "2027-01-15T10:00:05Z").await;
    assert_eq!(delivered(&world, &id).await, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_mandatory_passes_quiet_hours_and_what_expires_in_them_ends_as_expired() {
    let mut world = world_of(&[("ada", Some("Europe/Berlin"))]).await;
    world.operators = vec!["arn:aws:iam::1:role/ops".to_owned()];
    choose(
        &world,
        "ada",
        Preferences {
            quiet_hours: Some(quiet(8, 10)),
            ..Preferences::default()
        },
    )
    .await;
    let mut alarm = now();
    alarm["mandatory"] = json!(true);
    let (accepted, answer) = by(&world, "ops", &alarm).await;
    assert_eq!(accepted, 202, "{answer}");
    until(&world, "2027-01-15T08:00:30Z").await;
    assert_eq!(sent(&world).len(), 1);
    let mut short = now();
    short["expiresAt"] = json!("2027-01-15T08:30:00Z");
    let short = world.asks(&short).await;
    until(&world, "2027-01-15T08:29:00Z").await;
    assert_eq!(
        waves(&world, &short).await,
        [wave("2027-01-15T09:00:00Z", 1, "expired")]
    );
    until(&world, "2027-01-15T08:30:05Z").await;
    let head = world.notification(&short).await;
    assert_eq!(
        (head.counts.expired, head.state()),
        (1, notification::State::Completed)
    );
    let ada = Recipient::Conversation("msteams|28:bot|a:ada".parse().unwrap());
    assert_eq!(
        world.row(&short, &ada).await.state,
        State::Settled(Outcome::Expired {
            why: Some("quietHours".to_owned())
        })
    );
    // An edit of what they have is no new message.
    choose(
        &world,
        "ada",
        Preferences {
            all: Choice::OptedIn,
            ..Preferences::default()
        },
    )
    .await;
    let shown = world.asks(&now()).await;
    until(&world, "2027-01-15T08:31:00Z").await;
    choose(
        &world,
        "ada",
        Preferences {
            quiet_hours: Some(quiet(8, 10)),
            ..Preferences::default()
        },
    )
    .await;
    let edit = crate::world::request(
        "PUT",
        &format!("/api/notifications/{shown}/message"),
        lambda_http::Body::Text(json!({"text": "newer"}).to_string()),
    );
    assert_eq!(world.notify(edit).await.status(), 202);
    until(&world, "2027-01-15T08:32:00Z").await;
    let head = world.notification(&shown).await;
    assert_eq!((head.counts.delivered, head.revision_counts.current), (1, 1));
}
