//! Events of upstream systems: what becomes a notification, what is refused and listed, and what nothing takes.

use herald::notification::State;
use herald::queue::RECEIVES_MAX;
use herald::store::Notifications;
use serde_json::{Value, json};

use crate::world::{World, document, get, post};

mod recurring;
mod routes;
mod schedules;
mod system;

const RULE: &str = "arn:aws:events:eu-west-1:123456789012:rule/herald/UpstreamEventsRule";
const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:alarms";

fn request(text: &str) -> Value {
    json!({"audience": {"everyone": true}, "message": {"text": text}})
}

/// An event of the bus, as the template's rule sends it.
fn of_rule(id: &str, detail_type: &str, detail: &Value) -> String {
    json!({"rule": RULE, "event": {"version": "0", "id": id, "detail-type": detail_type, "source": "builds",
           "account": "123456789012", "time": "2026-01-01T00:00:00Z", "region": "eu-west-1", "resources": [],
           "detail": detail}})
    .to_string()
}

fn of_topic(id: &str, message: &str) -> String {
    json!({"Type": "Notification", "MessageId": id, "TopicArn": TOPIC, "Message": message,
           "Timestamp": "2026-01-01T00:00:00.000Z"})
    .to_string()
}

/// All notifications, newest first.
async fn notifications(world: &World) -> Vec<Value> {
    let listed = document(&world.notify(get("/api/notifications")).await);
    listed["notifications"].as_array().unwrap().clone()
}

async fn failed(world: &World) -> Vec<Value> {
    let listed = document(&world.notify(get("/api/events/failed")).await);
    listed["events"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_event_is_one_notification_however_often_it_comes() {
    let world = World::of(&["ada"]).await;
    let batch = [
        (
            "m-1",
            of_rule("e-1", "Notification Requested", &request("by a rule")),
            1,
        ),
        ("m-2", of_topic("n-1", &request("by a topic").to_string()), 1),
        ("m-3", request("by the queue").to_string(), 1),
    ];
    for _ in 0..2 {
        assert!(world.takes_events(&batch).await.is_empty());
    }
    // A rule may publish an event again in another message.
    let again = [(
        "m-9",
        of_rule("e-1", "Notification Requested", &request("by a rule")),
        1,
    )];
    assert!(world.takes_events(&again).await.is_empty());
    let listed = notifications(&world).await;
    let mut callers: Vec<_> = listed.iter().map(|one| one["caller"].as_str().unwrap()).collect();
    callers.sort_unstable();
    assert_eq!(
        callers,
        [
            &format!("rule:{RULE}"),
            "sqs:AROAINVENTED",
            &format!("topic:{TOPIC}")
        ]
    );
    world.work().await;
    let mut texts: Vec<_> = world
        .channel
        .received()
        .into_iter()
        .map(|sent| sent.activity["text"].as_str().unwrap().to_owned())
        .collect();
    texts.retain(|text| text.starts_with("by "));
    texts.sort_unstable();
    assert_eq!(texts, ["by a rule", "by a topic", "by the queue"]);
    for one in listed {
        let id = one["id"].as_str().unwrap().parse().unwrap();
        let found = world.store.find(&id).await.unwrap().unwrap();
        assert_eq!(found.state(), State::Completed);
    }
}

#[tokio::test]
async fn a_refused_event_is_listed_with_its_problem_and_poisons_no_batch() {
    let world = World::of(&["ada"]).await;
    let misspelt = json!({"audience": {"everyone": true}, "mesage": {"text": "secret"}});
    let refused = of_rule("e-2", "Notification Requested", &misspelt);
    let batch = |receives| {
        [
            (
                "good",
                of_rule("e-1", "Notification Requested", &request("hi")),
                1,
            ),
            ("refused", refused.clone(), receives),
            ("no json", "hello".to_owned(), 1),
            (
                "foreign",
                of_rule("e-3", "Order Shipped", &json!({"order": 7})),
                1,
            ),
            ("text", of_topic("n-1", "the disk is full"), 1),
        ]
    };
    let mut failures = world.takes_events(&batch(1)).await;
    failures.sort();
    assert_eq!(failures, ["no json", "refused"]);
    assert_eq!(notifications(&world).await.len(), 1);

    let listed = failed(&world).await;
    assert_eq!(listed.len(), 2);
    let event = listed.iter().find(|one| one["event"] == "e-2").unwrap();
    assert_eq!(
        (&event["caller"], &event["state"]),
        (&json!(format!("rule:{RULE}")), &json!("retrying"))
    );
    assert_eq!(event["problem"]["status"], 400);
    let pointers = event["problem"]["errors"].as_array().unwrap().iter();
    let pointers: Vec<_> = pointers.map(|error| &error["pointer"]).collect();
    assert_eq!(pointers, ["#/mesage", "#/message"]);
    assert_eq!(event["body"], refused);
    let first = event["firstFailedAt"].clone();

    world.pass(60);
    world.takes_events(&batch(RECEIVES_MAX)[1..2]).await;
    let listed = failed(&world).await;
    let event = listed.iter().find(|one| one["event"] == "e-2").unwrap();
    assert_eq!(
        (&event["state"], &event["firstFailedAt"]),
        (&json!("deadLettered"), &first)
    );

    let answer = world.notify(post("/api/events/failed/redrive", "")).await;
    assert_eq!(answer.status(), 202);
    assert_eq!(document(&answer), json!({"redriven": 1}));
    let left = failed(&world).await;
    assert_eq!(left.len(), 1, "what is received again by itself stays listed");
    assert_eq!(left[0]["caller"], "sqs:AROAINVENTED");
}

#[tokio::test]
async fn an_event_that_is_taken_at_last_is_not_listed_any_more() {
    let mut world = World::of(&["ada"]).await;
    let install = json!({"audience": {"users": ["entra-ada"], "tenant": "tenant-1"}, "message": {"text": "hi"},
                         "ifNoConversation": "install"});
    let body = of_rule("e-1", "Notification Requested", &install);
    assert_eq!(world.takes_events(&[("m", body.clone(), 1)]).await, ["m"]);
    assert_eq!(failed(&world).await.len(), 1);
    // The deployment names its app.
    world.opens_graph();
    assert!(world.takes_events(&[("m", body, 2)]).await.is_empty());
    assert!(failed(&world).await.is_empty());
    assert_eq!(notifications(&world).await.len(), 1);
}
