//! What waits longer than SQS can: a one-time schedule in EventBridge Scheduler that sends the message when it is due.

use std::fmt;

use botframework::http::HttpTransport;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::aws::signed::{Client, Error};
use crate::clock::Clock;
use crate::config::{self, Environment, variable};
use crate::digest::sha256_hex;
use crate::queue::Message;

/// Most bytes that a schedule hands to its target: 256 KiB.
const INPUT_BYTES_MAX: usize = 256 * 1024;

/// With this in its input, Scheduler puts something of its own in its place.
const KEYWORD: &str = "<aws.scheduler.";

/// Requests made for one schedule.
const ATTEMPTS_MAX: u32 = 2;

/// The schedules that bring messages later than a queue itself can. Cheap to clone.
#[derive(Clone)]
pub struct Schedules {
    client: Client,
    group: String,
    role_arn: String,
}

/// What Scheduler calls a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueueArn(String);

impl Schedules {
    /// The schedules by `HERALD_SCHEDULE_GROUP` and `HERALD_SCHEDULER_ROLE_ARN`; none if neither is set. Scheduler's
    /// address and keys are found as [`Sdk::new`](crate::aws::Sdk::new) finds them; `AWS_ENDPOINT_URL_SCHEDULER` leads
    /// elsewhere.
    ///
    /// # Errors
    /// When one of the variables is set and not the other, or one of the platform's is missing; it names it.
    pub fn from_environment(
        environment: &Environment<'_>,
        transport: &HttpTransport,
        clock: &Clock,
    ) -> Result<Option<Self>, config::Error> {
        let set =
            [variable::SCHEDULE_GROUP, variable::SCHEDULER_ROLE_ARN].map(|name| environment.optional(name));
        if set.iter().all(Option::is_none) {
            return Ok(None);
        }
        Ok(Some(Self {
            client: Client::new(environment, transport.clone(), clock.clone())?,
            group: environment.required(variable::SCHEDULE_GROUP)?,
            role_arn: environment.required(variable::SCHEDULER_ROLE_ARN)?,
        }))
    }

    /// What Scheduler calls the queue with this URL: it ends in the account and the queue's name, and lies in our region
    /// and in the partition of our role.
    pub(super) fn arn(&self, url: &str) -> Option<QueueArn> {
        let mut segments = url.trim_end_matches('/').rsplit('/');
        let (name, account) = (segments.next()?, segments.next()?);
        let partition = self.role_arn.strip_prefix("arn:")?.split(':').next()?;
        let known =
            !name.is_empty() && account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let region = self.client.region();
        known.then(|| QueueArn(format!("arn:{partition}:sqs:{region}:{account}:{name}")))
    }

    /// Has the message sent to the queue when its delay is over.
    ///
    /// The schedule goes by a digest of the message and of the second in which it is due, so that the same message put off
    /// twice comes once. It comes without its group: a schedule can name that of a FIFO queue only.
    ///
    /// # Errors
    /// When Scheduler did not take it, as far as we know.
    pub(super) async fn put_off(&self, message: &Message, queue: &QueueArn) -> Result<(), Error> {
        const OPERATION: &str = "scheduler:CreateSchedule";
        let due = due(self.client.now(), message);
        let name = sha256_hex(format!("{}\n{}\n{}", queue.0, due.as_second(), message.body).as_bytes());
        let schedule = json!({
            "GroupName": self.group,
            // A whole second prints as `2027-01-15T08:00:00Z`.
            "ScheduleExpression": format!("at({})", due.to_string().trim_end_matches('Z')),
            "ScheduleExpressionTimezone": "UTC",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": {"Arn": queue.0, "RoleArn": self.role_arn, "Input": message.body},
        });
        let mut attempts = 1;
        loop {
            let request = Request::post(format!("{}/schedules/{name}", self.client.scheduler()))
                .header(CONTENT_TYPE, "application/json")
                .body(schedule.to_string());
            match self.client.call(OPERATION, "scheduler", request).await {
                Ok(_) => return Ok(()),
                // It stands: this is a repetition, or the answer to the attempt before was lost.
                Err(Error::Refused { status, .. }) if status == StatusCode::CONFLICT => return Ok(()),
                Err(error) if attempts < ATTEMPTS_MAX && error.may_pass() => attempts += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

impl fmt::Debug for Schedules {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Schedules")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

/// Whether a schedule can hold the message, and bring it as it is.
pub(super) fn can_hold(message: &Message) -> bool {
    message.body.len() <= INPUT_BYTES_MAX && !message.body.contains(KEYWORD)
}

/// When the message is due, in the whole seconds of a schedule: not before its time.
fn due(now: Timestamp, message: &Message) -> Timestamp {
    let delay = SignedDuration::try_from(message.delay).unwrap_or(SignedDuration::MAX);
    let due = now.saturating_add(delay).unwrap_or(Timestamp::MAX);
    let seconds = due.as_second() + i64::from(due.subsec_nanosecond() > 0);
    Timestamp::from_second(seconds).unwrap_or(due)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn schedules(region: &str, role_arn: &str) -> Schedules {
        let environment = Environment::read_by(|name| {
            let value = match name {
                "AWS_REGION" => region,
                "HERALD_SCHEDULER_ROLE_ARN" => role_arn,
                _ => "made-up",
            };
            Some(value.to_owned())
        });
        let transport = HttpTransport::builder().build().unwrap();
        let clock = Clock::told_by(|| Timestamp::UNIX_EPOCH);
        Schedules::from_environment(&environment, &transport, &clock)
            .unwrap()
            .unwrap()
    }

    #[test]
    fn a_queue_goes_by_its_arn() {
        let arn = |region, role, url| schedules(region, role).arn(url).map(|arn| arn.0);
        assert_eq!(
            arn(
                "eu-west-1",
                "arn:aws:iam::123456789012:role/scheduler",
                "https://sqs.eu-west-1.amazonaws.com/123456789012/herald-Plans"
            ),
            Some("arn:aws:sqs:eu-west-1:123456789012:herald-Plans".to_owned())
        );
        assert_eq!(
            arn(
                "cn-north-1",
                "arn:aws-cn:iam::123456789012:role/scheduler",
                "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/Plans/"
            ),
            Some("arn:aws-cn:sqs:cn-north-1:123456789012:Plans".to_owned())
        );
        for (role, url) in [
            ("made-up", "http://127.0.0.1/123456789012/Plans"),
            ("arn:aws:iam::1:role/x", "http://127.0.0.1/Plans"),
            ("arn:aws:iam::1:role/x", "http://127.0.0.1/12345678901x/Plans"),
            ("arn:aws:iam::1:role/x", ""),
        ] {
            assert_eq!(arn("eu-west-1", role, url), None, "{url}");
        }
    }

    #[test]
    fn a_message_is_due_in_the_first_whole_second_that_is_not_too_early() {
        let due_in = |milliseconds| {
            let message = Message::json(&(), Duration::from_millis(milliseconds));
            due(Timestamp::from_millisecond(10_500).unwrap(), &message).as_millisecond()
        };
        assert_eq!(due_in(0), 11_000);
        assert_eq!(due_in(500), 11_000);
        assert_eq!(due_in(501), 12_000);
        let for_ever = Message::json(&(), Duration::MAX);
        assert!(due(Timestamp::UNIX_EPOCH, &for_ever) > Timestamp::from_second(200_000_000_000).unwrap());
    }

    #[test]
    fn a_schedule_holds_what_it_brings_unchanged() {
        let message = |body: String| Message::json(&body, Duration::ZERO);
        assert!(can_hold(&message("x".repeat(INPUT_BYTES_MAX - 2))));
        assert!(!can_hold(&message("x".repeat(INPUT_BYTES_MAX - 1))));
        assert!(can_hold(&message("<aws>".into())));
        assert!(!can_hold(&message("a <aws.scheduler.attempt-number> b".into())));
    }

    #[test]
    fn half_a_configuration_is_an_error_that_names_the_other_half() {
        for (set, missing) in [
            ("HERALD_SCHEDULE_GROUP", "HERALD_SCHEDULER_ROLE_ARN"),
            ("HERALD_SCHEDULER_ROLE_ARN", "HERALD_SCHEDULE_GROUP"),
        ] {
            let environment = Environment::read_by(|name| {
                (name == set || name.starts_with("AWS_")).then(|| "made-up".to_owned())
            });
            let transport = HttpTransport::builder().build().unwrap();
            let error = Schedules::from_environment(&environment, &transport, &Clock::system()).unwrap_err();
            assert_eq!(error.to_string(), format!("{missing} is not set"));
        }
        let nothing = Environment::read_by(|_| None);
        let transport = HttpTransport::builder().build().unwrap();
        let schedules = Schedules::from_environment(&nothing, &transport, &Clock::system());
        assert!(schedules.unwrap().is_none());
    }
}
