//! What DynamoDB sees: how many requests an operation is, and what becomes of it when the wire fails.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use botframework::activity::Activity;
use herald::audience::{Audience, Recipient, Selector};
use herald::conversation::{ConversationKey, Sighting};
use herald::delivery::{Claim, DeliveryKey, Lease, OnUnknown, Outcome, State, Tally};
use herald::id::NotificationId;
use herald::notification::{ChunkId, Notification, Page};
use herald::store::{
    Acceptance, Accepted, Conversations, Error, Idempotency, Ledger, Notifications, Remembered, Selection,
    Written,
};
use serde_json::{Value, json};
use tests::database::{Database, conversations_at, ledger_at, notifications_at};
use tests::script::Script;
use tests::wire::Wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::at;

/// How long anything may take when the table is away: the SDK's whole time, and a second to give up in.
const PATIENCE: Duration = Duration::from_secs(11);

async fn wired() -> (Wire, Database) {
    let database = Database::start().await;
    (Wire::to(database.address()).await, database)
}

fn sighting() -> Sighting {
    let activity = json!({
        "type": "message", "channelId": "msteams", "serviceUrl": "https://smba.trafficmanager.net/emea/",
        "from": {"id": "29:ada"}, "recipient": {"id": "28:bot"}, "conversation": {"id": "a:ada"}});
    Sighting::of(&Activity::from_slice(activity.to_string().as_bytes()).unwrap()).remove(0)
}

fn key() -> ConversationKey {
    sighting().key
}

fn id() -> NotificationId {
    NotificationId::fresh(at(0), [1; 16])
}

fn delivery(number: usize) -> DeliveryKey {
    DeliveryKey::new(&id(), &Recipient::User(format!("user-{number}").as_str().into()))
}

fn acceptance(idempotency: Option<Idempotency>) -> Acceptance {
    let notification = Notification {
        id: id(),
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
    };
    let audience = Audience(vec![Selector::Everyone]);
    Acceptance {
        notification,
        audience,
        message: Activity::message("hello"),
        idempotency,
    }
}

fn page() -> Page {
    Page {
        chunks: vec![vec![Recipient::User("user".into())]],
        next: None,
    }
}

const CHUNK: ChunkId = ChunkId {
    part: 0,
    page: 0,
    index: 0,
};

const DELIVERED: Outcome = Outcome::Delivered { activity: None };

fn tally() -> Tally {
    let mut tally = Tally::default();
    tally.count(&DELIVERED);
    tally
}

fn lease(claim: &Claim) -> Lease {
    match claim {
        Claim::Taken(lease) => *lease,
        other => panic!("not taken: {other:?}"),
    }
}

// ---- Requests are money ----------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_delivery_that_goes_well_is_two_writes() {
    let (wire, _database) = wired().await;
    let ledger = ledger_at(wire.address());
    let claim = ledger.claim(&delivery(1), at(0), at(60)).await.unwrap();
    ledger
        .settle(&delivery(1), lease(&claim), &DELIVERED)
        .await
        .unwrap();
    assert_eq!(wire.take_operations(), ["PutItem", "UpdateItem"]);
}

#[tokio::test]
async fn to_lose_a_claim_costs_one_write_and_to_take_one_over_two() {
    let (wire, _database) = wired().await;
    let ledger = ledger_at(wire.address());
    ledger.claim(&delivery(1), at(0), at(60)).await.unwrap();
    wire.take_operations();
    ledger.claim(&delivery(1), at(1), at(61)).await.unwrap();
    assert_eq!(wire.take_operations(), ["PutItem"]);
    ledger.claim(&delivery(1), at(60), at(120)).await.unwrap();
    assert_eq!(wire.take_operations(), ["PutItem", "PutItem"]);
}

#[tokio::test]
async fn to_remember_is_a_read_and_only_what_is_new_a_write() {
    let (wire, _database) = wired().await;
    let conversations = conversations_at(wire.address());
    conversations.remember(sighting(), at(0)).await.unwrap();
    assert_eq!(wire.take_operations(), ["GetItem", "PutItem"]);
    conversations.remember(sighting(), at(1)).await.unwrap();
    assert_eq!(wire.take_operations(), ["GetItem"]);
    conversations.forget(&key(), at(2)).await.unwrap();
    assert_eq!(wire.take_operations(), ["UpdateItem"]);
}

#[tokio::test]
async fn everything_else_is_one_request() {
    let (wire, _database) = wired().await;
    let (conversations, notifications, ledger) = (
        conversations_at(wire.address()),
        notifications_at(wire.address()),
        ledger_at(wire.address()),
    );
    let one = |operation: &str| assert_eq!(wire.take_operations(), [operation]);
    conversations.recall(&[key()]).await.unwrap();
    one("BatchGetItem");
    conversations
        .list(
            &Selection::Everyone {
                segment: 0,
                segments: 1,
            },
            None,
            10,
        )
        .await
        .unwrap();
    one("Scan");
    conversations
        .list(&Selection::Tenant("t".into()), None, 10)
        .await
        .unwrap();
    one("Query");
    notifications.accept(&acceptance(None)).await.unwrap();
    one("TransactWriteItems");
    notifications.find(&id()).await.unwrap();
    one("GetItem");
    notifications.audience(&id()).await.unwrap();
    one("Query");
    notifications.message(&id()).await.unwrap();
    one("Query");
    notifications.latest_page(&id(), 0).await.unwrap();
    one("Query");
    notifications.plan(&id(), 0, 0, &page()).await.unwrap();
    one("TransactWriteItems");
    notifications.close(&id(), CHUNK, &tally()).await.unwrap();
    one("TransactWriteItems");
    ledger.look_up(&delivery(1)).await.unwrap();
    one("GetItem");
}

// ---- An answer is lost -----------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_still_ours() {
    let (wire, _database) = wired().await;
    let ledger = ledger_at(wire.address());
    for attempt in [1, 2] {
        let (now, until) = (at(60 * i64::from(attempt)), at(60 * i64::from(attempt) + 60));
        wire.lose_answers(1);
        let claim = ledger.claim(&delivery(1), now, until).await.unwrap();
        let doubts = attempt - 1;
        assert_eq!(claim, Claim::Taken(Lease { attempt, doubts }));
        assert_eq!(
            ledger.claim(&delivery(1), now, until).await.unwrap(),
            Claim::Held { until }
        );
    }
    assert!(wire.take_operations().len() > 4, "the requests were made again");
}

#[tokio::test]
async fn what_was_settled_or_released_stands_though_the_answer_was_lost() {
    let (wire, _database) = wired().await;
    let ledger = ledger_at(wire.address());
    let claim = ledger.claim(&delivery(1), at(0), at(60)).await.unwrap();
    wire.lose_answers(1);
    let released = ledger
        .release(&delivery(1), lease(&claim), at(5), "Throttled", 0)
        .await;
    assert_eq!(released.unwrap(), Written::Stands);
    let claim = ledger.claim(&delivery(1), at(5), at(60)).await.unwrap();
    wire.lose_answers(1);
    assert_eq!(
        ledger
            .settle(&delivery(1), lease(&claim), &DELIVERED)
            .await
            .unwrap(),
        Written::Stands
    );
    assert_eq!(
        ledger.look_up(&delivery(1)).await.unwrap().unwrap().state,
        State::Settled(DELIVERED)
    );
}

#[tokio::test]
async fn what_was_accepted_planned_and_closed_counts_once_though_answers_were_lost() {
    let (wire, _database) = wired().await;
    let notifications = notifications_at(wire.address());
    wire.lose_answers(1);
    assert_eq!(
        notifications.accept(&acceptance(None)).await.unwrap(),
        Accepted::New
    );
    wire.lose_answers(1);
    assert!(notifications.plan(&id(), 0, 0, &page()).await.unwrap());
    wire.lose_answers(1);
    notifications.close(&id(), CHUNK, &tally()).await.unwrap();
    let head = notifications.find(&id()).await.unwrap().unwrap();
    assert_eq!(
        (head.audience, head.chunks, head.parts_planned, head.chunks_closed),
        (1, 1, 1, 1)
    );
    assert_eq!(head.tally, tally());
    assert_eq!(wire.take_operations().len(), 7);
}

#[tokio::test]
async fn what_is_called_again_after_all_answers_were_lost_counts_once() {
    let (wire, _database) = wired().await;
    let notifications = notifications_at(wire.address());
    let idempotency = Idempotency {
        key: "key".into(),
        body: "body".into(),
        until: at(60),
    };
    let acceptance = acceptance(Some(idempotency));
    wire.lose_answers(3);
    assert!(matches!(
        notifications.accept(&acceptance).await,
        Err(Error::Unavailable { .. })
    ));
    assert_eq!(
        notifications.accept(&acceptance).await.unwrap(),
        Accepted::Repeated(id())
    );
    wire.lose_answers(3);
    assert!(matches!(
        notifications.plan(&id(), 0, 0, &page()).await,
        Err(Error::Unavailable { .. })
    ));
    assert!(!notifications.plan(&id(), 0, 0, &page()).await.unwrap());
    wire.lose_answers(3);
    assert!(matches!(
        notifications.close(&id(), CHUNK, &tally()).await,
        Err(Error::Unavailable { .. })
    ));
    notifications.close(&id(), CHUNK, &tally()).await.unwrap();
    let head = notifications.find(&id()).await.unwrap().unwrap();
    assert_eq!((head.audience, head.chunks_closed, head.tally), (1, 1, tally()));
}

#[tokio::test]
async fn what_was_remembered_is_not_remembered_twice_though_the_answer_was_lost() {
    let (wire, _database) = wired().await;
    let conversations = conversations_at(wire.address());
    conversations.remember(sighting(), at(0)).await.unwrap();
    conversations.forget(&key(), at(1)).await.unwrap();
    // The read's answer, then the write's.
    wire.lose_answers(1);
    assert_eq!(
        conversations.remember(sighting(), at(2)).await.unwrap(),
        Remembered::Changed
    );
    assert_eq!(conversations.recall(&[key()]).await.unwrap()[0].version, 3);
}

// ---- What an emulator never says --------------------------------------------------------------------------------------

fn cancelled(codes: &[&str]) -> (u16, Value) {
    let reasons: Vec<Value> = codes.iter().map(|code| json!({"Code": code})).collect();
    let error = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
    (
        400,
        json!({"__type": error, "Message": "cancelled", "CancellationReasons": reasons}),
    )
}

#[tokio::test]
async fn a_transaction_that_met_another_is_tried_again() {
    let conflict = cancelled(&["None", "TransactionConflict"]);
    let script = Script::of([conflict.clone(), conflict, (200, json!({}))]).await;
    let notifications = notifications_at(script.address());
    assert!(notifications.plan(&id(), 0, 0, &page()).await.unwrap());
    let requests = script.requests();
    let tokens: BTreeSet<_> = requests
        .iter()
        .map(|request| request["ClientRequestToken"].as_str().unwrap())
        .collect();
    assert_eq!(tokens.len(), 3, "what was cancelled is a new transaction");
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_always_meets_others_is_given_up() {
    let script = Script::of(vec![cancelled(&["TransactionConflict", "None"]); 100]).await;
    let started = Instant::now();
    let closed = notifications_at(script.address())
        .close(&id(), CHUNK, &tally())
        .await;
    assert!(matches!(closed, Err(Error::Unavailable { .. })));
    assert_eq!(script.requests().len(), 8);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_failed_condition_beside_a_conflict_is_final() {
    let script = Script::of([cancelled(&["ConditionalCheckFailed", "TransactionConflict"])]).await;
    assert!(
        !notifications_at(script.address())
            .plan(&id(), 0, 0, &page())
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn a_transaction_that_was_refused_for_good_is_not_tried_again() {
    let script = Script::of([cancelled(&["ValidationError", "None"])]).await;
    let planned = notifications_at(script.address())
        .plan(&id(), 0, 0, &page())
        .await;
    assert!(matches!(planned, Err(Error::Unavailable { .. })));
    assert_eq!(script.requests().len(), 1);
}

#[tokio::test]
async fn what_an_answer_had_no_room_for_is_asked_for_again() {
    let rest = json!({"ConversationsTable": {"Keys": [
        {"conversation": {"S": "a:ada"}, "place": {"S": "msteams|28:bot"}}]}});
    let script = Script::of([
        (
            200,
            json!({"Responses": {"ConversationsTable": []}, "UnprocessedKeys": rest}),
        ),
        (
            200,
            json!({"Responses": {"ConversationsTable": []}, "UnprocessedKeys": {}}),
        ),
    ])
    .await;
    let other = ConversationKey {
        bot: "28:other".into(),
        ..key()
    };
    assert!(
        conversations_at(script.address())
            .recall(&[key(), other])
            .await
            .unwrap()
            .is_empty()
    );
    let asked: Vec<_> = script
        .requests()
        .iter()
        .map(|request| {
            request["RequestItems"]["ConversationsTable"]["Keys"]
                .as_array()
                .unwrap()
                .len()
        })
        .collect();
    assert_eq!(asked, [2, 1]);
}

#[tokio::test]
async fn a_record_of_another_shape_is_an_error_that_names_the_attribute_and_not_its_value() {
    let item = json!({"delivery": {"S": "d"}, "state": {"S": "secret"}, "attempt": {"N": "1"}});
    let script = Script::of([(200, json!({"Item": item}))]).await;
    let error = ledger_at(script.address())
        .look_up(&delivery(1))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot look up a delivery: the record is not one of ours (state)"
    );
}

// ---- The table is away -----------------------------------------------------------------------------------------------

/// What stands where a table should be.
async fn impostor(answer: Option<&'static str>) -> SocketAddr {
    // It answers whatever it reads first, and hangs up.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let Some(answer) = answer else {
                kept.push(connection);
                continue;
            };
            tokio::spawn(async move {
                let mut buffer = [0; 16 * 1024];
                let _ = connection.read(&mut buffer).await;
                let _ = connection.write_all(answer.as_bytes()).await;
                let _ = connection.shutdown().await;
            });
        }
    });
    address
}

async fn is_away(address: SocketAddr) {
    let started = Instant::now();
    let (conversations, notifications, ledger) = (
        conversations_at(address),
        notifications_at(address),
        ledger_at(address),
    );
    let lease = Lease {
        attempt: 1,
        doubts: 0,
    };
    let errors = [
        ("remember", conversations.remember(sighting(), at(0)).await.err()),
        ("forget", conversations.forget(&key(), at(0)).await.err()),
        ("recall", conversations.recall(&[key()]).await.err()),
        (
            "list",
            conversations
                .list(&Selection::Team("t".into()), None, 10)
                .await
                .err(),
        ),
        ("accept", notifications.accept(&acceptance(None)).await.err()),
        ("withdraw", notifications.withdraw(&id()).await.err()),
        ("find", notifications.find(&id()).await.err()),
        ("audience", notifications.audience(&id()).await.err()),
        ("message", notifications.message(&id()).await.err()),
        ("latest_page", notifications.latest_page(&id(), 0).await.err()),
        ("plan", notifications.plan(&id(), 0, 0, &page()).await.err()),
        ("close", notifications.close(&id(), CHUNK, &tally()).await.err()),
        ("claim", ledger.claim(&delivery(1), at(0), at(60)).await.err()),
        (
            "settle",
            ledger.settle(&delivery(1), lease, &DELIVERED).await.err(),
        ),
        (
            "release",
            ledger.release(&delivery(1), lease, at(5), "why", 0).await.err(),
        ),
        ("look_up", ledger.look_up(&delivery(1)).await.err()),
    ];
    let patience = PATIENCE * u32::try_from(errors.len()).unwrap();
    for (operation, error) in errors {
        assert!(
            matches!(error, Some(Error::Unavailable { .. })),
            "{operation}: {error:?}"
        );
    }
    assert!(started.elapsed() < patience, "{:?}", started.elapsed());
}

#[tokio::test]
async fn nobody_listening_is_an_error_in_no_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    is_away(address).await;
}

#[tokio::test]
async fn a_server_error_is_an_error() {
    is_away(
        impostor(Some(
            "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
        ))
        .await,
    )
    .await;
}

#[tokio::test]
async fn an_answer_of_something_else_is_an_error() {
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>";
    is_away(impostor(Some(page)).await).await;
}

#[tokio::test]
async fn a_connection_cut_in_the_answer_is_an_error() {
    is_away(impostor(Some("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{")).await).await;
}

/// In the tests' own time, which passes as soon as everyone waits.
#[tokio::test(start_paused = true)]
async fn silence_is_an_error_within_seconds() {
    is_away(impostor(None).await).await;
}
