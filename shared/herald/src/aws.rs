//! The AWS SDK over the one HTTP client of the process.
//!
//! The SDK's own client would bring a second HTTP and TLS stack, and its own configuration loader files, profiles and
//! an instance's metadata; a Lambda function needs neither. Everything it does need stands in its environment.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::{RetryConfig, RetrySpec};
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use botframework::http::{Body, HttpTransport, TransportError};
use bytes::Bytes;
use tokio::time::error::Elapsed;

use crate::clock::Clock;
use crate::config::{self, Environment};

pub(crate) mod signed;

/// How long one request to a table or queue may take. They answer in milliseconds; what takes longer is lost, and the
/// next attempt has another connection.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an operation may take with all its attempts: a channel gives up on us after about 15 seconds, and must
/// have our answer before.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(6);

/// Requests made for one operation: the SDK's own number.
const ATTEMPTS_MAX: u32 = 3;

/// The clients of the services that Herald uses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sdk {
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    /// For what has no SDK crate here.
    pub(crate) signed: signed::Client,
}

impl Sdk {
    /// Clients by the variables that the Lambda service sets: `AWS_REGION`, `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`. `AWS_ENDPOINT_URL_DYNAMODB`, `AWS_ENDPOINT_URL_SQS` or, for both,
    /// `AWS_ENDPOINT_URL` lead elsewhere.
    ///
    /// Requests go out over `transport`'s connections. Nothing is connected yet. The credentials are taken
    /// once: an execution environment does not outlive those it was given.
    ///
    /// # Errors
    /// When region or keys are missing; it names the variable.
    pub fn new(environment: &Environment<'_>, transport: &HttpTransport) -> Result<Self, config::Error> {
        let credentials = credentials(environment)?;
        let common = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(environment.required("AWS_REGION")?))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(Client(transport.clone()))
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                    .read_timeout(ATTEMPT_TIMEOUT)
                    .operation_timeout(OPERATION_TIMEOUT)
                    .build(),
            )
            .build();
        // Not in the common part: what stands there, DynamoDB's client replaces by a number of its own.
        let retries = RetryConfig::standard()
            .with_max_attempts(ATTEMPTS_MAX)
            .with_retry_spec(RetrySpec::v2_1());
        let elsewhere = environment.optional("AWS_ENDPOINT_URL");
        let endpoint = |variable| environment.optional(variable).or_else(|| elsewhere.clone());
        let mut dynamodb = aws_sdk_dynamodb::config::Builder::from(&common);
        dynamodb
            .set_endpoint_url(endpoint("AWS_ENDPOINT_URL_DYNAMODB"))
            .set_retry_config(Some(retries));
        Ok(Self {
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb.build()),
            signed: signed::Client::new(environment, transport.clone(), Clock::system())?,
        })
    }
}

/// The keys of this function's role.
fn credentials(environment: &Environment<'_>) -> Result<Credentials, config::Error> {
    Ok(Credentials::new(
        environment.required("AWS_ACCESS_KEY_ID")?,
        environment.required("AWS_SECRET_ACCESS_KEY")?,
        environment.optional("AWS_SESSION_TOKEN"),
        None,
        "Environment",
    ))
}

/// Hands the SDK connectors over the one transport.
///
/// How long a connection may take was decided when that was made; the SDK only says how long an answer may.
#[derive(Debug)]
struct Client(HttpTransport);

impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            transport: self.0.clone(),
            timeout: settings.read_timeout().unwrap_or(ATTEMPT_TIMEOUT),
        })
    }
}

#[derive(Debug)]
struct Connector {
    transport: HttpTransport,
    timeout: Duration,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (transport, timeout) = (self.transport.clone(), self.timeout);
        let request = prepare(request);
        HttpConnectorFuture::new(async move {
            let response = transport
                .send_with_timeout(request?, timeout)
                .await
                .map_err(classify)?;
            let (head, body) = response.into_parts();
            let Body::Complete(body) = body else {
                return Err(ConnectorError::io("the answer was cut short".into()));
            };
            let answer = http::Response::from_parts(head, SdkBody::from(body));
            HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn prepare(request: HttpRequest) -> Result<http::Request<Bytes>, ConnectorError> {
    let (head, body) = request
        .try_into_http1x()
        .map_err(|error| ConnectorError::user(error.into()))?
        .into_parts();
    // Tables and queues take documents, never streams.
    let body = body
        .bytes()
        .ok_or_else(|| ConnectorError::user("the request's body is a stream".into()))?;
    Ok(http::Request::from_parts(head, Bytes::copy_from_slice(body)))
}

/// Tells the SDK what it may repeat: time-outs and broken connections.
fn classify(error: TransportError) -> ConnectorError {
    match error {
        TransportError::NotSent(cause) => ConnectorError::io(cause).never_connected(),
        TransportError::MaybeSent(cause) if cause.is::<Elapsed>() => ConnectorError::timeout(cause),
        TransportError::MaybeSent(cause) => ConnectorError::io(cause),
    }
}
