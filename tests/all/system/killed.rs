//! `kill -9` of senders and planners at random moments of a notification: no recipient is lost, and none gets a second copy
//! unless the ledger recorded the first one as ambiguous.
//!
//! `ROUNDS=10 DELIVERIES=20000 cargo test -p tests --release killed` is the full test. There the leases of killed processes
//! expire in real time, as in Lambda, so a round takes minutes. Without these variables the test is small, and moves those
//! deadlines up. `SEED=n` sets the first seed.

use std::collections::HashMap;
use std::env;
use std::str::FromStr;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use herald::audience::Recipient;
use herald::clock::Clock;
use herald::delivery::{DeliveryKey, Outcome, State};
use herald::id::NotificationId;
use herald::store::{Conversations, Ledger};
use herald_local::Event;
use jiff::Timestamp;
use serde_json::{Value, json};
use tests::crowd::{Crowd, news};
use tokio::time::sleep;

use super::{System, settled};

/// How often all processes of a function are killed in one round.
const SENDERS_KILLED: usize = 3;
const PLANNERS_KILLED: usize = 2;

/// A planner is killed within this time of an invocation.
const PLANNER_LIVES_FOR_MS: u64 = 40;

/// The sender's timeout in the template: the deadline of an invocation is this long after its start.
const SENDER_TIMEOUT: Duration = Duration::from_secs(90);

/// Reproducible random numbers (splitmix64).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}

fn asked<T: FromStr>(name: &str) -> Option<T> {
    env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stderr, reason = "the whole proof is read on the terminal")]
async fn killing_processes_loses_no_recipient_and_repeats_only_ambiguous_sends() {
    let (rounds, deliveries, seed) = (asked("ROUNDS"), asked("DELIVERIES"), asked("SEED").unwrap_or(1));
    if rounds.is_none() && deliveries.is_none() {
        let found = tokio::join!(round(600, seed, true), round(600, seed + 1, true));
        eprintln!("seeds {seed} and {}: {found:?}", seed + 1);
        return;
    }
    for seed in seed..seed + rounds.unwrap_or(10) {
        let found = round(deliveries.unwrap_or(20_000), seed, false).await;
        eprintln!("seed {seed}: {found:?}");
    }
}

/// The result of a round.
#[derive(Debug, Default)]
#[allow(dead_code, reason = "printed")]
struct Found {
    senders_killed: usize,
    planners_killed: usize,
    delivered: u64,
    unknown: u64,
    in_doubt: u64,
    twice: u64,
    seconds: u64,
}

async fn round(people: u64, seed: u64, hurried: bool) -> Found {
    let begun = tokio::time::Instant::now();
    let system = System::start_with(|options| {
        let variables = [
            ("HERALD_TENANT_LIMIT", "1000000/1s"),
            ("HERALD_CONFIRM_ABOVE", "1000000"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        options.environment.extend(variables);
        if hurried {
            // Long enough that the leases of killed processes expire before their messages become visible.
            options.retry_visibility = Some(Duration::from_secs(1));
        }
    })
    .await;
    let crowd = Crowd {
        people,
        tenants: 3,
        service_url: system.served.url.clone(),
    };
    remember(&system, &crowd).await;

    let mut chance = Seeded(seed);
    let mut moments: Vec<usize> = (0..SENDERS_KILLED)
        .map(|_| usize::try_from(1 + chance.below(people - 1)).unwrap())
        .collect();
    moments.sort_unstable();
    let mut planners: Vec<(u64, u64)> = (0..PLANNERS_KILLED)
        .map(|_| (chance.below(5), chance.below(PLANNER_LIVES_FOR_MS)))
        .collect();
    planners.sort_unstable();

    let mut events = system.host.events();
    let body = json!({"audience": {"everyone": true}, "message": news()});
    let (status, accepted) = system.post("/api/notifications", body.to_string()).await;
    assert_eq!(status, 202, "{accepted}");

    let mut found = Found::default();
    let killing_senders = async {
        let mut killed = 0;
        for moment in moments {
            system.channel.asked(moment).await;
            let now = Clock::system().now();
            killed += system.host.kill("sender").await.unwrap();
            if hurried {
                end_turns(&system, now).await;
            }
        }
        killed
    };
    let killing_planners = async {
        let (mut killed, mut invoked) = (0, 0);
        for (number, lives_for_ms) in planners {
            while invoked <= number {
                let event = events.recv().await.unwrap();
                invoked +=
                    u64::from(matches!(event, Event::Invoked { function, .. } if function == "planner"));
            }
            sleep(Duration::from_millis(lives_for_ms)).await;
            killed += system.host.kill("planner").await.unwrap();
        }
        killed
    };
    (found.senders_killed, found.planners_killed) = tokio::join!(killing_senders, killing_planners);
    system.host.drained().await;
    check(&system, &crowd, &accepted, seed, &mut found).await;
    system.host.stop().await;
    found.seconds = begun.elapsed().as_secs();
    found
}

async fn remember(system: &System, crowd: &Crowd) {
    let (conversations, now) = (system.conversations(), Clock::system().now());
    stream::iter(0..crowd.people)
        .map(|person| conversations.remember(crowd.observation(person), now))
        .buffer_unordered(32)
        .for_each(async |remembered| {
            remembered.unwrap();
        })
        .await;
}

async fn check(system: &System, crowd: &Crowd, accepted: &Value, seed: u64, found: &mut Found) {
    let status = system.status(accepted).await;
    let count = |name: &str| status["counts"][name].as_u64().unwrap();
    assert_eq!(status["state"], "completed", "seed {seed}: {status}");
    assert_eq!(settled(&status), crowd.people, "seed {seed}: {status}");
    assert_eq!(
        count("delivered") + count("unknown"),
        crowd.people,
        "seed {seed}: {status}"
    );

    let mut copies: HashMap<String, u32> = HashMap::new();
    for received in system.channel.received() {
        *copies.entry(received.conversation).or_default() += 1;
    }
    let id: NotificationId = accepted["id"].as_str().unwrap().parse().unwrap();
    let keys: Vec<_> = (0..crowd.people)
        .map(|person| crowd.candidate(person).0)
        .collect();
    let deliveries: Vec<_> = keys
        .iter()
        .map(|key| DeliveryKey::new(&id, &Recipient::Conversation(key.clone())))
        .collect();
    let rows = system.ledger().rows(&deliveries).await.unwrap();
    for (key, row) in keys.iter().zip(rows) {
        let conversation = key.conversation.as_str();
        let row = row.unwrap_or_else(|| panic!("seed {seed}: {conversation} has no row"));
        let copies = copies.remove(conversation).unwrap_or(0);
        match row.state {
            State::Settled(Outcome::Delivered(_)) => {
                assert!(copies > 0, "seed {seed}: {conversation} got nothing");
                found.delivered += 1;
            }
            State::Settled(Outcome::Unknown) => {
                assert!(
                    row.ambiguous_attempts > 0,
                    "seed {seed}: {conversation}: unknown without an ambiguous attempt"
                );
                found.unknown += 1;
            }
            other => panic!("seed {seed}: {conversation} is {other:?}"),
        }
        assert!(
            copies <= row.ambiguous_attempts + 1,
            "seed {seed}: {conversation} got {copies} copies, with {} doubts",
            row.ambiguous_attempts
        );
        found.in_doubt += u64::from(row.ambiguous_attempts > 0);
        found.twice += u64::from(copies > 1);
    }
    assert!(
        copies.is_empty(),
        "seed {seed}: messages outside the audience: {copies:?}"
    );
    let counted = (count("delivered"), count("unknown"));
    assert_eq!(
        counted,
        (found.delivered, found.unknown),
        "seed {seed}: counts and rows"
    );
}

/// Expires the leases of the processes that were killed at this moment, so that no worker waits for them.
///
/// The leases of live processes are left alone: their invocations began later, and so end later.
async fn end_turns(system: &System, killed_at: Timestamp) {
    let latest = killed_at.checked_add(SENDER_TIMEOUT).unwrap().as_millisecond();
    let now = killed_at.as_millisecond();
    let table = system.table("Deliveries");
    let held = json!({
        "TableName": table,
        "FilterExpression": "begins_with(#delivery, :lease) AND #until > :now AND #until <= :latest",
        "ExpressionAttributeNames": {"#delivery": "delivery", "#until": "until"},
        "ExpressionAttributeValues": {
            ":lease": {"S": "lease|"}, ":now": {"N": now.to_string()}, ":latest": {"N": latest.to_string()},
        },
    });
    let mut from = Value::Null;
    loop {
        let mut scan = held.clone();
        if !from.is_null() {
            scan["ExclusiveStartKey"] = from;
        }
        let page = dynamodb(system, "Scan", &scan).await;
        for item in page["Items"].as_array().unwrap() {
            let update = json!({
                "TableName": table, "Key": {"delivery": item["delivery"]},
                "UpdateExpression": "SET #until = :now",
                // A lease that was taken over since belongs to a live process.
                "ConditionExpression": "#until = :until",
                "ExpressionAttributeNames": {"#until": "until"},
                "ExpressionAttributeValues": {":now": {"N": now.to_string()}, ":until": item["until"]},
            });
            dynamodb(system, "UpdateItem", &update).await;
        }
        from = page["LastEvaluatedKey"].clone();
        if from.is_null() {
            return;
        }
    }
}

async fn dynamodb(system: &System, operation: &str, request: &Value) -> Value {
    let response = system
        .http
        .post(system.host.dynamodb_endpoint())
        .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
        .header("content-type", "application/x-amz-json-1.0")
        // It requires a signature, and does not verify it.
        .header("x-amz-date", "20260101T000000Z")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
        )
        .body(request.to_string())
        .send()
        .await
        .unwrap();
    let (status, answer) = (response.status(), response.text().await.unwrap());
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let refused = answer["__type"].as_str().unwrap_or_default();
    assert!(
        status.is_success() || refused.ends_with("ConditionalCheckFailedException"),
        "{operation}: {answer}"
    );
    answer
}
