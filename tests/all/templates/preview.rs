//! What a recipient would get, before anything is sent.

use super::*;

async fn preview(world: &World, body: &Value) -> lambda_http::Response<Body> {
    world
        .notify(post("/api/notifications/preview", &body.to_string()))
        .await
}

async fn previewed(world: &World, body: &Value) -> Value {
    let answer = preview(world, body).await;
    assert_eq!(answer.status(), 200, "{}", text(&answer));
    document(&answer)
}

fn codes(preview: &Value) -> Vec<(&str, &str)> {
    let warnings = preview["warnings"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    warnings
        .iter()
        .map(|it| (it["code"].as_str().unwrap(), it["pointer"].as_str().unwrap()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_preview_shows_the_message_of_a_recipient_and_sends_nothing() {
    let mut world = named(&[("ada", "Ada", "de"), ("ben", "Ben", "en")]).await;
    world.way_out = WayOutForm::Line;
    let people = json!([{"user": "entra-ada", "seat": 1}, {"user": "entra-ben", "seat": 2}]);
    let mut body = json!({"audience": {"rows": people}, "message": {"text": "${recipient.name}: ${seat}"}});
    let first = previewed(&world, &body).await;
    assert_eq!(first["conversation"], "msteams|28:bot|a:ada");
    assert_eq!(
        first["message"]["text"],
        "Ada: 1\n\nTo stop these messages, say **stop**."
    );
    assert_eq!(
        (&first["size"]["withinLimit"], codes(&first)),
        (&json!(true), vec![])
    );
    for recipient in [
        json!({"user": "entra-ben"}),
        json!({"account": "29:ben"}),
        json!({"conversation": "a:ben"}),
    ] {
        body["recipient"] = recipient;
        let of_ben = previewed(&world, &body).await;
        assert_eq!(of_ben["conversation"], "msteams|28:bot|a:ben");
        assert!(
            of_ben["message"]["text"].as_str().unwrap().starts_with("Ben: "),
            "{of_ben}"
        );
    }
    world.work().await;
    assert_eq!(world.channel.requests(), 0);
    let listed = document(&world.notify(get("/api/notifications")).await);
    assert_eq!(listed["notifications"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_preview_warns_of_what_people_would_see_differently() {
    let world = named(&[("ada", "Ada", "de")]).await;
    let card = json!({"type": "AdaptiveCard", "version": "1.6", "fallbackText": "x", "body": [
        {"type": "TextBlock", "text": "${nick}"}, {"type": "Image", "url": "https://x.example/${id}.png"}]});
    let message = json!({"text": "Hi ${recipient.givenName}", "attachments": [
        {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}]});
    let shown = previewed(&world, &everyone(&message, &json!({"data": {"id": 7}}))).await;
    assert_eq!(shown["conversation"], Value::Null);
    assert_eq!(shown["message"]["text"], "Hi ${recipient.givenName}");
    let content = "#/message/attachments/0/content";
    assert_eq!(
        codes(&shown),
        [
            ("leftAsText", "#/message/text"),
            ("leftAsText", &format!("{content}/body/0/text")),
            ("cardVersion", &format!("{content}/version")),
            ("noAltText", &format!("{content}/body/1/altText")),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_preview_is_refused_as_its_request_would_be() {
    let world = named(&[("ada", "Ada", "de")]).await;
    let with = |name: &str, value: Value| {
        let mut body = everyone(&json!({"text": "${a}"}), &json!({"data": {"a": 1}}));
        body[name] = value;
        body
    };
    for (body, pointer) in [
        (with("sendmode", json!("batch")), "#/sendmode"),
        (with("message", json!({"text": "${utcNow()}"})), "#/message/text"),
        (
            with("message", json!({"text": "${if(a == 1, '', 'x')}"})),
            "#/message",
        ),
        (with("template", json!("none")), "#/template"),
        (with("recipient", json!({"user": "entra-nobody"})), "#/recipient"),
        (with("recipient", json!({"mail": "ada@x.example"})), "#/recipient"),
        (with("recipient", json!("entra-ada")), "#/recipient"),
    ] {
        assert_eq!(faults(&preview(&world, &body).await), [pointer], "{body}");
    }
}
