//! The attempt of a delivery, under its lease: whether one is to be made, and what its answer means.

use herald::backend::Backend;
use herald::conversation::{Conversation, Observation, State};
use herald::delivery::{AttemptLease, Disposition, Outcome, SentMessage, SkipReason};
use herald::service_urls::ServiceUrls;
use herald::store;

use super::{Delivery, Target};
use crate::notification_cache::Snapshot;
use crate::outcome::{SideEffect, SideEffects};
use crate::request::{AttemptRequests, RequestResult};
use crate::tenant::error_code;

impl<B: Backend> Delivery<'_, '_, B> {
    /// Makes the attempt under its lease, if one is to be made.
    pub(super) async fn attempt_under(
        &self,
        target: &Target<'_>,
        lease: &AttemptLease,
        snapshot: &Snapshot,
        has_permit: bool,
        effects: &mut SideEffects<'_>,
    ) -> Result<Disposition, store::Error> {
        let outcome = match self.precheck(lease, snapshot, target.conversation) {
            Ok(conversation) => return self.attempt(target, conversation, lease, snapshot, effects).await,
            Err(outcome) => outcome,
        };
        let elsewhere = match (&outcome, target.conversation) {
            (
                Outcome::Skipped {
                    reason: SkipReason::Removed,
                },
                Some(removed),
            ) if has_permit => self.run_in_other(removed, lease, effects).await?,
            _ => None,
        };
        Ok(elsewhere.unwrap_or_else(|| Disposition::Settle(lease.final_outcome(outcome))))
    }

    /// The conversation for the attempt, or how the delivery ends without one.
    pub(super) fn precheck<'c>(
        &self,
        lease: &AttemptLease,
        snapshot: &Snapshot,
        conversation: Option<&'c Conversation>,
    ) -> Result<&'c Conversation, Outcome> {
        if !lease.permits_attempt(snapshot.head.guarantee) {
            return Err(Outcome::Unknown);
        }
        // A sent message that cannot be reached any more stays as it is; the update was attempted.
        let unchanged = lease.sent.as_ref().map(|sent| {
            Outcome::Delivered(SentMessage {
                attempted_revision: snapshot.head.revision,
                ..sent.clone()
            })
        });
        if unchanged.is_none()
            && let Some(outcome) = snapshot.stop_outcome(self.tenant.now())
        {
            return Err(outcome);
        }
        // The channel refuses the new message for all recipients.
        if let Some(unchanged) = unchanged.as_ref().filter(|_| snapshot.refusal().is_some()) {
            return Err(unchanged.clone());
        }
        let skipped = |reason| Err(unchanged.clone().unwrap_or(Outcome::Skipped { reason }));
        let Some(conversation) = conversation else {
            return skipped(SkipReason::NoConversation);
        };
        match conversation.state {
            // An edit of what they have is no new message.
            State::Active if lease.sent.is_some() => Ok(conversation),
            State::Active if !snapshot.head.is_wanted(conversation.opt_outs.as_ref()) => {
                skipped(SkipReason::OptedOut)
            }
            State::Active => Ok(conversation),
            State::Removed => skipped(SkipReason::Removed),
            State::Blocked { .. } => skipped(SkipReason::Blocked),
        }
    }

    async fn attempt(
        &self,
        target: &Target<'_>,
        conversation: &Conversation,
        lease: &AttemptLease,
        snapshot: &Snapshot,
        effects: &mut SideEffects<'_>,
    ) -> Result<Disposition, store::Error> {
        if snapshot.message.is_none() && lease.sent.is_none() {
            // It was retracted: there is nothing to be sent.
            return Ok(Disposition::Settle(lease.final_outcome(Outcome::Cancelled)));
        }
        let trust = self.tenant.context().connector.trust();
        let observed = conversation.service_urls.as_slice();
        let urls = match &target.replaced_at {
            None => ServiceUrls::new(trust, observed),
            Some(service_url) => ServiceUrls::starting_at(trust, service_url.as_str(), observed),
        };
        let requests = AttemptRequests {
            tenant: self.tenant,
            cache: self.cache,
            lease,
            snapshot,
            conversation,
            id: &target.key.conversation,
            is_replacement: target.replaced_at.is_some(),
        };
        match requests.run(urls, effects).await? {
            RequestResult::Answered(answer) => {
                self.tenant.disposition(answer, lease, snapshot, effects).await
            }
            RequestResult::CutShort(error) => Ok(self.tenant.cut_short(&error, lease, snapshot)),
            RequestResult::Replaced {
                id,
                service_url,
                error,
            } => {
                let replacement = Observation::replacement(conversation, id);
                let target = Target {
                    key: &replacement.key,
                    conversation: Some(conversation),
                    replaced_at: Some(service_url),
                };
                let reason = error_code(&error);
                let next = match self.run_in_replacement(&target, lease, reason, effects).await? {
                    Some(next) => next,
                    None => self.tenant.cut_short(&error, lease, snapshot),
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
        }
    }
}
