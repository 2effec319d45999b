//! An HTTP/1.1 client for loopback, for the channel's requests to the bot and the demo's to the notification API.

use axum::body::Bytes;
use http::{
    HeaderName, Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is invalid.
    #[error("{0} is not a valid URL")]
    Request(String, #[source] http::Error),
    /// No response arrived.
    #[error("{0} does not respond")]
    NoAnswer(String, #[source] legacy::Error),
    /// The response's body is truncated.
    #[error("the response of {0} is truncated")]
    Cut(String, #[source] axum::Error),
}

/// The client. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client(legacy::Client<HttpConnector, Full<Bytes>>);

/// A response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body, unparsed.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; null if it is not JSON.
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
    /// Sends a GET request.
    ///
    /// # Errors
    /// When there is no response. An error status is a response.
    pub async fn get(&self, url: &str) -> Result<Answer, Error> {
        self.send(Method::GET, url, Bytes::new(), &[]).await
    }

    /// Posts JSON.
    ///
    /// # Errors
    /// When there is no response. An error status is a response.
    pub async fn post(&self, url: &str, body: &Value) -> Result<Answer, Error> {
        self.post_text(url, &body.to_string()).await
    }

    /// Posts JSON with a bearer token.
    ///
    /// # Errors
    /// When there is no response. An error status is a response.
    pub async fn post_as(&self, token: &str, url: &str, body: &Value) -> Result<Answer, Error> {
        let authorization = (AUTHORIZATION, format!("Bearer {token}"));
        self.send(Method::POST, url, body.to_string().into(), &[authorization])
            .await
    }

    /// Puts JSON.
    ///
    /// # Errors
    /// When there is no response. An error status is a response.
    pub async fn put(&self, url: &str, body: &Value) -> Result<Answer, Error> {
        self.send(Method::PUT, url, body.to_string().into(), &[]).await
    }

    /// Calls an operation of a service that speaks AWS's JSON protocol, such as `AWSEvents.PutEvents`.
    ///
    /// # Errors
    /// When there is no response. An error status is a response.
    pub async fn call(&self, url: &str, operation: &str, body: &Value) -> Result<Answer, Error> {
        let target = (HeaderName::from_static("x-amz-target"), operation.to_owned());
        self.send(Method::POST, url, body.to_string().into(), &[target])
            .await
    }

    /// Posts a text with the content type of JSON, without checking it.
    ///
    /// # Errors
    /// When there is no response. An error status is a response.
    pub async fn post_text(&self, url: &str, body: &str) -> Result<Answer, Error> {
        self.send(Method::POST, url, Bytes::copy_from_slice(body.as_bytes()), &[])
            .await
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        body: Bytes,
        headers: &[(HeaderName, String)],
    ) -> Result<Answer, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(name, value);
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
