//! Waves: recipients of a notification that are due at the same later moment, because of their local time or their quiet hours.
//!
//! A wave waits until its moment. Then it is begun, and its chunks are enqueued; or it was cancelled before, and they end as cancelled.
//! Both are decided on its record, once, so that nothing of a cancelled wave was ever enqueued to be sent.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Notification, Page, PageChunk};

/// A wave of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wave {
    /// When it is due.
    #[serde(rename = "instant")]
    pub due: Timestamp,
    /// Recipients planned so far.
    pub recipients: u64,
    /// What was decided.
    pub state: WaveState,
}

/// The state of a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WaveState {
    /// Its moment has not come.
    Waiting,
    /// Its chunks are enqueued.
    Begun,
    /// Its deliveries end as cancelled.
    Cancelled,
    /// Its moment comes when the notification has expired: its deliveries end as expired. Never stored.
    Expired,
}

/// What is decided about a waiting wave, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaveDecision {
    /// It begins.
    Begin,
    /// It is cancelled.
    Cancel,
}

impl WaveDecision {
    /// The state after it.
    pub fn state(self) -> WaveState {
        match self {
            Self::Begin => WaveState::Begun,
            Self::Cancel => WaveState::Cancelled,
        }
    }
}

impl Wave {
    /// The wave as its notification lets it become: a wave that waits ends with the notification.
    #[must_use]
    pub fn of(self, notification: &Notification) -> Self {
        let state = match self.state {
            WaveState::Waiting if notification.is_stopped() => WaveState::Cancelled,
            WaveState::Waiting | WaveState::Begun if self.due >= notification.expires_at => {
                WaveState::Expired
            }
            state => state,
        };
        Self { state, ..self }
    }
}

impl Notification {
    /// When a wave that is due at this moment begins: at the expiry, if that is earlier, so that its deliveries end then.
    pub fn wave_begins(&self, due: Timestamp) -> Timestamp {
        due.min(self.expires_at)
    }
}

impl Page {
    /// The waves on this page, with the number of their recipients.
    pub fn waves(&self) -> Vec<(Timestamp, u64)> {
        let mut waves = std::collections::BTreeMap::new();
        for PageChunk { wave, recipients, .. } in &self.chunks {
            if let Some(due) = wave {
                *waves.entry(*due).or_insert(0) += recipients.len() as u64;
            }
        }
        waves.into_iter().collect()
    }
}
