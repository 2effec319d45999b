//! Starts and stops the whole system.

use std::{collections::BTreeMap, net::TcpListener};

use tokio::{
    net,
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    binaries,
    dynamodb::{self, Contents, Database},
    event::{Event, Events, Published},
    eventbridge::Buses,
    front,
    options::Options,
    runtime::{Failure, FunctionEnv, Functions},
    scheduler::{self, Scheduler},
    server::{self, Limits, guard::guarded},
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
    /// Servers run as long as it exists.
    _stop: watch::Sender<bool>,
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
        let (stop, stopping) = watch::channel(false);
        for (listener, router, limits) in [
            (
                sqs_listener,
                sqs::router(broker.clone(), &stack, &location),
                Limits::SERVICE,
            ),
            (eventbridge_listener, buses.router(), Limits::SMALL_SERVICE),
            (
                scheduler_listener,
                scheduler::router(scheduler.clone(), &stack, &location),
                Limits::SMALL_SERVICE,
            ),
            (runtime_listener, functions.runtime_api(), Limits::SERVICE),
        ] {
            tasks.spawn(server::serve(listener, guarded(router), limits, stopping.clone()));
        }
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
        tasks.spawn(server::serve(listener, front, Limits::API, stopping));
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
            _stop: stop,
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
