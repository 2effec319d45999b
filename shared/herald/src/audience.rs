//! The audience of a notification: the selectors of the API, and the recipients that they resolve to.
//!
//! A union must not reach a recipient twice. No set of seen recipients is needed: a conversation belongs to the broadest
//! selector that matches it (the first of equals), and the [`SelectorMatcher`] of each other selector skips it.

use botframework::id::{ChannelAccountId, ConversationId, EntraObjectId};
use serde::{Deserialize, Serialize};

use crate::conversation::{ConversationKey, ConversationName, Scope};

mod directory;
mod display;
mod fields;
mod matcher;
mod request;
mod row;

pub use directory::{DirectoryMiss, DirectoryNameKind, DirectoryPeople, DirectoryTarget, MissReason};
pub(crate) use fields::{kind, size};
pub use matcher::SelectorMatcher;
pub use row::{AudienceRow, Fields, RESERVED, ROW_BYTES_MAX, RowColumn, repeated_rows, size_of};

/// The most selectors of one audience.
pub const SELECTORS_MAX: usize = 20;

/// The most ids of one list.
pub const IDS_MAX: usize = 20_000;

/// The union of its selectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Audience(pub Vec<Selector>);

impl Audience {
    /// Whether its recipients bring data of their own. Then it has no other selector.
    pub fn has_rows(&self) -> bool {
        let mut selectors = self.0.iter();
        selectors.any(|selector| matches!(selector.target, Target::Rows { .. }))
    }
}

/// One selector of an audience, with conditions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// The conversations that it selects.
    #[serde(rename = "target")]
    pub target: Target,
    /// Only conversations of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Excluded ids: of conversations (or their keys), people or accounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

/// The conversations that a selector selects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// Every active person, group chat and channel.
    Everyone,
    /// The part of [`Everyone`](Self::Everyone) in one Entra tenant.
    Tenant(String),
    /// The personal conversations of these people, by Entra object id.
    Users {
        /// The people, by Entra object id.
        ids: Vec<EntraObjectId>,
        /// Only conversations of this tenant, if given.
        tenant: Option<String>,
    },
    /// The personal conversations of these people, by the channel's own user id (in Teams `29:…`).
    Accounts(Vec<ChannelAccountId>),
    /// These conversations, by key or id; an id may be of a thread.
    Conversations(Vec<ConversationName>),
    /// The recipients of these rows, each with data of its own. It stands alone in its audience.
    Rows {
        /// How the rows name their recipients.
        column: RowColumn,
        /// The rows, each recipient in one.
        rows: Vec<AudienceRow>,
        /// Only conversations of this tenant, if given; of people by Entra object id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tenant: Option<String>,
    },
    /// A part of a team.
    Team {
        /// The team's id, which is the id of its General channel.
        id: String,
        /// The part of the team.
        to: TeamPart,
        /// Whether guests on its roster are selected.
        #[serde(default)]
        guests: Guests,
    },
    /// A channel, as a new thread; or one of its threads, as a reply.
    Channel {
        /// The channel's conversation.
        id: ConversationName,
        /// The id of the thread's first message.
        thread: Option<String>,
        /// The team of the channel. With it the channel is found even if no activity came from it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        team: Option<String>,
    },
    /// The group chat.
    GroupChat(ConversationName),
    /// The members of a group chat, each in the personal chat with the bot.
    GroupChatMembers {
        /// The group chat's conversation id.
        id: ConversationId,
        /// Whether guests on its roster are selected.
        #[serde(default)]
        guests: Guests,
    },
    /// Every conversation with this tag.
    Tag(String),
    /// People whom a tenant's directory names, each in the personal chat with the bot.
    Directory(DirectoryTarget),
}

/// A part of a team.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TeamPart {
    /// The General channel, as a new thread.
    General,
    /// Each channel, as a new thread.
    Channels,
    /// Each member, in the personal chat with the bot.
    Members,
}

/// How guests on a roster are treated: people of other tenants, for whom the bot cannot be installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Guests {
    /// They are selected like other members.
    #[default]
    Included,
    /// They are left out.
    Skipped,
}

impl Audience {
    /// Where a request has the selector at `index`, as a JSON pointer in a URI fragment.
    pub fn pointer(&self, index: usize) -> String {
        match self.0.len() {
            1 => "#/audience".to_owned(),
            _ => format!("#/audience/{index}"),
        }
    }

    /// The selectors that Microsoft Graph is asked for, with their indexes.
    pub fn directories(&self) -> impl Iterator<Item = (usize, &DirectoryTarget)> {
        let selectors = self.0.iter().enumerate();
        selectors.filter_map(|(index, selector)| match &selector.target {
            Target::Directory(target) => Some((index, target)),
            _ => None,
        })
    }
}

impl From<Target> for Selector {
    fn from(target: Target) -> Self {
        Self {
            target,
            scope: None,
            except: Vec::new(),
        }
    }
}

/// The name of a channel's conversation, or of a thread in it.
pub fn thread_name(channel: &ConversationName, thread: Option<&str>) -> ConversationName {
    match thread {
        None => channel.clone(),
        // A key ends with the conversation's id.
        Some(root) => {
            let written = ConversationId::from(channel.as_str());
            format!("{};messageid={root}", written.channel()).into()
        }
    }
}

/// A member of an audience: a conversation, or an id without one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Recipient {
    /// A stored conversation.
    Conversation(ConversationKey),
    /// A person without a stored conversation, by Entra object id.
    User(EntraObjectId),
    /// A person without a stored conversation, by the channel's user id.
    Account(ChannelAccountId),
    /// A conversation id that is not stored.
    UnknownConversation(ConversationId),
    /// What a selector names and the directory leads to no person from.
    Missed(DirectoryMiss),
}

impl Recipient {
    /// The recipient's part of a ledger key. Distinct recipients have distinct keys.
    pub fn ledger_key(&self) -> String {
        match self {
            Self::Conversation(key) => format!("conversation|{key}"),
            Self::User(id) => format!("user|{id}"),
            Self::Account(id) => format!("account|{id}"),
            Self::UnknownConversation(id) => format!("unknown|{id}"),
            // Not the reason: a group that is asked for twice may be refused for two.
            Self::Missed(miss) => format!("{}|{}", miss.kind.as_str(), miss.name),
        }
    }

    /// The recipient's kind, as the API spells it, and its name: a conversation key, or the id without one.
    pub fn name(&self) -> (&'static str, String) {
        match self {
            Self::Conversation(key) => ("conversation", key.to_string()),
            Self::User(id) => ("user", id.to_string()),
            Self::Account(id) => ("account", id.to_string()),
            Self::UnknownConversation(id) => ("unknownConversation", id.to_string()),
            Self::Missed(miss) => (miss.kind.as_str(), miss.name.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    pub(super) fn key(conversation: &str) -> ConversationKey {
        ConversationKey {
            conversation: conversation.into(),
            channel: "c".into(),
            bot: "b".into(),
        }
    }

    fn missed(kind: DirectoryNameKind) -> Recipient {
        Recipient::Missed(DirectoryMiss {
            kind,
            name: "x".to_owned(),
            reason: MissReason::NoSuchPerson,
        })
    }

    #[test]
    fn recipients_never_share_a_ledger_key() {
        let keys = [
            Recipient::Conversation(key("x")).ledger_key(),
            Recipient::User("x".into()).ledger_key(),
            Recipient::Account("x".into()).ledger_key(),
            Recipient::UnknownConversation("x".into()).ledger_key(),
            Recipient::UnknownConversation("c|b|x".into()).ledger_key(),
            missed(DirectoryNameKind::Group).ledger_key(),
            missed(DirectoryNameKind::Directory).ledger_key(),
            missed(DirectoryNameKind::Mail).ledger_key(),
            missed(DirectoryNameKind::Upn).ledger_key(),
            missed(DirectoryNameKind::Manager).ledger_key(),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    }
}
