//! EventBridge, for the template's buses and the account's default bus: lists published events, and sends them to the queues of
//! the rules that take them. Unlike AWS, sources that begin with `aws.` may be published, so that rules can be tried.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    response::Response,
};
use http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    clock,
    event::{Event, Events, Published},
    service_api::{JsonProtocol, ServiceError, parsed},
    sqs::{Broker, Message},
    template::{AwsLocation, DEFAULT_BUS, EventRule, RuleTarget, ScheduledRule, Stack},
};

/// The number of events that are kept.
const KEPT: usize = 1_000;
/// The most entries of one request.
const BATCH: usize = 10;
/// The largest event, in bytes.
const EVENT_BYTES: usize = 256 * 1024;
const PROTOCOL: JsonProtocol = JsonProtocol {
    service: "AWSEvents.",
    namespace: "",
    content_type: "application/x-amz-json-1.1",
};

/// The buses of the stack. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Buses {
    names: Arc<BTreeSet<String>>,
    rules: Arc<[EventRule]>,
    scheduled: Arc<[ScheduledRule]>,
    broker: Broker,
    location: AwsLocation,
    kept: Arc<Mutex<VecDeque<Published>>>,
    events: Events,
}

/// The supported part of an entry of `PutEvents`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    /// By name or ARN; if absent, the account's default bus.
    #[serde(default)]
    event_bus_name: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    detail_type: String,
    #[serde(default)]
    detail: String,
    /// In seconds since 1970; the present if absent.
    time: Option<f64>,
    #[serde(default)]
    resources: Vec<String>,
}

impl Buses {
    pub(crate) fn new(stack: &Stack, broker: Broker, location: &AwsLocation, events: Events) -> Buses {
        let names = stack.buses.iter().cloned();
        Buses {
            names: Arc::new(names.chain([DEFAULT_BUS.to_owned()]).collect()),
            rules: stack.rules.clone().into(),
            scheduled: stack.scheduled_rules.clone().into(),
            broker,
            location: location.clone(),
            kept: Arc::default(),
            events,
        }
    }

    /// The buses as an HTTP service.
    pub(crate) fn router(&self) -> Router {
        Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::max(2 * BATCH * EVENT_BYTES))
            .with_state(self.clone())
    }

    /// Sends at the rates of the scheduled rules. Dropping the future stops it.
    pub(crate) async fn run(self) {
        let mut rules = JoinSet::new();
        for rule in self.scheduled.iter() {
            rules.spawn(self.clone().every(rule.clone()));
        }
        rules.join_all().await;
    }

    async fn every(self, rule: ScheduledRule) {
        loop {
            sleep(rule.every).await;
            let event = json!({
                "version": "0", "id": uuid::Uuid::new_v4().to_string(), "detail-type": "Scheduled Event", "source": "aws.events",
                "account": self.location.account, "time": format!("{:.0}", clock::now()),
                "region": self.location.region, "resources": [rule.arn], "detail": {},
            });
            // The template was rejected if a target's queue does not exist.
            drop(self.send(&rule.arn, &rule.targets, &event));
        }
    }

    /// The last 1,000 events, oldest first.
    pub(crate) fn published(&self) -> Vec<Published> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect()
    }

    fn perform(&self, operation: &str, body: &[u8]) -> Result<Value, ServiceError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct PutEvents {
            entries: Vec<Entry>,
        }
        if operation != "PutEvents" {
            let message = format!("the local host does not support {operation:?}");
            return Err(ServiceError::new("UnknownOperationException", message));
        }
        let request: PutEvents = parsed(body)?;
        let count = request.entries.len();
        if !(1..=BATCH).contains(&count) {
            let message = format!("{count} entries: a request has between 1 and {BATCH}");
            return Err(ServiceError::new("ValidationException", message));
        }
        let mut failed = 0;
        let entries: Vec<Value> = request
            .entries
            .into_iter()
            .map(|entry| match self.publish(entry) {
                Ok(id) => json!({ "EventId": id }),
                Err(error) => {
                    failed += 1;
                    json!({ "ErrorCode": error.code, "ErrorMessage": error.message })
                }
            })
            .collect();
        Ok(json!({ "FailedEntryCount": failed, "Entries": entries }))
    }

    /// Publishes an event and returns its id.
    fn publish(&self, entry: Entry) -> Result<String, ServiceError> {
        let bytes = entry.source.len() + entry.detail_type.len() + entry.detail.len();
        if bytes > EVENT_BYTES {
            let message = format!("the event has {bytes} bytes, more than {EVENT_BYTES}");
            return Err(ServiceError::new("InvalidArgument", message));
        }
        for (name, value) in [
            ("Source", &entry.source),
            ("DetailType", &entry.detail_type),
            ("Detail", &entry.detail),
        ] {
            if value.is_empty() {
                return Err(ServiceError::new(
                    "InvalidArgument",
                    format!("{name} is a required argument"),
                ));
            }
        }
        let bus = match entry.event_bus_name.rsplit('/').next() {
            None | Some("") => DEFAULT_BUS,
            Some(bus) => bus,
        };
        if !self.names.contains(bus) {
            return Err(ServiceError::new(
                "InvalidArgument",
                format!("there is no event bus {bus}"),
            ));
        }
        let detail: Value = serde_json::from_str(&entry.detail)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| ServiceError::new("MalformedDetail", "Detail is malformed"))?;
        let id = uuid::Uuid::new_v4().to_string();
        let at = entry.time.and_then(moment).unwrap_or_else(clock::now);
        let event = json!({
            "version": "0", "id": id, "detail-type": entry.detail_type, "source": entry.source,
            "account": self.location.account, "time": format!("{at:.0}"), "region": self.location.region,
            "resources": entry.resources, "detail": detail,
        });
        self.route(bus, &event)?;
        let published = Published {
            bus: bus.to_owned(),
            source: entry.source,
            detail_type: entry.detail_type,
            detail,
        };
        self.keep(published.clone());
        self.events.tell(&Event::Published(published));
        Ok(id)
    }

    /// Sends an event to the targets of all rules on its bus that take it.
    fn route(&self, bus: &str, event: &Value) -> Result<(), ServiceError> {
        let rules = self.rules.iter();
        for rule in rules.filter(|rule| rule.bus == bus && rule.pattern.matches(event)) {
            self.send(&rule.arn, &rule.targets, event)?;
        }
        Ok(())
    }

    fn send(&self, rule: &str, targets: &[RuleTarget], event: &Value) -> Result<(), ServiceError> {
        for target in targets {
            let body = match &target.template {
                Some(template) => filled(template, rule, event),
                None => event.to_string(),
            };
            let message = Message {
                body,
                ..Message::default()
            };
            self.broker.send(&target.queue, message, None)?;
        }
        Ok(())
    }

    fn keep(&self, published: Published) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(published);
    }
}

/// The input of a target: a template with the predefined variables of EventBridge that are used here.
fn filled(template: &str, rule: &str, event: &Value) -> String {
    template
        .replace("<aws.events.rule-arn>", rule)
        .replace("<aws.events.event.json>", &event.to_string())
}

fn moment(seconds: f64) -> Option<Timestamp> {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "EventBridge's times are whole seconds"
    )]
    Timestamp::from_second(seconds as i64).ok()
}

async fn answer(State(buses): State<Buses>, headers: HeaderMap, body: Bytes) -> Response {
    PROTOCOL.respond(buses.perform(PROTOCOL.operation(&headers), &body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::tests::{deployed, location};

    fn buses() -> Buses {
        let stack = deployed(
            r#"
Resources:
  News: {Type: AWS::Events::EventBus, Properties: {Name: news}}
  Q: {Type: AWS::SQS::Queue}
  Orders:
    Type: AWS::Events::Rule
    Properties:
      EventBusName: !Ref News
      EventPattern: {source: [{anything-but: herald}]}
      Targets:
        - Id: q
          Arn: !GetAtt Q.Arn
          InputTransformer: {InputTemplate: '{"rule": "<aws.events.rule-arn>", "event": <aws.events.event.json>}'}
  Alarms:
    Type: AWS::Events::Rule
    Properties:
      EventPattern: {source: [aws.cloudwatch]}
      Targets: [{Id: q, Arn: !GetAtt Q.Arn}]
  Check:
    Type: AWS::Events::Rule
    Properties:
      ScheduleExpression: rate(15 minutes)
      Targets: [{Id: q, Arn: !GetAtt Q.Arn, Input: '{"clock": "check"}'}]
"#,
        );
        let stack = stack.unwrap();
        let broker = Broker::new(&stack, Events::default());
        Buses::new(&stack, broker, &location(), Events::default())
    }

    /// The messages that rules have sent.
    fn sent(buses: &Buses) -> Vec<Value> {
        let received = buses.broker.receive("Q", 10, None).unwrap();
        let bodies = received.iter().map(|received| &received.message.body);
        bodies.map(|body| serde_json::from_str(body).unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_scheduled_rule_sends_its_input_at_its_rate() {
        let buses = buses();
        let minutes = async |minutes| sleep(std::time::Duration::from_mins(minutes)).await;
        tokio::select! {
            () = buses.clone().run() => {}
            () = minutes(31) => {}
        }
        assert_eq!(
            sent(&buses),
            [json!({"clock": "check"}), json!({"clock": "check"})]
        );
    }

    #[tokio::test]
    async fn a_rule_sends_what_it_takes_to_its_queue_and_nothing_else() {
        let buses = buses();
        let of = |bus: &str, source: &str| {
            let mut entry = entry(7);
            entry["EventBusName"] = bus.into();
            entry["Source"] = source.into();
            entry["Time"] = json!(1_800_000_000.0);
            entry["Resources"] = json!(["arn:x"]);
            entry
        };
        let entries = [
            of("News", "herald"),
            of("News", "shop"),
            of("", "shop"),
            of("default", "aws.cloudwatch"),
        ];
        let answer = put(&buses, &entries).unwrap();
        assert_eq!(answer["FailedEntryCount"], 0);
        let sent = sent(&buses);
        assert_eq!(sent.len(), 2, "{sent:?}");
        assert_eq!(
            sent[0],
            json!({"rule": "arn:aws:events:eu-west-1:123456789012:rule/News/Orders", "event": {
                "version": "0", "id": answer["Entries"][1]["EventId"], "detail-type": "Notification Completed",
                "source": "shop", "account": "123456789012", "time": "2027-01-15T08:00:00Z", "region": "eu-west-1",
                "resources": ["arn:x"], "detail": {"number": 7},
            }})
        );
        assert_eq!(sent[1]["source"], "aws.cloudwatch");
    }

    fn entry(number: usize) -> Value {
        json!({
            "EventBusName": "News", "Source": "herald", "DetailType": "Notification Completed",
            "Time": 1_800_000_000, "Detail": json!({ "number": number }).to_string(),
        })
    }

    fn put(buses: &Buses, entries: &[Value]) -> Result<Value, ServiceError> {
        buses.perform("PutEvents", json!({ "Entries": entries }).to_string().as_bytes())
    }

    #[test]
    fn what_is_published_is_kept_and_told() {
        let buses = buses();
        let mut told = buses.events.subscribe();
        let answer = put(&buses, &[entry(1), entry(2)]).unwrap();
        assert_eq!(answer["FailedEntryCount"], 0);
        assert_eq!(answer["Entries"].as_array().unwrap().len(), 2);
        let numbers: Vec<_> = buses
            .published()
            .iter()
            .map(|event| event.detail["number"].clone())
            .collect();
        assert_eq!(numbers, [1, 2]);
        let first = buses.published().remove(0);
        assert_eq!((first.bus.as_str(), first.source.as_str()), ("News", "herald"));
        assert!(matches!(told.try_recv(), Ok(Event::Published(event)) if event == first));
    }

    #[test]
    fn an_entry_that_is_wrong_fails_alone_and_by_its_own_code() {
        let wrong = |field: &str, value: &str| {
            let mut entry = entry(0);
            entry[field] = value.into();
            entry
        };
        let buses = buses();
        let entries = [
            wrong("EventBusName", "Rumours"),
            wrong("Source", ""),
            wrong("Detail", "{"),
            wrong("Detail", "[]"),
            wrong("Detail", &json!({ "long": "x".repeat(EVENT_BYTES) }).to_string()),
            wrong(
                "EventBusName",
                "arn:aws:events:us-east-1:000000000000:event-bus/News",
            ),
        ];
        let answer = put(&buses, &entries).unwrap();
        assert_eq!(answer["FailedEntryCount"], 5);
        let codes: Vec<_> = answer["Entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["ErrorCode"].as_str().unwrap_or("none"))
            .collect();
        assert_eq!(
            codes,
            [
                "InvalidArgument",
                "InvalidArgument",
                "MalformedDetail",
                "MalformedDetail",
                "InvalidArgument",
                "none"
            ]
        );
        assert_eq!(buses.published().len(), 1);
    }

    #[test]
    fn the_last_thousand_are_kept() {
        let buses = buses();
        for number in 0..=KEPT {
            put(&buses, &[entry(number)]).unwrap();
        }
        let published = buses.published();
        assert_eq!(published.len(), KEPT);
        assert_eq!(published[0].detail["number"], 1);
    }

    #[test]
    fn what_is_too_much_or_unknown_is_refused_by_its_own_code() {
        let buses = buses();
        assert_eq!(put(&buses, &[]).unwrap_err().code, "ValidationException");
        let eleven: Vec<_> = (0..11).map(entry).collect();
        assert_eq!(put(&buses, &eleven).unwrap_err().code, "ValidationException");
        assert_eq!(
            buses.perform("PutEvents", b"{").unwrap_err().code,
            "SerializationException"
        );
        assert_eq!(
            buses.perform("PutRule", b"{}").unwrap_err().code,
            "UnknownOperationException"
        );
    }
}
