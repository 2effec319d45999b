//! Foreign events: which routes take one, and the notification that each makes of it.

use herald::acceptance::{Accepted, Acceptor, Origin, Repetition, ReviseError};
use herald::audit::AuditAction;
use herald::backend::Backend;
use herald::id::NotificationId;
use herald::notification::Content;
use herald::notification::request::message_of;
use herald::problem::{Fault, Problem};
use herald::route::{
    CopyOrigin, HeldSubject, Route, RouteRecord, RoutedRequest, SubjectLease, SubjectRecord,
};
use herald::store::{self, ListPage, Notifications, Registry};
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
            let page: ListPage<(String, RouteRecord)> =
                self.registry.list_records(cursor.as_deref(), PAGE).await?;
            let now = self.clock.now();
            let records = page.items.into_iter();
            routes.extend(records.filter_map(|(name, record)| NamedRoute::of(name, &record, now)));
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(routes);
            }
        }
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
            None => self
                .accept_routed(name, &copy_origin(event), &request)
                .await
                .map(drop),
            Some(subject) => self.show(name, subject, event, value, &request).await,
        };
        sent.map_err(|failure| failure.of_route(name))
    }

    /// Accepts what a route makes of an event, as the notification of the event that it is sent for.
    async fn accept_routed(
        &self,
        name: &str,
        origin: &CopyOrigin,
        routed: &RoutedRequest,
    ) -> Result<Accepted, Failure> {
        let key = format!("{}\n{name}", origin.event);
        let caller = &origin.caller;
        let origin = Origin {
            caller: caller.clone(),
            schedule: None,
            idempotency_key: Some(&key),
            repetition: Repetition::SameKey,
        };
        let accepted = self.acceptor().accept_document(&routed.request, origin).await?;
        if !accepted.replayed {
            count(Metric::EventAccepted);
            AuditAction::Accept.of_notification(caller, &accepted.id, None);
        }
        Ok(accepted)
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
        let own = copy_origin(event);
        let now = self.clock.now();
        let at = happened_at(value).unwrap_or(now);
        let mut lease = SubjectLease::HeldElsewhere;
        let mut acquire = |stored: Option<SubjectRecord>| {
            let (acquired, record) = SubjectRecord::acquire(stored, &own, at, now);
            lease = acquired;
            record
        };
        self.registry.update_record(&key, &mut acquire).await?;
        let held = match lease {
            SubjectLease::Acquired(held) => held,
            SubjectLease::Shown => return Ok(()),
            SubjectLease::HeldElsewhere => return Err(Failure::Unavailable(SubjectBusy.into())),
        };
        let shown = self.edit_or_accept(name, &key, &held, event, routed).await;
        let mut release = |stored: Option<SubjectRecord>| {
            SubjectRecord::released(stored, held.until, shown.as_ref().ok(), &event.id, at)
        };
        self.registry.update_record(&key, &mut release).await?;
        shown.map(drop)
    }

    /// Edits the notification of a subject; sends a new one if there is none that can be edited.
    async fn edit_or_accept(
        &self,
        name: &str,
        key: &str,
        held: &HeldSubject,
        event: &UpstreamEvent,
        routed: &RoutedRequest,
    ) -> Result<NotificationId, Failure> {
        let standing = match &held.notification {
            Some(notification) => notification.clone(),
            None => {
                let accepted = self.accept_routed(name, &held.origin, routed).await?;
                if !accepted.replayed {
                    return Ok(accepted.id);
                }
                // An event before this one has sent it, and failed after that.
                accepted.id
            }
        };
        if self.edit_routed(&standing, event, routed).await? {
            return Ok(standing);
        }
        let own = copy_origin(event);
        let mut begin = |stored: Option<SubjectRecord>| SubjectRecord::begun_anew(stored, held.until, &own);
        self.registry.update_record(key, &mut begin).await?;
        Ok(self.accept_routed(name, &own, routed).await?.id)
    }

    /// Edits the notification of a subject; `false` if it cannot be edited any more.
    async fn edit_routed(
        &self,
        standing: &NotificationId,
        event: &UpstreamEvent,
        routed: &RoutedRequest,
    ) -> Result<bool, Failure> {
        let acceptor = self.acceptor();
        let request = acceptor.with_template(&routed.request).await?;
        let message = message_of(&request).map_err(|faults| Failure::Refused(Problem::invalid(faults)))?;
        let Some(standing) = self.notifications.find(standing).await? else {
            return Ok(false);
        };
        // A notification that is stopped or has expired would not reach its open recipients. A new one does.
        if standing.is_stopped() || standing.expires_at <= self.clock.now() {
            return Ok(false);
        }
        let content = Content::Message(Box::new(message));
        let revision = match acceptor.reviser().revise(&standing, &content).await {
            Ok(revision) => revision,
            Err(ReviseError::Unrenderable(error)) => {
                let fault = Fault::new("#/message", error.to_string());
                return Err(Failure::Refused(Problem::invalid(vec![fault])));
            }
            Err(ReviseError::Store(error)) => return Err(error.into()),
            Err(ReviseError::Queue(error)) => return Err(error.into()),
            Err(
                ReviseError::NotFound
                | ReviseError::Batch
                | ReviseError::Confirmed(_)
                | ReviseError::Retracted,
            ) => return Ok(false),
        };
        let audience = revision.notification().audience;
        AuditAction::Edit.of_notification(&event.caller, &standing.id, Some(audience));
        Ok(true)
    }

    pub(crate) fn acceptor(&self) -> Acceptor<'_, B> {
        Acceptor {
            notifications: &self.notifications,
            conversations: &self.conversations,
            registry: &self.registry,
            plans: &self.plans,
            settings: &self.settings,
            clock: &self.clock,
            random: &self.random,
        }
    }
}

fn copy_origin(event: &UpstreamEvent) -> CopyOrigin {
    CopyOrigin {
        event: event.id.clone(),
        caller: event.caller.clone(),
    }
}

/// When an event happened, as its `time` says.
fn happened_at(event: &Value) -> Option<Timestamp> {
    event["time"].as_str()?.parse().ok()
}
