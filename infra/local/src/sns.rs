//! SNS over HTTP: `Publish` to the topics of the template, whose subscriptions send the message to queues.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::CONTENT_TYPE};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::{
    clock,
    service_api::ServiceError,
    sqs::{Broker, Message},
    template::{Stack, Subscription, TopicDelivery},
};

/// The largest message, in bytes.
const MESSAGE_BYTES: usize = 256 * 1024;
/// The longest subject, in characters.
const SUBJECT_CHARS: usize = 100;

/// The topics as an HTTP service.
pub(crate) fn router(broker: Broker, stack: &Stack) -> Router {
    let topics = Topics {
        known: stack.topics.iter().map(|topic| topic.arn.clone()).collect(),
        subscriptions: stack.subscriptions.clone().into(),
        broker,
    };
    Router::new()
        .fallback(answer)
        // A byte may take three characters of the form.
        .layer(DefaultBodyLimit::max(4 * MESSAGE_BYTES))
        .with_state(topics)
}

#[derive(Clone, Debug)]
struct Topics {
    known: Arc<[String]>,
    subscriptions: Arc<[Subscription]>,
    broker: Broker,
}

async fn answer(State(topics): State<Topics>, body: Bytes) -> Response {
    let (status, xml) = match topics.perform(&body) {
        Ok(id) => (
            StatusCode::OK,
            format!(
                "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishResult><MessageId>{id}</MessageId></PublishResult>{}</PublishResponse>",
                metadata()
            ),
        ),
        Err(error) => (
            error.status,
            format!(
                "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Sender</Type><Code>{}</Code><Message>{}</Message></Error>{}</ErrorResponse>",
                error.code,
                escaped(&error.message),
                metadata()
            ),
        ),
    };
    (status, [(CONTENT_TYPE, "text/xml")], xml).into_response()
}

fn metadata() -> String {
    let id = uuid::Uuid::new_v4();
    format!("<ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::new("InvalidParameter", message)
}

impl Topics {
    /// Performs a request of the query protocol, and returns the id of the published message.
    fn perform(&self, body: &[u8]) -> Result<String, ServiceError> {
        let form = form(body)?;
        let value = |name: &str| form.get(name).map(String::as_str);
        match value("Action") {
            Some("Publish") => {}
            other => {
                let action = other.unwrap_or_default();
                let message = format!("the local host does not support {action:?}");
                return Err(ServiceError::new("InvalidAction", message));
            }
        }
        let topic = value("TopicArn").or(value("TargetArn")).unwrap_or_default();
        let message = value("Message").filter(|message| !message.is_empty());
        let message = message.ok_or_else(|| invalid("Invalid parameter: Empty message"))?;
        if message.len() > MESSAGE_BYTES {
            return Err(invalid("Invalid parameter: Message too long"));
        }
        let subject = value("Subject");
        if subject.is_some_and(|subject| subject.is_empty() || subject.chars().count() > SUBJECT_CHARS) {
            return Err(invalid("Invalid parameter: Subject"));
        }
        if !self.known.iter().any(|known| known == topic) {
            let missing = ServiceError::new("NotFound", "Topic does not exist");
            return Err(missing.with_status(StatusCode::NOT_FOUND));
        }
        self.publish(topic, subject, message, &attributes(&form))
    }

    fn publish(
        &self,
        topic: &str,
        subject: Option<&str>,
        message: &str,
        attributes: &Value,
    ) -> Result<String, ServiceError> {
        let id = uuid::Uuid::new_v4().to_string();
        let mut envelope = json!({
            "Type": "Notification", "MessageId": id, "TopicArn": topic, "Message": message,
            "Timestamp": format!("{:.3}", clock::now()), "SignatureVersion": "1",
        });
        if let Some(subject) = subject {
            envelope["Subject"] = subject.into();
        }
        if attributes
            .as_object()
            .is_some_and(|attributes| !attributes.is_empty())
        {
            envelope["MessageAttributes"] = attributes.clone();
        }
        for subscription in self
            .subscriptions
            .iter()
            .filter(|subscription| subscription.topic == topic)
        {
            let body = match subscription.delivery {
                TopicDelivery::Envelope => envelope.to_string(),
                TopicDelivery::Raw => message.to_owned(),
            };
            let message = Message {
                body,
                ..Message::default()
            };
            self.broker.send(&subscription.queue, message, None)?;
        }
        Ok(id)
    }
}

/// The fields of a form.
fn form(body: &[u8]) -> Result<BTreeMap<String, String>, ServiceError> {
    let malformed = || ServiceError::new("MalformedQueryString", "the request is not a form in UTF-8");
    let text = std::str::from_utf8(body).map_err(|_| malformed())?;
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        let text = percent_decode_str(&text).decode_utf8();
        text.map(std::borrow::Cow::into_owned).map_err(|_| malformed())
    };
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect()
}

/// The message attributes of a form, which numbers them from 1, as SNS's envelope has them.
fn attributes(form: &BTreeMap<String, String>) -> Value {
    let numbered = (1..).map_while(|number| {
        let field = |name: &str| form.get(&format!("MessageAttributes.entry.{number}.{name}"));
        let value = field("Value.StringValue").or(field("Value.BinaryValue"));
        let attribute = json!({"Type": field("Value.DataType"), "Value": value});
        Some((field("Name")?.clone(), attribute))
    });
    Value::Object(numbered.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Events, template::tests::deployed};

    const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:Alarms";

    fn topics() -> Topics {
        let stack = deployed(
            "
Resources:
  Q: {Type: AWS::SQS::Queue}
  R: {Type: AWS::SQS::Queue}
  Alarms: {Type: AWS::SNS::Topic}
  S: {Type: AWS::SNS::Subscription, Properties: {Protocol: sqs, TopicArn: !Ref Alarms, Endpoint: !GetAtt Q.Arn}}
  T:
    Type: AWS::SNS::Subscription
    Properties: {Protocol: sqs, TopicArn: !Ref Alarms, Endpoint: !GetAtt R.Arn, RawMessageDelivery: true}
",
        )
        .unwrap();
        Topics {
            known: stack.topics.iter().map(|topic| topic.arn.clone()).collect(),
            subscriptions: stack.subscriptions.clone().into(),
            broker: Broker::new(&stack, Events::default()),
        }
    }

    #[tokio::test]
    async fn a_message_goes_to_every_queue_that_is_subscribed() {
        let topics = topics();
        let form = format!(
            "Action=Publish&Version=2010-03-31&TopicArn={TOPIC}&Subject=a+b&Message=100%25+full&MessageAttributes.entry.1.Name=team&MessageAttributes.entry.1.Value.DataType=String&MessageAttributes.entry.1.Value.StringValue=ops"
        );
        let id = topics.perform(form.as_bytes()).unwrap();
        let body = |queue: &str| {
            topics
                .broker
                .receive(queue, 1, None)
                .unwrap()
                .remove(0)
                .message
                .body
        };
        let envelope: Value = serde_json::from_str(&body("Q")).unwrap();
        assert_eq!(
            (&envelope["MessageId"], &envelope["TopicArn"]),
            (&json!(id), &json!(TOPIC))
        );
        assert_eq!(
            (&envelope["Subject"], &envelope["Message"]),
            (&json!("a b"), &json!("100% full"))
        );
        assert_eq!(
            envelope["MessageAttributes"],
            json!({"team": {"Type": "String", "Value": "ops"}})
        );
        assert_eq!(body("R"), "100% full");
    }

    #[tokio::test]
    async fn a_wrong_request_is_refused_by_its_own_code() {
        let topics = topics();
        let code = |form: &str| topics.perform(form.as_bytes()).unwrap_err().code;
        assert_eq!(code("Action=CreateTopic"), "InvalidAction");
        assert_eq!(code("Action=Publish&TopicArn=arn:x&Message=x"), "NotFound");
        assert_eq!(
            code(&format!("Action=Publish&TopicArn={TOPIC}&Message=")),
            "InvalidParameter"
        );
        assert_eq!(code("%ff"), "MalformedQueryString");
    }
}
