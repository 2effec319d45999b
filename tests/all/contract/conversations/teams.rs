//! Team events change the conversations of the team.

use herald::conversation::{TEAM_ARCHIVED, TeamEvent};

use super::super::{at, on_every_backend};
use super::*;

on_every_backend! { conversations:
    a_channel_is_removed_and_restored_with_its_team,
    a_channel_removed_by_itself_is_not_restored_with_its_team,
    a_team_event_does_not_store_unknown_channels,
}

async fn follow<S: Conversations>(store: &S, event: TeamEvent, second: i64) -> Conversation {
    store
        .apply_team_change(&key("19:c"), event, at(second))
        .await
        .unwrap();
    recall(store, "19:c").await
}

async fn a_channel_is_removed_and_restored_with_its_team<S: Conversations>(store: S) {
    hear(&store, &thread("19:c", "5", "19:team"), 0).await;
    let before = recall(&store, "19:c").await;
    let archived = follow(&store, TeamEvent::TeamArchived, 1).await;
    let code = TEAM_ARCHIVED.to_owned();
    assert_eq!(
        (archived.state, archived.changed_at),
        (State::Blocked { code }, at(1))
    );
    assert_eq!(
        ids(&list(&store, &ConversationFilter::Blocked, 10).await.0),
        ["19:c"]
    );
    assert_eq!(
        follow(&store, TeamEvent::TeamUnarchived, 2).await.state,
        State::Active
    );
    let deleted = follow(&store, TeamEvent::TeamDeleted, 3).await;
    assert_eq!((deleted.state, deleted.removed_with_team), (State::Removed, true));
    assert_eq!(
        ids(&list(&store, &ConversationFilter::Removed, 10).await.0),
        ["19:c"]
    );
    let back = follow(&store, TeamEvent::TeamRestored, 4).await;
    let expected = Conversation {
        version: 5,
        changed_at: at(4),
        ..before
    };
    assert_eq!(back, expected, "every other field is unchanged");
    assert_eq!(follow(&store, TeamEvent::TeamRestored, 5).await, back);
}

async fn a_channel_removed_by_itself_is_not_restored_with_its_team<S: Conversations>(store: S) {
    hear(&store, &thread("19:c", "5", "19:team"), 0).await;
    follow(&store, TeamEvent::TeamDeleted, 1).await;
    store.mark_removed(&key("19:c"), at(2)).await.unwrap();
    let forgotten = recall(&store, "19:c").await;
    assert_eq!((forgotten.version, forgotten.removed_with_team), (3, false));
    assert_eq!(follow(&store, TeamEvent::TeamRestored, 3).await, forgotten);
    store.mark_removed(&key("19:c"), at(4)).await.unwrap();
    assert_eq!(recall(&store, "19:c").await, forgotten, "once");
}

async fn a_team_event_does_not_store_unknown_channels<S: Conversations>(store: S) {
    for event in [TeamEvent::TeamArchived, TeamEvent::TeamRestored] {
        store.apply_team_change(&key("19:c"), event, at(1)).await.unwrap();
    }
    assert!(store.get_many(&[key("19:c")]).await.unwrap().is_empty());
}
