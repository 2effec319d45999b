//! Starts and stops the whole system.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use axum::Router;
use tokio::{net, sync::mpsc, task::JoinSet};

use crate::{
    binaries,
    channel::TEAMS_APP,
    dynamodb::{self, Database},
    event::{Event, Events, Published},
    eventbridge::Buses,
    front,
    issuer::Issuer,
    runtime::{Failure, FunctionEnv, Functions},
    scheduler::{self, Scheduler},
    sqs::{self, Broker, NoSuchQueue, Poller},
    template::{self, AwsLocation, Stack, Template},
};

/// The variable that disables authentication.
const UNAUTHENTICATED: &str = "HERALD_UNAUTHENTICATED";

/// The options of a host.
#[derive(Clone, Debug)]
pub struct Options {
    /// The path of the template.
    pub template: Template,
    /// The directory of the function binaries, which have the names of their packages.
    pub binaries: PathBuf,
    /// The directory of the tables; in memory if `None`. Queues and schedules are always in memory.
    pub data: Option<PathBuf>,
    /// The most processes of one function.
    pub concurrency: usize,
    /// Values of the template's parameters, by name.
    pub parameters: BTreeMap<String, String>,
    /// Variables of all functions, in addition to the template's.
    pub environment: BTreeMap<String, String>,
    /// The visibility time-out after a function failed a message. In AWS it is the queue's, which takes minutes. This is
    /// the only deliberate difference, for developers and tests.
    pub retry_visibility: Option<Duration>,
}

impl Options {
    /// The repository's own template, with functions that are built now; tables in memory, four processes for each
    /// function.
    ///
    /// # Errors
    /// When the template cannot be read, or the functions do not build.
    pub fn built() -> Result<Options, Error> {
        let template = Template::of_repository()?;
        let binaries = binaries::build(&template.function_names())?;
        Ok(Options::new(template, binaries))
    }

    /// This template with these binaries; tables in memory, four processes for each function. Functions run without
    /// authentication and trust only this machine.
    pub fn new(template: Template, binaries: PathBuf) -> Options {
        Options {
            template,
            binaries,
            data: None,
            concurrency: 4,
            // Any id will do: without authentication functions do not verify it.
            parameters: BTreeMap::from([(
                "MicrosoftAppId".into(),
                "00000000-0000-4000-8000-00000000b07a".into(),
            )]),
            environment: BTreeMap::from([(UNAUTHENTICATED.into(), "loopback-only".into())]),
            retry_visibility: None,
        }
    }

    /// Enables authentication: functions require tokens for the bot of this app id, accept those of `issuer`, and trust
    /// this machine in addition to the cloud. For real channels, remove `HERALD_OPENID_METADATA_URL` from
    /// [`Options::environment`].
    pub fn authenticate(&mut self, app_id: &str, issuer: &Issuer) {
        self.parameters.insert("MicrosoftAppId".into(), app_id.into());
        self.environment.remove(UNAUTHENTICATED);
        self.environment.extend([
            ("HERALD_LOOPBACK_SERVICE_URLS".into(), "trusted".into()),
            ("HERALD_OPENID_METADATA_URL".into(), issuer.metadata_url()),
        ]);
    }

    /// Lets functions install the bot through this Graph, which requires no token.
    pub fn install_through(&mut self, graph_url: &str) {
        self.parameters.insert("TeamsAppId".into(), TEAMS_APP.into());
        self.environment
            .insert("HERALD_GRAPH_URL".into(), graph_url.into());
    }

    /// Whether functions require tokens.
    pub fn authenticates(&self) -> bool {
        !self.environment.contains_key(UNAUTHENTICATED)
    }
}

/// Why the host cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The template cannot be used.
    #[error(transparent)]
    Template(#[from] template::Error),
    /// The functions do not build.
    #[error(transparent)]
    Binaries(#[from] binaries::Error),
    /// The database cannot start.
    #[error(transparent)]
    Database(#[from] dynamodb::Error),
    /// No port is free.
    #[error("cannot listen on loopback")]
    Listen(#[from] std::io::Error),
    /// A function cannot start.
    #[error("{function} cannot start")]
    Function {
        /// The function's name.
        function: String,
        /// The failure.
        source: Failure,
    },
}

/// A running host. [`Host::stop`] stops it; dropping it kills its processes.
pub struct Host {
    url: String,
    sqs_endpoint: String,
    eventbridge_endpoint: String,
    scheduler_endpoint: String,
    stack: Stack,
    database: Database,
    broker: Broker,
    buses: Buses,
    scheduler: Scheduler,
    functions: Functions,
    events: Events,
    /// Servers and pollers; dropping them stops them.
    tasks: JoinSet<()>,
}

impl Host {
    /// Starts everything behind `listener` (see [`front::listen`]). Returns when every function has asked for its first
    /// invocation.
    ///
    /// # Errors
    /// When the host does not support the template, or a function cannot start.
    pub async fn start(listener: TcpListener, options: &Options) -> Result<Host, Error> {
        let events = Events::default();
        Host::start_with_events(listener, options, events).await
    }

    /// Like [`Host::start`], with a publisher for the events of the start.
    ///
    /// # Errors
    /// As [`Host::start`].
    pub async fn start_with_events(
        listener: TcpListener,
        options: &Options,
        events: Events,
    ) -> Result<Host, Error> {
        listener.set_nonblocking(true)?;
        let listener = net::TcpListener::from_std(listener)?;
        let url = format!("http://{}", listener.local_addr()?);
        let (sqs_listener, sqs_endpoint) = loopback().await?;
        let (eventbridge_listener, eventbridge_endpoint) = loopback().await?;
        let (scheduler_listener, scheduler_endpoint) = loopback().await?;
        let (runtime_listener, runtime_api) = loopback().await?;
        let location = AwsLocation {
            region: "us-east-1".into(),
            account: "000000000000".into(),
            stack: "herald".into(),
            sqs_endpoint: sqs_endpoint.clone(),
            parameters: options.parameters.clone(),
        };
        let stack = options.template.deploy(&location)?;
        let database = Database::start(options.data.as_deref(), &stack.tables).await?;
        let broker = Broker::new(&stack, events.clone());
        let buses = Buses::new(&stack, events.clone());
        let scheduler = Scheduler::new(broker.clone());

        let mut environment = BTreeMap::from([
            ("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), database.endpoint()),
            ("AWS_ENDPOINT_URL_SQS".to_owned(), sqs_endpoint.clone()),
            (
                "AWS_ENDPOINT_URL_EVENTBRIDGE".to_owned(),
                eventbridge_endpoint.clone(),
            ),
            (
                "AWS_ENDPOINT_URL_SCHEDULER".to_owned(),
                scheduler_endpoint.clone(),
            ),
        ]);
        environment.extend(options.environment.clone());
        let env = FunctionEnv {
            binaries: &options.binaries,
            concurrency: options.concurrency,
            environment: &environment,
            runtime_api: &runtime_api,
            location: &location,
        };
        let functions = Functions::new(&stack.functions, &env, events.clone());

        let mut tasks = JoinSet::new();
        serve(
            &mut tasks,
            sqs_listener,
            sqs::router(broker.clone(), &stack, &location),
        );
        serve(&mut tasks, eventbridge_listener, buses.router());
        serve(
            &mut tasks,
            scheduler_listener,
            scheduler::router(scheduler.clone(), &stack, &location),
        );
        serve(&mut tasks, runtime_listener, functions.runtime_api());
        tasks.spawn(database.sweeping());
        tasks.spawn(scheduler.clone().run());
        functions
            .warm()
            .await
            .map_err(|(function, source)| Error::Function { function, source })?;
        for mapping in &stack.mappings {
            let poller = Poller {
                mapping: mapping.clone(),
                arn: location.arn("sqs", &mapping.queue),
                location: location.clone(),
                broker: broker.clone(),
                functions: functions.clone(),
                events: events.clone(),
                retry_visibility: options.retry_visibility,
            };
            // The template was rejected if a mapping's queue does not exist.
            tasks.spawn(async move { drop(poller.run().await) });
        }
        let front = front::router(
            &stack.routes,
            functions.clone(),
            events.clone(),
            &location.account,
        );
        serve(&mut tasks, listener, front);
        Ok(Host {
            url,
            sqs_endpoint,
            eventbridge_endpoint,
            scheduler_endpoint,
            stack,
            database,
            broker,
            buses,
            scheduler,
            functions,
            events,
            tasks,
        })
    }

    /// The URL of the HTTP front, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of DynamoDB, without a trailing slash.
    pub fn dynamodb_endpoint(&self) -> String {
        self.database.endpoint()
    }

    /// The URL of SQS, without a trailing slash.
    pub fn sqs_endpoint(&self) -> &str {
        &self.sqs_endpoint
    }

    /// The URL of EventBridge, without a trailing slash.
    pub fn eventbridge_endpoint(&self) -> &str {
        &self.eventbridge_endpoint
    }

    /// The URL of Scheduler, without a trailing slash.
    pub fn scheduler_endpoint(&self) -> &str {
        &self.scheduler_endpoint
    }

    /// The resources that run.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The queues of the stack.
    pub fn queues(&self) -> &Broker {
        &self.broker
    }

    /// The last 1,000 events on the event buses, oldest first.
    pub fn published(&self) -> Vec<Published> {
        self.buses.published()
    }

    /// The number of pending schedules.
    pub fn schedules_waiting(&self) -> usize {
        self.scheduler.waiting()
    }

    /// Runs all pending schedules now, and returns their number.
    pub fn bring_schedules_forward(&self) -> usize {
        self.scheduler.bring_forward()
    }

    /// The functions, for direct invocation.
    pub fn functions(&self) -> &Functions {
        &self.functions
    }

    /// Subscribes to all further events.
    pub fn events(&self) -> mpsc::UnboundedReceiver<Event> {
        self.events.subscribe()
    }

    /// Waits until all queues that feed functions are empty. Pending schedules do not count.
    pub async fn drained(&self) {
        self.broker.drained().await;
    }

    /// Stops DynamoDB: its port refuses connections until [`Host::bring_dynamodb_back`].
    pub async fn take_dynamodb_away(&self) {
        self.database.take_away().await;
    }

    /// Restarts DynamoDB on the same port with the same data.
    ///
    /// # Errors
    /// When another program has taken the port.
    pub async fn bring_dynamodb_back(&self) -> Result<(), dynamodb::Error> {
        self.database.bring_back().await
    }

    /// Kills all processes of a function at any point of their work, and returns their number. The next invocation starts
    /// another.
    ///
    /// # Errors
    /// When there is no such function.
    pub async fn kill(&self, function: &str) -> Result<usize, Failure> {
        self.functions.kill(function, "it was killed on request").await
    }

    /// Delivers the next `count` messages of a queue twice. See [`Broker::duplicate_next`].
    ///
    /// # Errors
    /// When there is no such queue.
    pub fn duplicate_next(&self, queue: &str, count: usize) -> Result<(), NoSuchQueue> {
        self.broker.duplicate_next(queue, count)
    }

    /// Delivers a queue's deleted messages once more. See [`Broker::redeliver`].
    ///
    /// # Errors
    /// When there is no such queue.
    pub fn redeliver(&self, queue: &str) -> Result<usize, NoSuchQueue> {
        self.broker.redeliver(queue)
    }

    /// Stops everything. Returns when all processes of functions have ended.
    pub async fn stop(mut self) {
        self.tasks.abort_all();
        self.functions.stop().await;
        self.database.take_away().await;
    }
}

async fn loopback() -> std::io::Result<(net::TcpListener, String)> {
    let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    Ok((listener, endpoint))
}

fn serve(tasks: &mut JoinSet<()>, listener: net::TcpListener, router: Router) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    // The server fails only if it cannot listen, and then its clients fail at once.
    tasks.spawn(async move { drop(axum::serve(listener, service).await) });
}
