//! The rate of one tenant's backlog, in virtual time. `tests/benches/paced.rs` measures it in real time.

use std::time::Duration;

use botframework::connector::Connector;
use tests::paced::{Ending, Limited, delays, run};

use crate::world::SERVICE_URL;

#[tokio::test(start_paused = true)]
async fn ten_thousand_in_one_tenant_are_reached_in_230_seconds_and_the_channel_never_says_429() {
    let channel = Limited::to(50);
    let connector = Connector::unauthenticated(channel.clone());
    let report = run(10_000, SERVICE_URL, connector, 3).await;
    assert_eq!(report.notification.counts.delivered, 10_000, "{report:?}");
    assert!(report.notification.completed_at.is_some());
    let counts = channel.counts();
    assert_eq!((counts.taken, counts.refused), (10_000, 0));
    assert!(report.took <= Duration::from_secs(230), "{report:?}");
    // Chunks that wait for slots are in the queue: one sender is awake, and the next one a second before its turn.
    assert!(report.awake <= report.took * 8 / 5, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_channel_below_its_published_limit_still_reaches_every_recipient() {
    let channel = Limited::to(20);
    let connector = Connector::unauthenticated(channel.clone());
    let report = run(1_000, SERVICE_URL, connector, 3).await;
    assert_eq!(report.notification.counts.delivered, 1_000, "{report:?}");
    let counts = channel.counts();
    assert_eq!(counts.taken, 1_000, "no duplicates");
    assert!(counts.refused > 0, "the channel refused some");
    // At the channel's own limit it would be 50 seconds. Each 429 adds a wait in which nothing is sent.
    assert!(report.took <= Duration::from_secs(150), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_to_one_person_takes_two_seconds_beside_a_broadcast_that_goes_on_is_cancelled_or_expires() {
    for ending in [Ending::None, Ending::Cancelled, Ending::Expired] {
        let channel = Limited::to(50);
        let connector = Connector::unauthenticated(channel.clone());
        let delays = delays(2_000, SERVICE_URL, connector, 4, ending).await;
        let longest = delays.iter().max().unwrap();
        assert!(*longest <= Duration::from_secs(2), "{ending:?}: {delays:.2?}");
        assert_eq!(channel.counts().refused, 0);
    }
}
