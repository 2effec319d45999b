//! The real binaries: events by `PutEvents`, `Publish` and `SendMessage`, as the SDKs send them.

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::system::System;
use crate::world::personal;

use super::request;

impl System {
    async fn service(&self, endpoint: &str, target: &str, body: &Value) -> Value {
        let request = self.http.post(endpoint).header("x-amz-target", target);
        let response = request.body(body.to_string()).send().await.unwrap();
        assert_eq!(response.status(), 200, "{target}");
        serde_json::from_str(&response.text().await.unwrap()).unwrap()
    }

    pub(crate) async fn put_event(&self, bus: &str, source: &str, detail_type: &str, detail: &Value) {
        let entry = json!({"EventBusName": bus, "Source": source, "DetailType": detail_type,
                           "Detail": detail.to_string()});
        let endpoint = self.host.eventbridge_endpoint();
        let answer = self
            .service(endpoint, "AWSEvents.PutEvents", &json!({"Entries": [entry]}))
            .await;
        assert_eq!(answer["FailedEntryCount"], 0, "{answer}");
    }

    async fn publish(&self, message: &str) {
        let topic = utf8_percent_encode(&self.host.stack().topics[0].arn, NON_ALPHANUMERIC);
        let message = utf8_percent_encode(message, NON_ALPHANUMERIC);
        let form = format!("Action=Publish&Version=2010-03-31&TopicArn={topic}&Message={message}");
        let sent = self
            .http
            .post(self.host.sns_endpoint())
            .body(form)
            .send()
            .await
            .unwrap();
        assert_eq!(sent.status(), 200);
    }

    pub(crate) async fn send_to_events_queue(&self, body: &str) {
        let url = format!("{}/000000000000/EventsQueue", self.host.sqs_endpoint());
        let request = json!({"QueueUrl": url, "MessageBody": body});
        self.service(self.host.sqs_endpoint(), "AmazonSQS.SendMessage", &request)
            .await;
    }

    pub(crate) async fn failed_events(&self) -> Vec<Value> {
        let url = format!("{}/api/events/failed", self.host.url());
        let answer = self.http.get(url).send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["events"].as_array().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_reaches_a_person_by_the_bus_a_topic_and_the_queue() {
    let system = System::start().await;
    assert_eq!(system.hears(personal("ada", "installationUpdate")).await, 200);
    let bus = system.host.stack().buses[0].clone();
    let requested = "Notification Requested";
    system
        .put_event(&bus, "builds", requested, &request("by the bus"))
        .await;
    system.publish(&request("by a topic").to_string()).await;
    system
        .send_to_events_queue(&request("by the queue").to_string())
        .await;
    // Nothing takes these, and nothing fails for them.
    system
        .put_event(&bus, "shop", "Order Shipped", &json!({"order": 7}))
        .await;
    system.publish("the disk is full").await;
    system.host.drained().await;
    let mut texts: Vec<_> = system
        .channel
        .received()
        .into_iter()
        .filter_map(|sent| Some(sent.activity["text"].as_str()?.to_owned()))
        .filter(|text| text.starts_with("by "))
        .collect();
    texts.sort_unstable();
    assert_eq!(texts, ["by a topic", "by the bus", "by the queue"]);
    assert!(system.failed_events().await.is_empty());
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_ends_in_the_dead_letter_queue_and_can_be_redriven() {
    let system = System::start_with(|options| options.retry_visibility = Some(Duration::ZERO)).await;
    system
        .send_to_events_queue(r#"{"audience": {"everyone": true}}"#)
        .await;
    let dead_letters = || {
        system
            .host
            .queues()
            .counts("EventsDeadLetterQueue")
            .unwrap()
            .visible
    };
    for _ in 0..2 {
        system.host.drained().await;
        assert_eq!(dead_letters(), 1);
        let failed = system.failed_events().await;
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0]["state"], "deadLettered");
        assert_eq!(failed[0]["problem"]["errors"][0]["pointer"], "#/message");
        let (status, answer) = system.post("/api/events/failed/redrive", "{}".to_owned()).await;
        assert_eq!((status, &answer["redriven"]), (202, &json!(1)));
    }
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_and_an_alarm_reach_a_person_and_the_end_of_the_alarm_edits_its_copy() {
    let system = System::start().await;
    assert_eq!(system.hears(personal("ada", "installationUpdate")).await, 200);
    let hook = json!({"name": "alerts", "audience": {"everyone": true}});
    let (status, hook) = system.post("/api/hooks", hook.to_string()).await;
    assert_eq!(status, 201, "{hook}");
    let path = hook["url"]
        .as_str()
        .unwrap()
        .strip_prefix(system.host.url())
        .unwrap();
    let (status, answer) = system.post(path, r#"{"text": "by a tool"}"#.to_owned()).await;
    assert_eq!((status, answer), (200, json!(1)));
    system.host.drained().await;

    let route = json!({"pattern": {"source": ["aws.cloudwatch"]}, "audience": {"everyone": true},
                       "message": {"text": "by an alarm: ${detail.state}"}, "subject": "${detail.alarm}"});
    let url = format!("{}/api/routes/alarms", system.host.url());
    let put = system.http.put(url).header("content-type", "application/json");
    assert_eq!(put.body(route.to_string()).send().await.unwrap().status(), 201);
    for state in ["ALARM", "OK"] {
        let detail = json!({"alarm": "disk", "state": state});
        system
            .put_event("default", "aws.cloudwatch", "Alarm", &detail)
            .await;
        system.host.drained().await;
    }
    let texts: Vec<_> = system
        .channel
        .received()
        .into_iter()
        .filter_map(|sent| Some(sent.activity["text"].as_str()?.to_owned()))
        .filter(|text| text.starts_with("by "))
        .collect();
    assert_eq!(texts, ["by a tool", "by an alarm: ALARM", "by an alarm: OK"]);
    system.host.stop().await;
}
