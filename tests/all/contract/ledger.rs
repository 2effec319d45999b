//! The promises of `store::Ledger`.

use futures_util::future::join_all;
use herald::audience::Recipient;
use herald::conversation::ConversationKey;
use herald::delivery::{Claim, DeliveryKey, Lease, Outcome, Row, SkipReason, State};
use herald::id::NotificationId;
use herald::store::{Ledger, Written};

use super::{at, on_every_backend};

on_every_backend! { ledger:
    of_fifty_claimers_one_wins,
    a_claim_keeps_others_off_until_its_deadline,
    a_claim_past_its_deadline_is_taken_over_as_maybe_sent,
    of_fifty_who_take_over_one_wins,
    every_outcome_is_kept_and_ends_the_delivery,
    settling_after_a_take_over_is_lost,
    settling_again_stands_and_changes_nothing,
    a_released_delivery_waits_and_is_then_claimed_again,
    what_may_have_been_sent_stays_so_over_a_release,
    what_was_never_claimed_has_no_row_and_cannot_be_settled,
    deliveries_to_hostile_ids_are_kept_apart,
}

fn delivery(conversation: &str) -> DeliveryKey {
    let key = ConversationKey {
        conversation: conversation.into(),
        channel: "msteams".into(),
        bot: "28:b".into(),
    };
    DeliveryKey::new(
        &NotificationId::fresh(at(0), [7; 16]),
        &Recipient::Conversation(key),
    )
}

async fn take<S: Ledger>(store: &S, delivery: &DeliveryKey, now: i64, until: i64) -> Lease {
    match store.claim(delivery, at(now), at(until)).await.unwrap() {
        Claim::Taken(lease) => lease,
        other => panic!("not taken: {other:?}"),
    }
}

const SETTLED: Outcome = Outcome::Unknown;

async fn of_fifty_claimers_one_wins<S: Ledger>(store: S) {
    let delivery = delivery("a:1");
    let claims = join_all((0..50).map(|_| store.claim(&delivery, at(0), at(60)))).await;
    let claims: Vec<Claim> = claims.into_iter().map(Result::unwrap).collect();
    let lease = Lease {
        attempt: 1,
        doubts: 0,
    };
    assert_eq!(
        claims
            .iter()
            .filter(|claim| **claim == Claim::Taken(lease))
            .count(),
        1
    );
    assert_eq!(
        claims
            .iter()
            .filter(|claim| **claim == Claim::Held { until: at(60) })
            .count(),
        49
    );
}

async fn a_claim_keeps_others_off_until_its_deadline<S: Ledger>(store: S) {
    let delivery = delivery("a:1");
    take(&store, &delivery, 0, 60).await;
    assert_eq!(
        store.claim(&delivery, at(59), at(119)).await.unwrap(),
        Claim::Held { until: at(60) }
    );
    let row = Row {
        state: State::Claimed { until: at(60) },
        attempt: 1,
        doubts: 0,
    };
    assert_eq!(store.look_up(&delivery).await.unwrap(), Some(row));
}

async fn a_claim_past_its_deadline_is_taken_over_as_maybe_sent<S: Ledger>(store: S) {
    let delivery = delivery("a:1");
    take(&store, &delivery, 0, 60).await;
    let lease = take(&store, &delivery, 60, 120).await;
    assert_eq!(
        lease,
        Lease {
            attempt: 2,
            doubts: 1
        }
    );
    assert_eq!(
        store.claim(&delivery, at(119), at(200)).await.unwrap(),
        Claim::Held { until: at(120) }
    );
}

async fn of_fifty_who_take_over_one_wins<S: Ledger>(store: S) {
    let delivery = delivery("a:1");
    take(&store, &delivery, 0, 60).await;
    let claims = join_all((0..50).map(|_| store.claim(&delivery, at(60), at(120)))).await;
    let taken = claims
        .iter()
        .filter(|claim| matches!(claim, Ok(Claim::Taken(_))))
        .count();
    let busy = claims
        .iter()
        .filter(|claim| matches!(claim, Ok(Claim::Held { until }) if *until == at(120)))
        .count();
    assert_eq!((taken, busy), (1, 49));
    assert_eq!(store.look_up(&delivery).await.unwrap().unwrap().attempt, 2);
}

async fn every_outcome_is_kept_and_ends_the_delivery<S: Ledger>(store: S) {
    for (number, outcome) in [
        Outcome::Delivered {
            activity: Some("1:abc|%".into()),
        },
        Outcome::Delivered { activity: None },
        Outcome::Rejected {
            code: "BadArgument".into(),
        },
        Outcome::Gone {
            code: "ConversationNotFound".into(),
        },
        Outcome::Unknown,
        Outcome::Skipped {
            reason: SkipReason::NoConversation,
        },
        Outcome::Skipped {
            reason: SkipReason::Removed,
        },
        Outcome::Skipped {
            reason: SkipReason::Blocked,
        },
        Outcome::Expired,
        Outcome::Cancelled,
    ]
    .into_iter()
    .enumerate()
    {
        let delivery = delivery(&format!("a:{number}"));
        let lease = take(&store, &delivery, 0, 60).await;
        assert_eq!(
            store.settle(&delivery, lease, &outcome).await.unwrap(),
            Written::Stands
        );
        let row = Row {
            state: State::Settled(outcome.clone()),
            attempt: 1,
            doubts: 0,
        };
        assert_eq!(store.look_up(&delivery).await.unwrap(), Some(row));
        assert_eq!(
            store.claim(&delivery, at(1_000), at(1_060)).await.unwrap(),
            Claim::Settled(outcome)
        );
    }
}

async fn settling_after_a_take_over_is_lost<S: Ledger>(store: S) {
    let delivery = delivery("a:1");
    let late = take(&store, &delivery, 0, 60).await;
    let taker = take(&store, &delivery, 60, 120).await;
    let released = store.release(&delivery, late, at(70), "Throttled", 0).await;
    assert_eq!(released.unwrap(), Written::Lost);
    assert_eq!(
        store.settle(&delivery, late, &Outcome::Expired).await.unwrap(),
        Written::Lost
    );
    assert_eq!(
        store.settle(&delivery, taker, &SETTLED).await.unwrap(),
        Written::Stands
    );
    assert_eq!(
        store.settle(&delivery, late, &Outcome::Expired).await.unwrap(),
        Written::Lost
    );
    assert_eq!(
        store.look_up(&delivery).await.unwrap().unwrap().state,
        State::Settled(SETTLED)
    );
}

async fn settling_again_stands_and_changes_nothing<S: Ledger>(store: S) {
    let delivery = delivery("a:1");
    let lease = take(&store, &delivery, 0, 60).await;
    for _ in 0..2 {
        assert_eq!(
            store.settle(&delivery, lease, &SETTLED).await.unwrap(),
            Written::Stands
        );
    }
    assert_eq!(
        store.settle(&delivery, lease, &Outcome::Expired).await.unwrap(),
        Written::Lost
    );
    assert_eq!(
        store.look_up(&delivery).await.unwrap().unwrap().state,
        State::Settled(SETTLED)
    );
}

async fn a_released_delivery_waits_and_is_then_claimed_again<S: Ledger>(store: S) {
    let delivery = delivery("a:1");
    let lease = take(&store, &delivery, 0, 60).await;
    for _ in 0..2 {
        let released = store.release(&delivery, lease, at(90), "Throttled", 0).await;
        assert_eq!(released.unwrap(), Written::Stands);
    }
    let waiting = State::Waiting {
        until: at(90),
        why: "Throttled".into(),
    };
    let row = Row {
        state: waiting,
        attempt: 1,
        doubts: 0,
    };
    assert_eq!(store.look_up(&delivery).await.unwrap(), Some(row));
    assert_eq!(
        store.claim(&delivery, at(89), at(149)).await.unwrap(),
        Claim::Waiting { until: at(90) }
    );
    let again = take(&store, &delivery, 90, 150).await;
    assert_eq!(
        again,
        Lease {
            attempt: 2,
            doubts: 0
        }
    );
    assert_eq!(
        store.settle(&delivery, lease, &SETTLED).await.unwrap(),
        Written::Lost
    );
    assert_eq!(
        store.settle(&delivery, again, &SETTLED).await.unwrap(),
        Written::Stands
    );
}

async fn what_may_have_been_sent_stays_so_over_a_release<S: Ledger>(store: S) {
    let delivery = delivery("a:1");
    let lease = take(&store, &delivery, 0, 60).await;
    store
        .release(&delivery, lease, at(10), "Timeout", 1)
        .await
        .unwrap();
    let lease = take(&store, &delivery, 10, 70).await;
    assert_eq!(
        lease,
        Lease {
            attempt: 2,
            doubts: 1
        }
    );
    store.settle(&delivery, lease, &SETTLED).await.unwrap();
    assert_eq!(store.look_up(&delivery).await.unwrap().unwrap().doubts, 1);
}

async fn what_was_never_claimed_has_no_row_and_cannot_be_settled<S: Ledger>(store: S) {
    let delivery = delivery("a:1");
    assert_eq!(store.look_up(&delivery).await.unwrap(), None);
    let lease = Lease {
        attempt: 1,
        doubts: 0,
    };
    assert_eq!(
        store.settle(&delivery, lease, &SETTLED).await.unwrap(),
        Written::Lost
    );
    assert_eq!(store.look_up(&delivery).await.unwrap(), None);
}

async fn deliveries_to_hostile_ids_are_kept_apart<S: Ledger>(store: S) {
    let hostile = [
        "a|b",
        "a%7Cb",
        "a#b",
        "a\"b",
        "ä\u{0000}\u{1F980}",
        &"x".repeat(1900),
    ];
    for id in hostile {
        take(&store, &delivery(id), 0, 60).await;
    }
    for id in hostile {
        let busy = store.claim(&delivery(id), at(1), at(61)).await.unwrap();
        assert_eq!(busy, Claim::Held { until: at(60) }, "{id}");
    }
}
