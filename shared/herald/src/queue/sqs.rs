//! A queue in SQS, schedules for messages that it cannot delay long enough, and the batches that Lambda receives from one.

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{BatchResultErrorEntry, QueueAttributeName, SendMessageBatchRequestEntry};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::batch::{self, Handled, Receipt, Received};
use super::{DELAY_MAX, DeadLetterQueue, Error, Message};
use crate::aws::{self, Sdk, sanitize_code};
use crate::config::{self, Environment, variable};
use crate::digest::sha256_hex;
use crate::telemetry::chain;

mod schedule;

use schedule::Destination;
pub use schedule::Schedules;

/// Most messages of one request.
const BATCH: usize = 10;

/// Most bytes of all bodies of one request, and so of one body: 1 MiB.
const BATCH_BYTES: usize = 1024 * 1024;

/// Requests in flight at once.
const CONCURRENCY: usize = 4;

/// Attempts to send one batch.
const ATTEMPTS: u32 = 3;

/// The longest group that SQS takes, in bytes.
const GROUP_BYTES_MAX: usize = 128;

const OPERATION: &str = "sqs:SendMessageBatch";

/// Handles each message of a batch by [`batch::handle_each`], and reports the failed ones to Lambda.
pub async fn handle_each<T, F>(event: SqsEvent, handle: impl Fn(T, Receipt) -> F) -> SqsBatchResponse
where
    T: DeserializeOwned,
    F: Future<Output = Result<(), crate::Error>>,
{
    response(batch::handle_each(received(event), handle).await)
}

/// Handles each message of a batch by [`batch::handle_bodies`], and reports the failed ones to Lambda.
pub async fn handle_bodies<F>(event: SqsEvent, handle: impl Fn(Received) -> F) -> SqsBatchResponse
where
    F: Future<Output = Handled>,
{
    response(batch::handle_bodies(received(event), handle).await)
}

fn received(event: SqsEvent) -> Vec<Received> {
    let messages = event.records.into_iter().map(|record| Received {
        receipt: receipt(&record),
        sender: record.attributes.get("SenderId").cloned(),
        id: record.message_id.unwrap_or_default(),
        body: unwrapped(record.body.unwrap_or_default()),
    });
    messages.collect()
}

/// The request that Scheduler could not make, as it may stand in a dead-letter queue.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct UnsentRequest {
    message_body: String,
    #[serde(rename = "QueueUrl")]
    _queue_url: String,
}

/// The body of a message that Scheduler put into a dead-letter queue, and that was moved back: the body itself, or the
/// request that was to send it.
fn unwrapped(body: String) -> String {
    if !body.contains("\"MessageBody\"") {
        return body;
    }
    match serde_json::from_str::<UnsentRequest>(&body) {
        Ok(unsent) => unsent.message_body,
        Err(_) => body,
    }
}

fn response(failed: Vec<String>) -> SqsBatchResponse {
    let failures = failed.into_iter().map(|id| {
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = id;
        failure
    });
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failures.collect();
    response
}

/// Reads the attributes that SQS gives a message; a message without them counts as new.
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
    schedules: Option<(Schedules, Destination)>,
}

/// The dead-letter queue of a queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    client: Client,
    url: String,
    /// The name of the queue that its messages were for.
    queue: String,
}

impl DeadLetters {
    /// The dead-letter queue with this URL, of the queue with the other one, in the same account and region.
    pub fn new(sdk: &Sdk, url: impl Into<String>, queue_url: &str) -> Self {
        let name = queue_url.trim_end_matches('/').rsplit('/').next();
        Self {
            client: Client::new(&sdk.config(ATTEMPTS)),
            url: url.into(),
            queue: name.unwrap_or_default().to_owned(),
        }
    }
}

impl Queue {
    /// The queue with this URL. It delays a message by [`DELAY_MAX`] at most.
    pub fn new(sdk: &Sdk, url: impl Into<String>) -> Self {
        Self {
            client: Client::new(&sdk.config(ATTEMPTS)),
            url: url.into(),
            schedules: None,
        }
    }

    /// The queue whose URL is the variable's value. With `schedules` it delays a message as long as required; what a schedule
    /// cannot send goes to the dead-letter queue of the matching variable, if that is set.
    ///
    /// # Errors
    /// When the variable is not set, or one of them is no queue that a schedule could send to; it names it.
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
        let arn = |variable, url: &str| {
            schedules.arn(url).ok_or_else(|| {
                let wrong =
                    "must end in the account's and the queue's name, and HERALD_SCHEDULER_ROLE_ARN be an ARN";
                config::Error::wrong(variable, wrong)
            })
        };
        let dead_letters = dead_letters_of(variable)
            .and_then(|name| Some((name, environment.optional(name)?)))
            .map(|(name, url)| arn(name, &url))
            .transpose()?;
        let to = Destination {
            queue: arn(variable, &queue.url)?,
            dead_letters,
        };
        Ok(Self {
            schedules: Some((schedules.clone(), to)),
            ..queue
        })
    }

    /// Schedules the messages that are due too late for the queue, and returns the others.
    ///
    /// A schedule saves receiving a message before it is due. A message that Scheduler refuses goes to the queue, is
    /// received early and sent back.
    async fn schedule(&self, messages: Vec<Message>) -> Vec<Message> {
        let Some((schedules, to)) = &self.schedules else {
            return messages;
        };
        let (late, mut soon): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .partition(|message| message.delay > DELAY_MAX && schedule::fits(message));
        let mut unscheduled = stream::iter(late)
            .map(|message| async move {
                let error = schedules.schedule(&message, to).await.err()?;
                tracing::warn!(error_type = "ScheduleFailed", error = %chain(&error), "message not scheduled: SQS delays it instead, 15 minutes at a time");
                Some(message)
            })
            .buffer_unordered(CONCURRENCY);
        while let Some(message) = unscheduled.next().await {
            soon.extend(message);
        }
        soon
    }

    /// Sends one batch, and a second time the messages that SQS refused.
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
                code: sanitize_code(Some(&first.code)),
            }),
        }
    }

    /// Makes one request, and returns the entries that SQS refused. An entry's id is the message's index in the batch.
    async fn request<'a>(
        &self,
        messages: impl Iterator<Item = (usize, &'a Message)>,
    ) -> Result<Vec<BatchResultErrorEntry>, Error> {
        let unavailable = |error: aws::Error| Error::Unavailable { source: error.into() };
        let entries = messages
            .map(|(index, message)| entry(index, message))
            .collect::<Result<_, _>>()
            .map_err(unavailable)?;
        let request = self.client.send_message_batch().queue_url(&self.url);
        let sent = request.set_entries(Some(entries)).send().await;
        let output = sent.map_err(|error| unavailable(aws::Error::new(OPERATION, error)))?;
        Ok(output.failed)
    }
}

fn entry(index: usize, message: &Message) -> Result<SendMessageBatchRequestEntry, aws::Error> {
    SendMessageBatchRequestEntry::builder()
        .id(index.to_string())
        .message_body(&message.body)
        .delay_seconds(delay_seconds(message))
        .set_message_group_id(message.group.as_deref().map(group))
        .build()
        .map_err(|error| aws::Error::request(OPERATION, error))
}

impl DeadLetterQueue for DeadLetters {
    async fn redrive(&self) -> Result<(), Error> {
        let unavailable = |error: aws::Error| Error::Unavailable { source: error.into() };
        let attributes = self
            .client
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(QueueAttributeName::QueueArn)
            .send()
            .await
            .map_err(|error| unavailable(aws::Error::new("sqs:GetQueueAttributes", error)))?;
        let arn = attributes
            .attributes
            .and_then(|mut all| all.remove(&QueueAttributeName::QueueArn));
        // Named, because SQS knows no origin of a message that a schedule, a rule or a topic put there.
        let destination = arn.as_deref().and_then(|arn| arn.rsplit_once(':'));
        let task = self
            .client
            .start_message_move_task()
            .set_destination_arn(destination.map(|(account, _)| format!("{account}:{}", self.queue)))
            .set_source_arn(arn)
            .send()
            .await;
        match task {
            Ok(_) => Ok(()),
            // A task that is running moves all that is there.
            Err(error) if is_running(&error) => Ok(()),
            Err(error) => Err(unavailable(aws::Error::new("sqs:StartMessageMoveTask", error))),
        }
    }
}

/// Whether SQS refuses a second task for a queue.
fn is_running<E: ProvideErrorMetadata>(error: &E) -> bool {
    let says_so = |message: &str| message.contains("already a task running");
    error.message().is_some_and(says_so)
}

impl super::Queue for Queue {
    async fn send(&self, messages: Vec<Message>) -> Result<(), Error> {
        let messages = self.schedule(messages).await;
        let requests: Vec<_> = batches(&messages)
            .into_iter()
            .map(|batch| self.send_batch(batch))
            .collect();
        stream::iter(requests)
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }
}

/// The variable of the dead-letter queue that belongs to the queue of this variable.
fn dead_letters_of(queue: &str) -> Option<&'static str> {
    match queue {
        variable::PLANS_QUEUE_URL => Some(variable::FAILED_PLANS_QUEUE_URL),
        variable::DELIVERIES_QUEUE_URL => Some(variable::FAILED_DELIVERIES_QUEUE_URL),
        variable::EVENTS_QUEUE_URL => Some(variable::FAILED_EVENTS_QUEUE_URL),
        _ => None,
    }
}

/// Splits the messages, in order, into requests. A body that exceeds every request is a batch by itself, which SQS refuses.
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

/// Whole seconds, rounded up: a message must not be received before it is due.
fn delay_seconds(message: &Message) -> i32 {
    let seconds = message.delay.as_secs() + u64::from(message.delay.subsec_nanos() > 0);
    i32::try_from(seconds.min(DELAY_MAX.as_secs())).unwrap_or(i32::MAX)
}

/// A group's id in SQS: its name, or the digest of a name that is too long or has characters other than letters, digits and
/// punctuation.
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
    fn a_delay_is_rounded_up_to_seconds_and_capped_at_fifteen_minutes() {
        let seconds = |delay| delay_seconds(&Message::text("", delay));
        assert_eq!(seconds(Duration::ZERO), 0);
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_secs(2)), 2);
        assert_eq!(seconds(Duration::from_secs(10_000)), 900);
    }

    #[test]
    fn a_group_that_sqs_would_refuse_is_replaced_by_its_digest() {
        for plain in ["msteams|28:bot|tenant-1", "~", &"x".repeat(128)] {
            assert_eq!(group(plain), plain);
        }
        let long = "x".repeat(129);
        for other in ["", "two words", "caf\u{e9}", "line\n", &long] {
            assert_eq!(group(other), sha256_hex(other.as_bytes()), "{other:?}");
        }
    }

    #[test]
    fn a_message_that_scheduler_could_not_send_is_taken_as_its_body_or_as_the_request() {
        let body = r#"{"notification":"ntf_1"}"#.to_owned();
        let request = serde_json::json!({"MessageBody": body, "QueueUrl": "https://sqs.invalid/0/plans"});
        assert_eq!(unwrapped(body.clone()), body);
        assert_eq!(unwrapped(request.to_string()), body);
        for other in [
            r#"{"MessageBody":1,"QueueUrl":""}"#,
            r#"{"MessageBody":"x"}"#,
            r#""MessageBody""#,
        ] {
            assert_eq!(unwrapped(other.to_owned()), other);
        }
    }

    #[test]
    fn a_receipt_is_read_from_the_attributes_and_defaults_to_a_new_message() {
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
