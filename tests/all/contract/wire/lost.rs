//! Lost answers: the request was executed, and is retried.

use herald::batch::{BatchKey, BatchRecord, Stage};
use herald::conversation::{Creation, CreationLease, Feedback, State as ConversationState, StateKey};
use herald::delivery::{Claim, Outcome, SkipReason, State};
use herald::rate_limit::Reservation;
use herald::store::{
    Accept, CasResult, Close, ConversationFilter, Conversations, Error, Idempotency, Ledger, Notifications,
    Revise, Upsert,
};
use tests::database::{conversations_at, ledger_at, notifications_at};

use super::super::at;
use super::{
    CHUNK, DELIVERED, acceptance, claim, content, delivery, first_lease, id, key, lease, member, observation,
    page, person, reserve, result, tags, wired,
};

/// Skips the read of a claim, so that the answer to its write is lost.
const READ: usize = 1;

#[tokio::test]
async fn a_lease_survives_a_lost_answer() {
    let (wire, _database) = wired().await;
    let ledger = ledger_at(wire.address());
    // Without an earlier lease.
    wire.lose_answers_after(READ, 1);
    assert_eq!(claim(&ledger, 1, 0).await, Claim::Acquired(first_lease()));
    let repeated = ["BatchGetItem", "PutItem", "PutItem"];
    assert_eq!(wire.take_operations(), repeated, "the write was made again");
    assert_eq!(
        claim(&ledger, 1, 0).await,
        Claim::LeasedElsewhere { until: at(60) }
    );
    ledger
        .release(&delivery(1), &first_lease(), at(5), "Throttled", 0)
        .await
        .unwrap();
    // After an expired lease of another delivery.
    wire.lose_answers_after(READ, 1);
    let again = lease(claim(&ledger, 1, 5).await);
    assert_eq!((again.attempt, again.ambiguous_attempts), (2, 0));
    assert_eq!(
        claim(&ledger, 1, 5).await,
        Claim::LeasedElsewhere { until: at(65) }
    );
}

#[tokio::test]
async fn an_ambiguous_attempt_is_recorded_once_after_a_lost_answer() {
    for (taker, reads) in [(1, READ), (2, READ + 1)] {
        let (wire, _database) = wired().await;
        let ledger = ledger_at(wire.address());
        claim(&ledger, 1, 0).await;
        wire.lose_answers_after(reads, 1);
        lease(claim(&ledger, taker, 60).await);
        let row = ledger.rows(&[delivery(1)]).await.unwrap().remove(0).unwrap();
        assert_eq!((row.attempt, row.ambiguous_attempts), (1, 1));
        // After an expired lease of the same delivery.
        wire.lose_answers_after(READ + 1, 1);
        lease(claim(&ledger, taker, 120).await);
    }
}

#[tokio::test]
async fn settle_release_and_defer_survive_a_lost_answer() {
    let (wire, _database) = wired().await;
    let ledger = ledger_at(wire.address());
    let first = lease(claim(&ledger, 1, 0).await);
    wire.take_operations();
    wire.lose_answers(1);
    let released = ledger.release(&delivery(1), &first, at(5), "Throttled", 0).await;
    assert_eq!(released.unwrap(), CasResult::Committed);
    assert_eq!(wire.take_operations(), ["PutItem", "PutItem"]);
    let second = lease(claim(&ledger, 1, 5).await);
    for lost in [1, 1] {
        wire.lose_answers(lost);
        let settled = ledger.settle(&delivery(1), &second, &DELIVERED).await;
        assert_eq!(settled.unwrap(), CasResult::Committed);
    }
    let row = ledger.rows(&[delivery(1)]).await.unwrap().remove(0).unwrap();
    assert_eq!(row.state, State::Settled(DELIVERED));
    let skipped = Outcome::Skipped {
        reason: SkipReason::NoConversation,
    };
    wire.lose_answers(1);
    let put_off = ledger.defer(&delivery(2), at(5), "Installing", 0).await;
    assert_eq!(put_off.unwrap(), None);
    wire.lose_answers(1);
    assert_eq!(
        ledger.settle_unclaimed(&delivery(2), &skipped).await.unwrap(),
        skipped
    );
}

#[tokio::test]
async fn a_step_of_a_batch_survives_a_lost_answer() {
    let (wire, _database) = wired().await;
    let ledger = ledger_at(wire.address());
    let batch = BatchKey::new(&id(), CHUNK);
    wire.lose_answers(1);
    let begun = BatchRecord::begin(None, at(60), Vec::new());
    assert_eq!(
        ledger.compare_and_set_batch_record(&batch, &begun).await.unwrap(),
        CasResult::Committed
    );
    assert_eq!(wire.take_operations(), ["PutItem", "PutItem"]);
    // Another worker with an identical step has not taken it.
    let other = ledger_at(wire.address());
    assert_eq!(
        other.compare_and_set_batch_record(&batch, &begun).await.unwrap(),
        CasResult::Conflict
    );
    wire.lose_answers(1);
    let over = begun.at(Stage::Done);
    assert_eq!(
        ledger.compare_and_set_batch_record(&batch, &over).await.unwrap(),
        CasResult::Committed
    );
    wire.lose_answers(1);
    let left = ledger.mark_retryable(&delivery(1), at(5), "Throttled", 0).await;
    assert_eq!(left.unwrap(), None);
    assert_eq!(ledger.batch(&batch).await.unwrap(), Some(over));
}

#[tokio::test]
async fn a_permit_is_reserved_once_after_a_lost_answer() {
    let (wire, _database) = wired().await;
    let ledger = ledger_at(wire.address());
    let mut slots = Vec::new();
    for _ in 0..3 {
        // The first loses the answer to its read, the others to their write.
        wire.lose_answers(1);
        let Reservation::Permits { permits, .. } = reserve(&ledger, 0).await.unwrap() else {
            panic!("no permit");
        };
        slots.push(permits.slot(0));
    }
    let first = slots[0];
    let apart: Vec<i64> = slots
        .iter()
        .map(|slot| slot.as_millisecond() - first.as_millisecond())
        .collect();
    assert_eq!(apart, [0, 23, 46], "45 in a second, and none is left out");
}

#[tokio::test]
async fn a_rate_that_could_not_be_written_is_read_again() {
    let (wire, _database) = wired().await;
    let ledger = ledger_at(wire.address());
    reserve(&ledger, 0).await.unwrap();
    wire.lose_answers(3);
    assert!(matches!(
        reserve(&ledger, 0).await,
        Err(Error::Unavailable { .. })
    ));
    wire.take_operations();
    reserve(&ledger, 0).await.unwrap();
    assert_eq!(wire.take_operations(), ["GetItem", "PutItem"]);
}

#[tokio::test]
async fn cancel_revise_and_complete_count_once_after_lost_answers() {
    let (wire, _database) = wired().await;
    let notifications = notifications_at(wire.address());
    notifications.accept(&acceptance(None)).await.unwrap();
    notifications
        .close_chunk(&id(), CHUNK, 0, &result())
        .await
        .unwrap();
    wire.lose_answers(1);
    let cancelled = notifications.cancel(&id(), at(1)).await.unwrap().unwrap();
    assert_eq!(cancelled.cancelled_at, Some(at(1)));
    // The answer to the read, to the transaction, to the second read.
    for (number, lost) in [(1, 0), (2, 1), (3, 2)] {
        wire.lose_answers_after(lost, 1);
        let Revise::Revised(revised) = notifications.revise(&id(), &content(), at(2)).await.unwrap() else {
            panic!("not revised");
        };
        assert_eq!(revised.revision, number);
    }
    // The transaction that fails, and the one that succeeds.
    wire.lose_answers(1);
    let closed = notifications.close_chunk(&id(), CHUNK, 3, &result()).await;
    assert_eq!(closed.unwrap(), Close::Closed);
    notifications.revise(&id(), &content(), at(2)).await.unwrap();
    wire.lose_answers_after(1, 1);
    let closed = notifications.close_chunk(&id(), CHUNK, 4, &result()).await;
    assert_eq!(closed.unwrap(), Close::Closed);
    wire.lose_answers(1);
    assert!(notifications.complete(&id(), at(3)).await.unwrap());
    assert!(!notifications.complete(&id(), at(3)).await.unwrap());
    let head = notifications.find(&id()).await.unwrap().unwrap();
    assert_eq!(
        (head.chunks_closed, head.chunks_current, head.counts),
        (1, 1, result().counts)
    );
    assert_eq!(head.completed_at, Some(at(3)));
}

#[tokio::test]
async fn accept_plan_and_close_count_once_after_lost_answers() {
    let (wire, _database) = wired().await;
    let notifications = notifications_at(wire.address());
    wire.lose_answers(1);
    assert_eq!(
        notifications.accept(&acceptance(None)).await.unwrap(),
        Accept::Created
    );
    wire.lose_answers(1);
    assert!(notifications.put_page(&id(), 0, 0, &page()).await.unwrap());
    wire.lose_answers(1);
    notifications
        .close_chunk(&id(), CHUNK, 0, &result())
        .await
        .unwrap();
    let head = notifications.find(&id()).await.unwrap().unwrap();
    assert_eq!(
        (head.audience, head.chunks, head.parts_planned, head.chunks_closed),
        (1, 1, 1, 1)
    );
    assert_eq!(head.counts, result().counts);
    assert_eq!(wire.take_operations().len(), 7);
}

#[tokio::test]
async fn a_call_repeated_after_all_answers_were_lost_counts_once() {
    let (wire, _database) = wired().await;
    let notifications = notifications_at(wire.address());
    let idempotency = Idempotency {
        key: "key".into(),
        body: "body".into(),
        until: at(60),
    };
    let acceptance = acceptance(Some(idempotency));
    wire.lose_answers(3);
    assert!(matches!(
        notifications.accept(&acceptance).await,
        Err(Error::Unavailable { .. })
    ));
    assert_eq!(
        notifications.accept(&acceptance).await.unwrap(),
        Accept::Duplicate(id())
    );
    wire.lose_answers(3);
    assert!(matches!(
        notifications.put_page(&id(), 0, 0, &page()).await,
        Err(Error::Unavailable { .. })
    ));
    assert!(!notifications.put_page(&id(), 0, 0, &page()).await.unwrap());
    wire.lose_answers(3);
    assert!(matches!(
        notifications.close_chunk(&id(), CHUNK, 0, &result()).await,
        Err(Error::Unavailable { .. })
    ));
    notifications
        .close_chunk(&id(), CHUNK, 0, &result())
        .await
        .unwrap();
    let head = notifications.find(&id()).await.unwrap().unwrap();
    assert_eq!(
        (head.audience, head.chunks_closed, head.counts),
        (1, 1, result().counts)
    );
}

#[tokio::test]
async fn feedback_is_applied_once_after_a_lost_answer() {
    let (wire, _database) = wired().await;
    let conversations = conversations_at(wire.address());
    conversations.remember(observation(), at(0)).await.unwrap();
    wire.lose_answers_after(READ, 1);
    let feedback = Feedback::Blocked("ConversationBlockedByUser".into());
    conversations
        .apply_feedback(&key(), 1, &feedback, at(1))
        .await
        .unwrap();
    let record = conversations.get_many(&[key()]).await.unwrap().remove(0);
    assert_eq!(record.version, 2);
    assert!(matches!(record.state, ConversationState::Blocked { .. }));
}

#[tokio::test]
async fn a_conversation_is_stored_once_after_a_lost_answer() {
    let (wire, _database) = wired().await;
    let conversations = conversations_at(wire.address());
    conversations.remember(observation(), at(0)).await.unwrap();
    conversations.mark_removed(&key(), at(1)).await.unwrap();
    // The answer to the read, then to the write.
    wire.lose_answers(1);
    assert_eq!(
        conversations.remember(observation(), at(2)).await.unwrap(),
        Upsert::Changed
    );
    assert_eq!(conversations.get_many(&[key()]).await.unwrap()[0].version, 3);
}

#[tokio::test]
async fn tag_and_erase_take_effect_once_after_a_lost_answer() {
    let (wire, database) = wired().await;
    let conversations = conversations_at(wire.address());
    conversations.remember(observation(), at(0)).await.unwrap();
    let vip = tags(&["vip"]);
    wire.lose_answers_after(READ, 1);
    let tagged = conversations.tag(&key(), &vip, &[], at(1)).await.unwrap();
    assert_eq!(tagged, Some(vip.clone()));
    let record = conversations.get_many(&[key()]).await.unwrap().remove(0);
    assert_eq!(record.version, 2);
    // After all answers were lost and the call was repeated.
    wire.lose_answers_after(READ, 3);
    let beta = tags(&["beta"]);
    let away = conversations.tag(&key(), &beta, &vip, at(1)).await;
    assert!(matches!(away, Err(Error::Unavailable { .. })));
    let tagged = conversations.tag(&key(), &beta, &vip, at(2)).await.unwrap();
    assert_eq!(tagged, Some(beta));
    let record = conversations.get_many(&[key()]).await.unwrap().remove(0);
    assert_eq!((record.version, record.changed_at), (3, at(0)));
    let under = async |name: &str| {
        let selection = ConversationFilter::Tag(name.into());
        conversations
            .list(&selection, None, 10)
            .await
            .unwrap()
            .items
            .len()
    };
    assert_eq!((under("vip").await, under("beta").await), (0, 1));
    assert_eq!(database.items_of_conversations(), 2, "its links are deleted");
    wire.lose_answers_after(2 * READ, 1);
    assert!(conversations.erase(&key()).await.unwrap());
    assert!(conversations.get_many(&[key()]).await.unwrap().is_empty());
    assert_eq!(under("beta").await, 0);
}

#[tokio::test]
async fn an_interrupted_erasure_continues_where_it_stopped() {
    let (wire, database) = wired().await;
    let conversations = conversations_at(wire.address());
    // The lost answers are those to deleting the link of the person, to deleting the record, and to the last read.
    for passing in [1, 3, 4] {
        conversations.remember(observation(), at(0)).await.unwrap();
        let vip = tags(&["vip"]);
        conversations.tag(&key(), &vip, &[], at(1)).await.unwrap();
        let made = Creation::Conversation(key());
        conversations.finish_creation(&person(), &made).await.unwrap();
        wire.lose_answers_after(passing, 3);
        let cut = conversations.erase(&key()).await;
        assert!(matches!(cut, Err(Error::Unavailable { .. })));
        wire.lose_answers(0);
        conversations.erase(&key()).await.unwrap();
        assert!(!conversations.erase(&key()).await.unwrap());
        assert_eq!(database.items_of_conversations(), 0);
    }
}

#[tokio::test]
async fn a_creation_lease_survives_a_lost_answer() {
    let (wire, _database) = wired().await;
    let conversations = conversations_at(wire.address());
    conversations.remember(observation(), at(0)).await.unwrap();
    let yours = CreationLease::Acquired {
        installing_since: None,
    };
    for second in [0, 60] {
        wire.lose_answers_after(READ, 1);
        let asked = conversations
            .acquire_creation_lease(&person(), at(second), at(second + 60))
            .await;
        assert_eq!(asked.unwrap(), yours);
    }
    wire.lose_answers_after(READ, 1);
    let installing = Creation::InstallPending(at(61));
    conversations
        .finish_creation(&person(), &installing)
        .await
        .unwrap();
    let made = Creation::Conversation(key());
    wire.lose_answers_after(READ, 1);
    conversations.finish_creation(&person(), &made).await.unwrap();
    let asked = conversations
        .acquire_creation_lease(&person(), at(63), at(123))
        .await;
    assert_eq!(asked.unwrap(), CreationLease::Exists(key()));
}

#[tokio::test]
async fn a_lost_answer_makes_no_recipient_a_duplicate() {
    let (wire, _database) = wired().await;
    let notifications = notifications_at(wire.address());
    wire.lose_answers(1);
    let repeated = notifications.claim_recipients(&id(), (0, 0), &[member()]).await;
    assert_eq!(repeated.unwrap(), []);
    wire.lose_answers(1);
    let repeated = notifications.claim_recipients(&id(), (0, 1), &[member()]).await;
    assert_eq!(repeated.unwrap(), [member()]);
}

#[tokio::test]
async fn a_state_of_the_bot_is_written_once_after_a_lost_answer() {
    let (wire, _database) = wired().await;
    let store = conversations_at(wire.address());
    let key = StateKey::parse("msteams/28%3Abot/users/29%3Aada/said").unwrap();
    wire.lose_answers_after(0, 1);
    let written = store.put_bot_state(&key, Some("1".to_owned()), None).await;
    assert_eq!(written.unwrap(), CasResult::Committed);
    let (_, version) = store.bot_state(&key).await.unwrap().unwrap();
    // The removal was carried out. Its repetition finds nothing, and says so.
    wire.lose_answers_after(0, 1);
    let removed = store.put_bot_state(&key, None, Some(&version)).await;
    assert_eq!(removed.unwrap(), CasResult::Conflict);
    assert_eq!(store.bot_state(&key).await.unwrap(), None);
}
