//! The attempt of a delivery, under its lease: whether one is to be made, and what its answer means.

use botframework::outgoing::SharedMessage;
use herald::backend::Backend;
use herald::conversation::{Conversation, State};
use herald::delivery::{AttemptLease, Disposition, Outcome, SentMessage, SkipReason};
use herald::service_urls::ServiceUrls;
use herald::store;
use herald::subject::SubjectStep;
use herald::template::RenderingError;

use super::replacement::Replacement;
use super::subject::{SubjectAttempt, superseded};
use super::{Delivery, Target};
use crate::notification_cache::Snapshot;
use crate::outcome::{SideEffects, is_message_gone};
use crate::request::{AttemptRequests, RequestResult};

impl<B: Backend> Delivery<'_, '_, B> {
    /// Makes the attempt under its lease, if one is to be made. With a subject, the copy of it decides what the attempt is.
    pub(super) async fn attempt_under(
        &self,
        target: &Target<'_>,
        lease: &mut AttemptLease,
        snapshot: &Snapshot,
        has_permit: bool,
        effects: &mut SideEffects<'_>,
    ) -> Result<Disposition, store::Error> {
        let head = &snapshot.head;
        let mut subject = SubjectAttempt::open(self.tenant, head, target).await?;
        if let Some(subject) = &subject {
            match subject.step(lease, head) {
                SubjectStep::Proceed | SubjectStep::Edit(_) => {}
                SubjectStep::Superseded => return Ok(Disposition::Settle(superseded(lease, head))),
            }
        }
        let checked = self.precheck(lease, snapshot, target.conversation);
        let checked = checked.and_then(|conversation| {
            let message = snapshot.message_to(conversation, self.fields);
            let message = message.map_err(|error| not_rendered(&error, lease, snapshot))?;
            Ok((conversation, message))
        });
        let next = match checked {
            Ok((conversation, message)) => {
                let message = message.as_deref();
                self.attempt(
                    target,
                    (conversation, message),
                    lease,
                    snapshot,
                    subject.as_mut(),
                    effects,
                )
                .await?
            }
            Err(outcome) => {
                self.without_request(target, lease, outcome, has_permit, subject.as_mut(), effects)
                    .await?
            }
        };
        match &mut subject {
            Some(subject) => subject.conclude(lease, head, next).await,
            None => Ok(next),
        }
    }

    /// The end of a delivery that makes no request here.
    async fn without_request(
        &self,
        target: &Target<'_>,
        lease: &AttemptLease,
        outcome: Outcome,
        has_permit: bool,
        subject: Option<&mut SubjectAttempt<'_, B>>,
        effects: &mut SideEffects<'_>,
    ) -> Result<Disposition, store::Error> {
        let elsewhere = match (&outcome, target.conversation) {
            (
                Outcome::Skipped {
                    reason: SkipReason::Removed,
                },
                Some(removed),
            ) if has_permit => self.run_in_other(removed, lease, effects).await?,
            _ => None,
        };
        if let Some(subject) = subject {
            subject.ran_elsewhere = elsewhere.is_some();
        }
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
        let unchanged = unchanged(lease, snapshot);
        if unchanged.is_none()
            && let Some(outcome) = snapshot.stop_outcome(self.tenant.now())
        {
            return Err(snapshot.explained(outcome, conversation));
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
            State::Active if lease.sent.is_some() || lease.edits.is_some() => Ok(conversation),
            State::Active if !snapshot.head.is_wanted(conversation.preferences.as_ref()) => {
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
        (conversation, message): (&Conversation, Option<&SharedMessage>),
        lease: &AttemptLease,
        snapshot: &Snapshot,
        mut subject: Option<&mut SubjectAttempt<'_, B>>,
        effects: &mut SideEffects<'_>,
    ) -> Result<Disposition, store::Error> {
        if message.is_none() && lease.sent.is_none() {
            // It was retracted: there is nothing to be sent.
            return Ok(Disposition::Settle(lease.final_outcome(Outcome::Cancelled)));
        }
        if let Some(subject) = &mut subject
            && !subject.begin(lease, &snapshot.head).await?
        {
            return Ok(Disposition::Wait {
                until: self.tenant.now(),
                reason: "SubjectChanged".to_owned(),
                ambiguous_attempts: lease.ambiguous_attempts,
            });
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
            message,
            conversation,
            id: &target.key.conversation,
            is_replacement: target.replaced_at.is_some(),
        };
        match requests.run(urls, effects).await? {
            RequestResult::Answered(answer) => {
                if let (Some(subject), Err(error)) = (&mut subject, &answer) {
                    subject.is_message_gone = is_message_gone(error, lease, effects);
                }
                self.tenant.disposition(answer, lease, snapshot, effects).await
            }
            RequestResult::CutShort(error) => Ok(self.tenant.cut_short(&error, lease, snapshot)),
            RequestResult::Replaced {
                id,
                service_url,
                error,
            } => {
                if let Some(subject) = &mut subject {
                    subject.ran_elsewhere = true;
                }
                let replaced_by = Replacement { id, service_url };
                self.run_replaced(conversation, replaced_by, &error, lease, snapshot, effects)
                    .await
            }
        }
    }
}

/// The outcome of a sent message that cannot be updated: it stays as it is, and the update was attempted.
fn unchanged(lease: &AttemptLease, snapshot: &Snapshot) -> Option<Outcome> {
    lease.sent.as_ref().map(|sent| {
        Outcome::Delivered(SentMessage {
            attempted_revision: snapshot.head.revision,
            ..sent.clone()
        })
    })
}

/// The outcome for a recipient of whom the template makes no message.
fn not_rendered(error: &RenderingError, lease: &AttemptLease, snapshot: &Snapshot) -> Outcome {
    unchanged(lease, snapshot).unwrap_or_else(|| Outcome::Rejected {
        code: error.code().to_owned(),
        detail: Some(error.to_string()),
    })
}
