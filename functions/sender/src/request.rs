//! The requests of one attempt: the message is sent, updated or deleted, at the service URL that serves the conversation and
//! under the id that it has.

use botframework::connector::{self, Class, ConversationParameters, Reason, SendReceipt};
use botframework::id::{ActivityId, ConversationId, UserRef};
use botframework::outgoing::SharedMessage;
use botframework::teams::is_teams;
use herald::backend::Backend;
use herald::conversation::{Conversation, Feedback, Scope};
use herald::delivery::AttemptLease;
use herald::retry::{Action, action_for};
use herald::service_urls::ServiceUrls;
use herald::store;

use crate::notification_cache::{NotificationCache, Snapshot};
use crate::outcome::SideEffects;
use crate::tenant::Tenant;

/// The result of the requests of an attempt.
pub(crate) enum RequestResult {
    /// The answer to the last request: the activity's id, or the failure.
    Answered(Result<Option<ActivityId>, connector::Error>),
    /// The request after this refusal was not made: there was no time for it, no permit, or it was out of date.
    CutShort(connector::Error),
    /// The conversation has this id now, at this service URL. The failure is what was said of the old id.
    Replaced {
        id: ConversationId,
        service_url: String,
        error: connector::Error,
    },
}

/// What one attempt sends.
pub(crate) struct AttemptRequests<'r, 'a, B: Backend> {
    pub(crate) tenant: Tenant<'a, B>,
    pub(crate) cache: &'r NotificationCache<'a, B>,
    pub(crate) lease: &'r AttemptLease,
    pub(crate) snapshot: &'r Snapshot,
    /// The message of the recipient; `None` once it is retracted.
    pub(crate) message: Option<&'r SharedMessage>,
    /// The record of the conversation, or of the one that it replaced.
    pub(crate) conversation: &'r Conversation,
    pub(crate) id: &'r ConversationId,
    /// Whether it replaced another one: then it is not created again.
    pub(crate) is_replacement: bool,
}

/// The result of creating a conversation again.
enum RecreateResult {
    /// It has the same id.
    Same,
    /// It has another one.
    Replaced(ConversationId),
    /// It is not one person's, or the person is not known.
    Impossible,
    /// The channel refuses: it is about the person.
    Refused(connector::Error),
    /// A request was not made, or its result is ambiguous, which leaves the message unsent.
    CutShort,
}

impl<B: Backend> AttemptRequests<'_, '_, B> {
    /// Makes the request, and those that follow from its failure: at another service URL, or after the conversation was created
    /// again, once.
    pub(crate) async fn run(
        &self,
        mut urls: ServiceUrls<'_>,
        effects: &mut SideEffects<'_>,
    ) -> Result<RequestResult, store::Error> {
        let mut may_recreate = !self.is_replacement && self.lease.sent.is_none();
        loop {
            let error = match self.send(urls.current()).await {
                Ok(activity) => {
                    let newest = self.conversation.service_urls.first();
                    if !self.is_replacement && newest.is_some_and(|newest| newest != urls.current()) {
                        effects.feedback(Feedback::ServiceUrl(urls.current().to_owned()));
                    }
                    return Ok(RequestResult::Answered(Ok(activity)));
                }
                Err(error) => error,
            };
            if may_recreate && self.may_be_replaced(&error) {
                may_recreate = false;
                match self.recreate(&mut urls).await? {
                    RecreateResult::Same => {}
                    RecreateResult::Replaced(id) => {
                        let service_url = urls.current().to_owned();
                        return Ok(RequestResult::Replaced {
                            id,
                            service_url,
                            error,
                        });
                    }
                    RecreateResult::Impossible => return Ok(RequestResult::Answered(Err(error))),
                    RecreateResult::Refused(refusal) => return Ok(RequestResult::Answered(Err(refusal))),
                    RecreateResult::CutShort => return Ok(RequestResult::CutShort(error)),
                }
            } else if !urls.next_after(&error) {
                return Ok(RequestResult::Answered(Err(error)));
            }
            if !self.can_continue().await? {
                return Ok(RequestResult::CutShort(error));
            }
        }
    }

    /// Whether the failure may be one of the conversation's id: the channel does not know it, or cannot decrypt it at the second
    /// attempt either. At the first, an outage is more likely.
    fn may_be_replaced(&self, error: &connector::Error) -> bool {
        let is_unknown = action_for(error.reason()) == Action::RecreateConversation;
        let is_undecrypted = error.reason() == Reason::ForeignConversationId && self.lease.attempt > 1;
        is_teams(Some(&self.conversation.key.channel)) && (is_unknown || is_undecrypted)
    }

    /// Creates the conversation again, at each service URL that may serve it: the old id need not have been asked where the
    /// person is served now.
    async fn recreate(&self, urls: &mut ServiceUrls<'_>) -> Result<RecreateResult, store::Error> {
        let Some(parameters) = parameters(self.conversation) else {
            return Ok(RecreateResult::Impossible);
        };
        let connector = &self.tenant.context().connector;
        loop {
            if !self.can_continue().await? {
                return Ok(RecreateResult::CutShort);
            }
            let error = match connector.create_conversation(urls.current(), &parameters).await {
                Ok(created) => {
                    if let Some(url) = created.service_url {
                        urls.set_current(url);
                    }
                    let id = created.id.filter(|id| id != self.id);
                    return Ok(id.map_or(RecreateResult::Same, RecreateResult::Replaced));
                }
                Err(error) => error,
            };
            if error.class() == Class::Ambiguous {
                return Ok(RecreateResult::CutShort);
            }
            if !urls.next_after(&error) {
                return Ok(RecreateResult::Refused(error));
            }
        }
    }

    /// One request.
    async fn send(&self, service_url: &str) -> Result<Option<ActivityId>, connector::Error> {
        let connector = &self.tenant.context().connector;
        let id = self.id;
        let own = self.lease.sent.as_ref().and_then(|sent| sent.activity.as_ref());
        let sent = own.or(self.lease.edits.as_ref().map(|copy| &copy.activity));
        let message = self.message.map(|message| {
            let message = message.to(&self.conversation.reference).in_conversation(id);
            match self.conversation.attributes.scope {
                Scope::Personal => message,
                // The recipient of the reference is the last speaker there; the message is for the whole conversation.
                Scope::GroupChat | Scope::Channel => message.without_recipient(),
            }
        });
        let receipt = match (&message, sent) {
            (Some(message), Some(sent)) => connector.update_activity(service_url, id, sent, message).await,
            (Some(message), None) => connector.send_to_conversation(service_url, id, message).await,
            (None, Some(sent)) => connector
                .delete_activity(service_url, id, sent)
                .await
                .map(|()| SendReceipt::default()),
            (None, None) => Ok(SendReceipt::default()),
        };
        receipt.map(|receipt| receipt.activity_id)
    }

    /// Whether another request may be made: there is time and a permit for it, and the notification is what it was when the
    /// attempt began.
    async fn can_continue(&self) -> Result<bool, store::Error> {
        if !self.tenant.can_continue().await? {
            return Ok(false);
        }
        let latest = self.cache.latest().await?;
        let is_stopped = self.lease.sent.is_none() && latest.stop_outcome(self.tenant.now()).is_some();
        Ok(!is_stopped && latest.head.revision == self.snapshot.head.revision)
    }
}

/// What creates the conversation with this person again; `None` when it is not one person's, or the person is not known.
fn parameters(conversation: &Conversation) -> Option<ConversationParameters> {
    let attributes = &conversation.attributes;
    if attributes.scope != Scope::Personal {
        return None;
    }
    let person = match (&attributes.account, &attributes.user) {
        (Some(account), _) => UserRef::Account(account.clone()),
        (None, Some(user)) => UserRef::Entra(user.clone()),
        (None, None) => return None,
    };
    let tenant = attributes.tenant.as_deref()?;
    Some(ConversationParameters::one_person(
        &person,
        &conversation.key.bot,
        &tenant.into(),
    ))
}
