//! Configuration from environment variables, with the variable's name in every error.
//!
//! Each function reads what it needs once, at cold start, and does not start with less: a missing table is a
//! deployment fault, and the start is where a deployment looks.

use std::fmt;

use botframework::cloud::Cloud;
use botframework::connector::BuildError;
use botframework::service_url::{Loopback, OtherChannels, TrustRule};

/// Names of the environment variables.
pub mod variable {
    /// The table of conversations.
    pub const CONVERSATIONS_TABLE: &str = "HERALD_CONVERSATIONS_TABLE";
    /// The table of notifications and their plans.
    pub const NOTIFICATIONS_TABLE: &str = "HERALD_NOTIFICATIONS_TABLE";
    /// The ledger.
    pub const DELIVERIES_TABLE: &str = "HERALD_DELIVERIES_TABLE";
    /// The queue to the planner.
    pub const PLANS_QUEUE_URL: &str = "HERALD_PLANS_QUEUE_URL";
    /// The queue to the sender.
    pub const DELIVERIES_QUEUE_URL: &str = "HERALD_DELIVERIES_QUEUE_URL";
    /// What `GET /api/notify` sends.
    pub const NOTIFY_TEXT: &str = "HERALD_NOTIFY_TEXT";
    /// The one value `loopback-only` runs without authentication, trusting nothing but this machine.
    pub const UNAUTHENTICATED: &str = "HERALD_UNAUTHENTICATED";
    /// The cloud, by the name bot developers know.
    pub const CHANNEL_SERVICE: &str = "ChannelService";
}

/// Set by the Lambda service, and by nothing that imitates it.
const REAL_LAMBDA: &str = "AWS_LAMBDA_INITIALIZATION_TYPE";

/// A function cannot start as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A variable is missing or wrong.
    #[error("{variable} {wrong}")]
    Variable {
        /// Which.
        variable: &'static str,
        /// What is wrong with it. Never its value.
        wrong: String,
    },
    /// The HTTP client cannot be made.
    #[error(transparent)]
    Transport(#[from] BuildError),
}

/// Where variables come from: the process, or a test's own.
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
    /// Variables as `read` gives them.
    pub fn read_by(read: impl Fn(&str) -> Option<String> + 'a) -> Self {
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
        self.optional(name).ok_or(Error::Variable {
            variable: name,
            wrong: "is not set".to_owned(),
        })
    }

    /// Which service URLs are trusted.
    ///
    /// This version has no authentication, so the only rule it can keep is the one that trusts nothing but this
    /// machine; it starts with no other, and it does not start like that in AWS.
    ///
    /// # Errors
    /// When `HERALD_UNAUTHENTICATED` is not `loopback-only`, or is set where the public can reach us.
    pub fn trust_rule(&self) -> Result<TrustRule, Error> {
        let variable = variable::UNAUTHENTICATED;
        let wrong = match self.optional(variable).as_deref() {
            Some("loopback-only") if self.optional(REAL_LAMBDA).is_some() => {
                "must not be set in AWS: an endpoint open to the world needs authentication"
            }
            Some("loopback-only") => {
                return Ok(TrustRule::new(
                    self.cloud()?,
                    OtherChannels::Trusted,
                    Loopback::Only,
                ));
            }
            Some(_) => "must be `loopback-only` or left out",
            None => {
                "is not set, and this version cannot authenticate: it runs on one machine only, by `loopback-only`"
            }
        };
        Err(Error::Variable {
            variable,
            wrong: wrong.to_owned(),
        })
    }

    /// The cloud the bot is registered in.
    ///
    /// # Errors
    /// When `ChannelService` names none we know.
    pub fn cloud(&self) -> Result<Cloud, Error> {
        match self.optional(variable::CHANNEL_SERVICE).as_deref() {
            None => Ok(Cloud::Public),
            Some("https://botframework.azure.us") => Ok(Cloud::UsGov),
            Some(_) => Err(Error::Variable {
                variable: variable::CHANNEL_SERVICE,
                wrong: "must be empty (public) or https://botframework.azure.us (US government)".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment<'a>(pairs: &'a [(&'a str, &'a str)]) -> Environment<'a> {
        Environment::read_by(move |name| {
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
    fn without_authentication_it_starts_by_its_plain_name_only_and_never_in_aws() {
        assert!(environment(&[]).trust_rule().is_err());
        assert!(
            environment(&[("HERALD_UNAUTHENTICATED", "true")])
                .trust_rule()
                .is_err()
        );
        assert!(
            environment(&[("HERALD_UNAUTHENTICATED", "loopback-only")])
                .trust_rule()
                .is_ok()
        );
        let in_aws = [
            ("HERALD_UNAUTHENTICATED", "loopback-only"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ];
        assert!(environment(&in_aws).trust_rule().is_err());
    }
}
