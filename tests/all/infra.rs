//! What `infra/` and the engine must agree on, and the engine's AWS adapters against the local host.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use botframework::http::HttpTransport;
use herald::aws::Sdk;
use herald::clock::Clock;
use herald::config::Environment;
use herald::event::eventbridge::Bus;
use herald::event::{Event, EventKind, Events};
use herald::queue::sqs::{Queue, Schedules};
use herald::queue::{Message, Queue as _, RECEIVES_MAX};
use herald_local::template::{AwsLocation, Function, Stack, Template};
use herald_local::variables::{self, Error::Resource};
use herald_local::{Host, Options, front};
use serde_json::json;

/// The queues, the bus and the schedules of the real template, without functions.
const TEMPLATE: &str = "
Resources:
  Work: {Type: AWS::SQS::Queue}
  News: {Type: AWS::Events::EventBus, Properties: {Name: news}}
  Later: {Type: AWS::Scheduler::ScheduleGroup}
  Waker:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: {Statement: [{Principal: {Service: scheduler.amazonaws.com}, Action: sts:AssumeRole}]}
";

async fn started() -> Host {
    let options = Options::new(Template::parse(TEMPLATE).unwrap(), PathBuf::new());
    let listener = front::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    Host::start(listener, &options).await.unwrap()
}

/// The environment of a function on this host.
fn environment(host: &Host) -> Environment<'static> {
    let variables = BTreeMap::from([
        ("AWS_ENDPOINT_URL_SQS", host.sqs_endpoint().to_owned()),
        (
            "AWS_ENDPOINT_URL_EVENTBRIDGE",
            host.eventbridge_endpoint().to_owned(),
        ),
        ("AWS_ENDPOINT_URL_SCHEDULER", host.scheduler_endpoint().to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "local".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        (
            "HERALD_PLANS_QUEUE_URL",
            format!("{}/000000000000/Work", host.sqs_endpoint()),
        ),
        ("HERALD_EVENT_BUS", "News".to_owned()),
        ("HERALD_SCHEDULE_GROUP", "Later".to_owned()),
        (
            "HERALD_SCHEDULER_ROLE_ARN",
            "arn:aws:iam::000000000000:role/Waker".to_owned(),
        ),
    ]);
    Environment::from_fn(move |name| variables.get(name).cloned())
}

fn real() -> Stack {
    let location = AwsLocation {
        region: "us-east-1".to_owned(),
        account: "000000000000".to_owned(),
        stack: "tests".to_owned(),
        sqs_endpoint: "http://127.0.0.1:1".to_owned(),
        parameters: BTreeMap::from([("MicrosoftAppId".to_owned(), "made-up".to_owned())]),
    };
    Template::of_repository().unwrap().deploy(&location).unwrap()
}

#[test]
fn the_template_and_the_engine_agree_on_the_most_receives() {
    let stack = real();
    let fed = stack.mappings.iter().map(|mapping| &mapping.queue);
    let redrives = fed.map(|fed| {
        let queue = stack.queues.iter().find(|queue| queue.name == *fed).unwrap();
        queue.redrive.as_ref().unwrap().max_receives
    });
    assert_eq!(redrives.collect::<Vec<_>>(), [RECEIVES_MAX; 3]);
}

#[tokio::test]
async fn a_message_for_tomorrow_waits_in_one_schedule_and_arrives_unchanged() {
    let host = started().await;
    let environment = environment(&host);
    let transport = HttpTransport::builder().build().unwrap();
    // The schedule's name contains the second.
    let now = Clock::system().now();
    let clock = Clock::from_fn(move || now);
    let sdk = Sdk::new(&environment, &transport).unwrap();
    let schedules = Schedules::from_environment(&environment, &sdk, &clock).unwrap();
    let queue =
        Queue::from_environment(&environment, "HERALD_PLANS_QUEUE_URL", &sdk, schedules.as_ref()).unwrap();
    let message = |delay| Message::json(&json!({"who": "<everyone> & \"all\""}), delay).in_group("tenant");
    for _ in 0..2 {
        queue.send(vec![message(Duration::from_hours(24))]).await.unwrap();
    }
    assert_eq!(host.schedules_waiting(), 1);
    assert_eq!(host.queues().counts("Work").unwrap().delayed, 0);
    host.bring_schedules_forward();
    let came = host.queues().receive("Work", 10, None).unwrap().remove(0).message;
    assert_eq!(came.body, message(Duration::ZERO).body);
    assert_eq!(came.group, None);

    queue.send(vec![message(Duration::ZERO)]).await.unwrap();
    let came = host.queues().receive("Work", 10, None).unwrap().remove(0).message;
    assert_eq!(came.group.as_deref(), Some("tenant"));
    host.stop().await;
}

#[tokio::test]
async fn events_arrive_on_the_bus() {
    let host = started().await;
    let transport = HttpTransport::builder().build().unwrap();
    let environment = environment(&host);
    let bus = Bus::from_environment(&environment, &Sdk::new(&environment, &transport).unwrap());
    let at = Clock::system().now();
    let event = |number: usize| Event {
        id: number.to_string(),
        at,
        kind: EventKind::Accepted,
        detail: json!({"audience": number}).as_object().unwrap().clone(),
    };
    bus.publish((0..12).map(event).collect()).await.unwrap();
    let mut published = host.published();
    published.sort_by_key(|event| event.detail["audience"].as_u64());
    assert_eq!(published.len(), 12);
    let last = &published[11];
    assert_eq!(
        (last.source.as_str(), last.detail_type.as_str()),
        ("herald", "Notification Accepted")
    );
    assert_eq!(
        last.detail,
        json!({"id": "11", "at": at.to_string(), "audience": 11})
    );
    host.stop().await;
}

#[test]
fn every_variable_of_the_engine_can_be_set_on_the_local_host_or_names_a_resource() {
    let template = Template::of_repository().unwrap();
    let sources = [
        include_str!("../../shared/herald/src/config.rs"),
        include_str!("../../shared/herald/src/credential.rs"),
    ];
    // Names stand between quotes.
    let names: Vec<&str> = sources
        .iter()
        .flat_map(|source| source.split('"').skip(1).step_by(2))
        .filter(|text| text.starts_with("HERALD_") && !text.contains(' '))
        .collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let checked = variables::check(&template, name);
        assert!(
            matches!(checked, Ok(()) | Err(Resource(_))),
            "{name}: {checked:?}"
        );
    }
}

/// The ways in which a bot authenticates itself: each reads variables of its own.
const CREDENTIALS: [&[(&str, &str)]; 3] = [
    &[],
    &[("MicrosoftAppPassword", "secretsmanager:herald/bot")],
    &[("HERALD_CERTIFICATE", "ssm:/herald/bot")],
];

/// The variables that a function reads when it starts, with what the template sets for it.
fn read_by(function: &Function, credential: &[(&str, &str)]) -> BTreeSet<String> {
    let read = RefCell::new(BTreeSet::new());
    let environment = Environment::from_fn(|name| {
        read.borrow_mut().insert(name.to_owned());
        let of_credential = credential.iter().find(|(known, _)| *known == name);
        match name {
            "AWS_REGION" => Some("eu-west-1".to_owned()),
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("local".to_owned()),
            "AWS_LAMBDA_INITIALIZATION_TYPE" => Some("on-demand".to_owned()),
            "MicrosoftAppId" | "MicrosoftAppTenantId" => {
                Some("00000000-0000-4000-8000-00000000b07a".to_owned())
            }
            _ => match of_credential {
                Some((_, value)) => Some((*value).to_owned()),
                None => function.environment.get(name).cloned(),
            },
        }
    });
    let started = match function.name.as_str() {
        "events" => {
            let worker = events::Worker::new(messages::bot::work);
            events::Context::from_environment(&environment, worker).map(drop)
        }
        "messages" => messages::Context::from_environment(&environment).map(drop),
        "notify" => notify::Context::from_environment(&environment).map(drop),
        "planner" => planner::Context::from_environment(&environment).map(drop),
        "sender" => sender::Context::from_environment(&environment).map(drop),
        other => panic!("{other} is not a function of this test"),
    };
    started.unwrap();
    drop(environment);
    read.into_inner()
}

#[test]
fn a_function_reads_what_the_template_sets_and_the_template_sets_what_it_reads() {
    let template = Template::of_repository().unwrap();
    let stack = real();
    let of_template = template.variables();
    let (mut set, mut read) = (BTreeSet::new(), BTreeSet::new());
    for function in &stack.functions {
        set.extend(function.environment.keys().cloned());
        for credential in CREDENTIALS {
            for name in read_by(function, credential) {
                let is_of_platform = name.starts_with("AWS_") || !of_template.contains_key(&name);
                let may_be_set = variables::check(&template, &name).is_ok() || name.starts_with("AWS_");
                assert!(
                    function.environment.contains_key(&name) || (is_of_platform && may_be_set),
                    "{} reads {name}, which the template does not set for it",
                    function.name
                );
                read.insert(name);
            }
        }
    }
    let unread: Vec<_> = set.difference(&read).collect();
    assert!(
        unread.is_empty(),
        "set by the template and read by no function: {unread:?}"
    );
}
