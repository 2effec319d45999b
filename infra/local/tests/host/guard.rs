//! Web pages and tunnels get nothing from any port of the host.

use herald_local::{
    channel::{CHANNEL_ID, Channel},
    issuer::Issuer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// The headers of a page, of DNS rebinding, and of a tunnel. Each request has a `Host` of its own or this machine's.
const FOREIGN: [&str; 6] = [
    "host: 127.0.0.1\r\norigin: https://evil.example\r\n",
    "host: 127.0.0.1\r\norigin: null\r\n",
    "host: 127.0.0.1\r\nsec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\n",
    "host: evil.example:3978\r\n",
    "host: 127.0.0.1\r\nx-forwarded-for: 192.0.2.1\r\n",
    "host: 127.0.0.1\r\nforwarded: for=192.0.2.1\r\n",
];

/// The whole answer to a request with these header lines.
async fn sent(url: &str, line: &str, headers: &str, body: &str) -> String {
    let address = url.trim_start_matches("http://").split('/').next().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request =
        format!("{line} HTTP/1.1\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.to_ascii_lowercase()
}

fn assert_refused(answer: &str, what: &str) {
    assert!(answer.starts_with("http/1.1 403"), "{what}: {answer}");
    assert!(!answer.contains("access-control-allow"), "{what}: {answer}");
}

#[tokio::test]
async fn a_page_or_a_tunnel_reaches_no_route_but_the_bots() {
    let template = TEMPLATE.replace(
        "POST /do/{id}'",
        "ANY /api/messages', Target: !Sub 'integrations/${Integration}'}\n  Other:\n    Type: \
         AWS::ApiGatewayV2::Route\n    Properties: {RouteKey: 'ANY /do/{id}'",
    );
    let host = Host::start(anywhere(), &options(&template)).await.unwrap();
    let mut events = host.events();
    for foreign in FOREIGN {
        let json = format!("{foreign}content-type: application/json\r\n");
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
            for path in [
                "/do/1",
                "/api/messages/",
                "/API/messages",
                "//api/messages",
                "/api/%6dessages",
            ] {
                let answer = sent(host.url(), &format!("{method} {path}"), &json, "echo").await;
                assert_refused(&answer, foreign);
            }
        }
        let answer = sent(host.url(), "POST /api/messages", &json, "echo").await;
        assert!(answer.starts_with("http/1.1 200"), "{answer}");
        assert!(!answer.contains("access-control-allow"), "{answer}");
    }
    let mut invoked = 0;
    while let Ok(event) = events.try_recv() {
        invoked += usize::from(matches!(event, Event::Invoked { .. }));
    }
    assert_eq!(
        invoked,
        FOREIGN.len(),
        "only the activities were handed to a function"
    );
    host.stop().await;
}

#[tokio::test]
async fn a_body_that_a_form_can_send_is_refused() {
    let host = started().await;
    for content_type in [
        "application/x-www-form-urlencoded",
        "text/plain",
        "multipart/form-data",
    ] {
        let headers = format!("host: localhost\r\ncontent-type: {content_type}\r\n");
        let answer = sent(host.url(), "POST /do/1", &headers, "echo").await;
        assert!(answer.starts_with("http/1.1 415"), "{answer}");
        assert!(
            answer.contains("application/json"),
            "it says what is right: {answer}"
        );
    }
    host.stop().await;
}

#[tokio::test]
async fn no_port_of_a_service_answers_a_browser() {
    let host = started().await;
    let issuer = Issuer::open(CHANNEL_ID).await.unwrap();
    let channel = Channel::open("http://127.0.0.1:1/", None).await.unwrap();
    let (tables, keys) = (host.dynamodb_endpoint(), issuer.metadata_url());
    for url in [
        tables.as_str(),
        host.sqs_endpoint(),
        host.eventbridge_endpoint(),
        host.scheduler_endpoint(),
        &keys,
        &channel.service_url(),
        &channel.graph_url(),
    ] {
        for foreign in FOREIGN {
            for line in ["GET /", "POST /", "OPTIONS /"] {
                assert_refused(&sent(url, line, foreign, "").await, url);
            }
        }
    }
    let own = "host: localhost\r\n";
    let answer = sent(&tables, "GET /", own, "").await;
    assert!(answer.contains("healthy"), "{answer}");
    assert!(!answer.contains("access-control-allow"), "{answer}");
    host.stop().await;
}

/// Linux lists the listening sockets of all processes; state 0A is `LISTEN`.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_tables_have_no_second_port_without_a_guard() {
    let listening = || -> std::collections::BTreeSet<u16> {
        let mut own = std::collections::BTreeSet::new();
        for descriptor in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
            let target = std::fs::read_link(descriptor.path()).unwrap_or_default();
            let target = target.to_string_lossy().into_owned();
            own.extend(
                target
                    .strip_prefix("socket:[")
                    .map(|inode| inode.trim_end_matches(']').to_owned()),
            );
        }
        let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        let rows = table
            .lines()
            .skip(1)
            .map(|row| row.split_whitespace().collect::<Vec<_>>());
        rows.filter(|row| row[3] == "0A" && own.contains(row[9]))
            .map(|row| u16::from_str_radix(row[1].split_once(':').unwrap().1, 16).unwrap())
            .collect()
    };
    // Other tests of this process listen, too: every port that they do not guard would answer as the engine does.
    let host = started().await;
    let tables = host.dynamodb_endpoint();
    let healthy = sent(&tables, "GET /", "host: localhost\r\n", "").await;
    assert!(healthy.contains("healthy"), "{healthy}");
    for port in listening() {
        let page = "host: 127.0.0.1\r\norigin: https://evil.example\r\n";
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else {
            continue;
        };
        let request = format!("GET / HTTP/1.1\r\n{page}connection: close\r\n\r\n");
        let mut answer = String::new();
        if stream.write_all(request.as_bytes()).await.is_ok()
            && stream.read_to_string(&mut answer).await.is_ok()
        {
            assert!(!answer.contains("healthy"), "{port}: {answer}");
        }
    }
    host.stop().await;
}
