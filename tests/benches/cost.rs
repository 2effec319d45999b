//! The cost of a million deliveries, from counted requests and capacity at list price: `cargo bench -p tests --bench cost`,
//! which fails when the budget is exceeded. It takes eight minutes.
//!
//! Two notifications to the same people are planned and delivered over a DynamoDB that reports the capacity of each request,
//! at the rate of one tenant, which keeps a sender awake longest. The second one costs as much as every later one: each
//! conversation has had a lease before. Prices and their date are in `herald::cost`. Logs, traces and data transfer depend
//! on settings of the account and are not included.

#![allow(clippy::print_stdout, reason = "a bench is read on the terminal")]
#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::error::Error;
use std::time::Duration;

use botframework::connector::Connector;
use futures_util::{StreamExt, stream};
use herald::cost::PRICES_AS_OF;
use herald::event::memory::Events;
use herald::queue::memory::Queue;
use herald::queue::{Message, Plan, Queue as _, Task};
use herald::rate_limit::Limits;
use herald::store::{Acceptance, Conversations as _, Notifications as _};
use serde_json::json;
use tests::backend::Assembled;
use tests::bill::{Bill, requests};
use tests::channel::Channel;
use tests::counter::{Counter, Counts};
use tests::crowd::{self, Crowd};
use tests::database::{self, Database};
use tests::paced::{self, Report, Tables, billed};

const PEOPLE: u64 = 10_000;
/// The most senders that the template allows.
const SENDERS: usize = 10;
/// In US dollars.
const BUDGET: f64 = 2.00;

/// How long a planner waits for one request to DynamoDB or SQS; requests are sequential. A sender waits for its permits
/// instead.
const REQUEST: Duration = Duration::from_millis(10);

/// One notification, from its plan to its last delivery.
struct Sent {
    planning: Counts,
    sending: Counts,
    /// Requests to the queues for planning.
    plan_requests: u64,
    report: Report,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = Database::start().await;
    let counter = Counter::to(database.address()).await?;
    let channel = Channel::new();
    let crowd = Crowd {
        people: PEOPLE,
        tenants: 1,
        service_url: "http://127.0.0.1:1/".to_owned(),
    };
    let tables = Tables {
        conversations: database::conversations_at(counter.address()),
        notifications: database::notifications_at(counter.address()),
        ledger: database::ledger_at(counter.address()),
    };
    let clock = paced::clock();
    let now = clock.now();
    let mut remembering = stream::iter(0..PEOPLE)
        .map(|person| tables.conversations.remember(crowd.observation(person), now))
        .buffer_unordered(32);
    while let Some(remembered) = remembering.next().await {
        remembered?;
    }
    drop(remembering);

    println!(
        "\n{PEOPLE} people of one tenant, {SENDERS} senders at most; prices of {PRICES_AS_OF}, in USD for a million delivered"
    );
    let mut broken = Vec::new();
    for (name, random) in [("first", [1; 16]), ("every later", [2; 16])] {
        let sent = send(&tables, &counter, &crowd, &channel, &clock, random).await?;
        let delivered = sent.report.notification.counts.delivered;
        if delivered != PEOPLE {
            return Err(format!("{delivered} of {PEOPLE} were delivered").into());
        }
        let dollars = print(name, &sent);
        if dollars > BUDGET {
            broken.push(format!(
                "the {name} notification costs {dollars:.3} USD for a million"
            ));
        }
    }
    if broken.is_empty() {
        Ok(())
    } else {
        Err(broken.join("; ").into())
    }
}

async fn send(
    tables: &Tables<
        herald::store::dynamodb::Conversations,
        herald::store::dynamodb::Notifications,
        herald::store::dynamodb::Ledger,
    >,
    counter: &Counter,
    crowd: &Crowd,
    channel: &Channel,
    clock: &herald::clock::Clock,
    random: [u8; 16],
) -> Result<Sent, Box<dyn Error>> {
    let audience = json!({"everyone": true});
    let (notification, request) = crowd::notification(&audience, clock.now(), random);
    let acceptance = Acceptance {
        notification: notification.clone(),
        audience: request.audience,
        message: request.message,
        replacement: request.replacement,
        idempotency: None,
    };
    counter.take();
    tables.notifications.accept(&acceptance).await?;
    let (plans, deliveries) = (Queue::new(), Queue::new());
    let planner = planner::Context::<Assembled<_, _, _, _, _>> {
        conversations: tables.conversations.clone(),
        notifications: tables.notifications.clone(),
        registry: herald::store::memory::Store::new(),
        ledger: tables.ledger.clone(),
        plans: plans.clone(),
        deliveries: deliveries.clone(),
        events: Events::new(),
        connector: Connector::unauthenticated(channel.clone()),
        limits: Limits::teams(),
        roster_ttl: jiff::SignedDuration::ZERO,
        bot: None,
        clock: clock.clone(),
    };
    let first = Plan {
        notification: notification.id.clone(),
        task: Task::Plan,
        part: None,
        enqueued: None,
        wave: None,
    };
    plans.send(vec![Message::json(&first, Duration::ZERO)]).await?;
    // Each message is sent, received and deleted.
    let plan_requests = 3 * Box::pin(paced::plan(&planner, &plans)).await;
    let planning = counter.take();
    let messages: Vec<Message> = std::iter::from_fn(|| deliveries.take()).collect();
    // A page of one tenant is one request to the queue. The sender's run counts its messages as sent ten at a time.
    let each: u64 = messages
        .iter()
        .map(|message| billed([message.body.len()].into_iter()))
        .sum();
    let together = billed(messages.iter().map(|message| message.body.len()));
    let connector = Connector::unauthenticated(channel.clone());
    let report = paced::deliver(
        tables,
        &notification.id,
        messages,
        connector,
        clock.clone(),
        SENDERS,
    )
    .await;
    let _ = crowd;
    Ok(Sent {
        planning,
        sending: counter.take(),
        plan_requests: plan_requests + each - together,
        report,
    })
}

/// Prints the cost of a notification, line by line, and returns the sum.
fn print(name: &str, sent: &Sent) -> f64 {
    let report = &sent.report;
    println!(
        "\n{name} notification: {:.0} s, senders awake {:.0} s in {} invocations, chunks taken {} times",
        report.took.as_secs_f64(),
        report.awake.as_secs_f64(),
        report.invocations,
        report.received
    );
    let mut bill = Bill::new(1e6 / PEOPLE as f64);
    bill.tables("plan", &sent.planning);
    bill.tables("send", &sent.sending);
    bill.queue("plan", sent.plan_requests);
    bill.queue("send", report.queue_requests);
    let planner = REQUEST * u32::try_from(requests(&sent.planning) + sent.plan_requests).unwrap_or(u32::MAX);
    bill.lambda("plan", planner, sent.plan_requests / 3);
    bill.lambda("send", report.awake, report.invocations);
    bill.total(BUDGET)
}
