//! Configuration from environment variables, with the variable's name in every error.
//!
//! Each function reads its variables once, at cold start, and fails there if one is missing or wrong.

use crate::conversation::normalize_tag;
use std::fmt;

use botframework::http::{BuildError, HttpTransport, HttpTransportBuilder};

mod limits;
mod trust;

pub use limits::{CONFIRM_ABOVE, DEFAULT_ROSTER_TTL};
pub use trust::{Authentication, BotRegistration, RegisteredTenants};

/// Names of the environment variables.
pub mod variable {
    /// The table of conversations.
    pub const CONVERSATIONS_TABLE: &str = "HERALD_CONVERSATIONS_TABLE";
    /// The table of notifications and their plans.
    pub const NOTIFICATIONS_TABLE: &str = "HERALD_NOTIFICATIONS_TABLE";
    /// The table of deliveries: the ledger, with leases and rate limits.
    pub const DELIVERIES_TABLE: &str = "HERALD_DELIVERIES_TABLE";
    /// The queue to the planner.
    pub const PLANS_QUEUE_URL: &str = "HERALD_PLANS_QUEUE_URL";
    /// The queue to the sender.
    pub const DELIVERIES_QUEUE_URL: &str = "HERALD_DELIVERIES_QUEUE_URL";
    /// The queue of upstream events, of the times of schedules, and of the bot's jobs.
    pub const EVENTS_QUEUE_URL: &str = "HERALD_EVENTS_QUEUE_URL";
    /// The dead-letter queue of plans, where schedules put what they cannot send; without one, it is lost.
    pub const FAILED_PLANS_QUEUE_URL: &str = "HERALD_FAILED_PLANS_QUEUE_URL";
    /// The dead-letter queue of deliveries, likewise.
    pub const FAILED_DELIVERIES_QUEUE_URL: &str = "HERALD_FAILED_DELIVERIES_QUEUE_URL";
    /// The dead-letter queue of upstream events, likewise.
    pub const FAILED_EVENTS_QUEUE_URL: &str = "HERALD_FAILED_EVENTS_QUEUE_URL";
    /// The event bus; without one no events are published.
    pub const EVENT_BUS: &str = "HERALD_EVENT_BUS";
    /// The group of the schedules for messages that are delayed longer than SQS allows; without one, SQS messages are delayed again and
    /// again.
    pub const SCHEDULE_GROUP: &str = "HERALD_SCHEDULE_GROUP";
    /// The role that those schedules assume; required with a group.
    pub const SCHEDULER_ROLE_ARN: &str = "HERALD_SCHEDULER_ROLE_ARN";
    /// The text that `GET /api/notify` sends.
    pub const NOTIFY_TEXT: &str = "HERALD_NOTIFY_TEXT";
    /// The issuer of the tokens that the console gets for the person who signs in. Default none: nobody signs in.
    pub const CONSOLE_ISSUER: &str = "HERALD_CONSOLE_ISSUER";
    /// The client id of the console at that issuer.
    pub const CONSOLE_CLIENT_ID: &str = "HERALD_CONSOLE_CLIENT_ID";
    /// The scopes that the console asks for, separated by spaces.
    pub const CONSOLE_SCOPE: &str = "HERALD_CONSOLE_SCOPE";
    /// The largest audience that is sent to without a confirmation. Default 10,000.
    pub const CONFIRM_ABOVE: &str = "HERALD_CONFIRM_ABOVE";
    /// The way out that notifications to many have: `none` (the default), `line` or `button`.
    pub const WAY_OUT: &str = "HERALD_WAY_OUT";
    /// The send mode of requests that name none: `individual` (the default) or `batch`.
    pub const SEND_MODE: &str = "HERALD_SEND_MODE";

    /// The callers that may change the notifications of others, separated by commas. Default: none.
    pub const OPERATORS: &str = "HERALD_OPERATORS";

    /// TTL of cached team rosters, in seconds. Default 3600; 0 disables the cache.
    pub const ROSTER_SECONDS: &str = "HERALD_ROSTER_CACHE_SECONDS";

    // The channel's rate limits, as requests and seconds. The default is the limits of Teams.

    /// For the bot in one tenant: `45/1s`.
    pub const TENANT_LIMIT: &str = "HERALD_TENANT_LIMIT";
    /// For the bot in one conversation, separated by commas: `7/1s,8/2s,60/30s,1800/3600s`.
    pub const CONVERSATION_LIMITS: &str = "HERALD_CONVERSATION_LIMITS";
    /// For the bot's app at Microsoft Graph, in one tenant: `27/1s`.
    pub const GRAPH_LIMIT: &str = "HERALD_GRAPH_LIMIT";
    /// The most people in one request of the batch API. Default 100.
    pub const BATCH_SIZE: &str = "HERALD_BATCH_SIZE";

    // The bot, by the variable names of the Bot Framework SDK.

    /// The bot's app id, a GUID.
    pub const APP_ID: &str = "MicrosoftAppId";
    /// `SingleTenant` or `MultiTenant`. The default is single-tenant if the tenant is set.
    pub const APP_TYPE: &str = "MicrosoftAppType";
    /// The bot's own tenant, a GUID; required if it is single-tenant.
    pub const APP_TENANT_ID: &str = "MicrosoftAppTenantId";
    /// The cloud: empty is public, `https://botframework.azure.us` is GCC High.
    pub const CHANNEL_SERVICE: &str = "ChannelService";

    /// The id in the manifest of the bot's Teams app, a GUID. Without it the bot is not installed for anyone.
    pub const TEAMS_APP_ID: &str = "HERALD_TEAMS_APP_ID";

    /// The tags that people may add by talking to the bot, separated by commas. Empty: none.
    pub const TOPICS: &str = "HERALD_TOPICS";

    // Accepted activities and trusted service URLs. Lists are separated by commas.

    /// A cloud that `ChannelService` has no name for: `UsDod` or `China`.
    pub const CLOUD: &str = "HERALD_CLOUD";
    /// The tenants (GUIDs) whose activities are accepted. Default: all.
    pub const TENANTS: &str = "HERALD_ALLOWED_TENANTS";
    /// The channels whose activities are accepted. Default `msteams`. With any other, the hosts of the Bot Framework's own
    /// Connectors are trusted too.
    pub const CHANNELS: &str = "HERALD_ALLOWED_CHANNELS";
    /// The app ids (GUIDs) of other bots whose activities are accepted. Default: none.
    pub const CALLERS: &str = "HERALD_ALLOWED_BOTS";
    /// Trusted hosts of service URLs beside those of the cloud, as full host names.
    pub const SERVICE_URL_HOSTS: &str = "HERALD_SERVICE_URL_HOSTS";

    // For development. A function does not start in AWS if one of these is set.

    /// `loopback-only` disables authentication; only service URLs on this machine are trusted.
    pub const UNAUTHENTICATED: &str = "HERALD_UNAUTHENTICATED";
    /// `trusted` also trusts service URLs on this machine. The local host sets it.
    pub const LOOPBACK_SERVICE_URLS: &str = "HERALD_LOOPBACK_SERVICE_URLS";
    /// `loopback-only` accepts activities of the Bot Framework emulator on this machine.
    pub const EMULATOR: &str = "HERALD_EMULATOR";
    /// The OpenID metadata of a stand-in for the channels' issuer, on this machine.
    pub const OPENID_METADATA_URL: &str = "HERALD_OPENID_METADATA_URL";
    /// A stand-in for Microsoft Graph, on this machine. Requires one for the token endpoint (`HERALD_TOKEN_URL`), unless
    /// authentication is disabled.
    pub const GRAPH_URL: &str = "HERALD_GRAPH_URL";
}

/// Set by the Lambda service and not by its emulators.
const REAL_LAMBDA: &str = "AWS_LAMBDA_INITIALIZATION_TYPE";

/// A function cannot start as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A variable is missing or wrong.
    #[error("{variable} {wrong}")]
    Variable {
        /// The variable's name.
        variable: &'static str,
        /// The problem. It never quotes the value.
        wrong: String,
    },
    /// The HTTP client cannot be built.
    #[error(transparent)]
    Transport(#[from] BuildError),
}

/// The HTTP client of a function. `HTTPS_PROXY` names the proxy of `https` requests, `NO_PROXY` the hosts that go past it.
pub fn http_transport(environment: &Environment<'_>) -> HttpTransportBuilder {
    HttpTransport::builder().https_proxy(
        environment.optional("HTTPS_PROXY"),
        environment.optional("NO_PROXY"),
    )
}

impl Error {
    pub(crate) fn wrong(variable: &'static str, wrong: impl Into<String>) -> Self {
        Self::Variable {
            variable,
            wrong: wrong.into(),
        }
    }
}

/// A source of variables: the process, or a test.
pub struct Environment<'a>(Read<'a>);

type Read<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

impl Environment<'static> {
    /// The variables of this process.
    pub fn process() -> Self {
        Self(Box::new(|name| std::env::var(name).ok()))
    }
}

impl<'a> Environment<'a> {
    /// Variables that `read` returns.
    pub fn from_fn(read: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self(Box::new(read))
    }

    /// The variable's value, if it is set and not empty.
    pub fn optional(&self, name: &'static str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// The variable's value.
    ///
    /// # Errors
    /// When it is not set, or empty.
    pub fn required(&self, name: &'static str) -> Result<String, Error> {
        self.optional(name)
            .ok_or_else(|| Error::wrong(name, "is not set"))
    }

    /// The comma-separated values of a variable; none if it is not set.
    ///
    /// # Errors
    /// When it is set to an empty list, which must not mean *all*.
    pub fn list(&self, name: &'static str) -> Result<Vec<String>, Error> {
        let Some(list) = self.optional(name) else {
            return Ok(Vec::new());
        };
        let values = list.split(',').map(str::trim).filter(|value| !value.is_empty());
        let values: Vec<_> = values.map(str::to_owned).collect();
        if values.is_empty() {
            return Err(Error::wrong(name, "must not be an empty list"));
        }
        Ok(values)
    }

    /// The tags that people may add by talking to the bot, in their normal form.
    ///
    /// # Errors
    /// When a name is no tag.
    pub fn topics(&self) -> Result<Vec<String>, Error> {
        let names = self.list(variable::TOPICS)?;
        let topics: Option<Vec<String>> = names.iter().map(|name| normalize_tag(name)).collect();
        topics.ok_or_else(|| {
            let wrong = "must be tags of 1 to 64 bytes without control characters, separated by commas";
            Error::wrong(variable::TOPICS, wrong)
        })
    }

    /// The value of a variable that is for development only.
    ///
    /// # Errors
    /// When it is set in AWS.
    pub fn development(&self, name: &'static str) -> Result<Option<String>, Error> {
        match self.optional(name) {
            Some(_) if self.optional(REAL_LAMBDA).is_some() => Err(Error::wrong(
                name,
                "is for development and must not be set in AWS",
            )),
            value => Ok(value),
        }
    }

    /// Whether this process runs in AWS.
    pub(crate) fn is_in_aws(&self) -> bool {
        self.optional(REAL_LAMBDA).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn environment<'a>(pairs: &'a [(&'a str, &'a str)]) -> Environment<'a> {
        Environment::from_fn(move |name| {
            pairs
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_error_names_the_variable() {
        let error = environment(&[]).required(variable::PLANS_QUEUE_URL).unwrap_err();
        assert_eq!(error.to_string(), "HERALD_PLANS_QUEUE_URL is not set");
    }

    #[test]
    fn a_list_is_separated_by_commas() {
        let pairs = [("HERALD_ALLOWED_TENANTS", " a, b ,,c,")];
        assert_eq!(
            environment(&pairs).list(variable::TENANTS).unwrap(),
            ["a", "b", "c"]
        );
        assert!(environment(&[]).list(variable::TENANTS).unwrap().is_empty());
        assert!(
            environment(&[("HERALD_ALLOWED_TENANTS", " , ")])
                .list(variable::TENANTS)
                .is_err()
        );
    }
}
