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

/// Teams took a message for many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchReceipt {
    /// The operation that sends it. Absent when the answer was lost or could not be read after the success was known:
    /// a success still, never a reason to send again, but nobody can ask what became of it.
    pub operation: Option<OperationId>,
}

/// How far an operation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationProgress {
    /// Teams' word for it, such as `Completed`. No list of these words is published: see [`left`](Self::left).
    pub state: String,
    /// How many people or channels it is for, once Teams has counted them.
    pub entries: Option<u64>,
    /// How many of them have the message.
    pub delivered: u64,
    /// How many have not, by the reason; each reason stands here once.
    pub failed: Vec<(Reason, u64)>,
    /// When Teams goes on with it, if it has to wait: ISO 8601, as it came.
    pub retry_after: Option<String>,
}

/// Whether an operation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationPhase {
    /// It does, as far as Teams tells: so does every word for a state that we do not know.
    Running,
    /// It is over: whoever is not among its failed entries has the message.
    Completed,
    /// It ended before it was through: whoever is not among its failed entries may have the message or not.
    Stopped,
}

/// One page of those whom an operation did not reach.
#[derive(Debug)]
pub struct FailedEntries {
    /// What to ask the next page with; absent on the last.
    pub continuation_token: Option<String>,
    /// The failures on this page.
    pub entries: Vec<FailedEntry>,
}

/// Somebody whom an operation did not reach.
#[derive(Debug)]
pub struct FailedEntry {
    /// The id that stood in the request, or a member's. Empty when Teams tells none.
    pub id: String,
    /// Why. The class is about this entry: what is not sent may be sent to it in another way.
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

/// An answer that lacks what is needed of it.
#[derive(Debug, thiserror::Error)]
#[error("answer about a batch operation has no readable {0:?}")]
struct Lacking(&'static str);

impl Connector {
    /// Begins sending an activity to these people of a tenant, each in their own conversation with the bot.
    ///
    /// Not safe to repeat: each request is another operation. See the module for the length of the list.
    ///
    /// # Errors
    /// See [`Error::class`]. A success whose answer was lost is none: it comes back without an operation.
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

    /// Begins sending an activity to everyone in a tenant for whom the bot is installed.
    ///
    /// Not safe to repeat: each request is another operation.
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

    /// Begins sending an activity to the members of a team, each in their own conversation with the bot.
    ///
    /// Not safe to repeat: each request is another operation.
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

    /// Begins sending an activity to these channels of a tenant, as a new thread in each.
    ///
    /// Not safe to repeat: each request is another operation. See the module for the length of the list.
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

    /// How far an operation is.
    ///
    /// # Errors
    /// See [`Error::class`]; an answer that cannot be read is `Unknown`, and asking again is safe.
    pub async fn operation(
        &self,
        service_url: &str,
        operation: &OperationId,
    ) -> Result<OperationProgress, Error> {
        let parts = operation_path(operation);
        let success = self
            .request(service_url, Method::GET, &parts, &[], Bytes::new())
            .await?;
        success.understand(OperationProgress::read)
    }

    /// One page of those whom an operation has not reached so far.
    ///
    /// # Errors
    /// See [`Error::class`]; a page that cannot be read is `Unknown`, and asking again is safe.
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
        success.understand(FailedEntries::read)
    }

    /// Ends an operation. Whom it has reached by then keeps the message. Safe to repeat.
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
    fn understand<T>(&self, read: impl FnOnce(&Value) -> Result<T, Lacking>) -> Result<T, Error> {
        let unreadable = |error: BoxError| Error::unreadable(self.status, &self.headers, error);
        let document: Value = self.read().map_err(|error| unreadable(error.into()))?;
        read(&document).map_err(|error| unreadable(error.into()))
    }
}

impl OperationProgress {
    /// How many have no outcome yet, once Teams has counted them: with none left the operation is over.
    pub fn left(&self) -> Option<u64> {
        let failed = self.failed.iter().map(|(_, count)| count);
        let settled = failed.fold(self.delivered, |sum, count| sum.saturating_add(*count));
        self.entries.map(|entries| entries.saturating_sub(settled))
    }

    /// Whether it goes on, as far as its word and its counts tell.
    ///
    /// No list of the words is published. `Completed` and `Ongoing` are on record; of the others those are understood that say
    /// in English that something failed or was cancelled. Whatever the word, it is over when everybody was reached or refused
    /// for good: who was throttled, Teams may try again.
    pub fn phase(&self) -> OperationPhase {
        // An operation that has not begun may have counted nobody yet.
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

    fn read(document: &Value) -> Result<Self, Lacking> {
        let state = document
            .get("state")
            .and_then(Value::as_str)
            .ok_or(Lacking("state"))?;
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
            Some(counts) => counts.as_object().ok_or(Lacking("statusMap"))?,
        };
        for (status, count) in counts {
            let count = count.as_u64().ok_or(Lacking("statusMap"))?;
            progress.count(status, count);
        }
        Ok(progress)
    }

    /// Counts entries with this status. One that is no status is a failure of whatever kind.
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
    fn read(document: &Value) -> Result<Self, Lacking> {
        let list = ["failedEntryResponses", "failedEntries"]
            .into_iter()
            .find_map(|name| document.get(name))
            .ok_or(Lacking("failedEntryResponses"))?;
        let entries = match list {
            Value::Null => Vec::new(),
            list => list
                .as_array()
                .ok_or(Lacking("failedEntryResponses"))?
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
    /// Whether nothing was tried for it, because the operation was cancelled first.
    pub fn was_cancelled(&self) -> bool {
        let said = [self.error.code(), self.error.message()];
        let mut said = said.into_iter().flatten();
        said.any(|said| said.to_ascii_lowercase().contains("cancel"))
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
