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
use herald::clock::{Clock, Random};
use herald::config::{self, Environment, http_transport, variable};
use herald::store::{Conversations, dynamodb};
use herald::{aws, credential};

use inbound::Inbound;
use tags::StoredTags;

pub mod bot;
mod inbound;
mod tags;
mod topics;
mod turns;

pub use tags::{TagResult, Tags};
pub use topics::Topics;
pub use turns::Welcome;

/// How long one request of the bot may take. The function ends after 15 seconds, and the channel waits no longer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// The dependencies of [`app`].
#[derive(Debug)]
pub struct Context<C> {
    /// The table of conversations, which each activity is recorded in.
    pub store: C,
    /// Authenticates senders and checks their service URLs.
    pub authenticator: Authenticator,
    /// Sends the bot's replies.
    pub connector: Connector,
    /// Decides whether a token has expired, and dates the records.
    pub clock: Clock,
    /// Numbers the turns that the bot begins itself.
    pub random: Random,
    /// The tags that people may join.
    pub topics: Topics,
}

impl Context<dynamodb::Conversations> {
    /// The context of the deployed function.
    ///
    /// # Errors
    /// When a variable is missing or invalid; it names it.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, config::Error> {
        let transport = http_transport(environment).timeout(REPLY_TIMEOUT).build()?;
        let sdk = aws::Sdk::new(environment, &transport)?;
        let (clock, random) = (Clock::system(), Random::system());
        Ok(Self {
            store: dynamodb::Conversations::new(&sdk, environment.required(variable::CONVERSATIONS_TABLE)?),
            authenticator: environment.authenticator(&transport, &random)?,
            connector: credential::connector(environment, &transport, &clock, &random)?,
            topics: Topics::from_environment(environment)?,
            clock,
            random,
        })
    }
}

/// The messaging endpoint: your bot, with every conversation recorded before its turn and every turn run once.
pub fn app<C: Conversations>(context: Context<C>) -> App {
    let (clock, random) = (context.clock.clone(), context.random);
    let runtime = Runtime::new(move || clock.now().into(), move || random.bytes());
    let app = App::new(context.authenticator, context.connector, runtime);
    let tags = Arc::new(StoredTags {
        store: context.store.clone(),
        clock: context.clock.clone(),
    });
    bot::bot(app.layer(Inbound {
        store: context.store,
        clock: context.clock,
        topics: context.topics,
        tags,
    }))
}
