//! The bot's registration, the authentication of activities, and trusted service URLs.

use std::collections::BTreeSet;

use botframework::auth::{AllowList, Authenticator, Emulator, Policy, Source};
use botframework::cloud::Cloud;
use botframework::http::HttpTransport;
use botframework::service_url::{Loopback, OtherChannels, TrustRule};
use uuid::Uuid;

use super::{Environment, Error, variable};
use crate::clock::Random;

const TEAMS: &str = "msteams";
const EMULATOR: &str = "emulator";

/// Whether requests are authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// They are not; only this machine is trusted.
    LoopbackOnly,
    /// They are, with tokens of this bot.
    Required(BotRegistration),
}

/// The registration of the bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BotRegistration {
    /// The cloud that it is registered in.
    pub cloud: Cloud,
    /// The app id, a GUID in lower case, as in tokens.
    pub app_id: String,
    /// The tenants it is registered for.
    pub tenants: RegisteredTenants,
}

/// The tenants that a bot is registered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisteredTenants {
    /// Its own tenant, which issues its tokens.
    SingleTenant {
        /// The tenant, a GUID in lower case.
        tenant: String,
    },
    /// All tenants. The Bot Framework's own tenant issues its tokens.
    MultiTenant,
}

impl Environment<'_> {
    /// Whether requests are authenticated, and the bot.
    ///
    /// # Errors
    /// When a variable of the bot is missing or wrong, or `HERALD_UNAUTHENTICATED` is set in AWS.
    pub fn authentication(&self) -> Result<Authentication, Error> {
        if self.is_on(variable::UNAUTHENTICATED, "loopback-only")? {
            return Ok(Authentication::LoopbackOnly);
        }
        let app_id = guid(variable::APP_ID, &self.required(variable::APP_ID)?)?;
        let tenant = self
            .optional(variable::APP_TENANT_ID)
            .map(|tenant| guid(variable::APP_TENANT_ID, &tenant))
            .transpose()?;
        let tenants = match (self.optional(variable::APP_TYPE).as_deref(), tenant) {
            (None | Some("SingleTenant"), Some(tenant)) => RegisteredTenants::SingleTenant { tenant },
            (None, None) | (Some("MultiTenant"), _) => RegisteredTenants::MultiTenant,
            (Some("SingleTenant"), None) => {
                let wrong = "is not set, and a single-tenant bot needs it";
                return Err(Error::wrong(variable::APP_TENANT_ID, wrong));
            }
            (Some(_), _) => {
                let wrong = "must be SingleTenant or MultiTenant (managed identities exist in Azure only)";
                return Err(Error::wrong(variable::APP_TYPE, wrong));
            }
        };
        Ok(Authentication::Required(BotRegistration {
            cloud: self.cloud()?,
            app_id,
            tenants,
        }))
    }

    /// The id in the manifest of the bot's Teams app, unchanged, because Graph compares it byte by byte.
    ///
    /// # Errors
    /// When it is not a GUID.
    pub fn teams_app_id(&self) -> Result<Option<String>, Error> {
        let named = self.optional(variable::TEAMS_APP_ID);
        if let Some(text) = &named {
            guid(variable::TEAMS_APP_ID, text)?;
        }
        Ok(named)
    }

    /// The trust rule for service URLs of activities and of requests.
    ///
    /// # Errors
    /// When a setting is wrong, or one for development is set in AWS.
    pub fn trust_rule(&self) -> Result<TrustRule, Error> {
        let bot = match self.authentication()? {
            Authentication::LoopbackOnly => {
                return Ok(TrustRule::new(
                    self.cloud()?,
                    OtherChannels::Refused,
                    Loopback::Only,
                ));
            }
            Authentication::Required(bot) => bot,
        };
        let loopback = if self.is_on(variable::LOOPBACK_SERVICE_URLS, "trusted")? {
            Loopback::Trusted
        } else {
            Loopback::Refused
        };
        let other_channels = if self.channels()?.iter().all(|it| it == TEAMS || it == EMULATOR) {
            OtherChannels::Refused
        } else {
            OtherChannels::Trusted
        };
        let rule = TrustRule::new(bot.cloud, other_channels, loopback);
        let hosts = self.list(variable::SERVICE_URL_HOSTS)?;
        hosts.iter().try_fold(rule, |rule, host| {
            let named = rule.with_host(host);
            named.map_err(|_| Error::wrong(variable::SERVICE_URL_HOSTS, "must be host names in full"))
        })
    }

    /// The authenticator of activities. It fetches keys over `transport`, with jitter from `random`.
    ///
    /// # Errors
    /// When a setting is wrong, or one for development is set in AWS.
    pub fn authenticator(&self, transport: &HttpTransport, random: &Random) -> Result<Authenticator, Error> {
        let bot = match self.authentication()? {
            Authentication::LoopbackOnly => return Ok(Authenticator::unauthenticated(self.cloud()?)),
            Authentication::Required(bot) => bot,
        };
        let source = match self.development(variable::OPENID_METADATA_URL)? {
            Some(url) => Source::on_loopback(&url).map_err(|_| {
                Error::wrong(
                    variable::OPENID_METADATA_URL,
                    "must be an http URL on this machine",
                )
            })?,
            None => Source::of_channels(bot.cloud),
        };
        let policy = self.policy(bot)?;
        let [jitter, ..] = random.bytes();
        let trust = self.trust_rule()?;
        Ok(Authenticator::with_source(
            policy,
            trust,
            source,
            transport.clone(),
            jitter,
        ))
    }

    /// The cloud that the bot is registered in.
    ///
    /// # Errors
    /// When `ChannelService` or `HERALD_CLOUD` names an unknown cloud, or both are set.
    pub fn cloud(&self) -> Result<Cloud, Error> {
        let classic = self.optional(variable::CHANNEL_SERVICE);
        match (self.optional(variable::CLOUD).as_deref(), classic) {
            (None, classic) => Cloud::from_channel_service(&classic.unwrap_or_default()).map_err(|_| {
                let wrong = "must be empty (public) or https://botframework.azure.us (GCC High)";
                Error::wrong(variable::CHANNEL_SERVICE, wrong)
            }),
            (Some("UsDod"), None) => Ok(Cloud::UsDod),
            (Some("China"), None) => Ok(Cloud::China),
            (Some(_), Some(_)) => Err(Error::wrong(
                variable::CLOUD,
                "must be left out beside ChannelService",
            )),
            (Some(_), None) => Err(Error::wrong(
                variable::CLOUD,
                "must be UsDod or China, or left out",
            )),
        }
    }

    fn policy(&self, bot: BotRegistration) -> Result<Policy, Error> {
        let tenants = self.guids(variable::TENANTS)?;
        Ok(Policy {
            own_tenant: match bot.tenants {
                RegisteredTenants::SingleTenant { tenant } => Some(tenant),
                RegisteredTenants::MultiTenant => None,
            },
            tenants: if tenants.is_empty() {
                AllowList::Any
            } else {
                AllowList::Only(tenants)
            },
            channels: AllowList::Only(self.channels()?),
            emulator: self.emulator()?,
            callers: self.guids(variable::CALLERS)?,
            ..Policy::new(bot.cloud, bot.app_id)
        })
    }

    fn channels(&self) -> Result<BTreeSet<String>, Error> {
        let mut channels: BTreeSet<_> = self.list(variable::CHANNELS)?.into_iter().collect();
        if channels.is_empty() {
            channels.insert(TEAMS.to_owned());
        }
        match self.emulator()? {
            Emulator::Refused => {}
            Emulator::OnLoopback => {
                channels.insert(EMULATOR.to_owned());
            }
        }
        Ok(channels)
    }

    fn emulator(&self) -> Result<Emulator, Error> {
        if !self.is_on(variable::EMULATOR, "loopback-only")? {
            Ok(Emulator::Refused)
        } else if self.is_on(variable::LOOPBACK_SERVICE_URLS, "trusted")? {
            Ok(Emulator::OnLoopback)
        } else {
            let wrong = "has no effect unless HERALD_LOOPBACK_SERVICE_URLS is `trusted`";
            Err(Error::wrong(variable::EMULATOR, wrong))
        }
    }

    /// Whether a development setting is on. Only this word turns it on.
    fn is_on(&self, name: &'static str, word: &str) -> Result<bool, Error> {
        match self.development(name)? {
            None => Ok(false),
            Some(value) if value == word => Ok(true),
            Some(_) => Err(Error::wrong(name, format!("must be `{word}` or left out"))),
        }
    }

    fn guids(&self, name: &'static str) -> Result<BTreeSet<String>, Error> {
        self.list(name)?.iter().map(|text| guid(name, text)).collect()
    }
}

/// A GUID in lower case, as in tokens.
fn guid(name: &'static str, text: &str) -> Result<String, Error> {
    let guid = Uuid::try_parse(text).map_err(|_| Error::wrong(name, "must be a GUID"))?;
    Ok(guid.hyphenated().to_string())
}

#[cfg(test)]
mod tests;
