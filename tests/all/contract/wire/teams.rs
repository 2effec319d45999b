//! Imports, team changes and cached rosters: their requests, and the handling of lost answers.

use botframework::cloud::Cloud;
use botframework::service_url::{Loopback, OtherChannels, TrustRule};
use herald::conversation::{Import, State, TeamEvent};
use herald::notification::Page;
use herald::roster_cache::{RosterPage, RosterQuery, TeamKey};
use herald::store::{Conversations, Notifications, Upsert};
use serde_json::json;
use tests::database::{conversations_at, notifications_at};

use super::super::at;
use super::{acceptance, id, key, page, wired};

pub(super) fn import() -> Import {
    let document = json!({
        "channelId": "msteams", "serviceUrl": "https://smba.trafficmanager.net/emea/",
        "user": {"id": "29:ada"}, "bot": {"id": "28:bot"}, "conversation": {"id": "a:ada"}});
    let trust = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Refused);
    Import::read(document.into(), &trust).unwrap().remove(0)
}

pub(super) fn team() -> TeamKey {
    TeamKey {
        channel: "msteams".to_owned(),
        bot: "28:bot".into(),
        team: "19:team".to_owned(),
    }
}

pub(super) fn channels() -> RosterPage {
    RosterPage::Channels(vec!["19:team".into()])
}

#[tokio::test]
async fn an_import_costs_a_read_and_a_write_and_a_known_record_a_read() {
    let (wire, _database) = wired().await;
    let store = conversations_at(wire.address());
    assert_eq!(store.import(import(), at(0)).await.unwrap(), Upsert::Created);
    assert_eq!(wire.take_operations(), ["GetItem", "PutItem"]);
    assert_eq!(store.import(import(), at(1)).await.unwrap(), Upsert::Unchanged);
    assert_eq!(wire.take_operations(), ["GetItem"]);
}

#[tokio::test]
async fn a_cached_roster_costs_one_read_to_get_and_one_write_to_put() {
    let (wire, _database) = wired().await;
    let store = conversations_at(wire.address());
    let told = store
        .cached_roster(&team(), &RosterQuery::Channels, at(0))
        .await
        .unwrap();
    store
        .cache_roster(
            &team(),
            told.generation,
            &RosterQuery::Channels,
            &channels(),
            at(60),
        )
        .await
        .unwrap();
    store
        .cached_roster(&team(), &RosterQuery::Channels, at(0))
        .await
        .unwrap();
    store.invalidate_roster(&team()).await.unwrap();
    assert_eq!(
        wire.take_operations(),
        ["BatchGetItem", "PutItem", "BatchGetItem", "UpdateItem"]
    );
}

#[tokio::test]
async fn imports_and_team_changes_count_once_after_a_lost_answer() {
    let (wire, _database) = wired().await;
    let store = conversations_at(wire.address());
    let version = async || store.get_many(&[key()]).await.unwrap().remove(0).version;
    wire.lose_answers_after(1, 1);
    store.import(import(), at(0)).await.unwrap();
    assert_eq!(version().await, 1);
    for (event, expected) in [
        (TeamEvent::TeamArchived, 2),
        (TeamEvent::TeamUnarchived, 3),
        (TeamEvent::TeamDeleted, 4),
        (TeamEvent::TeamRestored, 5),
    ] {
        wire.lose_answers_after(1, 1);
        store.apply_team_change(&key(), event, at(1)).await.unwrap();
        assert_eq!(version().await, expected, "{event:?}");
    }
    assert_eq!(store.get_many(&[key()]).await.unwrap()[0].state, State::Active);
}

#[tokio::test]
async fn a_frozen_page_and_a_generation_survive_a_lost_answer() {
    let (wire, _database) = wired().await;
    let notifications = notifications_at(wire.address());
    notifications.accept(&acceptance(None)).await.unwrap();
    wire.take_operations();
    wire.lose_answers(1);
    assert_eq!(
        notifications.freeze_page(&id(), (0, 0), &page()).await.unwrap(),
        page()
    );
    assert_eq!(wire.take_operations(), ["PutItem", "PutItem"]);
    let other = notifications.freeze_page(&id(), (0, 0), &Page::default()).await;
    assert_eq!(other.unwrap(), page());

    let store = conversations_at(wire.address());
    store
        .cache_roster(&team(), 0, &RosterQuery::Channels, &channels(), at(60))
        .await
        .unwrap();
    wire.lose_answers(1);
    store.invalidate_roster(&team()).await.unwrap();
    let told = store
        .cached_roster(&team(), &RosterQuery::Channels, at(0))
        .await
        .unwrap();
    assert_eq!((told.generation, told.page), (2, None), "it is counted twice");
}
