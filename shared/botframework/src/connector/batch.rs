//! Teams' batch API: one message to many, sent by Teams itself.
//!
//! A request has the message and the recipients. Teams answers with an operation, which runs for minutes or hours; it
//! can be polled and cancelled, and its failures can be listed. The messages that it has sent cannot be updated or
//! deleted, because Teams does not return their ids.
//!
//! The longest list is not published. A hundred a request is commonly quoted, Microsoft's samples send to five:
//! UNVERIFIED both, so this client limits no list. The same goes for the number of concurrent operations; too many are
//! [`Reason::Throttled`](super::Reason::Throttled).

mod progress;

use bytes::Bytes;
use http::Method;
use serde::Serialize;
use serde_json::Value;

pub use self::progress::{FailedEntries, FailedEntry, OperationPhase, OperationProgress};

use self::progress::MissingField;
use super::{Connector, Error, Success, json};
use crate::http::{Body, BodyLimit, BoxError, Part};
use crate::id::{ConversationId, MAX_ID_BYTES, OperationId, TeamId, TenantId, UserRef};
use crate::outgoing::OutgoingActivity;

/// Teams accepted a message for many recipients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchReceipt {
    /// The operation that sends it. Absent when the body of the success was lost or unreadable: the message is accepted,
    /// and must not be sent again, but its progress cannot be queried.
    pub operation: Option<OperationId>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a, A> {
    activity: &'a A,
    tenant_id: &'a TenantId,
    #[serde(skip_serializing_if = "Option::is_none")]
    team_id: Option<&'a TeamId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<Member<'a>>>,
}

#[derive(Serialize)]
struct Member<'a> {
    id: &'a str,
}

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
        tenant: &TenantId,
        users: &[UserRef],
        activity: &impl OutgoingActivity,
    ) -> Result<BatchReceipt, Error> {
        let users = users.iter().map(UserRef::as_str).collect();
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
        tenant: &TenantId,
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
        tenant: &TenantId,
        team: &TeamId,
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
        tenant: &TenantId,
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
            .request_within(
                service_url,
                Method::GET,
                &parts,
                &query,
                Bytes::new(),
                BodyLimit::PAGE,
            )
            .await?;
        if success.body == Body::TooLarge {
            return Err(success.unusable("AnswerTooLarge"));
        }
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
        tenant: &TenantId,
        team: Option<&TeamId>,
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
        let document: Value = self.body.json().map_err(|error| unreadable(error.into()))?;
        read(&document).map_err(|error| unreadable(error.into()))
    }
}

/// The operation's id: a bare string, or in an object.
fn operation_id(body: &Body) -> Option<OperationId> {
    let Body::Complete(bytes) = body else { return None };
    let id = match crate::json::from_slice(bytes).ok()? {
        Value::String(id) => id,
        document => document.get("operationId")?.as_str()?.to_owned(),
    };
    Some(OperationId::from(id)).filter(|id| !id.is_empty() && id.as_str().len() <= MAX_ID_BYTES)
}

fn operation_path(operation: &OperationId) -> [Part<'_>; 2] {
    [Part::Fixed("v3/batch/conversation"), Part::Id(operation.as_str())]
}

#[cfg(test)]
mod tests;
