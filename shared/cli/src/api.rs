//! Requests to the API.

use std::time::Duration;

use botframework::http::{Body, HttpTransport, TransportError};
use bytes::Bytes;
use http::header::{
    ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LINK, RETRY_AFTER, USER_AGENT,
};
use http::{Method, Request, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::error::Error;
use crate::problem::Problem;
use crate::sign_in::SignIn;

/// Everything is encoded but the unreserved characters of RFC 3986.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The API has 30 seconds for an answer.
const TIMEOUT: Duration = Duration::from_secs(35);

/// How often a request is sent that fails for a passing reason.
const TRIES: u32 = 5;

/// The longest wait that an answer may ask for before the next try.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// The API at one address.
#[derive(Debug)]
pub(crate) struct Api {
    url: String,
    transport: HttpTransport,
    sign_in: SignIn,
}

/// A request. It is repeated when its answer is lost, unless it says [`once`](Ask::once).
#[derive(Debug)]
pub(crate) struct Ask {
    method: Method,
    /// Path and query, encoded.
    path: String,
    headers: HeaderMap,
    body: Bytes,
    /// The body, to show what was refused.
    document: Option<Value>,
    is_repeatable: bool,
    /// A status that is an answer though it is no success.
    also: Option<StatusCode>,
}

/// What the API answers when it does what it is asked.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Ask {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            document: None,
            is_repeatable: true,
            also: None,
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// With a JSON document.
    pub(crate) fn json(mut self, document: Value) -> Self {
        self.body = document.to_string().into();
        self.document = Some(document);
        self.header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }

    /// With another body.
    pub(crate) fn body(mut self, content_type: &'static str, body: Bytes) -> Self {
        self.body = body;
        self.header(CONTENT_TYPE, HeaderValue::from_static(content_type))
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Answered by this status, too.
    pub(crate) fn or_by(mut self, status: StatusCode) -> Self {
        self.also = Some(status);
        self
    }

    /// Sent once only: a repetition would make a second one.
    pub(crate) fn once(mut self) -> Self {
        self.is_repeatable = false;
        self
    }
}

impl Answer {
    /// The document; `null` of an empty body.
    pub(crate) fn json(&self) -> Result<Value, Error> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).map_err(|error| Error::Unavailable {
            what: "the API answered with something that is no JSON: is this the address of Herald's API?"
                .to_owned(),
            source: Some(error.into()),
        })
    }

    /// The path of the next page, of a report.
    pub(crate) fn next(&self) -> Option<String> {
        let link = self.headers.get(LINK)?.to_str().ok()?;
        let (target, rest) = link.strip_prefix('<')?.split_once('>')?;
        rest.contains("next").then(|| target.to_owned())
    }
}

impl Api {
    pub(crate) fn new(url: &str, sign_in: SignIn) -> Result<Self, Error> {
        let variable = |names: [&str; 2]| names.iter().find_map(|name| std::env::var(name).ok());
        let transport = HttpTransport::builder()
            .timeout(TIMEOUT)
            .connect_timeout(Duration::from_secs(10))
            .https_proxy(
                variable(["HTTPS_PROXY", "https_proxy"]),
                variable(["NO_PROXY", "no_proxy"]),
            )
            .build();
        let transport = transport.map_err(|error| Error::Local {
            what: "the HTTP client cannot be built".to_owned(),
            source: Some(error.into()),
        })?;
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            transport,
            sign_in,
        })
    }

    /// Sends a request until it is answered, and returns what it is answered with if that is a success.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Answer, Error> {
        let mut tries = 1;
        loop {
            let (failed, wait) = match self.send(&ask).await? {
                Ok((status, answer)) if status.is_success() || ask.also == Some(status) => return Ok(answer),
                Ok((status, answer)) => {
                    let is_passing =
                        status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE;
                    let wait = retry_after(&answer.headers).filter(|_| is_passing);
                    (refusal(status, &answer, &ask), is_passing.then_some(wait))
                }
                Err(error) => {
                    let was_not_sent = matches!(error, TransportError::NotSent(_));
                    let what = if was_not_sent {
                        format!("{} cannot be reached", self.url)
                    } else {
                        format!("{} did not answer", self.url)
                    };
                    let failed = Error::Unavailable {
                        what,
                        source: Some(error.into()),
                    };
                    // A server that is not there is not waited for.
                    (failed, (!was_not_sent).then_some(None))
                }
            };
            match wait {
                Some(wait) if ask.is_repeatable && tries < TRIES => {
                    let wait = wait.unwrap_or(Duration::from_secs(1 << (tries - 1)));
                    tokio::time::sleep(wait.min(RETRY_AFTER_MAX)).await;
                    tries += 1;
                }
                _ => return Err(failed),
            }
        }
    }

    /// The document that a request is answered with.
    pub(crate) async fn read(&self, ask: Ask) -> Result<Value, Error> {
        self.ask(ask).await?.json()
    }

    /// The members of a list, of all its pages.
    pub(crate) async fn list(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
        member: &str,
    ) -> Result<Vec<Value>, Error> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let path = with_query(path, query);
            let mut page = self
                .read(Ask::get(with_query(&path, &[("cursor", cursor.as_deref())])))
                .await?;
            if let Some(items) = page[member].as_array_mut() {
                found.append(items);
            }
            cursor = page["next"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok(found);
            }
        }
    }

    async fn send(&self, ask: &Ask) -> Result<Result<(StatusCode, Answer), TransportError>, Error> {
        let mut request = Request::new(ask.body.clone());
        *request.method_mut() = ask.method.clone();
        let uri = format!("{}{}", self.url, ask.path);
        *request.uri_mut() = uri
            .parse()
            .map_err(|_| Error::Usage(format!("`{}` is no path of the API", ask.path)))?;
        let host = request
            .uri()
            .authority()
            .and_then(|host| host.as_str().parse().ok());
        let headers = request.headers_mut();
        headers.extend(ask.headers.clone());
        headers.extend(host.map(|host| (HOST, host)));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if !headers.contains_key(ACCEPT) {
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        }
        self.sign_in.sign(&mut request).await?;
        let response = match self.transport.send_with_timeout(request, TIMEOUT).await {
            Ok(response) => response,
            Err(error) => return Ok(Err(error)),
        };
        let (head, body) = response.into_parts();
        let Body::Complete(body) = body else {
            return Err(Error::Unavailable {
                what: "the answer of the API broke off".to_owned(),
                source: None,
            });
        };
        let headers = head.headers;
        Ok(Ok((head.status, Answer { headers, body })))
    }
}

const AGENT: &str = concat!("herald/", env!("CARGO_PKG_VERSION"));

fn refusal(status: StatusCode, answer: &Answer, ask: &Ask) -> Error {
    let problem = Problem::read(status.as_u16(), &answer.body, ask.document.as_ref());
    if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
        Error::Refused(problem)
    } else {
        Error::Unavailable {
            what: problem.to_string(),
            source: None,
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// A text as one segment of a path, or as one value of a query.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// A path with a query of those parameters that have a value.
pub(crate) fn with_query(path: &str, query: &[(&str, Option<&str>)]) -> String {
    let mut path = path.to_owned();
    for (name, value) in query {
        if let Some(value) = value {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(name);
            path.push('=');
            path.push_str(&segment(value));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_path_names_is_encoded() {
        let key = "msteams|28:bot|19:a b/c@thread.tacv2";
        assert_eq!(segment(key), "msteams%7C28%3Abot%7C19%3Aa%20b%2Fc%40thread.tacv2");
        let query = [("state", Some("held")), ("caller", None), ("limit", Some("2"))];
        assert_eq!(with_query("/api/x", &query), "/api/x?state=held&limit=2");
    }

    #[test]
    fn the_next_page_of_a_report_is_in_its_link() {
        let answer = |link: &str| Answer {
            headers: HeaderMap::from_iter([(LINK, link.parse().unwrap())]),
            body: Bytes::new(),
        };
        let next = answer(r#"</api/x?cursor=1&format=csv>; rel="next""#).next();
        assert_eq!(next.as_deref(), Some("/api/x?cursor=1&format=csv"));
        assert_eq!(answer(r#"</api/x>; rel="first""#).next(), None);
    }
}
