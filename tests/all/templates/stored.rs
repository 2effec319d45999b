//! Templates that are stored by name.

use super::*;

async fn put(world: &World, name: &str, body: &Value) -> lambda_http::Response<Body> {
    let path = format!("/api/templates/{name}");
    world
        .notify(request("PUT", &path, Body::Text(body.to_string())))
        .await
}

fn build(text: &str) -> Value {
    json!({"description": "a build", "message": {"text": text}})
}

fn named_template(name: &str, data: &Value) -> Value {
    json!({"audience": {"everyone": true}, "template": name, "data": data})
}

#[tokio::test(start_paused = true)]
async fn a_request_names_a_template_and_later_versions_change_nothing_of_it() {
    let world = named(&[("ada", "Ada", "en")]).await;
    let created = put(&world, "build", &build("${recipient.name}: ${n}")).await;
    assert_eq!(
        (created.status(), &document(&created)["version"]),
        (201.try_into().unwrap(), &json!(1))
    );
    let id = world.asks(&named_template("build", &json!({"n": 7}))).await;
    let changed = put(&world, "build", &build("changed")).await;
    assert_eq!(
        (changed.status().as_u16(), &document(&changed)["version"]),
        (200, &json!(2))
    );
    let same = put(&world, "build", &build("changed")).await;
    assert_eq!(document(&same)["version"], 2);
    world.work().await;
    assert_eq!(done(&world, "ada"), ["POST Ada: 7"]);
    // A template without data is a template too.
    sent(
        &world,
        &json!({"audience": {"everyone": true}, "template": "build"}),
    )
    .await;
    assert_eq!(done(&world, "ada").last().unwrap(), "POST changed");
    // So does an edit by its name.
    put(&world, "build", &build("${recipient.name} again: ${n}")).await;
    edit(&world, &id, &json!({"template": "build", "data": {"n": 8}})).await;
    assert_eq!(done(&world, "ada").last().unwrap(), "PUT Ada again: 8");
}

#[tokio::test(start_paused = true)]
async fn templates_are_listed_shown_and_deleted() {
    let world = World::new();
    put(&world, "b", &build("2")).await;
    put(&world, "a", &build("1")).await;
    let list = document(&world.notify(get("/api/templates")).await);
    let names: Vec<_> = list["templates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].clone())
        .collect();
    assert_eq!(names, ["a", "b"]);
    let shown = document(&world.notify(get("/api/templates/a")).await);
    assert_eq!((&shown["version"], &shown["template"]), (&json!(1), &build("1")));
    let built_in = document(&world.notify(get("/api/templates/notification")).await);
    assert_eq!(
        built_in["template"]["message"]["attachments"][0]["content"]["type"],
        "AdaptiveCard"
    );
    let deleted = world
        .notify(request("DELETE", "/api/templates/a", Body::Empty))
        .await;
    assert_eq!(deleted.status(), 204);
    for (method, path) in [
        ("DELETE", "/api/templates/a"),
        ("GET", "/api/templates/a"),
        ("GET", "/api/templates/No"),
    ] {
        assert_eq!(
            world.notify(request(method, path, Body::Empty)).await.status(),
            404,
            "{method} {path}"
        );
    }
    let refused = world
        .notify(post(
            "/api/notifications",
            &named_template("a", &json!({})).to_string(),
        ))
        .await;
    assert_eq!(faults(&refused), ["#/template"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_template_cannot_be_is_refused_with_its_place() {
    let world = World::new();
    for (body, pointer) in [
        (json!({"message": {"text": "${if(a)}"}}), "#/message/text"),
        (json!({"mesage": {"text": "a"}}), "#/mesage"),
        (
            json!({"message": {"text": "a"}, "description": 7}),
            "#/description",
        ),
        (json!({"message": {}}), "#/message"),
    ] {
        assert_eq!(faults(&put(&world, "a", &body).await)[0], pointer, "{body}");
    }
    for name in ["notification", "A", "a%20b", &"a".repeat(65)] {
        assert_eq!(put(&world, name, &build("a")).await.status(), 400, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_built_in_template_needs_only_its_fields() {
    let world = named(&[("ada", "Ada", "en")]).await;
    let body = named_template(
        "notification",
        &json!({"title": "Version 7 is out", "result": "All checks passed."}),
    );
    sent(&world, &body).await;
    let received = world.channel.received().pop().unwrap().activity;
    assert_eq!(received["summary"], "Version 7 is out: All checks passed.");
    let card = &received["attachments"][0]["content"];
    assert_eq!(card["body"][1]["inlines"][0]["text"], "All checks passed.");
    assert_eq!(card["body"].as_array().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_route_brings_the_data_of_its_events_to_a_template() {
    let world = World::new();
    let route = json!({"pattern": {"source": ["ci"]}, "audience": {"everyone": true}, "template": "build", "data": {"n": "${detail.n}"}});
    let put_route = |route: Value| {
        let body = Body::Text(route.to_string());
        world.notify(request("PUT", "/api/routes/builds", body))
    };
    let answer = put_route(route.clone()).await;
    assert_eq!(answer.status(), 201, "{}", text(&answer));
    let event = json!({
        "id": "e-1", "source": "ci", "detail-type": "Build", "time": "2026-12-01T09:00:00Z", "account": "123456789012",
        "detail": {"n": "${recipient.name}"},
    });
    let tried = world
        .notify(post("/api/routes/builds/test", &event.to_string()))
        .await;
    let tried = document(&tried);
    assert_eq!(tried["request"]["data"]["n"], "${recipient.name}", "{tried}");
    assert_eq!(tried["problem"], Value::Null);
    let mut inline = route;
    inline.as_object_mut().unwrap().remove("template");
    inline["message"] = json!({"text": "${detail.n}"});
    assert_eq!(faults(&put_route(inline).await), ["#/data"]);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_names_a_template_that_each_occurrence_looks_up() {
    let world = named(&[("ada", "Ada", "en")]).await;
    let schedule = json!({"cron": "0 9 * * *", "notification": {"audience": {"everyone": true}, "template": "morning", "data": {}}});
    let body = || Body::Text(schedule.to_string());
    let refused = world
        .notify(request("PUT", "/api/schedules/mornings", body()))
        .await;
    assert_eq!(faults(&refused), ["#/notification/template"]);
    put(&world, "morning", &build("Good morning, ${recipient.name}")).await;
    let written = world
        .notify(request("PUT", "/api/schedules/mornings", body()))
        .await;
    assert_eq!(written.status(), 201, "{}", text(&written));
}
