//! Event source mappings: pollers that invoke a function with the messages of a queue.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{
    broker::{Broker, NoSuchQueue},
    queue::Received,
};
use crate::{
    event::{Event, Events},
    runtime::Functions,
    template::{AwsLocation, BatchFailures, Mapping},
};

/// A running mapping.
#[derive(Clone)]
pub(crate) struct Poller {
    pub(crate) mapping: Mapping,
    pub(crate) arn: String,
    pub(crate) location: AwsLocation,
    pub(crate) broker: Broker,
    pub(crate) functions: Functions,
    pub(crate) events: Events,
    /// The visibility time-out of failed messages; the queue's if `None`.
    pub(crate) retry_visibility: Option<Duration>,
}

impl Poller {
    /// Polls the queue and invokes the function. Dropping the future stops it.
    ///
    /// # Errors
    /// When the mapping's queue does not exist.
    pub(crate) async fn run(self) -> Result<(), NoSuchQueue> {
        let at_once = self.mapping.max_concurrency.unwrap_or(Semaphore::MAX_PERMITS);
        let at_once = at_once.min(self.functions.concurrency(&self.mapping.function));
        let permits = Arc::new(Semaphore::new(at_once));
        let mut batches = JoinSet::new();
        loop {
            // The semaphore is never closed.
            let Ok(permit) = permits.clone().acquire_owned().await else {
                return Ok(());
            };
            while batches.try_join_next().is_some() {}
            let batch = self.batch().await?;
            if batch.is_empty() {
                continue;
            }
            let poller = self.clone();
            batches.spawn(async move {
                let _permit = permit;
                poller.carry(batch).await;
            });
        }
    }

    /// The next batch: at once if it is full, otherwise at the end of its window. Empty if another poller was faster.
    async fn batch(&self) -> Result<Vec<Received>, NoSuchQueue> {
        let Mapping {
            queue,
            batch_size,
            window,
            ..
        } = &self.mapping;
        self.broker.wait_visible(queue).await?;
        let until = Instant::now() + *window;
        let mut batch = self.broker.receive(queue, *batch_size, None)?;
        while batch.len() < *batch_size {
            match timeout_at(until, self.broker.wait_visible(queue)).await {
                Ok(seen) => seen?,
                Err(_) => break,
            }
            batch.extend(self.broker.receive(queue, *batch_size - batch.len(), None)?);
        }
        Ok(batch)
    }

    async fn carry(&self, batch: Vec<Received>) {
        let start = Instant::now();
        let payload = self.payload(&batch).to_string();
        let answer = self
            .functions
            .invoke(&self.mapping.function, payload.into())
            .await;
        let failed = match (answer, self.mapping.failures) {
            (Err(_), _) => batch.iter().collect(),
            (Ok(_), BatchFailures::Whole) => Vec::new(),
            (Ok(answer), BatchFailures::Reported) => failures(&batch, &answer),
        };
        for message in &batch {
            let settled = if !failed.iter().any(|failed| failed.receipt == message.receipt) {
                self.broker.delete(&self.mapping.queue, &message.receipt)
            } else if let Some(visibility) = self.retry_visibility {
                self.broker
                    .change_visibility(&self.mapping.queue, &message.receipt, visibility)
            } else {
                Ok(())
            };
            // The mapping's own queue and receipts exist.
            drop(settled);
        }
        self.events.tell(&Event::Batch {
            queue: self.mapping.queue.clone(),
            function: self.mapping.function.clone(),
            messages: batch.len(),
            failed: failed.len(),
            elapsed: start.elapsed(),
        });
    }

    fn payload(&self, batch: &[Received]) -> Value {
        let records: Vec<Value> = batch
            .iter()
            .map(|received| {
                let message = &received.message;
                let attributes: serde_json::Map<String, Value> = message
                    .attributes
                    .iter()
                    .map(|(name, attribute)| {
                        let value = json!({
                            "stringValue": attribute.string_value,
                            "binaryValue": attribute.binary_value,
                            "stringListValues": [],
                            "binaryListValues": [],
                            "dataType": attribute.data_type,
                        });
                        (name.clone(), value)
                    })
                    .collect();
                json!({
                    "messageId": received.id,
                    "receiptHandle": received.receipt,
                    "body": message.body,
                    "attributes": received.system_attributes(&self.location.account),
                    "messageAttributes": attributes,
                    "md5OfBody": message.body_digest(),
                    "md5OfMessageAttributes": message.attributes_digest(),
                    "eventSource": "aws:sqs",
                    "eventSourceARN": self.arn,
                    "awsRegion": self.location.region,
                })
            })
            .collect();
        json!({ "Records": records })
    }
}

/// The messages that a function's response fails. A malformed response, or one that names a message outside the batch,
/// fails all of them, as in Lambda.
fn failures<'a>(batch: &'a [Received], answer: &[u8]) -> Vec<&'a Received> {
    let named = serde_json::from_slice(answer)
        .ok()
        .and_then(|answer: Value| named(&answer));
    let all = || batch.iter().collect();
    let Some(named) = named else { return all() };
    if named
        .iter()
        .any(|id| !batch.iter().any(|message| message.id == *id))
    {
        return all();
    }
    batch
        .iter()
        .filter(|message| named.contains(&message.id))
        .collect()
}

/// The ids under `batchItemFailures`; `None` if the response is malformed. An empty response, a missing list and an empty
/// list mean no failures.
fn named(answer: &Value) -> Option<Vec<String>> {
    let Some(list) = answer.get("batchItemFailures") else {
        return answer
            .is_null()
            .then(Vec::new)
            .or_else(|| answer.as_object()?.is_empty().then(Vec::new));
    };
    if list.is_null() {
        return Some(Vec::new());
    }
    let id = |failure: &Value| Some(failure.get("itemIdentifier")?.as_str()?.to_owned());
    list.as_array()?.iter().map(id).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::sqs::message::Message;

    fn batch() -> Vec<Received> {
        let received = |id: &str| Received {
            id: id.into(),
            receipt: format!("receipt of {id}"),
            message: Message::default(),
            receives: 1,
            sent: Timestamp::UNIX_EPOCH,
            first_received: Timestamp::UNIX_EPOCH,
        };
        vec![received("a"), received("b"), received("c")]
    }

    fn failed(answer: &str) -> Vec<String> {
        failures(&batch(), answer.as_bytes())
            .into_iter()
            .map(|message| message.id.clone())
            .collect()
    }

    #[test]
    fn the_named_messages_fail_and_no_others() {
        assert_eq!(failed(r#"{"batchItemFailures":[{"itemIdentifier":"b"}]}"#), ["b"]);
    }

    #[test]
    fn an_answer_that_names_nothing_is_a_success() {
        for answer in [
            "null",
            "{}",
            r#"{"batchItemFailures":null}"#,
            r#"{"batchItemFailures":[]}"#,
        ] {
            assert!(failed(answer).is_empty(), "{answer}");
        }
    }

    #[test]
    fn a_malformed_answer_fails_the_whole_batch() {
        let malformed = [
            "\"done\"",
            "not json",
            r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
            r#"{"batchItemFailures":[{"id":"b"}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"stranger"}]}"#,
            r#"{"batchItemFailures":"b"}"#,
        ];
        for answer in malformed {
            assert_eq!(failed(answer), ["a", "b", "c"], "{answer}");
        }
    }
}
