//! What happened, told to whoever listens: the port to the event bus.
//!
//! Events are for programs that would otherwise ask again and again. They come at least once, in any order, and carry no
//! person and no text: ids, states and counts; of a delivery its conversation and the channel's word for what went wrong.

use std::future::Future;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::conversation::ConversationKey;
use crate::delivery::{DeliveryKey, Outcome};
use crate::digest::sha256_hex;
use crate::notification::{DeliveryEvent, Notification};

pub mod eventbridge;
pub mod memory;

/// Who tells them: the `source` of each.
pub const SOURCE: &str = "herald";

/// Something that happened.
///
/// As JSON it is what listeners find in an event's `detail`: `id`, `at`, and beside them the members of [`Event::detail`].
///
/// ```
/// # use herald::event::{Event, Kind};
/// let detail = serde_json::json!({"notification": "ntf_0", "state": "completed", "delivered": 3});
/// let event = Event {
///     id: "ntf_0/completed".to_owned(),
///     at: "2027-01-15T08:00:00Z".parse().unwrap(),
///     kind: Kind::Completed,
///     detail: detail.as_object().unwrap().clone(),
/// };
/// assert_eq!(
///     serde_json::to_value(&event).unwrap(),
///     serde_json::json!({
///         "id": "ntf_0/completed", "at": "2027-01-15T08:00:00Z",
///         "notification": "ntf_0", "state": "completed", "delivered": 3,
///     })
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Names it. The same when it is told again, which is how a listener knows.
    pub id: String,
    /// When it happened.
    pub at: Timestamp,
    /// What kind of thing it is; the bus has a place of its own for that.
    #[serde(skip)]
    pub kind: Kind,
    /// What there is to say. Names neither `id` nor `at`.
    #[serde(flatten)]
    pub detail: Map<String, Value>,
}

impl Event {
    /// A notification was accepted.
    pub fn accepted(notification: &Notification) -> Self {
        let at = notification.accepted_at;
        Self::of(notification, Kind::Accepted, "accepted", at, Vec::new())
    }

    /// A notification was cancelled, at this moment.
    pub fn cancelled(notification: &Notification, at: Timestamp) -> Self {
        Self::of(
            notification,
            Kind::Cancelled,
            "cancelled",
            at,
            counts(notification),
        )
    }

    /// All deliveries of a notification have ended, as was found at this moment.
    pub fn completed(notification: &Notification, at: Timestamp) -> Self {
        Self::of(
            notification,
            Kind::Completed,
            "completed",
            at,
            counts(notification),
        )
    }

    /// A delivery ended in a way that the caller asked to be told of; `None` when it did not.
    pub fn delivery(
        notification: &Notification,
        conversation: &ConversationKey,
        delivery: &DeliveryKey,
        outcome: &Outcome,
        at: Timestamp,
    ) -> Option<Self> {
        let (asked, kind, code) = match outcome {
            Outcome::Gone { code } => (DeliveryEvent::Gone, Kind::DeliveryGone, Some(code)),
            Outcome::Rejected { code, .. } => (DeliveryEvent::Rejected, Kind::DeliveryRejected, Some(code)),
            Outcome::Unknown => (DeliveryEvent::Unknown, Kind::DeliveryUnknown, None),
            Outcome::Delivered(_) | Outcome::Skipped { .. } | Outcome::Expired | Outcome::Cancelled => {
                return None;
            }
        };
        if !notification.events.contains(&asked) {
            return None;
        }
        let mut detail = vec![("conversation", Value::from(conversation.to_string()))];
        if let Some(code) = code {
            detail.push(("code", Value::from(code.as_str())));
        }
        let about = sha256_hex(delivery.as_str().as_bytes());
        Some(Self::of(notification, kind, &about, at, detail))
    }

    fn of(
        notification: &Notification,
        kind: Kind,
        about: &str,
        at: Timestamp,
        detail: Vec<(&str, Value)>,
    ) -> Self {
        let own = [
            Some(("notification", Value::from(notification.id.as_str()))),
            notification
                .category
                .as_deref()
                .map(|category| ("category", Value::from(category))),
        ];
        let detail = own.into_iter().flatten().chain(detail);
        Self {
            id: format!("{}/{about}", notification.id),
            at,
            kind,
            detail: detail.map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }
}

/// How far a notification has come.
fn counts(notification: &Notification) -> Vec<(&'static str, Value)> {
    let state = serde_json::to_value(notification.state()).unwrap_or_default();
    let own = [
        ("state", state),
        ("audience", Value::from(notification.audience)),
        ("open", Value::from(notification.open())),
    ];
    let ended = notification
        .ended()
        .fields()
        .map(|(name, count)| (name, Value::from(count)));
    own.into_iter().chain(ended).collect()
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A notification was accepted.
    Accepted,
    /// All deliveries of a notification have ended.
    Completed,
    /// A notification was cancelled.
    Cancelled,
    /// A recipient is gone: the conversation is blocked until it is heard of again.
    DeliveryGone,
    /// The channel refused a delivery.
    DeliveryRejected,
    /// Nobody can know whether a delivery arrived.
    DeliveryUnknown,
}

impl Kind {
    /// What listeners ask for: the event's `detail-type`.
    pub const fn detail_type(self) -> &'static str {
        match self {
            Self::Accepted => "Notification Accepted",
            Self::Completed => "Notification Completed",
            Self::Cancelled => "Notification Cancelled",
            Self::DeliveryGone => "Delivery Gone",
            Self::DeliveryRejected => "Delivery Rejected",
            Self::DeliveryUnknown => "Delivery Unknown",
        }
    }
}

/// The events could not all be told; some may have been.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bus could not be reached or refused.
    #[error("cannot publish: the event bus is away")]
    Unavailable {
        /// What was said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bus took the request but refused some of its events.
    #[error("cannot publish: the event bus refused {refused} of {sent} events, the first with {code}")]
    Refused {
        /// How many it refused.
        refused: usize,
        /// How many were sent.
        sent: usize,
        /// Its code for the first.
        code: String,
    },
}

/// Tells what happened.
pub trait Events: Clone + Send + Sync + 'static {
    /// Tells all of these.
    ///
    /// # Errors
    /// When not all of them are known to have been told. Calling again with the same events is always right.
    fn publish(&self, events: Vec<Event>) -> impl Future<Output = Result<(), Error>> + Send;
}
