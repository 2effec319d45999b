//! Events on a bus of EventBridge.
//!
//! An event that the bus refuses for good is logged, counted and dropped: a missing permission or a deleted bus must not keep
//! deliveries from being recorded. What may pass is an error, and the caller's message comes again.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Error, Event, SOURCE};
use crate::aws::service::{EVENT_BRIDGE, Request, ServiceClient};
use crate::aws::{self, Sdk, sanitize_code};
use crate::config::{Environment, variable};
use crate::telemetry::{self, Metric};

/// Most events of one request.
const BATCH: usize = 10;

/// Requests in flight at once.
const CONCURRENCY: usize = 4;

/// Attempts to publish one batch.
const ATTEMPTS: u32 = 2;

/// Parts of the codes with which EventBridge refuses a request or an event for good, by its API reference: permissions, a bus that
/// does not exist, an event that it does not take.
const FINAL_CODES: [&str; 7] = [
    "AccessDenied",
    "NotAuthorized",
    "ResourceNotFound",
    "Validation",
    "Invalid",
    "Malformed",
    "OperationDisabled",
];

/// An event bus, or none. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bus(Option<Arc<BusClient>>);

#[derive(Debug)]
struct BusClient {
    client: ServiceClient,
    name: String,
}

/// The events of a batch that EventBridge refused, and its code for the first.
struct Unpublished {
    entries: Vec<Value>,
    code: String,
}

/// What EventBridge answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Published {
    failed_entry_count: u64,
    #[serde(default)]
    entries: Vec<PublishedEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PublishedEntry {
    error_code: Option<String>,
}

impl Bus {
    /// The bus named by `HERALD_EVENT_BUS`; without it, events are dropped.
    pub fn from_environment(environment: &Environment<'_>, sdk: &Sdk) -> Self {
        let bus = environment.optional(variable::EVENT_BUS);
        Self(bus.map(|name| {
            let client = ServiceClient::new(EVENT_BRIDGE, &sdk.config(ATTEMPTS));
            Arc::new(BusClient { client, name })
        }))
    }
}

impl super::Events for Bus {
    async fn publish(&self, events: Vec<Event>) -> Result<(), Error> {
        let Some(bus) = &self.0 else {
            return Ok(());
        };
        let batches: Vec<_> = events.chunks(BATCH).map(|batch| bus.publish(batch)).collect();
        stream::iter(batches)
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }
}

impl BusClient {
    /// Publishes one batch, and a second time the events that EventBridge refused.
    async fn publish(&self, batch: &[Event]) -> Result<(), Error> {
        let entries = batch.iter().map(|event| self.entry(event)).collect();
        let Some(unpublished) = self.request(entries).await? else {
            return Ok(());
        };
        let Some(unpublished) = self.request(unpublished.entries).await? else {
            return Ok(());
        };
        if is_final(&unpublished.code) {
            log_dropped(unpublished.entries.len(), &unpublished.code);
            return Ok(());
        }
        Err(Error::Refused {
            refused: unpublished.entries.len(),
            sent: batch.len(),
            code: unpublished.code,
        })
    }

    fn entry(&self, event: &Event) -> Value {
        // Our own details hold nothing that JSON cannot.
        let detail = serde_json::to_string(event).unwrap_or_default();
        json!({
            "EventBusName": self.name,
            "Source": SOURCE,
            "DetailType": event.kind.detail_type(),
            "Time": event.at.as_second(),
            "Detail": detail,
        })
    }

    /// Makes one request, and returns the events that EventBridge refused.
    async fn request(&self, entries: Vec<Value>) -> Result<Option<Unpublished>, Error> {
        const OPERATION: &str = "events:PutEvents";
        let request = Request::to_target("AWSEvents.PutEvents", &json!({"Entries": entries}));
        let published: Published = match self.client.call(OPERATION, request).await {
            Ok(output) => serde_json::from_value(output).map_err(|_| Error::Unavailable {
                source: aws::Error::Unreadable { operation: OPERATION }.into(),
            })?,
            Err(aws::Error::Refused { code, .. }) if is_final(&code) => {
                log_dropped(entries.len(), &code);
                return Ok(None);
            }
            Err(error) => return Err(Error::Unavailable { source: error.into() }),
        };
        if published.failed_entry_count == 0 {
            return Ok(None);
        }
        let results = published.entries;
        let first = results.iter().find_map(|result| result.error_code.as_deref());
        let code = sanitize_code(first);
        // The results are in the order of the entries. If they do not fit, all events are published again.
        let is_complete = results.len() == entries.len() && first.is_some();
        let each = entries.into_iter().enumerate();
        let refused = each.filter(|(index, _)| !is_complete || results[*index].error_code.is_some());
        let entries = refused.map(|(_, entry)| entry).collect();
        Ok(Some(Unpublished { entries, code }))
    }
}

fn is_final(code: &str) -> bool {
    FINAL_CODES.iter().any(|part| code.contains(part))
}

fn log_dropped(events: usize, code: &str) {
    telemetry::record(Metric::EventsDropped, events as u64);
    tracing::error!(
        error_type = "EventsDropped",
        events,
        code,
        "the event bus refuses events: they are dropped, and deliveries go on"
    );
}
