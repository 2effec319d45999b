//! Occurrences of routes and schedules: what each sends, the message of the next one, and the search for messages that are lost.

use herald::acceptance::{Origin, Repetition};
use herald::audit::AuditAction;
use herald::backend::Backend;
use herald::occurrence::{ClockMessage, Occurrence, OccurrenceSource, RecurringRecord};
use herald::queue::Queue;
use herald::recurring::{OccurrenceState, RecurringNotification, ScheduleRecord};
use herald::route::{RouteRecord, occurrence_event};
use herald::schedule::Recurrence;
use herald::store::{self, ListPage, Registry};
use herald::telemetry::{Metric, count};
use herald::upstream::UpstreamEvent;

use crate::routed::NamedRoute;
use crate::{Context, Failure};

/// How many records are read at once.
const PAGE: usize = 100;

/// Whether the time of an occurrence has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arrival {
    /// Its message is early.
    Early,
    /// It has come, and the next one follows.
    Came,
    /// Its message has come before.
    Again,
}

impl<B: Backend> Context<B> {
    pub(crate) async fn clock(&self, event: &UpstreamEvent, message: &ClockMessage) -> Result<(), Failure> {
        match message {
            ClockMessage::Occurrence(occurrence) => match &occurrence.source {
                OccurrenceSource::Route(name) => self.occur_of_route(event, name, occurrence).await,
                OccurrenceSource::Schedule(name) => self.occur_of_schedule(name, occurrence).await,
            },
            ClockMessage::Check => {
                self.check_occurrences::<RouteRecord>().await?;
                self.check_occurrences::<ScheduleRecord>().await
            }
        }
    }

    /// Sends what a route makes of an occurrence.
    async fn occur_of_route(
        &self,
        event: &UpstreamEvent,
        name: &str,
        occurrence: &Occurrence,
    ) -> Result<(), Failure> {
        let Some(record) = self.registry.find_record::<RouteRecord>(name).await? else {
            return Ok(());
        };
        let Some(named) = NamedRoute::of(name.to_owned(), &record, self.clock.now()) else {
            return Ok(());
        };
        let Some(recurrence) = of_occurrence(named.route.recurrence(), occurrence) else {
            return Ok(());
        };
        match self.arrive(&record, recurrence, occurrence).await? {
            Arrival::Early => Ok(()),
            Arrival::Came | Arrival::Again => {
                let value = occurrence_event(name, recurrence, occurrence.at);
                self.send(&named, event, &value).await
            }
        }
    }

    /// Sends the notification of a schedule that an occurrence is, if the schedule has not skipped it.
    async fn occur_of_schedule(&self, name: &str, occurrence: &Occurrence) -> Result<(), Failure> {
        let Some((mut record, mut schedule)) = self.readable_schedule(name).await? else {
            return Ok(());
        };
        let Some(recurrence) = of_occurrence(Some(&schedule.recurrence), occurrence) else {
            return Ok(());
        };
        let arrival = self.arrive(&record, recurrence, occurrence).await?;
        if arrival == Arrival::Came {
            let Some(after) = self.readable_schedule(name).await? else {
                return Ok(());
            };
            (record, schedule) = after;
            if let Some(OccurrenceState::Missed { .. }) = record.occurrence(occurrence.at) {
                missed(occurrence);
            }
        }
        if arrival == Arrival::Early || !record.is_open(occurrence.at) {
            return Ok(());
        }
        if schedule.is_late(occurrence.at, self.clock.now()) {
            missed(occurrence);
            let late = OccurrenceState::Missed { until: None };
            return self.settle(name, occurrence, late).await;
        }
        self.send_occurrence(name, &record, &schedule, occurrence).await
    }

    /// A schedule as it is stored and as it is read. One that this version cannot read is logged, and sends nothing.
    async fn readable_schedule(
        &self,
        name: &str,
    ) -> Result<Option<(ScheduleRecord, RecurringNotification)>, Failure> {
        let Some(record) = self.registry.find_record::<ScheduleRecord>(name).await? else {
            return Ok(None);
        };
        match RecurringNotification::parse(&record.document) {
            Ok(schedule) => Ok(Some((record, schedule))),
            Err(_) => {
                tracing::error!(
                    error_type = "ScheduleUnreadable",
                    schedule = name,
                    "a stored schedule cannot be read, and sends nothing"
                );
                Ok(None)
            }
        }
    }

    /// Accepts the notification that an occurrence of a schedule is, and records what became of it.
    async fn send_occurrence(
        &self,
        name: &str,
        record: &ScheduleRecord,
        schedule: &RecurringNotification,
        occurrence: &Occurrence,
    ) -> Result<(), Failure> {
        let key = occurrence.at.to_string();
        let origin = Origin {
            caller: record.caller.clone(),
            schedule: Some(name),
            idempotency_key: Some(&key),
            repetition: Repetition::SameKey,
        };
        let request = schedule.request(occurrence.at);
        match self.acceptor().accept_document(&request, origin).await {
            Ok(accepted) => {
                if !accepted.replayed {
                    count(Metric::EventAccepted);
                    AuditAction::Accept.of_notification(&record.caller, &accepted.id, None);
                }
                let notification = accepted.id;
                self.settle(name, occurrence, OccurrenceState::Sent { notification })
                    .await
            }
            Err(error) => {
                let failure = Failure::from(error);
                if let Failure::Refused(problem) = &failure {
                    let problem = problem.clone();
                    self.settle(name, occurrence, OccurrenceState::Refused { problem })
                        .await?;
                }
                Err(failure)
            }
        }
    }

    /// Records what became of an occurrence that was to be sent.
    async fn settle(
        &self,
        name: &str,
        occurrence: &Occurrence,
        state: OccurrenceState,
    ) -> Result<(), Failure> {
        let mut rule = |stored: Option<ScheduleRecord>| stored?.settled(occurrence.at, state.clone());
        Ok(self.registry.update_record(name, &mut rule).await?)
    }

    /// Has the next occurrence follow the one that has come: enqueues its message, and then records that this one has come. In
    /// this order a message may come twice, but none is missed.
    async fn arrive<R: RecurringRecord>(
        &self,
        record: &R,
        recurrence: &Recurrence,
        occurrence: &Occurrence,
    ) -> Result<Arrival, Failure> {
        let now = self.clock.now();
        let is_due = occurrence.is_due(record.due(), recurrence, now);
        if occurrence.at > now {
            // The queue cannot wait as long as Scheduler, which did not take the message.
            if is_due {
                self.events_queue
                    .send(vec![occurrence.clone().message(now)])
                    .await?;
            }
            return Ok(Arrival::Early);
        }
        if !is_due {
            return Ok(Arrival::Again);
        }
        let next = occurrence.following(recurrence, now);
        let passed_over = recurrence.next_after(occurrence.at);
        if let Some(first) = passed_over
            && next.as_ref().is_none_or(|next| next.at != first)
        {
            let source = occurrence.source.clone();
            missed(&Occurrence { source, at: first });
        }
        if let Some(next) = next {
            self.events_queue.send(vec![next.message(now)]).await?;
        }
        let mut rule = |stored: Option<R>| {
            // The next message may be quicker than this.
            let stored = stored.filter(|stored| stored.due().is_some_and(|due| due <= occurrence.at))?;
            Some(stored.after(occurrence.at, recurrence, now))
        };
        self.registry
            .update_record(occurrence.source.name(), &mut rule)
            .await?;
        Ok(Arrival::Came)
    }

    /// Enqueues what is due and has not come.
    async fn check_occurrences<R: RecurringRecord>(&self) -> Result<(), Failure> {
        let now = self.clock.now();
        let mut lost = Vec::new();
        let mut cursor = None::<String>;
        loop {
            let page: Result<ListPage<(String, R)>, store::Error> =
                self.registry.list_records(cursor.as_deref(), PAGE).await;
            let page = page?;
            let due = page
                .items
                .iter()
                .filter_map(|(name, record)| Occurrence::due_of(name, record));
            lost.extend(due.filter(|due| due.is_lost(now)));
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        for occurrence in &lost {
            tracing::warn!(
                error_type = "OccurrenceLate",
                kind = occurrence.source.kind(),
                name = occurrence.source.name(),
                due = %occurrence.at,
                "the message of an occurrence did not come in time: it is sent again"
            );
        }
        if !lost.is_empty() {
            let messages = lost.into_iter().map(|occurrence| occurrence.message(now));
            self.events_queue.send(messages.collect()).await?;
        }
        Ok(())
    }
}

/// The recurrence, if it has this occurrence.
fn of_occurrence<'a>(recurrence: Option<&'a Recurrence>, occurrence: &Occurrence) -> Option<&'a Recurrence> {
    let found = recurrence.filter(|recurrence| recurrence.has(occurrence.at));
    if found.is_none() {
        tracing::info!(
            kind = occurrence.source.kind(),
            name = occurrence.source.name(),
            "the times were changed: this one is none of them any more"
        );
    }
    found
}

/// Logs that an occurrence is not sent because it is too late, and those after it that are.
fn missed(occurrence: &Occurrence) {
    tracing::warn!(
        error_type = "OccurrenceMissed",
        kind = occurrence.source.kind(),
        name = occurrence.source.name(),
        at = %occurrence.at,
        "an occurrence is too late, and is not sent"
    );
}
