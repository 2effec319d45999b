//! Events of teams and their channels, as Teams sends them to the bot.

use std::collections::BTreeMap;

use herald::conversation::State;
use herald::store::{ConversationFilter, Conversations};
use serde_json::{Value, json};

use crate::world::{World, in_channel, personal};

const TEAM: &str = "19:team@thread.tacv2";
const BUILDS: &str = "19:builds@thread.tacv2";
const THREAD: &str = "19:builds@thread.tacv2;messageid=7";
const NEWS: &str = "19:news@thread.tacv2";
const OTHER: &str = "19:other@thread.tacv2";

/// A team with two channels beside General, one of them with a thread; another team; and a person.
async fn world() -> World {
    let world = World::new();
    for place in [TEAM, THREAD, NEWS] {
        world.hears(&in_channel(place, "message")).await;
    }
    let mut other = in_channel(OTHER, "message");
    other["channelData"]["team"]["id"] = json!(OTHER);
    world.hears(&other).await;
    world.hears(&personal("ada", "message")).await;
    world
}

/// An event in the General channel, whatever channel it is about.
fn told(event: &str, channel: &str) -> Value {
    let mut activity = in_channel(TEAM, "conversationUpdate");
    activity["channelData"]["eventType"] = json!(event);
    if event.starts_with("channel") {
        activity["channelData"]["channel"] = json!({"id": channel, "name": "invented"});
    }
    activity
}

/// Every stored conversation with its state: the code if it is blocked.
async fn states(world: &World) -> BTreeMap<String, String> {
    let everyone = ConversationFilter::Everyone {
        segment: 0,
        segments: 1,
    };
    let found = world.store.list(&everyone, None, 100).await.unwrap().items;
    let state = |state| match state {
        State::Active => "active".to_owned(),
        State::Blocked { code } => code,
        State::Removed => "removed".to_owned(),
    };
    found
        .into_iter()
        .map(|found| (found.key.conversation.into_string(), state(found.state)))
        .collect()
}

#[tokio::test]
async fn each_team_event_changes_only_its_own_conversations() {
    let (archived, removed) = ("TeamArchived", "removed");
    let channel = [(BUILDS, removed), (THREAD, removed)];
    let team = |state| [(TEAM, state), (BUILDS, state), (THREAD, state), (NEWS, state)];
    let nothing: &[(&str, &str)] = &[];
    for (events, changed) in [
        (&["channelCreated"][..], nothing),
        (&["channelRenamed"], nothing),
        (&["teamRenamed"], nothing),
        (&["novelEvent"], nothing),
        (&["channelDeleted"], &channel),
        (&["channelDeleted", "channelRestored"], nothing),
        (&["teamArchived"], &team(archived)),
        (&["teamArchived", "teamUnarchived"], nothing),
        (&["channelDeleted", "teamArchived", "teamUnarchived"], &channel),
        (&["teamDeleted"], &team(removed)),
        (&["teamHardDeleted"], &team(removed)),
        (&["teamDeleted", "teamRestored"], nothing),
        (&["channelDeleted", "teamDeleted", "teamRestored"], &channel),
        (
            &["teamDeleted", "teamHardDeleted", "teamRestored"],
            &team(removed),
        ),
    ] {
        let world = world().await;
        let mut expected = states(&world).await;
        assert!(expected.len() == 6 && expected.values().all(|state| state == "active"));
        for (place, state) in changed {
            expected.insert((*place).to_owned(), (*state).to_owned());
        }
        for event in events {
            world.hears(&told(event, BUILDS)).await;
        }
        assert_eq!(states(&world).await, expected, "{events:?}");
        // The channel may repeat an event.
        if let Some(last) = events.last() {
            world.hears(&told(last, BUILDS)).await;
        }
        assert_eq!(states(&world).await, expected, "{events:?}, and the last again");
    }
}

#[tokio::test]
async fn a_new_or_renamed_channel_is_stored_with_its_name() {
    let world = World::new();
    world.hears(&told("channelCreated", BUILDS)).await;
    let key = format!("msteams|28:bot|{BUILDS}").parse().unwrap();
    let record = world
        .store
        .get_many(std::slice::from_ref(&key))
        .await
        .unwrap()
        .remove(0);
    assert_eq!(record.attributes.team.as_deref(), Some(TEAM));
    assert_eq!(record.reference.user, None);
    let mut renamed = told("channelRenamed", BUILDS);
    renamed["channelData"]["channel"]["name"] = json!("other");
    world.hears(&renamed).await;
    let record = world.store.get_many(&[key]).await.unwrap().remove(0);
    let place = record.reference.conversation.unwrap();
    assert_eq!(
        (place.id.as_str(), place.name.as_deref()),
        (BUILDS, Some("other"))
    );
}

#[tokio::test]
async fn a_deletion_event_does_not_store_an_unknown_channel() {
    let world = World::new();
    let mut in_itself = told("channelDeleted", BUILDS);
    in_itself["conversation"]["id"] = json!(BUILDS);
    world.hears(&in_itself).await;
    world.hears(&told("teamDeleted", TEAM)).await;
    assert_eq!(states(&world).await, BTreeMap::new());
    // An event of another channel also shows the channel it arrives in.
    world.hears(&told("channelDeleted", BUILDS)).await;
    assert_eq!(states(&world).await.keys().collect::<Vec<_>>(), [TEAM]);
}

#[tokio::test]
async fn an_archived_team_is_not_written_to_and_a_left_team_is_not_restored() {
    let world = world().await;
    world.hears(&told("teamArchived", TEAM)).await;
    let news = json!({"audience": {"everyone": true}, "message": {"text": "news"}});
    let before = world.channel.requests();
    world.asks(&news).await;
    world.work().await;
    assert_eq!(
        world.channel.requests() - before,
        2,
        "the other team and the person"
    );
    world.hears(&told("teamDeleted", TEAM)).await;
    let mut left = in_channel(TEAM, "conversationUpdate");
    left["membersRemoved"] = json!([{"id": "28:bot"}]);
    world.hears(&left).await;
    world.hears(&told("teamRestored", TEAM)).await;
    let states = states(&world).await;
    for place in [TEAM, BUILDS, THREAD, NEWS] {
        assert_eq!(states[place], "removed");
    }
    assert_eq!(states[OTHER], "active");
}

#[tokio::test]
async fn team_events_are_separate_for_each_bot_and_cover_many_pages() {
    let world = World::new();
    for bot in ["28:bot", "28:other"] {
        for number in 0..130 {
            let mut heard = in_channel(&format!("19:c{number}@thread.tacv2"), "conversationUpdate");
            heard["recipient"] = json!({"id": bot});
            world.hears(&heard).await;
        }
    }
    world.hears(&told("teamArchived", TEAM)).await;
    let everyone = ConversationFilter::Everyone {
        segment: 0,
        segments: 1,
    };
    for found in world.store.list(&everyone, None, 500).await.unwrap().items {
        let is_blocked = found.state != State::Active;
        assert_eq!(is_blocked, found.key.bot.as_str() == "28:bot", "{}", found.key);
    }
}
