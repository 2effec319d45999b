//! Recipients that each bring data of their own.

use herald::notification::PAGE_SIZE;
use herald::store::Notifications;

use super::*;

fn rows(rows: &Value, message: &Value) -> Value {
    json!({"audience": {"rows": rows}, "message": message})
}

#[tokio::test(start_paused = true)]
async fn each_recipient_gets_the_message_with_the_fields_of_its_row() {
    let world = named(&[("ada", "Ada", "en"), ("ben", "Ben", "en"), ("col", "Col", "en")]).await;
    let message = json!({"text": "${recipient.name}: ${seat} at ${place}"});
    for (column, prefix) in [("user", "entra-"), ("account", "29:"), ("conversation", "a:")] {
        let mut body = rows(
            &json!([
                {column: format!("{prefix}ben"), "seat": 2},
                {column: format!("{prefix}ada"), "seat": "1 & 3", "place": "the window"},
                {column: format!("{prefix}nobody"), "seat": 9},
            ]),
            &message,
        );
        body["data"] = json!({"place": "the door", "seat": 0});
        let id = sent(&world, &body).await;
        assert_eq!(
            done(&world, "ada").last().unwrap(),
            "POST Ada: 1 &amp; 3 at the window",
            "{column}"
        );
        assert_eq!(
            done(&world, "ben").last().unwrap(),
            "POST Ben: 2 at the door",
            "{column}"
        );
        assert_eq!(done(&world, "col"), [""; 0]);
        let status = status(&world, &id).await;
        let counts = &status["counts"];
        assert_eq!((&counts["delivered"], &counts["skipped"]), (&json!(2), &json!(1)));
        assert_eq!(status["sendMode"], "individual");
        assert_eq!(status["audience"]["rows"][0]["seat"], 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_has_the_fields_of_each_row() {
    let world = named(&[("ada", "Ada", "en"), ("ben", "Ben", "en")]).await;
    let people = json!([{"user": "entra-ada", "seat": 1}, {"user": "entra-ben", "seat": 2}]);
    // Without data its message is a template too.
    let id = sent(&world, &rows(&people, &json!({"text": "seat ${seat}"}))).await;
    let edited = json!({"message": {"text": "now seat ${seat} of ${n}"}, "data": {"n": 2}});
    assert_eq!(edit(&world, &id, &edited).await.status(), 202);
    assert_eq!(done(&world, "ada"), ["POST seat 1", "PUT now seat 1 of 2"]);
    assert_eq!(done(&world, "ben"), ["POST seat 2", "PUT now seat 2 of 2"]);
    assert_eq!(
        edit(&world, &id, &json!({"message": {"text": "no seat ${seat}"}}))
            .await
            .status(),
        202
    );
    assert_eq!(done(&world, "ben").last().unwrap(), "PUT no seat 2");
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_to_the_queue_keeps_its_rows() {
    use tests::channel::{Behaviour, Reply};
    let world = named(&[("ada", "Ada", "en"), ("ben", "Ben", "en"), ("col", "Col", "en")]).await;
    let refused = Reply {
        status: 429,
        retry_after: Some(60),
        ..Reply::default()
    };
    world.channel.when("a:ben", Behaviour::Answers([refused].into()));
    let people =
        json!([{"user": "entra-ada", "n": 1}, {"user": "entra-ben", "n": 2}, {"user": "entra-col", "n": 3}]);
    let id = sent(&world, &rows(&people, &json!({"text": "${n}"}))).await;
    assert_eq!(done(&world, "ben").last().unwrap(), "POST 2");
    assert_eq!(done(&world, "col").last().unwrap(), "POST 3");
    assert_eq!(status(&world, &id).await["counts"]["delivered"], 3);
}

#[tokio::test(start_paused = true)]
async fn the_first_row_of_a_recipient_counts_and_others_are_warned_of() {
    let world = named(&[("ada", "Ada", "en")]).await;
    let people = json!([{"user": "entra-ada", "n": 1}, {"user": "entra-ada", "n": 3}]);
    let body = rows(&people, &json!({"text": "${n}"}));
    let answer = world.notify(post("/api/notifications", &body.to_string())).await;
    let warning = document(&answer)["warnings"][0].clone();
    assert_eq!(
        (&warning["code"], &warning["pointer"]),
        (&json!("repeatedRows"), &json!("#/audience"))
    );
    world.work().await;
    assert_eq!(done(&world, "ada"), ["POST 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_page_ends_before_its_fields_are_too_large_for_an_item() {
    let world = World::new();
    let long = "x".repeat(4_000);
    let people: Vec<Value> = (0..100)
        .map(|n| json!({"user": format!("nobody-{n}"), "text": long}))
        .collect();
    let id = world
        .asks(&rows(&json!(people), &json!({"text": "${text}"})))
        .await;
    world.plan().await;
    let mut recipients = 0;
    for number in 0.. {
        let page = world.store.page(&id, 0, number).await.unwrap().unwrap();
        let json = serde_json::to_vec(&page).unwrap();
        assert!(json.len() < 140_000, "{}", json.len());
        assert!(page.recipients() <= PAGE_SIZE as u64);
        for chunk in &page.chunks {
            assert_eq!(chunk.fields.len(), chunk.recipients.len());
        }
        recipients += page.recipients();
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(recipients, 100);
}

#[tokio::test(start_paused = true)]
async fn rows_stand_alone_and_never_go_by_batch() {
    let world = World::new();
    let mut body = rows(&json!([{"user": "entra-ada"}]), &json!({"text": "hi"}));
    body["sendMode"] = json!("batch");
    let refused = world.notify(post("/api/notifications", &body.to_string())).await;
    assert_eq!(faults(&refused), ["#/sendMode"]);
    let mixed =
        json!({"audience": [{"rows": [{"user": "a"}]}, {"everyone": true}], "message": {"text": "hi"}});
    let refused = world.notify(post("/api/notifications", &mixed.to_string())).await;
    assert_eq!(faults(&refused), ["#/audience"]);
}
