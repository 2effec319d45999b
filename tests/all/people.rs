//! Which conversation is a person: several of one person, chats that the bot is not in, members of another tenant.

use herald::audience::Recipient;
use herald::delivery::{Outcome, SkipReason, State};
use herald::store::{ConversationFilter, Conversations};
use serde_json::{Value, json};
use tests::channel::{Behaviour, Reply, Team, member};

use crate::world::{World, in_channel, personal};

/// A message of a person in Microsoft 365 Copilot.
fn in_copilot(person: &str) -> Value {
    let mut message = personal(person, "message");
    message["conversation"]["id"] = json!(format!("a:{person}-copilot"));
    message["entities"] = json!([{"type": "ProductInfo", "id": "COPILOT"}]);
    message
}

/// How many messages of notifications a conversation got: the bot's answers reply to an activity.
fn got(world: &World, conversation: &str) -> usize {
    let received = world.channel.received();
    let sent = received
        .iter()
        .filter(|it| it.conversation == conversation && it.path.ends_with("/activities"));
    sent.count()
}

/// Sends to an audience; the size of the audience.
async fn told(world: &World, audience: Value) -> u64 {
    let id = world
        .asks(&json!({"audience": audience, "message": {"text": "news"}}))
        .await;
    world.work().await;
    let notification = world.notification(&id).await;
    assert!(notification.completed_at.is_some());
    notification.audience
}

#[tokio::test(start_paused = true)]
async fn a_person_with_several_conversations_gets_a_notification_once_where_it_is_seen() {
    for chat_is_first in [true, false] {
        let world = World::new();
        let both = [personal("anna", "message"), in_copilot("anna")];
        for index in if chat_is_first { [0, 1] } else { [1, 0] } {
            world.hears(&both[index]).await;
            world.pass(60);
        }
        world.hears(&personal("bob", "message")).await;
        for (number, (audience, size)) in [
            (json!({"everyone": true}), 2),
            (json!({"users": ["entra-anna"]}), 1),
            (json!({"accounts": ["29:anna"]}), 1),
            (json!({"tenant": "tenant-1"}), 2),
            (json!([{"accounts": ["29:anna"]}, {"users": ["entra-anna"]}]), 1),
            (
                json!([{"users": ["entra-anna"]}, {"conversations": ["a:anna-copilot"]}]),
                1,
            ),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(told(&world, audience.clone()).await, size, "{audience}");
            assert_eq!(got(&world, "a:anna"), number + 1, "{audience}");
        }
        assert_eq!(got(&world, "a:anna-copilot"), 0);
        assert_eq!(
            told(&world, json!({"conversations": ["a:anna-copilot"]})).await,
            1
        );
        assert_eq!(got(&world, "a:anna-copilot"), 1, "it can be named by its id");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_of_one_conversation_leads_there_and_tags_of_both_to_the_preferred_one() {
    let world = World::new();
    world.hears(&personal("anna", "message")).await;
    let mut subscribes = in_copilot("anna");
    subscribes["text"] = json!("subscribe builds");
    world.hears(&subscribes).await;
    assert_eq!(told(&world, json!({"tag": "builds"})).await, 1);
    assert_eq!((got(&world, "a:anna"), got(&world, "a:anna-copilot")), (0, 1));
    let mut subscribes = personal("anna", "message");
    subscribes["text"] = json!("subscribe builds");
    world.hears(&subscribes).await;
    assert_eq!(told(&world, json!({"tag": "builds"})).await, 1);
    assert_eq!((got(&world, "a:anna"), got(&world, "a:anna-copilot")), (1, 1));
    let except = json!({"everyone": true, "except": ["a:anna"]});
    assert_eq!(
        told(&world, except).await,
        0,
        "an exception counts for the person"
    );
}

#[tokio::test(start_paused = true)]
async fn an_uninstalled_chat_leaves_the_other_one_and_a_block_counts_for_both() {
    let world = World::new();
    world.hears(&in_copilot("anna")).await;
    world.hears(&personal("anna", "message")).await;
    let mut removed = personal("anna", "installationUpdate");
    removed["action"] = json!("remove");
    world.hears(&removed).await;
    assert_eq!(told(&world, json!({"users": ["entra-anna"]})).await, 1);
    assert_eq!(got(&world, "a:anna-copilot"), 1);
    let mut back = personal("anna", "message");
    back["id"] = json!("back");
    world.hears(&back).await;
    let blocked = Behaviour::Refuse {
        status: 403,
        code: "ConversationBlockedByUser",
    };
    world.channel.when("a:anna", blocked);
    for _ in 0..2 {
        told(&world, json!({"users": ["entra-anna"]})).await;
    }
    assert_eq!((got(&world, "a:anna"), got(&world, "a:anna-copilot")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_reloaded_web_chat_gets_a_notification_once_in_its_last_conversation() {
    let world = World::new();
    for load in ["one", "two", "three"] {
        let mut message = personal("visitor", "message");
        message["channelId"] = json!("webchat");
        message["from"] = json!({"id": "dl_visitor"});
        message["conversation"] = json!({ "id": load });
        message["id"] = json!(load);
        world.hears(&message).await;
        world.pass(60);
    }
    assert_eq!(told(&world, json!({"everyone": true})).await, 1);
    assert_eq!(["one", "two", "three"].map(|load| got(&world, load)), [0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_member_with_several_conversations_gets_a_notification_once() {
    let world = World::new();
    world.hears(&in_channel("19:team@thread.tacv2", "message")).await;
    world.hears(&personal("anna", "message")).await;
    world.hears(&in_copilot("anna")).await;
    let team = Team {
        members: vec![member("anna")],
        ..Team::default()
    };
    world.channel.team("19:team@thread.tacv2", team);
    let members = json!({"team": "19:team@thread.tacv2", "to": "members"});
    assert_eq!(told(&world, members.clone()).await, 1);
    assert_eq!(told(&world, json!([members, {"users": ["entra-anna"]}])).await, 1);
    assert_eq!((got(&world, "a:anna"), got(&world, "a:anna-copilot")), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn an_invoke_in_a_foreign_chat_makes_no_recipient_and_the_persons_chat_is_created() {
    let world = World::new();
    world.hears(&personal("bob", "message")).await;
    let mut invoke = personal("anna", "invoke");
    invoke["name"] = json!("composeExtension/query");
    invoke["conversation"]["id"] = json!("19:u1_u2@unq.gbl.spaces");
    world
        .messages(crate::world::post("/api/messages", &invoke.to_string()))
        .await;
    let foreign = ConversationFilter::Conversation("19:u1_u2@unq.gbl.spaces".into());
    assert_eq!(world.store.list(&foreign, None, 10).await.unwrap().items, []);
    let refused = Behaviour::Refuse {
        status: 403,
        code: "BotNotInConversationRoster",
    };
    world.channel.when("19:u1_u2@unq.gbl.spaces", refused);
    let id = world
        .asks(&json!({
            "audience": {"users": ["entra-anna"], "tenant": "tenant-1"}, "ifNoConversation": "create",
            "message": {"text": "news"},
        }))
        .await;
    world.work().await;
    assert_eq!(world.channel.created("entra-anna"), 1);
    assert_eq!(world.notification(&id).await.counts.delivered, 1);
}

#[tokio::test(start_paused = true)]
async fn an_external_member_is_created_in_their_own_tenant_or_skipped_with_a_reason() {
    let world = World::new();
    world
        .hears(&in_channel("19:shared@thread.tacv2", "message"))
        .await;
    let external = |person: &str, tenant: &str| {
        let mut entry = member(person);
        entry["tenantId"] = json!(tenant);
        entry
    };
    let team = Team {
        members: vec![
            external("own", "tenant-1"),
            external("zoe", "tenant-2"),
            external("eve", "tenant-3"),
        ],
        ..Team::default()
    };
    world.channel.team("19:team@thread.tacv2", team);
    world.hears(&in_channel("19:team@thread.tacv2", "message")).await;
    // Conversations by which the service URLs of the tenants are known; in the last one another bot is.
    for (person, tenant, bot) in [("yan", "tenant-2", "28:bot"), ("max", "tenant-3", "28:other")] {
        let mut known = personal(person, "message");
        known["conversation"]["tenantId"] = json!(tenant);
        known["recipient"]["id"] = json!(bot);
        world.hears(&known).await;
    }
    let refused = Behaviour::Refuse {
        status: 403,
        code: "ForbiddenOperationException",
    };
    world.channel.when("entra-eve", refused);
    let id = world
        .asks(&json!({
            "audience": {"team": "19:team@thread.tacv2", "to": "members"}, "ifNoConversation": "create",
            "message": {"text": "news"},
        }))
        .await;
    world.work().await;
    let created = world.channel.received();
    let tenant_of = |person: &str| {
        let of_person = |it: &&tests::channel::Received| {
            it.path == "/v3/conversations" && it.activity["members"][0]["id"] == json!(person)
        };
        created
            .iter()
            .find(of_person)
            .map(|it| it.activity["tenantId"].clone())
    };
    assert_eq!(tenant_of("entra-own"), Some(json!("tenant-1")));
    assert_eq!(tenant_of("entra-zoe"), Some(json!("tenant-2")));
    assert_eq!(world.notification(&id).await.counts.delivered, 2);
    let row = world.row(&id, &Recipient::User("entra-eve".into())).await;
    let reason = SkipReason::NotInTenant;
    assert_eq!(row.state, State::Settled(Outcome::Skipped { reason }));
}

#[tokio::test(start_paused = true)]
async fn a_web_chat_that_is_over_is_gone_and_not_tried_again_until_its_person_writes() {
    for (code, message) in [("BadArgument", "Unknown conversation"), ("", "")] {
        let world = World::new();
        let mut message_of = personal("visitor", "message");
        message_of["channelId"] = json!("webchat");
        message_of["from"] = json!({"id": "dl_visitor"});
        world.hears(&message_of).await;
        let over = Reply {
            status: 404,
            code,
            message,
            ..Reply::default()
        };
        world
            .channel
            .when("a:visitor", Behaviour::Answers([over].into_iter().collect()));
        let before = world.channel.requests();
        let id = world
            .asks(&json!({"audience": {"everyone": true}, "message": {"text": "news"}}))
            .await;
        world.work().await;
        assert_eq!(world.notification(&id).await.counts.gone, 1);
        assert_eq!(world.channel.requests(), before + 1);
        told(&world, json!({"everyone": true})).await;
        assert_eq!(
            world.channel.requests(),
            before + 1,
            "the next broadcast makes no request"
        );
        message_of["id"] = json!("back");
        world.hears(&message_of).await;
        assert_eq!(told(&world, json!({"everyone": true})).await, 1);
        assert_eq!(got(&world, "a:visitor"), 1);
    }
}

/// What the channel answers when it cannot decrypt a conversation id.
fn undecrypted(times: usize) -> Behaviour {
    let reply = Reply {
        status: 403,
        code: "BadArgument",
        message: "Failed to decrypt conversation id",
        ..Reply::default()
    };
    Behaviour::Answers(std::iter::repeat_n(reply, times).collect())
}

#[tokio::test(start_paused = true)]
async fn an_incident_in_which_no_id_is_decrypted_loses_nobody() {
    let world = World::new();
    let people = ["ada", "bob", "cec", "dan", "eve", "fay"];
    for person in people {
        world.hears(&personal(person, "message")).await;
        // Each attempt, and each one after the conversation was created again, for half an hour.
        world.channel.when(&format!("a:{person}"), undecrypted(4));
    }
    let began = world.now();
    let id = world
        .asks(&json!({"audience": {"everyone": true}, "message": {"text": "news"}}))
        .await;
    world.work().await;
    let counts = world.notification(&id).await.counts;
    assert_eq!((counts.delivered, counts.gone), (6, 0), "{counts:?}");
    assert!(world.now().duration_since(began).as_mins() < 120);
    for person in people {
        assert_eq!(got(&world, &format!("a:{person}")), 1);
    }
    assert_eq!(told(&world, json!({"everyone": true})).await, 6);
}

#[tokio::test(start_paused = true)]
async fn one_conversation_whose_id_is_not_decrypted_is_created_again() {
    let world = World::new();
    for person in ["ada", "bob"] {
        world.hears(&personal(person, "message")).await;
    }
    world.channel.when("a:ada", undecrypted(100));
    world.channel.when("29:ada", Behaviour::Named("a:ada-again"));
    let id = world
        .asks(&json!({"audience": {"everyone": true}, "message": {"text": "news"}}))
        .await;
    world.work().await;
    let counts = world.notification(&id).await.counts;
    assert_eq!((counts.delivered, counts.gone), (2, 0), "{counts:?}");
    assert_eq!((got(&world, "a:ada-again"), got(&world, "a:bob")), (1, 1));
}
