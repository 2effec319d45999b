//! A later notification of a subject edits the earlier copies in place, and is sent to who has none.

use std::collections::VecDeque;

use herald::audience::Recipient;
use herald::conversation::{Choice, PersonId, PreferenceChange};
use herald::delivery::{Outcome, SkipReason, State};
use herald::event::EventKind;
use herald::id::NotificationId;
use herald::notification::SendMode;
use herald::preferences;
use lambda_http::Body;
use serde_json::{Value, json};
use tests::channel::{Behaviour, Reply};

use crate::world::{World, document, get, request, text};

fn build(audience: &Value, message: &str) -> Value {
    json!({"audience": audience, "message": {"text": message}, "subject": "build-7"})
}

fn people(names: &[&str]) -> Value {
    let ids: Vec<String> = names.iter().map(|name| format!("entra-{name}")).collect();
    json!({ "users": ids })
}

fn everyone() -> Value {
    json!({"everyone": true})
}

async fn send(world: &World, body: &Value) -> NotificationId {
    let id = world.asks(body).await;
    world.work().await;
    id
}

async fn status(world: &World, id: &NotificationId) -> Value {
    document(&world.notify(get(&format!("/api/notifications/{id}"))).await)
}

async fn delivery(world: &World, id: &NotificationId, person: &str) -> Value {
    let listed = world
        .notify(get(&format!("/api/notifications/{id}/deliveries")))
        .await;
    let listed = document(&listed)["deliveries"].clone();
    let name = format!("msteams|28:bot|a:{person}");
    let own = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["conversation"] == name);
    own.unwrap_or_else(|| panic!("{listed}")).clone()
}

async fn outcome(world: &World, id: &NotificationId, person: &str) -> Outcome {
    let chat = Recipient::Conversation(format!("msteams|28:bot|a:{person}").parse().unwrap());
    match world.row(id, &chat).await.state {
        State::Settled(outcome) => outcome,
        State::Waiting { .. } => panic!("it waits"),
    }
}

async fn edit(world: &World, id: &NotificationId, message: &str) {
    let path = format!("/api/notifications/{id}/message");
    let body = Body::Text(json!({ "text": message }).to_string());
    assert_eq!(world.notify(request("PUT", &path, body)).await.status(), 202);
    world.work().await;
}

async fn retract(world: &World, id: &NotificationId) {
    let path = format!("/api/notifications/{id}/message");
    assert_eq!(
        world.notify(request("DELETE", &path, Body::Empty)).await.status(),
        202
    );
    world.work().await;
}

/// What the channel did in the chat with a person: methods and texts.
fn done(world: &World, person: &str) -> Vec<String> {
    let chat = format!("a:{person}");
    let received = world.channel.received().into_iter();
    let here = received.filter(|it| it.conversation == chat);
    here.map(|it| {
        let text = it.activity["text"].as_str().unwrap_or_default();
        format!("{} {text}", it.method).trim_end().to_owned()
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn the_copies_of_a_subject_are_edited_and_the_others_get_a_message() {
    let world = World::of(&["ada", "eve"]).await;
    let red = send(&world, &build(&people(&["ada"]), "red")).await;
    let green = send(&world, &build(&everyone(), "green")).await;
    assert_eq!(done(&world, "ada"), ["POST red", "PUT green"]);
    assert_eq!(done(&world, "eve"), ["POST green"]);

    let shown = status(&world, &green).await;
    assert_eq!(
        (&shown["subject"], &shown["superseding"]),
        (&json!("build-7"), &json!(1))
    );
    assert_eq!(shown["counts"]["delivered"], 2);
    let (adas, eves) = (
        delivery(&world, &green, "ada").await,
        delivery(&world, &green, "eve").await,
    );
    assert_eq!(
        (&adas["state"], &adas["supersedes"]),
        (&json!("delivered"), &json!(red))
    );
    assert_eq!(
        (&eves["supersedes"], &eves["supersededBy"]),
        (&Value::Null, &Value::Null)
    );
    let earlier = delivery(&world, &red, "ada").await;
    assert_eq!(
        (
            &earlier["state"],
            &earlier["supersededBy"],
            &earlier["activityId"]
        ),
        (&json!("delivered"), &json!(green), &adas["activityId"])
    );
    let report = world
        .notify(get(&format!("/api/notifications/{green}/deliveries?format=csv")))
        .await;
    assert!(text(&report).contains(red.as_str()));
    let completed = world.events.take().into_iter().rev();
    let mut completed = completed.filter(|event| event.kind == EventKind::Completed);
    let detail = completed.next().unwrap().detail;
    assert_eq!(
        (&detail["subject"], &detail["superseding"]),
        (&json!("build-7"), &json!(1))
    );
}

#[tokio::test(start_paused = true)]
async fn an_earlier_notification_neither_edits_nor_deletes_the_copy_of_a_later_one() {
    let world = World::of(&["ada"]).await;
    let red = send(&world, &build(&everyone(), "red")).await;
    let green = send(&world, &build(&everyone(), "green")).await;
    edit(&world, &red, "redder").await;
    retract(&world, &red).await;
    assert_eq!(done(&world, "ada"), ["POST red", "PUT green"]);
    let copies = &status(&world, &red).await["revised"]["copies"];
    assert_eq!(
        (&copies["current"], &copies["uneditable"]),
        (&json!(0), &json!(1))
    );

    edit(&world, &green, "greener").await;
    retract(&world, &green).await;
    assert_eq!(done(&world, "ada")[2..], ["PUT greener", "DELETE"]);
    // The copy is gone, without a request that finds it gone.
    send(&world, &build(&everyone(), "blue")).await;
    assert_eq!(done(&world, "ada")[4..], ["POST blue"]);
    assert_eq!(world.channel.requests(), 5);
}

#[tokio::test(start_paused = true)]
async fn who_deleted_the_copy_gets_a_message() {
    let world = World::of(&["ada"]).await;
    send(&world, &build(&everyone(), "red")).await;
    let deleted = Reply {
        status: 404,
        code: "ActivityNotFoundInConversation",
        ..Reply::default()
    };
    world
        .channel
        .when("a:ada", Behaviour::Answers(VecDeque::from([deleted])));
    let green = send(&world, &build(&everyone(), "green")).await;
    assert_eq!(done(&world, "ada"), ["POST red", "POST green"]);
    let Outcome::Delivered(sent) = outcome(&world, &green, "ada").await else {
        panic!("not delivered")
    };
    assert_eq!(sent.supersedes, None);
    send(&world, &build(&everyone(), "blue")).await;
    assert_eq!(done(&world, "ada")[2..], ["PUT blue"]);
}

#[tokio::test(start_paused = true)]
async fn a_notification_is_not_sent_after_a_newer_one_of_its_subject() {
    let world = World::of(&["ada", "eve"]).await;
    let mut late = build(&everyone(), "red");
    late["deliverAt"] = json!(world.in_seconds(600));
    let late = world.asks(&late).await;
    let green = world.asks(&build(&people(&["ada"]), "green")).await;
    // The newer one is due first.
    let (red_plan, green_plan) = (world.plans.take().unwrap(), world.plans.take().unwrap());
    world.plan_one(&green_plan.body).await;
    world.work().await;
    world.pass(600);
    world.plan_one(&red_plan.body).await;
    world.work().await;
    assert_eq!(done(&world, "ada"), ["POST green"]);
    assert_eq!(done(&world, "eve"), ["POST red"], "who has no newer one gets it");
    let skipped = delivery(&world, &late, "ada").await;
    assert_eq!(
        (&skipped["state"], &skipped["reason"], &skipped["supersededBy"]),
        (&json!("skipped"), &json!("superseded"), &json!(green))
    );
    let counts = &status(&world, &late).await["counts"];
    assert_eq!((&counts["delivered"], &counts["skipped"]), (&json!(1), &json!(1)));
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_is_refused_gives_the_copy_back() {
    let world = World::of(&["ada"]).await;
    let red = send(&world, &build(&everyone(), "red")).await;
    let refused = Behaviour::Refuse {
        status: 400,
        code: "BadSyntax",
    };
    world.channel.when("a:ada", refused);
    let green = send(&world, &build(&everyone(), "green")).await;
    assert_eq!(status(&world, &green).await["counts"]["rejected"], 1);
    world.channel.when("a:ada", Behaviour::Accept);
    retract(&world, &red).await;
    assert_eq!(done(&world, "ada"), ["POST red", "DELETE"]);
}

#[tokio::test(start_paused = true)]
async fn an_edit_whose_answer_is_lost_is_repeated_whatever_the_guarantee() {
    let world = World::of(&["ada"]).await;
    let red = send(&world, &build(&everyone(), "red")).await;
    let mut body = build(&everyone(), "green");
    body["guarantee"] = json!("atMostOnce");
    let green = world.asks(&body).await;
    world.plan().await;
    world.channel.when("a:ada", Behaviour::Cut);
    let chunk = world.deliveries.take().unwrap();
    world.send_one(&chunk.body).await;
    assert_eq!(done(&world, "ada")[..2], ["POST red", "PUT green"]);
    // It may show the newer one, so the older one leaves it alone.
    world.channel.when("a:ada", Behaviour::Accept);
    edit(&world, &red, "redder").await;
    assert!(done(&world, "ada")[1..].iter().all(|done| done == "PUT green"));
    let Outcome::Delivered(sent) = outcome(&world, &green, "ada").await else {
        panic!("not delivered")
    };
    assert_eq!(sent.supersedes, Some(red));
}

#[tokio::test(start_paused = true)]
async fn who_opted_out_has_the_copy_edited_and_gets_no_new_message() {
    let world = World::of(&["ada", "eve"]).await;
    send(&world, &build(&people(&["ada"]), "red")).await;
    for person in ["ada", "eve"] {
        let person = PersonId {
            channel: "msteams".into(),
            tenant: Some("tenant-1".into()),
            id: botframework::id::UserRef::Entra(format!("entra-{person}").into()),
        };
        let change = PreferenceChange::All(Choice::OptedOut);
        preferences::change(&world.store, &person, None, &change, world.now())
            .await
            .unwrap();
    }
    let green = send(&world, &build(&everyone(), "green")).await;
    assert_eq!(done(&world, "ada"), ["POST red", "PUT green"]);
    assert_eq!(done(&world, "eve"), [""; 0]);
    let reason = SkipReason::OptedOut;
    assert_eq!(outcome(&world, &green, "eve").await, Outcome::Skipped { reason });
}

#[tokio::test(start_paused = true)]
async fn a_subject_goes_individually_where_batches_are_the_default() {
    let mut world = World::of(&["ada"]).await;
    world.send_mode = SendMode::Batch;
    let red = send(&world, &build(&everyone(), "red")).await;
    assert_eq!(status(&world, &red).await["sendMode"], "individual");
    send(&world, &build(&everyone(), "green")).await;
    assert_eq!(done(&world, "ada"), ["POST red", "PUT green"]);
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_confirmed_with_its_subject_only() {
    let world = World::of(&["ada"]).await;
    let mut plan = build(&everyone(), "red");
    plan["dryRun"] = json!(true);
    let plan = send(&world, &plan).await;
    let mut other = json!({"audience": everyone(), "message": {"text": "red"}, "confirm": plan});
    let post = |body: &Value| crate::world::post("/api/notifications", &body.to_string());
    let answer = world.notify(post(&other)).await;
    assert_eq!(answer.status(), 409);
    assert!(text(&answer).contains("another `subject`"), "{}", text(&answer));
    other["subject"] = json!("build-7");
    assert_eq!(world.notify(post(&other)).await.status(), 202);
}
