//! Requests to EventBridge, and the handling of failed entries.

use botframework::http::HttpTransport;
use herald::aws::Sdk;
use herald::config::{Environment, variable};
use herald::event::eventbridge::Bus;
use herald::event::{Error, Event, EventKind, Events};
use herald::telemetry::Metric;
use serde_json::{Value, json};
use tests::database::environment;
use tests::logs::Logs;
use tests::script::{LOST, Script};

use super::at;

fn bus(script: &Script) -> Bus {
    let variables = [(variable::EVENT_BUS, "herald")];
    bus_in(&environment(script.address(), &variables))
}

fn bus_in(environment: &Environment<'_>) -> Bus {
    let transport = HttpTransport::builder().build().unwrap();
    Bus::from_environment(environment, &Sdk::new(environment, &transport).unwrap())
}

fn event(number: usize) -> Event {
    let detail = json!({"notification": format!("ntf_{number}"), "delivered": number});
    Event {
        id: format!("ntf_{number}/completed"),
        at: at(60),
        kind: EventKind::Completed,
        detail: detail.as_object().unwrap().clone(),
    }
}

fn events(count: usize) -> Vec<Event> {
    (0..count).map(event).collect()
}

/// A response to `count` events, of which those at these indexes failed.
fn failing(count: usize, failed: &[usize]) -> (u16, Value) {
    let entry = |place| {
        if failed.contains(&place) {
            json!({"ErrorCode": "InternalFailure", "ErrorMessage": "ours"})
        } else {
            json!({"EventId": "11111111-2222-3333-4444-555555555555"})
        }
    };
    let entries: Vec<Value> = (0..count).map(entry).collect();
    (200, json!({"FailedEntryCount": failed.len(), "Entries": entries}))
}

fn ids(request: &Value) -> Vec<String> {
    request["Entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let detail: Value = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
            detail["id"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn an_event_is_sent_signed_to_its_bus_with_its_kind() {
    let script = Script::of([failing(1, &[])]).await;
    bus(&script).publish(events(1)).await.unwrap();
    let mut request = script.requests().remove(0);
    let detail = request["Entries"][0]["Detail"].take();
    assert_eq!(
        request,
        json!({"Entries": [{
            "EventBusName": "herald",
            "Source": "herald",
            "DetailType": "Notification Completed",
            "Time": at(60).as_second(),
            "Detail": null,
        }]})
    );
    assert_eq!(
        serde_json::from_str::<Value>(detail.as_str().unwrap()).unwrap(),
        json!({"id": "ntf_0/completed", "at": at(60).to_string(), "notification": "ntf_0", "delivered": 0})
    );
    let head = script.heads().remove(0);
    assert!(head.starts_with("POST / HTTP/1.1\r\n"), "{head}");
    for line in [
        "x-amz-target: AWSEvents.PutEvents\r\n",
        "content-type: application/x-amz-json-1.1\r\n",
        "/events/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target",
    ] {
        assert!(head.contains(line), "{head}");
    }
}

#[tokio::test]
async fn events_are_sent_ten_at_a_time_and_once_each() {
    // A successful response contains only the number of events.
    let script = Script::of(vec![failing(10, &[]); 3]).await;
    bus(&script).publish(events(25)).await.unwrap();
    let requests = script.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| ids(request).len() <= 10));
    let mut told: Vec<_> = requests.iter().flat_map(ids).collect();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 25);
}

#[tokio::test]
async fn no_events_make_no_request() {
    let script = Script::of([]).await;
    bus(&script).publish(Vec::new()).await.unwrap();
    assert!(script.requests().is_empty());
}

#[tokio::test]
async fn without_a_bus_events_are_dropped() {
    let script = Script::of([]).await;
    let none = bus_in(&environment(script.address(), &[]));
    none.publish(events(1)).await.unwrap();
    assert!(script.requests().is_empty());
}

#[tokio::test]
async fn failed_events_are_retried_once_with_the_same_ids() {
    let script = Script::of([failing(4, &[1, 2]), failing(2, &[])]).await;
    bus(&script).publish(events(4)).await.unwrap();
    assert_eq!(ids(&script.requests()[1]), ["ntf_1/completed", "ntf_2/completed"]);
}

#[tokio::test]
async fn events_that_fail_twice_are_an_error_with_count_and_reason() {
    let script = Script::of([failing(4, &[1, 2]), failing(2, &[1])]).await;
    let error = bus(&script).publish(events(4)).await.unwrap_err();
    assert!(
        matches!(&error, Error::Refused { refused: 1, sent: 4, code } if code == "InternalFailure"),
        "{error}"
    );
    assert_eq!(script.requests().len(), 2);
}

#[tokio::test]
async fn an_unreadable_response_retries_all_events() {
    let unclear = (200, json!({"FailedEntryCount": 1, "Entries": []}));
    let script = Script::of([unclear, failing(2, &[])]).await;
    bus(&script).publish(events(2)).await.unwrap();
    assert_eq!(ids(&script.requests()[1]).len(), 2);
}

#[tokio::test]
async fn after_a_lost_answer_the_same_events_are_sent_again() {
    let script = Script::of([LOST, failing(2, &[])]).await;
    bus(&script).publish(events(2)).await.unwrap();
    let requests = script.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0], requests[1]);
}

#[tokio::test]
async fn an_unavailable_bus_is_an_error_without_quotes() {
    let refused = |status, code: &str| (status, json!({"__type": code, "message": "canary"}));
    for (answers, asked) in [
        (vec![], 2),
        (vec![refused(500, "InternalException"); 2], 2),
        (vec![refused(400, "ThrottlingException"); 2], 2),
    ] {
        let script = Script::of(answers).await;
        let error = bus(&script).publish(events(1)).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        assert!(!herald::telemetry::chain(&error).contains("canary"), "{error}");
        assert_eq!(script.requests().len(), asked);
    }
}

#[tokio::test]
async fn events_that_the_bus_refuses_for_good_are_counted_and_dropped_so_that_deliveries_go_on() {
    let refused = |code: &str| (400, json!({"__type": code, "message": "canary"}));
    let entry = (
        200,
        json!({"FailedEntryCount": 1, "Entries": [{"ErrorCode": "NotAuthorizedForSourceException"}]}),
    );
    for answers in [
        vec![refused("AccessDeniedException")],
        vec![refused("com.amazonaws.eventbridge#ResourceNotFoundException")],
        vec![entry.clone(), entry],
    ] {
        let (logs, _recording) = Logs::record();
        let script = Script::of(answers).await;
        bus(&script).publish(events(1)).await.unwrap();
        assert_eq!(logs.metric(Metric::EventsDropped), 1);
        assert!(!format!("{:?}", logs.with("error_type")).contains("canary"));
    }
}
