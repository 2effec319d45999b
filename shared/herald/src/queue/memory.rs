//! A queue in memory, for tests and simulations.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Error, Message};

/// A first-in, first-out queue. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Queue(Arc<Mutex<VecDeque<Message>>>);

impl Queue {
    /// A queue without messages.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the oldest message off the queue, whatever its delay.
    pub fn take(&self) -> Option<Message> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl super::Queue for Queue {
    async fn send(&self, messages: Vec<Message>) -> Result<(), Error> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(messages);
        Ok(())
    }
}

/// Nothing moves: messages in memory have no dead-letter queue.
impl super::DeadLetterQueue for Queue {
    async fn redrive(&self) -> Result<(), Error> {
        Ok(())
    }
}
