//! The host with a function whose behaviour the event selects.

// Clippy takes only what is marked as a test for one, not what tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{net::SocketAddr, path::Path, time::Duration};

use herald_local::{
    Error, Event, Host, Options,
    client::Client,
    front::{self, ListenError},
    runtime::Failure,
    sqs::Message,
    template::Template,
};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::mpsc};

mod connector;
mod guard;
mod restart;

const TEMPLATE: &str = "
Resources:
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: id, AttributeType: S}]
      KeySchema: [{AttributeName: id, KeyType: HASH}]
      TimeToLiveSpecification: {AttributeName: expires, Enabled: true}
  Work:
    Type: AWS::SQS::Queue
    Properties: {RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 2}}
  Dead:
    Type: AWS::SQS::Queue
  Later:
    Type: AWS::Scheduler::ScheduleGroup
  Waker:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: {Statement: [{Principal: {Service: scheduler.amazonaws.com}, Action: sts:AssumeRole}]}
  Probe:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: ../functions/probe
      Timeout: 1
      MemorySize: 128
      Environment: {Variables: {TABLE: !Ref Table, QUEUE: !Ref Work}}
  Mapping:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      EventSourceArn: !GetAtt Work.Arn
      FunctionName: !Ref Probe
      BatchSize: 10
      FunctionResponseTypes: [ReportBatchItemFailures]
  Integration:
    Type: AWS::ApiGatewayV2::Integration
    Properties: {IntegrationType: AWS_PROXY, IntegrationUri: !GetAtt Probe.Arn, PayloadFormatVersion: '2.0'}
  Route:
    Type: AWS::ApiGatewayV2::Route
    Properties: {RouteKey: 'POST /do/{id}', Target: !Sub 'integrations/${Integration}'}
";

/// Where cargo puts this package's examples: beside the tests.
fn options(template: &str) -> Options {
    let program = std::env::current_exe().unwrap();
    let examples = program.ancestors().nth(2).unwrap().join("examples");
    let mut options = Options::new(Template::parse(template).unwrap(), examples);
    options.retry_visibility = Some(Duration::ZERO);
    options
}

fn anywhere() -> std::net::TcpListener {
    front::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
}

async fn started() -> Host {
    Host::start(anywhere(), &options(TEMPLATE)).await.unwrap()
}

/// Sends the function a word over HTTP, with the content type of JSON but without quotes.
async fn told(host: &Host, word: &str) -> (StatusCode, Value) {
    let url = format!("{}/do/19%3Aabc?a=1", host.url());
    let answer = Client::default().post_text(&url, word).await.unwrap();
    (answer.status, answer.json())
}

async fn next<T>(
    events: &mut mpsc::UnboundedReceiver<Event>,
    mut wanted: impl FnMut(Event) -> Option<T>,
) -> T {
    loop {
        if let Some(found) = wanted(events.recv().await.unwrap()) {
            return found;
        }
    }
}

#[tokio::test]
async fn a_request_goes_to_its_function_and_the_answer_comes_back() {
    let host = started().await;
    let (status, event) = told(&host, "echo").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(event["routeKey"], "POST /do/{id}");
    assert_eq!(event["pathParameters"]["id"], "19:abc");
    assert_eq!(event["rawQueryString"], "a=1");
    host.stop().await;
}

#[tokio::test]
async fn a_request_without_a_route_is_not_found() {
    let host = started().await;
    let answer = Client::default()
        .get(&format!("{}/do/x", host.url()))
        .await
        .unwrap();
    assert_eq!(
        (answer.status, answer.json()),
        (StatusCode::NOT_FOUND, json!({"message": "Not Found"}))
    );
    host.stop().await;
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_before_any_function_sees_it() {
    let host = started().await;
    let mut events = host.events();
    let url = format!("{}/do/x", host.url());
    let answer = Client::default()
        .post_text(&url, &"x".repeat(10 * 1024 * 1024 + 1))
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(matches!(
        events.recv().await,
        Some(Event::Answered { status: 413, .. })
    ));
    host.stop().await;
}

#[tokio::test]
async fn a_function_sees_lambdas_variables_and_the_templates_and_nothing_else() {
    let host = started().await;
    let (_, variables) = told(&host, "environment").await;
    let names: Vec<&str> = variables
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        names,
        [
            "AWS_ACCESS_KEY_ID",
            "AWS_DEFAULT_REGION",
            "AWS_ENDPOINT_URL_DYNAMODB",
            "AWS_ENDPOINT_URL_EVENTBRIDGE",
            "AWS_ENDPOINT_URL_SCHEDULER",
            "AWS_ENDPOINT_URL_SNS",
            "AWS_ENDPOINT_URL_SQS",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
            "AWS_LAMBDA_FUNCTION_NAME",
            "AWS_LAMBDA_FUNCTION_VERSION",
            "AWS_LAMBDA_LOG_GROUP_NAME",
            "AWS_LAMBDA_LOG_STREAM_NAME",
            "AWS_LAMBDA_RUNTIME_API",
            "AWS_REGION",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "HERALD_UNAUTHENTICATED",
            "LAMBDA_TASK_ROOT",
            "QUEUE",
            "TABLE",
            "TZ",
            "_X_AMZN_TRACE_ID",
        ]
    );
    assert_eq!(variables["TABLE"], "Table");
    assert_eq!(
        variables["QUEUE"],
        format!("{}/000000000000/Work", host.sqs_endpoint())
    );
    host.stop().await;
}

#[tokio::test]
async fn a_function_that_hangs_is_killed_at_its_time_out_while_another_process_serves() {
    let host = started().await;
    let mut events = host.events();
    let hanging = host.functions().invoke("probe", r#""hang""#.into());
    let serving = async {
        next(&mut events, |event| {
            matches!(event, Event::Invoked { .. }).then_some(())
        })
        .await;
        told(&host, "process").await.0
    };
    let (hung, served) = tokio::join!(hanging, serving);
    assert!(matches!(hung, Err(Failure::TimedOut(_))), "{hung:?}");
    assert_eq!(served, StatusCode::OK);
    let reason = next(&mut events, |event| match event {
        Event::Stopped { reason, .. } => Some(reason),
        _ => None,
    });
    assert_eq!(reason.await, "it timed out after 1s");
    host.stop().await;
}

#[tokio::test]
async fn a_function_that_crashes_is_started_again() {
    let host = started().await;
    let mut events = host.events();
    let (_, before) = told(&host, "process").await;
    assert_eq!(told(&host, "exit").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    let reason = next(&mut events, |event| match event {
        Event::Stopped { reason, .. } => Some(reason),
        _ => None,
    });
    assert_eq!(reason.await, "it ended by itself (exit status: 3)");
    let (status, after) = told(&host, "process").await;
    assert_eq!(status, StatusCode::OK);
    assert_ne!(before, after);
    host.stop().await;
}

#[tokio::test]
async fn a_killed_function_is_started_again() {
    let host = started().await;
    assert_eq!(host.kill("probe").await.unwrap(), 1);
    assert_eq!(told(&host, "process").await.0, StatusCode::OK);
    assert!(matches!(
        host.kill("stranger").await,
        Err(Failure::NoSuchFunction(_))
    ));
    host.stop().await;
}

#[tokio::test]
async fn an_error_of_the_handler_is_the_callers_500_and_no_end_of_the_process() {
    let host = started().await;
    let (_, before) = told(&host, "process").await;
    assert_eq!(told(&host, "dance").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    let failure = host
        .functions()
        .invoke("probe", r#""dance""#.into())
        .await
        .unwrap_err();
    assert!(
        failure.to_string().contains("it was told to \"dance\""),
        "{failure}"
    );
    assert_eq!(told(&host, "process").await.1, before);
    host.stop().await;
}

#[tokio::test]
async fn a_binary_that_does_not_start_is_named_with_its_reason() {
    let mut options = options(&TEMPLATE.replace("functions/probe", "functions/false"));
    options.binaries = Path::new("/bin").to_owned();
    match Host::start(anywhere(), &options).await.err() {
        Some(Error::Function { function, source }) => {
            assert_eq!(function, "false");
            assert!(source.to_string().contains("exit status: 1"), "{source}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn good_messages_are_done_and_a_poisoned_one_is_given_up() {
    let host = started().await;
    let mut events = host.events();
    for word in ["echo", "poison", "process"] {
        let message = Message {
            body: word.into(),
            ..Message::default()
        };
        host.queues().send("Work", message, None).unwrap();
    }
    host.drained().await;
    let mut receives = 0;
    let queue = next(&mut events, |event| match event {
        Event::Batch { messages, .. } => {
            receives += messages;
            None
        }
        Event::DeadLettered { queue, .. } => Some(queue),
        _ => None,
    })
    .await;
    assert_eq!(queue, "Work");
    assert_eq!(receives, 4, "two good messages once, the poisoned one twice");
    assert_eq!(host.queues().counts("Dead").unwrap().visible, 1);
    host.stop().await;
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_batch_brings_the_whole_batch_again() {
    let host = started().await;
    let mut events = host.events();
    host.duplicate_next("Work", 1).unwrap();
    let message = Message {
        body: "exit".into(),
        ..Message::default()
    };
    host.queues().send("Work", message, None).unwrap();
    host.drained().await;
    let mut given_up = 0;
    while let Ok(event) = events.try_recv() {
        given_up += usize::from(matches!(event, Event::DeadLettered { .. }));
    }
    assert_eq!(given_up, 2, "both copies");
    host.stop().await;
}

/// A schedule of a far future that sends `echo` to the queue `Work`.
fn far_schedule() -> Value {
    json!({
        "GroupName": "Later",
        "ScheduleExpression": "at(2999-12-31T23:59:59)",
        "FlexibleTimeWindow": { "Mode": "OFF" },
        "ActionAfterCompletion": "DELETE",
        "Target": {
            "Arn": "arn:aws:sqs:us-east-1:000000000000:Work",
            "RoleArn": "arn:aws:iam::000000000000:role/Waker",
            "Input": "echo",
        },
    })
}

#[tokio::test]
async fn a_schedule_that_is_brought_forward_invokes_the_function_that_its_queue_feeds() {
    let host = started().await;
    let mut events = host.events();
    let url = format!("{}/schedules/later", host.scheduler_endpoint());
    let mut schedule = far_schedule();
    let client = Client::default();
    assert_eq!(client.post(&url, &schedule).await.unwrap().status, StatusCode::OK);
    assert_eq!(
        client.post(&url, &schedule).await.unwrap().status,
        StatusCode::CONFLICT
    );
    schedule["GroupName"] = "Never".into();
    assert_eq!(
        client.post(&url, &schedule).await.unwrap().status,
        StatusCode::NOT_FOUND
    );
    let shown = client.get(&format!("{url}?groupName=Later")).await.unwrap();
    assert_eq!(
        shown.json()["Arn"],
        "arn:aws:scheduler:us-east-1:000000000000:schedule/Later/later"
    );
    let stranger = client.get(&format!("{url}?groupName=Never")).await.unwrap();
    assert_eq!(stranger.status, StatusCode::NOT_FOUND);

    // Pending schedules do not count.
    host.drained().await;
    assert_eq!((host.schedules_waiting(), host.bring_schedules_forward()), (1, 1));
    host.drained().await;
    let done = next(&mut events, |event| match event {
        Event::Batch { messages, failed, .. } => Some((messages, failed)),
        _ => None,
    })
    .await;
    assert_eq!((done, host.schedules_waiting()), ((1, 0), 0));
    host.stop().await;
}

#[tokio::test]
async fn dynamodb_goes_away_and_comes_back_at_the_same_address() {
    let host = started().await;
    let endpoint = host.dynamodb_endpoint();
    let address = endpoint.trim_start_matches("http://");
    assert!(TcpStream::connect(address).await.is_ok());
    host.take_dynamodb_away().await;
    assert!(TcpStream::connect(address).await.is_err());
    host.bring_dynamodb_back().await.unwrap();
    assert!(TcpStream::connect(address).await.is_ok());
    host.stop().await;
}

#[tokio::test]
async fn no_process_is_left_when_the_host_has_stopped() {
    let host = started().await;
    let (_, process) = told(&host, "process").await;
    let running = Path::new("/proc").join(process.to_string());
    assert!(running.exists());
    host.stop().await;
    assert!(!running.exists());
}

#[test]
fn a_busy_port_is_named() {
    let taken = anywhere();
    let address = taken.local_addr().unwrap();
    match front::listen(address) {
        Err(error @ ListenError::InUse(_)) => assert!(error.to_string().contains(&address.to_string())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_address_that_others_can_reach_is_refused() {
    let error = front::listen(SocketAddr::from(([0, 0, 0, 0], 0))).unwrap_err();
    assert!(matches!(error, ListenError::NotLoopback(_)), "{error}");
}
