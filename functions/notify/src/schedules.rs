//! `/api/schedules`: notifications that recur.

use herald::acceptance;
use herald::audit::AuditAction;
use herald::backend::Backend;
use herald::occurrence::Occurrence;
use herald::problem::{Fault, Problem, pointer};
use herald::queue::Queue;
use herald::recurring::{
    OccurrenceState, RecurringNotification, SKIPPED_MAX, ScheduleRecord, ScheduleState, Skip,
    pointer_in_schedule,
};
use herald::route::is_route_name;
use herald::schedule::Recurrence;
use herald::store::{Collection, Registry};
use herald::warning::Warning;
use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use serde_json::Value;

use crate::Context;
use crate::request::{CursorScope, Query, bytes, document};
use crate::response::{ApiError, json, no_content};

/// How many occurrences to come are shown.
const NEXT_SHOWN: usize = 5;

/// A schedule as answers show it. Times are on its wall clock.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownSchedule {
    name: String,
    caller: String,
    changed_at: Timestamp,
    state: ScheduleState,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_at: Option<Timestamp>,
    /// As it was written; in a list without its notification.
    schedule: Value,
    /// The next occurrences that will be sent. The first is the one that is awaited.
    next: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<String>,
    /// The latest occurrences, the newest first.
    past: Vec<ShownOccurrence>,
    /// What its caller may not have meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// An occurrence whose time has come.
#[derive(Debug, Serialize)]
struct ShownOccurrence {
    at: String,
    #[serde(flatten)]
    state: OccurrenceState,
}

/// How much of a schedule is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// In a list.
    Summary,
    Whole,
}

/// A page of the list.
#[derive(Debug, Serialize)]
struct ListedSchedules {
    schedules: Vec<ShownSchedule>,
    /// The cursor of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl ShownSchedule {
    fn of(name: &str, record: ScheduleRecord, detail: Detail, now: Timestamp) -> Self {
        // A stored schedule that this version cannot read has no occurrences.
        let schedule = RecurringNotification::parse(&record.document).ok();
        let recurrence = schedule.as_ref().map(|schedule| &schedule.recurrence);
        let shown = |at: &Timestamp| recurrence.map_or_else(|| at.to_string(), |them| them.shown(*at));
        let upcoming = |recurrence| record.upcoming(recurrence, now).take(NEXT_SHOWN).collect();
        let next: Vec<_> = recurrence.map(upcoming).unwrap_or_default();
        let past = record.past.iter().rev().map(|past| ShownOccurrence {
            at: shown(&past.at),
            state: past.state.clone(),
        });
        let (state, past) = (record.state(), past.collect());
        let mut document = record.document.value;
        if detail == Detail::Summary
            && let Some(document) = document.as_object_mut()
        {
            document.remove("notification");
        }
        Self {
            name: name.to_owned(),
            state,
            next: next.iter().map(shown).collect(),
            skipped: record.skipped.iter().map(shown).collect(),
            past,
            caller: record.caller,
            changed_at: record.changed_at,
            paused_at: record.paused_at,
            schedule: document,
            warnings: Vec::new(),
        }
    }
}

impl<B: Backend> Context<B> {
    /// `GET /api/schedules`
    pub(crate) async fn schedules(&self, query: &Query) -> Result<Response<Body>, ApiError> {
        let list = CursorScope::new("schedules", &[]);
        let cursor = query.cursor(&list)?;
        let page = self
            .registry
            .list_records::<ScheduleRecord>(cursor.as_deref(), query.limit()?)
            .await?;
        let now = self.clock.now();
        let schedules = page.items.into_iter();
        let listed = ListedSchedules {
            schedules: schedules
                .map(|(name, record)| ShownSchedule::of(&name, record, Detail::Summary, now))
                .collect(),
            next: page.cursor.map(|cursor| list.cursor(&cursor)),
        };
        Ok(json(StatusCode::OK, &listed))
    }

    /// `GET /api/schedules/{name}`
    pub(crate) async fn schedule(&self, name: &str) -> Result<Response<Body>, ApiError> {
        let record = self.find_schedule(name).await?.ok_or_else(no_schedule)?;
        let shown = ShownSchedule::of(name, record, Detail::Whole, self.clock.now());
        Ok(json(StatusCode::OK, &shown))
    }

    /// `PUT /api/schedules/{name}`
    pub(crate) async fn put_schedule(
        &self,
        name: &str,
        request: &Request,
        caller: &str,
    ) -> Result<Response<Body>, ApiError> {
        if !is_route_name(name) {
            return Err(ApiError::bad_request(
                "A schedule is named by 1 to 64 small letters, digits and `-`.",
            ));
        }
        let document = document(request)?;
        let now = self.clock.now();
        let schedule = RecurringNotification::check(&document, now).map_err(Problem::invalid)?;
        let earlier = self.find_schedule(name).await?;
        if let Some(earlier) = &earlier {
            self.require_own("schedule", &earlier.caller, caller)?;
        }
        require_occurrence(earlier.as_ref(), &schedule.recurrence, now)?;
        let checked = self
            .acceptor()
            .check_document(&schedule.request(now), caller)
            .await;
        let mut warnings = checked.map_err(in_schedule)?;
        for warning in &mut warnings {
            warning.pointer = warning.pointer.as_deref().map(pointer_in_schedule);
        }
        let mut written = None;
        let mut rule = |stored: Option<ScheduleRecord>| {
            let document = document.clone();
            let record = ScheduleRecord::written(stored, caller, document, &schedule.recurrence, now);
            written = Some(record.clone());
            Some(record)
        };
        self.registry.update_record(name, &mut rule).await?;
        let Some(record) = written else {
            return Err(no_schedule());
        };
        self.await_occurrence(name, &record).await?;
        AuditAction::PutSchedule.of_schedule(caller, name);
        let status = if earlier.is_none() {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        let shown = ShownSchedule {
            warnings,
            ..ShownSchedule::of(name, record, Detail::Whole, now)
        };
        Ok(json(status, &shown))
    }

    /// `DELETE /api/schedules/{name}`
    pub(crate) async fn delete_schedule(&self, name: &str, caller: &str) -> Result<Response<Body>, ApiError> {
        let record = self.find_schedule(name).await?.ok_or_else(no_schedule)?;
        self.require_own("schedule", &record.caller, caller)?;
        self.registry.remove_record(Collection::Schedules, name).await?;
        AuditAction::DeleteSchedule.of_schedule(caller, name);
        Ok(no_content())
    }

    /// `POST /api/schedules/{name}/pause`
    pub(crate) async fn pause_schedule(&self, name: &str, caller: &str) -> Result<Response<Body>, ApiError> {
        let change =
            |record: ScheduleRecord, recurrence: &Recurrence, now| Ok(record.paused(recurrence, now));
        self.change_schedule(name, caller, AuditAction::PauseSchedule, change)
            .await
    }

    /// `POST /api/schedules/{name}/resume`
    pub(crate) async fn resume_schedule(&self, name: &str, caller: &str) -> Result<Response<Body>, ApiError> {
        let change =
            |record: ScheduleRecord, recurrence: &Recurrence, now| Ok(record.resumed(recurrence, now));
        self.change_schedule(name, caller, AuditAction::ResumeSchedule, change)
            .await
    }

    /// `POST /api/schedules/{name}/skip`: the next occurrence, or the one at `at` of the body.
    pub(crate) async fn skip_occurrence(
        &self,
        name: &str,
        request: &Request,
        caller: &str,
    ) -> Result<Response<Body>, ApiError> {
        let at = occurrence_to_skip(request)?;
        let change = |mut record: ScheduleRecord, recurrence: &Recurrence, now| match record
            .skip(at, recurrence, now)
        {
            Skip::Skipped(_) => Ok(record),
            Skip::Full => Err(ApiError::conflict(format!(
                "{SKIPPED_MAX} occurrences are skipped already, as many as there may be. Pause the schedule."
            ))),
            Skip::NotUpcoming if at.is_some() => Err(Problem::invalid(vec![Fault::new(
                "#/at",
                "is no occurrence to come: `next` of the schedule shows them",
            )])
            .into()),
            Skip::NotUpcoming => Err(ApiError::conflict(
                "There is no occurrence to skip: the schedule is paused, or has ended.",
            )),
        };
        self.change_schedule(name, caller, AuditAction::SkipOccurrence, change)
            .await
    }

    /// Changes what comes of a schedule, by the rule, and has its next occurrence awaited.
    async fn change_schedule(
        &self,
        name: &str,
        caller: &str,
        action: AuditAction,
        change: impl Fn(ScheduleRecord, &Recurrence, Timestamp) -> Result<ScheduleRecord, ApiError> + Send + Sync,
    ) -> Result<Response<Body>, ApiError> {
        let record = self.find_schedule(name).await?.ok_or_else(no_schedule)?;
        self.require_own("schedule", &record.caller, caller)?;
        let now = self.clock.now();
        let mut changed = Err(no_schedule());
        let mut rule = |stored: Option<ScheduleRecord>| {
            let record = stored?;
            let schedule = RecurringNotification::parse(&record.document).map_err(Problem::invalid);
            changed = schedule
                .map_err(ApiError::from)
                .and_then(|schedule| change(record, &schedule.recurrence, now));
            changed.as_ref().ok().cloned()
        };
        self.registry.update_record(name, &mut rule).await?;
        let record = changed?;
        self.await_occurrence(name, &record).await?;
        action.of_schedule(caller, name);
        let shown = ShownSchedule::of(name, record, Detail::Whole, now);
        Ok(json(StatusCode::OK, &shown))
    }

    /// Enqueues the message of the occurrence that is due. One that waits for it already does no harm.
    async fn await_occurrence(&self, name: &str, record: &ScheduleRecord) -> Result<(), ApiError> {
        if let Some(due) = Occurrence::due_of(name, record) {
            let sent = self.events_queue.send(vec![due.message(self.clock.now())]).await;
            sent.map_err(|error| ApiError::from(error).after_a_change())?;
        }
        Ok(())
    }

    async fn find_schedule(&self, name: &str) -> Result<Option<ScheduleRecord>, ApiError> {
        if !is_route_name(name) {
            return Ok(None);
        }
        Ok(self.registry.find_record(name).await?)
    }
}

/// Refuses times that have all passed, unless the schedule has them already and has ended by itself.
fn require_occurrence(
    earlier: Option<&ScheduleRecord>,
    recurrence: &Recurrence,
    now: Timestamp,
) -> Result<(), ApiError> {
    let has_same = |earlier: &ScheduleRecord| {
        RecurringNotification::parse(&earlier.document).is_ok_and(|earlier| earlier.recurrence == *recurrence)
    };
    if recurrence.next_after(now).is_some() || earlier.is_some_and(has_same) {
        return Ok(());
    }
    let fault = Fault::new(
        "#/endsAt",
        "leaves no occurrence: the first would not be before it",
    );
    Err(Problem::invalid(vec![fault]).into())
}

/// The occurrence that the body names, if there is a body.
fn occurrence_to_skip(request: &Request) -> Result<Option<Timestamp>, ApiError> {
    if bytes(request).is_empty() {
        return Ok(None);
    }
    let fault = |pointer: &str, detail: &str| Problem::invalid(vec![Fault::new(pointer, detail)]);
    let document = document(request)?.value;
    if document.is_null() {
        return Ok(None);
    }
    let Some(object) = document.as_object() else {
        let detail = "must be an object like {\"at\": \"2026-12-31T09:00:00+01:00\"}";
        return Err(fault("#", detail).into());
    };
    if let Some(other) = object.keys().find(|name| *name != "at") {
        let detail = "is not a field here: it may have `at`";
        return Err(fault(&pointer("#", other), detail).into());
    }
    let Some(at) = object.get("at") else {
        return Ok(None);
    };
    let at = at.as_str().and_then(|text| text.parse().ok());
    let wrong = || {
        fault(
            "#/at",
            "must be a time with offset (RFC 3339), as `next` of the schedule shows it",
        )
    };
    Ok(Some(at.ok_or_else(wrong)?))
}

/// Why the notification of a schedule would be refused, by the fields of the schedule.
fn in_schedule(error: acceptance::Error) -> ApiError {
    match error {
        acceptance::Error::Invalid(faults) => {
            let faults = faults.into_iter();
            let moved = faults.map(|fault| Fault::new(pointer_in_schedule(&fault.pointer), fault.detail));
            Problem::invalid(moved.collect()).into()
        }
        other => other.into(),
    }
}

fn no_schedule() -> ApiError {
    ApiError::not_found("There is no schedule of this name.")
}
