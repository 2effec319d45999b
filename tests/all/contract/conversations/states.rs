//! The bot's states of people and conversations.

use botframework::app::{StateWrite, Storage};
use futures_util::future::join_all;
use herald::bot_state::StateStorage;
use herald::store::Conversations;
use serde_json::{Value, json};

use super::{hear, on_every_backend};

on_every_backend! { conversations:
    a_state_is_written_over_the_version_that_was_read_only,
    of_twenty_concurrent_writers_one_commits,
    a_removed_state_is_gone_and_its_version_never_comes_again,
    the_states_of_a_person_are_erased_in_every_place_and_those_of_others_stay,
    the_states_of_a_conversation_are_erased_with_it_and_those_of_its_threads_stay,
    what_is_no_key_of_a_state_is_refused,
}

const SAID: &str = "msteams/28%3Abot/users/29%3Aada/said";

/// The state and its version.
async fn read<S: Conversations>(store: &S, key: &str) -> Option<(Value, String)> {
    let stored = Storage::read(&StateStorage(store.clone()), key).await.unwrap();
    stored.map(|stored| (stored.value, stored.version))
}

async fn write<S: Conversations>(
    store: &S,
    key: &str,
    state: Option<Value>,
    expected: Option<&str>,
) -> StateWrite {
    let storage = StateStorage(store.clone());
    Storage::write(&storage, key, state, expected).await.unwrap()
}

async fn a_state_is_written_over_the_version_that_was_read_only<S: Conversations>(store: S) {
    assert_eq!(read(&store, SAID).await, None);
    let first = json!({"count": 1, "": [null, 1.5, "\u{1f4a1}"]});
    assert_eq!(
        write(&store, SAID, Some(first.clone()), Some("0")).await,
        StateWrite::Conflict
    );
    assert_eq!(
        write(&store, SAID, Some(first.clone()), None).await,
        StateWrite::Committed
    );
    let (stored, version) = read(&store, SAID).await.unwrap();
    assert_eq!(stored, first);
    assert_eq!(
        write(&store, SAID, Some(json!(2)), None).await,
        StateWrite::Conflict
    );
    assert_eq!(
        write(&store, SAID, Some(json!(2)), Some(&version)).await,
        StateWrite::Committed
    );
    assert_eq!(
        write(&store, SAID, Some(json!(3)), Some(&version)).await,
        StateWrite::Conflict
    );
    assert_eq!(read(&store, SAID).await.unwrap().0, json!(2));
}

async fn of_twenty_concurrent_writers_one_commits<S: Conversations>(store: S) {
    let writers = (0..20).map(|number| write(&store, SAID, Some(json!(number)), None));
    let results = join_all(writers).await;
    let committed = results.iter().filter(|result| **result == StateWrite::Committed);
    assert_eq!(committed.count(), 1);
}

async fn a_removed_state_is_gone_and_its_version_never_comes_again<S: Conversations>(store: S) {
    write(&store, SAID, Some(json!(1)), None).await;
    let (_, first) = read(&store, SAID).await.unwrap();
    assert_eq!(
        write(&store, SAID, None, Some("another")).await,
        StateWrite::Conflict
    );
    assert_eq!(
        write(&store, SAID, None, Some(&first)).await,
        StateWrite::Committed
    );
    assert_eq!(read(&store, SAID).await, None);
    assert_eq!(
        write(&store, SAID, None, Some(&first)).await,
        StateWrite::Conflict
    );
    write(&store, SAID, Some(json!(1)), None).await;
    assert_ne!(read(&store, SAID).await.unwrap().1, first);
}

async fn the_states_of_a_person_are_erased_in_every_place_and_those_of_others_stay<S: Conversations>(
    store: S,
) {
    let of_ada = [
        SAID,
        "msteams/28%3Abot/users/29%3Aada/name",
        "slack/other/users/29%3Aada/said",
    ];
    let of_others = [
        "msteams/28%3Abot/users/29%3Abob/said",
        "msteams/28%3Abot/conversations/29%3Aada/said",
    ];
    for key in of_ada.iter().chain(&of_others) {
        write(&store, key, Some(json!(1)), None).await;
    }
    for _ in 0..2 {
        store.erase_user_state(&"29:ada".into()).await.unwrap();
    }
    for key in of_ada {
        assert_eq!(read(&store, key).await, None, "{key}");
    }
    for key in of_others {
        assert!(read(&store, key).await.is_some(), "{key}");
    }
}

async fn the_states_of_a_conversation_are_erased_with_it_and_those_of_its_threads_stay<S: Conversations>(
    store: S,
) {
    let said = json!({"type": "message", "channelId": "msteams", "serviceUrl": "http://127.0.0.1:3979/",
        "from": {"id": "29:ada"}, "recipient": {"id": "28:bot"}, "conversation": {"id": "19:c@thread.tacv2"}});
    hear(&store, &said, 0).await;
    let of_channel = "msteams/28%3Abot/conversations/19%3Ac%40thread.tacv2/asked";
    let stay = [
        "msteams/28%3Abot/conversations/19%3Ac%40thread.tacv2%3Bmessageid%3D5/asked",
        "msteams/28%3Abot2/conversations/19%3Ac%40thread.tacv2/asked",
        SAID,
    ];
    for key in stay.iter().chain([&of_channel]) {
        write(&store, key, Some(json!(1)), None).await;
    }
    let key = "msteams|28:bot|19:c@thread.tacv2".parse().unwrap();
    assert!(store.erase(&key).await.unwrap());
    assert_eq!(read(&store, of_channel).await, None);
    for key in stay {
        assert!(read(&store, key).await.is_some(), "{key}");
    }
}

async fn what_is_no_key_of_a_state_is_refused<S: Conversations>(store: S) {
    let storage = StateStorage(store);
    assert!(Storage::read(&storage, "said").await.is_err());
    assert!(
        Storage::write(&storage, "said", Some(json!(1)), None)
            .await
            .is_err()
    );
}
