//! Accounts: users, bots, conversations.

use std::borrow::Cow;

use crate::id::{ChannelAccountId, ConversationId, EntraObjectId, TenantId, UserRef};
use crate::wire::{drop_nulls, has_nulls, wire_object};

use super::vocabulary::{Role, Scope};

wire_object! {
    /// The channel's account of a user or a bot.
    ChannelAccount {
        /// The channel's id of the account; empty when there is none.
        "id" id: ChannelAccountId,
        /// The display name. Personal data: not for logs.
        "name" name: Option<String>,
        /// The account's id in Microsoft Entra; `aadObjectId` on the wire.
        "aadObjectId" entra_object_id: Option<EntraObjectId>,
        /// The kind of account.
        "role" role: Option<Role>,
        /// The account's Entra tenant.
        "tenantId" tenant_id: Option<TenantId>,
        /// The user id of an agent with an identity of its own.
        "agenticUserId" agentic_user_id: Option<String>,
        /// The app id of such an agent.
        "agenticAppId" agentic_app_id: Option<String>,
        /// The app id of such an agent's blueprint.
        "agenticAppBlueprintId" agentic_app_blueprint_id: Option<String>,
    }
}

wire_object! {
    /// A conversation as activities name it.
    ConversationAccount {
        /// The conversation's id; empty when there is none.
        "id" id: ConversationId,
        /// Whether it has more than one user; absent means no.
        "isGroup" is_group: Option<bool>,
        /// The scope, in Teams; `conversationType` on the wire.
        "conversationType" scope: Option<Scope>,
        /// The tenant it belongs to; see [`super::Activity::tenant_id`].
        "tenantId" tenant_id: Option<TenantId>,
        /// The display name of a group or channel.
        "name" name: Option<String>,
        /// The user's id in Microsoft Entra; `aadObjectId` on the wire.
        "aadObjectId" entra_object_id: Option<EntraObjectId>,
        /// The kind of account.
        "role" role: Option<Role>,
    }
}

impl ChannelAccount {
    /// An account with an id only.
    pub fn new(id: impl Into<ChannelAccountId>) -> Self {
        Self {
            id: id.into(),
            ..Self::default()
        }
    }

    /// The account without `null` properties, which some channels refuse.
    pub(crate) fn to_sent(&self) -> Cow<'_, Self> {
        if !has_nulls(&self.extra) {
            return Cow::Borrowed(self);
        }
        let mut sent = self.clone();
        drop_nulls(&mut sent.extra);
        Cow::Owned(sent)
    }
}

impl From<&ChannelAccount> for UserRef {
    fn from(account: &ChannelAccount) -> Self {
        Self::Account(account.id.clone())
    }
}

impl ConversationAccount {
    /// The account with this tenant, unless it names one.
    #[must_use]
    pub fn in_tenant(mut self, tenant: Option<TenantId>) -> Self {
        self.tenant_id = self.tenant_id.filter(|id| !id.is_empty()).or(tenant);
        if self.tenant_id.is_some() {
            // A `null` or an empty id that stood in its place: the account would differ from itself once written and read.
            self.extra.remove("tenantId");
            self.numbers.take_member("tenantId");
        }
        self
    }

    /// The account without `null` properties, which some channels refuse.
    pub(crate) fn to_sent(&self) -> Cow<'_, Self> {
        if !has_nulls(&self.extra) {
            return Cow::Borrowed(self);
        }
        let mut sent = self.clone();
        drop_nulls(&mut sent.extra);
        Cow::Owned(sent)
    }
}
