//! The contract of `store::Notifications`: the list of notifications.

use super::*;
use herald::notification::NotificationFilter;

on_every_backend! { notifications:
    notifications_are_listed_newest_first_page_by_page,
    a_list_is_filtered_by_caller_category_and_state,
    a_notification_that_is_rolled_back_or_unknown_is_not_listed,
}

const DAY: i64 = 86_400;

/// Stores a notification that was accepted at this second.
async fn accepted<S: Notifications>(
    store: &S,
    number: u8,
    second: i64,
    change: impl FnOnce(&mut Notification),
) -> NotificationId {
    let mut acceptance = acceptance(number);
    let id = NotificationId::fresh(at(second), [number; 16]);
    acceptance.notification.id = id.clone();
    acceptance.notification.accepted_at = at(second);
    change(&mut acceptance.notification);
    assert_eq!(store.accept(&acceptance).await.unwrap(), Accept::Created);
    id
}

/// The ids of the whole list, read in pages of this size.
async fn listed<S: Notifications>(
    store: &S,
    filter: &NotificationFilter,
    second: i64,
    limit: usize,
) -> Vec<NotificationId> {
    let (mut ids, mut before) = (Vec::new(), None);
    loop {
        let page = store
            .list_newest(filter, before.as_ref(), at(second), limit)
            .await
            .unwrap();
        assert!(page.items.len() <= limit);
        ids.extend(page.items.into_iter().map(|head| head.id));
        let Some(cursor) = page.cursor else { return ids };
        let next = Some(cursor.parse().unwrap());
        assert_ne!(before, next, "the list makes progress");
        before = next;
    }
}

async fn notifications_are_listed_newest_first_page_by_page<S: Notifications>(store: S) {
    // In three months, two in each millisecond, and in all partitions of a month.
    let mut expected = Vec::new();
    for number in 0..40 {
        let second = i64::from(number / 2) * 4 * DAY;
        expected.push(accepted(&store, number, second, |_| {}).await);
    }
    expected.sort();
    expected.reverse();
    let all = NotificationFilter::default();
    for limit in [1, 7, 40, 500] {
        assert_eq!(listed(&store, &all, 80 * DAY, limit).await, expected, "{limit}");
    }
    let page = store.list_newest(&all, None, at(80 * DAY), 1).await.unwrap();
    assert_eq!(page.items[0].accepted_at, at(19 * 4 * DAY));
}

async fn a_list_is_filtered_by_caller_category_and_state<S: Notifications>(store: S) {
    let role = |name: &str, session: &str| format!("iam:arn:aws:sts::1:assumed-role/{name}/{session}");
    let mut ids = Vec::new();
    for (number, caller, category) in [
        (1, role("builds", "one"), Some("news")),
        (2, role("builds", "two"), None),
        (3, role("builds-of-others", "one"), Some("news")),
        (
            4,
            "jwt:https://issuer.example app-1".to_owned(),
            Some("newsletter"),
        ),
    ] {
        let change = |notification: &mut Notification| {
            notification.caller = caller;
            notification.category = category.map(str::to_owned);
        };
        ids.push(accepted(&store, number, i64::from(number), change).await);
    }
    store.cancel(&ids[0], at(10)).await.unwrap().unwrap();
    let filter = |caller: Option<&str>, category: Option<&str>, state| NotificationFilter {
        caller: caller.map(str::to_owned),
        category: category.map(str::to_owned),
        state,
    };
    let builds = role("builds", "three");
    for (filter, expected) in [
        (filter(Some(&builds), None, None), vec![1, 0]),
        (
            filter(Some("iam:arn:aws:sts::1:assumed-role/builds"), None, None),
            vec![1, 0],
        ),
        (
            filter(Some("jwt:https://issuer.example app-1"), None, None),
            vec![3],
        ),
        (filter(None, Some("news"), None), vec![2, 0]),
        (filter(Some(&builds), Some("news"), None), vec![0]),
        (filter(None, None, Some(State::Cancelling)), vec![0]),
        (filter(None, None, Some(State::Accepted)), vec![3, 2, 1]),
        (filter(None, Some("news"), Some(State::Accepted)), vec![2]),
        (filter(Some("nobody"), None, None), vec![]),
    ] {
        let expected: Vec<_> = expected
            .into_iter()
            .map(|index: usize| ids[index].clone())
            .collect();
        for limit in [1, 100] {
            assert_eq!(listed(&store, &filter, 20, limit).await, expected, "{filter:?}");
        }
    }
}

async fn a_notification_that_is_rolled_back_or_unknown_is_not_listed<S: Notifications>(store: S) {
    let all = NotificationFilter::default();
    assert_eq!(listed(&store, &all, 0, 10).await, []);
    let id = accepted(&store, 1, 0, |_| {}).await;
    let kept = accepted(&store, 2, 1, |_| {}).await;
    assert!(store.roll_back(&id).await.unwrap());
    assert_eq!(listed(&store, &all, 2, 10).await, [kept]);
}
