//! Resolves a recipient to a conversation. A person without one gets one, if the notification says so.
//!
//! A conversation is created once for each person: of all concurrent workers one gets the creation lease
//! ([`Conversations::acquire_creation_lease`]), and later workers find the conversation. Then the delivery is like any other.

use botframework::connector::{self, Reason};
use botframework::graph::Installation;
use botframework::id::{EntraObjectId, UserRef};
use herald::audience::Recipient;
use herald::backend::Backend;
use herald::companions;
use herald::conversation::{ConversationKey, Creation, CreationLease, PersonKey};
use herald::delivery::{DeliveryKey, Outcome, SkipReason, State as RowState};
use herald::graph_clients::GraphClients;
use herald::id::NotificationId;
use herald::notification::{IfNoConversation, Notification};
use herald::preferences;
use herald::retry::{Action, action_for};
use herald::store::{self, Conversations, Ledger};
use herald::time::later;
use herald::timing::Habits;
use jiff::{SignedDuration, Timestamp};

use crate::create_conversation::{CreateError, Creator};
use crate::install::{InstallError, Installer};
use crate::notification_cache::{NotificationCache, Snapshot};
use crate::tenant::Tenant;

mod failure;

/// When to ask again while another worker creates a person's conversation. It takes one request.
const CREATION_POLL: SignedDuration = SignedDuration::from_secs(2);

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
    /// No conversation, and none is created in the quiet hours of the person, which end then.
    Quiet(Timestamp),
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
            let reason = no_person_reason(self.recipient, snapshot.head.if_no_conversation);
            return Ok(stopped.map_or(skipped(reason), Resolution::Skip));
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
        self.find_or_create(person, &snapshot, stopped, failures).await
    }

    async fn ledger_state(&self, revision: u32) -> Result<LedgerState, store::Error> {
        let ledger = &self.tenant.context().ledger;
        let rows = ledger.rows(std::slice::from_ref(self.key)).await?;
        let row = rows.into_iter().flatten().next();
        let (ended, waiting) = match row.map(|row| (row.state, row.attempt)) {
            None => (None, None),
            Some((RowState::Settled(outcome), _)) => {
                (Some(outcome).filter(|it| !it.is_stale(revision)), None)
            }
            Some((RowState::Waiting { until, .. }, failures)) => (None, Some((until, failures))),
        };
        Ok(LedgerState { ended, waiting })
    }

    /// The conversation with a person, created if there is none and the notification was not stopped; that failed before, so many
    /// times.
    async fn find_or_create(
        &self,
        person: PersonKey,
        snapshot: &Snapshot,
        stopped: Option<Outcome>,
        failures: u32,
    ) -> Result<Resolution, store::Error> {
        let conversations = &self.tenant.context().conversations;
        let now = self.tenant.now();
        let deadline = self.tenant.invocation.deadline;
        let lease = conversations
            .acquire_creation_lease(&person, now, deadline)
            .await?;
        let known = match lease {
            CreationLease::Exists(key) => key,
            CreationLease::HeldElsewhere { until } => {
                return Ok(Resolution::Later(until.min(later(now, CREATION_POLL))));
            }
            CreationLease::InstallPending { since } => {
                match known_conversation(self.tenant, &person).await? {
                    Some(key) => key,
                    None => return self.poll_again(since, failures).await,
                }
            }
            CreationLease::Acquired { installing_since } => {
                let (creation, resolution) = self
                    .resolve_under_lease(&person, snapshot, stopped, failures, installing_since)
                    .await?;
                conversations.finish_creation(&person, &creation).await?;
                return resolution;
            }
        };
        // The delivery may have ended without a conversation before this one was known.
        let LedgerState { ended, .. } = self.ledger_state(snapshot.head.revision).await?;
        Ok(ended.map_or(Resolution::Conversation(known), Resolution::Ended))
    }

    /// The same, by the holder of the creation lease. Returns the result of the creation too, with which the lease ends.
    ///
    /// Only the holder may settle the delivery without a conversation: otherwise another worker could be sending at that moment.
    /// Later workers see the settled row, though there may be a conversation by then.
    async fn resolve_under_lease(
        &self,
        person: &PersonKey,
        snapshot: &Snapshot,
        stopped: Option<Outcome>,
        failures: u32,
        installing_since: Option<Timestamp>,
    ) -> Result<(Creation, Result<Resolution, store::Error>), store::Error> {
        let head = &snapshot.head;
        let LedgerState { ended, .. } = self.ledger_state(head.revision).await?;
        // They may have written to the bot since the audience was read.
        if let Some(key) = known_conversation(self.tenant, person).await? {
            let resolution = ended.map_or(Resolution::Conversation(key.clone()), Resolution::Ended);
            return Ok((Creation::Conversation(key), Ok(resolution)));
        }
        if let Some(outcome) = ended.or(stopped) {
            let resolution = self.settle_unresolved(outcome).await?;
            return Ok((Creation::Nothing, Ok(resolution)));
        }
        let preferences = preferences::of_person(&self.tenant.context().conversations, person).await?;
        if !head.is_wanted(preferences.as_ref()) {
            let reason = SkipReason::OptedOut;
            let resolution = self.settle_unresolved(Outcome::Skipped { reason }).await?;
            return Ok((Creation::Nothing, Ok(resolution)));
        }
        let of = Habits {
            preferences: preferences.as_ref(),
            tenant: Some(person.tenant.as_str()),
            zone: None,
        };
        // An installation that has begun goes on.
        if installing_since.is_none()
            && let Some(until) = snapshot.quiet_until(of, self.tenant.now())
        {
            return Ok((Creation::Nothing, Ok(Resolution::Quiet(until))));
        }
        let created = self.create(person, head, installing_since).await;
        let creation = created.as_ref().map_or(Creation::Nothing, Creation::clone);
        let resolution = match created {
            // The message has a permit of its own, which is asked for with those of the whole chunk.
            Ok(Creation::Conversation(_)) => Ok(Resolution::Later(self.tenant.now())),
            Ok(Creation::InstallPending(since)) => self.poll_again(since, failures).await,
            Ok(Creation::Nothing) => Ok(skipped(SkipReason::NoConversation)),
            Err(error) => self.after_create_error(error, failures).await,
        };
        Ok((
            creation,
            match resolution {
                Ok(Resolution::Skip(outcome)) => Ok(self.settle_unresolved(outcome).await?),
                resolution => resolution,
            },
        ))
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
        let graph_clients = tenant.context().graph_clients.as_ref();
        let graph_clients = graph_clients.filter(|_| head.if_no_conversation == IfNoConversation::Install);
        match (graph_clients, &person.person) {
            (Some(graph_clients), UserRef::Entra(user)) => {
                self.install_then_create(person, head, graph_clients, user, installing_since)
                    .await
            }
            // Graph does not know the channel's ids.
            (Some(_), UserRef::Account(_)) | (None, _) => {
                let creator = Creator { tenant, person };
                creator.create().await.map(Creation::Conversation)
            }
        }
    }

    async fn install_then_create(
        &self,
        person: &PersonKey,
        head: &Notification,
        graph_clients: &GraphClients,
        user: &EntraObjectId,
        installing_since: Option<Timestamp>,
    ) -> Result<Creation, CreateError> {
        let tenant = self.tenant;
        let tenant_graph = graph_clients
            .in_tenant(&person.tenant)
            .map_err(|_| InstallError::NoSuchTenant)?;
        let installer = Installer {
            tenant,
            graph_clients,
            tenant_graph: &tenant_graph,
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
}

/// The person that a recipient names, in this tenant.
pub(crate) fn person_of<B: Backend>(recipient: &Recipient, tenant: Tenant<'_, B>) -> Option<PersonKey> {
    let person = match recipient {
        Recipient::User(id) => UserRef::Entra(id.clone()),
        Recipient::Account(id) => UserRef::Account(id.clone()),
        Recipient::Conversation(_) | Recipient::UnknownConversation(_) | Recipient::Missed(_) => return None,
    };
    tenant.bucket?.person(person)
}

/// The conversation of this person that the bot knows by now. A person who removed or blocked the bot since the audience was read is
/// known too, and gets nothing.
pub(crate) async fn known_conversation<B: Backend>(
    tenant: Tenant<'_, B>,
    person: &PersonKey,
) -> Result<Option<ConversationKey>, store::Error> {
    companions::preferred_of(&tenant.context().conversations, person).await
}

/// Whether the Connector will never create a conversation with this person.
fn is_final(error: &connector::Error) -> bool {
    match action_for(error.reason()) {
        Action::Block => error.reason() != Reason::BlockedByUser,
        Action::Reject | Action::RecreateConversation => true,
        Action::Retry
        | Action::ThrottleTenant
        | Action::PauseBot
        | Action::CountTokenRefusal
        | Action::TryOtherUrl
        | Action::CountFailure
        | Action::RetryAmbiguous { .. } => false,
    }
}

/// Why no conversation is created for a recipient that is no person in a known tenant.
fn no_person_reason(recipient: &Recipient, policy: IfNoConversation) -> SkipReason {
    match (recipient, policy) {
        (
            Recipient::User(_) | Recipient::Account(_),
            IfNoConversation::Create | IfNoConversation::Install,
        ) => SkipReason::TenantUnknown,
        (Recipient::Missed(miss), _) => miss.reason.into(),
        (Recipient::User(_) | Recipient::Account(_), IfNoConversation::Skip)
        | (Recipient::Conversation(_) | Recipient::UnknownConversation(_), _) => SkipReason::NoConversation,
    }
}

fn skipped(reason: SkipReason) -> Resolution {
    Resolution::Skip(Outcome::Skipped { reason })
}
