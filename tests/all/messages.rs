//! The messaging endpoint.

use botframework::app::ACTIVITY_MAX_BYTES;
use botframework::id::ConversationId;
use herald::conversation::{State, TAGS_MAX};
use herald::store::memory::Store;
use herald::store::{ConversationFilter, ConversationSummary, Conversations};
use lambda_http::Body;
use serde_json::json;
use tests::channel::{Behaviour, Reply};

use crate::faulty::Faulty;
use crate::world::{World, document, get, in_channel, personal, post, request, text};

async fn everyone(store: &Store) -> Vec<ConversationSummary> {
    store
        .list(
            &ConversationFilter::Everyone {
                segment: 0,
                segments: 1,
            },
            None,
            100,
        )
        .await
        .unwrap()
        .items
}

#[tokio::test]
async fn a_person_who_writes_is_remembered_and_answered() {
    let world = World::new();
    world.hears(&personal("ada", "message")).await;
    assert_eq!(
        everyone(&world.store).await[0].key.to_string(),
        "msteams|28:bot|a:ada"
    );
    let sent = world.channel.received();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        sent[0].path,
        "/v3/conversations/a%3Aada/activities/message-of-ada"
    );
    assert_eq!(sent[0].activity["text"], "You said: hello");
}

#[tokio::test]
async fn a_repeated_activity_is_stored_and_written_once() {
    let world = World::new();
    for _ in 0..2 {
        world.hears(&personal("ada", "message")).await;
    }
    let key = everyone(&world.store).await.remove(0).key;
    assert_eq!(world.store.get_many(&[key]).await.unwrap()[0].version, 1);
}

#[tokio::test]
async fn a_subscriber_has_the_tag_until_they_unsubscribe() {
    let world = World::new();
    let says = async |place: Option<&str>, words: &str| {
        let mut said = match place {
            Some(place) => in_channel(place, "message"),
            None => personal("ada", "message"),
        };
        said["text"] = json!(words);
        world.hears(&said).await;
        let answers = world.channel.received();
        answers.last().unwrap().activity["text"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let tagged = async |tag: &str| {
        let found = world
            .store
            .list(&ConversationFilter::Tag(tag.to_owned()), None, 10)
            .await;
        let found = found.unwrap().items.into_iter();
        found
            .map(|found| found.key.conversation.into_string())
            .collect::<Vec<_>>()
    };
    for _ in 0..2 {
        let answer = says(None, "Subscribe  Builds").await;
        assert_eq!(answer, "From now on I bring news about **builds** here.");
    }
    // Subscribing in a thread tags the channel.
    says(Some("19:c@thread.tacv2;messageid=5"), "subscribe builds").await;
    says(None, "subscribe release notes").await;
    assert_eq!(tagged("builds").await, ["19:c@thread.tacv2", "a:ada"]);
    assert_eq!(tagged("release notes").await, ["a:ada"]);
    // An operator's tag is not a topic: nobody joins it or leaves it by asking.
    for other in ["executives", &"x".repeat(65)] {
        let answer = says(None, &format!("subscribe {other}")).await;
        assert!(
            answer.contains("no topic of that name") && answer.contains("**builds**"),
            "{answer}"
        );
        assert!(
            says(None, &format!("unsubscribe {other}"))
                .await
                .contains("no topic")
        );
        assert_eq!(tagged(other).await, Vec::<String>::new());
    }
    says(None, "unsubscribe builds").await;
    assert_eq!(tagged("builds").await, ["19:c@thread.tacv2"]);
    let full: Vec<String> = (1..TAGS_MAX).map(|number| format!("t{number}")).collect();
    let ada = "msteams|28:bot|a:ada".parse().unwrap();
    world.store.tag(&ada, &full, &[], world.now()).await.unwrap();
    assert!(says(None, "subscribe builds").await.contains("too many"));
    assert_eq!(tagged("builds").await, ["19:c@thread.tacv2"]);
    assert!(says(None, "HELP").await.contains("**subscribe builds**"));
}

#[tokio::test]
async fn the_bot_remembers_for_a_person_until_they_are_erased() {
    let world = World::new();
    let asks = async |words: &str, place: &str, number: u8| {
        let mut said = in_channel(place, "message");
        (said["text"], said["id"]) = (json!(words), json!(number.to_string()));
        world.hears(&said).await;
        let job: serde_json::Value = serde_json::from_str(&world.jobs.take().unwrap().body).unwrap();
        job["heraldJob"]["value"].clone()
    };
    assert_eq!(asks("report sales", "19:a@thread.tacv2", 1).await, "sales");
    assert_eq!(asks("report", "19:b@thread.tacv2", 2).await, "sales");
    // Ada has no personal conversation: the channel's own id finds what is stored of her.
    let erase = request("DELETE", "/api/users/29%3Aada", Body::Empty);
    assert_eq!(world.notify(erase).await.status(), 200);
    assert_eq!(asks("report", "19:b@thread.tacv2", 3).await, "");
}

#[tokio::test]
async fn a_welcome_explains_the_bot_and_its_commands() {
    let world = World::new();
    let mut added = personal("ada", "conversationUpdate");
    added["membersAdded"] = json!([{"id": "28:bot"}]);
    world.hears(&added).await;
    let said = world.channel.received()[0].activity["text"]
        .as_str()
        .unwrap()
        .to_owned();
    for words in ["You see this because", "bring you news", "Type **help**"] {
        assert!(said.contains(words), "{said}");
    }
    added["membersAdded"] = json!([{"id": "29:eve"}]);
    world.hears(&added).await;
    assert_eq!(world.channel.requests(), 1, "no welcome for people who join");
}

#[tokio::test]
async fn a_malformed_activity_is_refused_and_stores_nothing() {
    let world = World::new();
    let without = |field: &str| {
        let mut activity = personal("ada", "message");
        activity.as_object_mut().unwrap().remove(field);
        activity.to_string()
    };
    let with = |field: &str, value| {
        let mut activity = personal("ada", "message");
        activity[field] = value;
        activity.to_string()
    };
    let half = &personal("ada", "message").to_string()[..60];
    for (body, status) in [
        (String::new(), 400),
        (half.to_owned(), 400),
        ("[]".to_owned(), 400),
        ("\"activity\"".to_owned(), 400),
        (without("type"), 400),
        (without("conversation"), 400),
        (without("channelId"), 400),
        (without("from"), 400),
        (without("serviceUrl"), 403),
        (with("conversation", json!({"id": ""})), 400),
        (with("conversation", json!({"id": 5.5})), 400),
        (with("conversation", json!({"id": "x".repeat(100_000)})), 400),
        (with("recipient", json!({"id": "x".repeat(2_000)})), 400),
        (with("channelId", json!("x".repeat(2_000))), 400),
        (with("id", json!("x".repeat(2_000))), 400),
        (
            with("serviceUrl", json!("https://smba.trafficmanager.net/emea/")),
            403,
        ),
        (with("serviceUrl", json!("http://127.0.0.1.evil.example/")), 403),
        (with("text", json!("x".repeat(ACTIVITY_MAX_BYTES))), 413),
    ] {
        let answer = world.messages(post("/api/messages", &body)).await;
        assert_eq!(answer.status(), status, "{}", body.get(..200).unwrap_or(&body));
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(document(&answer)["status"], status);
    }
    assert_eq!(everyone(&world.store).await, []);
    assert_eq!(world.channel.requests(), 0);
}

#[tokio::test]
async fn other_methods_get_the_allowed_ones() {
    let world = World::new();
    for method in ["GET", "HEAD"] {
        assert_eq!(
            world
                .messages(request(method, "/api/messages", Body::Empty))
                .await
                .status(),
            200
        );
    }
    for method in ["PUT", "DELETE", "OPTIONS"] {
        let answer = world
            .messages(request(method, "/api/messages", Body::Empty))
            .await;
        assert_eq!(answer.status(), 405);
        assert_eq!(answer.headers()["allow"], "POST, GET, HEAD");
        assert_eq!(document(&answer)["status"], 405);
    }
    assert!(text(&world.messages(get("/api/messages")).await).contains("messaging endpoint"));
}

#[tokio::test]
async fn an_unhandled_invoke_is_501_and_an_unknown_type_is_200() {
    let world = World::new();
    let answer = world
        .messages(post("/api/messages", &personal("ada", "invoke").to_string()))
        .await;
    assert_eq!(answer.status(), 501);
    world.hears(&personal("eve", "novelty")).await;
    assert_eq!(
        everyone(&world.store).await,
        [],
        "neither shows that the bot is there"
    );
}

#[tokio::test]
async fn an_unhandled_action_of_a_card_gets_an_answer_that_teams_understands() {
    let world = World::new();
    let mut action = personal("ada", "invoke");
    action["name"] = json!("adaptiveCard/action");
    for _ in 0..2 {
        let answer = world.messages(post("/api/messages", &action.to_string())).await;
        assert_eq!(answer.status(), 200);
        let body = document(&answer);
        assert_eq!(body["statusCode"], 400);
        assert_eq!(body["type"], "application/vnd.microsoft.error");
    }
}

#[tokio::test]
async fn expected_replies_are_in_the_response() {
    let world = World::new();
    let mut activity = personal("ada", "message");
    activity["deliveryMode"] = json!("expectReplies");
    let answer = world.messages(post("/api/messages", &activity.to_string())).await;
    assert_eq!(document(&answer)["activities"][0]["text"], "You said: hello");
    assert_eq!(world.channel.requests(), 0);
}

#[tokio::test]
async fn a_bot_removed_from_a_team_marks_all_channels_as_removed() {
    let world = World::new();
    for place in [
        "19:team@thread.tacv2",
        "19:c@thread.tacv2",
        "19:c@thread.tacv2;messageid=7",
    ] {
        world.hears(&in_channel(place, "message")).await;
    }
    world.hears(&personal("ada", "message")).await;
    let mut removed = in_channel("19:team@thread.tacv2", "conversationUpdate");
    removed["membersRemoved"] = json!([{"id": "28:bot"}]);
    world.hears(&removed).await;
    let states: Vec<_> = everyone(&world.store)
        .await
        .into_iter()
        .map(|it| (it.key.conversation, it.state))
        .collect();
    let state = |id: &str| {
        states
            .iter()
            .find(|(known, _)| *known == ConversationId::from(id))
            .unwrap()
            .1
            .clone()
    };
    assert_eq!(states.len(), 4);
    assert_eq!(state("19:c@thread.tacv2"), State::Removed);
    assert_eq!(state("19:c@thread.tacv2;messageid=7"), State::Removed);
    assert_eq!(state("a:ada"), State::Active);
}

#[tokio::test]
async fn a_bot_leaving_a_team_does_not_affect_another_bot() {
    let world = World::new();
    let of_bot = |bot: &str, place: &str, kind: &str| {
        let mut activity = in_channel(place, kind);
        activity["recipient"] = json!({"id": bot});
        activity
    };
    for bot in ["28:bot", "28:other"] {
        world.hears(&of_bot(bot, "19:c@thread.tacv2", "message")).await;
    }
    let mut removed = of_bot("28:bot", "19:team@thread.tacv2", "conversationUpdate");
    removed["membersRemoved"] = json!([{"id": "28:bot"}]);
    world.hears(&removed).await;
    for found in everyone(&world.store).await {
        let expected = if found.key.bot == "28:bot".into() {
            State::Removed
        } else {
            State::Active
        };
        assert_eq!(found.state, expected, "{}", found.key);
    }
}

#[tokio::test]
async fn an_activity_that_cannot_be_stored_is_not_acknowledged() {
    let world = World::new();
    let answer = world
        .messages_over(
            Faulty::away(Store::new()),
            post("/api/messages", &personal("ada", "message").to_string()),
        )
        .await;
    assert_eq!(answer.status(), 500);
    assert_eq!(document(&answer)["status"], 500);
    assert_eq!(world.channel.requests(), 0);
}

#[tokio::test]
async fn what_channels_write_oddly_is_remembered_and_answered() {
    let world = World::new();
    let mut half = personal("ada", "message").to_string();
    half = half.replace("hello", "ok \\ud83d");
    let mut number = personal("bob", "message");
    number["recipient"]["id"] = json!(4711);
    let mut nobody = personal("eve", "message");
    nobody.as_object_mut().unwrap().remove("recipient");
    for body in [half, number.to_string(), nobody.to_string()] {
        let answer = world.messages(post("/api/messages", &body)).await;
        assert_eq!(answer.status(), 200, "{body}");
    }
    let keys: Vec<String> = everyone(&world.store)
        .await
        .iter()
        .map(|known| known.key.to_string())
        .collect();
    assert_eq!(
        keys,
        [
            "msteams|28:bot|a:ada",
            "msteams|4711|a:bob",
            "msteams|28:bot|a:eve"
        ]
    );
    let sent = world.channel.received();
    assert_eq!(sent[0].activity["text"], "You said: ok \u{fffd}");
    assert_eq!(sent[1].activity["from"]["id"], 4711, "written back as it came");
}

#[tokio::test]
async fn an_activity_that_comes_twice_is_answered_once() {
    let world = World::new();
    let message = personal("ada", "message");
    world.hears(&message).await;
    world.pass(2);
    let mut later = message.clone();
    later["timestamp"] = json!("2026-11-30T10:00:02Z");
    world.hears(&later).await;
    assert_eq!(world.channel.requests(), 1);
    let mut next = message.clone();
    next["id"] = json!("another");
    world.hears(&next).await;
    let mut edited = message;
    edited["text"] = json!("other words");
    world.hears(&edited).await;
    assert_eq!(world.channel.requests(), 3, "another activity is answered");
}

#[tokio::test]
async fn concurrent_copies_of_an_activity_are_answered_once() {
    let world = World::new();
    world.channel.when("a:ada", Behaviour::Hold);
    let message = personal("ada", "message");
    let release = async {
        world.channel.asked(1).await;
        world.channel.let_go();
    };
    tokio::join!(world.hears(&message), world.hears(&message), release);
    assert_eq!(world.channel.count("a:ada"), 1);
}

#[tokio::test]
async fn a_turn_that_failed_can_be_repeated() {
    let world = World::new();
    let refused = Reply {
        status: 400,
        code: "BadSyntax",
        ..Reply::default()
    };
    world
        .channel
        .when("a:ada", Behaviour::Answers([refused].into_iter().collect()));
    let message = personal("ada", "message");
    let failed = world.messages(post("/api/messages", &message.to_string())).await;
    assert_eq!(failed.status(), 500);
    world.hears(&message).await;
    world.hears(&message).await;
    assert_eq!(world.channel.count("a:ada"), 1);
}

#[tokio::test]
async fn an_invoke_and_expected_replies_are_answered_each_time() {
    let world = World::new();
    let mut activity = personal("ada", "message");
    activity["deliveryMode"] = json!("expectReplies");
    for _ in 0..2 {
        let answer = world.messages(post("/api/messages", &activity.to_string())).await;
        assert_eq!(document(&answer)["activities"][0]["text"], "You said: hello");
    }
}

/// The activities about one installation of the bot.
fn installation(person: &str) -> [serde_json::Value; 2] {
    let mut installed = personal(person, "installationUpdate");
    installed["action"] = json!("add");
    let mut added = personal(person, "conversationUpdate");
    added["membersAdded"] = json!([{"id": "28:bot"}]);
    [installed, added]
}

#[tokio::test]
async fn an_installation_is_welcomed_once_whatever_says_it_first() {
    let world = World::new();
    let [installed, added] = installation("ada");
    for (person, order) in [("ann", [0, 1]), ("bob", [1, 0]), ("cec", [0, 0]), ("dan", [1, 1])] {
        for index in order {
            world.hears(&installation(person)[index]).await;
        }
        assert_eq!(world.channel.count(&format!("a:{person}")), 1, "{order:?}");
    }
    tokio::join!(world.hears(&installed), world.hears(&added));
    assert_eq!(world.channel.count("a:ada"), 1);
    let mut removed = personal("ada", "installationUpdate");
    removed["action"] = json!("remove");
    world.hears(&removed).await;
    let mut again = installed;
    again["id"] = json!("again");
    world.hears(&again).await;
    assert_eq!(world.channel.count("a:ada"), 2, "the return is welcomed");
}

#[tokio::test]
async fn a_bot_that_loses_one_shared_channel_keeps_the_team() {
    let world = World::new();
    for place in [
        "19:team@thread.tacv2",
        "19:chan-a@thread.tacv2",
        "19:shared-x@thread.tacv2",
    ] {
        world.hears(&in_channel(place, "message")).await;
    }
    let mut removed = in_channel("19:shared-x@thread.tacv2", "conversationUpdate");
    removed["membersRemoved"] = json!([{"id": "28:bot"}]);
    removed["channelData"]["eventType"] = json!("channelMemberRemoved");
    world.hears(&removed).await;
    for known in everyone(&world.store).await {
        let expected = if known.key.conversation.as_str().starts_with("19:shared-x") {
            State::Removed
        } else {
            State::Active
        };
        assert_eq!(known.state, expected, "{}", known.key);
    }
}

#[tokio::test]
async fn a_bot_that_returns_to_a_team_is_in_the_channels_that_it_left_with_the_team() {
    let world = World::new();
    for place in [
        "19:team@thread.tacv2",
        "19:a@thread.tacv2",
        "19:deleted@thread.tacv2",
    ] {
        world.hears(&in_channel(place, "message")).await;
    }
    let update = |what: &str, id: &str| {
        let mut update = in_channel("19:team@thread.tacv2", "conversationUpdate");
        update[what] = json!([{"id": "28:bot"}]);
        update["id"] = json!(id);
        update
    };
    let mut deleted = in_channel("19:team@thread.tacv2", "conversationUpdate");
    deleted["channelData"]["eventType"] = json!("channelDeleted");
    deleted["channelData"]["channel"] = json!({"id": "19:deleted@thread.tacv2"});
    world.hears(&deleted).await;
    for round in 0..2 {
        world
            .hears(&update("membersRemoved", &format!("left-{round}")))
            .await;
        for known in everyone(&world.store).await {
            assert_eq!(known.state, State::Removed, "{}", known.key);
        }
        world
            .hears(&update("membersAdded", &format!("back-{round}")))
            .await;
        for known in everyone(&world.store).await {
            let is_deleted = known.key.conversation.as_str().starts_with("19:deleted");
            let expected = if is_deleted { State::Removed } else { State::Active };
            assert_eq!(known.state, expected, "{}", known.key);
        }
    }
}
