//! One delivery: the recipient is resolved to a conversation, the conversation is leased, the attempt is made and its outcome
//! written.
//!
//! A conversation may have been replaced by one under another id. The delivery then runs again at the new id, with that
//! conversation's own lease and row: it may be a recipient of the same notification itself, and others may be writing to it. This
//! delivery ends as that one does.

use herald::audience::Recipient;
use herald::backend::Backend;
use herald::conversation::{Conversation, ConversationKey, Observation, State};
use herald::delivery::{
    AttemptLease, Claim, ClaimRequest, DeliveryKey, Disposition, Outcome, SentMessage, SkipReason,
};
use herald::id::NotificationId;
use herald::service_urls::ServiceUrls;
use herald::store::{self, CasResult, Conversations, Ledger};
use herald::telemetry::{self, Metric, chain};
use herald::time::later;
use jiff::{SignedDuration, Timestamp};

use crate::notification_cache::{NotificationCache, Snapshot};
use crate::outcome::{SideEffect, SideEffects};
use crate::request::{AttemptRequests, RequestResult};
use crate::resolve::{Resolution, Resolver, known_conversation, person_of};
use crate::tenant::{Tenant, error_code};

/// When to ask again for a delivery that another worker has leased. It settles long before its deadline, unless it crashed;
/// asking costs a read.
const LEASE_POLL: SignedDuration = SignedDuration::from_secs(5);

/// How long the index of people may lack a conversation that is stored. DynamoDB names no bound; it is mostly below a second.
const INDEX_LAG: SignedDuration = SignedDuration::from_secs(5);

/// The state of a delivery after it was processed.
pub(crate) enum Step {
    /// It has ended now.
    Ended(Outcome),
    /// It had ended before.
    AlreadyEnded(Outcome),
    /// It ended in a conversation that its recipient resolved to.
    EndedAs(ConversationKey, Outcome),
    /// A sent message is to be updated, which takes a permit that it does not have.
    NeedsPermit,
    /// It is open, and not due before then.
    Open(Timestamp),
}

/// The result of one run in a conversation.
enum RunResult {
    Settled(Outcome),
    AlreadySettled(Outcome),
    LeasedElsewhere {
        until: Timestamp,
    },
    NeedsPermit,
    Later {
        until: Timestamp,
        /// Why, if it was attempted.
        reason: Option<String>,
        ambiguous_attempts: u32,
    },
}

/// The conversation in which a delivery runs.
struct Target<'c> {
    key: &'c ConversationKey,
    /// Its record; of a replacement, that of the conversation that it replaced.
    conversation: Option<&'c Conversation>,
    /// Where a replacement was created.
    replaced_at: Option<String>,
}

/// One delivery.
pub(crate) struct Delivery<'d, 'a, B: Backend> {
    pub(crate) tenant: Tenant<'a, B>,
    pub(crate) cache: &'d NotificationCache<'a, B>,
    pub(crate) notification: &'d NotificationId,
    pub(crate) recipient: &'d Recipient,
    /// The recipient's own key. A recipient that resolves to a conversation has its delivery under the conversation's key.
    pub(crate) key: DeliveryKey,
}

impl<B: Backend> Delivery<'_, '_, B> {
    /// Processes the delivery at its slot. One whose records DynamoDB will never store ends with that: tried again, it would fail
    /// for ever.
    pub(crate) async fn process(&self, slot: Option<Timestamp>) -> Result<Step, store::Error> {
        let error = match self.run(slot).await {
            Err(error @ store::Error::Refused { .. }) => error,
            step => return step,
        };
        tracing::error!(error_type = "RecordRefused", notification = %self.notification, error = %chain(&error), "DynamoDB will not store the record of a delivery, which ends as unknown");
        // It may have been sent before its record was refused.
        let ledger = &self.tenant.context().ledger;
        let outcome = ledger.settle_unclaimed(&self.key, &Outcome::Unknown).await?;
        Ok(Step::Ended(outcome))
    }

    /// Processes the delivery at its slot. What cannot be sent now is not leased either, so that it counts as no attempt.
    async fn run(&self, slot: Option<Timestamp>) -> Result<Step, store::Error> {
        let context = self.tenant.context();
        if let Some(slot) = slot {
            context.clock.sleep_until(slot).await;
        }
        let now = self.tenant.now();
        // What ends without a request waits for none.
        if slot.is_some()
            && let Some(until) = self.tenant.held_until()
        {
            return Ok(Step::Open(until));
        }
        if self.tenant.invocation.is_ending(now) {
            return Ok(Step::Open(now));
        }
        let resolver = Resolver {
            tenant: self.tenant,
            cache: self.cache,
            notification: self.notification,
            recipient: self.recipient,
            key: &self.key,
        };
        let key = match resolver.resolve(now).await? {
            Resolution::Conversation(key) => key,
            Resolution::Skip(outcome) => {
                return Ok(Step::Ended(
                    context.ledger.settle_unclaimed(&self.key, &outcome).await?,
                ));
            }
            Resolution::Ended(outcome) => return Ok(Step::Ended(outcome)),
            Resolution::Later(until) => return Ok(Step::Open(until)),
        };
        // Read at the last moment: a person who has just uninstalled the bot gets nothing.
        let conversation = self.recall(&key).await?;
        // A delivery that is not to be sent any more ends though the bot has no token.
        if self.cache.latest().await?.stop_outcome(now).is_none()
            && let Some(until) = self.paused_until(conversation.as_ref()).await
        {
            return Ok(Step::Open(until));
        }
        let target = Target {
            key: &key,
            conversation: conversation.as_ref(),
            replaced_at: None,
        };
        let mut effects = SideEffects::on(conversation.as_ref());
        let run = self.run_in(&target, slot.is_some(), &mut effects).await?;
        let is_refused = effects.list.iter().any(SideEffect::stops_notification);
        self.tenant.apply(effects.list).await?;
        if is_refused {
            self.cache.reset().await;
        }
        let (outcome, step) = match run {
            RunResult::Settled(outcome) => (outcome.clone(), Step::Ended(outcome)),
            RunResult::AlreadySettled(outcome) => (outcome.clone(), Step::AlreadyEnded(outcome)),
            RunResult::NeedsPermit => return Ok(Step::NeedsPermit),
            RunResult::LeasedElsewhere { until } => return Ok(Step::Open(until.min(later(now, LEASE_POLL)))),
            RunResult::Later { until, .. } => return Ok(Step::Open(until)),
        };
        if let Recipient::Conversation(_) = self.recipient {
            return Ok(step);
        }
        // Also under the key that the caller knows.
        context.ledger.settle_unclaimed(&self.key, &outcome).await?;
        Ok(Step::EndedAs(key, outcome))
    }

    async fn recall(&self, key: &ConversationKey) -> Result<Option<Conversation>, store::Error> {
        let conversations = &self.tenant.context().conversations;
        Ok(conversations.get_many(std::slice::from_ref(key)).await?.pop())
    }

    /// Until when the bot has no token for this conversation, if it has none now.
    async fn paused_until(&self, conversation: Option<&Conversation>) -> Option<Timestamp> {
        if let Some(until) = self.tenant.invocation.gate.bot_paused_until() {
            return Some(until);
        }
        let service_url = conversation?.service_urls.first()?;
        self.tenant.token_missing_until(service_url).await
    }

    /// Leases the conversation, makes the attempt and writes its outcome.
    async fn run_in(
        &self,
        target: &Target<'_>,
        has_permit: bool,
        effects: &mut SideEffects<'_>,
    ) -> Result<RunResult, store::Error> {
        let context = self.tenant.context();
        let ledger = &context.ledger;
        let snapshot = self.cache.latest().await?;
        let now = self.tenant.now();
        // Whichever name led here, the conversation has one delivery of a notification.
        let delivery = DeliveryKey::new(self.notification, &Recipient::Conversation(target.key.clone()));
        let request = ClaimRequest {
            delivery: &delivery,
            revision: snapshot.head.revision,
            now,
            until: self.tenant.invocation.deadline,
            spacing: context.conversation_rate(),
        };
        let lease = match ledger.claim(request, target.key).await? {
            Claim::Acquired(lease) => lease,
            Claim::LeasedElsewhere { until } => {
                telemetry::count(Metric::ClaimConflict);
                return Ok(RunResult::LeasedElsewhere { until });
            }
            Claim::ConversationBusy { until } => {
                telemetry::count(Metric::ClaimConflict);
                return Ok(not_attempted(until));
            }
            Claim::NotDue { until } => return Ok(not_attempted(until)),
            Claim::Settled(outcome) => return Ok(RunResult::AlreadySettled(outcome)),
        };
        if lease.sent.is_some() && !has_permit {
            ledger
                .release(&delivery, &lease, now, "NoPermit", lease.ambiguous_attempts)
                .await?;
            return Ok(RunResult::NeedsPermit);
        }
        let next = match self.precheck(&lease, &snapshot, target.conversation) {
            Ok(conversation) => {
                self.attempt(target, conversation, &lease, &snapshot, effects)
                    .await?
            }
            Err(outcome) => {
                let elsewhere = match (&outcome, target.conversation) {
                    (
                        Outcome::Skipped {
                            reason: SkipReason::Removed,
                        },
                        Some(removed),
                    ) if has_permit => self.run_in_other(removed, &lease, effects).await?,
                    _ => None,
                };
                elsewhere.unwrap_or_else(|| Disposition::Settle(lease.final_outcome(outcome)))
            }
        };
        let (written, run) = match next {
            Disposition::Settle(outcome) => {
                let settle = async || ledger.settle(&delivery, &lease, &outcome).await;
                (
                    self.tenant.invocation.record(settle).await?,
                    RunResult::Settled(outcome),
                )
            }
            Disposition::Wait {
                until,
                reason,
                ambiguous_attempts,
            } => {
                let release = async || {
                    ledger
                        .release(&delivery, &lease, until, &reason, ambiguous_attempts)
                        .await
                };
                let written = self.tenant.invocation.record(release).await?;
                let reason = Some(reason);
                (
                    written,
                    RunResult::Later {
                        until,
                        reason,
                        ambiguous_attempts,
                    },
                )
            }
        };
        Ok(match written {
            CasResult::Committed => run,
            // The lease expired and was taken over. What the new holder writes counts: ask again.
            CasResult::Conflict => not_attempted(self.tenant.now()),
        })
    }

    /// The conversation for the attempt, or how the delivery ends without one.
    fn precheck<'c>(
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

    /// Runs the delivery of a person whose conversation is removed in their other one, if they have one: they removed the bot and
    /// came back, and the recipient was resolved in between.
    async fn run_in_other(
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
    async fn run_in_replacement(
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
            return settled(outcome);
        }
        let opt_outs = record.as_ref().and_then(|record| record.opt_outs.as_ref());
        if lease.sent.is_none() && !snapshot.head.is_wanted(opt_outs) {
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

fn not_attempted(until: Timestamp) -> RunResult {
    RunResult::Later {
        until,
        reason: None,
        ambiguous_attempts: 0,
    }
}
