//! `/api/routes`: rules from events of other systems to notifications.

use herald::audit::AuditAction;
use herald::backend::Backend;
use herald::notification::request::Request as NotificationRequest;
use herald::problem::Problem;
use herald::queue::batch::{Receipt, Received};
use herald::route::{Route, RouteRecord, is_route_name};
use herald::store::{Collection, Registry};
use herald::upstream::{EventContent, UpstreamEvent};
use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use serde_json::Value;

use crate::Context;
use crate::request::{CursorScope, Query, document};
use crate::response::{ApiError, json, no_content};

/// A route as answers show it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownRoute {
    name: String,
    caller: String,
    changed_at: Timestamp,
    route: Value,
}

impl ShownRoute {
    fn of(name: &str, record: RouteRecord) -> Self {
        Self {
            name: name.to_owned(),
            caller: record.caller,
            changed_at: record.changed_at,
            route: record.route,
        }
    }
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
        let route = document(request)?.value;
        let now = self.clock.now();
        Route::parse(&route, now).map_err(Problem::invalid)?;
        let earlier = self.find_route(name).await?;
        self.require_changeable(earlier.as_ref(), caller)?;
        let record = RouteRecord {
            caller: caller.to_owned(),
            changed_at: now,
            route,
        };
        let mut rule = |_: Option<RouteRecord>| Some(record.clone());
        self.registry.update_record(name, &mut rule).await?;
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
        self.require_changeable(Some(&record), caller)?;
        self.registry.remove_record(Collection::Routes, name).await?;
        AuditAction::DeleteRoute.of_route(caller, name);
        Ok(no_content())
    }

    /// `POST /api/routes/{name}/test`: what the route would make of the event in the body. Nothing is sent or stored.
    pub(crate) async fn test_route(&self, name: &str, request: &Request) -> Result<Response<Body>, ApiError> {
        let record = self.find_route(name).await?.ok_or_else(no_route)?;
        let now = self.clock.now();
        let route = Route::parse(&record.route, now).map_err(Problem::invalid)?;
        let message = Received {
            id: "test".to_owned(),
            body: document(request)?.to_string(),
            receipt: Receipt::default(),
            sender: None,
        };
        let event = match UpstreamEvent::read(&message).content? {
            EventContent::Foreign(event) => event,
            EventContent::Request(_) => {
                return Err(ApiError::bad_request(
                    "This is a request for a notification. No route is asked for those.",
                ));
            }
            EventContent::Job(_) => {
                return Err(ApiError::bad_request(
                    "This is a job of the bot. No route is asked for those.",
                ));
            }
        };
        Ok(json(StatusCode::OK, &trial(name, &route, &event, now)))
    }

    async fn find_route(&self, name: &str) -> Result<Option<RouteRecord>, ApiError> {
        if !is_route_name(name) {
            return Ok(None);
        }
        Ok(self.registry.find_record(name).await?)
    }

    fn require_changeable(&self, record: Option<&RouteRecord>, caller: &str) -> Result<(), ApiError> {
        match record {
            Some(record) if !self.settings.operators.may_change(caller, &record.caller) => {
                Err(ApiError::forbidden(
                    "This route is another caller's. It may be changed by its caller, and by the callers that the deployment names as its `Operators`.",
                ))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn trial(name: &str, route: &Route, event: &Value, now: Timestamp) -> RouteTrial {
    if !route.takes(event) {
        return RouteTrial::default();
    }
    let routed = route.request(name, event);
    let refused = NotificationRequest::parse(&routed.request, now).err();
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
