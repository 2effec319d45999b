//! The throughput of a backlog without faults, compared with the rate limit.

use std::sync::Arc;
use std::time::Duration;

use herald::audience::Target;
use herald::delivery::Guarantee;
use herald::notification::IfNoConversation;
use tokio::task::spawn_local;

use super::callers::{Wish, call};
use super::channel::{Kind, REGIONS};
use super::fate::{Chance, Troubles};
use super::functions::{Planner, Sender};
use super::lambda::poll;
use super::people::{Happening, found, happens, settle};
use super::run::Run;
use super::{ends, in_a_run, quiet};

/// Our own limit, in requests a second.
const LIMIT: f64 = 45.0;

const RECIPIENTS: u16 = 700;

#[test]
#[allow(
    clippy::print_stdout,
    reason = "the rate is of interest when it is near the limit, too"
)]
fn a_backlog_is_sent_at_nine_tenths_of_the_limit_or_more() {
    for seed in 0..3 {
        let (violation, took) = in_a_run(seed, async |chance: Chance| {
            let troubles = Troubles {
                skew: Duration::from_millis(20),
                ..Troubles::default()
            };
            let run = Arc::new(Run::new(troubles, chance.fork(), 96));
            run.channel.with(|channel| {
                found(channel, false, true);
                for _ in 0..RECIPIENTS {
                    settle(channel, Kind::Person, 0, chance.index(REGIONS));
                }
            });
            for place in 0..usize::from(RECIPIENTS) {
                happens(&run, Happening::Appears(place)).await;
            }
            run.book(|book| book.wanted.resize_with(1, Default::default));
            spawn_local(poll(Arc::clone(&run), Planner, 0));
            for number in 0..3 {
                spawn_local(poll(Arc::clone(&run), Sender, number));
            }
            let wish = Wish {
                at: Duration::ZERO,
                audience: vec![Target::Everyone.into()],
                if_no_conversation: IfNoConversation::Skip,
                guarantee: Guarantee::AtLeastOnce,
                expires: None,
                begins: None,
                dry_run: false,
                words: Vec::new(),
            };
            call(Arc::clone(&run), 0, wish).await;
            quiet(&run).await;
            ends::check(&run);
            run.book(|book| (book.violation().map(str::to_owned), book.sending()))
        });
        assert_eq!(violation, None);
        let between = u32::from(RECIPIENTS - 1);
        let rate = f64::from(between) / took.as_secs_f64();
        assert!(rate >= 0.9 * LIMIT, "{rate:.1} requests a second");
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
            .map(|number| {
                let wish = Wish {
                    at: Duration::ZERO,
                    audience: vec![Target::Everyone.into()],
                    if_no_conversation: IfNoConversation::Skip,
                    guarantee: Guarantee::AtLeastOnce,
                    expires: None,
                    begins: None,
                    dry_run: false,
                    words: Vec::new(),
                };
                spawn_local(call(Arc::clone(&run), number, wish))
            })
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
