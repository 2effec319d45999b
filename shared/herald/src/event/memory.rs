//! Events in memory, for tests and simulations.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Error, Event};

/// The published events. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    /// A bus without events.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes all events since the last call, in order.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl super::Events for Events {
    async fn publish(&self, events: Vec<Event>) -> Result<(), Error> {
        self.lock().extend(events);
        Ok(())
    }
}
