//! The contract of `store::Ledger`.

use std::cmp::Ordering;

use botframework::id::ActivityId;
use futures_util::future::join_all;
use herald::audience::Recipient;
use herald::conversation::ConversationKey;
use herald::delivery::{
    AttemptLease, Claim, ClaimRequest, DeliveryKey, Outcome, Row, SentMessage, SkipReason, State,
};
use herald::id::NotificationId;
use herald::rate_limit::{ConversationRate, Limits};
use herald::store::{CasResult, Ledger};
use jiff::Timestamp;
use tests::database::Database;

use super::{at, on_every_backend};

on_every_backend! { ledger:
    of_fifty_concurrent_claims_one_wins,
    of_fifty_deliveries_to_one_conversation_one_has_the_lease,
    deliveries_to_one_conversation_hold_its_lease_in_turn,
    conversations_do_not_wait_for_each_other,
    requests_to_one_conversation_keep_their_distance,
    a_lease_blocks_other_claims_until_its_deadline,
    leases_are_returned_in_the_order_of_the_request,
    an_expired_lease_counts_as_an_ambiguous_attempt,
    of_fifty_takeovers_one_wins_and_one_ambiguous_attempt_is_counted,
    of_fifty_takeovers_by_other_deliveries_one_wins,
    a_late_holder_may_only_settle_as_delivered,
    every_outcome_is_stored_and_settles_the_delivery,
    settling_again_changes_nothing,
    a_released_delivery_waits_and_is_then_claimed_again,
    a_release_keeps_ambiguous_attempts,
    a_sent_message_is_claimed_again_for_an_update,
    an_expired_update_lease_is_not_ambiguous_and_keeps_the_message,
    a_delivery_without_a_conversation_is_settled_once,
    a_delivery_without_a_conversation_is_deferred_until_it_is_settled,
    a_settled_delivery_is_not_deferred,
    a_retryable_delivery_keeps_its_ambiguous_attempts,
    a_settled_delivery_is_not_marked_retryable,
    a_delivered_delivery_is_not_settled_otherwise,
    the_row_of_a_person_has_the_current_message_after_each_revision,
    rows_are_returned_in_the_order_of_the_request,
    deliveries_to_hostile_ids_do_not_collide,
}

fn conversation(id: &str) -> ConversationKey {
    ConversationKey {
        conversation: id.into(),
        channel: "msteams".into(),
        bot: "28:b".into(),
    }
}

/// The delivery of the notification with this number.
fn delivery(number: u8, to: &ConversationKey) -> DeliveryKey {
    DeliveryKey::new(
        &NotificationId::fresh(at(0), [number; 16]),
        &Recipient::Conversation(to.clone()),
    )
}

fn asked(delivery: &DeliveryKey, now: Timestamp, until: Timestamp) -> ClaimRequest<'_> {
    ClaimRequest {
        delivery,
        revision: 0,
        now,
        until,
        spacing: ConversationRate::within(&Limits::teams().conversation),
    }
}

/// Claims at this second, for a minute.
async fn claim<S: Ledger>(store: &S, number: u8, to: &ConversationKey, revision: u32, now: i64) -> Claim {
    let delivery = delivery(number, to);
    let asked = ClaimRequest {
        revision,
        ..asked(&delivery, at(now), at(now + 60))
    };
    store.claim(asked, to).await.unwrap()
}

async fn take<S: Ledger>(store: &S, number: u8, to: &ConversationKey, now: i64) -> AttemptLease {
    leased(claim(store, number, to, 0, now).await)
}

fn leased(claim: Claim) -> AttemptLease {
    match claim {
        Claim::Acquired(lease) => lease,
        other => panic!("not acquired: {other:?}"),
    }
}

async fn row<S: Ledger>(store: &S, delivery: &DeliveryKey) -> Option<Row> {
    let mut rows = store.rows(std::slice::from_ref(delivery)).await.unwrap();
    assert_eq!(rows.len(), 1);
    rows.pop().unwrap()
}

fn lease(attempt: u32, ambiguous_attempts: u32) -> AttemptLease {
    AttemptLease {
        attempt,
        ambiguous_attempts,
        sent: None,
        edits: None,
    }
}

fn sent(activity: &str, revision: u32) -> SentMessage {
    SentMessage {
        activity: Some(ActivityId::from(activity)),
        revision,
        attempted_revision: revision,
        supersedes: None,
    }
}

fn delivered(activity: &str, revision: u32) -> Outcome {
    Outcome::Delivered(sent(activity, revision))
}

const SETTLED: Outcome = Outcome::Unknown;

fn count(claims: &[Claim], wanted: impl Fn(&Claim) -> bool) -> usize {
    claims.iter().filter(|claim| wanted(claim)).count()
}

async fn of_fifty_concurrent_claims_one_wins<S: Ledger>(store: S) {
    let to = conversation("a:1");
    let claims = join_all((0..50).map(|_| claim(&store, 1, &to, 0, 0))).await;
    assert_eq!(count(&claims, |claim| *claim == Claim::Acquired(lease(1, 0))), 1);
    assert_eq!(
        count(&claims, |claim| *claim
            == Claim::LeasedElsewhere { until: at(60) }),
        49
    );
}

async fn of_fifty_deliveries_to_one_conversation_one_has_the_lease<S: Ledger>(store: S) {
    let to = conversation("a:1");
    let claims = join_all((0..50).map(|number| claim(&store, number, &to, 0, 0))).await;
    assert_eq!(count(&claims, |claim| *claim == Claim::Acquired(lease(1, 0))), 1);
    assert_eq!(
        count(&claims, |claim| *claim
            == Claim::ConversationBusy { until: at(1) }),
        49
    );
}

async fn deliveries_to_one_conversation_hold_its_lease_in_turn<S: Ledger>(store: S) {
    let to = conversation("a:1");
    for number in 1..4 {
        let lease = take(&store, number, &to, 0).await;
        for other in 1..4 {
            let claim = claim(&store, other, &to, 0, 0).await;
            let expected = match other.cmp(&number) {
                Ordering::Less => Claim::Settled(SETTLED),
                Ordering::Equal => Claim::LeasedElsewhere { until: at(60) },
                Ordering::Greater => Claim::ConversationBusy { until: at(1) },
            };
            assert_eq!(claim, expected);
        }
        let settled = store.settle(&delivery(number, &to), &lease, &SETTLED).await;
        assert_eq!(settled.unwrap(), CasResult::Committed);
    }
}

async fn conversations_do_not_wait_for_each_other<S: Ledger>(store: S) {
    for number in 0..20 {
        take(&store, 1, &conversation(&format!("a:{number}")), 0).await;
    }
}

async fn requests_to_one_conversation_keep_their_distance<S: Ledger>(store: S) {
    let to = conversation("a:1");
    for number in 0..6 {
        let lease = take(&store, number, &to, 0).await;
        store
            .settle(&delivery(number, &to), &lease, &SETTLED)
            .await
            .unwrap();
    }
    let Claim::ConversationBusy { until } = claim(&store, 6, &to, 0, 0).await else {
        panic!("a seventh request without a wait");
    };
    assert!(until > at(0) && until < at(10), "{until}");
    let seventh = delivery(6, &to);
    let soon = until.checked_sub(jiff::SignedDuration::from_millis(1)).unwrap();
    let early = store.claim(asked(&seventh, soon, at(60)), &to).await.unwrap();
    assert_eq!(early, Claim::ConversationBusy { until });
    let claimed = store.claim(asked(&seventh, until, at(60)), &to).await.unwrap();
    assert_eq!(claimed, Claim::Acquired(lease(1, 0)));
}

async fn a_lease_blocks_other_claims_until_its_deadline<S: Ledger>(store: S) {
    let to = conversation("a:1");
    take(&store, 1, &to, 0).await;
    assert_eq!(
        claim(&store, 1, &to, 0, 59).await,
        Claim::LeasedElsewhere { until: at(60) }
    );
    assert_eq!(
        claim(&store, 2, &to, 0, 59).await,
        Claim::ConversationBusy { until: at(60) }
    );
    assert_eq!(row(&store, &delivery(1, &to)).await, None, "there is no row yet");
}

async fn leases_are_returned_in_the_order_of_the_request<S: Ledger>(store: S) {
    let places = ["a:1", "a:2", "a:3"].map(conversation);
    for (number, place) in [(7, &places[0]), (8, &places[2])] {
        take(&store, number, place, 5).await;
    }
    let [first, second, third] = &places;
    let asked = [third.clone(), second.clone(), first.clone(), third.clone()];
    let leases = store.leases(&asked).await.unwrap();
    let holders: Vec<_> = leases
        .iter()
        .map(|lease| lease.as_ref().map(|lease| (lease.holder.clone(), lease.until)))
        .collect();
    let held = |number, place| Some((delivery(number, place), at(65)));
    assert_eq!(holders, [held(8, third), None, held(7, first), held(8, third)]);
    assert_eq!(store.leases(&[]).await.unwrap(), []);
}

async fn an_expired_lease_counts_as_an_ambiguous_attempt<S: Ledger>(store: S) {
    for (taker, expected) in [(1, lease(2, 1)), (2, lease(1, 0))] {
        let to = conversation(&format!("a:{taker}"));
        take(&store, 1, &to, 0).await;
        assert_eq!(take(&store, taker, &to, 60).await, expected);
        let dead = row(&store, &delivery(1, &to)).await.unwrap();
        assert_eq!((dead.attempt, dead.ambiguous_attempts), (1, 1));
        assert!(matches!(dead.state, State::Waiting { until, .. } if until == at(60)));
        let held = claim(&store, taker, &to, 0, 119).await;
        assert_eq!(held, Claim::LeasedElsewhere { until: at(120) });
    }
}

async fn of_fifty_takeovers_one_wins_and_one_ambiguous_attempt_is_counted<S: Ledger>(store: S) {
    let to = conversation("a:1");
    take(&store, 1, &to, 0).await;
    let claims = join_all((0..50).map(|_| claim(&store, 1, &to, 0, 60))).await;
    assert_eq!(count(&claims, |claim| *claim == Claim::Acquired(lease(2, 1))), 1);
    assert_eq!(
        count(&claims, |claim| *claim
            == Claim::LeasedElsewhere { until: at(120) }),
        49
    );
    let dead = row(&store, &delivery(1, &to)).await.unwrap();
    assert_eq!((dead.attempt, dead.ambiguous_attempts), (1, 1));
}

async fn of_fifty_takeovers_by_other_deliveries_one_wins<S: Ledger>(store: S) {
    let to = conversation("a:1");
    take(&store, 100, &to, 0).await;
    let claims = join_all((0..50).map(|number| claim(&store, number, &to, 0, 60))).await;
    assert_eq!(count(&claims, |claim| *claim == Claim::Acquired(lease(1, 0))), 1);
    assert_eq!(
        count(&claims, |claim| *claim
            == Claim::ConversationBusy { until: at(61) }),
        49
    );
    let dead = row(&store, &delivery(100, &to)).await.unwrap();
    assert_eq!((dead.attempt, dead.ambiguous_attempts), (1, 1));
}

async fn a_late_holder_may_only_settle_as_delivered<S: Ledger>(store: S) {
    for (number, taker) in [(1, 1), (2, 3)] {
        let to = conversation(&format!("a:{number}"));
        let delivery = delivery(number, &to);
        let late = take(&store, number, &to, 0).await;
        take(&store, taker, &to, 60).await;
        let released = store.release(&delivery, &late, at(70), "Throttled", 0).await;
        assert_eq!(released.unwrap(), CasResult::Conflict);
        let expired = store.settle(&delivery, &late, &Outcome::EXPIRED).await;
        assert_eq!(expired.unwrap(), CasResult::Conflict);
        for _ in 0..2 {
            let arrived = store.settle(&delivery, &late, &delivered("1", 0)).await;
            assert_eq!(arrived.unwrap(), CasResult::Committed);
        }
        let row = row(&store, &delivery).await.unwrap();
        assert_eq!(row.state, State::Settled(delivered("1", 0)));
        assert_eq!(
            claim(&store, number, &to, 0, 61).await,
            Claim::Settled(delivered("1", 0))
        );
    }
    // The worker that took over may have sent it too. Its settle conflicts with the stored outcome.
    let to = conversation("a:1");
    let settled = store
        .settle(&delivery(1, &to), &lease(2, 1), &delivered("2", 0))
        .await;
    assert_eq!(settled.unwrap(), CasResult::Conflict);
}

async fn every_outcome_is_stored_and_settles_the_delivery<S: Ledger>(store: S) {
    let without_id = SentMessage {
        activity: None,
        revision: 3,
        attempted_revision: 7,
        supersedes: None,
    };
    let outcomes = [
        delivered("1:abc|%\"", 2),
        Outcome::Delivered(without_id),
        Outcome::Rejected {
            code: "BadArgument".into(),
            detail: Some("Größe \u{1F980}".into()),
        },
        Outcome::Rejected {
            code: "BadArgument".into(),
            detail: None,
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
        Outcome::Skipped {
            reason: SkipReason::InstallForbidden,
        },
        Outcome::Skipped {
            reason: SkipReason::AppNotInCatalog,
        },
        Outcome::Skipped {
            reason: SkipReason::NoSuchPerson,
        },
        Outcome::EXPIRED,
        Outcome::Cancelled,
    ];
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let to = conversation(&format!("a:{number}"));
        let lease = take(&store, 1, &to, 0).await;
        let settled = store.settle(&delivery(1, &to), &lease, &outcome).await;
        assert_eq!(settled.unwrap(), CasResult::Committed);
        let expected = Row {
            state: State::Settled(outcome.clone()),
            attempt: 1,
            ambiguous_attempts: 0,
        };
        assert_eq!(row(&store, &delivery(1, &to)).await, Some(expected));
        assert_eq!(claim(&store, 1, &to, 0, 1_000).await, Claim::Settled(outcome));
    }
}

async fn settling_again_changes_nothing<S: Ledger>(store: S) {
    let to = conversation("a:1");
    let delivery = delivery(1, &to);
    let lease = take(&store, 1, &to, 0).await;
    for _ in 0..2 {
        let settled = store.settle(&delivery, &lease, &SETTLED).await;
        assert_eq!(settled.unwrap(), CasResult::Committed);
    }
    for other in [Outcome::EXPIRED, delivered("1", 0)] {
        let settled = store.settle(&delivery, &lease, &other).await;
        assert_eq!(settled.unwrap(), CasResult::Conflict);
    }
    let row = row(&store, &delivery).await.unwrap();
    assert_eq!(row.state, State::Settled(SETTLED));
}

async fn a_released_delivery_waits_and_is_then_claimed_again<S: Ledger>(store: S) {
    let to = conversation("a:1");
    let delivery = delivery(1, &to);
    let first = take(&store, 1, &to, 0).await;
    for _ in 0..2 {
        let released = store.release(&delivery, &first, at(90), "Throttled", 0).await;
        assert_eq!(released.unwrap(), CasResult::Committed);
    }
    let waiting = Row {
        state: State::Waiting {
            until: at(90),
            reason: "Throttled".into(),
        },
        attempt: 1,
        ambiguous_attempts: 0,
    };
    assert_eq!(row(&store, &delivery).await, Some(waiting));
    assert_eq!(
        claim(&store, 1, &to, 0, 89).await,
        Claim::NotDue { until: at(90) }
    );
    // While it waits, the conversation lease belongs to another delivery.
    let other = take(&store, 2, &to, 80).await;
    assert_eq!(
        claim(&store, 1, &to, 0, 90).await,
        Claim::ConversationBusy { until: at(91) }
    );
    store
        .settle(&self::delivery(2, &to), &other, &SETTLED)
        .await
        .unwrap();
    let again = take(&store, 1, &to, 90).await;
    assert_eq!(again, lease(2, 0));
    let settled = store.settle(&delivery, &first, &SETTLED).await;
    assert_eq!(settled.unwrap(), CasResult::Conflict);
    let settled = store.settle(&delivery, &again, &SETTLED).await;
    assert_eq!(settled.unwrap(), CasResult::Committed);
}

async fn a_release_keeps_ambiguous_attempts<S: Ledger>(store: S) {
    let to = conversation("a:1");
    let delivery = delivery(1, &to);
    let first = take(&store, 1, &to, 0).await;
    store
        .release(&delivery, &first, at(10), "Timeout", 1)
        .await
        .unwrap();
    let second = take(&store, 1, &to, 10).await;
    assert_eq!(second, lease(2, 1));
    store.settle(&delivery, &second, &SETTLED).await.unwrap();
    assert_eq!(row(&store, &delivery).await.unwrap().ambiguous_attempts, 1);
}

async fn a_sent_message_is_claimed_again_for_an_update<S: Ledger>(store: S) {
    let to = conversation("a:1");
    let delivery = delivery(1, &to);
    let sending = take(&store, 1, &to, 0).await;
    store
        .settle(&delivery, &sending, &delivered("1", 0))
        .await
        .unwrap();
    assert_eq!(
        claim(&store, 1, &to, 0, 9).await,
        Claim::Settled(delivered("1", 0))
    );
    let editing = leased(claim(&store, 1, &to, 1, 10).await);
    assert_eq!((editing.attempt, &editing.sent), (2, &Some(sent("1", 0))));
    // A released update keeps the sent message, and is claimed again.
    for _ in 0..2 {
        let released = store.release(&delivery, &editing, at(20), "Throttled", 0).await;
        assert_eq!(released.unwrap(), CasResult::Committed);
    }
    let again = leased(claim(&store, 1, &to, 1, 20).await);
    assert_eq!((again.attempt, &again.sent), (3, &Some(sent("1", 0))));
    let late = store.settle(&delivery, &editing, &delivered("1", 1)).await;
    assert_eq!(late.unwrap(), CasResult::Conflict);
    for _ in 0..2 {
        let settled = store.settle(&delivery, &again, &delivered("1", 1)).await;
        assert_eq!(settled.unwrap(), CasResult::Committed);
    }
    assert_eq!(
        claim(&store, 1, &to, 1, 30).await,
        Claim::Settled(delivered("1", 1))
    );
    // A late settle of the first send does not overwrite the later update.
    let late = store.settle(&delivery, &sending, &delivered("1", 0)).await;
    assert_eq!(late.unwrap(), CasResult::Conflict);
}

async fn an_expired_update_lease_is_not_ambiguous_and_keeps_the_message<S: Ledger>(store: S) {
    for taker in [1, 2] {
        let to = conversation(&format!("a:{taker}"));
        let delivery = delivery(1, &to);
        let sending = take(&store, 1, &to, 0).await;
        store
            .settle(&delivery, &sending, &delivered("1", 0))
            .await
            .unwrap();
        leased(claim(&store, 1, &to, 1, 10).await);
        leased(claim(&store, taker, &to, 1, 70).await);
        let row = row(&store, &delivery).await.unwrap();
        assert_eq!((row.attempt, row.ambiguous_attempts), (2, 0));
        assert_eq!(row.state, State::Settled(delivered("1", 0)));
    }
}

async fn a_delivery_without_a_conversation_is_settled_once<S: Ledger>(store: S) {
    let nobody = DeliveryKey::new(
        &NotificationId::fresh(at(0), [1; 16]),
        &Recipient::User("u".into()),
    );
    let skipped = Outcome::Skipped {
        reason: SkipReason::NoConversation,
    };
    for _ in 0..2 {
        assert_eq!(store.settle_unclaimed(&nobody, &skipped).await.unwrap(), skipped);
    }
    let stands = store.settle_unclaimed(&nobody, &Outcome::EXPIRED).await.unwrap();
    assert_eq!(stands, skipped, "the earlier outcome");
    let names = [nobody.clone(), delivery(9, &conversation("a:unknown"))];
    let dated = store.dated_rows(&names).await.unwrap();
    let rows = dated
        .iter()
        .map(|dated| dated.as_ref().map(|dated| dated.row.clone()));
    assert_eq!(rows.collect::<Vec<_>>(), store.rows(&names).await.unwrap());
    // In memory only if the store has a clock.
    let written_at = dated[0].as_ref().and_then(|dated| dated.written_at);
    assert!(written_at.is_none_or(|moment| moment > at(-100_000_000)));
    let expected = Row {
        state: State::Settled(skipped),
        attempt: 0,
        ambiguous_attempts: 0,
    };
    assert_eq!(row(&store, &nobody).await, Some(expected));
}

async fn a_delivery_without_a_conversation_is_deferred_until_it_is_settled<S: Ledger>(store: S) {
    let nobody = DeliveryKey::new(
        &NotificationId::fresh(at(0), [1; 16]),
        &Recipient::User("u".into()),
    );
    // The last deferral wins; writing the same one again changes nothing.
    for (until, reason, tries) in [
        (5, "Installing", 0),
        (30, "Throttled", 2),
        (30, "Throttled", 2),
        (20, "Größe", 1),
    ] {
        assert_eq!(
            store.defer(&nobody, at(until), reason, tries).await.unwrap(),
            None
        );
        let expected = Row {
            state: State::Waiting {
                until: at(until),
                reason: reason.into(),
            },
            attempt: tries,
            ambiguous_attempts: 0,
        };
        assert_eq!(row(&store, &nobody).await, Some(expected));
    }
    assert_eq!(
        store.settle_unclaimed(&nobody, &Outcome::EXPIRED).await.unwrap(),
        Outcome::EXPIRED
    );
    let ended = row(&store, &nobody).await.unwrap();
    assert_eq!(ended.state, State::Settled(Outcome::EXPIRED));
}

async fn a_settled_delivery_is_not_deferred<S: Ledger>(store: S) {
    let nobody = DeliveryKey::new(
        &NotificationId::fresh(at(0), [1; 16]),
        &Recipient::User("u".into()),
    );
    store.settle_unclaimed(&nobody, &delivered("1", 0)).await.unwrap();
    let late = store.defer(&nobody, at(5), "Installing", 0).await.unwrap();
    assert_eq!(late, Some(delivered("1", 0)));
    let ended = row(&store, &nobody).await.unwrap();
    assert_eq!(ended.state, State::Settled(delivered("1", 0)));
}

async fn a_retryable_delivery_keeps_its_ambiguous_attempts<S: Ledger>(store: S) {
    let to = conversation("a:1");
    let left = store
        .mark_retryable(&delivery(1, &to), at(30), "Throttled", 1)
        .await;
    assert_eq!(left.unwrap(), None);
    // A repeated or different late write changes nothing.
    let again = store.mark_retryable(&delivery(1, &to), at(90), "Other", 3).await;
    assert_eq!(again.unwrap(), None);
    let standing = row(&store, &delivery(1, &to)).await.unwrap();
    let waiting = State::Waiting {
        until: at(30),
        reason: "Throttled".to_owned(),
    };
    assert_eq!((&standing.state, standing.attempt), (&waiting, 0));
    assert_eq!(
        claim(&store, 1, &to, 0, 29).await,
        Claim::NotDue { until: at(30) }
    );
    assert_eq!(take(&store, 1, &to, 30).await, lease(1, 1));
    let settled = store.settle(&delivery(1, &to), &lease(1, 1), &SETTLED).await;
    assert_eq!(settled.unwrap(), CasResult::Committed);
}

async fn a_settled_delivery_is_not_marked_retryable<S: Ledger>(store: S) {
    let to = conversation("a:1");
    store
        .settle_unclaimed(&delivery(1, &to), &Outcome::EXPIRED)
        .await
        .unwrap();
    let left = store
        .mark_retryable(&delivery(1, &to), at(30), "Throttled", 0)
        .await;
    assert_eq!(left.unwrap(), Some(Outcome::EXPIRED));
    assert_eq!(
        claim(&store, 1, &to, 0, 60).await,
        Claim::Settled(Outcome::EXPIRED)
    );
}

async fn a_delivered_delivery_is_not_settled_otherwise<S: Ledger>(store: S) {
    let to = conversation("a:1");
    let delivery = delivery(1, &to);
    let lease = take(&store, 1, &to, 0).await;
    store.settle(&delivery, &lease, &delivered("1", 0)).await.unwrap();
    let ended = store
        .settle_unclaimed(&delivery, &Outcome::Cancelled)
        .await
        .unwrap();
    assert_eq!(ended, delivered("1", 0));
}

async fn the_row_of_a_person_has_the_current_message_after_each_revision<S: Ledger>(store: S) {
    let person = DeliveryKey::new(
        &NotificationId::fresh(at(0), [1; 16]),
        &Recipient::User("u".into()),
    );
    for (told, stands) in [(0, 0), (2, 2), (1, 2), (3, 3)] {
        let ended = store
            .settle_unclaimed(&person, &delivered("1", told))
            .await
            .unwrap();
        assert_eq!(ended, delivered("1", stands));
        let standing = row(&store, &person).await.unwrap();
        assert_eq!(standing.state, State::Settled(delivered("1", stands)));
    }
}

async fn rows_are_returned_in_the_order_of_the_request<S: Ledger>(store: S) {
    let number = |delivery: usize| {
        let user = format!("user-{delivery}");
        DeliveryKey::new(
            &NotificationId::fresh(at(0), [1; 16]),
            &Recipient::User(user.as_str().into()),
        )
    };
    let outcome = |delivery: usize| Outcome::Gone {
        code: delivery.to_string(),
    };
    for even in (0..250).step_by(2) {
        store
            .settle_unclaimed(&number(even), &outcome(even))
            .await
            .unwrap();
    }
    // Descending, and one of them three times.
    let asked: Vec<usize> = (0..250).rev().chain([8, 8]).collect();
    let keys: Vec<DeliveryKey> = asked.iter().map(|delivery| number(*delivery)).collect();
    let rows = store.rows(&keys).await.unwrap();
    let found: Vec<Option<State>> = rows.into_iter().map(|row| Some(row?.state)).collect();
    let expected: Vec<Option<State>> = asked
        .into_iter()
        .map(|delivery| (delivery % 2 == 0).then(|| State::Settled(outcome(delivery))))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(store.rows(&[]).await.unwrap(), []);
}

async fn deliveries_to_hostile_ids_do_not_collide<S: Ledger>(store: S) {
    let long = "x".repeat(1900);
    let longest = [1, 2].map(|last| format!("{}{last}", "ü".repeat(1200)));
    let hostile = [
        "a|b",
        "a%7Cb",
        "a#b",
        "a\"b",
        "ä\u{0000}\u{1F980}",
        &long,
        &longest[0],
        &longest[1],
    ];
    for id in hostile {
        take(&store, 1, &conversation(id), 0).await;
    }
    for id in hostile {
        let to = conversation(id);
        let held = claim(&store, 1, &to, 0, 1).await;
        assert_eq!(held, Claim::LeasedElsewhere { until: at(60) }, "{id}");
        let busy = claim(&store, 2, &to, 0, 1).await;
        assert_eq!(busy, Claim::ConversationBusy { until: at(2) }, "{id}");
        let settled = store.settle(&delivery(1, &to), &lease(1, 0), &SETTLED).await;
        assert_eq!(settled.unwrap(), CasResult::Committed);
    }
}

/// Reproducible random numbers.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Three deliveries, two of them to one conversation. Workers claim, settle, release, forget, and write late.
#[tokio::test]
async fn both_backends_answer_random_operations_alike() {
    for seed in 0..30 {
        let (memory, database) = (herald::store::memory::Store::new(), Database::start().await);
        let dynamodb = database.ledger();
        let mut chance = Chance(seed);
        let places = [conversation("a:1"), conversation("a:2")];
        let deliveries = [(1, 0), (2, 0), (1, 1)];
        let mut leases: Vec<(DeliveryKey, AttemptLease)> = Vec::new();
        let (mut now, mut revision) = (0, 0);
        for step in 0..80 {
            let place = format!("seed {seed}, step {step}");
            now += i64::try_from(chance.below(25)).unwrap();
            revision += u32::from(chance.below(10) == 0);
            match (chance.below(5), leases.is_empty()) {
                (0..2, _) | (_, true) => {
                    let (number, to) = deliveries[usize::try_from(chance.below(3)).unwrap()];
                    let to = &places[to];
                    let said = claim(&memory, number, to, revision, now).await;
                    assert_eq!(claim(&dynamodb, number, to, revision, now).await, said, "{place}");
                    if let Claim::Acquired(lease) = said {
                        leases.push((delivery(number, to), lease));
                    }
                }
                // Mostly the last lease, and sometimes an old one.
                (kind, false) => {
                    let back = chance.below(3) * chance.below(2) * chance.below(4);
                    let back = usize::try_from(back).unwrap().min(leases.len() - 1);
                    let (delivery, lease) = &leases[leases.len() - 1 - back];
                    if kind == 2 {
                        let until = at(now + 20);
                        let said =
                            memory.release(delivery, lease, until, "Throttled", lease.ambiguous_attempts);
                        let said = said.await.unwrap();
                        let also =
                            dynamodb.release(delivery, lease, until, "Throttled", lease.ambiguous_attempts);
                        assert_eq!(also.await.unwrap(), said, "{place}");
                    } else {
                        let outcome = match chance.below(3) {
                            0 if lease.sent.is_none() => Outcome::EXPIRED,
                            _ => delivered("1", revision),
                        };
                        let said = memory.settle(delivery, lease, &outcome).await.unwrap();
                        let also = dynamodb.settle(delivery, lease, &outcome).await.unwrap();
                        assert_eq!(also, said, "{place}");
                    }
                }
            }
            let all: Vec<_> = deliveries
                .iter()
                .map(|(number, to)| delivery(*number, &places[*to]))
                .collect();
            let rows = memory.rows(&all).await.unwrap();
            assert_eq!(dynamodb.rows(&all).await.unwrap(), rows, "{place}");
        }
    }
}
