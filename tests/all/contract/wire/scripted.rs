//! Answers of DynamoDB that an emulator never gives.

use std::collections::BTreeSet;
use std::time::Duration;

use herald::conversation::{ConversationKey, Creation, Feedback};
use herald::delivery::Claim;
use herald::store::{ConversationFilter, Conversations, Error, Ledger, Notifications, Upsert};
use serde_json::{Value, json};
use tests::database::{conversations_at, ledger_at, notifications_at};
use tests::script::Script;
use tokio::time::Instant;

use super::super::at;
use super::{CHUNK, DELIVERED, claim, delivery, id, key, observation, page, person, result, tags};

fn cancelled(codes: &[&str]) -> (u16, Value) {
    let reasons: Vec<Value> = codes.iter().map(|code| json!({"Code": code})).collect();
    let error = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
    (
        400,
        json!({"__type": error, "Message": "cancelled", "CancellationReasons": reasons}),
    )
}

#[tokio::test]
async fn a_conflicting_transaction_is_retried() {
    let conflict = cancelled(&["None", "TransactionConflict"]);
    let script = Script::of([conflict.clone(), conflict, (200, json!({}))]).await;
    let notifications = notifications_at(script.address());
    assert!(notifications.put_page(&id(), 0, 0, &page()).await.unwrap());
    let requests = script.requests();
    let tokens: BTreeSet<_> = requests
        .iter()
        .map(|request| request["ClientRequestToken"].as_str().unwrap())
        .collect();
    assert_eq!(tokens.len(), 3, "what was cancelled is a new transaction");
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_always_conflicts_is_given_up() {
    let script = Script::of(vec![cancelled(&["TransactionConflict", "None"]); 100]).await;
    let started = Instant::now();
    let closed = notifications_at(script.address())
        .close_chunk(&id(), CHUNK, 0, &result())
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
            .put_page(&id(), 0, 0, &page())
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn a_permanently_refused_transaction_is_not_retried() {
    let script = Script::of([cancelled(&["ValidationError", "None"])]).await;
    let planned = notifications_at(script.address())
        .put_page(&id(), 0, 0, &page())
        .await;
    assert!(matches!(planned, Err(Error::Refused { .. })));
    assert_eq!(script.requests().len(), 1);
}

fn conflict() -> (u16, Value) {
    let error = "com.amazonaws.dynamodb.v20120810#TransactionConflictException";
    (
        400,
        json!({"__type": error, "message": "a transaction is at the item"}),
    )
}

#[tokio::test]
async fn a_write_that_conflicts_with_a_transaction_is_retried() {
    let done = (200, json!({}));
    let script = Script::of([done.clone(), conflict(), conflict(), done.clone()]).await;
    let conversations = conversations_at(script.address());
    let remembered = conversations.remember(observation(), at(0)).await;
    assert_eq!(remembered.unwrap(), Upsert::Created);
    let script = Script::of([conflict(), done]).await;
    let conversations = conversations_at(script.address());
    conversations.mark_removed(&key(), at(0)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_write_that_always_conflicts_is_given_up() {
    let script = Script::of(vec![conflict(); 100]).await;
    let conversations = conversations_at(script.address());
    let forgotten = conversations.mark_removed(&key(), at(0)).await;
    assert!(matches!(forgotten, Err(Error::Unavailable { .. })));
    assert_eq!(script.requests().len(), 9);
}

fn ada(tags: &[&str]) -> Value {
    let tags: Vec<Value> = tags.iter().map(|tag| json!({"S": tag})).collect();
    let moment = json!({"N": at(0).as_millisecond().to_string()});
    json!({
        "conversation": {"S": "a:ada"}, "place": {"S": "msteams|28:bot"}, "state": {"S": "active"},
        "reference": {"S": "{}"}, "serviceUrls": {"L": []}, "version": {"N": "1"}, "scope": {"S": "personal"},
        "tags": {"L": tags}, "rememberedAt": moment, "changedAt": moment})
}

/// A query on an index may return a membership for a moment after it was deleted, and not yet that of the replacement.
#[tokio::test]
async fn a_conversation_that_lost_a_tag_is_not_listed_under_it() {
    for (tags, listed) in [(&["beta", "vip"][..], 1), (&["beta"], 0), (&[], 0)] {
        let membership = json!({
            "conversation": {"S": "tag|vip"}, "place": {"S": key().to_string()}, "member": {"S": key().to_string()}});
        let last = json!({"conversation": {"S": "tag|vip"}, "place": {"S": key().to_string()}});
        let records = json!({"ConversationsTable": [ada(tags)]});
        let script = Script::of([
            (
                200,
                json!({"Items": [membership], "Count": 1, "LastEvaluatedKey": last}),
            ),
            (200, json!({"Responses": records, "UnprocessedKeys": {}})),
        ])
        .await;
        let selection = ConversationFilter::Tag("vip".into());
        let conversations = conversations_at(script.address());
        let listing = conversations.list(&selection, None, 1).await.unwrap();
        assert_eq!(listing.items.len(), listed);
        assert!(
            listing.cursor.is_some(),
            "there may be more although nothing is found"
        );
    }
}

/// A tag that is added between the read of a record and its erasure must not dangle, so the record is read again.
#[tokio::test]
async fn only_the_record_that_was_read_is_erased() {
    let none = (200, json!({"Items": [], "Count": 0}));
    let script = Script::of([
        none.clone(), // No state of the bot.
        none.clone(),
        (200, json!({"Item": ada(&["vip"])})),
        cancelled(&["ConditionalCheckFailed", "None"]),
        none.clone(),
        (200, json!({"Item": ada(&["vip", "beta"])})),
        (200, json!({})),
        none,
        (200, json!({})),
    ])
    .await;
    assert!(conversations_at(script.address()).erase(&key()).await.unwrap());
    let requests = script.requests();
    let writes = [3, 6].map(|number: usize| requests[number]["TransactItems"].as_array().unwrap());
    assert_eq!(writes.map(Vec::len), [2, 3]);
    assert_eq!(
        writes[0][0]["Delete"]["ConditionExpression"],
        "#version = :version"
    );
}

/// A person who was linked elsewhere since the query is not erased with this conversation.
#[tokio::test]
async fn only_people_linked_to_a_conversation_are_erased_with_it() {
    let none = (200, json!({"Items": [], "Count": 0}));
    let way_back = json!({
        "conversation": {"S": "a:ada"}, "place": {"S": "person|a|b"}, "person": {"S": "person|somebody"}});
    let script = Script::of([
        none.clone(), // No state of the bot.
        (200, json!({"Items": [way_back], "Count": 1})),
        cancelled(&["ConditionalCheckFailed", "None"]),
        (200, json!({"Item": ada(&[])})),
        (200, json!({})),
        none,
        (200, json!({})),
    ])
    .await;
    assert!(conversations_at(script.address()).erase(&key()).await.unwrap());
    let delete = &script.requests()[2]["TransactItems"][0]["Delete"];
    assert_eq!(delete["Key"]["conversation"]["S"], "person|somebody");
    assert_eq!(
        delete["ConditionExpression"],
        "#linkedConversation = :linkedConversation OR attribute_not_exists(#linkedConversation)"
    );
    assert_eq!(
        delete["ExpressionAttributeValues"][":linkedConversation"]["S"],
        key().to_string()
    );
}

#[tokio::test]
async fn a_person_without_a_conversation_has_a_ttl_and_a_linked_one_has_none() {
    let (nobody, done) = ((200, json!({})), (200, json!({})));
    let script = Script::of([nobody.clone(), done.clone(), nobody, done]).await;
    let conversations = conversations_at(script.address());
    conversations
        .acquire_creation_lease(&person(), at(0), at(60))
        .await
        .unwrap();
    let made = Creation::Conversation(key());
    conversations.finish_creation(&person(), &made).await.unwrap();
    let requests = script.requests();
    assert!(requests[1]["Item"]["expires"]["N"].is_string());
    let written = requests[3]["TransactItems"].as_array().unwrap();
    assert_eq!(
        written[1]["Put"]["Item"]["linkedConversation"]["S"],
        key().to_string()
    );
    for write in written {
        assert!(write["Put"]["Item"].get("expires").is_none());
    }
}

#[tokio::test]
async fn a_late_tag_retries_from_the_record_in_the_failed_condition() {
    let error = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
    let mut newer = ada(&["beta"]);
    newer["version"] = json!({"N": "2"});
    let reasons = json!([{"Code": "ConditionalCheckFailed", "Item": newer}, {"Code": "None"}]);
    let refused = json!({"__type": error, "Message": "cancelled", "CancellationReasons": reasons});
    let script = Script::of([(200, json!({"Item": ada(&[])})), (400, refused), (200, json!({}))]).await;
    let conversations = conversations_at(script.address());
    let tagged = conversations.tag(&key(), &tags(&["vip"]), &[], at(1)).await;
    assert_eq!(tagged.unwrap(), Some(tags(&["beta", "vip"])));
    let written = &script.requests()[2]["TransactItems"];
    assert_eq!(written[0]["Put"]["Item"]["version"]["N"], "3");
    assert_eq!(written.as_array().unwrap().len(), 2, "beta leads to it already");
}

#[tokio::test]
async fn unprocessed_keys_are_read_again() {
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
            .get_many(&[key(), other])
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

/// A response that the condition on this item failed.
fn refused(item: &Value) -> (u16, Value) {
    let error = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
    (
        400,
        json!({"__type": error, "message": "The conditional request failed", "Item": item}),
    )
}

fn rows(items: &Value) -> (u16, Value) {
    (
        200,
        json!({"Responses": {"DeliveriesTable": items}, "UnprocessedKeys": {}}),
    )
}

/// The stored row of the delivery with this number, delivered.
fn arrived(number: u8) -> Value {
    json!({
        "delivery": {"S": delivery(number).as_str()}, "state": {"S": "settled"}, "attempt": {"N": "1"},
        "ambiguousAttempts": {"N": "0"}, "outcome": {"S": r#"{"outcome":"delivered","activity":null,"revision":0,"attemptedRevision":0}"#}})
}

/// The stored lease of the delivery with this number.
fn turn(number: u8) -> Value {
    json!({
        "delivery": {"S": format!("lease|{}", key())}, "holder": {"S": delivery(number).as_str()},
        "attempt": {"N": "1"}, "ambiguousAttempts": {"N": "0"}, "version": {"N": "7"}, "writeToken": {"S": "theirs"},
        "until": {"N": at(60).as_millisecond().to_string()}, "next": {"N": at(0).as_millisecond().to_string()}})
}

/// A batch read returns items in any order, not from one moment. Here the row was read first. Then the delivery took the
/// lease, and another delivery took it after that, which is the lease that was read.
#[tokio::test]
async fn a_row_that_was_read_before_its_lease_is_not_trusted() {
    let script = Script::of([rows(&json!([turn(2)])), rows(&json!([arrived(1), arrived(2)]))]).await;
    let claimed = claim(&ledger_at(script.address()), 1, 1).await;
    assert_eq!(claimed, Claim::Settled(DELIVERED), "it is not sent twice");
    let read = &script.requests()[1]["RequestItems"]["DeliveriesTable"];
    assert_eq!(read["ConsistentRead"], true);
}

/// Between the read and the record of the crash, the late holder settles the delivery as delivered.
#[tokio::test]
async fn a_late_holder_that_settled_is_not_recorded_as_crashed() {
    let script = Script::of([rows(&json!([turn(1)])), refused(&arrived(1))]).await;
    let claimed = claim(&ledger_at(script.address()), 1, 60).await;
    assert_eq!(claimed, Claim::Settled(DELIVERED));
    assert_eq!(script.requests().len(), 2, "nothing is read again");
}

#[tokio::test]
async fn an_unprocessed_lease_is_not_treated_as_absent() {
    let rest = json!({"DeliveriesTable": {
        "Keys": [{"delivery": {"S": format!("lease|{}", key())}}], "ConsistentRead": true}});
    let first = json!({"Responses": {"DeliveriesTable": []}, "UnprocessedKeys": rest});
    let script = Script::of([(200, first), rows(&json!([turn(1)]))]).await;
    let claimed = claim(&ledger_at(script.address()), 1, 1).await;
    assert_eq!(claimed, Claim::LeasedElsewhere { until: at(60) });
}

/// The lease was taken after the rows were read, and by the claimer's clock it has expired already.
#[tokio::test]
async fn a_claim_lost_to_a_slow_clock_reads_the_rows_again() {
    let answers = [
        rows(&json!([])),
        refused(&turn(2)),
        rows(&json!([arrived(1), arrived(2)])),
    ];
    let script = Script::of(answers).await;
    let claimed = claim(&ledger_at(script.address()), 1, 60).await;
    assert_eq!(claimed, Claim::Settled(DELIVERED), "it is not sent twice");
}

#[tokio::test]
async fn a_lost_claim_continues_from_the_failed_condition() {
    let script = Script::of([rows(&json!([])), refused(&turn(2))]).await;
    let claimed = claim(&ledger_at(script.address()), 1, 1).await;
    assert_eq!(claimed, Claim::ConversationBusy { until: at(2) });
    assert_eq!(script.requests().len(), 2, "nothing is read again");
}

/// Between the read and the write, another worker updated the record.
#[tokio::test]
async fn feedback_is_applied_to_its_own_version_only() {
    let item = json!({
        "conversation": {"S": "a:ada"}, "place": {"S": "msteams|28:bot"}, "state": {"S": "active"},
        "reference": {"S": "{}"}, "serviceUrls": {"L": []}, "version": {"N": "3"}, "scope": {"S": "personal"},
        "rememberedAt": {"N": "0"}, "changedAt": {"N": "0"}});
    let mut newer = item.clone();
    newer["version"] = json!({"N": "4"});
    let script = Script::of([(200, json!({"Item": item})), refused(&newer)]).await;
    let feedback = Feedback::Blocked("ConversationBlockedByUser".into());
    let conversations = conversations_at(script.address());
    conversations
        .apply_feedback(&key(), 3, &feedback, at(0))
        .await
        .unwrap();
    let requests = script.requests();
    assert_eq!(requests.len(), 2, "the other worker's write is kept");
    let put = &requests[1];
    assert_eq!(put["ConditionExpression"], "#version = :version");
    assert_eq!(put["ExpressionAttributeValues"], json!({":version": {"N": "3"}}));
}

#[tokio::test]
async fn a_record_of_another_shape_is_an_error_that_names_the_attribute_and_not_its_value() {
    let mut item = arrived(1);
    item["state"] = json!({"S": "secret"});
    let script = Script::of([rows(&json!([item]))]).await;
    let error = ledger_at(script.address())
        .rows(&[delivery(1)])
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "cannot look up deliveries: invalid `state`");
}
