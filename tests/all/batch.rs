//! Notifications that are sent by the channel's batch API.

use herald::audience::Recipient;
use herald::conversation::ConversationKey;
use herald::delivery::{Outcome, SkipReason, State};
use herald::id::NotificationId;
use herald::notification::{Notification, State as Stage};
use herald::store::Conversations;
use serde_json::{Value, json};
use tests::channel::batch::Failure;
use tests::channel::{Behaviour, Reply};

use crate::world::{World, in_channel, personal};

mod answers;
mod api;
mod failed;
mod measured;
mod submission;

fn to(audience: &Value) -> Value {
    json!({"audience": audience, "message": {"text": "news"}, "sendMode": "batch"})
}

fn everyone() -> Value {
    to(&json!({"tenant": "tenant-1"}))
}

fn key(conversation: &str) -> ConversationKey {
    format!("msteams|28:bot|{conversation}").parse().unwrap()
}

fn to_chat(person: &str) -> Recipient {
    Recipient::Conversation(key(&format!("a:{person}")))
}

async fn outcome(world: &World, id: &NotificationId, person: &str) -> Outcome {
    match world.row(id, &to_chat(person)).await.state {
        State::Settled(outcome) => outcome,
        State::Waiting { .. } => panic!("{person} waits"),
    }
}

/// Creates a notification and processes both queues until they are empty.
async fn done(world: &World, body: &Value) -> (NotificationId, Notification) {
    let id = world.asks(body).await;
    world.work().await;
    let notification = world.notification(&id).await;
    (id, notification)
}

fn refusal(status: u16, code: &'static str) -> Reply {
    Reply {
        status,
        code,
        ..Reply::default()
    }
}

fn answers(replies: impl IntoIterator<Item = Reply>) -> Behaviour {
    Behaviour::Answers(replies.into_iter().collect())
}

fn failure(status: u16, code: &'static str) -> Failure {
    Failure {
        status,
        code,
        told_as: None,
    }
}

/// Plans a notification, submits its only chunk, and returns the message that continues the batch.
async fn submitted(world: &World) -> String {
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    world.send_one(&chunk.body).await;
    let next = world.deliveries.take().unwrap();
    world.pass(i64::try_from(next.delay.as_secs()).unwrap() + 1);
    next.body
}

#[tokio::test(start_paused = true)]
async fn a_batch_reaches_many_people_by_two_requests() {
    let world = World::of(&["ada", "eve", "joe"]).await;
    let (id, notification) = done(&world, &everyone()).await;
    assert_eq!(
        (notification.state(), notification.counts.delivered),
        (Stage::Completed, 3)
    );
    assert_eq!(world.channel.requests(), 2, "one submission, one poll");
    let batch = world.channel.batches().remove(0);
    assert_eq!(batch.tenant, "tenant-1");
    let mut members = batch.members.clone();
    members.sort();
    assert_eq!(members, ["29:ada", "29:eve", "29:joe"]);
    assert_eq!(batch.activity, json!({"type": "message", "text": "news"}));
    for person in ["ada", "eve", "joe"] {
        assert_eq!(world.channel.count(&format!("a:{person}")), 1);
        let Outcome::Delivered(sent) = outcome(&world, &id, person).await else {
            panic!("{person} has none");
        };
        assert_eq!((sent.activity, sent.revision), (None, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn recipients_outside_a_batch_are_sent_individually() {
    let world = World::of(&["ada", "eve"]).await;
    world
        .hears(&in_channel("19:general@thread.tacv2", "installationUpdate"))
        .await;
    let mut nobody = personal("joe", "installationUpdate");
    nobody["conversation"]["tenantId"] = Value::Null;
    nobody["channelId"] = json!("directline");
    world.hears(&nobody).await;
    let audience = json!([{"tenant": "tenant-1"}, {"conversations": ["a:joe"]}]);
    let (_, notification) = done(&world, &to(&audience)).await;
    assert_eq!(
        (
            notification.audience,
            notification.batched,
            notification.counts.delivered
        ),
        (4, 2, 4)
    );
    assert_eq!(world.channel.requests(), 4);
    assert_eq!(world.channel.batches()[0].members.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn blocked_and_removed_people_are_not_in_the_batch() {
    let world = World::of(&["ada", "eve", "joe", "zoe"]).await;
    let named = json!({"accounts": ["29:ada", "29:eve", "29:joe", "29:zoe"]});
    let id = world.asks(&to(&named)).await;
    world.plan().await;
    // Between the plan and the request.
    let mut left = personal("eve", "installationUpdate");
    left["action"] = json!("remove");
    world.hears(&left).await;
    world.store.erase(&key("a:joe")).await.unwrap();
    world.work().await;
    let counts = world.notification(&id).await.counts;
    assert_eq!((counts.delivered, counts.skipped), (2, 2));
    let skipped = |reason| Outcome::Skipped { reason };
    assert_eq!(outcome(&world, &id, "eve").await, skipped(SkipReason::Removed));
    assert_eq!(
        outcome(&world, &id, "joe").await,
        skipped(SkipReason::NoConversation)
    );
    let mut members = world.channel.batches().remove(0).members;
    members.sort();
    assert_eq!(members, ["29:ada", "29:zoe"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_reaches_people_without_creating_conversations() {
    let world = World::of(&["ada"]).await;
    let mut body = to(&json!({"users": ["entra-ada", "entra-zoe", "entra-max"], "tenant": "tenant-1"}));
    let (_, skipped) = done(&world, &body).await;
    assert_eq!((skipped.counts.delivered, skipped.counts.skipped), (1, 2));

    body["ifNoConversation"] = json!("create");
    world
        .channel
        .fails("entra-max", failure(403, "ForbiddenOperationException"));
    world.channel.when(
        "entra-max",
        Behaviour::Refuse {
            status: 403,
            code: "ForbiddenOperationException",
        },
    );
    let (id, notification) = done(&world, &body).await;
    assert_eq!(
        (notification.counts.delivered, notification.counts.skipped),
        (2, 1)
    );
    assert_eq!(world.channel.created("entra-zoe"), 0);
    let max = world.row(&id, &Recipient::User("entra-max".into())).await.state;
    let reason = SkipReason::NotInstalled;
    assert_eq!(max, State::Settled(Outcome::Skipped { reason }));
}

#[tokio::test(start_paused = true)]
async fn a_person_who_wrote_since_the_plan_gets_one_copy_in_their_conversation() {
    let world = World::of(&["ada", "eve"]).await;
    let mut body = to(&json!({"users": ["entra-ada", "entra-eve", "entra-zoe"], "tenant": "tenant-1"}));
    body["ifNoConversation"] = json!("create");
    let id = world.asks(&body).await;
    world.plan().await;
    world.hears(&personal("zoe", "installationUpdate")).await;
    world.work().await;
    assert_eq!(world.channel.batches()[0].members.len(), 2);
    assert_eq!(world.channel.count("a:zoe"), 1);
    assert_eq!(world.notification(&id).await.counts.delivered, 3);
    assert!(matches!(outcome(&world, &id, "zoe").await, Outcome::Delivered(sent) if sent.activity.is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_person_named_in_two_ways_gets_one_copy() {
    let world = World::of(&["ada"]).await;
    let mut body = to(
        &json!([{"users": ["entra-zoe"], "tenant": "tenant-1"}, {"accounts": ["29:zoe"]}, {"accounts": ["29:ada"]}]),
    );
    body["ifNoConversation"] = json!("create");
    done(&world, &body).await;
    assert_eq!(world.channel.count("a:zoe"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_recipient_that_changed_since_the_plan_is_excluded_from_the_batch() {
    let world = World::of(&["ada", "eve"]).await;
    let id = world.asks(&everyone()).await;
    world.plan().await;
    // An activity from another tenant arrived since.
    let mut moved = personal("eve", "installationUpdate");
    moved["conversation"]["tenantId"] = json!("tenant-2");
    world.hears(&moved).await;
    world.work().await;
    assert_eq!(world.channel.batches()[0].members, ["29:ada"]);
    assert_eq!(world.notification(&id).await.counts.delivered, 2);
    assert!(matches!(outcome(&world, &id, "eve").await, Outcome::Delivered(sent) if sent.activity.is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_no_longer_than_the_setting() {
    let names: Vec<String> = (0..10).map(|number| format!("p{number}")).collect();
    let people: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::of(&people).await;
    world.limits.batch = 4;
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!((notification.counts.delivered, notification.batched), (10, 10));
    let lists: Vec<usize> = world
        .channel
        .batches()
        .iter()
        .map(|batch| batch.members.len())
        .collect();
    assert_eq!(lists, [4, 4, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_person_with_two_conversations_is_in_a_batch_once() {
    let world = World::of(&["ada", "eve"]).await;
    let mut other = personal("ada", "installationUpdate");
    other["conversation"]["id"] = json!("a:ada-again");
    world.hears(&other).await;
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!(notification.counts.delivered, 2);
    assert_eq!(world.channel.batches()[0].members, ["29:ada", "29:eve"]);
    assert_eq!(world.channel.count("a:ada-again"), 0);
}
