//! The contract of `store::RateLimits`, between two processes.

use std::time::Duration;

use futures_util::future::join_all;
use herald::bot_health::BotHealth;
use herald::conversation::ConversationKey;
use herald::rate_limit::{
    self, BreakerOpen, Bucket, FailureCount, Flow, FlowId, Limit, PermitRequest, QueueClass, QueuePlace,
    Reservation, Size, Slowdown, TenantRate, Ticket, WaitReason,
};
use herald::store::RateLimits;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tests::database::Database;

use super::at;

/// One test for each promise and backend, with two handles: two processes that share only the table.
macro_rules! to_two_processes {
    ($($promise:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $promise() {
                let store = herald::store::memory::Store::new();
                super::$promise(store.clone(), store).await;
            })+
        }

        mod dynamodb {
            $(#[tokio::test]
            async fn $promise() {
                let database = tests::database::Database::start().await;
                super::$promise(database.ledger(), database.ledger()).await;
            })+
        }
    };
}

to_two_processes! {
    fifty_concurrent_reservations_get_distinct_adjacent_permits,
    retry_after_pauses_a_process_with_a_stale_cache,
    failures_of_two_processes_open_the_circuit_breaker_for_both,
    a_ticket_is_granted_once,
    every_field_of_a_rate_is_stored,
    a_rule_without_a_change_writes_nothing,
    a_rate_cached_a_second_ago_is_read_again,
    a_rule_is_applied_to_the_rate_of_other_processes,
    buckets_do_not_collide,
    the_state_of_the_bot_is_shared_and_no_change_is_lost,
}

const LIMIT: Limit = Limit {
    requests: 50,
    per: SignedDuration::from_secs(1),
};

const CLASS: QueueClass = QueueClass {
    flow: FlowId::shared(4),
    weight: 4,
    size: Size::Large,
};

fn bucket(tenant: &str) -> Bucket {
    let conversation = ConversationKey {
        conversation: "a:1".into(),
        channel: "msteams".into(),
        bot: "28:b".into(),
    };
    Bucket::of(&conversation, Some(tenant))
}

async fn reserve<S: RateLimits>(store: &S, block: u32, whole: u32, now: Timestamp) -> Reservation {
    let wish = PermitRequest {
        slots: block,
        place: (whole > 0).then_some(QueuePlace {
            class: CLASS,
            total: whole,
            ticket: None,
        }),
    };
    store
        .apply(&bucket("t"), |rate| rate_limit::reserve(rate, LIMIT, wish, now))
        .await
        .unwrap()
}

async fn read<S: RateLimits>(store: &S, bucket: &Bucket) -> TenantRate {
    store.apply(bucket, |rate| (rate.clone(), None)).await.unwrap()
}

async fn write<S: RateLimits>(store: &S, bucket: &Bucket, rate: &TenantRate) {
    store.apply(bucket, |_| ((), Some(rate.clone()))).await.unwrap();
}

fn milliseconds(count: i64) -> Timestamp {
    at(0).checked_add(SignedDuration::from_millis(count)).unwrap()
}

async fn fifty_concurrent_reservations_get_distinct_adjacent_permits<S: RateLimits>(one: S, other: S) {
    let asked = (0..50).map(|number| reserve(if number % 2 == 0 { &one } else { &other }, 3, 0, at(0)));
    let mut slots = Vec::new();
    for answer in join_all(asked).await {
        let Reservation::Permits { permits, .. } = answer else {
            panic!("all of them fit into the next seconds: {answer:?}");
        };
        slots.extend((0..3).map(|number| permits.slot(number)));
    }
    slots.sort();
    let expected: Vec<Timestamp> = (0..150).map(|number| milliseconds(20 * number)).collect();
    assert_eq!(slots, expected);
}

async fn retry_after_pauses_a_process_with_a_stale_cache<S: RateLimits>(one: S, other: S) {
    // Both have cached the earlier rate.
    for store in [&one, &other] {
        assert!(matches!(
            reserve(store, 1, 1, at(0)).await,
            Reservation::Permits { .. }
        ));
    }
    let asked = Some(SignedDuration::from_secs(645));
    one.apply(&bucket("t"), |rate| {
        ((), Some(rate_limit::throttle(rate, LIMIT, asked, at(1))))
    })
    .await
    .unwrap();
    let Reservation::Later { until, .. } = reserve(&other, 1, 1, at(2)).await else {
        panic!("a permit before Retry-After is over");
    };
    assert!(until >= at(300), "{until}");
}

async fn failures_of_two_processes_open_the_circuit_breaker_for_both<S: RateLimits>(one: S, other: S) {
    for store in [&one, &other, &one] {
        let failure = |rate: &TenantRate| {
            (
                (),
                Some(rate_limit::record_failure(rate, "BotDisabledByAdmin", at(0))),
            )
        };
        store.apply(&bucket("t"), failure).await.unwrap();
    }
    for store in [&one, &other] {
        let answer = reserve(store, 1, 1, at(1)).await;
        let Reservation::Later { reason, .. } = answer else {
            panic!("not paused: {answer:?}");
        };
        assert_eq!(reason, WaitReason::BreakerOpen("BotDisabledByAdmin".into()));
    }
}

async fn a_ticket_is_granted_once<S: RateLimits>(one: S, other: S) {
    let asked = (0..30).map(|number| reserve(if number % 2 == 0 { &one } else { &other }, 25, 250, at(0)));
    let mut tickets: Vec<Ticket> = join_all(asked)
        .await
        .into_iter()
        .filter_map(|answer| match answer {
            Reservation::Permits { .. } => None,
            Reservation::Later { ticket, .. } => ticket,
        })
        .collect();
    let places = tickets.len();
    tickets.sort();
    tickets.dedup();
    assert_eq!(tickets.len(), places, "no two have the same ticket");
    assert!(places > 20, "most reservations get a ticket");
}

/// A rate with every field set.
fn full() -> TenantRate {
    TenantRate {
        next_slot: milliseconds(1),
        flows: vec![
            Flow {
                id: FlowId::named("n"),
                weight: 16,
                next: milliseconds(2),
                issued: 1_000_000,
                granted: 999_904,
                owed: 0,
            },
            Flow {
                id: CLASS.flow,
                weight: CLASS.weight,
                next: milliseconds(3),
                issued: 1,
                granted: 0,
                owed: 0,
            },
        ],
        slowdown: Some(Slowdown {
            at: milliseconds(4),
            rate: 26_000,
        }),
        failures: Some(FailureCount {
            code: "Strike|\"\u{1F980}".into(),
            count: 2,
            since: milliseconds(5),
            openings: 7,
            opened_at: Some(milliseconds(4)),
        }),
        breaker: Some(BreakerOpen {
            code: "Pause".into(),
            until: milliseconds(6),
        }),
    }
}

async fn every_field_of_a_rate_is_stored<S: RateLimits>(one: S, other: S) {
    let partial = |change: fn(&mut TenantRate)| {
        let mut rate = full();
        change(&mut rate);
        rate
    };
    let rates = [
        TenantRate::default(),
        full(),
        partial(|rate| rate.flows = Vec::new()),
        partial(|rate| rate.slowdown = None),
        partial(|rate| rate.failures = None),
        partial(|rate| rate.breaker = None),
    ];
    for (number, rate) in rates.into_iter().enumerate() {
        let bucket = bucket(&number.to_string());
        write(&one, &bucket, &full()).await;
        write(&one, &bucket, &rate).await;
        assert_eq!(read(&other, &bucket).await, rate);
        assert_eq!(read(&one, &bucket).await, rate);
    }
}

async fn a_rule_without_a_change_writes_nothing<S: RateLimits>(one: S, other: S) {
    assert_eq!(read(&one, &bucket("t")).await, TenantRate::default());
    write(&other, &bucket("t"), &full()).await;
    read(&other, &bucket("t")).await;
    assert_eq!(read(&other, &bucket("t")).await, full());
}

async fn a_rate_cached_a_second_ago_is_read_again<S: RateLimits>(one: S, other: S) {
    read(&one, &bucket("t")).await;
    write(&other, &bucket("t"), &full()).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
    assert_eq!(read(&one, &bucket("t")).await, full());
}

async fn a_rule_is_applied_to_the_rate_of_other_processes<S: RateLimits>(one: S, other: S) {
    let count = async |store: &S| {
        let rule = |rate: &TenantRate| {
            let next = rate
                .next_slot
                .checked_add(SignedDuration::from_millis(1))
                .unwrap();
            (
                next,
                Some(TenantRate {
                    next_slot: next,
                    ..rate.clone()
                }),
            )
        };
        store.apply(&bucket("t"), rule).await.unwrap()
    };
    let counted = join_all((0..40).map(|number| count(if number % 2 == 0 { &one } else { &other }))).await;
    let mut counted: Vec<i64> = counted.into_iter().map(Timestamp::as_millisecond).collect();
    counted.sort_unstable();
    assert_eq!(
        counted,
        (1..=40).collect::<Vec<_>>(),
        "each reservation matches what it wrote"
    );
}

async fn buckets_do_not_collide<S: RateLimits>(one: S, other: S) {
    let long = [1, 2].map(|last| format!("{}{last}", "ü".repeat(1500)));
    let hostile = ["t", "t|", "T", "%7C", "#", "", &long[0], &long[1]];
    for (number, tenant) in hostile.into_iter().enumerate() {
        let rate = TenantRate {
            next_slot: milliseconds(i64::try_from(number).unwrap()),
            ..TenantRate::default()
        };
        write(&one, &bucket(tenant), &rate).await;
    }
    for (number, tenant) in hostile.into_iter().enumerate() {
        let rate = read(&other, &bucket(tenant)).await;
        assert_eq!(
            rate.next_slot,
            milliseconds(i64::try_from(number).unwrap()),
            "{tenant}"
        );
    }
}

async fn the_state_of_the_bot_is_shared_and_no_change_is_lost<S: RateLimits>(one: S, other: S) {
    assert_eq!(one.bot_health().await.unwrap(), BotHealth::default());
    let refuse = async |store: &S, tenant: String| {
        let bucket = bucket(&tenant);
        let mut rule = |health: Option<&BotHealth>| {
            let health = health.cloned().unwrap_or_default();
            health.refused(&bucket, "Http401", None, at(0)).1.1
        };
        store.update_bot_health(&mut rule).await.unwrap();
    };
    let stores = [&one, &other];
    join_all((0..8).map(|tenant| refuse(stores[tenant % 2], tenant.to_string()))).await;
    let health = one.bot_health().await.unwrap();
    assert_eq!(health.refusals.len(), 8);
    assert_eq!(
        health.outage.as_ref().map(|outage| outage.code.as_str()),
        Some("Http401")
    );
    assert_eq!(other.bot_health().await.unwrap(), health);
}

#[tokio::test]
async fn a_rate_or_a_record_of_the_bot_that_cannot_be_read_starts_anew() {
    let database = Database::start().await;
    let bucket = bucket("t1");
    let unreadable = "253402300800001";
    database.put_delivery(&json!({
        "delivery": {"S": format!("rate|{}", bucket.as_str())}, "version": {"N": "7"},
        "next": {"N": unreadable}, "queueEnd": {"N": unreadable}, "nowServing": {"N": "0"},
    }));
    database.put_delivery(&json!({
        "delivery": {"S": "bot|health"}, "version": {"N": "3"}, "health": {"S": "{\"outage\": 7}"},
    }));
    let ledger = database.ledger();
    assert_eq!(read(&ledger, &bucket).await, TenantRate::default());
    let throttled = rate_limit::throttle(&TenantRate::default(), LIMIT, None, at(0));
    write(&ledger, &bucket, &throttled).await;
    assert_eq!(read(&database.ledger(), &bucket).await, throttled);

    assert_eq!(ledger.bot_health().await.unwrap(), BotHealth::default());
    let mut rule = |health: Option<&BotHealth>| {
        health
            .cloned()
            .unwrap_or_default()
            .no_token("AADSTS7000222", at(0))
            .1
    };
    ledger.update_bot_health(&mut rule).await.unwrap();
    assert!(database.ledger().bot_health().await.unwrap().outage.is_some());
}
