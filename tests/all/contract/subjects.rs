//! The contract of `store::Ledger` for the copies of subjects.

use futures_util::future::join_all;
use herald::conversation::ConversationKey;
use herald::id::NotificationId;
use herald::store::{CasResult, Ledger};
use herald::subject::{SubjectCopy, SubjectCopyKey};

use super::{at, on_every_backend};

on_every_backend! { ledger:
    of_fifty_concurrent_first_copies_one_is_stored,
    of_fifty_concurrent_takeovers_one_succeeds,
    every_state_of_a_copy_is_stored_unchanged,
    copies_of_different_conversations_do_not_collide,
}

fn key(conversation: &str) -> SubjectCopyKey {
    let conversation = ConversationKey {
        channel: "msteams".to_owned(),
        bot: "28:bot".into(),
        conversation: conversation.into(),
    };
    SubjectCopyKey::new("iam:invented", "build-7", &conversation)
}

fn id(number: u8) -> NotificationId {
    NotificationId::fresh(at(0), [number; 16])
}

fn first() -> SubjectCopy {
    SubjectCopy::sent(None, &id(1), Some("1:|#%\"\u{1F980}".into()), at(1)).unwrap()
}

async fn stored<S: Ledger>(store: &S, key: &SubjectCopyKey) -> Option<SubjectCopy> {
    let copies = store.subject_copies(std::slice::from_ref(key)).await.unwrap();
    assert_eq!(copies.len(), 1);
    copies.into_iter().next().flatten()
}

async fn committed<S: Ledger>(store: &S, copies: impl Iterator<Item = SubjectCopy>) -> usize {
    let key = key("a:1");
    let copies: Vec<SubjectCopy> = copies.collect();
    let written = copies
        .iter()
        .map(|copy| store.compare_and_set_subject_copy(&key, copy));
    let written = join_all(written).await;
    let committed = |written: &&Result<CasResult, _>| matches!(written, Ok(CasResult::Committed));
    written.iter().filter(committed).count()
}

async fn of_fifty_concurrent_first_copies_one_is_stored<S: Ledger>(store: S) {
    assert_eq!(stored(&store, &key("a:1")).await, None);
    let copies = (0..50).map(|number| SubjectCopy::sent(None, &id(number), None, at(1)).unwrap());
    assert_eq!(committed(&store, copies).await, 1);
    assert_eq!(stored(&store, &key("a:1")).await.unwrap().version, 1);
}

async fn of_fifty_concurrent_takeovers_one_succeeds<S: Ledger>(store: S) {
    assert_eq!(committed(&store, std::iter::once(first())).await, 1);
    let copies = (2..52).map(|number| first().taken_over(&id(number), at(2)));
    assert_eq!(committed(&store, copies).await, 1);
    let taken = stored(&store, &key("a:1")).await.unwrap();
    assert_eq!((taken.version, taken.earlier), (2, Some(id(1))));
}

async fn every_state_of_a_copy_is_stored_unchanged<S: Ledger>(store: S) {
    let taken = first().taken_over(&id(2), at(2));
    let back = taken.given_back().unwrap();
    let deleted = back.deleted();
    let key = key("a:1");
    for copy in [first(), taken, back, deleted] {
        let written = store.compare_and_set_subject_copy(&key, &copy).await.unwrap();
        assert_eq!(written, CasResult::Committed);
        assert_eq!(stored(&store, &key).await, Some(copy.clone()));
        let again = store.compare_and_set_subject_copy(&key, &copy).await.unwrap();
        assert_eq!(again, CasResult::Conflict, "it is not the next version any more");
    }
}

async fn copies_of_different_conversations_do_not_collide<S: Ledger>(store: S) {
    let long = format!("{}1", "x".repeat(1_000));
    let other = format!("{}2", "x".repeat(1_000));
    let keys = [key("a:1"), key(&long), key(&other), key("a:2")];
    for key in &keys[..3] {
        store.compare_and_set_subject_copy(key, &first()).await.unwrap();
    }
    let copies = store.subject_copies(&keys).await.unwrap();
    let found: Vec<bool> = copies.iter().map(Option::is_some).collect();
    assert_eq!(found, [true, true, true, false]);
    assert_eq!(store.subject_copies(&[]).await.unwrap(), []);
}
