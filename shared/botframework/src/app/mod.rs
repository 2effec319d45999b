//! The bot: handlers for what comes in, proactive messages for what does not wait for it.
//!
//! # Example: a bot that echoes
//! ```
//! use botframework::activity::ActivityType::Message;
//! use botframework::app::{App, Context};
//!
//! async fn echo(context: Context) -> String {
//!     format!("You said: {}", context.text())
//! }
//!
//! fn bot(app: App) -> App {
//!     app.on(Message, echo)
//! }
//! ```
//!
//! # Example: a proactive message
//! ```
//! use botframework::app::{App, Error};
//! use botframework::reference::ConversationReference;
//!
//! async fn notify(app: &App, stored: &ConversationReference) -> Result<(), Error> {
//!     app.at(stored).send("proactive hello").await?;
//!     Ok(())
//! }
//! ```
//!
//! An [`App`] is given its parts: an [`Authenticator`], a [`Connector`], and a [`Runtime`] with clock and random numbers.
//! [`App::from_env`] makes them from the environment variables that Microsoft's SDKs use, and is the only code of the crate that
//! reads any of these.

mod answer_stream;
mod card;
mod client;
mod context;
mod dialog;
mod endpoint;
mod error;
mod event;
mod extension;
mod from_env;
mod handler;
#[cfg(all(test, feature = "testing"))]
mod invoke_tests;
mod middleware;
mod reply;
#[cfg(feature = "axum")]
mod serve;
mod sign_in;
mod state;
#[cfg(test)]
mod tests;
mod trigger;
mod user_tokens;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use http::Extensions;
use serde::Serialize;

pub use self::answer_stream::AnswerStream;
pub use self::card::{SubmittedData, Verb};
pub use self::client::{ConversationClient, NextSend, Outgoing, SendFuture};
pub use self::context::Context;
pub use self::dialog::{Dialog, DialogOpened, DialogSubmitted};
pub use self::endpoint::ACTIVITY_MAX_BYTES;
pub use self::error::Error;
pub use self::event::{
    FeedbackGiven, FileAnswered, FileConsent, MeetingEnded, MeetingEvent, MeetingStarted, MessageDeleted,
    MessageEdited, MessageFeedback, MessageRestored, MessagesRead, Reactions, ReactionsAdded,
    ReactionsRemoved, UploadInfo,
};
pub use self::extension::{ActionOpened, ActionSubmitted, LinkPasted, Search, SearchResults, Searched};
pub use self::from_env::InvalidEnvironment;
pub use self::handler::Handler;
pub use self::middleware::{Middleware, Next};
pub use self::reply::{AdaptiveCard, IntoActivity, IntoReply, Reply};
pub use self::state::{MemoryStorage, State, StateWrite, Storage, StoredState};
pub use self::trigger::{
    BotAdded, Command, Installed, MembersAdded, MembersRemoved, NamedEvent, NamedInvoke, Trigger, Uninstalled,
};
pub use self::user_tokens::UserTokens;

use self::client::Sending;
use self::middleware::{Last, TurnFuture, TurnStep};
use self::sign_in::{FinishSignIn, SignIn, SignedIn};
use self::state::AppStorage;
use crate::activity::{Activity, ConversationAccount};
use crate::auth::Authenticator;
use crate::connector::{Connector, ConversationParameters, UserToken};
use crate::credential::Runtime;
use crate::reference::ConversationReference;

/// Handles an activity if it is meant.
type Route = Arc<dyn Fn(&Context) -> Option<TurnFuture> + Send + Sync>;

/// A bot: its handlers and middlewares, and the parts that they run on. Cheap to clone.
///
/// # Which handler runs
/// The first one, in the order of registration, whose [`Trigger`] the activity is: so the special ones stand before the general
/// ones. An activity that no handler is registered for is acknowledged; an invoke of that kind is answered 501.
///
/// # What a handler returns
/// Nothing, a text, an [`Activity`], an attachment, an [`AdaptiveCard`], an [`InvokeResponse`](crate::invoke::InvokeResponse), or a
/// `Result` or `Option` of one of these ([`IntoReply`]). It is sent to the conversation; the trigger of an invoke makes the response
/// to the invoke of it. An error makes the endpoint answer 500, and the channel may send the activity again.
#[derive(Clone)]
pub struct App(Arc<Parts>);

#[derive(Clone)]
struct Parts {
    authenticator: Arc<Authenticator>,
    runtime: Arc<Runtime>,
    sending: Arc<Sending>,
    steps: Arc<[Arc<dyn TurnStep>]>,
    routes: Arc<[Route]>,
    data: Arc<Extensions>,
}

impl App {
    /// A bot without handlers. It authenticates activities by `authenticator` and sends by `connector`.
    pub fn new(authenticator: Authenticator, connector: Connector, runtime: Runtime) -> Self {
        Self(Arc::new(Parts {
            authenticator: Arc::new(authenticator),
            runtime: Arc::new(runtime),
            sending: Arc::new(Sending {
                connector,
                steps: Vec::new(),
            }),
            steps: Arc::new([]),
            routes: Arc::new([]),
            data: Arc::default(),
        }))
    }

    /// Gives something to every turn: [`Context::get`] returns a clone of it. A second one of the same type replaces the first.
    #[must_use]
    pub fn with<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        Arc::make_mut(&mut Arc::make_mut(&mut self.0).data).insert(value);
        self
    }

    /// Adds a middleware. The first one is the outermost.
    #[must_use]
    pub fn layer(mut self, middleware: impl Middleware) -> Self {
        let middleware = Arc::new(middleware);
        let parts = Arc::make_mut(&mut self.0);
        let turn: Arc<dyn TurnStep> = middleware.clone();
        parts.steps = parts.steps.iter().cloned().chain([turn]).collect();
        Arc::make_mut(&mut parts.sending).steps.push(middleware);
        self
    }

    /// Registers a handler.
    #[must_use]
    pub fn on<T: Trigger, Arguments>(
        mut self,
        trigger: T,
        handler: impl Handler<T::Input, Arguments>,
    ) -> Self {
        let shared = Arc::new((trigger, handler));
        let route: Route = Arc::new(move |context| {
            let input = shared.0.input(context)?;
            let (context, shared) = (context.clone(), Arc::clone(&shared));
            Some(Box::pin(async move {
                let (trigger, handler) = &*shared;
                let reply = handler.call(context.clone(), input).await?;
                context.say(trigger.reply(reply)?).await?;
                context.respond_by_default(|| trigger.default_response());
                Ok(())
            }))
        });
        let parts = Arc::make_mut(&mut self.0);
        parts.routes = parts.routes.iter().cloned().chain([route]).collect();
        self
    }

    /// Registers a handler for a [`Command`]: messages that begin with these words. Its input is the rest of the text.
    #[must_use]
    pub fn command<Arguments>(self, words: &'static str, handler: impl Handler<String, Arguments>) -> Self {
        self.on(Command(words), handler)
    }

    /// Registers a handler for the buttons of Adaptive Cards with this [`Verb`].
    #[must_use]
    pub fn verb<Arguments>(
        self,
        verb: &'static str,
        handler: impl Handler<SubmittedData, Arguments>,
    ) -> Self {
        self.on(Verb(verb), handler)
    }

    /// Registers the handlers of the [`Dialog`] of this name: what opens it, and what is submitted.
    #[must_use]
    pub fn dialog<Opening, Submitting>(
        self,
        name: &'static str,
        open: impl Handler<SubmittedData, Opening>,
        submit: impl Handler<SubmittedData, Submitting>,
    ) -> Self {
        self.on(DialogOpened(name), open)
            .on(DialogSubmitted(name), submit)
    }

    /// Registers a handler for searches by the command of this id in the manifest: [`Searched`].
    #[must_use]
    pub fn query<Arguments>(self, command: &'static str, handler: impl Handler<Search, Arguments>) -> Self {
        self.on(Searched(command), handler)
    }

    /// Registers a handler for the end of a sign-in to this OAuth connection, whichever way it took: the client's own token was
    /// exchanged, or the person has typed a code. Its input is the person's token; what it says is sent to the conversation. See
    /// [`UserTokens`]. A code does not name its connection: it is taken for the first that is registered.
    #[must_use]
    pub fn sign_in<Arguments: 'static>(
        self,
        connection: &'static str,
        handler: impl Handler<UserToken, Arguments>,
    ) -> Self {
        let finish = Arc::new(FinishSignIn { connection, handler });
        self.on(
            SignIn(connection),
            move |context: Context, signed_in: SignedIn| {
                let finish = Arc::clone(&finish);
                async move { finish.call(context, signed_in).await }
            },
        )
    }

    /// Keeps the state of people and conversations here: [`Context::user_state`], [`Context::conversation_state`].
    #[must_use]
    pub fn storage(self, storage: impl Storage) -> Self {
        self.with(AppStorage::new(storage))
    }

    /// A conversation by its stored reference, to speak to it at any time: **proactive** messages. They reply to nothing.
    pub fn at(&self, reference: &ConversationReference) -> ConversationClient {
        let reference = ConversationReference {
            activity_id: None,
            ..reference.clone()
        };
        ConversationClient::new(self.sending(), Arc::new(reference), None)
    }

    /// Runs a turn that no incoming activity began, in a known conversation: through the middlewares, then `handler`. Its activity
    /// is an event named `ContinueConversation`. What the handler sends or returns is sent proactively.
    ///
    /// # Errors
    /// When a middleware or the handler fails.
    pub async fn continue_conversation<Arguments>(
        &self,
        reference: &ConversationReference,
        handler: impl Handler<(), Arguments>,
    ) -> Result<(), Error> {
        let handler = Arc::new(handler);
        let last: Last = Arc::new(move |context| {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                let reply = handler.call(context.clone(), ()).await?;
                context.say(reply).await
            })
        });
        let event = reference.continuation_activity(self.fresh_id().into());
        self.run_steps(self.continuation(reference, event), last).await
    }

    /// Runs a turn that no incoming activity began, in a known conversation: through the middlewares, then the bot's own handler
    /// for an event of this name ([`NamedEvent`]), which reads `value` by [`Context::value`].
    ///
    /// # Errors
    /// When `value` cannot be represented as JSON, or a middleware or the handler fails.
    pub async fn raise_event(
        &self,
        reference: &ConversationReference,
        name: impl Into<String>,
        value: impl Serialize,
    ) -> Result<(), Error> {
        let value = serde_json::to_value(value).map_err(Error::bot)?;
        let event = Activity {
            name: Some(name.into()),
            value: Some(value).filter(|value| !value.is_null()),
            ..reference.continuation_activity(self.fresh_id().into())
        };
        self.run_turn(self.continuation(reference, event)).await
    }

    /// Creates a conversation in a channel: with one person or a thread, by [`ConversationParameters`]. Of a conversation that the
    /// bot knows, [`ConversationClient::chat_with`] and [`ConversationClient::thread`] are simpler.
    ///
    /// # Errors
    /// When the Connector refuses it, or its answer does not name the conversation.
    pub async fn create_conversation(
        &self,
        channel_id: &str,
        service_url: &str,
        parameters: &ConversationParameters,
    ) -> Result<ConversationClient, Error> {
        let origin = self.at(&ConversationReference {
            bot: parameters.bot.clone(),
            channel_id: Some(channel_id.to_owned()),
            service_url: Some(service_url.to_owned()),
            ..ConversationReference::default()
        });
        let created = origin.create(parameters).await?;
        let unnamed = Error::Unaddressable("the conversation was created, but the channel did not name it");
        let account = ConversationAccount {
            id: created.id.ok_or(unnamed)?,
            is_group: parameters.is_group.filter(|is_group| *is_group),
            ..ConversationAccount::default()
        };
        let person = parameters.members.first().cloned();
        Ok(origin.elsewhere(
            account.in_tenant(parameters.tenant_id.clone()),
            created.service_url,
            person.filter(|_| parameters.is_group != Some(true)),
        ))
    }

    /// Fetches the keys that the first request needs. Run it beside the start of the server.
    ///
    /// It does not fetch the bot's token: requests without one can start a process, and must not cause token requests.
    pub async fn prefetch(&self) {
        self.0.authenticator.prefetch(self.now()).await;
    }

    /// The connector, for requests that have no method here.
    pub fn connector(&self) -> &Connector {
        &self.0.sending.connector
    }

    fn continuation(&self, reference: &ConversationReference, event: Activity) -> Context {
        Context::continuation(event, self.at(reference), self.data())
    }

    /// Runs a turn: through the middlewares, then the first handler that is meant.
    async fn run_turn(&self, context: Context) -> Result<(), Error> {
        let routes = Arc::clone(&self.0.routes);
        let last: Last = Arc::new(move |context| {
            let handling = routes.iter().find_map(|route| route(&context));
            handling.unwrap_or_else(|| Box::pin(async { Ok(()) }))
        });
        self.run_steps(context, last).await
    }

    async fn run_steps(&self, context: Context, last: Last) -> Result<(), Error> {
        Next::new(Arc::clone(&self.0.steps), last).run(context).await
    }

    fn authenticator(&self) -> &Authenticator {
        &self.0.authenticator
    }

    fn sending(&self) -> Arc<Sending> {
        Arc::clone(&self.0.sending)
    }

    fn data(&self) -> Arc<Extensions> {
        Arc::clone(&self.0.data)
    }

    fn now(&self) -> SystemTime {
        self.0.runtime.now()
    }

    fn fresh_id(&self) -> String {
        let random = self.0.runtime.random();
        format!("{:032x}", u128::from_be_bytes(random))
    }
}

impl fmt::Debug for App {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("App")
            .field("sending", &self.0.sending)
            .field("handlers", &self.0.routes.len())
            .field("middlewares", &self.0.steps.len())
            .finish_non_exhaustive()
    }
}
