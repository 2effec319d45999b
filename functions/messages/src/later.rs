//! What the bot does after its answer: messages at a later moment, and work that takes longer than a turn may.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use botframework::app::{Error, IntoActivity};
use botframework::auth::VerifiedActivity;
use botframework::http::BoxFuture;
use botframework::reference::ConversationReference;
use herald::acceptance::{self, Acceptor, BotMessage, Settings};
use herald::backend::Backend;
use herald::clock::{Clock, Random};
use herald::conversation::{ConversationKey, TurnKey};
use herald::job::Job;
use herald::queue::{self, Queue};
use jiff::{Timestamp, Zoned};
use serde::Serialize;

use crate::local_time;

/// What a turn puts off, in the conversation of the turn. A handler has it from [`Context::get`](botframework::app::Context::get).
///
/// A turn that runs again, because its answer was lost, asks again for the same: each is done once.
#[derive(Clone)]
pub struct Later {
    engine: Arc<dyn Engine>,
    /// `None` if no channel vouches for the conversation.
    conversation: Option<ConversationKey>,
    now: Zoned,
    /// Names the turn, or this copy of an activity that is answered each time.
    turn: Arc<str>,
    /// How many things were put off in the turn.
    count: Arc<AtomicU32>,
}

/// The result of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaterResult {
    /// It is stored, and will be done.
    Accepted,
    /// It cannot be done, for this reason: a moment that has passed or is more than a year ahead, a message that is no message.
    Refused(String),
    /// The conversation is not stored: another bot sent the activity, and no channel vouches for the conversation it names.
    NoConversation,
}

impl Later {
    /// What the turn of an activity puts off. `turn` names it, unless each copy of the activity is answered.
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        (clock, random): (&Clock, &Random),
        activity: &VerifiedActivity,
        turn: Option<&TurnKey>,
    ) -> Self {
        let reference = ConversationReference::from_activity(activity.activity());
        let turn = turn.map_or_else(
            || format!("{:032x}", u128::from_be_bytes(random.bytes())),
            |turn| turn.as_str().to_owned(),
        );
        Self {
            engine,
            conversation: ConversationKey::of(&reference).filter(|_| activity.is_from_channel()),
            now: local_time::of(activity.activity(), clock.now()),
            turn: turn.into(),
            count: Arc::default(),
        }
    }

    /// The time now, where the sender is. In UTC if their client does not say where that is.
    pub fn now(&self) -> &Zoned {
        &self.now
    }

    /// Sends a message to the conversation at a moment, up to a year ahead. It is a notification, as by
    /// `POST /api/notifications`: it keeps the channel's limits, and `explain` says why it has not arrived.
    ///
    /// # Errors
    /// When DynamoDB or SQS is unavailable. Let the turn fail by it, so that the channel repeats the activity.
    pub async fn send_at(&self, moment: Timestamp, what: impl IntoActivity) -> Result<LaterResult, Error> {
        let Some(conversation) = &self.conversation else {
            return Ok(LaterResult::NoConversation);
        };
        let (message, key) = (what.into_activity()?, self.next_key());
        let asked = BotMessage {
            conversation,
            message,
            deliver_at: Some(moment),
            key: &key,
        };
        match self.engine.accept(asked).await {
            Ok(()) => Ok(LaterResult::Accepted),
            Err(error) => match error.refusal() {
                Some(problem) => {
                    let faults = problem.errors.into_iter().map(|fault| fault.detail);
                    Ok(LaterResult::Refused(faults.collect::<Vec<_>>().join("; ")))
                }
                None => Err(Error::bot(error)),
            },
        }
    }

    /// Does the work of this name after the turn, by [`bot::work`](crate::bot::work). What that returns is sent to the conversation.
    ///
    /// # Errors
    /// When `value` cannot be represented as JSON, or SQS is unavailable.
    pub async fn work(&self, name: &str, value: impl Serialize) -> Result<LaterResult, Error> {
        let Some(conversation) = &self.conversation else {
            return Ok(LaterResult::NoConversation);
        };
        let job = Job {
            id: self.next_key(),
            name: name.to_owned(),
            value: serde_json::to_value(value).map_err(Error::bot)?,
            conversation: conversation.clone(),
        };
        self.engine.enqueue(&job).await.map_err(Error::bot)?;
        Ok(LaterResult::Accepted)
    }

    /// The key of the next request of the turn.
    fn next_key(&self) -> String {
        format!("{}-{}", self.turn, self.count.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Later")
            .field("conversation", &self.conversation)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// The engine, as far as a bot asks for something.
pub(crate) trait Engine: Send + Sync {
    fn accept<'a>(&'a self, asked: BotMessage<'a>) -> BoxFuture<'a, Result<(), acceptance::Error>>;
    fn enqueue<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<(), queue::Error>>;
}

/// The engine of a deployment.
#[derive(Debug)]
pub(crate) struct DeployedEngine<B: Backend> {
    pub(crate) notifications: B::Notifications,
    pub(crate) conversations: B::Conversations,
    pub(crate) registry: B::Registry,
    pub(crate) plans: B::Queue,
    pub(crate) events: B::Queue,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
}

impl<B: Backend> Engine for DeployedEngine<B> {
    fn accept<'a>(&'a self, asked: BotMessage<'a>) -> BoxFuture<'a, Result<(), acceptance::Error>> {
        Box::pin(async move {
            let acceptor = Acceptor::<B> {
                notifications: &self.notifications,
                conversations: &self.conversations,
                registry: &self.registry,
                plans: &self.plans,
                settings: &self.settings,
                clock: &self.clock,
                random: &self.random,
            };
            acceptor.accept_of_bot(asked).await
        })
    }

    fn enqueue<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<(), queue::Error>> {
        Box::pin(self.events.send(vec![job.message()]))
    }
}
