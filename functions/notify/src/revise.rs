//! Cancel, edit and retract a notification.
//!
//! A change is stored first, then a sweep is enqueued ([`Acceptor::sweep`](herald::acceptance::Acceptor::sweep)). If it cannot be
//! the response is 503, and a repetition of the request enqueues it.

use std::time::Duration;

use herald::acceptance::{ReviseError, Revision};
use herald::backend::Backend;
use herald::delivery::{Outcome, State as RowState};
use herald::event::{Event, Events};
use herald::id::NotificationId;
use herald::notification::request::replacement;
use herald::notification::{Content, Notification, State};
use herald::problem::{Fault, Problem};
use herald::queue::{Plan, Queue, Task};
use herald::store::Notifications;
use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;

use crate::Context;
use crate::plan_pages::{self, Position, ScanLimits};
use crate::request::document;
use crate::response::{ApiError, json};
use crate::status::{Counts, not_found};
use herald::audit::AuditAction;

/// How far a cancellation scans for deliveries that ended in open chunks. About a thousand requests are under way at once.
const SCAN_LIMITS: ScanLimits = ScanLimits { open: 12, pages: 60 };

/// The response to a cancellation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cancellation<'a> {
    id: &'a NotificationId,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_at: Option<Timestamp>,
    /// Deliveries that were sent at least; requests under way may add more.
    already_out: u64,
    counts: Counts,
}

/// The response to an edit or retraction.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageChange<'a> {
    id: &'a NotificationId,
    revision: u32,
    status_url: String,
}

impl<B: Backend> Context<B> {
    /// `POST /api/notifications/{id}/cancel`
    pub(crate) async fn cancel(&self, id: &str, caller: &str) -> Result<Response<Body>, ApiError> {
        let notification = self.find_changeable(id, caller, AuditAction::Cancel).await?;
        // A completed notification has nothing left to cancel.
        if notification.state() == State::Completed {
            return self.cancellation(&notification).await;
        }
        let cancelled = self
            .notifications
            .cancel(&notification.id, self.clock.now())
            .await?;
        let notification = cancelled.ok_or_else(not_found)?;
        // It may have been confirmed a moment ago.
        require_unconfirmed(&notification)?;
        AuditAction::Cancel.of_notification(caller, &notification.id, Some(notification.open()));
        let swept = self.acceptor().reviser().sweep(&notification).await;
        swept.map_err(|error| ApiError::from(error).after_a_change())?;
        self.plan_now(&notification)
            .await
            .map_err(ApiError::after_a_change)?;
        // Repeated requests publish the first cancellation again, under the same event id.
        if let Some(at) = notification.cancelled_at {
            let published = self
                .events
                .publish(vec![Event::cancelled(&notification, at)])
                .await;
            published.map_err(|error| ApiError::from(error).after_a_change())?;
        }
        self.cancellation(&notification)
            .await
            .map_err(ApiError::after_a_change)
    }

    async fn cancellation(&self, notification: &Notification) -> Result<Response<Body>, ApiError> {
        let scan = plan_pages::open(
            &self.notifications,
            &self.ledger,
            notification,
            Position::default(),
            SCAN_LIMITS,
        )
        .await?;
        let rows = scan.open.iter().flat_map(|open| open.rows.iter().flatten());
        let delivered = rows.filter(|row| matches!(row.state, RowState::Settled(Outcome::Delivered(_))));
        let cancellation = Cancellation {
            id: &notification.id,
            state: notification.state(),
            cancelled_at: notification.cancelled_at,
            already_out: notification.counts.delivered + delivered.count() as u64,
            counts: Counts::of(notification),
        };
        Ok(json(StatusCode::OK, &cancellation))
    }

    /// `PUT /api/notifications/{id}/message`
    pub(crate) async fn edit(
        &self,
        id: &str,
        request: &Request,
        caller: &str,
    ) -> Result<Response<Body>, ApiError> {
        let document = document(request)?;
        let document = self.acceptor().with_template(&document).await?.into_owned();
        let message = replacement(document).map_err(Problem::invalid)?;
        let notification = self.find_changeable(id, caller, AuditAction::Edit).await?;
        let content = Content::Message(Box::new(message));
        self.revise(&notification, &content, caller, AuditAction::Edit)
            .await
    }

    /// `DELETE /api/notifications/{id}/message`
    pub(crate) async fn retract(&self, id: &str, caller: &str) -> Result<Response<Body>, ApiError> {
        let notification = self.find_changeable(id, caller, AuditAction::Retract).await?;
        self.revise(&notification, &Content::Nothing, caller, AuditAction::Retract)
            .await
    }

    async fn revise(
        &self,
        notification: &Notification,
        content: &Content,
        caller: &str,
        action: AuditAction,
    ) -> Result<Response<Body>, ApiError> {
        let revision = self.acceptor().reviser().revise(notification, content).await?;
        let notification = revision.notification();
        if let Revision::New(_) = revision {
            action.of_notification(caller, &notification.id, Some(notification.audience));
        }
        let change = MessageChange {
            id: &notification.id,
            revision: notification.revision,
            status_url: format!("/api/notifications/{}", notification.id),
        };
        Ok(json(StatusCode::ACCEPTED, &change))
    }

    /// The notification with this id, if the caller may change it: its own, or any if the caller is an operator. A plan that was
    /// confirmed is changed as the notification that it is sent as.
    pub(crate) async fn find_changeable(
        &self,
        id: &str,
        caller: &str,
        action: AuditAction,
    ) -> Result<Notification, ApiError> {
        let notification = self.find(id).await?;
        self.require_own("notification", &notification.caller, caller)
            .inspect_err(|_| action.refused(caller, &notification.id))?;
        require_unconfirmed(&notification)?;
        Ok(notification)
    }

    /// Wakes the planner for a notification that waits for `deliverAt`, so that it ends now.
    async fn plan_now(&self, notification: &Notification) -> Result<(), ApiError> {
        let waits_for_time = notification
            .deliver_at
            .is_some_and(|moment| moment > self.clock.now())
            && notification.parts_planned < notification.parts;
        if !waits_for_time || notification.is_held() {
            return Ok(());
        }
        let plan = Plan::whole(notification.id.clone(), Task::Plan).message(Duration::ZERO);
        Ok(self.plans.send(vec![plan]).await?)
    }
}

impl From<ReviseError> for ApiError {
    fn from(error: ReviseError) -> Self {
        match error {
            ReviseError::NotFound => not_found(),
            ReviseError::Batch => Self::conflict(
                "This notification goes by Teams' batch API, whose copies can be neither edited nor deleted. What is not sent yet can be cancelled.",
            ),
            ReviseError::Confirmed(sent_as) => confirmed(&sent_as),
            ReviseError::Retracted => Self::conflict(
                "This notification was retracted: its copies are deleted, for good. Ask for a new one.",
            ),
            ReviseError::Unrenderable(error) => {
                let detail = format!("makes no message of this data: {error}");
                Problem::invalid(vec![Fault::new("#/message", detail)]).into()
            }
            ReviseError::Store(error) => error.into(),
            ReviseError::Queue(error) => Self::from(error).after_a_change(),
        }
    }
}

/// Refuses changes of a plan that is sent as another notification: they would change nothing that is sent.
fn require_unconfirmed(notification: &Notification) -> Result<(), ApiError> {
    let sent_as = notification.confirmed_as.as_ref();
    sent_as.map_or(Ok(()), |sent_as| Err(confirmed(sent_as)))
}

fn confirmed(sent_as: &NotificationId) -> ApiError {
    ApiError::conflict(format!(
        "This plan was confirmed: its message is sent as {sent_as}. Change that notification."
    ))
}
