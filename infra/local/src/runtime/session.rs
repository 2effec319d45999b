//! The exchange between one function process and the Runtime API.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot, watch};

use super::Failure;

/// An invocation for a function.
#[derive(Debug)]
pub(super) struct Invocation {
    pub(super) request_id: String,
    pub(super) payload: Bytes,
    /// Notified when a process has taken it.
    pub(super) handed_over: oneshot::Sender<()>,
    /// Receives the function's result.
    pub(super) answer: oneshot::Sender<Result<Bytes, Failure>>,
}

/// The state of one process at the Runtime API.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) function: String,
    pub(super) arn: String,
    /// The function's time-out. The deadline starts when an invocation is handed over.
    pub(super) timeout: Duration,
    offered: AsyncMutex<mpsc::Receiver<Invocation>>,
    running: Mutex<Option<Running>>,
    ready: watch::Sender<bool>,
    last_words: Mutex<Option<String>>,
}

/// A running invocation: its request id, and the receiver of its result.
type Running = (String, oneshot::Sender<Result<Bytes, Failure>>);

/// The function responded to an invocation that it does not have.
#[derive(Debug)]
pub(super) struct NotRunning;

impl Session {
    pub(super) fn new(function: &str, arn: &str, timeout: Duration) -> (Session, mpsc::Sender<Invocation>) {
        let (offer, offered) = mpsc::channel(1);
        let session = Session {
            function: function.to_owned(),
            arn: arn.to_owned(),
            timeout,
            offered: AsyncMutex::new(offered),
            running: Mutex::new(None),
            ready: watch::Sender::new(false),
            last_words: Mutex::new(None),
        };
        (session, offer)
    }

    /// Waits for an invocation and hands it over. `None` when the host stops.
    pub(super) async fn next(&self) -> Option<(String, Bytes)> {
        self.ready.send_replace(true);
        let invocation = self.offered.lock().await.recv().await?;
        let Invocation {
            request_id,
            payload,
            handed_over,
            answer,
        } = invocation;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some((request_id.clone(), answer));
        // The receiver is gone if the invocation has timed out.
        let _ = handed_over.send(());
        Some((request_id, payload))
    }

    /// Accepts the function's result of its running invocation.
    pub(super) fn answer(&self, request_id: &str, answer: Result<Bytes, Failure>) -> Result<(), NotRunning> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match running.take_if(|(running, _)| running == request_id) {
            Some((_, waiting)) => {
                // The receiver is gone if the invocation has timed out.
                let _ = waiting.send(answer);
                Ok(())
            }
            None => Err(NotRunning),
        }
    }

    /// Waits until the function has asked for its first invocation.
    pub(super) async fn ready(&self) {
        // The sender lives as long as this session.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Stores the last line of the process, for the message when it exits: mostly its error.
    pub(super) fn record_last_line(&self, text: &str) {
        *self.last_words.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
    }

    pub(super) fn last_words(&self) -> Option<String> {
        self.last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
