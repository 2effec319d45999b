//! The cached state of rate limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::rate_limit::{Bucket, TenantRate};

/// How many buckets one process caches.
const MAX_SLOTS: usize = 1000;

/// How old the cached state may be for an answer that writes nothing.
pub(super) const CACHE_TTL: Duration = Duration::from_secs(1);

/// The state of each bucket that this process read or wrote last.
///
/// A write is conditional on the cached version, so a stale cache costs one failed write, whose error brings the stored state. Only an
/// answer that writes nothing (wait) is not verified. It comes from a state at most [`CACHE_TTL`] old by this machine's clock, so
/// the caller returns a second too early or too late at worst. A process that was frozen may not count that time; then a caller
/// waits once more by the old state.
#[derive(Debug, Default)]
pub(super) struct RateCache(Mutex<HashMap<Bucket, CacheSlot>>);

/// Serialises updates of one bucket within this process, so that they do not conflict in the table.
pub(super) type CacheSlot = Arc<tokio::sync::Mutex<Option<CachedRate>>>;

impl RateCache {
    pub(super) fn slot(&self, bucket: &Bucket) -> CacheSlot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(bucket) {
            return Arc::clone(slot);
        }
        // To clear the cache costs one read a bucket. Two tasks may then hold different slots of a bucket; the conditional write
        // still decides.
        if slots.len() == MAX_SLOTS {
            slots.clear();
        }
        Arc::clone(slots.entry(bucket.clone()).or_default())
    }
}

/// The stored state of a bucket, when it was read or written.
#[derive(Debug)]
pub(super) struct CachedRate {
    /// `None` if there is no item.
    pub(super) rate: Option<TenantRate>,
    /// Counts the writes, from 1; 0 if there is no item.
    pub(super) version: u64,
    pub(super) at: Instant,
}
