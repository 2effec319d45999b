//! The invariants of a request, checked at the instant at which it leaves.

use herald::audience::Target;
use herald::delivery::Guarantee;
use herald_local::teams::text_of;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::audiences::is_row_of;
use super::book::{Book, Fate, Lease, Request};
use super::run::Run;

/// How long a worker may act on a notification it read before a caller's change.
const HEARD_WITHIN: SignedDuration = SignedDuration::from_millis(1100);

/// How long permits from before a `Retry-After` may still be used by workers that have not read of it.
const PERMITS_OUTLIVE: SignedDuration = SignedDuration::from_secs(40);

impl Book {
    /// A message to a recipient with a row has the fields of this row.
    pub(super) fn own(&mut self, run: &Run, activity: &Value, place: Option<usize>) {
        let (number, _) = Self::read(text_of(activity));
        let (Some(place), [selector]) = (place, &*self.wanted[number].audience) else {
            return;
        };
        let Target::Rows { column, .. } = &selector.target else {
            return;
        };
        let summary = activity["summary"].as_str().unwrap_or_default();
        let is_own = run
            .channel
            .with(|channel| is_row_of(channel, *column, summary, place));
        if !is_own {
            self.violated(
                19,
                format_args!("a message of n{number} has the field of another row: {summary:?}"),
            );
        }
    }

    /// A conversation has at most one request in flight, as far as workers know.
    pub(super) fn alone(&mut self, run: &Run, request: &Request) {
        let other = self
            .open
            .iter()
            .copied()
            .find(|other| self.requests[*other].conversation == request.conversation);
        if let Some(other) = other
            && run.workers_keep_time()
        {
            self.violated(
                4,
                format_args!("two requests in flight to one conversation: {other} and this one"),
            );
        }
    }

    /// The worker holds a lease for this delivery and revision, to this conversation, now.
    pub(super) fn entitled(
        &mut self,
        run: &Run,
        request: &Request,
        about: Option<usize>,
        conversation: &str,
    ) -> Option<(usize, String)> {
        let about = about?;
        let now = run.now();
        let name = (about, conversation.to_owned());
        let own = |lease: &&mut Lease| lease.holder == request.holder && !lease.written;
        let Some(lease) = self.leases.get_mut(&name).filter(own) else {
            self.violated(
                2,
                format_args!("a request of n{about} to {conversation} without a lease"),
            );
            return None;
        };
        lease.requests += 1;
        let (first, began, until, revises) = (lease.requests == 1, lease.began, lease.until, lease.revises);
        let (ambiguous_attempts, place) = (lease.ambiguous_attempts, lease.conversation.clone());
        if now > until.saturating_add(run.off()).unwrap() {
            self.violated(2, format_args!("a request of n{about} after its lease has ended"));
        }
        if let Some(sends) = request.sends {
            self.once(about, ambiguous_attempts, &name, request);
            self.heeded(run, sends, began, now);
            if first {
                self.permitted(run, request, began);
                self.on_time(run, request, began);
            }
            self.newest(run, about, &place);
        } else if let Some(edits) = request.edits {
            if !revises && !self.wanted[about].subject {
                self.violated(2, format_args!("a change of n{about} under a lease for sending"));
            }
            if !revises {
                self.heeded(run, edits, began, now);
            }
            self.newest(run, about, &place);
        } else if !revises {
            self.violated(2, format_args!("a change of n{about} under a lease for sending"));
        }
        let known = self.unwritable.get(&place).copied();
        if first
            && let Some(since) = known
            && since.saturating_add(run.slack()).unwrap() < began
        {
            self.violated(
                5,
                format_args!("a request to {conversation}, removed or blocked before its claim"),
            );
        }
        Some(name)
    }

    /// An attempt that may have been executed is recorded as ambiguous before the next one starts, and `atMostOnce` has no
    /// next one.
    fn once(&mut self, about: usize, ambiguous_attempts: u32, name: &(usize, String), request: &Request) {
        let earlier = self
            .requests
            .iter()
            .filter(|earlier| {
                earlier.fate != Fate::Refused && earlier.sends.is_some_and(|sends| sends.0 == about)
            })
            // A message to a replaced conversation id arrives nowhere.
            .filter(|earlier| earlier.place == request.place && earlier.conversation == request.conversation);
        let (own, others): (Vec<_>, Vec<_>) =
            earlier.partition(|earlier| earlier.delivery.as_ref() == Some(name));
        let (own, others) = (own.len(), others.len());
        if own > ambiguous_attempts as usize {
            self.violated(
                2,
                format_args!(
                    "n{about} is sent to {} again: {own} may have arrived, {ambiguous_attempts} recorded as ambiguous",
                    name.1
                ),
            );
        }
        if own > 0 && self.wanted[about].guarantee == Guarantee::AtMostOnce {
            self.violated(
                2,
                format_args!("n{about} is sent to {} again, with atMostOnce", name.1),
            );
        }
        if others > 0 {
            self.violated(
                2,
                format_args!("n{about} is sent to {} by a second delivery", name.1),
            );
        }
    }

    /// No send starts after a change that its worker could have read: cancellation, expiry, retraction, or new content.
    fn heeded(&mut self, run: &Run, sends: (usize, u32), claimed: Timestamp, now: Timestamp) {
        let (number, revision) = sends;
        let wanted = &self.wanted[number];
        let heard = |moment: Timestamp| moment + HEARD_WITHIN + run.slack() < claimed;
        let newest = wanted.revised.iter().filter(|moment| heard(**moment)).count();
        let fault = if wanted.cancelled.is_some_and(heard) {
            Some("it is cancelled")
        } else if wanted
            .expires_at
            .is_some_and(|ends| ends + run.off() + run.slack() < now)
        {
            Some("it has expired")
        } else if wanted.deliver_at.is_some_and(|begins| begins > now + run.off()) {
            Some("its deliverAt is later")
        } else if wanted.retracted.is_some_and(heard) {
            Some("it is retracted")
        } else if wanted
            .refused
            .is_some_and(|(refused, moment)| refused == revision && heard(moment))
        {
            Some("the channel refuses its message")
        } else if newest > revision as usize {
            Some("it has new content")
        } else {
            None
        };
        if let Some(fault) = fault {
            self.violated(
                5,
                format_args!("n{number} is sent in revision {revision}, but {fault}"),
            );
        }
    }

    /// No worker sends a request to a tenant that asked for a wait.
    pub(super) fn paced(&mut self, run: &Run, request: &Request) {
        let now = run.now();
        let Some(tenant) = request
            .place
            .map(|place| run.channel.with(|channel| channel.places[place].tenant))
        else {
            return;
        };
        let early = self.holds.iter().any(|hold| {
            let outlives = if hold.holder == request.holder {
                SignedDuration::from_millis(200)
            } else {
                PERMITS_OUTLIVE
            };
            hold.tenant == tenant && now > hold.from + outlives && now + run.off() < hold.until
        });
        if early && run.troubles.tables_are_well() && run.troubles.clocks_agree() {
            self.violated(4, format_args!("a request before Retry-After is over"));
        }
    }
}
