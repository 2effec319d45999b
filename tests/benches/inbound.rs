//! CPU time of one inbound activity, warm: token, conversation, turn and reply: `cargo bench -p tests --bench inbound`, which fails
//! when the budget is exceeded.
//!
//! The handler runs on this thread, whose processor time is measured. DynamoDB and the channel are on a thread of their own, behind
//! real HTTP. The person is known, as most are: the activity changes no record, and its turn is claimed and finished.

#![allow(clippy::print_stdout, reason = "a bench is read on the terminal")]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use axum::Json;
use axum::routing::any;
use botframework::app::App;
use botframework::auth::{Authenticator, Policy};
use botframework::cloud::Cloud;
use botframework::connector::Connector;
use botframework::http::HttpTransport;
use botframework::service_url::{Loopback, OtherChannels, TrustRule};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use herald::acceptance::Settings;
use herald::clock::{Clock, Random};
use herald::event::memory::Events;
use herald::queue::memory::Queue;
use herald::store::dynamodb::Conversations;
use herald::store::memory::Store;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Request};
use jiff::Timestamp;
use messages::{Context, Topics};
use serde_json::json;
use tests::backend::Assembled;
use tests::database::{Database, conversations_at};
use tests::issuer::{Fixture, Issuer};
use tests::meter::thread_cpu_time;
use tokio::net::TcpListener;

const BUDGET: Duration = Duration::from_micros(600);
const BATCHES: usize = 9;
const BATCH: u32 = 400;

/// Activities under way at once, where the rate is measured.
const AT_ONCE: usize = 16;

const BOT: &str = "0000000a-0000-4000-8000-00000000b07a";

/// DynamoDB's address, and the channel's.
type Peers = (SocketAddr, SocketAddr);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (database, channel) = peers()?;
    let service_url = format!("http://{channel}/");
    let (app, token) = endpoint(&service_url, database)?;
    app.prefetch().await;
    let activities = Activities {
        app,
        token,
        service_url,
    };
    activities.post(0, 100, 1).await?;
    let (mut alone, mut together, mut elapsed) = (Vec::new(), Vec::new(), Duration::ZERO);
    for number in 1..=BATCHES {
        let first = u32::try_from(number)? * BATCH * 2;
        let begun = thread_cpu_time()?;
        activities.post(first, BATCH, 1).await?;
        let between = thread_cpu_time()?;
        let started = Instant::now();
        activities.post(first + BATCH, BATCH, AT_ONCE).await?;
        elapsed += started.elapsed();
        alone.push(between.saturating_sub(begun) / BATCH);
        together.push(thread_cpu_time()?.saturating_sub(between) / BATCH);
    }
    let (alone, together) = (median(alone), median(together));
    let posted = f64::from(BATCH) * f64::from(u32::try_from(BATCHES)?);
    println!("\nOne inbound activity with one reply (median of {BATCHES} times {BATCH})");
    println!(
        "one at a time    {:>8.3} ms CPU   budget {:.3} ms",
        ms(alone),
        ms(BUDGET)
    );
    println!(
        "{AT_ONCE} at once       {:>8.3} ms CPU   {:.0} activities a second on one thread",
        ms(together),
        posted / elapsed.as_secs_f64()
    );
    if alone > BUDGET {
        return Err(format!("an activity takes {:.3} ms", ms(alone)).into());
    }
    Ok(())
}

/// The messaging endpoint over DynamoDB, and a token that it accepts.
fn endpoint(service_url: &str, database: SocketAddr) -> Result<(App, HeaderValue), Box<dyn Error>> {
    let policy = Policy::new(Cloud::Public, BOT.to_owned());
    let trust = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Trusted);
    let now = Timestamp::from_second(1_800_000_000)?;
    let claims = json!({
        "iss": Cloud::Public.endpoints().inbound_issuer, "aud": BOT, "serviceurl": service_url,
        "nbf": 1_799_999_000, "exp": 1_800_003_000,
    });
    let header = json!({"typ": "JWT", "alg": "RS256", "kid": "current", "x5t": "current"});
    let token = Fixture::Current.key().sign(&header, &claims)?;
    let context = Context::<Assembled<Conversations, Store, Store, Queue, Events>> {
        conversations: conversations_at(database),
        registry: Store::new(),
        notifications: Store::new(),
        plans: Queue::new(),
        events: Queue::new(),
        settings: Settings::default(),
        authenticator: Authenticator::new(policy, trust, Issuer::endorsing(&["msteams"]), 0),
        connector: Connector::unauthenticated(HttpTransport::builder().build()?),
        clock: Clock::from_fn(move || now),
        random: Random::system(),
        topics: Topics::new(["builds"]),
    };
    Ok((
        messages::app(context),
        HeaderValue::from_str(&format!("Bearer {token}"))?,
    ))
}

/// Posts activities of a person that the bot knows.
struct Activities {
    app: App,
    token: HeaderValue,
    service_url: String,
}

impl Activities {
    async fn post(&self, first: u32, count: u32, at_once: usize) -> Result<(), Box<dyn Error>> {
        let statuses = stream::iter(first..first + count).map(|number| async move {
            let activity = json!({
                "type": "message", "id": number.to_string(), "timestamp": "2027-01-15T08:00:00Z",
                "localTimezone": "Europe/Berlin", "channelId": "msteams", "serviceUrl": self.service_url,
                "from": {"id": "29:ada", "name": "Ada", "aadObjectId": "0000000c-0000-4000-8000-000000000001"},
                "recipient": {"id": format!("28:{BOT}"), "name": "Herald"}, "locale": "en-GB", "text": "hello",
                "conversation": {"id": "a:ada", "conversationType": "personal",
                    "tenantId": "0000000b-0000-4000-8000-00000000000a"},
                "channelData": {"tenant": {"id": "0000000b-0000-4000-8000-00000000000a"}},
            });
            let mut request = Request::new(Bytes::from(activity.to_string()));
            *request.method_mut() = Method::POST;
            request.headers_mut().insert(AUTHORIZATION, self.token.clone());
            self.app.handle(request).await.status()
        });
        let mut statuses = statuses.buffer_unordered(at_once);
        while let Some(status) = statuses.next().await {
            if !status.is_success() {
                return Err(format!("an activity is answered {status}").into());
            }
        }
        Ok(())
    }
}

/// DynamoDB and a channel that accepts everything, on a thread of their own.
fn peers() -> Result<Peers, Box<dyn Error>> {
    let (ready, addresses) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            let _ = runtime.block_on(serve(ready));
        }
    });
    Ok(addresses.recv()?)
}

async fn serve(ready: Sender<Peers>) -> Result<(), Box<dyn Error>> {
    let database = Database::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    ready.send((database.address(), listener.local_addr()?))?;
    let accepted = any(async || Json(json!({"id": "1"})));
    Ok(axum::serve(listener, axum::Router::new().fallback_service(accepted)).await?)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
