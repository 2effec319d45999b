//! A plain HTTP/1.1 client for loopback: the channel's way to the bot, and the demo's way to the notification API.

use axum::body::Bytes;
use http::{
    Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request cannot be written down.
    #[error("{0} is no URL to send a request to")]
    Request(String, #[source] http::Error),
    /// There is no answer.
    #[error("{0} does not answer")]
    NoAnswer(String, #[source] legacy::Error),
    /// The answer's body was cut.
    #[error("{0} did not finish its answer")]
    Cut(String, #[source] axum::Error),
}

/// The client. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client(legacy::Client<HttpConnector, Full<Bytes>>);

/// An answer: its status, and its body as JSON if it is JSON.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body as it came.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Default for Client {
    fn default() -> Client {
        Client(legacy::Client::builder(TokioExecutor::new()).build_http())
    }
}

impl Client {
    /// Gets `url`.
    ///
    /// # Errors
    /// There is no answer; an error status is an answer.
    pub async fn get(&self, url: &str) -> Result<Answer, Error> {
        self.send(Method::GET, url, Bytes::new(), None).await
    }

    /// Posts JSON to `url`.
    ///
    /// # Errors
    /// There is no answer; an error status is an answer.
    pub async fn post(&self, url: &str, body: &Value) -> Result<Answer, Error> {
        self.post_text(url, &body.to_string()).await
    }

    /// Posts JSON to `url` with a bearer token.
    ///
    /// # Errors
    /// There is no answer; an error status is an answer.
    pub async fn post_as(&self, token: &str, url: &str, body: &Value) -> Result<Answer, Error> {
        self.send(Method::POST, url, body.to_string().into(), Some(token))
            .await
    }

    /// Posts text to `url` that claims to be JSON, whatever it is.
    ///
    /// # Errors
    /// There is no answer; an error status is an answer.
    pub async fn post_text(&self, url: &str, body: &str) -> Result<Answer, Error> {
        self.send(Method::POST, url, Bytes::copy_from_slice(body.as_bytes()), None)
            .await
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        body: Bytes,
        token: Option<&str>,
    ) -> Result<Answer, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Error::Request(url.to_owned(), error))?;
        let response = self
            .0
            .request(request)
            .await
            .map_err(|error| Error::NoAnswer(url.to_owned(), error))?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| Error::Cut(url.to_owned(), axum::Error::new(error)))?;
        Ok(Answer {
            status,
            body: body.to_bytes(),
        })
    }
}
