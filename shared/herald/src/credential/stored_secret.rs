//! A secret that Secrets Manager or Systems Manager keeps, where it can be rotated at any time.

use std::time::{Duration, SystemTime};

use aws_types::SdkConfig;
use botframework::credential::{
    AssertionContext, Certificate, ClientAuth, ClientAuthError, ClientCredential, ExposeSecret,
    InvalidCertificate, Reload, SecretString, Signing,
};
use botframework::http::BoxFuture;
use tokio::sync::Mutex;

use crate::aws::Error;
use crate::aws::parameter_store::{self, ParameterStore};
use crate::telemetry::chain;

/// How long a secret is used for further tokens without being read again.
const SECRET_CACHE_TTL: Duration = Duration::from_mins(15);

/// Where a secret is stored: its name or ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretRef {
    SecretsManager(String),
    SystemsManager(String),
}

impl SecretRef {
    /// The name that a variable holds; `None` if it is none.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut parts = value.splitn(4, ':');
        match (parts.next()?, parts.next()?, parts.next()) {
            ("arn", _, Some("secretsmanager")) => Some(Self::SecretsManager(value.to_owned())),
            ("arn", _, Some("ssm")) => Some(Self::SystemsManager(value.to_owned())),
            ("secretsmanager", ..) => Some(Self::SecretsManager(value.split_once(':')?.1.to_owned())),
            ("ssm", ..) => Some(Self::SystemsManager(value.split_once(':')?.1.to_owned())),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum SecretKind {
    Password,
    Certificate,
}

impl SecretKind {
    pub(super) fn client_auth(self, text: &SecretString) -> Result<Box<dyn ClientAuth>, InvalidCertificate> {
        Ok(match self {
            // A secret that came through a file ends in a line feed; no client secret has one.
            Self::Password => Box::new(SecretString::from(text.expose_secret().trim().to_owned())),
            Self::Certificate => Box::new(Certificate::from_pem(text.expose_secret(), Signing::Ps256)?),
        })
    }
}

enum Client {
    SecretsManager(aws_sdk_secretsmanager::Client, String),
    SystemsManager(Box<ParameterStore>, String),
}

/// A stored secret and the cache of its value.
pub(super) struct StoredSecret {
    client: Client,
    kind: SecretKind,
    cache: Mutex<Option<CachedSecret>>,
}

#[derive(Clone)]
struct CachedSecret {
    text: SecretString,
    read_at: SystemTime,
}

impl StoredSecret {
    pub(super) fn new(config: &SdkConfig, name: SecretRef, kind: SecretKind) -> Self {
        let client = match name {
            SecretRef::SecretsManager(id) => {
                Client::SecretsManager(aws_sdk_secretsmanager::Client::new(config), id)
            }
            SecretRef::SystemsManager(name) => {
                Client::SystemsManager(Box::new(ParameterStore::new(config)), name)
            }
        };
        Self {
            client,
            kind,
            cache: Mutex::default(),
        }
    }

    async fn read(&self) -> Result<SecretString, Error> {
        let (operation, text) = match &self.client {
            Client::SecretsManager(client, id) => {
                let operation = "secretsmanager:GetSecretValue";
                let read = client.get_secret_value().secret_id(id).send().await;
                (
                    operation,
                    read.map_err(|error| Error::new(operation, error))?.secret_string,
                )
            }
            Client::SystemsManager(client, name) => (parameter_store::OPERATION, client.value(name).await?),
        };
        text.map(SecretString::from).ok_or(Error::NoText { operation })
    }

    /// The secret's text, from the cache if it is fresh, or if the secret cannot be read.
    async fn text(&self, now: SystemTime) -> Result<SecretString, Error> {
        let mut cache = self.cache.lock().await;
        let age = |cached: &CachedSecret| now.duration_since(cached.read_at).unwrap_or_default();
        if let Some(cached) = cache.as_ref().filter(|cached| age(cached) < SECRET_CACHE_TTL) {
            return Ok(cached.text.clone());
        }
        match (self.read().await, &*cache) {
            (Ok(text), _) => {
                *cache = Some(CachedSecret {
                    text: text.clone(),
                    read_at: now,
                });
                Ok(text)
            }
            (Err(error), Some(cached)) => {
                tracing::warn!(error_type = "SecretUnavailable", error = %chain(&error), "using the cached secret");
                Ok(cached.text.clone())
            }
            (Err(error), None) => Err(error),
        }
    }
}

impl ClientAuth for StoredSecret {
    fn authenticate<'a>(
        &'a self,
        occasion: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>> {
        Box::pin(async move {
            let text = self.text(occasion.now).await?;
            let client_auth = self
                .kind
                .client_auth(&text)
                .map_err(|error| ClientAuthError::Configuration(Box::new(error)))?;
            client_auth.authenticate(occasion).await
        })
    }

    fn reload(&self) -> BoxFuture<'_, Reload> {
        Box::pin(async {
            let mut cache = self.cache.lock().await;
            match (self.read().await, cache.as_mut()) {
                (Ok(text), Some(cached)) if cached.text.expose_secret() != text.expose_secret() => {
                    cached.text = text;
                    Reload::Changed
                }
                (Ok(_), _) => Reload::Unchanged,
                (Err(error), _) => {
                    tracing::warn!(error_type = "SecretUnavailable", error = %chain(&error), "Entra rejected the secret, and a newer one cannot be read");
                    Reload::Unchanged
                }
            }
        })
    }
}
