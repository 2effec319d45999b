//! Peers that answer more than anybody needs.

use super::*;
use crate::activity::Activity;

const PLACE: &str = "a:1";

/// The answer, in chunks and without a length, so that only reading shows how long it is.
fn chunked(head: &str, body: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {head}\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunks = body.as_bytes().chunks(16 * 1024);
    let chunks = chunks.map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    [
        head.into_bytes(),
        chunks.collect::<Vec<_>>().concat(),
        b"0\r\n\r\n".to_vec(),
    ]
    .concat()
}

async fn sent(act: Vec<u8>) -> Result<SendReceipt, Error> {
    let server = serve(vec![Act::SayAndClose(act)]).await;
    let activity = Activity::message("hello");
    connector()
        .send_to_conversation(&server.url, &PLACE.into(), &activity)
        .await
}

async fn page(body: &str) -> Result<PagedMembers, Error> {
    let server = serve(vec![Act::SayAndClose(answer("200 OK", body))]).await;
    connector()
        .paged_members(&server.url, &PLACE.into(), None, None)
        .await
}

fn members(count: usize) -> String {
    vec![r#"{"id":"29:1"}"#; count].join(",")
}

#[tokio::test]
async fn an_error_is_read_to_64_kilobytes_and_keeps_its_status() {
    let body = |bytes: usize| {
        format!(
            r#"{{"error":{{"code":"MessageSizeTooBig","message":"{}"}}}}"#,
            "x".repeat(bytes)
        )
    };
    for (bytes, code) in [(60_000, Some("MessageSizeTooBig")), (12_000_000, None)] {
        for act in [
            answer("413 Too Large", &body(bytes)),
            chunked("413 Too Large", &body(bytes)),
        ] {
            let error = sent(act).await.unwrap_err();
            assert_eq!((error.reason(), error.status()), (Reason::TooLarge, Some(413)));
            assert_eq!(error.code(), code);
            assert!(error.message().is_none_or(|message| message.len() <= 512));
        }
    }
}

#[tokio::test]
async fn a_receipt_that_is_too_long_is_a_success_without_an_id() {
    let receipt = |bytes: usize| format!(r#"{{"id":"{}"}}"#, "1".repeat(bytes));
    for (bytes, is_id) in [
        (1, true),
        (MAX_ID_BYTES, true),
        (MAX_ID_BYTES + 1, false),
        (1_000_000, false),
    ] {
        for act in [
            answer("201 Created", &receipt(bytes)),
            chunked("201 Created", &receipt(bytes)),
        ] {
            let receipt = sent(act).await.unwrap();
            assert_eq!(receipt.activity_id.is_some(), is_id, "{bytes} bytes");
        }
    }
}

#[tokio::test]
async fn a_conversation_whose_id_cannot_be_kept_is_refused_for_good() {
    let body = format!(r#"{{"id":"a:{}"}}"#, "1".repeat(MAX_ID_BYTES));
    let server = serve(vec![Act::SayAndClose(answer("201 Created", &body))]).await;
    let error = connector()
        .create_conversation(&server.url, &ConversationParameters::default())
        .await
        .unwrap_err();
    assert_eq!(
        (error.class(), error.code()),
        (Class::Rejected, Some("ConversationIdTooLong"))
    );
}

#[tokio::test]
async fn a_roster_is_read_to_its_bounds_and_what_exceeds_them_is_refused_for_good() {
    let read = page(&format!(r#"{{"members":[{}]}}"#, members(MAX_MEMBERS)))
        .await
        .unwrap();
    assert_eq!(read.members.len(), MAX_MEMBERS);
    for (body, code) in [
        (
            format!(r#"{{"members":[{}]}}"#, members(50_000)),
            "TooManyMembers",
        ),
        (
            format!(
                r#"{{"members":[],"continuationToken":"{}"}}"#,
                "t".repeat(1_000_000)
            ),
            "ContinuationTokenTooLong",
        ),
        (
            format!(r#"{{"members":[],"more":"{}"}}"#, "x".repeat(3_000_000)),
            "AnswerTooLarge",
        ),
    ] {
        let error = page(&body).await.unwrap_err();
        assert_eq!((error.class(), error.code()), (Class::Rejected, Some(code)));
    }
}
