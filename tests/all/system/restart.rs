//! A host that goes on where the last one ended, with its channel and the same data directory.

use std::path::PathBuf;

use herald::clock::Clock;
use herald_local::channel::{Channel, Conversation, Person, Posting, TENANT};
use herald_local::data::DataDir;
use herald_local::{Event, Host, Options, front};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::settled;

/// A directory that is deleted when it is dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A host and its channel on a data directory.
struct Run {
    host: Host,
    channel: Channel,
    http: reqwest::Client,
}

impl Run {
    async fn start(place: &Temporary) -> Self {
        static BUILT: OnceCell<Options> = OnceCell::const_new();
        let build = async || {
            let built = tokio::task::spawn_blocking(|| Options::built().unwrap());
            built.await.unwrap()
        };
        let mut options = BUILT.get_or_init(build).await.clone();
        let data = DataDir::open(&place.0).unwrap();
        let listener = front::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let bot = format!("http://{address}/api/messages");
        let channel = Channel::open_kept(&data, address, &bot, None).await.unwrap();
        for name in ["Ada", "Eve"] {
            channel.add(&Conversation::personal(&Person::named(name)));
        }
        options.data = Some(data);
        let host = Host::start(listener, &options).await.unwrap();
        let http = tests::http_client::builder().build().unwrap();
        Self { host, channel, http }
    }

    async fn stop(self) {
        self.host.stop().await;
        self.channel.close().await;
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.host.url());
        let request = self.http.request(method.parse().unwrap(), url);
        let request = request.header("content-type", "application/json");
        let response = request.body(body.to_string()).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Asks for a notification to a person, with these fields in addition, and returns its path.
    async fn notify(&self, name: &str, text: &str, fields: Value) -> String {
        let user = Person::named(name).entra_object_id;
        let mut body = json!({"audience": {"users": [user], "tenant": TENANT}, "message": {"text": text}});
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let accepted = self.ask("POST", "/api/notifications", &body).await;
        accepted["statusUrl"].as_str().unwrap().to_owned()
    }

    async fn status(&self, path: &str) -> Value {
        let response = self
            .http
            .get(format!("{}{path}", self.host.url()))
            .send()
            .await
            .unwrap();
        serde_json::from_str(&response.text().await.unwrap()).unwrap()
    }

    fn texts(&self, posting: Posting) -> Vec<String> {
        let posted = self.channel.posted().into_iter();
        let posted = posted.filter(|posted| posted.posting == posting);
        posted
            .map(|posted| posted.text().unwrap_or_default().to_owned())
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stood_open_before_a_restart_is_delivered_after_it() {
    let place = Temporary(std::env::temp_dir().join(format!("herald-system-{}", std::process::id())));
    let run = Run::start(&place).await;
    for name in ["Ada", "Eve"] {
        let person = Person::named(name);
        let added = run
            .channel
            .add_bot(&Conversation::personal(&person), &person)
            .await
            .unwrap();
        assert_eq!(added.status.as_u16(), 200);
    }
    let early = run.notify("Ada", "early", json!({})).await;
    run.host.drained().await;
    let in_an_hour = Clock::system().now() + SignedDuration::from_hours(1);
    let late = run
        .notify("Eve", "late", json!({"deliverAt": in_an_hour.to_string()}))
        .await;
    // The channel goes away, so that the next one stands open at the end of this run.
    let mut events = run.host.events();
    let Run { host, channel, http } = run;
    let url = channel.service_url();
    channel.close().await;
    let gone = Channel::open("http://127.0.0.1:1/", None).await.unwrap();
    let run = Run {
        host,
        channel: gone,
        http,
    };
    let open = run.notify("Ada", "open", json!({})).await;
    while let Some(event) = events.recv().await {
        if matches!(&event, Event::Batch { function, .. } if function == "sender") {
            break;
        }
    }
    assert_eq!(settled(&run.status(&open).await), 0);
    run.stop().await;

    let run = Run::start(&place).await;
    assert_eq!(
        run.channel.service_url(),
        url,
        "the stored conversations lead to it"
    );
    assert_eq!(run.host.schedules_waiting(), 1);
    run.host.drained().await;
    assert_eq!(run.texts(Posting::New), ["open"]);
    assert_eq!(run.status(&open).await["counts"]["delivered"], 1);
    assert_eq!(
        run.status(&late).await["state"],
        "accepted",
        "not before its time"
    );
    // A message of the first run is still there to be edited.
    run.ask("PUT", &format!("{early}/message"), &json!({"text": "edited"}))
        .await;
    run.host.drained().await;
    assert_eq!(run.texts(Posting::Update), ["edited"]);
    run.stop().await;
}
