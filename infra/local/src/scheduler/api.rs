//! Scheduler over HTTP: `POST`, `GET` and `DELETE` of `/schedules/{Name}`.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{StatusCode, header::CONTENT_TYPE};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{AfterRun, AlreadyThere, Name, Schedule, Scheduler};
use crate::{
    service_api::ServiceError,
    template::{AwsLocation, Stack},
};

/// The longest name, in characters.
const NAME_BYTES: usize = 64;
/// The largest input of a target, in bytes.
const INPUT_BYTES: usize = 256 * 1024;
/// The service principal of schedules, which their roles must trust.
const PRINCIPAL: &str = "scheduler.amazonaws.com";

/// The schedules as an HTTP service.
pub(crate) fn router(scheduler: Scheduler, stack: &Stack, location: &AwsLocation) -> Router {
    let service = Service::new(scheduler, stack, location);
    Router::new()
        .route("/schedules/{name}", post(create).get(show).delete(delete))
        .fallback(|| async {
            let unknown = ServiceError::new("UnknownOperationException", "there is no such operation");
            answered(Err(unknown.with_status(StatusCode::NOT_FOUND)))
        })
        .with_state(service)
}

#[derive(Clone)]
struct Service {
    scheduler: Scheduler,
    location: AwsLocation,
    known: Arc<Known>,
}

/// The valid targets and roles of a schedule.
struct Known {
    groups: Vec<String>,
    /// The queues' names by their ARNs.
    queues: BTreeMap<String, String>,
    /// The ARNs of the roles that Scheduler may assume.
    roles: Vec<String>,
}

/// The supported input of `CreateSchedule`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct CreateSchedule {
    group_name: Option<String>,
    schedule_expression: String,
    schedule_expression_timezone: Option<String>,
    flexible_time_window: FlexibleTimeWindow,
    action_after_completion: Option<String>,
    target: Target,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct FlexibleTimeWindow {
    mode: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Target {
    arn: String,
    role_arn: String,
    input: String,
    dead_letter_config: Option<DeadLetterConfig>,
    retry_policy: Option<RetryPolicy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DeadLetterConfig {
    arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RetryPolicy {
    maximum_event_age_in_seconds: Option<u32>,
    maximum_retry_attempts: Option<u32>,
}

impl RetryPolicy {
    /// Within the bounds of Scheduler. The local host itself does not try again: its queues are always there.
    fn is_valid(&self) -> bool {
        self.maximum_event_age_in_seconds
            .is_none_or(|age| (60..=86_400).contains(&age))
            && self.maximum_retry_attempts.is_none_or(|retries| retries <= 185)
    }
}

/// The query that names a schedule's group.
#[derive(Deserialize)]
struct InGroup {
    #[serde(rename = "groupName")]
    group: Option<String>,
}

fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::new("ValidationException", message)
}

fn not_found(message: impl Into<String>) -> ServiceError {
    ServiceError::new("ResourceNotFoundException", message).with_status(StatusCode::NOT_FOUND)
}

async fn create(State(service): State<Service>, Path(name): Path<String>, body: Bytes) -> Response {
    answered(service.create(name, &body))
}

async fn show(
    State(service): State<Service>,
    Path(name): Path<String>,
    Query(InGroup { group }): Query<InGroup>,
) -> Response {
    answered(service.show(name, group))
}

async fn delete(
    State(service): State<Service>,
    Path(name): Path<String>,
    Query(InGroup { group }): Query<InGroup>,
) -> Response {
    answered(service.delete(name, group))
}

fn answered(outcome: Result<Value, ServiceError>) -> Response {
    let json = (CONTENT_TYPE.as_str(), "application/json");
    match outcome {
        Ok(answer) => ([json], answer.to_string()).into_response(),
        Err(error) => {
            let body = json!({ "Message": error.message }).to_string();
            (error.status, [json, ("x-amzn-errortype", error.code)], body).into_response()
        }
    }
}

impl Service {
    fn new(scheduler: Scheduler, stack: &Stack, location: &AwsLocation) -> Service {
        let queues = stack.queues.iter();
        let trusting = stack
            .roles
            .iter()
            .filter(|role| role.services.iter().any(|service| service == PRINCIPAL));
        Service {
            scheduler,
            location: location.clone(),
            known: Arc::new(Known {
                groups: stack.schedule_groups.clone(),
                queues: queues
                    .map(|queue| (queue.arn.clone(), queue.name.clone()))
                    .collect(),
                roles: trusting.map(|role| role.arn.clone()).collect(),
            }),
        }
    }

    fn create(&self, name: String, body: &[u8]) -> Result<Value, ServiceError> {
        let mut document: Value = serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?;
        // The SDK sends one with each request. It is ignored: repetitions are recognised by the name alone.
        document
            .as_object_mut()
            .and_then(|fields| fields.remove("ClientToken"));
        let request = CreateSchedule::deserialize(&document)
            .map_err(|error| invalid(format!("not supported by the local host: {error}")))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=NAME_BYTES).contains(&name.len()) || !name.bytes().all(plain) {
            return Err(invalid(format!("{name:?} is not a valid name")));
        }
        let due = due(&request)?;
        if request.flexible_time_window.mode != "OFF" {
            return Err(invalid("the local host supports no flexible time window"));
        }
        let then = match request.action_after_completion.as_deref() {
            Some("DELETE") => AfterRun::Delete,
            None | Some("NONE") => AfterRun::Keep,
            Some(other) => return Err(invalid(format!("{other:?} is not an action"))),
        };
        let Target {
            arn,
            role_arn,
            input,
            dead_letter_config,
            retry_policy,
        } = request.target;
        let queue = self.queue(&arn)?;
        let dead_letters = dead_letter_config.map(|it| self.queue(&it.arn)).transpose()?;
        if !retry_policy.is_none_or(|policy| policy.is_valid()) {
            return Err(invalid(
                "an event's age is 60 to 86400 s, and there are at most 185 retries",
            ));
        }
        if !self.known.roles.contains(&role_arn) {
            let message = format!("{role_arn} is not a role that AWS EventBridge Scheduler may assume");
            return Err(invalid(message));
        }
        if !(1..=INPUT_BYTES).contains(&input.len()) {
            let message = format!(
                "an input has between 1 and {INPUT_BYTES} bytes, not {}",
                input.len()
            );
            return Err(invalid(message));
        }
        let name = self.name(name, request.group_name)?;
        let arn = self
            .location
            .arn("scheduler", &format!("schedule/{}/{}", name.0, name.1));
        document["Name"] = name.1.as_str().into();
        document["Arn"] = arn.as_str().into();
        document["State"] = "ENABLED".into();
        let conflict = format!("Schedule {} already exists.", name.1);
        let schedule = Schedule {
            due,
            at: super::instant(due),
            queue,
            dead_letters,
            input,
            then,
            document,
        };
        match self.scheduler.create(name, schedule) {
            Ok(()) => Ok(json!({ "ScheduleArn": arn })),
            Err(AlreadyThere) => {
                Err(ServiceError::new("ConflictException", conflict).with_status(StatusCode::CONFLICT))
            }
        }
    }

    /// The name of the queue with this ARN.
    fn queue(&self, arn: &str) -> Result<String, ServiceError> {
        let known = self.known.queues.get(arn).cloned();
        known.ok_or_else(|| invalid(format!("there is no queue {arn}")))
    }

    fn show(&self, name: String, group: Option<String>) -> Result<Value, ServiceError> {
        let name = self.name(name, group)?;
        self.scheduler.show(&name).ok_or_else(|| absent(&name))
    }

    fn delete(&self, name: String, group: Option<String>) -> Result<Value, ServiceError> {
        let name = self.name(name, group)?;
        let deleted = self.scheduler.delete(&name);
        deleted.map(|_| json!({})).ok_or_else(|| absent(&name))
    }

    /// The account's default group exists without a template.
    fn name(&self, name: String, group: Option<String>) -> Result<Name, ServiceError> {
        let group = group.unwrap_or_else(|| "default".to_owned());
        if group == "default" || self.known.groups.contains(&group) {
            Ok((group, name))
        } else {
            Err(not_found(format!("Schedule group {group} does not exist.")))
        }
    }
}

fn absent((_, name): &Name) -> ServiceError {
    not_found(format!("Schedule {name} does not exist."))
}

/// The time of `at(yyyy-mm-ddThh:mm:ss)`, in UTC by default.
fn due(request: &CreateSchedule) -> Result<Timestamp, ServiceError> {
    let zone = request.schedule_expression_timezone.as_deref();
    if zone.is_some_and(|zone| zone != "UTC") {
        return Err(invalid("the local host supports only the time zone UTC"));
    }
    let expression = &request.schedule_expression;
    let wrong = || {
        invalid(format!(
            "the local host does not support the schedule {expression:?}"
        ))
    };
    let moment = expression
        .strip_prefix("at(")
        .and_then(|rest| rest.strip_suffix(')'))
        .filter(|moment| moment.len() == "yyyy-mm-ddThh:mm:ss".len())
        .ok_or_else(wrong)?;
    let moment: DateTime = moment.parse().map_err(|_| wrong())?;
    let zoned = moment.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
    Ok(zoned.timestamp())
}

#[cfg(test)]
mod tests;
