//! The cost of a million deliveries, from counted requests and capacity at list price: `cargo bench -p tests --bench cost`,
//! which fails when a budget is exceeded. Each notification takes as long as the rate of one tenant asks for: more than three minutes.
//!
//! Three notifications to the same people are planned and delivered over a DynamoDB that reports the capacity of each request,
//! at the rate of one tenant, which keeps a sender awake longest. The second one costs as much as every later one: each
//! conversation has had a lease before. Before the third a fifth of the people choose preferences, and category and tenant get
//! quiet hours: what these add is printed as a share of the second. Prices and their date are in `herald::cost`. Logs, traces and data transfer depend
//! on settings of the account and are not included.

#![allow(clippy::print_stdout, reason = "a bench is read on the terminal")]
#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::error::Error;
use std::time::Duration;

use botframework::connector::Connector;
use botframework::id::UserRef;
use futures_util::{StreamExt, stream};
use herald::category::{Categories, Category};
use herald::clock::Clock;
use herald::conversation::{Choice, PersonId, PreferenceChange, Preferences};
use herald::cost::PRICES_AS_OF;
use herald::event::memory::Events;
use herald::preferences;
use herald::queue::memory::Queue;
use herald::queue::{Message, Plan, Queue as _, Task};
use herald::rate_limit::Limits;
use herald::schedule::{QuietChoice, QuietHours, Zone};
use herald::store::{Acceptance, Conversations as _, Notifications as _, catalogue, dynamodb};
use herald::tenant_preferences::{AllTenants, TenantPreferences};
use jiff::civil::time;
use jiff::tz::TimeZone;
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
/// What preferences may add.
const PREFERENCES_BUDGET: f64 = 0.05;
/// The category whose notifications some people do not want at night.
const CATEGORY: &str = "news";

type Dynamo = Tables<dynamodb::Conversations, dynamodb::Notifications, dynamodb::Ledger, dynamodb::Registry>;

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
        registry: database::registry_at(counter.address()),
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
    let mut costs = Vec::new();
    for (name, random) in [
        ("first", [1; 16]),
        ("every later", [2; 16]),
        ("with preferences", [3; 16]),
    ] {
        let category = (name == "with preferences").then_some(CATEGORY);
        if category.is_some() {
            choose(&tables, &crowd, &clock).await?;
        }
        let sent = send(&tables, &counter, &channel, &clock, (random, category)).await?;
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
        costs.push(dollars);
    }
    let added = costs[2] / costs[1] - 1.0;
    println!(
        "\npreferences add {:+.1} % (budget {:.0} %)",
        100.0 * added,
        100.0 * PREFERENCES_BUDGET
    );
    if added > PREFERENCES_BUDGET {
        broken.push(format!("preferences add {:.1} %", 100.0 * added));
    }
    if broken.is_empty() {
        Ok(())
    } else {
        Err(broken.join("; ").into())
    }
}

/// Category and tenant get quiet hours, and every fifth person chooses quiet hours, a zone, and to hear of one other category no more.
/// It is quiet for nobody when the notification is sent.
async fn choose(tables: &Dynamo, crowd: &Crowd, clock: &Clock) -> Result<(), Box<dyn Error>> {
    let now = clock.now();
    let hour = now.to_zoned(TimeZone::UTC).hour();
    let at = |later: i8| time((hour + later) % 24, 0, 0, 0);
    let quiet = QuietHours::between(at(6), at(14)).map(QuietChoice::Daily);
    let category = Category {
        title: "News".to_owned(),
        description: None,
        quiet_hours: quiet,
        way_out: None,
    };
    catalogue::put::<Categories>(&tables.registry, CATEGORY, &category).await?;
    let tenant = TenantPreferences {
        zone: Some(Zone::utc()),
        quiet_hours: quiet,
    };
    catalogue::put::<AllTenants>(&tables.registry, &crowd.tenant(0), &tenant).await?;
    for person in (0..PEOPLE).step_by(5) {
        let (_, attributes) = crowd.candidate(person);
        let id = PersonId {
            channel: "msteams".to_owned(),
            tenant: attributes.tenant,
            id: UserRef::Entra(attributes.user.ok_or("a person of the crowd has an id")?),
        };
        let chosen = PreferenceChange::Replace(Preferences {
            categories: [("sport".to_owned(), Choice::OptedOut)].into(),
            zone: Some(Zone::utc()),
            quiet_hours: quiet,
            ..Preferences::default()
        });
        preferences::change(&tables.conversations, &id, None, &chosen, now)
            .await?
            .ok_or("a person of the crowd is not known")?;
    }
    Ok(())
}

async fn send(
    tables: &Dynamo,
    counter: &Counter,
    channel: &Channel,
    clock: &Clock,
    (random, category): ([u8; 16], Option<&str>),
) -> Result<Sent, Box<dyn Error>> {
    let audience = json!({"everyone": true});
    let (mut notification, request) = crowd::notification(&audience, clock.now(), random);
    notification.category = category.map(str::to_owned);
    notification.has_defaults = category.is_some();
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
    let planner = planner::Context::<Assembled<_, _, _, _, _, _>> {
        conversations: tables.conversations.clone(),
        notifications: tables.notifications.clone(),
        registry: tables.registry.clone(),
        ledger: tables.ledger.clone(),
        plans: plans.clone(),
        deliveries: deliveries.clone(),
        events: Events::new(),
        connector: Connector::unauthenticated(channel.clone()),
        graph_clients: None,
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
