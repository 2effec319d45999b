//! From an event to a request.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;

use crate::problem::Problem;

/// An event of payload format 2.0. Fields that no function reads are ignored.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayEvent {
    raw_path: Option<String>,
    raw_query_string: Option<String>,
    headers: Option<BTreeMap<String, Option<String>>>,
    path_parameters: Option<BTreeMap<String, String>>,
    body: Option<String>,
    is_base64_encoded: bool,
    request_context: EventContext,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EventContext {
    route_key: Option<String>,
    request_id: Option<String>,
    http: Http,
    authorizer: Option<Authorizer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Http {
    method: String,
}

/// The principal that the gateway authenticated.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Authorizer {
    /// By AWS signature.
    pub iam: Option<Iam>,
    /// By a token.
    pub jwt: Option<Jwt>,
}

/// A principal of AWS.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Iam {
    /// The ARN of the principal.
    pub user_arn: Option<String>,
}

/// A verified token.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Jwt {
    /// Its claims, which the gateway sends as strings.
    pub claims: BTreeMap<String, Value>,
}

impl Jwt {
    /// A claim that is a string.
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }
}

/// What the gateway says about a request: an extension of the [`Request`].
#[derive(Clone, Debug, Default)]
pub struct RequestContext {
    /// The route that was matched and authorised; empty if the event names none.
    pub route_key: String,
    /// The values of the route's variables, decoded.
    pub path_parameters: BTreeMap<String, String>,
    /// The path, for explanations only.
    pub raw_path: String,
    /// The query, percent-encoded.
    pub raw_query: String,
    /// The principal, if the route has an authorizer.
    pub authorizer: Option<Authorizer>,
}

impl GatewayEvent {
    /// The gateway's id of the request, as its access log and the response's header `apigw-requestid` have it.
    pub fn request_id(&self) -> Option<&str> {
        self.request_context.request_id.as_deref()
    }

    /// The request, with a [`RequestContext`] among its extensions. Its URI is always `/`.
    ///
    /// # Errors
    /// A 400 for what no HTTP request may have: a `Host` that is no host, blanks in the query, a body that is not base64.
    /// Headers that cannot be represented are left out.
    pub fn into_request<B>(self) -> Result<Request<B>, Problem>
    where
        B: Default + From<String> + From<Vec<u8>>,
    {
        let bad = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, detail);
        let headers = headers(self.headers.unwrap_or_default());
        if !is_host(headers.get(header::HOST)) {
            return Err(bad("The `Host` header is not a host."));
        }
        let raw_query = self.raw_query_string.unwrap_or_default();
        if raw_query.contains(|one: char| one.is_whitespace() || one.is_control()) {
            return Err(bad(
                "The query is not percent-encoded: it holds blanks or control characters.",
            ));
        }
        let method = Method::from_bytes(self.request_context.http.method.as_bytes())
            .map_err(|_| bad("The request has no HTTP method."))?;
        let body = match self.body {
            None => B::default(),
            Some(text) if self.is_base64_encoded => {
                let bytes = BASE64_STANDARD.decode(text);
                B::from(bytes.map_err(|_| bad("The body is not the base64 that it is said to be."))?)
            }
            Some(text) => B::from(text),
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        request.extensions_mut().insert(RequestContext {
            route_key: self.request_context.route_key.unwrap_or_default(),
            path_parameters: self.path_parameters.unwrap_or_default(),
            raw_path: self.raw_path.unwrap_or_default(),
            raw_query,
            authorizer: self.request_context.authorizer,
        });
        Ok(request)
    }
}

fn headers(values: BTreeMap<String, Option<String>>) -> HeaderMap {
    let values = values.into_iter().filter_map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(value?.as_bytes()).ok()?))
    });
    values.collect()
}

/// Whether this is a host with an optional port (RFC 9112, 3.2), or missing: the gateway adds its own.
fn is_host(value: Option<&HeaderValue>) -> bool {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return true;
    };
    let Ok(authority) = Authority::try_from(value.as_bytes()) else {
        return false;
    };
    let port = authority.as_str().rsplit_once(':').map(|(_, port)| port);
    let has_port = port.is_some_and(|port| !port.is_empty() && !port.ends_with(']'));
    !authority.as_str().contains('@') && (!has_port || authority.port_u16().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(change: impl FnOnce(&mut Value)) -> Result<Request<Vec<u8>>, Problem> {
        let mut event = json!({
            "version": "2.0", "routeKey": "GET /c/{key}/tags/{tag}", "rawPath": "/c/a|b/tags/c#",
            "rawQueryString": "limit=7&cursor=a%20b", "headers": {"host": "abc.execute-api.example", "x-many": "1,2"},
            "pathParameters": {"key": "a|b", "tag": "c#"}, "isBase64Encoded": false, "body": "{}",
            "requestContext": {"routeKey": "GET /c/{key}/tags/{tag}", "http": {"method": "GET", "path": "/c/a|b/tags/c#"}}});
        change(&mut event);
        serde_json::from_value::<GatewayEvent>(event)
            .unwrap()
            .into_request()
    }

    #[test]
    fn a_request_has_what_the_gateway_said() {
        let request = request(|_| {}).unwrap();
        let context = request.extensions().get::<RequestContext>().unwrap();
        assert_eq!(context.route_key, "GET /c/{key}/tags/{tag}");
        assert_eq!(context.path_parameters["tag"], "c#");
        assert_eq!(context.raw_query, "limit=7&cursor=a%20b");
        assert_eq!((request.method(), request.uri().path()), (&Method::GET, "/"));
        assert_eq!(request.headers()["x-many"], "1,2");
        assert_eq!(request.body(), b"{}");
    }

    #[test]
    fn a_binary_body_is_decoded() {
        let encoded = |body: &'static str| {
            request(move |event| {
                event["body"] = json!(body);
                event["isBase64Encoded"] = json!(true);
            })
        };
        assert_eq!(encoded("aGVsbG8=").unwrap().body(), b"hello");
        assert_eq!(encoded("%").unwrap_err().status, 400);
    }

    #[test]
    fn a_host_that_is_no_host_is_refused() {
        for host in ["[", "a b", "x:99999", "x:y", "a/b", "user@x"] {
            let refused = request(|event| event["headers"]["host"] = json!(host));
            assert_eq!(refused.unwrap_err().status, 400, "{host}");
        }
        for host in ["", "x", "x:", "x:443", "127.0.0.1:3978", "[::1]", "[::1]:80"] {
            assert!(
                request(|event| event["headers"]["host"] = json!(host)).is_ok(),
                "{host}"
            );
        }
    }

    #[test]
    fn blanks_in_the_query_are_refused() {
        for query in ["a=b c", "a=\u{7}", "\u{a0}"] {
            let refused = request(|event| event["rawQueryString"] = json!(query));
            assert_eq!(refused.unwrap_err().status, 400, "{query:?}");
        }
    }

    #[test]
    fn odd_headers_and_missing_fields_are_no_failure() {
        let odd = request(|event| {
            event["headers"]["x-forwarded-proto"] = json!("http, https");
            event["headers"]["x-name"] = json!("Jörg");
            event["headers"]["x-broken"] = json!("a\nb");
            event["headers"]["b c"] = json!("1");
            event["headers"]["x-null"] = json!(null);
        });
        let headers = odd.unwrap().headers().clone();
        assert_eq!(headers["x-name"].as_bytes(), "Jörg".as_bytes());
        assert!(!headers.contains_key("x-broken") && !headers.contains_key("x-null"));
        let bare: GatewayEvent =
            serde_json::from_value(json!({"requestContext": {"http": {"method": "PUT"}}})).unwrap();
        assert_eq!(bare.into_request::<Vec<u8>>().unwrap().method(), Method::PUT);
        assert_eq!(
            GatewayEvent::default()
                .into_request::<Vec<u8>>()
                .unwrap_err()
                .status,
            400
        );
    }
}
