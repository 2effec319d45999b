//! Events of upstream systems, as they arrive on the events queue: from a rule of `EventBridge`, from a topic of SNS, or sent
//! to the queue itself.
//!
//! | message | caller | id |
//! |---|---|---|
//! | what the template's rules send: `{"rule": ARN, "event": {…}}` | `rule:ARN` | the event's |
//! | an event of `EventBridge` as another rule sends it | `source:SOURCE` | the event's |
//! | a notification of SNS | `topic:ARN` | the `MessageId` |
//! | a job of the bot: `{"heraldJob": {…}}` | `bot:ACCOUNT` | the job's |
//! | the clock's, [`ClockMessage`] | `schedule:NAME`, of the route or schedule | the time of the occurrence |
//! | any other JSON | `sqs:ID`, the `SenderId` of SQS without a session | the message's |
//!
//! An event with the detail type [`REQUEST_DETAIL_TYPE`] is a request: its `detail` is the body of `POST /api/notifications`. Of
//! SNS and SQS, an object with `audience` or `message` is one. All other events are foreign. They have the form of `EventBridge`:
//! what came from SNS has the source `aws.sns`, what was sent to the queue `aws.sqs`. `EventBridge`
//! refuses events of customers whose source begins with `aws.`.
//!
//! Who may send to the queue decides what stands in a message, so who may is as trusted as every rule and topic.

use botframework::lossless::LosslessJson;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::digest::sha256_hex;
use crate::job::Job;
use crate::json_body;
use crate::occurrence::ClockMessage;
use crate::problem::Problem;
use crate::queue::RECEIVES_MAX;
use crate::queue::batch::Received;
use crate::store::{Collection, Record};

/// The detail type of a request.
pub const REQUEST_DETAIL_TYPE: &str = "Notification Requested";

/// How long a failed event is listed: as long as its message stays in the dead-letter queue.
pub const FAILED_EVENT_TTL: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The largest message that is listed with its body, in bytes.
const BODY_SHOWN_MAX: usize = 32 * 1024;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamEvent {
    /// The event's own id, the same when it is delivered again.
    pub id: String,
    /// Where it came from, as the caller of its notification.
    pub caller: String,
    /// What it says; a problem if it cannot be read.
    pub content: Result<EventContent, Problem>,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq)]
pub enum EventContent {
    /// The body of `POST /api/notifications`.
    Request(LosslessJson),
    /// Work that the bot put off.
    Job(Box<Job>),
    /// An event of another system, in the form of `EventBridge`.
    Foreign(Value),
    /// The time of a schedule has come.
    Clock(ClockMessage),
}

impl UpstreamEvent {
    /// Reads a message of the events queue.
    pub fn read(message: &Received) -> Self {
        let unknown = |content| Self {
            id: message.id.clone(),
            caller: sender(message),
            content,
        };
        let Ok(body) = LosslessJson::from_slice(message.body.as_bytes()) else {
            // In the words of the API.
            let request = json_body::parse(message.body.as_bytes());
            return unknown(request.map(EventContent::Request));
        };
        if let Some(event) = of_rule(&body).or_else(|| of_other_rule(&body)) {
            return event;
        }
        if let Some(event) = of_topic(&body.value).or_else(|| of_clock(message, &body.value)) {
            return event;
        }
        match Job::in_message(&body.value) {
            None => {}
            Some(Ok(job)) => return of_bot(job),
            Some(Err(problem)) => return unknown(Err(problem)),
        }
        if is_request(&body.value) {
            let request = json_body::parse(message.body.as_bytes());
            return unknown(request.map(EventContent::Request));
        }
        if !body.value.is_object() {
            return unknown(Err(not_an_object()));
        }
        let event = json!({
            "version": "0", "id": message.id, "source": "aws.sqs", "detail-type": "SQS Message",
            "time": message.receipt.sent_at, "resources": [], "detail": body.value,
        });
        unknown(Ok(EventContent::Foreign(event)))
    }
}

/// The sender as SQS authenticated it. A role's session is left out: its name changes with each start of a program.
fn sender(message: &Received) -> String {
    let id = message.sender.as_deref().unwrap_or("unknown");
    format!("sqs:{}", id.split_once(':').map_or(id, |(id, _)| id))
}

fn of_bot(job: Job) -> UpstreamEvent {
    UpstreamEvent {
        id: job.id.clone(),
        caller: job.caller(),
        content: Ok(EventContent::Job(Box::new(job))),
    }
}

fn not_an_object() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "The message is neither a request for a notification, nor an event: it must be a JSON object.",
    )
}

fn is_request(document: &Value) -> bool {
    ["audience", "message"]
        .iter()
        .any(|field| document.get(field).is_some())
}

/// An event as the template's rules send it.
fn of_rule(body: &LosslessJson) -> Option<UpstreamEvent> {
    let rule = body.value.get("rule")?.as_str()?;
    rule.starts_with("arn:").then_some(())?;
    of_bus(&body.get("event")?, format!("rule:{rule}"))
}

/// An event as `EventBridge` sends it without an input transformer.
fn of_other_rule(body: &LosslessJson) -> Option<UpstreamEvent> {
    let source = body.value.get("source")?.as_str()?;
    of_bus(body, format!("source:{source}"))
}

fn of_bus(event: &LosslessJson, caller: String) -> Option<UpstreamEvent> {
    let text = |name: &str| event.value.get(name)?.as_str();
    let (id, detail_type, _) = (text("id")?, text("detail-type")?, text("source")?);
    let detail = event.get("detail")?;
    let content = if detail_type == REQUEST_DETAIL_TYPE {
        // Read as a body is: objects that name a member twice are refused.
        json_body::parse(detail.to_string().as_bytes()).map(EventContent::Request)
    } else {
        Ok(EventContent::Foreign(event.value.clone()))
    };
    Some(UpstreamEvent {
        id: id.to_owned(),
        caller,
        content,
    })
}

/// A notification of SNS, as a subscription without raw delivery sends it.
fn of_topic(body: &Value) -> Option<UpstreamEvent> {
    let text = |name: &str| body.get(name)?.as_str();
    let is_notification = text("Type")? == "Notification";
    is_notification.then_some(())?;
    let (id, topic, message) = (text("MessageId")?, text("TopicArn")?, text("Message")?);
    let parsed: Option<Value> = serde_json::from_str(message).ok().filter(Value::is_object);
    let content = if parsed.as_ref().is_some_and(is_request) {
        json_body::parse(message.as_bytes()).map(EventContent::Request)
    } else {
        let mut arn = topic.split(':').skip(3);
        let (region, account) = (arn.next(), arn.next());
        Ok(EventContent::Foreign(json!({
            "version": "0", "id": id, "source": "aws.sns", "detail-type": "SNS Notification",
            "account": account, "region": region, "time": body.get("Timestamp"), "resources": [topic],
            "detail": {
                "subject": body.get("Subject"),
                "message": parsed.unwrap_or_else(|| Value::from(message)),
                "attributes": body.get("MessageAttributes"),
            },
        })))
    };
    Some(UpstreamEvent {
        id: id.to_owned(),
        caller: format!("topic:{topic}"),
        content,
    })
}

fn of_clock(message: &Received, body: &Value) -> Option<UpstreamEvent> {
    let clock = ClockMessage::read(body)?;
    let (id, caller) = match &clock {
        Ok(ClockMessage::Occurrence(due)) => (due.at.to_string(), format!("schedule:{}", due.source.name())),
        Ok(ClockMessage::Check) | Err(_) => (message.id.clone(), sender(message)),
    };
    Some(UpstreamEvent {
        id,
        caller,
        content: clock.map(EventContent::Clock),
    })
}

/// An event that was refused, with the reason. It is listed until it is accepted, redriven, or [`FAILED_EVENT_TTL`] old.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedEvent {
    /// The event's id.
    pub event: String,
    /// Where it came from.
    pub caller: String,
    /// Why it was refused.
    pub problem: Problem,
    /// How often its message was received.
    pub receives: u32,
    /// When it was refused first.
    pub first_failed_at: Timestamp,
    /// When it was refused last.
    pub last_failed_at: Timestamp,
    /// The message's size, in bytes.
    pub bytes: u64,
    /// The message, unless it is too large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

impl FailedEvent {
    /// The key of a message's record. It is the same after a redrive, which gives the message another id.
    pub fn key(message: &Received) -> String {
        sha256_hex(message.body.as_bytes())
    }

    /// The record of an event that was refused now, over the record of an earlier time.
    pub fn refused(
        event: &UpstreamEvent,
        message: &Received,
        problem: Problem,
        now: Timestamp,
        earlier: Option<&Self>,
    ) -> Self {
        let shown = message.body.len() <= BODY_SHOWN_MAX;
        Self {
            event: event.id.clone(),
            caller: event.caller.clone(),
            problem,
            receives: message.receipt.receives,
            first_failed_at: earlier.map_or(now, |earlier| earlier.first_failed_at),
            last_failed_at: now,
            bytes: message.body.len() as u64,
            body: shown.then(|| message.body.clone()),
        }
    }

    /// Whether its message has gone to the dead-letter queue.
    pub const fn is_given_up(&self) -> bool {
        self.receives >= RECEIVES_MAX
    }
}

impl Record for FailedEvent {
    const COLLECTION: Collection = Collection::FailedEvents;

    fn expires_at(&self) -> Option<Timestamp> {
        self.last_failed_at.checked_add(FAILED_EVENT_TTL).ok()
    }
}

#[cfg(test)]
mod tests;
