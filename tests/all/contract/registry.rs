//! Records: small JSON by collection and key.

use botframework::lossless::LosslessJson;
use herald::problem::Problem;
use herald::recurring::{
    DOCUMENT_BYTES_MAX, OccurrenceState, PastOccurrence, RecurringNotification, ScheduleRecord,
};
use herald::store::{Collection, Registry, StoredRecord};
use herald::upstream::FailedEvent;
use lambda_http::http::StatusCode;

use super::{at, on_every_backend};

on_every_backend! { registry:
    a_rule_sees_the_record_that_stands,
    a_rule_that_writes_nothing_leaves_the_record,
    of_concurrent_rules_none_is_lost,
    records_are_listed_by_key_and_page_by_page,
    a_removed_record_is_gone,
    each_collection_has_its_keys_for_itself,
    a_typed_record_comes_back_as_it_was,
    the_largest_schedule_comes_back_as_it_was_written,
}

fn record(json: &str) -> StoredRecord {
    StoredRecord {
        json: json.to_owned(),
        expires_at: None,
    }
}

async fn write<R: Registry>(registry: &R, key: &str, json: &str) {
    let mut rule = |_: Option<&StoredRecord>| Some(record(json));
    registry
        .update_stored_record(Collection::FailedEvents, key, &mut rule)
        .await
        .unwrap();
}

async fn a_rule_sees_the_record_that_stands<R: Registry>(registry: R) {
    write(&registry, "a", "1").await;
    let mut seen = None;
    let mut rule = |stored: Option<&StoredRecord>| {
        seen = stored.cloned();
        Some(StoredRecord {
            expires_at: Some(at(1_000_000_000)),
            ..record("2")
        })
    };
    registry
        .update_stored_record(Collection::FailedEvents, "a", &mut rule)
        .await
        .unwrap();
    assert_eq!(seen, Some(record("1")));
    let stored = registry
        .stored_record(Collection::FailedEvents, "a")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (stored.json.as_str(), stored.expires_at),
        ("2", Some(at(1_000_000_000)))
    );
    assert_eq!(
        registry
            .stored_record(Collection::FailedEvents, "b")
            .await
            .unwrap(),
        None
    );
}

async fn a_rule_that_writes_nothing_leaves_the_record<R: Registry>(registry: R) {
    write(&registry, "a", "1").await;
    let mut rule = |_: Option<&StoredRecord>| None;
    registry
        .update_stored_record(Collection::FailedEvents, "a", &mut rule)
        .await
        .unwrap();
    let stored = registry
        .stored_record(Collection::FailedEvents, "a")
        .await
        .unwrap();
    assert_eq!(stored, Some(record("1")));
}

async fn of_concurrent_rules_none_is_lost<R: Registry>(registry: R) {
    let add = async || {
        let mut rule = |stored: Option<&StoredRecord>| {
            let count: u32 = stored.map_or(0, |stored| stored.json.parse().unwrap());
            Some(record(&(count + 1).to_string()))
        };
        registry
            .update_stored_record(Collection::FailedEvents, "count", &mut rule)
            .await
            .unwrap();
    };
    tokio::join!(add(), add(), add(), add());
    let stored = registry
        .stored_record(Collection::FailedEvents, "count")
        .await
        .unwrap();
    assert_eq!(stored, Some(record("4")));
}

async fn records_are_listed_by_key_and_page_by_page<R: Registry>(registry: R) {
    for key in ["b", "a", "c"] {
        write(&registry, key, "1").await;
    }
    let mut keys = Vec::new();
    let mut cursor = None::<String>;
    loop {
        let page = registry
            .stored_records(Collection::FailedEvents, cursor.as_deref(), 2)
            .await
            .unwrap();
        assert!(page.items.len() <= 2);
        keys.extend(page.items.into_iter().map(|(key, _)| key));
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(keys, ["a", "b", "c"]);
}

async fn a_removed_record_is_gone<R: Registry>(registry: R) {
    write(&registry, "a", "1").await;
    assert!(
        registry
            .remove_record(Collection::FailedEvents, "a")
            .await
            .unwrap()
    );
    assert!(
        !registry
            .remove_record(Collection::FailedEvents, "a")
            .await
            .unwrap()
    );
    assert_eq!(
        registry
            .stored_record(Collection::FailedEvents, "a")
            .await
            .unwrap(),
        None
    );
}

async fn each_collection_has_its_keys_for_itself<R: Registry>(registry: R) {
    let all = [
        Collection::FailedEvents,
        Collection::Schedules,
        Collection::Hooks,
        Collection::HookRates,
        Collection::Routes,
        Collection::Subjects,
    ];
    for collection in all {
        let mut rule = |stored: Option<&StoredRecord>| {
            assert_eq!(stored, None, "{collection:?}");
            Some(record(collection.name()))
        };
        registry
            .update_stored_record(collection, "a", &mut rule)
            .await
            .unwrap();
    }
    for collection in all {
        let stored = registry.stored_record(collection, "a").await.unwrap();
        assert_eq!(stored, Some(record(collection.name())));
        if collection.is_listed() {
            let page = registry.stored_records(collection, None, 10).await.unwrap();
            assert_eq!(page.items, [("a".to_owned(), record(collection.name()))]);
        }
        assert!(registry.remove_record(collection, "a").await.unwrap());
    }
}

async fn a_typed_record_comes_back_as_it_was<R: Registry>(registry: R) {
    let failed = FailedEvent {
        event: "e-1".to_owned(),
        caller: "rule:arn:x".to_owned(),
        problem: Problem::new(StatusCode::BAD_REQUEST, "it is wrong"),
        receives: 3,
        first_failed_at: at(0),
        last_failed_at: at(1),
        bytes: 1,
        body: None,
    };
    let mut rule = |_: Option<FailedEvent>| Some(failed.clone());
    registry.update_record("k", &mut rule).await.unwrap();
    assert_eq!(
        registry.find_record::<FailedEvent>("k").await.unwrap(),
        Some(failed.clone())
    );
    let listed = registry.list_records::<FailedEvent>(None, 10).await.unwrap();
    assert_eq!(listed.items, [("k".to_owned(), failed)]);
}

/// With an occurrence for each minute of a day that cannot be accepted.
async fn the_largest_schedule_comes_back_as_it_was_written<R: Registry>(registry: R) {
    let document = |text: &str| {
        let document = format!(
            r#"{{"cron":"* * * * *","notification":{{"audience":{{"everyone":true}},"message":{{"text":"{text}","value":1.10}}}}}}"#
        );
        LosslessJson::from_slice(document.as_bytes()).unwrap()
    };
    let empty = document("").to_string().len();
    let document = document(&"x".repeat(DOCUMENT_BYTES_MAX - empty));
    let schedule = RecurringNotification::parse(&document).unwrap();
    let mut record = ScheduleRecord::written(None, "iam:invented", document, &schedule.recurrence, at(0));
    record.past = (0..24 * 60)
        .map(|minute| PastOccurrence {
            at: at(minute * 60),
            state: OccurrenceState::Due,
        })
        .collect();
    let mut rule = |_: Option<ScheduleRecord>| Some(record.clone());
    registry.update_record("mornings", &mut rule).await.unwrap();
    let found = registry
        .find_record::<ScheduleRecord>("mornings")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found, record);
    assert!(found.document.to_string().contains("1.10"));
    let listed = registry.list_records::<ScheduleRecord>(None, 10).await.unwrap();
    assert_eq!(listed.items.len(), 1);
}
