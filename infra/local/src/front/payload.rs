//! API Gateway's payload format 2.0: from a request to a Lambda event, and from a function's result to a response.

use std::{collections::BTreeMap, net::IpAddr};

use axum::body::Bytes;
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, COOKIE, HOST, SET_COOKIE},
    request::Parts,
};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

/// The request context of an event.
pub(super) struct Arrival<'a> {
    pub(super) route_key: &'a str,
    /// The path, decoded.
    pub(super) path: &'a str,
    pub(super) path_parameters: &'a BTreeMap<String, String>,
    pub(super) source: IpAddr,
    pub(super) account: &'a str,
    pub(super) request_id: &'a str,
    pub(super) at: Timestamp,
}

/// The event of a request.
pub(super) fn event(parts: &Parts, body: &Bytes, arrival: &Arrival<'_>) -> Value {
    let query = parts.uri.query().unwrap_or_default();
    let host = parts
        .headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("127.0.0.1");
    let text = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };

    let mut event = json!({
        "version": "2.0",
        "routeKey": arrival.route_key,
        "rawPath": arrival.path,
        "rawQueryString": query,
        "headers": headers(&parts.headers, arrival.source),
        "requestContext": {
            "accountId": arrival.account,
            "apiId": "local",
            "domainName": host,
            "domainPrefix": "local",
            "http": {
                "method": parts.method.as_str(),
                "path": arrival.path,
                "protocol": "HTTP/1.1",
                "sourceIp": arrival.source.to_string(),
                "userAgent": text("user-agent"),
            },
            "requestId": arrival.request_id,
            "routeKey": arrival.route_key,
            "stage": "$default",
            "time": arrival.at.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            "timeEpoch": arrival.at.as_millisecond(),
        },
        "isBase64Encoded": false,
    });
    let cookies = cookies(&parts.headers);
    if !cookies.is_empty() {
        event["cookies"] = cookies.into();
    }
    if !query.is_empty() {
        event["queryStringParameters"] = query_parameters(query).into();
    }
    if !arrival.path_parameters.is_empty() {
        event["pathParameters"] = json!(arrival.path_parameters);
    }
    if !body.is_empty() {
        if let Some(text) = as_text(text("content-type"), body) {
            event["body"] = text.into();
        } else {
            event["body"] = BASE64_STANDARD.encode(body).into();
            event["isBase64Encoded"] = true.into();
        }
    }
    event
}

/// Header names in lower case, several values of one name joined by commas; cookies are a field of their own.
fn headers(headers: &HeaderMap, source: IpAddr) -> Map<String, Value> {
    let mut joined: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| *name != COOKIE) {
        let value = String::from_utf8_lossy(value.as_bytes());
        let entry = joined.entry(name.as_str()).or_default();
        if !entry.is_empty() {
            entry.push(',');
        }
        entry.push_str(&value);
    }
    joined
        .entry("x-forwarded-for")
        .or_insert_with(|| source.to_string());
    joined.entry("x-forwarded-proto").or_insert_with(|| "http".into());
    joined
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}

fn cookies(headers: &HeaderMap) -> Vec<Value> {
    let values = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(';'))
        .map(|cookie| cookie.trim().into())
        .collect()
}

fn query_parameters(query: &str) -> Map<String, Value> {
    let decoded = |text: &str| {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        joined
            .entry(decoded(name))
            .and_modify(|joined| {
                joined.push(',');
                joined.push_str(&decoded(value));
            })
            .or_insert_with(|| decoded(value));
    }
    joined
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect()
}

/// The body as text, if the content type is textual and the body is UTF-8.
fn as_text<'a>(content_type: &str, body: &'a [u8]) -> Option<&'a str> {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let is_text = essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(
            essence.as_str(),
            "" | "application/json"
                | "application/javascript"
                | "application/xml"
                | "application/x-www-form-urlencoded"
        );
    is_text.then(|| std::str::from_utf8(body).ok()).flatten()
}

/// The function's result is not a response.
#[derive(Debug, thiserror::Error)]
#[error("the function's result is not an HTTP response: {0}")]
pub(super) struct NotAResponse(String);

/// The response for a function's result. A result without a status code is itself the JSON body.
pub(super) fn response(answer: &[u8]) -> Result<Response<Bytes>, NotAResponse> {
    let wrong = |what: &str| NotAResponse(what.to_owned());
    let parsed: Value = serde_json::from_slice(answer).map_err(|error| wrong(&error.to_string()))?;
    let Some(status) = parsed.get("statusCode") else {
        let mut response = Response::new(Bytes::copy_from_slice(answer));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return Ok(response);
    };
    let status = status.as_u64().and_then(|status| u16::try_from(status).ok());
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let body = match parsed.get("body") {
        None | Some(Value::Null) => Bytes::new(),
        Some(Value::String(text)) if parsed.get("isBase64Encoded") == Some(&Value::Bool(true)) => {
            BASE64_STANDARD
                .decode(text)
                .map_err(|_| wrong("its body is not base64"))?
                .into()
        }
        Some(Value::String(text)) => text.clone().into(),
        Some(_) => return Err(wrong("its body is not a string")),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status.ok_or_else(|| wrong("its statusCode is not an HTTP status"))?;
    for (name, value) in parsed
        .get("headers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        append(&mut response, name, &value)?;
    }
    for cookie in parsed
        .get("cookies")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        append(
            &mut response,
            SET_COOKIE.as_str(),
            cookie.as_str().unwrap_or_default(),
        )?;
    }
    Ok(response)
}

fn append(response: &mut Response<Bytes>, name: &str, value: &str) -> Result<(), NotAResponse> {
    let wrong = || NotAResponse(format!("its header {name} is invalid"));
    let name_ = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
    response
        .headers_mut()
        .append(name_, HeaderValue::from_str(value).map_err(|_| wrong())?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http::Request;

    use super::*;

    fn event_of(request: Request<&'static [u8]>) -> Value {
        let (parts, body) = request.into_parts();
        let path_parameters = BTreeMap::from([("id".to_owned(), "19:a".to_owned())]);
        let arrival = Arrival {
            route_key: "POST /c/{id}",
            path: "/c/19:a",
            path_parameters: &path_parameters,
            source: Ipv4Addr::LOCALHOST.into(),
            account: "000000000000",
            request_id: "request",
            at: Timestamp::UNIX_EPOCH,
        };
        event(&parts, &Bytes::from_static(body), &arrival)
    }

    #[test]
    fn a_request_becomes_an_event_of_version_2() {
        let request = Request::post("http://host/c/19%3Aa?x=1&x=a%20b&y=c+d&z")
            .header("Host", "host:3978")
            .header("Content-Type", "application/json; charset=utf-8")
            .header("X-Many", "1")
            .header("X-Many", "2")
            .header("Cookie", "a=1; b=2")
            .body(&b"{}"[..])
            .unwrap();
        let event = event_of(request);
        assert_eq!(event["rawPath"], "/c/19:a");
        assert_eq!(event["rawQueryString"], "x=1&x=a%20b&y=c+d&z");
        assert_eq!(
            event["queryStringParameters"],
            json!({"x": "1,a b", "y": "c d", "z": ""})
        );
        assert_eq!(event["pathParameters"], json!({"id": "19:a"}));
        assert_eq!(event["headers"]["x-many"], "1,2");
        assert_eq!(event["headers"]["host"], "host:3978");
        assert_eq!(event["headers"].get("cookie"), None);
        assert_eq!(event["cookies"], json!(["a=1", "b=2"]));
        assert_eq!(
            (&event["body"], &event["isBase64Encoded"]),
            (&json!("{}"), &json!(false))
        );
        let context = &event["requestContext"];
        assert_eq!(context["http"]["method"], "POST");
        assert_eq!(context["http"]["sourceIp"], "127.0.0.1");
        assert_eq!(context["time"], "01/Jan/1970:00:00:00 +0000");
    }

    #[test]
    fn a_body_that_is_no_text_travels_in_base64() {
        let binary = event_of(
            Request::post("/")
                .header("content-type", "image/png")
                .body(&[0x89, b'P', 0xff][..])
                .unwrap(),
        );
        assert_eq!(
            (&binary["body"], &binary["isBase64Encoded"]),
            (&json!("iVD/"), &json!(true))
        );
        let broken = event_of(
            Request::post("/")
                .header("content-type", "application/json")
                .body(&[b'{', 0xff][..])
                .unwrap(),
        );
        assert_eq!(
            (&broken["body"], &broken["isBase64Encoded"]),
            (&json!("e/8="), &json!(true))
        );
    }

    #[test]
    fn an_answer_becomes_a_response() {
        let answer = json!({
            "statusCode": 202,
            "headers": {"content-type": "text/plain", "x-number": 7},
            "multiValueHeaders": {},
            "cookies": ["a=1", "b=2"],
            "body": "aGVsbG8=",
            "isBase64Encoded": true,
        });
        let response = response(answer.to_string().as_bytes()).unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        assert_eq!(response.headers()["x-number"], "7");
        assert_eq!(response.headers().get_all(SET_COOKIE).iter().count(), 2);
        assert_eq!(response.body().as_ref(), b"hello");
    }

    #[test]
    fn an_answer_without_a_status_is_the_json_to_send() {
        let response = response(br#"{"hello":1}"#).unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(response.body().as_ref(), br#"{"hello":1}"#);
    }

    #[test]
    fn an_answer_that_is_no_response_says_what_is_wrong() {
        for (answer, what) in [
            ("not json", "expected"),
            (r#"{"statusCode": 99}"#, "statusCode"),
            (r#"{"statusCode": 200, "body": {}}"#, "body"),
            (r#"{"statusCode": 200, "headers": {"a b": "c"}}"#, "a b"),
        ] {
            let error = response(answer.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(what), "{answer}: {error}");
        }
    }
}
