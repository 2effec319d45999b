//! Polls a submitted batch, and writes the outcome of each member once it is done.

use botframework::connector::{self, Class, FailedEntry, OperationPhase, OperationProgress};
use herald::audience::Recipient;
use herald::backend::Backend;
use herald::batch::{self, BatchRecord, Stage, Submitted};
use herald::bot_monitor::TokenVerdict;
use herald::conversation::{Conversation, Feedback};
use herald::delivery::{AttemptLease, Disposition, Outcome, SentMessage};
use herald::rate_limit::Permits;
use herald::retry::{Action, action_for, retry_after};
use herald::store;
use herald::time::later;

use super::members::find;
use super::{BatchRun, ChunkAction, MemberOutcome, StepExit, log};
use crate::notification_cache::Snapshot;
use crate::outcome::SideEffects;
use crate::tenant::error_code;

/// How many pages of failed entries are read. A batch has no more members than a page of the plan.
const MAX_FAILED_PAGES: usize = 100;

/// How many failed entries are kept: ten times as many as a batch has members.
const MAX_FAILED_ENTRIES: usize = 1000;

/// The members that a batch did not reach.
#[derive(Default)]
struct UnreachedMembers {
    entries: Vec<FailedEntry>,
    /// Whether an entry names no member, or entries are missing.
    is_incomplete: bool,
}

/// How a batch ended.
struct BatchEnd {
    /// The outcome of members without a failed entry.
    rest: Outcome,
    /// Whether any member got the message.
    has_delivered: bool,
    failed: UnreachedMembers,
    /// The permit of the poll.
    permits: Permits,
}

impl<B: Backend> BatchRun<'_, '_, B> {
    pub(super) async fn poll(
        &mut self,
        mut batch: BatchRecord,
        submitted: Submitted,
        snapshot: &Snapshot,
    ) -> Result<ChunkAction, StepExit> {
        if batch::is_abandoned(snapshot.head.expires_at, self.now()) {
            return self.mark_unknown(&batch).await;
        }
        if let Some(until) = self.run.invocation.gate.bot_paused_until() {
            return Ok(ChunkAction::Requeue(until));
        }
        if snapshot.head.is_stopped() && !submitted.cancelled {
            batch = self.cancel(&batch, &submitted, snapshot).await?;
        }
        let permits = self.acquire_permit().await?;
        let progress = self.progress(&batch, &submitted, snapshot).await?;
        let rest = match progress.phase() {
            OperationPhase::Running => {
                let next_poll = submitted.next_poll(progress.retry_after.as_deref(), self.now());
                return Ok(ChunkAction::Requeue(next_poll));
            }
            OperationPhase::Completed => Outcome::Delivered(SentMessage {
                activity: None,
                revision: snapshot.head.revision,
                attempted_revision: snapshot.head.revision,
                supersedes: None,
            }),
            // Nothing says which members got it.
            OperationPhase::Stopped => Outcome::Unknown,
        };
        let ended = BatchEnd {
            has_delivered: progress.delivered > 0,
            rest,
            failed: self.failed_members(&submitted, &progress, snapshot).await?,
            permits,
        };
        self.settle(&batch, ended, snapshot).await
    }

    async fn progress(
        &mut self,
        batch: &BatchRecord,
        submitted: &Submitted,
        snapshot: &Snapshot,
    ) -> Result<OperationProgress, StepExit> {
        let Submitted { id, service_url, .. } = submitted;
        let error = match self.connector().operation(service_url, id).await {
            Ok(progress) => return Ok(progress),
            Err(error) => error,
        };
        log(&error, &snapshot.head.id, "the poll of a batch failed");
        Err(match error.class() {
            // The channel has forgotten it.
            Class::Rejected | Class::Gone if !submitted.is_new(self.now()) => {
                StepExit::Fate(self.mark_unknown(batch).await?)
            }
            Class::Rejected | Class::Gone | Class::NotSent | Class::Ambiguous => {
                self.poll_failed(&error, submitted).await?
            }
        })
    }

    /// Asks the channel to end a batch, once. Returns its new state.
    async fn cancel(
        &mut self,
        batch: &BatchRecord,
        submitted: &Submitted,
        snapshot: &Snapshot,
    ) -> Result<BatchRecord, StepExit> {
        self.acquire_permit().await?;
        let Submitted { id, service_url, .. } = submitted;
        if let Err(error) = self.connector().cancel_operation(service_url, id).await {
            log(&error, &snapshot.head.id, "a batch was not cancelled");
            match error.class() {
                // There is nothing left to cancel.
                Class::Rejected | Class::Gone => {}
                Class::NotSent | Class::Ambiguous => return Err(self.poll_failed(&error, submitted).await?),
            }
        }
        let cancelled = batch.at(Stage::Submitted(Submitted {
            cancelled: true,
            ..submitted.clone()
        }));
        self.write(&cancelled).await?;
        Ok(cancelled)
    }

    /// The channel did not answer the poll: when to poll again.
    async fn poll_failed(
        &self,
        error: &connector::Error,
        submitted: &Submitted,
    ) -> Result<StepExit, store::Error> {
        let now = self.now();
        let next_poll = submitted.next_poll(None, now);
        let tenant = self.run.tenant();
        let retry_after = retry_after(error, now);
        match action_for(error.reason()) {
            Action::ThrottleTenant => tenant.throttle(retry_after).await?,
            Action::PauseBot => return Ok(StepExit::requeue(tenant.no_token(error).await)),
            Action::CountTokenRefusal => {
                if let TokenVerdict::BotPaused(until) | TokenVerdict::TenantPaused(until) =
                    tenant.token_refused(error).await?
                {
                    return Ok(StepExit::requeue(until));
                }
            }
            Action::Retry
            | Action::TryOtherUrl
            | Action::RecreateConversation
            | Action::Block
            | Action::CountFailure
            | Action::Reject
            | Action::RetryAmbiguous { .. } => {}
        }
        let requested = retry_after.map_or(next_poll, |wait| later(now, wait));
        Ok(StepExit::requeue(requested.max(next_poll)))
    }

    /// The members that the batch did not reach, page by page.
    async fn failed_members(
        &mut self,
        submitted: &Submitted,
        progress: &OperationProgress,
        snapshot: &Snapshot,
    ) -> Result<UnreachedMembers, StepExit> {
        let mut failed = UnreachedMembers::default();
        let counts = progress.failed.iter().map(|(_, count)| *count);
        let counted = counts.fold(0, u64::saturating_add);
        if counted == 0 && progress.left() == Some(0) {
            return Ok(failed);
        }
        let Submitted { id, service_url, .. } = submitted;
        let (mut token, mut listed) = (None, 0);
        for _ in 0..MAX_FAILED_PAGES {
            match self.acquire_permit().await {
                Ok(_) => {}
                Err(StepExit::Fate(_)) => return Err(self.conflict()),
                Err(StepExit::Failed(error)) => return Err(StepExit::Failed(error)),
            }
            let page = match self
                .connector()
                .failed_entries(service_url, id, token.as_deref())
                .await
            {
                Ok(page) => page,
                Err(error) => {
                    log(
                        &error,
                        &snapshot.head.id,
                        "the failed members of a batch could not be read",
                    );
                    return match error.class() {
                        Class::NotSent | Class::Ambiguous => Err(self.poll_failed(&error, submitted).await?),
                        Class::Rejected | Class::Gone => Ok(UnreachedMembers {
                            is_incomplete: true,
                            ..UnreachedMembers::default()
                        }),
                    };
                }
            };
            listed += page.entries.len() as u64;
            failed.is_incomplete |= page.entries.iter().any(|entry| entry.id.is_empty());
            if failed.entries.len() + page.entries.len() > MAX_FAILED_ENTRIES {
                failed.is_incomplete = true;
                return Ok(failed);
            }
            failed.entries.extend(page.entries);
            token = page.continuation_token;
            if token.is_none() {
                failed.is_incomplete |= listed < counted;
                return Ok(failed);
            }
        }
        failed.is_incomplete = true;
        Ok(failed)
    }

    /// Writes the outcome of each member.
    async fn settle(
        &mut self,
        batch: &BatchRecord,
        ended: BatchEnd,
        snapshot: &Snapshot,
    ) -> Result<ChunkAction, StepExit> {
        let BatchEnd {
            rest,
            has_delivered,
            mut failed,
            permits,
        } = ended;
        // Only then does it matter who they are.
        let conversations = if failed.is_incomplete || !failed.entries.is_empty() {
            self.conversations().await?
        } else {
            Vec::new()
        };
        let entries = self.entries_of_open(batch, &conversations, &mut failed.entries);
        // An entry that names no known member may be about any member with an id that is not known.
        let has_strangers = failed.entries.iter().any(|entry| !entry.id.is_empty());
        let mut outcomes = Vec::new();
        let mut effects = Vec::new();
        for (open, entry) in self.run.open.iter().zip(entries) {
            let recipient = &open.recipient;
            outcomes.push(match entry {
                _ if batch.excluded.contains(recipient) => self.excluded_outcome(batch),
                None => {
                    let is_sure = !has_strangers || ids(recipient, &conversations).len() > 1;
                    MemberOutcome::Ends(if is_sure && !failed.is_incomplete {
                        rest.clone()
                    } else {
                        Outcome::Unknown
                    })
                }
                Some(entry) => {
                    let mut its_effects = SideEffects::on(find(recipient, &conversations));
                    let outcome = self
                        .failed_outcome(entry, has_delivered, batch, snapshot, &mut its_effects)
                        .await?;
                    effects.append(&mut its_effects.list);
                    outcome
                }
            });
        }
        self.write_outcomes(outcomes).await?;
        self.run.tenant().apply(effects).await?;
        if has_delivered {
            self.run.record_success(Some(permits)).await?;
        }
        self.finish(batch).await
    }

    /// Takes the failed entry of each open delivery, in their order.
    fn entries_of_open(
        &self,
        batch: &BatchRecord,
        conversations: &[Conversation],
        failed: &mut Vec<FailedEntry>,
    ) -> Vec<Option<FailedEntry>> {
        let mut entry = |recipient: &Recipient| {
            if batch.excluded.contains(recipient) {
                return None;
            }
            let ids = ids(recipient, conversations);
            failed.extract_if(.., |entry| ids.contains(&entry.id)).next()
        };
        self.run.open.iter().map(|open| entry(&open.recipient)).collect()
    }

    /// The outcome of a member that the batch did not reach: by the table, as of a request to it alone.
    async fn failed_outcome(
        &self,
        entry: FailedEntry,
        has_delivered: bool,
        batch: &BatchRecord,
        snapshot: &Snapshot,
        effects: &mut SideEffects<'_>,
    ) -> Result<MemberOutcome, store::Error> {
        // It had no attempt of its own before.
        let lease = AttemptLease {
            attempt: 1,
            ..batch.lease()
        };
        if entry.was_cancelled() {
            return Ok(if snapshot.head.is_stopped() {
                MemberOutcome::Ends(lease.final_outcome(Outcome::Cancelled))
            } else {
                self.excluded_outcome(batch)
            });
        }
        let is_known = effects.record.is_some();
        match action_for(entry.error.reason()) {
            Action::TryOtherUrl | Action::PauseBot | Action::CountTokenRefusal => {
                return Ok(self.excluded_outcome(batch));
            }
            // Other members were reached, so it does not concern the tenant.
            Action::CountFailure if has_delivered && is_known => {
                let code = error_code(&entry.error);
                effects.feedback(Feedback::Blocked(code.clone()));
                return Ok(MemberOutcome::Ends(lease.final_outcome(Outcome::Gone { code })));
            }
            Action::CountFailure => return Ok(self.excluded_outcome(batch)),
            Action::ThrottleTenant
            | Action::Retry
            | Action::RecreateConversation
            | Action::Block
            | Action::Reject
            | Action::RetryAmbiguous { .. } => {}
        }
        let next = self
            .run
            .tenant()
            .disposition(Err(entry.error), &lease, snapshot, effects)
            .await?;
        // The batch was throttled, not this function.
        effects.list.retain(|effect| !effect.is_throttle());
        Ok(match next {
            // Creating the conversation shows whether the bot is installed for them.
            Disposition::Settle(Outcome::Gone { .. }) if !is_known => MemberOutcome::Individually,
            Disposition::Settle(outcome) => MemberOutcome::Ends(outcome),
            Disposition::Wait {
                until,
                reason,
                ambiguous_attempts,
            } => MemberOutcome::Waits {
                until,
                reason,
                ambiguous_attempts,
            },
        })
    }

    fn connector(&self) -> &connector::Connector {
        &self.run.invocation.context.connector
    }
}

/// All known ids of a recipient.
fn ids(recipient: &Recipient, conversations: &[Conversation]) -> Vec<String> {
    match recipient {
        Recipient::Conversation(_) => {
            let attributes = find(recipient, conversations).map(|conversation| &conversation.attributes);
            let account = attributes.and_then(|attributes| Some(attributes.account.as_ref()?.as_str()));
            let user = attributes.and_then(|attributes| Some(attributes.user.as_ref()?.as_str()));
            account.into_iter().chain(user).map(str::to_owned).collect()
        }
        Recipient::User(id) => vec![id.as_str().to_owned()],
        Recipient::Account(id) => vec![id.as_str().to_owned()],
        Recipient::UnknownConversation(_) | Recipient::Missed(_) => Vec::new(),
    }
}
