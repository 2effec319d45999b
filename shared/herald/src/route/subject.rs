//! Subjects: the copy that later events edit, and the lease under which one event at a time does.
//!
//! The record names the event that a copy is sent for before it is sent. Its id is the idempotency key, so the event that goes on after
//! a failure finds the notification instead of sending another.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::digest::sha256_hex;
use crate::id::NotificationId;
use crate::store::{Collection, Record};

/// How long a later event finds the copy of its subject: as long as a notification is sent at most.
const SUBJECT_TTL: SignedDuration = SignedDuration::from_hours(14 * 24);

/// How long an event of a subject holds up others of it: longer than an invocation of the events function.
const SUBJECT_LEASE_TTL: SignedDuration = SignedDuration::from_secs(60);

/// The copy of a subject, and which event it shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubjectRecord {
    /// The event that the copy is sent for.
    origin: CopyOrigin,
    /// What it shows, once an event is through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shown: Option<Shown>,
    /// The end of the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leased_until: Option<Timestamp>,
    changed_at: Timestamp,
}

/// The event that a copy was sent for first, by which its notification is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyOrigin {
    /// The event's id.
    pub event: String,
    /// The caller of the notification.
    pub caller: String,
}

/// The event that a copy shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    notification: NotificationId,
    event: String,
    /// When the event happened.
    at: Timestamp,
}

impl Record for SubjectRecord {
    const COLLECTION: Collection = Collection::Subjects;

    fn expires_at(&self) -> Option<Timestamp> {
        self.changed_at.checked_add(SUBJECT_TTL).ok()
    }
}

/// What an event may do with its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectLease {
    /// Edit the notification, or send the first one.
    Acquired(HeldSubject),
    /// Nothing: the copy shows this event, or a later one.
    Shown,
    /// Come back: an event is being sent.
    HeldElsewhere,
}

/// A subject under a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSubject {
    /// The notification that shows an earlier event.
    pub notification: Option<NotificationId>,
    /// The event that the copy is sent for.
    pub origin: CopyOrigin,
    /// The end of the lease.
    pub until: Timestamp,
}

impl SubjectRecord {
    /// The key of a route's subject.
    pub fn key(route: &str, subject: &str) -> String {
        sha256_hex(format!("{route}\n{subject}").as_bytes())
    }

    /// Acquires the lease for an event that happened `at`, and the record then.
    pub fn acquire(
        stored: Option<Self>,
        event: &CopyOrigin,
        at: Timestamp,
        now: Timestamp,
    ) -> (SubjectLease, Option<Self>) {
        let (origin, shown) = match stored {
            // Also by the same event, in another message: two of it must not write one after the other.
            Some(stored) if stored.leased_until.is_some_and(|until| until > now) => {
                return (SubjectLease::HeldElsewhere, None);
            }
            Some(stored) => (stored.origin, stored.shown),
            None => (event.clone(), None),
        };
        if let Some(shown) = &shown
            && (shown.event == event.event || shown.at > at)
        {
            return (SubjectLease::Shown, None);
        }
        let until = now.saturating_add(SUBJECT_LEASE_TTL).unwrap_or(now);
        let lease = SubjectLease::Acquired(HeldSubject {
            notification: shown.as_ref().map(|shown| shown.notification.clone()),
            origin: origin.clone(),
            until,
        });
        let record = Self {
            origin,
            shown,
            leased_until: Some(until),
            changed_at: now,
        };
        (lease, Some(record))
    }

    /// Begins another copy, for this event: the present one cannot be edited any more. Before it is sent.
    #[must_use]
    pub fn begun_anew(stored: Option<Self>, until: Timestamp, event: &CopyOrigin) -> Option<Self> {
        Some(Self {
            origin: event.clone(),
            shown: None,
            ..Self::leased(stored, until)?
        })
    }

    /// Gives the lease back. With a notification, that shows the event, which happened `at`.
    #[must_use]
    pub fn released(
        stored: Option<Self>,
        until: Timestamp,
        shown_by: Option<&NotificationId>,
        event: &str,
        at: Timestamp,
    ) -> Option<Self> {
        let stored = Self::leased(stored, until)?;
        let shown = shown_by.map(|notification| Shown {
            notification: notification.clone(),
            event: event.to_owned(),
            at,
        });
        Some(Self {
            shown: shown.or(stored.shown),
            leased_until: None,
            ..stored
        })
    }

    /// The record under this lease. An event whose lease has ended may find that of another one.
    fn leased(stored: Option<Self>, until: Timestamp) -> Option<Self> {
        stored.filter(|stored| stored.leased_until == Some(until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn event(id: &str) -> CopyOrigin {
        CopyOrigin {
            event: id.to_owned(),
            caller: "rule:r".to_owned(),
        }
    }

    fn acquire(
        stored: Option<&SubjectRecord>,
        id: &str,
        happened: i64,
        now: i64,
    ) -> (SubjectLease, Option<SubjectRecord>) {
        SubjectRecord::acquire(stored.cloned(), &event(id), at(happened), at(now))
    }

    fn acquired(notification: Option<&NotificationId>, origin: &str, until: i64) -> SubjectLease {
        SubjectLease::Acquired(HeldSubject {
            notification: notification.cloned(),
            origin: event(origin),
            until: at(until),
        })
    }

    #[test]
    fn a_subject_shows_its_latest_event_and_one_event_writes_at_a_time() {
        let id = NotificationId::fresh(at(0), [1; 16]);
        let (lease, stored) = acquire(None, "red", 10, 100);
        assert_eq!(lease, acquired(None, "red", 160));
        // Others wait, and so does the same one in another message.
        for waiting in ["green", "red"] {
            assert_eq!(
                acquire(stored.as_ref(), waiting, 20, 159).0,
                SubjectLease::HeldElsewhere
            );
        }
        let shown = SubjectRecord::released(stored, at(160), Some(&id), "red", at(10));
        assert_eq!(acquire(shown.as_ref(), "red", 10, 102).0, SubjectLease::Shown);
        assert_eq!(
            acquire(shown.as_ref(), "blue", 9, 102).0,
            SubjectLease::Shown,
            "an older event comes too late"
        );
        let (lease, leased) = acquire(shown.as_ref(), "green", 20, 102);
        assert_eq!(lease, acquired(Some(&id), "red", 162));
        // One that fails leaves what is shown, and what comes later.
        let failed = SubjectRecord::released(leased, at(162), None, "green", at(20));
        assert_eq!(
            acquire(failed.as_ref(), "yellow", 15, 103).0,
            acquired(Some(&id), "red", 163)
        );
    }

    #[test]
    fn who_goes_on_after_a_failure_goes_on_with_the_same_copy() {
        let (_, stored) = acquire(None, "red", 10, 100);
        // The lease ends when its holder does not come back. It may have sent.
        let (lease, later) = acquire(stored.as_ref(), "green", 20, 160);
        assert_eq!(lease, acquired(None, "red", 220));
        let id = NotificationId::fresh(at(0), [1; 16]);
        assert_eq!(
            SubjectRecord::released(later.clone(), at(160), Some(&id), "red", at(10)),
            None,
            "the lease is another's"
        );
        let anew = SubjectRecord::begun_anew(later, at(220), &event("green"));
        let failed = SubjectRecord::released(anew, at(220), None, "green", at(20));
        assert_eq!(
            acquire(failed.as_ref(), "blue", 30, 221).0,
            acquired(None, "green", 281)
        );
    }
}
