use serde_json::{Value, json};

use super::*;
use crate::activity::{ActivityType, Attachment, ReactionType};
use crate::credential::ExposeSecret;
use crate::id::ActivityId;
use crate::testing::TestApp;

fn card(text: &str) -> Value {
    json!({"type": "AdaptiveCard", "version": "1.5", "body": [{"type": "TextBlock", "text": text}]})
}

#[tokio::test]
async fn a_button_is_answered_in_place_and_its_failure_is_shown() {
    let test = TestApp::new(|app| {
        app.verb("text", async |_: Context, data: SubmittedData| {
            data.read::<String>()
        })
        .verb("card", async || AdaptiveCard(card("new")))
        .verb("nothing", async || ())
        .verb("failing", async || Err::<(), _>("out of order"))
    });
    for (verb, data, status, kind, value) in [
        ("text", json!("hi"), 200, "activity.message", json!("hi")),
        ("card", json!(null), 200, "card.adaptive", card("new")),
        ("nothing", json!({}), 200, "activity.message", json!("Done.")),
        (
            "failing",
            json!({}),
            500,
            "error",
            json!({"code": "Failed", "message": "That did not work. Try again in a moment."}),
        ),
        (
            "text",
            json!(5),
            500,
            "error",
            json!({"code": "Failed", "message": "That did not work. Try again in a moment."}),
        ),
    ] {
        let turn = test.click(verb, data).await;
        let expected = json!({"statusCode": status, "type": format!("application/vnd.microsoft.{kind}"), "value": value});
        assert_eq!(turn.expect_status(200).response(), expected, "{verb}");
        turn.expect_silence();
    }
    assert_eq!(test.click("other", json!({})).await.response()["statusCode"], 400);
}

#[tokio::test]
async fn a_dialog_is_opened_submitted_and_closed() {
    async fn open() -> Result<Dialog, Error> {
        Ok(Dialog::card("Order", card("How many?"))?.sized(400, 200))
    }
    async fn submit(_: Context, order: SubmittedData) -> Result<Reply, Error> {
        match order.0["count"].as_u64() {
            Some(0) => "None is too few.".into_reply(),
            Some(_) => ().into_reply(),
            None => Dialog::page("Help", "https://bot.example/help").into_reply(),
        }
    }
    let test = TestApp::new(|app| app.dialog("order", open, submit));
    let data =
        |count: Value| json!({"data": {"dialog": "order", "count": count}, "context": {"theme": "dark"}});
    let opened = test.invoke("task/fetch", data(json!(null))).await.response();
    assert_eq!(opened["task"]["type"], "continue");
    let shown = &opened["task"]["value"];
    assert_eq!(
        (&shown["title"], &shown["width"], &shown["height"]),
        (&json!("Order"), &json!(400), &json!(200))
    );
    assert_eq!(shown["card"]["content"], card("How many?"));
    let refused = test.invoke("task/submit", data(json!(0))).await.response();
    assert_eq!(
        refused,
        json!({"task": {"type": "message", "value": "None is too few."}})
    );
    let next = test.invoke("task/submit", data(json!("x"))).await.response();
    assert_eq!(next["task"]["value"]["url"], "https://bot.example/help");
    let closed = test.invoke("task/submit", data(json!(2))).await;
    assert_eq!((closed.status(), closed.response()), (200, json!(null)));
    let other = json!({"data": {"dialog": "other"}});
    assert_eq!(test.invoke("task/fetch", other).await.status(), 501);
    assert_eq!(Dialog::open_button("Order", "order")["data"]["dialog"], "order");
    assert_eq!(Dialog::submit_button("Order", "order")["data"]["dialog"], "order");
}

#[tokio::test]
async fn a_message_extension_searches_unfurls_and_acts() {
    async fn search(_: Context, search: Search) -> Result<Reply, Error> {
        if search.text.is_empty() {
            return "Type something.".into_reply();
        }
        assert_eq!((search.skip, search.count), (5, 10));
        SearchResults::default()
            .and(&search.text, "found", card("found"))?
            .into_reply()
    }
    let test = TestApp::new(|app| {
        app.query("find", search)
            .on(LinkPasted, async |_: Context, url: String| {
                AdaptiveCard(card(&url))
            })
            .on(ActionOpened("create"), async || {
                Dialog::page("Create", "https://bot.example/")
            })
            .on(
                ActionSubmitted("create"),
                async |_: Context, data: SubmittedData| {
                    data.0["title"].as_str().map(|title| AdaptiveCard(card(title)))
                },
            )
    });
    let query = |name: &str, value: &str| {
        json!({"commandId": "find", "parameters": [{"name": name, "value": value}],
            "queryOptions": {"skip": 5, "count": 10}})
    };
    let found = test
        .invoke("composeExtension/query", query("text", "owl"))
        .await
        .response();
    let results = &found["composeExtension"];
    assert_eq!(
        (&results["type"], &results["attachmentLayout"]),
        (&json!("result"), &json!("list"))
    );
    assert_eq!(results["attachments"][0]["content"], card("found"));
    assert_eq!(
        results["attachments"][0]["preview"]["content"],
        json!({"title": "owl", "text": "found"})
    );
    let first = test
        .invoke("composeExtension/query", query("initialRun", "true"))
        .await
        .response();
    assert_eq!(
        first,
        json!({"composeExtension": {"type": "message", "text": "Type something."}})
    );

    let link = json!({"url": "https://bot.example/1"});
    let unfurled = test.invoke("composeExtension/queryLink", link).await.response();
    let unfurled = &unfurled["composeExtension"]["attachments"][0]["content"];
    assert_eq!(*unfurled, card("https://bot.example/1"));
    let action = |data: Value| json!({"commandId": "create", "data": data});
    let opened = test
        .invoke("composeExtension/fetchTask", action(json!({})))
        .await
        .response();
    assert_eq!(opened["task"]["value"]["title"], "Create");
    let made = test
        .invoke("composeExtension/submitAction", action(json!({"title": "A"})))
        .await
        .response();
    assert_eq!(made["composeExtension"]["attachments"][0]["content"], card("A"));
    let closed = test
        .invoke("composeExtension/submitAction", action(json!({})))
        .await;
    assert_eq!((closed.status(), closed.response()), (200, json!(null)));
    let unknown = test
        .invoke("composeExtension/query", json!({"commandId": "other"}))
        .await;
    assert_eq!(unknown.status(), 501);
}

#[tokio::test]
async fn what_teams_reports_reaches_its_handler_with_what_it_is_about() {
    let test = TestApp::new(|app| {
        app.on(MessageEdited, async |context: Context| {
            format!("edited: {}", context.text())
        })
        .on(MessageRestored, async || "restored")
        .on(MessageDeleted, async || "deleted")
        .on(ReactionsAdded, async |_: Context, added: Reactions| {
            assert_eq!(added.kinds, [ReactionType::Heart]);
            format!("heart for {}", added.message)
        })
        .on(ReactionsRemoved, async |_: Context, removed: Reactions| {
            format!("none for {}", removed.message)
        })
        .on(Installed, async || "installed")
        .on(Uninstalled, async || "uninstalled")
        .on(MembersRemoved, async || "left")
        .on(BotAdded, async || "bot added")
        .on(
            Activity::team_update,
            async |_: Context, update: crate::teams::TeamUpdate| format!("{:?}", update.event),
        )
    });
    let event_type = |kind: &str| json!({"text": "new", "channelData": {"eventType": kind}});
    for (kind, properties, text) in [
        (
            ActivityType::MessageUpdate,
            event_type("editMessage"),
            "edited: new",
        ),
        (
            ActivityType::MessageUpdate,
            event_type("undeleteMessage"),
            "restored",
        ),
        (
            ActivityType::MessageDelete,
            event_type("softDeleteMessage"),
            "deleted",
        ),
        (
            ActivityType::MessageReaction,
            json!({"replyToId": "7", "reactionsAdded": [{"type": "heart"}]}),
            "heart for 7",
        ),
        (
            ActivityType::MessageReaction,
            json!({"replyToId": "7", "reactionsRemoved": [{"type": "heart"}]}),
            "none for 7",
        ),
        (
            ActivityType::InstallationUpdate,
            json!({"action": "add"}),
            "installed",
        ),
        (
            ActivityType::InstallationUpdate,
            json!({"action": "remove"}),
            "uninstalled",
        ),
        (
            ActivityType::ConversationUpdate,
            json!({"membersRemoved": [{"id": "29:eve"}]}),
            "left",
        ),
        (
            ActivityType::ConversationUpdate,
            json!({"channelData": {"eventType": "teamRenamed", "team": {"id": "19:t"}}}),
            "TeamRenamed",
        ),
    ] {
        test.receive(&test.activity(&kind, &properties))
            .await
            .expect_text(text);
    }
    test.add_bot().await.expect_text("bot added");
}

#[tokio::test]
async fn read_receipts_and_meetings_reach_their_handlers() {
    let test = TestApp::new(|app| {
        app.on(MessagesRead, async |_: Context, last: ActivityId| {
            format!("read up to {last}")
        })
        .on(MeetingStarted, async |_: Context, meeting: MeetingEvent| {
            meeting.title
        })
        .on(MeetingEnded, async |_: Context, meeting: MeetingEvent| {
            meeting.end_time
        })
    });
    for (name, value, text) in [
        ("readReceipt", json!({"lastReadMessageId": "9"}), "read up to 9"),
        (
            "meetingStart",
            json!({"Title": "Stand-up", "Id": "m"}),
            "Stand-up",
        ),
        (
            "meetingEnd",
            json!({"EndTime": "2027-01-15T09:00:00Z"}),
            "2027-01-15T09:00:00Z",
        ),
    ] {
        let name = format!("application/vnd.microsoft.{name}");
        test.event(&name, value).await.expect_text(text);
    }
    test.event("application/vnd.microsoft.readReceipt", json!(null))
        .await
        .expect_silence();
}

#[tokio::test]
async fn files_and_feedback_are_acknowledged_and_answered_in_the_conversation() {
    let test = TestApp::new(|app| {
        app.on(FileAnswered, async |_: Context, consent: FileConsent| {
            format!(
                "{} {}",
                consent.action.unwrap_or_default(),
                consent.context.unwrap_or_default()
            )
        })
        .on(FeedbackGiven, async |_: Context, given: MessageFeedback| {
            format!(
                "{} {} {}",
                given.message.unwrap_or_default(),
                given.reaction,
                given.text.unwrap_or_default()
            )
        })
        .on(NamedInvoke("novel/invoke"), async || ())
        .command("ask", async || {
            Attachment::file_consent("report.txt", "A report", 5, &json!("r1"))
        })
        .command("thumbs", async || {
            Activity::message("How was it?").with_feedback_buttons()
        })
    });
    let consent = json!({"type": "fileUpload", "action": "accept", "context": "r1",
        "uploadInfo": {"uploadUrl": "https://up.example/1"}});
    let turn = test.invoke("fileConsent/invoke", consent).await;
    turn.expect_text("accept \"r1\"").expect_status(200);
    let feedback = json!({"actionName": "feedback", "actionValue":
        {"reaction": "like", "feedback": "{\"feedbackText\":\"good\"}"}});
    test.invoke("message/submitAction", feedback)
        .await
        .expect_text("1 like good")
        .expect_status(200);
    let done = test.invoke("novel/invoke", json!({})).await;
    assert_eq!((done.status(), done.response()), (200, json!(null)));
    assert_eq!(test.say("ask").await.expect_card()["sizeInBytes"], 5);
    assert_eq!(
        test.say("thumbs").await.sent()[0]["channelData"]["feedbackLoopEnabled"],
        true
    );
}

#[tokio::test]
async fn state_is_of_the_person_or_the_conversation_in_proactive_turns_too() {
    async fn count(context: Context) -> Result<String, Error> {
        let add = |count: &mut u32| {
            *count += 1;
            *count
        };
        let own = context.user_state("count")?.update(add).await?;
        let here = context.conversation_state("count")?.update(add).await?;
        Ok(format!("{own} {here}"))
    }
    let test = TestApp::new(|app| {
        app.storage(MemoryStorage::default())
            .on(ActivityType::Message, count)
    });
    test.say("hi").await.expect_text("1 1");
    let group = test.in_group("19:g");
    group.say("hi").await.expect_text("2 1");
    test.person("bob")
        .in_group("19:g")
        .say("hi")
        .await
        .expect_text("1 2");
    test.app()
        .continue_conversation(&test.reference(), count)
        .await
        .unwrap();
    assert_eq!(test.channel().texts().last().unwrap(), "3 2");
    let without = TestApp::new(|app| app.on(ActivityType::Message, count));
    without.say("hi").await.expect_status(500);
}

#[tokio::test]
async fn a_person_signs_in_by_either_way_and_signs_out() {
    async fn issues(context: Context) -> Result<Reply, Error> {
        let tokens = context.user_tokens();
        match tokens.get("github").await? {
            Some(token) => format!("with {}", token.token.expose_secret()).into_reply(),
            None => tokens.sign_in_card("github", "Sign in").await?.into_reply(),
        }
    }
    async fn out(context: Context) -> Result<&'static str, Error> {
        context.user_tokens().sign_out("github").await?;
        Ok("signed out")
    }
    let test = TestApp::new(|app| {
        app.command("issues", issues)
            .command("sign out", out)
            .sign_in("github", async |_: Context, token: UserToken| {
                format!("signed in with {}", token.token.expose_secret())
            })
    });
    let card = test.say("issues").await.expect_card();
    assert_eq!(card["buttons"][0]["value"], "https://token.example/sign-in");
    assert_eq!(card["tokenExchangeResource"]["uri"], "api://bot");
    let exchange = json!({"id": "sign-in", "connectionName": "github", "token": "held"});
    let code = json!({"state": "123456"});
    let refused = test.invoke("signin/tokenExchange", exchange.clone()).await;
    refused.expect_status(412).expect_silence();
    assert_eq!(refused.response()["connectionName"], "github");
    test.invoke("signin/verifyState", code.clone())
        .await
        .expect_status(404);

    test.channel().has_token("github", "secret");
    for (name, value) in [("tokenExchange", &exchange), ("verifyState", &code)] {
        let turn = test.invoke(&format!("signin/{name}"), value.clone()).await;
        turn.expect_status(200).expect_text("signed in with secret");
    }
    test.say("issues").await.expect_text("with secret");
    test.say("sign out").await.expect_text("signed out");
    test.invoke("signin/verifyState", code).await.expect_status(404);
    let other = json!({"id": "1", "connectionName": "other", "token": "held"});
    test.invoke("signin/tokenExchange", other)
        .await
        .expect_status(501);
}
