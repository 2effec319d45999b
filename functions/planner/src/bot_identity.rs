//! The identity of the bot in a tenant: what creating a conversation with a person there needs.

use botframework::id::ChannelAccountId;
use herald::backend::Backend;
use herald::config::{Environment, variable};
use herald::conversation::{Conversation, ConversationKey, State, TEAM_ARCHIVED};
use herald::id::normalize_guid;
use herald::rate_limit::Bucket;
use herald::store::{self, ConversationFilter, ConversationSummary, Conversations};

use crate::Context;

/// How many conversations are read at once.
const SCAN_PAGE: usize = 100;

/// The bot as the deployment configures it.
#[derive(Clone, Debug)]
pub struct ConfiguredBot {
    /// Its account in Teams: `28:` and its app id.
    pub account: ChannelAccountId,
    /// The tenant of a single-tenant bot, in which people are looked up when the caller names no tenant.
    pub tenant: Option<String>,
}

impl ConfiguredBot {
    /// The configured bot; `None` without authentication.
    pub(crate) fn from_environment(environment: &Environment<'_>) -> Option<Self> {
        let app_id = environment.optional(variable::APP_ID)?;
        Some(Self {
            account: format!("28:{app_id}").into(),
            tenant: environment
                .optional(variable::APP_TENANT_ID)
                .map(|tenant| normalize_guid(&tenant)),
        })
    }
}

/// Looks the bot up in stored conversations.
pub(crate) struct BotIdentity<'a, B: Backend>(pub(crate) &'a Context<B>);

impl<B: Backend> BotIdentity<'_, B> {
    /// The bucket of the bot in a tenant: from a stored conversation, else from the configuration. It names channel, bot and
    /// tenant.
    pub(crate) async fn bucket_in(&self, tenant: Option<&str>) -> Result<Option<Bucket>, store::Error> {
        let own = self.0.bot.as_ref().and_then(|bot| bot.tenant.as_deref());
        let Some(tenant) = tenant.or(own) else {
            return Ok(None);
        };
        let shown = self
            .sample_conversation(&ConversationFilter::Tenant(tenant.to_owned()))
            .await?;
        let key = shown.map(|shown| shown.key).or_else(|| {
            Some(ConversationKey {
                conversation: "".into(),
                channel: "msteams".to_owned(),
                bot: self.0.bot.as_ref()?.account.clone(),
            })
        });
        Ok(key.map(|key| Bucket::of(&key, Some(tenant))))
    }

    /// A conversation of the filter that the bot is in: an active one, else a channel of an archived team, which still has its
    /// roster.
    pub(crate) async fn sample_conversation(
        &self,
        filter: &ConversationFilter,
    ) -> Result<Option<Conversation>, store::Error> {
        let (mut archived, mut cursor) = (None, None);
        let key = loop {
            let listing = self
                .0
                .conversations
                .list(filter, cursor.as_deref(), SCAN_PAGE)
                .await?;
            let mut active = None;
            for ConversationSummary { key, state, .. } in listing.items {
                match state {
                    State::Active => active = active.or(Some(key)),
                    State::Blocked { code } if code == TEAM_ARCHIVED => archived = archived.or(Some(key)),
                    State::Blocked { .. } | State::Removed => {}
                }
            }
            cursor = listing.cursor;
            if active.is_some() || cursor.is_none() {
                break active.or(archived);
            }
        };
        let keys: Vec<ConversationKey> = key.into_iter().collect();
        Ok(self.0.conversations.get_many(&keys).await?.pop())
    }
}
