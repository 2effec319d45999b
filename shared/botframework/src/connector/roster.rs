//! Reads the rosters of conversations and the channels of teams.

use serde::Deserialize;

use super::{Connector, Error};
use crate::http::Part;
use crate::id::ConversationId;
use crate::teams::{ChannelInfo, TeamInfo, TeamsChannelAccount};

/// One page of a roster. Pages may repeat members.
///
/// A page is parsed strictly, unlike activities: a partial roster must not pass for a whole one.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PagedMembers {
    /// The cursor of the next page; absent on the last.
    pub continuation_token: Option<String>,
    /// The members on this page.
    pub members: Vec<TeamsChannelAccount>,
}

#[derive(Deserialize)]
struct TeamConversations {
    conversations: Vec<ChannelInfo>,
}

impl Connector {
    /// The whole roster at once. Deprecated in Teams (5 a minute, 10,000 members at most):
    /// [`paged_members`](Self::paged_members).
    ///
    /// # Errors
    /// See [`Error::class`]; an unreadable roster is `Ambiguous`. Safe to repeat.
    pub async fn members(
        &self,
        service_url: &str,
        conversation: &ConversationId,
    ) -> Result<Vec<TeamsChannelAccount>, Error> {
        let parts = [
            Part::Fixed("v3/conversations"),
            Part::Id(conversation.as_str()),
            Part::Fixed("members"),
        ];
        self.get(service_url, &parts, &[]).await
    }

    /// One member, by `29:` id, Entra object id or user principal name.
    ///
    /// # Errors
    /// See [`Error::class`]; an unreadable response is `Ambiguous`. Safe to repeat.
    pub async fn member(
        &self,
        service_url: &str,
        conversation: &ConversationId,
        user: &str,
    ) -> Result<TeamsChannelAccount, Error> {
        let parts = [
            Part::Fixed("v3/conversations"),
            Part::Id(conversation.as_str()),
            Part::Fixed("members"),
            Part::Id(user),
        ];
        self.get(service_url, &parts, &[]).await
    }

    /// One page of the roster. Teams raises a page size below 50 and caps it at 500.
    ///
    /// # Errors
    /// See [`Error::class`]; an unreadable page is `Ambiguous`. Safe to repeat.
    pub async fn paged_members(
        &self,
        service_url: &str,
        conversation: &ConversationId,
        page_size: Option<u16>,
        continuation_token: Option<&str>,
    ) -> Result<PagedMembers, Error> {
        let parts = [
            Part::Fixed("v3/conversations"),
            Part::Id(conversation.as_str()),
            Part::Fixed("pagedmembers"),
        ];
        let page_size = page_size.map(|size| size.to_string());
        let query = [
            ("pageSize", page_size.as_deref()),
            ("continuationToken", continuation_token),
        ];
        let mut page: PagedMembers = self.get(service_url, &parts, &query).await?;
        page.continuation_token = page.continuation_token.filter(|token| !token.is_empty());
        Ok(page)
    }

    /// A team of Teams.
    ///
    /// # Errors
    /// See [`Error::class`]; an unreadable response is `Ambiguous`. Safe to repeat.
    pub async fn team(&self, service_url: &str, team: &str) -> Result<TeamInfo, Error> {
        self.get(service_url, &[Part::Fixed("v3/teams"), Part::Id(team)], &[])
            .await
    }

    /// The channels of a team of Teams. The General channel has no name, and the team's id.
    ///
    /// # Errors
    /// See [`Error::class`]; an unreadable response is `Ambiguous`. Safe to repeat.
    pub async fn channels(&self, service_url: &str, team: &str) -> Result<Vec<ChannelInfo>, Error> {
        let parts = [
            Part::Fixed("v3/teams"),
            Part::Id(team),
            Part::Fixed("conversations"),
        ];
        let team: TeamConversations = self.get(service_url, &parts, &[]).await?;
        Ok(team.conversations)
    }
}
