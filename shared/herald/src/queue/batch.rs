//! The messages that a function is handed at once, and which of them failed.

use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt, StreamExt, stream};
use serde::de::DeserializeOwned;

use crate::Error;
use crate::telemetry::chain;

/// One message as the platform hands it over.
#[derive(Clone, Debug)]
pub struct Received {
    /// The platform's id of it, by which a failure is reported.
    pub id: String,
    /// Its body.
    pub body: String,
}

/// Handles each message, all at once, and returns the ids of those that failed and have to come again.
///
/// Each stands for itself: one that is not ours, or whose handling panics, takes no other with it.
pub async fn handle_each<T, F>(messages: Vec<Received>, handle: impl Fn(T) -> F) -> Vec<String>
where
    T: DeserializeOwned,
    F: Future<Output = Result<(), Error>>,
{
    let handle = &handle;
    let failed = stream::iter(messages).map(|Received { id, body }| async move {
        let message = match serde_json::from_str::<T>(&body) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(error_type = "MessageMalformed", %error, "not one of ours");
                return Some(id);
            }
        };
        match AssertUnwindSafe(handle(message)).catch_unwind().await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                tracing::error!(error_type = "MessageFailed", error = %chain(&error), "it comes again");
                Some(id)
            }
            // What panicked has printed where.
            Err(_) => {
                tracing::error!(error_type = "MessagePanicked", "it comes again");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_fails_comes_again_alone() {
        let received = |id: &str, body: &str| Received {
            id: id.into(),
            body: body.into(),
        };
        let messages = vec![
            received("good", "1"),
            received("malformed", "{"),
            received("panics", "2"),
            received("fails", "3"),
            received("good too", "1"),
        ];
        let mut failed = handle_each(messages, async |number: u8| match number {
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
}
