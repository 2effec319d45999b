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
    /// The names in the list; those of channels are compared exactly, those of tenants without case.
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
    /// The bot's own app id, a GUID in any case.
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

    /// The policy with its ids as tokens write them. An id that was copied in upper case would otherwise fit no token.
    pub(super) fn in_lower_case(mut self) -> Self {
        self.app_id.make_ascii_lowercase();
        if let Some(tenant) = &mut self.own_tenant {
            tenant.make_ascii_lowercase();
        }
        if let AllowList::Only(tenants) = &mut self.tenants {
            *tenants = tenants.iter().map(|id| id.to_ascii_lowercase()).collect();
        }
        self.callers = self.callers.iter().map(|id| id.to_ascii_lowercase()).collect();
        self
    }

    pub(super) fn check_allow_lists(&self, activity: &Activity) -> Result<(), Denied> {
        if !self.channels.contains(activity.channel_id.as_deref()) {
            return Err(Denied::ChannelRefused);
        }
        let tenant = activity.tenant_id().map(|id| id.as_str().to_ascii_lowercase());
        if !self.tenants.contains(tenant.as_deref()) {
            return Err(Denied::TenantRefused);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_were_copied_in_upper_case_are_those_of_tokens() {
        let policy = Policy {
            own_tenant: Some("0000000B".to_owned()),
            callers: BTreeSet::from(["0000000C".to_owned()]),
            tenants: AllowList::Only(BTreeSet::from(["0000000D".to_owned()])),
            ..Policy::new(Cloud::Public, "0000000A".to_owned())
        };
        let policy = policy.in_lower_case();
        assert_eq!(policy.app_id, "0000000a");
        assert_eq!(policy.own_tenant.as_deref(), Some("0000000b"));
        assert!(policy.callers.contains("0000000c"));
        for tenant in ["0000000d", "0000000D"] {
            let activity = serde_json::json!({"conversation": {"id": "a:1", "tenantId": tenant}});
            assert!(
                policy
                    .check_allow_lists(&Activity::from_value(activity).unwrap())
                    .is_ok()
            );
        }
        assert!(policy.check_allow_lists(&Activity::default()).is_err());
    }
}
