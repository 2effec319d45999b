//! Resolves a recipient to a conversation. A person without one gets one, if the notification says so.
//!
//! A conversation is created once for each person, whoever races: one of all workers gets the creation lease
//! ([`Conversations::acquire_creation_lease`]), and later workers find the conversation. Then the delivery is like any other.

use botframework::connector::{self, Reason};
use botframework::graph::{self, Installation};
use botframework::id::EntraObjectId;
use herald::audience::Recipient;
use herald::backend::Backend;
use herald::backoff::creation_backoff;
use herald::conversation::{
    ConversationKey, Creation, CreationLease, INSTALL_EVENT_TIMEOUT, Person, PersonKey, State,
};
use herald::delivery::{DeliveryKey, INSTALLING, Outcome, SkipReason, State as RowState};
use herald::graph::Customers;
use herald::id::NotificationId;
use herald::notification::{IfNoConversation, Notification};
use herald::rate_limit::MAX_LOOKAHEAD;
use herald::retry::{Reaction, reaction, retry_after};
use herald::store::{self, ConversationFilter, ConversationSummary, Conversations, Ledger};
use herald::time::later;
use jiff::{SignedDuration, Timestamp};

use crate::create_conversation::{CreateError, Creator};
use crate::install::{self, InstallError, Installer};
use crate::notification_cache::NotificationCache;
use crate::tenant::{Tenant, error_code};

/// When to ask again while another worker creates a person's conversation. It takes one request.
const CREATION_POLL: SignedDuration = SignedDuration::from_secs(2);

/// When a conversation is looked for, after its installation began. Then it is created in another way.
const INSTALL_POLLS: [SignedDuration; 4] = [
    SignedDuration::from_secs(3),
    SignedDuration::from_secs(15),
    SignedDuration::from_secs(30),
    INSTALL_EVENT_TIMEOUT,
];

/// How many conversations of one person are read.
const PERSON_PAGE: usize = 10;

/// What a recipient resolves to.
pub(crate) enum Resolution {
    /// This conversation.
    Conversation(ConversationKey),
    /// No conversation: the delivery is to end so.
    Skip(Outcome),
    /// No conversation, and the delivery has ended so: that is written.
    Ended(Outcome),
    /// That is known later.
    Later(Timestamp),
}

/// The ledger's row under the recipient's own key.
struct LedgerState {
    /// How the delivery ended, unless its message shows an older revision.
    ended: Option<Outcome>,
    /// Until when it waits for a conversation, after how many failures.
    waiting: Option<(Timestamp, u32)>,
}

/// Resolves one recipient.
pub(crate) struct Resolver<'r, 'a, B: Backend> {
    pub(crate) tenant: Tenant<'a, B>,
    pub(crate) cache: &'r NotificationCache<'a, B>,
    pub(crate) notification: &'r NotificationId,
    pub(crate) recipient: &'r Recipient,
    pub(crate) key: &'r DeliveryKey,
}

impl<B: Backend> Resolver<'_, '_, B> {
    pub(crate) async fn resolve(&self, now: Timestamp) -> Result<Resolution, store::Error> {
        if let Recipient::Conversation(key) = self.recipient {
            return Ok(Resolution::Conversation(key.clone()));
        }
        let snapshot = self.cache.latest().await?;
        let stopped = snapshot.stop_outcome(now);
        let person = person_of(self.recipient, self.tenant);
        let Some(person) = person.filter(|_| snapshot.head.if_no_conversation != IfNoConversation::Skip)
        else {
            // No worker ever sends anything to them for this notification.
            return Ok(stopped.map_or(skipped(SkipReason::NoConversation), Resolution::Skip));
        };
        let state = self.ledger_state(snapshot.head.revision).await?;
        if let Some(outcome) = state.ended {
            return Ok(Resolution::Ended(outcome));
        }
        let (until, failures) = state.waiting.unwrap_or((now, 0));
        if until > now && stopped.is_none() {
            // Another worker with the same chunk deferred it just now.
            return Ok(Resolution::Later(until));
        }
        self.find_or_create(person, &snapshot.head, stopped, failures)
            .await
    }

    async fn ledger_state(&self, revision: u32) -> Result<LedgerState, store::Error> {
        let ledger = &self.tenant.context().ledger;
        let rows = ledger.rows(std::slice::from_ref(self.key)).await?;
        let row = rows.into_iter().flatten().next();
        let (ended, waiting) = match row.map(|row| (row.state, row.attempt)) {
            None => (None, None),
            Some((RowState::Settled(outcome), _)) => {
                (Some(outcome).filter(|it| !it.is_behind(revision)), None)
            }
            Some((RowState::Waiting { until, .. }, failures)) => (None, Some((until, failures))),
        };
        Ok(LedgerState { ended, waiting })
    }

    /// The conversation with a person, created if there is none and the notification was not stopped; that failed before, so many
    /// times.
    ///
    /// Only the holder of the creation lease may settle the delivery without a conversation: otherwise another worker could be
    /// sending at that moment. Later workers see the settled row, though there may be a conversation by then.
    async fn find_or_create(
        &self,
        person: PersonKey,
        head: &Notification,
        stopped: Option<Outcome>,
        failures: u32,
    ) -> Result<Resolution, store::Error> {
        let conversations = &self.tenant.context().conversations;
        let now = self.tenant.now();
        let deadline = self.tenant.invocation.deadline;
        let installing_since = match conversations
            .acquire_creation_lease(&person, now, deadline)
            .await?
        {
            CreationLease::Exists(key) => return self.if_still_open(key, head).await,
            CreationLease::HeldElsewhere { until } => {
                return Ok(Resolution::Later(until.min(later(now, CREATION_POLL))));
            }
            CreationLease::InstallPending { since } => {
                return match known_conversation(self.tenant, &person).await? {
                    Some(key) => self.if_still_open(key, head).await,
                    None => self.poll_again(since, failures).await,
                };
            }
            CreationLease::Acquired { installing_since } => installing_since,
        };
        let LedgerState { ended, .. } = self.ledger_state(head.revision).await?;
        // They may have written to the bot since the audience was read.
        if let Some(key) = known_conversation(self.tenant, &person).await? {
            let creation = Creation::Conversation(key.clone());
            conversations.finish_creation(&person, &creation).await?;
            return Ok(ended.map_or(Resolution::Conversation(key), Resolution::Ended));
        }
        if let Some(outcome) = ended.or(stopped) {
            let resolution = self.settle_unresolved(outcome).await?;
            conversations.finish_creation(&person, &Creation::Nothing).await?;
            return Ok(resolution);
        }
        let created = self.create(&person, head, installing_since).await;
        let creation = created.as_ref().map_or(Creation::Nothing, Creation::clone);
        let mut resolution = match created {
            // The message has a permit of its own, which is asked for with those of the whole chunk.
            Ok(Creation::Conversation(_)) => Ok(Resolution::Later(self.tenant.now())),
            Ok(Creation::InstallPending(since)) => self.poll_again(since, failures).await,
            Ok(Creation::Nothing) => Ok(skipped(SkipReason::NoConversation)),
            Err(error) => self.after_create_error(error, failures).await,
        };
        if let Ok(Resolution::Skip(outcome)) = resolution {
            resolution = Ok(self.settle_unresolved(outcome).await?);
        }
        conversations.finish_creation(&person, &creation).await?;
        resolution
    }

    /// The conversation, unless the delivery ended without one before it was known.
    async fn if_still_open(
        &self,
        key: ConversationKey,
        head: &Notification,
    ) -> Result<Resolution, store::Error> {
        let LedgerState { ended, .. } = self.ledger_state(head.revision).await?;
        Ok(ended.map_or(Resolution::Conversation(key), Resolution::Ended))
    }

    /// Ends the delivery without a conversation.
    async fn settle_unresolved(&self, outcome: Outcome) -> Result<Resolution, store::Error> {
        let ledger = &self.tenant.context().ledger;
        Ok(Resolution::Ended(
            ledger.settle_unclaimed(self.key, &outcome).await?,
        ))
    }

    /// Creates the conversation, or has the bot installed, which leads to one. `installing_since` is when that began, if its event
    /// did not come in time.
    async fn create(
        &self,
        person: &PersonKey,
        head: &Notification,
        installing_since: Option<Timestamp>,
    ) -> Result<Creation, CreateError> {
        let tenant = self.tenant;
        // A deployment that does not name the bot's app any more does what it can.
        let customers = tenant.context().customers.as_ref();
        let customers = customers.filter(|_| head.if_no_conversation == IfNoConversation::Install);
        match (customers, &person.person) {
            (Some(customers), Person::User(user)) => {
                self.install_then_create(person, head, customers, user, installing_since)
                    .await
            }
            // Graph does not know the channel's ids.
            (Some(_), Person::Account(_)) | (None, _) => {
                let creator = Creator { tenant, person };
                creator.create().await.map(Creation::Conversation)
            }
        }
    }

    async fn install_then_create(
        &self,
        person: &PersonKey,
        head: &Notification,
        customers: &Customers,
        user: &EntraObjectId,
        installing_since: Option<Timestamp>,
    ) -> Result<Creation, CreateError> {
        let tenant = self.tenant;
        let customer = customers
            .in_tenant(&person.tenant)
            .map_err(|_| InstallError::NoSuchTenant)?;
        let installer = Installer {
            tenant,
            customers,
            customer: &customer,
            user,
            notification: &head.id,
        };
        if installing_since.is_none() {
            match installer.install().await? {
                Installation::Created => return Ok(Creation::InstallPending(tenant.now())),
                // There will be no event. The requests to Graph took their time, and the permit to send was of before.
                Installation::Existing if !tenant.can_continue().await? => return Err(CreateError::CutShort),
                Installation::Existing => {}
            }
        }
        let creator = Creator { tenant, person };
        let refused = match creator.create().await {
            Err(CreateError::Refused(error)) if is_final(&error) => error,
            created => return created.map(Creation::Conversation),
        };
        let Some(chat) = installer.chat().await? else {
            return Err(CreateError::Refused(refused));
        };
        let service_url = creator.service_url().await?.ok_or(CreateError::NoServiceUrl)?;
        Ok(Creation::Conversation(
            creator.remember(chat, &service_url).await?,
        ))
    }

    async fn after_create_error(
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
            error_type = "NotIntroduced",
            reason = ?error.reason(),
            code = error.code(),
            status = error.status(),
            notification = %self.notification,
            correlation = error.correlation(),
            "no conversation was created"
        );
        let retry_after = retry_after(&error, self.tenant.now());
        let code = error_code(&error);
        Ok(match reaction(error.reason()) {
            Reaction::Slow => {
                self.tenant.throttle(retry_after).await?;
                self.back_off(failures, retry_after, &code).await?
            }
            Reaction::Wait | Reaction::Stop | Reaction::Doubt { .. } => {
                self.back_off(failures, retry_after, &code).await?
            }
            Reaction::Block if error.reason() == Reason::BlockedByUser => skipped(SkipReason::Blocked),
            Reaction::Block => skipped(SkipReason::NotInstalled),
            // The bot is disabled there, or cannot decrypt: if that is so for the tenant, it is waited for.
            Reaction::Strike => match self.tenant.record_failure(&code).await? {
                Some(until) => self.defer(until, &code, failures).await?,
                None => Resolution::Skip(Outcome::Gone { code }),
            },
            Reaction::Readdress | Reaction::Recreate | Reaction::Reject => {
                let detail = error.message().map(str::to_owned);
                Resolution::Skip(Outcome::Rejected { code, detail })
            }
        })
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
            | graph::Reason::Unauthorized => (
                self.back_off(failures, retry_after, &code).await?,
                "InstallFailed",
            ),
        };
        install::log(&error, error_type, self.tenant, self.notification);
        Ok(resolution)
    }

    /// Defers the delivery until the next look for the conversation of an installation.
    async fn poll_again(&self, since: Timestamp, failures: u32) -> Result<Resolution, store::Error> {
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
        why: &str,
    ) -> Result<Resolution, store::Error> {
        let wait = creation_backoff(failures, retry_after, self.tenant.context().random());
        let until = later(self.tenant.now(), wait);
        self.defer(until, why, failures.saturating_add(1)).await
    }

    /// Defers the delivery and writes why, unless it expires before.
    async fn defer(&self, until: Timestamp, why: &str, failures: u32) -> Result<Resolution, store::Error> {
        if self.cache.latest().await?.head.expires_at <= until {
            return Ok(Resolution::Skip(Outcome::Expired));
        }
        let ledger = &self.tenant.context().ledger;
        let ended = ledger.defer(self.key, until, why, failures).await?;
        Ok(ended.map_or(Resolution::Later(until), Resolution::Ended))
    }
}

/// The person that a recipient names, in this tenant.
pub(crate) fn person_of<B: Backend>(recipient: &Recipient, tenant: Tenant<'_, B>) -> Option<PersonKey> {
    let person = match recipient {
        Recipient::User(id) => Person::User(id.clone()),
        Recipient::Account(id) => Person::Account(id.clone()),
        Recipient::Conversation(_) | Recipient::UnknownConversation(_) => return None,
    };
    tenant.bucket?.person(person)
}

/// A conversation of this person that the bot knows by now.
pub(crate) async fn known_conversation<B: Backend>(
    tenant: Tenant<'_, B>,
    person: &PersonKey,
) -> Result<Option<ConversationKey>, store::Error> {
    let selection = match &person.person {
        Person::User(id) => ConversationFilter::User(id.clone()),
        Person::Account(id) => ConversationFilter::Account(id.clone()),
    };
    let conversations = &tenant.context().conversations;
    let listing = conversations.list(&selection, None, PERSON_PAGE).await?;
    let is_of_this_bot = |known: &ConversationSummary| {
        known.key.bot == person.bot
            && known.key.channel == person.channel
            && known.attributes.tenant.as_deref() == Some(person.tenant.as_str())
    };
    // A person who removed or blocked the bot since the audience was read is known too, and gets nothing.
    let known = listing.items.into_iter().filter(is_of_this_bot);
    let best = known.min_by_key(|known| known.state != State::Active);
    Ok(best.map(|known| known.key))
}

/// Whether the Connector will never create a conversation with this person.
fn is_final(error: &connector::Error) -> bool {
    match reaction(error.reason()) {
        Reaction::Block => error.reason() != Reason::BlockedByUser,
        Reaction::Reject | Reaction::Recreate => true,
        Reaction::Wait
        | Reaction::Slow
        | Reaction::Stop
        | Reaction::Readdress
        | Reaction::Strike
        | Reaction::Doubt { .. } => false,
    }
}

fn skipped(reason: SkipReason) -> Resolution {
    Resolution::Skip(Outcome::Skipped { reason })
}
