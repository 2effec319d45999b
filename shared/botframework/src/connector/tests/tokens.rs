//! Where the bot's token goes, where it does not, and what follows when it is not taken.

use std::time::{SystemTime, UNIX_EPOCH};

use super::*;
use crate::credential::tests::Endpoint;
use crate::credential::{Credential, Registration, Runtime, SecretString, Tenancy};

const CLOUD: &str = "https://smba.trafficmanager.net/in/";

/// A channel in this process that accepts given tokens, and records the `Authorization` of each request.
#[derive(Clone)]
struct Channel {
    takes: fn(&str) -> bool,
    refusal: &'static str,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Channel {
    fn taking(takes: fn(&str) -> bool) -> Self {
        Self {
            takes,
            refusal: "",
            seen: Arc::default(),
        }
    }

    fn connector(&self, loopback: Loopback, credential: Credential) -> Connector {
        Connector::new(self.clone(), rule(loopback), credential)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Transport for Channel {
    fn send(&self, request: Request<Bytes>) -> ResponseFuture<'_> {
        let headers = request.headers().get_all(AUTHORIZATION);
        let said: Vec<_> = headers.iter().map(|value| value.to_str().unwrap()).collect();
        assert!(said.len() <= 1, "two headers: {said:?}");
        let authorization = said.concat();
        let taken = (self.takes)(&authorization);
        self.seen.lock().unwrap().push(authorization);
        let (status, body) = if taken {
            (201, r#"{"id":"17"}"#)
        } else {
            (401, self.refusal)
        };
        let response = ::http::Response::builder().status(status);
        Box::pin(async move { Ok(response.body(Body::Complete(body.into())).unwrap()) })
    }
}

/// The credential of a bot whose tokens come from a stand-in on this machine.
fn stand_in(endpoint: &Endpoint) -> Credential {
    let bot = Registration::new(Cloud::Public, &Tenancy::MultiTenant, "b07a").unwrap();
    Credential::new(
        endpoint.clone(),
        bot.at_stand_in("http://127.0.0.1:1/token").unwrap(),
        SecretString::from(String::new()),
        Runtime::new(|| UNIX_EPOCH, || [0; 16]),
    )
}

#[tokio::test]
async fn one_token_goes_with_every_request_to_the_cloud() {
    let (channel, endpoint) = (Channel::taking(|_| true), Endpoint::new());
    let connector = channel.connector(Loopback::Refused, endpoint.credential());
    for _ in 0..3 {
        send(&connector, CLOUD).await.unwrap();
    }
    connector.members(CLOUD, &"a:1".into()).await.unwrap_err();
    assert_eq!(channel.seen(), vec!["Bearer token-1"; 4]);
    assert_eq!(endpoint.asked(), 1);
}

#[tokio::test]
async fn a_url_that_is_not_trusted_gets_no_token_and_none_is_fetched_for_it() {
    let (channel, endpoint) = (Channel::taking(|_| true), Endpoint::new());
    let connector = channel.connector(Loopback::Refused, endpoint.credential());
    for url in [
        "https://evil.example/",
        "https://smba.trafficmanager.net.evil.example/in/",
        "https://evil.trafficmanager.net/",
        "http://smba.trafficmanager.net/in/",
        "https://smba.trafficmanager.net:444/in/",
        "https://smba.trafficmanager.net@evil.example/",
        "http://127.0.0.1:3979/",
        "",
    ] {
        connector.ensure_token(url).await.unwrap();
        assert_eq!(
            send(&connector, url).await.unwrap_err().class(),
            Class::Rejected,
            "{url}"
        );
    }
    assert_eq!((channel.seen().len(), endpoint.asked()), (0, 0));
}

#[tokio::test]
async fn the_clouds_token_never_goes_to_this_machine_and_a_stand_ins_never_leaves_it() {
    let local = "http://localhost:3979/";
    for (credential_of, expected) in [
        (
            Endpoint::credential as fn(&Endpoint) -> Credential,
            ["Bearer token-1", ""],
        ),
        (stand_in, ["", "Bearer token-1"]),
    ] {
        let (channel, endpoint) = (Channel::taking(|_| true), Endpoint::new());
        let connector = channel.connector(Loopback::Trusted, credential_of(&endpoint));
        for url in [CLOUD, local] {
            connector.ensure_token(url).await.unwrap();
            send(&connector, url).await.unwrap();
        }
        assert_eq!(channel.seen(), expected);
    }
}

#[tokio::test]
async fn without_a_credential_nothing_but_this_machine_is_spoken_to_and_without_a_token() {
    let channel = Channel::taking(|_| true);
    let connector = Connector::unauthenticated(channel.clone());
    connector.ensure_token("http://127.0.0.1:3979/").await.unwrap();
    assert_eq!(
        send(&connector, CLOUD).await.unwrap_err().class(),
        Class::Rejected
    );
    send(&connector, "http://127.0.0.1:3979/").await.unwrap();
    assert_eq!(channel.seen(), [""]);
}

#[tokio::test]
async fn a_token_that_is_not_taken_is_replaced_and_the_request_made_once_more() {
    let (channel, endpoint) = (Channel::taking(|said| said == "Bearer token-2"), Endpoint::new());
    let connector = channel.connector(Loopback::Refused, endpoint.credential());
    send(&connector, CLOUD).await.unwrap();
    send(&connector, CLOUD).await.unwrap();
    let expected = ["Bearer token-1", "Bearer token-2", "Bearer token-2"];
    assert_eq!(channel.seen(), expected);
    assert_eq!(endpoint.asked(), 2);
}

#[tokio::test]
async fn many_requests_with_a_token_that_is_not_taken_fetch_one() {
    let (channel, endpoint) = (Channel::taking(|said| said == "Bearer token-2"), Endpoint::new());
    let connector = channel.connector(Loopback::Refused, endpoint.credential());
    let all = futures_util::future::join_all((0..50).map(|_| send(&connector, CLOUD))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(endpoint.asked(), 2);
}

#[tokio::test]
async fn a_second_refusal_is_final_and_says_that_it_is_the_bots() {
    let channel = Channel {
        refusal: r#"{"error":{"code":"BotNotRegistered","message":"who?"}}"#,
        ..Channel::taking(|_| false)
    };
    let endpoint = Endpoint::new();
    let connector = channel.connector(Loopback::Refused, endpoint.credential());
    let error = send(&connector, CLOUD).await.unwrap_err();
    assert!(error.is_unauthorized());
    assert_eq!(
        (error.class(), error.code(), error.status()),
        (Class::NotSent, Some("BotNotRegistered"), Some(401))
    );
    assert_eq!(channel.seen(), ["Bearer token-1", "Bearer token-2"]);
    assert_eq!(endpoint.asked(), 2);
}

#[tokio::test]
async fn a_401_that_speaks_of_the_conversation_is_not_the_bots() {
    let channel = Channel {
        refusal: r#"{"error":{"code":"BadArgument","message":"Failed to decrypt conversation id"}}"#,
        ..Channel::taking(|_| false)
    };
    let endpoint = Endpoint::new();
    let error = send(
        &channel.connector(Loopback::Refused, endpoint.credential()),
        CLOUD,
    )
    .await
    .unwrap_err();
    assert_eq!((error.class(), error.is_unauthorized()), (Class::Gone, false));
    assert_eq!(endpoint.asked(), 1);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_wait_is_told() {
    let channel = Channel::taking(|_| true);
    let endpoint = Endpoint::answering(|_| (429, "retry-after: 30", String::new()));
    let connector = channel.connector(Loopback::Refused, endpoint.credential());
    assert!(connector.ensure_token(CLOUD).await.is_err());
    let error = send(&connector, CLOUD).await.unwrap_err();
    assert!(error.is_unauthorized());
    assert_eq!((error.class(), error.code()), (Class::NotSent, Some("NoToken")));
    let wait = error.retry_after().unwrap().delay(SystemTime::UNIX_EPOCH);
    assert_eq!(wait, Duration::from_secs(30));
    assert_eq!((channel.seen().len(), endpoint.asked()), (0, 1));
}

#[tokio::test]
async fn a_service_url_in_an_answer_is_kept_only_if_it_is_trusted() {
    struct Elsewhere(&'static str);
    impl Transport for Elsewhere {
        fn send(&self, _: Request<Bytes>) -> ResponseFuture<'_> {
            let body = json!({"id": "a:1", "serviceUrl": self.0}).to_string();
            Box::pin(async move { Ok(::http::Response::new(Body::Complete(body.into()))) })
        }
    }
    for (url, kept) in [
        ("https://smba.trafficmanager.net/emea/", true),
        ("https://evil.example/", false),
        ("https://smba.trafficmanager.net/emea/?to=evil", false),
        ("http://127.0.0.1:3979/", false),
    ] {
        let connector = Connector::new(
            Elsewhere(url),
            rule(Loopback::Refused),
            Endpoint::new().credential(),
        );
        let created = connector
            .create_conversation(CLOUD, &ConversationParameters::default())
            .await
            .unwrap();
        assert_eq!(created.id, Some("a:1".into()));
        assert_eq!(created.service_url.as_deref(), kept.then_some(url));
        assert!(created.extra.is_empty());
    }
}
