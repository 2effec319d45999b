//! The cost of a full chunk by each send mode: counted requests to the channel, and units of the tables.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use botframework::connector::Connector;
use herald::audience::Recipient;
use herald::clock::{Clock, Random};
use herald::event::memory::Events;
use herald::id::NotificationId;
use herald::notification::{ChunkId, Notification, PAGE_SIZE, Page, PageChunk, SendMode, SendPath};
use herald::queue::batch::Receipt;
use herald::queue::memory::Queue;
use herald::queue::{Chunk, Queue as _};
use herald::rate_limit::{Limit, Limits};
use herald::store::{Acceptance, Conversations, Ledger, Notifications};
use herald::subject::{SubjectCopy, SubjectCopyKey};
use jiff::{SignedDuration, Timestamp};
use sender::Invocation;
use serde_json::json;
use tests::backend::Assembled;
use tests::channel::Channel;
use tests::counter::{Count, Counter};
use tests::crowd::{self, Crowd};
use tests::database::{self, Database};

/// The cost of one chunk, from its first message until it is closed.
#[derive(Debug)]
struct Taken {
    /// Requests to the channel.
    requests: usize,
    /// Messages of the queue, including the first.
    messages: u32,
    /// Write units of the ledger table: leases, rows, batches and rates have one each.
    ledger_units: f64,
    /// Read units of the ledger table.
    ledger_reads: f64,
    /// Requests that write to the ledger table.
    ledger_requests: u64,
    /// Requests to the notifications table that close the chunk.
    closing_requests: u64,
}

/// What the conversations show of the notification's subject before.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Subject {
    /// It has no subject.
    None,
    /// Nothing.
    New,
    /// A copy each, of an earlier notification.
    Shown,
}

async fn deliver(send_mode: SendMode) -> Taken {
    Box::pin(deliver_about(send_mode, Subject::None)).await
}

/// Delivers a chunk of a whole page over DynamoDB's wire.
async fn deliver_about(send_mode: SendMode, subject: Subject) -> Taken {
    let database = Database::start().await;
    let counter = Counter::to(database.address()).await.unwrap();
    let seconds = Arc::new(AtomicI64::new(1_800_000_000));
    let told = Arc::clone(&seconds);
    let clock = Clock::from_fn(move || Timestamp::from_second(told.load(Ordering::Relaxed)).unwrap());
    let crowd = Crowd {
        people: PAGE_SIZE as u64,
        tenants: 1,
        service_url: "http://127.0.0.1:1/".to_owned(),
    };
    let conversations = database.conversations();
    for person in 0..crowd.people {
        conversations
            .remember(crowd.observation(person), clock.now())
            .await
            .unwrap();
    }
    let audience = json!({"tenant": crowd.tenant(0)});
    let (mut notification, request) = crowd::notification(&audience, clock.now(), [1; 16]);
    notification.send_mode = send_mode;
    notification.subject = (subject != Subject::None).then(|| "build-7".to_owned());
    let acceptance = Acceptance {
        notification: notification.clone(),
        audience: request.audience,
        message: request.message,
        replacement: None,
        idempotency: None,
    };
    let notifications = database.notifications();
    notifications.accept(&acceptance).await.unwrap();
    let planned = crowd.pages().next().unwrap().chunks.remove(0);
    if subject == Subject::Shown {
        show(&database.ledger(), &notification, &planned.recipients).await;
    }
    let page = page_of(planned, send_mode);
    assert!(
        notifications
            .put_page(&notification.id, 0, 0, &page)
            .await
            .unwrap()
    );

    let (channel, queue) = (Channel::new(), Queue::new());
    let context: sender::Context<Assembled<_, _, _, _, _>> = sender::Context {
        conversations: database::conversations_at(counter.address()),
        notifications: database::notifications_at(counter.address()),
        registry: herald::store::memory::Store::new(),
        ledger: database::ledger_at(counter.address()),
        deliveries: queue.clone(),
        events: Events::new(),
        connector: Connector::unauthenticated(channel.clone()),
        graph_clients: None,
        // No request waits for a permit here.
        limits: Limits {
            tenant: Limit {
                requests: 1_000_000,
                per: SignedDuration::from_secs(1),
            },
            ..Limits::teams()
        },
        clock: clock.clone(),
        random: Random::from_fn(|| [7; 16]),
    };
    let name = ChunkId {
        part: 0,
        page: 0,
        index: 0,
    };
    let chunk = Chunk::whole(notification.id.clone(), name, page.chunks[0].clone());
    queue.send(vec![chunk.message(Duration::ZERO)]).await.unwrap();
    let mut messages = 0;
    while let Some(message) = queue.take() {
        messages += 1;
        seconds.fetch_add(
            i64::try_from(message.delay.as_secs()).unwrap() + 1,
            Ordering::Relaxed,
        );
        let chunk = serde_json::from_str(&message.body).unwrap();
        let deadline = clock.now().checked_add(SignedDuration::from_secs(90)).unwrap();
        let invocation = Invocation::new(&context, deadline);
        Box::pin(sender::run(&invocation, chunk, Receipt::default()))
            .await
            .unwrap();
    }
    let found = notifications.find(&notification.id).await.unwrap().unwrap();
    assert_eq!(found.counts.delivered, PAGE_SIZE as u64);
    let counts = counter.take();
    let (ledger_requests, ledger_units) = writes(&counts, " Deliveries");
    let reads = counts.iter().filter(|(name, _)| name.contains(" Deliveries"));
    Taken {
        requests: channel.requests(),
        messages,
        ledger_units,
        ledger_reads: reads.map(|(_, count)| count.read_units).sum(),
        ledger_requests,
        closing_requests: writes(&counts, " Notifications").0,
    }
}

/// A page with this chunk, in this send mode.
fn page_of(planned: PageChunk, send_mode: SendMode) -> Page {
    let lane = SendPath {
        bucket: planned.bucket.unwrap(),
        send_mode,
        wave: None,
    };
    let recipients = planned.recipients.into_iter();
    Page::group(recipients.map(|recipient| (Some(lane.clone()), recipient)), None)
}

/// Gives each conversation a copy of an earlier notification of the subject.
async fn show(ledger: &impl Ledger, notification: &Notification, recipients: &[Recipient]) {
    let earlier = NotificationId::fresh(Timestamp::UNIX_EPOCH, [0; 16]);
    for (number, recipient) in recipients.iter().enumerate() {
        let Recipient::Conversation(conversation) = recipient else {
            panic!("{recipient:?}")
        };
        let key = SubjectCopyKey::new(&notification.caller, "build-7", conversation);
        let since = notification.accepted_at;
        let copy = SubjectCopy::sent(
            None,
            &earlier,
            Some(format!("earlier-{number}").as_str().into()),
            since,
        )
        .unwrap();
        ledger.compare_and_set_subject_copy(&key, &copy).await.unwrap();
    }
}

/// The requests that write to this table, and their units.
fn writes(counts: &BTreeMap<String, Count>, table: &str) -> (u64, f64) {
    let of_table = counts.iter().filter(|(name, _)| name.contains(table));
    let writing = of_table.filter(|(_, count)| count.write_units > 0.0);
    writing.fold((0, 0.0), |(requests, units), (_, count)| {
        (requests + count.requests, units + count.write_units)
    })
}

#[tokio::test]
async fn a_batch_takes_two_requests_and_half_the_writes() {
    let ordinary = Box::pin(deliver(SendMode::Individual)).await;
    let batch = Box::pin(deliver(SendMode::Batch)).await;
    let is = |units: f64, expected: f64| (units - expected).abs() < 0.1;
    let people = 96.0;
    // One lease and one row each; the rate and the state of the bot once.
    assert_eq!((ordinary.requests, ordinary.messages), (PAGE_SIZE, 1));
    assert!(is(ordinary.ledger_units, 2.0 * people + 2.0), "{ordinary:?}");
    // One row each; the batch and the rate twice; the state of the bot at most once a minute.
    assert_eq!((batch.requests, batch.messages), (2, 2));
    assert!(is(batch.ledger_units, people + 5.0), "{batch:?}");
    assert_eq!(batch.closing_requests, ordinary.closing_requests);
}

#[tokio::test]
async fn a_subject_takes_one_read_and_one_write_more_for_each_delivery() {
    let plain = Box::pin(deliver(SendMode::Individual)).await;
    for subject in [Subject::New, Subject::Shown] {
        let taken = Box::pin(deliver_about(SendMode::Individual, subject)).await;
        let is = |units: f64, expected: f64| (units - expected).abs() < 0.1;
        let people = 96.0;
        assert_eq!((taken.requests, taken.messages), (plain.requests, plain.messages));
        assert!(is(taken.ledger_units - plain.ledger_units, people), "{taken:?}");
        assert!(
            is(taken.ledger_reads - plain.ledger_reads, people),
            "{plain:?} {taken:?}"
        );
        // They go in groups, like leases and rows.
        assert!(taken.ledger_requests <= 24, "{taken:?}");
    }
}

#[tokio::test]
async fn leases_and_rows_of_a_chunk_are_written_by_the_statements_of_a_few_requests() {
    let taken = Box::pin(deliver(SendMode::Individual)).await;
    // Of 25 statements: four for the leases, four for the rows, and a few that began before the others were ready.
    assert!(taken.ledger_requests <= 16, "{}", taken.ledger_requests);
}
