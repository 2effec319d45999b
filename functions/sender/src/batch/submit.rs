//! Submits the chunk as one batch.

use botframework::connector::{self, BatchReceipt, Class};
use botframework::id::UserRef;
use herald::audience::Recipient;
use herald::backend::Backend;
use herald::batch::{BatchRecord, Stage, Submitted};
use herald::delivery::{Disposition, Outcome};
use herald::retry::{Action, action_for};

use super::{BatchRun, ChunkAction, MemberOutcome, StepExit, log};
use crate::chunk::Pending;
use crate::notification_cache::{SentContent, Snapshot};
use crate::outcome::SideEffects;
use crate::tenant::error_code;

/// What is submitted.
struct Submission {
    members: Vec<UserRef>,
    service_url: String,
    tenant: String,
    excluded: Vec<Recipient>,
}

impl<B: Backend> BatchRun<'_, '_, B> {
    /// Submits the chunk.
    pub(super) async fn submit(
        &mut self,
        current: Option<&BatchRecord>,
        snapshot: &Snapshot,
    ) -> Result<ChunkAction, StepExit> {
        let begun = BatchRecord::begin(current, self.run.invocation.deadline, Vec::new());
        if snapshot.stop_outcome(self.now()).is_some() {
            // What may have been sent is never said not to have been.
            return if begun.ambiguous_attempts > 0 {
                self.mark_unknown(&begun).await
            } else {
                self.finish_without_batch(current).await
            };
        }
        let submission = self.prepare(current, &begun).await?;
        // A template for each recipient is never accepted with this send mode.
        let Some(SentContent::Shared(message)) = snapshot.outgoing.as_deref() else {
            return self.finish_without_batch(current).await;
        };
        let begun = BatchRecord {
            excluded: submission.excluded,
            ..begun
        };
        self.run.chunk.begun = true;
        self.write(&begun).await?;
        let service_url = submission.service_url;
        let people = submission.members;
        let connector = &self.run.invocation.context.connector;
        let answer = connector
            .send_to_users(&service_url, &submission.tenant.as_str().into(), &people, message)
            .await;
        self.after_submission(answer, service_url, people.len(), begun, snapshot)
            .await
    }

    /// Finds the members, ends the deliveries that are skipped, and takes a permit.
    async fn prepare(
        &mut self,
        current: Option<&BatchRecord>,
        begun: &BatchRecord,
    ) -> Result<Submission, StepExit> {
        if let Some(until) = self.run.invocation.gate.bot_paused_until() {
            return Err(StepExit::requeue(until));
        }
        if self.run.chunk.begun {
            self.run.look_up().await?;
        }
        let members = {
            let _slots = self.run.invocation.acquire_slots(self.run.open.len()).await;
            self.members().await?
        };
        self.skip(&members.skipped, begun).await?;
        if self.run.open.is_empty() {
            return Err(StepExit::Fate(ChunkAction::Individually));
        }
        let bucket = self.run.chunk.bucket.as_ref();
        let tenant = bucket.and_then(|bucket| bucket.tenant()).map(str::to_owned);
        let (Some(service_url), Some(tenant), true) = (
            self.service_url(&members).await?,
            tenant,
            // Otherwise hardly any recipient is in it.
            members.list.len() >= members.excluded.len().max(1),
        ) else {
            return Err(StepExit::Fate(
                self.batch_refused(begun, current, "NoBatch").await?,
            ));
        };
        if let Some(until) = self.run.tenant().token_missing_until(&service_url).await {
            return Err(StepExit::requeue(until));
        }
        self.acquire_permit().await?;
        let now = self.now();
        if self.run.is_stopped(now).await? {
            return Err(StepExit::requeue(now));
        }
        Ok(Submission {
            members: members.list,
            service_url,
            tenant,
            excluded: members.excluded,
        })
    }

    /// Writes the channel's response to a submission.
    async fn after_submission(
        &mut self,
        answer: Result<BatchReceipt, connector::Error>,
        service_url: String,
        members: usize,
        begun: BatchRecord,
        snapshot: &Snapshot,
    ) -> Result<ChunkAction, StepExit> {
        match answer {
            Ok(BatchReceipt { operation: Some(id) }) => {
                tracing::info!(notification = %snapshot.head.id, members, "batch submitted");
                let at = self.now();
                let submitted = Submitted {
                    id,
                    service_url,
                    at,
                    cancelled: false,
                };
                let next_poll = submitted.next_poll(None, at);
                let url = submitted.service_url.clone();
                self.write(&begun.at(Stage::Submitted(submitted))).await?;
                let tenant = self.run.tenant();
                if tenant.note_token_acceptance() {
                    tenant.record_acceptance(&url).await;
                }
                Ok(ChunkAction::Requeue(next_poll))
            }
            Ok(BatchReceipt { operation: None }) => self.mark_id_lost(&begun).await,
            Err(error) => {
                log(&error, &snapshot.head.id, "a batch was not accepted");
                match (error.class(), action_for(error.reason())) {
                    // Individual requests find out which recipient it is about.
                    (_, Action::TryOtherUrl) | (Class::Rejected | Class::Gone, _) => {
                        self.batch_refused(&begun, Some(&begun), &error_code(&error))
                            .await
                    }
                    (Class::NotSent | Class::Ambiguous, _) => {
                        self.submit_failed(&begun, error, snapshot).await
                    }
                }
            }
        }
    }

    /// The request was not carried out, or may have been.
    async fn submit_failed(
        &mut self,
        begun: &BatchRecord,
        error: connector::Error,
        snapshot: &Snapshot,
    ) -> Result<ChunkAction, StepExit> {
        let tenant = self.run.tenant();
        let mut effects = SideEffects::on(None);
        let next = tenant
            .disposition(Err(error), &begun.lease(), snapshot, &mut effects)
            .await?;
        tenant.apply(effects.list).await?;
        let (until, reason, ambiguous_attempts) = match next {
            Disposition::Wait {
                until,
                reason,
                ambiguous_attempts,
            } => (until, reason, ambiguous_attempts),
            Disposition::Settle(Outcome::Unknown) => return self.mark_id_lost(begun).await,
            // The tenant refuses the bot for good: each delivery ends with that.
            Disposition::Settle(Outcome::Rejected { code, .. }) => {
                return self.batch_refused(begun, Some(begun), &code).await;
            }
            // It expires before the next try.
            Disposition::Settle(_) => (
                snapshot.head.expires_at,
                "Expires".to_owned(),
                begun.ambiguous_attempts,
            ),
        };
        let waiting = BatchRecord {
            ambiguous_attempts,
            ..begun.at(Stage::Waiting { until, reason })
        };
        self.write(&waiting).await?;
        Ok(ChunkAction::Requeue(until))
    }

    /// The channel may have accepted it, and its id is lost.
    async fn mark_id_lost(&mut self, begun: &BatchRecord) -> Result<ChunkAction, StepExit> {
        let lost = begun.at(Stage::IdLost);
        self.write(&lost).await?;
        self.mark_unknown(&lost).await
    }

    /// The channel accepts no batch of these recipients, or none at all: they are delivered individually, with the ambiguous
    /// attempts there are.
    async fn batch_refused(
        &mut self,
        begun: &BatchRecord,
        current: Option<&BatchRecord>,
        reason: &str,
    ) -> Result<ChunkAction, StepExit> {
        if begun.ambiguous_attempts > 0 {
            let until = self.now();
            let waits = |_: &Pending| MemberOutcome::Waits {
                until,
                reason: reason.to_owned(),
                ambiguous_attempts: begun.ambiguous_attempts,
            };
            let outcomes = self.run.open.iter().map(waits).collect();
            self.write_outcomes(outcomes).await?;
        }
        self.finish_without_batch(current).await
    }

    /// Nothing was submitted, and nothing will be.
    async fn finish_without_batch(&mut self, current: Option<&BatchRecord>) -> Result<ChunkAction, StepExit> {
        self.write(&BatchRecord::done(current)).await?;
        Ok(ChunkAction::Individually)
    }
}
