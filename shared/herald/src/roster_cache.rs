//! What the channel told of a team: its channels, and who is in it. It is kept for a while, so that the next notification to
//! the team need not ask again.
//!
//! Whatever changes a team begins a new *epoch* of it ([`crate::store::Conversations::invalidate_roster`]), and what was told before is
//! not used in it. Of people only their ids and what they are in the team are kept.

use std::fmt;

use botframework::id::{ChannelAccountId, ConversationId, EntraObjectId};
use serde::{Deserialize, Serialize};

pub use crate::conversation::TeamKey;

/// What the channel is asked of a team.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RosterQuery {
    /// Which channels it has.
    Channels,
    /// Who is on a page of its roster.
    Members {
        /// What the page before said to go on with; the first page without it.
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

/// What it answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RosterPage {
    /// These channels.
    Channels(Vec<ConversationId>),
    /// These members.
    Members {
        /// In the order of the roster.
        page: Vec<Member>,
        /// What the next page is asked for with; there is none without it.
        next: Option<String>,
    },
}

/// One person on a roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// As the channel names them.
    pub id: ChannelAccountId,
    /// As Entra names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<EntraObjectId>,
    /// What they are in the team: `user`, `guest`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// What is known of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedRoster {
    /// The generation of the team.
    pub generation: u64,
    /// The answer that is cached for it, unless it has expired.
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
