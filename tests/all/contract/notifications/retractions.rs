//! Retractions that a request asks for in advance.

use botframework::activity::Activity;
use futures_util::future::{join, join_all};
use herald::notification::{RetractionKind, ScheduledRetraction, StartPolicy};
use herald::store::{Acceptance, Notifications, Revise};
use herald::template::MessageSource;

use super::super::{at, on_every_backend};
use super::{acceptance, find, id, revise, text};

on_every_backend! { notifications:
    a_scheduled_retraction_is_made_once,
    a_scheduled_replacement_is_made_once_and_a_later_edit_stays,
    a_held_notification_is_retracted_instead_of_replaced,
    a_start_and_a_scheduled_retraction_never_contradict_each_other,
    a_roll_back_deletes_the_replacement,
}

fn with_retraction(kind: RetractionKind) -> Acceptance {
    let mut acceptance = acceptance(1);
    acceptance.notification.retraction = Some(ScheduledRetraction {
        at: at(60),
        kind,
        revision: None,
    });
    acceptance.replacement = (kind == RetractionKind::Replace).then(replacement).map(Box::new);
    acceptance
}

fn replacement() -> MessageSource {
    Activity::message("it is over").into()
}

/// Whether this call made the retraction.
async fn retracts<S: Notifications>(store: &S) -> bool {
    let replacement = store.replacement(&id(1)).await.unwrap();
    let made = store
        .retract_as_scheduled(&id(1), replacement.as_ref(), at(60))
        .await
        .unwrap();
    matches!(made, Revise::Revised(_))
}

async fn made_as<S: Notifications>(store: &S) -> Option<u32> {
    find(store, 1).await.retraction.unwrap().revision
}

async fn a_scheduled_retraction_is_made_once<S: Notifications>(store: S) {
    store
        .accept(&with_retraction(RetractionKind::Delete))
        .await
        .unwrap();
    revise(&store, 1, "edited before", 10).await;
    let made = join_all((0..10).map(|_| retracts(&store))).await;
    assert_eq!(made.into_iter().filter(|made| *made).count(), 1);
    let head = find(&store, 1).await;
    assert_eq!(
        (head.revision, head.retracted, head.revised_at),
        (2, true, Some(at(60)))
    );
    assert_eq!(head.retraction.unwrap().revision, Some(2));
    assert_eq!(text(&store, 1, 2).await, None);
}

async fn a_scheduled_replacement_is_made_once_and_a_later_edit_stays<S: Notifications>(store: S) {
    store
        .accept(&with_retraction(RetractionKind::Replace))
        .await
        .unwrap();
    assert!(retracts(&store).await);
    assert_eq!(text(&store, 1, 1).await.as_deref(), Some("it is over"));
    revise(&store, 1, "edited later", 70).await;
    assert!(!retracts(&store).await);
    let head = find(&store, 1).await;
    assert_eq!((head.revision, head.retracted), (2, false));
    assert_eq!(made_as(&store).await, Some(1));
    assert_eq!(text(&store, 1, 2).await.as_deref(), Some("edited later"));
}

async fn a_held_notification_is_retracted_instead_of_replaced<S: Notifications>(store: S) {
    let mut held = with_retraction(RetractionKind::Replace);
    held.notification.start = StartPolicy::AfterCount { at_most: 10 };
    store.accept(&held).await.unwrap();
    assert!(retracts(&store).await);
    assert!(find(&store, 1).await.retracted);
    assert!(!store.start(&id(1), at(61)).await.unwrap());
}

async fn a_start_and_a_scheduled_retraction_never_contradict_each_other<S: Notifications>(store: S) {
    let mut awaiting = with_retraction(RetractionKind::Replace);
    awaiting.notification.start = StartPolicy::AfterCount { at_most: 10 };
    store.accept(&awaiting).await.unwrap();
    let (started, made) = join(store.start(&id(1), at(60)), retracts(&store)).await;
    assert!(made);
    let head = find(&store, 1).await;
    // What was started first is replaced, and nothing that is retracted starts.
    assert_eq!(
        (started.unwrap(), head.released_at.is_some()),
        (!head.retracted, !head.retracted)
    );
    let shown = text(&store, 1, 1).await;
    assert_eq!(shown.is_none(), head.retracted, "{shown:?}");
}

async fn a_roll_back_deletes_the_replacement<S: Notifications>(store: S) {
    store
        .accept(&with_retraction(RetractionKind::Replace))
        .await
        .unwrap();
    assert!(store.roll_back(&id(1)).await.unwrap());
    assert_eq!(store.replacement(&id(1)).await.unwrap(), None);
}
