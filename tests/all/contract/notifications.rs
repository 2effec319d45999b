//! The contract of `store::Notifications`.

use botframework::activity::Activity;
use botframework::lossless::LosslessJson;
use futures_util::future::{join, join_all};
use herald::audience::{Audience, Guests, Recipient, Selector, Target, TeamPart};
use herald::conversation::{ConversationKey, ID_BYTES_MAX, Scope};
use herald::delivery::{Guarantee, Outcome, OutcomeCounts, SentMessage, SkipReason};
use herald::id::NotificationId;
use herald::notification::request::LocalTime;
use herald::notification::way_out::{WayOut, WayOutForm};
use herald::notification::{
    ChunkId, ChunkResult, Content, DeliveryEvent, IfNoConversation, IfUnreachable, MessageRefusal,
    Notification, PAGE_SIZE, Page, PageChunk, Priority, RetractionKind, RevisionCounts, ScheduledRetraction,
    SendMode, StartPolicy, State, UnreachableCounts,
};
use herald::rate_limit::Bucket;
use herald::schedule::Zone;
use herald::store::{Accept, Acceptance, Close, Idempotency, Notifications, Revise};
use herald::template::MessageSource;

use super::{at, on_every_backend};

mod found;
mod lists;
mod plans;
mod retractions;
mod waves;

on_every_backend! { notifications:
    an_accepted_notification_is_read_unchanged,
    an_audience_of_twenty_thousand_ids_is_stored_unchanged,
    an_unknown_notification_is_not_found,
    accepting_again_changes_nothing,
    a_request_repeated_under_its_key_is_the_same_notification,
    of_twenty_requests_with_one_key_one_is_created,
    another_request_with_the_same_key_is_a_conflict_and_is_not_stored,
    an_expired_key_may_be_used_again,
    a_roll_back_deletes_the_notification_and_its_key,
    a_planned_notification_cannot_be_rolled_back,
    a_page_is_planned_once_and_counted_once,
    the_parts_that_matched_something_are_recorded,
    batch_recipients_are_part_of_the_total,
    the_latest_page_belongs_to_its_own_part,
    each_page_is_found_by_its_number,
    a_page_of_the_longest_ids_fits_into_an_item,
    a_rolled_back_notification_is_not_planned,
    a_chunk_is_closed_once_and_counted_once,
    closing_a_chunk_at_a_new_revision_counts_only_its_messages,
    a_chunk_processed_at_another_revision_is_stale,
    a_concurrent_close_and_revision_never_both_count,
    the_closed_chunks_of_a_page_are_listed_with_their_revisions,
    what_ended_of_an_open_chunk_is_counted_once_and_the_rest_when_it_closes,
    an_outcome_that_became_another_one_is_counted_once,
    a_cancellation_is_final_and_keeps_its_first_time,
    a_revision_adds_a_content_and_keeps_the_earlier_ones,
    a_revision_resets_only_the_counts_of_messages,
    a_retraction_stays,
    twenty_concurrent_revisions_have_distinct_numbers,
    a_revised_notification_cannot_be_rolled_back,
    a_notification_awaiting_confirmation_is_started_once,
    a_cancelled_notification_awaiting_confirmation_is_not_started,
    a_retracted_notification_awaiting_confirmation_is_not_started,
    a_notification_is_completed_once,
    of_twenty_concurrent_completions_one_succeeds,
    the_first_refusal_of_the_present_message_is_stored,
    a_dead_letter_is_listed_with_its_last_reason,
    operations_on_an_unknown_notification_do_nothing,
    the_counts_add_up_under_concurrent_pages_and_chunks,
    hostile_recipients_are_stored_unchanged,
}

fn id(number: u8) -> NotificationId {
    NotificationId::fresh(at(0), [number; 16])
}

fn notification(number: u8) -> Notification {
    Notification {
        id: id(number),
        accepted_at: at(0),
        caller: "iam:invented".into(),
        schedule: None,
        category: None,
        guarantee: Guarantee::AtLeastOnce,
        if_no_conversation: IfNoConversation::Skip,
        mandatory: false,
        way_out: None,
        subject: None,
        if_unreachable: IfUnreachable::LeaveOut,
        send_mode: SendMode::Individual,
        priority: Some(Priority::Urgent),
        deliver_at: None,
        local_time: None,
        has_defaults: false,
        has_rows: false,
        expires_at: at(3_600),
        events: Vec::new(),
        retraction: None,
        start: StartPolicy::Immediate,
        message_bytes: 34,
        segments: 1,
        parts: 1,
        parts_planned: 0,
        matched_parts: std::collections::BTreeSet::new(),
        audience: 0,
        batched: 0,
        in_waves: 0,
        newcomers: 0,
        unreachable: UnreachableCounts::default(),
        chunks: 0,
        chunks_closed: 0,
        counts: OutcomeCounts::default(),
        revision: 0,
        revised_at: None,
        retracted: false,
        chunks_current: 0,
        revision_counts: RevisionCounts::default(),
        refused: None,
        released_at: None,
        cancelled_at: None,
        completed_at: None,
        confirms: None,
        confirmed_as: None,
    }
}

fn acceptance(number: u8) -> Acceptance {
    Acceptance {
        notification: notification(number),
        audience: Audience(vec![Target::Everyone.into()]),
        message: Activity::message("hello").into(),
        replacement: None,
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

fn bucket(tenant: &str) -> Bucket {
    let Recipient::Conversation(key) = recipient("a:1") else {
        unreachable!()
    };
    Bucket::of(&key, Some(tenant))
}

/// A page of chunks with two recipients each.
fn page(chunks: usize, next: Option<&str>) -> Page {
    let chunk = |index: usize| PageChunk {
        fields: Vec::new(),
        bucket: (index > 0).then(|| bucket(&index.to_string())),
        send_mode: SendMode::Individual,
        wave: None,
        recipients: vec![
            recipient(&format!("a:{index}")),
            Recipient::User(format!("user-{index}").as_str().into()),
        ],
    };
    Page {
        chunks: (0..chunks).map(chunk).collect(),
        unreachable: UnreachableCounts::default(),
        matched: false,
        next: next.map(str::to_owned),
    }
}

const CHUNK: ChunkId = ChunkId {
    part: 0,
    page: 0,
    index: 0,
};

fn delivered(revision: u32) -> Outcome {
    Outcome::Delivered(SentMessage {
        activity: None,
        revision,
        attempted_revision: revision,
        supersedes: Some(id(9)),
    })
}

/// The result of a chunk with these outcomes, processed at this revision.
fn result(outcomes: &[Outcome], revision: u32) -> ChunkResult {
    let mut result = ChunkResult::default();
    for outcome in outcomes {
        result.count(outcome, revision);
    }
    result
}

async fn revise<S: Notifications>(store: &S, number: u8, text: &str, second: i64) -> Notification {
    let content = Content::Message(Box::new(Activity::message(text).into()));
    match store.revise(&id(number), &content, at(second)).await.unwrap() {
        Revise::Revised(notification) => *notification,
        other => panic!("not revised: {other:?}"),
    }
}

async fn text<S: Notifications>(store: &S, number: u8, revision: u32) -> Option<String> {
    let message = store.message(&id(number), revision).await.unwrap()?;
    message.activity.text
}

async fn find<S: Notifications>(store: &S, number: u8) -> Notification {
    store.find(&id(number)).await.unwrap().unwrap()
}

/// An audience with every kind of selector.
fn of_every_kind() -> Audience {
    Audience(vec![
        Target::Tenant("t".into()).into(),
        Target::Users {
            ids: vec!["u".into()],
            tenant: Some("t".into()),
        }
        .into(),
        Target::Users {
            ids: vec!["u".into()],
            tenant: None,
        }
        .into(),
        Target::Accounts(vec!["29:a".into()]).into(),
        Target::Conversations(vec!["19:c;messageid=5".into()]).into(),
        Target::Team {
            id: "19:team".into(),
            to: TeamPart::Members,
            guests: Guests::Skipped,
        }
        .into(),
        Target::Channel {
            id: "19:c".into(),
            thread: Some("5".into()),
            team: Some("19:team".into()),
        }
        .into(),
        Target::GroupChat("19:g".into()).into(),
        Target::Tag("vip|#%".into()).into(),
        Selector {
            scope: Some(Scope::GroupChat),
            except: vec!["a:1".into()],
            ..Target::Everyone.into()
        },
    ])
}

/// A message with what a careless store would change.
const ODD_MESSAGE: &str = r#"{
        "type": "message", "text": "Grüße 🦀", "importance": "high", "x-novel": [1.10, null, {"deep": {}}],
        "attachments": [{"contentType": "application/vnd.microsoft.card.hero", "content": {"title": "T", "n": 1e2}}]}"#;

/// A message that is a template, with its data.
fn template(number: u8) -> MessageSource {
    let source = serde_json::json!({"template": {"type": "message", "text": "${a}"}, "data": {"a": number}, "texts": {}});
    serde_json::from_value(source).unwrap()
}

/// Notifications that start or are sent in other ways, and whose message is a template.
async fn others_are_read_unchanged<S: Notifications>(store: &S) {
    for (number, start, if_no_conversation) in [
        (2, StartPolicy::DryRun, IfNoConversation::Skip),
        (3, StartPolicy::Immediate, IfNoConversation::Create),
        (4, StartPolicy::Immediate, IfNoConversation::Install),
    ] {
        let mut acceptance = acceptance(number);
        acceptance.notification.start = start;
        acceptance.notification.if_no_conversation = if_no_conversation;
        acceptance.message = template(number);
        store.accept(&acceptance).await.unwrap();
        assert_eq!(find(store, number).await, acceptance.notification);
        assert_eq!(
            store.message(&id(number), 0).await.unwrap(),
            Some(acceptance.message)
        );
    }
}

async fn an_accepted_notification_is_read_unchanged<S: Notifications>(store: S) {
    let message = LosslessJson::from_slice(ODD_MESSAGE.as_bytes()).unwrap();
    let acceptance = Acceptance {
        notification: Notification {
            caller: "iam:invented".into(),
            schedule: Some("mornings".into()),
            category: Some("news|#%".into()),
            guarantee: Guarantee::AtMostOnce,
            if_no_conversation: IfNoConversation::Create,
            mandatory: true,
            way_out: Some(WayOut {
                form: WayOutForm::Button,
                category: Some("news|#%".into()),
            }),
            if_unreachable: IfUnreachable::Report,
            send_mode: SendMode::Batch,
            deliver_at: Some(at(3_600)),
            local_time: Some(LocalTime {
                at: jiff::civil::date(2027, 3, 28).at(9, 0, 0, 0),
                fallback: Zone::named("Europe/Berlin"),
            }),
            has_defaults: true,
            has_rows: true,
            expires_at: at(7_200),
            events: vec![
                DeliveryEvent::Gone,
                DeliveryEvent::Rejected,
                DeliveryEvent::Unknown,
            ],
            retraction: Some(ScheduledRetraction {
                at: at(5_400),
                kind: RetractionKind::Replace,
                revision: Some(3),
            }),
            start: StartPolicy::AfterCount { at_most: 10_000 },
            message_bytes: 262_144,
            segments: 4,
            parts: 9,
            parts_planned: 1,
            matched_parts: [0, 7].into(),
            audience: 2,
            batched: 1,
            unreachable: UnreachableCounts {
                no_conversation: 3,
                removed: 4,
                blocked: 5,
                opted_out: 17,
                directory: 19,
            },
            chunks: 6,
            chunks_closed: 7,
            counts: OutcomeCounts {
                delivered: 8,
                rejected: 9,
                gone: 10,
                unknown: 11,
                skipped: 12,
                expired: 13,
                cancelled: 14,
            },
            revised_at: Some(at(1)),
            retracted: true,
            chunks_current: 15,
            revision_counts: RevisionCounts {
                current: 16,
                uneditable: 17,
                superseding: 18,
            },
            released_at: Some(at(2)),
            cancelled_at: Some(at(3)),
            completed_at: Some(at(4)),
            confirms: None,
            confirmed_as: Some(id(9)),
            ..notification(1)
        },
        audience: of_every_kind(),
        message: Activity::from_lossless(message.clone()).unwrap().into(),
        replacement: Some(Box::new(Activity::from_lossless(message.clone()).unwrap().into())),
        idempotency: None,
    };
    assert_eq!(store.accept(&acceptance).await.unwrap(), Accept::Created);
    assert_eq!(find(&store, 1).await, acceptance.notification);
    assert_eq!(store.audience(&id(1)).await.unwrap(), Some(acceptance.audience));
    others_are_read_unchanged(&store).await;
    let kept = store.message(&id(1), 0).await.unwrap().unwrap();
    assert_eq!(kept.activity.to_lossless().unwrap(), message);
    let kept = store.replacement(&id(1)).await.unwrap().unwrap();
    assert_eq!(kept.activity.to_lossless().unwrap(), message);
    assert_eq!(store.replacement(&id(2)).await.unwrap(), None);
}

async fn an_audience_of_twenty_thousand_ids_is_stored_unchanged<S: Notifications>(store: S) {
    let ids = (0..20_000)
        .map(|number| format!("{number:08}-ä{}", "x".repeat(40)).into())
        .collect();
    let audience = Audience(vec![Target::Accounts(ids).into()]);
    assert!(serde_json::to_vec(&audience).unwrap().len() > 1024 * 1024);
    let acceptance = Acceptance {
        audience,
        ..acceptance(1)
    };
    assert_eq!(store.accept(&acceptance).await.unwrap(), Accept::Created);
    assert_eq!(store.audience(&id(1)).await.unwrap(), Some(acceptance.audience));
    assert!(store.message(&id(1), 0).await.unwrap().is_some());
    assert!(store.roll_back(&id(1)).await.unwrap());
    assert_eq!(store.audience(&id(1)).await.unwrap(), None);
}

async fn an_unknown_notification_is_not_found<S: Notifications>(store: S) {
    assert_eq!(store.find(&id(1)).await.unwrap(), None);
    assert_eq!(store.audience(&id(1)).await.unwrap(), None);
    assert!(store.message(&id(1), 0).await.unwrap().is_none());
    assert_eq!(store.latest_page(&id(1), 0).await.unwrap(), None);
    assert!(store.roll_back(&id(1)).await.unwrap());
}

async fn accepting_again_changes_nothing<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    store
        .put_page(&id(1), 0, 0, &page(1, Some("next")))
        .await
        .unwrap();
    assert_eq!(store.accept(&acceptance(1)).await.unwrap(), Accept::Created);
    assert_eq!(find(&store, 1).await.audience, 2);
}

async fn a_request_repeated_under_its_key_is_the_same_notification<S: Notifications>(store: S) {
    assert_eq!(
        store.accept(&under_key(1, "body")).await.unwrap(),
        Accept::Created
    );
    assert_eq!(
        store.accept(&under_key(1, "body")).await.unwrap(),
        Accept::Duplicate(id(1))
    );
    assert_eq!(
        store.accept(&under_key(2, "body")).await.unwrap(),
        Accept::Duplicate(id(1))
    );
    assert_eq!(store.find(&id(2)).await.unwrap(), None);
    assert_eq!(store.audience(&id(2)).await.unwrap(), None);
}

async fn of_twenty_requests_with_one_key_one_is_created<S: Notifications>(store: S) {
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
    assert_eq!(accepted.iter().filter(|it| **it == Accept::Created).count(), 1);
    assert_eq!(
        accepted
            .iter()
            .filter(|it| **it == Accept::Duplicate(only.id.clone()))
            .count(),
        19
    );
}

async fn another_request_with_the_same_key_is_a_conflict_and_is_not_stored<S: Notifications>(store: S) {
    store.accept(&under_key(1, "body")).await.unwrap();
    assert_eq!(
        store.accept(&under_key(2, "other")).await.unwrap(),
        Accept::Conflict
    );
    assert_eq!(store.find(&id(2)).await.unwrap(), None);
    assert_eq!(store.audience(&id(2)).await.unwrap(), None);
    assert!(store.message(&id(2), 0).await.unwrap().is_none());
}

async fn an_expired_key_may_be_used_again<S: Notifications>(store: S) {
    let later = |number, second, body| {
        let mut acceptance = under_key(number, body);
        acceptance.notification.accepted_at = at(second);
        acceptance
    };
    store.accept(&under_key(1, "body")).await.unwrap();
    assert_eq!(
        store.accept(&later(2, 86_399, "other")).await.unwrap(),
        Accept::Conflict
    );
    assert_eq!(
        store.accept(&later(3, 86_400, "other")).await.unwrap(),
        Accept::Created
    );
    assert!(store.find(&id(1)).await.unwrap().is_some());
}

async fn a_roll_back_deletes_the_notification_and_its_key<S: Notifications>(store: S) {
    store.accept(&under_key(1, "body")).await.unwrap();
    assert!(store.roll_back(&id(1)).await.unwrap());
    assert_eq!(store.find(&id(1)).await.unwrap(), None);
    assert_eq!(store.audience(&id(1)).await.unwrap(), None);
    assert!(store.message(&id(1), 0).await.unwrap().is_none());
    assert!(store.roll_back(&id(1)).await.unwrap());
    assert_eq!(
        store.accept(&under_key(2, "other")).await.unwrap(),
        Accept::Created
    );
}

async fn a_planned_notification_cannot_be_rolled_back<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    // An empty page: planning has begun all the same.
    store
        .put_page(&id(1), 0, 0, &page(0, Some("next")))
        .await
        .unwrap();
    assert!(!store.roll_back(&id(1)).await.unwrap());
    assert!(store.find(&id(1)).await.unwrap().is_some());
    assert!(store.audience(&id(1)).await.unwrap().is_some());
}

async fn a_page_is_planned_once_and_counted_once<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    let (mut first, last) = (page(3, Some("next")), page(1, None));
    first.unreachable = UnreachableCounts {
        no_conversation: 1,
        removed: 2,
        blocked: 3,
        opted_out: 4,
        directory: 5,
    };
    let unreachable = first.unreachable;
    assert!(store.put_page(&id(1), 0, 0, &first).await.unwrap());
    assert!(
        !store.put_page(&id(1), 0, 0, &last).await.unwrap(),
        "what stands is never changed"
    );
    assert_eq!(store.latest_page(&id(1), 0).await.unwrap(), Some((0, first)));
    let head = find(&store, 1).await;
    assert_eq!(
        (head.audience, head.chunks, head.parts_planned, head.state()),
        (6, 3, 0, State::Planning)
    );
    assert_eq!(head.unreachable, unreachable);

    let notification = id(1);
    let raced = join_all((0..20).map(|_| store.put_page(&notification, 0, 1, &last))).await;
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
    assert_eq!(head.unreachable, unreachable);
}

async fn batch_recipients_are_part_of_the_total<S: Notifications>(store: S) {
    let mut acceptance = acceptance(1);
    acceptance.notification.send_mode = SendMode::Batch;
    store.accept(&acceptance).await.unwrap();
    let mut by_both = page(3, Some("next"));
    by_both.chunks[1].send_mode = SendMode::Batch;
    assert!(store.put_page(&id(1), 0, 0, &by_both).await.unwrap());
    assert!(store.put_page(&id(1), 0, 1, &page(1, None)).await.unwrap());
    let head = find(&store, 1).await;
    assert_eq!(
        (head.send_mode, head.audience, head.batched),
        (SendMode::Batch, 8, 2)
    );
    let standing = store.page(&id(1), 0, 0).await.unwrap();
    assert_eq!(standing, Some(by_both));
}

async fn the_parts_that_matched_something_are_recorded<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    let matched = Page {
        matched: true,
        ..Page::default()
    };
    for (part, page) in [
        (0, Page::default()),
        (5, matched.clone()),
        (2, matched.clone()),
        (5, page(1, None)),
    ] {
        store.put_page(&id(1), part, 0, &page).await.unwrap();
        store.put_page(&id(1), part, 1, &page).await.unwrap();
    }
    assert_eq!(find(&store, 1).await.matched_parts, [2, 5].into());
    assert_eq!(store.page(&id(1), 2, 0).await.unwrap(), Some(matched));
}

async fn the_latest_page_belongs_to_its_own_part<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    store.accept(&acceptance(2)).await.unwrap();
    for number in [0, 9, 10, 11, 100] {
        store
            .put_page(&id(1), 1, number, &page(1, Some(&number.to_string())))
            .await
            .unwrap();
    }
    store.put_page(&id(1), 10, 7, &page(2, None)).await.unwrap();
    store.put_page(&id(2), 1, 500, &page(2, None)).await.unwrap();
    store
        .close_chunk(
            &id(1),
            ChunkId {
                part: 1,
                page: 100,
                index: 0,
            },
            0,
            &ChunkResult::default(),
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

async fn a_page_of_the_longest_ids_fits_into_an_item<S: Notifications>(store: S) {
    let longest = |number| {
        Recipient::Conversation(ConversationKey {
            // Each byte takes two in the page's JSON.
            conversation: format!("{number:04}{}", "\"".repeat(ID_BYTES_MAX - 4)).into(),
            channel: "msteams".into(),
            bot: "\"".repeat(ID_BYTES_MAX - "msteams|".len()).into(),
        })
    };
    // A bucket's key is at most as long as a conversation id and a tenant.
    let Recipient::Conversation(key) = longest(0) else {
        unreachable!()
    };
    let chunk = PageChunk {
        fields: Vec::new(),
        bucket: Some(Bucket::of(&key, Some(&"\"".repeat(ID_BYTES_MAX)))),
        send_mode: SendMode::Batch,
        wave: None,
        recipients: (0..PAGE_SIZE).map(longest).collect(),
    };
    let page = Page {
        chunks: vec![chunk],
        unreachable: UnreachableCounts::default(),
        matched: false,
        next: Some("n".repeat(4096)),
    };
    store.accept(&acceptance(1)).await.unwrap();
    assert!(store.put_page(&id(1), 0, 0, &page).await.unwrap());
    assert_eq!(store.latest_page(&id(1), 0).await.unwrap(), Some((0, page)));
}

async fn a_rolled_back_notification_is_not_planned<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    assert!(store.roll_back(&id(1)).await.unwrap());
    assert!(!store.put_page(&id(1), 0, 0, &page(1, None)).await.unwrap());
    assert_eq!(store.latest_page(&id(1), 0).await.unwrap(), None);
    store
        .close_chunk(&id(1), CHUNK, 0, &ChunkResult::default())
        .await
        .unwrap();
    assert_eq!(store.find(&id(1)).await.unwrap(), None);
}

async fn each_page_is_found_by_its_number<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    for number in [0, 1, 10] {
        let page = page(1, Some(&number.to_string()));
        store.put_page(&id(1), 1, number, &page).await.unwrap();
        assert_eq!(store.page(&id(1), 1, number).await.unwrap(), Some(page));
    }
    assert_eq!(store.page(&id(1), 1, 2).await.unwrap(), None);
    assert_eq!(store.page(&id(1), 0, 0).await.unwrap(), None);
    assert_eq!(store.page(&id(2), 1, 0).await.unwrap(), None);
}

async fn a_chunk_is_closed_once_and_counted_once<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    store.put_page(&id(1), 0, 0, &page(2, None)).await.unwrap();
    let gone = Outcome::Gone { code: "x".into() };
    let first = result(&[delivered(0), gone], 0);
    for _ in 0..2 {
        let closed = store.close_chunk(&id(1), CHUNK, 0, &first).await.unwrap();
        assert_eq!(closed, Close::Closed);
        let head = find(&store, 1).await;
        assert_eq!(
            (head.chunks_closed, head.counts, head.open(), head.state()),
            (1, first.counts, 2, State::Sending)
        );
        assert_eq!(
            (head.chunks_current, head.revision_counts),
            (1, first.revision_counts)
        );
    }
    // Different counts for the same chunk: the stored ones win.
    let skipped = Outcome::Skipped {
        reason: SkipReason::Removed,
    };
    let other = result(&[skipped.clone(), skipped], 0);
    store.close_chunk(&id(1), CHUNK, 0, &other).await.unwrap();
    assert_eq!(find(&store, 1).await.counts, first.counts);
    let second = ChunkId { index: 1, ..CHUNK };
    store.close_chunk(&id(1), second, 0, &other).await.unwrap();
    let head = find(&store, 1).await;
    assert_eq!(
        (head.chunks_closed, head.counts.total(), head.open(), head.state()),
        (2, 4, 0, State::Completed)
    );
}

async fn closing_a_chunk_at_a_new_revision_counts_only_its_messages<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    store.put_page(&id(1), 0, 0, &page(1, None)).await.unwrap();
    let first = result(&[delivered(0), delivered(0)], 0);
    store.close_chunk(&id(1), CHUNK, 0, &first).await.unwrap();
    for revision in 1..4 {
        revise(&store, 1, "new", 1).await;
        let head = find(&store, 1).await;
        assert_eq!((head.chunks_closed, head.chunks_current), (1, 0));
        // One of the two copies cannot be edited.
        let again = result(&[delivered(revision), delivered(0)], revision);
        for _ in 0..2 {
            let closed = store.close_chunk(&id(1), CHUNK, revision, &again).await.unwrap();
            assert_eq!(closed, Close::Closed);
        }
        let head = find(&store, 1).await;
        assert_eq!(
            (head.chunks_closed, head.chunks_current, head.counts),
            (1, 1, first.counts)
        );
        let revision_counts = RevisionCounts {
            current: 1,
            uneditable: 1,
            superseding: 2,
        };
        assert_eq!(head.revision_counts, revision_counts);
    }
    // A worker at an earlier revision finds the chunk closed.
    let closed = store.close_chunk(&id(1), CHUNK, 1, &first).await.unwrap();
    assert_eq!(closed, Close::Closed);
    assert_eq!(find(&store, 1).await.chunks_current, 1);
}

async fn a_chunk_processed_at_another_revision_is_stale<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    store.put_page(&id(1), 0, 0, &page(1, None)).await.unwrap();
    let early = result(&[delivered(0), delivered(0)], 0);
    revise(&store, 1, "new", 1).await;
    for revision in [0, 2] {
        let closed = store.close_chunk(&id(1), CHUNK, revision, &early).await.unwrap();
        assert_eq!(closed, Close::StaleRevision, "{revision}");
    }
    assert_eq!(store.counted_chunks(&id(1), 0, 0).await.unwrap(), []);
    assert_eq!(find(&store, 1).await.chunks_closed, 0);
    let closed = store.close_chunk(&id(1), CHUNK, 1, &early).await.unwrap();
    assert_eq!(closed, Close::Closed, "the first result, at a later revision");
    assert_eq!(find(&store, 1).await.chunks_closed, 1);
    revise(&store, 1, "newer", 2).await;
    let closed = store.close_chunk(&id(1), CHUNK, 3, &early).await.unwrap();
    assert_eq!(
        closed,
        Close::StaleRevision,
        "closed before, and not yet there again"
    );
}

async fn a_concurrent_close_and_revision_never_both_count<S: Notifications>(store: S) {
    for number in 0..10 {
        store.accept(&acceptance(number)).await.unwrap();
        store.put_page(&id(number), 0, 0, &page(1, None)).await.unwrap();
        let first = result(&[delivered(0), delivered(0)], 0);
        let id = id(number);
        let (closed, _) = join(
            store.close_chunk(&id, CHUNK, 0, &first),
            revise(&store, number, "new", 1),
        )
        .await;
        let head = find(&store, number).await;
        let counted = match closed.unwrap() {
            Close::Closed => 1,
            Close::StaleRevision => 0,
        };
        assert_eq!(
            (head.chunks_closed, head.chunks_current, head.revision_counts),
            (counted, 0, RevisionCounts::default())
        );
    }
}

async fn the_closed_chunks_of_a_page_are_listed_with_their_revisions<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    store
        .put_page(&id(1), 0, 0, &page(12, Some("next")))
        .await
        .unwrap();
    store.put_page(&id(1), 0, 10, &page(1, None)).await.unwrap();
    store.put_page(&id(1), 1, 0, &page(1, None)).await.unwrap();
    assert_eq!(store.counted_chunks(&id(1), 0, 0).await.unwrap(), []);
    let close = async |chunk, revision| {
        let closed = store
            .close_chunk(&id(1), chunk, revision, &ChunkResult::default())
            .await;
        assert_eq!(closed.unwrap(), Close::Closed);
    };
    for index in [11, 2, 0] {
        close(ChunkId { index, ..CHUNK }, 0).await;
    }
    close(ChunkId { page: 10, ..CHUNK }, 0).await;
    close(ChunkId { part: 1, ..CHUNK }, 0).await;
    revise(&store, 1, "new", 1).await;
    close(ChunkId { index: 2, ..CHUNK }, 1).await;
    let counted = store.counted_chunks(&id(1), 0, 0).await.unwrap();
    let closed: Vec<_> = counted
        .iter()
        .map(|chunk| (chunk.index, chunk.closed_at))
        .collect();
    assert_eq!(closed, [(0, Some(0)), (2, Some(1)), (11, Some(0))]);
}

async fn what_ended_of_an_open_chunk_is_counted_once_and_the_rest_when_it_closes<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    store.put_page(&id(1), 0, 0, &page(1, None)).await.unwrap();
    let half = result(&[delivered(0)], 0);
    for _ in 0..2 {
        store.count_open_chunk(&id(1), CHUNK, &half.counts).await.unwrap();
        let head = find(&store, 1).await;
        assert_eq!(
            (head.counts, head.open(), head.chunks_closed),
            (half.counts, 1, 0)
        );
    }
    let counted = store.counted_chunks(&id(1), 0, 0).await.unwrap();
    assert_eq!((counted[0].closed_at, counted[0].counts), (None, half.counts));
    // A copy of the chunk's message that has come less far counts nothing off.
    let none = OutcomeCounts::default();
    store.count_open_chunk(&id(1), CHUNK, &none).await.unwrap();
    assert_eq!(find(&store, 1).await.counts, half.counts);
    let whole = result(&[delivered(0), Outcome::Unknown], 0);
    for _ in 0..2 {
        let closed = store.close_chunk(&id(1), CHUNK, 0, &whole).await.unwrap();
        assert_eq!(closed, Close::Closed);
        let head = find(&store, 1).await;
        assert_eq!(
            (head.counts, head.open(), head.chunks_closed),
            (whole.counts, 0, 1)
        );
    }
    // A late copy changes nothing any more.
    store
        .count_open_chunk(&id(1), CHUNK, &whole.counts)
        .await
        .unwrap();
    assert_eq!(find(&store, 1).await.counts, whole.counts);
}

async fn an_outcome_that_became_another_one_is_counted_once<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    store.put_page(&id(1), 0, 0, &page(1, None)).await.unwrap();
    let early = result(&[Outcome::Unknown], 0);
    store
        .count_open_chunk(&id(1), CHUNK, &early.counts)
        .await
        .unwrap();
    let whole = result(&[delivered(0), delivered(0)], 0);
    store.close_chunk(&id(1), CHUNK, 0, &whole).await.unwrap();
    assert_eq!(find(&store, 1).await.counts, whole.counts);
}

async fn a_cancellation_is_final_and_keeps_its_first_time<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    store.put_page(&id(1), 0, 0, &page(1, None)).await.unwrap();
    for second in [5, 9] {
        let cancelled = store.cancel(&id(1), at(second)).await.unwrap().unwrap();
        assert_eq!(cancelled.cancelled_at, Some(at(5)));
        assert_eq!((cancelled.audience, cancelled.state()), (2, State::Cancelling));
        assert_eq!(find(&store, 1).await, cancelled);
    }
    // It is counted, revised and completed as before.
    let closed = store.close_chunk(&id(1), CHUNK, 0, &ChunkResult::default()).await;
    assert_eq!(closed.unwrap(), Close::Closed);
    assert_eq!(find(&store, 1).await.state(), State::Cancelled);
}

async fn a_revision_adds_a_content_and_keeps_the_earlier_ones<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    assert_eq!(text(&store, 1, 1).await, None);
    for revision in 1..12 {
        let revised = revise(&store, 1, &format!("text {revision}"), i64::from(revision)).await;
        assert_eq!(revised.revision, revision);
        assert_eq!(revised.revised_at, Some(at(i64::from(revision))));
        assert_eq!(find(&store, 1).await, revised);
    }
    assert_eq!(text(&store, 1, 0).await.as_deref(), Some("hello"));
    for revision in 1..12 {
        assert_eq!(text(&store, 1, revision).await, Some(format!("text {revision}")));
    }
    assert_eq!(text(&store, 1, 12).await, None);
    assert_eq!(text(&store, 2, 0).await, None);
}

async fn a_revision_resets_only_the_counts_of_messages<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    store.put_page(&id(1), 0, 0, &page(2, None)).await.unwrap();
    let first = result(&[delivered(0), delivered(0)], 0);
    store.close_chunk(&id(1), CHUNK, 0, &first).await.unwrap();
    let before = find(&store, 1).await;
    let revised = revise(&store, 1, "new", 1).await;
    let expected = Notification {
        revision: 1,
        revised_at: Some(at(1)),
        chunks_current: 0,
        revision_counts: RevisionCounts::default(),
        ..before
    };
    assert_eq!(revised, expected);
}

async fn a_retraction_stays<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    revise(&store, 1, "new", 1).await;
    let retracted = store.revise(&id(1), &Content::Nothing, at(2)).await.unwrap();
    let Revise::Revised(retracted) = retracted else {
        panic!("{retracted:?}")
    };
    assert_eq!((retracted.revision, retracted.retracted), (2, true));
    assert_eq!(text(&store, 1, 2).await, None);
    assert_eq!(text(&store, 1, 1).await.as_deref(), Some("new"));
    for content in [
        Content::Nothing,
        Content::Message(Box::new(Activity::message("again").into())),
    ] {
        let again = store.revise(&id(1), &content, at(3)).await.unwrap();
        assert_eq!(again, Revise::Retracted);
    }
    assert_eq!(find(&store, 1).await, *retracted);
}

async fn twenty_concurrent_revisions_have_distinct_numbers<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    let texts: Vec<String> = (0..20).map(|number| format!("text {number}")).collect();
    join_all(texts.iter().map(|text| revise(&store, 1, text, 1))).await;
    assert_eq!(find(&store, 1).await.revision, 20);
    let mut kept = Vec::new();
    for revision in 1..=20 {
        kept.extend(text(&store, 1, revision).await);
    }
    kept.sort_by_key(|text| text.rsplit(' ').next().unwrap().parse::<u32>().unwrap());
    assert_eq!(kept, texts);
}

async fn a_revised_notification_cannot_be_rolled_back<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    revise(&store, 1, "new", 1).await;
    assert!(!store.roll_back(&id(1)).await.unwrap());
    assert_eq!(find(&store, 1).await.revision, 1);
    assert_eq!(text(&store, 1, 0).await.as_deref(), Some("hello"));
}

async fn a_notification_awaiting_confirmation_is_started_once<S: Notifications>(store: S) {
    let mut waiting = acceptance(1);
    waiting.notification.start = StartPolicy::AfterCount { at_most: 10 };
    store.accept(&waiting).await.unwrap();
    assert!(find(&store, 1).await.is_held());
    for second in [5, 9] {
        store.start(&id(1), at(second)).await.unwrap();
        let head = find(&store, 1).await;
        assert_eq!((head.released_at, head.is_held()), (Some(at(5)), false));
    }
}

async fn a_cancelled_notification_awaiting_confirmation_is_not_started<S: Notifications>(store: S) {
    let mut waiting = acceptance(1);
    waiting.notification.start = StartPolicy::AfterCount { at_most: 10 };
    store.accept(&waiting).await.unwrap();
    store.cancel(&id(1), at(1)).await.unwrap();
    store.start(&id(1), at(2)).await.unwrap();
    assert!(find(&store, 1).await.is_held());
}

async fn a_retracted_notification_awaiting_confirmation_is_not_started<S: Notifications>(store: S) {
    let mut waiting = acceptance(1);
    waiting.notification.start = StartPolicy::AfterCount { at_most: 10 };
    store.accept(&waiting).await.unwrap();
    store.revise(&id(1), &Content::Nothing, at(1)).await.unwrap();
    assert!(!store.start(&id(1), at(2)).await.unwrap());
    assert!(find(&store, 1).await.is_held());
}

async fn a_notification_is_completed_once<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    assert!(store.complete(&id(1), at(5)).await.unwrap());
    for second in [5, 9] {
        assert!(!store.complete(&id(1), at(second)).await.unwrap());
    }
    assert_eq!(find(&store, 1).await.completed_at, Some(at(5)));
}

async fn of_twenty_concurrent_completions_one_succeeds<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    let id = id(1);
    let completed = join_all((0..20).map(|_| store.complete(&id, at(5)))).await;
    let count = completed.into_iter().filter(|it| *it.as_ref().unwrap()).count();
    assert_eq!(count, 1);
}

async fn the_first_refusal_of_the_present_message_is_stored<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    let refusal = |channel: &str, revision| MessageRefusal {
        channel: channel.to_owned(),
        code: "MessageSizeTooBig".to_owned(),
        revision,
    };
    // Of a message that is not there yet, none.
    store
        .refuse_message(&id(1), &refusal("msteams", 1))
        .await
        .unwrap();
    assert_eq!(find(&store, 1).await.refused, None);
    for channel in ["msteams", "webchat"] {
        store.refuse_message(&id(1), &refusal(channel, 0)).await.unwrap();
    }
    assert_eq!(find(&store, 1).await.refused, Some(refusal("msteams", 0)));
    revise(&store, 1, "new", 1).await;
    assert_eq!(
        find(&store, 1).await.refusal("msteams"),
        None,
        "an edit is a new message"
    );
    store
        .refuse_message(&id(1), &refusal("msteams", 0))
        .await
        .unwrap();
    store
        .refuse_message(&id(1), &refusal("webchat", 1))
        .await
        .unwrap();
    let head = find(&store, 1).await;
    assert_eq!(head.refusal("webchat"), Some(&refusal("webchat", 1)));
    assert_eq!(head.refusal("msteams"), None);
    store
        .refuse_message(&id(9), &refusal("msteams", 0))
        .await
        .unwrap();
    assert_eq!(store.find(&id(9)).await.unwrap(), None);
}

async fn a_dead_letter_is_listed_with_its_last_reason<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    store.accept(&acceptance(2)).await.unwrap();
    assert_eq!(store.dead_letters(&id(1)).await.unwrap(), []);
    let chunks: Vec<ChunkId> = (0..3)
        .flat_map(|part| (9..12).map(move |page| (part, page)))
        .map(|(part, page)| ChunkId {
            part,
            page,
            index: part,
        })
        .collect();
    for chunk in chunks.iter().rev() {
        store.mark_dead_lettered(&id(1), *chunk, "first").await.unwrap();
        store.mark_dead_lettered(&id(1), *chunk, "last |#").await.unwrap();
    }
    let expected: Vec<_> = chunks
        .into_iter()
        .map(|chunk| (chunk, "last |#".to_owned()))
        .collect();
    assert_eq!(store.dead_letters(&id(1)).await.unwrap(), expected);
    assert_eq!(store.dead_letters(&id(2)).await.unwrap(), []);
    // A dead letter is no page, and closes no chunk.
    assert_eq!(store.latest_page(&id(1), 0).await.unwrap(), None);
    assert_eq!(store.counted_chunks(&id(1), 0, 9).await.unwrap(), []);
}

async fn operations_on_an_unknown_notification_do_nothing<S: Notifications>(store: S) {
    assert_eq!(store.cancel(&id(1), at(0)).await.unwrap(), None);
    let revised = store.revise(&id(1), &Content::Nothing, at(0)).await.unwrap();
    assert_eq!(revised, Revise::NotFound);
    store.start(&id(1), at(0)).await.unwrap();
    assert!(!store.complete(&id(1), at(0)).await.unwrap());
    assert_eq!(store.dead_letters(&id(1)).await.unwrap(), []);
    assert_eq!(store.counted_chunks(&id(1), 0, 0).await.unwrap(), []);
    assert_eq!(store.find(&id(1)).await.unwrap(), None);
}

async fn the_counts_add_up_under_concurrent_pages_and_chunks<S: Notifications>(store: S) {
    const PARTS: u16 = 4;
    const PAGES: u32 = 5;
    let mut start = acceptance(1);
    start.notification.parts = PARTS;
    store.accept(&start).await.unwrap();
    let one = |outcome| result(&[delivered(0), outcome], 0);
    let (expired, unknown) = (one(Outcome::EXPIRED), one(Outcome::Unknown));
    let work = join_all((0..PARTS).map(|part| {
        let (store, id, expired, unknown) = (&store, &start.notification.id, &expired, &unknown);
        async move {
            for number in 0..PAGES {
                let next = (number + 1 < PAGES).then_some("next");
                assert!(store.put_page(id, part, number, &page(2, next)).await.unwrap());
                let chunk = ChunkId {
                    part,
                    page: number,
                    index: 0,
                };
                // Each chunk is closed by three workers at once.
                join_all((0..3).map(|_| store.close_chunk(id, chunk, 0, expired))).await;
                store
                    .close_chunk(id, ChunkId { index: 1, ..chunk }, 0, unknown)
                    .await
                    .unwrap();
            }
        }
    }));
    let watch = async {
        for _ in 0..50 {
            let head = find(&store, 1).await;
            assert!(head.counts.total() <= head.audience && head.chunks_closed <= head.chunks);
            assert_eq!(
                head.counts.total(),
                2 * head.chunks_closed,
                "a chunk counts whole"
            );
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
    let expected = OutcomeCounts {
        delivered: chunks,
        expired: chunks / 2,
        unknown: chunks / 2,
        ..OutcomeCounts::default()
    };
    assert_eq!(head.counts, expected);
}

async fn hostile_recipients_are_stored_unchanged<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    let hostile = ["a|b", "%7C%25", "#", "\"\\\u{0000}\n", "日本語\u{1F980}"];
    let conversations = hostile.iter().map(|id| recipient(id));
    let names = hostile.iter().flat_map(|id| {
        [
            Recipient::User((*id).into()),
            Recipient::UnknownConversation((*id).into()),
        ]
    });
    let recipients = conversations.chain(names);
    let chunk = PageChunk {
        fields: Vec::new(),
        bucket: Some(bucket("|#%\"\u{1F980}")),
        send_mode: SendMode::Batch,
        wave: None,
        recipients: recipients.collect(),
    };
    let page = Page {
        chunks: vec![chunk],
        unreachable: UnreachableCounts::default(),
        matched: false,
        next: Some("|#%\"".into()),
    };
    store.put_page(&id(1), 0, 0, &page).await.unwrap();
    assert_eq!(store.latest_page(&id(1), 0).await.unwrap(), Some((0, page)));
}
