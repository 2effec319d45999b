//! The examples of the SDK, driven by its test kit.

#![allow(dead_code, reason = "the examples are programs")]

use std::sync::atomic::Ordering;

use botframework::app::ACTIVITY_MAX_BYTES;
use botframework::testing::TestApp;
use lambda_http::http::StatusCode;
use serde_json::json;
use tests::http_client;

#[path = "../../shared/botframework/examples/cards.rs"]
mod cards;
#[path = "../../shared/botframework/examples/conversation.rs"]
mod conversation;
#[path = "../../shared/botframework/examples/dialogs.rs"]
mod dialogs;
#[path = "../../shared/botframework/examples/echo.rs"]
mod echo;
#[path = "../../shared/botframework/examples/long_work.rs"]
mod long_work;
#[path = "../../shared/botframework/examples/middleware.rs"]
mod middleware;
#[path = "../../shared/botframework/examples/proactive.rs"]
mod proactive;
#[path = "../../shared/botframework/examples/search.rs"]
mod search;
#[path = "../../shared/botframework/examples/sign_in.rs"]
mod sign_in;
#[path = "../../shared/botframework/examples/state.rs"]
mod state;
#[path = "../../shared/botframework/examples/thread.rs"]
mod thread;

#[tokio::test]
async fn echo_says_back_what_is_said() {
    let test = TestApp::new(echo::bot);
    test.say("hi").await.expect_text("You said: hi");
}

#[tokio::test]
async fn a_bot_is_served_over_http() {
    let app = TestApp::new(echo::bot).app().clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/messages", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app.into_router()).await });
    let client = http_client::builder().build().unwrap();
    let health = client.get(&url).send().await.unwrap();
    assert_eq!(health.status(), 200);
    let post = |body: String| client.post(&url).body(body).send();
    let said = json!({"type": "message", "id": "1", "channelId": "msteams", "text": "hi",
        "serviceUrl": "http://127.0.0.1:3979/", "from": {"id": "29:ada"}, "recipient": {"id": "28:bot"},
        "conversation": {"id": "a:ada"}, "deliveryMode": "expectReplies"});
    let answer = post(said.to_string()).await.unwrap().text().await.unwrap();
    assert!(answer.contains("You said: hi"), "{answer}");
    let elsewhere = said
        .to_string()
        .replace("http://127.0.0.1:3979/", "https://smba.trafficmanager.net/emea/");
    assert_eq!(post(elsewhere).await.unwrap().status(), 403);
    assert_eq!(
        post("x".repeat(ACTIVITY_MAX_BYTES + 1)).await.unwrap().status(),
        413
    );
    assert_eq!(
        post("x".repeat(ACTIVITY_MAX_BYTES * 2)).await.unwrap().status(),
        413
    );
}

#[tokio::test]
async fn proactive_writes_to_everybody_who_talked_to_it_although_one_has_left() {
    let references = proactive::References::default();
    let test = TestApp::new(|app| proactive::bot(app, references.clone()));
    for person in ["ada", "bob", "eve"] {
        test.person(person).say("hi").await;
    }
    let channel = test.channel();
    channel.refuse_next(StatusCode::FORBIDDEN, "BotNotInConversationRoster");
    let result = proactive::notify(test.app(), &references).await;
    assert_eq!(result, "2 of 3 were written to");
    assert_eq!(channel.texts()[3..], ["proactive hello"; 3]);
}

#[tokio::test]
async fn conversation_mentions_and_writes_to_each_member() {
    let test = TestApp::new(conversation::bot).in_channel("19:general@thread.tacv2");
    test.channel().has_members(&["ada", "bob"]);
    test.say("mention").await.expect_text("Hello <at>Ada</at>");
    test.say("who").await.expect_text("You are ada.");
    let turn = test.say("message").await;
    turn.expect_texts(&["Hello ada.", "Hello bob.", "2 members have a message."]);
    test.say("update")
        .await
        .expect_texts(&["In a moment this says something else.", "Something else."]);
    assert_eq!(test.say("delete").await.requests()[1].method, "DELETE");
    test.add_person("eve").await.expect_text("Welcome, Eve!");
    test.add_bot().await.expect_silence();
}

#[tokio::test]
async fn thread_starts_a_thread_in_the_channel_and_continues_it() {
    let test = TestApp::new(thread::bot).in_channel("19:general@thread.tacv2;messageid=5");
    let turn = test.say("go").await;
    turn.expect_texts(&[
        "This is the first message of a new thread.",
        "This is the second one.",
    ]);
    let [created, second] = turn.requests() else {
        panic!("{turn:?}")
    };
    assert_eq!(
        created.body["channelData"]["channel"]["id"],
        "19:general@thread.tacv2"
    );
    assert!(second.path.contains("%3Bmessageid%3D17"), "{}", second.path);
}

#[tokio::test]
async fn middleware_marks_and_counts_what_is_sent() {
    let sent = middleware::Sent::default();
    let test = TestApp::new(|app| middleware::bot(app, sent.clone()));
    let turn = test.say("hi").await;
    assert_eq!(turn.sent()[0]["locale"], "en-GB");
    assert_eq!(sent.0.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn long_work_shows_that_the_bot_types_and_brings_the_result_later() {
    let test = TestApp::new(long_work::bot);
    let turn = test.say("work").await;
    turn.expect_text("Here it is.");
    assert_eq!(turn.requests()[0].body["type"], "typing");
    test.say("long").await.expect_text("I bring it in a minute.");
    tokio::time::sleep(std::time::Duration::from_secs(61)).await;
    assert_eq!(test.channel().texts().last().unwrap(), "Here it is.");
}

#[tokio::test]
async fn a_button_of_cards_is_answered_in_place() {
    let test = TestApp::new(cards::bot);
    let card = test.say("order").await.expect_card();
    let action = &card["actions"][0];
    let verb = action["verb"].as_str().unwrap();
    let answered = test.click(verb, action["data"].clone()).await.expect_card();
    assert_eq!(answered["body"][0]["text"], "Order 7 was approved by Ada.");
}

#[tokio::test]
async fn dialogs_opens_one_and_tells_what_was_submitted() {
    let test = TestApp::new(dialogs::bot);
    let card = test.say("order").await.expect_card();
    let data = card["actions"][0]["data"].clone();
    let opened = test
        .invoke("task/fetch", json!({ "data": data }))
        .await
        .response();
    let submit = &opened["task"]["value"]["card"]["content"]["actions"][0]["data"];
    let mut submitted = submit.clone();
    submitted["what"] = json!("tea");
    let turn = test.invoke("task/submit", json!({ "data": submitted })).await;
    turn.expect_text("Ordered: tea").expect_status(200);
}

#[tokio::test]
async fn search_finds_and_unfurls() {
    let test = TestApp::new(search::bot);
    let query = json!({"commandId": "books", "parameters": [{"name": "title", "value": "mma"}]});
    let found = test.invoke("composeExtension/query", query).await.response();
    let found = found["composeExtension"]["attachments"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(
        (found.len(), &found[0]["preview"]["content"]["title"]),
        (1, &json!("Emma"))
    );
    let link = json!({"url": "https://books.example/persuasion"});
    let card = test.invoke("composeExtension/queryLink", link).await.response();
    let body = &card["composeExtension"]["attachments"][0]["content"]["body"];
    assert_eq!(body[0]["text"], "Persuasion");
}

#[tokio::test]
async fn state_is_remembered_for_the_person_in_every_conversation() {
    let test = TestApp::new(state::bot);
    test.say("hi").await.expect_text("What is your name?");
    test.say("Ada").await.expect_text("Thank you, Ada.");
    let group = test.in_group("19:g");
    group.say("hello").await.expect_text("Ada said: hello");
    test.say("forget").await.expect_text("Who are you?");
    group.say("hello").await.expect_text("What is your name?");
}

#[tokio::test]
async fn sign_in_asks_for_it_once() {
    let test = TestApp::new(sign_in::bot);
    let card = test.say("issues").await.expect_card();
    assert_eq!(card["text"], "Sign in to see your issues");
    test.channel().has_token("github", "invented");
    let code = json!({"state": "123456"});
    let turn = test.invoke("signin/verifyState", code).await;
    turn.expect_text("You are signed in. Say issues again.");
    test.say("issues")
        .await
        .expect_text("You have three open issues.");
    test.say("sign out").await.expect_text("You are signed out.");
}
