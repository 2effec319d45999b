//! What an attempt led to is written although the ledger is away for a moment.

use std::ops::Range;

use herald::event::memory::Events;
use herald::notification::SendMode;
use herald::queue::batch::Receipt;
use herald::queue::memory::Queue;
use herald::store::memory::Store;
use sender::Invocation;
use serde_json::json;
use tests::backend::Assembled;

use crate::faulty::Faulty;
use crate::world::World;

/// The sender of a world, over a ledger of which these calls of a method fail.
pub(crate) fn sender(
    world: &World,
    method: &'static str,
    calls: Range<u32>,
) -> sender::Context<Assembled<Store, Store, Faulty<Store>, Queue, Events>> {
    let sender = world.sender();
    sender::Context {
        conversations: sender.conversations,
        notifications: sender.notifications,
        registry: sender.registry,
        ledger: Faulty::at(sender.ledger, method, calls),
        deliveries: sender.deliveries,
        events: sender.events,
        connector: sender.connector,
        graph_clients: sender.graph_clients,
        limits: sender.limits,
        clock: sender.clock,
        random: sender.random,
    }
}

/// Sends to 20 people until a chunk fails. Whether none failed, how many were delivered, and the requests to the channel.
async fn send(send_mode: SendMode, method: &'static str, calls: Range<u32>) -> (bool, u64, usize) {
    let people: Vec<String> = (0..20).map(|number| format!("p{number}")).collect();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    let mut world = World::of(&people).await;
    world.send_mode = send_mode;
    let body = json!({"audience": {"tenant": "tenant-1"}, "message": {"text": "news"}});
    let id = world.asks(&body).await;
    world.plan().await;
    let sender = sender(&world, method, calls);
    let mut succeeds = true;
    while let Some(message) = world.deliveries.take().filter(|_| succeeds) {
        world.pass(i64::try_from(message.delay.as_secs()).unwrap() + 1);
        let invocation = Invocation::new(&sender, world.in_seconds(90));
        let chunk = serde_json::from_str(&message.body).unwrap();
        succeeds = sender::run(&invocation, chunk, Receipt::default()).await.is_ok();
    }
    let delivered = world.notification(&id).await.counts.delivered;
    (succeeds, delivered, world.channel.requests())
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_cannot_be_written_is_written_again_before_it_becomes_a_doubt() {
    let sent = send(SendMode::Individual, "put_row", 0..60).await;
    assert_eq!(sent, (true, 20, 20), "each was refused three times");
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_stays_away_fails_the_chunk() {
    let sent = send(SendMode::Individual, "put_row", 0..u32::MAX).await;
    assert_eq!(sent, (false, 0, 20));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_the_channel_accepted_is_not_submitted_again_because_its_id_could_not_be_written() {
    // The first write says that it is being submitted, the second has its id.
    let sent = send(SendMode::Batch, "compare_and_set_batch_record", 1..4).await;
    assert_eq!(sent, (true, 20, 2), "one submission, one poll");
}
