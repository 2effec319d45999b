//! Where a bot is at home in a tenant: what a message to a person there needs, though nobody has heard of them.

use botframework::id::ChannelAccountId;
use herald::config::{Environment, variable};
use herald::conversation::{Conversation, ConversationKey, State, TEAM_ARCHIVED};
use herald::id::normalize_guid;
use herald::rate_limit::Bucket;
use herald::store::{self, ConversationFilter, ConversationSummary, Conversations};

use crate::Context;

/// How many conversations are looked at together for one that shows it.
const LOOKED_AT: usize = 100;

/// The bot in one tenant.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    /// Whose pace requests there are made at; it names channel, bot and tenant.
    pub(crate) bucket: Bucket,
}

/// What the deployment says of the bot itself.
#[derive(Clone, Debug)]
pub struct Bot {
    /// Its account in Teams: `28:` and its app id.
    pub account: ChannelAccountId,
    /// Its own tenant, if it is a single-tenant bot: where people are looked for when the caller names no tenant.
    pub tenant: Option<String>,
}

impl Bot {
    /// The bot of the deployment; none when it runs without authentication.
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

/// Finds homes.
pub(crate) struct Homes<'a, C, N, P, Q, E>(pub(crate) &'a Context<C, N, P, Q, E>);

impl<C: Conversations, N, P, Q, E> Homes<'_, C, N, P, Q, E> {
    /// The bot's home in a tenant: as a conversation there shows it, else as it is configured.
    pub(crate) async fn of_tenant(&self, tenant: Option<&str>) -> Result<Option<Home>, store::Error> {
        let own = self.0.bot.as_ref().and_then(|bot| bot.tenant.as_deref());
        let Some(tenant) = tenant.or(own) else {
            return Ok(None);
        };
        let shown = self
            .example(&ConversationFilter::Tenant(tenant.to_owned()))
            .await?;
        let key = shown.map(|shown| shown.key).or_else(|| {
            Some(ConversationKey {
                conversation: "".into(),
                channel: "msteams".to_owned(),
                bot: self.0.bot.as_ref()?.account.clone(),
            })
        });
        Ok(key.map(|key| Home {
            bucket: Bucket::of(&key, Some(tenant)),
        }))
    }

    /// Some conversation of a selection that the bot is in: one that may be written to if there is one, else a channel of a team
    /// that is archived, which has its roster still.
    pub(crate) async fn example(
        &self,
        selection: &ConversationFilter,
    ) -> Result<Option<Conversation>, store::Error> {
        let (mut archived, mut cursor) = (None, None);
        let key = loop {
            let listing = self
                .0
                .conversations
                .list(selection, cursor.as_deref(), LOOKED_AT)
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
