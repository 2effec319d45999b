use std::borrow::Cow;

use crate::id::{ChannelAccountId, ConversationId, EntraObjectId};
use crate::wire::{drop_nulls, has_nulls, wire_object};

use super::vocabulary::{Role, Scope};

wire_object! {
    /// A user or a bot, as the channel knows them.
    ChannelAccount {
        /// The channel's id of the account; empty when there is none.
        "id" id: ChannelAccountId,
        /// The name to show. A person's name: not for logs.
        "name" name: Option<String>,
        /// The account's id in Microsoft Entra; `aadObjectId` on the wire.
        "aadObjectId" entra_object_id: Option<EntraObjectId>,
        /// What the account is.
        "role" role: Option<Role>,
        /// The account's tenant.
        "tenantId" tenant_id: Option<String>,
        /// The user id of an agent with an identity of its own.
        "agenticUserId" agentic_user_id: Option<String>,
        /// The app id of such an agent.
        "agenticAppId" agentic_app_id: Option<String>,
        /// The app id of the blueprint such an agent was made from.
        "agenticAppBlueprintId" agentic_app_blueprint_id: Option<String>,
    }
}

wire_object! {
    /// Where something is said.
    ConversationAccount {
        /// The conversation's id; empty when there is none.
        "id" id: ConversationId,
        /// Whether more than one user is in it; absent means no.
        "isGroup" is_group: Option<bool>,
        /// The kind of place, in Teams; `conversationType` on the wire.
        "conversationType" scope: Option<Scope>,
        /// The tenant it belongs to; see [`super::Activity::tenant_id`].
        "tenantId" tenant_id: Option<String>,
        /// The name to show.
        "name" name: Option<String>,
        /// The user's id in Microsoft Entra; `aadObjectId` on the wire.
        "aadObjectId" entra_object_id: Option<EntraObjectId>,
        /// What the account is.
        "role" role: Option<Role>,
    }
}

impl ChannelAccount {
    /// An account known by its id only.
    pub fn new(id: impl Into<ChannelAccountId>) -> Self {
        Self {
            id: id.into(),
            ..Self::default()
        }
    }

    /// As it is sent: without `null` members, which some channels refuse.
    pub(crate) fn to_sent(&self) -> Cow<'_, Self> {
        if !has_nulls(&self.extra) {
            return Cow::Borrowed(self);
        }
        let mut sent = self.clone();
        drop_nulls(&mut sent.extra);
        Cow::Owned(sent)
    }
}

impl ConversationAccount {
    /// A conversation known by its id only.
    pub fn new(id: impl Into<ConversationId>) -> Self {
        Self {
            id: id.into(),
            ..Self::default()
        }
    }

    /// As it is sent: without `null` members, which some channels refuse.
    pub(crate) fn to_sent(&self) -> Cow<'_, Self> {
        if !has_nulls(&self.extra) {
            return Cow::Borrowed(self);
        }
        let mut sent = self.clone();
        drop_nulls(&mut sent.extra);
        Cow::Owned(sent)
    }
}
