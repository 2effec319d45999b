//! What became of an operation: the channel is asked, and what it tells is written down for each who was in it.

use botframework::connector::{self, Class, FailedEntry, OperationPhase, OperationProgress};
use botframework::id::OperationId;
use herald::Error;
use herald::audience::Recipient;
use herald::conversation::{Conversation, Feedback};
use herald::delivery::{Lease, Next, Outcome, SentCopy};
use herald::event::Events;
use herald::operation::{self, Operation, OperationKey, Stage, Submitted};
use herald::queue::Queue;
use herald::rate_limit::Permits;
use herald::retry::{Reaction, reaction, retry_after};
use herald::store::{CasResult, Conversations, Ledger, Notifications, Paces};

use super::list::shown;
use super::{Onward, Verdict, tell};
use crate::attempt::{Learned, code};
use crate::later;
use crate::view::Seen;
use crate::work::{Open, Work};

/// How many pages of failed entries are read. An operation has no more members than a page of the plan.
const FAILED_PAGES_MAX: usize = 100;

/// Whom an operation did not reach.
#[derive(Default)]
struct Failed {
    entries: Vec<FailedEntry>,
    /// Whether some entry names nobody, or there are more than were told.
    nameless: bool,
}

/// How an operation ended, and with which permit that was found out.
struct Ended {
    /// What those have come to whom no failed entry names.
    rest: Outcome,
    /// Whether anybody has the message.
    arrived: bool,
    failed: Failed,
    permits: Permits,
}

impl<C, N, L, Q, E> Work<'_, C, N, L, Q, E>
where
    C: Conversations,
    N: Notifications,
    L: Ledger + Paces,
    Q: Queue,
    E: Events,
{
    /// Asks the channel what became of an operation, and writes it down once that is known.
    pub(super) async fn ask(
        &mut self,
        key: &OperationKey,
        mut operation: Operation,
        submitted: Submitted,
        seen: &Seen,
    ) -> Result<Onward, Error> {
        let now = self.context.clock.now();
        if operation::is_given_up(seen.head.expires_at, now) {
            return self.give_up(key, &operation).await;
        }
        if let Some(until) = self.invocation.paused_until(now) {
            return Ok(Onward::Back(until));
        }
        if seen.head.is_stopped() && !submitted.cancelled {
            operation = match self.cancel(key, &operation, &submitted, seen).await? {
                Ok(cancelled) => cancelled,
                Err(onward) => return Ok(onward),
            };
        }
        let permits = match self.permit().await? {
            Ok(permits) => permits,
            Err(until) => return Ok(Onward::Back(until)),
        };
        let Submitted { id, service_url, .. } = &submitted;
        let progress = match self.context.connector.operation(service_url, id).await {
            Ok(progress) => progress,
            Err(error) => {
                tell(&error, &seen.head.id, "the channel does not tell of a batch");
                return match error.class() {
                    // It has forgotten it, and nobody else knows.
                    Class::Rejected | Class::Gone if !submitted.is_new(self.context.clock.now()) => {
                        self.give_up(key, &operation).await
                    }
                    Class::Rejected | Class::Gone | Class::NotSent | Class::Ambiguous => {
                        self.not_told(&error, &operation, &submitted).await
                    }
                };
            }
        };
        let rest = match progress.phase() {
            OperationPhase::Running => {
                let now = self.context.clock.now();
                let until = submitted.asked_again(progress.retry_after.as_deref(), now);
                return Ok(Onward::Back(until));
            }
            OperationPhase::Completed => Outcome::Delivered(SentCopy {
                activity: None,
                shows: seen.head.revision,
                tried: seen.head.revision,
            }),
            // Nothing tells who has it.
            OperationPhase::Stopped => Outcome::Unknown,
        };
        let failed = match self.failed(service_url, id, &progress).await? {
            Ok(failed) => failed,
            Err(None) => return Ok(self.look_again()),
            Err(Some(error)) => {
                tell(
                    &error,
                    &seen.head.id,
                    "the channel does not tell whom a batch did not reach",
                );
                match error.class() {
                    Class::NotSent | Class::Ambiguous => {
                        return self.not_told(&error, &operation, &submitted).await;
                    }
                    Class::Rejected | Class::Gone => Failed {
                        nameless: true,
                        ..Failed::default()
                    },
                }
            }
        };
        let ended = Ended {
            arrived: progress.delivered > 0,
            rest,
            failed,
            permits,
        };
        self.settle(key, &operation, ended, seen).await
    }

    /// Asks the channel to end an operation, once; the operation as it is then, or what is to be done instead.
    async fn cancel(
        &mut self,
        key: &OperationKey,
        operation: &Operation,
        submitted: &Submitted,
        seen: &Seen,
    ) -> Result<Result<Operation, Onward>, Error> {
        if let Err(until) = self.permit().await? {
            return Ok(Err(Onward::Back(until)));
        }
        let Submitted { id, service_url, .. } = submitted;
        if let Err(error) = self.context.connector.cancel_operation(service_url, id).await {
            tell(&error, &seen.head.id, "a batch was not cancelled");
            match error.class() {
                // There is nothing left that could be.
                Class::Rejected | Class::Gone => {}
                Class::NotSent | Class::Ambiguous => {
                    return Ok(Err(self.not_told(&error, operation, submitted).await?));
                }
            }
        }
        let cancelled = operation.at(Stage::Submitted(Submitted {
            cancelled: true,
            ..submitted.clone()
        }));
        Ok(
            match self.context.ledger.compare_and_set_batch(key, &cancelled).await? {
                CasResult::Committed => Ok(cancelled),
                CasResult::Conflict => Err(self.look_again()),
            },
        )
    }

    /// The channel was asked and did not tell.
    async fn not_told(
        &self,
        error: &connector::Error,
        operation: &Operation,
        submitted: &Submitted,
    ) -> Result<Onward, Error> {
        let now = self.context.clock.now();
        let again = submitted.asked_again(None, now);
        let Some(open) = self.open.first() else {
            return Ok(Onward::Back(again));
        };
        let hand = self.delivery(&open.recipient);
        let asked = retry_after(error, now);
        match reaction(error.reason()) {
            Reaction::Slow => hand.throttled(asked).await?,
            Reaction::Stop => {
                if let Next::Wait { until, .. } = hand.refused(&operation.lease(), error) {
                    return Ok(Onward::Back(until));
                }
            }
            Reaction::Wait
            | Reaction::Readdress
            | Reaction::Recreate
            | Reaction::Block
            | Reaction::Strike
            | Reaction::Reject
            | Reaction::Doubt { .. } => {}
        }
        let named = asked.map_or(again, |wait| later(now, wait));
        Ok(Onward::Back(named.max(again)))
    }

    /// Whom the operation did not reach, page by page; nothing when there is no permit for the next one.
    async fn failed(
        &mut self,
        service_url: &str,
        id: &OperationId,
        progress: &OperationProgress,
    ) -> Result<Result<Failed, Option<connector::Error>>, Error> {
        let mut failed = Failed::default();
        let counted: u64 = progress.failed.iter().map(|(_, count)| count).sum();
        if counted == 0 && progress.left() == Some(0) {
            return Ok(Ok(failed));
        }
        let mut token = None;
        let mut told = 0;
        for _ in 0..FAILED_PAGES_MAX {
            if self.permit().await?.is_err() {
                return Ok(Err(None));
            }
            let connector = &self.context.connector;
            let page = match connector.failed_entries(service_url, id, token.as_deref()).await {
                Ok(page) => page,
                Err(error) => return Ok(Err(Some(error))),
            };
            told += page.entries.len() as u64;
            failed.nameless |= page.entries.iter().any(|entry| entry.id.is_empty());
            failed.entries.extend(page.entries);
            token = page.continuation_token;
            if token.is_none() {
                failed.nameless |= told < counted;
                return Ok(Ok(failed));
            }
        }
        failed.nameless = true;
        Ok(Ok(failed))
    }

    /// Writes down what an operation came to for each who was in it.
    async fn settle(
        &mut self,
        key: &OperationKey,
        operation: &Operation,
        ended: Ended,
        seen: &Seen,
    ) -> Result<Onward, Error> {
        let Ended {
            rest,
            arrived,
            mut failed,
            permits,
        } = ended;
        let someone_failed = failed.nameless || !failed.entries.is_empty();
        // Only then does it matter who they are.
        let conversations = if someone_failed {
            self.recalled().await?
        } else {
            Vec::new()
        };
        let entries: Vec<Option<FailedEntry>> = self
            .open
            .iter()
            .map(|open| {
                if operation.aside.contains(&open.recipient) {
                    return None;
                }
                let own = names(&open.recipient, &conversations);
                let mut entries = failed.entries.extract_if(.., |entry| own.contains(&entry.id));
                entries.next()
            })
            .collect();
        // An entry that names nobody may be about anyone who has a name that we do not know.
        let somebody_else = failed.entries.iter().any(|entry| !entry.id.is_empty());
        let mut verdicts = Vec::new();
        let mut found = Vec::new();
        for (open, entry) in self.open.iter().zip(entries) {
            if operation.aside.contains(&open.recipient) {
                verdicts.push(self.stood_aside(operation));
                continue;
            }
            let conversation = shown(&open.recipient, &conversations);
            let Some(entry) = entry else {
                let is_sure =
                    !failed.nameless && (!somebody_else || names(&open.recipient, &conversations).len() > 1);
                verdicts.push(Verdict::Ends(if is_sure {
                    rest.clone()
                } else {
                    Outcome::Unknown
                }));
                continue;
            };
            let (verdict, feedback) = self
                .not_reached(open, entry, conversation.is_some(), arrived, operation, seen)
                .await?;
            verdicts.push(verdict);
            found.extend(feedback.zip(conversation.cloned()));
        }
        self.conclude(verdicts).await?;
        // After they are settled, as everything that is found out beside a delivery.
        for (feedback, conversation) in found {
            let now = self.context.clock.now();
            let conversations = &self.context.conversations;
            conversations
                .apply_feedback(&conversation.key, conversation.version, &feedback, now)
                .await?;
        }
        if arrived {
            self.acquit(Some(permits)).await?;
        }
        self.leave(key, operation).await
    }

    /// What becomes of somebody whom the operation did not reach: by the table, as if they had been written to alone.
    async fn not_reached(
        &self,
        open: &Open,
        entry: FailedEntry,
        is_known: bool,
        arrived: bool,
        operation: &Operation,
        seen: &Seen,
    ) -> Result<(Verdict, Option<Feedback>), Error> {
        // Of its own it has had no attempt before.
        let lease = Lease {
            attempt: 1,
            ..operation.lease()
        };
        let one_by_one = || self.stood_aside(operation);
        if entry.was_cancelled() {
            let verdict = if seen.head.is_stopped() {
                Verdict::Ends(lease.ending(Outcome::Cancelled))
            } else {
                one_by_one()
            };
            return Ok((verdict, None));
        }
        let word = code(&entry.error);
        match reaction(entry.error.reason()) {
            Reaction::Readdress | Reaction::Stop => return Ok((one_by_one(), None)),
            // Others were reached, so it is not the tenant's.
            Reaction::Strike if arrived && is_known => {
                let gone = lease.ending(Outcome::Gone { code: word.clone() });
                return Ok((Verdict::Ends(gone), Some(Feedback::Blocked(word))));
            }
            Reaction::Strike => return Ok((one_by_one(), None)),
            Reaction::Slow
            | Reaction::Wait
            | Reaction::Recreate
            | Reaction::Block
            | Reaction::Reject
            | Reaction::Doubt { .. } => {}
        }
        let mut learned = Vec::new();
        let hand = self.delivery(&open.recipient);
        let next = hand.follows(Err(entry.error), &lease, seen, &mut learned).await?;
        let feedback = learned.into_iter().find_map(|learned| match learned {
            Learned::Found(feedback) => Some(feedback),
            // The operation was throttled, not we.
            Learned::Throttled(_) | Learned::Succeeded(_) => None,
        });
        let verdict = match next {
            // Whoever makes the conversation finds out whether the bot is installed for them.
            Next::Settle(Outcome::Gone { .. }) if !is_known => Verdict::OneByOne,
            Next::Settle(outcome) => Verdict::Ends(outcome),
            Next::Wait { until, why, doubts } => Verdict::Waits { until, why, doubts },
        };
        Ok((verdict, feedback))
    }
}

/// All names of a recipient that we know.
fn names(recipient: &Recipient, conversations: &[Conversation]) -> Vec<String> {
    match recipient {
        Recipient::Conversation(_) => {
            let attributes = shown(recipient, conversations).map(|conversation| &conversation.attributes);
            let account = attributes.and_then(|attributes| Some(attributes.account.as_ref()?.as_str()));
            let user = attributes.and_then(|attributes| Some(attributes.user.as_ref()?.as_str()));
            account.into_iter().chain(user).map(str::to_owned).collect()
        }
        Recipient::User(id) => vec![id.as_str().to_owned()],
        Recipient::Account(id) => vec![id.as_str().to_owned()],
        Recipient::UnknownConversation(_) => Vec::new(),
    }
}
