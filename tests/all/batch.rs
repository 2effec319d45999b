//! Notifications that go by the channel's batch API.

use herald::audience::Recipient;
use herald::conversation::{ConversationKey, State as Presence};
use herald::delivery::{Outcome, SkipReason, State};
use herald::id::NotificationId;
use herald::notification::{Notification, State as Stage, Transport};
use herald::store::{Conversations, Notifications};
use serde_json::{Value, json};
use tests::channel::batch::{ASK, Course, Failure, LIST, SUBMIT};
use tests::channel::{Behaviour, Reply};

use crate::world::{World, document, get, in_channel, personal, post, request};

mod measured;

fn to(audience: &Value) -> Value {
    json!({"audience": audience, "message": {"text": "news"}, "transport": "batch"})
}

fn everyone() -> Value {
    to(&json!({"tenant": "tenant-1"}))
}

async fn world_of(people: &[&str]) -> World {
    let world = World::new();
    for person in people {
        world.hears(&personal(person, "installationUpdate")).await;
    }
    world
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

/// Asks, and does everything that is to be done about it.
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

/// Plans, and has the first sender submit the only chunk; the message that goes on with it.
async fn submitted(world: &World) -> String {
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    world.send_one(&chunk.body).await;
    let next = world.deliveries.take().unwrap();
    world.pass(i64::try_from(next.delay.as_secs()).unwrap() + 1);
    next.body
}

#[tokio::test(start_paused = true)]
async fn many_people_are_reached_by_two_requests() {
    let world = world_of(&["ada", "eve", "joe"]).await;
    let (id, notification) = done(&world, &everyone()).await;
    assert_eq!(
        (notification.state(), notification.tally.delivered),
        (Stage::Completed, 3)
    );
    assert_eq!(
        world.channel.requests(),
        2,
        "one takes it, one tells that it is over"
    );
    let batch = world.channel.batches().remove(0);
    assert_eq!(batch.tenant, "tenant-1");
    let mut members = batch.members.clone();
    members.sort();
    assert_eq!(members, ["29:ada", "29:eve", "29:joe"]);
    assert_eq!(batch.activity, json!({"type": "message", "text": "news"}));
    for person in ["ada", "eve", "joe"] {
        assert_eq!(world.channel.count(&format!("a:{person}")), 1);
        let Outcome::Delivered(copy) = outcome(&world, &id, person).await else {
            panic!("{person} has none");
        };
        assert_eq!((copy.activity, copy.shows), (None, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn whom_no_batch_can_reach_is_reached_the_ordinary_way_beside_it() {
    let world = world_of(&["ada", "eve"]).await;
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
            notification.tally.delivered
        ),
        (4, 2, 4)
    );
    assert_eq!(world.channel.requests(), 4);
    assert_eq!(world.channel.batches()[0].members.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn whom_a_batch_does_not_reach_is_settled_by_the_table() {
    let people = ["ada", "eve", "joe", "kim", "lou", "max", "sue"];
    let world = world_of(&people).await;
    // Three pages, with either name of the id, and of one person the id that was not asked for.
    world.channel.course(Course {
        page: 2,
        ..Course::default()
    });
    let told = Failure {
        told_as: Some("entra-eve"),
        ..failure(403, "ConversationBlockedByUser")
    };
    world.channel.fails("29:eve", told);
    world.channel.fails("29:joe", failure(400, "BadSyntax"));
    world.channel.fails("29:kim", failure(429, "Throttled"));
    world.channel.fails("29:lou", failure(502, "ServiceError"));
    world.channel.fails("29:max", failure(412, "PreconditionFailed"));
    let (id, notification) = done(&world, &everyone()).await;
    let tally = notification.tally;
    assert_eq!(
        (tally.delivered, tally.gone, tally.rejected, tally.total()),
        (5, 1, 1, 7)
    );
    let code = "ConversationBlockedByUser".to_owned();
    let blocked = Outcome::Gone { code: code.clone() };
    assert_eq!(outcome(&world, &id, "eve").await, blocked);
    let eve = world.store.recall(&[key("a:eve")]).await.unwrap().remove(0);
    assert_eq!(eve.state, Presence::Blocked { code });
    for (person, in_batch) in [
        ("ada", true),
        ("kim", false),
        ("lou", false),
        ("max", false),
        ("sue", true),
    ] {
        assert_eq!(world.channel.count(&format!("a:{person}")), 1, "{person}");
        let Outcome::Delivered(copy) = outcome(&world, &id, person).await else {
            panic!("{person} has none");
        };
        assert_eq!(copy.activity.is_none(), in_batch, "{person}");
    }
    // It may have arrived, and that is not forgotten.
    assert_eq!(world.row(&id, &to_chat("lou")).await.doubts, 1);
    assert_eq!(world.row(&id, &to_chat("kim")).await.doubts, 0);
}

#[tokio::test(start_paused = true)]
async fn at_most_once_is_kept_where_a_batch_leaves_a_doubt() {
    let world = world_of(&["ada", "eve"]).await;
    world.channel.fails("29:eve", failure(504, "GatewayTimeout"));
    let mut body = everyone();
    body["onUnknown"] = json!("giveUp");
    let (_, notification) = done(&world, &body).await;
    assert_eq!((notification.tally.delivered, notification.tally.unknown), (1, 1));
    assert_eq!(world.channel.count("a:eve"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_somebody_unnamed_makes_none_of_the_others_sure() {
    let world = world_of(&["ada", "eve"]).await;
    let nameless = Failure {
        told_as: Some(""),
        ..failure(403, "ConversationBlockedByUser")
    };
    world.channel.fails("29:eve", nameless);
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!(notification.tally.unknown, 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_under_a_strange_name_is_not_about_those_whose_names_are_known() {
    let world = world_of(&["ada", "eve"]).await;
    let strange = Failure {
        told_as: Some("29:nobody-knew"),
        ..failure(403, "ConversationBlockedByUser")
    };
    world.channel.fails("entra-zoe", strange);
    let mut body = to(&json!({"users": ["entra-ada", "entra-eve", "entra-zoe"], "tenant": "tenant-1"}));
    body["ifUnknown"] = json!("create");
    let (id, notification) = done(&world, &body).await;
    assert_eq!((notification.tally.delivered, notification.tally.unknown), (2, 1));
    let zoe = world.row(&id, &Recipient::User("entra-zoe".into())).await.state;
    assert_eq!(zoe, State::Settled(Outcome::Unknown));
}

#[tokio::test(start_paused = true)]
async fn one_who_blocked_or_left_is_not_in_the_batch() {
    let world = world_of(&["ada", "eve", "joe", "zoe"]).await;
    let named = json!({"accounts": ["29:ada", "29:eve", "29:joe", "29:zoe"]});
    let id = world.asks(&to(&named)).await;
    world.plan().await;
    // Between the plan and the request.
    let mut left = personal("eve", "installationUpdate");
    left["action"] = json!("remove");
    world.hears(&left).await;
    world.store.erase(&key("a:joe")).await.unwrap();
    world.work().await;
    let tally = world.notification(&id).await.tally;
    assert_eq!((tally.delivered, tally.skipped), (2, 2));
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
async fn people_without_a_conversation_are_reached_and_none_is_created() {
    let world = world_of(&["ada"]).await;
    let mut body = to(&json!({"users": ["entra-ada", "entra-zoe", "entra-max"], "tenant": "tenant-1"}));
    let (_, skipped) = done(&world, &body).await;
    assert_eq!((skipped.tally.delivered, skipped.tally.skipped), (1, 2));

    body["ifUnknown"] = json!("create");
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
    assert_eq!((notification.tally.delivered, notification.tally.skipped), (2, 1));
    assert_eq!(world.channel.created("entra-zoe"), 0);
    let max = world.row(&id, &Recipient::User("entra-max".into())).await.state;
    let reason = SkipReason::NotInstalled;
    assert_eq!(max, State::Settled(Outcome::Skipped { reason }));
}

#[tokio::test(start_paused = true)]
async fn a_person_who_wrote_since_the_plan_gets_one_copy_in_their_conversation() {
    let world = world_of(&["ada", "eve"]).await;
    let mut body = to(&json!({"users": ["entra-ada", "entra-eve", "entra-zoe"], "tenant": "tenant-1"}));
    body["ifUnknown"] = json!("create");
    let id = world.asks(&body).await;
    world.plan().await;
    world.hears(&personal("zoe", "installationUpdate")).await;
    world.work().await;
    assert_eq!(world.channel.batches()[0].members.len(), 2);
    assert_eq!(world.channel.count("a:zoe"), 1);
    assert_eq!(world.notification(&id).await.tally.delivered, 3);
    assert!(matches!(outcome(&world, &id, "zoe").await, Outcome::Delivered(copy) if copy.activity.is_some()));
}

#[tokio::test(start_paused = true)]
async fn who_is_named_in_two_ways_gets_one_copy() {
    let world = world_of(&["ada"]).await;
    let mut body = to(
        &json!([{"users": ["entra-zoe"], "tenant": "tenant-1"}, {"accounts": ["29:zoe"]}, {"accounts": ["29:ada"]}]),
    );
    body["ifUnknown"] = json!("create");
    done(&world, &body).await;
    assert_eq!(world.channel.count("a:zoe"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_knows_no_batch_is_written_to_as_ever() {
    for (status, code) in [(404, ""), (405, ""), (400, "BadArgument"), (403, "Forbidden")] {
        let world = world_of(&["ada", "eve"]).await;
        world.channel.when(SUBMIT, Behaviour::Refuse { status, code });
        let (id, notification) = done(&world, &everyone()).await;
        assert_eq!(notification.tally.delivered, 2, "{status}");
        assert_eq!(world.channel.requests(), 3, "{status}");
        assert!(
            matches!(outcome(&world, &id, "ada").await, Outcome::Delivered(copy) if copy.activity.is_some())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_throttled_waits_as_long_as_it_is_told_to() {
    let world = world_of(&["ada", "eve"]).await;
    let throttled = Reply {
        retry_after: Some(120),
        ..refusal(429, "Throttled")
    };
    world.channel.when(SUBMIT, answers([throttled]));
    let began = world.now();
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!(notification.tally.delivered, 2);
    assert!(world.now().duration_since(began).as_secs() >= 120);
    assert_eq!(world.channel.batches().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_answer_was_lost_is_sent_again_only_if_the_caller_will_have_it() {
    let retried = world_of(&["ada", "eve"]).await;
    retried
        .channel
        .when(SUBMIT, answers([refusal(502, "BadGateway")]));
    let (id, notification) = done(&retried, &everyone()).await;
    assert_eq!((notification.tally.delivered, notification.tally.unknown), (2, 0));
    assert!(matches!(
        outcome(&retried, &id, "ada").await,
        Outcome::Delivered(_)
    ));

    let given_up = world_of(&["ada", "eve"]).await;
    given_up.channel.when(SUBMIT, Behaviour::Cut);
    let mut body = everyone();
    body["onUnknown"] = json!("giveUp");
    let (_, notification) = done(&given_up, &body).await;
    assert_eq!((notification.tally.delivered, notification.tally.unknown), (0, 2));
    assert_eq!(given_up.channel.batches().len(), 1);

    // Always cut: four operations may each have reached everybody, and then it is enough.
    let often = world_of(&["ada", "eve"]).await;
    often.channel.when(SUBMIT, Behaviour::Cut);
    let (_, notification) = done(&often, &everyone()).await;
    assert_eq!(
        (notification.tally.unknown, often.channel.batches().len()),
        (2, 4)
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_taken_and_cannot_be_asked_for_ends_unknown_and_is_not_repeated() {
    let world = world_of(&["ada", "eve"]).await;
    world.channel.when(SUBMIT, Behaviour::AcceptSilently);
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!(
        (notification.tally.unknown, world.channel.batches().len()),
        (2, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_asked_for_less_and_less_often_and_when_the_channel_says() {
    let world = world_of(&["ada", "eve"]).await;
    let course = Course {
        at_once: 1,
        rounds: 10,
        ..Course::default()
    };
    world.channel.course(course.clone());
    world.asks(&everyone()).await;
    let mut message = submitted(&world).await;
    let mut waits = Vec::new();
    for _ in 0..10 {
        world.send_one(&message).await;
        let next = world.deliveries.take().unwrap();
        waits.push(next.delay.as_secs());
        world.pass(i64::try_from(next.delay.as_secs()).unwrap() + 1);
        message = next.body;
    }
    assert!(waits.is_sorted() && waits[0] == 5 && waits[9] == 60, "{waits:?}");
    world.channel.course(Course {
        rounds: 20,
        retry_after: Some(world.in_seconds(90).to_string()),
        ..course
    });
    world.send_one(&message).await;
    let next = world.deliveries.take().unwrap();
    assert_eq!(
        next.delay.as_secs(),
        89 + u64::from(next.delay.subsec_millis() == 0)
    );
}

#[tokio::test(start_paused = true)]
async fn an_operation_whose_counts_are_complete_is_over_whatever_it_is_called() {
    let world = world_of(&["ada", "eve"]).await;
    world.channel.course(Course {
        rounds: 100,
        ..Course::default()
    });
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!((notification.tally.delivered, world.channel.requests()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_operation_is_ended_once_and_says_who_did_not_get_it() {
    let world = world_of(&["ada", "eve", "joe"]).await;
    world.channel.course(Course {
        at_once: 1,
        rounds: 100,
        ..Course::default()
    });
    let id = world.asks(&everyone()).await;
    let message = submitted(&world).await;
    let path = format!("/api/notifications/{id}/cancel");
    let cancelled = world
        .notify(request("POST", &path, lambda_http::Body::Empty))
        .await;
    assert_eq!(document(&cancelled)["state"], "cancelling");
    world.work().await;
    // What was on its way before comes too, late.
    world.send_one(&message).await;
    world.work().await;
    let notification = world.notification(&id).await;
    assert_eq!(
        (
            notification.state(),
            notification.tally.delivered,
            notification.tally.cancelled
        ),
        (Stage::Cancelled, 1, 2)
    );
    assert!(world.channel.batches()[0].cancelled);
    let asked = world.channel.requests();
    assert_eq!(asked, 4, "submitted, cancelled, asked, listed");
}

#[tokio::test(start_paused = true)]
async fn whom_a_cancelled_operation_does_not_speak_of_is_unknown() {
    let world = world_of(&["ada", "eve", "joe"]).await;
    world.channel.course(Course {
        at_once: 1,
        rounds: 100,
        tells_cancelled: false,
        ..Course::default()
    });
    world
        .channel
        .fails("29:joe", failure(403, "ConversationBlockedByUser"));
    let id = world.asks(&everyone()).await;
    submitted(&world).await;
    world.store.cancel(&id, world.now()).await.unwrap();
    crate::reactions::sweep(&world, &id).await;
    world.work().await;
    let tally = world.notification(&id).await.tally;
    assert_eq!((tally.unknown, tally.gone, tally.total()), (2, 1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_notification_that_is_stopped_before_its_batch_was_taken_sends_none() {
    for expires in [false, true] {
        let world = world_of(&["ada", "eve"]).await;
        let throttled = Reply {
            retry_after: Some(600),
            ..refusal(429, "Throttled")
        };
        world.channel.when(SUBMIT, answers([throttled]));
        let mut body = everyone();
        body["expiresAt"] = json!(world.in_seconds(300).to_string());
        let id = world.asks(&body).await;
        submitted(&world).await;
        if !expires {
            world.store.cancel(&id, world.now()).await.unwrap();
        }
        world.pass(600);
        crate::reactions::sweep(&world, &id).await;
        world.work().await;
        let tally = world.notification(&id).await.tally;
        let expected = if expires { (2, 0) } else { (0, 2) };
        assert_eq!((tally.expired, tally.cancelled), expected);
        assert_eq!((world.channel.batches().len(), world.channel.requests()), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_the_channel_has_forgotten_leaves_its_deliveries_unknown() {
    let world = world_of(&["ada", "eve"]).await;
    world.channel.when(
        ASK,
        Behaviour::Refuse {
            status: 404,
            code: "NotFound",
        },
    );
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!(
        (notification.tally.unknown, world.channel.batches().len()),
        (2, 1)
    );

    // One that is so new that it may not be known yet is asked for again.
    let soon = world_of(&["ada", "eve"]).await;
    soon.channel.when(ASK, answers([refusal(404, "NotFound")]));
    let (_, notification) = done(&soon, &everyone()).await;
    assert_eq!(notification.tally.delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_not_answered_is_asked_again() {
    for place in [ASK, LIST] {
        let world = world_of(&["ada", "eve"]).await;
        world.channel.fails("29:eve", failure(400, "BadSyntax"));
        let throttled = Reply {
            retry_after: Some(90),
            ..refusal(429, "Throttled")
        };
        world
            .channel
            .when(place, answers([throttled, refusal(503, "ServiceUnavailable")]));
        let began = world.now();
        let (_, notification) = done(&world, &everyone()).await;
        assert_eq!(
            (notification.tally.delivered, notification.tally.rejected),
            (1, 1)
        );
        assert!(world.now().duration_since(began).as_secs() >= 90, "{place}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_never_ends_is_given_up_a_day_after_its_notification_expired() {
    let world = world_of(&["ada", "eve"]).await;
    world.channel.course(Course {
        at_once: 1,
        rounds: usize::MAX,
        ..Course::default()
    });
    let mut body = everyone();
    body["expiresAt"] = json!(world.in_seconds(60).to_string());
    let id = world.asks(&body).await;
    let message = submitted(&world).await;
    world.pass(60 + 86_000);
    world.send_one(&message).await;
    assert_eq!(world.notification(&id).await.tally.total(), 0);
    world.work().await;
    assert!(world.now() >= world.notification(&id).await.expires_at);
    world.work().await;
    let tally = world.notification(&id).await.tally;
    assert_eq!((tally.unknown, tally.expired), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn of_two_senders_with_one_chunk_one_submits_it() {
    let world = world_of(&["ada", "eve"]).await;
    world.channel.when(SUBMIT, Behaviour::Hold);
    let id = world.asks(&everyone()).await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    let go = async {
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        world.channel.let_go();
    };
    tokio::join!(world.send_one(&chunk.body), world.send_one(&chunk.body), go);
    world.work().await;
    assert_eq!(
        (world.channel.batches().len(), world.channel.count("a:ada")),
        (1, 1)
    );
    assert_eq!(world.notification(&id).await.tally.delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_died_while_it_submitted_leaves_a_doubt() {
    for (policy, batches, unknown) in [("retry", 2, 0), ("giveUp", 1, 2)] {
        let world = world_of(&["ada", "eve"]).await;
        world.channel.when(SUBMIT, Behaviour::Hold);
        let mut body = everyone();
        body["onUnknown"] = json!(policy);
        let id = world.asks(&body).await;
        world.plan().await;
        let chunk = world.deliveries.take().unwrap();
        // Killed when its request is out, and before it is answered.
        tokio::select! {
            () = world.send_one(&chunk.body) => panic!("not killed"),
            () = world.channel.asked(1) => {}
        }
        world.channel.let_go();
        if policy == "giveUp" {
            // The first one was carried out all the same.
            assert_eq!(world.channel.batches().len(), 0);
        }
        world.send_one(&chunk.body).await;
        assert_eq!(world.channel.requests(), 1, "the first may be at it still");
        world.work().await;
        world.pass(120);
        world.work().await;
        let tally = world.notification(&id).await.tally;
        assert_eq!(
            (tally.delivered, tally.unknown),
            (2 - unknown, unknown),
            "{policy}"
        );
        assert_eq!(world.channel.requests(), batches * 2 - 1, "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_died_while_it_wrote_is_followed_by_one_that_writes_the_same() {
    let world = world_of(&["ada", "eve", "joe"]).await;
    world.channel.fails("29:joe", failure(429, "Throttled"));
    let id = world.asks(&everyone()).await;
    let message = submitted(&world).await;
    // The first wrote one row and no more; the chunk comes again as it was.
    let copy = herald::delivery::SentCopy {
        activity: None,
        shows: 0,
        tried: 0,
    };
    let ada = herald::delivery::DeliveryKey::new(&id, &to_chat("ada"));
    herald::store::Ledger::end(&world.store, &ada, &Outcome::Delivered(copy))
        .await
        .unwrap();
    world.send_one(&message).await;
    // And once more, as a queue may have it.
    world.send_one(&message).await;
    world.work().await;
    let notification = world.notification(&id).await;
    assert_eq!(
        (notification.state(), notification.tally.delivered),
        (Stage::Completed, 3)
    );
    for person in ["ada", "eve", "joe"] {
        assert_eq!(world.channel.count(&format!("a:{person}")), 1, "{person}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_batch_is_not_asked_for_again() {
    let world = world_of(&["ada", "eve"]).await;
    world.channel.fails("29:eve", failure(429, "Throttled"));
    let throttled = || Reply {
        retry_after: Some(200),
        ..refusal(429, "Throttled")
    };
    world.channel.when("a:eve", answers([throttled(), throttled()]));
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!(notification.tally.delivered, 2);
    assert_eq!(
        world.channel.requests(),
        3 + 3,
        "taken, asked, listed, and three times alone"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_may_be_the_tenants_is_not_when_others_were_reached() {
    let world = world_of(&["ada", "eve", "joe", "kim"]).await;
    for person in ["eve", "joe", "kim"] {
        world
            .channel
            .fails(&format!("29:{person}"), failure(403, "BotDisabledByAdmin"));
    }
    let began = world.now();
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!((notification.tally.delivered, notification.tally.gone), (1, 3));
    assert!(
        world.now().duration_since(began).as_secs() < 60,
        "nobody was paused"
    );
}

#[tokio::test(start_paused = true)]
async fn lists_are_no_longer_than_the_setting() {
    let names: Vec<String> = (0..10).map(|number| format!("p{number}")).collect();
    let people: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = world_of(&people).await;
    world.limits.batch = 4;
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!((notification.tally.delivered, notification.batched), (10, 10));
    let lists: Vec<usize> = world
        .channel
        .batches()
        .iter()
        .map(|batch| batch.members.len())
        .collect();
    assert_eq!(lists, [4, 4, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_went_by_batch_cannot_be_changed_and_says_so() {
    let world = world_of(&["ada", "eve"]).await;
    let (id, _) = done(&world, &everyone()).await;
    let path = format!("/api/notifications/{id}/message");
    let asked = world.channel.requests();
    for (method, body) in [
        ("PUT", json!({"text": "better news"}).to_string()),
        ("DELETE", String::new()),
    ] {
        let answer = world.notify(request(method, &path, body.into())).await;
        let problem = document(&answer);
        assert_eq!(answer.status(), 409, "{method}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("batch") && detail.contains("cancelled"),
            "{detail}"
        );
    }
    world.work().await;
    assert_eq!(
        (world.channel.requests(), world.notification(&id).await.revision),
        (asked, 0)
    );
    let status = world.notify(get(&format!("/api/notifications/{id}"))).await;
    assert_eq!(document(&status)["transport"], "batch");
}

#[tokio::test(start_paused = true)]
async fn the_deployment_says_by_which_way_unless_the_caller_does() {
    let mut world = world_of(&["ada", "eve"]).await;
    world.transport = Transport::Batch;
    let mut body = everyone();
    body.as_object_mut().unwrap().remove("transport");
    let (_, notification) = done(&world, &body).await;
    assert_eq!(
        (notification.transport, notification.batched),
        (Transport::Batch, 2)
    );
    body["transport"] = json!("conversation");
    let (_, notification) = done(&world, &body).await;
    assert_eq!(
        (notification.transport, notification.batched),
        (Transport::Conversation, 0)
    );
    assert_eq!(world.channel.batches().len(), 1);
    body["transport"] = json!("pigeon");
    let refused = world.notify(post("/api/notifications", &body.to_string())).await;
    assert_eq!(refused.status(), 400);
    assert_eq!(document(&refused)["errors"][0]["pointer"], "#/transport");
}

#[tokio::test(start_paused = true)]
async fn a_plan_says_how_many_go_by_batch_and_does_not_guess_how_long_that_takes() {
    let world = world_of(&["ada", "eve"]).await;
    let mut body = everyone();
    body["dryRun"] = json!(true);
    let (id, _) = done(&world, &body).await;
    let plan = document(&world.notify(get(&format!("/api/notifications/{id}/plan"))).await);
    assert_eq!((&plan["audience"], &plan["batched"]), (&json!(2), &json!(2)));
    assert_eq!(plan["predicted"]["atMostSeconds"], Value::Null);
    // It is confirmed as what it is.
    let mut confirming = everyone();
    confirming["confirm"] = json!(id.to_string());
    confirming["transport"] = json!("conversation");
    let other = world
        .notify(post("/api/notifications", &confirming.to_string()))
        .await;
    assert_eq!(other.status(), 409);
    confirming["transport"] = json!("batch");
    let (_, notification) = done(&world, &confirming).await;
    assert_eq!(notification.tally.delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn it_is_explained_that_the_channel_has_it() {
    let world = world_of(&["ada", "eve"]).await;
    world.channel.course(Course {
        at_once: 1,
        rounds: 3,
        ..Course::default()
    });
    let id = world.asks(&everyone()).await;
    let message = submitted(&world).await;
    let explained = document(
        &world
            .notify(get(&format!("/api/notifications/{id}/explain")))
            .await,
    );
    let reasons = explained["reasons"].as_array().unwrap();
    assert_eq!(
        (reasons.len(), &reasons[0]["reason"], &reasons[0]["deliveries"]),
        (1, &json!("inBatch"), &json!(2))
    );
    assert_eq!(
        (&explained["open"], &explained["predictedFinish"]),
        (&json!(2), &Value::Null)
    );
    world.send_one(&message).await;
    world.work().await;
    assert_eq!(world.notification(&id).await.tally.delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn a_doubt_about_a_mere_name_is_kept_by_ending_it() {
    let world = world_of(&["ada"]).await;
    let mut body = to(&json!({"users": ["entra-ada", "entra-kim", "entra-zoe"], "tenant": "tenant-1"}));
    body["ifUnknown"] = json!("create");
    world.channel.fails("entra-zoe", failure(502, "BadGateway"));
    world.channel.fails("entra-kim", failure(429, "Throttled"));
    let (id, notification) = done(&world, &body).await;
    assert_eq!((notification.tally.delivered, notification.tally.unknown), (2, 1));
    assert_eq!(
        (
            world.channel.created("entra-kim"),
            world.channel.created("entra-zoe")
        ),
        (1, 0)
    );
    let listed = world
        .notify(get(&format!("/api/notifications/{id}/deliveries?state=open")))
        .await;
    assert_eq!(document(&listed)["deliveries"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn who_may_have_been_in_a_batch_before_is_not_forgotten_when_it_is_refused() {
    let world = world_of(&["ada", "eve"]).await;
    world.channel.when(
        SUBMIT,
        answers([refusal(502, "BadGateway"), refusal(403, "Forbidden")]),
    );
    let (id, notification) = done(&world, &everyone()).await;
    assert_eq!(notification.tally.delivered, 2);
    assert_eq!(world.row(&id, &to_chat("ada")).await.doubts, 1);
}

#[tokio::test(start_paused = true)]
async fn one_whom_no_batch_can_reach_any_more_stands_aside() {
    let world = world_of(&["ada", "eve"]).await;
    let id = world.asks(&everyone()).await;
    world.plan().await;
    // By now this one is heard of in another tenant.
    let mut moved = personal("eve", "installationUpdate");
    moved["conversation"]["tenantId"] = json!("tenant-2");
    world.hears(&moved).await;
    world.work().await;
    assert_eq!(world.channel.batches()[0].members, ["29:ada"]);
    assert_eq!(world.notification(&id).await.tally.delivered, 2);
    assert!(matches!(outcome(&world, &id, "eve").await, Outcome::Delivered(copy) if copy.activity.is_some()));
}
