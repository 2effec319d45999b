//! Fuzzing of everything that arrives from outside: tokens, keys, service URLs, activities, templates of cards.
//!
//! Each test runs for two seconds, or longer: `FUZZ_SECONDS=600 cargo test --release -p tests fuzz`. A finding is shrunk
//! before it is shown. Inputs are real ones with pieces changed, cut, doubled and exchanged, so that most pass the first
//! check.

use std::time::{Duration, Instant};

use botframework::activity::Activity;
use botframework::auth::{Authenticator, Policy};
use botframework::cards::template::Template;
use botframework::cloud::Cloud;
use botframework::connector::Connector;
use botframework::lossless::LosslessJson;
use botframework::service_url::{Loopback, OtherChannels, TrustRule};
use herald::acceptance::Settings;
use herald::backend::Memory;
use herald::clock::{Clock, Random};
use herald::conversation::{self, Export, Import};
use herald::queue::memory::Queue;
use herald::store::memory::Store;
use jiff::Timestamp;
use lambda_http::http::header::AUTHORIZATION;
use lambda_http::http::{HeaderMap, HeaderValue};
use lambda_http::{Body, Request};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestCaseResult, TestError, TestRunner};
use serde_json::{Value, json};
use tests::channel::Channel;
use tests::credential::given;
use tests::gateway;
use tests::issuer::{Behaviour, Fixture, Issuer};
use tokio::runtime::Runtime;

use crate::world::request;

mod requests;

const NOW: i64 = 1_800_000_000;
const BOT: &str = "0000000a-0000-4000-8000-00000000b07a";
const SERVICE_URL: &str = "https://smba.trafficmanager.net/emea/";

/// Byte sequences that break parsers.
const PIECES: &[&[u8]] = &[
    b"\0",
    b"\r\n",
    b"\t",
    b" ",
    b".",
    b"..",
    b"/",
    b"//",
    b"\\",
    b"@",
    b":",
    b":443",
    b"#",
    b"?",
    b"%",
    b"%2e",
    b"%00",
    b"[",
    b"]",
    b"[::1]",
    b"{",
    b"}",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b",",
    b"null",
    b"true",
    b"0",
    b"-0",
    b"1e999",
    b"1E400",
    b"9007199254740993",
    b"=",
    b"+",
    b"-",
    b"_",
    b"http://",
    b"https://",
    b"evil.example",
    b"xn--",
    b"localhost",
    b"\xff",
    b"\xc3\xa9",
    b"\xef\xbb\xbf",
    b"\xe3\x80\x82",
    b"\"type\":",
    b"\"serviceUrl\":",
    b"\"channelId\":\"\"",
    b"\"alg\":\"none\"",
    b"\"alg\":\"HS256\"",
    b"\"kid\":\"\"",
    b"$serde_json::private::Number",
    b"[[[[[[[[",
    b"Bearer ",
];

/// One change to an input.
#[derive(Clone, Debug)]
enum Mangling {
    Set(Index, u8),
    Insert(Index, &'static [u8]),
    Cut(Index, Index),
    Double(Index, Index),
    End(Index),
}

fn mangling() -> impl Strategy<Value = Mangling> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Mangling::Set(at, byte)),
        (at(), select(PIECES)).prop_map(|(at, piece)| Mangling::Insert(at, piece)),
        (at(), at()).prop_map(|(from, to)| Mangling::Cut(from, to)),
        (at(), at()).prop_map(|(from, to)| Mangling::Double(from, to)),
        at().prop_map(Mangling::End),
    ]
}

/// One of these inputs with up to six changes.
fn mangled(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (select(seeds), vec(mangling(), 0..6)).prop_map(|(mut input, changes)| {
        for change in changes {
            let place = |index: Index| index.index(input.len() + 1);
            match change {
                Mangling::Set(at, byte) if !input.is_empty() => {
                    let at = at.index(input.len());
                    input[at] = byte;
                }
                Mangling::Set(..) => {}
                Mangling::Insert(at, piece) => {
                    let at = place(at);
                    input.splice(at..at, piece.iter().copied());
                }
                Mangling::Cut(from, to) => {
                    let (from, to) = (place(from), place(to));
                    input.drain(from.min(to)..from.max(to));
                }
                Mangling::Double(from, to) => {
                    let (from, to) = (place(from), place(to));
                    let piece = input[from.min(to)..from.max(to)].to_vec();
                    input.splice(from..from, piece);
                }
                Mangling::End(at) => input.truncate(place(at)),
            }
        }
        input
    })
}

/// Runs the property on inputs until the time is over, and prints their number.
#[allow(
    clippy::print_stdout,
    reason = "whoever waited ten minutes wants to know for what"
)]
fn fuzz<S: Strategy>(what: &str, inputs: &S, property: impl Fn(S::Value) -> TestCaseResult) {
    const ROUND: u32 = 256;
    let seconds = std::env::var("FUZZ_SECONDS")
        .ok()
        .and_then(|it| it.parse().ok())
        .unwrap_or(2);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0_u64;
    while Instant::now() < end {
        let mut runner = TestRunner::new(Config {
            cases: ROUND,
            failure_persistence: None,
            ..Config::default()
        });
        match runner.run(inputs, &property) {
            Ok(()) => rounds += 1,
            Err(TestError::Fail(reason, input)) => panic!("{what}: {reason}: {input:?}"),
            Err(TestError::Abort(reason)) => panic!("{what}: {reason}"),
        }
    }
    println!("{what}: {} inputs in {seconds} s", rounds * u64::from(ROUND));
}

fn fixtures() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/activities");
    let files = std::fs::read_dir(folder).unwrap();
    files
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect()
}

fn activity() -> Activity {
    let mut activity = crate::world::personal("ada", "message");
    activity["serviceUrl"] = json!(SERVICE_URL);
    Activity::from_value(activity).unwrap()
}

fn header() -> Value {
    json!({"typ": "JWT", "alg": "RS256", "kid": "current"})
}

fn claims() -> Value {
    json!({
        "iss": "https://api.botframework.com", "aud": BOT, "serviceurl": SERVICE_URL, "nbf": NOW - 60, "exp": NOW + 3540,
    })
}

fn rule() -> TrustRule {
    TrustRule::new(Cloud::Public, OtherChannels::Trusted, Loopback::Refused)
}

fn authenticator(issuer: &Issuer) -> Authenticator {
    Authenticator::new(
        Policy::new(Cloud::Public, BOT.to_owned()),
        rule(),
        issuer.clone(),
        0,
    )
}

fn time() -> std::time::SystemTime {
    Timestamp::from_second(NOW).unwrap().into()
}

/// Whether this `Authorization` header is accepted.
async fn admits(authenticator: &Authenticator, authorization: &[u8], activity: &Activity) -> bool {
    let Ok(value) = HeaderValue::from_bytes(authorization) else {
        return false;
    };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    authenticator
        .authenticate(&headers, activity.clone(), time())
        .await
        .is_ok()
}

#[test]
fn a_token_with_any_change_is_denied() {
    let runtime = Runtime::new().unwrap();
    let (authenticator, activity) = (authenticator(&Issuer::endorsing(&["msteams"])), activity());
    let token = Fixture::Current.key().sign(&header(), &claims()).unwrap();
    let valid = format!("Bearer {token}").into_bytes();
    assert!(runtime.block_on(admits(&authenticator, &valid, &activity)));
    fuzz("tokens", &mangled(vec![valid.clone()]), |input| {
        let admitted = runtime.block_on(admits(&authenticator, &input, &activity));
        let same = input
            .get(..6)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"Bearer"))
            && input[6..] == valid[6..];
        prop_assert_eq!(admitted, same);
        Ok(())
    });
}

/// The signature is valid here, so that the signed content is parsed.
#[test]
fn a_signed_token_with_a_malformed_payload_is_denied() {
    let runtime = Runtime::new().unwrap();
    let (authenticator, activity) = (authenticator(&Issuer::endorsing(&["msteams"])), activity());
    let seeds = vec![claims().to_string().into_bytes()];
    fuzz("claims", &mangled(seeds), |input| {
        let Ok(document) = serde_json::from_slice::<Value>(&input) else {
            return Ok(());
        };
        let token = Fixture::Current.key().sign(&header(), &document).unwrap();
        let admitted = runtime.block_on(admits(
            &authenticator,
            format!("Bearer {token}").as_bytes(),
            &activity,
        ));
        let url = document["serviceurl"].as_str().unwrap_or_default();
        let right = document["iss"] == claims()["iss"]
            && (document["aud"] == BOT
                || document["aud"]
                    .as_array()
                    .is_some_and(|all| all.contains(&json!(BOT))))
            && document["exp"].as_f64().is_some_and(|end| end > 1_799_999_700.0)
            && document["nbf"]
                .as_f64()
                .is_some_and(|begin| begin <= 1_800_000_300.0)
            && url
                .trim_end_matches('/')
                .eq_ignore_ascii_case(SERVICE_URL.trim_end_matches('/'));
        prop_assert!(!admitted || right);
        Ok(())
    });
}

#[test]
fn malformed_keys_cause_no_panic() {
    let runtime = Runtime::new().unwrap();
    let activity = activity();
    let token = Fixture::Current.key().sign(&header(), &claims()).unwrap();
    let authorization = format!("Bearer {token}").into_bytes();
    let published = Fixture::Current.key().published("current", &["msteams"]);
    let seeds = vec![
        json!({"keys": [published, Fixture::Next.key().published("next", &[])]})
            .to_string()
            .into_bytes(),
        json!({"jwks_uri": "https://login.botframework.com/v1/.well-known/keys"})
            .to_string()
            .into_bytes(),
    ];
    fuzz("keys", &mangled(seeds), |input| {
        let issuer = Issuer::endorsing(&["msteams"]);
        issuer.when_asked_for_metadata(Behaviour::Say(input.clone().into()));
        issuer.when_asked_for_keys(Behaviour::Say(input.into()));
        runtime.block_on(admits(&authenticator(&issuer), &authorization, &activity));
        for url in issuer.requests() {
            prop_assert!(url.starts_with("https://login.botframework.com/"), "{}", url);
        }
        Ok(())
    });
}

#[test]
fn a_template_is_refused_or_rendered_to_json_that_can_be_read() {
    let fixtures: Vec<Value> = serde_json::from_str(include_str!(
        "../../shared/botframework/tests/templates/fixtures.json"
    ))
    .unwrap();
    let seeds = fixtures.iter().map(|fixture| {
        json!({"template": fixture["template"], "data": fixture["data"]})
            .to_string()
            .into_bytes()
    });
    fuzz("templates", &mangled(seeds.collect()), |input| {
        let Ok(input) = serde_json::from_slice::<Value>(&input) else {
            return Ok(());
        };
        if let Ok(template) = Template::parse(&input["template"]) {
            let card = template.render(&input["data"]).unwrap();
            prop_assert!(serde_json::from_str::<Value>(&card.to_string()).is_ok());
        }
        Ok(())
    });
}

/// The checked text is also the target: the HTTP client's own parser finds the same host in it.
#[test]
fn a_trusted_service_url_has_the_host_that_was_checked() {
    let rule = rule();
    let seeds = [
        SERVICE_URL,
        "https://smba.infra.gcc.teams.microsoft.com/teams",
        "https://slack.botframework.com:443/a.b/c-d_~",
        "https://europe.webchat.botframework.com",
        "https://smba.trafficmanager.net@evil.example/",
        "http://127.0.0.1:3979/",
    ];
    let seeds = seeds.map(|url| url.as_bytes().to_vec()).to_vec();
    fuzz("service URLs", &mangled(seeds), |input| {
        let Ok(url) = std::str::from_utf8(&input) else {
            return Ok(());
        };
        let Ok(trusted) = rule.check(url) else {
            return Ok(());
        };
        for address in [url.to_owned(), format!("{}/v3/conversations", trusted.as_str())] {
            let parsed =
                reqwest::Url::parse(&address).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let host = parsed.host_str().unwrap_or_default();
            let known = Cloud::Public.endpoints().teams_hosts.contains(&host)
                || host == "botframework.com"
                || host.ends_with(".botframework.com");
            prop_assert!(known, "{}", host);
            prop_assert_eq!(parsed.scheme(), "https");
            prop_assert_eq!(
                (parsed.port(), parsed.query(), parsed.fragment()),
                (None, None, None)
            );
            prop_assert_eq!((parsed.username(), parsed.password()), ("", None));
            let written = address[8..].split_once('/').map_or("", |(_, path)| path);
            prop_assert_eq!(&parsed.path()[1..], written, "nothing is normalised away");
        }
        Ok(())
    });
}

#[test]
fn an_activity_is_parsed_completely_or_refused() {
    fuzz("activities", &mangled(fixtures()), |input| {
        let Ok(activity) = Activity::from_slice(&input) else {
            return Ok(());
        };
        let document = LosslessJson::from_slice(&input).unwrap();
        let written = activity.to_lossless().unwrap();
        // A required member that is null is read as absent.
        if !input.windows(4).any(|word| word == b"null") {
            prop_assert_eq!(&written, &document);
        }
        prop_assert_eq!(Activity::from_lossless(written).unwrap(), activity);
        Ok(())
    });
}

/// An imported file cannot redirect the token. An import is stable: exported and imported again, it stays the same.
#[test]
fn an_import_has_trusted_hosts_only_and_is_exported_unchanged() {
    let rule = rule();
    let reference = json!({
        "channelId": "msteams", "serviceUrl": SERVICE_URL, "bot": {"id": "28:bot"}, "novel": {"kept": null},
        "user": {"id": "29:ada", "aadObjectId": "entra-ada"},
        "conversation": {"id": "a:ada", "conversationType": "personal", "tenantId": "tenant-1"}});
    let record = json!({
        "reference": reference, "scope": "channel", "tenant": "tenant-1", "team": "19:team", "tags": ["vip"],
        "state": "blocked", "code": "MessageWritesBlocked", "serviceUrls": [SERVICE_URL]});
    let seeds = [reference, record]
        .map(|line| line.to_string().into_bytes())
        .to_vec();
    fuzz("imports", &mangled(seeds), |input| {
        let Ok(document) = LosslessJson::from_slice(&input) else {
            return Ok(());
        };
        let Ok(imports) = Import::read(document, &rule) else {
            return Ok(());
        };
        let now = Timestamp::from_second(NOW).unwrap();
        for brought in imports {
            let record = conversation::import(None, brought.clone(), now).unwrap();
            for url in record.service_urls.iter().chain(&record.reference.service_url) {
                prop_assert!(rule.check(url).is_ok(), "{}", url);
            }
            prop_assert_eq!(conversation::import(Some(&record), brought, now), None);
            let exported = serde_json::to_vec(&Export::from(&record)).unwrap();
            let exported = LosslessJson::from_slice(&exported).unwrap();
            let elsewhere = Import::read(exported, &rule);
            let elsewhere = elsewhere.map_err(|unfit| TestCaseError::fail(unfit.to_string()))?;
            prop_assert_eq!(elsewhere.len(), 1);
            let elsewhere = elsewhere.into_iter().next().unwrap();
            prop_assert_eq!(conversation::import(None, elsewhere, now), Some(record));
        }
        Ok(())
    });
}

/// Every post gets an answer, with a status that the protocol knows.
#[test]
fn the_endpoint_answers_every_post() {
    let runtime = Runtime::new().unwrap();
    fuzz("requests", &mangled(fixtures()), |input| {
        let request: Request = request("POST", "/api/messages", Body::Binary(input));
        let status = runtime.block_on(async {
            let context = messages::Context::<Memory> {
                topics: messages::Topics::default(),
                conversations: Store::new(),
                registry: Store::new(),
                notifications: Store::new(),
                plans: Queue::new(),
                events: Queue::new(),
                settings: Settings::default(),
                authenticator: Authenticator::unauthenticated(Cloud::Public),
                connector: Connector::new(Channel::new(), rule(), given(Cloud::Public)),
                random: Random::from_fn(|| [7; 16]),
                clock: Clock::from_fn(|| Timestamp::from_second(NOW).unwrap()),
            };
            gateway::post(&messages::app(context), request)
                .await
                .status()
                .as_u16()
        });
        prop_assert!([200, 400, 403, 500, 501].contains(&status), "{}", status);
        Ok(())
    });
}
