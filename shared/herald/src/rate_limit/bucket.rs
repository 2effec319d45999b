//! The scope of a rate limit.

use std::str::FromStr;

use botframework::id::{ConversationId, UserRef};
use serde::{Deserialize, Serialize};

use crate::conversation::{ConversationKey, ID_BYTES_MAX, PersonKey};

/// The scope of one rate limit: a bot in a tenant, on a channel or at Microsoft Graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bucket(String);

/// The text is not a bucket.
#[derive(Debug, thiserror::Error)]
#[error("must be a channel, a bot and a tenant with bars between")]
pub struct InvalidBucket;

impl FromStr for Bucket {
    type Err = InvalidBucket;

    /// Parses a bucket as [`as_str`](Self::as_str) returns it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_named = |part: &str| !part.is_empty();
        let mut parts = text.splitn(3, '|');
        let (channel, bot, tenant) = (parts.next(), parts.next(), parts.next());
        let is_bucket = channel.is_some_and(is_named) && bot.is_some_and(is_named) && tenant.is_some();
        if !is_bucket || text.len() > 3 * ID_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(InvalidBucket);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Stands where the channel stands. No channel has this name.
const GRAPH: &str = "graph";

impl Bucket {
    /// The bucket of a conversation. Channels without tenants have one for each bot.
    pub fn of(conversation: &ConversationKey, tenant: Option<&str>) -> Self {
        Self(format!("{}|{}", conversation.place(), tenant.unwrap_or_default()))
    }

    /// The bucket of the same bot at Microsoft Graph, in the same tenant.
    #[must_use]
    pub fn for_graph(&self) -> Self {
        let after_channel = self.0.split_once('|').map_or("", |(_, rest)| rest);
        Self(format!("{GRAPH}|{after_channel}"))
    }

    /// The bucket as it is stored in tables and queues.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Channel and bot, as [`ConversationKey::place`] has them: neither contains a bar.
    fn place(&self) -> &str {
        let bars = self.0.match_indices('|').map(|(at, _)| at);
        bars.take(2).last().map_or(&self.0, |second| &self.0[..second])
    }

    /// Whether the conversation belongs to this bucket's bot and channel.
    pub fn contains(&self, conversation: &ConversationKey) -> bool {
        self.place() == conversation.place()
    }

    /// The conversation with this id, of this bucket's bot and channel.
    pub fn conversation(&self, id: ConversationId) -> Option<ConversationKey> {
        ConversationKey::from_place(id, self.place()).ok()
    }

    /// A person of this bucket's tenant, if it has one.
    pub fn person(&self, person: UserRef) -> Option<PersonKey> {
        let tenant = self.tenant()?.to_owned();
        let ConversationKey { channel, bot, .. } = self.conversation("".into())?;
        Some(PersonKey {
            channel,
            bot,
            tenant,
            person,
        })
    }

    /// Whether its channel is Teams.
    pub fn is_teams(&self) -> bool {
        self.channel() == "msteams"
    }

    /// Whether it is the bucket of Microsoft Graph.
    pub fn is_graph(&self) -> bool {
        self.channel() == GRAPH
    }

    /// The tenant, if there is one.
    pub fn tenant(&self) -> Option<&str> {
        let tenant = self.0.splitn(3, '|').nth(2)?;
        (!tenant.is_empty()).then_some(tenant)
    }

    /// The channel.
    pub fn channel(&self) -> &str {
        self.0.split('|').next().unwrap_or_default()
    }
}
