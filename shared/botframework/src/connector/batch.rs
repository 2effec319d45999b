//! Teams' batch API: one message to many, sent by Teams itself.
//!
//! A request names the message and whom it is for, and Teams answers with an operation, which goes on for minutes or
//! hours. It can be asked for, its failures are listed, and it can be cancelled. What it has sent cannot be changed or
//! deleted later: the ids of the messages are told to nobody.
//!
//! How many may stand in a list is not published where we could read it. A hundred a request is commonly quoted, the
//! samples of Microsoft send to five: UNVERIFIED both, so nothing here cuts or refuses a list, and the caller chooses.
//! The same goes for how many operations may run at once; too many are [`Reason::Throttled`].

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::creation::Person;
use super::error::{Class, Error, Reason, classify};
use super::{Connector, Success, json};
use crate::http::{Body, BoxError, ErrorBody, Part};
use crate::id::{ConversationId, OperationId};
use crate::outgoing::OutgoingActivity;

/// Teams accepted a message for many recipients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchReceipt {
    /// The operation that sends it. Absent when the body of the success was lost or unreadable: the message is accepted,
    /// and must not be sent again, but its progress cannot be queried.
    pub operation: Option<OperationId>,
}

/// The progress of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationProgress {
    /// Teams' state, such as `Completed`. The list of states is not published: see [`left`](Self::left).
    pub state: String,
    /// The number of people or channels, once Teams has counted them.
    pub entries: Option<u64>,
    /// The number that have the message.
    pub delivered: u64,
    /// The number of failures by reason; each reason occurs once.
    pub failed: Vec<(Reason, u64)>,
    /// The time at which Teams resumes it, if it is throttled: ISO 8601, unparsed.
    pub retry_after: Option<String>,
}

/// The phase of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationPhase {
    /// It is running. So is every operation with an unknown state.
    Running,
    /// It is complete: every recipient without a failed entry has the message.
    Completed,
    /// It ended early: a recipient without a failed entry may have the message or not.
    Stopped,
}

/// One page of the failed entries of an operation.
#[derive(Debug)]
pub struct FailedEntries {
    /// The cursor of the next page; absent on the last.
    pub continuation_token: Option<String>,
    /// The failures on this page.
    pub entries: Vec<FailedEntry>,
}

/// A recipient whom an operation did not reach.
#[derive(Debug)]
pub struct FailedEntry {
    /// The id in the request, or the id of a member. Empty when Teams names none.
    pub id: String,
    /// The class is about this entry alone: with [`Class::NotSent`] it may be sent to individually.
    pub error: Error,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a, A> {
    activity: &'a A,
    tenant_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    team_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<Member<'a>>>,
}

#[derive(Serialize)]
struct Member<'a> {
    id: &'a str,
}

/// A response without a required field.
#[derive(Debug, thiserror::Error)]
#[error("response about a batch operation has no readable {0:?}")]
struct MissingField(&'static str);

impl Connector {
    /// Starts sending an activity to these people of a tenant, each in their own conversation with the bot.
    ///
    /// Not safe to repeat: each request starts another operation. See the module for the length of the list.
    ///
    /// # Errors
    /// See [`Error::class`]. A success whose body was lost is not an error: the receipt has no operation.
    pub async fn send_to_users(
        &self,
        service_url: &str,
        tenant: &str,
        users: &[Person<'_>],
        activity: &impl OutgoingActivity,
    ) -> Result<BatchReceipt, Error> {
        let users = users.iter().map(Person::as_str).collect();
        self.begin(
            service_url,
            "v3/batch/conversation/users",
            activity,
            tenant,
            None,
            Some(users),
        )
        .await
    }

    /// Starts sending an activity to everyone in a tenant for whom the bot is installed.
    ///
    /// Not safe to repeat: each request starts another operation.
    ///
    /// # Errors
    /// As [`send_to_users`](Self::send_to_users).
    pub async fn send_to_tenant(
        &self,
        service_url: &str,
        tenant: &str,
        activity: &impl OutgoingActivity,
    ) -> Result<BatchReceipt, Error> {
        self.begin(
            service_url,
            "v3/batch/conversation/tenant",
            activity,
            tenant,
            None,
            None,
        )
        .await
    }

    /// Starts sending an activity to the members of a team, each in their own conversation with the bot.
    ///
    /// Not safe to repeat: each request starts another operation.
    ///
    /// # Errors
    /// As [`send_to_users`](Self::send_to_users).
    pub async fn send_to_team(
        &self,
        service_url: &str,
        tenant: &str,
        team: &str,
        activity: &impl OutgoingActivity,
    ) -> Result<BatchReceipt, Error> {
        self.begin(
            service_url,
            "v3/batch/conversation/team",
            activity,
            tenant,
            Some(team),
            None,
        )
        .await
    }

    /// Starts sending an activity to these channels of a tenant, as a new thread in each.
    ///
    /// Not safe to repeat: each request starts another operation. See the module for the length of the list.
    ///
    /// # Errors
    /// As [`send_to_users`](Self::send_to_users).
    pub async fn send_to_channels(
        &self,
        service_url: &str,
        tenant: &str,
        channels: &[ConversationId],
        activity: &impl OutgoingActivity,
    ) -> Result<BatchReceipt, Error> {
        let channels = channels.iter().map(ConversationId::as_str).collect();
        self.begin(
            service_url,
            "v3/batch/conversation/channels",
            activity,
            tenant,
            None,
            Some(channels),
        )
        .await
    }

    /// Reads the progress of an operation.
    ///
    /// # Errors
    /// See [`Error::class`]; an unreadable response is `Ambiguous`. Safe to repeat.
    pub async fn operation(
        &self,
        service_url: &str,
        operation: &OperationId,
    ) -> Result<OperationProgress, Error> {
        let parts = operation_path(operation);
        let success = self
            .request(service_url, Method::GET, &parts, &[], Bytes::new())
            .await?;
        success.parse_with(OperationProgress::read)
    }

    /// Reads one page of the failed entries of an operation.
    ///
    /// # Errors
    /// See [`Error::class`]; an unreadable page is `Ambiguous`. Safe to repeat.
    pub async fn failed_entries(
        &self,
        service_url: &str,
        operation: &OperationId,
        continuation_token: Option<&str>,
    ) -> Result<FailedEntries, Error> {
        let parts = [
            Part::Fixed("v3/batch/conversation/failedentries"),
            Part::Id(operation.as_str()),
        ];
        let query = [("continuationToken", continuation_token)];
        let success = self
            .request(service_url, Method::GET, &parts, &query, Bytes::new())
            .await?;
        success.parse_with(FailedEntries::read)
    }

    /// Cancels an operation. Messages that are delivered by then stay. Safe to repeat.
    ///
    /// # Errors
    /// See [`Error::class`].
    pub async fn cancel_operation(&self, service_url: &str, operation: &OperationId) -> Result<(), Error> {
        let parts = operation_path(operation);
        self.request(service_url, Method::DELETE, &parts, &[], Bytes::new())
            .await?;
        Ok(())
    }

    async fn begin(
        &self,
        service_url: &str,
        path: &'static str,
        activity: &impl OutgoingActivity,
        tenant: &str,
        team: Option<&str>,
        members: Option<Vec<&str>>,
    ) -> Result<BatchReceipt, Error> {
        let members = members.map(|ids| ids.into_iter().map(|id| Member { id }).collect());
        let message = Message {
            activity,
            tenant_id: tenant,
            team_id: team,
            members,
        };
        let success = self
            .request(
                service_url,
                Method::POST,
                &[Part::Fixed(path)],
                &[],
                json(&message)?,
            )
            .await?;
        Ok(BatchReceipt {
            operation: operation_id(&success.body),
        })
    }
}

impl Success {
    fn parse_with<T>(&self, read: impl FnOnce(&Value) -> Result<T, MissingField>) -> Result<T, Error> {
        let unreadable = |error: BoxError| Error::unreadable(self.status, &self.headers, error);
        let document: Value = self.read().map_err(|error| unreadable(error.into()))?;
        read(&document).map_err(|error| unreadable(error.into()))
    }
}

impl OperationProgress {
    /// The number without an outcome, once Teams has counted them. At 0 the operation is complete.
    pub fn left(&self) -> Option<u64> {
        let failed = self.failed.iter().map(|(_, count)| count);
        let settled = failed.fold(self.delivered, |sum, count| sum.saturating_add(*count));
        self.entries.map(|entries| entries.saturating_sub(settled))
    }

    /// The phase, by the state and the counts.
    ///
    /// The list of states is not published. `Completed` and `Ongoing` are documented by samples; of the others, those that
    /// begin with `cancel` or `fail` are recognised. In any state the operation is complete when every recipient was
    /// reached or failed for good: Teams may retry throttled ones.
    pub fn phase(&self) -> OperationPhase {
        // An operation that has not started may have no counts yet.
        let has_counted = self.left() == Some(0) && self.entries.is_some_and(|entries| entries > 0);
        let is_final = |(reason, count): &(Reason, u64)| {
            let refused = matches!(reason.class(), Class::Rejected | Class::Gone);
            refused || *count == 0
        };
        let word = self.state.to_ascii_lowercase();
        let is_stopped = (word.starts_with("cancel") || word.starts_with("fail")) && !word.ends_with("ing");
        if word == "completed" || is_stopped && has_counted {
            OperationPhase::Completed
        } else if is_stopped {
            OperationPhase::Stopped
        } else if has_counted && self.retry_after.is_none() && self.failed.iter().all(is_final) {
            OperationPhase::Completed
        } else {
            OperationPhase::Running
        }
    }

    fn read(document: &Value) -> Result<Self, MissingField> {
        let state = document
            .get("state")
            .and_then(Value::as_str)
            .ok_or(MissingField("state"))?;
        let mut progress = Self {
            state: state.to_owned(),
            entries: document.get("totalEntriesCount").and_then(Value::as_u64),
            delivered: 0,
            failed: Vec::new(),
            retry_after: document
                .get("retryAfter")
                .and_then(Value::as_str)
                .map(str::to_owned),
        };
        let counts = match document.get("statusMap") {
            None | Some(Value::Null) => return Ok(progress),
            Some(counts) => counts.as_object().ok_or(MissingField("statusMap"))?,
        };
        for (status, count) in counts {
            let count = count.as_u64().ok_or(MissingField("statusMap"))?;
            progress.count(status, count);
        }
        Ok(progress)
    }

    /// Adds `count` entries with this status. A text that is no status counts as a failure.
    fn count(&mut self, status: &str, count: u64) {
        let status = status.parse().ok();
        if status.is_some_and(|status| (200..300).contains(&status)) {
            self.delivered = self.delivered.saturating_add(count);
            return;
        }
        let (reason, _) = classify(&ErrorBody::default(), status);
        match self.failed.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, sum)) => *sum = sum.saturating_add(count),
            None => self.failed.push((reason, count)),
        }
    }
}

impl FailedEntries {
    /// The list has one name in the SDK for JavaScript and another in the one for .NET.
    fn read(document: &Value) -> Result<Self, MissingField> {
        let list = ["failedEntryResponses", "failedEntries"]
            .into_iter()
            .find_map(|name| document.get(name))
            .ok_or(MissingField("failedEntryResponses"))?;
        let entries = match list {
            Value::Null => Vec::new(),
            list => list
                .as_array()
                .ok_or(MissingField("failedEntryResponses"))?
                .iter()
                .map(FailedEntry::read)
                .collect(),
        };
        let token = document.get("continuationToken").and_then(Value::as_str);
        Ok(Self {
            continuation_token: token.filter(|token| !token.is_empty()).map(str::to_owned),
            entries,
        })
    }
}

impl FailedEntry {
    /// Whether the operation was cancelled before it tried this entry.
    pub fn was_cancelled(&self) -> bool {
        let texts = [self.error.code(), self.error.message()];
        let mut texts = texts.into_iter().flatten();
        texts.any(|text| text.to_ascii_lowercase().contains("cancel"))
    }

    /// The id has one name in the SDK for JavaScript and another in the one for .NET.
    fn read(entry: &Value) -> Self {
        let id = ["entryId", "id"]
            .into_iter()
            .find_map(|name| entry.get(name)?.as_str());
        let (status, body) = entry.get("error").map(ErrorBody::from_error).unwrap_or_default();
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        Self {
            id: id.unwrap_or_default().to_owned(),
            error: Error::from_entry(status, body),
        }
    }
}

/// The operation's id: a bare string, or in an object.
fn operation_id(body: &Body) -> Option<OperationId> {
    let Body::Complete(bytes) = body else { return None };
    let id = match serde_json::from_slice(bytes).ok()? {
        Value::String(id) => id,
        document => document.get("operationId")?.as_str()?.to_owned(),
    };
    Some(OperationId::from(id)).filter(|id| !id.is_empty())
}

fn operation_path(operation: &OperationId) -> [Part<'_>; 2] {
    [Part::Fixed("v3/batch/conversation"), Part::Id(operation.as_str())]
}

#[cfg(test)]
mod tests;
