//! Handles the messages of one invocation, and returns those that failed.

use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tracing::{Instrument, Span, field};

use super::{RECEIVES_MAX, is_of_newer_release};
use crate::Error;
use crate::id::NotificationId;
use crate::telemetry::chain;

/// A message that a queue delivered.
#[derive(Clone, Debug)]
pub struct Received {
    /// The platform's id of the message, by which a failure is reported.
    pub id: String,
    /// The message as JSON.
    pub body: String,
    /// The queue's attributes of the message.
    pub receipt: Receipt,
    /// Who sent it, as the queue authenticated them; `None` if the queue does not say.
    pub sender: Option<String>,
}

/// The attributes that a queue gives a received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Receives so far, this one included. Approximate: it may lag behind for a moment.
    pub receives: u32,
    /// When it was sent; `None` if the queue does not say.
    pub sent_at: Option<Timestamp>,
}

impl Receipt {
    /// Whether this is the last receive: if it fails, the message goes to the dead-letter queue.
    pub const fn is_last(self) -> bool {
        self.receives >= RECEIVES_MAX
    }
}

/// A first receive, without a time of sending.
impl Default for Receipt {
    fn default() -> Self {
        Self {
            receives: 1,
            sent_at: None,
        }
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It is deleted from the queue.
    Done,
    /// It is received again. The handler has logged why.
    Failed,
}

/// Handles all messages concurrently, and returns the ids of those that failed.
///
/// A message that cannot be parsed, or whose handler panics, fails alone.
pub async fn handle_each<T, F>(messages: Vec<Received>, handle: impl Fn(T, Receipt) -> F) -> Vec<String>
where
    T: DeserializeOwned,
    F: Future<Output = Result<(), Error>>,
{
    let handle = &handle;
    handle_bodies(messages, |Received { body, receipt, .. }| async move {
        if is_of_newer_release(&body) {
            tracing::warn!(
                error_type = "MessageOfNewerRelease",
                receives = receipt.receives,
                "message is left to the functions of a newer release"
            );
            return Handled::Failed;
        }
        let message = match serde_json::from_str::<T>(&body) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(error_type = "MessageMalformed", receives = receipt.receives, %error, "message cannot be parsed");
                return Handled::Failed;
            }
        };
        match handle(message, receipt).await {
            Ok(()) => Handled::Done,
            Err(error) => {
                tracing::error!(error_type = "MessageFailed", receives = receipt.receives, error = %chain(&error), "{}", failure_message(receipt));
                Handled::Failed
            }
        }
    })
    .await
}

/// Handles all messages concurrently, whatever their bodies hold, and returns the ids of those that failed. A message whose
/// handler panics fails alone. Log lines meanwhile have the id of their message.
pub async fn handle_bodies<F>(messages: Vec<Received>, handle: impl Fn(Received) -> F) -> Vec<String>
where
    F: Future<Output = Handled>,
{
    let handle = &handle;
    let failed = stream::iter(messages).map(|message| async move {
        let id = message.id.clone();
        let span = tracing::info_span!("message", id, notification = field::Empty);
        match handle_body(message, handle).instrument(span).await {
            Handled::Done => None,
            Handled::Failed => Some(id),
        }
    });
    failed
        .buffer_unordered(usize::MAX)
        .filter_map(async |id| id)
        .collect()
        .await
}

async fn handle_body<F>(message: Received, handle: impl Fn(Received) -> F) -> Handled
where
    F: Future<Output = Handled>,
{
    let receipt = message.receipt;
    let handled = AssertUnwindSafe(handle(message)).catch_unwind().await;
    // The panic hook has printed where.
    handled.unwrap_or_else(|_| {
        tracing::error!(
            error_type = "MessagePanicked",
            receives = receipt.receives,
            "{}",
            failure_message(receipt)
        );
        Handled::Failed
    })
}

/// Says to the log lines of this message which notification it is about.
pub fn trace_notification(id: &NotificationId) {
    Span::current().record("notification", field::display(id));
}

/// Says whether a failed message is received again.
pub const fn failure_message(receipt: Receipt) -> &'static str {
    if receipt.is_last() {
        "message failed for the last time: it moves to the dead-letter queue"
    } else {
        "message failed: it will be received again"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::FORMAT;

    #[tokio::test]
    async fn a_message_of_a_newer_release_is_not_handled_and_one_of_an_older_release_is() {
        let message = |id: &str, format: Option<u16>| {
            let mut body = serde_json::json!({"number": 7});
            if let Some(format) = format {
                body["format"] = format.into();
            }
            Received {
                id: id.to_owned(),
                body: body.to_string(),
                receipt: Receipt::default(),
                sender: None,
            }
        };
        let messages = vec![
            message("older", None),
            message("same", Some(FORMAT)),
            message("newer", Some(FORMAT + 1)),
        ];
        let handled = std::sync::atomic::AtomicU32::new(0);
        let failed = handle_each(messages, async |_: serde_json::Value, _| {
            handled.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        });
        assert_eq!(failed.await, ["newer"]);
        assert_eq!(handled.into_inner(), 2);
    }

    #[tokio::test]
    async fn a_failed_message_fails_alone() {
        let received = |id: &str, body: &str| Received {
            id: id.into(),
            body: body.into(),
            receipt: Receipt::default(),
            sender: None,
        };
        let messages = vec![
            received("good", "1"),
            received("malformed", "{"),
            received("panics", "2"),
            received("fails", "3"),
            received("good too", "1"),
        ];
        let mut failed = handle_each(messages, async |number: u8, _| match number {
            1 => Ok(()),
            2 => panic!("poisoned"),
            _ => Err(Error::Queue(crate::queue::Error::Unavailable {
                source: "away".into(),
            })),
        })
        .await;
        failed.sort();
        assert_eq!(failed, ["fails", "malformed", "panics"]);
    }

    #[tokio::test]
    async fn a_handler_knows_whether_the_receive_is_the_last() {
        let receipt = |receives| Receipt {
            receives,
            sent_at: None,
        };
        let messages = [1, RECEIVES_MAX - 1, RECEIVES_MAX, RECEIVES_MAX + 1].map(|receives| Received {
            id: receives.to_string(),
            body: receives.to_string(),
            receipt: receipt(receives),
            sender: None,
        });
        let last = std::sync::Mutex::new(Vec::new());
        handle_each(messages.into(), async |number: u32, receipt| {
            assert_eq!(receipt.receives, number);
            if receipt.is_last() {
                last.lock().unwrap().push(number);
            }
            Ok(())
        })
        .await;
        assert_eq!(last.into_inner().unwrap(), [RECEIVES_MAX, RECEIVES_MAX + 1]);
    }
}
