//! What the answer to a request means for its delivery, by the table of [`herald::retry`], and beyond it.

use botframework::connector::{self, Reason};
use botframework::id::ActivityId;
use botframework::teams::is_teams;
use herald::backend::Backend;
use herald::bot_monitor::TokenVerdict;
use herald::companions;
use herald::conversation::{Conversation, ConversationKey, Feedback, Observation};
use herald::delivery::{self, AttemptLease, AttemptOutcome, Disposition, RetryPolicy};
use herald::id::NotificationId;
use herald::notification::MessageRefusal;
use herald::retry::{Action, action_for, retry_after};
use herald::store::{self, Conversations, Notifications};
use herald::time::later;
use jiff::{SignedDuration, Timestamp};

use crate::notification_cache::Snapshot;
use crate::tenant::{Tenant, error_code};

/// How many attempts find no conversation before it is gone.
const MAX_NOT_FOUND: u32 = 3;

/// After so many refusals of its content, a notification makes no further request to that channel.
const MAX_MESSAGE_REFUSALS: u32 = 3;

/// How long a conversation that was not found is left alone.
const NOT_FOUND_BACKOFF: SignedDuration = SignedDuration::from_secs(10);

/// How many attempts fail to decrypt the id of one conversation, while others succeed, before it is gone.
const MAX_UNDECRYPTED: u32 = 3;

/// How long such a conversation is left alone.
const UNDECRYPTED_BACKOFF: SignedDuration = SignedDuration::from_mins(2);

/// How long sent messages are updated after an edit.
const UPDATE_TIMEOUT: SignedDuration = SignedDuration::from_hours(24);

/// What an attempt means for more than its delivery. Applied after the delivery is written: nothing may stand between an answer
/// and its record.
pub(crate) enum SideEffect {
    /// Feedback on a conversation, as of this version of its record.
    Feedback {
        key: ConversationKey,
        version: u64,
        feedback: Feedback,
    },
    /// The conversation has another id.
    Replaced {
        old: ConversationKey,
        new: Box<Observation>,
    },
    /// The tenant was throttled.
    Throttled(Option<SignedDuration>),
    /// The tenant accepted the bot's token, at this service URL.
    Accepted(String),
    /// The channel refuses the message for all recipients.
    MessageRefused(NotificationId, MessageRefusal),
}

impl SideEffect {
    pub(crate) fn is_throttle(&self) -> bool {
        matches!(self, Self::Throttled(_))
    }

    pub(crate) fn stops_notification(&self) -> bool {
        matches!(self, Self::MessageRefused(..))
    }
}

/// The side effects of one attempt. Feedback is on `record`, unless that is not known.
pub(crate) struct SideEffects<'c> {
    pub(crate) record: Option<&'c Conversation>,
    pub(crate) list: Vec<SideEffect>,
}

impl<'c> SideEffects<'c> {
    pub(crate) fn on(record: Option<&'c Conversation>) -> Self {
        Self {
            record,
            list: Vec::new(),
        }
    }

    /// Whether the conversation is one of Teams, or not known.
    fn is_in_teams(&self) -> bool {
        self.record
            .is_none_or(|record| is_teams(Some(&record.key.channel)))
    }

    pub(crate) fn feedback(&mut self, feedback: Feedback) {
        if let Some(record) = self.record {
            self.list.push(SideEffect::Feedback {
                key: record.key.clone(),
                version: record.version,
                feedback,
            });
        }
    }
}

impl<B: Backend> Tenant<'_, B> {
    /// What an answer means for its delivery.
    pub(crate) async fn disposition(
        &self,
        answer: Result<Option<ActivityId>, connector::Error>,
        lease: &AttemptLease,
        snapshot: &Snapshot,
        effects: &mut SideEffects<'_>,
    ) -> Result<Disposition, store::Error> {
        let error = match answer {
            Ok(activity) => {
                if self.note_token_acceptance() {
                    let service_url = effects.record.and_then(|record| record.service_urls.first());
                    effects
                        .list
                        .push(SideEffect::Accepted(service_url.cloned().unwrap_or_default()));
                }
                return Ok(self.disposition_of(AttemptOutcome::Delivered(activity), lease, snapshot));
            }
            Err(error) => error,
        };
        tracing::warn!(
            error_type = "SendFailed",
            reason = ?error.reason(),
            code = error.code(),
            status = error.status(),
            notification = %snapshot.head.id,
            correlation = error.correlation(),
            "attempt failed"
        );
        // Another recipient of a template gets another message, which may be taken.
        if error.reason().is_of_message() && !snapshot.is_personal() {
            effects.list.extend(self.count_message_refusal(&error, snapshot));
        }
        Ok(match action_for(error.reason()) {
            // The bot was refused, not this delivery: it waits like all others, however often it was tried.
            Action::PauseBot => {
                let until = self.no_token(&error).await;
                waits(until, error_code(&error), lease)
            }
            Action::CountTokenRefusal => match self.token_refused(&error).await? {
                TokenVerdict::BotPaused(until) => waits(until, error_code(&error), lease),
                verdict => self.disposition_of(refused_token(verdict, &error, self.now()), lease, snapshot),
            },
            action => {
                let attempt = self.classify(action, &error, lease, effects).await?;
                self.disposition_of(attempt, lease, snapshot)
            }
        })
    }

    /// Counts a refusal of the message. The last of the few that are needed stops the notification on this channel, unless a
    /// recipient got the message before.
    fn count_message_refusal(&self, error: &connector::Error, snapshot: &Snapshot) -> Option<SideEffect> {
        let head = &snapshot.head;
        let bucket = self.bucket?;
        let count = self.invocation.count_message_refusal(&head.id, head.revision);
        let accepted = match head.revision {
            0 => head.counts.delivered,
            _ => head.revision_counts.current,
        };
        if count < MAX_MESSAGE_REFUSALS || snapshot.refusal().is_some() || accepted > 0 {
            return None;
        }
        let refusal = MessageRefusal {
            channel: bucket.channel().to_owned(),
            code: error_code(error),
            revision: head.revision,
        };
        Some(SideEffect::MessageRefused(head.id.clone(), refusal))
    }

    /// The request that would have followed this refusal was not made.
    pub(crate) fn cut_short(
        &self,
        error: &connector::Error,
        lease: &AttemptLease,
        snapshot: &Snapshot,
    ) -> Disposition {
        let attempt = AttemptOutcome::NotSent {
            code: error_code(error),
            retry_after: None,
        };
        self.disposition_of(attempt, lease, snapshot)
    }

    fn disposition_of(
        &self,
        attempt: AttemptOutcome,
        lease: &AttemptLease,
        snapshot: &Snapshot,
    ) -> Disposition {
        let head = &snapshot.head;
        let ends_at = match &lease.sent {
            None => head.expires_at,
            Some(_) => later(head.revised_at.unwrap_or(head.accepted_at), UPDATE_TIMEOUT),
        };
        let policy = RetryPolicy {
            guarantee: head.guarantee,
            revision: head.revision,
            ends_at,
        };
        let random = match &attempt {
            // It waits for nothing; randomness costs a system call.
            AttemptOutcome::Delivered(_) => 0,
            AttemptOutcome::NotSent { .. }
            | AttemptOutcome::Rejected { .. }
            | AttemptOutcome::MessageDeleted
            | AttemptOutcome::Gone(_)
            | AttemptOutcome::Unknown { .. } => self.context().random(),
        };
        delivery::disposition(lease, attempt, policy, self.now(), random)
    }

    async fn classify(
        &self,
        action: Action,
        error: &connector::Error,
        lease: &AttemptLease,
        effects: &mut SideEffects<'_>,
    ) -> Result<AttemptOutcome, store::Error> {
        let code = error_code(error);
        let retry_after = retry_after(error, self.now());
        let not_sent = |code, retry_after| AttemptOutcome::NotSent { code, retry_after };
        Ok(match action {
            Action::ThrottleTenant => {
                effects.list.push(SideEffect::Throttled(retry_after));
                not_sent(code, retry_after)
            }
            Action::Retry | Action::PauseBot | Action::CountTokenRefusal => not_sent(code, retry_after),
            Action::Reject if is_message_gone(error, lease, effects) => AttemptOutcome::MessageDeleted,
            // No known service URL serves it.
            Action::TryOtherUrl | Action::Reject => AttemptOutcome::Rejected {
                code,
                detail: error.message().map(str::to_owned),
            },
            // Other channels forget conversations for good, and cannot create one with the same person.
            Action::RecreateConversation if !effects.is_in_teams() => {
                effects.feedback(Feedback::Blocked(code.clone()));
                AttemptOutcome::Gone(code)
            }
            // Healthy conversations are not found now and then, and nothing was carried out.
            Action::RecreateConversation if lease.attempt < MAX_NOT_FOUND => {
                not_sent(code, Some(NOT_FOUND_BACKOFF))
            }
            Action::RecreateConversation => {
                effects.feedback(Feedback::NotFound(code.clone()));
                AttemptOutcome::Gone(code)
            }
            Action::Block => {
                effects.feedback(Feedback::Blocked(code.clone()));
                AttemptOutcome::Gone(code)
            }
            // In an outage of the platform every conversation fails so, and the first ones are no others than the last.
            Action::CountFailure if error.reason() == Reason::ForeignConversationId => {
                match self.record_attempt(&code, lease.attempt).await? {
                    Some(until) => not_sent(code, Some(until.duration_since(self.now()))),
                    None if lease.attempt < MAX_UNDECRYPTED => not_sent(code, Some(UNDECRYPTED_BACKOFF)),
                    None => {
                        effects.feedback(Feedback::Blocked(code.clone()));
                        AttemptOutcome::Gone(code)
                    }
                }
            }
            Action::CountFailure => match self.record_failure(&code).await? {
                Some(until) => not_sent(code, Some(until.duration_since(self.now()))),
                None => {
                    effects.feedback(Feedback::Blocked(code.clone()));
                    AttemptOutcome::Gone(code)
                }
            },
            Action::RetryAmbiguous { max } => AttemptOutcome::Unknown { code, max },
        })
    }

    /// Writes the side effects of attempts.
    pub(crate) async fn apply(&self, effects: Vec<SideEffect>) -> Result<(), store::Error> {
        let (conversations, now) = (&self.context().conversations, self.now());
        for effect in effects {
            match effect {
                SideEffect::Feedback {
                    key,
                    version,
                    feedback,
                } => {
                    conversations
                        .apply_feedback(&key, version, &feedback, now)
                        .await?;
                }
                SideEffect::Replaced { old, new } => {
                    // Its first write has the opt-outs of its person: a retry of the delivery does not repeat this.
                    companions::remember(conversations, *new, now).await?;
                    conversations.mark_removed(&old, now).await?;
                }
                SideEffect::Throttled(retry_after) => self.throttle(retry_after).await?,
                SideEffect::Accepted(service_url) => self.record_acceptance(&service_url).await,
                SideEffect::MessageRefused(id, refusal) => {
                    tracing::warn!(
                        error_type = "MessageRefused",
                        notification = %id,
                        channel = refusal.channel,
                        code = refusal.code,
                        "the channel refuses the message for all recipients: nothing further of it is sent there"
                    );
                    self.context().notifications.refuse_message(&id, &refusal).await?;
                }
            }
        }
        Ok(())
    }
}

/// Whether the message that was to be updated or edited does not exist any more. A channel other than Teams that refuses the edit of an
/// earlier copy may edit none.
pub(crate) fn is_message_gone(
    error: &connector::Error,
    lease: &AttemptLease,
    effects: &SideEffects<'_>,
) -> bool {
    let is_update = lease.sent.is_some() || lease.edits.is_some();
    let is_deleted = is_update && error.reason() == Reason::ActivityNotFound;
    let cannot_edit = lease.edits.is_some() && !effects.is_in_teams();
    action_for(error.reason()) == Action::Reject && (is_deleted || cannot_edit)
}

/// The delivery waits, and the attempt does not count.
fn waits(until: Timestamp, reason: String, lease: &AttemptLease) -> Disposition {
    Disposition::Wait {
        until,
        reason,
        ambiguous_attempts: lease.ambiguous_attempts,
    }
}

/// What a 401 to a fresh token means for its delivery.
fn refused_token(verdict: TokenVerdict, error: &connector::Error, now: Timestamp) -> AttemptOutcome {
    let code = error_code(error);
    match verdict {
        TokenVerdict::BotPaused(until) | TokenVerdict::TenantPaused(until) => AttemptOutcome::NotSent {
            code,
            retry_after: Some(until.duration_since(now)),
        },
        TokenVerdict::Retry => AttemptOutcome::NotSent {
            code,
            retry_after: retry_after(error, now),
        },
        TokenVerdict::Final => AttemptOutcome::Rejected {
            code,
            detail: error.message().map(str::to_owned),
        },
    }
}
