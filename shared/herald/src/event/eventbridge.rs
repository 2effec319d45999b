//! Events on a bus of EventBridge.
//!
//! An event that the bus refuses for good is logged, counted and dropped: a missing permission or a deleted bus must not keep
//! deliveries from being recorded. What may pass is an error, and the caller's message comes again.

use std::sync::Arc;

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::error::ProvideErrorMetadata;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_smithy_types::DateTime;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Error, Event, SOURCE};
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
    client: Client,
    name: String,
}

/// The events of a batch that EventBridge refused, and its code for the first.
struct Unpublished {
    entries: Vec<PutEventsRequestEntry>,
    code: String,
}

impl Bus {
    /// The bus named by `HERALD_EVENT_BUS`; without it, events are dropped.
    pub fn from_environment(environment: &Environment<'_>, sdk: &Sdk) -> Self {
        let bus = environment.optional(variable::EVENT_BUS);
        Self(bus.map(|name| {
            let client = Client::new(&sdk.config(ATTEMPTS));
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

    fn entry(&self, event: &Event) -> PutEventsRequestEntry {
        // Our own details hold nothing that JSON cannot.
        let detail = serde_json::to_string(event).unwrap_or_default();
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.name)
            .source(SOURCE)
            .detail_type(event.kind.detail_type())
            .time(DateTime::from_secs(event.at.as_second()))
            .detail(detail)
            .build()
    }

    /// Makes one request, and returns the events that EventBridge refused.
    async fn request(&self, entries: Vec<PutEventsRequestEntry>) -> Result<Option<Unpublished>, Error> {
        let request = self.client.put_events().set_entries(Some(entries.clone()));
        let output = match request.send().await {
            Ok(output) => output,
            Err(error) if is_final(error.code().unwrap_or_default()) => {
                log_dropped(entries.len(), &sanitize_code(error.code()));
                return Ok(None);
            }
            Err(error) => {
                return Err(Error::Unavailable {
                    source: aws::Error::new("events:PutEvents", error).into(),
                });
            }
        };
        if output.failed_entry_count == 0 {
            return Ok(None);
        }
        let results = output.entries();
        let first = results.iter().find_map(|result| result.error_code());
        let code = sanitize_code(first);
        // The results are in the order of the entries. If they do not fit, all events are published again.
        let is_complete = results.len() == entries.len() && first.is_some();
        let each = entries.into_iter().enumerate();
        let refused = each.filter(|(index, _)| !is_complete || results[*index].error_code().is_some());
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
