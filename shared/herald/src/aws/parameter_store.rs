//! Reads a parameter of Systems Manager.
//!
//! The one operation that is requested without the SDK crate of its service: `aws-sdk-ssm` alone takes 0.8 MB of the 8 MB that a
//! function may have (`DESIGN.md#decision-sdk`). The request goes the way of all others, through the SDK's orchestrator and signer.

use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_sdk_secretsmanager::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::auth::{AuthSchemeOptionResolverParams, SharedAuthSchemeOptionResolver};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::error::ErrorMetadata;
use aws_types::SdkConfig;
use aws_types::region::SigningRegion;
use aws_types::service_config::ServiceConfigKey;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Error;

pub(crate) const OPERATION: &str = "ssm:GetParameter";

/// A client of Systems Manager, which makes one attempt for an operation.
pub(crate) struct ParameterStore(SdkConfig);

/// The part of the response that is read.
#[derive(Debug, Deserialize)]
struct Output {
    #[serde(rename = "Parameter")]
    parameter: Option<Parameter>,
}

#[derive(Debug, Deserialize)]
struct Parameter {
    #[serde(rename = "Value")]
    value: Option<String>,
}

impl ParameterStore {
    pub(crate) fn new(config: &SdkConfig) -> Self {
        Self(config.clone())
    }

    /// The value of the parameter of this name or ARN, decrypted.
    pub(crate) async fn value(&self, name: &str) -> Result<Option<String>, Error> {
        let endpoint = self.endpoint().await.map_err(|source| Error::Request {
            operation: OPERATION,
            source,
        })?;
        let mut operation = Operation::builder()
            .service_name("SSM")
            .operation_name("GetParameter")
            .endpoint_url(&endpoint)
            .no_retry()
            .runtime_plugin(self.signed())
            .serializer(request)
            .deserializer(output);
        if let Some(timeouts) = self.0.timeout_config() {
            operation = operation.timeout_config(timeouts.clone());
        }
        let sent = operation.build().invoke(name.to_owned()).await;
        let output: Output =
            sent.map_err(|error: SdkError<ErrorMetadata, HttpResponse>| Error::new(OPERATION, error))?;
        Ok(output.parameter.and_then(|parameter| parameter.value))
    }

    /// The endpoint of the environment, or that of the region. It differs from Secrets Manager's by the name of the service, in
    /// all partitions of AWS.
    async fn endpoint(&self) -> Result<String, BoxError> {
        let config = self.0.service_config();
        let key = ServiceConfigKey::builder()
            .service_id("SSM")
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build()?;
        if let Some(url) = config.and_then(|config| config.load_config(key)) {
            return Ok(url);
        }
        if let Some(url) = self.0.endpoint_url() {
            return Ok(url.to_owned());
        }
        let region = self.0.region().map(ToString::to_string);
        let params = Params::builder().set_region(region).build()?;
        let endpoint = DefaultResolver::new().resolve_endpoint(&params).await?;
        Ok(endpoint.url().replacen("secretsmanager", "ssm", 1))
    }

    /// The HTTP client, and the signature with the credentials of the environment.
    fn signed(&self) -> StaticRuntimePlugin {
        let signing = SigV4OperationSigningConfig {
            name: Some("ssm".into()),
            region: self.0.region().cloned().map(SigningRegion::from),
            ..SigV4OperationSigningConfig::default()
        };
        let mut config = Layer::new("ssm");
        config.store_put(AuthSchemeOptionResolverParams::new(()));
        config.store_put(signing);
        let schemes = StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]);
        let mut components = RuntimeComponentsBuilder::new("ssm")
            .with_http_client(self.0.http_client())
            .with_auth_scheme(SigV4AuthScheme::new())
            .with_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(schemes)));
        if let Some(credentials) = self.0.credentials_provider() {
            components.set_identity_resolver(SCHEME_ID, credentials);
        }
        StaticRuntimePlugin::new()
            .with_config(config.freeze())
            .with_runtime_components(components)
    }
}

fn request(name: String) -> Result<HttpRequest, BoxError> {
    let body = json!({"Name": Value::from(name), "WithDecryption": true}).to_string();
    let request = http::Request::post("/")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", "AmazonSSM.GetParameter")
        .body(SdkBody::from(body))?;
    Ok(HttpRequest::try_from(request)?)
}

fn output(response: &HttpResponse) -> Result<Output, OrchestratorError<ErrorMetadata>> {
    let body = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        return serde_json::from_slice(body).map_err(|error| OrchestratorError::response(error.into()));
    }
    let fault: Value = serde_json::from_slice(body).unwrap_or_default();
    // Of `com.amazonaws.ssm#ParameterNotFound`, the code is what follows the namespace.
    let code = fault["__type"].as_str().and_then(|name| name.rsplit('#').next());
    let mut refused = ErrorMetadata::builder();
    if let Some(code) = code {
        refused = refused.code(code);
    }
    Err(OrchestratorError::operation(refused.build()))
}
