//! The cache of the issuer's keys: fetched once, refreshed on a reason, and every wait is bounded.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use botframework::activity::Activity;
use botframework::auth::{Authenticator, Denied};
use botframework::cloud::Cloud;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::issuer::{Behaviour, Fixture, Issuer};
use tokio::time::Instant;

use super::attempt::{Attempt, bearer, claim, now};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// An authenticator, its issuer, and tokens that never expire.
struct Door {
    issuer: Issuer,
    authenticator: Authenticator,
    header: Value,
    claims: Value,
    activity: Activity,
}

impl Door {
    fn new() -> Self {
        Self::in_cloud(Cloud::Public)
    }

    fn in_cloud(cloud: Cloud) -> Self {
        let mut attempt = Attempt::of(cloud);
        claim("exp", json!(1e300))(&mut attempt);
        Self {
            issuer: attempt.issuer.clone(),
            authenticator: attempt.authenticator(),
            header: attempt.header,
            claims: attempt.claims,
            activity: Activity::from_value(attempt.activity).unwrap(),
        }
    }

    /// Authenticates a token signed by this key under this key id at this time.
    async fn knock(&self, key: Fixture, id: &str, at: SystemTime) -> Result<(), Denied> {
        self.comes_with(&self.token(key, id), at).await
    }

    fn token(&self, key: Fixture, id: &str) -> String {
        let mut header = self.header.clone();
        header["kid"] = json!(id);
        key.key().sign(&header, &self.claims).unwrap()
    }

    async fn comes_with(&self, token: &str, at: SystemTime) -> Result<(), Denied> {
        let headers = bearer(token);
        let caller = self
            .authenticator
            .authenticate(&headers, self.activity.clone(), at)
            .await;
        caller.map(drop)
    }

    async fn current(&self, at: SystemTime) -> Result<(), Denied> {
        self.knock(Fixture::Current, "current", at).await
    }

    async fn next(&self, at: SystemTime) -> Result<(), Denied> {
        self.knock(Fixture::Next, "next", at).await
    }

    async fn unknown(&self, at: SystemTime) -> Result<(), Denied> {
        self.knock(Fixture::Stranger, "unknown", at).await
    }

    /// The issuer publishes a new key beside the old one.
    fn rotates(&self) {
        self.issuer.publish(json!([
            published(Fixture::Current, "current"),
            published(Fixture::Next, "next")
        ]));
    }
}

fn published(key: Fixture, id: &str) -> Value {
    key.key().published(id, &["msteams"])
}

#[tokio::test]
async fn keys_are_fetched_once_a_day() {
    let door = Door::new();
    for hour in 0..24 {
        assert_eq!(door.current(now() + HOUR * hour).await, Ok(()));
    }
    assert_eq!(
        door.issuer.requests(),
        [
            "https://login.botframework.com/v1/.well-known/openidconfiguration",
            "https://login.botframework.com/v1/.well-known/keys"
        ]
    );
    assert_eq!(door.current(now() + HOUR * 24).await, Ok(()));
    assert_eq!(door.issuer.fetches(), 2);
}

#[tokio::test]
async fn keys_are_fetched_from_the_issuer_of_each_cloud() {
    for cloud in Cloud::ALL {
        let door = Door::in_cloud(cloud);
        assert_eq!(door.current(now()).await, Ok(()));
        let endpoints = cloud.endpoints();
        assert_eq!(
            door.issuer.requests(),
            [endpoints.openid_metadata, endpoints.keys]
        );
    }
}

#[tokio::test]
async fn a_token_with_invalid_claims_fetches_no_keys() {
    let door = Door::new();
    for (claim, value) in [("iss", json!("https://evil.example")), ("exp", json!("soon"))] {
        let mut claims = door.claims.clone();
        claims[claim] = value;
        let token = Fixture::Current.key().sign(&door.header, &claims).unwrap();
        assert!(door.comes_with(&token, now()).await.is_err());
    }
    assert!(door.issuer.requests().is_empty());
}

#[tokio::test]
async fn prefetched_keys_are_not_fetched_again() {
    let door = Door::new();
    for _ in 0..3 {
        door.authenticator.prefetch(now()).await;
    }
    assert_eq!(door.current(now()).await, Ok(()));
    assert_eq!(door.issuer.fetches(), 1);
}

#[tokio::test]
async fn a_request_during_the_prefetch_waits_for_it_and_fetches_nothing_itself() {
    let door = Door::new();
    door.issuer.when_asked_for_keys(Behaviour::Hold);
    let requests = async {
        door.issuer.asked(2).await;
        let knocks = join_all((0..50).map(|_| door.current(now())));
        let let_go = async { door.issuer.let_go() };
        tokio::join!(knocks, let_go).0
    };
    let ((), admitted) = tokio::join!(door.authenticator.prefetch(now()), requests);
    assert!(admitted.iter().all(Result::is_ok));
    assert_eq!(door.issuer.fetches(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_requests_at_once_on_a_cold_start_make_one_fetch() {
    let door = Arc::new(Door::new());
    door.issuer.when_asked_for_metadata(Behaviour::Hold);
    let knocks: Vec<_> = (0..1_000)
        .map(|_| {
            let door = door.clone();
            tokio::spawn(async move { door.current(now()).await })
        })
        .collect();
    door.issuer.asked(1).await;
    door.issuer.let_go();
    for knock in knocks {
        assert_eq!(knock.await.unwrap(), Ok(()));
    }
    assert_eq!(door.issuer.requests().len(), 2, "metadata and keys, once");
}

#[tokio::test]
async fn a_new_key_is_fetched_on_first_use_and_the_old_one_stays_valid() {
    let door = Door::new();
    assert_eq!(door.current(now()).await, Ok(()));
    door.rotates();
    let later = now() + MINUTE * 6;
    assert_eq!(door.next(later).await, Ok(()));
    assert_eq!(door.current(later).await, Ok(()));
    door.issuer.publish(json!([published(Fixture::Next, "next")]));
    assert_eq!(
        door.current(later + HOUR * 24).await,
        Err(Denied::KeyUnknown),
        "it was withdrawn"
    );
    assert_eq!(door.next(later + HOUR * 24).await, Ok(()));
    assert_eq!(door.issuer.fetches(), 3);
}

#[tokio::test]
async fn a_key_republished_under_its_old_id_replaces_the_old_one() {
    let door = Door::new();
    assert_eq!(door.current(now()).await, Ok(()));
    door.issuer.publish(json!([published(Fixture::Next, "current")]));
    let tomorrow = now() + HOUR * 24;
    assert_eq!(door.current(tomorrow).await, Err(Denied::SignatureInvalid));
    assert_eq!(door.knock(Fixture::Next, "current", tomorrow).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn key_rotation_under_load_denies_no_request_and_makes_one_fetch() {
    let door = Arc::new(Door::new());
    assert_eq!(door.current(now()).await, Ok(()));
    door.rotates();
    door.issuer.when_asked_for_keys(Behaviour::Hold);
    let later = now() + MINUTE * 10;
    let spawn = |key, id: &'static str| {
        let door = door.clone();
        tokio::spawn(async move { door.knock(key, id, later).await })
    };
    let new: Vec<_> = (0..200).map(|_| spawn(Fixture::Next, "next")).collect();
    // The metadata and keys of the first fetch and of the second one, which is now held.
    door.issuer.asked(4).await;
    let old: Vec<_> = (0..200).map(|_| spawn(Fixture::Current, "current")).collect();
    for knock in old {
        assert_eq!(
            knock.await.unwrap(),
            Ok(()),
            "known keys do not wait for the fetch"
        );
    }
    assert!(new.iter().all(|knock| !knock.is_finished()));
    door.issuer.let_go();
    for knock in new {
        assert_eq!(knock.await.unwrap(), Ok(()));
    }
    assert_eq!(door.issuer.fetches(), 2);
}

#[tokio::test]
async fn a_flood_of_unknown_key_ids_makes_one_fetch_in_five_minutes() {
    let door = Door::new();
    assert_eq!(door.current(now()).await, Ok(()));
    let (unknown, current) = (
        door.token(Fixture::Stranger, "unknown"),
        door.token(Fixture::Current, "current"),
    );
    let mut most = 0;
    for second in 0..3_600_u32 {
        let at = now() + Duration::from_secs(second.into());
        assert_eq!(door.comes_with(&unknown, at).await, Err(Denied::KeyUnknown));
        assert_eq!(
            door.comes_with(&current, at).await,
            Ok(()),
            "other requests are not delayed"
        );
        most = usize::try_from(second / 300).unwrap() + 1;
        assert!(door.issuer.fetches() <= most, "at {second} s");
    }
    assert!(
        door.issuer.fetches() >= most - 2,
        "the jitter is small: {}",
        door.issuer.fetches()
    );
}

#[tokio::test]
async fn a_flood_without_cached_keys_makes_one_fetch_in_five_seconds() {
    let door = Door::new();
    door.issuer.when_asked_for_metadata(Behaviour::Down);
    door.issuer.when_asked_for_keys(Behaviour::Down);
    for tenth in 0..600_u32 {
        let at = now() + Duration::from_millis(100) * tenth;
        assert_eq!(door.current(at).await, Err(Denied::KeysUnavailable));
    }
    assert_eq!(door.issuer.fetches(), 12);
    door.issuer.when_asked_for_keys(Behaviour::Answer);
    assert_eq!(
        door.current(now() + MINUTE).await,
        Ok(()),
        "and it recovers by itself"
    );
}

/// Every way in which an issuer can misbehave.
fn misbehaviour() -> Vec<(&'static str, Behaviour)> {
    let say = |text: String| Behaviour::Say(text.into());
    vec![
        ("down", Behaviour::Down),
        ("hanging", Behaviour::Hang),
        ("cut off", Behaviour::Cut),
        ("500", Behaviour::Status(500)),
        ("429", Behaviour::Status(429)),
        ("404", Behaviour::Status(404)),
        ("a redirect", Behaviour::Status(302)),
        ("no content", Behaviour::Status(204)),
        ("an empty body", say(String::new())),
        ("a web page", say("<html>login</html>".to_owned())),
        ("null", say("null".to_owned())),
        ("a list", say("[]".to_owned())),
        ("no list of keys", say("{}".to_owned())),
        (
            "keys that are no list",
            say(r#"{"keys":{},"jwks_uri":{}}"#.to_owned()),
        ),
        ("no keys", say(r#"{"keys":[],"jwks_uri":""}"#.to_owned())),
        (
            "keys that are none",
            say(r#"{"keys":[{},5,null,[]],"jwks_uri":"x"}"#.to_owned()),
        ),
        ("nesting without end", say("[".repeat(100_000))),
        ("not UTF-8", Behaviour::Say(vec![0xff; 1_000].into())),
        ("gigantic garbage", Behaviour::Say(vec![b' '; 32 << 20].into())),
        (
            "a right answer in a gigantic one",
            say(json!({
                "keys": [published(Fixture::Current, "current")],
                "jwks_uri": "https://login.botframework.com/v1/.well-known/keys",
                "padding": "x".repeat(600_000),
            })
            .to_string()),
        ),
        (
            "a gigantic set",
            say(format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(8 << 20))),
        ),
    ]
}

/// The longest wait for an issuer, whatever it does.
const LONGEST: Duration = Duration::from_secs(4);

#[tokio::test(start_paused = true)]
async fn without_keys_every_request_is_denied_within_the_timeout() {
    for (name, behaviour) in misbehaviour() {
        let door = Door::new();
        door.issuer.when_asked_for_metadata(behaviour.clone());
        door.issuer.when_asked_for_keys(behaviour);
        let began = Instant::now();
        assert_eq!(door.current(now()).await, Err(Denied::KeysUnavailable), "{name}");
        assert!(began.elapsed() <= LONGEST, "{name}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn without_metadata_the_well_known_key_url_is_used() {
    for (name, behaviour) in misbehaviour() {
        let door = Door::new();
        door.issuer.when_asked_for_metadata(behaviour);
        assert_eq!(door.current(now()).await, Ok(()), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn cached_keys_are_used_for_a_week_while_the_issuer_fails() {
    for (name, behaviour) in misbehaviour() {
        let door = Door::new();
        assert_eq!(door.current(now()).await, Ok(()));
        door.issuer.when_asked_for_metadata(behaviour.clone());
        door.issuer.when_asked_for_keys(behaviour);
        let began = Instant::now();
        assert_eq!(
            door.unknown(now() + MINUTE * 7).await,
            Err(Denied::KeyUnknown),
            "{name}"
        );
        for day in 1..7 {
            assert_eq!(door.current(now() + HOUR * 24 * day).await, Ok(()), "{name}");
        }
        let week = now() + HOUR * 24 * 7;
        assert_eq!(door.current(week).await, Err(Denied::KeysUnavailable), "{name}");
        assert!(began.elapsed() <= LONGEST * 8, "{name}");
        door.issuer.when_asked_for_metadata(Behaviour::Answer);
        door.issuer.when_asked_for_keys(Behaviour::Answer);
        assert_eq!(
            door.current(week + MINUTE * 7).await,
            Ok(()),
            "{name}: it recovers by itself"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn stale_keys_are_refreshed_by_one_request_without_blocking_others() {
    let door = Door::new();
    assert_eq!(door.current(now()).await, Ok(()));
    door.issuer.when_asked_for_keys(Behaviour::Hang);
    let tomorrow = now() + HOUR * 24;
    let first = door.current(tomorrow);
    let others = async {
        door.issuer.asked(4).await;
        let began = Instant::now();
        for _ in 0..100 {
            assert_eq!(door.current(tomorrow).await, Ok(()));
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    };
    assert_eq!(tokio::join!(first, others).0, Ok(()));
    assert_eq!(door.issuer.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_leaves_the_fetch_to_the_next_one() {
    let door = Door::new();
    door.issuer.when_asked_for_keys(Behaviour::Hang);
    assert!(
        tokio::time::timeout(Duration::from_secs(1), door.current(now()))
            .await
            .is_err()
    );
    door.issuer.when_asked_for_keys(Behaviour::Answer);
    assert_eq!(door.current(now() + Duration::from_secs(5)).await, Ok(()));
}

#[tokio::test]
async fn keys_are_fetched_from_the_issuers_own_host_only() {
    for elsewhere in [
        "https://evil.example/v1/.well-known/keys",
        "https://login.botframework.com.evil.example/v1/.well-known/keys",
        "https://login.botframework.com@evil.example/v1/.well-known/keys",
        "https://login.botframework.com:8443/v1/.well-known/keys",
        "https://login.botframework.com\\@evil.example/keys",
        "https://evil.example\\login.botframework.com/keys",
        "https://login.botframework.com?.evil.example/keys",
        "https://login.botframework.com#.evil.example/keys",
        "https://login.botframework.com",
        "http://login.botframework.com/v1/.well-known/keys",
        "//login.botframework.com/v1/.well-known/keys",
        "https://login.botframework.azure.us/v1/.well-known/keys",
        "https://169.254.169.254/keys",
        "file:///keys",
        "/v1/.well-known/keys",
        "",
    ] {
        let door = Door::new();
        door.issuer.moves_keys_to(elsewhere);
        assert_eq!(door.current(now()).await, Ok(()), "{elsewhere}");
        assert_eq!(
            door.issuer.requests()[1..],
            ["https://login.botframework.com/v1/.well-known/keys"],
            "{elsewhere}"
        );
    }
    let door = Door::new();
    door.issuer
        .moves_keys_to("https://login.botframework.com/v2/keys");
    assert_eq!(door.current(now()).await, Ok(()));
    assert_eq!(
        door.issuer.requests()[1],
        "https://login.botframework.com/v2/keys",
        "it may move within its host"
    );
}
