//! SQS over HTTP.

mod request;

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    response::Response,
};
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{
    broker::{Broker, NoSuchQueue, ReceiptError},
    queue::Received,
};
use crate::{
    service_api::{JsonProtocol, ServiceError, parsed},
    template::{AwsLocation, Queue, Stack},
};
use request::{
    ChangeMessageVisibility, DeleteMessage, Entry, GetQueueUrl, OfQueue, ReceiveMessage, SendMessageBatch,
    StartMessageMoveTask,
};

/// The largest message, and the largest sum of one batch, in bytes.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// The most messages of one batch, and of one receive.
const BATCH: usize = 10;

/// The queues as an HTTP service.
pub(crate) fn router(broker: Broker, stack: &Stack, location: &AwsLocation) -> Router {
    let queues = stack
        .queues
        .iter()
        .cloned()
        .map(|queue| (queue.name.clone(), queue))
        .collect();
    Router::new()
        .fallback(answer)
        .layer(DefaultBodyLimit::max(4 * MESSAGE_BYTES))
        .with_state(Service {
            broker,
            queues,
            location: location.clone(),
        })
}

#[derive(Clone)]
struct Service {
    broker: Broker,
    queues: BTreeMap<String, Queue>,
    location: AwsLocation,
}

/// The protocol of current SDKs.
const PROTOCOL: JsonProtocol = JsonProtocol {
    service: "AmazonSQS.",
    namespace: "com.amazonaws.sqs#",
    content_type: "application/x-amz-json-1.0",
};

fn invalid_value(message: impl Into<String>) -> ServiceError {
    ServiceError::new("InvalidParameterValueException", message)
}

/// The error code of the older query protocol.
fn query_code(code: &str) -> String {
    match code {
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue".to_owned(),
        "InvalidParameterValueException" => "InvalidParameterValue".to_owned(),
        "MissingRequiredParameterException" => "MissingParameter".to_owned(),
        "ReceiptHandleIsInvalid" | "SerializationException" => code.to_owned(),
        _ => format!("AWS.SimpleQueueService.{code}"),
    }
}

impl From<NoSuchQueue> for ServiceError {
    fn from(_: NoSuchQueue) -> ServiceError {
        ServiceError::new("QueueDoesNotExist", "The specified queue does not exist.")
    }
}

impl From<ReceiptError> for ServiceError {
    fn from(error: ReceiptError) -> ServiceError {
        match error {
            ReceiptError::NoSuchQueue(queue) => queue.into(),
            ReceiptError::InvalidReceipt(_) => {
                ServiceError::new("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
            }
        }
    }
}

async fn answer(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Response {
    let outcome = service.perform(PROTOCOL.operation(&headers), &body).await;
    let code = outcome.as_ref().err().map(|error| query_code(error.code));
    let mut response = PROTOCOL.respond(outcome);
    if let Some(code) = code.and_then(|code| format!("{code};Sender").parse().ok()) {
        response.headers_mut().insert("x-amzn-query-error", code);
    }
    response
}

impl Service {
    async fn perform(&self, operation: &str, body: &[u8]) -> Result<Value, ServiceError> {
        match operation {
            "SendMessage" => self.send(queue_name(&parsed::<OfQueue>(body)?.queue_url), parsed(body)?),
            "SendMessageBatch" => self.send_batch(parsed(body)?),
            "ReceiveMessage" => self.receive(parsed(body)?).await,
            "DeleteMessage" => self.delete(&parsed(body)?),
            "ChangeMessageVisibility" => self.change_visibility(&parsed(body)?),
            "GetQueueAttributes" => self.attributes(&parsed(body)?),
            "GetQueueUrl" => self.url(&parsed(body)?),
            "StartMessageMoveTask" => self.move_messages(&parsed(body)?),
            other => Err(ServiceError::new(
                "UnsupportedOperation",
                format!("the local host does not support {other:?}"),
            )),
        }
    }

    fn send(&self, queue: &str, entry: Entry) -> Result<Value, ServiceError> {
        let (message, delay) = entry.checked()?;
        if message.size_bytes() > MESSAGE_BYTES {
            let text = format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {MESSAGE_BYTES} bytes."
            );
            return Err(invalid_value(text));
        }
        let mut answer = json!({ "MD5OfMessageBody": message.body_digest() });
        if let Some(digest) = message.attributes_digest() {
            answer["MD5OfMessageAttributes"] = digest.into();
        }
        answer["MessageId"] = self.broker.send(queue, message, delay)?.into();
        Ok(answer)
    }

    fn send_batch(&self, request: SendMessageBatch) -> Result<Value, ServiceError> {
        let entries = request.entries;
        if entries.is_empty() {
            return Err(ServiceError::new(
                "EmptyBatchRequest",
                "There should be at least one SendMessageBatchRequestEntry in the request.",
            ));
        }
        if entries.len() > BATCH {
            return Err(ServiceError::new(
                "TooManyEntriesInBatchRequest",
                format!(
                    "Maximum number of entries per request are {BATCH}. You have sent {}.",
                    entries.len()
                ),
            ));
        }
        let mut ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(ServiceError::new(
                "BatchEntryIdsNotDistinct",
                "Two or more batch entries in the request have the same Id.",
            ));
        }
        let total: usize = entries.iter().map(|entry| entry.message().size_bytes()).sum();
        if total > MESSAGE_BYTES {
            return Err(ServiceError::new(
                "BatchRequestTooLong",
                format!(
                    "Batch requests cannot be longer than {MESSAGE_BYTES} bytes. You have sent {total} bytes."
                ),
            ));
        }
        let queue = queue_name(&request.queue_url);
        self.known(queue)?;
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for entry in entries {
            let id = entry.id.clone();
            match self.send(queue, entry) {
                Ok(mut answer) => {
                    answer["Id"] = id.into();
                    successful.push(answer);
                }
                Err(error) => failed.push(
                    json!({ "Id": id, "SenderFault": true, "Code": query_code(error.code), "Message": error.message }),
                ),
            }
        }
        let mut answer = json!({ "Successful": successful });
        if !failed.is_empty() {
            answer["Failed"] = failed.into();
        }
        Ok(answer)
    }

    /// Waits for the first message for the request's wait time, then returns all visible ones.
    async fn receive(&self, request: ReceiveMessage) -> Result<Value, ServiceError> {
        let most = request.max_number_of_messages.unwrap_or(1);
        if !(1..=BATCH).contains(&most) {
            return Err(invalid_value(format!(
                "MaxNumberOfMessages {most} is not between 1 and {BATCH}."
            )));
        }
        let queue = queue_name(&request.queue_url);
        let until = Instant::now() + Duration::from_secs(request.wait_time_seconds.unwrap_or(0).min(20));
        let visibility = request.visibility_timeout.map(Duration::from_secs);
        let messages = loop {
            let received = self.broker.receive(queue, most, visibility)?;
            if !received.is_empty() {
                break received;
            }
            match timeout_at(until, self.broker.wait_visible(queue)).await {
                Ok(seen) => seen?,
                Err(_) => break Vec::new(),
            }
        };
        if messages.is_empty() {
            return Ok(json!({}));
        }
        let messages: Vec<Value> = messages.iter().map(|message| self.shown(message)).collect();
        Ok(json!({ "Messages": messages }))
    }

    /// A received message with all its attributes, even those the client did not ask for.
    fn shown(&self, received: &Received) -> Value {
        let mut shown = json!({
            "MessageId": received.id,
            "ReceiptHandle": received.receipt,
            "Body": received.message.body,
            "MD5OfBody": received.message.body_digest(),
            "Attributes": received.system_attributes(&self.location.account),
        });
        if let Some(digest) = received.message.attributes_digest() {
            shown["MD5OfMessageAttributes"] = digest.into();
            shown["MessageAttributes"] = json!(received.message.attributes);
        }
        shown
    }

    fn delete(&self, request: &DeleteMessage) -> Result<Value, ServiceError> {
        self.broker
            .delete(queue_name(&request.queue_url), &request.receipt_handle)?;
        Ok(json!({}))
    }

    fn change_visibility(&self, request: &ChangeMessageVisibility) -> Result<Value, ServiceError> {
        let visibility = Duration::from_secs(request.visibility_timeout);
        self.broker.change_visibility(
            queue_name(&request.queue_url),
            &request.receipt_handle,
            visibility,
        )?;
        Ok(json!({}))
    }

    fn attributes(&self, request: &OfQueue) -> Result<Value, ServiceError> {
        let queue = self.known(queue_name(&request.queue_url))?;
        let counts = self.broker.counts(&queue.name)?;
        let mut attributes = json!({
            "ApproximateNumberOfMessages": counts.visible.to_string(),
            "ApproximateNumberOfMessagesNotVisible": counts.in_flight.to_string(),
            "ApproximateNumberOfMessagesDelayed": counts.delayed.to_string(),
            "VisibilityTimeout": queue.visibility.as_secs().to_string(),
            "DelaySeconds": queue.delay.as_secs().to_string(),
            "MaximumMessageSize": MESSAGE_BYTES.to_string(),
            "QueueArn": queue.arn,
        });
        if let Some(redrive) = &queue.redrive {
            let target = self.known(&redrive.target)?;
            let policy =
                json!({ "deadLetterTargetArn": target.arn, "maxReceiveCount": redrive.max_receives });
            attributes["RedrivePolicy"] = policy.to_string().into();
        }
        Ok(json!({ "Attributes": attributes }))
    }

    /// Moves a dead-letter queue's messages at once, where SQS takes a while.
    fn move_messages(&self, request: &StartMessageMoveTask) -> Result<Value, ServiceError> {
        let name = |arn: &str| arn.rsplit(':').next().unwrap_or_default().to_owned();
        let queue = name(&request.source_arn);
        if let Some(destination) = &request.destination_arn {
            let redrive = self.known(&name(destination))?.redrive.as_ref();
            if redrive.is_none_or(|redrive| redrive.target != queue) {
                let message = "the local host moves messages only to the queue whose dead letters they are";
                return Err(ServiceError::new("UnsupportedOperation", message));
            }
        }
        self.broker.redrive(&queue).map_err(|_| {
            ServiceError::new("ResourceNotFoundException", "The source is no dead-letter queue.")
        })?;
        Ok(json!({ "TaskHandle": uuid::Uuid::new_v4().to_string() }))
    }

    fn url(&self, request: &GetQueueUrl) -> Result<Value, ServiceError> {
        let queue = self.known(&request.queue_name)?;
        Ok(json!({ "QueueUrl": self.location.queue_url(&queue.name) }))
    }

    fn known(&self, queue: &str) -> Result<&Queue, ServiceError> {
        self.queues
            .get(queue)
            .ok_or_else(|| NoSuchQueue(queue.to_owned()).into())
    }
}

impl Received {
    /// The attributes that SQS itself gives a message, numbers as text.
    pub(super) fn system_attributes(&self, account: &str) -> Value {
        let mut attributes = json!({
            "SenderId": account,
            "SentTimestamp": self.sent.as_millisecond().to_string(),
            "ApproximateReceiveCount": self.receives.to_string(),
            "ApproximateFirstReceiveTimestamp": self.first_received.as_millisecond().to_string(),
        });
        if let Some(group) = &self.message.group {
            attributes["MessageGroupId"] = group.as_str().into();
        }
        attributes
    }
}

fn queue_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
