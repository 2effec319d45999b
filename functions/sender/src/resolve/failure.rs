//! What follows when a person has no conversation: the delivery is put off, skipped or rejected.

use botframework::connector::{self, Reason};
use botframework::graph;
use herald::backend::Backend;
use herald::backoff::creation_backoff;
use herald::bot_monitor::TokenVerdict;
use herald::conversation::INSTALL_EVENT_TIMEOUT;
use herald::delivery::{INSTALLING, Outcome, SkipReason};
use herald::rate_limit::MAX_LOOKAHEAD;
use herald::retry::{Action, action_for, retry_after};
use herald::store::{self, ConversationFilter, Conversations, Ledger};
use herald::time::later;
use jiff::{SignedDuration, Timestamp};

use super::{CREATION_POLL, Resolution, Resolver, person_of, skipped};
use crate::create_conversation::CreateError;
use crate::install::{self, InstallError};
use crate::tenant::{Tenant, error_code};

/// When a conversation is looked for, after its installation began. Then it is created in another way.
const INSTALL_POLLS: [SignedDuration; 4] = [
    SignedDuration::from_secs(3),
    SignedDuration::from_secs(15),
    SignedDuration::from_secs(30),
    INSTALL_EVENT_TIMEOUT,
];

/// How many creations for one person fail to decrypt an id, while others succeed, before the person is gone.
const MAX_UNDECRYPTED: u32 = 3;

/// How many conversations of a tenant are looked at: some may be of other bots.
const TENANT_SAMPLE: usize = 100;

impl<B: Backend> Resolver<'_, '_, B> {
    /// What follows when no conversation was created, `failures` earlier tries included.
    pub(super) async fn after_create_error(
        &self,
        error: CreateError,
        failures: u32,
    ) -> Result<Resolution, store::Error> {
        let error = match error {
            CreateError::Refused(error) => error,
            CreateError::AnswerLost => return self.back_off(failures, None, "NoAnswer").await,
            CreateError::CutShort => return Ok(Resolution::Later(later(self.tenant.now(), CREATION_POLL))),
            CreateError::NoServiceUrl => return Ok(skipped(SkipReason::NoConversation)),
            CreateError::NotInstalled(error) => return self.after_install_error(error, failures).await,
            CreateError::Store(error) => return Err(error),
        };
        tracing::warn!(
            error_type = "ConversationNotCreated",
            reason = ?error.reason(),
            code = error.code(),
            status = error.status(),
            notification = %self.notification,
            correlation = error.correlation(),
            "no conversation was created"
        );
        let retry_after = retry_after(&error, self.tenant.now());
        let code = error_code(&error);
        Ok(match action_for(error.reason()) {
            Action::ThrottleTenant => {
                self.tenant.throttle(retry_after).await?;
                self.back_off(failures, retry_after, &code).await?
            }
            Action::Retry | Action::RetryAmbiguous { .. } => {
                self.back_off(failures, retry_after, &code).await?
            }
            // The bot was refused, not this person: it does not count as a failure.
            Action::PauseBot => {
                let until = self.tenant.no_token(&error).await;
                self.defer(until, &code, failures).await?
            }
            Action::CountTokenRefusal => match self.tenant.token_refused(&error).await? {
                TokenVerdict::BotPaused(until) | TokenVerdict::TenantPaused(until) => {
                    self.defer(until, &code, failures).await?
                }
                TokenVerdict::Retry => self.back_off(failures, retry_after, &code).await?,
                TokenVerdict::Final => Resolution::Skip(rejected(&error)),
            },
            Action::Block if error.reason() == Reason::BlockedByUser => skipped(SkipReason::Blocked),
            Action::Block | Action::Reject | Action::RecreateConversation
                if matches!(error.status(), Some(403 | 404)) && !self.is_in_tenant().await? =>
            {
                skipped(SkipReason::NotInTenant)
            }
            Action::Block => skipped(SkipReason::NotInstalled),
            // The bot is disabled there, or cannot decrypt: if that is so for the tenant, it is waited for.
            Action::CountFailure if error.reason() == Reason::ForeignConversationId => {
                let attempt = failures.saturating_add(1);
                match self.tenant.record_attempt(&code, attempt).await? {
                    Some(until) => self.defer(until, &code, attempt).await?,
                    None if attempt < MAX_UNDECRYPTED => self.back_off(failures, retry_after, &code).await?,
                    None => Resolution::Skip(Outcome::Gone { code }),
                }
            }
            Action::CountFailure => match self.tenant.record_failure(&code).await? {
                Some(until) => self.defer(until, &code, failures).await?,
                None => Resolution::Skip(Outcome::Gone { code }),
            },
            Action::TryOtherUrl | Action::RecreateConversation | Action::Reject => {
                Resolution::Skip(rejected(&error))
            }
        })
    }

    /// Whether the bot is or was in any conversation of the person's tenant.
    async fn is_in_tenant(&self) -> Result<bool, store::Error> {
        let person = person_of(self.recipient, self.tenant);
        let (Some(person), Some(bucket)) = (person, self.tenant.bucket) else {
            return Ok(true);
        };
        let conversations = &self.tenant.context().conversations;
        let filter = ConversationFilter::Tenant(person.tenant);
        let known = conversations.list(&filter, None, TENANT_SAMPLE).await?;
        Ok(known.cursor.is_some() || known.items.iter().any(|known| bucket.contains(&known.key)))
    }

    async fn after_install_error(
        &self,
        error: InstallError,
        failures: u32,
    ) -> Result<Resolution, store::Error> {
        let error = match error {
            InstallError::NoPermitUntil(until) if until <= later(self.tenant.now(), MAX_LOOKAHEAD) => {
                return Ok(Resolution::Later(until));
            }
            InstallError::NoPermitUntil(until) => return self.defer(until, "GraphPaused", failures).await,
            InstallError::NotInCatalog => return Ok(skipped(SkipReason::AppNotInCatalog)),
            InstallError::NoSuchTenant => return Ok(skipped(SkipReason::NoSuchPerson)),
            InstallError::Store(error) => return Err(error),
            InstallError::Graph(error) => error,
        };
        let code = install::error_code(&error);
        let retry_after = retry_after(&error, self.tenant.now());
        let (resolution, error_type) = match error.reason() {
            graph::Reason::NotConsented | graph::Reason::NotAllowed => {
                (skipped(SkipReason::InstallForbidden), "InstallForbidden")
            }
            graph::Reason::NotFound => (skipped(SkipReason::NoSuchPerson), "NoSuchPerson"),
            graph::Reason::Refused => {
                let detail = error.message().map(str::to_owned);
                let rejected = Outcome::Rejected { code, detail };
                (Resolution::Skip(rejected), "InstallFailed")
            }
            graph::Reason::Throttled => {
                let Tenant { invocation, bucket } = self.tenant;
                if let Some(bucket) = bucket {
                    invocation.gate.throttle(&bucket.for_graph(), retry_after).await?;
                }
                (
                    self.back_off(failures, retry_after, &code).await?,
                    "InstallFailed",
                )
            }
            graph::Reason::Unreachable
            | graph::Reason::NoResponse
            | graph::Reason::ServerError
            | graph::Reason::Unauthorized
            | _ => (
                self.back_off(failures, retry_after, &code).await?,
                "InstallFailed",
            ),
        };
        install::log(&error, error_type, self.tenant, self.notification);
        Ok(resolution)
    }

    /// Defers the delivery until the next look for the conversation of an installation.
    pub(super) async fn poll_again(
        &self,
        since: Timestamp,
        failures: u32,
    ) -> Result<Resolution, store::Error> {
        let now = self.tenant.now();
        let polls = INSTALL_POLLS.map(|wait| later(since, wait));
        let next = polls.into_iter().find(|poll| *poll > now);
        self.defer(next.unwrap_or(now), INSTALLING, failures).await
    }

    /// Defers the next try, ever longer: creating a conversation can be repeated without harm.
    async fn back_off(
        &self,
        failures: u32,
        retry_after: Option<SignedDuration>,
        reason: &str,
    ) -> Result<Resolution, store::Error> {
        let wait = creation_backoff(failures, retry_after, self.tenant.context().random());
        let until = later(self.tenant.now(), wait);
        self.defer(until, reason, failures.saturating_add(1)).await
    }

    /// Defers the delivery and writes why, unless it expires before.
    async fn defer(&self, until: Timestamp, reason: &str, failures: u32) -> Result<Resolution, store::Error> {
        if self.cache.latest().await?.head.expires_at <= until {
            let why = Some(reason.to_owned());
            return Ok(Resolution::Skip(Outcome::Expired { why }));
        }
        let ledger = &self.tenant.context().ledger;
        let ended = ledger.defer(self.key, until, reason, failures).await?;
        Ok(ended.map_or(Resolution::Later(until), Resolution::Ended))
    }
}

fn rejected(error: &connector::Error) -> Outcome {
    Outcome::Rejected {
        code: error_code(error),
        detail: error.message().map(str::to_owned),
    }
}
