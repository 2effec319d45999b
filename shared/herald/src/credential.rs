//! What the bot proves itself with, on AWS: an identity that AWS vouches for, or a secret by its name.
//!
//! | what is set | the proof |
//! |---|---|
//! | nothing | a web identity token of this function's role (`sts:GetWebIdentityToken`), which the registration trusts by a federated credential: no secret is stored anywhere. The first choice |
//! | `HERALD_CERTIFICATE` | an assertion signed with a certificate, whose PEM (certificate and private key) is kept under that name |
//! | `MicrosoftAppPassword` | the client secret that is kept under that name |
//!
//! A name is the ARN of a secret in Secrets Manager or of a parameter in Systems Manager, `secretsmanager:NAME` or
//! `ssm:NAME`. On one machine, and never in AWS, the value itself may stand there instead.
//!
//! For federation the account must have outbound identity federation turned on. The federated credential of the
//! registration names the account's issuer, the ARN of the function's role as subject, and [`AUDIENCE`].

use std::time::{Duration, SystemTime};

use botframework::connector::Connector;
use botframework::credential::{
    AssertionContext, Certificate, ClientAuth, ClientAuthError, ClientCredential, Credential,
    InvalidCertificate, Registration, Reload, Runtime, Secret, Signing, Tenancy,
};
use botframework::http::{BoxFuture, HttpTransport};
use tokio::sync::Mutex;

use crate::aws::signed::{self, Algorithm};
use crate::clock::{Chance, Clock};
use crate::config::{self, Authentication, Bot, Environment};
use crate::telemetry::chain;

/// Whom AWS vouches to, as Entra asks for it.
pub const AUDIENCE: &str = "api://AzureADTokenExchange";

/// The client secret's name.
const APP_PASSWORD: &str = "MicrosoftAppPassword";
/// The certificate's name.
const CERTIFICATE: &str = "HERALD_CERTIFICATE";
/// `RS256`, as if left out, or `ES384`: how AWS signs what it vouches for.
const FEDERATION_ALGORITHM: &str = "HERALD_FEDERATION_ALGORITHM";
/// A stand-in for the token endpoint, on this machine; for development.
pub(crate) const TOKEN_URL: &str = "HERALD_TOKEN_URL";

/// How long AWS vouches: the assertion is used at once, and this is the service's own default.
const VOUCHED_FOR: Duration = Duration::from_mins(5);

/// How long a secret that was read is good for another token, without being read again.
const KEPT_FOR: Duration = Duration::from_mins(15);

/// The way to the channel, as the environment says: with the bot's token, or to this machine alone without.
///
/// Nothing is fetched yet.
///
/// # Errors
/// When a variable is missing or wrong; it names it.
pub fn connector(
    environment: &Environment<'_>,
    transport: &HttpTransport,
    clock: &Clock,
    chance: &Chance,
) -> Result<Connector, config::Error> {
    let bot = match environment.authentication()? {
        Authentication::LoopbackOnly => return Ok(Connector::unauthenticated(transport.clone())),
        Authentication::Required(bot) => bot,
    };
    let registration = registration(environment, bot)?;
    let prover = prover(environment, transport, clock)?;
    let credential = Credential::new(transport.clone(), registration, prover, rim(clock, chance));
    Ok(Connector::new(
        transport.clone(),
        environment.trust_rule()?,
        credential,
    ))
}

fn registration(environment: &Environment<'_>, bot: Bot) -> Result<Registration, config::Error> {
    let tenancy = match bot.registration {
        config::Registration::SingleTenant { tenant } => Tenancy::SingleTenant(tenant),
        config::Registration::MultiTenant => Tenancy::MultiTenant,
    };
    let registration = Registration::new(bot.cloud, &tenancy, &bot.app_id).map_err(|error| {
        config::Error::wrong(config::variable::APP_ID, format!("cannot be used: {error}"))
    })?;
    match environment.development(TOKEN_URL)? {
        Some(url) => registration
            .at_stand_in(&url)
            .map_err(|_| config::Error::wrong(TOKEN_URL, "must be a plain http URL on this machine")),
        None => Ok(registration),
    }
}

/// The time and the chance of whoever has tokens.
pub(crate) fn rim(clock: &Clock, chance: &Chance) -> Runtime {
    let (clock, chance) = (clock.clone(), chance.clone());
    Runtime::new(move || clock.now().into(), move || chance.draw())
}

/// What the bot proves itself with.
pub(crate) fn prover(
    environment: &Environment<'_>,
    transport: &HttpTransport,
    clock: &Clock,
) -> Result<Box<dyn ClientAuth>, config::Error> {
    let (variable, value, kind) = match (
        environment.optional(APP_PASSWORD),
        environment.optional(CERTIFICATE),
    ) {
        (Some(_), Some(_)) => {
            let wrong = "must be left out beside MicrosoftAppPassword: the bot proves itself in one way";
            return Err(config::Error::wrong(CERTIFICATE, wrong));
        }
        (Some(value), None) => (APP_PASSWORD, value, Kind::Password),
        (None, Some(value)) => (CERTIFICATE, value, Kind::Certificate),
        (None, None) => return federation(environment, transport, clock),
    };
    let Some(name) = Name::read(&value) else {
        // The value itself.
        environment.development(variable).map_err(|_| {
            let wrong = "must be the name of a secret in AWS: an ARN, secretsmanager:NAME or ssm:NAME";
            config::Error::wrong(variable, wrong)
        })?;
        return kind
            .prover(&value.into())
            .map_err(|error| config::Error::wrong(variable, format!("cannot be used: {error}")));
    };
    Ok(Box::new(Kept {
        client: signed::Client::new(environment, transport.clone(), clock.clone())?,
        name,
        kind,
        last: Mutex::default(),
    }))
}

fn federation(
    environment: &Environment<'_>,
    transport: &HttpTransport,
    clock: &Clock,
) -> Result<Box<dyn ClientAuth>, config::Error> {
    let algorithm = match environment.optional(FEDERATION_ALGORITHM).as_deref() {
        None | Some("RS256") => Algorithm::Rs256,
        Some("ES384") => Algorithm::Es384,
        Some(_) => {
            let wrong = "must be RS256 or ES384, or left out";
            return Err(config::Error::wrong(FEDERATION_ALGORITHM, wrong));
        }
    };
    if !environment.is_in_aws() && environment.optional("AWS_ENDPOINT_URL_STS").is_none() {
        return Ok(Box::new(Nothing));
    }
    Ok(Box::new(WebIdentity {
        client: signed::Client::new(environment, transport.clone(), clock.clone())?,
        algorithm,
    }))
}

/// Where a secret is kept.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    SecretsManager(String),
    SystemsManager(String),
}

impl Name {
    /// The name that a variable's value is, if it is one.
    fn read(value: &str) -> Option<Self> {
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

/// What a secret is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Password,
    Certificate,
}

impl Kind {
    fn prover(self, text: &Secret) -> Result<Box<dyn ClientAuth>, InvalidCertificate> {
        Ok(match self {
            // A secret that came through a file ends in a line feed; no client secret has one.
            Self::Password => Box::new(Secret::from(text.expose().trim().to_owned())),
            Self::Certificate => Box::new(Certificate::from_pem(text.expose(), Signing::Ps256)?),
        })
    }
}

/// A secret that is kept by AWS under a name, where it can be rotated at any time.
struct Kept {
    client: signed::Client,
    name: Name,
    kind: Kind,
    last: Mutex<Option<Reading>>,
}

#[derive(Clone)]
struct Reading {
    text: Secret,
    at: SystemTime,
}

impl Kept {
    async fn read(&self) -> Result<Secret, signed::Error> {
        match &self.name {
            Name::SecretsManager(id) => self.client.secret(id).await,
            Name::SystemsManager(name) => self.client.parameter(name).await,
        }
    }

    /// The text, read within the last minutes, or ever if it cannot be read now.
    async fn text(&self, now: SystemTime) -> Result<Secret, signed::Error> {
        let mut last = self.last.lock().await;
        let age = |reading: &Reading| now.duration_since(reading.at).unwrap_or_default();
        if let Some(reading) = last.as_ref().filter(|reading| age(reading) < KEPT_FOR) {
            return Ok(reading.text.clone());
        }
        match (self.read().await, &*last) {
            (Ok(text), _) => {
                *last = Some(Reading {
                    text: text.clone(),
                    at: now,
                });
                Ok(text)
            }
            (Err(error), Some(reading)) => {
                tracing::warn!(error_type = "SecretNotRead", error = %chain(&error), "the last one read serves on");
                Ok(reading.text.clone())
            }
            (Err(error), None) => Err(error),
        }
    }
}

impl ClientAuth for Kept {
    fn authenticate<'a>(
        &'a self,
        occasion: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>> {
        Box::pin(async move {
            let text = self.text(occasion.now).await?;
            let prover = self
                .kind
                .prover(&text)
                .map_err(|error| ClientAuthError::Configuration(Box::new(error)))?;
            prover.authenticate(occasion).await
        })
    }

    fn reload(&self) -> BoxFuture<'_, Reload> {
        Box::pin(async {
            let mut last = self.last.lock().await;
            match (self.read().await, last.as_mut()) {
                (Ok(text), Some(reading)) if reading.text != text => {
                    reading.text = text;
                    Reload::Changed
                }
                (Ok(_), _) => Reload::Unchanged,
                (Err(error), _) => {
                    tracing::warn!(error_type = "SecretNotRead", error = %chain(&error), "it was refused, and is not read again");
                    Reload::Unchanged
                }
            }
        })
    }
}

/// AWS vouches for this function's role.
struct WebIdentity {
    client: signed::Client,
    algorithm: Algorithm,
}

impl ClientAuth for WebIdentity {
    fn authenticate<'a>(
        &'a self,
        _: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>> {
        Box::pin(async {
            let token = self
                .client
                .web_identity_token(AUDIENCE, self.algorithm, VOUCHED_FOR)
                .await?;
            Ok(ClientCredential::Assertion(token))
        })
    }
}

/// One machine, where no role is to be vouched for, and nothing is set. Channels on it need no token; the first that
/// does is told.
struct Nothing;

/// There is nothing to prove the bot with.
#[derive(Debug, thiserror::Error)]
#[error("MicrosoftAppPassword is not set, and on one machine there is no AWS identity in its place")]
struct NothingSet;

impl ClientAuth for Nothing {
    fn authenticate<'a>(
        &'a self,
        _: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>> {
        Box::pin(async { Err(ClientAuthError::Configuration(Box::new(NothingSet))) })
    }
}

#[cfg(test)]
mod tests;
