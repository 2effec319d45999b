//! The copy of a notification's subject in the conversation of an attempt.
//!
//! Everything here runs under the conversation's lease: read the copy, take it over, make the request, write what the copy is now. The
//! delivery's row is written last. So a worker that follows a crash finds in the copy what may have happened.

use herald::backend::Backend;
use herald::delivery::{AttemptLease, Disposition, Outcome, SentMessage, SkipReason};
use herald::notification::Notification;
use herald::store::{self, CasResult, Ledger};
use herald::subject::{self, SubjectCopy, SubjectCopyKey, SubjectStep};

use super::Target;
use crate::tenant::Tenant;

/// The copy of a subject, for one attempt.
pub(super) struct SubjectAttempt<'a, B: Backend> {
    tenant: Tenant<'a, B>,
    key: SubjectCopyKey,
    /// As it was read, or written since.
    stored: Option<SubjectCopy>,
    /// Whether the message that was to be edited does not exist any more.
    pub(super) is_message_gone: bool,
    /// Whether the delivery ran in another conversation, which has a copy of its own.
    pub(super) ran_elsewhere: bool,
}

impl<'a, B: Backend> SubjectAttempt<'a, B> {
    /// Reads the copy; `None` if the notification has no subject.
    pub(super) async fn open(
        tenant: Tenant<'a, B>,
        head: &Notification,
        target: &Target<'_>,
    ) -> Result<Option<Self>, store::Error> {
        let Some(subject) = &head.subject else {
            return Ok(None);
        };
        let mut attempt = Self {
            tenant,
            key: SubjectCopyKey::new(&head.caller, subject, target.key),
            stored: None,
            is_message_gone: false,
            ran_elsewhere: false,
        };
        attempt.read().await?;
        Ok(Some(attempt))
    }

    /// What the delivery does. The lease gets the message that it edits instead of sending one.
    pub(super) fn step(&self, lease: &mut AttemptLease, head: &Notification) -> SubjectStep {
        let sent = lease.sent.as_ref();
        let step = subject::step(self.stored.as_ref(), &head.id, sent, self.tenant.now());
        if let SubjectStep::Edit(copy) = &step {
            lease.edits = Some(copy.clone());
        }
        step
    }

    /// Before the request: takes over the copy that it edits. `false` if the copy was changed by a worker that is too late.
    pub(super) async fn begin(
        &mut self,
        lease: &AttemptLease,
        head: &Notification,
    ) -> Result<bool, store::Error> {
        let is_first_edit = lease.edits.as_ref().is_some_and(|copy| !copy.is_taken_over);
        let Some(stored) = self.stored.as_ref().filter(|_| is_first_edit) else {
            return Ok(true);
        };
        let taken_over = stored.taken_over(&head.id, self.tenant.now());
        Ok(self.write(taken_over).await? == CasResult::Committed)
    }

    /// After the request, before the delivery's row: writes what the copy is now. Returns the result of the attempt.
    pub(super) async fn conclude(
        &mut self,
        lease: &AttemptLease,
        head: &Notification,
        next: Disposition,
    ) -> Result<Disposition, store::Error> {
        if self.ran_elsewhere {
            return Ok(next);
        }
        let own = self.stored.as_ref().filter(|copy| copy.notification == head.id);
        let changed = match (&lease.sent, &lease.edits, &next) {
            (None, None, Disposition::Settle(Outcome::Delivered(sent))) => {
                let sent = self.record(sent, head).await?;
                return Ok(Disposition::Settle(Outcome::Delivered(sent)));
            }
            (None, None, _) => None,
            (Some(_), _, _) if self.is_message_gone || shows_nothing(&next, head) => own
                .filter(|copy| copy.activity.is_some())
                .map(SubjectCopy::deleted),
            (Some(_), _, _) => None,
            (None, Some(_), _) if self.is_message_gone => own.map(SubjectCopy::deleted_before_edit),
            (None, Some(_), next) if was_not_edited(next) => own.and_then(SubjectCopy::given_back),
            (None, Some(_), _) => None,
        };
        if let Some(changed) = changed {
            // A conflict is a late worker's: what it wrote is read by the next delivery.
            self.write(changed).await?;
        }
        Ok(next)
    }

    /// Records a message that was sent; the one that the copy shows. Another attempt of the delivery may have been too late to be
    /// counted, and have recorded its own.
    async fn record(&mut self, sent: &SentMessage, head: &Notification) -> Result<SentMessage, store::Error> {
        loop {
            let activity = sent.activity.clone();
            let stored = self.stored.as_ref();
            let Some(copy) = SubjectCopy::sent(stored, &head.id, activity, self.tenant.now()) else {
                return Ok(sent.clone());
            };
            if self.write(copy).await? == CasResult::Committed {
                return Ok(sent.clone());
            }
            self.read().await?;
            let own = self.stored.as_ref().filter(|copy| copy.notification == head.id);
            if let Some(activity) = own.and_then(|copy| copy.activity.clone()) {
                return Ok(SentMessage {
                    activity: Some(activity),
                    ..sent.clone()
                });
            }
        }
    }

    async fn read(&mut self) -> Result<(), store::Error> {
        let ledger = &self.tenant.context().ledger;
        let mut read = ledger.subject_copies(std::slice::from_ref(&self.key)).await?;
        self.stored = read.pop().flatten();
        Ok(())
    }

    async fn write(&mut self, copy: SubjectCopy) -> Result<CasResult, store::Error> {
        let ledger = &self.tenant.context().ledger;
        let write = async || ledger.compare_and_set_subject_copy(&self.key, &copy).await;
        let written = self.tenant.invocation.record(write).await?;
        if written == CasResult::Committed {
            self.stored = Some(copy);
        }
        Ok(written)
    }
}

/// How a delivery ends whose subject has a newer copy. Its own message stays as the newer notification has it.
pub(super) fn superseded(lease: &AttemptLease, head: &Notification) -> Outcome {
    match &lease.sent {
        Some(sent) => Outcome::Delivered(SentMessage {
            attempted_revision: head.revision,
            ..sent.clone()
        }),
        None => lease.final_outcome(Outcome::Skipped {
            reason: SkipReason::Superseded,
        }),
    }
}

/// Whether the message was deleted for a retraction.
fn shows_nothing(next: &Disposition, head: &Notification) -> bool {
    let is_updated =
        matches!(next, Disposition::Settle(Outcome::Delivered(sent)) if sent.revision == head.revision);
    head.retracted && is_updated
}

/// Whether no attempt so far can have edited the copy.
fn was_not_edited(next: &Disposition) -> bool {
    match next {
        Disposition::Wait {
            ambiguous_attempts, ..
        } => *ambiguous_attempts == 0,
        Disposition::Settle(outcome) => match outcome {
            Outcome::Delivered(_) | Outcome::Unknown => false,
            Outcome::Rejected { .. }
            | Outcome::Gone { .. }
            | Outcome::Skipped { .. }
            | Outcome::Expired { .. }
            | Outcome::Cancelled => true,
        },
    }
}
