//! Audiences: teams, channels, threads, tags, and people without a known conversation.

use botframework::activity::Activity;
use botframework::id::UserRef;
use herald::audience::Recipient;
use herald::conversation::{ConversationKey, Creation, CreationLease, Observation, PersonKey};
use herald::delivery::{Claim, ClaimRequest, DeliveryKey, Outcome, SentMessage, SkipReason, State};
use herald::event::EventKind;
use herald::id::NotificationId;
use herald::notification::{Content, Page};
use herald::queue::{Message, Plan, Queue, Task};
use herald::rate_limit::{ConversationRate, Limits};
use herald::store::{Conversations, Ledger, Notifications};
use serde_json::{Value, json};
use tests::channel::{Behaviour, Reply, Team, member};

use crate::world::{World, document, get, in_channel, personal, post, text};

/// The team of [`in_channel`]; also the id of its General channel.
const TEAM: &str = "19:team@thread.tacv2";
const SECOND: &str = "19:second@thread.tacv2";
const OTHER_TEAM: &str = "19:other@thread.tacv2";

fn key(conversation: &str) -> ConversationKey {
    format!("msteams|28:bot|{conversation}").parse().unwrap()
}

fn user(person: &str) -> Recipient {
    Recipient::User(format!("entra-{person}").into())
}

fn names(people: std::ops::Range<u32>) -> Vec<String> {
    people.map(|number| format!("p{number}")).collect()
}

fn roster(people: &[String]) -> Vec<Value> {
    people.iter().map(|person| member(person)).collect()
}

/// Stores a conversation from an activity.
async fn see(world: &World, activity: Value) {
    let activity = Activity::from_value(activity).unwrap();
    for observation in Observation::from_activity(&activity) {
        world.store.remember(observation, world.now()).await.unwrap();
    }
}

/// A channel of a team that the bot is in.
fn channel_of(team: &str, channel: &str) -> Value {
    let mut activity = in_channel(channel, "conversationUpdate");
    activity["channelData"]["team"]["id"] = json!(team);
    activity
}

/// A world with one team, its known General channel, and these known people.
async fn world_of(known: &[&str], members: Vec<Value>) -> World {
    let world = World::new();
    for person in known {
        see(&world, personal(person, "installationUpdate")).await;
    }
    see(&world, channel_of(TEAM, TEAM)).await;
    let team = Team {
        channels: vec![SECOND.to_owned(), TEAM.to_owned()],
        members,
        ..Team::default()
    };
    world.channel.team(TEAM, team);
    world
}

fn to(audience: &Value) -> Value {
    json!({"audience": audience, "message": {"text": "news"}})
}

fn created(audience: &Value) -> Value {
    json!({"audience": audience, "message": {"text": "news"}, "ifNoConversation": "create"})
}

fn members() -> Value {
    json!({"team": TEAM, "to": "members"})
}

fn refusal(status: u16, code: &'static str) -> Reply {
    Reply {
        status,
        code,
        ..Reply::default()
    }
}

/// The conversations of all sent messages, with repetitions.
fn sent(world: &World) -> Vec<String> {
    let messages = world.channel.received().into_iter();
    let mut sent: Vec<String> = messages
        .filter(|it| it.path.ends_with("/activities"))
        .map(|it| it.conversation)
        .collect();
    sent.sort();
    sent
}

/// Creates a notification and processes it. Returns the numbers of delivered and skipped recipients.
async fn done(world: &World, body: &Value) -> (u64, u64) {
    let id = world.asks(body).await;
    world.work().await;
    counts(world, &id).await
}

async fn counts(world: &World, id: &NotificationId) -> (u64, u64) {
    let done = world.notification(id).await;
    assert!(done.completed_at.is_some(), "{done:?}");
    (done.counts.delivered, done.counts.skipped)
}

async fn skipped(world: &World, id: &NotificationId, recipient: &Recipient) -> SkipReason {
    match world.row(id, recipient).await.state {
        State::Settled(Outcome::Skipped { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn members_of_overlapping_teams_get_one_message_each() {
    let people = names(0..260);
    let known: Vec<&str> = people.iter().map(String::as_str).collect();
    let world = world_of(&known, roster(&people[..220])).await;
    see(&world, channel_of(OTHER_TEAM, OTHER_TEAM)).await;
    let other = Team {
        members: roster(&people[150..]),
        ..Team::default()
    };
    world.channel.team(OTHER_TEAM, other);
    let both =
        json!([members(), {"team": OTHER_TEAM, "to": "members"}, {"users": ["entra-p3", "entra-p200"]}]);
    assert_eq!(done(&world, &to(&both)).await, (260, 0));
    let mut expected: Vec<String> = people.iter().map(|person| format!("a:{person}")).collect();
    expected.sort();
    assert_eq!(sent(&world), expected);
}

#[tokio::test(start_paused = true)]
async fn bots_are_never_members_and_guests_only_on_request() {
    let mut guest = member("gus");
    guest["userRole"] = json!("guest");
    let bot = json!({"id": "28:bot", "userRole": "user"});
    let mut nobody = member("nobody");
    nobody["userRole"] = json!("anonymous");
    let world = world_of(&["ada", "gus"], vec![member("ada"), guest, bot, nobody]).await;
    let without = json!({"team": TEAM, "to": "members", "guests": false});
    assert_eq!(done(&world, &to(&without)).await, (1, 0));
    assert_eq!(sent(&world), ["a:ada"]);
    assert_eq!(done(&world, &to(&members())).await, (2, 0));
    assert_eq!(world.channel.count("a:gus"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_member_without_a_conversation_is_skipped_with_the_reason_or_gets_one() {
    let world = world_of(&["ada"], vec![member("ada"), member("zoe")]).await;
    let id = world.asks(&to(&members())).await;
    world.work().await;
    assert_eq!(counts(&world, &id).await, (1, 1));
    assert_eq!(
        skipped(&world, &id, &user("zoe")).await,
        SkipReason::NoConversation
    );
    assert_eq!(world.channel.created("entra-zoe"), 0);

    assert_eq!(done(&world, &created(&members())).await, (2, 0));
    assert_eq!(
        (world.channel.created("entra-zoe"), world.channel.count("a:zoe")),
        (1, 1)
    );
    // They are stored like all others.
    assert_eq!(
        done(&world, &to(&json!({"everyone": true, "scope": "personal"}))).await,
        (2, 0)
    );
    assert_eq!(world.channel.created("entra-zoe"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_member_known_by_one_id_is_matched_by_it() {
    let world = world_of(&[], vec![member("ada"), member("zoe")]).await;
    let mut without_entra = personal("ada", "installationUpdate");
    without_entra["from"] = json!({"id": "29:ada"});
    see(&world, without_entra).await;
    // Zoe is unknown to the bot, and a second selector means her too.
    let audience = json!([members(), {"accounts": ["29:zoe"]}]);
    let id = world.asks(&to(&audience)).await;
    world.work().await;
    assert_eq!(counts(&world, &id).await, (1, 1));
    assert_eq!(world.notification(&id).await.audience, 2);
}

#[tokio::test(start_paused = true)]
async fn a_roster_adds_the_second_id_of_a_known_person() {
    let world = world_of(&["ada"], vec![member("ada"), member("zoe")]).await;
    let zoe = json!([{"users": ["entra-zoe"], "tenant": "tenant-1"}, {"accounts": ["29:zoe"]}]);
    assert_eq!(done(&world, &created(&zoe[0])).await, (1, 0));
    let known = async |conversation| {
        world
            .store
            .get_many(&[key(conversation)])
            .await
            .unwrap()
            .remove(0)
    };
    let (before, ada) = (known("a:zoe").await, known("a:ada").await);
    assert_eq!(before.attributes.account, None);

    assert_eq!(done(&world, &to(&members())).await, (2, 0));
    let after = known("a:zoe").await;
    assert_eq!(after.attributes.account, Some("29:zoe".into()));
    assert_eq!(after.attributes.user, before.attributes.user);
    assert_eq!(known("a:ada").await, ada, "a person with both ids is unchanged");
    // She is one person by each of her ids.
    assert_eq!(done(&world, &created(&zoe)).await, (1, 0));
    assert_eq!(world.channel.count("a:zoe"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_member_known_by_account_id_only_is_reached() {
    let mut listed = member("ada");
    listed.as_object_mut().unwrap().remove("aadObjectId");
    let world = world_of(&[], vec![listed]).await;
    let mut without_entra = personal("ada", "installationUpdate");
    without_entra["from"] = json!({"id": "29:ada"});
    see(&world, without_entra).await;
    assert_eq!(done(&world, &to(&members())).await, (1, 0));
}

#[tokio::test(start_paused = true)]
async fn every_channel_of_a_team_gets_a_thread_even_if_unknown() {
    let world = world_of(&[], Vec::new()).await;
    assert_eq!(
        done(&world, &to(&json!({"team": TEAM, "to": "channels"}))).await,
        (2, 0)
    );
    assert_eq!(sent(&world), [SECOND, TEAM]);
    let known = world.store.get_many(&[key(SECOND)]).await.unwrap().remove(0);
    assert_eq!(known.attributes.team.as_deref(), Some(TEAM));
}

#[tokio::test(start_paused = true)]
async fn the_general_channel_is_reached_from_any_channel_of_its_team() {
    let world = World::new();
    see(&world, channel_of(TEAM, SECOND)).await;
    let general = json!({"team": TEAM, "to": "general"});
    assert_eq!(done(&world, &to(&general)).await, (1, 0));
    assert_eq!(sent(&world), [TEAM]);
}

#[tokio::test(start_paused = true)]
async fn a_team_without_the_bot_is_skipped_without_a_request() {
    let world = World::new();
    for part in ["general", "channels", "members"] {
        let id = world.asks(&to(&json!({"team": TEAM, "to": part}))).await;
        world.work().await;
        assert_eq!(counts(&world, &id).await, (0, 1), "{part}");
        let team = Recipient::UnknownConversation(TEAM.into());
        assert_eq!(skipped(&world, &id, &team).await, SkipReason::NoConversation);
    }
    assert_eq!(world.channel.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reply_is_sent_into_an_unknown_thread() {
    let world = world_of(&[], Vec::new()).await;
    let thread = json!({"channel": TEAM, "thread": "1700000000001"});
    assert_eq!(done(&world, &to(&thread)).await, (1, 0));
    assert_eq!(
        done(&world, &to(&json!({"channel": TEAM}))).await,
        (1, 0),
        "a new thread"
    );
    let thread = format!("{TEAM};messageid=1700000000001");
    assert_eq!(sent(&world), [TEAM, &thread]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_channel_is_found_by_its_own_team_only() {
    const ELSEWHERE: &str = "19:elsewhere@thread.tacv2";
    let world = world_of(&[], Vec::new()).await;
    assert_eq!(done(&world, &to(&json!({"channel": SECOND}))).await, (0, 1));
    let beside = |channel: &str| to(&json!({"channel": channel, "team": TEAM}));
    assert_eq!(done(&world, &beside(ELSEWHERE)).await, (0, 1));
    assert_eq!(world.store.get_many(&[key(ELSEWHERE)]).await.unwrap(), []);
    assert_eq!(done(&world, &beside(SECOND)).await, (1, 0));
    let thread = json!({"channel": SECOND, "team": TEAM, "thread": "1700000000001"});
    assert_eq!(done(&world, &to(&thread)).await, (1, 0));
    let thread = format!("{SECOND};messageid=1700000000001");
    assert_eq!(sent(&world), [SECOND, &thread]);
}

#[tokio::test(start_paused = true)]
async fn members_of_a_group_chat_are_reached_in_personal_chats() {
    const CHAT: &str = "19:reading@thread.v2";
    let world = world_of(&["ada"], Vec::new()).await;
    let mut added = personal("reading", "conversationUpdate");
    added["conversation"] =
        json!({"id": CHAT, "conversationType": "groupChat", "isGroup": true, "tenantId": "tenant-1"});
    see(&world, added).await;
    let people = Team {
        members: vec![member("ada"), member("zoe")],
        ..Team::default()
    };
    world.channel.team(CHAT, people);
    let everybody = json!([{"groupChat": CHAT, "to": "members"}, {"groupChat": CHAT}]);
    assert_eq!(done(&world, &created(&everybody)).await, (3, 0));
    assert_eq!(sent(&world), [CHAT, "a:ada", "a:zoe"]);
    // An unknown conversation is one recipient, however it is named.
    let nowhere = json!([{"groupChat": "19:nowhere@thread.v2", "to": "members"}, {"groupChat": "19:nowhere@thread.v2"}]);
    assert_eq!(done(&world, &created(&nowhere)).await, (0, 1));
}

#[tokio::test(start_paused = true)]
async fn two_concurrent_notifications_create_one_conversation_with_a_person() {
    let world = world_of(&["ada"], Vec::new()).await;
    world.channel.when("entra-zoe", Behaviour::Hold);
    let zoe = json!({"users": ["entra-zoe"], "tenant": "tenant-1"});
    let ids = [world.asks(&created(&zoe)).await, world.asks(&created(&zoe)).await];
    world.plan().await;
    let (first, second) = (world.deliveries.take().unwrap(), world.deliveries.take().unwrap());
    let go = async {
        // The other worker has found the creation lease taken by now.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        world.channel.let_go();
    };
    tokio::join!(world.send_one(&first.body), world.send_one(&second.body), go);
    world.work().await;
    assert_eq!(
        (world.channel.created("entra-zoe"), world.channel.count("a:zoe")),
        (1, 2)
    );
    for id in &ids {
        assert_eq!(counts(&world, id).await, (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_created_person_is_listed_under_the_callers_id() {
    let world = world_of(&["ada"], Vec::new()).await;
    let zoe = json!({"users": ["entra-zoe"], "tenant": "tenant-1"});
    let id = world.asks(&created(&zoe)).await;
    world.work().await;
    let answer = world
        .notify(get(&format!("/api/notifications/{id}/deliveries")))
        .await;
    let listed = document(&answer)["deliveries"].clone();
    assert_eq!(
        (&listed[0]["user"], &listed[0]["state"], &listed[1]),
        (&json!("entra-zoe"), &json!("delivered"), &Value::Null)
    );
    assert!(listed[0]["activityId"].is_string(), "{listed}");
}

#[tokio::test(start_paused = true)]
async fn a_person_without_the_bot_is_skipped_and_stays_skipped() {
    let world = world_of(&["ada"], Vec::new()).await;
    let refuse = Behaviour::Answers([refusal(403, "ForbiddenOperationException")].into());
    world.channel.when("entra-zoe", refuse);
    let audience = json!({"users": ["entra-zoe", "entra-ada"], "tenant": "tenant-1"});
    let id = world.asks(&created(&audience)).await;
    world.work().await;
    assert_eq!(counts(&world, &id).await, (1, 1));
    assert_eq!(skipped(&world, &id, &user("zoe")).await, SkipReason::NotInstalled);

    // They install the bot, and then the notification is edited: the edit sends nothing to recipients without a message.
    see(&world, personal("zoe", "installationUpdate")).await;
    let edited = Content::Message(Box::new(Activity::message("better news").into()));
    world.store.revise(&id, &edited, world.now()).await.unwrap();
    let sweep = Plan {
        notification: id.clone(),
        task: Task::Sweep,
        part: None,
        enqueued: None,
        wave: None,
    };
    let sweep = Message::json(&sweep, std::time::Duration::ZERO);
    world.plans.send(vec![sweep]).await.unwrap();
    world.work().await;
    assert_eq!(
        (world.channel.count("a:zoe"), world.channel.count("a:ada")),
        (0, 2)
    );
    assert_eq!(counts(&world, &id).await, (1, 1));
    // The next notification creates conversations again.
    assert_eq!(done(&world, &created(&audience)).await, (2, 0));
}

#[tokio::test(start_paused = true)]
async fn an_edit_reaches_created_people_without_creating_again() {
    let world = world_of(&["ada"], Vec::new()).await;
    let zoe = json!({"users": ["entra-zoe"], "tenant": "tenant-1"});
    let id = world.asks(&created(&zoe)).await;
    world.work().await;
    let path = format!("/api/notifications/{id}/message");
    let edit = crate::world::request("PUT", &path, json!({"text": "better news"}).to_string().into());
    assert_eq!(world.notify(edit).await.status(), 202);
    world.work().await;
    let shown: Vec<_> = world.channel.received().into_iter().map(|it| it.method).collect();
    assert_eq!(shown, ["POST", "POST", "PUT"]);
    assert_eq!(world.notification(&id).await.revision_counts.current, 1);
    // It is also reported under the id that the caller used.
    let told = document(
        &world
            .notify(get(&format!("/api/notifications/{id}/deliveries")))
            .await,
    );
    assert_eq!(told["deliveries"][0]["revision"], 1, "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_message_of_a_dead_worker_is_retracted_without_a_wait() {
    let world = world_of(&["ada", "zoe"], Vec::new()).await;
    let zoe = json!({"users": ["entra-new"], "tenant": "tenant-1"});
    let id = world.asks(&created(&zoe)).await;
    world.plan().await;
    see(&world, personal("new", "installationUpdate")).await;
    // It was sent and settled; its worker died before it wrote that under the id that the caller used.
    let delivery = DeliveryKey::new(&id, &Recipient::Conversation(key("a:new")));
    let request = ClaimRequest {
        delivery: &delivery,
        revision: 0,
        now: world.now(),
        until: world.in_seconds(60),
        spacing: ConversationRate::within(&Limits::teams().conversation),
    };
    let Claim::Acquired(lease) = world.store.claim(request, &key("a:new")).await.unwrap() else {
        panic!("not taken");
    };
    let sent = Outcome::Delivered(SentMessage {
        activity: Some("1".into()),
        revision: 0,
        attempted_revision: 0,
        supersedes: None,
    });
    world.store.settle(&delivery, &lease, &sent).await.unwrap();
    let began = world.now();
    let path = format!("/api/notifications/{id}/message");
    let retract = crate::world::request("DELETE", &path, lambda_http::Body::Empty);
    assert_eq!(world.notify(retract).await.status(), 202);
    world.work().await;
    let shown: Vec<_> = world.channel.received().into_iter().map(|it| it.method).collect();
    assert_eq!(shown, ["DELETE"]);
    let took = world.now().duration_since(began);
    assert!(took.as_secs() < 30, "{took}");
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_cannot_be_created_now_is_created_later() {
    let world = world_of(&["ada"], Vec::new()).await;
    let throttled = Reply {
        retry_after: Some(90),
        ..refusal(429, "Throttled")
    };
    let replies = [
        throttled,
        refusal(500, "ServiceError"),
        refusal(502, "BadGateway"),
    ];
    world
        .channel
        .when("entra-zoe", Behaviour::Answers(replies.into()));
    let began = world.now();
    let zoe = json!({"users": ["entra-zoe"], "tenant": "tenant-1"});
    assert_eq!(done(&world, &created(&zoe)).await, (1, 0));
    assert!(world.now().duration_since(began).as_secs() >= 90);
    assert_eq!(world.channel.created("entra-zoe"), 1);
}

#[tokio::test(start_paused = true)]
async fn creating_is_retried_with_backoff_until_the_expiry() {
    let world = world_of(&["ada"], Vec::new()).await;
    let refuse = Behaviour::Refuse {
        status: 503,
        code: "ServiceUnavailable",
    };
    world.channel.when("entra-zoe", refuse);
    let began = world.now();
    let mut body = created(&json!({"users": ["entra-zoe"], "tenant": "tenant-1"}));
    body["expiresAt"] = json!(world.in_seconds(24 * 3600).to_string());
    let id = world.asks(&body).await;
    world.work().await;
    assert_eq!(world.notification(&id).await.counts.expired, 1);
    assert!(world.now().duration_since(began).as_hours() >= 23);
    // Every 15 seconds would be 5,760 times.
    let tried = world.channel.requests();
    assert!((90..200).contains(&tried), "{tried}");
}

#[tokio::test(start_paused = true)]
async fn a_recipient_waiting_for_a_conversation_is_listed_and_explained() {
    let world = world_of(&["ada"], Vec::new()).await;
    let replies = [refusal(503, "ServiceUnavailable")];
    world
        .channel
        .when("entra-zoe", Behaviour::Answers(replies.into()));
    let zoe = json!({"users": ["entra-zoe"], "tenant": "tenant-1"});
    let id = world.asks(&created(&zoe)).await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    world.send_one(&chunk.body).await;
    let answer = world
        .notify(get(&format!("/api/notifications/{id}/deliveries?state=open")))
        .await;
    let listed = &document(&answer)["deliveries"][0];
    assert_eq!(
        (&listed["user"], &listed["why"], &listed["attempts"]),
        (&json!("entra-zoe"), &json!("ServiceUnavailable"), &json!(1))
    );
    let answer = world
        .notify(get(&format!("/api/notifications/{id}/explain")))
        .await;
    let reason = &document(&answer)["reasons"][0];
    assert_eq!(
        (&reason["reason"], &reason["code"]),
        (&json!("retrying"), &json!("ServiceUnavailable"))
    );
    world.work().await;
    assert_eq!(counts(&world, &id).await, (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_new_person_is_created_at_their_own_service_url() {
    let world = world_of(&["ada"], Vec::new()).await;
    let mut eve = personal("eve", "installationUpdate");
    eve["serviceUrl"] = json!("http://localhost:3979/");
    see(&world, eve).await;
    for (person, host) in [("zoe", "localhost"), ("zed", "127.0.0.1")] {
        let (user, chat) = (format!("entra-{person}"), format!("a:{person}"));
        let users = json!({"users": [user], "tenant": "tenant-1"});
        world.channel.when(&user, Behaviour::ServedAt(host));
        assert_eq!(done(&world, &created(&users)).await, (1, 0), "{person}");
        let known = world.store.get_many(&[key(&chat)]).await.unwrap().remove(0);
        assert!(known.service_urls[0].contains(host), "{:?}", known.service_urls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_refuses_all_creations_is_retried() {
    let world = world_of(&["ada"], Vec::new()).await;
    let people = names(0..12);
    let users: Vec<String> = people.iter().map(|person| format!("entra-{person}")).collect();
    for user in &users {
        let refused = Behaviour::Answers([refusal(403, "BotDisabledByAdmin")].into());
        world.channel.when(user, refused);
    }
    let audience = json!({"users": users, "tenant": "tenant-1"});
    let id = world.asks(&created(&audience)).await;
    world.work().await;
    let counts = world.notification(&id).await.counts;
    assert!(
        counts.gone < 12 && counts.gone + counts.delivered == 12,
        "{counts:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_created_person_is_reported_by_events() {
    let world = world_of(&["ada"], Vec::new()).await;
    let refused = Behaviour::Answers([refusal(400, "BadSyntax")].into());
    world.channel.when("a:zoe", refused);
    let mut body = created(&json!({"users": ["entra-zoe"], "tenant": "tenant-1"}));
    body["events"] = json!(["rejected"]);
    let id = world.asks(&body).await;
    world.work().await;
    assert_eq!(world.notification(&id).await.counts.rejected, 1);
    let told: Vec<_> = world.events.take().into_iter().map(|event| event.kind).collect();
    assert_eq!(
        told,
        [
            EventKind::Accepted,
            EventKind::DeliveryRejected,
            EventKind::Completed
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn no_conversation_is_created_after_a_cancellation() {
    let world = world_of(&["ada"], Vec::new()).await;
    let zoe = json!({"users": ["entra-zoe"], "tenant": "tenant-1"});
    let id = world.asks(&created(&zoe)).await;
    world.plan().await;
    world.store.cancel(&id, world.now()).await.unwrap();
    world.work().await;
    assert_eq!(
        (
            world.channel.requests(),
            world.notification(&id).await.counts.cancelled
        ),
        (0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn tags_scopes_and_exceptions_narrow_an_audience() {
    let world = world_of(&["ada", "eve"], vec![member("ada"), member("eve"), member("zoe")]).await;
    let beta = ["beta".to_owned()];
    for conversation in ["a:ada", TEAM] {
        let tagged = world.store.tag(&key(conversation), &beta, &[], world.now()).await;
        assert_eq!(tagged.unwrap().unwrap(), beta);
    }
    let cases = [
        (json!({"tag": "beta"}), 2),
        (json!({"tag": "beta", "scope": "channel"}), 1),
        (json!({"tag": "gamma"}), 0),
        (json!([{"tag": "beta"}, {"users": ["entra-ada", "entra-eve"]}]), 3),
        (json!({"everyone": true, "scope": "personal"}), 2),
        (json!({"everyone": true, "except": ["entra-ada", TEAM]}), 1),
        (json!({"tenant": "tenant-1", "except": ["29:eve"]}), 2),
        (
            json!({"team": TEAM, "to": "members", "except": ["29:ada", "entra-zoe"]}),
            1,
        ),
        (json!({"team": TEAM, "to": "members", "scope": "channel"}), 0),
        (
            json!({"users": ["entra-ada", "entra-zoe"], "tenant": "tenant-1", "scope": "channel"}),
            0,
        ),
        (
            json!([{"everyone": true, "except": ["entra-ada"]}, {"users": ["entra-ada"]}]),
            3,
        ),
    ];
    for (audience, expected) in cases {
        let counts = done(&world, &created(&audience)).await;
        assert_eq!(counts, (expected, 0), "{audience}");
    }
    assert_eq!(world.channel.count("a:zoe"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_roster_delays_the_plan_and_loses_no_recipient() {
    let people = names(0..220);
    let known: Vec<&str> = people.iter().map(String::as_str).collect();
    let world = world_of(&known, roster(&people)).await;
    let throttled = Reply {
        retry_after: Some(600),
        ..refusal(429, "Throttled")
    };
    let replies = [refusal(200, ""), throttled, refusal(503, "ServiceUnavailable")];
    world.channel.when(TEAM, Behaviour::Answers(replies.into()));
    let began = world.now();
    let id = world.asks(&to(&members())).await;
    let plan = world.plans.take().unwrap();
    world.plan_one(&plan.body).await;
    let waiting = world.plans.take().unwrap();
    assert_eq!((waiting.delay.as_secs(), world.channel.requests()), (600, 2));
    // The members found so far are sent meanwhile, once the tenant may be written to again.
    world.plans.send(vec![waiting]).await.unwrap();
    world.work().await;
    assert_eq!(counts(&world, &id).await, (220, 0));
    assert_eq!(sent(&world).len(), 220);
    assert!(world.now().duration_since(began).as_secs() >= 600);
}

#[tokio::test(start_paused = true)]
async fn a_named_channel_is_reached_without_the_roster_of_its_team() {
    let world = world_of(&[], Vec::new()).await;
    see(&world, channel_of(TEAM, SECOND)).await;
    let silent = Behaviour::Refuse {
        status: 403,
        code: "BotDisabledByAdmin",
    };
    world.channel.when(TEAM, silent);
    let audience = json!([{"team": TEAM, "to": "channels"}, {"conversations": [SECOND]}]);
    assert_eq!(done(&world, &to(&audience)).await, (1, 1));
    assert_eq!(sent(&world), [SECOND]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_team_is_one_recipient_however_it_is_named() {
    let world = World::new();
    let part = |part| json!({"team": TEAM, "to": part});
    let audience = json!([
        {"conversations": [TEAM]}, part("general"), part("channels"), part("members"),
        {"team": TEAM, "to": "members", "guests": false},
    ]);
    let id = world.asks(&to(&audience)).await;
    world.work().await;
    assert_eq!(counts(&world, &id).await, (0, 1));
    assert_eq!(world.notification(&id).await.audience, 1);
}

#[tokio::test(start_paused = true)]
async fn a_roster_is_queried_at_the_current_service_url_and_retried_if_not_found() {
    let world = world_of(&["ada"], vec![member("ada")]).await;
    // The last activity came from an address that does not serve it.
    let mut moved = channel_of(TEAM, TEAM);
    moved["serviceUrl"] = json!("http://localhost:3979/");
    see(&world, moved).await;
    world.channel.when(TEAM, Behaviour::ServedAt("127.0.0.1"));
    assert_eq!(done(&world, &to(&members())).await, (1, 0));

    let not_found = || refusal(404, "ConversationNotFound");
    world
        .channel
        .when(TEAM, Behaviour::Answers([not_found(), not_found()].into()));
    assert_eq!(done(&world, &to(&members())).await, (1, 0));
    let never = Behaviour::Refuse {
        status: 404,
        code: "ConversationNotFound",
    };
    world.channel.when(TEAM, never);
    assert_eq!(done(&world, &to(&members())).await, (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_roster_with_an_expired_token_is_read_again_without_duplicates() {
    let people = names(0..220);
    let known: Vec<&str> = people.iter().map(String::as_str).collect();
    let world = world_of(&known, Vec::new()).await;
    let team = |forgotten| Team {
        members: roster(&people),
        forgotten,
        ..Team::default()
    };
    world.channel.team(TEAM, team(1));
    assert_eq!(done(&world, &to(&members())).await, (220, 0));
    assert_eq!(sent(&world).len(), 220);
    // A roster whose continuation tokens always expire is given up after its first page, with a reason.
    world.channel.team(TEAM, team(usize::MAX));
    let id = world.asks(&to(&members())).await;
    world.work().await;
    assert_eq!(counts(&world, &id).await, (96, 1));
}

/// The work of a planner that died before it planned the page: it found these people on it.
async fn found_by_the_dead(
    world: &World,
    id: &NotificationId,
    page: u32,
    people: &[String],
    next: Option<&str>,
) {
    let recipients: Vec<Recipient> = people
        .iter()
        .map(|person| Recipient::Conversation(key(&format!("a:{person}"))))
        .collect();
    let bucket = herald::rate_limit::Bucket::of(&key("a:p0"), Some("tenant-1"));
    let found = recipients
        .iter()
        .map(|recipient| (Some(bucket.clone()), recipient.clone()));
    let read = Page::group(found, next.map(str::to_owned));
    world.store.freeze_page(id, (0, page), &read).await.unwrap();
    let repeated = world
        .store
        .claim_recipients(id, (0, page), &recipients)
        .await
        .unwrap();
    assert_eq!(repeated, []);
}

#[tokio::test(start_paused = true)]
async fn a_page_found_by_a_dead_planner_is_kept_when_the_roster_changes() {
    let people = names(0..120);
    let known: Vec<&str> = people.iter().map(String::as_str).collect();
    let world = world_of(&known, roster(&people)).await;
    let id = world.asks(&to(&members())).await;
    let next = json!({"token": "96@0", "again": false}).to_string();
    found_by_the_dead(&world, &id, 0, &people[..96], Some(&next)).await;
    // By now the people of the first page are on the second one, and others on the first.
    let mut turned = people.clone();
    turned.rotate_left(60);
    let team = Team {
        members: roster(&turned),
        ..Team::default()
    };
    world.channel.team(TEAM, team);
    world.work().await;
    // The people of the first page as it was read first, and those of the second as it is now, each once.
    let expected: std::collections::BTreeSet<String> = people[..96]
        .iter()
        .chain(&turned[95..])
        .map(|person| format!("a:{person}"))
        .collect();
    assert_eq!(sent(&world), expected.into_iter().collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn two_planners_with_different_rosters_plan_the_first_one() {
    let people = names(0..6);
    let known: Vec<&str> = people.iter().map(String::as_str).collect();
    let world = world_of(&known, roster(&people[3..])).await;
    let id = world.asks(&to(&members())).await;
    // The other planner received only these, and is still working when this one plans.
    found_by_the_dead(&world, &id, 0, &people[..3], None).await;
    world.work().await;
    assert_eq!(counts(&world, &id).await, (3, 0));
    assert_eq!(sent(&world), ["a:p0", "a:p1", "a:p2"]);
}

#[tokio::test(start_paused = true)]
async fn a_team_is_found_by_its_one_active_channel() {
    let world = world_of(&["p0"], roster(&names(0..3))).await;
    for number in 0..120 {
        let gone = format!("19:a{number:03}@thread.tacv2");
        see(&world, channel_of(TEAM, &gone)).await;
        world.store.mark_removed(&key(&gone), world.now()).await.unwrap();
    }
    assert_eq!(done(&world, &created(&members())).await, (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_plan_without_a_roster_ends_at_the_expiry() {
    let world = world_of(&[], Vec::new()).await;
    let broken = Behaviour::Refuse {
        status: 500,
        code: "ServiceError",
    };
    world.channel.when(TEAM, broken);
    let mut body = created(&members());
    body["expiresAt"] = json!(world.in_seconds(600).to_string());
    let id = world.asks(&body).await;
    for _ in 0..100 {
        let Some(message) = world.plans.take() else { break };
        assert!(message.delay <= std::time::Duration::from_mins(15));
        world.pass(i64::try_from(message.delay.as_secs()).unwrap());
        world.plan_one(&message.body).await;
    }
    world.work().await;
    let done = world.notification(&id).await;
    assert!(done.completed_at.is_some(), "{done:?}");
    assert_eq!(
        (done.audience, done.counts.expired),
        (1, 1),
        "one entry for the team instead of its members"
    );
}

#[tokio::test(start_paused = true)]
async fn a_person_who_uninstalls_before_the_creation_is_skipped() {
    let world = world_of(&[], Vec::new()).await;
    let bob = json!({"users": ["entra-bob"], "tenant": "tenant-1"});
    let id = world.asks(&created(&bob)).await;
    world.plan().await;
    see(&world, personal("bob", "installationUpdate")).await;
    world
        .store
        .mark_removed(&key("a:bob"), world.now())
        .await
        .unwrap();
    world.work().await;
    assert_eq!(counts(&world, &id).await, (0, 1));
    assert_eq!((world.channel.created("entra-bob"), sent(&world).len()), (0, 0));
    let bob = world.store.get_many(&[key("a:bob")]).await.unwrap().remove(0);
    assert_eq!(bob.state, herald::conversation::State::Removed);
}

#[tokio::test(start_paused = true)]
async fn a_person_who_removed_the_bot_and_came_back_under_another_id_is_reached_there() {
    for (comes_back, expected, reached) in [(true, (1, 0), vec!["a:bob-2"]), (false, (0, 1), Vec::new())] {
        let world = world_of(&[], Vec::new()).await;
        let bob = json!({"users": ["entra-bob"], "tenant": "tenant-1"});
        let id = world.asks(&created(&bob)).await;
        world.plan().await;
        // Another notification has their conversation created, which they then remove.
        let person = PersonKey {
            channel: "msteams".into(),
            bot: "28:bot".into(),
            tenant: "tenant-1".into(),
            person: UserRef::Entra("entra-bob".into()),
        };
        see(&world, personal("bob", "installationUpdate")).await;
        let now = world.now();
        let lease = world.store.acquire_creation_lease(&person, now, now).await;
        assert!(matches!(lease.unwrap(), CreationLease::Acquired { .. }));
        let creation = Creation::Conversation(key("a:bob"));
        world.store.finish_creation(&person, &creation).await.unwrap();
        world.store.mark_removed(&key("a:bob"), now).await.unwrap();
        if comes_back {
            let mut seen = personal("bob", "installationUpdate");
            seen["conversation"]["id"] = json!("a:bob-2");
            see(&world, seen).await;
        }
        world.work().await;
        assert_eq!(counts(&world, &id).await, expected);
        assert_eq!(sent(&world), reached);
    }
}

#[tokio::test(start_paused = true)]
async fn entra_ids_ignore_case() {
    const ADA: &str = "0f1e2d3c-0000-4000-8000-00000000000a";
    const TENANT: &str = "0f1e2d3c-0000-4000-8000-0000000000ff";
    let world = World::new();
    let mut seen = personal("ada", "installationUpdate");
    seen["from"]["aadObjectId"] = json!(ADA.to_uppercase());
    seen["conversation"]["tenantId"] = json!(TENANT);
    seen["channelData"]["tenant"]["id"] = json!(TENANT);
    see(&world, seen).await;
    for (id, tenant) in [
        (ADA.to_uppercase(), TENANT.to_uppercase()),
        (ADA.to_owned(), TENANT.to_owned()),
    ] {
        let ada = json!({"users": [id], "tenant": tenant});
        assert_eq!(done(&world, &created(&ada)).await, (1, 0), "{ada}");
        let but = json!({"tenant": tenant, "except": [id]});
        assert_eq!(done(&world, &to(&but)).await, (0, 0), "{but}");
    }
    assert_eq!(sent(&world), ["a:ada"; 2]);
    let path = format!("/api/users/{}", ADA.to_uppercase());
    let erased = world
        .notify(crate::world::request("DELETE", &path, lambda_http::Body::Empty))
        .await;
    assert_eq!(document(&erased)["conversations"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_channel_record_has_nothing_of_its_authors() {
    let world = World::new();
    let mut spoken = in_channel(&format!("{TEAM};messageid=5"), "message");
    spoken["from"] = json!({"id": "29:bob", "name": "Bob Invented", "aadObjectId": "entra-bob"});
    see(&world, spoken).await;
    let exported = world.notify(post("/api/conversations/export", "{}")).await;
    let exported = text(&exported);
    assert!(exported.contains(TEAM), "{exported}");
    for personal in ["Bob Invented", "29:bob", "entra-bob"] {
        assert!(!exported.contains(personal), "{exported}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_known_by_one_id_is_in_one_batch_only() {
    let world = world_of(&[], Vec::new()).await;
    let mut half = personal("zoe", "installationUpdate");
    half["from"].as_object_mut().unwrap().remove("aadObjectId");
    see(&world, half).await;
    let twice =
        json!([{"users": ["entra-zoe"], "tenant": "tenant-1"}, {"tenant": "tenant-1", "scope": "personal"}]);
    let mut body = created(&twice);
    body["sendMode"] = json!("batch");
    world.asks(&body).await;
    world.work().await;
    let names: Vec<_> = world
        .channel
        .batches()
        .iter()
        .flat_map(|batch| batch.members.clone())
        .collect();
    assert_eq!(names, ["29:zoe"]);
}

#[tokio::test(start_paused = true)]
async fn a_roster_with_a_token_loop_ends() {
    let world = world_of(&[], Vec::new()).await;
    let people = Team {
        members: roster(&names(0..120)),
        circles: true,
        ..Team::default()
    };
    world.channel.team(TEAM, people);
    assert_eq!(done(&world, &to(&members())).await, (0, 120));
    assert_eq!(world.channel.requests(), 2);
}
