//! Foreign events: which routes take one, and the notification that each makes of it.

use herald::acceptance::{Acceptor, Edit, Origin, Repetition};
use herald::audit::AuditAction;
use herald::backend::Backend;
use herald::id::NotificationId;
use herald::notification::request::replacement;
use herald::problem::Problem;
use herald::route::{Route, RouteRecord, RoutedRequest, SubjectLease, SubjectRecord};
use herald::store::{self, ListPage, Registry};
use herald::telemetry::{Metric, count};
use herald::upstream::UpstreamEvent;
use jiff::Timestamp;
use serde_json::Value;

use crate::{Context, Failure};

/// How many routes are read at once.
const PAGE: usize = 100;

/// A route with its name.
#[derive(Debug)]
pub(crate) struct NamedRoute {
    name: String,
    pub(crate) route: Route,
}

impl NamedRoute {
    /// Reads a stored route. One that this version cannot read is logged, and sends nothing.
    pub(crate) fn of(name: String, record: &RouteRecord, now: Timestamp) -> Option<Self> {
        match Route::parse(&record.route, now) {
            Ok(route) => Some(Self { name, route }),
            Err(_) => {
                tracing::error!(
                    error_type = "RouteUnreadable",
                    route = name,
                    "a stored route cannot be read, and takes no events"
                );
                None
            }
        }
    }
}

/// Another event of the subject is being sent.
#[derive(Debug, thiserror::Error)]
#[error("another event of the same subject is being sent")]
struct SubjectBusy;

impl<B: Backend> Context<B> {
    pub(crate) async fn routes(&self) -> Result<Vec<NamedRoute>, store::Error> {
        let mut routes = Vec::new();
        let mut cursor = None::<String>;
        loop {
            let page = self.route_records(cursor.as_deref()).await?;
            let now = self.clock.now();
            let records = page.items.into_iter();
            routes.extend(records.filter_map(|(name, record)| NamedRoute::of(name, &record, now)));
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(routes);
            }
        }
    }

    /// A page of all routes.
    pub(crate) async fn route_records(
        &self,
        cursor: Option<&str>,
    ) -> Result<ListPage<(String, RouteRecord)>, store::Error> {
        self.registry.list_records(cursor, PAGE).await
    }

    /// Gives an event to each route that takes it. One that fails does not keep it from the others: when the event comes again,
    /// those that took it find that they did.
    pub(crate) async fn route(
        &self,
        routes: &[NamedRoute],
        event: &UpstreamEvent,
        value: &Value,
    ) -> Result<(), Failure> {
        let taking: Vec<_> = routes.iter().filter(|named| named.route.takes(value)).collect();
        if taking.is_empty() {
            count(Metric::EventUnmatched);
            tracing::info!(
                caller = event.caller,
                event = event.id,
                "no route takes the event"
            );
            return Ok(());
        }
        let mut outcome = Ok(());
        for named in taking {
            if let Err(failure) = self.send(named, event, value).await {
                outcome = Err(failure);
            }
        }
        outcome
    }

    /// Sends what a route makes of an event.
    pub(crate) async fn send(
        &self,
        named: &NamedRoute,
        event: &UpstreamEvent,
        value: &Value,
    ) -> Result<(), Failure> {
        let NamedRoute { name, route } = named;
        let request = route.request(name, value);
        if !request.missing.is_empty() {
            tracing::warn!(
                error_type = "PlaceholderMissing",
                route = name,
                event = event.id,
                paths = request.missing.join(" "),
                "the event does not have what the route puts into its message"
            );
        }
        let sent = match &request.subject {
            None => self.accept_routed(name, event, &request).await.map(drop),
            Some(subject) => self.show(name, subject, event, value, &request).await,
        };
        sent.map_err(|failure| failure.of_route(name))
    }

    async fn accept_routed(
        &self,
        name: &str,
        event: &UpstreamEvent,
        routed: &RoutedRequest,
    ) -> Result<NotificationId, Failure> {
        let key = format!("{}\n{name}", event.id);
        let origin = Origin {
            caller: event.caller.clone(),
            idempotency_key: Some(&key),
            repetition: Repetition::SameKey,
        };
        let accepted = self.acceptor().accept_document(&routed.request, origin).await?;
        if !accepted.replayed {
            AuditAction::Accept.of_notification(&event.caller, &accepted.id, None);
        }
        Ok(accepted.id)
    }

    /// Shows an event in the copy of its subject, under the subject's lease.
    async fn show(
        &self,
        name: &str,
        subject: &str,
        event: &UpstreamEvent,
        value: &Value,
        routed: &RoutedRequest,
    ) -> Result<(), Failure> {
        let key = SubjectRecord::key(name, subject);
        let now = self.clock.now();
        let at = happened_at(value).unwrap_or(now);
        let mut lease = SubjectLease::HeldElsewhere;
        let mut acquire = |stored: Option<SubjectRecord>| {
            let (acquired, record) = SubjectRecord::acquire(stored, &event.id, at, now);
            lease = acquired;
            record
        };
        self.registry.update_record(&key, &mut acquire).await?;
        let earlier = match lease {
            SubjectLease::Acquired(earlier) => earlier,
            SubjectLease::Shown => return Ok(()),
            SubjectLease::HeldElsewhere => return Err(Failure::Unavailable(SubjectBusy.into())),
        };
        let shown = self.edit_or_accept(name, earlier, event, routed).await;
        let mut release =
            |stored: Option<SubjectRecord>| SubjectRecord::released(stored, &event.id, shown.as_ref().ok());
        self.registry.update_record(&key, &mut release).await?;
        shown.map(drop)
    }

    /// Edits the earlier notification of a subject; sends a new one if there is none that can be edited.
    async fn edit_or_accept(
        &self,
        name: &str,
        earlier: Option<NotificationId>,
        event: &UpstreamEvent,
        routed: &RoutedRequest,
    ) -> Result<NotificationId, Failure> {
        if let Some(earlier) = earlier {
            let message = routed
                .request
                .get("message")
                .unwrap_or_else(|| Value::Null.into());
            let message =
                replacement(message).map_err(|faults| Failure::Refused(Problem::invalid(faults)))?;
            match self.acceptor().edit_message(&earlier, message).await? {
                Edit::Edited(audience) => {
                    AuditAction::Edit.of_notification(&event.caller, &earlier, Some(audience));
                    return Ok(earlier);
                }
                Edit::NotEditable => {}
            }
        }
        self.accept_routed(name, event, routed).await
    }

    pub(crate) fn acceptor(&self) -> Acceptor<'_, B> {
        Acceptor {
            notifications: &self.notifications,
            conversations: &self.conversations,
            plans: &self.plans,
            settings: &self.settings,
            clock: &self.clock,
            random: &self.random,
        }
    }
}

/// When an event happened, as its `time` says.
fn happened_at(event: &Value) -> Option<Timestamp> {
    event["time"].as_str()?.parse().ok()
}
