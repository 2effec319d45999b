//! EventBridge, for the template's buses: stores and lists published events. A template with rules is rejected.

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
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    event::{Event, Events, Published},
    service_api::{JsonProtocol, ServiceError, parsed},
    template::Stack,
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
    kept: Arc<Mutex<VecDeque<Published>>>,
    events: Events,
}

/// The supported part of an entry of `PutEvents`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    /// If absent, the account's default bus, which no template creates.
    #[serde(default)]
    event_bus_name: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    detail_type: String,
    #[serde(default)]
    detail: String,
}

impl Buses {
    pub(crate) fn new(stack: &Stack, events: Events) -> Buses {
        Buses {
            names: Arc::new(stack.buses.iter().cloned().collect()),
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
                Ok(()) => json!({ "EventId": uuid::Uuid::new_v4().to_string() }),
                Err(error) => {
                    failed += 1;
                    json!({ "ErrorCode": error.code, "ErrorMessage": error.message })
                }
            })
            .collect();
        Ok(json!({ "FailedEntryCount": failed, "Entries": entries }))
    }

    fn publish(&self, entry: Entry) -> Result<(), ServiceError> {
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
        // By name or ARN.
        let bus = entry.event_bus_name.rsplit('/').next().unwrap_or_default();
        if !self.names.contains(bus) {
            return Err(ServiceError::new(
                "InvalidArgument",
                format!("there is no event bus {bus}"),
            ));
        }
        let detail = serde_json::from_str(&entry.detail)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| ServiceError::new("MalformedDetail", "Detail is malformed"))?;
        let published = Published {
            bus: bus.to_owned(),
            source: entry.source,
            detail_type: entry.detail_type,
            detail,
        };
        self.keep(published.clone());
        self.events.tell(&Event::Published(published));
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

async fn answer(State(buses): State<Buses>, headers: HeaderMap, body: Bytes) -> Response {
    PROTOCOL.respond(buses.perform(PROTOCOL.operation(&headers), &body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::tests::deployed;

    fn buses() -> Buses {
        let stack = deployed("Resources: {News: {Type: AWS::Events::EventBus, Properties: {Name: news}}}");
        Buses::new(&stack.unwrap(), Events::default())
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
            wrong("EventBusName", ""),
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
        assert_eq!(answer["FailedEntryCount"], 6);
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
