//! What a handler is given: the activity, and the means to answer it.

use std::any::type_name;
use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::{Either, select};
use http::Extensions;
use serde::de::DeserializeOwned;

use super::answer_stream::AnswerStream;
use super::client::{ConversationClient, ReplyBuffer, SendFuture, Sending};
use super::error::Error;
use super::reply::{IntoActivity, Reply};
use super::state::{AppStorage, State};
use super::user_tokens::UserTokens;
use crate::activity::{Activity, ActivityType, ChannelAccount, DeliveryMode, Scope};
use crate::auth::{Caller, VerifiedActivity};
use crate::connector::Connector;
use crate::id::{ActivityId, TenantId, UserRef};
use crate::invoke::InvokeResponse;
use crate::reference::ConversationReference;
use crate::teams::TeamsChannelAccount;

/// How often the typing indicator is sent. Clients show it for about three seconds, and Teams allows a bot seven requests a second
/// in one conversation.
const TYPING_INTERVAL: Duration = Duration::from_secs(3);

/// One turn: an activity, and the means to answer it. Owned, cheap to clone, and usable after the turn.
#[derive(Clone)]
pub struct Context(Arc<Turn>);

struct Turn {
    incoming: Incoming,
    client: ConversationClient,
    replies: Option<Arc<ReplyBuffer>>,
    /// What the app gives to every turn.
    data: Arc<Extensions>,
    /// The text to the bot, once it was asked for.
    text: OnceLock<String>,
    state: Mutex<TurnState>,
}

#[derive(Debug, Default)]
struct TurnState {
    /// What middlewares have inserted.
    data: Extensions,
    response: Option<InvokeResponse>,
}

/// What began the turn.
enum Incoming {
    Received(Box<VerifiedActivity>),
    /// The event of a turn that the bot began itself.
    Continuation(Box<Activity>),
}

impl fmt::Debug for Context {
    /// Without texts and names, which are not for logs.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Context")
            .field("kind", &self.activity().kind)
            .field("name", &self.activity().name)
            .finish_non_exhaustive()
    }
}

/// What the response to the request is made of.
#[derive(Debug)]
pub(super) struct TurnOutcome {
    /// The replies, if the activity expects them in the response.
    pub(super) replies: Option<Vec<Activity>>,
    /// What the bot responded to an invoke.
    pub(super) response: Option<InvokeResponse>,
}

impl Context {
    /// The turn of an activity that came in.
    pub(super) fn received(activity: VerifiedActivity, sending: Arc<Sending>, data: Arc<Extensions>) -> Self {
        let expects_replies = activity.activity().delivery_mode == Some(DeliveryMode::ExpectReplies);
        let reference = ConversationReference::from_activity(activity.activity());
        let replies = expects_replies.then(|| Arc::new(ReplyBuffer::open()));
        let client = ConversationClient::new(sending, Arc::new(reference), replies.clone());
        Self::new(Incoming::Received(Box::new(activity)), client, replies, data)
    }

    /// A turn that the bot begins itself. What it sends replies to nothing.
    pub(super) fn continuation(event: Activity, client: ConversationClient, data: Arc<Extensions>) -> Self {
        Self::new(Incoming::Continuation(Box::new(event)), client, None, data)
    }

    fn new(
        incoming: Incoming,
        client: ConversationClient,
        replies: Option<Arc<ReplyBuffer>>,
        data: Arc<Extensions>,
    ) -> Self {
        Self(Arc::new(Turn {
            incoming,
            client,
            replies,
            data,
            text: OnceLock::new(),
            state: Mutex::default(),
        }))
    }

    /// The activity: authenticated, or the event of a turn that the bot began.
    pub fn activity(&self) -> &Activity {
        match &self.0.incoming {
            Incoming::Received(activity) => activity.activity(),
            Incoming::Continuation(event) => event,
        }
    }

    /// The activity as authentication left it; `None` in a turn that the bot began.
    pub fn verified(&self) -> Option<&VerifiedActivity> {
        match &self.0.incoming {
            Incoming::Received(activity) => Some(activity),
            Incoming::Continuation(_) => None,
        }
    }

    /// The authenticated sender; `None` in a turn that the bot began.
    pub fn caller(&self) -> Option<&Caller> {
        self.verified().map(VerifiedActivity::caller)
    }

    /// The text without mentions of the bot, trimmed. Empty if there is none, as when a card was submitted.
    pub fn text(&self) -> &str {
        self.0.text.get_or_init(|| self.activity().text_to_bot())
    }

    /// The sender's account. In a turn that the bot began, the user of the conversation; with an empty id if it names none.
    pub fn from(&self) -> &ChannelAccount {
        static NOBODY: LazyLock<ChannelAccount> = LazyLock::new(ChannelAccount::default);
        self.activity().from.as_ref().unwrap_or(&NOBODY)
    }

    /// The tenant of the conversation, if it has one.
    pub fn tenant(&self) -> Option<TenantId> {
        self.activity().tenant_id()
    }

    /// Whether several people can read the conversation: a group chat or a channel.
    pub fn is_group(&self) -> bool {
        let conversation = self.activity().conversation.as_ref();
        conversation.is_some_and(|conversation| {
            conversation.is_group == Some(true)
                || matches!(conversation.scope, Some(Scope::GroupChat | Scope::Channel))
        })
    }

    /// The activity's `value`: what a card submits, an event carries or an invoke asks.
    ///
    /// # Errors
    /// When it has another shape, or there is none and `T` needs one.
    pub fn value<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let value = self.activity().value.clone().unwrap_or_default();
        serde_json::from_value(value).map_err(Error::Value)
    }

    /// The conversation, to keep for later or to speak to: see [`ConversationClient`].
    pub fn conversation(&self) -> &ConversationClient {
        &self.0.client
    }

    /// The reference, to store: [`App::at`](super::App::at) takes it at any later time.
    pub fn reference(&self) -> &ConversationReference {
        self.0.client.reference()
    }

    /// The connector, for requests that have no method here.
    pub fn connector(&self) -> &Connector {
        self.0.client.connector()
    }

    /// Answers: sends something to the conversation, as a reply to the activity.
    ///
    /// # Errors
    /// When the Connector or a middleware refuses it.
    pub fn send(&self, what: impl IntoActivity) -> SendFuture<'_> {
        self.0.client.send(what)
    }

    /// Replaces a message of the bot. Safe to repeat.
    ///
    /// # Errors
    /// When the Connector or a middleware refuses it.
    pub fn update(&self, sent: &ActivityId, what: impl IntoActivity) -> SendFuture<'_> {
        self.0.client.update(sent, what)
    }

    /// Deletes a message of the bot. Safe to repeat.
    ///
    /// # Errors
    /// When the Connector refuses it.
    pub async fn delete(&self, sent: &ActivityId) -> Result<(), Error> {
        self.0.client.delete(sent).await
    }

    /// Sends something that only the sender sees: see [`ConversationClient::send_only_to`].
    ///
    /// # Errors
    /// When the Connector or a middleware refuses it.
    pub fn send_privately(&self, what: impl IntoActivity) -> SendFuture<'_> {
        self.0.client.send_only_to(self.from(), what)
    }

    /// Begins an answer whose text is shown while it is made: see [`AnswerStream`].
    pub fn stream(&self) -> AnswerStream {
        AnswerStream::new(&self.0.client)
    }

    /// The members of the conversation: see [`ConversationClient::members`].
    pub fn members(&self) -> impl Stream<Item = Result<TeamsChannelAccount, Error>> + Send + use<> {
        self.0.client.members()
    }

    /// One member: see [`ConversationClient::member`].
    ///
    /// # Errors
    /// When the Connector refuses it; 404 if there is no such member.
    pub async fn member(&self, user: &str) -> Result<TeamsChannelAccount, Error> {
        self.0.client.member(user).await
    }

    /// Starts a new thread in the channel: see [`ConversationClient::thread`].
    ///
    /// # Errors
    /// When the conversation names no tenant, or the Connector refuses it.
    pub async fn thread(&self, first: impl IntoActivity) -> Result<ConversationClient, Error> {
        self.0.client.thread(first).await
    }

    /// The bot's own chat with a person: see [`ConversationClient::chat_with`].
    ///
    /// # Errors
    /// When the conversation names no tenant or no bot, or the Connector refuses it.
    pub async fn chat_with(&self, person: impl Into<UserRef>) -> Result<ConversationClient, Error> {
        self.0.client.chat_with(person).await
    }

    /// Shows that the bot is typing until the work is done. A typing indicator that cannot be sent does not disturb the work.
    ///
    /// A channel waits about 15 seconds for the whole turn. Longer work belongs elsewhere: keep the
    /// [`conversation`](Self::conversation), and send the result when it is there.
    pub async fn typing_while<T>(&self, work: impl Future<Output = T>) -> T {
        let typing = self.keep_typing();
        match select(pin!(work), pin!(typing)).await {
            Either::Left((done, _)) => done,
            Either::Right((endless, _)) => match endless {},
        }
    }

    async fn keep_typing(&self) -> Infallible {
        if self.0.replies.is_some() {
            // The replies go into the response, after the work.
            return std::future::pending().await;
        }
        loop {
            let indicator = Activity {
                kind: Some(ActivityType::Typing),
                ..Activity::default()
            };
            if self.send(indicator).await.is_err() {
                return std::future::pending().await;
            }
            tokio::time::sleep(TYPING_INTERVAL).await;
        }
    }

    /// Sets the response to an invoke; the last one counts. Ignored for other activities.
    pub fn respond(&self, response: InvokeResponse) {
        self.state().response = Some(response);
    }

    /// The response to the invoke so far.
    pub fn response(&self) -> Option<InvokeResponse> {
        self.state().response.clone()
    }

    /// Sets a response, if there is none yet.
    pub(super) fn respond_by_default(&self, response: impl FnOnce() -> Option<InvokeResponse>) {
        let mut state = self.state();
        if state.response.is_none() {
            state.response = response();
        }
    }

    /// The person's tokens for other services.
    pub fn user_tokens(&self) -> UserTokens {
        let channel = self.activity().channel_id.as_deref().unwrap_or_default();
        UserTokens::new(self.0.client.clone(), self.from().id.as_str(), channel)
    }

    /// The state of this name of the person: of the sender, and in a turn that the bot began of the conversation's user.
    ///
    /// # Errors
    /// When the app has no [`storage`](super::App::storage), or the activity names no person.
    pub fn user_state<T>(&self, name: &str) -> Result<State<T>, Error> {
        self.named_state("users", self.from().id.as_str(), name)
    }

    /// The state of this name of the conversation. A thread in a channel has its own.
    ///
    /// # Errors
    /// When the app has no [`storage`](super::App::storage), or the activity names no conversation.
    pub fn conversation_state<T>(&self, name: &str) -> Result<State<T>, Error> {
        let conversation = self.activity().conversation.as_ref();
        let id = conversation.map_or("", |conversation| conversation.id.as_str());
        self.named_state("conversations", id, name)
    }

    fn named_state<T>(&self, kind: &str, id: &str, name: &str) -> Result<State<T>, Error> {
        if id.is_empty() {
            return Err(Error::Unaddressable(
                "the activity does not name whose state it is",
            ));
        }
        let activity = self.activity();
        let channel = activity.channel_id.as_deref().unwrap_or_default();
        let bot = activity.recipient.as_ref().map_or("", |bot| bot.id.as_str());
        let storage = self.get::<AppStorage>();
        let storage =
            storage.map_err(|_| Error::bot("the app has no storage: give it one by App::storage"))?;
        Ok(storage.state(&[channel, bot, kind, id, name]))
    }

    /// What [`App::with`](super::App::with) or a middleware gave to the turn; a middleware's goes before the app's.
    ///
    /// # Errors
    /// When there is none of this type.
    pub fn get<T: Clone + Send + Sync + 'static>(&self) -> Result<T, Error> {
        let own = self.state().data.get::<T>().cloned();
        own.or_else(|| self.0.data.get::<T>().cloned())
            .ok_or(Error::NotInContext(type_name::<T>()))
    }

    /// Gives something to the later handlers of this turn.
    pub fn insert<T: Clone + Send + Sync + 'static>(&self, value: T) {
        self.state().data.insert(value);
    }

    /// Says what a handler returned: an activity is sent, a response is set.
    pub(super) async fn say(&self, reply: Reply) -> Result<(), Error> {
        match reply {
            Reply::Nothing => {}
            Reply::Activity(activity) => drop(self.send(*activity).await?),
            Reply::Invoke(response) => self.respond(response),
        }
        Ok(())
    }

    /// Ends the turn. What is sent from now on goes to the channel.
    pub(super) fn finish(&self) -> TurnOutcome {
        TurnOutcome {
            replies: self.0.replies.as_ref().map(|replies| replies.close()),
            response: self.state().response.take(),
        }
    }

    fn state(&self) -> MutexGuard<'_, TurnState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
