//! A delivery in the conversation that replaced its own.
//!
//! A conversation may have been replaced by one under another id. The delivery then runs again at the new id, with that
//! conversation's own lease and row: it may be a recipient of the same notification itself, and others may be writing to it. This
//! delivery ends as that one does.

use botframework::connector;
use botframework::id::ConversationId;
use herald::backend::Backend;
use herald::conversation::{Conversation, Observation, State};
use herald::delivery::{AttemptLease, Disposition, Outcome, SkipReason};
use herald::store;
use herald::time::later;
use jiff::SignedDuration;

use super::{Delivery, RunResult, Target};
use crate::notification_cache::Snapshot;
use crate::outcome::{SideEffect, SideEffects};
use crate::resolve::{known_conversation, person_of};
use crate::tenant::error_code;

/// How long the index of people may lack a conversation that is stored. DynamoDB names no bound; it is mostly below a second.
const INDEX_LAG: SignedDuration = SignedDuration::from_secs(5);

/// The id that a conversation has now, and where it was found.
pub(super) struct Replacement {
    pub(super) id: ConversationId,
    pub(super) service_url: String,
}

impl<B: Backend> Delivery<'_, '_, B> {
    /// Runs the delivery in the conversation that replaced its own. `error` is what the channel said of the old id.
    pub(super) async fn run_replaced(
        &self,
        conversation: &Conversation,
        replaced_by: Replacement,
        error: &connector::Error,
        lease: &AttemptLease,
        snapshot: &Snapshot,
        effects: &mut SideEffects<'_>,
    ) -> Result<Disposition, store::Error> {
        let replacement = Observation::replacement(conversation, replaced_by.id);
        let target = Target {
            key: &replacement.key,
            conversation: Some(conversation),
            replaced_at: Some(replaced_by.service_url),
        };
        let reason = error_code(error);
        let next = match self.run_in_replacement(&target, lease, reason, effects).await? {
            Some(next) => next,
            None => self.tenant.cut_short(error, lease, snapshot),
        };
        if let Disposition::Settle(_) = next {
            // Until then the old id stays: creating the conversation again leads to the same replacement.
            effects.list.push(SideEffect::Replaced {
                old: conversation.key.clone(),
                new: Box::new(replacement),
            });
        }
        Ok(next)
    }

    /// Runs the delivery of a person whose conversation is removed in their other one, if they have one: they removed the bot and
    /// came back, and the recipient was resolved in between.
    pub(super) async fn run_in_other(
        &self,
        removed: &Conversation,
        lease: &AttemptLease,
        effects: &mut SideEffects<'_>,
    ) -> Result<Option<Disposition>, store::Error> {
        let Some(person) = person_of(self.recipient, self.tenant) else {
            return Ok(None);
        };
        let now = self.tenant.now();
        let wait = |until| Disposition::Wait {
            until,
            reason: "ConversationRemoved".to_owned(),
            ambiguous_attempts: lease.ambiguous_attempts,
        };
        let other = known_conversation(self.tenant, &person).await?;
        let Some(other) = other.filter(|other| *other != removed.key) else {
            // The index may not have a reinstalled conversation yet: the delivery waits for it before it is skipped.
            let indexed_at = later(removed.changed_at, INDEX_LAG);
            return Ok((indexed_at > now).then(|| wait(indexed_at)));
        };
        let conversation = self.recall(&other).await?;
        let target = Target {
            key: &other,
            conversation: conversation.as_ref(),
            replaced_at: None,
        };
        let reason = "ConversationRemoved".to_owned();
        let next = self.run_in_replacement(&target, lease, reason, effects).await?;
        Ok(Some(next.unwrap_or_else(|| wait(now))))
    }

    /// Runs the delivery in the conversation that replaced its own; `None` when there is no time for it, or no permit. `reason` is
    /// why it does not run in the old one.
    pub(super) async fn run_in_replacement(
        &self,
        target: &Target<'_>,
        lease: &AttemptLease,
        reason: String,
        effects: &mut SideEffects<'_>,
    ) -> Result<Option<Disposition>, store::Error> {
        // It may be known already, and removed or blocked: that it can be created proves nothing.
        let record = self.recall(target.key).await?;
        let settled = |outcome| Ok(Some(Disposition::Settle(lease.final_outcome(outcome))));
        match record.as_ref().map(|record| &record.state) {
            Some(State::Removed) => {
                return settled(Outcome::Skipped {
                    reason: SkipReason::Removed,
                });
            }
            Some(State::Blocked { .. }) => {
                return settled(Outcome::Skipped {
                    reason: SkipReason::Blocked,
                });
            }
            Some(State::Active) | None => {}
        }
        if !self.tenant.can_continue().await? {
            return Ok(None);
        }
        // Another look: the requests before this one took their time.
        let snapshot = self.cache.latest().await?;
        if let Some(outcome) = snapshot.stop_outcome(self.tenant.now()) {
            return settled(snapshot.explained(outcome, record.as_ref()));
        }
        let preferences = record.as_ref().and_then(|record| record.preferences.as_ref());
        if lease.sent.is_none() && !snapshot.head.is_wanted(preferences) {
            return settled(Outcome::Skipped {
                reason: SkipReason::OptedOut,
            });
        }
        let mut its_effects = SideEffects::on(record.as_ref());
        let run = Box::pin(self.run_in(target, true, &mut its_effects)).await?;
        effects.list.append(&mut its_effects.list);
        let (until, its_reason, ambiguous_attempts) = match run {
            RunResult::Settled(outcome) | RunResult::AlreadySettled(outcome) => return settled(outcome),
            RunResult::LeasedElsewhere { until } => (until, None, 0),
            RunResult::NeedsPermit => (self.tenant.now(), None, 0),
            RunResult::Later {
                until,
                reason,
                ambiguous_attempts,
            } => (until, reason, ambiguous_attempts),
        };
        Ok(Some(Disposition::Wait {
            until,
            reason: its_reason.unwrap_or(reason),
            // What may have arrived there may have arrived for this delivery.
            ambiguous_attempts: ambiguous_attempts.max(lease.ambiguous_attempts),
        }))
    }
}
