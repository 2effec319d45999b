//! Time and chance as arguments: pure modules never ask the machine, the rim does, through these two.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// Tells the time. Cheap to clone.
///
/// A handler's context owns one; everything below takes a [`Timestamp`]. The simulation gives it a virtual time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        // The one place that may: this is the rim.
        #[allow(clippy::disallowed_methods)]
        Self(Arc::new(Timestamp::now))
    }

    /// A clock told by `tell`, for tests and simulations.
    pub fn told_by(tell: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// Sleeps until this moment; not at all when it has passed.
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

/// A moment as the platform names it, for example an invocation's deadline.
pub fn timestamp(moment: SystemTime) -> Timestamp {
    Timestamp::try_from(moment).unwrap_or(Timestamp::MAX)
}

/// Sixteen bytes of chance at a time, for fresh ids. Cheap to clone.
#[derive(Clone)]
pub struct Chance(Arc<dyn Fn() -> [u8; 16] + Send + Sync>);

impl Chance {
    /// The machine's random numbers.
    pub fn system() -> Self {
        Self(Arc::new(|| uuid::Uuid::new_v4().into_bytes()))
    }

    /// Chance as `draw` deals it, for tests and simulations that must replay.
    pub fn dealt_by(draw: impl Fn() -> [u8; 16] + Send + Sync + 'static) -> Self {
        Self(Arc::new(draw))
    }

    /// Draws sixteen bytes.
    pub fn draw(&self) -> [u8; 16] {
        (self.0)()
    }
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chance")
    }
}
