//! Refuses requests of web pages and of tunnels. A client of this machine sends none of the headers that these add.
//!
//! A page in a browser can send requests to loopback, and by DNS rebinding under a name of its own (`Host`). A tunnel or a
//! proxy hands in requests of other machines, and says so.

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderName, Method, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, FORWARDED, HOST, ORIGIN, REFERER, TRANSFER_ENCODING, VIA},
    request::Parts,
};
use serde_json::json;

/// The headers of proxies and tunnels beside `Forwarded`, `Via` and those with [`PROXY_PREFIXES`].
const PROXY_HEADERS: [&str; 6] = [
    "x-real-ip",
    "x-client-ip",
    "x-original-host",
    "x-original-url",
    "true-client-ip",
    "fastly-client-ip",
];
const PROXY_PREFIXES: [&str; 4] = ["x-forwarded-", "cf-", "x-envoy-", "x-ms-original-"];
/// The media types of JSON that have no `+json`, and that of compressed JSON lines. A page can send none of them to
/// another origin without a preflight, and preflights are refused.
const JSON_TYPES: [&str; 6] = [
    "application/json",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/gzip",
    "application/x-gzip",
];

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is for another host, or for none.
    Host,
    /// A page of another origin sent it.
    Origin,
    /// A proxy or a tunnel forwarded it.
    Forwarded,
    /// It has a body that is not JSON.
    NotJson,
}

impl Refused {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Refused::Host | Refused::Origin | Refused::Forwarded => StatusCode::FORBIDDEN,
            Refused::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    /// What the client reads.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Refused::Host => {
                "Only requests to 127.0.0.1, localhost and [::1] are answered: this is a development host."
            }
            Refused::Origin => {
                "Requests of web pages are refused: this is a development host without authentication."
            }
            Refused::Forwarded => {
                "Forwarded requests are refused, except those to /api/messages: this is a development host."
            }
            Refused::NotJson => "The body must be JSON, with the header content-type: application/json.",
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = json!({ "message": self.message() }).to_string();
        (self.status(), [(CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// Checks a request to the HTTP API, which a page of this host's own origin may call.
pub(crate) fn check_api(parts: &Parts) -> Result<(), Refused> {
    check_way(parts)?;
    let headers = &parts.headers;
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let own = format!("http://{}", host.unwrap_or_default());
    let is_own_origin = |origin: &str| origin.eq_ignore_ascii_case(&own);
    let is_own_page = |page: &str| {
        let rest = page.get(own.len()..);
        page.get(..own.len()).is_some_and(is_own_origin)
            && rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_own_site = |site: &str| ["same-origin", "none"].contains(&site);
    let is_own = all(headers, &ORIGIN, is_own_origin)
        && all(headers, &REFERER, is_own_page)
        && all(headers, &HeaderName::from_static("sec-fetch-site"), is_own_site);
    if !is_own {
        return Err(Refused::Origin);
    }
    let reads = [Method::GET, Method::HEAD].contains(&parts.method);
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    let is_typed = headers.contains_key(CONTENT_TYPE);
    if !reads && (has_body || is_typed) && !(is_typed && all(headers, &CONTENT_TYPE, is_json)) {
        return Err(Refused::NotJson);
    }
    Ok(())
}

/// Checks a request to a service of this host, which no page calls.
pub(crate) fn check_service(parts: &Parts) -> Result<(), Refused> {
    check_way(parts)?;
    let is_of_browser = |name: &HeaderName| *name == ORIGIN || name.as_str().starts_with("sec-fetch-");
    if parts.headers.keys().any(is_of_browser) {
        return Err(Refused::Origin);
    }
    Ok(())
}

/// Puts [`check_service`] in front of all routes.
pub(crate) fn guarded(router: Router) -> Router {
    router.layer(from_fn(async |request: Request, next: Next| {
        let (parts, body) = request.into_parts();
        match check_service(&parts) {
            Ok(()) => next.run(Request::from_parts(parts, body)).await,
            Err(refused) => refused.into_response(),
        }
    }))
}

/// Refuses requests that came by another name or through a proxy.
fn check_way(parts: &Parts) -> Result<(), Refused> {
    let headers = &parts.headers;
    let is_local_target = parts
        .uri
        .authority()
        .is_none_or(|target| is_loopback(target.as_str()));
    if !is_local_target || !headers.contains_key(HOST) || !all(headers, &HOST, is_loopback) {
        return Err(Refused::Host);
    }
    let is_of_proxy = |name: &HeaderName| {
        let text = name.as_str();
        [FORWARDED, VIA].contains(name)
            || PROXY_HEADERS.contains(&text)
            || PROXY_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
    };
    if headers.keys().any(is_of_proxy) {
        return Err(Refused::Forwarded);
    }
    Ok(())
}

/// Whether all values of a header are as they should be; true without any.
fn all(headers: &HeaderMap, name: &HeaderName, is_right: impl Fn(&str) -> bool) -> bool {
    let mut values = headers.get_all(name).iter();
    values.all(|value| value.to_str().is_ok_and(&is_right))
}

/// Whether a `Host` names this machine, with any port: a port may be forwarded by the machine's own user.
fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, "")) => (name, None),
        Some((name, rest)) => (name, Some(rest.strip_prefix(':').unwrap_or("none"))),
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let is_address = name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let is_local = is_address || name.eq_ignore_ascii_case("localhost");
    is_local && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    JSON_TYPES.contains(&essence.as_str())
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, headers: &[(&str, &str)]) -> Parts {
        let request = http::Request::builder().method(method).uri("/api/notifications");
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    /// A request to this host with these headers in addition.
    fn api(method: &str, headers: &[(&str, &str)]) -> Result<(), Refused> {
        check_api(&parts(method, &[&[("host", "127.0.0.1:3978")], headers].concat()))
    }

    fn service(headers: &[(&str, &str)]) -> Result<(), Refused> {
        check_service(&parts("POST", &[&[("host", "localhost:4566")], headers].concat()))
    }

    #[test]
    fn only_a_name_of_this_machine_is_its_host() {
        for host in [
            "127.0.0.1:3978",
            "127.0.0.1",
            "LocalHost:3978",
            "[::1]:3978",
            "[::1]",
            "127.8.9.1:1",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "evil.example:3978",
            "127.0.0.1.evil.example",
            "localhost.evil.example:3978",
            "10.0.0.1:3978",
            "0.0.0.0",
            "",
            ":3978",
            "[::1",
            "[::1]x",
            "127.0.0.1:x",
            "localhost:",
            "a@127.0.0.1",
            "2130706433",
            "::1",
            "[::2]",
        ] {
            assert!(!is_loopback(host), "{host}");
            assert_eq!(
                check_api(&parts("GET", &[("host", host)])),
                Err(Refused::Host),
                "{host}"
            );
        }
        assert_eq!(
            check_api(&parts("GET", &[])),
            Err(Refused::Host),
            "no host at all"
        );
        let twice = [("host", "127.0.0.1:3978"), ("host", "evil.example")];
        assert_eq!(check_service(&parts("GET", &twice)), Err(Refused::Host));
        let mut absolute = parts("GET", &[("host", "127.0.0.1")]);
        absolute.uri = "http://evil.example/api/notify".parse().unwrap();
        assert_eq!(check_api(&absolute), Err(Refused::Host));
    }

    #[test]
    fn a_request_of_another_page_is_refused() {
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:8080"),
            ("origin", "https://127.0.0.1:3978"),
            ("origin", "http://127.0.0.1:3978.evil.example"),
            ("referer", "https://evil.example/a"),
            ("referer", "http://127.0.0.1:3978.evil.example/"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            for method in ["GET", "POST", "OPTIONS", "DELETE"] {
                assert_eq!(
                    api(method, &[(name, value)]),
                    Err(Refused::Origin),
                    "{method} {name} {value}"
                );
            }
        }
        assert_eq!(
            service(&[("origin", "http://localhost:4566")]),
            Err(Refused::Origin)
        );
        assert_eq!(service(&[("sec-fetch-mode", "no-cors")]), Err(Refused::Origin));
    }

    #[test]
    fn a_forwarded_request_is_refused() {
        for name in [
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "Forwarded",
            "Via",
            "X-Real-IP",
            "CF-Ray",
        ] {
            assert_eq!(
                api("GET", &[(name, "192.0.2.1")]),
                Err(Refused::Forwarded),
                "{name}"
            );
            assert_eq!(service(&[(name, "192.0.2.1")]), Err(Refused::Forwarded), "{name}");
        }
    }

    #[test]
    fn a_body_is_json_by_its_content_type() {
        let length = ("content-length", "2");
        for content_type in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/x-ndjson",
            "application/merge-patch+json",
        ] {
            assert_eq!(
                api("POST", &[length, ("content-type", content_type)]),
                Ok(()),
                "{content_type}"
            );
        }
        for content_type in [
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "text/plain",
            "text/plain;application/json",
            "",
            "text/x+json",
        ] {
            assert_eq!(
                api("POST", &[length, ("content-type", content_type)]),
                Err(Refused::NotJson),
                "{content_type}"
            );
            assert_eq!(
                api("DELETE", &[("content-type", content_type)]),
                Err(Refused::NotJson),
                "no body"
            );
        }
        assert_eq!(api("PUT", &[length]), Err(Refused::NotJson), "without a type");
        assert_eq!(
            api("POST", &[("transfer-encoding", "chunked")]),
            Err(Refused::NotJson)
        );
        let both = [
            length,
            ("content-type", "application/json"),
            ("content-type", "text/plain"),
        ];
        assert_eq!(api("POST", &both), Err(Refused::NotJson));
    }

    #[test]
    fn a_client_of_this_machine_is_answered() {
        assert_eq!(api("GET", &[]), Ok(()));
        assert_eq!(api("POST", &[]), Ok(()), "a cancellation has no body");
        assert_eq!(api("POST", &[("content-length", "0")]), Ok(()));
        let own_page = [
            ("origin", "http://127.0.0.1:3978"),
            ("referer", "http://127.0.0.1:3978/a?b"),
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/json"),
        ];
        assert_eq!(api("POST", &own_page), Ok(()));
        assert_eq!(
            api("GET", &[("sec-fetch-site", "none")]),
            Ok(()),
            "the address bar"
        );
        assert_eq!(service(&[("content-type", "application/x-amz-json-1.0")]), Ok(()));
    }
}
