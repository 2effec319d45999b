//! The outcome of an attempt is written although the ledger is away for a moment.

use std::sync::atomic::{AtomicU32, Ordering};

use botframework::connector::Connector;
use herald::clock::Random;
use herald::event::memory::Events;
use herald::notification::ChunkId;
use herald::queue::Chunk;
use herald::queue::batch::Receipt;
use herald::queue::memory::Queue;
use herald::rate_limit::Limits;
use herald::store::memory::Store;
use herald::store::{Acceptance, Conversations as _, Notifications as _};
use jiff::SignedDuration;
use sender::Invocation;
use serde_json::json;
use tests::backend::Assembled;
use tests::channel::Channel;
use tests::crowd::{self, Crowd};
use tests::paced;

use crate::faulty::{Faulty, unavailable};

/// Sends to 20 people, over a ledger that does not write so many outcomes. Whether the chunk succeeded, how many were delivered,
/// and the requests to the channel.
async fn send(outcomes: u32) -> (bool, u64, usize) {
    let left = AtomicU32::new(outcomes);
    let (store, channel, clock) = (Store::new(), Channel::new(), paced::clock());
    let crowd = Crowd {
        people: 20,
        tenants: 1,
        service_url: "http://127.0.0.1:1/".to_owned(),
    };
    for person in 0..crowd.people {
        let remembered = store.remember(crowd.observation(person), clock.now()).await;
        remembered.unwrap();
    }
    let audience = json!({"tenant": crowd.tenant(0)});
    let (notification, request) = crowd::notification(&audience, clock.now(), [1; 16]);
    let acceptance = Acceptance {
        notification: notification.clone(),
        audience: request.audience,
        message: request.message,
        idempotency: None,
    };
    store.accept(&acceptance).await.unwrap();
    let page = crowd.pages().next().unwrap();
    store.put_page(&notification.id, 0, 0, &page).await.unwrap();
    let context: sender::Context<Assembled<_, _, _, _, _>> = sender::Context {
        conversations: store.clone(),
        notifications: store.clone(),
        ledger: Faulty::new(store.clone(), move |method| {
            let one_less = |left: u32| left.checked_sub(1);
            let is_away = method == "put_row"
                && left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
                    .is_ok();
            Box::pin(async move { if is_away { Err(unavailable()) } else { Ok(()) } })
        }),
        deliveries: Queue::new(),
        events: Events::new(),
        connector: Connector::unauthenticated(channel.clone()),
        graph_clients: None,
        limits: Limits::teams(),
        clock: clock.clone(),
        random: Random::from_fn(|| [7; 16]),
    };
    let name = ChunkId {
        part: 0,
        page: 0,
        index: 0,
    };
    let chunk = Chunk::whole(notification.id.clone(), name, page.chunks[0].clone());
    let deadline = clock.now().checked_add(SignedDuration::from_secs(90)).unwrap();
    let sent = sender::run(&Invocation::new(&context, deadline), chunk, Receipt::default()).await;
    let found = store.find(&notification.id).await.unwrap().unwrap();
    (sent.is_ok(), found.counts.delivered, channel.requests())
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_cannot_be_written_is_written_again_before_it_becomes_a_doubt() {
    assert_eq!(send(60).await, (true, 20, 20), "each was refused three times");
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_stays_away_fails_the_chunk() {
    let (ok, delivered, requests) = send(u32::MAX).await;
    assert_eq!((ok, delivered, requests), (false, 0, 20));
}
