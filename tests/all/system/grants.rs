//! Least privilege: each action of a function is granted by its role, and each grant is used.
//!
//! The local host refuses what a role does not grant, in every test of this file's parent. Here one run does something of
//! everything, and what it leaves unused has its reason.

use std::collections::BTreeSet;

use herald::clock::Clock;
use herald_local::iam::Call;
use herald_local::template::Grant;
use serde_json::{Value, json};
use tests::channel::batch::BatchScenario;
use tests::channel::{Behaviour, Team, member};

use super::System;
use crate::world::{in_channel, personal};

const TEAM: &str = "19:team@thread.tacv2";

/// What no run on this host can use, by the beginnings of action and resource.
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    (
        "logs:",
        "",
        "Lambda writes the logs of a function in AWS, with its role",
    ),
    (
        "sts:GetWebIdentityToken",
        "",
        "the run is unauthenticated; tests/all/credential.rs asks a stand-in for STS",
    ),
    (
        "kms:",
        "",
        "AWS uses the key for the function; this host encrypts nothing",
    ),
];

/// What the run leaves unused of a function, and why it is needed all the same.
const RARE: [(&str, &str, &str, &str); 10] = [
    (
        "events",
        "dynamodb:DeleteItem",
        "NotificationsTable",
        "the record of an event that failed and then did not",
    ),
    (
        "events",
        "sqs:SendMessage",
        "EventsQueue",
        "the next time of a schedule, if it is within 15 minutes",
    ),
    (
        "messages",
        "dynamodb:GetItem",
        "NotificationsTable",
        "a reminder that was accepted by a copy of the activity",
    ),
    (
        "messages",
        "sqs:SendMessage",
        "PlansQueue",
        "a reminder within 15 minutes",
    ),
    (
        "planner",
        "sqs:SendMessage",
        "PlansQueue",
        "the rest of a plan that takes several invocations",
    ),
    (
        "sender",
        "dynamodb:UpdateItem",
        "ConversationsTable",
        "a conversation that another one replaced",
    ),
    (
        "sender",
        "dynamodb:DeleteItem",
        "ConversationsTable",
        "the link of a person to the chat before this one",
    ),
    (
        "sender",
        "dynamodb:Query",
        "index/byChannelUserId",
        "a person who is known by the channel's id only",
    ),
    (
        "sender",
        "scheduler:CreateSchedule",
        "",
        "a chunk that waits for more than 15 minutes",
    ),
    ("sender", "iam:PassRole", "", "the same"),
];

fn says(words: &str) -> Value {
    let mut activity = personal("ada", "message");
    activity["text"] = json!(words);
    activity["id"] = json!(words);
    activity
}

impl System {
    async fn done_with(&self, body: Value) -> String {
        let (status, accepted) = self.post("/api/notifications", body.to_string()).await;
        assert_eq!(status, 202, "{body}: {accepted}");
        self.host.drained().await;
        accepted["id"].as_str().unwrap().to_owned()
    }

    async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}{path}", self.host.url());
        let request = self.http.put(url).header("content-type", "application/json");
        let response = request.body(body.to_string()).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn gets(&self, path: &str) -> Value {
        let (status, answer) = self.call("GET", path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }
}

async fn people_come(system: &System) {
    for person in ["ada", "eve", "dead"] {
        assert_eq!(system.hears(personal(person, "installationUpdate")).await, 200);
    }
    assert_eq!(system.hears(in_channel(TEAM, "installationUpdate")).await, 200);
    let team = Team {
        channels: [TEAM, "19:second@thread.tacv2"].map(str::to_owned).into(),
        members: ["ada", "new"].map(member).into(),
        ..Team::default()
    };
    system.channel.team(TEAM, team);
    system.channel.when(
        "a:dead",
        Behaviour::Refuse {
            status: 403,
            code: "MessageWritesBlocked",
        },
    );
}

async fn the_bot_is_spoken_to(system: &System) {
    for words in [
        "subscribe",
        "subscribe builds",
        "unsubscribe builds",
        "stop",
        "start",
        "remind me tomorrow at 9 to stretch",
        "remind me in 30 minutes to stretch",
        "report",
    ] {
        assert_eq!(system.hears(says(words)).await, 200, "{words}");
    }
    for (event, person) in [
        ("teamRenamed", "ada"),
        ("teamArchived", "ada"),
        ("teamMemberAdded", "new"),
    ] {
        let mut activity = in_channel(TEAM, "conversationUpdate");
        activity["channelData"]["eventType"] = json!(event);
        activity["channelData"]["team"]["name"] = json!("New name");
        activity["membersAdded"] = json!([{"id": format!("29:{person}")}]);
        assert_eq!(system.hears(activity).await, 200, "{event}");
    }
    system.host.drained().await;
}

async fn notifications_are_sent(system: &System) {
    let text = json!({"text": "news"});
    for audience in [
        json!({"everyone": true, "except": ["a:eve", "entra-fay"]}),
        json!([{"tenant": "tenant-1"}, {"tag": "builds"}]),
        json!({"users": ["entra-zoe", "entra-ada"], "tenant": "tenant-1"}),
        json!({"accounts": ["29:ada", "29:unknown"]}),
        json!({"team": TEAM, "to": "members"}),
        json!({"team": TEAM, "to": "channels"}),
        json!({"conversations": ["a:ada", "a:nowhere"]}),
    ] {
        let body = json!({"audience": audience, "message": text, "ifNoConversation": "create"});
        system.done_with(body).await;
    }
    system.channel.course(BatchScenario::default());
    let everyone = json!({"everyone": true});
    let batch = json!({"audience": {"tenant": "tenant-1"}, "message": text, "sendMode": "batch"});
    system.done_with(batch).await;
    let id = system
        .done_with(json!({"audience": everyone, "message": text}))
        .await;
    let path = format!("/api/notifications/{id}");
    for part in ["", "/explain", "/deliveries"] {
        system.gets(&format!("{path}{part}")).await;
    }
    system.gets("/api/notifications").await;
    assert_eq!(
        system
            .put(&format!("{path}/message"), &json!({"text": "better"}))
            .await
            .0,
        202
    );
    system.host.drained().await;
    assert_eq!(system.call("DELETE", &format!("{path}/message")).await.0, 202);
    system.host.drained().await;
    let later = Clock::system().now() + jiff::SignedDuration::from_hours(1);
    let body = json!({"audience": everyone, "message": text, "deliverAt": later.to_string()});
    let id = system.done_with(body).await;
    let cancelled = system
        .post(&format!("/api/notifications/{id}/cancel"), "{}".to_owned())
        .await;
    assert_eq!(cancelled.0, 200, "{cancelled:?}");
    let dry = json!({"audience": everyone, "message": text, "dryRun": true});
    let id = system.done_with(dry).await;
    system.gets(&format!("/api/notifications/{id}/plan")).await;
    system.host.bring_schedules_forward();
    system.host.drained().await;
}

async fn conversations_are_kept(system: &System) {
    for query in ["state=blocked", "tenant=tenant-1", "user=entra-ada", "tag=builds"] {
        system.gets(&format!("/api/conversations?{query}")).await;
    }
    let by_team = format!(
        "/api/conversations?team={}",
        TEAM.replace(':', "%3A").replace('@', "%40")
    );
    system.gets(&by_team).await;
    assert_eq!(system.call("POST", "/api/conversations/export").await.0 / 100, 2);
    let line = json!({"channelId": "msteams", "serviceUrl": system.served.url, "bot": {"id": "28:bot"},
        "user": {"id": "29:imported"}, "conversation": {"id": "a:imported", "tenantId": "tenant-1"}});
    system.post("/api/conversations/import", line.to_string()).await;
    let key = |person: &str| format!("/api/conversations/msteams%7C28%3Abot%7Ca%3A{person}");
    system.gets(&key("ada")).await;
    assert_eq!(
        system.call("PUT", &format!("{}/tags/x", key("ada"))).await.0 / 100,
        2
    );
    assert_eq!(
        system.call("DELETE", &format!("{}/tags/x", key("ada"))).await.0 / 100,
        2
    );
    assert_eq!(system.call("DELETE", &key("eve")).await.0 / 100, 2);
    assert_eq!(system.call("DELETE", "/api/users/entra-zoe").await.0 / 100, 2);
    let bucket = "/api/rates/msteams%7C28:bot%7Ctenant-1";
    assert_eq!(system.call("DELETE", bucket).await.0 / 100, 2);
}

async fn upstream_asks(system: &System) {
    let everyone = json!({"everyone": true});
    let hook = json!({"name": "alerts", "audience": everyone});
    let (_, hook) = system.post("/api/hooks", hook.to_string()).await;
    let url = hook["url"].as_str().unwrap().strip_prefix(system.host.url());
    system.post(url.unwrap(), r#"{"text": "x"}"#.to_owned()).await;
    let path = format!("/api/hooks/{}", hook["id"].as_str().unwrap());
    system.gets("/api/hooks").await;
    system.gets(&path).await;
    assert_eq!(system.put(&format!("{path}/secret"), &json!({})).await.0, 200);
    assert_eq!(system.call("DELETE", &path).await.0 / 100, 2);

    let event_route = json!({"pattern": {"source": ["aws.cloudwatch"]}, "audience": everyone,
        "message": {"text": "${detail.state}"}, "subject": "${detail.alarm}"});
    assert_eq!(system.put("/api/routes/alarms", &event_route).await.0, 201);
    // A time within 15 minutes would wait on the queue, and not in Scheduler.
    let hour = Clock::system().now().to_zoned(jiff::tz::TimeZone::UTC).hour();
    let cron = format!("0 {} * * *", (hour + 12) % 24);
    let schedule = json!({"schedule": {"cron": cron, "zone": "UTC"}, "audience": everyone,
        "message": {"text": "good morning"}});
    let scheduled = system.put("/api/routes/morning", &schedule).await;
    assert_eq!(scheduled.0, 201, "{scheduled:?}");
    system.gets("/api/routes").await;
    system.gets("/api/routes/alarms").await;
    let test = json!({"event": {"source": "aws.cloudwatch"}});
    system.post("/api/routes/alarms/test", test.to_string()).await;
    for state in ["ALARM", "OK"] {
        let detail = json!({"alarm": "disk", "state": state});
        system
            .put_event("default", "aws.cloudwatch", "Alarm", &detail)
            .await;
        system.host.drained().await;
    }
    system.host.bring_schedules_forward();
    system.send_to_events_queue(r#"{"clock": "check"}"#).await;
    system
        .send_to_events_queue(r#"{"audience": {"everyone": true}}"#)
        .await;
    let but_eve = json!({"audience": {"everyone": true, "except": ["a:eve", "entra-ada", "29:ada"]}, "message": {"text": "x"}});
    system.send_to_events_queue(&but_eve.to_string()).await;
    system.host.drained().await;
    system.failed_events().await;
    system.post("/api/events/failed/redrive", "{}".to_owned()).await;
    assert_eq!(system.call("DELETE", "/api/routes/alarms").await.0 / 100, 2);
}

/// The actions of Lambda on the queues that it feeds functions from.
fn of_mappings(system: &System) -> BTreeSet<(String, String)> {
    let stack = system.host.stack();
    let arn = |name: &str| {
        let mut queues = stack.queues.iter();
        queues.find(|queue| queue.name == name).unwrap().arn.clone()
    };
    let of_one = |queue: &str| {
        ["ReceiveMessage", "DeleteMessage", "GetQueueAttributes"].map(|it| (format!("sqs:{it}"), arn(queue)))
    };
    stack.mappings.iter().flat_map(|it| of_one(&it.queue)).collect()
}

fn is_excepted(function: &str, grant: &Grant) -> bool {
    let begins =
        |action: &str, resource: &str| grant.action.starts_with(action) && grant.resource.contains(resource);
    EXCEPTIONS
        .iter()
        .any(|(action, resource, _)| begins(action, resource))
        || RARE
            .iter()
            .any(|(of, action, resource, _)| *of == function && begins(action, resource))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_grant_of_a_role_is_used() {
    let system = System::start_with(|options| {
        options
            .parameters
            .insert("DefaultBusSources".to_owned(), "aws.cloudwatch".to_owned());
    })
    .await;
    people_come(&system).await;
    the_bot_is_spoken_to(&system).await;
    notifications_are_sent(&system).await;
    upstream_asks(&system).await;
    conversations_are_kept(&system).await;
    system.host.drained().await;

    let (calls, of_lambda) = (system.host.calls(), of_mappings(&system));
    let mut unused = Vec::new();
    for function in &system.host.stack().functions {
        for grant in function.grants.as_ref().unwrap() {
            let is_used = |call: &Call| call.function == function.name && grant.allows(call);
            let by_lambda = of_lambda.contains(&(grant.action.clone(), grant.resource.clone()));
            if !by_lambda && !is_excepted(&function.name, grant) && !calls.iter().any(is_used) {
                unused.push(format!(
                    "{}: {} on {}",
                    function.name, grant.action, grant.resource
                ));
            }
        }
    }
    system.host.stop().await;
    assert!(
        unused.is_empty(),
        "grants that nothing uses:\n{}",
        unused.join("\n")
    );
}
