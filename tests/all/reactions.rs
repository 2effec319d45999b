//! The reaction to each failure of a request, and to each change by a caller.

use botframework::activity::Activity;
use botframework::cloud::Cloud;
use herald::conversation::{Observation, State as Presence};
use herald::delivery::{Outcome, State};
use herald::event::EventKind;
use herald::id::NotificationId;
use herald::notification::{self, Content};
use herald::queue::{Message, Plan, Queue, Task};
use herald::store::{Conversations, Notifications};
use serde_json::{Value, json};
use tests::channel::{Behaviour, Reply};

use crate::world::{World, personal};

fn everyone() -> Value {
    json!({"audience": {"everyone": true}, "message": {"text": "news"}})
}

/// A world in Teams' public cloud, in which these people are served in Europe.
async fn european_world_of(people: &[&str]) -> World {
    let world = World::of_cloud(Cloud::Public);
    for person in people {
        see(&world, person, EUROPE).await;
    }
    world
}

/// Stores a person at a service URL, as if from an authenticated activity.
async fn see(world: &World, person: &str, service_url: &str) {
    let mut activity = personal(person, "installationUpdate");
    activity["serviceUrl"] = json!(service_url);
    let activity = Activity::from_value(activity).unwrap();
    for observation in Observation::from_activity(&activity) {
        world.store.remember(observation, world.now()).await.unwrap();
    }
}

const EUROPE: &str = "https://smba.trafficmanager.net/emea/";

fn key(person: &str) -> herald::conversation::ConversationKey {
    format!("msteams|28:bot|a:{person}").parse().unwrap()
}

async fn state(world: &World, person: &str) -> Presence {
    world
        .store
        .get_many(&[key(person)])
        .await
        .unwrap()
        .remove(0)
        .state
}

fn answers(replies: impl IntoIterator<Item = Reply>) -> Behaviour {
    Behaviour::Answers(replies.into_iter().collect())
}

fn refusal(status: u16, code: &'static str) -> Reply {
    Reply {
        status,
        code,
        ..Reply::default()
    }
}

async fn delivered(world: &World, id: &NotificationId) -> u64 {
    world.notification(id).await.counts.delivered
}

/// Sends the sweep that the notification API sends after an edit, a retraction or a cancellation.
pub(crate) async fn sweep(world: &World, id: &NotificationId) {
    let plan = Plan {
        notification: id.clone(),
        task: Task::Sweep,
        part: None,
        enqueued: None,
        wave: None,
    };
    let message = Message::json(&plan, std::time::Duration::ZERO);
    world.plans.send(vec![message]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_blocked_conversation_is_skipped_until_the_person_writes() {
    let world = World::of(&["ada"]).await;
    let blocked = refusal(403, "ConversationBlockedByUser");
    world.channel.when("a:ada", answers([blocked]));
    let first = world.asks(&everyone()).await;
    world.work().await;
    assert_eq!(world.notification(&first).await.counts.gone, 1);
    let code = "ConversationBlockedByUser".to_owned();
    assert_eq!(state(&world, "ada").await, Presence::Blocked { code });

    let requests = world.channel.requests();
    let named = json!({"audience": {"users": ["entra-ada"]}, "message": {"text": "news"}});
    let second = world.asks(&named).await;
    world.work().await;
    assert_eq!(world.channel.requests(), requests);
    assert_eq!(world.notification(&second).await.counts.skipped, 1);

    world.hears(&personal("ada", "message")).await;
    let third = world.asks(&everyone()).await;
    world.work().await;
    assert_eq!(delivered(&world, &third).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_moved_tenant_is_found_at_its_new_service_url_which_is_stored() {
    let world = european_world_of(&["ada"]).await;
    // Their last activity came from an address that does not serve them.
    see(&world, "ada", "https://smba.infra.gcc.teams.microsoft.com/teams").await;
    world
        .channel
        .when("a:ada", Behaviour::ServedAt("smba.trafficmanager.net"));
    let id = world.asks(&everyone()).await;
    world.work().await;
    assert_eq!(delivered(&world, &id).await, 1);
    let ada = world.store.get_many(&[key("ada")]).await.unwrap().remove(0);
    assert_eq!(ada.service_urls[0], EUROPE);
    let requests = world.channel.requests();
    world.asks(&everyone()).await;
    world.work().await;
    assert_eq!(
        world.channel.requests(),
        requests + 1,
        "the address that worked is the first now"
    );
}

#[tokio::test(start_paused = true)]
async fn a_tenant_of_gcc_is_reached_there() {
    let world = european_world_of(&["ada"]).await;
    world
        .channel
        .when("a:ada", answers([refusal(403, "InvalidBotApiHost")]));
    let id = world.asks(&everyone()).await;
    world.work().await;
    assert_eq!(delivered(&world, &id).await, 1);
    let ada = world.store.get_many(&[key("ada")]).await.unwrap().remove(0);
    assert_eq!(ada.service_urls[0], botframework::cloud::GCC_SERVICE_URL);
}

#[tokio::test(start_paused = true)]
async fn a_missing_chat_is_created_again_and_its_new_id_is_stored() {
    let world = World::of(&["ada"]).await;
    let lost = || refusal(404, "ConversationNotFound");
    world.channel.when("a:ada", answers([lost(), lost()]));
    world.channel.when("", Behaviour::Named("a:ada-anew"));
    let id = world.asks(&everyone()).await;
    world.work().await;
    assert_eq!(delivered(&world, &id).await, 1);
    assert_eq!(world.channel.count("a:ada-anew"), 1);
    let created = world
        .channel
        .received()
        .into_iter()
        .find(|it| it.path == "/v3/conversations")
        .unwrap();
    assert_eq!(
        created.activity,
        json!({"isGroup": false, "bot": {"id": "28:bot"}, "members": [{"id": "29:ada"}], "tenantId": "tenant-1",
               "channelData": {"tenant": {"id": "tenant-1"}}})
    );

    let again = world.asks(&everyone()).await;
    world.work().await;
    assert_eq!(
        world.notification(&again).await.audience,
        1,
        "the old id has no record"
    );
    assert_eq!(world.channel.count("a:ada-anew"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_missing_chat_with_the_same_new_id_is_retried_once() {
    let world = World::of(&["ada"]).await;
    world
        .channel
        .when("a:ada", answers([refusal(404, "ConversationNotFound")]));
    world.channel.when("", Behaviour::Named("a:ada"));
    let id = world.asks(&everyone()).await;
    world.work().await;
    assert_eq!(delivered(&world, &id).await, 1);
    assert_eq!(state(&world, "ada").await, Presence::Active);
}

#[tokio::test(start_paused = true)]
async fn retry_after_pauses_only_its_tenant() {
    let world = World::of(&["ada", "eve"]).await;
    let mut joe = personal("joe", "installationUpdate");
    joe["conversation"]["tenantId"] = json!("tenant-2");
    world.hears(&joe).await;
    let throttled = Reply {
        retry_after: Some(600),
        ..refusal(429, "Throttled")
    };
    world.channel.when("a:ada", answers([throttled]));
    let began = world.now();
    let id = world
        .asks(&json!({"audience": {"users": ["entra-ada"]}, "message": {"text": "news"}}))
        .await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    world.send_one(&chunk.body).await;
    // Later requests in the same tenant wait; those of another tenant do not.
    let other = world.asks(&everyone()).await;
    world.plan().await;
    let mut rest = Vec::new();
    while let Some(chunk) = world.deliveries.take() {
        if chunk.delay.is_zero() {
            world.send_one(&chunk.body).await;
        } else {
            rest.push(chunk);
        }
    }
    assert_eq!(
        (world.channel.count("a:joe"), world.channel.count("a:eve")),
        (1, 0)
    );
    assert!(rest.iter().all(|chunk| chunk.delay.as_secs() > 250), "{rest:?}");
    world.deliveries.send(rest).await.unwrap();
    world.work().await;
    assert_eq!(
        (delivered(&world, &id).await, delivered(&world, &other).await),
        (1, 3)
    );
    assert!(world.now().duration_since(began).as_secs() >= 600);
}

#[tokio::test(start_paused = true)]
async fn a_bot_disabled_in_a_tenant_opens_the_circuit_breaker() {
    let people: Vec<String> = (0..40).map(|number| format!("p{number}")).collect();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    let world = World::of(&people).await;
    let off = Behaviour::Refuse {
        status: 403,
        code: "BotDisabledByAdmin",
    };
    for person in &people {
        world.channel.when(&format!("a:{person}"), off.clone());
    }
    let id = world.asks(&everyone()).await;
    world.plan().await;
    while let Some(chunk) = world.deliveries.take() {
        if chunk.delay.as_secs() > 60 {
            world.deliveries.send(vec![chunk]).await.unwrap();
            break;
        }
        world.send_one(&chunk.body).await;
    }
    let blocked = {
        let mut blocked = 0;
        for person in &people {
            blocked += u32::from(state(&world, person).await != Presence::Active);
        }
        blocked
    };
    assert_eq!(blocked, 2, "the third failure pauses the tenant");
    for person in &people {
        world.channel.when(&format!("a:{person}"), Behaviour::Accept);
    }
    world.work().await;
    let done = world.notification(&id).await;
    assert_eq!(done.state(), notification::State::Completed);
    assert_eq!(
        (done.counts.delivered, done.counts.gone),
        (38, 2),
        "{:?}",
        done.counts
    );
}

#[tokio::test(start_paused = true)]
async fn a_few_disabled_people_do_not_open_the_circuit_breaker() {
    let people: Vec<String> = (0..40).map(|number| format!("p{number}")).collect();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    let world = World::of(&people).await;
    for person in people.iter().step_by(8) {
        let off = Behaviour::Refuse {
            status: 403,
            code: "BotDisabledByAdmin",
        };
        world.channel.when(&format!("a:{person}"), off);
    }
    let began = world.now();
    let id = world.asks(&everyone()).await;
    world.work().await;
    let counts = world.notification(&id).await.counts;
    assert_eq!((counts.delivered, counts.gone), (35, 5), "{counts:?}");
    assert!(world.now().duration_since(began).as_hours() < 2);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_message_keeps_the_channels_error() {
    let world = World::of(&["ada"]).await;
    let refused = Reply {
        message: "the card has no body",
        ..refusal(400, "BadSyntax")
    };
    world.channel.when("a:ada", answers([refused]));
    let mut body = everyone();
    body["events"] = json!(["rejected"]);
    let id = world.asks(&body).await;
    world.work().await;
    let row = world
        .row(&id, &herald::audience::Recipient::Conversation(key("ada")))
        .await;
    let rejected = Outcome::Rejected {
        code: "BadSyntax".into(),
        detail: Some("the card has no body".into()),
    };
    assert_eq!(row.state, State::Settled(rejected));
    let events = world.events.take();
    let told: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(
        told,
        [
            EventKind::Accepted,
            EventKind::DeliveryRejected,
            EventKind::Completed
        ]
    );
    assert_eq!(events[1].detail["code"], "BadSyntax");
    let text = serde_json::to_string(&events).unwrap();
    assert!(
        !text.contains("news") && !text.contains("no body"),
        "no text in an event"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_after_a_cancellation() {
    let world = World::of(&["ada", "eve"]).await;
    let id = world.asks(&everyone()).await;
    world.plan().await;
    let cancelled = world.store.cancel(&id, world.now()).await.unwrap().unwrap();
    assert_eq!(cancelled.state(), notification::State::Cancelling);
    world.work().await;
    let done = world.notification(&id).await;
    assert_eq!((world.channel.requests(), done.counts.cancelled), (0, 2));
    assert_eq!(done.state(), notification::State::Cancelled);
    assert!(done.completed_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_edit_updates_sent_messages_and_open_deliveries() {
    let world = World::of(&["ada", "eve"]).await;
    world.channel.when(
        "a:eve",
        answers([refusal(429, "Throttled"), refusal(429, "Throttled")]),
    );
    let id = world.asks(&everyone()).await;
    world.plan().await;
    while world.channel.count("a:ada") == 0 {
        let chunk = world.deliveries.take().unwrap();
        world.send_one(&chunk.body).await;
    }
    let edited = Content::Message(Box::new(Activity::message("better news").into()));
    world.store.revise(&id, &edited, world.now()).await.unwrap();
    sweep(&world, &id).await;
    world.work().await;
    let shown: Vec<_> = world
        .channel
        .received()
        .into_iter()
        .map(|it| (it.method, it.conversation, it.activity["text"].clone()))
        .collect();
    let expected = [
        ("POST", "a:ada", "news"),
        ("PUT", "a:ada", "better news"),
        ("POST", "a:eve", "better news"),
    ];
    for (method, conversation, text) in expected {
        assert!(
            shown.contains(&(method.into(), conversation.into(), json!(text))),
            "{method} {conversation}: {shown:?}"
        );
    }
    assert_eq!(shown.len(), 3);
    let done = world.notification(&id).await;
    assert_eq!(
        (
            done.counts.delivered,
            done.revision_counts.current,
            done.revision_counts.uneditable
        ),
        (2, 2, 0)
    );
    assert_eq!(done.chunks_current, done.chunks);
}

#[tokio::test(start_paused = true)]
async fn a_retraction_deletes_every_message_with_an_id_and_counts_the_rest() {
    let world = World::of(&["ada", "eve"]).await;
    world.channel.when("a:eve", Behaviour::AcceptSilently);
    let id = world.asks(&everyone()).await;
    world.work().await;
    world
        .store
        .revise(&id, &Content::Nothing, world.now())
        .await
        .unwrap();
    sweep(&world, &id).await;
    world.work().await;
    let deleted: Vec<_> = world
        .channel
        .received()
        .into_iter()
        .filter(|it| it.method == "DELETE")
        .map(|it| it.conversation)
        .collect();
    assert_eq!(deleted, ["a:ada"]);
    let done = world.notification(&id).await;
    assert_eq!(
        (done.revision_counts.current, done.revision_counts.uneditable),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn many_notifications_to_one_conversation_keep_its_rate_limit() {
    let world = World::of(&["ada"]).await;
    let began = world.now();
    for _ in 0..20 {
        world.asks(&everyone()).await;
    }
    world.work().await;
    assert_eq!(world.channel.count("a:ada"), 20);
    let took = world.now().duration_since(began).as_secs();
    assert!(
        took >= 26,
        "twenty messages in {took} s are more than 7 at once and then one in two seconds"
    );
}

/// A world of so many people, who all refuse the next message with this answer.
async fn crowd_that_refuses(people: usize, reply: &Reply) -> World {
    let world = World::new();
    for person in 0..people {
        world
            .hears(&personal(&person.to_string(), "installationUpdate"))
            .await;
        world
            .channel
            .when(&format!("a:{person}"), answers([reply.clone()]));
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_large_is_refused_by_a_few_and_asked_of_no_other() {
    let too_large = refusal(413, "MessageSizeTooBig");
    let invalid = Reply {
        message: "Mention text is not in the message",
        ..refusal(400, "BadArgument")
    };
    for reply in [too_large, invalid] {
        let world = crowd_that_refuses(300, &reply).await;
        let id = world.asks(&everyone()).await;
        world.work().await;
        let done = world.notification(&id).await;
        assert_eq!((done.audience, done.counts.rejected), (300, 300));
        assert_eq!(
            done.refused.map(|refused| refused.code),
            Some(reply.code.to_owned())
        );
        let requests = world.channel.requests();
        assert!(requests <= 10, "{requests} requests for {}", reply.code);
    }
}

#[tokio::test(start_paused = true)]
async fn a_400_that_may_be_about_the_conversation_stops_nobody_elses() {
    let world = crowd_that_refuses(20, &refusal(400, "BadSyntax")).await;
    for person in 10..20 {
        world.channel.when(&format!("a:{person}"), Behaviour::Accept);
    }
    let id = world.asks(&everyone()).await;
    world.work().await;
    let done = world.notification(&id).await;
    assert_eq!((done.counts.rejected, done.counts.delivered), (10, 10));
    assert_eq!(done.refused, None);
}

#[tokio::test(start_paused = true)]
async fn a_channel_with_a_smaller_limit_does_not_stop_the_others() {
    let world = crowd_that_refuses(20, &refusal(413, "MessageSizeTooBig")).await;
    for person in 20..40 {
        let mut activity = personal(&person.to_string(), "message");
        activity["channelId"] = json!("webchat");
        world.hears(&activity).await;
    }
    let id = world.asks(&everyone()).await;
    world.work().await;
    let done = world.notification(&id).await;
    assert_eq!((done.counts.rejected, done.counts.delivered), (20, 20));
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_is_too_large_is_tried_for_a_few_copies_and_a_smaller_one_reaches_all() {
    let people: Vec<String> = (0..50).map(|person| person.to_string()).collect();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    let world = World::of(&people).await;
    let id = world.asks(&everyone()).await;
    world.work().await;
    for person in &people {
        world.channel.when(
            &format!("a:{person}"),
            answers([refusal(413, "MessageSizeTooBig")]),
        );
    }
    for text in ["too large", "short"] {
        let content = Content::Message(Box::new(Activity::message(text).into()));
        world.store.revise(&id, &content, world.now()).await.unwrap();
        let before = world.channel.requests();
        sweep(&world, &id).await;
        world.work().await;
        let requests = world.channel.requests() - before;
        let done = world.notification(&id).await;
        assert_eq!(done.counts.delivered, 50);
        if text == "short" {
            assert_eq!(done.revision_counts.current, 50);
        } else {
            assert_eq!(done.revision_counts.uneditable, 50);
            assert!(requests <= 10, "{requests} requests");
            for person in &people {
                world.channel.when(&format!("a:{person}"), Behaviour::Accept);
            }
        }
    }
}
