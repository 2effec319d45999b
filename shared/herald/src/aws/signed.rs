//! The few calls to AWS that are signed by hand: an SDK crate for each costs a tenth of a megabyte of every function, for
//! one operation of many.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use botframework::credential::{ClientAuthError, Secret};
use botframework::http::{Body, BoxError, Transport, TransportError};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, Request, StatusCode};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{ATTEMPT_TIMEOUT, credentials};
use crate::clock::Clock;
use crate::config::{self, Environment};

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// The content type of services that take the operation from [`TARGET`].
pub(crate) const JSON: &str = "application/x-amz-json-1.1";
/// Names the operation.
pub(crate) const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
/// Names the failure, for services that take the operation from the path.
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// The longest word for a failure that is passed on, in bytes.
const LONGEST_CODE: usize = 64;

/// A client of those services. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client(Arc<Inner>);

struct Inner {
    transport: Box<dyn Transport>,
    identity: Identity,
    region: String,
    clock: Clock,
    sts: String,
    secrets_manager: String,
    systems_manager: String,
    sqs: String,
    event_bridge: String,
    scheduler: String,
}

/// How STS signs a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// RSA with SHA-256: what Entra has been tested with.
    #[default]
    Rs256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
}

/// A call that brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The request cannot be signed or made.
    #[error("{operation} cannot be asked")]
    Request {
        operation: &'static str,
        source: BoxError,
    },
    /// There was no answer in time.
    #[error("{operation} did not answer in time")]
    Late { operation: &'static str },
    /// There was no answer.
    #[error("{operation} did not answer")]
    Unanswered {
        operation: &'static str,
        source: TransportError,
    },
    /// The service said no.
    #[error("{operation} was refused with {code} (status {status})")]
    Refused {
        operation: &'static str,
        status: StatusCode,
        code: String,
    },
    /// The answer was cut short, or not the document expected. Nothing of it is quoted.
    #[error("{operation} answered something else")]
    Unreadable { operation: &'static str },
    /// There is a secret, and it is no text.
    #[error("{operation} found no text")]
    NoText { operation: &'static str },
}

impl Client {
    /// A client by the variables that [`Sdk::new`](super::Sdk::new) reads, over `transport`; `AWS_ENDPOINT_URL_STS`,
    /// `AWS_ENDPOINT_URL_SECRETS_MANAGER`, `AWS_ENDPOINT_URL_SSM`, `AWS_ENDPOINT_URL_SQS`,
    /// `AWS_ENDPOINT_URL_EVENTBRIDGE` and `AWS_ENDPOINT_URL_SCHEDULER` lead elsewhere.
    pub(crate) fn new(
        environment: &Environment<'_>,
        transport: impl Transport + 'static,
        clock: Clock,
    ) -> Result<Self, config::Error> {
        let region = environment.required("AWS_REGION")?;
        let suffix = if region.starts_with("cn-") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        };
        let elsewhere = environment.optional("AWS_ENDPOINT_URL");
        let endpoint = |variable, service| {
            environment
                .optional(variable)
                .or_else(|| elsewhere.clone())
                .unwrap_or_else(|| format!("https://{service}.{region}.{suffix}"))
        };
        Ok(Self(Arc::new(Inner {
            transport: Box::new(transport),
            identity: credentials(environment)?.into(),
            clock,
            // Regional: the global endpoint of STS knows no web identity tokens.
            sts: endpoint("AWS_ENDPOINT_URL_STS", "sts"),
            secrets_manager: endpoint("AWS_ENDPOINT_URL_SECRETS_MANAGER", "secretsmanager"),
            systems_manager: endpoint("AWS_ENDPOINT_URL_SSM", "ssm"),
            sqs: endpoint("AWS_ENDPOINT_URL_SQS", "sqs"),
            event_bridge: endpoint("AWS_ENDPOINT_URL_EVENTBRIDGE", "events"),
            scheduler: endpoint("AWS_ENDPOINT_URL_SCHEDULER", "scheduler"),
            region,
        })))
    }

    /// Where SQS is, without a trailing slash.
    pub(crate) fn sqs(&self) -> &str {
        &self.0.sqs
    }

    /// Where EventBridge is, without a trailing slash.
    pub(crate) fn event_bridge(&self) -> &str {
        &self.0.event_bridge
    }

    /// Where EventBridge Scheduler is, without a trailing slash.
    pub(crate) fn scheduler(&self) -> &str {
        &self.0.scheduler
    }

    /// The region that all of this is in.
    pub(crate) fn region(&self) -> &str {
        &self.0.region
    }

    /// The present moment, as it is signed.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// A JWT by which AWS vouches for this function's role to `audience`, for a minute to an hour.
    pub(crate) async fn web_identity_token(
        &self,
        audience: &str,
        algorithm: Algorithm,
        duration: Duration,
    ) -> Result<Secret, Error> {
        const OPERATION: &str = "sts:GetWebIdentityToken";
        let algorithm = match algorithm {
            Algorithm::Rs256 => "RS256",
            Algorithm::Es384 => "ES384",
        };
        let seconds = duration.as_secs().to_string();
        let form = form(&[
            ("Action", "GetWebIdentityToken"),
            ("Version", "2011-06-15"),
            ("Audience.member.1", audience),
            ("DurationSeconds", &seconds),
            ("SigningAlgorithm", algorithm),
        ]);
        let request = Request::post(&self.0.sts).header(CONTENT_TYPE, FORM).body(form);
        let body = self.call(OPERATION, "sts", request).await?;
        // The one element that matters, which holds nothing that XML would escape.
        let token = std::str::from_utf8(&body)
            .ok()
            .and_then(|text| text.split_once("<WebIdentityToken>"))
            .and_then(|(_, rest)| rest.split_once("</WebIdentityToken>"))
            .map(|(token, _)| token.trim());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        match token {
            Some(token) if !token.is_empty() && token.bytes().all(plain) => Ok(token.to_owned().into()),
            Some(_) | None => Err(Error::Unreadable { operation: OPERATION }),
        }
    }

    /// The text of a secret in Secrets Manager, by its name or ARN.
    pub(crate) async fn secret(&self, id: &str) -> Result<Secret, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            secret_string: Option<String>,
        }
        const OPERATION: &str = "secretsmanager:GetSecretValue";
        let request = Request::post(&self.0.secrets_manager)
            .header(CONTENT_TYPE, JSON)
            .header(TARGET, "secretsmanager.GetSecretValue")
            .body(json!({"SecretId": id}).to_string());
        let body = self.call(OPERATION, "secretsmanager", request).await?;
        let answer: Answer = read(OPERATION, &body)?;
        let text = answer.secret_string;
        text.map(Secret::from)
            .ok_or(Error::NoText { operation: OPERATION })
    }

    /// The value of a parameter in Systems Manager, decrypted, by its name or ARN.
    pub(crate) async fn parameter(&self, name: &str) -> Result<Secret, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            parameter: Parameter,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Parameter {
            value: String,
        }
        const OPERATION: &str = "ssm:GetParameter";
        let request = Request::post(&self.0.systems_manager)
            .header(CONTENT_TYPE, JSON)
            .header(TARGET, "AmazonSSM.GetParameter")
            .body(json!({"Name": name, "WithDecryption": true}).to_string());
        let body = self.call(OPERATION, "ssm", request).await?;
        let answer: Answer = read(OPERATION, &body)?;
        Ok(answer.parameter.value.into())
    }
}

impl Client {
    /// Signs the request, makes it, and gives the body of a success. Once: who calls knows what may be repeated.
    pub(crate) async fn call(
        &self,
        operation: &'static str,
        service: &'static str,
        request: http::Result<Request<String>>,
    ) -> Result<bytes::Bytes, Error> {
        let request = request
            .map_err(BoxError::from)
            .and_then(|request| self.sign(service, request))
            .map_err(|source| Error::Request { operation, source })?;
        let answer = timeout(ATTEMPT_TIMEOUT, self.0.transport.send(request))
            .await
            .map_err(|_| Error::Late { operation })?
            .map_err(|source| Error::Unanswered { operation, source })?;
        let (head, body) = answer.into_parts();
        match body {
            Body::Complete(body) if head.status == StatusCode::OK => Ok(body),
            Body::Truncated if head.status == StatusCode::OK => Err(Error::Unreadable { operation }),
            Body::Complete(body) => Err(Error::refused(operation, head.status, &head.headers, &body)),
            Body::Truncated => Err(Error::refused(operation, head.status, &head.headers, &[])),
        }
    }

    fn sign(&self, service: &str, request: Request<String>) -> Result<Request<bytes::Bytes>, BoxError> {
        let parameters = v4::SigningParams::builder()
            .identity(&self.0.identity)
            .region(&self.0.region)
            .name(service)
            .time(SystemTime::from(self.0.clock.now()))
            .settings(SigningSettings::default())
            .build()?
            .into();
        let headers: Result<Vec<_>, _> = request
            .headers()
            .iter()
            .map(|(name, value)| value.to_str().map(|value| (name.as_str(), value)))
            .collect();
        let signable = SignableRequest::new(
            request.method().as_str(),
            request.uri().to_string(),
            headers?.into_iter(),
            SignableBody::Bytes(request.body().as_bytes()),
        )?;
        let (signature, _) = sign(signable, &parameters)?.into_parts();
        let mut request = request.map(bytes::Bytes::from);
        signature.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Client")
    }
}

impl Error {
    /// The service's word for it stands in a header before a `:`, in a JSON document's `__type` after a `#`, or in XML's
    /// `Code`; its message is not looked at.
    fn refused(operation: &'static str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = String::from_utf8_lossy(body);
        let in_header = headers.get(ERROR_TYPE).and_then(|value| value.to_str().ok());
        let in_json = || document.get("__type").and_then(Value::as_str);
        let in_xml = || Some(text.split_once("<Code>")?.1.split_once("</Code>")?.0);
        let said = in_header
            .and_then(|said| said.split(':').next())
            .or_else(in_json)
            .or_else(in_xml)
            .and_then(|said| said.rsplit('#').next());
        Self::Refused {
            operation,
            status,
            code: code(said),
        }
    }

    /// Whether the same call may well succeed the next time: nobody answered, or the service had no time for us.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Late { .. } | Self::Unanswered { .. } | Self::Unreadable { .. } => true,
            // Services that speak JSON throttle with a 400.
            Self::Refused { status, code, .. } => {
                !status.is_client_error()
                    || *status == StatusCode::TOO_MANY_REQUESTS
                    || code.contains("Throttl")
            }
            Self::Request { .. } | Self::NoText { .. } => false,
        }
    }
}

/// A service's word for a failure as it may be passed on, whatever stood in its place.
pub(crate) fn code(said: Option<&str>) -> String {
    let plain = |said: &&str| {
        (1..=LONGEST_CODE).contains(&said.len()) && said.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    said.filter(plain).unwrap_or("no code").to_owned()
}

impl From<Error> for ClientAuthError {
    fn from(error: Error) -> Self {
        let passes = error.may_pass();
        let cause = Box::new(error);
        if passes {
            Self::Unavailable(cause)
        } else {
            Self::Configuration(cause)
        }
    }
}

/// The document that a call was answered with.
pub(crate) fn read<'a, T: Deserialize<'a>>(operation: &'static str, body: &'a [u8]) -> Result<T, Error> {
    // The parser's own words may quote what it read.
    serde_json::from_slice(body).map_err(|_| Error::Unreadable { operation })
}

fn form(fields: &[(&str, &str)]) -> String {
    let encoded = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    encoded.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
pub(crate) mod tests;
