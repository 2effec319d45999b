use jiff::{SignedDuration, Timestamp};

use super::{COPY_TTL, SubjectCopy, SubjectCopyKey, SubjectStep, step};
use crate::conversation::ConversationKey;
use crate::delivery::{EarlierCopy, SentMessage};
use crate::id::NotificationId;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn id(second: i64) -> NotificationId {
    NotificationId::fresh(at(second), [7; 16])
}

fn sent(activity: &str) -> SentMessage {
    SentMessage {
        activity: Some(activity.into()),
        revision: 0,
        attempted_revision: 0,
        supersedes: None,
    }
}

/// The copy of the notification of this second.
fn copy_of(second: i64) -> SubjectCopy {
    SubjectCopy::sent(None, &id(second), Some("m".into()), at(second)).unwrap()
}

fn edit(earlier: Option<i64>, is_taken_over: bool) -> SubjectStep {
    SubjectStep::Edit(EarlierCopy {
        activity: "m".into(),
        notification: earlier.map(id),
        is_taken_over,
    })
}

#[test]
fn a_later_notification_edits_the_copy_and_an_older_one_leaves_it() {
    let red = copy_of(1);
    assert_eq!(step(Some(&red), &id(2), None, at(5)), edit(Some(1), false));
    let green = red.taken_over(&id(2), at(5));
    assert_eq!(step(Some(&green), &id(1), None, at(6)), SubjectStep::Superseded);
    assert_eq!(
        step(Some(&green), &id(1), Some(&sent("m")), at(6)),
        SubjectStep::Superseded,
        "an edit or a retraction of the older one"
    );
    assert_eq!(
        step(Some(&green), &id(2), Some(&sent("m")), at(6)),
        SubjectStep::Proceed,
        "an edit of its own"
    );
    // A worker died after it took the copy over.
    assert_eq!(step(Some(&green), &id(2), None, at(6)), edit(Some(1), true));
}

#[test]
fn where_there_is_no_copy_the_message_is_sent() {
    assert_eq!(step(None, &id(2), None, at(5)), SubjectStep::Proceed);
    let without_id = SubjectCopy::sent(None, &id(1), None, at(1)).unwrap();
    assert_eq!(step(Some(&without_id), &id(2), None, at(5)), SubjectStep::Proceed);
    let deleted = copy_of(1).deleted();
    assert_eq!(step(Some(&deleted), &id(2), None, at(5)), SubjectStep::Proceed);
    assert_eq!(
        step(Some(&deleted), &id(0), None, at(5)),
        SubjectStep::Superseded,
        "the newer one was there"
    );
    let ends = at(1).checked_add(COPY_TTL).unwrap();
    assert_eq!(step(Some(&copy_of(1)), &id(2), None, ends), SubjectStep::Proceed);
    let before = ends.checked_sub(SignedDuration::from_secs(1)).unwrap();
    assert_eq!(
        step(Some(&copy_of(1)), &id(2), None, before),
        edit(Some(1), false)
    );
}

#[test]
fn a_copy_that_was_not_edited_belongs_to_the_notification_before() {
    let red = copy_of(1);
    let taken = red.taken_over(&id(2), at(5));
    let back = taken.given_back().unwrap();
    assert_eq!(
        (back.version, &back.notification, &back.earlier),
        (3, &id(1), &None)
    );
    assert_eq!(back.activity, red.activity);
    assert_eq!(red.given_back(), None);
    let gone = taken.deleted_before_edit();
    assert_eq!((gone.version, gone.activity, gone.notification), (3, None, id(1)));
    assert_eq!(red.deleted_before_edit(), red.deleted());
}

#[test]
fn a_message_that_is_recorded_late_replaces_no_newer_one() {
    let green = copy_of(2);
    assert_eq!(
        SubjectCopy::sent(Some(&green), &id(1), Some("late".into()), at(9)),
        None
    );
    let yellow = SubjectCopy::sent(Some(&green), &id(3), Some("new".into()), at(9)).unwrap();
    assert_eq!((yellow.version, yellow.earlier), (2, None));
}

#[test]
fn subjects_of_different_callers_are_different_ones() {
    let conversation = |id: &str| -> ConversationKey { format!("msteams|28:bot|{id}").parse().unwrap() };
    let key = |caller: &str, subject: &str, to: &str| SubjectCopyKey::new(caller, subject, &conversation(to));
    let own = key("iam:ada", "build-7", "a:1");
    assert_ne!(own, key("iam:eve", "build-7", "a:1"));
    assert_ne!(own, key("iam:ada", "build-8", "a:1"));
    assert_ne!(own, key("iam:ada", "build-7", "a:2"));
    let of_session = |session: &str| {
        let caller = format!("arn:aws:sts::000000000000:assumed-role/ci/{session}");
        key(&caller, "build-7", "a:1")
    };
    assert_eq!(of_session("monday"), of_session("tuesday"));
}

/// Lets a notification do in a conversation what it may.
fn visit(stored: Option<SubjectCopy>, second: i64) -> Option<SubjectCopy> {
    let (notification, now) = (id(second), at(10));
    let newest = stored.as_ref().map(|copy| copy.notification.clone());
    match step(stored.as_ref(), &notification, None, now) {
        SubjectStep::Superseded => {
            assert!(newest > Some(notification));
            stored
        }
        SubjectStep::Edit(copy) if copy.is_taken_over => {
            assert_eq!(newest, Some(notification));
            stored
        }
        SubjectStep::Edit(_) => {
            assert!(newest < Some(notification.clone()));
            stored.map(|copy| copy.taken_over(&notification, now))
        }
        SubjectStep::Proceed => SubjectCopy::sent(stored.as_ref(), &notification, Some("m".into()), now),
    }
}

#[test]
fn in_every_order_the_newest_notification_so_far_has_the_copy() {
    // Every sequence of five visits of four notifications.
    for sequence in 0..4_i64.pow(5) {
        let visits: Vec<i64> = (0..5).map(|place| sequence / 4_i64.pow(place) % 4).collect();
        let mut stored = None;
        for (number, second) in visits.iter().enumerate() {
            stored = visit(stored, *second);
            let newest = visits[..=number].iter().max().map(|newest| id(*newest));
            let owner = stored.as_ref().map(|copy| copy.notification.clone());
            assert_eq!(owner, newest, "{visits:?}");
        }
    }
}
