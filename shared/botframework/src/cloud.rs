//! The clouds a bot can live in, with every host, issuer and scope in one table.

/// A cloud of Microsoft. One deployment lives in one; nothing of one cloud is trusted in another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cloud {
    /// The public cloud. GCC (not High) belongs here: only its service URL differs, see
    /// [`GCC_SERVICE_URL`].
    #[default]
    Public,
    /// US Government, GCC High.
    UsGov,
    /// US Government, Department of Defense.
    UsDod,
    /// China, operated by 21Vianet.
    China,
}

/// Where the bots of GCC tenants (public cloud) are served, used when the Connector answers
/// `InvalidBotApiHost`.
pub const GCC_SERVICE_URL: &str = "https://smba.infra.gcc.teams.microsoft.com/teams";

/// What is where in one cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Where a bot registered as multi-tenant gets its tokens: the login host and the tenant of all such
    /// bots.
    pub multi_tenant_login: &'static str,
    /// The login host; a single-tenant bot puts its own tenant id after it.
    pub login_host: &'static str,
    /// The scope of a token for the Connector.
    pub token_scope: &'static str,
    /// The issuer of the tokens on activities that come from a channel.
    pub inbound_issuer: &'static str,
    /// The discovery document of that issuer.
    pub openid_metadata: &'static str,
    /// The keys of that issuer, on the same host.
    pub keys: &'static str,
    /// The discovery document for tokens that the emulator mints, where there are such.
    pub emulator_metadata: Option<&'static str>,
    /// The service that keeps the users' own tokens.
    pub user_token_service: &'static str,
    /// Microsoft Graph. In China it has no calls that install an app.
    pub graph: &'static str,
    /// The scope of a token for Microsoft Graph.
    pub graph_scope: &'static str,
    /// What `callerId` is set to after a channel has been authenticated.
    pub caller_id: Option<&'static str>,
    /// The hosts of the Teams Connector, each to be compared exactly.
    pub teams_hosts: &'static [&'static str],
    /// The domains under which the other channels' Connectors are, the domains themselves included.
    pub other_channel_domains: &'static [&'static str],
    /// The service URL to begin with when none is known, where one is published.
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

/// A value of the `ChannelService` setting that names no cloud.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "channel service {0:?} names no cloud: leave it empty (public) or set https://botframework.azure.us (GCC High)"
)]
pub struct UnknownChannelService(String);

impl Cloud {
    /// Every cloud.
    pub const ALL: [Self; 4] = [Self::Public, Self::UsGov, Self::UsDod, Self::China];

    /// The cloud named by the classic `ChannelService` setting, which knows only two: empty is public,
    /// `https://botframework.azure.us` is GCC High.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn from_channel_service(setting: &str) -> Result<Self, UnknownChannelService> {
        match setting.trim_end_matches('/') {
            "" => Ok(Self::Public),
            "https://botframework.azure.us" => Ok(Self::UsGov),
            _ => Err(UnknownChannelService(setting.to_owned())),
        }
    }

    /// What is where in this cloud.
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
