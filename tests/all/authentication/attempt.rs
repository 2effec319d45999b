//! A posted activity with a token: valid in every respect until a case changes it.

use std::time::{Duration, SystemTime};

use botframework::activity::Activity;
use botframework::auth::{Authenticator, Caller, Denied, Policy};
use botframework::cloud::Cloud;
use botframework::connector::Connector;
use botframework::lossless::{LosslessJson, NumberTexts};
use botframework::service_url::{Loopback, OtherChannels, TrustRule};
use herald::acceptance::Settings;
use herald::backend::Memory;
use herald::clock::{Clock, Random};
use herald::queue::memory::Queue;
use herald::store::memory::Store;
use herald::store::{ConversationFilter, Conversations};
use herald_local::issuer::SigningKey;
use jiff::Timestamp;
use lambda_http::http::header::AUTHORIZATION;
use lambda_http::http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tests::channel::Channel;
use tests::credential::given;
use tests::gateway;
use tests::issuer::{Fixture, Issuer};

use crate::world::{personal, post, text};

pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const BOT: &str = "0000000a-0000-4000-8000-00000000b07a";
pub(super) const TENANT: &str = "0000000b-0000-4000-8000-00000000000a";

/// The inputs of the authenticator: the request, its token, and the policy.
pub(super) struct Attempt {
    pub(super) policy: Policy,
    pub(super) trust: TrustRule,
    pub(super) issuer: Issuer,
    pub(super) header: Value,
    pub(super) claims: Value,
    /// The texts of numbers in the claims.
    pub(super) numbers: NumberTexts,
    pub(super) signer: &'static SigningKey,
    pub(super) activity: Value,
    /// Changes the signed token before it is sent.
    pub(super) token: Box<dyn Fn(String) -> String>,
    /// The headers that carry the token.
    pub(super) headers: Box<dyn Fn(&str) -> HeaderMap>,
}

/// A change of an attempt.
pub(super) type Change = Box<dyn Fn(&mut Attempt)>;

/// The expected result of an attempt: the HTTP status and the `error_type`.
pub(super) struct Case {
    pub(super) name: String,
    status: u16,
    error_type: &'static str,
    change: Change,
}

pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs())
}

pub(super) fn bearer(token: &str) -> HeaderMap {
    one_header(&format!("Bearer {token}"))
}

pub(super) fn one_header(value: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
}

impl Attempt {
    /// A message from Teams in this cloud.
    pub(super) fn of(cloud: Cloud) -> Self {
        let service_url = format!("https://{}/emea/", cloud.endpoints().teams_hosts[0]);
        let mut activity = personal("ada", "message");
        activity["serviceUrl"] = json!(service_url);
        activity["conversation"]["tenantId"] = json!(TENANT);
        Self {
            policy: Policy::new(cloud, BOT.to_owned()),
            trust: TrustRule::new(cloud, OtherChannels::Refused, Loopback::Refused),
            issuer: Issuer::endorsing(&["webchat", "msteams"]),
            header: json!({"typ": "JWT", "alg": "RS256", "kid": "current", "x5t": "current"}),
            claims: json!({
                "iss": cloud.endpoints().inbound_issuer, "aud": BOT, "serviceurl": service_url,
                "nbf": NOW - 60, "exp": NOW + 3540,
            }),
            numbers: NumberTexts::default(),
            signer: Fixture::Current.key(),
            activity,
            token: Box::new(|token| token),
            headers: Box::new(bearer),
        }
    }

    pub(super) fn sealed(&self) -> HeaderMap {
        let claims = LosslessJson {
            value: self.claims.clone(),
            numbers: self.numbers.clone(),
        };
        let token = self.signer.sign(&self.header, &claims).unwrap();
        (self.headers)(&(self.token)(token))
    }

    pub(super) fn authenticator(&self) -> Authenticator {
        Authenticator::new(self.policy.clone(), self.trust.clone(), self.issuer.clone(), 7)
    }

    /// Authenticates the attempt.
    pub(super) async fn caller(&self) -> Result<Caller, Denied> {
        let activity = Activity::from_value(self.activity.clone()).unwrap();
        let headers = self.sealed();
        self.authenticator()
            .authenticate(&headers, activity, now())
            .await
            .map(|verified| verified.caller().clone())
    }

    /// The `error_type` of the result, empty if the activity is accepted.
    pub(super) async fn verdict(&self) -> &'static str {
        self.caller().await.map_or_else(Denied::error_type, |_| "")
    }

    /// The response of the messages function, and whether it stored anything.
    async fn answer(&self) -> (u16, String, bool) {
        let (store, channel) = (Store::new(), Channel::new());
        let context = messages::Context::<Memory> {
            topics: messages::Topics::default(),
            conversations: store.clone(),
            registry: store.clone(),
            notifications: store.clone(),
            plans: Queue::new(),
            events: Queue::new(),
            settings: Settings::default(),
            authenticator: self.authenticator(),
            connector: Connector::new(channel.clone(), self.trust.clone(), given(Cloud::Public)),
            random: Random::from_fn(|| [7; 16]),
            clock: Clock::from_fn(|| Timestamp::from_second(NOW).unwrap()),
        };
        let mut request = post("/api/messages", &self.activity.to_string());
        *request.headers_mut() = self.sealed();
        let answer = gateway::post(&messages::app(context), request).await;
        let everyone = ConversationFilter::Everyone {
            segment: 0,
            segments: 1,
        };
        let remembered = store.list(&everyone, None, 10).await.unwrap().items;
        let believed = !remembered.is_empty() || channel.requests() > 0;
        (answer.status().as_u16(), text(&answer), believed)
    }
}

impl Case {
    pub(super) fn admitted(name: &str, change: Change) -> Self {
        Self::new(name, 200, "", change)
    }

    /// A case whose token is invalid.
    pub(super) fn unauthorized(name: &str, error_type: &'static str, change: Change) -> Self {
        Self::new(name, 401, error_type, change)
    }

    /// A case whose token is valid, but used on the wrong channel or service URL.
    pub(super) fn forbidden(name: &str, error_type: &'static str, change: Change) -> Self {
        Self::new(name, 403, error_type, change)
    }

    fn new(name: &str, status: u16, error_type: &'static str, change: Change) -> Self {
        Self {
            name: name.to_owned(),
            status,
            error_type,
            change,
        }
    }

    /// The same case with `first` applied before its change.
    pub(super) fn after(self, first: Change) -> Self {
        let then = self.change;
        Self {
            change: Box::new(move |it| {
                first(it);
                then(it);
            }),
            ..self
        }
    }

    /// Asserts the expected result, and that a refusal has no effect and says its status only: not why a token was refused.
    pub(super) async fn judge(&self, mut attempt: Attempt) {
        (self.change)(&mut attempt);
        assert_eq!(attempt.verdict().await, self.error_type, "{}", self.name);
        let (status, body, believed) = attempt.answer().await;
        assert_eq!(status, self.status, "{}", self.name);
        assert_eq!(body, said(status), "{}", self.name);
        assert_eq!(believed, self.status == 200, "{}", self.name);
    }
}

/// The body of every answer with this status.
pub(super) fn said(status: u16) -> String {
    let problem =
        |title: &str, detail: &str| format!(r#"{{"title":"{title}","status":{status},"detail":"{detail}"}}"#);
    match status {
        200 => String::new(),
        400 => problem("Bad Request", "The body is not an activity of the Bot Framework."),
        401 => problem("Unauthorized", "The request has no valid token of a channel."),
        403 => problem(
            "Forbidden",
            "The token is valid, but this channel, tenant, bot or service URL is not accepted.",
        ),
        other => panic!("a refusal with status {other}"),
    }
}

pub(super) fn change(change: impl Fn(&mut Attempt) + 'static) -> Change {
    Box::new(change)
}

pub(super) fn nothing() -> Change {
    change(|_| {})
}

pub(super) fn claim(name: &'static str, value: Value) -> Change {
    change(move |it| it.claims[name] = value.clone())
}

pub(super) fn no_claim(name: &'static str) -> Change {
    change(move |it| drop(it.claims.as_object_mut().unwrap().remove(name)))
}

pub(super) fn header(name: &'static str, value: Value) -> Change {
    change(move |it| it.header[name] = value.clone())
}

pub(super) fn no_header(name: &'static str) -> Change {
    change(move |it| drop(it.header.as_object_mut().unwrap().remove(name)))
}

pub(super) fn field(name: &'static str, value: Value) -> Change {
    change(move |it| it.activity[name] = value.clone())
}

/// Sets one service URL in both the token and the activity.
pub(super) fn everywhere(url: impl Into<String>) -> Change {
    let url = url.into();
    change(move |it| {
        it.claims["serviceurl"] = json!(url);
        it.activity["serviceUrl"] = json!(url);
    })
}

pub(super) fn token(make: impl Fn(String) -> String + Clone + 'static) -> Change {
    change(move |it| it.token = Box::new(make.clone()))
}

pub(super) fn headers(make: impl Fn(&str) -> HeaderMap + Clone + 'static) -> Change {
    change(move |it| it.headers = Box::new(make.clone()))
}

/// Replaces one member of the key that the issuer publishes.
pub(super) fn key(name: &'static str, value: Value) -> Change {
    change(move |it| {
        let mut published = Fixture::Current.key().published("current", &["msteams"]);
        published[name] = value.clone();
        it.issuer.publish(json!([published]));
    })
}
