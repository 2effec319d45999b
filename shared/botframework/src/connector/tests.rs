//! The client against a real server on loopback, which records requests and injects faults.

mod batch;
mod hostile;
mod tokens;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::activity::ChannelAccount;
use crate::credential::tests::Endpoint;
use crate::http::{HttpTransport, ResponseFuture, RetryAfter};
use crate::service_url::{Loopback, OtherChannels};

/// What the server does when it has read a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answers with these bytes and keeps the connection.
    Say(Vec<u8>),
    /// Answers with these bytes and closes the connection.
    SayAndClose(Vec<u8>),
    /// Does nothing more, and keeps the connection.
    Hang,
}

pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

pub(crate) fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Starts a server that does the acts in their order, the last one again and again.
pub(crate) async fn serve(acts: Vec<Act>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base/", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let connections = Arc::new(AtomicUsize::new(0));
    let server = Server {
        url,
        requests: Arc::clone(&requests),
        connections: Arc::clone(&connections),
    };
    let acts = Arc::new(acts);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(converse(stream, Arc::clone(&requests), Arc::clone(&acts)));
        }
    });
    server
}

async fn converse(mut stream: TcpStream, requests: Arc<Mutex<Vec<String>>>, acts: Arc<Vec<Act>>) {
    while let Some(request) = read_request(&mut stream).await {
        let turn = {
            let mut requests = requests.lock().unwrap();
            requests.push(request);
            requests.len() - 1
        };
        match acts.get(turn).or(acts.last()) {
            Some(Act::Say(bytes)) => stream.write_all(bytes).await.unwrap(),
            Some(Act::SayAndClose(bytes)) => return stream.write_all(bytes).await.unwrap(),
            Some(Act::Hang) => std::future::pending().await,
            None => return,
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

impl Server {
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The method and the address of each request.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests()
            .iter()
            .filter_map(|request| Some(request.split_once(" HTTP")?.0.to_owned()))
            .collect()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn rule(loopback: Loopback) -> TrustRule {
    TrustRule::new(Cloud::Public, OtherChannels::Refused, loopback)
}

fn connector() -> Connector {
    Connector::unauthenticated(HttpTransport::builder().build().unwrap())
}

fn impatient(timeout: Duration) -> Connector {
    let transport = HttpTransport::builder().timeout(timeout).build().unwrap();
    Connector::unauthenticated(transport)
}

async fn send(connector: &Connector, service_url: &str) -> Result<SendReceipt, Error> {
    connector
        .send_to_conversation(service_url, &"a:1".into(), &Activity::message("hi"))
        .await
}

#[tokio::test]
async fn a_message_arrives_with_its_headers_and_its_id_comes_back() {
    let server = serve(vec![Act::Say(answer("201 Created", r#"{"id":"17"}"#))]).await;
    let receipt = send(&connector(), &server.url).await.unwrap();
    assert_eq!(receipt.activity_id, Some("17".into()));
    let requests = server.requests();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("POST /base/v3/conversations/a%3A1/activities HTTP/1.1\r\n"),
        "{head}"
    );
    for header in [
        "content-type: application/json; charset=utf-8",
        "accept: application/json",
        concat!(
            "user-agent: Microsoft-BotFramework/3.1 (botframework/",
            env!("CARGO_PKG_VERSION"),
            "; Rust)"
        ),
    ] {
        assert!(head.lines().any(|line| line == header), "{header} in {head}");
    }
    assert_eq!(body, r#"{"type":"message","text":"hi"}"#);
}

#[tokio::test]
async fn every_endpoint_that_writes_has_its_method_its_address_and_its_answer() {
    let server = serve(vec![
        Act::Say(answer(
            "201 Created",
            r#"{"id":"a:9","activityId":"1","serviceUrl":"http://localhost:1/"}"#,
        )),
        Act::Say(answer("200 OK", r#"{"id":"2"}"#)),
        Act::Say(answer("202 Accepted", r#"{"id":"3"}"#)),
        Act::Say(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
    ])
    .await;
    let (url, connector) = (server.url.as_str(), connector());
    let (conversation, id) = (ConversationId::from("19:c;messageid=1"), ActivityId::from("f:1"));

    let parameters = ConversationParameters {
        members: vec![ChannelAccount::new("29:a")],
        ..Default::default()
    };
    let created = connector.create_conversation(url, &parameters).await.unwrap();
    assert_eq!(
        (created.id, created.activity_id),
        (Some("a:9".into()), Some("1".into()))
    );
    assert_eq!(created.service_url.as_deref(), Some("http://localhost:1/"));
    let message = Activity::message("hi");
    let replied = connector
        .reply_to_activity(url, &conversation, &id, &message)
        .await
        .unwrap();
    assert_eq!(replied.activity_id, Some("2".into()));
    let updated = connector
        .update_activity(url, &conversation, &id, &message)
        .await
        .unwrap();
    assert_eq!(updated.activity_id, Some("3".into()));
    connector.delete_activity(url, &conversation, &id).await.unwrap();

    assert_eq!(
        server.lines(),
        [
            "POST /base/v3/conversations",
            "POST /base/v3/conversations/19%3Ac%3Bmessageid%3D1/activities/f%3A1",
            "PUT /base/v3/conversations/19%3Ac%3Bmessageid%3D1/activities/f%3A1",
            "DELETE /base/v3/conversations/19%3Ac%3Bmessageid%3D1/activities/f%3A1",
        ]
    );
    assert_eq!(server.connections(), 1, "the connection is kept and used again");
}

#[tokio::test]
async fn every_endpoint_that_reads_has_its_address_and_its_answer() {
    let server = serve(vec![
        Act::Say(answer(
            "200 OK",
            r#"[{"id":"29:a","objectId":"e1"},{"id":"29:b","aadObjectId":"e2"}]"#,
        )),
        Act::Say(answer(
            "200 OK",
            r#"{"id":"29:a","userPrincipalName":"mina@mail.example","new":[1.10]}"#,
        )),
        Act::Say(answer(
            "200 OK",
            r#"{"continuationToken":"n+1","members":[{"id":"29:a"}]}"#,
        )),
        Act::Say(answer(
            "200 OK",
            r#"{"id":"19:t","name":"T","aadGroupId":"g","memberCount":3}"#,
        )),
        Act::Say(answer(
            "200 OK",
            r#"{"conversations":[{"id":"19:t","name":null},{"id":"19:c","name":"C"}]}"#,
        )),
    ])
    .await;
    let (url, connector) = (server.url.as_str(), connector());
    let conversation = ConversationId::from("19:c;messageid=1");

    let members = connector.members(url, &conversation).await.unwrap();
    let ids: Vec<_> = members
        .iter()
        .filter_map(|member| Some(member.entra_object_id()?.as_str()))
        .collect();
    assert_eq!(ids, ["e1", "e2"]);
    let member = connector
        .member(url, &conversation, "mina@mail.example")
        .await
        .unwrap();
    let member = serde_json::to_string(&member).unwrap();
    assert!(member.contains(r#""new":[1.10"#), "{member}");
    let page = connector
        .paged_members(url, &conversation, Some(500), Some("n=0"))
        .await
        .unwrap();
    assert_eq!(
        (page.continuation_token.as_deref(), page.members.len()),
        (Some("n+1"), 1)
    );
    assert_eq!(
        connector.team(url, &"19:t".into()).await.unwrap().entra_group_id,
        Some("g".into())
    );
    assert_eq!(connector.channels(url, &"19:t".into()).await.unwrap().len(), 2);

    assert_eq!(
        server.lines(),
        [
            "GET /base/v3/conversations/19%3Ac%3Bmessageid%3D1/members",
            "GET /base/v3/conversations/19%3Ac%3Bmessageid%3D1/members/mina%40mail.example",
            "GET /base/v3/conversations/19%3Ac%3Bmessageid%3D1/pagedmembers?pageSize=500&continuationToken=n%3D0",
            "GET /base/v3/teams/19%3At",
            "GET /base/v3/teams/19%3At/conversations",
        ]
    );
    assert_eq!(server.connections(), 1, "the connection is kept and used again");
}

#[tokio::test]
async fn a_success_without_a_readable_body_is_a_success_without_an_id() {
    for answer in [
        answer("202 Accepted", ""),
        answer("200 OK", "null"),
        answer("200 OK", "{}"),
        answer("200 OK", r#"{"id":""}"#),
        answer("200 OK", r#"{"id":5}"#),
        answer("200 OK", "<html>fine</html>"),
    ] {
        let server = serve(vec![Act::Say(answer)]).await;
        assert_eq!(
            send(&connector(), &server.url).await.unwrap(),
            SendReceipt { activity_id: None }
        );
    }
}

#[tokio::test]
async fn a_success_whose_body_is_cut_is_a_success_without_an_id() {
    let half = b"HTTP/1.1 201 Created\r\ncontent-length: 40\r\n\r\n{\"id\":\"17\"".to_vec();
    let server = serve(vec![Act::SayAndClose(half.clone())]).await;
    assert_eq!(
        send(&connector(), &server.url).await.unwrap(),
        SendReceipt { activity_id: None }
    );
    let created = connector()
        .create_conversation(&server.url, &ConversationParameters::default())
        .await
        .unwrap();
    assert_eq!(created.id, None);

    let stalled = serve(vec![Act::Say(half)]).await;
    assert_eq!(
        send(&impatient(Duration::from_millis(400)), &stalled.url)
            .await
            .unwrap(),
        SendReceipt { activity_id: None }
    );
}

#[tokio::test]
async fn a_list_whose_body_is_cut_is_unknown() {
    let server = serve(vec![Act::SayAndClose(
        b"HTTP/1.1 200 OK\r\nms-cv: c\r\ncontent-length: 9\r\n\r\n[".to_vec(),
    )])
    .await;
    let error = connector().members(&server.url, &"a:1".into()).await.unwrap_err();
    assert_eq!(
        (error.class(), error.status(), error.correlation()),
        (Class::Ambiguous, Some(200), "ms-cv=c")
    );
}

#[tokio::test]
async fn a_page_is_the_last_without_a_token_and_none_without_its_members() {
    let server = serve(vec![
        Act::Say(answer("200 OK", r#"{"continuationToken":"","members":[]}"#)),
        Act::Say(answer("200 OK", r#"{"continuationToken":null,"members":[]}"#)),
        Act::Say(answer("200 OK", r#"{"members":[{"id":"29:a"},"29:b"]}"#)),
        Act::Say(answer("200 OK", "{}")),
    ])
    .await;
    let (connector, conversation) = (connector(), ConversationId::from("a:1"));
    for _ in 0..2 {
        let page = connector
            .paged_members(&server.url, &conversation, None, None)
            .await
            .unwrap();
        assert_eq!(page.continuation_token, None);
    }
    for _ in 0..2 {
        let error = connector
            .paged_members(&server.url, &conversation, None, None)
            .await
            .unwrap_err();
        assert_eq!(error.class(), Class::Ambiguous);
    }
}

#[tokio::test]
async fn a_long_answer_in_many_pieces_is_read_whole_and_an_endless_one_is_not() {
    let pieces = |count: usize| {
        let piece = format!("2710\r\n{}\r\n", " ".repeat(10_000));
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        Act::Say(format!("{head}{}b\r\n{{\"id\":\"17\"}}\r\n0\r\n\r\n", piece.repeat(count)).into_bytes())
    };
    let long = serve(vec![pieces(5)]).await;
    assert_eq!(
        send(&connector(), &long.url).await.unwrap().activity_id,
        Some("17".into())
    );
    let endless = serve(vec![pieces(200)]).await;
    assert_eq!(send(&connector(), &endless.url).await.unwrap().activity_id, None);
}

#[tokio::test]
async fn a_connection_cut_before_any_answer_is_unknown_and_the_request_is_not_repeated() {
    let server = serve(vec![Act::SayAndClose(Vec::new())]).await;
    let error = send(&connector(), &server.url).await.unwrap_err();
    assert_eq!(error.class(), Class::Ambiguous);
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_kept_connection_cut_under_a_second_request_is_unknown_and_not_repeated() {
    let server = serve(vec![Act::Say(answer("200 OK", "")), Act::SayAndClose(Vec::new())]).await;
    let connector = connector();
    send(&connector, &server.url).await.unwrap();
    assert_eq!(
        send(&connector, &server.url).await.unwrap_err().class(),
        Class::Ambiguous
    );
    assert_eq!((server.requests().len(), server.connections()), (2, 1));
}

#[tokio::test]
async fn a_time_out_before_the_answer_is_unknown() {
    let server = serve(vec![Act::Hang]).await;
    let error = send(&impatient(Duration::from_millis(50)), &server.url)
        .await
        .unwrap_err();
    assert_eq!((error.class(), error.status()), (Class::Ambiguous, None));
}

#[tokio::test]
async fn a_request_that_could_not_leave_is_not_sent() {
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    assert_eq!(
        send(&connector(), &refused).await.unwrap_err().class(),
        Class::NotSent
    );

    let plain = serve(vec![Act::Hang]).await;
    let without_tls = plain.url.replace("http://", "https://");
    let in_no_time = HttpTransport::builder()
        .connect_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    let error = send(&Connector::unauthenticated(in_no_time), &without_tls)
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::NotSent, "the TLS handshake never ended");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = serve(vec![Act::Say(answer(
        "307 Temporary Redirect\r\nlocation: /elsewhere",
        "",
    ))])
    .await;
    let error = send(&connector(), &server.url).await.unwrap_err();
    assert_eq!((error.class(), error.status()), (Class::Rejected, Some(307)));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_refusal_says_what_when_and_which() {
    let throttled = "429 Too Many Requests\r\nretry-after: 3\r\nms-cv: c.1";
    let server = serve(vec![Act::Say(answer(
        throttled,
        r#"{"error":{"code":"Throttled","message":"slow"}}"#,
    ))])
    .await;
    let error = send(&connector(), &server.url).await.unwrap_err();
    assert_eq!(
        (error.class(), error.code(), error.message()),
        (Class::NotSent, Some("Throttled"), Some("slow"))
    );
    assert_eq!(
        error.retry_after(),
        Some(RetryAfter::Delay(Duration::from_secs(3)))
    );
    assert_eq!(error.correlation(), "ms-cv=c.1");
}

#[tokio::test]
async fn nothing_at_all_is_sent_to_a_url_that_is_not_trusted() {
    struct Untouched;
    impl Transport for Untouched {
        fn send(&self, request: Request<Bytes>) -> ResponseFuture<'_> {
            panic!("{} was asked", request.uri())
        }
    }

    let server = serve(vec![Act::Hang]).await;
    let tokens = Endpoint::new();
    let strict = Connector::new(
        HttpTransport::builder().build().unwrap(),
        rule(Loopback::Refused),
        tokens.credential(),
    );
    assert_eq!(
        send(&strict, &server.url).await.unwrap_err().class(),
        Class::Rejected
    );
    assert_eq!(server.connections(), 0);

    let untouched = Connector::new(Untouched, rule(Loopback::Refused), tokens.credential());
    for url in [
        "",
        "https://evil.example/",
        "https://smba.trafficmanager.net@evil.example/",
        &server.url,
    ] {
        let error = send(&untouched, url).await.unwrap_err();
        assert_eq!((error.class(), error.status()), (Class::Rejected, None), "{url}");
        assert!(std::error::Error::source(&error).is_some());
    }
    let nowhere = ConversationId::default();
    let unfit = untouched
        .members("https://smba.trafficmanager.net/in/", &nowhere)
        .await
        .unwrap_err();
    assert_eq!(unfit.class(), Class::Rejected);
    assert_eq!(tokens.asked(), 0, "not even a token was fetched");
}

#[tokio::test]
async fn a_transport_in_the_same_process_takes_the_place_of_http() {
    struct Echo;
    impl Transport for Echo {
        fn send(&self, request: Request<Bytes>) -> ResponseFuture<'_> {
            let id = json!({"id": request.uri().path()}).to_string();
            Box::pin(async move { Ok(::http::Response::new(Body::Complete(id.into()))) })
        }
    }
    let connector = Connector::new(Echo, rule(Loopback::Refused), Endpoint::new().credential());
    let receipt = send(&connector, "https://smba.trafficmanager.net/in/")
        .await
        .unwrap();
    assert_eq!(
        receipt.activity_id,
        Some("/in/v3/conversations/a%3A1/activities".into())
    );
}

#[tokio::test]
async fn a_raw_request_is_encoded_and_answered_as_json_or_null() {
    let server = serve(vec![
        Act::Say(answer("200 OK", r#"{"details":{"title":"Q3"}}"#)),
        Act::Say(answer("202 Accepted", "")),
        Act::Say(answer(
            "403 Forbidden",
            r#"{"error":{"code":"BotNotInConversationRoster"}}"#,
        )),
    ])
    .await;
    let (url, connector) = (server.url.as_str(), connector());
    let meeting = ["v1", "meetings", "a/b?c"];
    let found = connector
        .raw(url, Method::GET, &meeting, &[("tenantId", Some("t 1"))], None)
        .await;
    assert_eq!(found.unwrap()["details"]["title"], "Q3");
    let body = json!({"type": "targetedMeetingNotification"});
    let told = connector
        .raw(url, Method::POST, &["v1", "notification"], &[], Some(&body))
        .await;
    assert_eq!(told.unwrap(), Value::Null);
    let refused = connector.raw(url, Method::GET, &["v1"], &[], None).await;
    assert_eq!(refused.unwrap_err().reason(), Reason::NotInRoster);
    assert_eq!(
        server.lines(),
        [
            "GET /base/v1/meetings/a%2Fb%3Fc?tenantId=t%201",
            "POST /base/v1/notification",
            "GET /base/v1"
        ]
    );
    let elsewhere = connector
        .raw("https://evil.example/", Method::GET, &["v1"], &[], None)
        .await;
    assert_eq!(
        elsewhere.unwrap_err().class(),
        Class::Rejected,
        "no request leaves"
    );
    assert!(
        connector
            .raw(url, Method::GET, &["v1", ".."], &[], None)
            .await
            .is_err()
    );
}
