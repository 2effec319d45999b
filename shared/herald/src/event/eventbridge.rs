//! Events on a bus of EventBridge.

use std::fmt;
use std::sync::Arc;

use botframework::http::HttpTransport;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::Request;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Error, Event, SOURCE};
use crate::aws::signed::{self, Client, JSON, TARGET, code};
use crate::clock::Clock;
use crate::config::{self, Environment, variable};

/// Most events one request takes.
const BATCH: usize = 10;

/// Requests under way at once.
const REQUESTS_AT_ONCE: usize = 4;

/// Requests made for one batch: what failed is repeated once.
const ATTEMPTS_MAX: u32 = 2;

/// A bus, or nobody to tell. Cheap to clone.
#[derive(Clone)]
pub struct Bus(Option<Arc<Named>>);

struct Named {
    client: Client,
    name: String,
}

/// What of a batch is still to be told, and why.
struct Left {
    entries: Vec<Value>,
    code: String,
}

impl Bus {
    /// The bus of `HERALD_EVENT_BUS`; without it, nobody is told. Its address and keys are found as
    /// [`Sdk::new`](crate::aws::Sdk::new) finds them; `AWS_ENDPOINT_URL_EVENTBRIDGE` leads elsewhere.
    ///
    /// # Errors
    /// When there is a bus and one of the platform's variables is missing; it names it.
    pub fn from_environment(
        environment: &Environment<'_>,
        transport: &HttpTransport,
        clock: &Clock,
    ) -> Result<Self, config::Error> {
        let Some(name) = environment.optional(variable::EVENT_BUS) else {
            return Ok(Self(None));
        };
        let client = Client::new(environment, transport.clone(), clock.clone())?;
        Ok(Self(Some(Arc::new(Named { client, name }))))
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.as_ref().map(|named| named.name.as_str());
        formatter.debug_tuple("Bus").field(&name).finish()
    }
}

impl super::Events for Bus {
    async fn publish(&self, events: Vec<Event>) -> Result<(), Error> {
        let Some(bus) = &self.0 else {
            return Ok(());
        };
        let batches: Vec<_> = events.chunks(BATCH).map(|batch| bus.publish(batch)).collect();
        stream::iter(batches)
            .buffer_unordered(REQUESTS_AT_ONCE)
            .try_collect()
            .await
    }
}

impl Named {
    /// Tells one batch, and once more what of it failed in a way that may pass.
    async fn publish(&self, batch: &[Event]) -> Result<(), Error> {
        let mut entries: Vec<Value> = batch.iter().map(|event| self.entry(event)).collect();
        let mut attempts = 1;
        loop {
            match self.request(&entries).await {
                Ok(None) => return Ok(()),
                Ok(Some(left)) if attempts < ATTEMPTS_MAX => entries = left.entries,
                Ok(Some(left)) => {
                    return Err(Error::Refused {
                        refused: left.entries.len(),
                        sent: batch.len(),
                        code: left.code,
                    });
                }
                // The events may have been told, and are told again: at least once.
                Err(error) if attempts < ATTEMPTS_MAX && error.may_pass() => {}
                Err(error) => return Err(Error::Unavailable { source: error.into() }),
            }
            attempts += 1;
        }
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

    /// One request; what of it failed, if anything did.
    async fn request(&self, entries: &[Value]) -> Result<Option<Left>, signed::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            failed_entry_count: usize,
            entries: Vec<Outcome>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Outcome {
            error_code: Option<String>,
        }
        const OPERATION: &str = "events:PutEvents";
        let request = Request::post(self.client.event_bridge())
            .header(CONTENT_TYPE, JSON)
            .header(TARGET, "AWSEvents.PutEvents")
            .body(json!({ "Entries": entries }).to_string());
        let body = self.client.call(OPERATION, "events", request).await?;
        let answer: Answer = signed::read(OPERATION, &body)?;
        if answer.failed_entry_count == 0 {
            return Ok(None);
        }
        let first = answer
            .entries
            .iter()
            .find_map(|entry| entry.error_code.as_deref());
        let code = code(first);
        // Its entries stand in the order of ours. If they do not, all of ours are told again.
        let known = answer.entries.len() == entries.len() && first.is_some();
        let each = entries.iter().enumerate();
        let left = each.filter(|(index, _)| !known || answer.entries[*index].error_code.is_some());
        let entries = left.map(|(_, entry)| entry.clone()).collect();
        Ok(Some(Left { entries, code }))
    }
}
