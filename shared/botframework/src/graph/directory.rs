//! The people of a tenant: members of groups, all users, reports of a manager, users by their addresses.
//!
//! Graph returns them in pages of up to [`limits::PAGE`]. A page names the next one by a link; the client
//! takes only the path and the query of a link to its own host, so its token reaches no other.
//!
//! | query | least application permission |
//! |---|---|
//! | [`PeopleQuery::Members`], [`Graph::group_by_mail`] | `GroupMember.Read.All` |
//! | [`PeopleQuery::Users`], [`PeopleQuery::Reports`], [`Graph::users_by_name`] | `User.Read.All` |
//!
//! With `GroupMember.Read.All` alone Graph returns the ids of members and no properties of theirs.
//!
//! # Example: every member of a group
//! ```no_run
//! # use botframework::{graph::{Error, Graph, directory::PeopleQuery}, id::EntraObjectId};
//! # async fn members(graph: Graph) -> Result<Vec<EntraObjectId>, Error> {
//! let group = PeopleQuery::Members("33333333-2222-4333-8444-555555555555".into());
//! let (mut members, mut after) = (Vec::new(), None);
//! loop {
//!     let page = graph.people(&group, after.as_ref()).await?;
//!     members.extend(page.users.into_iter().map(|user| user.id));
//!     after = page.next;
//!     if after.is_none() {
//!         break Ok(members);
//!     }
//! }
//! # }
//! ```

use std::fmt;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use serde::{Deserialize, Serialize};

use super::{Error, Graph, Unusable, is_usable, limits, odata_literal, read, success, unreadable};
use crate::http::{Body, Part, address, json_request};
use crate::id::{EntraGroupId, EntraObjectId};

/// The properties of a person that are read.
const PROPERTIES: &str = "id,accountEnabled,userType";

/// The same, and what a person is looked up by.
const PROPERTIES_AND_NAMES: &str = "id,accountEnabled,userType,mail,userPrincipalName";

/// Graph answers filters and casts on relations only with this header and `$count=true`. Its index may lag behind a change by
/// minutes.
const CONSISTENCY_LEVEL: (HeaderName, HeaderValue) = (
    HeaderName::from_static("consistencylevel"),
    HeaderValue::from_static("eventual"),
);

/// The longest link to a next page that is followed, in bytes. Those of Graph have some hundred.
const LINK_BYTES_MAX: usize = 8 * 1024;

/// Which people of a tenant are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeopleQuery {
    /// The users in a security group, Microsoft 365 group or distribution list, and in the groups in it. Devices, contacts and
    /// the groups themselves are left out.
    Members(EntraGroupId),
    /// The enabled users of the tenant.
    Users(UserFilter),
    /// Those who report to this person.
    Reports(EntraObjectId, ReportDepth),
}

/// How far below a manager reports are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReportDepth {
    /// Those who report to the manager.
    #[default]
    Direct,
    /// Those, and all who report to them. Graph walks the tree.
    Transitive,
}

/// Conditions on the enabled users of a tenant. A property that is given has exactly this value, whatever its case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserFilter {
    /// Whether guests are left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub members_only: bool,
    /// The department.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    /// The country or region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The office.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub office_location: Option<String>,
    /// The job title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_title: Option<String>,
}

/// The property that people are looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UserNameKind {
    /// The main mail address; other addresses of the person do not count.
    Mail,
    /// The user principal name, with which the person signs in.
    UserPrincipalName,
}

/// A person in a tenant's directory. Properties that the application may not read are `None`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryUser {
    /// The Entra object id.
    pub id: EntraObjectId,
    /// Whether the person can sign in.
    pub account_enabled: Option<bool>,
    /// `Member` or `Guest`.
    pub user_type: Option<String>,
    /// The main mail address; read by [`Graph::users_by_name`] only.
    pub mail: Option<String>,
    /// The user principal name; read by [`Graph::users_by_name`] only.
    pub user_principal_name: Option<String>,
}

/// A page of people. Graph may return a person on several pages, and empty pages before the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeoplePage {
    /// The people, at most [`limits::PAGE`].
    pub users: Vec<DirectoryUser>,
    /// The next page; `None` on the last.
    pub next: Option<PageLink>,
}

/// The link to a next page, without the host. It expires after a time that Graph does not name; then Graph refuses it with a 400.
///
/// It may be stored, and read again by serde.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageLink(String);

/// A page as Graph writes it. An entry without an id is no person.
#[derive(Deserialize)]
struct Page {
    value: Vec<Entry>,
    #[serde(rename = "@odata.nextLink")]
    next: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    User(DirectoryUser),
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Groups {
    value: Vec<GroupEntry>,
}

#[derive(Deserialize)]
struct GroupEntry {
    id: EntraGroupId,
}

/// The list is longer than one request takes.
#[derive(Debug, thiserror::Error)]
#[error("more than {} values in one filter", limits::FILTER_VALUES)]
struct TooMany;

impl DirectoryUser {
    /// Whether Graph says that the person is a guest of the tenant.
    pub fn is_guest(&self) -> bool {
        self.user_type
            .as_deref()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("guest"))
    }

    /// Whether Graph says that the person cannot sign in.
    pub fn is_disabled(&self) -> bool {
        self.account_enabled == Some(false)
    }
}

impl PeopleQuery {
    /// The least application permission that the query needs.
    pub const fn permission(&self) -> &'static str {
        match self {
            Self::Members(_) => "GroupMember.Read.All",
            Self::Users(_) | Self::Reports(..) => "User.Read.All",
        }
    }
}

impl UserFilter {
    /// The `OData` filter.
    fn odata(&self) -> String {
        let mut conditions = vec!["accountEnabled eq true".to_owned()];
        if self.members_only {
            conditions.push("userType eq 'Member'".to_owned());
        }
        let properties = [
            ("department", &self.department),
            ("country", &self.country),
            ("officeLocation", &self.office_location),
            ("jobTitle", &self.job_title),
        ];
        for (property, value) in properties {
            if let Some(value) = value {
                conditions.push(format!("{property} eq {}", odata_literal(value)));
            }
        }
        conditions.join(" and ")
    }
}

impl UserNameKind {
    const fn property(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::UserPrincipalName => "userPrincipalName",
        }
    }
}

impl PageLink {
    /// The link in a response of the Graph at `graph_url`.
    pub(super) fn read(link: &str, graph_url: &str) -> Result<Self, Unusable> {
        let parsed = |text: &str| text.parse::<Uri>().map_err(|_| Unusable::ForeignLink);
        let (link, own) = (parsed(link)?, parsed(graph_url)?);
        let is_own = link.scheme() == own.scheme()
            && matches!((link.authority(), own.authority()), (Some(link), Some(own)) if link == own);
        let target = link.path_and_query().map_or("", |target| target.as_str());
        let target = target.strip_prefix(own.path().trim_end_matches('/'));
        let target = target.filter(|target| is_own && target.starts_with("/v1.0/"));
        match target {
            Some(target) if target.len() <= LINK_BYTES_MAX => Ok(Self(target.to_owned())),
            Some(_) => Err(Unusable::LongLink),
            None => Err(Unusable::ForeignLink),
        }
    }
}

impl fmt::Debug for PageLink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PageLink")
    }
}

impl Graph {
    /// The first page of people, or the one that a page before it named.
    ///
    /// # Errors
    /// See [`Error::class`]. [`Reason::NotFound`](super::Reason::NotFound): there is no such group or manager, or no more;
    /// [`Reason::NotConsented`](super::Reason::NotConsented): the application lacks [`PeopleQuery::permission`] there.
    pub async fn people(&self, query: &PeopleQuery, after: Option<&PageLink>) -> Result<PeoplePage, Error> {
        let url = match after {
            Some(PageLink(target)) => format!("{}{target}", self.url),
            None => self.first_page(query)?,
        };
        self.people_at(url).await
    }

    async fn people_at(&self, url: String) -> Result<PeoplePage, Error> {
        let response = success(self.read_directory(url).await?)?;
        let page: Page = read(&response)?;
        let next = page.next.map(|link| PageLink::read(&link, &self.url));
        let next = next.transpose().map_err(|error| unreadable(&response, error))?;
        Ok(PeoplePage {
            users: users(page.value),
            next,
        })
    }

    /// The group with this mail address; `None` when the tenant has none. Of several, any.
    ///
    /// # Errors
    /// See [`Error::class`].
    pub async fn group_by_mail(&self, mail: &str) -> Result<Option<EntraGroupId>, Error> {
        let filter = format!("mail eq {}", odata_literal(mail));
        let query = [("$filter", Some(&*filter)), ("$select", Some("id"))];
        let url = address(&self.url, &[Part::Fixed("v1.0/groups")], &query);
        let response = self.read_directory(url.map_err(Error::not_sendable)?).await?;
        let response = success(response)?;
        let groups: Groups = read(&response)?;
        match groups.value.into_iter().next() {
            Some(group) if !is_usable(group.id.as_str()) => Err(unreadable(&response, Unusable::InvalidId)),
            group => Ok(group.map(|group| group.id)),
        }
    }

    /// The people with these mail addresses or user principal names, in any order, disabled ones and guests included; at most
    /// [`limits::FILTER_VALUES`] names in one request. Graph compares without case. Names without
    /// a person are missing.
    ///
    /// # Errors
    /// See [`Error::class`].
    pub async fn users_by_name(
        &self,
        kind: UserNameKind,
        names: &[&str],
    ) -> Result<Vec<DirectoryUser>, Error> {
        if names.len() > limits::FILTER_VALUES {
            return Err(Error::not_sendable(TooMany));
        }
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = names.iter().map(|name| odata_literal(name)).collect();
        let filter = format!("{} in ({})", kind.property(), names.join(","));
        let query = [
            ("$filter", Some(&*filter)),
            ("$select", Some(PROPERTIES_AND_NAMES)),
        ];
        let url = address(&self.url, &[Part::Fixed("v1.0/users")], &query);
        let mut page = self.people_at(url.map_err(Error::not_sendable)?).await?;
        let mut found = page.users;
        // So few people fit on one page, but no rule says so.
        for _ in 0..limits::FILTER_VALUES {
            let Some(PageLink(target)) = page.next else { break };
            page = self.people_at(format!("{}{target}", self.url)).await?;
            found.extend(page.users);
        }
        Ok(found)
    }

    fn first_page(&self, query: &PeopleQuery) -> Result<String, Error> {
        let filter;
        let (parts, filter) = match query {
            PeopleQuery::Members(group) => (
                vec![
                    Part::Fixed("v1.0/groups"),
                    Part::Id(group.as_str()),
                    Part::Fixed("transitiveMembers/microsoft.graph.user"),
                ],
                None,
            ),
            PeopleQuery::Users(conditions) => {
                filter = conditions.odata();
                (vec![Part::Fixed("v1.0/users")], Some(&*filter))
            }
            PeopleQuery::Reports(manager, depth) => (
                vec![
                    Part::Fixed("v1.0/users"),
                    Part::Id(manager.as_str()),
                    Part::Fixed(match depth {
                        ReportDepth::Direct => "directReports/microsoft.graph.user",
                        ReportDepth::Transitive => "transitiveReports/microsoft.graph.user",
                    }),
                ],
                None,
            ),
        };
        let top = limits::PAGE.to_string();
        let query = [
            ("$filter", filter),
            ("$select", Some(PROPERTIES)),
            ("$top", Some(&*top)),
            ("$count", Some("true")),
        ];
        address(&self.url, &parts, &query).map_err(Error::not_sendable)
    }

    async fn read_directory(&self, url: String) -> Result<Response<Body>, Error> {
        let request: Result<Request<Bytes>, _> = json_request(Method::GET, url, Bytes::new());
        let mut request = request.map_err(Error::not_sendable)?;
        let (name, value) = CONSISTENCY_LEVEL;
        request.headers_mut().insert(name, value);
        self.send(request).await
    }
}

/// The entries that are people with an id that can be used.
fn users(entries: Vec<Entry>) -> Vec<DirectoryUser> {
    let users = entries.into_iter().filter_map(|entry| match entry {
        Entry::User(user) => Some(user),
        Entry::Other(_) => None,
    });
    users.filter(|user| is_usable(user.id.as_str())).collect()
}
