//! A server with real sockets. Time is paused: tokio moves it on when all tasks wait.

use std::net::Ipv4Addr;

use axum::{body::Bytes, routing::post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A server that answers the body that it got; `POST /held` answers once it is let go.
struct Running {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    held: Arc<Notify>,
    let_go: Arc<Notify>,
    serving: tokio::task::JoinHandle<()>,
}

async fn running(connections: usize) -> Running {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (held, let_go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (is_held, is_let_go) = (Arc::clone(&held), Arc::clone(&let_go));
    let answer = async move || {
        is_held.notify_one();
        is_let_go.notified().await;
        "let go"
    };
    let router = Router::new()
        .route("/held", post(answer))
        .fallback(async |body: Bytes| body);
    let limits = Limits {
        connections,
        ..Limits::api()
    };
    let (stop, stopping) = watch::channel(false);
    let serving = tokio::spawn(serve(listener, router, limits, stopping));
    Running {
        address,
        stop,
        held,
        let_go,
        serving,
    }
}

impl Running {
    async fn connected(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }
}

/// All that the server sends until it closes the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A connection may also be reset.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

const HELD: &str = "POST /held HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
const HELLO: &str = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn a_client_that_has_finished_sending_is_answered() {
    let server = running(4).await;
    let mut stream = server.connected(HELD).await;
    stream.shutdown().await.unwrap();
    server.held.notified().await;
    server.let_go.notify_one();
    assert!(rest(stream).await.ends_with("let go"));
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_complete_request_is_closed_in_time() {
    let server = running(4).await;
    for text in ["", "POST / HTTP/1.1\r\nhost: x\r\n"] {
        let silent = server.connected(text).await;
        assert!(!rest(silent).await.contains("200"), "{text:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_fails_in_time() {
    let server = running(4).await;
    let slow = server.connected(&HELLO[..HELLO.len() - 1]).await;
    assert!(rest(slow).await.starts_with("HTTP/1.1 400"));
}

#[tokio::test(start_paused = true)]
async fn silent_connections_keep_no_client_out() {
    let server = running(4).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(server.connected("").await);
    }
    let client = server.connected(HELLO).await;
    assert!(rest(client).await.ends_with("hello"));
    // The oldest were closed, without an answer.
    assert_eq!(rest(silent.remove(0)).await, "");
}

#[tokio::test]
async fn a_request_under_way_is_never_given_up_for_another() {
    let server = running(1).await;
    let first = server.connected(HELD).await;
    server.held.notified().await;
    let second = server.connected(HELLO).await;
    server.let_go.notify_one();
    assert!(rest(first).await.ends_with("let go"));
    assert!(rest(second).await.ends_with("hello"));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_makes_room_after_a_while() {
    let server = running(1).await;
    let kept_alive = server.connected(&HELLO.replace("close", "keep-alive")).await;
    let client = server.connected(HELLO).await;
    assert!(rest(client).await.ends_with("hello"));
    assert!(rest(kept_alive).await.ends_with("hello"));
}

#[tokio::test]
async fn a_stop_ends_requests_under_way_and_accepts_no_others() {
    let server = running(4).await;
    let under_way = server.connected(HELD).await;
    server.held.notified().await;
    server.stop.send_replace(true);
    server.let_go.notify_one();
    assert!(rest(under_way).await.ends_with("let go"));
    server.serving.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}
