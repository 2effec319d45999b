//! The app of a deployed bot, as the environment describes it.

use std::fmt;
use std::time::SystemTime;

use ring::rand::{SecureRandom, SystemRandom};

use super::App;
use crate::auth::{Authenticator, Policy};
use crate::cloud::Cloud;
use crate::connector::Connector;
use crate::credential::{Credential, Registration, Runtime, SecretString, Tenancy};
use crate::http::HttpTransport;
use crate::service_url::{Loopback, OtherChannels, TrustRule};

const APP_ID: &str = "MicrosoftAppId";
const APP_PASSWORD: &str = "MicrosoftAppPassword";
const APP_TENANT_ID: &str = "MicrosoftAppTenantId";
const CHANNEL_SERVICE: &str = "ChannelService";
const UNAUTHENTICATED: &str = "BOT_UNAUTHENTICATED";

/// The one value that turns authentication off.
const LOOPBACK_ONLY: &str = "loopback-only";

/// A variable is missing or wrong. It never quotes a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct InvalidEnvironment {
    variable: &'static str,
    problem: String,
}

impl InvalidEnvironment {
    fn new(variable: &'static str, problem: impl fmt::Display) -> Self {
        let problem = problem.to_string();
        Self { variable, problem }
    }
}

impl App {
    /// The app that the environment variables describe, under the names that Microsoft's SDKs use. Fetches nothing yet.
    ///
    /// | variable | content |
    /// |---|---|
    /// | `MicrosoftAppId` (`CLIENT_ID`) | the application id of the bot |
    /// | `MicrosoftAppPassword` (`CLIENT_SECRET`) | its client secret |
    /// | `MicrosoftAppTenantId` (`TENANT_ID`) | the tenant of its registration; without one it is multi-tenant |
    /// | `ChannelService` | empty for the public cloud, `https://botframework.azure.us` for GCC High |
    /// | `BOT_UNAUTHENTICATED` | `loopback-only` for a bot without a registration, on one machine: no token is required, and only service URLs of this machine are accepted. The other variables do not count then |
    ///
    /// It accepts every channel and tenant; [`App::new`] takes a [`Policy`] that is narrower. This is the only code of the crate that
    /// reads the environment, the system's clock and its random numbers.
    ///
    /// # Errors
    /// When a variable is missing or wrong; the error names it.
    pub fn from_env() -> Result<Self, InvalidEnvironment> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(read: impl Fn(&str) -> Option<String>) -> Result<Self, InvalidEnvironment> {
        let read = |name: &str| read(name).filter(|value| !value.trim().is_empty());
        let transport = HttpTransport::builder().build();
        let transport = transport.map_err(|error| InvalidEnvironment::new("TLS", error))?;
        match read(UNAUTHENTICATED).as_deref() {
            None => {}
            Some(LOOPBACK_ONLY) => {
                let authenticator = Authenticator::unauthenticated(Cloud::Public);
                return Ok(Self::new(
                    authenticator,
                    Connector::unauthenticated(transport),
                    runtime(),
                ));
            }
            Some(_) => {
                let wrong = format!("must be `{LOOPBACK_ONLY}` or left out");
                return Err(InvalidEnvironment::new(UNAUTHENTICATED, wrong));
            }
        }
        let required = |variable, other| {
            let missing = format!(
                "is not set (nor is {other}); for a bot on this machine without a registration set {UNAUTHENTICATED}={LOOPBACK_ONLY}"
            );
            read(variable)
                .or_else(|| read(other))
                .ok_or_else(|| InvalidEnvironment::new(variable, missing))
        };
        let app_id = required(APP_ID, "CLIENT_ID")?;
        let secret = SecretString::from(required(APP_PASSWORD, "CLIENT_SECRET")?);
        let tenant = read(APP_TENANT_ID).or_else(|| read("TENANT_ID"));
        let cloud = Cloud::from_channel_service(&read(CHANNEL_SERVICE).unwrap_or_default());
        let cloud = cloud.map_err(|_| {
            InvalidEnvironment::new(CHANNEL_SERVICE, "must be empty or https://botframework.azure.us")
        })?;

        let tenancy = tenant.clone().map_or(Tenancy::MultiTenant, Tenancy::SingleTenant);
        let registration = Registration::new(cloud, &tenancy, &app_id)
            .map_err(|error| InvalidEnvironment::new(APP_ID, format!("cannot be used: {error}")))?;
        let policy = Policy {
            own_tenant: tenant,
            ..Policy::new(cloud, app_id)
        };
        let trust = TrustRule::new(cloud, OtherChannels::Trusted, Loopback::Refused);
        let runtime = runtime();
        let [jitter, ..] = runtime.random();
        let credential = Credential::new(transport.clone(), registration, secret, self::runtime());
        Ok(Self::new(
            Authenticator::new(policy, trust.clone(), transport.clone(), jitter),
            Connector::new(transport, trust, credential),
            runtime,
        ))
    }
}

/// The system's clock and random numbers.
fn runtime() -> Runtime {
    let source = SystemRandom::new();
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    Runtime::new(SystemTime::now, move || {
        let mut bytes = [0; 16];
        // They spread requests and number events. A machine without random numbers has no TLS, either.
        let _ = source.fill(&mut bytes);
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<App, InvalidEnvironment> {
        App::from_variables(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_names_of_both_generations_of_sdks_are_read() {
        let id = "0000000A-0000-4000-8000-00000000B07A";
        for variables in [
            [("MicrosoftAppId", id), ("MicrosoftAppPassword", "secret")],
            [("CLIENT_ID", id), ("CLIENT_SECRET", "secret")],
        ] {
            let app = with(&variables).unwrap();
            assert_eq!(app.authenticator().app_id(), Some(id.to_lowercase().as_str()));
        }
        let unauthenticated = with(&[("BOT_UNAUTHENTICATED", "loopback-only")]).unwrap();
        assert_eq!(unauthenticated.authenticator().app_id(), None);
    }

    #[test]
    fn an_error_names_the_variable_and_not_its_value() {
        let id = ("MicrosoftAppId", "0000000a-0000-4000-8000-00000000b07a");
        for (variables, named) in [
            (vec![], "MicrosoftAppId"),
            (vec![("MicrosoftAppId", " ")], "MicrosoftAppId"),
            (vec![id], "MicrosoftAppPassword"),
            (vec![("BOT_UNAUTHENTICATED", "true")], "BOT_UNAUTHENTICATED"),
            (
                vec![
                    id,
                    ("CLIENT_SECRET", "hush"),
                    ("ChannelService", "https://x.example"),
                ],
                "ChannelService",
            ),
            (
                vec![id, ("CLIENT_SECRET", "hush"), ("TENANT_ID", "a/b")],
                "MicrosoftAppId",
            ),
        ] {
            let error = with(&variables).unwrap_err().to_string();
            assert!(error.starts_with(named), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
