//! Microsoft's clouds: hosts, issuers and scopes.

/// A Microsoft cloud. A deployment belongs to one cloud and trusts nothing of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cloud {
    /// The public cloud. GCC (not High) belongs to it; only its service URL differs: [`GCC_SERVICE_URL`].
    #[default]
    Public,
    /// US Government, GCC High.
    UsGov,
    /// US Government, Department of Defense.
    UsDod,
    /// China, operated by 21Vianet.
    China,
}

/// The service URL of GCC tenants in the public cloud. The Connector answers `InvalidBotApiHost` for them elsewhere.
pub const GCC_SERVICE_URL: &str = "https://smba.infra.gcc.teams.microsoft.com/teams";

/// The endpoints of a cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The token endpoint of multi-tenant bots: the login host and the tenant of all such bots.
    pub multi_tenant_login: &'static str,
    /// The login host. A single-tenant bot appends its tenant.
    pub login_host: &'static str,
    /// The scope of a Connector token.
    pub token_scope: &'static str,
    /// The issuer of channels' tokens.
    pub inbound_issuer: &'static str,
    /// The OpenID metadata of that issuer.
    pub openid_metadata: &'static str,
    /// The signing keys of that issuer, on the same host.
    pub keys: &'static str,
    /// The OpenID metadata of the emulator's tokens, if the cloud has an emulator.
    pub emulator_metadata: Option<&'static str>,
    /// The Bot Framework token service, which stores users' tokens.
    pub user_token_service: &'static str,
    /// Microsoft Graph. In China it has no API to install apps.
    pub graph: &'static str,
    /// The scope of a Graph token.
    pub graph_scope: &'static str,
    /// The `callerId` of an activity from an authenticated channel.
    pub caller_id: Option<&'static str>,
    /// The hosts of the Teams Connector, compared exactly.
    pub teams_hosts: &'static [&'static str],
    /// The domains of the Connectors of other channels; each includes the domain itself.
    pub other_channel_domains: &'static [&'static str],
    /// The default service URL, if the cloud publishes one.
    pub service_url: Option<&'static str>,
}

static PUBLIC: Endpoints = Endpoints {
    multi_tenant_login: "https://login.microsoftonline.com/botframework.com",
    login_host: "https://login.microsoftonline.com",
    token_scope: "https://api.botframework.com/.default",
    inbound_issuer: "https://api.botframework.com",
    openid_metadata: "https://login.botframework.com/v1/.well-known/openidconfiguration",
    keys: "https://login.botframework.com/v1/.well-known/keys",
    emulator_metadata: Some("https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration"),
    user_token_service: "https://token.botframework.com",
    graph: "https://graph.microsoft.com",
    graph_scope: "https://graph.microsoft.com/.default",
    caller_id: Some("urn:botframework:azure"),
    teams_hosts: &[
        "smba.trafficmanager.net",
        "smba.onyx.prod.teams.trafficmanager.net",
        "smba.infra.gcc.teams.microsoft.com",
    ],
    other_channel_domains: &["botframework.com"],
    service_url: Some("https://smba.trafficmanager.net/teams/"),
};

static US_GOV: Endpoints = Endpoints {
    multi_tenant_login: "https://login.microsoftonline.us/MicrosoftServices.onmicrosoft.us",
    login_host: "https://login.microsoftonline.us",
    token_scope: "https://api.botframework.us/.default",
    inbound_issuer: "https://api.botframework.us",
    openid_metadata: "https://login.botframework.azure.us/v1/.well-known/openidconfiguration",
    keys: "https://login.botframework.azure.us/v1/.well-known/keys",
    emulator_metadata: Some(
        "https://login.microsoftonline.us/cab8a31a-1906-4287-a0d8-4eef66b95f6e/v2.0/.well-known/openid-configuration",
    ),
    user_token_service: "https://tokengcch.botframework.azure.us",
    graph: "https://graph.microsoft.us",
    graph_scope: "https://graph.microsoft.us/.default",
    caller_id: Some("urn:botframework:azureusgov"),
    teams_hosts: &["smba.infra.gov.teams.microsoft.us"],
    other_channel_domains: &["botframework.us", "botframework.azure.us"],
    service_url: Some("https://smba.infra.gov.teams.microsoft.us/teams"),
};

static US_DOD: Endpoints = Endpoints {
    user_token_service: "https://apiDoD.botframework.azure.us",
    graph: "https://dod-graph.microsoft.us",
    graph_scope: "https://dod-graph.microsoft.us/.default",
    teams_hosts: &["smba.infra.dod.teams.microsoft.us"],
    service_url: Some("https://smba.infra.dod.teams.microsoft.us/teams"),
    ..US_GOV
};

static CHINA: Endpoints = Endpoints {
    multi_tenant_login: "https://login.partner.microsoftonline.cn/microsoftservices.partner.onmschina.cn",
    login_host: "https://login.partner.microsoftonline.cn",
    token_scope: "https://api.botframework.azure.cn/.default",
    inbound_issuer: "https://api.botframework.azure.cn",
    openid_metadata: "https://login.botframework.azure.cn/v1/.well-known/openidconfiguration",
    keys: "https://login.botframework.azure.cn/v1/.well-known/keys",
    emulator_metadata: None,
    user_token_service: "https://token.botframework.azure.cn",
    graph: "https://microsoftgraph.chinacloudapi.cn",
    graph_scope: "https://microsoftgraph.chinacloudapi.cn/.default",
    caller_id: None,
    teams_hosts: &["frontend.botapi.msg.infra.teams.microsoftonline.cn"],
    other_channel_domains: &["botframework.azure.cn"],
    service_url: None,
};

/// The value of `ChannelService` names no cloud.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "channel service {0:?} names no cloud: leave it empty (public) or set https://botframework.azure.us (GCC High)"
)]
pub struct UnknownChannelService(String);

impl Cloud {
    /// All clouds.
    pub const ALL: [Self; 4] = [Self::Public, Self::UsGov, Self::UsDod, Self::China];

    /// The cloud that the classic `ChannelService` setting names: empty is public, `https://botframework.azure.us` is GCC
    /// High.
    ///
    /// # Errors
    /// When it has another value.
    pub fn from_channel_service(setting: &str) -> Result<Self, UnknownChannelService> {
        match setting.trim_end_matches('/') {
            "" => Ok(Self::Public),
            "https://botframework.azure.us" => Ok(Self::UsGov),
            _ => Err(UnknownChannelService(setting.to_owned())),
        }
    }

    /// The endpoints of this cloud.
    pub const fn endpoints(self) -> &'static Endpoints {
        match self {
            Self::Public => &PUBLIC,
            Self::UsGov => &US_GOV,
            Self::UsDod => &US_DOD,
            Self::China => &CHINA,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cloud_keeps_its_keys_beside_its_metadata_and_its_hosts_to_itself() {
        for cloud in Cloud::ALL {
            let here = cloud.endpoints();
            let metadata_host = here.openid_metadata.split('/').nth(2);
            assert_eq!(here.keys.split('/').nth(2), metadata_host);
            assert!(here.multi_tenant_login.starts_with(here.login_host));
            assert_eq!(here.token_scope, format!("{}/.default", here.inbound_issuer));
            assert_eq!(here.graph_scope, format!("{}/.default", here.graph));
            for other in Cloud::ALL.into_iter().filter(|other| *other != cloud) {
                assert_ne!(here.graph, other.endpoints().graph);
                assert!(
                    here.teams_hosts
                        .iter()
                        .all(|host| !other.endpoints().teams_hosts.contains(host))
                );
            }
        }
    }

    #[test]
    fn the_classic_setting_names_public_or_gcc_high_and_nothing_else() {
        assert_eq!(Cloud::from_channel_service(""), Ok(Cloud::Public));
        assert_eq!(
            Cloud::from_channel_service("https://botframework.azure.us"),
            Ok(Cloud::UsGov)
        );
        assert!(Cloud::from_channel_service("https://botframework.azure.uk").is_err());
    }
}
