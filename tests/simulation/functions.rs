//! The functions behind the queues, as deployed, over the tables, the queues and the channel of a run.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use botframework::cloud::Cloud;
use botframework::connector::Connector;
use botframework::service_url::{Loopback, OtherChannels, TrustRule};
use herald::acceptance::Settings;
use herald::backend::Backend;
use herald::caller::Operators;
use herald::notification::SendMode;
use herald::rate_limit::Limits;
use jiff::Timestamp;
use planner::ConfiguredBot;

use super::graph::{MANIFEST, graph_clients};
use super::lambda::{Environment, Function};
use super::people::BOT;
use super::queues::{Lane, Which};
use super::run::Run;
use super::store::Tables;
use super::tokens::credential;
use super::wire::Wire;

/// A queue as an environment reaches it.
pub(super) fn lane(environment: &Arc<Environment>, which: Which) -> Lane {
    Lane {
        environment: Arc::clone(environment),
        which,
    }
}

fn connector(environment: &Arc<Environment>) -> Connector {
    let trust = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Trusted);
    Connector::new(Wire(Arc::clone(environment)), trust, credential(environment))
}

/// The backend of the simulation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Simulated;

impl Backend for Simulated {
    type Conversations = Tables;
    type Notifications = Tables;
    type Ledger = Tables;
    type Registry = Tables;
    type Queue = Lane;
    type DeadLetters = Lane;
    type Events = Tables;
}

/// The planner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planner;

impl Function for Planner {
    type Context = planner::Context<Simulated>;

    const NAME: &'static str = "planner";
    const QUEUE: Which = Which::Plans;
    const BATCH: u64 = 1;
    const LIMIT: Duration = Duration::from_mins(1);

    fn context(&self, environment: &Arc<Environment>) -> Self::Context {
        let tables = Tables(Arc::clone(environment));
        planner::Context {
            conversations: tables.clone(),
            notifications: tables.clone(),
            registry: tables.clone(),
            ledger: tables.clone(),
            plans: lane(environment, Which::Plans),
            deliveries: lane(environment, Which::Deliveries),
            events: tables,
            connector: connector(environment),
            graph_clients: Some(graph_clients(environment)),
            limits: Limits::teams(),
            roster_ttl: environment.run.roster_ttl,
            bot: Some(ConfiguredBot {
                account: BOT.into(),
                tenant: environment.run.tenant.clone(),
            }),
            clock: environment.clock(),
        }
    }

    async fn handle(context: &Self::Context, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
        planner::handle(context, event, deadline).await
    }
}

/// The sender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender;

impl Function for Sender {
    type Context = sender::Context<Simulated>;

    const NAME: &'static str = "sender";
    const QUEUE: Which = Which::Deliveries;
    const BATCH: u64 = 10;
    const LIMIT: Duration = Duration::from_secs(90);

    fn context(&self, environment: &Arc<Environment>) -> Self::Context {
        let tables = Tables(Arc::clone(environment));
        sender::Context {
            conversations: tables.clone(),
            notifications: tables.clone(),
            registry: tables.clone(),
            ledger: tables.clone(),
            deliveries: lane(environment, Which::Deliveries),
            events: tables,
            connector: connector(environment),
            graph_clients: Some(graph_clients(environment)),
            limits: Limits::teams(),
            clock: environment.clock(),
            random: environment.random(),
        }
    }

    async fn handle(context: &Self::Context, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
        sender::handle(context, event, deadline).await
    }
}

/// The function that takes events of upstream systems.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventsIn;

impl Function for EventsIn {
    type Context = events::Context<Simulated>;

    const NAME: &'static str = "events";
    const QUEUE: Which = Which::Events;
    const BATCH: u64 = 10;
    const LIMIT: Duration = Duration::from_secs(30);

    fn context(&self, environment: &Arc<Environment>) -> Self::Context {
        let tables = Tables(Arc::clone(environment));
        events::Context {
            notifications: tables.clone(),
            conversations: tables.clone(),
            registry: tables,
            plans: lane(environment, Which::Plans),
            events_queue: lane(environment, Which::Events),
            worker: events::Worker::new(messages::bot::work),
            settings: settings(&environment.run),
            clock: environment.clock(),
            random: environment.random(),
        }
    }

    async fn handle(context: &Self::Context, event: SqsEvent, _: Timestamp) -> SqsBatchResponse {
        events::handle(context, event).await
    }
}

/// What the deployment allows.
pub(super) fn settings(run: &Run) -> Settings {
    Settings {
        way_out: herald::notification::way_out::WayOutForm::None,
        confirm_above: run.confirm_above,
        teams_app_id: Some(MANIFEST.to_owned()),
        send_mode: SendMode::default(),
        operators: Operators::named(["*".to_owned()]),
    }
}
