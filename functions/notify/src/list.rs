//! `GET /api/notifications`: all notifications, newest first.

use herald::backend::Backend;
use herald::id::NotificationId;
use herald::notification::{NotificationFilter, State};
use herald::store::Notifications;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Response};
use serde::Serialize;
use serde_json::Value;

use crate::Context;
use crate::request::{CursorScope, Query, not_a_cursor};
use crate::response::{ApiError, json};
use crate::status::Status;

/// A page of the list.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    notifications: Vec<Status<'a>>,
    /// The cursor of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl<B: Backend> Context<B> {
    /// `GET /api/notifications`
    pub(crate) async fn notifications(&self, query: &Query) -> Result<Response<Body>, ApiError> {
        let filter = NotificationFilter {
            caller: query.get("caller").map(str::to_owned),
            category: query.get("category").map(str::to_owned),
            state: query.get("state").map(state).transpose()?,
        };
        let list = CursorScope::new("notifications", &[&format!("{filter:?}")]);
        let before: Option<NotificationId> = match query.cursor(&list)? {
            Some(text) => Some(text.parse().map_err(|_| not_a_cursor())?),
            None => None,
        };
        let now = self.clock.now();
        let page = self
            .notifications
            .list_newest(&filter, before.as_ref(), now, query.limit()?)
            .await?;
        let listed = Listed {
            notifications: page.items.iter().map(Status::of).collect(),
            next: page.cursor.map(|cursor| list.cursor(cursor.as_ref())),
        };
        Ok(json(StatusCode::OK, &listed))
    }
}

/// The state that a query names.
fn state(word: &str) -> Result<State, ApiError> {
    serde_json::from_value(Value::from(word)).map_err(|_| {
        ApiError::bad_request(
            "`state` must be one of `accepted`, `planning`, `held`, `confirmed`, `sending`, `cancelling`, `cancelled`, `completed`, or left out.",
        )
    })
}
