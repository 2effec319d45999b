//! Recurring notifications: what callers write as a schedule, and what is stored of it.
//!
//! A schedule is a [`Recurrence`] and the request for a notification. Each occurrence is a notification of its own, accepted as if
//! its caller had asked for it then, with the schedule's name and the occurrence as idempotency key. The record decides once
//! what becomes of an occurrence, when its time comes:
//!
//! | its state then | because |
//! |---|---|
//! | [`Due`](OccurrenceState::Due) | it is to be sent. It stays so until it is [`Sent`](OccurrenceState::Sent) or [`Refused`](OccurrenceState::Refused); a refused one is tried again with its message |
//! | [`Skipped`](OccurrenceState::Skipped) | a caller skipped it, or the schedule was paused before it was handled |
//! | [`Missed`](OccurrenceState::Missed) | it is [too late](crate::occurrence::SKIPPED_AFTER) |
//!
//! A paused schedule has no due occurrence. What comes meanwhile is not made up for.

use std::collections::BTreeSet;

use botframework::lossless::LosslessJson;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::NotificationId;
use crate::occurrence::{OccurrenceSource, RecurringRecord, SKIPPED_AFTER, following};
use crate::problem::Problem;
use crate::schedule::Recurrence;
use crate::store::{Collection, Record};
use crate::time::later;

mod request;

pub use request::{DOCUMENT_BYTES_MAX, RecurringNotification, pointer_in_schedule};

/// The most occurrences that may be skipped in advance.
pub const SKIPPED_MAX: usize = 100;

/// How many of the occurrences that are over are kept, and how many of those that were refused.
const OVER_KEPT: usize = 10;
const REFUSED_KEPT: usize = 5;

/// A schedule as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleRecord {
    /// Who wrote it last: the caller of its notifications.
    pub caller: String,
    /// When.
    pub changed_at: Timestamp,
    /// The schedule as it was written.
    pub document: LosslessJson,
    /// The occurrence that comes next, or that is under way; none while it is paused, and after its end.
    pub due: Option<Timestamp>,
    /// Since when it is paused.
    pub paused_at: Option<Timestamp>,
    /// Occurrences to come that are not to be sent.
    pub skipped: BTreeSet<Timestamp>,
    /// The latest occurrences whose time has come, in their order.
    pub past: Vec<PastOccurrence>,
}

/// An occurrence whose time has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastOccurrence {
    /// When.
    pub at: Timestamp,
    /// What became of it.
    #[serde(flatten)]
    pub state: OccurrenceState,
}

/// What became of an occurrence, in the API's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum OccurrenceState {
    /// It is being sent.
    Due,
    /// It was accepted.
    Sent {
        /// The notification that it is.
        notification: NotificationId,
    },
    /// Its acceptance was refused. It is tried again with its message.
    Refused {
        /// Why.
        problem: Problem,
    },
    /// It was not to be sent.
    Skipped,
    /// It came too late to be sent.
    Missed {
        /// The next occurrence that was not: those between were missed, too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
}

/// The state of a schedule, in the API's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ScheduleState {
    /// Its next occurrence is awaited.
    Active,
    /// It sends nothing until it is resumed.
    Paused,
    /// It has no further occurrence.
    Ended,
}

/// What became of the wish to skip an occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// It will be skipped.
    Skipped(Timestamp),
    /// It is no occurrence to come, or there is none.
    NotUpcoming,
    /// So many are skipped already.
    Full,
}

impl OccurrenceState {
    /// Whether it may still be sent.
    const fn is_open(&self) -> bool {
        match self {
            Self::Due | Self::Refused { .. } => true,
            Self::Sent { .. } | Self::Skipped | Self::Missed { .. } => false,
        }
    }
}

impl Record for ScheduleRecord {
    const COLLECTION: Collection = Collection::Schedules;
}

impl RecurringRecord for ScheduleRecord {
    fn source(key: &str) -> OccurrenceSource {
        OccurrenceSource::Schedule(key.to_owned())
    }

    fn due(&self) -> Option<Timestamp> {
        self.due
    }

    fn after(mut self, at: Timestamp, recurrence: &Recurrence, now: Timestamp) -> Self {
        while let Some(due) = self.due.filter(|due| *due <= at) {
            let next = following(due, recurrence, now);
            let state = if self.skipped.contains(&due) {
                OccurrenceState::Skipped
            } else if is_old(due, now) {
                OccurrenceState::Missed { until: next }
            } else {
                OccurrenceState::Due
            };
            self.past.push(PastOccurrence { at: due, state });
            self.due = next;
        }
        self.forget(now);
        self
    }
}

impl ScheduleRecord {
    /// The record of a schedule that is written now. If its times stay the same, nothing changes for the occurrence that is awaited,
    /// and for what was skipped.
    pub fn written(
        stored: Option<Self>,
        caller: &str,
        document: LosslessJson,
        recurrence: &Recurrence,
        now: Timestamp,
    ) -> Self {
        let has_same = |stored: &Self| {
            RecurringNotification::parse(&stored.document)
                .is_ok_and(|earlier| earlier.recurrence == *recurrence)
        };
        let keeps_times = stored.as_ref().is_some_and(has_same);
        let mut record = stored.unwrap_or(Self {
            caller: String::new(),
            changed_at: now,
            document: LosslessJson::default(),
            due: None,
            paused_at: None,
            skipped: BTreeSet::new(),
            past: Vec::new(),
        });
        caller.clone_into(&mut record.caller);
        record.changed_at = now;
        record.document = document;
        if !keeps_times {
            record.skipped.retain(|at| *at > now && recurrence.has(*at));
            if record.paused_at.is_none() {
                record.due = recurrence.next_after(now);
            }
        }
        record
    }

    /// The record paused. What is due and not handled is skipped.
    #[must_use]
    pub fn paused(mut self, recurrence: &Recurrence, now: Timestamp) -> Self {
        if self.paused_at.is_some() {
            return self;
        }
        let late = self
            .due
            .into_iter()
            .chain(self.due.into_iter().flat_map(|due| recurrence.all_after(due)));
        let late = late.take_while(|at| *at <= now);
        let skipped = late.map(|at| PastOccurrence {
            at,
            state: OccurrenceState::Skipped,
        });
        self.past.extend(skipped);
        self.due = None;
        self.paused_at = Some(now);
        self.forget(now);
        self
    }

    /// The record resumed: the next occurrence is the first after now.
    #[must_use]
    pub fn resumed(mut self, recurrence: &Recurrence, now: Timestamp) -> Self {
        if self.paused_at.take().is_some() {
            self.due = recurrence.next_after(now);
            self.forget(now);
        }
        self
    }

    /// Has the next occurrence skipped, or the one at this moment.
    pub fn skip(&mut self, at: Option<Timestamp>, recurrence: &Recurrence, now: Timestamp) -> Skip {
        let next = at.or_else(|| self.upcoming(recurrence, now).next());
        let is_handled = |at: Timestamp| self.past.iter().any(|past| past.at == at);
        let Some(at) = next.filter(|at| *at > now && recurrence.has(*at) && !is_handled(*at)) else {
            return Skip::NotUpcoming;
        };
        if self.skipped.len() >= SKIPPED_MAX && !self.skipped.contains(&at) {
            return Skip::Full;
        }
        self.skipped.insert(at);
        Skip::Skipped(at)
    }

    /// The occurrences that will be sent, in their order; none while it is paused.
    pub fn upcoming<'a>(
        &'a self,
        recurrence: &'a Recurrence,
        now: Timestamp,
    ) -> impl Iterator<Item = Timestamp> + 'a {
        let following = self.due.into_iter().flat_map(|due| recurrence.all_after(due));
        let all = self.due.into_iter().chain(following);
        all.filter(move |at| !self.skipped.contains(at) && !is_old(*at, now))
    }

    /// Its state.
    pub fn state(&self) -> ScheduleState {
        match (self.paused_at, self.due) {
            (Some(_), _) => ScheduleState::Paused,
            (None, Some(_)) => ScheduleState::Active,
            (None, None) => ScheduleState::Ended,
        }
    }

    /// What became of an occurrence, if it is remembered.
    pub fn occurrence(&self, at: Timestamp) -> Option<&OccurrenceState> {
        let past = self.past.iter().find(|past| past.at == at)?;
        Some(&past.state)
    }

    /// Whether an occurrence is to be sent now.
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.occurrence(at).is_some_and(OccurrenceState::is_open)
    }

    /// The record after an occurrence that was to be sent has become this; `None` if it was not to be sent.
    pub fn settled(mut self, at: Timestamp, state: OccurrenceState) -> Option<Self> {
        let mut past = self.past.iter_mut();
        let past = past.find(|past| past.at == at && past.state.is_open())?;
        past.state = state;
        Some(self)
    }

    /// Forgets what is not kept, of which the oldest goes first. What is due is kept until it is sent, or missed.
    fn forget(&mut self, now: Timestamp) {
        let due = self.due;
        self.skipped.retain(|at| due.map_or(*at > now, |due| *at >= due));
        for past in &mut self.past {
            if past.state.is_open() && is_old(past.at, now) {
                past.state = OccurrenceState::Missed { until: None };
            }
        }
        let (mut over, mut refused) = (OVER_KEPT, REFUSED_KEPT);
        let mut is_kept: Vec<bool> = self
            .past
            .iter()
            .rev()
            .map(|past| {
                let left = match past.state {
                    OccurrenceState::Due => return true,
                    OccurrenceState::Refused { .. } => &mut refused,
                    OccurrenceState::Sent { .. }
                    | OccurrenceState::Skipped
                    | OccurrenceState::Missed { .. } => &mut over,
                };
                let is_kept = *left > 0;
                *left = left.saturating_sub(1);
                is_kept
            })
            .collect();
        self.past.retain(|_| is_kept.pop().unwrap_or(true));
    }
}

/// Whether an occurrence is too old to be sent.
fn is_old(at: Timestamp, now: Timestamp) -> bool {
    later(at, SKIPPED_AFTER) <= now
}

#[cfg(test)]
mod tests;
