//! DynamoDB is unavailable.

use std::net::SocketAddr;
use std::time::Duration;

use herald::conversation::{Creation, Feedback, TeamEvent};
use herald::roster_cache::RosterQuery;
use herald::store::{ConversationFilter, Conversations, Error, Ledger, Notifications};
use tests::database::{conversations_at, ledger_at, notifications_at};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::super::at;
use super::teams::{channels, import, team};
use super::{
    CHUNK, DELIVERED, acceptance, content, delivery, first_lease, id, key, member, observation, page, person,
    reserve, result, tags, try_claim,
};

/// The longest time of any call without a table: the SDK's own total timeout, plus a second.
const PATIENCE: Duration = Duration::from_secs(11);

/// A server in place of the table that gives this answer, or none.
async fn impostor(answer: Option<&'static str>) -> SocketAddr {
    // It answers whatever it reads first, and closes the connection.
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

/// The error of each operation against this server.
async fn errors(address: SocketAddr) -> Vec<(&'static str, Option<Error>)> {
    let (conversations, notifications) = (conversations_at(address), notifications_at(address));
    let feedback = Feedback::NotFound("ConversationNotFound".into());
    vec![
        (
            "remember",
            conversations.remember(observation(), at(0)).await.err(),
        ),
        ("forget", conversations.mark_removed(&key(), at(0)).await.err()),
        (
            "note",
            conversations
                .apply_feedback(&key(), 1, &feedback, at(0))
                .await
                .err(),
        ),
        (
            "tag",
            conversations.tag(&key(), &tags(&["vip"]), &[], at(0)).await.err(),
        ),
        ("erase", conversations.erase(&key()).await.err()),
        (
            "introduce",
            conversations
                .acquire_creation_lease(&person(), at(0), at(60))
                .await
                .err(),
        ),
        (
            "introduced",
            conversations
                .finish_creation(&person(), &Creation::Nothing)
                .await
                .err(),
        ),
        ("recall", conversations.get_many(&[key()]).await.err()),
        (
            "list",
            conversations
                .list(&ConversationFilter::Team("t".into()), None, 10)
                .await
                .err(),
        ),
        ("accept", notifications.accept(&acceptance(None)).await.err()),
        ("withdraw", notifications.roll_back(&id()).await.err()),
        ("find", notifications.find(&id()).await.err()),
        ("audience", notifications.audience(&id()).await.err()),
        ("message", notifications.message(&id(), 0).await.err()),
        ("latest_page", notifications.latest_page(&id(), 0).await.err()),
        ("plan", notifications.put_page(&id(), 0, 0, &page()).await.err()),
        (
            "repeated",
            notifications
                .claim_recipients(&id(), (0, 0), &[member()])
                .await
                .err(),
        ),
        (
            "close",
            notifications.close_chunk(&id(), CHUNK, 0, &result()).await.err(),
        ),
        ("page", notifications.page(&id(), 0, 0).await.err()),
        ("closed", notifications.counted_chunks(&id(), 0, 0).await.err()),
        ("cancel", notifications.cancel(&id(), at(0)).await.err()),
        (
            "revise",
            notifications.revise(&id(), &content(), at(0)).await.err(),
        ),
        (
            "release a notification",
            notifications.start(&id(), at(0)).await.err(),
        ),
        ("complete", notifications.complete(&id(), at(0)).await.err()),
        (
            "bury",
            notifications
                .mark_dead_lettered(&id(), CHUNK, "reason")
                .await
                .err(),
        ),
        ("deadLetter", notifications.dead_letters(&id()).await.err()),
    ]
}

/// The same for the ledger.
async fn errors_of_the_ledger(address: SocketAddr) -> Vec<(&'static str, Option<Error>)> {
    let (ledger, lease) = (ledger_at(address), first_lease());
    vec![
        ("claim", try_claim(&ledger, 1, 0).await.err()),
        (
            "settle",
            ledger.settle(&delivery(1), &lease, &DELIVERED).await.err(),
        ),
        (
            "release",
            ledger
                .release(&delivery(1), &lease, at(5), "reason", 0)
                .await
                .err(),
        ),
        (
            "postpone",
            ledger.defer(&delivery(1), at(5), "reason", 0).await.err(),
        ),
        (
            "end",
            ledger.settle_unclaimed(&delivery(1), &DELIVERED).await.err(),
        ),
        ("look_up", ledger.rows(&[delivery(1)]).await.err()),
        ("apply", reserve(&ledger, 0).await.err()),
    ]
}

/// The same for imports and teams.
async fn errors_of_teams(address: SocketAddr) -> Vec<(&'static str, Option<Error>)> {
    let (conversations, notifications) = (conversations_at(address), notifications_at(address));
    let (team, question) = (team(), RosterQuery::Channels);
    let archived = TeamEvent::TeamArchived;
    vec![
        ("import", conversations.import(import(), at(0)).await.err()),
        (
            "follow",
            conversations
                .apply_team_change(&key(), archived, at(0))
                .await
                .err(),
        ),
        (
            "told",
            conversations.cached_roster(&team, &question, at(0)).await.err(),
        ),
        (
            "tell",
            conversations
                .cache_roster(&team, 0, &question, &channels(), at(60))
                .await
                .err(),
        ),
        ("outdate", conversations.invalidate_roster(&team).await.err()),
        (
            "draft",
            notifications.freeze_page(&id(), (0, 0), &page()).await.err(),
        ),
    ]
}

async fn is_away(address: SocketAddr) {
    let started = Instant::now();
    let mut errors = Box::pin(errors(address)).await;
    errors.extend(Box::pin(errors_of_the_ledger(address)).await);
    errors.extend(Box::pin(errors_of_teams(address)).await);
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
async fn a_refused_connection_is_an_error_at_once() {
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

/// In virtual time, which advances when every task waits.
#[tokio::test(start_paused = true)]
async fn silence_is_an_error_within_seconds() {
    is_away(impostor(None).await).await;
}
