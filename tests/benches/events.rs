//! Events in: how many a second, and the price of a million that each become a message: `cargo bench -p tests --bench events`,
//! which fails when the budget is exceeded.
//!
//! A `CloudWatch` alarm comes by `EventBridge`, the ready-made route takes it, and the person on call gets a message. The events are
//! of different alarms, so that none edits the copy of another. The function runs on this thread, whose processor time is
//! measured, over a DynamoDB on a thread of its own. Then events come one by one, which costs most, and every request is counted
//! until the message is delivered.

#![allow(clippy::print_stdout, reason = "a bench is read on the terminal")]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use aws_lambda_events::event::sqs::SqsEvent;
use botframework::connector::Connector;
use events::Worker;
use herald::acceptance::Settings;
use herald::clock::{Clock, Random};
use herald::cost::PRICES_AS_OF;
use herald::event::memory::Events;
use herald::queue::Chunk;
use herald::queue::memory::Queue;
use herald::rate_limit::Limits;
use herald::route::{Route, RouteRecord};
use herald::store::dynamodb::{Conversations, Ledger, Notifications, Registry};
use herald::store::{Conversations as _, Registry as _};
use serde_json::{Value, json};
use tests::backend::Assembled;
use tests::bill::{Bill, requests};
use tests::channel::Channel;
use tests::counter::{Counter, Counts};
use tests::crowd::Crowd;
use tests::database::{Database, conversations_at, ledger_at, notifications_at, registry_at};
use tests::meter::thread_cpu_time;
use tests::paced::{self, Tables};

type Backend = Assembled<Conversations, Notifications, Ledger, Queue, Events, Registry>;

/// Events that are measured, and those that are counted and delivered.
const MEASURED: u32 = 2_000;
const COUNTED: u32 = 50;
/// The batch size of the queue's event source mapping.
const BATCH: u32 = 10;
/// The tag of the route's audience.
const TAG: &str = "on-call";
/// In US dollars for a million events: one message each, to one person each. An audience of one shares nothing, so it costs more
/// than one of a million.
const BUDGET: f64 = 25.0;
/// How long a function waits for one request to DynamoDB or SQS; those of one event are sequential.
const REQUEST: Duration = Duration::from_millis(10);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = database()?;
    let clock = paced::clock();
    let crowd = Crowd {
        people: u64::from(COUNTED),
        tenants: 1,
        service_url: "http://127.0.0.1:1/".to_owned(),
    };
    put_route(&registry_at(database), &clock).await?;

    let direct = context(database, &clock);
    handle(&direct, 0, 100).await?;
    let (begun, started) = (thread_cpu_time()?, Instant::now());
    handle(&direct, 100, MEASURED).await?;
    let (cpu, elapsed) = (thread_cpu_time()?.saturating_sub(begun), started.elapsed());
    println!(
        "\n{MEASURED} events in batches of {BATCH}: {:.3} ms CPU each, {:.0} a second on one thread",
        cpu.as_secs_f64() * 1e3 / f64::from(MEASURED),
        f64::from(MEASURED) / elapsed.as_secs_f64()
    );

    let counter = Counter::to(database).await?;
    let sent = Box::pin(one_by_one(database, &counter, &crowd, &clock)).await?;
    println!(
        "\none message to one person for each event; prices of {PRICES_AS_OF}, in USD for a million events"
    );
    let events = u64::from(COUNTED);
    let mut bill = Bill::new(1e6 / f64::from(COUNTED));
    let waits = |requests: u64| REQUEST * u32::try_from(requests).unwrap_or(u32::MAX);
    // A message of each queue is sent, received and deleted.
    bill.queue("event", 3 * events);
    bill.tables("event", &sent.accepting);
    bill.lambda("event", waits(requests(&sent.accepting) + events), events);
    bill.queue("plan", 3 * events);
    bill.tables("plan", &sent.planning);
    bill.lambda("plan", waits(requests(&sent.planning) + events), events);
    bill.queue("send", sent.queue_requests);
    bill.tables("send", &sent.sending);
    bill.lambda("send", sent.awake, sent.invocations);
    // That the notification is complete.
    bill.events("send", events);
    let dollars = bill.total(BUDGET);
    if dollars > BUDGET {
        return Err(format!("a million events cost {dollars:.2} USD").into());
    }
    Ok(())
}

/// What some events took, from the queue to the message.
#[derive(Default)]
struct Sent {
    accepting: Counts,
    planning: Counts,
    sending: Counts,
    queue_requests: u64,
    awake: Duration,
    invocations: u64,
}

/// Handles, plans and delivers one event after the other, each to a person of its own: a conversation has limits of its own.
async fn one_by_one(
    database: SocketAddr,
    counter: &Counter,
    crowd: &Crowd,
    clock: &Clock,
) -> Result<Sent, Box<dyn Error>> {
    let people = conversations_at(database);
    let context = context(counter.address(), clock);
    let tables = Tables {
        conversations: context.conversations.clone(),
        notifications: context.notifications.clone(),
        ledger: ledger_at(counter.address()),
        registry: context.registry.clone(),
    };
    let (deliveries, channel) = (Queue::new(), Channel::new());
    let planner = planner::Context::<Backend> {
        conversations: tables.conversations.clone(),
        notifications: tables.notifications.clone(),
        registry: context.registry.clone(),
        ledger: tables.ledger.clone(),
        plans: context.plans.clone(),
        deliveries: deliveries.clone(),
        events: Events::new(),
        connector: Connector::unauthenticated(channel.clone()),
        graph_clients: None,
        limits: Limits::teams(),
        roster_ttl: jiff::SignedDuration::ZERO,
        bot: None,
        clock: clock.clone(),
    };
    let mut sent = Sent::default();
    for number in 0..COUNTED {
        let on_call = crowd.observation(u64::from(number));
        people.remember(on_call.clone(), clock.now()).await?;
        people
            .tag(&on_call.key, &[TAG.to_owned()], &[], clock.now())
            .await?;
        counter.take();
        handle(&context, 1_000_000 + number, 1).await?;
        add(&mut sent.accepting, counter.take());
        Box::pin(paced::plan(&planner, &context.plans)).await;
        add(&mut sent.planning, counter.take());
        let message = deliveries.take().ok_or("an event was not planned")?;
        let chunk: Chunk = serde_json::from_str(&message.body)?;
        let connector = Connector::unauthenticated(channel.clone());
        let one = vec![message];
        let report = paced::deliver(&tables, &chunk.notification, one, connector, clock.clone(), 1).await;
        add(&mut sent.sending, counter.take());
        sent.queue_requests += report.queue_requests;
        sent.awake += report.awake;
        sent.invocations += report.invocations;
        people
            .tag(&on_call.key, &[], &[TAG.to_owned()], clock.now())
            .await?;
    }
    let messages = channel.received().len();
    if messages != COUNTED as usize {
        return Err(format!("{COUNTED} events became {messages} messages").into());
    }
    Ok(sent)
}

fn add(sum: &mut Counts, counts: Counts) {
    for (name, count) in counts {
        let known = sum.entry(name).or_default();
        known.requests += count.requests;
        known.refused += count.refused;
        known.read_units += count.read_units;
        known.write_units += count.write_units;
    }
}

fn context(database: SocketAddr, clock: &Clock) -> events::Context<Backend> {
    events::Context {
        notifications: notifications_at(database),
        conversations: conversations_at(database),
        registry: registry_at(database),
        plans: Queue::new(),
        worker: Worker::new(messages::bot::work),
        events_queue: Queue::new(),
        settings: Settings {
            confirm_above: 1000,
            ..Settings::default()
        },
        clock: clock.clone(),
        random: Random::system(),
    }
}

async fn put_route(registry: &Registry, clock: &Clock) -> Result<(), Box<dyn Error>> {
    let route: Value = serde_json::from_str(include_str!("../../infra/routes/cloudwatch-alarm.json"))?;
    Route::parse(&route, clock.now()).map_err(|faults| format!("{faults:?}"))?;
    let record = RouteRecord {
        caller: "bench".to_owned(),
        changed_at: clock.now(),
        route,
        due: None,
    };
    registry
        .update_record("cloudwatch-alarm", &mut |_| Some(record.clone()))
        .await?;
    Ok(())
}

/// Handles so many events, each of an alarm of its own.
async fn handle(context: &events::Context<Backend>, first: u32, count: u32) -> Result<(), Box<dyn Error>> {
    let end = first + count;
    for first in (first..end).step_by(BATCH as usize) {
        let records = (first..end.min(first + BATCH)).map(|number| {
            json!({"messageId": number.to_string(), "body": alarm(number).to_string(), "eventSource": "aws:sqs",
                   "attributes": {"SenderId": "AROAINVENTED:session", "ApproximateReceiveCount": "1"}})
        });
        let event: SqsEvent = serde_json::from_value(json!({"Records": records.collect::<Vec<_>>()}))?;
        let failed = events::handle(context, event).await.batch_item_failures;
        if !failed.is_empty() {
            return Err(format!("{} events failed", failed.len()).into());
        }
    }
    Ok(())
}

/// The recorded alarm, under other names.
fn alarm(number: u32) -> Value {
    let sample = include_str!("../fixtures/routes/cloudwatch-alarm.json");
    let mut event: Value = serde_json::from_str(sample).unwrap_or_default();
    let place = if event["event"].is_object() { "/event" } else { "" };
    if let Some(event) = event.pointer_mut(place) {
        event["id"] = json!(format!("00000000-0000-4000-8000-{number:012}"));
        event["detail"]["alarmName"] = json!(format!("alarm-{number}"));
    }
    event
}

/// A DynamoDB on a thread of its own.
fn database() -> Result<SocketAddr, Box<dyn Error>> {
    let (ready, address) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(serve(&ready));
        }
    });
    Ok(address.recv()?)
}

async fn serve(ready: &Sender<SocketAddr>) {
    let database = Database::start().await;
    if ready.send(database.address()).is_ok() {
        std::future::pending::<()>().await;
    }
}
