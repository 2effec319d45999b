//! A gate before a fake: it counts requests, and holds those that are to wait.

use tokio::sync::watch;

/// The gate. It is closed until it is opened, and holds only requests that wait for it.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    requests: watch::Sender<usize>,
    is_open: watch::Sender<bool>,
}

impl Gate {
    /// Counts a request.
    pub(crate) fn count(&self) {
        self.requests.send_modify(|requests| *requests += 1);
    }

    /// How many requests came.
    pub(crate) fn requests(&self) -> usize {
        *self.requests.borrow()
    }

    /// Waits until so many requests came.
    pub(crate) async fn wait_for_requests(&self, count: usize) {
        // The sender lives as long as `self`, so this cannot fail.
        let mut requests = self.requests.subscribe();
        let _ = requests.wait_for(|requests| *requests >= count).await;
    }

    /// Lets all requests pass from now on.
    pub(crate) fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// Waits until the gate is open.
    pub(crate) async fn pass(&self) {
        let _ = self.is_open.subscribe().wait_for(|is_open| *is_open).await;
    }
}
