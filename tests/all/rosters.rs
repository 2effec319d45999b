//! The roster cache: a team's roster is queried again only after its TTL or a change of the team.

use herald::conversation::ConversationKey;
use herald::rate_limit::Bucket;
use herald::roster_cache::{RosterPage, RosterQuery, TeamKey};
use herald::store::{Conversations, RateLimits};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::channel::{Team, member};

use crate::world::{World, in_channel, personal};

const TEAM: &str = "19:team@thread.tacv2";
const SECOND: &str = "19:second@thread.tacv2";
const KEPT: i64 = 3_600;

fn team(members: usize) -> Team {
    Team {
        channels: vec![TEAM.to_owned(), SECOND.to_owned()],
        members: (0..members).map(|number| member(&format!("p{number}"))).collect(),
        ..Team::default()
    }
}

fn key() -> TeamKey {
    TeamKey {
        channel: "msteams".to_owned(),
        bot: "28:bot".into(),
        team: TEAM.to_owned(),
    }
}

/// A world with a roster cache, and a team whose members are all known.
async fn world_of(members: usize) -> World {
    let mut world = World::new();
    world.roster_ttl = SignedDuration::from_secs(KEPT);
    for number in 0..members {
        world
            .hears(&personal(&format!("p{number}"), "installationUpdate"))
            .await;
    }
    world.hears(&in_channel(TEAM, "installationUpdate")).await;
    world.channel.team(TEAM, team(members));
    world
}

/// The number of requests to plan a notification for the team, and the number of recipients reached.
async fn asked(world: &World, part: &str) -> (usize, u64) {
    let body = json!({"audience": {"team": TEAM, "to": part}, "message": {"text": "news"}});
    let before = world.channel.requests();
    let id = world.asks(&body).await;
    world.plan().await;
    let asked = world.channel.requests() - before;
    world.work().await;
    let done = world.notification(&id).await;
    assert!(done.completed_at.is_some(), "{done:?}");
    (asked, done.counts.delivered)
}

fn told(event: &str) -> Value {
    let mut activity = in_channel(TEAM, "conversationUpdate");
    match event {
        "membersAdded" | "membersRemoved" => activity[event] = json!([{"id": "29:p0"}]),
        event => {
            activity["channelData"]["eventType"] = json!(event);
            activity["channelData"]["channel"] = json!({"id": SECOND});
        }
    }
    activity
}

#[tokio::test(start_paused = true)]
async fn a_cached_roster_costs_no_request_and_no_permit() {
    let world = world_of(220).await;
    assert_eq!(asked(&world, "members").await, (3, 220));
    let general: ConversationKey = format!("msteams|28:bot|{TEAM}").parse().unwrap();
    let bucket = Bucket::of(&general, Some("tenant-1"));
    let rate = async || {
        world
            .store
            .apply(&bucket, |rate| (rate.clone(), None))
            .await
            .unwrap()
    };
    let (before, requests) = (rate().await, world.channel.requests());
    let body = json!({"audience": {"team": TEAM, "to": "members"}, "message": {"text": "news"}});
    world.asks(&body).await;
    world.plan().await;
    assert_eq!((rate().await, world.channel.requests()), (before, requests));
    world.work().await;
    assert_eq!(world.channel.requests() - requests, 220);
    assert_eq!(asked(&world, "members").await, (0, 220));
}

#[tokio::test(start_paused = true)]
async fn channels_are_cached_like_members() {
    let world = world_of(0).await;
    assert_eq!(asked(&world, "channels").await, (1, 2));
    assert_eq!(asked(&world, "channels").await, (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_channel_newer_than_the_cache_is_found_without_an_event() {
    let world = world_of(0).await;
    assert_eq!(asked(&world, "channels").await, (1, 2));
    let mut grown = team(0);
    grown.channels.push("19:third@thread.tacv2".to_owned());
    world.channel.team(TEAM, grown);
    let body =
        json!({"audience": {"channel": "19:third@thread.tacv2", "team": TEAM}, "message": {"text": "news"}});
    let id = world.asks(&body).await;
    world.work().await;
    assert_eq!(world.notification(&id).await.counts.delivered, 1);
    // That request filled this cache as well.
    assert_eq!(asked(&world, "channels").await, (0, 3));
}

async fn generation(world: &World) -> u64 {
    let team = key();
    let told = world
        .store
        .cached_roster(&team, &RosterQuery::Channels, world.now());
    told.await.unwrap().generation
}

#[tokio::test(start_paused = true)]
async fn every_change_of_a_team_invalidates_its_cached_rosters() {
    let world = world_of(3).await;
    assert_eq!(asked(&world, "members").await.0, 1);
    world.channel.team(TEAM, team(2));
    world.hears(&told("membersRemoved")).await;
    assert_eq!(asked(&world, "members").await, (1, 2));
    for event in [
        "membersAdded",
        "membersRemoved",
        "channelCreated",
        "channelRenamed",
        "channelDeleted",
        "channelRestored",
        "teamRenamed",
        "teamArchived",
        "teamUnarchived",
        "teamDeleted",
        "teamHardDeleted",
        "teamRestored",
    ] {
        let before = generation(&world).await;
        world.hears(&told(event)).await;
        assert_eq!(generation(&world).await, before + 1, "{event}");
    }
    // Events without a change, and events of another team.
    let mut other = told("membersAdded");
    other["channelData"]["team"]["id"] = json!("19:other@thread.tacv2");
    let before = generation(&world).await;
    for activity in [in_channel(TEAM, "message"), told("novelEvent"), other] {
        world.hears(&activity).await;
        assert_eq!(generation(&world).await, before, "{activity}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_roster_is_queried_after_its_ttl_or_without_a_cache() {
    let mut world = world_of(3).await;
    assert_eq!(asked(&world, "members").await.0, 1);
    world.pass(KEPT / 2);
    assert_eq!(asked(&world, "members").await.0, 0);
    world.pass(KEPT / 2);
    assert_eq!(asked(&world, "members").await.0, 1);
    world.roster_ttl = SignedDuration::ZERO;
    for _ in 0..2 {
        assert_eq!(asked(&world, "members").await.0, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cached_roster_has_only_ids_roles_and_tenants() {
    let world = world_of(0).await;
    let mut full = member("ada");
    let more = json!({"name": "Ada Invented", "givenName": "Ada", "surname": "Invented", "email": "ada@invented.example",
                      "userPrincipalName": "ada@invented.example", "tenantId": "tenant-1", "userRole": "guest"});
    full.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let team = Team {
        members: vec![full, json!({"id": "28:bot"})],
        ..team(0)
    };
    world.channel.team(TEAM, team);
    asked(&world, "members").await;
    let question = RosterQuery::Members { after: None };
    let told = world
        .store
        .cached_roster(&key(), &question, world.now())
        .await
        .unwrap();
    assert_eq!(
        serde_json::to_value(told.page).unwrap(),
        json!({"members": {"page": [{"id": "29:ada", "user": "entra-ada", "role": "guest", "tenant": "tenant-1"}], "next": null}})
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_continuation_token_does_not_loop() {
    for (forgotten, reached) in [(1, 220), (usize::MAX, 96)] {
        let world = world_of(220).await;
        // The first page is cached. Its continuation token has expired at the channel.
        world.channel.team(
            TEAM,
            Team {
                forgotten,
                ..team(220)
            },
        );
        let members = (0..96).map(|number| {
            json!({"id": format!("29:p{number}"), "user": format!("entra-p{number}"), "role": "user"})
        });
        let page = json!({"members": {"page": members.collect::<Vec<_>>(), "next": "96"}});
        let page: RosterPage = serde_json::from_value(page).unwrap();
        let (question, until) = (RosterQuery::Members { after: None }, world.in_seconds(KEPT));
        let generation = world
            .store
            .cached_roster(&key(), &question, world.now())
            .await
            .unwrap()
            .generation;
        world
            .store
            .cache_roster(&key(), generation, &question, &page, until)
            .await
            .unwrap();
        // The token and all pages from the first; or the token, the first page, and the token again.
        let requests = if forgotten == 1 { 4 } else { 3 };
        assert_eq!(asked(&world, "members").await, (requests, reached));
        assert_eq!(world.channel.count("a:p95"), 1);
    }
}
