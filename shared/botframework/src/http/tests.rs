use bytes::Bytes;
use http::Request;

use super::{HttpTransport, Transport, TransportError};
use crate::connector::tests::{Act, answer, serve};

fn through(proxy: &str, no_proxy: &str) -> HttpTransport {
    HttpTransport::builder()
        .https_proxy(Some(proxy.to_owned()), Some(no_proxy.to_owned()))
        .build()
        .unwrap()
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

#[tokio::test]
async fn a_request_that_the_proxy_refuses_is_not_sent() {
    let proxy = serve(vec![Act::SayAndClose(answer(
        "407 Proxy Authentication Required",
        "",
    ))])
    .await;
    let transport = through(&proxy.url, "");
    let error = transport
        .send(get("https://channel.example/x"))
        .await
        .unwrap_err();
    assert!(matches!(error, TransportError::NotSent(_)), "{error:?}");
    assert_eq!(proxy.lines(), ["CONNECT channel.example:443"]);
}

#[tokio::test]
async fn hosts_past_the_proxy_and_plain_http_go_directly() {
    let proxy = serve(vec![Act::Hang]).await;
    let server = serve(vec![Act::SayAndClose(answer("200 OK", ""))]).await;
    let transport = through(&proxy.url, "127.0.0.1");
    assert!(transport.send(get(&server.url)).await.is_ok());
    // What is no TLS server is not sent to.
    let tls = server.url.replace("http://", "https://");
    let error = transport.send(get(&tls)).await.unwrap_err();
    assert!(matches!(error, TransportError::NotSent(_)), "{error:?}");
    assert!(server.connections() > 1);
    assert!(through(&proxy.url, "").send(get(&server.url)).await.is_ok());
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
async fn an_error_does_not_quote_the_url() {
    let error = through("http://127.0.0.1:1", "")
        .send(get("https://channel.example/29:someone"))
        .await
        .unwrap_err();
    let mut text = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(&error.to_string());
        cause = error.source();
    }
    assert!(!text.contains("someone"), "{text}");
}

#[test]
fn a_proxy_that_is_no_url_is_refused() {
    let builder = HttpTransport::builder().https_proxy(Some("not a url".to_owned()), None);
    assert!(builder.build().is_err());
}
