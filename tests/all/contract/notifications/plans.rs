//! The contract of `store::Notifications`: a plan is confirmed once.

use super::*;

on_every_backend! { notifications:
    a_plan_is_confirmed_once,
    of_twenty_concurrent_confirmations_one_is_stored,
    a_plan_is_cancelled_or_confirmed_and_never_both,
    a_confirmation_that_is_rolled_back_leaves_the_plan_open,
    a_repeated_confirmation_under_a_key_is_the_same_notification,
}

/// A dry run whose audience is counted.
async fn plan<S: Notifications>(store: &S, number: u8) {
    let mut plan = acceptance(number);
    plan.notification.start = StartPolicy::DryRun;
    plan.notification.parts_planned = plan.notification.parts;
    assert_eq!(store.accept(&plan).await.unwrap(), Accept::Created);
    assert_eq!(find(store, number).await.state(), State::Held);
}

fn confirmation(number: u8, plan: u8) -> Acceptance {
    let mut confirmation = acceptance(number);
    confirmation.notification.confirms = Some(id(plan));
    confirmation
}

async fn a_plan_is_confirmed_once<S: Notifications>(store: S) {
    plan(&store, 1).await;
    for _ in 0..2 {
        // The second time as after a lost answer.
        assert_eq!(store.accept(&confirmation(2, 1)).await.unwrap(), Accept::Created);
    }
    let confirmed = find(&store, 1).await;
    assert_eq!(
        (confirmed.state(), &confirmed.confirmed_as),
        (State::Confirmed, &Some(id(2)))
    );
    assert_eq!(find(&store, 2).await.confirms, Some(id(1)));
    let again = store.accept(&confirmation(3, 1)).await.unwrap();
    assert_eq!(again, Accept::NotConfirmable(Some(Box::new(confirmed))));
    assert_eq!(store.find(&id(3)).await.unwrap(), None);
    assert_eq!(store.audience(&id(3)).await.unwrap(), None);
    let unknown = store.accept(&confirmation(4, 9)).await.unwrap();
    assert_eq!(unknown, Accept::NotConfirmable(None));
    assert_eq!(store.find(&id(4)).await.unwrap(), None);
    assert_eq!(store.find(&id(9)).await.unwrap(), None);
}

async fn of_twenty_concurrent_confirmations_one_is_stored<S: Notifications>(store: S) {
    plan(&store, 100).await;
    let confirmations: Vec<_> = (0..20).map(|number| confirmation(number, 100)).collect();
    let answers = join_all(
        confirmations
            .iter()
            .map(|confirmation| store.accept(confirmation)),
    )
    .await;
    let created: Vec<usize> = (0..20)
        .filter(|number| matches!(answers[*number], Ok(Accept::Created)))
        .collect();
    assert_eq!(created.len(), 1, "{answers:?}");
    let winner = id(u8::try_from(created[0]).unwrap());
    assert_eq!(find(&store, 100).await.confirmed_as, Some(winner.clone()));
    for number in 0..20 {
        let stored = store.find(&id(number)).await.unwrap().is_some();
        assert_eq!(stored, id(number) == winner);
    }
}

async fn a_plan_is_cancelled_or_confirmed_and_never_both<S: Notifications>(store: S) {
    plan(&store, 1).await;
    store.accept(&confirmation(2, 1)).await.unwrap();
    let plan_then = store.cancel(&id(1), at(5)).await.unwrap().unwrap();
    assert_eq!(
        (plan_then.cancelled_at, plan_then.state()),
        (None, State::Confirmed)
    );
    let content = Content::Nothing;
    let revised = store.revise(&id(1), &content, at(6)).await.unwrap();
    assert_eq!(revised, Revise::Confirmed(id(2)));
    plan(&store, 5).await;
    store.revise(&id(5), &content, at(6)).await.unwrap();
    let retracted = find(&store, 5).await;
    assert_eq!((retracted.state(), retracted.open()), (State::Cancelled, 0));
    let answer = store.accept(&confirmation(6, 5)).await.unwrap();
    assert_eq!(answer, Accept::NotConfirmable(Some(Box::new(retracted))));
    plan(&store, 3).await;
    store.cancel(&id(3), at(5)).await.unwrap().unwrap();
    let cancelled = find(&store, 3).await;
    let answer = store.accept(&confirmation(4, 3)).await.unwrap();
    assert_eq!(answer, Accept::NotConfirmable(Some(Box::new(cancelled))));
    assert_eq!(store.find(&id(4)).await.unwrap(), None);
}

async fn a_confirmation_that_is_rolled_back_leaves_the_plan_open<S: Notifications>(store: S) {
    plan(&store, 1).await;
    store.accept(&confirmation(2, 1)).await.unwrap();
    for _ in 0..2 {
        assert!(store.roll_back(&id(2)).await.unwrap());
    }
    assert_eq!(find(&store, 1).await.state(), State::Held);
    assert_eq!(store.accept(&confirmation(3, 1)).await.unwrap(), Accept::Created);
    // A roll-back of another one does not open it.
    store.accept(&acceptance(4)).await.unwrap();
    assert!(store.roll_back(&id(4)).await.unwrap());
    assert_eq!(find(&store, 1).await.confirmed_as, Some(id(3)));
}

async fn a_repeated_confirmation_under_a_key_is_the_same_notification<S: Notifications>(store: S) {
    plan(&store, 1).await;
    let keyed = |number| Acceptance {
        idempotency: under_key(number, "body").idempotency,
        ..confirmation(number, 1)
    };
    assert_eq!(store.accept(&keyed(2)).await.unwrap(), Accept::Created);
    assert_eq!(store.accept(&keyed(3)).await.unwrap(), Accept::Duplicate(id(2)));
}
