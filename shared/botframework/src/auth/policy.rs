//! Which senders a bot accepts.

use std::collections::BTreeSet;

use super::denied::Denied;
use crate::activity::Activity;
use crate::cloud::Cloud;

/// Which names are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowList {
    /// All names are accepted.
    Any,
    /// The names in the list, compared exactly.
    Only(BTreeSet<String>),
}

/// Whether the Bot Framework emulator is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emulator {
    /// Never: the policy of a deployment.
    #[default]
    Refused,
    /// With a token for the bot's own credentials, as channel `emulator`, from this machine. The
    /// [`TrustRule`](crate::service_url::TrustRule) must trust this machine, too.
    OnLoopback,
}

/// Which senders the bot accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The cloud whose token issuers are trusted.
    pub cloud: Cloud,
    /// The bot's own app id, as tokens write it: a GUID in lower case.
    pub app_id: String,
    /// The bot's own tenant, if it is registered as single-tenant: tokens of other bots may be issued there.
    pub own_tenant: Option<String>,
    /// The accepted tenants of conversations. An activity without a tenant is in no list.
    pub tenants: AllowList,
    /// The accepted channels, by `channelId`.
    pub channels: AllowList,
    /// Whether the emulator is accepted.
    pub emulator: Emulator,
    /// The app ids of other bots that are accepted.
    pub callers: BTreeSet<String>,
}

impl AllowList {
    fn contains(&self, name: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::Only(names) => name.is_some_and(|name| names.contains(name)),
        }
    }
}

impl Policy {
    /// The strict policy: every channel of the cloud and every tenant, no emulator, no other bots.
    pub const fn new(cloud: Cloud, app_id: String) -> Self {
        Self {
            cloud,
            app_id,
            own_tenant: None,
            tenants: AllowList::Any,
            channels: AllowList::Any,
            emulator: Emulator::Refused,
            callers: BTreeSet::new(),
        }
    }

    pub(super) fn check_allow_lists(&self, activity: &Activity) -> Result<(), Denied> {
        if !self.channels.contains(activity.channel_id.as_deref()) {
            return Err(Denied::ChannelRefused);
        }
        if !self.tenants.contains(activity.tenant_id()) {
            return Err(Denied::TenantRefused);
        }
        Ok(())
    }
}
