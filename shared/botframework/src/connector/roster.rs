//! Reads the rosters of conversations and the channels of teams.

use std::fmt;

use http::{HeaderMap, StatusCode};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Connector, Error};
use crate::http::{BodyLimit, Part};
use crate::id::{ConversationId, TeamId};
use crate::teams::{ChannelInfo, TeamInfo, TeamsChannelAccount};

/// One page of a roster. Pages may repeat members.
///
/// A page is parsed strictly, unlike activities: a partial roster must not pass for a whole one.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PagedMembers {
    /// The cursor of the next page; absent on the last.
    pub continuation_token: Option<String>,
    /// The members on this page, at most [`MAX_MEMBERS`].
    #[serde(deserialize_with = "bounded")]
    pub members: Vec<TeamsChannelAccount>,
}

/// The most members of one answer; Teams lists no more of a whole roster. An answer with more is refused.
pub const MAX_MEMBERS: usize = 10_000;

/// The longest continuation token, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// A list of members. Of one that is too long, one more than [`MAX_MEMBERS`] is kept.
fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TeamsChannelAccount>, D::Error> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<TeamsChannelAccount>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a list of members")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while members.len() <= MAX_MEMBERS {
                match list.next_element()? {
                    Some(member) => members.push(member),
                    None => return Ok(members),
                }
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(members)
        }
    }
    deserializer.deserialize_seq(Members)
}

fn check_count(members: &[TeamsChannelAccount]) -> Result<(), Error> {
    if members.len() > MAX_MEMBERS {
        return Err(unusable("TooManyMembers"));
    }
    Ok(())
}

fn unusable(code: &'static str) -> Error {
    Error::unusable(StatusCode::OK, &HeaderMap::new(), code)
}

/// A whole roster.
#[derive(Deserialize)]
#[serde(transparent)]
struct Members(#[serde(deserialize_with = "bounded")] Vec<TeamsChannelAccount>);

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
        let Members(members) = self.get(service_url, &parts, &[], BodyLimit::WHOLE).await?;
        check_count(&members)?;
        Ok(members)
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
        self.get(service_url, &parts, &[], BodyLimit::SMALL).await
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
        let mut page: PagedMembers = self.get(service_url, &parts, &query, BodyLimit::PAGE).await?;
        check_count(&page.members)?;
        page.continuation_token = page.continuation_token.filter(|token| !token.is_empty());
        if page
            .continuation_token
            .as_ref()
            .is_some_and(|token| token.len() > MAX_TOKEN_BYTES)
        {
            return Err(unusable("ContinuationTokenTooLong"));
        }
        Ok(page)
    }

    /// A team of Teams.
    ///
    /// # Errors
    /// See [`Error::class`]; an unreadable response is `Ambiguous`. Safe to repeat.
    pub async fn team(&self, service_url: &str, team: &TeamId) -> Result<TeamInfo, Error> {
        let parts = [Part::Fixed("v3/teams"), Part::Id(team.as_str())];
        self.get(service_url, &parts, &[], BodyLimit::SMALL).await
    }

    /// The channels of a team of Teams. The General channel has no name, and the team's id.
    ///
    /// # Errors
    /// See [`Error::class`]; an unreadable response is `Ambiguous`. Safe to repeat.
    pub async fn channels(&self, service_url: &str, team: &TeamId) -> Result<Vec<ChannelInfo>, Error> {
        let parts = [
            Part::Fixed("v3/teams"),
            Part::Id(team.as_str()),
            Part::Fixed("conversations"),
        ];
        let team: TeamConversations = self.get(service_url, &parts, &[], BodyLimit::PAGE).await?;
        Ok(team.conversations)
    }
}
