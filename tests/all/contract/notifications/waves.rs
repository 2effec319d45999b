//! Waves: recipients that are due later.

use herald::notification::{Wave, WaveDecision, WaveState};
use jiff::Timestamp;

use super::super::on_every_backend;
use super::*;

on_every_backend! { notifications:
    the_waves_of_pages_are_counted_with_them_once,
    a_wave_is_begun_or_cancelled_and_the_first_decision_counts,
    of_concurrent_decisions_about_a_wave_one_counts,
    a_wave_that_is_not_planned_is_unknown,
    a_page_of_as_many_waves_as_recipients_is_stored,
}

/// A page with one recipient at once, and these waves of so many.
fn with_waves(waves: &[(Timestamp, usize)], next: Option<&str>) -> Page {
    let mut page = page(1, next);
    page.chunks.extend(waves.iter().map(|(due, count)| {
        PageChunk {
            fields: Vec::new(),
            bucket: Some(bucket("t")),
            send_mode: SendMode::Individual,
            wave: Some(*due),
            recipients: (0..*count)
                .map(|number| recipient(&format!("a:{due}-{number}")))
                .collect(),
        }
    }));
    page
}

fn wave(due: Timestamp, recipients: u64, state: WaveState) -> Wave {
    Wave {
        due,
        recipients,
        state,
    }
}

async fn decide<S: Notifications>(store: &S, due: Timestamp, decision: WaveDecision) -> Option<WaveState> {
    let decided = store.decide_wave(&id(1), due, decision, at(5)).await.unwrap();
    decided.map(|wave| wave.state)
}

async fn the_waves_of_pages_are_counted_with_them_once<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    assert_eq!(store.waves(&id(1)).await.unwrap(), []);
    let first = with_waves(&[(at(900), 3), (at(60), 1)], Some("on"));
    assert!(store.put_page(&id(1), 0, 0, &first).await.unwrap());
    assert!(!store.put_page(&id(1), 0, 0, &first).await.unwrap());
    let second = with_waves(&[(at(900), 2)], None);
    assert!(store.put_page(&id(1), 0, 1, &second).await.unwrap());
    let waiting = WaveState::Waiting;
    let expected = [wave(at(60), 1, waiting), wave(at(900), 5, waiting)];
    assert_eq!(store.waves(&id(1)).await.unwrap(), expected);
    let head = find(&store, 1).await;
    assert_eq!((head.in_waves, head.audience), (6, 10));
    assert_eq!(store.page(&id(1), 0, 0).await.unwrap().unwrap(), first);
}

async fn a_wave_is_begun_or_cancelled_and_the_first_decision_counts<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    let page = with_waves(&[(at(60), 1), (at(900), 1)], Some("on"));
    store.put_page(&id(1), 0, 0, &page).await.unwrap();
    let (begun, cancelled) = (Some(WaveState::Begun), Some(WaveState::Cancelled));
    assert_eq!(decide(&store, at(60), WaveDecision::Begin).await, begun);
    assert_eq!(decide(&store, at(60), WaveDecision::Begin).await, begun);
    assert_eq!(decide(&store, at(60), WaveDecision::Cancel).await, begun);
    assert_eq!(decide(&store, at(900), WaveDecision::Cancel).await, cancelled);
    assert_eq!(decide(&store, at(900), WaveDecision::Begin).await, cancelled);
    // Recipients that are planned afterwards belong to it.
    let more = with_waves(&[(at(900), 4)], None);
    store.put_page(&id(1), 0, 1, &more).await.unwrap();
    let expected = [
        wave(at(60), 1, WaveState::Begun),
        wave(at(900), 5, WaveState::Cancelled),
    ];
    assert_eq!(store.waves(&id(1)).await.unwrap(), expected);
}

async fn of_concurrent_decisions_about_a_wave_one_counts<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    let page = with_waves(&[(at(60), 1)], None);
    store.put_page(&id(1), 0, 0, &page).await.unwrap();
    let decisions = (0..20).map(|number| {
        let decision = if number % 2 == 0 {
            WaveDecision::Begin
        } else {
            WaveDecision::Cancel
        };
        decide(&store, at(60), decision)
    });
    let results = join_all(decisions).await;
    assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
}

async fn a_wave_that_is_not_planned_is_unknown<S: Notifications>(store: S) {
    assert_eq!(decide(&store, at(60), WaveDecision::Begin).await, None);
    store.accept(&acceptance(1)).await.unwrap();
    assert_eq!(decide(&store, at(60), WaveDecision::Cancel).await, None);
    assert_eq!(
        store.waves(&id(1)).await.unwrap(),
        [],
        "and it is not made by that"
    );
}

async fn a_page_of_as_many_waves_as_recipients_is_stored<S: Notifications>(store: S) {
    store.accept(&acceptance(1)).await.unwrap();
    let waves: Vec<_> = (0..96).map(|number| (at(900 * number), 1)).collect();
    let page = Page {
        chunks: with_waves(&waves, None).chunks.split_off(1),
        ..Page::default()
    };
    assert_eq!(page.recipients(), PAGE_SIZE as u64);
    assert!(store.put_page(&id(1), 0, 0, &page).await.unwrap());
    assert_eq!(store.waves(&id(1)).await.unwrap().len(), 96);
}
