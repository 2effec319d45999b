//! The contract of `store::Ledger` for batches.

use futures_util::future::join_all;
use herald::audience::Recipient;
use herald::batch::{BatchKey, BatchRecord, Stage, Submitted};
use herald::id::NotificationId;
use herald::notification::ChunkId;
use herald::store::{CasResult, Ledger};

use super::{at, on_every_backend};

on_every_backend! { ledger:
    of_fifty_concurrent_starts_of_a_batch_one_succeeds,
    of_fifty_concurrent_takeovers_of_a_batch_one_succeeds,
    every_stage_of_a_batch_is_stored_unchanged,
    a_step_replaces_only_the_previous_step,
    batches_of_different_chunks_do_not_collide,
}

fn batch(index: u16) -> BatchKey {
    let chunk = ChunkId {
        part: 0,
        page: 3,
        index,
    };
    BatchKey::new(&NotificationId::fresh(at(0), [1; 16]), chunk)
}

async fn of_fifty<S: Ledger>(store: &S, to: &BatchRecord) -> usize {
    let key = batch(0);
    let written = join_all((0..50).map(|_| store.compare_and_set_batch_record(&key, to))).await;
    let stands = |written: &&Result<CasResult, _>| matches!(written, Ok(CasResult::Committed));
    written.iter().filter(stands).count()
}

async fn of_fifty_concurrent_starts_of_a_batch_one_succeeds<S: Ledger>(store: S) {
    assert_eq!(store.batch(&batch(0)).await.unwrap(), None);
    let begun = BatchRecord::begin(None, at(60), Vec::new());
    assert_eq!(of_fifty(&store, &begun).await, 1);
    assert_eq!(store.batch(&batch(0)).await.unwrap(), Some(begun));
}

async fn of_fifty_concurrent_takeovers_of_a_batch_one_succeeds<S: Ledger>(store: S) {
    let begun = BatchRecord::begin(None, at(60), Vec::new());
    store
        .compare_and_set_batch_record(&batch(0), &begun)
        .await
        .unwrap();
    let taken = BatchRecord::begin(Some(&begun), at(120), Vec::new());
    assert_eq!(of_fifty(&store, &taken).await, 1);
    let standing = store.batch(&batch(0)).await.unwrap().unwrap();
    assert_eq!((standing.step, standing.ambiguous_attempts), (2, 1));
}

async fn every_stage_of_a_batch_is_stored_unchanged<S: Ledger>(store: S) {
    let excluded = vec![
        Recipient::User("ada".into()),
        Recipient::Account("29:|#%\"\u{1F980}".into()),
    ];
    let mut standing = BatchRecord::begin(None, at(60), excluded);
    let submitted = Submitted {
        id: "op/1".into(),
        service_url: "https://smba.trafficmanager.net/emea/".to_owned(),
        at: at(7),
        cancelled: true,
    };
    let stages = [
        Stage::Waiting {
            until: at(5),
            reason: "Throttled".to_owned(),
        },
        Stage::Submitting { until: at(60) },
        Stage::Submitted(submitted),
        Stage::IdLost,
        Stage::Done,
    ];
    let begun = store.compare_and_set_batch_record(&batch(0), &standing).await;
    assert_eq!(begun.unwrap(), CasResult::Committed);
    for stage in stages {
        standing = standing.at(stage);
        let written = store.compare_and_set_batch_record(&batch(0), &standing).await;
        assert_eq!(written.unwrap(), CasResult::Committed);
        assert_eq!(store.batch(&batch(0)).await.unwrap().as_ref(), Some(&standing));
    }
    assert_eq!(standing.ambiguous_attempts, 0);
}

async fn a_step_replaces_only_the_previous_step<S: Ledger>(store: S) {
    let begun = BatchRecord::begin(None, at(60), Vec::new());
    let over = begun.at(Stage::Done);
    let written = store.compare_and_set_batch_record(&batch(0), &over).await;
    assert_eq!(written.unwrap(), CasResult::Conflict, "there is none before it");
    store
        .compare_and_set_batch_record(&batch(0), &begun)
        .await
        .unwrap();
    store
        .compare_and_set_batch_record(&batch(0), &over)
        .await
        .unwrap();
    for late in [&begun, &over] {
        let written = store.compare_and_set_batch_record(&batch(0), late).await;
        assert_eq!(written.unwrap(), CasResult::Conflict);
    }
    assert_eq!(store.batch(&batch(0)).await.unwrap(), Some(over));
}

async fn batches_of_different_chunks_do_not_collide<S: Ledger>(store: S) {
    let begun = BatchRecord::begin(None, at(60), Vec::new());
    store
        .compare_and_set_batch_record(&batch(0), &begun)
        .await
        .unwrap();
    assert_eq!(store.batch(&batch(1)).await.unwrap(), None);
    store
        .compare_and_set_batch_record(&batch(1), &begun)
        .await
        .unwrap();
    store
        .compare_and_set_batch_record(&batch(1), &begun.at(Stage::Done))
        .await
        .unwrap();
    assert_eq!(store.batch(&batch(0)).await.unwrap(), Some(begun));
}
