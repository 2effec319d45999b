use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::connector::{Class, Reason};

fn entries(document: &Value) -> Vec<FailedEntry> {
    FailedEntries::read(document).unwrap().entries
}

fn body(text: &str) -> Body {
    Body::Complete(Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn the_id_of_an_operation_is_a_bare_string_or_in_an_object() {
    for (text, id) in [
        (r#""amer-1""#, Some("amer-1")),
        (r#"{"operationId":"amer-1","more":1}"#, Some("amer-1")),
        (r#""""#, None),
        (r#"{"operationId":""}"#, None),
        (r#"{"operationId":7}"#, None),
        ("{}", None),
        ("null", None),
        ("", None),
        ("<html>", None),
    ] {
        assert_eq!(operation_id(&body(text)), id.map(OperationId::from), "{text}");
    }
    assert_eq!(operation_id(&Body::Truncated), None);
}

#[test]
fn progress_counts_by_reason_and_knows_what_is_left() {
    let progress = OperationProgress::read(&json!({
        "state": "Ongoing", "totalEntriesCount": 20, "retryAfter": "2026-01-05T09:00:00Z",
        "statusMap": {"200": 3, "201": 4, "403": 1, "400": 2, "429": 1, "500": 1, "504": 1, "odd": 1},
    }))
    .unwrap();
    let mut failed = progress.failed.clone();
    failed.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    assert_eq!(failed[0], (Reason::Refused, 4));
    for reason in [Reason::Throttled, Reason::ServerError, Reason::NoResponse] {
        assert!(failed.contains(&(reason, 1)), "{reason:?}");
    }
    assert_eq!((progress.delivered, progress.left()), (7, Some(6)));
    assert_eq!(progress.retry_after.as_deref(), Some("2026-01-05T09:00:00Z"));

    let early = OperationProgress::read(&json!({"state": "x", "statusMap": null})).unwrap();
    assert_eq!((early.entries, early.left(), early.delivered), (None, None, 0));
}

#[test]
fn an_operation_goes_on_until_its_counts_or_its_word_say_otherwise() {
    let phase = |document: Value| OperationProgress::read(&document).unwrap().phase();
    for (word, expected) in [
        ("Ongoing", OperationPhase::Running),
        ("NotStarted", OperationPhase::Running),
        ("Cancelling", OperationPhase::Running),
        ("completed", OperationPhase::Completed),
        ("Cancelled", OperationPhase::Stopped),
        ("Canceled", OperationPhase::Stopped),
        ("Failed", OperationPhase::Stopped),
    ] {
        assert_eq!(
            phase(json!({"state": word, "totalEntriesCount": 3})),
            expected,
            "{word}"
        );
        let all = json!({"state": word, "totalEntriesCount": 3, "statusMap": {"201": 2, "403": 1}});
        assert_eq!(phase(all), OperationPhase::Completed, "{word}");
    }
    for goes_on in [
        json!({"state": "Ongoing", "totalEntriesCount": 3, "statusMap": {"201": 2, "429": 1}}),
        json!({"state": "Ongoing", "totalEntriesCount": 3, "statusMap": {"201": 2, "504": 1}}),
        json!({"state": "Ongoing", "totalEntriesCount": 3, "statusMap": {"201": 2, "403": 1}, "retryAfter": "2026-01-05T09:00:00Z"}),
    ] {
        assert_eq!(
            phase(goes_on),
            OperationPhase::Running,
            "somebody may be tried again"
        );
    }
    assert_eq!(
        phase(json!({"state": "Ongoing", "totalEntriesCount": 0})),
        OperationPhase::Running,
        "nobody is counted yet"
    );
}

#[test]
fn an_entry_tells_that_it_was_cancelled_by_its_code_or_its_message() {
    let failed =
        |error: Value| entries(&json!({"failedEntryResponses": [{"id": "29:a", "error": error}]})).remove(0);
    assert!(failed(json!({"code": "OperationCanceled"})).was_cancelled());
    assert!(
        failed(json!(
            "{\"code\":400,\"message\":\"The operation was cancelled.\"}"
        ))
        .was_cancelled()
    );
    assert!(!failed(json!({"code": "Throttled"})).was_cancelled());
    assert!(!failed(Value::Null).was_cancelled());
}

#[test]
fn progress_without_a_state_or_with_counts_that_are_none_cannot_be_read() {
    for document in [
        json!({}),
        json!([]),
        json!({"state": 1}),
        json!({"state": "x", "statusMap": []}),
        json!({"state": "x", "statusMap": {"200": "many"}}),
        json!({"state": "x", "statusMap": {"200": -1}}),
    ] {
        assert!(OperationProgress::read(&document).is_err(), "{document}");
    }
}

#[test]
fn a_failed_entry_is_classified_in_whichever_shape_its_error_has() {
    use Class::{Ambiguous, Gone, NotSent, Rejected};
    for (error, class, code, message) in [
        (
            json!("BotNotInConversationRoster"),
            Gone,
            Some("BotNotInConversationRoster"),
            None,
        ),
        (
            json!("403 BotDisabledByAdmin"),
            Gone,
            Some("BotDisabledByAdmin"),
            None,
        ),
        (
            json!("BotDisabledByAdmin: by policy"),
            Gone,
            Some("BotDisabledByAdmin"),
            Some("by policy"),
        ),
        (
            json!("400 user not found"),
            Rejected,
            None,
            Some("user not found"),
        ),
        (json!("429"), NotSent, None, None),
        (json!("504: gateway"), Ambiguous, Some("gateway"), None),
        (json!(429), NotSent, None, None),
        (json!("404abc"), Rejected, Some("404abc"), None),
        (
            json!("{\"statusCode\":429,\"message\":\"m\"}"),
            NotSent,
            None,
            Some("m"),
        ),
        (
            json!("4290 is no status"),
            Rejected,
            None,
            Some("4290 is no status"),
        ),
        (
            json!("User is from different region"),
            NotSent,
            None,
            Some("User is from different region"),
        ),
        (
            json!({"code": "ConversationBlockedByUser"}),
            Gone,
            Some("ConversationBlockedByUser"),
            None,
        ),
        (
            json!({"statusCode": 404, "error": {"code": "ConversationNotFound"}}),
            Gone,
            Some("ConversationNotFound"),
            None,
        ),
        (
            json!({"error": {"code": "Throttled", "statusCode": "429"}}),
            NotSent,
            Some("Throttled"),
            None,
        ),
        (
            json!("{\"error\":{\"code\":\"MessageWritesBlocked\",\"message\":\"m\"}}"),
            Gone,
            Some("MessageWritesBlocked"),
            Some("m"),
        ),
        (json!("SomethingNew"), Rejected, Some("SomethingNew"), None),
        (json!(null), Rejected, None, None),
        (json!([1]), Rejected, None, None),
        (json!(""), Rejected, None, None),
    ] {
        let found = entries(&json!({"failedEntryResponses": [{"id": "29:a", "error": error}]}));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id, "29:a");
        let said = &found[0].error;
        assert_eq!(
            (said.class(), said.code(), said.message()),
            (class, code, message),
            "{error}"
        );
    }
}

#[test]
fn a_page_of_failures_has_a_list_by_either_name_and_ends_without_a_token() {
    for (document, token, count) in [
        (
            json!({"failedEntryResponses": [{"id": "a"}], "continuationToken": "n"}),
            Some("n"),
            1,
        ),
        (
            json!({"failedEntries": [{"entryId": "a"}, {}], "continuationToken": ""}),
            None,
            2,
        ),
        (json!({"failedEntries": null, "continuationToken": null}), None, 0),
    ] {
        let page = FailedEntries::read(&document).unwrap();
        assert_eq!(
            (page.continuation_token.as_deref(), page.entries.len()),
            (token, count)
        );
    }
    for document in [json!({}), json!([]), json!({"failedEntries": {}}), json!("x")] {
        assert!(FailedEntries::read(&document).is_err(), "{document}");
    }
}

#[test]
fn what_is_printed_of_a_failed_entry_does_not_hold_what_was_said() {
    let page = entries(&json!({"failedEntries": [{"id": "29:a", "error": "400 no place for Mina"}]}));
    assert!(!format!("{page:?} {}", page[0].error).contains("Mina"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[1-9][0-9]{2}( [a-z]{1,5}){0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let name = prop_oneof![
            Just("error".to_owned()),
            Just("code".to_owned()),
            Just("message".to_owned()),
            Just("statusCode".to_owned()),
            Just("id".to_owned()),
            Just("entryId".to_owned()),
            "[a-z]{1,3}",
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((name, inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_failed_entry_is_lost_or_read_twice_whatever_it_is(list in proptest::collection::vec(any_json(), 0..6)) {
        let found = entries(&json!({"failedEntryResponses": list}));
        prop_assert_eq!(found.len(), list.len());
        for (entry, came) in found.iter().zip(&list) {
            let ids = [came.get("entryId"), came.get("id")];
            let id = ids.into_iter().flatten().find_map(Value::as_str).unwrap_or_default();
            prop_assert_eq!(&entry.id, id);
        }
    }

    #[test]
    fn every_entry_that_is_counted_is_delivered_failed_or_left(
        counts in proptest::collection::btree_map(100_u16..1000, 0_u64..1_000_000, 0..12), left in 0_u64..1000,
    ) {
        let all: u64 = counts.values().sum();
        let map: Map<String, Value> = counts.iter().map(|(status, count)| (status.to_string(), (*count).into())).collect();
        let document = json!({"state": "s", "totalEntriesCount": all + left, "statusMap": map});
        let progress = OperationProgress::read(&document).unwrap();
        let failed: u64 = progress.failed.iter().map(|(_, count)| count).sum();
        prop_assert_eq!(progress.delivered + failed, all);
        prop_assert_eq!(progress.left(), Some(left));
        let mut reasons: Vec<_> = progress.failed.iter().map(|(reason, _)| format!("{reason:?}")).collect();
        reasons.sort_unstable();
        reasons.dedup();
        prop_assert_eq!(reasons.len(), progress.failed.len());
    }
}
