//! Recipients that a batch does not reach.

use herald::audience::Recipient;
use herald::conversation::State as Presence;
use herald::delivery::{Outcome, State};
use herald::store::Conversations;
use serde_json::json;
use tests::channel::Reply;
use tests::channel::batch::{BatchScenario, Failure, SUBMIT};

use super::{answers, done, everyone, failure, key, outcome, refusal, to, to_chat};
use crate::world::{World, document, get};

#[tokio::test(start_paused = true)]
async fn each_failed_entry_of_a_batch_gets_its_outcome() {
    let people = ["ada", "eve", "joe", "kim", "lou", "max", "sue"];
    let world = World::of(&people).await;
    // Three pages, with both names of the id field, and for one person another id than the one requested.
    world.channel.course(BatchScenario {
        page: 2,
        ..BatchScenario::default()
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
    let counts = notification.counts;
    assert_eq!(
        (counts.delivered, counts.gone, counts.rejected, counts.total()),
        (5, 1, 1, 7)
    );
    let code = "ConversationBlockedByUser".to_owned();
    let blocked = Outcome::Gone { code: code.clone() };
    assert_eq!(outcome(&world, &id, "eve").await, blocked);
    let eve = world.store.get_many(&[key("a:eve")]).await.unwrap().remove(0);
    assert_eq!(eve.state, Presence::Blocked { code });
    for (person, in_batch) in [
        ("ada", true),
        ("kim", false),
        ("lou", false),
        ("max", false),
        ("sue", true),
    ] {
        assert_eq!(world.channel.count(&format!("a:{person}")), 1, "{person}");
        let Outcome::Delivered(sent) = outcome(&world, &id, person).await else {
            panic!("{person} has none");
        };
        assert_eq!(sent.activity.is_none(), in_batch, "{person}");
    }
    // The first attempt may have arrived, so it stays recorded as ambiguous.
    assert_eq!(world.row(&id, &to_chat("lou")).await.ambiguous_attempts, 1);
    assert_eq!(world.row(&id, &to_chat("kim")).await.ambiguous_attempts, 0);
}

#[tokio::test(start_paused = true)]
async fn at_most_once_holds_after_an_ambiguous_batch() {
    let world = World::of(&["ada", "eve"]).await;
    world.channel.fails("29:eve", failure(504, "GatewayTimeout"));
    let mut body = everyone();
    body["guarantee"] = json!("atMostOnce");
    let (_, notification) = done(&world, &body).await;
    assert_eq!(
        (notification.counts.delivered, notification.counts.unknown),
        (1, 1)
    );
    assert_eq!(world.channel.count("a:eve"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_unnamed_failed_entry_makes_all_deliveries_unknown() {
    let world = World::of(&["ada", "eve"]).await;
    let nameless = Failure {
        told_as: Some(""),
        ..failure(403, "ConversationBlockedByUser")
    };
    world.channel.fails("29:eve", nameless);
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!(notification.counts.unknown, 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_entry_with_an_unknown_id_affects_only_unmatched_recipients() {
    let world = World::of(&["ada", "eve"]).await;
    let strange = Failure {
        told_as: Some("29:nobody-knew"),
        ..failure(403, "ConversationBlockedByUser")
    };
    world.channel.fails("entra-zoe", strange);
    let mut body = to(&json!({"users": ["entra-ada", "entra-eve", "entra-zoe"], "tenant": "tenant-1"}));
    body["ifNoConversation"] = json!("create");
    let (id, notification) = done(&world, &body).await;
    assert_eq!(
        (notification.counts.delivered, notification.counts.unknown),
        (2, 1)
    );
    let zoe = world.row(&id, &Recipient::User("entra-zoe".into())).await.state;
    assert_eq!(zoe, State::Settled(Outcome::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_the_tenants_if_others_were_reached() {
    let world = World::of(&["ada", "eve", "joe", "kim"]).await;
    for person in ["eve", "joe", "kim"] {
        world
            .channel
            .fails(&format!("29:{person}"), failure(403, "BotDisabledByAdmin"));
    }
    let began = world.now();
    let (_, notification) = done(&world, &everyone()).await;
    assert_eq!((notification.counts.delivered, notification.counts.gone), (1, 3));
    assert!(
        world.now().duration_since(began).as_secs() < 60,
        "the tenant was not paused"
    );
}

#[tokio::test(start_paused = true)]
async fn an_ambiguous_person_without_a_conversation_is_settled_as_unknown() {
    let world = World::of(&["ada"]).await;
    let mut body = to(&json!({"users": ["entra-ada", "entra-kim", "entra-zoe"], "tenant": "tenant-1"}));
    body["ifNoConversation"] = json!("create");
    world.channel.fails("entra-zoe", failure(502, "BadGateway"));
    world.channel.fails("entra-kim", failure(429, "Throttled"));
    let (id, notification) = done(&world, &body).await;
    assert_eq!(
        (notification.counts.delivered, notification.counts.unknown),
        (2, 1)
    );
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
async fn open_recipients_of_a_finished_batch_do_not_poll_it_again() {
    let world = World::of(&["ada", "eve"]).await;
    world.channel.fails("29:eve", failure(429, "Throttled"));
    let throttled = || Reply {
        retry_after: Some(200),
        ..refusal(429, "Throttled")
    };
    world.channel.when("a:eve", answers([throttled(), throttled()]));
    let id = world.asks(&everyone()).await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    world.send_one(&chunk.body).await;
    let next = world.deliveries.take().unwrap();
    world.pass(6);
    world.send_one(&next.body).await;
    assert_eq!(
        world.channel.requests(),
        4,
        "submitted, polled, listed; the open recipient was throttled"
    );
    // The planned chunk is redelivered, as after a cancellation.
    world.send_one(&chunk.body).await;
    assert_eq!(world.channel.requests(), 4);
    world.work().await;
    assert_eq!(world.notification(&id).await.counts.delivered, 2);
    assert_eq!(world.channel.requests(), 3 + 3, "and three individual requests");
}

#[tokio::test(start_paused = true)]
async fn the_outcome_of_an_entry_does_not_depend_on_resubmissions() {
    let world = World::of(&["ada", "eve"]).await;
    world
        .channel
        .fails("29:eve", failure(404, "ConversationNotFound"));
    let throttled = || refusal(429, "Throttled");
    world
        .channel
        .when(SUBMIT, answers([throttled(), throttled(), throttled()]));
    let (_, notification) = done(&world, &everyone()).await;
    // The sender looks for it individually before it settles it as gone.
    assert_eq!((notification.counts.delivered, notification.counts.gone), (2, 0));
}
