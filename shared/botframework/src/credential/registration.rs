use crate::cloud::Cloud;
use crate::service_url::{Loopback, OtherChannels, ServiceUrl, TrustRule};

/// Where the bot's registration lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenancy {
    /// In the tenant that all such bots share. No new ones can be registered since August 2025.
    MultiTenant,
    /// In its own tenant, named by its id or one of its domains.
    SingleTenant(String),
}

/// Who the bot is, and where its tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    app_id: String,
    token_url: String,
    scope: &'static str,
    origin: Origin,
}

/// Where tokens come from, and so where they may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Cloud,
    StandIn,
}

/// A registration that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRegistration {
    /// The application id is empty or has characters beyond letters, digits and hyphens.
    #[error("application id is not like 00000000-0000-0000-0000-000000000000")]
    AppId,
    /// The tenant is empty or has characters beyond letters, digits, hyphens and dots.
    #[error("tenant is neither an id nor a domain")]
    Tenant,
    /// The stand-in is not on this machine.
    #[error("token URL is not a plain URL on this machine, such as http://127.0.0.1:3980/token")]
    StandIn,
}

impl Registration {
    /// The bot `app_id`, registered in `cloud`, whose tokens are for the Connector there.
    ///
    /// # Errors
    /// When id or tenant cannot be what they are said to be; both stand in the request for a token.
    pub fn new(cloud: Cloud, tenancy: &Tenancy, app_id: &str) -> Result<Self, InvalidRegistration> {
        if !is_word(app_id, b"-") {
            return Err(InvalidRegistration::AppId);
        }
        let here = cloud.endpoints();
        let login = match tenancy {
            Tenancy::MultiTenant => here.multi_tenant_login.to_owned(),
            Tenancy::SingleTenant(tenant) if is_word(tenant, b"-.") && !tenant.starts_with('.') => {
                format!("{}/{tenant}", here.login_host)
            }
            Tenancy::SingleTenant(_) => return Err(InvalidRegistration::Tenant),
        };
        Ok(Self {
            app_id: app_id.to_owned(),
            token_url: format!("{login}/oauth2/v2.0/token"),
            scope: here.token_scope,
            origin: Origin::Cloud,
        })
    }

    /// The same bot, with its tokens from a stand-in on this machine.
    ///
    /// Such tokens go to service URLs on this machine only, and the cloud's never do: with loopback trusted, as
    /// on a development host, anything that listens there could otherwise collect the real one.
    ///
    /// # Errors
    /// When the URL leads anywhere else, or has a query.
    pub fn at_stand_in(mut self, token_url: &str) -> Result<Self, InvalidRegistration> {
        TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Only)
            .check(token_url)
            .map_err(|_| InvalidRegistration::StandIn)?;
        token_url.clone_into(&mut self.token_url);
        self.origin = Origin::StandIn;
        Ok(self)
    }

    /// The bot's application id.
    pub fn app_id(&self) -> &str {
        &self.app_id
    }

    /// Where its tokens come from.
    pub fn token_url(&self) -> &str {
        &self.token_url
    }

    pub(super) fn scope(&self) -> &'static str {
        self.scope
    }

    /// Whether its tokens may go there, the trust rule having passed.
    pub(super) fn speaks_to(&self, service_url: ServiceUrl<'_>) -> bool {
        match self.origin {
            Origin::Cloud => !service_url.is_loopback(),
            Origin::StandIn => service_url.is_loopback(),
        }
    }
}

fn is_word(text: &str, also: &[u8]) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || also.contains(&byte);
    !text.is_empty() && text.len() <= 128 && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "00000000-0000-4000-8000-00000000b07a";

    fn own(tenant: &str) -> Tenancy {
        Tenancy::SingleTenant(tenant.to_owned())
    }

    #[test]
    fn each_cloud_and_tenancy_has_its_own_token_url_and_scope() {
        for (cloud, tenancy, url, scope) in [
            (
                Cloud::Public,
                Tenancy::MultiTenant,
                "https://login.microsoftonline.com/botframework.com/oauth2/v2.0/token",
                "https://api.botframework.com/.default",
            ),
            (
                Cloud::Public,
                own("tenant-1"),
                "https://login.microsoftonline.com/tenant-1/oauth2/v2.0/token",
                "https://api.botframework.com/.default",
            ),
            (
                Cloud::UsGov,
                Tenancy::MultiTenant,
                "https://login.microsoftonline.us/MicrosoftServices.onmicrosoft.us/oauth2/v2.0/token",
                "https://api.botframework.us/.default",
            ),
            (
                Cloud::UsDod,
                own("contoso.example"),
                "https://login.microsoftonline.us/contoso.example/oauth2/v2.0/token",
                "https://api.botframework.us/.default",
            ),
            (
                Cloud::China,
                Tenancy::MultiTenant,
                "https://login.partner.microsoftonline.cn/microsoftservices.partner.onmschina.cn/oauth2/v2.0/token",
                "https://api.botframework.azure.cn/.default",
            ),
            (
                Cloud::China,
                own("tenant-1"),
                "https://login.partner.microsoftonline.cn/tenant-1/oauth2/v2.0/token",
                "https://api.botframework.azure.cn/.default",
            ),
        ] {
            let registration = Registration::new(cloud, &tenancy, APP).unwrap();
            assert_eq!((registration.token_url(), registration.scope()), (url, scope));
        }
    }

    #[test]
    fn a_tenant_or_app_that_would_bend_the_request_is_refused() {
        for tenant in ["", "a/b", "..", "a?b", "a#b", "a%2Fb", "a b", "ä"] {
            let refused = Registration::new(Cloud::Public, &own(tenant), APP);
            assert_eq!(refused, Err(InvalidRegistration::Tenant), "{tenant:?}");
        }
        for app in ["", "a&b", "a b"] {
            let refused = Registration::new(Cloud::Public, &Tenancy::MultiTenant, app);
            assert_eq!(refused, Err(InvalidRegistration::AppId), "{app:?}");
        }
    }

    #[test]
    fn a_stand_in_is_on_this_machine() {
        let bot = || Registration::new(Cloud::Public, &Tenancy::MultiTenant, APP).unwrap();
        for url in [
            "http://127.0.0.1:3980/token",
            "http://localhost:1/a/b",
            "http://[::1]:1",
        ] {
            assert!(bot().at_stand_in(url).is_ok(), "{url}");
        }
        for url in [
            "https://login.microsoftonline.com/botframework.com/oauth2/v2.0/token",
            "http://127.0.0.1.evil.example/token",
            "http://localhost@evil.example/",
            "http://2130706433/",
            "http://127.0.0.1:1/?to=elsewhere",
            "",
        ] {
            assert_eq!(bot().at_stand_in(url), Err(InvalidRegistration::StandIn), "{url}");
        }
    }
}
