//! The whole system: the real binaries under the local host with a fake channel, and failures between them.

use std::sync::OnceLock;
use std::time::Duration;

use botframework::activity::Activity;
use botframework::http::HttpTransport;
use futures_util::{StreamExt, stream};
use herald::aws::Sdk;
use herald::clock::Clock;
use herald::config::Environment;
use herald::conversation::Observation;
use herald::store::{Conversations, dynamodb};
use herald_local::{Event, Host, Options, front};
use serde_json::{Value, json};
use tests::channel::{Behaviour, Channel};
use tests::server::Served;
use tokio::io::AsyncWriteExt;

use crate::world::{in_channel, personal};

mod batch;
mod cli;
mod directory;
mod grants;
mod imports;
mod killed;
mod reach;
mod restart;
mod subject;
mod when;

/// One running system and its channel. Tests share nothing.
pub(crate) struct System {
    pub(crate) host: Host,
    pub(crate) channel: Channel,
    served: Served,
    pub(crate) http: reqwest::Client,
}

impl System {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        static BUILT: OnceLock<Options> = OnceLock::new();
        let mut options =
            tokio::task::spawn_blocking(|| BUILT.get_or_init(|| Options::built().unwrap()).clone())
                .await
                .unwrap();
        options.concurrency = 2;
        options.retry_visibility = Some(Duration::from_millis(50));
        change(&mut options);
        let listener = front::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let host = Host::start(listener, &options).await.unwrap();
        let channel = Channel::new();
        let served = channel.serve().await.unwrap();
        let http = tests::http_client::builder()
            .timeout(Duration::from_mins(1))
            .build()
            .unwrap();
        Self {
            host,
            channel,
            served,
            http,
        }
    }

    /// The activity as the channel posts it, from its own service URL.
    fn sent_from_here(&self, mut activity: Value) -> Value {
        activity["serviceUrl"] = json!(self.served.url);
        activity
    }

    pub(crate) async fn hears(&self, activity: Value) -> u16 {
        self.post("/api/messages", self.sent_from_here(activity).to_string())
            .await
            .0
    }

    pub(crate) async fn post(&self, path: &str, body: String) -> (u16, Value) {
        let url = format!("{}{path}", self.host.url());
        let response = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        (
            status,
            serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null),
        )
    }

    async fn status(&self, accepted: &Value) -> Value {
        let url = format!("{}{}", self.host.url(), accepted["statusUrl"].as_str().unwrap());
        serde_json::from_str(&self.http.get(url).send().await.unwrap().text().await.unwrap()).unwrap()
    }

    async fn asks(&self, text: &str) -> Value {
        let body = json!({"audience": {"everyone": true}, "message": {"text": text}});
        let (status, accepted) = self.post("/api/notifications", body.to_string()).await;
        assert_eq!(status, 202, "{accepted}");
        accepted
    }

    /// The conversations table as the functions see it, to fill it faster than through the endpoint.
    fn conversations(&self) -> dynamodb::Conversations {
        dynamodb::Conversations::new(&self.sdk(), self.table("Conversations"))
    }

    /// Hooks, routes and schedules as the functions see them.
    pub(crate) fn registry(&self) -> dynamodb::Registry {
        dynamodb::Registry::new(&self.sdk(), self.table("Notifications"))
    }

    /// The ledger as the functions see it, for assertions.
    fn ledger(&self) -> dynamodb::Ledger {
        dynamodb::Ledger::new(&self.sdk(), self.table("Deliveries"))
    }

    fn table(&self, word: &str) -> String {
        let mut tables = self.host.stack().tables.iter();
        tables
            .find(|table| table.name.contains(word))
            .unwrap()
            .name
            .clone()
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
}

fn settled(status: &Value) -> u64 {
    let counts = status["counts"].as_object().unwrap();
    let count = |name: &str| counts[name].as_u64().unwrap();
    let sum: u64 = counts
        .keys()
        .filter(|name| *name != "audience")
        .map(|name| count(name))
        .sum();
    assert_eq!(sum, count("audience"), "the counts add up: {status}");
    count("audience") - count("open")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_answered_and_a_notification_delivered() {
    let system = System::start().await;
    let mut added = personal("ada", "conversationUpdate");
    added["membersAdded"] = json!([{"id": "28:bot"}]);
    assert_eq!(system.hears(added).await, 200);
    assert_eq!(system.hears(personal("ada", "message")).await, 200);
    let accepted = system.asks("news").await;
    system.host.drained().await;

    let said: Vec<_> = system
        .channel
        .received()
        .into_iter()
        .map(|it| it.activity["text"].clone())
        .collect();
    assert!(said[0].as_str().unwrap().starts_with("Hello!"));
    assert_eq!(said[1..], [json!("You said: hello"), json!("news")]);
    let status = system.status(&accepted).await;
    assert_eq!(
        (&status["state"], &status["counts"]["delivered"]),
        (&json!("completed"), &json!(1))
    );
    assert_eq!(settled(&status), 1);
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_activity_makes_one_recipient() {
    let system = System::start().await;
    let twice = tokio::join!(
        system.hears(personal("ada", "installationUpdate")),
        system.hears(personal("ada", "installationUpdate"))
    );
    assert_eq!(twice, (200, 200));
    let accepted = system.asks("news").await;
    system.host.drained().await;
    assert_eq!(system.channel.count("a:ada"), 1);
    assert_eq!(system.status(&accepted).await["counts"]["audience"], 1);
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_conversation_does_not_stop_the_others() {
    let system = System::start().await;
    for person in ["ada", "dead", "eve"] {
        assert_eq!(system.hears(personal(person, "installationUpdate")).await, 200);
    }
    assert_eq!(
        system
            .hears(in_channel("19:c@thread.tacv2", "installationUpdate"))
            .await,
        200
    );
    system.channel.when(
        "a:dead",
        Behaviour::Refuse {
            status: 403,
            code: "MessageWritesBlocked",
        },
    );
    system.channel.when("a:eve", Behaviour::AcceptSilently);
    let accepted = system.asks("news").await;
    system.host.drained().await;
    let status = system.status(&accepted).await;
    assert_eq!(
        (&status["counts"]["delivered"], &status["counts"]["gone"]),
        (&json!(3), &json!(1)),
        "{status}"
    );
    assert_eq!(settled(&status), 4);
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_once_makes_a_cut_answer_unknown_without_a_retry() {
    let system = System::start().await;
    assert_eq!(system.hears(personal("ada", "installationUpdate")).await, 200);
    system.channel.when("a:ada", Behaviour::Cut);
    let body =
        json!({"audience": {"everyone": true}, "message": {"text": "once"}, "guarantee": "atMostOnce"});
    let (_, accepted) = system.post("/api/notifications", body.to_string()).await;
    system.host.drained().await;
    let status = system.status(&accepted).await;
    assert_eq!(status["counts"]["unknown"], 1, "{status}");
    assert_eq!(system.channel.count("a:ada"), 1);
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_oversized_and_half_sent_activities_change_nothing() {
    let system = System::start().await;
    let whole = system.sent_from_here(personal("ada", "message")).to_string();
    assert_eq!(
        system
            .post("/api/messages", whole[..whole.len() / 2].to_owned())
            .await
            .0,
        400
    );
    assert_eq!(
        system.post("/api/messages", "x".repeat(2 * 1024 * 1024)).await.0,
        413
    );

    let address = system.host.url().trim_start_matches("http://").to_owned();
    let mut half = tokio::net::TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /api/messages HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n",
        whole.len()
    );
    half.write_all(head.as_bytes()).await.unwrap();
    half.write_all(&whole.as_bytes()[..whole.len() / 2])
        .await
        .unwrap();
    drop(half);

    let accepted = system.asks("news").await;
    system.host.drained().await;
    assert_eq!(system.status(&accepted).await["counts"]["audience"], 0);
    assert_eq!(system.channel.requests(), 0);
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tables_nothing_is_acknowledged() {
    let system = System::start().await;
    assert_eq!(system.hears(personal("ada", "installationUpdate")).await, 200);
    system.host.take_dynamodb_away().await;
    assert_eq!(system.hears(personal("eve", "message")).await, 500);
    let body = json!({"audience": {"everyone": true}, "message": {"text": "lost?"}});
    let (status, problem) = system.post("/api/notifications", body.to_string()).await;
    assert_eq!((status, &problem["status"]), (503, &json!(503)));
    assert_eq!(
        system.channel.requests(),
        0,
        "no reply without a stored conversation"
    );

    system.host.bring_dynamodb_back().await.unwrap();
    let accepted = system.asks("news").await;
    system.host.drained().await;
    assert_eq!(system.status(&accepted).await["counts"]["audience"], 1);
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_concurrent_notifications_reach_everyone_once_each() {
    let system = System::start().await;
    for number in 0..40 {
        assert_eq!(
            system
                .hears(personal(&format!("p{number}"), "installationUpdate"))
                .await,
            200
        );
    }
    let (first, second) = tokio::join!(system.asks("first"), system.asks("second"));
    system.host.drained().await;
    for accepted in [first, second] {
        assert_eq!(settled(&system.status(&accepted).await), 40);
    }
    for text in ["first", "second"] {
        let mut reached: Vec<_> = system
            .channel
            .received()
            .into_iter()
            .filter(|it| it.activity["text"] == text)
            .map(|it| it.conversation)
            .collect();
        reached.sort();
        reached.dedup();
        assert_eq!(reached.len(), 40);
    }
    assert_eq!(system.channel.received().len(), 80);
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redelivered_queue_messages_are_not_sent_twice() {
    let system = System::start().await;
    for number in 0..20 {
        assert_eq!(
            system
                .hears(personal(&format!("p{number}"), "installationUpdate"))
                .await,
            200
        );
    }
    for queue in ["PlansQueue", "DeliveriesQueue"] {
        system.host.duplicate_next(queue, 100).unwrap();
    }
    let accepted = system.asks("news").await;
    system.host.drained().await;
    system.host.redeliver("DeliveriesQueue").unwrap();
    system.host.drained().await;
    assert_eq!(settled(&system.status(&accepted).await), 20);
    assert_eq!(system.channel.received().len(), 20);
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_a_killed_sender_stay_open_and_on_the_queue() {
    let system = System::start().await;
    for person in ["ada", "eve"] {
        assert_eq!(system.hears(personal(person, "installationUpdate")).await, 200);
    }
    system.channel.when("a:ada", Behaviour::Hold);
    system.channel.when("a:eve", Behaviour::Hold);
    let body =
        json!({"audience": {"tenant": "tenant-1"}, "message": {"text": "news"}, "guarantee": "atMostOnce"});
    let (_, accepted) = system.post("/api/notifications", body.to_string()).await;
    system.channel.asked(2).await;
    system.host.kill("sender").await.unwrap();
    system.channel.let_go();
    // Its claims are leased until the deadline, and the message stays on the queue until another worker can settle them.
    let left = system.host.queues().counts("DeliveriesQueue").unwrap();
    assert!(left.visible + left.in_flight + left.delayed > 0, "{left:?}");
    let status = system.status(&accepted).await;
    assert_eq!(
        (&status["state"], &status["counts"]["open"]),
        (&json!("sending"), &json!(2)),
        "{status}"
    );
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_line_contains_a_text_a_name_or_a_token() {
    let system = System::start_with(|options| {
        options
            .environment
            .insert("AWS_LAMBDA_LOG_LEVEL".into(), "TRACE".into());
    })
    .await;
    let mut events = system.host.events();
    let canary = |person: &str, kind: &str| {
        let mut activity = personal(person, kind);
        activity["text"] = json!("canary text");
        activity["from"]["name"] = json!("canary name");
        activity["conversation"]["name"] = json!("canary place");
        activity["channelData"] = json!({"token": "canary token"});
        activity
    };
    for person in ["ada", "dead", "cut", "deaf"] {
        assert_eq!(system.hears(canary(person, "message")).await, 200);
    }
    // Refused, cut-off, malformed and misdirected requests quote as much as they can.
    system.channel.when(
        "a:dead",
        Behaviour::Refuse {
            status: 403,
            code: "MessageWritesBlocked",
        },
    );
    system.channel.when("a:cut", Behaviour::Cut);
    system.channel.when(
        "a:deaf",
        Behaviour::Refuse {
            status: 400,
            code: "BadSyntax",
        },
    );
    // Another message, as one that was answered is not answered again.
    let mut refused = canary("deaf", "message");
    refused["id"] = json!("1767000100099");
    assert_eq!(system.hears(refused).await, 500);
    assert_eq!(
        system
            .post("/api/messages", "{\"text\": \"canary text\", ".into())
            .await
            .0,
        400
    );
    let mut elsewhere = canary("eve", "message");
    elsewhere["serviceUrl"] = json!("https://canary.example/");
    assert_eq!(system.post("/api/messages", elsewhere.to_string()).await.0, 403);
    assert_eq!(
        system
            .post("/api/notifications", "{\"message\": canary".into())
            .await
            .0,
        400
    );
    let card =
        json!({"contentType": "application/vnd.microsoft.card.hero", "content": {"title": "canary card"}});
    let body = json!({"audience": {"everyone": true}, "guarantee": "atMostOnce",
        "message": {"text": "canary news", "summary": "canary summary", "attachments": [card]}});
    let (status, accepted) = system.post("/api/notifications", body.to_string()).await;
    assert_eq!(status, 202);
    system.host.drained().await;
    assert_eq!(system.status(&accepted).await["counts"]["audience"], 4);
    system.host.take_dynamodb_away().await;
    assert_eq!(system.hears(canary("joe", "message")).await, 500);
    assert_eq!(system.post("/api/notifications", body.to_string()).await.0, 503);
    system.host.stop().await;

    let mut lines = 0;
    while let Ok(event) = events.try_recv() {
        if let Event::Logged { line, .. } = event {
            assert!(!line.contains("canary"), "{line}");
            lines += 1;
        }
    }
    assert!(lines > 10, "at TRACE the functions said only {lines} things");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_conversations_get_one_message_each() {
    const CONVERSATIONS: usize = 10_000;
    // At the channel's own limit it would take four minutes. This test is only about losing no recipient.
    let system = System::start_with(|options| {
        let limit = ("HERALD_TENANT_LIMIT".to_owned(), "100000/1s".to_owned());
        options.environment.extend([limit]);
    })
    .await;
    let (conversations, now) = (system.conversations(), Clock::system().now());
    let remembered = stream::iter(0..CONVERSATIONS)
        .map(|number| {
            let activity = system.sent_from_here(personal(&format!("p{number}"), "installationUpdate"));
            let conversations = &conversations;
            async move {
                let activity = Activity::from_value(activity).unwrap();
                for observation in Observation::from_activity(&activity) {
                    conversations.remember(observation, now).await.unwrap();
                }
            }
        })
        .buffer_unordered(32);
    remembered.for_each(|()| async {}).await;

    let accepted = system.asks("to all of you").await;
    system.host.drained().await;
    let status = system.status(&accepted).await;
    assert_eq!(
        (&status["state"], &status["counts"]["delivered"]),
        (&json!("completed"), &json!(CONVERSATIONS)),
        "{status}"
    );
    assert_eq!(settled(&status), CONVERSATIONS as u64);
    let mut reached: Vec<_> = system
        .channel
        .received()
        .into_iter()
        .map(|it| it.conversation)
        .collect();
    assert_eq!(reached.len(), CONVERSATIONS);
    reached.sort();
    reached.dedup();
    assert_eq!(reached.len(), CONVERSATIONS, "no duplicates");
    system.host.stop().await;
}
