//! The bot's token: the real binaries, a channel, a token endpoint, and a thief that tries to get the token.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use botframework::activity::Activity;
use botframework::http::HttpTransport;
use herald::audience::Recipient;
use herald::aws::Sdk;
use herald::clock::Clock;
use herald::config::Environment;
use herald::conversation::Observation;
use herald::delivery::{DeliveryKey, State};
use herald::store::{Conversations, Ledger, dynamodb};
use herald_local::issuer::Issuer;
use herald_local::{Event, Host, Options, channel, front};
use serde_json::{Value, json};
use tests::channel::Behaviour;
use tests::recorder::{Answer, Recorder, Request};
use tokio::sync::mpsc;

use crate::world::{World, personal};

const APP: &str = "00000000-0000-4000-8000-00000000b07a";
/// Texts that must be in no log: a secret, and the prefix of every token.
const SECRET: &str = "canary-secret-Zq8";
const TOKEN: &str = "canary-token-";

/// One running system, with authentication.
struct System {
    host: Host,
    issuer: Issuer,
    events: mpsc::UnboundedReceiver<Event>,
    http: reqwest::Client,
}

/// A token endpoint that grants `canary-token-1`, `-2` and so on.
async fn granting() -> Recorder {
    Recorder::answering(|_, number| granted(number)).await.unwrap()
}

fn granted(number: usize) -> Answer {
    let grant =
        json!({"token_type": "Bearer", "expires_in": 3599, "access_token": format!("{TOKEN}{number}")});
    (200, String::new(), grant.to_string())
}

/// A channel that accepts everything.
async fn taking() -> Recorder {
    Recorder::answering(|_, number| (201, String::new(), json!({"id": number.to_string()}).to_string()))
        .await
        .unwrap()
}

impl System {
    async fn start(tokens: &Recorder) -> Self {
        static BUILT: OnceLock<Options> = OnceLock::new();
        let mut options =
            tokio::task::spawn_blocking(|| BUILT.get_or_init(|| Options::built().unwrap()).clone())
                .await
                .unwrap();
        let issuer = Issuer::open(channel::CHANNEL_ID).await.unwrap();
        options.authenticate(APP, &issuer);
        options.concurrency = 1;
        options
            .parameters
            .insert("MicrosoftAppPassword".to_owned(), SECRET.to_owned());
        options
            .environment
            .insert("HERALD_TOKEN_URL".to_owned(), format!("{}/token", tokens.url));
        let listener = front::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let host = Host::start(listener, &options).await.unwrap();
        let events = host.events();
        let http = tests::http_client::builder().build().unwrap();
        Self {
            host,
            issuer,
            events,
            http,
        }
    }

    fn sdk(&self) -> Sdk {
        let endpoint = self.host.dynamodb_endpoint();
        let environment = Environment::from_fn(move |name| {
            Some(match name {
                "AWS_ENDPOINT_URL_DYNAMODB" => endpoint.clone(),
                "AWS_REGION" => "us-east-1".to_owned(),
                "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => "local".to_owned(),
                _ => return None,
            })
        });
        Sdk::new(&environment, &HttpTransport::builder().build().unwrap()).unwrap()
    }

    fn table(&self, name: &str) -> String {
        let mut tables = self.host.stack().tables.iter();
        tables
            .find(|table| table.name.contains(name))
            .unwrap()
            .name
            .clone()
    }

    /// Stores a conversation directly in the table, with any service URL.
    async fn remembers(&self, person: &str, service_url: &str) {
        let conversations = dynamodb::Conversations::new(&self.sdk(), self.table("Conversations"));
        let mut activity = personal(person, "installationUpdate");
        activity["serviceUrl"] = json!(service_url);
        for observation in Observation::from_activity(&Activity::from_value(activity).unwrap()) {
            conversations
                .remember(observation, Clock::system().now())
                .await
                .unwrap();
        }
    }

    /// Posts an activity as the channel does, with its token.
    async fn hears(&self, person: &str, service_url: &str) -> u16 {
        let mut activity = personal(person, "message");
        (activity["serviceUrl"], activity["channelId"]) = (json!(service_url), json!(channel::CHANNEL_ID));
        let token = self
            .issuer
            .token(APP, service_url, Clock::system().now())
            .unwrap();
        let request = self
            .http
            .post(format!("{}/api/messages", self.host.url()))
            .header("authorization", format!("Bearer {token}"))
            .body(activity.to_string());
        request.send().await.unwrap().status().as_u16()
    }

    async fn asks(&self) -> Value {
        let body =
            json!({"audience": {"everyone": true}, "message": {"text": "news"}, "guarantee": "atMostOnce"});
        let request = self
            .http
            .post(format!("{}/api/notifications", self.host.url()))
            .header("content-type", "application/json")
            .body(body.to_string());
        serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap()
    }

    async fn counts(&self, accepted: &Value) -> Value {
        let url = format!("{}{}", self.host.url(), accepted["statusUrl"].as_str().unwrap());
        let status = self.http.get(url).send().await.unwrap().text().await.unwrap();
        serde_json::from_str::<Value>(&status).unwrap()["counts"].clone()
    }

    /// Stops the system. Returns every line that its functions logged, and how often the sender was invoked. Asserts that no
    /// line holds a secret, a token or a text.
    async fn stop(mut self) -> (Vec<String>, usize) {
        self.host.stop().await;
        let (mut lines, mut invocations) = (Vec::new(), 0);
        while let Some(event) = self.events.recv().await {
            match event {
                Event::Logged { line, .. } => {
                    assert!(!line.contains("canary") && !line.contains("news"), "{line}");
                    lines.push(line);
                }
                Event::Invoked { function, .. } if function == "sender" => invocations += 1,
                _ => {}
            }
        }
        (lines, invocations)
    }
}

fn without_authorization(requests: &[Request]) -> bool {
    requests.iter().all(|request| request.authorization.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_sent_to_the_channel_only() {
    let tokens = granting().await;
    let thief = taking().await;
    let elsewhere = format!("{}/v3/conversations/a/activities", thief.url);
    let channel = Recorder::answering(move |request, number| {
        if request.line.contains("redirected") {
            return (307, format!("location: {elsewhere}\r\n"), String::new());
        }
        // The service URL in this answer must never be used.
        let answer = json!({"id": number.to_string(), "serviceUrl": elsewhere});
        (201, String::new(), answer.to_string())
    })
    .await
    .unwrap();
    let system = System::start(&tokens).await;
    let port = thief.port;
    // Each of these leads to the thief if a URL library normalizes it.
    let tricks = [
        format!("http://2130706433:{port}/"),
        format!("http://0x7f000001:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://0.0.0.0:{port}/"),
        format!("http://127.0.0.1.:{port}/"),
        format!("http://localhost.:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://bot@127.0.0.1:{port}/"),
        format!(
            "http://{}@127.0.0.1:{port}/",
            channel.url.trim_start_matches("http://")
        ),
        format!("http://127.0.0.1:{port}/?"),
        format!("http://127.0.0.1:{port}/a/../b/"),
        format!(
            "http://127.0.0.1:{port}\\@{}/",
            channel.url.trim_start_matches("http://")
        ),
        format!(" http://127.0.0.1:{port}/"),
        format!("HTTP://127.0.0.1:{port}/"),
    ];
    for (number, trick) in tricks.iter().enumerate() {
        system.remembers(&format!("thief-{number}"), trick).await;
    }
    for person in ["ada", "eve", "redirected"] {
        system.remembers(person, &channel.url).await;
    }
    assert_eq!(system.hears("joe", &channel.url).await, 200);
    assert_eq!(system.hears("mallory", &tricks[0]).await, 403);
    let accepted = system.asks().await;
    system.host.drained().await;

    let counts = system.counts(&accepted).await;
    assert_eq!(
        (&counts["delivered"], &counts["rejected"], &counts["open"]),
        (&json!(3), &json!(tricks.len() + 1), &json!(0)),
        "{counts}"
    );
    let sent = channel.requests();
    assert_eq!(sent.len(), 5, "four messages and an answer: {sent:#?}");
    for request in &sent {
        let [authorization] = request.authorization.as_slice() else {
            panic!("{request:?}");
        };
        assert!(
            authorization.starts_with(&format!("Bearer {TOKEN}")),
            "{request:?}"
        );
    }
    assert_eq!(thief.requests(), []);
    let asked = tokens.requests();
    assert!(without_authorization(&asked), "{asked:#?}");
    assert_eq!(asked.len(), 2, "one for each process that sends");
    assert!(asked.iter().all(|request| request.body.contains(SECRET)));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nothing_is_sent_lost_or_counted() {
    let mended = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&mended);
    let tokens = Recorder::answering(move |_, number| {
        if switch.load(Ordering::SeqCst) {
            return granted(number);
        }
        let refusal = json!({
            "error": "invalid_client", "error_description": format!("AADSTS7000215: {SECRET} is wrong"),
            "error_codes": [7_000_215], "correlation_id": "11111111-2222-3333-4444-555555555555",
        });
        (401, "retry-after: 1\r\n".to_owned(), refusal.to_string())
    })
    .await
    .unwrap();
    let channel = taking().await;
    let system = System::start(&tokens).await;
    for number in 0..30 {
        system.remembers(&format!("p{number}"), &channel.url).await;
    }
    let accepted = system.asks().await;
    tokens.asked(4).await;
    let counts = system.counts(&accepted).await;
    assert_eq!(
        (&counts["audience"], &counts["open"]),
        (&json!(30), &json!(30)),
        "{counts}"
    );
    assert_eq!(channel.requests(), []);

    mended.store(true, Ordering::SeqCst);
    system.host.drained().await;
    let counts = system.counts(&accepted).await;
    assert_eq!(
        (&counts["delivered"], &counts["open"]),
        (&json!(30), &json!(0)),
        "{counts}"
    );
    assert_eq!(channel.requests().len(), 30);
    let dead = system.host.queues().counts("DeliveriesDeadLetterQueue").unwrap();
    assert_eq!(dead.visible, 0);
    let ledger = dynamodb::Ledger::new(&system.sdk(), system.table("Deliveries"));
    for number in 0..30 {
        let recipient = Recipient::Conversation(format!("msteams|28:bot|a:p{number}").parse().unwrap());
        let delivery = DeliveryKey::new(&accepted["id"].as_str().unwrap().parse().unwrap(), &recipient);
        assert_eq!(
            ledger.rows(std::slice::from_ref(&delivery)).await.unwrap()[0]
                .as_ref()
                .unwrap()
                .attempt,
            1
        );
    }
    let (lines, invocations) = system.stop().await;
    let told = lines.iter().filter(|line| line.contains("TokenMisconfigured"));
    let told: Vec<_> = told.collect();
    assert!(
        (1..=invocations).contains(&told.len()),
        "once an invocation: {told:#?}"
    );
    for line in told {
        assert!(
            line.contains("7000215") && line.contains("11111111-2222-3333-4444-555555555555"),
            "{line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_token_is_refreshed_within_the_attempt() {
    let tokens = granting().await;
    // The first token that it receives.
    let old = OnceLock::new();
    let channel = Recorder::answering(move |request, number| {
        if request.authorization == *old.get_or_init(|| request.authorization.clone()) {
            return (401, String::new(), String::new());
        }
        (201, String::new(), json!({"id": number.to_string()}).to_string())
    })
    .await
    .unwrap();
    let system = System::start(&tokens).await;
    for person in ["ada", "eve", "joe"] {
        system.remembers(person, &channel.url).await;
    }
    let accepted = system.asks().await;
    system.host.drained().await;
    assert_eq!(system.counts(&accepted).await["delivered"], 3);
    let seen: HashSet<_> = channel
        .requests()
        .into_iter()
        .map(|request| request.authorization)
        .collect();
    assert_eq!(seen.len(), 2, "one refused token, then one for all");
    system.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_bot_whose_token_is_always_rejected_loses_no_delivery() {
    let world = World::new();
    let people: Vec<String> = (0..20).map(|number| format!("p{number}")).collect();
    let unregistered = Behaviour::Refuse {
        status: 401,
        code: "BotNotRegistered",
    };
    for person in &people {
        world.hears(&personal(person, "installationUpdate")).await;
        world.channel.when(&format!("a:{person}"), unregistered.clone());
    }
    let before = world.channel.requests();
    let body = json!({"audience": {"tenant": "tenant-1"}, "message": {"text": "news"}});
    let id = world.asks(&body).await;
    world.plan().await;
    for round in 1..=13 {
        let chunk = world.deliveries.take().unwrap();
        world.pass(i64::try_from(chunk.delay.as_secs()).unwrap() + 1);
        let sent = world.channel.requests();
        world.send_one(&chunk.body).await;
        assert!(
            world.channel.requests() - sent <= 8,
            "only the requests in flight"
        );
        assert_eq!(world.notification(&id).await.open(), 20, "round {round}");
        assert!(
            (59..=60).contains(&chunk.delay.as_secs()) || round == 1,
            "{:?}",
            chunk.delay
        );
    }
    assert!(world.channel.requests() > before);
    let first = Recipient::Conversation("msteams|28:bot|a:p0".parse().unwrap());
    let row = world.row(&id, &first).await;
    assert!(
        matches!(&row.state, State::Waiting { reason, .. } if reason == "BotNotRegistered"),
        "{row:?}"
    );
    assert_eq!(row.ambiguous_attempts, 0);

    for person in &people {
        world.channel.when(&format!("a:{person}"), Behaviour::Accept);
    }
    world.work().await;
    assert_eq!(world.notification(&id).await.counts.delivered, 20);
}
