//! A queue in SQS, what it cannot hold back long enough, and the batches that Lambda takes from one.

use std::time::Duration;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::Request;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::batch::{self, Receipt, Received};
use super::{DELAY_MAX, Error, Message};
use crate::aws::Sdk;
use crate::aws::signed::{self, Client, TARGET, code};
use crate::config::{self, Environment};
use crate::digest::sha256_hex;
use crate::telemetry::chain;

mod schedule;

use schedule::QueueArn;
pub use schedule::Schedules;

/// Most messages one request takes.
const BATCH: usize = 10;

/// Most bytes of bodies one request takes, and so the longest body: 1 MiB.
const BATCH_BYTES: usize = 1024 * 1024;

/// Requests under way at once.
const REQUESTS_AT_ONCE: usize = 4;

/// Requests made for one batch while SQS has no answer.
const ATTEMPTS_MAX: u32 = 3;

/// How long it waits before the second of them; before the third, twice as long.
const PAUSE: Duration = Duration::from_millis(100);

/// What SQS speaks.
const JSON: &str = "application/x-amz-json-1.0";

/// The longest group that SQS takes, in bytes.
const GROUP_BYTES_MAX: usize = 128;

/// Handles each message of a batch by [`batch::handle_each`], and tells Lambda which of them have to come again.
pub async fn handle_each<T, F>(event: SqsEvent, handle: impl Fn(T, Receipt) -> F) -> SqsBatchResponse
where
    T: DeserializeOwned,
    F: Future<Output = Result<(), crate::Error>>,
{
    let messages = event.records.into_iter().map(|record| Received {
        receipt: receipt(&record),
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

/// What SQS says of a message, in its attributes. Where it says nothing, the message is as if it were new.
fn receipt(message: &SqsMessage) -> Receipt {
    let number = |name: &str| message.attributes.get(name)?.parse::<i64>().ok();
    Receipt {
        receives: number("ApproximateReceiveCount")
            .and_then(|receives| u32::try_from(receives).ok())
            .unwrap_or(1),
        sent_at: number("SentTimestamp").and_then(|sent| Timestamp::from_millisecond(sent).ok()),
    }
}

/// One queue in SQS. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
    schedules: Option<(Schedules, QueueArn)>,
}

impl Queue {
    /// The queue with this URL. It holds a message back for [`DELAY_MAX`] at most.
    pub fn new(sdk: &Sdk, url: impl Into<String>) -> Self {
        Self {
            client: sdk.signed.clone(),
            url: url.into(),
            schedules: None,
        }
    }

    /// The queue whose URL is the variable's value. With `schedules` it holds a message back as long as it shall be.
    ///
    /// # Errors
    /// When the variable is not set, or is no queue that a schedule could send to; it names it.
    pub fn from_environment(
        environment: &Environment<'_>,
        variable: &'static str,
        sdk: &Sdk,
        schedules: Option<&Schedules>,
    ) -> Result<Self, config::Error> {
        let queue = Self::new(sdk, environment.required(variable)?);
        let Some(schedules) = schedules else {
            return Ok(queue);
        };
        let arn = schedules.arn(&queue.url).ok_or_else(|| {
            let wrong =
                "must end in the account's and the queue's name, and HERALD_SCHEDULER_ROLE_ARN be an ARN";
            config::Error::wrong(variable, wrong)
        })?;
        Ok(Self {
            schedules: Some((schedules.clone(), arn)),
            ..queue
        })
    }

    /// Has Scheduler send the messages that are due too late for the queue, and returns the others.
    ///
    /// Scheduler saves a message its early comings. What it does not take comes early, and loses nothing by it.
    async fn put_off(&self, messages: Vec<Message>) -> Vec<Message> {
        let Some((schedules, arn)) = &self.schedules else {
            return messages;
        };
        let (late, mut soon): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .partition(|message| message.delay > DELAY_MAX && schedule::can_hold(message));
        let mut left = stream::iter(late)
            .map(|message| async move {
                let error = schedules.put_off(&message, arn).await.err()?;
                tracing::warn!(error_type = "NotScheduled", error = %chain(&error), "it waits in turns of 15 minutes");
                Some(message)
            })
            .buffer_unordered(REQUESTS_AT_ONCE);
        while let Some(message) = left.next().await {
            soon.extend(message);
        }
        soon
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
            .filter(|(index, _)| refused.iter().any(|entry| entry.id == index.to_string()));
        let refused = self.request(again).await?;
        match refused.first() {
            None => Ok(()),
            Some(first) => Err(Error::Refused {
                refused: refused.len(),
                sent: batch.len(),
                code: code(first.code.as_deref()),
            }),
        }
    }

    /// One request, and what it refused. The entries' ids are the messages' places in the batch. Whoever is not answered
    /// asks again: a message that comes twice does no harm.
    async fn request<'a>(
        &self,
        messages: impl Iterator<Item = (usize, &'a Message)>,
    ) -> Result<Vec<Refusal>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            #[serde(default)]
            failed: Vec<Refusal>,
        }
        const OPERATION: &str = "sqs:SendMessageBatch";
        let entries: Vec<Value> = messages.map(|(index, message)| entry(index, message)).collect();
        let body = json!({"QueueUrl": self.url, "Entries": entries}).to_string();
        let mut attempt = 1;
        loop {
            let request = Request::post(self.client.sqs())
                .header(CONTENT_TYPE, JSON)
                .header(TARGET, "AmazonSQS.SendMessageBatch")
                .body(body.clone());
            let answer = self.client.call(OPERATION, "sqs", request).await;
            let answer = answer.and_then(|body| signed::read::<Answer>(OPERATION, &body));
            match answer {
                Ok(answer) => return Ok(answer.failed),
                Err(error) if attempt < ATTEMPTS_MAX && error.may_pass() => {
                    tokio::time::sleep(PAUSE * attempt).await;
                    attempt += 1;
                }
                Err(error) => return Err(Error::Unavailable { source: error.into() }),
            }
        }
    }
}

/// A message that SQS did not take out of a batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    id: String,
    code: Option<String>,
}

/// A message as a batch has it.
fn entry(index: usize, message: &Message) -> Value {
    let mut entry = json!({
        "Id": index.to_string(),
        "MessageBody": message.body,
        "DelaySeconds": delay_seconds(message),
    });
    if let Some(name) = &message.group {
        entry["MessageGroupId"] = group(name).into();
    }
    entry
}

impl super::Queue for Queue {
    async fn send(&self, messages: Vec<Message>) -> Result<(), Error> {
        let messages = self.put_off(messages).await;
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
    i32::try_from(seconds.min(DELAY_MAX.as_secs())).unwrap_or(i32::MAX)
}

/// A group as SQS takes it: what is too long, or has other characters than letters, digits and punctuation, goes by its
/// digest.
fn group(name: &str) -> String {
    let plain =
        (1..=GROUP_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    if plain {
        name.to_owned()
    } else {
        sha256_hex(name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn message(bytes: usize) -> Message {
        Message {
            body: "x".repeat(bytes),
            delay: Duration::ZERO,
            group: None,
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
        let seconds = |delay| delay_seconds(&Message::json(&(), delay));
        assert_eq!(seconds(Duration::ZERO), 0);
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_secs(2)), 2);
        assert_eq!(seconds(Duration::from_secs(10_000)), 900);
    }

    #[test]
    fn a_group_that_sqs_would_refuse_goes_by_its_digest() {
        for plain in ["msteams|28:bot|tenant-1", "~", &"x".repeat(128)] {
            assert_eq!(group(plain), plain);
        }
        let long = "x".repeat(129);
        for other in ["", "two words", "caf\u{e9}", "line\n", &long] {
            assert_eq!(group(other), sha256_hex(other.as_bytes()), "{other:?}");
        }
    }

    #[test]
    fn a_receipt_is_read_from_the_attributes_and_missing_ones_are_those_of_a_new_message() {
        let message = |attributes: &[(&str, &str)]| {
            let mut message = SqsMessage::default();
            message.attributes = attributes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            receipt(&message)
        };
        let known = message(&[
            ("ApproximateReceiveCount", "7"),
            ("SentTimestamp", "1800000000123"),
        ]);
        assert_eq!(known.receives, 7);
        assert_eq!(known.sent_at.unwrap().as_millisecond(), 1_800_000_000_123);
        let unknown = Receipt {
            receives: 1,
            sent_at: None,
        };
        assert_eq!(message(&[]), unknown);
        let odd = [("ApproximateReceiveCount", "-1"), ("SentTimestamp", "yesterday")];
        assert_eq!(message(&odd), unknown);
    }
}
