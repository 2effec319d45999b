//! What the bot does after its answer: reminders and long work.

use herald::queue::RECEIVES_MAX;
use serde_json::{Value, json};
use tests::channel::Behaviour;

use crate::world::{World, document, get, in_channel, personal};

fn says(mut activity: Value, words: &str) -> Value {
    activity["text"] = json!(words);
    activity
}

fn texts(world: &World) -> Vec<String> {
    let received = world.channel.received().into_iter();
    let texts = received.map(|sent| sent.activity["text"].as_str().unwrap_or("(none)").to_owned());
    texts.collect()
}

async fn notifications(world: &World) -> Vec<Value> {
    let listed = document(&world.notify(get("/api/notifications")).await);
    listed["notifications"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_reminder_is_a_notification_of_the_bot_to_the_place_where_it_was_asked_for() {
    let world = World::new();
    let asked = says(personal("ada", "message"), "remind me in 10 minutes to stretch");
    for _ in 0..2 {
        world.hears(&asked).await;
    }
    assert_eq!(notifications(&world).await.len(), 1);
    assert_eq!(texts(&world).len(), 1, "a copy of the activity asks for nothing");
    let begins = world.now();
    world.work().await;
    assert_eq!(texts(&world)[1..], ["A reminder: stretch"]);
    assert_eq!(
        world.channel.received()[1].path,
        "/v3/conversations/a%3Aada/activities"
    );
    assert!(world.now().duration_since(begins).as_secs() >= 600);
    let listed = notifications(&world).await;
    assert_eq!(
        (&listed[0]["caller"], &listed[0]["state"]),
        (&json!("bot:28:bot"), &json!("completed"))
    );
}

#[tokio::test]
async fn a_reminder_of_a_thread_comes_in_the_thread_and_mentions_the_person() {
    let world = World::new();
    let thread = "19:c@thread.tacv2;messageid=5";
    world
        .hears(&says(
            in_channel(thread, "message"),
            "remind me in 1 minute to stretch",
        ))
        .await;
    world.work().await;
    let reminder = world.channel.received().pop().unwrap();
    assert_eq!(
        reminder.path,
        "/v3/conversations/19%3Ac%40thread.tacv2%3Bmessageid%3D5/activities"
    );
    assert_eq!(
        reminder.activity["text"],
        "A reminder for <at>29:ada</at>: stretch"
    );
    assert_eq!(reminder.activity["entities"][0]["mentioned"]["id"], "29:ada");
}

#[tokio::test]
async fn a_turn_that_runs_again_puts_off_the_same() {
    let world = World::new();
    let asked = says(personal("ada", "message"), "remind me in 10 minutes to stretch");
    let refusal = Behaviour::Refuse {
        status: 400,
        code: "BadSyntax",
    };
    world.channel.when("a:ada", refusal);
    let answer = world
        .messages(crate::world::post("/api/messages", &asked.to_string()))
        .await;
    assert_eq!(answer.status(), 500, "the reply was not sent");
    world.channel.when("a:ada", Behaviour::Accept);
    world.pass(30);
    world.hears(&asked).await;
    assert_eq!(notifications(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_result_of_long_work_is_one_notification() {
    let world = World::new();
    world
        .hears(&says(personal("ada", "message"), "report Sales"))
        .await;
    let job = world.jobs.take().unwrap().body;
    assert!(world.jobs.take().is_none());
    // Queues deliver twice, and people send the same again.
    for id in ["m-1", "m-1", "m-2"] {
        assert!(world.takes_events(&[(id, job.clone(), 1)]).await.is_empty());
    }
    world.work().await;
    let said = texts(&world);
    assert_eq!(
        said,
        [
            "I am on it. The report comes when it is ready.",
            "Your report on **Sales**: all is well."
        ]
    );
    assert_eq!(notifications(&world).await[0]["caller"], "bot:28:bot");
}

#[tokio::test]
async fn a_job_that_fails_is_received_again_and_one_that_is_none_is_listed() {
    let world = World::new();
    let job = |members: Value| json!({ "heraldJob": members }).to_string();
    let unknown = job(json!({"id": "1", "name": "coffee", "conversation": "msteams|28:bot|a:ada"}));
    let malformed = job(json!({"id": "2", "name": "report", "conversation": "nowhere"}));
    let batch = [("m-1", unknown, RECEIVES_MAX), ("m-2", malformed, 1)];
    assert_eq!(world.takes_events(&batch).await, ["m-1", "m-2"]);
    let failed = document(&world.notify(get("/api/events/failed")).await);
    let failed = failed["events"].as_array().unwrap();
    assert_eq!(failed.len(), 1);
    let detail = failed[0]["problem"]["detail"].as_str().unwrap();
    assert!(detail.starts_with("`heraldJob` is not a job"), "{detail}");
    assert_eq!(notifications(&world).await, Vec::<Value>::new());
}
