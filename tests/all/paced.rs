//! The pace of one tenant's backlog, in virtual time. In real time it is a bench: `tests/benches/paced.rs`.

use std::time::Duration;

use botframework::connector::Connector;
use tests::paced::{Limited, run};

use crate::world::SERVICE_URL;

#[tokio::test(start_paused = true)]
async fn ten_thousand_in_one_tenant_are_reached_in_230_seconds_and_the_channel_never_says_429() {
    let channel = Limited::to(50);
    let connector = Connector::unauthenticated(channel.clone());
    let report = run(10_000, SERVICE_URL, connector, 3).await;
    assert_eq!(report.notification.tally.delivered, 10_000, "{report:?}");
    assert!(report.notification.completed_at.is_some());
    let counts = channel.counts();
    assert_eq!((counts.taken, counts.refused), (10_000, 0));
    assert!(report.took <= Duration::from_secs(230), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn at_a_channel_that_allows_less_than_it_publishes_everybody_is_reached_all_the_same() {
    let channel = Limited::to(20);
    let connector = Connector::unauthenticated(channel.clone());
    let report = run(1_000, SERVICE_URL, connector, 3).await;
    assert_eq!(report.notification.tally.delivered, 1_000, "{report:?}");
    let counts = channel.counts();
    assert_eq!(counts.taken, 1_000, "nobody twice");
    assert!(counts.refused > 0, "it did refuse");
    // At its own pace it would be 50 seconds; what is refused costs a while in which nothing is sent.
    assert!(report.took <= Duration::from_secs(150), "{report:?}");
}
