//! Services of which one operation is used, without the SDK crates of these services.
//!
//! With those crates functions are larger than the 8 MB that they may have (`DESIGN.md#decision-sdk`). The requests go the way of all
//! others, through the SDK's orchestrator: its signer, retries, time limits and connections.

use std::fmt;

use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_sdk_sqs::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{HttpStatusCodeClassifier, TransientErrorClassifier};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::auth::{AuthSchemeOptionResolverParams, SharedAuthSchemeOptionResolver};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use aws_types::SdkConfig;
use aws_types::region::SigningRegion;
use aws_types::service_config::ServiceConfigKey;
use serde_json::Value;

use super::Error;

/// One of the services.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    /// The SDK's id, by which an endpoint is overridden.
    id: &'static str,
    /// Its name in endpoints and signatures.
    name: &'static str,
}

pub(crate) const EVENT_BRIDGE: Service = Service {
    id: "EventBridge",
    name: "events",
};
pub(crate) const PARAMETER_STORE: Service = Service {
    id: "SSM",
    name: "ssm",
};
pub(crate) const SCHEDULER: Service = Service {
    id: "Scheduler",
    name: "scheduler",
};

/// The client of one service. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ServiceClient {
    service: Service,
    config: SdkConfig,
}

/// A JSON document for an operation.
pub(crate) struct Request {
    path: String,
    /// The operation, where the path does not say it.
    target: Option<&'static str>,
    document: String,
}

impl Request {
    /// To a service that has one path for all operations.
    pub(crate) fn to_target(target: &'static str, document: &Value) -> Self {
        Self {
            path: "/".to_owned(),
            target: Some(target),
            document: document.to_string(),
        }
    }

    /// To a resource.
    pub(crate) fn to_path(path: String, document: &Value) -> Self {
        Self {
            path,
            target: None,
            document: document.to_string(),
        }
    }

    fn http(self) -> Result<HttpRequest, BoxError> {
        let request = http::Request::post(self.path);
        let request = match self.target {
            Some(target) => request
                .header("content-type", "application/x-amz-json-1.1")
                .header("x-amz-target", target),
            None => request.header("content-type", "application/json"),
        };
        Ok(HttpRequest::try_from(
            request.body(SdkBody::from(self.document))?,
        )?)
    }
}

/// The document may hold a message, which no log may quote.
impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Request")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl ServiceClient {
    pub(crate) fn new(service: Service, config: &SdkConfig) -> Self {
        Self {
            service,
            config: config.clone(),
        }
    }

    /// Makes a request, with as many attempts as the configuration says, and returns the document of the answer. `operation` is its name
    /// in policies.
    pub(crate) async fn call(&self, operation: &'static str, request: Request) -> Result<Value, Error> {
        let endpoint = self.endpoint().await;
        let endpoint = endpoint.map_err(|source| Error::Request { operation, source })?;
        let retries = self.config.retry_config().cloned();
        let mut call = Operation::builder()
            .service_name(self.service.id)
            .operation_name(operation)
            .endpoint_url(&endpoint)
            .standard_retry(&retries.unwrap_or_else(RetryConfig::disabled))
            .retry_classifier(TransientErrorClassifier::<ErrorMetadata>::new())
            .retry_classifier(AwsErrorCodeClassifier::<ErrorMetadata>::new())
            .retry_classifier(HttpStatusCodeClassifier::default())
            .runtime_plugin(self.signed())
            .serializer(Request::http)
            .deserializer(document);
        if let Some(timeouts) = self.config.timeout_config() {
            call = call.timeout_config(timeouts.clone());
        }
        let answer = call.build().invoke(request).await;
        answer.map_err(|error| Error::new(operation, error))
    }

    /// The endpoint of the environment, or that of the region. It differs from the one of SQS by the name of the service, in all
    /// partitions of AWS.
    async fn endpoint(&self) -> Result<String, BoxError> {
        let config = self.config.service_config();
        let key = ServiceConfigKey::builder()
            .service_id(self.service.id)
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build()?;
        if let Some(url) = config.and_then(|config| config.load_config(key)) {
            return Ok(url);
        }
        if let Some(url) = self.config.endpoint_url() {
            return Ok(url.to_owned());
        }
        let region = self.config.region().map(ToString::to_string);
        let params = Params::builder().set_region(region).build()?;
        let endpoint = DefaultResolver::new().resolve_endpoint(&params).await?;
        Ok(endpoint.url().replacen("sqs", self.service.name, 1))
    }

    /// The HTTP client, and the signature with the credentials of the environment.
    fn signed(&self) -> StaticRuntimePlugin {
        let name = self.service.name;
        let signing = SigV4OperationSigningConfig {
            name: Some(name.into()),
            region: self.config.region().cloned().map(SigningRegion::from),
            ..SigV4OperationSigningConfig::default()
        };
        let mut config = Layer::new(name);
        config.store_put(AuthSchemeOptionResolverParams::new(()));
        config.store_put(signing);
        let schemes = StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]);
        let mut components = RuntimeComponentsBuilder::new(name)
            .with_http_client(self.config.http_client())
            .with_auth_scheme(SigV4AuthScheme::new())
            .with_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(schemes)));
        if let Some(credentials) = self.config.credentials_provider() {
            components.set_identity_resolver(SCHEME_ID, credentials);
        }
        StaticRuntimePlugin::new()
            .with_config(config.freeze())
            .with_runtime_components(components)
    }
}

/// The document of a response, or the code of a refusal.
fn document(response: &HttpResponse) -> Result<Value, OrchestratorError<ErrorMetadata>> {
    let body = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        return serde_json::from_slice(body).map_err(|error| OrchestratorError::response(error.into()));
    }
    let fault: Value = serde_json::from_slice(body).unwrap_or_default();
    let stated = response.headers().get("x-amzn-errortype");
    let code = stated
        .or_else(|| fault["__type"].as_str())
        .or_else(|| fault["code"].as_str());
    let mut refused = ErrorMetadata::builder();
    if let Some(code) = code {
        // Of `com.amazonaws.ssm#ParameterNotFound:http://…`, the code is between namespace and address.
        let code = code.rsplit('#').next().unwrap_or(code);
        refused = refused.code(code.split(':').next().unwrap_or(code));
    }
    Err(OrchestratorError::operation(refused.build()))
}
