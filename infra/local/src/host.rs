//! The whole system, started and stopped.

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

/// The variable that turns authentication off.
const UNAUTHENTICATED: &str = "HERALD_UNAUTHENTICATED";

/// The settings of a host.
#[derive(Clone, Debug)]
pub struct Options {
    /// The template.
    pub template: Template,
    /// Where the function binaries lie, under the names of their packages.
    pub binaries: PathBuf,
    /// Where the tables are kept; in memory unless set. Queues and schedules are always in memory.
    pub data: Option<PathBuf>,
    /// How many processes a function may have at once.
    pub concurrency: usize,
    /// Values of the template's parameters.
    pub parameters: BTreeMap<String, String>,
    /// Variables that every function gets beside the template's.
    pub environment: BTreeMap<String, String>,
    /// After how long a message that a function failed is visible again. AWS takes the queue's visibility time-out, minutes;
    /// this is the one deliberate difference, for those who wait.
    pub retry_visibility: Option<Duration>,
}

impl Options {
    /// The repository's own template and its functions, built now; tables in memory, four processes a function.
    ///
    /// # Errors
    /// When the template cannot be read, or the functions do not build.
    pub fn built() -> Result<Options, Error> {
        let template = Template::of_repository()?;
        let binaries = binaries::build(&template.function_names())?;
        Ok(Options::new(template, binaries))
    }

    /// This template with these binaries; tables in memory, four processes a function. Functions authenticate
    /// nobody, and trust only this machine.
    pub fn new(template: Template, binaries: PathBuf) -> Options {
        Options {
            template,
            binaries,
            data: None,
            concurrency: 4,
            // Nothing here asks whether it is true.
            parameters: BTreeMap::from([(
                "MicrosoftAppId".into(),
                "00000000-0000-4000-8000-00000000b07a".into(),
            )]),
            environment: BTreeMap::from([(UNAUTHENTICATED.into(), "loopback-only".into())]),
            retry_visibility: None,
        }
    }

    /// Has the functions ask for tokens for the bot of this app id, take those of `issuer` for a channel's, and trust this
    /// machine beside the cloud. To have real channels talk to the bot, take `HERALD_OPENID_METADATA_URL` out of
    /// [`Options::environment`] again.
    pub fn authenticate(&mut self, app_id: &str, issuer: &Issuer) {
        self.parameters.insert("MicrosoftAppId".into(), app_id.into());
        self.environment.remove(UNAUTHENTICATED);
        self.environment.extend([
            ("HERALD_LOOPBACK_SERVICE_URLS".into(), "trusted".into()),
            ("HERALD_OPENID_METADATA_URL".into(), issuer.metadata_url()),
        ]);
    }

    /// Has the functions install the bot for people through this Graph, which asks for no token.
    pub fn install_through(&mut self, graph_url: &str) {
        self.parameters.insert("TeamsAppId".into(), TEAMS_APP.into());
        self.environment
            .insert("HERALD_GRAPH_URL".into(), graph_url.into());
    }

    /// Whether the functions ask for tokens.
    pub fn authenticates(&self) -> bool {
        !self.environment.contains_key(UNAUTHENTICATED)
    }
}

/// Why the host does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The template cannot be run.
    #[error(transparent)]
    Template(#[from] template::Error),
    /// The functions do not build.
    #[error(transparent)]
    Binaries(#[from] binaries::Error),
    /// The database cannot be run.
    #[error(transparent)]
    Database(#[from] dynamodb::Error),
    /// No port is free.
    #[error("cannot listen on loopback")]
    Listen(#[from] std::io::Error),
    /// A function does not start.
    #[error("{function} does not run")]
    Function {
        /// The function.
        function: String,
        /// The failure.
        source: Failure,
    },
}

/// A running host. [`Host::stop`] ends it; dropping it kills whatever still runs.
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
    /// Servers and pollers; dropping them ends them.
    tasks: JoinSet<()>,
}

impl Host {
    /// Starts everything behind `listener` (see [`front::listen`]) and returns when every function has asked for its first
    /// invocation.
    ///
    /// # Errors
    /// When the template asks for something this host does not do, or a function does not start.
    pub async fn start(listener: TcpListener, options: &Options) -> Result<Host, Error> {
        let events = Events::default();
        Host::start_with_events(listener, options, events).await
    }

    /// Starts like [`Host::start`], and sends what happens meanwhile to `events`, too.
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
            // A mapping of a queue that does not exist is refused with the template.
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

    /// Where the HTTP front listens, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where DynamoDB listens, without a trailing slash.
    pub fn dynamodb_endpoint(&self) -> String {
        self.database.endpoint()
    }

    /// Where SQS listens, without a trailing slash.
    pub fn sqs_endpoint(&self) -> &str {
        &self.sqs_endpoint
    }

    /// Where EventBridge listens, without a trailing slash.
    pub fn eventbridge_endpoint(&self) -> &str {
        &self.eventbridge_endpoint
    }

    /// Where Scheduler listens, without a trailing slash.
    pub fn scheduler_endpoint(&self) -> &str {
        &self.scheduler_endpoint
    }

    /// The deployed stack.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The queues.
    pub fn queues(&self) -> &Broker {
        &self.broker
    }

    /// The last 1,000 events on the event buses, oldest first.
    pub fn published(&self) -> Vec<Published> {
        self.buses.published()
    }

    /// How many schedules wait for their time.
    pub fn schedules_waiting(&self) -> usize {
        self.scheduler.waiting()
    }

    /// Runs all waiting schedules now, and returns how many those were.
    pub fn bring_schedules_forward(&self) -> usize {
        self.scheduler.bring_forward()
    }

    /// The functions, to invoke by hand.
    pub fn functions(&self) -> &Functions {
        &self.functions
    }

    /// Everything that happens from now on.
    pub fn events(&self) -> mpsc::UnboundedReceiver<Event> {
        self.events.subscribe()
    }

    /// Waits until no queue that feeds a function holds a message. Schedules are not waited for.
    pub async fn drained(&self) {
        self.broker.drained().await;
    }

    /// Takes DynamoDB away: its port refuses connections until [`Host::bring_dynamodb_back`].
    pub async fn take_dynamodb_away(&self) {
        self.database.take_away().await;
    }

    /// Brings DynamoDB back on the same port with the same data.
    ///
    /// # Errors
    /// When another program took the port in the meantime.
    pub async fn bring_dynamodb_back(&self) -> Result<(), dynamodb::Error> {
        self.database.bring_back().await
    }

    /// Kills all processes of a function, in the middle of whatever they do, and returns how many those were. The next
    /// invocation starts another.
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

    /// Ends everything, and returns when no process of a function is left.
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
    // It fails only where listening does, and then its clients see it at once.
    tasks.spawn(async move { drop(axum::serve(listener, service).await) });
}
