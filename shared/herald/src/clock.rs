//! Clock and random source. Pure modules take times and random numbers as arguments; handlers get them here.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::time::floor_millisecond;

/// A source of the current time. Cheap to clone.
///
/// A handler's context owns one; the modules below take a [`Timestamp`]. The simulation injects a virtual time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The system clock, to the millisecond: that is the precision of the tables and of the API.
    pub fn system() -> Self {
        // The only place that reads the system clock.
        #[allow(clippy::disallowed_methods)]
        Self(Arc::new(|| floor_millisecond(Timestamp::now())))
    }

    /// A clock that calls `tell`, for tests and simulations.
    pub fn from_fn(tell: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// Sleeps until this moment; returns at once if it has passed.
    pub async fn sleep_until(&self, moment: Timestamp) {
        if let Ok(wait) = Duration::try_from(moment.duration_since(self.now())) {
            tokio::time::sleep(wait).await;
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A moment that the platform gives in milliseconds, for example an invocation's deadline.
pub fn timestamp(moment: SystemTime) -> Timestamp {
    Timestamp::try_from(moment).unwrap_or(Timestamp::MAX)
}

/// A source of random numbers, 16 bytes at a time. Cheap to clone.
#[derive(Clone)]
pub struct Random(Arc<dyn Fn() -> [u8; 16] + Send + Sync>);

impl Random {
    /// The system's random source.
    pub fn system() -> Self {
        Self(Arc::new(|| uuid::Uuid::new_v4().into_bytes()))
    }

    /// A source that calls `draw`, for tests and simulations that must replay.
    pub fn from_fn(draw: impl Fn() -> [u8; 16] + Send + Sync + 'static) -> Self {
        Self(Arc::new(draw))
    }

    /// Returns 16 new random bytes.
    pub fn bytes(&self) -> [u8; 16] {
        (self.0)()
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}
