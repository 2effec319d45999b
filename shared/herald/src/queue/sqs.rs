//! A queue in SQS, and the batches that Lambda takes from one.

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{BatchResultErrorEntry, SendMessageBatchRequestEntry};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::batch::{self, Received};
use super::{Error, Message};
use crate::aws::Sdk;
use serde::de::DeserializeOwned;

/// Most messages one request takes.
const BATCH: usize = 10;

/// Most bytes of bodies one request takes, and so the longest body: 1 MiB.
const BATCH_BYTES: usize = 1024 * 1024;

/// Requests under way at once.
const REQUESTS_AT_ONCE: usize = 4;

/// Handles each message of a batch by [`batch::handle_each`], and tells Lambda which of them have to come again.
pub async fn handle_each<T, F>(event: SqsEvent, handle: impl Fn(T) -> F) -> SqsBatchResponse
where
    T: DeserializeOwned,
    F: Future<Output = Result<(), crate::Error>>,
{
    let messages = event.records.into_iter().map(|record| Received {
        id: record.message_id.unwrap_or_default(),
        body: record.body.unwrap_or_default(),
    });
    let failed = batch::handle_each(messages.collect(), handle).await;
    let failures = failed.into_iter().map(|id| {
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = id;
        failure
    });
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failures.collect();
    response
}

/// One queue in SQS. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    /// The queue with this URL.
    pub fn new(sdk: &Sdk, url: impl Into<String>) -> Self {
        Self {
            client: sdk.sqs.clone(),
            url: url.into(),
        }
    }

    /// Sends one batch, and what of it was refused once more.
    async fn send_batch(&self, batch: &[Message]) -> Result<(), Error> {
        let refused = self.request(batch.iter().enumerate()).await?;
        if refused.is_empty() {
            return Ok(());
        }
        let again = batch
            .iter()
            .enumerate()
            .filter(|(index, _)| refused.iter().any(|entry| entry.id() == index.to_string()));
        let refused = self.request(again).await?;
        match refused.first() {
            None => Ok(()),
            Some(first) => Err(Error::Refused {
                refused: refused.len(),
                sent: batch.len(),
                code: first.code().to_owned(),
            }),
        }
    }

    /// One request; what it refused. The entries' ids are the messages' places in the batch.
    async fn request<'a>(
        &self,
        messages: impl Iterator<Item = (usize, &'a Message)>,
    ) -> Result<Vec<BatchResultErrorEntry>, Error> {
        let entries = messages
            .map(|(index, message)| {
                SendMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .message_body(&message.body)
                    .delay_seconds(delay_seconds(message))
                    .build()
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Error::Unavailable { source: error.into() })?;
        let request = self
            .client
            .send_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries));
        let answer = request
            .send()
            .await
            .map_err(|error| Error::Unavailable { source: error.into() })?;
        Ok(answer.failed)
    }
}

impl super::Queue for Queue {
    async fn send(&self, messages: Vec<Message>) -> Result<(), Error> {
        let requests: Vec<_> = batches(&messages)
            .into_iter()
            .map(|batch| self.send_batch(batch))
            .collect();
        stream::iter(requests)
            .buffer_unordered(REQUESTS_AT_ONCE)
            .try_collect()
            .await
    }
}

/// The messages in order, as many together as one request takes. A body that is too long for any stands alone, for
/// the queue to refuse.
fn batches(messages: &[Message]) -> Vec<&[Message]> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, message) in messages.iter().enumerate() {
        let full = index - start == BATCH || bytes + message.body.len() > BATCH_BYTES;
        if full && index > start {
            batches.push(&messages[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += message.body.len();
    }
    if start < messages.len() {
        batches.push(&messages[start..]);
    }
    batches
}

/// Whole seconds, rounded up: a message must not be received before its time.
fn delay_seconds(message: &Message) -> i32 {
    let seconds = message.delay.as_secs() + u64::from(message.delay.subsec_nanos() > 0);
    i32::try_from(seconds.min(super::DELAY_MAX.as_secs())).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn message(bytes: usize) -> Message {
        Message {
            body: "x".repeat(bytes),
            delay: Duration::ZERO,
        }
    }

    fn sizes(bytes: &[usize]) -> Vec<usize> {
        let messages: Vec<Message> = bytes.iter().copied().map(message).collect();
        batches(&messages).into_iter().map(<[Message]>::len).collect()
    }

    #[test]
    fn a_batch_ends_at_ten_messages_or_a_mebibyte() {
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[1; 10]), [10]);
        assert_eq!(sizes(&[1; 21]), [10, 10, 1]);
        assert_eq!(sizes(&[BATCH_BYTES / 2, BATCH_BYTES / 2, 1]), [2, 1]);
        assert_eq!(sizes(&[1, BATCH_BYTES + 1, 1]), [1, 1, 1]);
    }

    #[test]
    fn a_delay_is_rounded_up_to_seconds_and_ends_at_what_the_queue_can_do() {
        let seconds = |delay| {
            delay_seconds(&Message {
                body: String::new(),
                delay,
            })
        };
        assert_eq!(seconds(Duration::ZERO), 0);
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_secs(2)), 2);
        assert_eq!(seconds(Duration::from_secs(10_000)), 900);
    }
}
