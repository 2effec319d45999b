//! Messages that are made from a template, for each recipient.

use herald::id::NotificationId;
use herald::notification::SendMode;
use herald::notification::way_out::WayOutForm;
use lambda_http::Body;
use serde_json::{Value, json};

use crate::world::{World, document, get, personal, post, request, text};

mod preview;
mod rows;
mod stored;

/// People with names, and languages of their clients.
async fn named(people: &[(&str, &str, &str)]) -> World {
    let world = World::new();
    for (person, name, locale) in people {
        let mut activity = personal(person, "installationUpdate");
        activity["from"]["name"] = json!(name);
        activity["locale"] = json!(locale);
        world.hears(&activity).await;
    }
    world
}

/// What the channel has for a person: the method and the text of each request.
fn done(world: &World, person: &str) -> Vec<String> {
    let chat = format!("a:{person}");
    let received = world.channel.received().into_iter();
    let here = received.filter(|it| it.conversation == chat);
    here.map(|it| {
        format!(
            "{} {}",
            it.method,
            it.activity["text"].as_str().unwrap_or_default()
        )
    })
    .collect()
}

async fn sent(world: &World, body: &Value) -> NotificationId {
    let id = world.asks(body).await;
    world.work().await;
    id
}

async fn status(world: &World, id: &NotificationId) -> Value {
    document(&world.notify(get(&format!("/api/notifications/{id}"))).await)
}

async fn deliveries(world: &World, id: &NotificationId) -> Vec<Value> {
    let listed = world
        .notify(get(&format!("/api/notifications/{id}/deliveries")))
        .await;
    document(&listed)["deliveries"].as_array().unwrap().clone()
}

fn everyone(message: &Value, with: &Value) -> Value {
    let mut body = json!({"audience": {"everyone": true}, "message": message});
    for (name, value) in with.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn faults(answer: &lambda_http::Response<Body>) -> Vec<String> {
    assert_eq!(answer.status(), 400, "{}", text(answer));
    let errors = document(answer)["errors"].as_array().unwrap().clone();
    errors
        .iter()
        .map(|fault| fault["pointer"].as_str().unwrap().to_owned())
        .collect()
}

async fn edit(world: &World, id: &NotificationId, body: &Value) -> lambda_http::Response<Body> {
    let path = format!("/api/notifications/{id}/message");
    let answer = world
        .notify(request("PUT", &path, Body::Text(body.to_string())))
        .await;
    world.work().await;
    answer
}

#[tokio::test(start_paused = true)]
async fn each_recipient_gets_what_the_template_makes_for_them() {
    let world = named(&[("ada", "Ada & Co", "de-CH"), ("ben", "Ben", "fr-FR")]).await;
    let message = json!({"text": "${texts.hello} ${recipient.name} (${recipient.user}): ${build.number} ${notification.category}"});
    let id = sent(
        &world,
        &everyone(
            &message,
            &json!({"data": {"build": {"number": 7}}, "texts": {"hello": {"de": "Hallo", "*": "Hello"}}, "category": "builds"}),
        ),
    )
    .await;
    assert_eq!(
        done(&world, "ada"),
        ["POST Hallo Ada &amp; Co (entra-ada): 7 builds"]
    );
    assert_eq!(done(&world, "ben"), ["POST Hello Ben (entra-ben): 7 builds"]);
    let status = status(&world, &id).await;
    assert_eq!(status["counts"]["delivered"], 2);
    assert_eq!(status["message"]["text"], message["text"]);
    assert_eq!(status["data"]["build"]["number"], 7);
}

#[tokio::test(start_paused = true)]
async fn a_template_that_is_the_same_for_all_is_rendered_when_it_is_accepted() {
    let world = named(&[("ada", "Ada", "en")]).await;
    let body = everyone(
        &json!({"text": "Build ${n} of ${notification.id}"}),
        &json!({"data": {"n": 7}, "sendMode": "batch"}),
    );
    let id = world.asks(&body).await;
    let status = status(&world, &id).await;
    assert_eq!(status["message"]["text"], format!("Build 7 of {id}"));
    assert_eq!(status["sendMode"], "batch");
    assert_eq!(status["data"], Value::Null, "it is an ordinary message");
}

#[tokio::test(start_paused = true)]
async fn without_data_an_expression_is_text() {
    let world = named(&[("ada", "Ada", "en")]).await;
    sent(
        &world,
        &everyone(&json!({"text": "${recipient.name} costs ${"}), &json!({})),
    )
    .await;
    assert_eq!(done(&world, "ada"), ["POST ${recipient.name} costs ${"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_for_each_recipient_never_goes_by_batch() {
    let mut world = named(&[("ada", "Ada", "en"), ("ben", "Ben", "en")]).await;
    world.send_mode = SendMode::Batch;
    let body = everyone(&json!({"text": "${recipient.name}"}), &json!({"data": {}}));
    let id = sent(&world, &body).await;
    assert_eq!(status(&world, &id).await["sendMode"], "individual");
    assert_eq!(done(&world, "ben"), ["POST Ben"]);
    let asked = everyone(
        &json!({"text": "${recipient.name}"}),
        &json!({"data": {}, "sendMode": "batch"}),
    );
    let refused = world.notify(post("/api/notifications", &asked.to_string())).await;
    assert_eq!(faults(&refused), ["#/sendMode"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_for_one_recipient_is_rejected_for_that_one_without_a_request() {
    let long = "x".repeat(2_000);
    let world = named(&[
        ("ada", &long, "en"),
        ("ben", "Ben", "en"),
        ("col", &long, "en"),
        ("dan", &long, "en"),
    ])
    .await;
    let times: String = "${recipient.name}".repeat(30);
    let id = sent(&world, &everyone(&json!({"text": times}), &json!({"data": {}}))).await;
    assert_eq!(done(&world, "ada"), [""; 0]);
    assert_eq!(done(&world, "ben").len(), 1);
    let counts = status(&world, &id).await["counts"].clone();
    assert_eq!(
        (&counts["rejected"], &counts["delivered"]),
        (&json!(3), &json!(1))
    );
    let all = deliveries(&world, &id).await;
    let of_ada = all
        .iter()
        .find(|it| it["conversation"] == "msteams|28:bot|a:ada")
        .unwrap();
    assert_eq!(of_ada["code"], "RenderedTooLarge");
    assert!(of_ada["detail"].as_str().unwrap().contains("100000"), "{of_ada}");
}

#[tokio::test(start_paused = true)]
async fn a_template_that_makes_nothing_for_a_recipient_is_rejected_for_that_one() {
    let world = named(&[("ada", "Ada", "en"), ("ben", "Ben", "en")]).await;
    let message = json!({"text": "${if(recipient.name == 'Ada', '', 'hi')}"});
    let id = sent(&world, &everyone(&message, &json!({"data": {}}))).await;
    assert_eq!(done(&world, "ben"), ["POST hi"]);
    let counts = status(&world, &id).await["counts"].clone();
    assert_eq!(
        (&counts["rejected"], &counts["delivered"]),
        (&json!(1), &json!(1))
    );
    // An edit that makes nothing leaves the copy as it is.
    let edited = json!({"message": {"text": "${if(recipient.name == 'Ben', '', 'bye')}"}, "data": {}});
    assert_eq!(edit(&world, &id, &edited).await.status(), 202);
    assert_eq!(done(&world, "ben"), ["POST hi"]);
    let revised = status(&world, &id).await["revised"].clone();
    assert_eq!(revised["copies"]["uneditable"], 1, "{revised}");
}

#[tokio::test(start_paused = true)]
async fn an_edit_renders_the_template_again_for_each_recipient() {
    let world = named(&[("ada", "Ada", "en"), ("ben", "Ben", "en")]).await;
    let id = sent(
        &world,
        &everyone(&json!({"text": "hi ${recipient.name}"}), &json!({"data": {}})),
    )
    .await;
    let edited = json!({"message": {"text": "${recipient.name}, build ${n} is fixed"}, "data": {"n": 7}});
    assert_eq!(edit(&world, &id, &edited).await.status(), 202);
    assert_eq!(done(&world, "ada"), ["POST hi Ada", "PUT Ada, build 7 is fixed"]);
    assert_eq!(done(&world, "ben"), ["POST hi Ben", "PUT Ben, build 7 is fixed"]);
    // The same edit again changes nothing; an activity by itself is no template.
    assert_eq!(edit(&world, &id, &edited).await.status(), 202);
    assert_eq!(done(&world, "ada").len(), 2);
    assert_eq!(
        edit(&world, &id, &json!({"text": "${recipient.name}"}))
            .await
            .status(),
        202
    );
    assert_eq!(done(&world, "ada").last().unwrap(), "PUT ${recipient.name}");
    for (body, pointer) in [
        (
            json!({"message": {"text": "${utcNow()}"}, "data": {}}),
            "#/message/text",
        ),
        (json!({"message": {"text": "a"}, "dta": {}}), "#/dta"),
        (json!({"template": "nothing"}), "#/template"),
        (
            json!({"message": {"text": "${a}"}, "data": {"a": ""}}),
            "#/message",
        ),
    ] {
        assert_eq!(faults(&edit(&world, &id, &body).await), [pointer], "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn subjects_replacements_and_the_way_out_work_with_templates() {
    let mut world = named(&[("ada", "Ada", "en"), ("ben", "Ben", "en")]).await;
    world.way_out = WayOutForm::Line;
    let build = |result: &str| {
        everyone(
            &json!({"text": "${recipient.name}: ${result}"}),
            &json!({"data": {"result": result}, "subject": "build-7"}),
        )
    };
    sent(&world, &build("red")).await;
    sent(&world, &build("green")).await;
    let line = "\n\nTo stop these messages, say **stop**.";
    assert_eq!(
        done(&world, "ada"),
        [format!("POST Ada: red{line}"), format!("PUT Ada: green{line}")]
    );
    let vanishing = everyone(
        &json!({"text": "soup, ${recipient.name}"}),
        &json!({"data": {"over": "Lunch is over"}, "replacement": {"text": "${over}, ${recipient.name}."}, "retractAt": world.in_seconds(600)}),
    );
    world.asks(&vanishing).await;
    let plan = world.plans.take().unwrap();
    world.plan_one(&plan.body).await;
    let retraction = world.plans.take().unwrap();
    world.work().await;
    assert_eq!(
        done(&world, "ben").last().unwrap(),
        &format!("POST soup, Ben{line}")
    );
    world.pass(700);
    world.plan_one(&retraction.body).await;
    world.work().await;
    assert_eq!(
        done(&world, "ben").last().unwrap(),
        &format!("PUT Lunch is over, Ben.{line}")
    );
}

#[tokio::test(start_paused = true)]
async fn a_plan_of_a_template_is_confirmed_by_the_same_template() {
    let world = named(&[("ada", "Ada", "en")]).await;
    for message in ["hi ${recipient.name}", "${n} of ${notification.id}"] {
        let mut body = everyone(
            &json!({"text": message}),
            &json!({"data": {"n": 7}, "dryRun": true}),
        );
        let plan = sent(&world, &body).await;
        body["dryRun"] = json!(false);
        body["confirm"] = json!(plan);
        let mut other = body.clone();
        other["data"]["n"] = json!(8);
        let refused = world.notify(post("/api/notifications", &other.to_string())).await;
        assert_eq!(refused.status(), 409, "{}", text(&refused));
        let id = sent(&world, &body).await;
        assert_eq!(status(&world, &id).await["state"], "completed");
    }
    assert_eq!(done(&world, "ada")[0], "POST hi Ada");
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_of_one_recipient_stops_no_other() {
    use tests::channel::Behaviour;
    let people = [
        ("ada", "Ada", "en"),
        ("ben", "Ben", "en"),
        ("col", "Col", "en"),
        ("dan", "Dan", "en"),
        ("eve", "Eve", "en"),
    ];
    let world = named(&people).await;
    for (person, ..) in &people[..4] {
        let refuse = Behaviour::Refuse {
            status: 413,
            code: "MessageSizeTooBig",
        };
        world.channel.when(&format!("a:{person}"), refuse);
    }
    let id = sent(
        &world,
        &everyone(&json!({"text": "hi ${recipient.name}"}), &json!({"data": {}})),
    )
    .await;
    assert_eq!(done(&world, "eve"), ["POST hi Eve"]);
    assert_eq!(status(&world, &id).await["refused"], Value::Null);
}
