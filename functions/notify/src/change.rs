//! What can be done about a notification that was accepted: cancel it, edit it, retract it.
//!
//! Each is written first and passed on afterwards: a sweep goes through what is planned, and has senders look again. When
//! that fails the answer is 503, and the same request repeated goes on from there.

use std::time::Duration;

use herald::delivery::{Outcome, State as RowState};
use herald::event::{Event, Events};
use herald::id::NotificationId;
use herald::notification::request::replacement;
use herald::notification::{Content, Notification, SendMode, State};
use herald::problem::Problem;
use herald::queue::{Message, Plan, Queue, Task};
use herald::store::{Ledger, Notifications, Revise};
use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;

use crate::Context;
use crate::accept::document;
use crate::answer::{Refusal, json};
use crate::pages::{self, Bounds, Place};
use crate::status::{Counts, named, unknown};

/// How far a cancellation looks for deliveries that ended in chunks that have not: about a thousand are under way at
/// once.
const LOOKED_AT: Bounds = Bounds { open: 12, walked: 60 };

/// What a caller reads after a cancellation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stopped<'a> {
    id: &'a NotificationId,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_at: Option<Timestamp>,
    /// At least so many were delivered; those under way at this moment may be, too.
    already_out: u64,
    counts: Counts,
}

/// What a caller reads after a change of the message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed<'a> {
    id: &'a NotificationId,
    revision: u32,
    status_url: String,
}

impl<S: Notifications, C, L: Ledger, Q: Queue, E: Events> Context<S, C, L, Q, E> {
    /// `POST /api/notifications/{id}/cancel`
    pub(crate) async fn cancel(&self, id: &str) -> Result<Response<Body>, Refusal> {
        let notification = self.known(id).await?;
        // What is complete stays complete: there is nothing left that could be cancelled.
        if notification.state() == State::Completed {
            return self.cancelled(&notification).await;
        }
        let cancelled = self.store.cancel(&notification.id, self.clock.now()).await?;
        let notification = cancelled.ok_or_else(unknown)?;
        self.sweep(&notification).await.map_err(Refusal::after_a_change)?;
        self.plan_now(&notification)
            .await
            .map_err(Refusal::after_a_change)?;
        // Of the first cancellation, however often it is told.
        if let Some(at) = notification.cancelled_at {
            let told = self
                .events
                .publish(vec![Event::cancelled(&notification, at)])
                .await;
            told.map_err(|error| Refusal::from(error).after_a_change())?;
        }
        tracing::info!(notification = %notification.id, delivered = notification.tally.delivered, "cancelled");
        self.cancelled(&notification)
            .await
            .map_err(Refusal::after_a_change)
    }

    async fn cancelled(&self, notification: &Notification) -> Result<Response<Body>, Refusal> {
        let walk = pages::open(
            &self.store,
            &self.ledger,
            notification,
            Place::default(),
            LOOKED_AT,
        )
        .await?;
        let rows = walk.open.iter().flat_map(|open| open.rows.iter().flatten());
        let delivered = rows.filter(|row| matches!(row.state, RowState::Settled(Outcome::Delivered(_))));
        let answer = Stopped {
            id: &notification.id,
            state: notification.state(),
            cancelled_at: notification.cancelled_at,
            already_out: notification.tally.delivered + delivered.count() as u64,
            counts: Counts::of(notification),
        };
        Ok(json(StatusCode::OK, &answer))
    }

    /// `PUT /api/notifications/{id}/message`
    pub(crate) async fn edit(&self, id: &str, request: &Request) -> Result<Response<Body>, Refusal> {
        let id = named(id)?;
        let message = replacement(&document(request)?).map_err(Problem::invalid)?;
        let notification = self.store.find(&id).await?.ok_or_else(unknown)?;
        is_changeable(&notification)?;
        // A repeated request is no other edit: it would have every copy changed to what it shows already.
        if !notification.retracted && self.sends(&notification, &message).await? {
            return self.changed(&notification).await;
        }
        let content = Content::Message(Box::new(message));
        match self.store.revise(&id, &content, self.clock.now()).await? {
            Revise::Revised(notification) => self.changed(&notification).await,
            Revise::NotFound => Err(unknown()),
            Revise::Retracted => Err(Refusal::conflict(
                "This notification was retracted: its copies are deleted, for good. Ask for a new one.",
            )),
        }
    }

    /// `DELETE /api/notifications/{id}/message`
    pub(crate) async fn retract(&self, id: &str) -> Result<Response<Body>, Refusal> {
        let id = named(id)?;
        is_changeable(&self.store.find(&id).await?.ok_or_else(unknown)?)?;
        match self
            .store
            .revise(&id, &Content::Nothing, self.clock.now())
            .await?
        {
            Revise::Revised(notification) => self.changed(&notification).await,
            Revise::NotFound => Err(unknown()),
            // By an earlier request, which may not have come as far as the queue.
            Revise::Retracted => {
                let notification = self.store.find(&id).await?.ok_or_else(unknown)?;
                self.changed(&notification).await
            }
        }
    }

    async fn changed(&self, notification: &Notification) -> Result<Response<Body>, Refusal> {
        self.sweep(notification).await.map_err(Refusal::after_a_change)?;
        tracing::info!(notification = %notification.id, revision = notification.revision, retracted = notification.retracted, "revised");
        let answer = Changed {
            id: &notification.id,
            revision: notification.revision,
            status_url: format!("/api/notifications/{}", notification.id),
        };
        Ok(json(StatusCode::ACCEPTED, &answer))
    }

    /// Has the planner see now that there is nothing to plan, of a notification that waits for its time, or to be let go.
    async fn plan_now(&self, notification: &Notification) -> Result<(), Refusal> {
        let waits = notification
            .deliver_at
            .is_some_and(|moment| moment > self.clock.now())
            && notification.parts_planned < notification.parts;
        if waits || notification.is_held() {
            return self.enqueue(notification, Task::Plan).await;
        }
        Ok(())
    }

    /// Has the planner go through what stands, so that what waits is looked at now.
    async fn sweep(&self, notification: &Notification) -> Result<(), Refusal> {
        // Of one that is held nothing is on its way, and who lets it go sweeps it.
        if notification.is_held() {
            return Ok(());
        }
        self.enqueue(notification, Task::Sweep).await
    }

    async fn enqueue(&self, notification: &Notification, task: Task) -> Result<(), Refusal> {
        let plan = Plan {
            notification: notification.id.clone(),
            task,
            part: None,
            enqueued: None,
        };
        Ok(self
            .plans
            .send(vec![Message::json(&plan, Duration::ZERO)])
            .await?)
    }
}

/// Whether the copies of a notification can be changed at all.
///
/// # Errors
/// 409 when they cannot: nobody is told the ids of those that went by batch.
fn is_changeable(notification: &Notification) -> Result<(), Refusal> {
    match notification.send_mode {
        SendMode::Individual => Ok(()),
        SendMode::Batch => Err(Refusal::conflict(
            "This notification goes by Teams' batch API, whose copies can be neither edited nor deleted. What is not sent yet can be cancelled.",
        )),
    }
}
