//! Cached rosters: the channels and members of a team, as the channel returned them.
//!
//! A change of a team starts a new *generation* of its roster ([`crate::store::Conversations::invalidate_roster`]); pages of earlier
//! generations are not used.

use std::fmt;

use botframework::id::{ChannelAccountId, ConversationId, EntraObjectId};
use serde::{Deserialize, Serialize};

pub use crate::conversation::TeamKey;

/// A query about a team.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RosterQuery {
    /// The channels of the team.
    Channels,
    /// A page of its members.
    Members {
        /// The continuation token of the page before; `None` for the first page.
        after: Option<String>,
    },
}

impl fmt::Display for RosterQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channels => f.write_str("channels"),
            Self::Members { after: None } => f.write_str("members"),
            Self::Members { after: Some(token) } => write!(f, "members|{token}"),
        }
    }
}

/// The response to a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RosterPage {
    /// All channels of the team, in one response.
    Channels(Vec<ConversationId>),
    /// A page of members.
    Members {
        /// In the order of the roster.
        page: Vec<Member>,
        /// The continuation token of the next page; `None` on the last.
        next: Option<String>,
    },
}

/// A person on a roster. Only ids, the role and the tenant are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The channel's id of the person.
    pub id: ChannelAccountId,
    /// The Entra object id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<EntraObjectId>,
    /// The role in the team: `user`, `guest`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The Entra tenant: of a member of a shared channel, another than the team's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// What the cache holds for a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedRoster {
    /// The generation of the team.
    pub generation: u64,
    /// The cached response, unless it has expired.
    pub page: Option<RosterPage>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_questions_share_a_name() {
        let members = |after: &str| {
            RosterQuery::Members {
                after: Some(after.to_owned()),
            }
            .to_string()
        };
        assert_ne!(members(""), RosterQuery::Members { after: None }.to_string());
        assert_ne!(members("1"), members("2"));
    }
}
