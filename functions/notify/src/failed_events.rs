//! `GET /api/events/failed`: upstream events that were refused, with their problems. `POST …/redrive` tries them again.

use herald::audit::AuditAction;
use herald::backend::Backend;
use herald::problem::Problem;
use herald::queue::DeadLetterQueue;
use herald::store::{self, Collection, Registry};
use herald::upstream::FailedEvent;
use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::Context;
use crate::request::{CursorScope, Query};
use crate::response::{ApiError, json};

/// How many records are removed with one look-up.
const PAGE: usize = 100;

/// What becomes of a failed event next.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum FailedEventState {
    /// It is received again.
    Retrying,
    /// It is in the dead-letter queue.
    DeadLettered,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedEvent {
    event: String,
    caller: String,
    state: FailedEventState,
    problem: Problem,
    receives: u32,
    first_failed_at: Timestamp,
    last_failed_at: Timestamp,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

impl From<FailedEvent> for ListedEvent {
    fn from(failed: FailedEvent) -> Self {
        Self {
            state: if failed.is_given_up() {
                FailedEventState::DeadLettered
            } else {
                FailedEventState::Retrying
            },
            event: failed.event,
            caller: failed.caller,
            problem: failed.problem,
            receives: failed.receives,
            first_failed_at: failed.first_failed_at,
            last_failed_at: failed.last_failed_at,
            bytes: failed.bytes,
            body: failed.body,
        }
    }
}

/// A page of the list.
#[derive(Debug, Serialize)]
struct FailedEvents {
    events: Vec<ListedEvent>,
    /// The cursor of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The response to a redrive.
#[derive(Debug, Serialize)]
struct RedriveAnswer {
    /// The events that were listed as dead-lettered.
    redriven: u64,
}

impl<B: Backend> Context<B> {
    /// `GET /api/events/failed`
    pub(crate) async fn failed_events(&self, query: &Query) -> Result<Response<Body>, ApiError> {
        let list = CursorScope::new("failedEvents", &[]);
        let cursor = query.cursor(&list)?;
        let page = self
            .registry
            .list_records::<FailedEvent>(cursor.as_deref(), query.limit()?)
            .await?;
        let listed = FailedEvents {
            events: page.items.into_iter().map(|(_, failed)| failed.into()).collect(),
            next: page.cursor.map(|cursor| list.cursor(&cursor)),
        };
        Ok(json(StatusCode::OK, &listed))
    }

    /// `POST /api/events/failed/redrive`: moves all messages of the dead-letter queue back, and removes their records. An event
    /// that is refused again is recorded again.
    pub(crate) async fn redrive_events(&self, caller: &str) -> Result<Response<Body>, ApiError> {
        self.failed_events.redrive().await?;
        let redriven = self
            .remove_given_up()
            .await
            .map_err(|error| ApiError::from(error).after_a_change())?;
        AuditAction::RedriveEvents.of_events(caller, redriven);
        Ok(json(StatusCode::ACCEPTED, &RedriveAnswer { redriven }))
    }

    /// Removes the records of events in the dead-letter queue, and returns their number.
    async fn remove_given_up(&self) -> Result<u64, store::Error> {
        let mut removed = 0;
        let mut cursor = None::<String>;
        loop {
            let page = self
                .registry
                .list_records::<FailedEvent>(cursor.as_deref(), PAGE)
                .await?;
            for (key, _) in page.items.iter().filter(|(_, failed)| failed.is_given_up()) {
                self.registry.remove_record(Collection::FailedEvents, key).await?;
                removed += 1;
            }
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(removed);
            }
        }
    }
}
