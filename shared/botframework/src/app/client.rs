//! One conversation of the bot, as it is spoken to: in a turn, or long after it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Stream, TryStreamExt, stream};

use super::error::Error;
use super::reply::IntoActivity;
use crate::activity::{Activity, ActivityType, ChannelAccount, ConversationAccount};
use crate::connector::{Connector, ConversationParameters, ConversationResource, PagedMembers, SendReceipt};
use crate::http::BoxFuture;
use crate::id::{ActivityId, ChannelAccountId, ConversationId, TenantId, UserRef};
use crate::reference::ConversationReference;
use crate::teams::TeamsChannelAccount;

/// The most members on a page of a roster, as Teams caps it.
const MEMBERS_PAGE: u16 = 500;

/// The result of sending. Boxed: an activity is large, and a handler sends several.
pub type SendFuture<'a> = BoxFuture<'a, Result<SendReceipt, Error>>;

/// An activity on its way to the channel, as a [`Middleware`](super::Middleware) sees it.
#[derive(Debug)]
pub struct Outgoing {
    /// The activity with its address.
    pub activity: Box<Activity>,
    /// The message of the bot that it replaces, if it does.
    pub replaces: Option<ActivityId>,
    /// Whether only the activity's recipient is to see it.
    pub is_targeted: bool,
    reference: Arc<ConversationReference>,
    replies: Option<Arc<ReplyBuffer>>,
}

/// The steps that are still to come before an activity is sent.
#[derive(Debug)]
pub struct NextSend {
    sending: Arc<Sending>,
    index: usize,
}

/// A middleware's part in sending.
pub(super) trait SendStep: Send + Sync {
    fn run(&self, outgoing: Outgoing, next: NextSend) -> SendFuture<'_>;
}

/// How activities leave: through the middlewares, then by the connector.
#[derive(Clone)]
pub(super) struct Sending {
    pub(super) connector: Connector,
    pub(super) steps: Vec<Arc<dyn SendStep>>,
}

/// The replies to an activity that expects them in the HTTP response. `None` once the response is made: what is sent later goes
/// to the channel.
#[derive(Debug)]
pub(super) struct ReplyBuffer(Mutex<Option<Vec<Activity>>>);

/// A conversation, to send to, to edit and to ask about. Cheap to clone; it outlives the turn.
///
/// [`App::at`](super::App::at) makes one from a stored reference: that is a proactive message.
#[derive(Clone, Debug)]
pub struct ConversationClient {
    sending: Arc<Sending>,
    reference: Arc<ConversationReference>,
    replies: Option<Arc<ReplyBuffer>>,
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Sending")
            .field("connector", &self.connector)
            .finish_non_exhaustive()
    }
}

impl ReplyBuffer {
    pub(super) fn open() -> Self {
        Self(Mutex::new(Some(Vec::new())))
    }

    /// Takes the replies. From now on there is no room for more.
    pub(super) fn close(&self) -> Vec<Activity> {
        self.replies().take().unwrap_or_default()
    }

    /// Keeps a reply; gives it back if the response is made.
    fn push(&self, activity: Box<Activity>) -> Option<Box<Activity>> {
        match &mut *self.replies() {
            Some(replies) => {
                replies.push(*activity);
                None
            }
            None => Some(activity),
        }
    }

    fn replies(&self) -> MutexGuard<'_, Option<Vec<Activity>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outgoing {
    /// The conversation that it goes to.
    pub fn reference(&self) -> &ConversationReference {
        &self.reference
    }
}

impl NextSend {
    /// Goes on: to the next middleware, and at last to the channel.
    ///
    /// # Errors
    /// When a later step refuses it, or the Connector does.
    pub async fn run(mut self, outgoing: Outgoing) -> Result<SendReceipt, Error> {
        let sending = Arc::clone(&self.sending);
        match sending.steps.get(self.index) {
            Some(step) => {
                self.index += 1;
                step.run(outgoing, self).await
            }
            None => sending.deliver(outgoing).await,
        }
    }
}

impl Sending {
    async fn deliver(&self, outgoing: Outgoing) -> Result<SendReceipt, Error> {
        let (reference, mut activity) = (&outgoing.reference, outgoing.activity);
        if activity.kind == Some(ActivityType::Trace) && activity.parent_channel() != Some("emulator") {
            return Ok(SendReceipt::default());
        }
        let service_url = reference.service_url.as_deref().unwrap_or_default();
        let conversation = reference.conversation_id().cloned().unwrap_or_default();
        if let Some(sent) = &outgoing.replaces {
            let receipt = self
                .connector
                .update_activity(service_url, &conversation, sent, &*activity);
            return Ok(receipt.await?);
        }
        if outgoing.is_targeted {
            let receipt = self
                .connector
                .send_targeted(service_url, &conversation, &*activity);
            return Ok(receipt.await?);
        }
        if let Some(replies) = &outgoing.replies {
            match replies.push(activity) {
                None => return Ok(SendReceipt::default()),
                Some(late) => activity = late,
            }
        }
        let receipt = match &reference.activity_id {
            Some(id) => {
                self.connector
                    .reply_to_activity(service_url, &conversation, id, &activity)
                    .await
            }
            None => {
                self.connector
                    .send_to_conversation(service_url, &conversation, &*activity)
                    .await
            }
        };
        Ok(receipt?)
    }
}

impl ConversationClient {
    pub(super) fn new(
        sending: Arc<Sending>,
        reference: Arc<ConversationReference>,
        replies: Option<Arc<ReplyBuffer>>,
    ) -> Self {
        Self {
            sending,
            reference,
            replies,
        }
    }

    /// The reference, to store: [`App::at`](super::App::at) takes it at any later time.
    pub fn reference(&self) -> &ConversationReference {
        &self.reference
    }

    /// The connector, for requests that have no method here.
    pub fn connector(&self) -> &Connector {
        &self.sending.connector
    }

    /// Sends something. In a turn it replies to the incoming activity, which is what every channel supports; in a proactive turn
    /// it replies to nothing.
    ///
    /// An activity without a type is sent as a message. A trace goes to the emulator only; elsewhere it is dropped.
    ///
    /// # Errors
    /// When the Connector or a middleware refuses it.
    pub fn send(&self, what: impl IntoActivity) -> SendFuture<'_> {
        self.post(what.into_activity().map(Box::new), None)
    }

    /// Sends something to a group chat or channel of Teams that only this person sees, for a day. Teams has it as a preview, and
    /// refuses it in a person's own chat.
    ///
    /// # Errors
    /// When the Connector or a middleware refuses it.
    pub fn send_only_to(&self, person: &ChannelAccount, what: impl IntoActivity) -> SendFuture<'_> {
        let (activity, person) = (what.into_activity(), person.clone());
        Box::pin(async move {
            let mut activity = Box::new(activity?);
            self.reference.address(&mut activity);
            activity.recipient = Some(person);
            self.run_steps(activity, None, true).await
        })
    }

    /// Replaces a message of the bot. Safe to repeat.
    ///
    /// # Errors
    /// When the Connector or a middleware refuses it.
    pub fn update(&self, sent: &ActivityId, what: impl IntoActivity) -> SendFuture<'_> {
        self.post(what.into_activity().map(Box::new), Some(sent.clone()))
    }

    /// Deletes a message of the bot. Safe to repeat.
    ///
    /// # Errors
    /// When the Connector refuses it.
    pub async fn delete(&self, sent: &ActivityId) -> Result<(), Error> {
        let (connector, conversation) = (self.connector(), self.conversation()?);
        Ok(connector
            .delete_activity(self.service_url(), conversation, sent)
            .await?)
    }

    /// The members of the conversation, page by page: of a channel, those of its team. A member may come twice, if the roster
    /// changes meanwhile.
    pub fn members(&self) -> impl Stream<Item = Result<TeamsChannelAccount, Error>> + Send + use<> {
        let first = Some((self.clone(), None::<String>));
        let pages = stream::try_unfold(first, |position| async move {
            let Some((client, token)) = position else {
                return Ok(None);
            };
            let page = client.page_of_members(token.as_deref()).await?;
            let next = page.continuation_token.map(|token| (client, Some(token)));
            Ok::<_, Error>(Some((stream::iter(page.members.into_iter().map(Ok)), next)))
        });
        pages.try_flatten()
    }

    async fn page_of_members(&self, token: Option<&str>) -> Result<PagedMembers, Error> {
        let conversation = self.conversation()?.channel();
        let page =
            self.connector()
                .paged_members(self.service_url(), &conversation, Some(MEMBERS_PAGE), token);
        Ok(page.await?)
    }

    /// One member: by the channel's id, the Entra object id, or the user principal name.
    ///
    /// # Errors
    /// When the Connector refuses it; 404 if there is no such member.
    pub async fn member(&self, user: &str) -> Result<TeamsChannelAccount, Error> {
        let conversation = self.conversation()?.channel();
        let member = self.connector().member(self.service_url(), &conversation, user);
        Ok(member.await?)
    }

    /// Starts a new thread in the channel of Teams with this message, and returns the thread. Each call starts another one.
    ///
    /// # Errors
    /// When the conversation names no tenant, the Connector refuses it, or its answer does not name the thread.
    pub async fn thread(&self, first: impl IntoActivity) -> Result<Self, Error> {
        let (channel, tenant) = (self.conversation()?, self.tenant()?);
        let mut first = first.into_activity()?;
        first.kind.get_or_insert(ActivityType::Message);
        let parameters = ConversationParameters::new_thread(channel, tenant, first);
        let created = self.create(&parameters).await?;
        let thread = created.thread(channel).ok_or(Error::Unaddressable(
            "the thread was started, but the channel did not name it",
        ))?;
        let account = self.reference.conversation.clone().unwrap_or_default();
        Ok(self.elsewhere(
            ConversationAccount {
                id: thread,
                ..account
            },
            created.service_url,
            self.reference.user.clone(),
        ))
    }

    /// The bot's own chat with a person, which is created if it does not exist. A member of a roster, the sender of an activity
    /// and an Entra object id all name a person. Sends nothing.
    ///
    /// # Errors
    /// When the conversation names no tenant or no bot, or the Connector refuses it: the bot must be installed for the person, or
    /// in a team or chat that they are in.
    pub async fn chat_with(&self, person: impl Into<UserRef>) -> Result<Self, Error> {
        let person = person.into();
        let bot = self.bot()?;
        let parameters = ConversationParameters::one_person(&person, bot, self.tenant()?);
        let created = self.create(&parameters).await?;
        let unnamed = Error::Unaddressable("the chat was created, but the channel did not name it");
        let account = ConversationAccount {
            id: created.id.ok_or(unnamed)?,
            scope: Some("personal".into()),
            ..ConversationAccount::default()
        };
        Ok(self.elsewhere(
            account.in_tenant(Some(self.tenant()?.clone())),
            created.service_url,
            Some(ChannelAccount::new(person.as_str())),
        ))
    }

    pub(super) async fn create(
        &self,
        parameters: &ConversationParameters,
    ) -> Result<ConversationResource, Error> {
        let created = self
            .connector()
            .create_conversation(self.service_url(), parameters);
        Ok(created.await?)
    }

    /// Another conversation of the same bot in the same channel.
    pub(super) fn elsewhere(
        &self,
        conversation: ConversationAccount,
        service_url: Option<String>,
        user: Option<ChannelAccount>,
    ) -> Self {
        let reference = ConversationReference {
            user,
            bot: self.reference.bot.clone(),
            conversation: Some(conversation),
            channel_id: self.reference.channel_id.clone(),
            service_url: service_url.or_else(|| self.reference.service_url.clone()),
            locale: self.reference.locale.clone(),
            ..ConversationReference::default()
        };
        Self::new(Arc::clone(&self.sending), Arc::new(reference), None)
    }

    fn post(&self, activity: Result<Box<Activity>, Error>, replaces: Option<ActivityId>) -> SendFuture<'_> {
        Box::pin(async move {
            let mut activity = activity?;
            if replaces.is_some() {
                self.reference.address(&mut activity);
            } else {
                self.reference.apply_outgoing(&mut activity);
            }
            self.run_steps(activity, replaces, false).await
        })
    }

    /// Sends an addressed activity through the middlewares.
    async fn run_steps(
        &self,
        mut activity: Box<Activity>,
        replaces: Option<ActivityId>,
        is_targeted: bool,
    ) -> Result<SendReceipt, Error> {
        activity.kind.get_or_insert(ActivityType::Message);
        let outgoing = Outgoing {
            activity,
            replaces,
            is_targeted,
            reference: Arc::clone(&self.reference),
            replies: self.replies.clone(),
        };
        let next = NextSend {
            sending: Arc::clone(&self.sending),
            index: 0,
        };
        next.run(outgoing).await
    }

    /// The same conversation, without the activity that messages reply to. `None` where the replies go into the response.
    pub(super) fn unreplied(&self) -> Option<Self> {
        let reference = ConversationReference {
            activity_id: None,
            ..(*self.reference).clone()
        };
        let is_buffered = self.replies.is_some();
        (!is_buffered).then(|| Self::new(Arc::clone(&self.sending), Arc::new(reference), None))
    }

    fn service_url(&self) -> &str {
        self.reference.service_url.as_deref().unwrap_or_default()
    }

    fn conversation(&self) -> Result<&ConversationId, Error> {
        let id = self.reference.conversation_id();
        id.ok_or(Error::Unaddressable("the reference names no conversation"))
    }

    fn bot(&self) -> Result<&ChannelAccountId, Error> {
        let bot = self.reference.bot.as_ref().map(|bot| &bot.id);
        bot.filter(|id| !id.is_empty())
            .ok_or(Error::Unaddressable("the reference names no bot"))
    }

    /// The tenant of the conversation, if it has one.
    pub fn tenant_id(&self) -> Option<&TenantId> {
        let conversation = self.reference.conversation.as_ref();
        conversation?.tenant_id.as_ref().filter(|id| !id.is_empty())
    }

    fn tenant(&self) -> Result<&TenantId, Error> {
        self.tenant_id()
            .ok_or(Error::Unaddressable("the reference names no tenant"))
    }
}
