//! Processes the deliveries of a block, while the chunk asks for the permits of the next.

use std::pin::pin;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use herald::backend::Backend;
use herald::delivery::DeliveryKey;
use herald::id::NotificationId;
use herald::rate_limit::{Bucket, Permits};
use herald::store;
use tokio::sync::SemaphorePermit;

use crate::chunk::Pending;
use crate::delivery::{Delivery, Step};
use crate::invocation::Invocation;
use crate::notification_cache::NotificationCache;
use crate::tenant::Tenant;

/// Deliveries that are processed together, each at its slot.
pub(crate) struct Block<'a> {
    pub(crate) deliveries: Vec<Pending>,
    /// `None` if they make no requests.
    pub(crate) permits: Option<Permits>,
    /// Their room in the environment.
    pub(crate) room: Option<SemaphorePermit<'a>>,
}

/// The results of a block, in the order of its deliveries.
pub(crate) struct Processed {
    pub(crate) deliveries: Vec<Pending>,
    pub(crate) permits: Option<Permits>,
    pub(crate) steps: Vec<Result<Step, store::Error>>,
}

/// Runs `work` while the deliveries under way go on. They share locks with it, so it must not be awaited without them.
pub(crate) async fn meanwhile<T>(
    under_way: &mut FuturesUnordered<impl Future<Output = Processed>>,
    processed: &mut Vec<Processed>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            Some(block) = under_way.next() => processed.push(block),
        }
    }
}

/// What the deliveries of a chunk have in common.
pub(crate) struct ChunkSource<'a, B: Backend> {
    pub(crate) invocation: &'a Invocation<'a, B>,
    pub(crate) cache: &'a NotificationCache<'a, B>,
    pub(crate) notification: NotificationId,
    pub(crate) bucket: Option<Bucket>,
}

impl<B: Backend> ChunkSource<'_, B> {
    /// Processes the deliveries of a block, all of them concurrently.
    pub(crate) async fn process(&self, block: Block<'_>) -> Processed {
        let tenant = Tenant {
            invocation: self.invocation,
            bucket: self.bucket.as_ref(),
        };
        let numbered = (0_u32..).zip(&block.deliveries);
        let steps = numbered.map(|(number, pending)| {
            let recipient = &pending.recipient;
            let delivery = Delivery {
                tenant,
                cache: self.cache,
                notification: &self.notification,
                recipient,
                fields: pending.fields.as_ref(),
                is_update: pending.is_update,
                key: DeliveryKey::new(&self.notification, recipient),
            };
            let slot = block.permits.map(|permits| permits.slot(number));
            async move { delivery.process(slot).await }
        });
        let steps = join_all(steps).await;
        // Its room is free from now on, whenever its results are counted.
        let Block {
            deliveries,
            permits,
            room,
        } = block;
        drop(room);
        Processed {
            deliveries,
            permits,
            steps,
        }
    }
}
