//! The functions over in-memory tables and queues, with a channel in the same process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::Duration;

use botframework::auth::Authenticator;
use botframework::cloud::Cloud;
use botframework::connector::Connector;
use botframework::credential::{Runtime, SecretString};
use botframework::graph::{self, Tenant};
use botframework::service_url::{Loopback, OtherChannels, TrustRule};
use herald::acceptance::Settings;
use herald::backend::Memory;
use herald::caller::Operators;
use herald::clock::{Clock, Random};
use herald::config::CONFIRM_ABOVE;
use herald::delivery::{DeliveryKey, Row};
use herald::graph_clients::GraphClients;
use herald::id::NotificationId;
use herald::notification::way_out::WayOutForm;
use herald::notification::{Notification, SendMode, State};
use herald::queue::batch::Receipt;
use herald::queue::memory::Queue;
use herald::rate_limit::Limits;
use herald::store::memory::Store;
use herald::store::{Ledger, Notifications};
use jiff::{SignedDuration, Timestamp};
use lambda_http::Body;
use lambda_http::http::{Request, Response};
use sender::Invocation;
use serde_json::{Value, json};
use tests::backend::Assembled;
use tests::channel::Channel;
use tests::credential::{given, refused};
use tests::gateway;
use tests::graph::{Graph, MANIFEST};

pub(crate) const SERVICE_URL: &str = "http://127.0.0.1:3979/";

/// All parts of the system, with a clock that tests move. It also follows tokio's clock, so a test whose handlers sleep
/// pauses that.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) channel: Channel,
    pub(crate) plans: Queue,
    pub(crate) deliveries: Queue,
    /// The bot's jobs, on the events queue.
    pub(crate) jobs: Queue,
    /// The events queue, as far as Herald itself sends to it.
    pub(crate) events_queue: Queue,
    pub(crate) events: herald::event::memory::Events,
    /// The largest audience that starts without a confirmation.
    pub(crate) confirm_above: u64,
    /// The Graph clients of tenants in which the bot can be installed for people.
    pub(crate) graph_clients: Option<GraphClients>,
    /// The rate limits.
    pub(crate) limits: Limits,
    /// The default send mode of notifications.
    pub(crate) send_mode: SendMode,
    /// The way out of notifications to many.
    pub(crate) way_out: WayOutForm,
    /// The callers that may change the notifications of others.
    pub(crate) operators: Vec<String>,
    /// The TTL of cached rosters; zero unless a test sets it.
    pub(crate) roster_ttl: SignedDuration,
    /// Where people sign in to the console.
    pub(crate) console: notify::ConsoleSignIn,
    seconds: Arc<AtomicI64>,
    clock: Clock,
    random: Random,
    connector: Connector,
}

impl World {
    /// A world in which these people have installed the bot.
    pub(crate) async fn of(people: &[&str]) -> Self {
        let world = Self::new();
        for person in people {
            world.hears(&personal(person, "installationUpdate")).await;
        }
        world
    }

    /// A world whose channel is on this machine.
    pub(crate) fn new() -> Self {
        let channel = Channel::new();
        Self::with(channel.clone(), Connector::unauthenticated(channel))
    }

    /// A world that trusts only the Teams of one cloud.
    pub(crate) fn of_cloud(cloud: Cloud) -> Self {
        let (channel, trust) = (
            Channel::new(),
            TrustRule::new(cloud, OtherChannels::Refused, Loopback::Refused),
        );
        Self::with(channel.clone(), Connector::new(channel, trust, given(cloud)))
    }

    /// A world in one cloud whose token endpoint refuses the bot's secret, with this code of Entra's.
    pub(crate) fn without_token(cloud: Cloud, code: u64) -> Self {
        let channel = Channel::new();
        let trust = TrustRule::new(cloud, OtherChannels::Refused, Loopback::Refused);
        let connector = Connector::new(channel.clone(), trust, refused(cloud, code));
        Self::with(channel, connector)
    }

    fn with(channel: Channel, connector: Connector) -> Self {
        let seconds = Arc::new(AtomicI64::new(1_800_000_000));
        let (told, began) = (Arc::clone(&seconds), tokio::time::Instant::now());
        let drawn = AtomicU8::new(0);
        let clock = Clock::from_fn(move || {
            let told = Timestamp::from_second(told.load(Ordering::Relaxed)).unwrap();
            told.checked_add(began.elapsed()).unwrap()
        });
        Self {
            store: Store::with_clock(clock.clone()),
            channel,
            plans: Queue::new(),
            deliveries: Queue::new(),
            jobs: Queue::new(),
            events_queue: Queue::new(),
            events: herald::event::memory::Events::default(),
            confirm_above: CONFIRM_ABOVE,
            graph_clients: None,
            limits: Limits::teams(),
            send_mode: SendMode::default(),
            way_out: WayOutForm::None,
            operators: Vec::new(),
            roster_ttl: SignedDuration::ZERO,
            console: notify::ConsoleSignIn::default(),
            seconds,
            clock,
            random: Random::from_fn(move || [drawn.fetch_add(1, Ordering::Relaxed); 16]),
            connector,
        }
    }

    /// Gives the tenants a Graph, through which the bot can be installed for people.
    pub(crate) fn opens_graph(&mut self) -> Graph {
        let (graph, clock) = (Graph::at(self.clock.clone()), self.clock.clone());
        let transport = graph.clone();
        self.graph_clients = Some(GraphClients::of(MANIFEST, move |tenant| {
            let tenant = Tenant::new(Cloud::Public, tenant, "invented-bot")?;
            let clock = clock.clone();
            let runtime = Runtime::new(move || clock.now().into(), || [0; 16]);
            let secret = SecretString::from("invented".to_owned());
            Ok(graph::Graph::new(transport.clone(), tenant, secret, runtime))
        }));
        graph
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    fn connector(&self) -> Connector {
        self.connector.clone()
    }

    pub(crate) async fn messages(&self, request: Request<Body>) -> Response<Body> {
        self.messages_over(self.store.clone(), request).await
    }

    pub(crate) async fn messages_over<S: herald::store::Conversations + std::fmt::Debug>(
        &self,
        store: S,
        request: Request<Body>,
    ) -> Response<Body> {
        let context = messages::Context::<Assembled<S, Store, Store, Queue, herald::event::memory::Events>> {
            topics: messages::Topics::new(["builds", "release notes"]),
            conversations: store,
            registry: self.store.clone(),
            notifications: self.store.clone(),
            plans: self.plans.clone(),
            events: self.jobs.clone(),
            settings: self.settings(),
            authenticator: Authenticator::unauthenticated(Cloud::Public),
            connector: self.connector(),
            clock: self.clock.clone(),
            random: self.random.clone(),
        };
        gateway::post(&messages::app(context), request).await
    }

    /// Posts an activity as the channel does; it must be answered 200.
    pub(crate) async fn hears(&self, activity: &Value) {
        let answer = self.messages(post("/api/messages", &activity.to_string())).await;
        assert_eq!(answer.status(), 200, "{activity}");
    }

    pub(crate) async fn notify(&self, request: Request<Body>) -> Response<Body> {
        let queues = [self.plans.clone(), self.events_queue.clone()];
        self.notify_with(queues, self.store.clone(), request).await
    }

    pub(crate) async fn notify_over<Q: herald::queue::Queue + std::fmt::Debug>(
        &self,
        plans: Q,
        request: Request<Body>,
    ) -> Response<Body> {
        self.notify_by(plans, self.store.clone(), request).await
    }

    /// Each queue is this one.
    pub(crate) async fn notify_by<Q, C>(
        &self,
        queue: Q,
        conversations: C,
        request: Request<Body>,
    ) -> Response<Body>
    where
        Q: herald::queue::Queue + std::fmt::Debug,
        C: herald::store::Conversations + std::fmt::Debug,
    {
        self.notify_with([queue.clone(), queue], conversations, request)
            .await
    }

    async fn notify_with<Q, C>(
        &self,
        [plans, events_queue]: [Q; 2],
        conversations: C,
        request: Request<Body>,
    ) -> Response<Body>
    where
        Q: herald::queue::Queue + std::fmt::Debug,
        C: herald::store::Conversations + std::fmt::Debug,
    {
        let context = notify::Context::<Assembled<C, Store, Store, Q, herald::event::memory::Events>> {
            notifications: self.store.clone(),
            conversations,
            ledger: self.store.clone(),
            registry: self.store.clone(),
            plans,
            events_queue,
            failed_events: Queue::new(),
            events: self.events.clone(),
            trust: TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Trusted),
            limits: self.limits.clone(),
            settings: self.settings(),
            legacy_text: "proactive hello".to_owned(),
            console: self.console.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
        };
        notify::handle(&context, gateway::through(request)).await
    }

    /// Creates a notification, which must be accepted.
    pub(crate) async fn asks(&self, body: &Value) -> NotificationId {
        let answer = self.notify(post("/api/notifications", &body.to_string())).await;
        assert_eq!(answer.status(), 202, "{}", text(&answer));
        document(&answer)["id"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn in_seconds(&self, seconds: i64) -> Timestamp {
        self.now()
            .checked_add(Duration::from_secs(seconds.unsigned_abs()))
            .unwrap()
    }

    pub(crate) fn planner(&self) -> planner::Context<Memory> {
        planner::Context {
            conversations: self.store.clone(),
            notifications: self.store.clone(),
            registry: self.store.clone(),
            ledger: self.store.clone(),
            plans: self.plans.clone(),
            deliveries: self.deliveries.clone(),
            events: self.events.clone(),
            connector: self.connector(),
            graph_clients: self.graph_clients.clone(),
            limits: self.limits.clone(),
            roster_ttl: self.roster_ttl,
            bot: None,
            clock: self.clock.clone(),
        }
    }

    pub(crate) fn sender(&self) -> sender::Context<Memory> {
        sender::Context {
            conversations: self.store.clone(),
            notifications: self.store.clone(),
            registry: self.store.clone(),
            ledger: self.store.clone(),
            deliveries: self.deliveries.clone(),
            events: self.events.clone(),
            connector: self.connector(),
            graph_clients: self.graph_clients.clone(),
            limits: self.limits.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
        }
    }

    /// Handles messages of the events queue, each by its id, body and number of receives; the ids of those that failed.
    pub(crate) async fn takes_events(&self, messages: &[(&str, String, u32)]) -> Vec<String> {
        let records = messages.iter().map(|(id, body, receives)| {
            json!({"messageId": id, "body": body, "eventSource": "aws:sqs",
                   "attributes": {"SenderId": "AROAINVENTED:session", "ApproximateReceiveCount": receives.to_string()}})
        });
        let event = json!({"Records": records.collect::<Vec<_>>()});
        let context = events::Context::<Memory> {
            notifications: self.store.clone(),
            conversations: self.store.clone(),
            registry: self.store.clone(),
            plans: self.plans.clone(),
            worker: events::Worker::new(messages::bot::work),
            events_queue: self.events_queue.clone(),
            settings: self.settings(),
            clock: self.clock.clone(),
            random: self.random.clone(),
        };
        let answer = events::handle(&context, serde_json::from_value(event).unwrap()).await;
        let failures = answer.batch_item_failures.into_iter();
        failures.map(|failure| failure.item_identifier).collect()
    }

    fn settings(&self) -> Settings {
        Settings {
            way_out: self.way_out,
            confirm_above: self.confirm_above,
            teams_app_id: self.graph_clients.as_ref().map(|them| them.manifest().to_owned()),
            send_mode: self.send_mode,
            operators: Operators::named(self.operators.clone()),
        }
    }

    pub(crate) async fn plan_one(&self, body: &str) {
        let plan = serde_json::from_str(body).unwrap();
        planner::run(&self.planner(), plan, self.in_seconds(60))
            .await
            .unwrap();
    }

    /// Handles all plans, and no delivery.
    pub(crate) async fn plan(&self) {
        while let Some(plan) = self.plans.take() {
            self.plan_one(&plan.body).await;
        }
    }

    pub(crate) async fn send_one(&self, body: &str) {
        self.send_until(body, self.in_seconds(60)).await;
    }

    pub(crate) async fn send_until(&self, body: &str, deadline: Timestamp) {
        let chunk = serde_json::from_str(body).unwrap();
        let sender = self.sender();
        let invocation = Invocation::new(&sender, deadline);
        sender::run(&invocation, chunk, Receipt::default()).await.unwrap();
    }

    /// Handles the messages of both queues until they are empty, moving the clock by each delay.
    pub(crate) async fn work(&self) {
        loop {
            if let Some(message) = self.plans.take() {
                self.pass(i64::try_from(message.delay.as_secs()).unwrap());
                self.plan_one(&message.body).await;
            } else if let Some(message) = self.deliveries.take() {
                self.pass(i64::try_from(message.delay.as_secs()).unwrap() + 1);
                self.send_one(&message.body).await;
            } else {
                return;
            }
        }
    }

    pub(crate) async fn notification(&self, id: &NotificationId) -> Notification {
        let found = self.store.find(id).await.unwrap().unwrap();
        let ended = found.counts.total();
        assert!(
            ended <= found.audience,
            "more deliveries are settled than planned: {found:?}"
        );
        if found.state() == State::Completed || found.state() == State::Cancelled {
            assert_eq!(
                ended, found.audience,
                "completed, but the counts do not add up: {found:?}"
            );
        }
        found
    }

    pub(crate) async fn row(&self, id: &NotificationId, recipient: &herald::audience::Recipient) -> Row {
        self.store
            .rows(&[DeliveryKey::new(id, recipient)])
            .await
            .unwrap()
            .pop()
            .flatten()
            .unwrap()
    }
}

/// An activity from an invented person in their personal conversation.
pub(crate) fn personal(person: &str, kind: &str) -> Value {
    json!({
        "type": kind, "id": format!("{kind}-of-{person}"), "channelId": "msteams", "serviceUrl": SERVICE_URL,
        "from": {"id": format!("29:{person}"), "aadObjectId": format!("entra-{person}")},
        "recipient": {"id": "28:bot"},
        "conversation": {"id": format!("a:{person}"), "conversationType": "personal", "tenantId": "tenant-1"},
        "text": "hello", "name": "novel/operation",
    })
}

/// The same person and activity, in a channel of a team.
pub(crate) fn in_channel(channel: &str, kind: &str) -> Value {
    let mut activity = personal("ada", kind);
    activity["conversation"] = json!({"id": channel, "conversationType": "channel", "isGroup": true});
    activity["channelData"] = json!({"team": {"id": "19:team@thread.tacv2"}, "tenant": {"id": "tenant-1"}});
    activity
}

pub(crate) fn request(method: &str, path: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("http://127.0.0.1{path}"))
        .body(body)
        .unwrap()
}

pub(crate) fn post(path: &str, body: &str) -> Request<Body> {
    request("POST", path, Body::Text(body.to_owned()))
}

pub(crate) fn get(path: &str) -> Request<Body> {
    request("GET", path, Body::Empty)
}

pub(crate) fn text(response: &Response<Body>) -> String {
    match response.body() {
        Body::Text(text) => text.clone(),
        Body::Binary(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

pub(crate) fn document(response: &Response<Body>) -> Value {
    serde_json::from_str(&text(response)).unwrap()
}
