//! Requests to SQS and Scheduler, and the handling of refused entries.

use std::time::Duration;

use botframework::http::HttpTransport;
use herald::aws::Sdk;
use herald::clock::Clock;
use herald::config::variable;
use herald::queue::sqs::{Queue, Schedules};
use herald::queue::{Error, Message, Queue as _};
use serde_json::{Value, json};
use tests::database::{environment, sdk};
use tests::script::{LOST, Script};

use super::at;

const URL: &str = "http://queue.invalid/000000000000/deliveries";

fn messages(count: usize) -> Vec<Message> {
    (0..count)
        .map(|number| Message {
            body: format!("body {number}"),
            delay: Duration::ZERO,
            group: None,
        })
        .collect()
}

/// A response that accepts all messages except these ids.
fn refusing(ids: &[&str]) -> (u16, Value) {
    let refused = |id: &&str| json!({"Id": id, "SenderFault": false, "Code": "InternalError"});
    let refused: Vec<Value> = ids.iter().map(refused).collect();
    (200, json!({"Successful": [], "Failed": refused}))
}

fn bodies(request: &Value) -> Vec<&str> {
    request["Entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["MessageBody"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn messages_are_sent_ten_at_a_time_and_once_each() {
    let script = Script::of(vec![refusing(&[]); 3]).await;
    Queue::new(&sdk(script.address()), URL)
        .send(messages(25))
        .await
        .unwrap();
    let requests = script.requests();
    assert_eq!(requests.len(), 3);
    assert!(
        requests
            .iter()
            .all(|request| request["QueueUrl"] == URL && bodies(request).len() <= 10)
    );
    let mut sent: Vec<&str> = requests.iter().flat_map(bodies).collect();
    sent.sort_unstable();
    sent.dedup();
    assert_eq!(sent.len(), 25);
}

#[tokio::test]
async fn no_messages_make_no_request() {
    let script = Script::of([]).await;
    Queue::new(&sdk(script.address()), URL)
        .send(Vec::new())
        .await
        .unwrap();
    assert!(script.requests().is_empty());
}

#[tokio::test]
async fn a_message_is_sent_with_its_delay() {
    let script = Script::of([refusing(&[])]).await;
    let delayed = Message {
        body: "later".to_owned(),
        delay: Duration::from_millis(2_500),
        group: None,
    };
    Queue::new(&sdk(script.address()), URL)
        .send(vec![delayed])
        .await
        .unwrap();
    assert_eq!(script.requests()[0]["Entries"][0]["DelaySeconds"], 3);
}

#[tokio::test]
async fn refused_messages_are_retried_once() {
    let script = Script::of([refusing(&["1", "2"]), refusing(&[])]).await;
    Queue::new(&sdk(script.address()), URL)
        .send(messages(4))
        .await
        .unwrap();
    assert_eq!(bodies(&script.requests()[1]), ["body 1", "body 2"]);
}

#[tokio::test]
async fn messages_refused_twice_are_an_error_with_count_and_reason() {
    let script = Script::of([refusing(&["1", "2"]), refusing(&["2"])]).await;
    let error = Queue::new(&sdk(script.address()), URL)
        .send(messages(4))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Refused { refused: 1, sent: 4, code } if code == "InternalError"),
        "{error}"
    );
    assert_eq!(script.requests().len(), 2);
}

#[tokio::test]
async fn an_unavailable_queue_is_an_error() {
    let script = Script::of([]).await;
    let error = Queue::new(&sdk(script.address()), URL)
        .send(messages(1))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }));
    assert_eq!(script.requests().len(), 3, "the SDK tried again");
}

#[tokio::test]
async fn a_message_is_sent_with_its_group_in_sqs_form() {
    let script = Script::of([refusing(&[])]).await;
    let message = || Message::text("1", Duration::ZERO);
    let messages = vec![
        message().in_group("msteams|28:bot|tenant-1"),
        message().in_group("two words"),
        message(),
    ];
    Queue::new(&sdk(script.address()), URL)
        .send(messages)
        .await
        .unwrap();
    let entries = &script.requests()[0]["Entries"];
    assert_eq!(entries[0]["MessageGroupId"], "msteams|28:bot|tenant-1");
    assert_eq!(entries[1]["MessageGroupId"].as_str().unwrap().len(), 64);
    assert_eq!(entries[2].get("MessageGroupId"), None);
}

// ---- Delays longer than the queue allows ----

/// A queue that sends messages due in more than 15 minutes by a schedule.
fn scheduling(script: &Script) -> Queue {
    let variables = [
        (variable::PLANS_QUEUE_URL, URL),
        (
            variable::FAILED_PLANS_QUEUE_URL,
            "http://queue.invalid/000000000000/failed-plans",
        ),
        (variable::SCHEDULE_GROUP, "herald"),
        (
            variable::SCHEDULER_ROLE_ARN,
            "arn:aws:iam::000000000000:role/scheduler",
        ),
    ];
    let environment = environment(script.address(), &variables);
    let transport = HttpTransport::builder().build().unwrap();
    let clock = Clock::from_fn(|| at(0));
    let sdk = Sdk::new(&environment, &transport).unwrap();
    let schedules = Schedules::from_environment(&environment, &sdk, &clock).unwrap();
    Queue::from_environment(&environment, variable::PLANS_QUEUE_URL, &sdk, schedules.as_ref()).unwrap()
}

fn tomorrow() -> Message {
    Message::text("\"tomorrow\"", Duration::from_millis(86_400_500)).in_group("tenant")
}

fn taken() -> (u16, Value) {
    (200, json!({"ScheduleArn": "arn"}))
}

#[tokio::test]
async fn a_message_due_in_more_than_fifteen_minutes_is_one_schedule_and_no_message() {
    let script = Script::of([taken()]).await;
    scheduling(&script).send(vec![tomorrow()]).await.unwrap();
    let (requests, heads) = (script.requests(), script.heads());
    assert_eq!(requests.len(), 1);
    let mut schedule = requests[0].clone();
    let arn = schedule["Target"]["Arn"].take();
    let arn = arn.as_str().unwrap();
    let dead_letters = schedule["Target"]["DeadLetterConfig"]["Arn"].take();
    assert_eq!(dead_letters, arn.replace(":deliveries", ":failed-plans"));
    let token = schedule["ClientToken"].take();
    assert!(
        arn.starts_with("arn:aws:sqs:made-up-") && arn.ends_with(":000000000000:deliveries"),
        "{arn}"
    );
    assert_eq!(
        schedule,
        json!({
            "ClientToken": null,
            "GroupName": "herald",
            "ScheduleExpression": "at(2027-01-16T08:00:01)",
            "ScheduleExpressionTimezone": "UTC",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": {
                "Arn": null,
                "RoleArn": "arn:aws:iam::000000000000:role/scheduler",
                "Input": "\"tomorrow\"",
                "DeadLetterConfig": {"Arn": null},
                "RetryPolicy": {"MaximumEventAgeInSeconds": 86_400, "MaximumRetryAttempts": 185},
            },
        })
    );
    let head = &heads[0];
    let name = head
        .strip_prefix("POST /schedules/")
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    assert_eq!(token, name);
    assert!(
        name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{name}"
    );
    assert!(
        head.contains("/scheduler/aws4_request, SignedHeaders=content-type;host;x-amz-date"),
        "{head}"
    );
}

#[tokio::test]
async fn a_message_deferred_twice_has_one_schedule() {
    let conflict = (409, json!({"Message": "Schedule tomorrow already exists."}));
    let script = Script::of([taken(), conflict, taken(), taken()]).await;
    let queue = scheduling(&script);
    let later = Message {
        delay: tomorrow().delay + Duration::from_secs(1),
        ..tomorrow()
    };
    let other = Message {
        body: "1".to_owned(),
        ..tomorrow()
    };
    for message in [tomorrow(), tomorrow(), later, other] {
        queue.send(vec![message]).await.unwrap();
    }
    let heads = script.heads();
    let mut names: Vec<_> = heads.iter().map(|head| head.lines().next().unwrap()).collect();
    assert_eq!(names.len(), 4);
    assert_eq!(names[0], names[1]);
    names.sort_unstable();
    names.dedup();
    assert_eq!(
        names.len(),
        3,
        "another second and another body are other schedules"
    );
}

#[tokio::test]
async fn after_a_lost_answer_of_scheduler_a_retry_makes_no_second_schedule() {
    let conflict = (409, json!({"Message": "Schedule tomorrow already exists."}));
    let script = Script::of([LOST, conflict]).await;
    scheduling(&script).send(vec![tomorrow()]).await.unwrap();
    let heads = script.heads();
    assert_eq!(heads.len(), 2);
    assert_eq!(heads[0].lines().next(), heads[1].lines().next());
}

#[tokio::test]
async fn a_message_refused_by_scheduler_waits_on_the_queue() {
    let refused = |status| (status, json!({"Message": "no"}));
    let throttled = (
        429,
        json!({"__type": "ThrottlingException", "Message": "Rate exceeded"}),
    );
    for (answers, asked) in [
        // Transient errors are retried once.
        (vec![LOST, LOST], 2),
        (vec![throttled, refused(503)], 2),
        (vec![refused(402)], 1),
        (vec![refused(403)], 1),
    ] {
        let script = Script::of(answers.into_iter().chain([refusing(&[])])).await;
        scheduling(&script).send(vec![tomorrow()]).await.unwrap();
        let requests = script.requests();
        assert_eq!(requests.len(), asked + 1);
        let entry = &requests[asked]["Entries"][0];
        assert_eq!(entry["MessageBody"], "\"tomorrow\"");
        assert_eq!(
            (&entry["DelaySeconds"], &entry["MessageGroupId"]),
            (&json!(900), &json!("tenant"))
        );
    }
}

#[tokio::test]
async fn only_late_messages_that_fit_into_a_schedule_become_one() {
    let script = Script::of([taken(), refusing(&[])]).await;
    let message = |body: &str, seconds| Message::text(json!(body).to_string(), Duration::from_secs(seconds));
    let messages = vec![
        message("now", 0),
        message("in fifteen minutes", 900),
        message("late", 901),
        message(&"long ".repeat(60_000), 901),
        message("<aws.scheduler.execution-id>", 901),
    ];
    scheduling(&script).send(messages).await.unwrap();
    let requests = script.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0]["Target"]["Input"], "\"late\"");
    let delays: Vec<_> = requests[1]["Entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["DelaySeconds"].as_u64().unwrap())
        .collect();
    assert_eq!(delays, [0, 900, 900, 900]);
}

#[tokio::test]
async fn without_schedules_a_message_gets_the_longest_delay_of_the_queue() {
    let script = Script::of([refusing(&[])]).await;
    let queue = Queue::new(&sdk(script.address()), URL);
    queue.send(vec![tomorrow()]).await.unwrap();
    assert_eq!(script.requests()[0]["Entries"][0]["DelaySeconds"], 900);
}

#[test]
fn a_queue_that_no_schedule_can_send_to_is_an_error_that_names_its_variable() {
    let variables = [
        (variable::PLANS_QUEUE_URL, "http://queue.invalid/plans"),
        (variable::SCHEDULE_GROUP, "herald"),
        (
            variable::SCHEDULER_ROLE_ARN,
            "arn:aws:iam::000000000000:role/scheduler",
        ),
    ];
    let environment = environment("127.0.0.1:1".parse().unwrap(), &variables);
    let transport = HttpTransport::builder().build().unwrap();
    let sdk = Sdk::new(&environment, &transport).unwrap();
    let schedules = Schedules::from_environment(&environment, &sdk, &Clock::system()).unwrap();
    let error = Queue::from_environment(&environment, variable::PLANS_QUEUE_URL, &sdk, schedules.as_ref())
        .unwrap_err();
    assert!(
        error.to_string().starts_with("HERALD_PLANS_QUEUE_URL must end"),
        "{error}"
    );
}
