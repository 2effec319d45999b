//! CPU time for verifying one activity with cached keys: `cargo bench -p tests --bench verify`, which fails when the budget
//! is exceeded.

#![allow(clippy::print_stdout, reason = "a bench is read on the terminal")]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, SystemTime};

use botframework::activity::Activity;
use botframework::auth::{Authenticator, Policy};
use botframework::cloud::Cloud;
use botframework::service_url::{Loopback, OtherChannels, TrustRule};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde_json::json;
use tests::issuer::{Fixture, Issuer};
use tests::meter::thread_cpu_time;

const BUDGET: Duration = Duration::from_micros(150);
const BATCHES: usize = 21;
const BATCH: u32 = 2_000;

const BOT: &str = "0000000a-0000-4000-8000-00000000b07a";
const ACTIVITY: &[u8] = include_bytes!("../fixtures/activities/teams-message-personal.json");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let activity = Activity::from_slice(ACTIVITY)?;
    let trust = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Refused);
    let policy = Policy::new(Cloud::Public, BOT.to_owned());
    let authenticator = Authenticator::new(policy, trust, Issuer::endorsing(&["msteams"]), 0);
    let now: SystemTime = Timestamp::from_second(1_800_000_000)?.into();
    let claims = json!({
        "iss": Cloud::Public.endpoints().inbound_issuer, "aud": BOT, "serviceurl": activity.service_url,
        "nbf": 1_799_999_000, "exp": 1_800_003_000,
    });
    let header = json!({"typ": "JWT", "alg": "RS256", "kid": "current", "x5t": "current"});
    let token = Fixture::Current.key().sign(&header, &claims)?;
    let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}"))?)]);
    authenticator.prefetch(now).await;

    let mut verifying = Vec::with_capacity(BATCHES);
    let mut parsing = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let begun = thread_cpu_time()?;
        for _ in 0..BATCH {
            black_box(authenticator.authenticate(&headers, activity.clone(), now).await)?;
        }
        let verified = thread_cpu_time()?;
        for _ in 0..BATCH {
            black_box(Activity::from_slice(black_box(ACTIVITY))?);
        }
        verifying.push(verified.saturating_sub(begun) / BATCH);
        parsing.push(thread_cpu_time()?.saturating_sub(verified) / BATCH);
    }
    let (verifying, parsing) = (median(verifying), median(parsing));
    println!("\nCPU time for one activity, keys cached (median of {BATCHES} times {BATCH})");
    println!(
        "verifying {:>8.1} µs   budget {} µs",
        us(verifying),
        BUDGET.as_micros()
    );
    println!("parsing   {:>8.1} µs   ({} bytes)", us(parsing), ACTIVITY.len());
    if verifying > BUDGET {
        return Err(format!("verifying takes {:.1} µs", us(verifying)).into());
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
