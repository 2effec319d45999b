//! The rate limit of one tenant without faults: how well it is used, and how long a notification waits for others.

use std::sync::Arc;
use std::time::Duration;

use herald::audience::Target;
use herald::notification::Priority;
use tokio::task::spawn_local;

use super::callers::{Wish, Word, call};
use super::channel::{Kind, REGIONS};
use super::fate::{Chance, Troubles};
use super::functions::{Planner, Sender};
use super::lambda::poll;
use super::people::{Happening, found, happens, settle};
use super::run::Run;
use super::{ends, in_a_run, quiet};

/// Our own limit, in requests a second.
const LIMIT: f64 = 45.0;

/// The people of a tenant.
const RECIPIENTS: u16 = 700;

/// A run without faults: these notifications, to so many people of one tenant.
async fn without_faults(chance: &Chance, people: u16, wishes: Vec<Wish>) -> Arc<Run> {
    let troubles = Troubles {
        skew: Duration::from_millis(20),
        ..Troubles::default()
    };
    let run = Arc::new(Run::new(troubles, chance.fork(), 96));
    run.channel.with(|channel| {
        found(channel, false, true);
        for _ in 0..people {
            settle(channel, Kind::Person, 0, chance.index(REGIONS));
        }
    });
    for place in 0..usize::from(people) {
        happens(&run, Happening::Appears(place)).await;
    }
    run.book(|book| book.wanted.resize_with(wishes.len(), Default::default));
    for number in 0..2 {
        spawn_local(poll(Arc::clone(&run), Planner, number));
    }
    for number in 0..8 {
        spawn_local(poll(Arc::clone(&run), Sender, number));
    }
    let calls: Vec<_> = wishes
        .into_iter()
        .enumerate()
        .map(|(number, wish)| spawn_local(call(Arc::clone(&run), number, wish)))
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    quiet(&run).await;
    ends::check(&run);
    run
}

/// A notification to so many of the people, from the first on, at this time.
fn to_people(run_people: std::ops::Range<usize>, at: Duration, priority: Option<Priority>) -> Wish {
    let name = |place: usize| format!("a:{place}").into();
    Wish {
        at,
        audience: vec![Target::Conversations(run_people.map(name).collect()).into()],
        priority,
        ..Wish::to_everyone()
    }
}

/// The times from the call of a notification to its first request and its last, in seconds.
fn waits(run: &Run, number: usize) -> (f64, f64) {
    run.book(|book| {
        let asked_at = book.wanted[number].asked_at.unwrap();
        let sent = book
            .requests
            .iter()
            .filter(|request| request.sends.is_some_and(|(of, _)| of == number));
        let sent: Vec<f64> = sent
            .map(|request| request.began.duration_since(asked_at).as_secs_f64())
            .collect();
        (sent[0], sent[sent.len() - 1])
    })
}

#[test]
#[allow(
    clippy::print_stdout,
    reason = "the rate is of interest when it is near the limit, too"
)]
fn a_backlog_uses_97_of_100_slots_or_more() {
    for seed in 0..3 {
        let (violation, took) = in_a_run(seed, async |chance: Chance| {
            let run = without_faults(&chance, 3 * RECIPIENTS, vec![Wish::to_everyone()]).await;
            run.book(|book| (book.violation().map(str::to_owned), book.sending()))
        });
        assert_eq!(violation, None);
        let between = u32::from(3 * RECIPIENTS - 1);
        let rate = f64::from(between) / took.as_secs_f64();
        assert!(rate >= 0.97 * LIMIT, "{rate:.1} requests a second");
    }
}

#[test]
fn a_message_to_one_person_waits_for_no_broadcast() {
    let seconds = Duration::from_secs;
    // Each to another person: a conversation has limits of its own.
    let one = |at: u64| {
        let person = usize::try_from(at * 40).unwrap();
        to_people(person..person + 1, seconds(at), None)
    };
    let cancelled = Wish {
        words: vec![(seconds(5), Word::Cancel)],
        ..Wish::to_everyone()
    };
    let retracted = Wish {
        words: vec![(seconds(5), Word::Retract)],
        ..Wish::to_everyone()
    };
    let expired = Wish {
        expires: Some(seconds(5)),
        ..Wish::to_everyone()
    };
    for (name, broadcasts) in [
        ("one", vec![Wish::to_everyone()]),
        (
            "three",
            vec![Wish::to_everyone(), Wish::to_everyone(), Wish::to_everyone()],
        ),
        ("cancelled", vec![cancelled]),
        ("retracted", vec![retracted]),
        ("expired", vec![expired]),
    ] {
        for seed in 0..3 {
            let first = broadcasts.len();
            let ones = [2, 4, 6, 8, 9].map(one);
            let wishes: Vec<_> = broadcasts.iter().cloned().chain(ones).collect();
            let (violation, waited) = in_a_run(seed, async |chance: Chance| {
                let run = without_faults(&chance, RECIPIENTS, wishes.clone()).await;
                let waited: Vec<_> = (first..first + 5).map(|number| waits(&run, number).1).collect();
                (run.book(|book| book.violation().map(str::to_owned)), waited)
            });
            assert_eq!(violation, None);
            let longest = waited.iter().copied().fold(0.0, f64::max);
            assert!(longest <= 2.0, "{name}, seed {seed}: waited {waited:.2?} s");
        }
    }
}

#[test]
fn an_urgent_notification_overtakes_and_bulk_goes_on() {
    for seed in 0..3 {
        let (violation, (urgent, bulk)) = in_a_run(seed, async |chance: Chance| {
            let wishes = vec![
                Wish {
                    priority: Some(Priority::Bulk),
                    ..Wish::to_everyone()
                },
                to_people(0..200, Duration::from_secs(2), Some(Priority::Urgent)),
            ];
            let run = without_faults(&chance, RECIPIENTS, wishes).await;
            let waited = (waits(&run, 1).1, waits(&run, 0).1);
            (run.book(|book| book.violation().map(str::to_owned)), waited)
        });
        assert_eq!(violation, None);
        // Alone it takes 4.4 s. Chunks of the broadcast that have begun are finished meanwhile, of 2.1 s each.
        assert!(urgent <= 10.0, "seed {seed}: {urgent:.1} s");
        // All 900 requests at the limit, and the latencies of a last chunk.
        assert!(bulk <= 900.0 / (0.85 * LIMIT), "seed {seed}: {bulk:.1} s");
    }
}

#[test]
fn what_expires_ends_at_its_expiry() {
    for seed in 0..3 {
        let violation = in_a_run(seed, async |chance: Chance| {
            let expired = Wish {
                expires: Some(Duration::from_secs(5)),
                ..Wish::to_everyone()
            };
            let run = without_faults(&chance, RECIPIENTS, vec![expired]).await;
            let head = run
                .book(|book| book.wanted[0].id.clone())
                .and_then(|id| run.head(&id))
                .unwrap();
            let late = head
                .completed_at
                .unwrap()
                .duration_since(head.expires_at)
                .as_secs_f64();
            assert!(
                head.counts.expired > 400 && head.counts.delivered > 150,
                "{head:?}"
            );
            assert!(late <= 6.0, "seed {seed}: ended {late:.1} s after its expiry");
            run.book(|book| book.violation().map(str::to_owned))
        });
        assert_eq!(violation, None);
    }
}

/// Far more than the rate limit of a conversation allows at once.
const NOTIFICATIONS: usize = 120;

#[test]
fn many_notifications_to_one_conversation_stay_within_its_limits() {
    let violation = in_a_run(0, async |chance: Chance| {
        let run = Arc::new(Run::new(Troubles::default(), chance.fork(), 96));
        run.channel.with(|channel| {
            found(channel, false, true);
            settle(channel, Kind::Person, 0, chance.index(REGIONS));
        });
        happens(&run, Happening::Appears(0)).await;
        run.book(|book| book.wanted.resize_with(NOTIFICATIONS, Default::default));
        spawn_local(poll(Arc::clone(&run), Planner, 0));
        for number in 0..3 {
            spawn_local(poll(Arc::clone(&run), Sender, number));
        }
        let calls: Vec<_> = (0..NOTIFICATIONS)
            .map(|number| spawn_local(call(Arc::clone(&run), number, Wish::to_everyone())))
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        quiet(&run).await;
        ends::check(&run);
        run.book(|book| book.violation().map(str::to_owned))
    });
    assert!(
        violation.is_none(),
        "\ninvariant {}\n",
        violation.unwrap_or_default()
    );
}
