use super::client::{Client, InvalidRegistration};
use crate::cloud::Cloud;
use crate::service_url::ServiceUrl;

/// The tenant of the bot's registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenancy {
    /// In the tenant that all such bots share. No new ones can be registered since August 2025.
    MultiTenant,
    /// In its own tenant, named by its id or one of its domains.
    SingleTenant(String),
}

/// The bot's application, with the token endpoint for its Connector tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    client: Client,
    token_scope: TokenScope,
}

/// The service URLs that tokens may be sent to, by their issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenScope {
    Cloud,
    StandIn,
}

impl Registration {
    /// The bot `app_id`, registered in `cloud`, whose tokens are for the Connector there.
    ///
    /// # Errors
    /// When the id or the tenant is malformed; both are parts of the token request.
    pub fn new(cloud: Cloud, tenancy: &Tenancy, app_id: &str) -> Result<Self, InvalidRegistration> {
        let here = cloud.endpoints();
        let client = match tenancy {
            Tenancy::MultiTenant => Client::new(here.multi_tenant_login, app_id, here.token_scope),
            Tenancy::SingleTenant(tenant) => Client::in_tenant(cloud, tenant, app_id, here.token_scope),
        };
        Ok(Self {
            client: client?,
            token_scope: TokenScope::Cloud,
        })
    }

    /// The same bot, with its tokens from a stand-in on this machine.
    ///
    /// Such tokens go to service URLs on this machine only, and the cloud's tokens never do: with loopback trusted, as
    /// on a development host, any listener there could otherwise collect the real token.
    ///
    /// # Errors
    /// When the URL is not on this machine, or has a query.
    pub fn at_stand_in(self, token_url: &str) -> Result<Self, InvalidRegistration> {
        Ok(Self {
            client: self.client.at_stand_in(token_url)?,
            token_scope: TokenScope::StandIn,
        })
    }

    /// The bot's application id.
    pub fn app_id(&self) -> &str {
        self.client.app_id()
    }

    /// The URL of the token endpoint in the registration's cloud and tenant.
    pub fn token_url(&self) -> &str {
        self.client.token_url()
    }

    pub(super) fn into_parts(self) -> (Client, TokenScope) {
        (self.client, self.token_scope)
    }
}

impl TokenScope {
    /// Whether the tokens may be sent to a service URL that passed the trust rule.
    pub(super) fn covers(self, service_url: ServiceUrl<'_>) -> bool {
        match self {
            Self::Cloud => !service_url.is_loopback(),
            Self::StandIn => service_url.is_loopback(),
        }
    }
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
            assert_eq!(
                (registration.token_url(), registration.client.scope()),
                (url, scope)
            );
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
