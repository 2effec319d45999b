//! The AWS SDK over the one HTTP client of the process.
//!
//! The SDK's own HTTP client would bring a second TLS stack, and its configuration loader reads files, profiles and the
//! metadata of an instance. A Lambda function needs neither: region, credentials and endpoints are in its environment.

use std::fmt;
use std::sync::Arc;
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
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use botframework::http::{Body, HttpTransport, Transport, TransportError};
use bytes::Bytes;

use crate::config::{self, Environment};

mod error;
pub(crate) mod parameter_store;
pub(crate) mod service;

pub(crate) use error::{Error, sanitize_code};

/// Time limit of one request. AWS answers in milliseconds; a request that takes longer is lost, and the next attempt
/// takes another connection.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// Time limit of an operation with all its attempts: a channel gives up on us after about 15 seconds, and must have our
/// answer before.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(6);

/// Attempts of an operation on DynamoDB: the SDK's own number.
const DYNAMODB_ATTEMPTS: u32 = 3;

/// Base of the exponential backoff between attempts, throttled or not.
const RETRY_BACKOFF: Duration = Duration::from_millis(100);

/// The SDK's id of each service in use, and the variable that overrides its endpoint.
const ENDPOINTS: [(&str, &str); 7] = [
    ("DynamoDB", "AWS_ENDPOINT_URL_DYNAMODB"),
    ("EventBridge", "AWS_ENDPOINT_URL_EVENTBRIDGE"),
    ("Scheduler", "AWS_ENDPOINT_URL_SCHEDULER"),
    ("Secrets Manager", "AWS_ENDPOINT_URL_SECRETS_MANAGER"),
    ("SQS", "AWS_ENDPOINT_URL_SQS"),
    ("SSM", "AWS_ENDPOINT_URL_SSM"),
    ("STS", "AWS_ENDPOINT_URL_STS"),
];

/// The configuration that the SDK's clients share, and the client of DynamoDB. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sdk {
    config: SdkConfig,
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
}

impl Sdk {
    /// Reads the variables that the Lambda service sets: `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`. `AWS_ENDPOINT_URL_<SERVICE>` overrides the endpoint of one service, `AWS_ENDPOINT_URL` that of
    /// all others.
    ///
    /// Requests go out over `sendMode`'s connections. Nothing is connected yet. The credentials are read once: an
    /// execution environment does not outlive those it was given.
    ///
    /// # Errors
    /// When region or keys are missing; it names the variable.
    pub fn new(environment: &Environment<'_>, transport: &HttpTransport) -> Result<Self, config::Error> {
        let config = shared_config(environment, transport.clone())?;
        // Not in the shared part: DynamoDB's client replaces a number of attempts that stands there by its own.
        let dynamodb =
            aws_sdk_dynamodb::config::Builder::from(&config).retry_config(retries(DYNAMODB_ATTEMPTS));
        Ok(Self {
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb.build()),
            config,
        })
    }

    /// The configuration of another service's client, which makes so many attempts for an operation.
    pub(crate) fn config(&self, max_attempts: u32) -> SdkConfig {
        with_attempts(self.config.clone(), max_attempts)
    }

    /// The region of all services.
    pub(crate) fn region(&self) -> &str {
        self.config.region().map(Region::as_ref).unwrap_or_default()
    }
}

/// The configuration of a client that makes one attempt for an operation, over `sendMode`; for callers that retry
/// themselves. It reads the variables that [`Sdk::new`] reads.
pub(crate) fn single_attempt(
    environment: &Environment<'_>,
    transport: impl Transport + 'static,
) -> Result<SdkConfig, config::Error> {
    Ok(with_attempts(shared_config(environment, transport)?, 1))
}

fn shared_config(
    environment: &Environment<'_>,
    transport: impl Transport + 'static,
) -> Result<SdkConfig, config::Error> {
    let credentials = Credentials::new(
        environment.required("AWS_ACCESS_KEY_ID")?,
        environment.required("AWS_SECRET_ACCESS_KEY")?,
        environment.optional("AWS_SESSION_TOKEN"),
        None,
        "Environment",
    );
    let overrides = ENDPOINTS
        .into_iter()
        .filter_map(|(service, variable)| Some((service, environment.optional(variable)?)));
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(environment.required("AWS_REGION")?))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(HttpAdapter(Arc::new(transport)))
        .service_config(EndpointOverrides(overrides.collect()))
        .timeout_config(
            TimeoutConfig::builder()
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .operation_timeout(OPERATION_TIMEOUT)
                .build(),
        );
    config.set_endpoint_url(environment.optional("AWS_ENDPOINT_URL"));
    Ok(config.build())
}

fn with_attempts(config: SdkConfig, max_attempts: u32) -> SdkConfig {
    config.into_builder().retry_config(retries(max_attempts)).build()
}

fn retries(max_attempts: u32) -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(max_attempts)
        .with_initial_backoff(RETRY_BACKOFF)
        .with_retry_spec(RetrySpec::v2_1().with_non_throttling_initial_backoff(RETRY_BACKOFF))
}

/// The URLs that the environment gives for single services, by the SDK's id of the service.
#[derive(Debug)]
struct EndpointOverrides(Vec<(&'static str, String)>);

impl LoadServiceConfig for EndpointOverrides {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        if key.env() != "AWS_ENDPOINT_URL" {
            return None;
        }
        let (_, url) = self.0.iter().find(|(service, _)| *service == key.service_id())?;
        Some(url.clone())
    }
}

/// The SDK's requests over our transport. The SDK bounds the time of each.
#[derive(Clone)]
struct HttpAdapter(Arc<dyn Transport>);

impl HttpClient for HttpAdapter {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for HttpAdapter {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let transport = Arc::clone(&self.0);
        let request = convert(request);
        HttpConnectorFuture::new(async move {
            let response = transport.send(request?).await.map_err(connector_error)?;
            let (head, body) = response.into_parts();
            let Body::Complete(body) = body else {
                return Err(ConnectorError::io("the response was cut short".into()));
            };
            let response = http::Response::from_parts(head, SdkBody::from(body));
            HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

impl fmt::Debug for HttpAdapter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HttpAdapter")
    }
}

fn convert(request: HttpRequest) -> Result<http::Request<Bytes>, ConnectorError> {
    let (mut head, body) = request
        .try_into_http1x()
        .map_err(|error| ConnectorError::user(error.into()))?
        .into_parts();
    // The services in use take documents, never streams.
    let body = body
        .bytes()
        .ok_or_else(|| ConnectorError::user("the request's body is a stream".into()))?;
    // The SDK marks neither as secret.
    for name in ["authorization", "x-amz-security-token"] {
        if let Some(value) = head.headers.get_mut(name) {
            value.set_sensitive(true);
        }
    }
    Ok(http::Request::from_parts(head, Bytes::copy_from_slice(body)))
}

/// The SDK retries a failure here: every operation in use is idempotent.
fn connector_error(error: TransportError) -> ConnectorError {
    match error {
        TransportError::NotSent(cause) => ConnectorError::io(cause).never_connected(),
        TransportError::MaybeSent(cause) => ConnectorError::io(cause),
    }
}

#[cfg(test)]
pub(crate) mod tests;
