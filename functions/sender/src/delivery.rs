//! One delivery: the recipient is resolved to a conversation, the conversation is leased, the attempt is made and its outcome
//! written.

use herald::audience::{Fields, Recipient};
use herald::backend::Backend;
use herald::conversation::{Conversation, ConversationKey, State};
use herald::delivery::{AttemptLease, Claim, ClaimRequest, DeliveryKey, Disposition, Outcome};
use herald::id::NotificationId;
use herald::store::{self, CasResult, Conversations, Ledger};
use herald::telemetry::{self, Metric, chain};
use herald::time::later;
use herald::timing::Habits;
use jiff::{SignedDuration, Timestamp};

use crate::notification_cache::{NotificationCache, Snapshot};
use crate::outcome::{SideEffect, SideEffects};
use crate::resolve::{Resolution, Resolver};
use crate::tenant::Tenant;

/// When to ask again for a delivery that another worker has leased. It settles long before its deadline, unless it crashed;
/// asking costs a read.
const LEASE_POLL: SignedDuration = SignedDuration::from_secs(5);

mod attempt;
mod replacement;
mod subject;

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
    /// It is held by quiet hours until then.
    Quiet(Timestamp),
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
    /// The fields of its row.
    pub(crate) fields: Option<&'d Fields>,
    /// Whether there is a sent message to be updated.
    pub(crate) is_update: bool,
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
            Resolution::Quiet(until) => return Ok(Step::Quiet(until)),
        };
        // Read at the last moment: a person who has just uninstalled the bot gets nothing.
        let conversation = self.recall(&key).await?;
        // A delivery that is not to be sent any more ends, though it is quiet or the bot has no token.
        let snapshot = self.cache.latest().await?;
        if snapshot.stop_outcome(now).is_none() {
            if let Some(until) = self.quiet_until(&snapshot, conversation.as_ref(), now) {
                return Ok(Step::Quiet(until));
            }
            if let Some(until) = self.paused_until(conversation.as_ref()).await {
                return Ok(Step::Open(until));
            }
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

    /// Until when quiet hours hold the message. It is not leased then, so that this counts as no attempt. What would be skipped is not held,
    /// and an edit of what they have is no new message.
    fn quiet_until(
        &self,
        snapshot: &Snapshot,
        conversation: Option<&Conversation>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let known = conversation.filter(|known| match (&known.state, self.recipient) {
            (State::Active, _) => snapshot.head.is_wanted(known.preferences.as_ref()),
            // The person may have another conversation by now.
            (State::Removed, Recipient::User(_) | Recipient::Account(_)) => true,
            (
                State::Removed,
                Recipient::Conversation(_) | Recipient::UnknownConversation(_) | Recipient::Missed(_),
            )
            | (State::Blocked { .. }, _) => false,
        })?;
        let is_new = !self.is_update;
        is_new.then(|| snapshot.quiet_until(Habits::from(known), now))?
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
        let mut lease = match ledger.claim(request, target.key).await? {
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
        let next = self
            .attempt_under(target, &mut lease, &snapshot, has_permit, effects)
            .await?;
        self.write(&delivery, &lease, next).await
    }

    /// Writes the result of an attempt, which ends its lease.
    async fn write(
        &self,
        delivery: &DeliveryKey,
        lease: &AttemptLease,
        next: Disposition,
    ) -> Result<RunResult, store::Error> {
        let ledger = &self.tenant.context().ledger;
        let (written, run) = match next {
            Disposition::Settle(outcome) => {
                let settle = async || ledger.settle(delivery, lease, &outcome).await;
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
                        .release(delivery, lease, until, &reason, ambiguous_attempts)
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
}

fn not_attempted(until: Timestamp) -> RunResult {
    RunResult::Later {
        until,
        reason: None,
        ambiguous_attempts: 0,
    }
}
