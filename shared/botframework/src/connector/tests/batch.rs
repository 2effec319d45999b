//! The batch API against the same server.

use super::*;
use crate::id::{OperationId, UserRef};

fn bodies(server: &Server) -> Vec<Value> {
    server
        .requests()
        .iter()
        .map(|request| request.split_once("\r\n\r\n").unwrap().1)
        .map(|body| serde_json::from_str(body).unwrap_or_default())
        .collect()
}

#[tokio::test]
async fn every_endpoint_that_begins_an_operation_has_its_address_its_body_and_its_answer() {
    let server = serve(vec![
        Act::Say(answer("201 Created", r#""op-1""#)),
        Act::Say(answer("201 Created", r#"{"operationId":"op-2"}"#)),
        Act::Say(answer("202 Accepted", r#""op-3""#)),
        Act::Say(answer("201 Created", "")),
    ])
    .await;
    let (url, connector, message) = (server.url.as_str(), connector(), Activity::message("hi"));
    let people = [UserRef::Account("29:a".into()), UserRef::Entra("e2".into())];
    let receipts = [
        connector
            .send_to_users(url, &"t".into(), &people, &message)
            .await
            .unwrap(),
        connector
            .send_to_tenant(url, &"t".into(), &message)
            .await
            .unwrap(),
        connector
            .send_to_team(url, &"t".into(), &"19:team".into(), &message)
            .await
            .unwrap(),
        connector
            .send_to_channels(url, &"t".into(), &["19:c".into()], &message)
            .await
            .unwrap(),
    ];
    let operations = receipts.map(|receipt| receipt.operation.map(OperationId::into_string));
    assert_eq!(
        operations.each_ref().map(Option::as_deref),
        [Some("op-1"), Some("op-2"), Some("op-3"), None]
    );
    assert_eq!(
        server.lines(),
        [
            "POST /base/v3/batch/conversation/users",
            "POST /base/v3/batch/conversation/tenant",
            "POST /base/v3/batch/conversation/team",
            "POST /base/v3/batch/conversation/channels",
        ]
    );
    let activity = json!({"type": "message", "text": "hi"});
    assert_eq!(
        bodies(&server),
        [
            json!({"activity": activity, "tenantId": "t", "members": [{"id": "29:a"}, {"id": "e2"}]}),
            json!({"activity": activity, "tenantId": "t"}),
            json!({"activity": activity, "tenantId": "t", "teamId": "19:team"}),
            json!({"activity": activity, "tenantId": "t", "members": [{"id": "19:c"}]}),
        ]
    );
}

#[tokio::test]
async fn an_operation_is_asked_for_its_failures_are_paged_and_it_is_cancelled() {
    let server = serve(vec![
        Act::Say(answer(
            "200 OK",
            r#"{"state":"Completed","statusMap":{"201":2,"404":1},"totalEntriesCount":3}"#,
        )),
        Act::Say(answer(
            "200 OK",
            r#"{"continuationToken":"n=1","failedEntryResponses":[{"id":"29:a","error":"ForbiddenOperationException"}]}"#,
        )),
        Act::Say(answer("200 OK", r#"{"failedEntries":[]}"#)),
        Act::Say(answer("200 OK", "")),
    ])
    .await;
    let (url, connector, id) = (server.url.as_str(), connector(), OperationId::from("amer/1 2"));
    let progress = connector.operation(url, &id).await.unwrap();
    assert_eq!((progress.delivered, progress.left()), (2, Some(0)));
    let page = connector.failed_entries(url, &id, None).await.unwrap();
    assert_eq!(page.entries[0].error.reason(), Reason::NotInstalled);
    let token = page.continuation_token.as_deref();
    let last = connector.failed_entries(url, &id, token).await.unwrap();
    assert_eq!((last.entries.len(), last.continuation_token), (0, None));
    connector.cancel_operation(url, &id).await.unwrap();
    assert_eq!(
        server.lines(),
        [
            "GET /base/v3/batch/conversation/amer%2F1%202",
            "GET /base/v3/batch/conversation/failedentries/amer%2F1%202",
            "GET /base/v3/batch/conversation/failedentries/amer%2F1%202?continuationToken=n%3D1",
            "DELETE /base/v3/batch/conversation/amer%2F1%202",
        ]
    );
}

#[tokio::test]
async fn an_operation_begun_with_a_lost_answer_is_begun_and_one_that_may_not_be_is_unknown() {
    let half = b"HTTP/1.1 201 Created\r\ncontent-length: 40\r\n\r\n\"op".to_vec();
    let server = serve(vec![Act::SayAndClose(half), Act::SayAndClose(Vec::new())]).await;
    let (url, connector, message) = (server.url.as_str(), connector(), Activity::message("hi"));
    let receipt = connector
        .send_to_tenant(url, &"t".into(), &message)
        .await
        .unwrap();
    assert_eq!(receipt, BatchReceipt { operation: None });
    let error = connector
        .send_to_tenant(url, &"t".into(), &message)
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Ambiguous);
    assert_eq!(server.requests().len(), 2, "nothing is repeated");
}

#[tokio::test]
async fn an_answer_about_an_operation_that_cannot_be_read_is_unknown_and_one_too_many_is_throttled() {
    let server = serve(vec![
        Act::Say(answer("200 OK", "{}")),
        Act::Say(answer("200 OK", "")),
        Act::Say(answer("429 Too Many Requests\r\nretry-after: 7", "")),
    ])
    .await;
    let (url, connector, id) = (server.url.as_str(), connector(), OperationId::from("1"));
    let unread = connector.operation(url, &id).await.unwrap_err();
    assert_eq!((unread.class(), unread.status()), (Class::Ambiguous, Some(200)));
    let unread = connector.failed_entries(url, &id, None).await.unwrap_err();
    assert_eq!(unread.class(), Class::Ambiguous);
    let throttled = connector.cancel_operation(url, &id).await.unwrap_err();
    assert_eq!(throttled.reason(), Reason::Throttled);
    assert!(throttled.retry_after().is_some());
    let unfit = connector
        .operation(url, &OperationId::from(".."))
        .await
        .unwrap_err();
    assert_eq!((unfit.class(), server.requests().len()), (Class::Rejected, 3));
}
