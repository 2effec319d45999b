//! `GET /api/notifications/{id}`: state and counts.

use herald::backend::Backend;
use herald::delivery::{Guarantee, OutcomeCounts};
use herald::id::NotificationId;
use herald::notification::{Notification, RevisionCounts, SendMode, StartPolicy, State, Unreachable};
use herald::store::Notifications;
use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::Context;
use crate::response::{ApiError, json};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    id: &'a NotificationId,
    state: State,
    accepted_at: Timestamp,
    caller: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a str>,
    #[serde(rename = "guarantee")]
    guarantee: Guarantee,
    #[serde(rename = "sendMode")]
    send_mode: SendMode,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_at: Option<Timestamp>,
    expires_at: Timestamp,
    revision: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    revised: Option<Revised>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<Timestamp>,
    counts: Counts,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    held: Option<Held<'a>>,
}

/// `audience` is the sum of all the others.
#[derive(Debug, Serialize)]
pub(crate) struct Counts {
    audience: u64,
    open: u64,
    #[serde(flatten)]
    ended: OutcomeCounts,
}

impl Counts {
    pub(crate) fn of(notification: &Notification) -> Self {
        Self {
            audience: notification.audience,
            open: notification.open(),
            ended: notification.ended(),
        }
    }
}

/// Progress of an edit or retraction.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Revised {
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    retracted: bool,
    copies: RevisionCounts,
    /// Chunks whose copies show the current revision.
    chunks_current: u64,
    chunks: u64,
}

/// The fields of a held notification.
#[derive(Debug, Serialize)]
struct Held<'a> {
    /// The value of `confirm` in the request that sends it.
    confirm: &'a NotificationId,
    unreachable: Unreachable,
    /// The largest audience that is sent to without a confirmation.
    #[serde(skip_serializing_if = "Option::is_none")]
    largest: Option<u64>,
    why: String,
}

impl<'a> Held<'a> {
    fn of(notification: &'a Notification) -> Option<Self> {
        if notification.state() != State::Held {
            return None;
        }
        let largest = largest(notification);
        let why = match largest {
            Some(largest) => format!(
                "Its audience of {} is larger than {largest}, so nothing is sent. To send it, repeat the request with this `confirm`.",
                notification.audience
            ),
            None => "It is a dry run, so nothing is sent. To send it, repeat the request without `dryRun` and with this `confirm`."
                .to_owned(),
        };
        Some(Self {
            confirm: &notification.id,
            unreachable: notification.unreachable,
            largest,
            why,
        })
    }
}

/// The largest audience that is sent to, of a notification that is counted first.
pub(crate) fn largest(notification: &Notification) -> Option<u64> {
    match notification.start {
        StartPolicy::AfterCount { at_most } => Some(at_most),
        StartPolicy::Immediate | StartPolicy::DryRun => None,
    }
}

impl<'a> Status<'a> {
    fn of(notification: &'a Notification) -> Self {
        let revised = (notification.revision > 0).then_some(Revised {
            at: notification.revised_at,
            retracted: notification.retracted,
            copies: notification.revision_counts,
            chunks_current: notification.chunks_current,
            chunks: notification.chunks,
        });
        Self {
            id: &notification.id,
            state: notification.state(),
            accepted_at: notification.accepted_at,
            caller: &notification.caller,
            category: notification.category.as_deref(),
            guarantee: notification.guarantee,
            send_mode: notification.send_mode,
            deliver_at: notification.deliver_at,
            expires_at: notification.expires_at,
            revision: notification.revision,
            revised,
            cancelled_at: notification.cancelled_at,
            completed_at: notification.completed_at,
            counts: Counts::of(notification),
            held: Held::of(notification),
        }
    }
}

impl<B: Backend> Context<B> {
    pub(crate) async fn find(&self, id: &str) -> Result<Notification, ApiError> {
        let id = notification_id(id)?;
        self.notifications.find(&id).await?.ok_or_else(not_found)
    }

    /// `GET /api/notifications/{id}`
    pub(crate) async fn status(&self, id: &str) -> Result<Response<Body>, ApiError> {
        let notification = self.find(id).await?;
        Ok(json(StatusCode::OK, &Status::of(&notification)))
    }
}

/// The id in a path.
pub(crate) fn notification_id(id: &str) -> Result<NotificationId, ApiError> {
    id.parse().map_err(|_| not_found())
}

pub(crate) fn not_found() -> ApiError {
    ApiError::not_found("No notification has this id.")
}
