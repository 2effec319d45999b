//! With a data directory a host goes on where the last one ended.

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use herald_local::{
    channel::{Channel, Conversation, KeptError, Person},
    data::{self, DataDir},
    dynamodb::Contents,
};

use super::*;

/// A directory that is deleted when it is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Temporary {
        Temporary(std::env::temp_dir().join(format!("herald-host-{}", uuid::Uuid::new_v4().simple())))
    }

    fn open(&self) -> DataDir {
        DataDir::open(&self.0).unwrap()
    }

    async fn start(&self) -> Host {
        let mut options = options(TEMPLATE);
        options.data = Some(self.open());
        Host::start(anywhere(), &options).await.unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn message(body: &str) -> Message {
    Message {
        body: body.into(),
        ..Message::default()
    }
}

async fn invoked(events: &mut mpsc::UnboundedReceiver<Event>) {
    next(events, |event| {
        matches!(event, Event::Invoked { .. }).then_some(())
    })
    .await;
}

#[tokio::test]
async fn messages_and_schedules_survive_a_restart() {
    let place = Temporary::new();
    let host = place.start().await;
    let schedule = far_schedule();
    let url = format!("{}/schedules/later", host.scheduler_endpoint());
    assert_eq!(
        Client::default().post(&url, &schedule).await.unwrap().status,
        StatusCode::OK
    );
    let quarter = Some(Duration::from_mins(15));
    host.queues().send("Work", message("delayed"), quarter).unwrap();
    host.queues().send("Dead", message("dead"), None).unwrap();
    host.queues().send("Dead", message("deleted"), None).unwrap();
    let received = host.queues().receive("Dead", 2, None).unwrap();
    host.queues().delete("Dead", &received[1].receipt).unwrap();
    host.stop().await;

    for _ in 0..2 {
        let host = place.start().await;
        let work = host.queues().counts("Work").unwrap();
        assert_eq!((work.visible, work.in_flight, work.delayed), (0, 0, 1));
        let dead = host.queues().receive("Dead", 10, None).unwrap();
        let dead: Vec<&str> = dead.iter().map(|dead| dead.message.body.as_str()).collect();
        assert_eq!(dead, ["dead"], "visible again, because its receiver ended");
        assert_eq!(host.schedules_waiting(), 1);
        host.stop().await;
    }
    let host = place.start().await;
    let mut events = host.events();
    assert_eq!(host.bring_schedules_forward(), 1);
    invoked(&mut events).await;
    host.stop().await;
    assert_eq!(place.start().await.schedules_waiting(), 0, "it ran");
}

#[tokio::test]
async fn a_message_in_flight_is_handed_over_again_after_a_restart() {
    let place = Temporary::new();
    let host = place.start().await;
    let mut events = host.events();
    host.queues().send("Work", message("hang"), None).unwrap();
    invoked(&mut events).await;
    // Without a stop, as if the host was killed.
    drop(host);
    let host = place.start().await;
    let mut events = host.events();
    // The pollers may have been faster than the subscription: the queue says that it is there.
    assert_eq!(host.queues().counts("Work").unwrap().delayed, 0);
    host.queues().send("Work", message("echo"), None).unwrap();
    invoked(&mut events).await;
    let left = host.queues().counts("Work").unwrap();
    assert!(left.visible + left.in_flight >= 1, "{left:?}");
    host.stop().await;
}

#[tokio::test]
async fn a_host_knows_whether_its_tables_are_in_use_and_keeps_them_private() {
    let place = Temporary::new();
    for contents in [Contents::Empty, Contents::Some] {
        let host = place.start().await;
        assert_eq!(host.opened(), contents);
        let item = json!({ "TableName": "Table", "Item": { "id": { "S": "a" } } });
        let (_, variables) = told(&host, "environment").await;
        assert_eq!(variables["TABLE"], "Table");
        put(&host, &item).await;
        host.stop().await;
    }
    let files: Vec<_> = std::fs::read_dir(&place.0).unwrap().map(Result::unwrap).collect();
    let names: Vec<_> = files
        .iter()
        .map(|file| file.file_name().into_string().unwrap())
        .collect();
    for name in ["dynamodb.sqlite", "queues.jsonl", "schedules.jsonl"] {
        assert!(names.iter().any(|known| known == name), "{names:?}");
    }
    for file in files {
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.path());
    }
}

/// Puts an item by DynamoDB's wire protocol. The engine checks that a request is signed, not by whom.
async fn put(host: &Host, item: &Value) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = host.dynamodb_endpoint().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let body = item.to_string();
    let signed = "authorization: AWS4-HMAC-SHA256 Credential=local/20261130/us-east-1/dynamodb/aws4_request, \
                  SignedHeaders=host;x-amz-date, Signature=00\r\nx-amz-date: 20261130T000000Z\r\n";
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\n{signed}x-amz-target: DynamoDB_20120810.PutItem\r\ncontent-type: \
         application/x-amz-json-1.0\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn two_hosts_do_not_share_a_directory() {
    let place = Temporary::new();
    let host = place.start().await;
    assert!(matches!(DataDir::open(&place.0), Err(data::Error::InUse(_))));
    host.stop().await;
    drop(place.open());
}

#[tokio::test]
async fn the_channel_keeps_its_port_and_the_bots_messages() {
    let place = Temporary::new();
    let data = place.open();
    // Below the ports that the system gives to others while the channel is closed. Another run of this test has its own.
    let number = u16::try_from(std::process::id() % 400).unwrap();
    let beside = SocketAddr::from((Ipv4Addr::LOCALHOST, 20_000 + number * 20));
    let chat = Conversation::personal(&Person::named("Ada"));
    let client = Client::default();
    let mut urls = Vec::new();
    let mut sent = String::new();
    for run in 0..3 {
        let channel = Channel::open_kept(&data, beside, "http://127.0.0.1:1/", None)
            .await
            .unwrap();
        channel.add(&chat);
        urls.push(channel.service_url());
        let activities = format!("{}/v3/conversations/{}/activities", urls[run], chat.id);
        if run == 0 {
            let answer = client
                .post(&activities, &json!({ "type": "message", "text": "first" }))
                .await
                .unwrap();
            sent = answer.json()["id"].as_str().unwrap().to_owned();
        } else {
            // A reply has an id of its own, and the first message still has its members.
            let members = client.get(&format!("{activities}/{sent}/members")).await.unwrap();
            assert_eq!(members.status, StatusCode::OK, "run {run}: {:?}", members.json());
        }
        channel.close().await;
    }
    assert!(urls.iter().all(|url| *url == urls[0]), "{urls:?}");
    let port = urls[0].trim_start_matches("http://").split('/').next().unwrap();
    let _taken = std::net::TcpListener::bind(port).unwrap();
    let refused = Channel::open_kept(&data, beside, "http://127.0.0.1:1/", None).await;
    assert!(matches!(refused, Err(KeptError::PortInUse(_))), "{refused:?}");
}
