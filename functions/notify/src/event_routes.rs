//! `/api/routes`: rules from events of other systems to notifications.

use std::iter;

use herald::audit::AuditAction;
use herald::backend::Backend;
use herald::notification::request::Request as NotificationRequest;
use herald::occurrence::Occurrence;
use herald::problem::Problem;
use herald::queue::Queue;
use herald::queue::batch::{Receipt, Received};
use herald::route::{Route, RouteRecord, is_route_name, occurrence_event};
use herald::store::{Collection, Registry};
use herald::template::with_stand_in;
use herald::upstream::{EventContent, UpstreamEvent};
use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use serde_json::Value;

use crate::Context;
use crate::request::{CursorScope, Query, document};
use crate::response::{ApiError, json, no_content};

/// How many times of a schedule are shown.
const NEXT_SHOWN: usize = 5;

/// A route as answers show it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownRoute {
    name: String,
    caller: String,
    changed_at: Timestamp,
    route: Value,
    /// The next times of its schedule, on its wall clock. The first is the one that is due.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    next: Vec<String>,
}

impl ShownRoute {
    fn of(name: &str, record: RouteRecord) -> Self {
        Self {
            next: next_times(&record).unwrap_or_default(),
            name: name.to_owned(),
            caller: record.caller,
            changed_at: record.changed_at,
            route: record.route,
        }
    }
}

fn next_times(record: &RouteRecord) -> Option<Vec<String>> {
    let due = record.due?;
    let route = Route::parse(&record.route, record.changed_at).ok()?;
    let recurrence = route.recurrence()?;
    let times = iter::once(due).chain(recurrence.all_after(due));
    let shown = times.map(|at| recurrence.shown(at));
    Some(shown.take(NEXT_SHOWN).collect())
}

/// A page of the list.
#[derive(Debug, Serialize)]
struct ListedRoutes {
    routes: Vec<ShownRoute>,
    /// The cursor of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What a route would make of an event.
#[derive(Debug, Default, Serialize)]
struct RouteTrial {
    /// Whether it takes the event.
    takes: bool,
    /// The request for a notification that would be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Value>,
    /// A later event with the same subject edits the copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// Placeholders that the event does not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
    /// Why the request would be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

impl<B: Backend> Context<B> {
    /// `GET /api/routes`
    pub(crate) async fn routes(&self, query: &Query) -> Result<Response<Body>, ApiError> {
        let list = CursorScope::new("routes", &[]);
        let cursor = query.cursor(&list)?;
        let page = self
            .registry
            .list_records::<RouteRecord>(cursor.as_deref(), query.limit()?)
            .await?;
        let routes = page.items.into_iter();
        let listed = ListedRoutes {
            routes: routes
                .map(|(name, record)| ShownRoute::of(&name, record))
                .collect(),
            next: page.cursor.map(|cursor| list.cursor(&cursor)),
        };
        Ok(json(StatusCode::OK, &listed))
    }

    /// `GET /api/routes/{name}`
    pub(crate) async fn event_route(&self, name: &str) -> Result<Response<Body>, ApiError> {
        let record = self.find_route(name).await?.ok_or_else(no_route)?;
        Ok(json(StatusCode::OK, &ShownRoute::of(name, record)))
    }

    /// `PUT /api/routes/{name}`
    pub(crate) async fn put_route(
        &self,
        name: &str,
        request: &Request,
        caller: &str,
    ) -> Result<Response<Body>, ApiError> {
        if !is_route_name(name) {
            return Err(ApiError::bad_request(
                "A route is named by 1 to 64 small letters, digits and `-`.",
            ));
        }
        let document = document(request)?.value;
        let now = self.clock.now();
        let route = Route::parse(&document, now).map_err(Problem::invalid)?;
        let earlier = self.find_route(name).await?;
        if let Some(earlier) = &earlier {
            self.require_own("route", &earlier.caller, caller)?;
        }
        let mut record = RouteRecord {
            caller: caller.to_owned(),
            changed_at: now,
            route: document,
            due: None,
        };
        let mut rule = |stored: Option<RouteRecord>| {
            record.due = first_due(&route, stored.as_ref(), now);
            Some(record.clone())
        };
        self.registry.update_record(name, &mut rule).await?;
        if let Some(due) = Occurrence::due_of(name, &record) {
            self.events_queue.send(vec![due.message(now)]).await?;
        }
        AuditAction::PutRoute.of_route(caller, name);
        let status = if earlier.is_none() {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        Ok(json(status, &ShownRoute::of(name, record)))
    }

    /// `DELETE /api/routes/{name}`
    pub(crate) async fn delete_route(&self, name: &str, caller: &str) -> Result<Response<Body>, ApiError> {
        let record = self.find_route(name).await?.ok_or_else(no_route)?;
        self.require_own("route", &record.caller, caller)?;
        self.registry.remove_record(Collection::Routes, name).await?;
        AuditAction::DeleteRoute.of_route(caller, name);
        Ok(no_content())
    }

    /// `POST /api/routes/{name}/test`: what the route would make of the event in the body, or the next time of its schedule.
    /// Nothing is sent or stored.
    pub(crate) async fn test_route(&self, name: &str, request: &Request) -> Result<Response<Body>, ApiError> {
        let record = self.find_route(name).await?.ok_or_else(no_route)?;
        let now = self.clock.now();
        let route = Route::parse(&record.route, now).map_err(Problem::invalid)?;
        let event = match route.recurrence() {
            Some(recurrence) => occurrence_event(name, recurrence, record.due.unwrap_or(now)),
            None => foreign_event(request)?,
        };
        Ok(json(StatusCode::OK, &trial(name, &route, &event, now)))
    }

    async fn find_route(&self, name: &str) -> Result<Option<RouteRecord>, ApiError> {
        if !is_route_name(name) {
            return Ok(None);
        }
        Ok(self.registry.find_record(name).await?)
    }
}

/// Which occurrence a written route waits for: the one that it has waited for, if its schedule stays the same.
fn first_due(route: &Route, stored: Option<&RouteRecord>, now: Timestamp) -> Option<Timestamp> {
    let recurrence = route.recurrence()?;
    let has_same = |stored: &&RouteRecord| {
        Route::parse(&stored.route, now).is_ok_and(|stored| stored.recurrence() == Some(recurrence))
    };
    let kept = stored.filter(has_same).and_then(|stored| stored.due);
    kept.or_else(|| recurrence.next_after(now))
}

/// The event of another system in the body.
fn foreign_event(request: &Request) -> Result<Value, ApiError> {
    let message = Received {
        id: "test".to_owned(),
        body: document(request)?.to_string(),
        receipt: Receipt::default(),
        sender: None,
    };
    match UpstreamEvent::read(&message).content? {
        EventContent::Foreign(event) => Ok(event),
        EventContent::Request(_) => Err(ApiError::bad_request(
            "This is a request for a notification. No route is asked for those.",
        )),
        EventContent::Job(_) | EventContent::Clock(_) => Err(ApiError::bad_request(
            "This is a message of the bot or of the clock. No route is asked for those.",
        )),
    }
}

fn trial(name: &str, route: &Route, event: &Value, now: Timestamp) -> RouteTrial {
    if route.recurrence().is_none() && !route.takes(event) {
        return RouteTrial::default();
    }
    let routed = route.request(name, event);
    let refused = NotificationRequest::parse(&with_stand_in(&routed.request), now).err();
    RouteTrial {
        takes: true,
        problem: refused.map(Problem::invalid),
        request: Some(routed.request.value),
        subject: routed.subject,
        missing: routed.missing,
    }
}

fn no_route() -> ApiError {
    ApiError::not_found("There is no route of this name.")
}
