//! The copy of a subject in a conversation: the message that shows it, and the notification that this message belongs to.
//!
//! A notification with a *subject* edits what its caller sent of the same subject before: "build 7: red" becomes "build 7: green".
//! Audiences differ, so the copy is found for each conversation. Its record is read and written under the conversation's lease, and
//! each write is made over the one before:
//!
//! ```text
//! (none) ──sent──▶ N1's ──taken over, before the edit──▶ N2's, N1's before ──…
//!                    ▲                                    │
//!                    └───given back: it was not edited────┘
//! ```
//!
//! The order of notifications is that of their acceptance, which their ids have. The rules, and why they are safe: `DESIGN.md#subjects`.

use botframework::id::ActivityId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::caller::principal;
use crate::conversation::ConversationKey;
use crate::delivery::{EarlierCopy, SentMessage};
use crate::digest::sha256_hex;
use crate::id::NotificationId;
use crate::time::later;

#[cfg(test)]
mod tests;

/// How long a copy is edited, from when it was sent or edited for a notification for the first time. Its record is kept two weeks
/// longer, so that it outlasts every notification whose copy was taken over.
const COPY_TTL: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Names the copy of a caller's subject in a conversation. Subjects of different callers are different ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SubjectCopyKey(String);

impl SubjectCopyKey {
    /// The copy of this caller's subject in a conversation.
    pub fn new(caller: &str, subject: &str, conversation: &ConversationKey) -> Self {
        // No caller's name has a line break in it.
        let digest = sha256_hex(format!("{}\n{subject}", principal(caller)).as_bytes());
        Self(format!("{digest}|{conversation}"))
    }

    /// The stored key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The copy of a subject in a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubjectCopy {
    /// Counts the writes, from 1.
    pub version: u64,
    /// The notification that it belongs to: the newest that was sent there, or may have been. It alone edits and deletes it.
    pub notification: NotificationId,
    /// The message; `None` if it cannot be edited: it was deleted, or has no id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<ActivityId>,
    /// The notification that it belonged to before, if it was taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<NotificationId>,
    /// When it was sent or taken over.
    pub since: Timestamp,
}

/// What a delivery does in a conversation, by the copy of its notification's subject there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectStep {
    /// It sends its message, or updates the one that it sent.
    Proceed,
    /// It edits this message instead of sending one.
    Edit(EarlierCopy),
    /// It makes no request: a newer notification of the subject was sent there, or may have been.
    Superseded,
}

/// Decides by the stored copy. `sent` is the delivery's own message, which is to be updated.
pub fn step(
    stored: Option<&SubjectCopy>,
    notification: &NotificationId,
    sent: Option<&SentMessage>,
    now: Timestamp,
) -> SubjectStep {
    let Some(copy) = stored else {
        return SubjectStep::Proceed;
    };
    if copy.notification > *notification {
        return SubjectStep::Superseded;
    }
    let is_own = copy.notification == *notification;
    match &copy.activity {
        Some(activity) if sent.is_none() && (is_own || later(copy.since, COPY_TTL) > now) => {
            let earlier = if is_own {
                copy.earlier.clone()
            } else {
                Some(copy.notification.clone())
            };
            SubjectStep::Edit(EarlierCopy {
                activity: activity.clone(),
                notification: earlier,
                is_taken_over: is_own,
            })
        }
        Some(_) | None => SubjectStep::Proceed,
    }
}

impl SubjectCopy {
    /// The copy after a notification sent a new message; `None` if the stored copy is that of a newer one.
    pub fn sent(
        stored: Option<&Self>,
        notification: &NotificationId,
        activity: Option<ActivityId>,
        now: Timestamp,
    ) -> Option<Self> {
        if stored.is_some_and(|stored| stored.notification > *notification) {
            return None;
        }
        Some(Self {
            version: stored.map_or(0, |stored| stored.version) + 1,
            notification: notification.clone(),
            activity,
            earlier: None,
            since: now,
        })
    }

    /// The copy of a notification that is about to edit it. Whether it has been edited, the delivery of the notification says.
    #[must_use]
    pub fn taken_over(&self, notification: &NotificationId, now: Timestamp) -> Self {
        Self {
            version: self.version + 1,
            notification: notification.clone(),
            activity: self.activity.clone(),
            earlier: Some(self.notification.clone()),
            since: now,
        }
    }

    /// The copy after its notification is known not to have edited it: it belongs to the one before again. `None` if there is none.
    #[must_use]
    pub fn given_back(&self) -> Option<Self> {
        Some(Self {
            version: self.version + 1,
            notification: self.earlier.clone()?,
            activity: self.activity.clone(),
            earlier: None,
            since: self.since,
        })
    }

    /// The copy after its message was deleted. It still says which notification is the newest.
    #[must_use]
    pub fn deleted(&self) -> Self {
        Self {
            version: self.version + 1,
            activity: None,
            ..self.clone()
        }
    }

    /// The copy after its notification found that the message which it was to edit was deleted.
    #[must_use]
    pub fn deleted_before_edit(&self) -> Self {
        self.given_back().map_or_else(
            || self.deleted(),
            |before| Self {
                activity: None,
                ..before
            },
        )
    }
}
