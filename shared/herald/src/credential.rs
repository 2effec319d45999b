//! How the bot authenticates itself to Entra, on AWS: by an identity that AWS asserts, or by a secret kept in AWS.
//!
//! | set | credential |
//! |---|---|
//! | nothing | a web identity token of this function's role (`sts:GetWebIdentityToken`), which the registration trusts by a federated credential: no secret is stored anywhere. The first choice |
//! | `HERALD_CERTIFICATE` | an assertion signed with a certificate; the variable names the secret with its PEM (certificate and private key) |
//! | `MicrosoftAppPassword` | a client secret; the variable names the secret |
//!
//! A name is the ARN of a secret in Secrets Manager or of a parameter in Systems Manager, `secretsmanager:NAME` or
//! `ssm:NAME`. On one machine, and never in AWS, the variable may hold the value itself instead.
//!
//! Federation needs outbound identity federation turned on in the account. The federated credential of the registration
//! names the account's issuer, the ARN of the function's role as subject, and [`AUDIENCE`].

use std::time::Duration;

use aws_sdk_sts::Client;
use botframework::connector::Connector;
use botframework::credential::{
    AssertionContext, ClientAuth, ClientAuthError, ClientCredential, Credential, Registration, Runtime,
    Tenancy,
};
use botframework::http::{BoxFuture, HttpTransport};

use crate::aws;
use crate::clock::{Clock, Random};
use crate::config::{self, Authentication, BotRegistration, Environment, RegisteredTenants};

mod stored_secret;

use stored_secret::{SecretKind, SecretRef, StoredSecret};

/// The audience of the web identity token, as Entra requires it.
pub const AUDIENCE: &str = "api://AzureADTokenExchange";

/// Names the client secret.
const APP_PASSWORD: &str = "MicrosoftAppPassword";
/// Names the certificate.
const CERTIFICATE: &str = "HERALD_CERTIFICATE";
/// The signature of the web identity token: `RS256`, the default, or `ES384`.
const FEDERATION_ALGORITHM: &str = "HERALD_FEDERATION_ALGORITHM";
/// A stand-in for the token endpoint, on this machine; for development.
pub(crate) const TOKEN_URL: &str = "HERALD_TOKEN_URL";

/// How long a web identity token is valid: it is used at once, and this is the service's own default.
const ASSERTION_TTL: Duration = Duration::from_mins(5);

/// The connector that the environment describes: with the bot's token, or without one to this machine alone. It fetches
/// nothing yet.
///
/// # Errors
/// When a variable is missing or wrong; it names it.
pub fn connector(
    environment: &Environment<'_>,
    transport: &HttpTransport,
    clock: &Clock,
    random: &Random,
) -> Result<Connector, config::Error> {
    let bot = match environment.authentication()? {
        Authentication::LoopbackOnly => return Ok(Connector::unauthenticated(transport.clone())),
        Authentication::Required(bot) => bot,
    };
    let registration = registration(environment, bot)?;
    let client_auth = client_auth(environment, transport)?;
    let credential = Credential::new(
        transport.clone(),
        registration,
        client_auth,
        runtime(clock, random),
    );
    Ok(Connector::new(
        transport.clone(),
        environment.trust_rule()?,
        credential,
    ))
}

fn registration(environment: &Environment<'_>, bot: BotRegistration) -> Result<Registration, config::Error> {
    let tenancy = match bot.tenants {
        RegisteredTenants::SingleTenant { tenant } => Tenancy::SingleTenant(tenant),
        RegisteredTenants::MultiTenant => Tenancy::MultiTenant,
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

/// Clock and random source of the token cache.
pub(crate) fn runtime(clock: &Clock, random: &Random) -> Runtime {
    let (clock, random) = (clock.clone(), random.clone());
    Runtime::new(move || clock.now().into(), move || random.bytes())
}

/// How the bot authenticates its token requests.
pub(crate) fn client_auth(
    environment: &Environment<'_>,
    transport: &HttpTransport,
) -> Result<Box<dyn ClientAuth>, config::Error> {
    let (variable, value, kind) = match (
        environment.optional(APP_PASSWORD),
        environment.optional(CERTIFICATE),
    ) {
        (Some(_), Some(_)) => {
            let wrong = "must be left out beside MicrosoftAppPassword: the bot authenticates in one way";
            return Err(config::Error::wrong(CERTIFICATE, wrong));
        }
        (Some(value), None) => (APP_PASSWORD, value, SecretKind::Password),
        (None, Some(value)) => (CERTIFICATE, value, SecretKind::Certificate),
        (None, None) => return federation(environment, transport),
    };
    if let Some(name) = SecretRef::parse(&value) {
        let config = aws::single_attempt(environment, transport.clone())?;
        return Ok(Box::new(StoredSecret::new(&config, name, kind)));
    }
    // The value itself.
    environment.development(variable).map_err(|_| {
        let wrong = "must be the name of a secret in AWS: an ARN, secretsmanager:NAME or ssm:NAME";
        config::Error::wrong(variable, wrong)
    })?;
    kind.client_auth(&value.into())
        .map_err(|error| config::Error::wrong(variable, format!("cannot be used: {error}")))
}

fn federation(
    environment: &Environment<'_>,
    transport: &HttpTransport,
) -> Result<Box<dyn ClientAuth>, config::Error> {
    let algorithm = environment.optional(FEDERATION_ALGORITHM);
    let algorithm = algorithm.unwrap_or_else(|| "RS256".to_owned());
    if !["RS256", "ES384"].contains(&algorithm.as_str()) {
        let wrong = "must be RS256 or ES384, or left out";
        return Err(config::Error::wrong(FEDERATION_ALGORITHM, wrong));
    }
    if !environment.is_in_aws() && environment.optional("AWS_ENDPOINT_URL_STS").is_none() {
        return Ok(Box::new(NoCredential));
    }
    Ok(Box::new(WebIdentity {
        client: Client::new(&aws::single_attempt(environment, transport.clone())?),
        algorithm,
    }))
}

/// An assertion by AWS of this function's role.
struct WebIdentity {
    client: Client,
    algorithm: String,
}

impl WebIdentity {
    async fn assertion(&self) -> Result<ClientCredential, aws::Error> {
        const OPERATION: &str = "sts:GetWebIdentityToken";
        let request = self
            .client
            .get_web_identity_token()
            .audience(AUDIENCE)
            .signing_algorithm(&self.algorithm)
            .duration_seconds(i32::try_from(ASSERTION_TTL.as_secs()).unwrap_or(i32::MAX));
        let output = request
            .send()
            .await
            .map_err(|error| aws::Error::new(OPERATION, error))?;
        let token = output.web_identity_token.filter(|token| !token.is_empty());
        let token = token.ok_or(aws::Error::NoText { operation: OPERATION })?;
        Ok(ClientCredential::Assertion(token.into()))
    }
}

impl ClientAuth for WebIdentity {
    fn authenticate<'a>(
        &'a self,
        _: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>> {
        Box::pin(async { Ok(self.assertion().await?) })
    }
}

/// One machine, without an AWS identity and without a secret. Channels on this machine need no token; a request to any
/// other fails with [`NoCredentialError`].
struct NoCredential;

#[derive(Debug, thiserror::Error)]
#[error("MicrosoftAppPassword is not set, and on one machine there is no AWS identity in its place")]
struct NoCredentialError;

impl ClientAuth for NoCredential {
    fn authenticate<'a>(
        &'a self,
        _: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>> {
        Box::pin(async { Err(ClientAuthError::Configuration(Box::new(NoCredentialError))) })
    }
}

impl From<aws::Error> for ClientAuthError {
    fn from(error: aws::Error) -> Self {
        let is_transient = error.is_transient();
        let cause = Box::new(error);
        if is_transient {
            Self::Unavailable(cause)
        } else {
            Self::Configuration(cause)
        }
    }
}

#[cfg(test)]
mod tests;
