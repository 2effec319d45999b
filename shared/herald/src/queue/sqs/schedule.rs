//! Messages that wait longer than SQS can: a one-time schedule in EventBridge Scheduler sends each when it is due.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::aws::service::{Request, SCHEDULER, ServiceClient};
use crate::aws::{Error, Sdk};
use crate::clock::Clock;
use crate::config::{self, Environment, variable};
use crate::digest::sha256_hex;
use crate::queue::Message;
use crate::time::later;

/// Most bytes that a schedule hands to its target: 256 KiB.
const INPUT_BYTES_MAX: usize = 256 * 1024;

/// Scheduler replaces this in a schedule's input by something of its own.
const KEYWORD: &str = "<aws.scheduler.";

/// Attempts to create one schedule.
const ATTEMPTS: u32 = 2;

/// Scheduler tries to send a message again for a day, the longest it can, and at most so many times. Then the message goes
/// to the dead-letter queue.
const SEND_RETRIES: i32 = 185;
const SEND_RETRY_SECONDS: i32 = 24 * 60 * 60;

/// The schedules that bring messages later than a queue itself can. Cheap to clone.
#[derive(Clone)]
pub struct Schedules {
    client: ServiceClient,
    clock: Clock,
    region: String,
    group: String,
    role_arn: String,
}

/// The ARN of a queue, which a schedule sends to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueueArn(String);

/// Where a schedule sends its message.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) queue: QueueArn,
    /// Gets a message that Scheduler cannot send.
    pub(super) dead_letters: Option<QueueArn>,
}

impl Schedules {
    /// The schedules in the group `HERALD_SCHEDULE_GROUP`, under the role `HERALD_SCHEDULER_ROLE_ARN`; none if neither is
    /// set.
    ///
    /// # Errors
    /// When only one of the variables is set; it names the other.
    pub fn from_environment(
        environment: &Environment<'_>,
        sdk: &Sdk,
        clock: &Clock,
    ) -> Result<Option<Self>, config::Error> {
        let set =
            [variable::SCHEDULE_GROUP, variable::SCHEDULER_ROLE_ARN].map(|name| environment.optional(name));
        if set.iter().all(Option::is_none) {
            return Ok(None);
        }
        Ok(Some(Self {
            client: ServiceClient::new(SCHEDULER, &sdk.config(ATTEMPTS)),
            clock: clock.clone(),
            region: sdk.region().to_owned(),
            group: environment.required(variable::SCHEDULE_GROUP)?,
            role_arn: environment.required(variable::SCHEDULER_ROLE_ARN)?,
        }))
    }

    /// The ARN of the queue with this URL: the URL ends in the account and the queue's name, and the queue is in our
    /// region and in the partition of our role.
    pub(super) fn arn(&self, url: &str) -> Option<QueueArn> {
        let mut segments = url.trim_end_matches('/').rsplit('/');
        let (name, account) = (segments.next()?, segments.next()?);
        let partition = self.role_arn.strip_prefix("arn:")?.split(':').next()?;
        let is_queue =
            !name.is_empty() && account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let region = &self.region;
        is_queue.then(|| QueueArn(format!("arn:{partition}:sqs:{region}:{account}:{name}")))
    }

    /// Creates a schedule that sends the message to the queue when its delay is over.
    ///
    /// The schedule's name is a digest of the message and of the second in which it is due, so the same message scheduled
    /// twice is sent once. The message loses its group: a schedule can name the group of a FIFO queue only.
    pub(super) async fn schedule(&self, message: &Message, to: &Destination) -> Result<(), Error> {
        const OPERATION: &str = "scheduler:CreateSchedule";
        let due = due(self.clock.now(), message);
        let name = sha256_hex(format!("{}\n{}\n{}", to.queue.0, due.as_second(), message.body).as_bytes());
        let mut target = json!({
            "Arn": to.queue.0,
            "RoleArn": self.role_arn,
            "Input": message.body,
            "RetryPolicy": {"MaximumRetryAttempts": SEND_RETRIES, "MaximumEventAgeInSeconds": SEND_RETRY_SECONDS},
        });
        if let Some(QueueArn(arn)) = &to.dead_letters {
            target["DeadLetterConfig"] = json!({"Arn": arn});
        }
        // A whole second prints as `2027-01-15T08:00:00Z`.
        let at = format!("at({})", due.to_string().trim_end_matches('Z'));
        let schedule = json!({
            "ClientToken": name,
            "GroupName": self.group,
            "ScheduleExpression": at,
            "ScheduleExpressionTimezone": "UTC",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": target,
        });
        let request = Request::to_path(format!("/schedules/{name}"), &schedule);
        let created = self.client.call(OPERATION, request).await;
        match created {
            // It exists: this is a repetition, or the response to an earlier attempt was lost.
            Ok(_) | Err(Error::Refused { status: 409, .. }) => Ok(()),
            Err(error) => Err(error),
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

/// Whether a schedule can hold the message and send it unchanged.
pub(super) fn fits(message: &Message) -> bool {
    message.body.len() <= INPUT_BYTES_MAX && !message.body.contains(KEYWORD)
}

/// When the message is due, rounded up to the whole seconds of a schedule.
fn due(now: Timestamp, message: &Message) -> Timestamp {
    let delay = SignedDuration::try_from(message.delay).unwrap_or(SignedDuration::MAX);
    let due = later(now, delay);
    let seconds = due.as_second() + i64::from(due.subsec_nanosecond() > 0);
    Timestamp::from_second(seconds).unwrap_or(due)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use botframework::http::HttpTransport;

    use super::*;

    fn from(environment: &Environment<'_>) -> Result<Option<Schedules>, config::Error> {
        let transport = HttpTransport::builder().build().unwrap();
        let sdk = Sdk::new(environment, &transport).unwrap();
        Schedules::from_environment(environment, &sdk, &Clock::system())
    }

    fn schedules(region: &str, role_arn: &str) -> Schedules {
        let environment = Environment::from_fn(|name| {
            let value = match name {
                "AWS_REGION" => region,
                "HERALD_SCHEDULER_ROLE_ARN" => role_arn,
                _ => "made-up",
            };
            Some(value.to_owned())
        });
        from(&environment).unwrap().unwrap()
    }

    #[test]
    fn the_url_of_a_queue_gives_its_arn() {
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
    fn a_due_time_is_rounded_up_to_a_whole_second() {
        let due_in = |milliseconds| {
            let message = Message::text("", Duration::from_millis(milliseconds));
            due(Timestamp::from_millisecond(10_500).unwrap(), &message).as_millisecond()
        };
        assert_eq!(due_in(0), 11_000);
        assert_eq!(due_in(500), 11_000);
        assert_eq!(due_in(501), 12_000);
        let for_ever = Message::text("", Duration::MAX);
        assert!(due(Timestamp::UNIX_EPOCH, &for_ever) > Timestamp::from_second(200_000_000_000).unwrap());
    }

    #[test]
    fn a_message_that_scheduler_would_change_or_refuse_is_not_scheduled() {
        let message = |body: String| Message::text(body, Duration::ZERO);
        assert!(fits(&message("x".repeat(INPUT_BYTES_MAX))));
        assert!(!fits(&message("x".repeat(INPUT_BYTES_MAX + 1))));
        assert!(fits(&message("<aws>".into())));
        assert!(!fits(&message("a <aws.scheduler.attempt-number> b".into())));
    }

    #[test]
    fn half_a_configuration_is_an_error_that_names_the_missing_half() {
        for (set, missing) in [
            ("HERALD_SCHEDULE_GROUP", "HERALD_SCHEDULER_ROLE_ARN"),
            ("HERALD_SCHEDULER_ROLE_ARN", "HERALD_SCHEDULE_GROUP"),
        ] {
            let environment = Environment::from_fn(|name| {
                (name == set || name.starts_with("AWS_")).then(|| "made-up".to_owned())
            });
            let error = from(&environment).unwrap_err();
            assert_eq!(error.to_string(), format!("{missing} is not set"));
        }
        let nothing = Environment::from_fn(|name| name.starts_with("AWS_").then(|| "made-up".to_owned()));
        assert!(from(&nothing).unwrap().is_none());
    }
}
