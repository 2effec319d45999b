//! The messaging endpoint: stores every conversation that an activity names, then runs the bot's turn.
//!
//! ```text
//! POST /api/messages ── token ── activity ── record (durable) ── turn, once ──▶ 200
//! ```
//!
//! The endpoint is a [`botframework::app::App`]. Herald's part is one middleware, `inbound`; the handlers are [`bot`]'s. The
//! durable write comes before the response: Lambda freezes an execution environment once it has responded, so a later write may
//! never happen. The channel waits about 15 seconds; the handler waits for nothing but the table and the bot's own requests.

use std::sync::Arc;
use std::time::Duration;

use botframework::app::App;
use botframework::auth::Authenticator;
use botframework::connector::Connector;
use botframework::credential::Runtime;
use herald::acceptance::Settings;
use herald::backend::{Aws, Backend};
use herald::bot_state::StateStorage;
use herald::clock::{Clock, Random};
use herald::config::{self, Environment, http_transport, variable};
use herald::queue::sqs;
use herald::store::dynamodb;
use herald::{aws, credential};

use inbound::Inbound;
use later::DeployedEngine;
use preferences::StoredPreferences;
use tags::StoredTags;

pub mod bot;
mod inbound;
mod later;
mod local_time;
mod preferences;
mod reminder;
pub mod settings;
mod tags;
mod topics;
mod turns;
pub mod words;

pub use later::{Later, LaterResult};
pub use preferences::TurnPreferences;
pub use tags::{TagResult, Tags};
pub use topics::Topics;
pub use turns::Welcome;
pub use words::{SaidWord, Word};

/// How long one request of the bot may take. The function ends after 15 seconds, and the channel waits no longer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// The dependencies of [`app`].
#[derive(Debug)]
pub struct Context<B: Backend> {
    /// The table of conversations, which each activity is recorded in.
    pub conversations: B::Conversations,
    /// Where notifications are stored that the bot asks for.
    pub notifications: B::Notifications,
    /// Where the categories are stored; read only.
    pub registry: B::Registry,
    /// The queue to the planner.
    pub plans: B::Queue,
    /// The queue of the bot's jobs.
    pub events: B::Queue,
    /// What the deployment allows.
    pub settings: Settings,
    /// Authenticates senders and checks their service URLs.
    pub authenticator: Authenticator,
    /// Sends the bot's replies.
    pub connector: Connector,
    /// Decides whether a token has expired, and dates the records.
    pub clock: Clock,
    /// Numbers notifications, and the turns that the bot begins itself.
    pub random: Random,
    /// The tags that people may join.
    pub topics: Topics,
}

impl Context<Aws> {
    /// The context of the deployed function.
    ///
    /// # Errors
    /// When a variable is missing or invalid; it names it.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, config::Error> {
        let transport = http_transport(environment).timeout(REPLY_TIMEOUT).build()?;
        let sdk = aws::Sdk::new(environment, &transport)?;
        let (clock, random) = (Clock::system(), Random::system());
        let schedules = sqs::Schedules::from_environment(environment, &sdk, &clock)?;
        let table = |name| environment.required(name);
        let queue = |name| sqs::Queue::from_environment(environment, name, &sdk, schedules.as_ref());
        Ok(Self {
            conversations: dynamodb::Conversations::new(&sdk, table(variable::CONVERSATIONS_TABLE)?),
            notifications: dynamodb::Notifications::new(&sdk, table(variable::NOTIFICATIONS_TABLE)?),
            registry: dynamodb::Registry::new(&sdk, table(variable::NOTIFICATIONS_TABLE)?),
            plans: queue(variable::PLANS_QUEUE_URL)?,
            events: queue(variable::EVENTS_QUEUE_URL)?,
            settings: Settings::from_environment(environment)?,
            authenticator: environment.authenticator(&transport, &random)?,
            connector: credential::connector(environment, &transport, &clock, &random)?,
            topics: Topics::from_environment(environment)?,
            clock,
            random,
        })
    }
}

/// The messaging endpoint: your bot, with every conversation recorded before its turn and every turn run once.
pub fn app<B: Backend>(context: Context<B>) -> App {
    let (clock, random) = (context.clock.clone(), context.random.clone());
    let runtime = Runtime::new(move || clock.now().into(), move || random.bytes());
    let app = App::new(context.authenticator, context.connector, runtime);
    let tags = Arc::new(StoredTags {
        store: context.conversations.clone(),
        clock: context.clock.clone(),
    });
    let preferences = Arc::new(StoredPreferences {
        conversations: context.conversations.clone(),
        registry: context.registry.clone(),
        clock: context.clock.clone(),
    });
    let engine = Arc::new(DeployedEngine::<B> {
        notifications: context.notifications,
        conversations: context.conversations.clone(),
        registry: context.registry,
        plans: context.plans,
        events: context.events,
        settings: context.settings,
        clock: context.clock.clone(),
        random: context.random.clone(),
    });
    let app = app.storage(StateStorage(context.conversations.clone()));
    bot::bot(app.layer(Inbound {
        store: context.conversations,
        clock: context.clock,
        random: context.random,
        topics: context.topics,
        tags,
        preferences,
        engine,
    }))
}
