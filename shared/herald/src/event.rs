//! The port to the event bus.
//!
//! Events serve programs that would otherwise poll. They are published at least once, in any order, and carry no person
//! and no text: ids, states and counts; of a delivery its conversation and the channel's error code.

use std::future::Future;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::bot_health::Outage;
use crate::conversation::ConversationKey;
use crate::delivery::{DeliveryKey, Outcome};
use crate::digest::sha256_hex;
use crate::notification::{DeliveryEvent, Notification};
use crate::rate_limit::Bucket;

pub mod eventbridge;
pub mod memory;

/// The `source` of each event.
pub const SOURCE: &str = "herald";

/// One event. Its JSON is the event's `detail` on the bus: `id`, `at`, and the members of [`Event::detail`].
///
/// ```
/// # use herald::event::{Event, EventKind};
/// let detail = serde_json::json!({"notification": "ntf_0", "state": "completed", "delivered": 3});
/// let event = Event {
///     id: "ntf_0/completed".to_owned(),
///     at: "2027-01-15T08:00:00Z".parse().unwrap(),
///     kind: EventKind::Completed,
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
    /// The same when the event is published again, so that a listener can drop the repetition.
    pub id: String,
    /// When it happened, not when it was published.
    pub at: Timestamp,
    /// Sent as the event's `detail-type`, not in its `detail`.
    #[serde(skip)]
    pub kind: EventKind,
    /// Further members. Must contain neither `id` nor `at`.
    #[serde(flatten)]
    pub detail: Map<String, Value>,
}

impl Event {
    /// The notification was accepted.
    pub fn accepted(notification: &Notification) -> Self {
        let at = notification.accepted_at;
        Self::of(notification, EventKind::Accepted, "accepted", at, Vec::new())
    }

    /// The notification was cancelled at this time.
    pub fn cancelled(notification: &Notification, at: Timestamp) -> Self {
        Self::of(
            notification,
            EventKind::Cancelled,
            "cancelled",
            at,
            counts(notification),
        )
    }

    /// The notification is counted and held; found at this time.
    pub fn held(notification: &Notification, at: Timestamp) -> Self {
        let mut detail = counts(notification);
        detail.extend(
            notification
                .held_above()
                .map(|above| ("heldAbove", Value::from(above))),
        );
        Self::of(notification, EventKind::Held, "held", at, detail)
    }

    /// All deliveries of the notification have ended; found at this time.
    pub fn completed(notification: &Notification, at: Timestamp) -> Self {
        Self::of(
            notification,
            EventKind::Completed,
            "completed",
            at,
            counts(notification),
        )
    }

    /// The bot can send nothing from now on.
    pub fn bot_outage_began(outage: &Outage) -> Self {
        Self::of_outage(outage, "began", EventKind::BotOutageBegan, outage.since)
    }

    /// The bot can send again.
    pub fn bot_outage_ended(outage: &Outage, at: Timestamp) -> Self {
        Self::of_outage(outage, "ended", EventKind::BotOutageEnded, at)
    }

    fn of_outage(outage: &Outage, what: &str, kind: EventKind, at: Timestamp) -> Self {
        let detail = [
            ("cause", serde_json::to_value(outage.cause).unwrap_or_default()),
            ("code", Value::from(outage.code.as_str())),
            ("since", Value::from(outage.since.to_string())),
        ];
        Self {
            id: format!("outage/{}/{what}", outage.since),
            at,
            kind,
            detail: detail
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect(),
        }
    }

    /// A tenant refuses the bot's token, with this code.
    pub fn tenant_refuses_bot(bucket: &Bucket, code: &str, at: Timestamp) -> Self {
        let detail = [
            ("bucket", Value::from(bucket.as_str())),
            ("tenant", bucket.tenant().map(Value::from).unwrap_or_default()),
            ("code", Value::from(code)),
        ];
        Self {
            id: format!("refusal/{}/{at}", sha256_hex(bucket.as_str().as_bytes())),
            at,
            kind: EventKind::TenantRefusesBot,
            detail: detail
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect(),
        }
    }

    /// A delivery ended; `None` if the notification requests no event for this outcome.
    pub fn delivery(
        notification: &Notification,
        conversation: &ConversationKey,
        delivery: &DeliveryKey,
        outcome: &Outcome,
        at: Timestamp,
    ) -> Option<Self> {
        let (event, kind, code) = match outcome {
            Outcome::Gone { code } => (DeliveryEvent::Gone, EventKind::DeliveryGone, Some(code)),
            Outcome::Rejected { code, .. } => {
                (DeliveryEvent::Rejected, EventKind::DeliveryRejected, Some(code))
            }
            Outcome::Unknown => (DeliveryEvent::Unknown, EventKind::DeliveryUnknown, None),
            Outcome::Delivered(_)
            | Outcome::Skipped { .. }
            | Outcome::Expired { .. }
            | Outcome::Cancelled => {
                return None;
            }
        };
        if !notification.events.contains(&event) {
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
        kind: EventKind,
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
            notification
                .subject
                .as_deref()
                .map(|subject| ("subject", Value::from(subject))),
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

/// State and counts of a notification.
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
    // Of those delivered, how many edited an earlier copy.
    let superseding = notification.subject.as_ref().map(|_| {
        let count = notification.revision_counts.superseding;
        ("superseding", Value::from(count))
    });
    own.into_iter().chain(ended).chain(superseding).collect()
}

/// The types of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A notification was accepted.
    Accepted,
    /// All deliveries of a notification have ended.
    Completed,
    /// A notification is counted, and held until it is confirmed.
    Held,
    /// A notification was cancelled.
    Cancelled,
    /// A recipient is gone: the conversation is blocked until an activity comes from it.
    DeliveryGone,
    /// The channel rejected a delivery.
    DeliveryRejected,
    /// The bot has no token, or the channel refuses it in every tenant: nothing is sent.
    BotOutageBegan,
    /// The bot can send again.
    BotOutageEnded,
    /// One tenant refuses the bot's token.
    TenantRefusesBot,
    /// A delivery ended with an ambiguous request: it may have arrived.
    DeliveryUnknown,
}

impl EventKind {
    /// The event's `detail-type`, which rules match.
    pub const fn detail_type(self) -> &'static str {
        match self {
            Self::Accepted => "Notification Accepted",
            Self::Completed => "Notification Completed",
            Self::Held => "Notification Held",
            Self::Cancelled => "Notification Cancelled",
            Self::DeliveryGone => "Delivery Gone",
            Self::DeliveryRejected => "Delivery Rejected",
            Self::DeliveryUnknown => "Delivery Unknown",
            Self::BotOutageBegan => "Bot Outage Began",
            Self::BotOutageEnded => "Bot Outage Ended",
            Self::TenantRefusesBot => "Tenant Refuses Bot",
        }
    }
}

/// Not all events are known to be published; some may be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request failed; it may have been carried out.
    #[error("cannot publish: event bus unavailable")]
    Unavailable {
        /// The SDK's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bus accepted the request and refused some of its events.
    #[error("cannot publish: the event bus refused {refused} of {sent} events, the first with {code}")]
    Refused {
        /// Events that the bus refused.
        refused: usize,
        /// Events in the request.
        sent: usize,
        /// The bus' error code for the first.
        code: String,
    },
}

/// The port to an event bus.
pub trait Events: Clone + Send + Sync + 'static {
    /// Publishes all events.
    ///
    /// # Errors
    /// When not all of them are known to be published. Calling again with the same events is always right.
    fn publish(&self, events: Vec<Event>) -> impl Future<Output = Result<(), Error>> + Send;
}
