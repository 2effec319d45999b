use std::time::Duration;

use super::*;
use crate::{
    clock,
    event::Events,
    sqs::Broker,
    template::tests::{deployed, location},
};

const ROLE: &str = "arn:aws:iam::123456789012:role/Waker";
const QUEUE: &str = "arn:aws:sqs:eu-west-1:123456789012:Work";

fn service() -> Service {
    let stack = deployed(
        "
Resources:
  Work: {Type: AWS::SQS::Queue}
  Failed: {Type: AWS::SQS::Queue}
  Group: {Type: AWS::Scheduler::ScheduleGroup}
  Waker:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: {Statement: [{Principal: {Service: [scheduler.amazonaws.com]}, Action: sts:AssumeRole}]}
  Other:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: {Statement: [{Principal: {Service: lambda.amazonaws.com}, Action: sts:AssumeRole}]}
",
    )
    .unwrap();
    let scheduler = Scheduler::new(Broker::new(&stack, Events::default()), Events::default());
    Service::new(scheduler, &stack, &location())
}

/// A schedule that is due in so many seconds.
fn schedule(seconds: i64) -> Value {
    let at = Timestamp::from_second(clock::now().as_second() + seconds).unwrap();
    json!({
        "GroupName": "Group",
        "ScheduleExpression": format!("at({})", at.strftime("%Y-%m-%dT%H:%M:%S")),
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": { "Mode": "OFF" },
        "ActionAfterCompletion": "DELETE",
        "ClientToken": "token",
        "Target": {
            "Arn": QUEUE,
            "RoleArn": ROLE,
            "Input": "wake up",
            "DeadLetterConfig": { "Arn": format!("{}Failed", QUEUE.trim_end_matches("Work")) },
            "RetryPolicy": { "MaximumEventAgeInSeconds": 86_400, "MaximumRetryAttempts": 185 },
        },
    })
}

fn create(service: &Service, name: &str, schedule: &Value) -> Result<Value, ServiceError> {
    service.create(name.to_owned(), schedule.to_string().as_bytes())
}

fn received(service: &Service) -> Vec<String> {
    received_from(service, "Work")
}

fn received_from(service: &Service, queue: &str) -> Vec<String> {
    let received = service.scheduler.broker.receive(queue, 10, None).unwrap();
    received
        .into_iter()
        .map(|received| received.message.body)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_schedule_sends_its_input_when_it_is_due_and_is_gone() {
    let service = service();
    let running = tokio::spawn(service.scheduler.clone().run());
    let start = tokio::time::Instant::now();
    create(&service, "later", &schedule(7_200)).unwrap();
    create(&service, "sooner", &schedule(3_600)).unwrap();
    assert_eq!((received(&service), service.scheduler.waiting()), (vec![], 2));
    service.scheduler.broker.wait_visible("Work").await.unwrap();
    // In whole seconds of the real time, of which the test takes a little itself.
    let waited = start.elapsed();
    assert!(
        (Duration::from_mins(50)..=Duration::from_hours(1)).contains(&waited),
        "{waited:?}"
    );
    assert_eq!(received(&service), ["wake up"]);
    let group = || Some("Group".to_owned());
    assert_eq!(service.show("sooner".into(), group()).unwrap_err().status, 404);
    assert_eq!(service.show("later".into(), group()).unwrap()["State"], "ENABLED");
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_due_already_is_sent_at_once() {
    let service = service();
    let running = tokio::spawn(service.scheduler.clone().run());
    create(&service, "late", &schedule(-10)).unwrap();
    service.scheduler.broker.wait_visible("Work").await.unwrap();
    assert_eq!(received(&service), ["wake up"]);
    running.abort();
}

#[tokio::test]
async fn a_schedule_that_is_to_be_kept_is_kept_and_sends_once() {
    let service = service();
    let mut kept = schedule(3_600);
    kept["ActionAfterCompletion"] = "NONE".into();
    create(&service, "kept", &kept).unwrap();
    assert_eq!(service.scheduler.bring_forward(), 1);
    assert_eq!(
        (service.scheduler.bring_forward(), service.scheduler.waiting()),
        (0, 0)
    );
    assert_eq!(received(&service), ["wake up"]);
    assert_eq!(create(&service, "kept", &kept).unwrap_err().status, 409);
}

#[tokio::test]
async fn what_cannot_be_sent_is_a_dead_letter() {
    let service = service();
    create(&service, "later", &schedule(3_600)).unwrap();
    // As after a restart with a template without the queue.
    for schedule in service.scheduler.lock().schedules.values_mut() {
        schedule.queue = "Gone".to_owned();
    }
    service.scheduler.bring_forward();
    assert_eq!(received_from(&service, "Failed"), ["wake up"]);
    assert_eq!(service.scheduler.waiting(), 0);
}

#[tokio::test]
async fn what_waits_can_be_brought_forward() {
    let service = service();
    for name in ["a", "b"] {
        create(&service, name, &schedule(86_400)).unwrap();
    }
    assert_eq!(service.scheduler.bring_forward(), 2);
    assert_eq!(received(&service).len(), 2);
    assert_eq!(service.scheduler.waiting(), 0);
}

#[tokio::test]
async fn a_name_is_taken_once_in_its_group_until_it_is_deleted() {
    let service = service();
    let group = || Some("Group".to_owned());
    let answer = create(&service, "name", &schedule(3_600)).unwrap();
    assert_eq!(
        answer["ScheduleArn"],
        "arn:aws:scheduler:eu-west-1:123456789012:schedule/Group/name"
    );
    let conflict = create(&service, "name", &schedule(7_200)).unwrap_err();
    assert_eq!(
        (conflict.status.as_u16(), conflict.code),
        (409, "ConflictException")
    );
    let mut elsewhere = schedule(3_600);
    elsewhere["GroupName"].take();
    create(&service, "name", &elsewhere).unwrap();

    service.delete("name".into(), group()).unwrap();
    assert_eq!(
        service.delete("name".into(), group()).unwrap_err().code,
        "ResourceNotFoundException"
    );
    create(&service, "name", &schedule(3_600)).unwrap();
    assert_eq!(service.scheduler.waiting(), 2);
}

#[tokio::test]
async fn what_aws_would_refuse_or_this_host_does_not_do_is_refused() {
    let service = service();
    for (pointer, value, status) in [
        ("/ScheduleExpression", json!("rate(1 minute)"), 400),
        ("/ScheduleExpression", json!("at(2027-01-16T08:00)"), 400),
        ("/ScheduleExpression", json!("at(2027-02-30T08:00:00)"), 400),
        ("/ScheduleExpressionTimezone", json!("Europe/Berlin"), 400),
        ("/FlexibleTimeWindow/Mode", json!("FLEXIBLE"), 400),
        ("/ActionAfterCompletion", json!("REPEAT"), 400),
        (
            "/Target/Arn",
            json!("arn:aws:sqs:eu-west-1:123456789012:Play"),
            400,
        ),
        (
            "/Target/RoleArn",
            json!("arn:aws:iam::123456789012:role/Other"),
            400,
        ),
        (
            "/Target/RoleArn",
            json!("arn:aws:iam::123456789012:role/Nobody"),
            400,
        ),
        ("/Target/Input", json!("x".repeat(INPUT_BYTES + 1)), 400),
        (
            "/Target/DeadLetterConfig",
            json!({"Arn": "arn:aws:sqs:eu-west-1:123456789012:Play"}),
            400,
        ),
        (
            "/Target/RetryPolicy",
            json!({"MaximumEventAgeInSeconds": 59}),
            400,
        ),
        ("/Target/RetryPolicy", json!({"MaximumRetryAttempts": 186}), 400),
        ("/GroupName", json!("Stranger"), 404),
    ] {
        let mut schedule = schedule(3_600);
        *schedule.pointer_mut(pointer).unwrap() = value.clone();
        let fault = create(&service, "name", &schedule).unwrap_err();
        assert_eq!(fault.status, status, "{pointer} {value}");
    }
    let mut more = schedule(3_600);
    more["Target"]["SqsParameters"] = json!({ "MessageGroupId": "tenant" });
    let fault = create(&service, "name", &more).unwrap_err();
    assert!(fault.message.contains("SqsParameters"), "{}", fault.message);
    for name in ["", "two words", &"x".repeat(65)] {
        assert_eq!(
            create(&service, name, &schedule(3_600)).unwrap_err().code,
            "ValidationException"
        );
    }
    assert_eq!(service.scheduler.waiting(), 0);
}
