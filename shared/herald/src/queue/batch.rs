//! The messages that a function is handed at once, and which of them failed.

use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::RECEIVES_MAX;
use crate::Error;
use crate::telemetry::chain;

/// One message as the platform hands it over.
#[derive(Clone, Debug)]
pub struct Received {
    /// The platform's id of it, by which a failure is reported.
    pub id: String,
    /// Its body.
    pub body: String,
    /// What the queue says of it.
    pub receipt: Receipt,
}

/// What a queue says of a message when it hands it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// How often it was received, this time included. Approximate, as all that a queue counts: never too small for long.
    pub receives: u32,
    /// When it was sent, if the queue says so.
    pub sent_at: Option<Timestamp>,
}

impl Receipt {
    /// Whether it does not come again: when it fails this time, it goes to the dead-letter queue.
    pub const fn is_last(self) -> bool {
        self.receives >= RECEIVES_MAX
    }
}

/// A message that is received for the first time.
impl Default for Receipt {
    fn default() -> Self {
        Self {
            receives: 1,
            sent_at: None,
        }
    }
}

/// Handles each message, all at once, and returns the ids of those that failed and have to come again.
///
/// Each stands for itself: one that is not ours, or whose handling panics, takes no other with it.
pub async fn handle_each<T, F>(messages: Vec<Received>, handle: impl Fn(T, Receipt) -> F) -> Vec<String>
where
    T: DeserializeOwned,
    F: Future<Output = Result<(), Error>>,
{
    let handle = &handle;
    let failed = stream::iter(messages).map(|Received { id, body, receipt }| async move {
        let message = match serde_json::from_str::<T>(&body) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(error_type = "MessageMalformed", receives = receipt.receives, %error, "not one of ours");
                return Some(id);
            }
        };
        match AssertUnwindSafe(handle(message, receipt)).catch_unwind().await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                tracing::error!(error_type = "MessageFailed", receives = receipt.receives, error = %chain(&error), "{}", becomes(receipt));
                Some(id)
            }
            // What panicked has printed where.
            Err(_) => {
                tracing::error!(error_type = "MessagePanicked", receives = receipt.receives, "{}", becomes(receipt));
                Some(id)
            }
        }
    });
    failed
        .buffer_unordered(usize::MAX)
        .filter_map(async |id| id)
        .collect()
        .await
}

/// What becomes of a message that failed.
const fn becomes(receipt: Receipt) -> &'static str {
    if receipt.is_last() {
        "it is given up: it goes to the dead-letter queue"
    } else {
        "it comes again"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_fails_comes_again_alone() {
        let received = |id: &str, body: &str| Received {
            id: id.into(),
            body: body.into(),
            receipt: Receipt::default(),
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
    async fn whoever_handles_a_message_knows_whether_it_comes_again() {
        let receipt = |receives| Receipt {
            receives,
            sent_at: None,
        };
        let messages = [1, RECEIVES_MAX - 1, RECEIVES_MAX, RECEIVES_MAX + 1].map(|receives| Received {
            id: receives.to_string(),
            body: receives.to_string(),
            receipt: receipt(receives),
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
