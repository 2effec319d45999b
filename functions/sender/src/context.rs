//! What the handler works with.

use std::time::Duration;

use botframework::connector::Connector;
use herald::aws;
use herald::backend::{Aws, Backend};
use herald::clock::{Clock, Random};
use herald::config::{self, Environment, http_transport, variable};
use herald::event::eventbridge;
use herald::graph_clients::GraphClients;
use herald::queue::sqs;
use herald::rate_limit::{ConversationRate, Limits};
use herald::store::dynamodb;

/// The time-out of one request to the channel.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// What the handler works with.
#[derive(Debug)]
pub struct Context<B: Backend> {
    /// Conversations.
    pub conversations: B::Conversations,
    /// Notifications, their messages and plans.
    pub notifications: B::Notifications,
    /// The preferences of tenants, and the categories.
    pub registry: B::Registry,
    /// Deliveries, batches and rate limits.
    pub ledger: B::Ledger,
    /// The queue of this function.
    pub deliveries: B::Queue,
    /// The event bus.
    pub events: B::Events,
    /// The client of the channel.
    pub connector: Connector,
    /// The Graph clients that install the bot's app, if the deployment names the app.
    pub graph_clients: Option<GraphClients>,
    /// The channel's limits.
    pub limits: Limits,
    /// The clock.
    pub clock: Clock,
    /// Randomness, for jitter.
    pub random: Random,
}

impl Context<Aws> {
    /// The context of the deployed function.
    ///
    /// # Errors
    /// When a variable is missing or invalid; the error names it.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, config::Error> {
        let (clock, random) = (Clock::system(), Random::system());
        let transport = http_transport(environment).timeout(SEND_TIMEOUT).build()?;
        let sdk = aws::Sdk::new(environment, &transport)?;
        let schedules = sqs::Schedules::from_environment(environment, &sdk, &clock)?;
        let table = |variable| environment.required(variable);
        Ok(Self {
            conversations: dynamodb::Conversations::new(&sdk, table(variable::CONVERSATIONS_TABLE)?),
            notifications: dynamodb::Notifications::new(&sdk, table(variable::NOTIFICATIONS_TABLE)?),
            registry: dynamodb::Registry::new(&sdk, table(variable::NOTIFICATIONS_TABLE)?),
            ledger: dynamodb::Ledger::new(&sdk, table(variable::DELIVERIES_TABLE)?),
            deliveries: sqs::Queue::from_environment(
                environment,
                variable::DELIVERIES_QUEUE_URL,
                &sdk,
                schedules.as_ref(),
            )?,
            events: eventbridge::Bus::from_environment(environment, &sdk),
            connector: herald::credential::connector(environment, &transport, &clock, &random)?,
            graph_clients: GraphClients::from_environment(environment, &transport, &clock, &random)?,
            limits: environment.limits()?,
            clock,
            random,
        })
    }
}

impl<B: Backend> Context<B> {
    /// Fetches what the first request would wait for. Runs beside the start, not before it.
    pub async fn prefetch(&self) {
        self.connector.prefetch().await;
    }

    pub(crate) fn random(&self) -> u32 {
        let [a, b, c, d, ..] = self.random.bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    pub(crate) fn conversation_rate(&self) -> ConversationRate {
        ConversationRate::within(&self.limits.conversation)
    }
}
