//! Starts and stops the whole system.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
};

use tokio::{
    net,
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    binaries,
    data::{self, DataDir},
    dynamodb::{self, Contents, Database},
    event::{Event, Events, Published},
    eventbridge::Buses,
    front,
    iam::{Call, Permissions},
    options::Options,
    runtime::{Failure, FunctionEnv, Functions},
    scheduler::{self, Scheduler},
    server::{self, Limits, guard::guarded},
    sns,
    sqs::{self, Broker, NoSuchQueue, Poller},
    template::{self, AwsLocation, Stack},
};

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
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// No port is free, or a file of the data directory cannot be read.
    #[error("cannot listen on loopback, or read the data")]
    Io(#[from] std::io::Error),
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
    sns_endpoint: String,
    scheduler_endpoint: String,
    stack: Stack,
    permissions: Permissions,
    database: Database,
    broker: Broker,
    buses: Buses,
    scheduler: Scheduler,
    functions: Functions,
    events: Events,
    /// Servers and pollers; dropping them stops them.
    tasks: JoinSet<()>,
    /// Servers run as long as it exists.
    _stop: watch::Sender<bool>,
    /// Locked until all of the host has ended.
    _data: Option<DataDir>,
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
        let (topics_listener, topics_endpoint) = loopback().await?;
        let (scheduler_listener, scheduler_endpoint) = loopback().await?;
        let (runtime_listener, runtime_api) = loopback().await?;
        let location = location(options, &sqs_endpoint);
        let stack = options.template.deploy(&location)?;
        let permissions = Permissions::new(&stack.functions, &stack.tables, &location);
        let database = Database::start(options.data.as_ref(), &stack.tables, &permissions).await?;
        let (broker, scheduler) = open_queues(options, &stack, &events)?;
        let buses = Buses::new(&stack, broker.clone(), &location, events.clone());
        let mut environment = variables_of([
            ("AWS_ENDPOINT_URL_DYNAMODB", &database.endpoint()),
            ("AWS_ENDPOINT_URL_SQS", &sqs_endpoint),
            ("AWS_ENDPOINT_URL_EVENTBRIDGE", &eventbridge_endpoint),
            ("AWS_ENDPOINT_URL_SNS", &topics_endpoint),
            ("AWS_ENDPOINT_URL_SCHEDULER", &scheduler_endpoint),
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
        let (stop, stopping) = watch::channel(false);
        for (listener, router, limits) in [
            (
                sqs_listener,
                permissions.enforced(sqs::router(broker.clone(), &stack, &location)),
                Limits::service(),
            ),
            (
                eventbridge_listener,
                permissions.enforced(buses.router()),
                Limits::small_service(),
            ),
            (
                topics_listener,
                sns::router(broker.clone(), &stack),
                Limits::small_service(),
            ),
            (
                scheduler_listener,
                permissions.enforced(scheduler::router(scheduler.clone(), &stack, &location)),
                Limits::small_service(),
            ),
            (runtime_listener, functions.runtime_api(), Limits::service()),
        ] {
            tasks.spawn(server::serve(listener, guarded(router), limits, stopping.clone()));
        }
        tasks.spawn(database.sweeping());
        tasks.spawn(scheduler.clone().run());
        tasks.spawn(buses.clone().run());
        functions
            .warm()
            .await
            .map_err(|(function, source)| Error::Function { function, source })?;
        for mapping in &stack.mappings {
            let poller = poller(mapping, options, &location, &broker, &functions, &events);
            // The template was rejected if a mapping's queue does not exist.
            tasks.spawn(async move { drop(poller.run().await) });
        }
        let front = front::router(
            &stack.routes,
            functions.clone(),
            events.clone(),
            &location.account,
        );
        tasks.spawn(server::serve(listener, front, Limits::api(), stopping));
        Ok(Host {
            url,
            sqs_endpoint,
            eventbridge_endpoint,
            sns_endpoint: topics_endpoint,
            scheduler_endpoint,
            stack,
            permissions,
            database,
            broker,
            buses,
            scheduler,
            functions,
            events,
            tasks,
            _stop: stop,
            _data: options.data.clone(),
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

    /// What the tables held when this host opened them.
    pub fn opened(&self) -> Contents {
        self.database.opened()
    }

    /// The URL of SQS, without a trailing slash.
    pub fn sqs_endpoint(&self) -> &str {
        &self.sqs_endpoint
    }

    /// The URL of EventBridge, without a trailing slash.
    pub fn eventbridge_endpoint(&self) -> &str {
        &self.eventbridge_endpoint
    }

    /// The URL of SNS, without a trailing slash.
    pub fn sns_endpoint(&self) -> &str {
        &self.sns_endpoint
    }

    /// The URL of Scheduler, without a trailing slash.
    pub fn scheduler_endpoint(&self) -> &str {
        &self.scheduler_endpoint
    }

    /// The resources that run.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The actions that functions with a role carried out so far.
    pub fn calls(&self) -> BTreeSet<Call> {
        self.permissions.calls()
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

fn poller(
    mapping: &template::Mapping,
    options: &Options,
    location: &AwsLocation,
    broker: &Broker,
    functions: &Functions,
    events: &Events,
) -> Poller {
    Poller {
        mapping: mapping.clone(),
        arn: location.arn("sqs", &mapping.queue),
        location: location.clone(),
        broker: broker.clone(),
        functions: functions.clone(),
        events: events.clone(),
        retry_visibility: options.retry_visibility,
    }
}

fn variables_of(endpoints: [(&str, &String); 5]) -> BTreeMap<String, String> {
    let owned = endpoints.map(|(name, url)| (name.to_owned(), url.clone()));
    BTreeMap::from(owned)
}

/// The account and region that the host runs as.
fn location(options: &Options, sqs_endpoint: &str) -> AwsLocation {
    AwsLocation {
        region: "us-east-1".into(),
        account: "000000000000".into(),
        stack: "herald".into(),
        sqs_endpoint: sqs_endpoint.to_owned(),
        parameters: options.parameters.clone(),
    }
}

/// The queues and schedules, with what the data directory keeps of them.
fn open_queues(options: &Options, stack: &Stack, events: &Events) -> Result<(Broker, Scheduler), Error> {
    let Some(data) = &options.data else {
        let broker = Broker::new(stack, events.clone());
        return Ok((broker.clone(), Scheduler::new(broker, events.clone())));
    };
    let broker = Broker::open(stack, events.clone(), &data.private("queues.jsonl")?)?;
    let scheduler = Scheduler::new(broker.clone(), events.clone());
    scheduler.keep_in(&data.private("schedules.jsonl")?)?;
    Ok((broker, scheduler))
}

async fn loopback() -> std::io::Result<(net::TcpListener, String)> {
    let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    Ok((listener, endpoint))
}
