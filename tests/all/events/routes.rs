//! Routes: what they make of events, the ready-made ones of `infra/routes`, and subjects.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use herald::notification::Priority;
use herald::queue::batch::{Receipt, Received};
use herald::route::Route;
use herald::upstream::{EventContent, UpstreamEvent};
use jiff::Timestamp;
use lambda_http::Body;
use serde_json::{Value, json};

use super::{failed, notifications, of_rule, of_topic};
use crate::world::{World, document, get, post, request, text};

/// The documents of a folder, by name.
fn documents(folder: &str) -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (
                name,
                serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap(),
            )
        })
        .collect()
}

fn foreign(sample: &Value) -> Value {
    let message = Received {
        id: "m".to_owned(),
        body: sample.to_string(),
        receipt: Receipt::default(),
        sender: None,
    };
    match UpstreamEvent::read(&message).content {
        Ok(EventContent::Foreign(event)) => event,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn puts(world: &World, name: &str, route: &Value) {
    let put = request(
        "PUT",
        &format!("/api/routes/{name}"),
        Body::Text(route.to_string()),
    );
    let answer = world.notify(put).await;
    assert!(answer.status().is_success(), "{}", text(&answer));
}

fn builds() -> Value {
    json!({"pattern": {"detail-type": ["Build"]}, "audience": {"everyone": true},
           "message": {"text": "Build ${detail.number}: ${detail.state}"}, "subject": "build-${detail.number}"})
}

/// An event of a build, which happened at this second.
fn build(id: &str, number: u32, state: &str, second: i64) -> String {
    let time = Timestamp::from_second(1_800_000_000 + second)
        .unwrap()
        .to_string();
    let body = of_rule(id, "Build", &json!({"number": number, "state": state}));
    body.replace("2026-01-01T00:00:00Z", &time)
}

/// What the channel shows of each copy, by activity.
fn shown(world: &World) -> Vec<String> {
    let received = world.channel.received().into_iter();
    let texts = received.filter_map(|sent| Some(sent.activity["text"].as_str()?.to_owned()));
    texts.filter(|text| text.starts_with("Build")).collect()
}

#[test]
fn each_ready_made_route_takes_its_own_sample_and_no_other() {
    let (routes, samples) = (documents("infra/routes"), documents("tests/fixtures/routes"));
    assert_eq!(
        routes.keys().collect::<Vec<_>>(),
        samples.keys().collect::<Vec<_>>()
    );
    assert!(routes.len() >= 12);
    let routes: BTreeMap<_, _> = routes
        .into_iter()
        .map(|(name, route)| {
            let parsed = Route::parse(&route, Timestamp::UNIX_EPOCH);
            let parsed = parsed.unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
            (name, parsed)
        })
        .collect();
    for (name, sample) in &samples {
        let event = foreign(sample);
        let taking = routes.iter().filter(|(_, route)| route.takes(&event));
        let taking: Vec<_> = taking.map(|(name, _)| name).collect();
        assert_eq!(taking, [name], "the routes that take the sample of {name}");
        let made = routes[name].request(name, &event);
        assert!(made.missing.is_empty(), "{name}: {:?}", made.missing);
        let parsed = herald::notification::request::Request::parse(&made.request, Timestamp::UNIX_EPOCH);
        let parsed = parsed.unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
        let is_urgent = [
            "cloudwatch-alarm",
            "cloudwatch-alarm-sns",
            "codepipeline",
            "guardduty",
            "health",
            "security-hub",
        ];
        let urgent = is_urgent.contains(&name.as_str());
        assert_eq!(parsed.priority == Some(Priority::Urgent), urgent, "{name}");
    }
    let alarm = routes["cloudwatch-alarm"].request("a", &foreign(&samples["cloudwatch-alarm"]));
    let text = alarm.request.value["message"]["text"].as_str().unwrap();
    assert!(
        text.starts_with("**ALARM** ServerCpuTooHigh (us-east-1): Threshold Crossed"),
        "{text}"
    );
    assert_eq!(
        alarm.subject.as_deref(),
        Some("123456789012/us-east-1/ServerCpuTooHigh")
    );
}

#[tokio::test]
async fn an_event_that_a_route_takes_is_a_notification_and_repeated_it_is_the_same() {
    let world = World::of(&["ada"]).await;
    puts(
        &world,
        "disks",
        &json!({"pattern": {"source": ["aws.sns"], "detail": {"message": [{"wildcard": "*disk*"}]}},
        "audience": {"everyone": true}, "message": {"text": "${detail.message}"}, "priority": "urgent"}),
    )
    .await;
    let batch = [
        ("m-1", of_topic("n-1", "the disk is full"), 1),
        ("m-2", of_topic("n-2", "the sun shines"), 1),
    ];
    for _ in 0..2 {
        assert!(world.takes_events(&batch).await.is_empty());
    }
    let listed = notifications(&world).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["category"], &listed[0]["priority"]),
        (&json!("disks"), &json!("urgent"))
    );
    assert_eq!(listed[0]["caller"], format!("topic:{}", super::TOPIC));
    world.work().await;
    let received = world.channel.received();
    assert!(
        received
            .iter()
            .any(|sent| sent.activity["text"] == "the disk is full")
    );
}

#[tokio::test]
async fn a_later_event_of_a_subject_edits_the_copy_and_an_older_one_changes_nothing() {
    let mut world = World::of(&["ada"]).await;
    puts(&world, "builds", &builds()).await;
    for (id, state, second) in [
        ("e-1", "red", 10),
        ("e-3", "green", 30),
        ("e-2", "yellow", 20),
        ("e-3", "green", 30),
    ] {
        assert!(
            world
                .takes_events(&[("m", build(id, 7, state, second), 1)])
                .await
                .is_empty()
        );
        world.work().await;
    }
    assert_eq!(shown(&world), ["Build 7: red", "Build 7: green"]);
    assert!(
        world
            .takes_events(&[("m", build("e-4", 8, "red", 40), 1)])
            .await
            .is_empty()
    );
    world.work().await;
    assert_eq!(
        notifications(&world).await.len(),
        2,
        "another subject is another notification"
    );
    // A notification that was retracted is not edited: the next event is sent anew.
    let listed = notifications(&world).await;
    let seven = listed.last().unwrap()["id"].as_str().unwrap().to_owned();
    world.operators = vec!["*".to_owned()];
    let retract = request(
        "DELETE",
        &format!("/api/notifications/{seven}/message"),
        Body::Empty,
    );
    assert_eq!(world.notify(retract).await.status(), 202);
    assert!(
        world
            .takes_events(&[("m", build("e-5", 7, "red", 50), 1)])
            .await
            .is_empty()
    );
    assert_eq!(notifications(&world).await.len(), 3);
}

#[tokio::test]
async fn a_request_that_a_route_makes_wrong_is_refused_by_the_routes_name() {
    let world = World::of(&["ada"]).await;
    let mut route = builds();
    route["audience"] = json!({"tag": "${detail.tag}"});
    route.as_object_mut().unwrap().remove("subject");
    puts(&world, "wrong", &route).await;
    puts(&world, "right", &builds()).await;
    let batch = [("m", build("e-1", 7, "red", 10), 1)];
    for _ in 0..2 {
        assert_eq!(world.takes_events(&batch).await, ["m"]);
        assert_eq!(
            notifications(&world).await.len(),
            1,
            "the other route takes it, once"
        );
    }
    let listed = failed(&world).await;
    let detail = listed[0]["problem"]["detail"].as_str().unwrap();
    assert!(detail.contains("The route wrong"), "{detail}");
    assert_eq!(listed[0]["problem"]["errors"][0]["pointer"], "#/audience/tag");
}

#[tokio::test]
async fn routes_are_written_read_tried_and_deleted() {
    let world = World::of(&["ada"]).await;
    puts(&world, "builds", &builds()).await;
    let shown = document(&world.notify(get("/api/routes/builds")).await);
    assert_eq!((&shown["route"], &shown["caller"]), (&builds(), &json!("nobody")));
    let listed = document(&world.notify(get("/api/routes")).await);
    assert_eq!(listed["routes"].as_array().unwrap().len(), 1);

    let tries = async |event: &str| document(&world.notify(post("/api/routes/builds/test", event)).await);
    let trial = tries(&build("e-1", 7, "red", 10)).await;
    assert_eq!(
        trial,
        json!({"takes": true, "subject": "build-7",
               "request": {"category": "builds", "audience": {"everyone": true}, "message": {"text": "Build 7: red"}}})
    );
    let missing = tries(&of_rule("e", "Build", &json!({"number": 7}))).await;
    assert_eq!(missing["missing"], json!(["detail.state"]));
    assert_eq!(
        tries(&of_rule("e", "Order", &json!({}))).await,
        json!({"takes": false})
    );
    assert!(notifications(&world).await.is_empty() && world.plans.take().is_none());

    let wrong = request(
        "PUT",
        "/api/routes/builds",
        Body::Text(r#"{"pattern": {}}"#.to_owned()),
    );
    assert_eq!(world.notify(wrong).await.status(), 400);
    let name = request("PUT", "/api/routes/Builds", Body::Text(builds().to_string()));
    assert_eq!(world.notify(name).await.status(), 400);
    let delete = || request("DELETE", "/api/routes/builds", Body::Empty);
    assert_eq!(world.notify(delete()).await.status(), 204);
    assert_eq!(world.notify(delete()).await.status(), 404);
    assert_eq!(world.notify(get("/api/routes/builds")).await.status(), 404);
}
