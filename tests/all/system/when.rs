//! Local times and quiet hours on the real binaries, with the queues and the schedules of the local host.

use herald::clock::Clock;
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZone};
use serde_json::{Value, json};

use super::System;
use crate::world::personal;

const NEW_YORK: &str = "America/New_York";

/// The person's installation of the bot, from a client in this zone.
fn installed(person: &str, zone: &str) -> Value {
    let mut activity = personal(person, "installationUpdate");
    activity["localTimezone"] = json!(zone);
    activity
}

async fn ask(system: &System, method: &str, path: &str, body: &Value) -> Value {
    let url = format!("{}{path}", system.host.url());
    let request = system.http.request(method.parse().unwrap(), url);
    let request = request.header("content-type", "application/json");
    let response = request.body(body.to_string()).send().await.unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert!(status.is_success(), "{method} {path}: {status} {text}");
    serde_json::from_str(&text).unwrap()
}

async fn explained(system: &System, accepted: &Value) -> Value {
    let path = format!("{}/explain", accepted["statusUrl"].as_str().unwrap());
    let answer = system.http.get(format!("{}{path}", system.host.url()));
    serde_json::from_str(&answer.send().await.unwrap().text().await.unwrap()).unwrap()
}

fn local(zone: &str) -> DateTime {
    let now = Clock::system().now();
    now.to_zoned(TimeZone::get(zone).unwrap()).datetime()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_due_gets_it_and_a_later_wave_can_be_cancelled() {
    let system = System::start().await;
    for (person, zone) in [("ada", "Europe/Berlin"), ("bob", NEW_YORK)] {
        assert_eq!(system.hears(installed(person, zone)).await, 200);
    }
    // A minute ago in Berlin, and hours ahead in New York.
    let at = local("Europe/Berlin") - 1.minute();
    let body = json!({"audience": {"everyone": true}, "message": {"text": "good morning"},
        "deliverAt": {"at": at.strftime("%Y-%m-%dT%H:%M").to_string(), "zone": "recipient"}});
    let accepted = ask(&system, "POST", "/api/notifications", &body).await;
    assert_eq!(accepted["warnings"][0]["code"], "timePassed", "{accepted}");
    system.host.drained().await;

    let status = system.status(&accepted).await;
    let (counts, waves) = (&status["counts"], &status["waves"]);
    assert_eq!(
        (&counts["delivered"], &counts["open"]),
        (&json!(1), &json!(1)),
        "{status}"
    );
    assert_eq!(
        (&waves[0]["recipients"], &waves[0]["state"]),
        (&json!(1), &json!("waiting")),
        "{status}"
    );
    assert_eq!(system.host.schedules_waiting(), 1);
    let instant = waves[0]["instant"].as_str().unwrap();
    let due: Timestamp = instant.parse().unwrap();
    let ahead = due.duration_since(Clock::system().now());
    assert!(
        ahead > SignedDuration::from_hours(3) && ahead < SignedDuration::from_hours(8),
        "{ahead}"
    );

    let cancel = format!(
        "{}/waves/{instant}/cancel",
        accepted["statusUrl"].as_str().unwrap()
    );
    ask(&system, "POST", &cancel, &Value::Null).await;
    system.host.drained().await;
    let status = system.status(&accepted).await;
    assert_eq!(
        (&status["state"], &status["counts"]["cancelled"]),
        (&json!("completed"), &json!(1)),
        "{status}"
    );
    assert_eq!(
        (system.channel.count("a:ada"), system.channel.count("a:bob")),
        (1, 0)
    );
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_hours_hold_what_is_not_mandatory() {
    let system = System::start_with(|options| {
        let operators = ("HERALD_OPERATORS".to_owned(), "*".to_owned());
        options.environment.extend([operators]);
    })
    .await;
    for person in ["ada", "eve"] {
        assert_eq!(system.hears(installed(person, NEW_YORK)).await, 200);
    }
    // From an hour ago until two hours ahead, in quarters of an hour.
    let now = local(NEW_YORK);
    let quarter = |time: DateTime| format!("{:02}:{:02}", time.hour(), time.minute() / 15 * 15);
    let quiet = json!({"from": quarter(now - 1.hour()), "to": quarter(now + 2.hours())});
    let path = "/api/people/entra-ada/preferences?tenant=tenant-1";
    ask(&system, "PUT", path, &json!({"quietHours": quiet})).await;

    let body = |text: &str, mandatory: bool| json!({"audience": {"everyone": true}, "message": {"text": text}, "mandatory": mandatory});
    let held = ask(&system, "POST", "/api/notifications", &body("news", false)).await;
    let passes = ask(&system, "POST", "/api/notifications", &body("alarm", true)).await;
    system.host.drained().await;

    let status = system.status(&held).await;
    assert_eq!(
        (&status["counts"]["delivered"], &status["counts"]["open"]),
        (&json!(1), &json!(1)),
        "{status}"
    );
    let reasons = &explained(&system, &held).await["reasons"];
    assert_eq!(
        (&reasons[0]["reason"], &reasons[0]["deliveries"]),
        (&json!("quietHours"), &json!(1)),
        "{reasons}"
    );
    assert_eq!(system.status(&passes).await["state"], "completed");
    let mut texts: Vec<(String, Value)> = system
        .channel
        .received()
        .into_iter()
        .map(|it| (it.conversation, it.activity["text"].clone()))
        .filter(|(_, text)| text == "news" || text == "alarm")
        .collect();
    texts.sort_by_key(|(conversation, text)| (conversation.clone(), text.to_string()));
    let got = |conversation: &str, text: &str| (conversation.to_owned(), json!(text));
    assert_eq!(
        texts,
        [got("a:ada", "alarm"), got("a:eve", "alarm"), got("a:eve", "news")]
    );
    system.host.stop().await;
}
