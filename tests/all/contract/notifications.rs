//! The promises of `store::Notifications`.

use botframework::activity::Activity;
use futures_util::future::{join, join_all};
use herald::audience::{Audience, Recipient, Selector};
use herald::conversation::{ConversationKey, ID_BYTES_MAX};
use herald::delivery::{OnUnknown, Outcome, Tally};
use herald::id::NotificationId;
use herald::notification::{ChunkId, Notification, PAGE_SIZE, Page, State};
use herald::store::{Acceptance, Accepted, Idempotency, Notifications};
use serde_json::json;

use super::{at, on_every_backend};

on_every_backend! { notifications:
    what_was_accepted_is_found_whole,
    an_audience_of_twenty_thousand_ids_survives,
    what_was_not_accepted_is_not_found,
    accepting_again_leaves_what_stands,
    a_request_repeated_under_its_key_is_the_same_notification,
    of_twenty_requests_under_one_key_one_is_new,
    another_request_under_the_same_key_is_a_conflict_and_nothing_of_it_is_stored,
    a_key_may_be_used_anew_when_its_time_is_over,
    withdrawing_takes_back_everything_and_the_key,
    what_is_planned_cannot_be_withdrawn,
    a_page_is_planned_once_and_counted_once,
    the_latest_page_is_that_of_its_own_part,
    a_page_of_the_longest_ids_fits,
    nothing_is_planned_of_what_was_withdrawn,
    a_chunk_is_closed_once_and_counted_once,
    the_counts_add_up_while_pages_and_chunks_race,
    hostile_recipients_survive,
}

fn id(number: u8) -> NotificationId {
    NotificationId::fresh(at(0), [number; 16])
}

fn notification(number: u8) -> Notification {
    Notification {
        id: id(number),
        accepted_at: at(0),
        caller: "iam:invented".into(),
        category: None,
        on_unknown: OnUnknown::Retry,
        expires_at: at(3_600),
        segments: 1,
        parts: 1,
        parts_planned: 0,
        audience: 0,
        chunks: 0,
        chunks_closed: 0,
        tally: Tally::default(),
    }
}

fn acceptance(number: u8) -> Acceptance {
    Acceptance {
        notification: notification(number),
        audience: Audience(vec![Selector::Everyone]),
        message: Activity::message("hello"),
        idempotency: None,
    }
}

fn under_key(number: u8, body: &str) -> Acceptance {
    let idempotency = Idempotency {
        key: "digest-of-key".into(),
        body: body.into(),
        until: at(86_400),
    };
    Acceptance {
        idempotency: Some(idempotency),
        ..acceptance(number)
    }
}

fn recipient(name: &str) -> Recipient {
    let (conversation, channel, bot) = (name.into(), "msteams".into(), "28:bot".into());
    Recipient::Conversation(ConversationKey {
        conversation,
        channel,
        bot,
    })
}

/// A page with so many chunks of two recipients each.
fn page(chunks: usize, next: Option<&str>) -> Page {
    let chunk = |index| {
        vec![
            recipient(&format!("a:{index}")),
            Recipient::User(format!("user-{index}").as_str().into()),
        ]
    };
    Page {
        chunks: (0..chunks).map(chunk).collect(),
        next: next.map(str::to_owned),
    }
}

async fn find<S: Notifications>(store: &S, number: u8) -> Notification {
    store.find(&id(number)).await.unwrap().unwrap()
}

async fn what_was_accepted_is_found_whole<S: Notifications>(store: S) {
    let message = json!({
        "type": "message", "text": "Grüße \u{1F980}", "importance": "high", "x-novel": [1.10, null, {"deep": {}}],
        "attachments": [{"contentType": "application/vnd.microsoft.card.hero", "content": {"title": "T"}}]});
    let acceptance = Acceptance {
        notification: Notification {
            caller: "iam:invented".into(),
            category: Some("news|#%".into()),
            on_unknown: OnUnknown::GiveUp,
            expires_at: at(7_200),
            segments: 4,
            parts: 9,
            ..notification(1)
        },
        audience: Audience(vec![
            Selector::Tenant("t".into()),
            Selector::Users {
                ids: vec!["u".into()],
                tenant: Some("t".into()),
            },
            Selector::Users {
                ids: vec!["u".into()],
                tenant: None,
            },
            Selector::Accounts(vec!["29:a".into()]),
            Selector::Conversations(vec!["19:c;messageid=5".into()]),
            Selector::Everyone,
        ]),
        message: serde_json::from_value(message.clone()).unwrap(),
        idempotency: None,
    };
    assert_eq!(store.accept(&acceptance).await.unwrap(), Accepted::New);
    assert_eq!(find(&store, 1).await, acceptance.notification);
    assert_eq!(store.audience(&id(1)).await.unwrap(), Some(acceptance.audience));
    let kept = store.message(&id(1)).await.unwrap().unwrap();
    assert_eq!(serde_json::to_value(kept).unwrap(), message);
}

async fn an_audience_of_twenty_thousand_ids_survives<S: Notifications>(store: S) {
    let ids = (0..20_000)
        .map(|number| format!("{number:08}-ä{}", "x".repeat(40)).into())
        .collect();
    let audience = Audience(vec![Selector::Accounts(ids)]);
    assert!(serde_json::to_vec(&audience).unwrap().len() > 1024 * 1024);
    let acceptance = Acceptance {
        audience,
        ..acceptance(1)
    };
    assert_eq!(store.accept(&acceptance).await.unwrap(), Accepted::New);
    assert_eq!(store.audience(&id(1)).await.unwrap(), Some(acceptance.audience));
    assert!(store.message(&id(1)).await.unwrap().is_some());
    assert!(store.withdraw(&id(1)).await.unwrap());
    assert_eq!(store.audience(&id(1)).await.unwrap(), None);
}

async fn what_was_not_accepted_is_not_found<S: Notifications>(store: S) {
    assert_eq!(store.find(&id(1)).await.unwrap(), None);
    assert_eq!(store.audience(&id(1)).await.unwrap(), None);
    assert!(store.message(&id(1)).await.unwrap().is_none());
    assert_eq!(store.latest_page(&id(1), 0).await.unwrap(), None);
    assert!(store.withdraw(&id(1)).await.unwrap());
}

async fn accepting_again_leaves_what_stands<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    store.plan(&id(1), 0, 0, &page(1, Some("next"))).await.unwrap();
    assert_eq!(store.accept(&acceptance(1)).await.unwrap(), Accepted::New);
    assert_eq!(find(&store, 1).await.audience, 2);
}

async fn a_request_repeated_under_its_key_is_the_same_notification<S: Notifications>(store: S) {
    assert_eq!(store.accept(&under_key(1, "body")).await.unwrap(), Accepted::New);
    assert_eq!(
        store.accept(&under_key(1, "body")).await.unwrap(),
        Accepted::Repeated(id(1))
    );
    assert_eq!(
        store.accept(&under_key(2, "body")).await.unwrap(),
        Accepted::Repeated(id(1))
    );
    assert_eq!(store.find(&id(2)).await.unwrap(), None);
    assert_eq!(store.audience(&id(2)).await.unwrap(), None);
}

async fn of_twenty_requests_under_one_key_one_is_new<S: Notifications>(store: S) {
    let requests: Vec<_> = (0..20).map(|number| under_key(number, "body")).collect();
    let accepted = join_all(requests.iter().map(|request| store.accept(request))).await;
    let mut found = Vec::new();
    for number in 0..20 {
        found.extend(store.find(&id(number)).await.unwrap());
    }
    let [only] = found.as_slice() else {
        panic!("one is stored, not {}", found.len())
    };
    let accepted: Vec<_> = accepted.into_iter().map(Result::unwrap).collect();
    assert_eq!(accepted.iter().filter(|it| **it == Accepted::New).count(), 1);
    assert_eq!(
        accepted
            .iter()
            .filter(|it| **it == Accepted::Repeated(only.id.clone()))
            .count(),
        19
    );
}

async fn another_request_under_the_same_key_is_a_conflict_and_nothing_of_it_is_stored<S: Notifications>(
    store: S,
) {
    store.accept(&under_key(1, "body")).await.unwrap();
    assert_eq!(
        store.accept(&under_key(2, "other")).await.unwrap(),
        Accepted::Conflict
    );
    assert_eq!(store.find(&id(2)).await.unwrap(), None);
    assert_eq!(store.audience(&id(2)).await.unwrap(), None);
    assert!(store.message(&id(2)).await.unwrap().is_none());
}

async fn a_key_may_be_used_anew_when_its_time_is_over<S: Notifications>(store: S) {
    let later = |number, second, body| {
        let mut acceptance = under_key(number, body);
        acceptance.notification.accepted_at = at(second);
        acceptance
    };
    store.accept(&under_key(1, "body")).await.unwrap();
    assert_eq!(
        store.accept(&later(2, 86_399, "other")).await.unwrap(),
        Accepted::Conflict
    );
    assert_eq!(
        store.accept(&later(3, 86_400, "other")).await.unwrap(),
        Accepted::New
    );
    assert!(store.find(&id(1)).await.unwrap().is_some());
}

async fn withdrawing_takes_back_everything_and_the_key<S: Notifications>(store: S) {
    store.accept(&under_key(1, "body")).await.unwrap();
    assert!(store.withdraw(&id(1)).await.unwrap());
    assert_eq!(store.find(&id(1)).await.unwrap(), None);
    assert_eq!(store.audience(&id(1)).await.unwrap(), None);
    assert!(store.message(&id(1)).await.unwrap().is_none());
    assert!(store.withdraw(&id(1)).await.unwrap());
    assert_eq!(store.accept(&under_key(2, "other")).await.unwrap(), Accepted::New);
}

async fn what_is_planned_cannot_be_withdrawn<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    // A page nobody is on: the plan has begun all the same.
    store.plan(&id(1), 0, 0, &page(0, Some("next"))).await.unwrap();
    assert!(!store.withdraw(&id(1)).await.unwrap());
    assert!(store.find(&id(1)).await.unwrap().is_some());
    assert!(store.audience(&id(1)).await.unwrap().is_some());
}

async fn a_page_is_planned_once_and_counted_once<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    let (first, last) = (page(3, Some("next")), page(1, None));
    assert!(store.plan(&id(1), 0, 0, &first).await.unwrap());
    assert!(
        !store.plan(&id(1), 0, 0, &last).await.unwrap(),
        "what stands is never changed"
    );
    assert_eq!(store.latest_page(&id(1), 0).await.unwrap(), Some((0, first)));
    let head = find(&store, 1).await;
    assert_eq!(
        (head.audience, head.chunks, head.parts_planned, head.state()),
        (6, 3, 0, State::Planning)
    );

    let notification = id(1);
    let raced = join_all((0..20).map(|_| store.plan(&notification, 0, 1, &last))).await;
    assert_eq!(
        raced.iter().filter(|planned| matches!(planned, Ok(true))).count(),
        1
    );
    assert_eq!(
        raced
            .iter()
            .filter(|planned| matches!(planned, Ok(false)))
            .count(),
        19
    );
    assert_eq!(store.latest_page(&id(1), 0).await.unwrap(), Some((1, last)));
    let head = find(&store, 1).await;
    assert_eq!(
        (head.audience, head.chunks, head.parts_planned, head.state()),
        (8, 4, 1, State::Sending)
    );
}

async fn the_latest_page_is_that_of_its_own_part<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    store.accept(&acceptance(2)).await.unwrap();
    for number in [0, 9, 10, 11, 100] {
        store
            .plan(&id(1), 1, number, &page(1, Some(&number.to_string())))
            .await
            .unwrap();
    }
    store.plan(&id(1), 10, 7, &page(2, None)).await.unwrap();
    store.plan(&id(2), 1, 500, &page(2, None)).await.unwrap();
    store
        .close(
            &id(1),
            ChunkId {
                part: 1,
                page: 100,
                index: 0,
            },
            &Tally::default(),
        )
        .await
        .unwrap();
    assert_eq!(
        store.latest_page(&id(1), 1).await.unwrap(),
        Some((100, page(1, Some("100"))))
    );
    assert_eq!(
        store.latest_page(&id(1), 10).await.unwrap(),
        Some((7, page(2, None)))
    );
    assert_eq!(store.latest_page(&id(1), 0).await.unwrap(), None);
}

async fn a_page_of_the_longest_ids_fits<S: Notifications>(store: S) {
    let longest = |number| {
        Recipient::Conversation(ConversationKey {
            // Each byte takes two in the page's JSON.
            conversation: format!("{number:04}{}", "\"".repeat(ID_BYTES_MAX - 4)).into(),
            channel: "msteams".into(),
            bot: "\"".repeat(ID_BYTES_MAX - "msteams|".len()).into(),
        })
    };
    let page = Page {
        chunks: vec![(0..PAGE_SIZE).map(longest).collect()],
        next: Some("n".repeat(4096)),
    };
    store.accept(&acceptance(1)).await.unwrap();
    assert!(store.plan(&id(1), 0, 0, &page).await.unwrap());
    assert_eq!(store.latest_page(&id(1), 0).await.unwrap(), Some((0, page)));
}

async fn nothing_is_planned_of_what_was_withdrawn<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    assert!(store.withdraw(&id(1)).await.unwrap());
    assert!(!store.plan(&id(1), 0, 0, &page(1, None)).await.unwrap());
    assert_eq!(store.latest_page(&id(1), 0).await.unwrap(), None);
    store
        .close(
            &id(1),
            ChunkId {
                part: 0,
                page: 0,
                index: 0,
            },
            &Tally::default(),
        )
        .await
        .unwrap();
    assert_eq!(store.find(&id(1)).await.unwrap(), None);
}

async fn a_chunk_is_closed_once_and_counted_once<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    store.plan(&id(1), 0, 0, &page(2, None)).await.unwrap();
    let tally = Tally {
        delivered: 1,
        gone: 1,
        ..Tally::default()
    };
    let chunk = ChunkId {
        part: 0,
        page: 0,
        index: 0,
    };
    for _ in 0..2 {
        store.close(&id(1), chunk, &tally).await.unwrap();
        let head = find(&store, 1).await;
        assert_eq!(
            (head.chunks_closed, head.tally, head.open(), head.state()),
            (1, tally, 2, State::Sending)
        );
    }
    // Another tally for the same chunk: what stands is what counts.
    let other = Tally {
        skipped: 2,
        ..Tally::default()
    };
    store.close(&id(1), chunk, &other).await.unwrap();
    assert_eq!(find(&store, 1).await.tally, tally);
    store
        .close(&id(1), ChunkId { index: 1, ..chunk }, &other)
        .await
        .unwrap();
    let head = find(&store, 1).await;
    assert_eq!(
        (head.chunks_closed, head.tally.total(), head.open(), head.state()),
        (2, 4, 0, State::Completed)
    );
}

async fn the_counts_add_up_while_pages_and_chunks_race<S: Notifications>(store: S) {
    const PARTS: u16 = 4;
    const PAGES: u32 = 5;
    let mut start = acceptance(1);
    start.notification.parts = PARTS;
    store.accept(&start).await.unwrap();
    let one = |outcome| {
        let mut tally = Tally::default();
        tally.count(&Outcome::Delivered { activity: None });
        tally.count(&outcome);
        tally
    };
    let (expired, unknown) = (one(Outcome::Expired), one(Outcome::Unknown));
    let work = join_all((0..PARTS).map(|part| {
        let (store, id, expired, unknown) = (&store, &start.notification.id, &expired, &unknown);
        async move {
            for number in 0..PAGES {
                let next = (number + 1 < PAGES).then_some("next");
                assert!(store.plan(id, part, number, &page(2, next)).await.unwrap());
                let chunk = ChunkId {
                    part,
                    page: number,
                    index: 0,
                };
                // Each chunk is closed by three workers at once.
                join_all((0..3).map(|_| store.close(id, chunk, expired))).await;
                store
                    .close(id, ChunkId { index: 1, ..chunk }, unknown)
                    .await
                    .unwrap();
            }
        }
    }));
    let watch = async {
        for _ in 0..50 {
            let head = find(&store, 1).await;
            assert!(head.tally.total() <= head.audience && head.chunks_closed <= head.chunks);
            assert_eq!(head.tally.total(), 2 * head.chunks_closed, "a chunk counts whole");
            assert_eq!(head.audience, 2 * head.chunks, "a page counts whole");
            tokio::task::yield_now().await;
        }
    };
    join(work, watch).await;
    let chunks = u64::from(PARTS) * u64::from(PAGES) * 2;
    let head = find(&store, 1).await;
    assert_eq!(
        (head.audience, head.chunks, head.chunks_closed),
        (2 * chunks, chunks, chunks)
    );
    assert_eq!(
        (head.parts_planned, head.open(), head.state()),
        (PARTS, 0, State::Completed)
    );
    let expected = Tally {
        delivered: chunks,
        expired: chunks / 2,
        unknown: chunks / 2,
        ..Tally::default()
    };
    assert_eq!(head.tally, expected);
}

async fn hostile_recipients_survive<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    let hostile = ["a|b", "%7C%25", "#", "\"\\\u{0000}\n", "日本語\u{1F980}"];
    let recipients = hostile.iter().flat_map(|id| {
        [
            recipient(id),
            Recipient::User((*id).into()),
            Recipient::UnknownConversation((*id).into()),
        ]
    });
    let page = Page {
        chunks: vec![recipients.collect()],
        next: Some("|#%\"".into()),
    };
    store.plan(&id(1), 0, 0, &page).await.unwrap();
    assert_eq!(store.latest_page(&id(1), 0).await.unwrap(), Some((0, page)));
}
