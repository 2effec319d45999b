//! The priority of a notification: its share of a tenant's rate limit beside other notifications.

use serde::{Deserialize, Serialize};

use super::{Notification, PAGE_SIZE};
use crate::rate_limit::{FlowId, QueueClass, Size};

/// Audiences above this size have the priority `bulk`, unless the caller chose one.
pub const NORMAL_AUDIENCE_MAX: u64 = 1000;

/// The share of a tenant's rate limit that a notification gets while others are sent to the same tenant.
///
/// None waits for another to end. Beside one `bulk` notification a `normal` one gets four fifths of the rate, and an `urgent`
/// one sixteen of seventeen parts; two of the same priority get the same. Alone, each gets all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Priority {
    /// Before all others.
    Urgent,
    /// The default of audiences up to [`NORMAL_AUDIENCE_MAX`].
    Normal,
    /// The default of larger ones.
    Bulk,
}

impl Priority {
    /// The weight of its flow.
    fn weight(self) -> u32 {
        match self {
            Self::Urgent => 16,
            Self::Normal => 4,
            Self::Bulk => 1,
        }
    }
}

impl Notification {
    /// The priority that the caller chose, or that its audience has by its size.
    pub fn effective_priority(&self) -> Priority {
        self.priority.unwrap_or(if self.audience > NORMAL_AUDIENCE_MAX {
            Priority::Bulk
        } else {
            Priority::Normal
        })
    }

    /// How its requests queue: those of a small notification together with other small ones, which all together get twice
    /// the share of a large one.
    pub fn queue_class(&self) -> QueueClass {
        let weight = self.effective_priority().weight();
        let is_planned = self.parts_planned >= self.parts;
        if is_planned && self.audience <= PAGE_SIZE as u64 {
            let weight = 2 * weight;
            return QueueClass {
                flow: FlowId::shared(weight),
                weight,
                size: Size::Small,
            };
        }
        QueueClass {
            // An edit begins a flow: tickets for the earlier content are void.
            flow: FlowId::named(&format!("{}|{}", self.id, self.revision)),
            weight,
            size: Size::Large,
        }
    }
}
