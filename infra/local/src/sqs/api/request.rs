//! The supported requests of SQS's JSON protocol.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::{ServiceError, invalid_value};
use crate::sqs::message::{Attribute, Message};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    /// The id of an entry in a batch; absent for a single message.
    #[serde(default)]
    pub(super) id: String,
    pub(super) message_body: String,
    pub(super) delay_seconds: Option<u64>,
    #[serde(default)]
    pub(super) message_attributes: BTreeMap<String, Attribute>,
    pub(super) message_group_id: Option<String>,
}

impl Entry {
    pub(super) fn checked(self) -> Result<(Message, Option<Duration>), ServiceError> {
        let delay = self.delay_seconds;
        if let Some(delay) = delay.filter(|delay| *delay > 900) {
            return Err(invalid_value(format!(
                "Value {delay} for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900."
            )));
        }
        if self.message_body.is_empty() {
            return Err(ServiceError::new(
                "MissingRequiredParameterException",
                "The request must contain the parameter MessageBody.",
            ));
        }
        Ok((self.message(), delay.map(Duration::from_secs)))
    }

    pub(super) fn message(&self) -> Message {
        Message {
            body: self.message_body.clone(),
            attributes: self.message_attributes.clone(),
            group: self.message_group_id.clone(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SendMessageBatch {
    pub(super) queue_url: String,
    pub(super) entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReceiveMessage {
    pub(super) queue_url: String,
    pub(super) max_number_of_messages: Option<usize>,
    pub(super) visibility_timeout: Option<u64>,
    pub(super) wait_time_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteMessage {
    pub(super) queue_url: String,
    pub(super) receipt_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ChangeMessageVisibility {
    pub(super) queue_url: String,
    pub(super) receipt_handle: String,
    /// In seconds.
    pub(super) visibility_timeout: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfQueue {
    pub(super) queue_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetQueueUrl {
    pub(super) queue_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StartMessageMoveTask {
    pub(super) source_arn: String,
    pub(super) destination_arn: Option<String>,
}
