//! Recipients found on rosters: deduplication across pages, and frozen pages.

use herald::audience::{DirectoryMiss, DirectoryNameKind, MissReason};

use super::super::on_every_backend;
use super::*;

on_every_backend! { notifications:
    a_person_on_two_pages_is_a_duplicate_on_the_second,
    a_page_read_again_has_no_duplicates,
    deduplication_is_separate_for_each_notification,
    concurrent_pages_claim_each_recipient_once,
    hostile_recipients_do_not_collide,
    claimed_recipients_are_not_part_of_the_plan,
    the_first_version_of_a_page_is_frozen,
    of_concurrent_versions_of_a_page_one_is_frozen,
}

fn people(names: &[&str]) -> Vec<Recipient> {
    names.iter().map(|name| Recipient::User((*name).into())).collect()
}

async fn repeated<S: Notifications>(
    store: &S,
    number: u8,
    page: (u16, u32),
    found: &[Recipient],
) -> Vec<Recipient> {
    store.claim_recipients(&id(number), page, found).await.unwrap()
}

async fn a_person_on_two_pages_is_a_duplicate_on_the_second<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    let first = people(&["ada", "eve", "joe"]);
    assert_eq!(repeated(&store, 1, (0, 0), &first).await, []);
    let second = people(&["joe", "zoe", "ada"]);
    assert_eq!(
        repeated(&store, 1, (0, 1), &second).await,
        people(&["joe", "ada"]),
        "in the order they were found"
    );
    // In another part too; and zoe was found on that second page.
    assert_eq!(
        repeated(&store, 1, (1, 0), &people(&["zoe", "eve", "max"])).await,
        people(&["zoe", "eve"])
    );
    assert_eq!(repeated(&store, 1, (1, 1), &[]).await, []);
    // A name that leads to nobody is one recipient, whatever the reason is.
    let missed = |reason| {
        let (kind, name) = (DirectoryNameKind::Mail, "x@library.example".to_owned());
        vec![Recipient::Missed(DirectoryMiss { kind, name, reason })]
    };
    assert_eq!(
        repeated(&store, 1, (1, 2), &missed(MissReason::NoSuchPerson)).await,
        []
    );
    let forbidden = missed(MissReason::Forbidden);
    assert_eq!(repeated(&store, 1, (1, 3), &forbidden).await, forbidden);
}

async fn a_page_read_again_has_no_duplicates<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    let found = people(&["ada", "eve", "ada"]);
    for _ in 0..3 {
        assert_eq!(repeated(&store, 1, (0, 7), &found).await, []);
    }
    // The second page is read again after the first.
    for _ in 0..2 {
        assert_eq!(
            repeated(&store, 1, (0, 8), &people(&["ada", "joe"])).await,
            people(&["ada"])
        );
    }
}

async fn deduplication_is_separate_for_each_notification<S: Notifications>(store: S) {
    for number in [1, 2] {
        store.accept(&acceptance(number)).await.unwrap();
        let found = people(&["ada"]);
        assert_eq!(repeated(&store, number, (0, u32::from(number)), &found).await, []);
    }
}

async fn concurrent_pages_claim_each_recipient_once<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    let found = people(&["ada", "eve", "joe"]);
    let pages = join_all((0..10).map(|page| repeated(&store, 1, (0, page), &found))).await;
    for person in &found {
        let without = pages.iter().filter(|repeated| !repeated.contains(person));
        assert_eq!(without.count(), 1, "{person:?}");
    }
}

async fn hostile_recipients_do_not_collide<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    let names = (0..200).map(|number| Recipient::Account(format!("{number}#|%\"\u{1F980}").as_str().into()));
    let longest = (0..4).map(|number| recipient(&format!("{}{number}", "ü".repeat(3000))));
    let kinds = [
        Recipient::User("u".into()),
        Recipient::Account("u".into()),
        Recipient::UnknownConversation("u".into()),
    ];
    let found: Vec<Recipient> = names.chain(longest).chain(kinds).collect();
    for (number, recipient) in (0..).zip(&found) {
        let alone = std::slice::from_ref(recipient);
        assert_eq!(repeated(&store, 1, (0, number), alone).await, [], "{recipient:?}");
    }
    assert_eq!(repeated(&store, 1, (1, 0), &found).await, found);
}

async fn claimed_recipients_are_not_part_of_the_plan<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    repeated(&store, 1, (0, 0), &people(&["ada"])).await;
    assert_eq!(store.latest_page(&id(1), 0).await.unwrap(), None);
    assert_eq!(find(&store, 1).await, acceptance(1).notification);
    assert!(store.roll_back(&id(1)).await.unwrap());
}

fn read(names: &[&str], next: Option<&str>) -> Page {
    let found = people(names).into_iter();
    let found = found.map(|recipient| (None::<Bucket>, recipient));
    Page::group(found, next.map(str::to_owned))
}

async fn the_first_version_of_a_page_is_frozen<S: Notifications>(store: S) {
    for number in [1, 2] {
        store.accept(&acceptance(number)).await.unwrap();
    }
    let first = read(&["ada", "eve"], Some("next"));
    for other in [first.clone(), read(&["eve", "joe"], None), Page::default()] {
        assert_eq!(store.freeze_page(&id(1), (0, 3), &other).await.unwrap(), first);
    }
    // Each page, part and notification has its own recipients, and none of them is planned.
    for (number, page) in [(1, (0, 4)), (1, (1, 3)), (2, (0, 3))] {
        let other = read(&["zoe"], None);
        assert_eq!(store.freeze_page(&id(number), page, &other).await.unwrap(), other);
    }
    assert_eq!(store.latest_page(&id(1), 0).await.unwrap(), None);
    assert_eq!(find(&store, 1).await, acceptance(1).notification);
}

async fn of_concurrent_versions_of_a_page_one_is_frozen<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    let drafts: Vec<Page> = (0..10).map(|number| read(&[&number.to_string()], None)).collect();
    let id = id(1);
    let standing = join_all(drafts.iter().map(|draft| store.freeze_page(&id, (0, 0), draft))).await;
    let first = standing[0].as_ref().unwrap();
    assert!(drafts.contains(first));
    assert!(
        standing
            .iter()
            .all(|standing| standing.as_ref().unwrap() == first)
    );
}
