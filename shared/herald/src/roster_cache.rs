//! What the channel told of a team: its channels, and who is in it. It is kept for a while, so that the next notification to
//! the team need not ask again.
//!
//! Whatever changes a team begins a new *epoch* of it ([`crate::store::Conversations::invalidate_roster`]), and what was told before is
//! not used in it. Of people only their ids and what they are in the team are kept.

use std::fmt;

use botframework::activity::{Activity, ActivityType};
use botframework::id::{ChannelAccountId, ConversationId, EntraObjectId};
use serde::{Deserialize, Serialize};

use crate::conversation::{ConversationKey, TeamChange, is_id};

/// Names a team to a bot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TeamKey {
    /// The channel, as activities name it.
    pub channel: String,
    /// The bot's account in it.
    pub bot: ChannelAccountId,
    /// The team.
    pub team: String,
}

impl TeamKey {
    /// The team that an activity shows a change of: of its members, its channels, or itself.
    pub fn changed_by(activity: &Activity) -> Option<Self> {
        if activity.kind != Some(ActivityType::ConversationUpdate)
            || activity.parent_channel() != Some("msteams")
        {
            return None;
        }
        let has_changed_members = !activity.members_added.is_empty() || !activity.members_removed.is_empty();
        if !has_changed_members && TeamChange::of(activity).is_none() {
            return None;
        }
        Some(Self {
            channel: activity.channel_id.clone()?,
            bot: activity.recipient.as_ref()?.id.clone(),
            team: activity.teams()?.team?.id.filter(|id| is_id(id))?,
        })
    }
}

impl fmt::Display for TeamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The team stands last and as it is: whatever it holds, the first two bars are the separators.
        let name = ConversationKey {
            conversation: self.team.as_str().into(),
            channel: self.channel.clone(),
            bot: self.bot.clone(),
        };
        name.fmt(f)
    }
}

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
    use serde_json::{Value, json};

    use super::*;

    fn changed(change: impl FnOnce(&mut Value)) -> Option<TeamKey> {
        let mut activity = json!({
            "type": "conversationUpdate", "channelId": "msteams", "recipient": {"id": "28:bot"},
            "conversation": {"id": "19:other"}, "channelData": {"team": {"id": "19:team"}},
        });
        change(&mut activity);
        TeamKey::changed_by(&Activity::from_value(activity).unwrap())
    }

    #[test]
    fn what_changes_a_team_is_told_from_what_does_not() {
        let team = TeamKey {
            channel: "msteams".to_owned(),
            bot: "28:bot".into(),
            team: "19:team".to_owned(),
        };
        for members in ["membersAdded", "membersRemoved"] {
            let key = changed(|activity| activity[members] = json!([{"id": "29:ada"}]));
            assert_eq!(key.as_ref(), Some(&team), "{members}");
        }
        let renamed = changed(|activity| activity["channelData"]["eventType"] = json!("teamRenamed"));
        assert_eq!(renamed, Some(team));
        assert_eq!(changed(|_| {}), None, "nothing changed");
        for (path, other) in [
            ("type", json!("message")),
            ("channelId", json!("slack")),
            ("channelData", json!({"team": {"id": ""}})),
            ("channelData", json!({})),
            ("recipient", json!(null)),
        ] {
            let key = changed(|activity| {
                activity["membersAdded"] = json!([{"id": "29:ada"}]);
                activity[path] = other;
            });
            assert_eq!(key, None, "{path}");
        }
    }

    #[test]
    fn no_two_teams_and_no_two_questions_share_a_name() {
        let key = |channel: &str, bot: &str, team: &str| {
            let (channel, bot, team) = (channel.to_owned(), bot.into(), team.to_owned());
            TeamKey { channel, bot, team }.to_string()
        };
        assert_ne!(key("a|b", "c", "d"), key("a", "b|c", "d"));
        assert_ne!(key("a", "b", "c|d"), key("a", "b|c", "d"));
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
