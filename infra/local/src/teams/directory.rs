//! A tenant's directory: people in departments and groups, as Microsoft Graph lists them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::request::parameter;
use super::{Refusal, Response, Tenant};

/// The most people on a page of Graph.
const PAGE: usize = 999;

/// The cast that leaves only people in a list.
const USERS: &str = "microsoft.graph.user";

/// How many people a page has if the request does not say so.
const DEFAULT_PAGE: usize = 100;

/// The people and groups of a tenant.
#[derive(Clone, Debug, Default)]
pub struct Organization {
    /// The people.
    pub people: Vec<OrganizationMember>,
    /// The groups.
    pub groups: Vec<OrganizationGroup>,
    /// The most people on a page, if it is fewer than a request asks for with `$top`.
    pub page_size: Option<usize>,
    /// Whether the administrator has refused the bot the permission to read it.
    pub is_forbidden: bool,
}

/// A person in the directory of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrganizationMember {
    /// The Entra object id.
    pub id: String,
    /// The mail address, which is the user principal name, too.
    pub mail: String,
    /// The department.
    pub department: String,
    /// The country.
    pub country: String,
    /// The office.
    pub office_location: String,
    /// The job title.
    pub job_title: String,
    /// The manager's Entra object id.
    pub manager: Option<String>,
    /// Whether the account is disabled.
    pub is_disabled: bool,
    /// Whether the person is a guest.
    pub is_guest: bool,
}

/// A group. A person in a group and in another one inside it is listed twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrganizationGroup {
    /// The id.
    pub id: String,
    /// The mail address.
    pub mail: String,
    /// Ids of people and of other groups.
    pub members: Vec<String>,
    /// Whether it was deleted.
    pub is_deleted: bool,
}

/// A read of a directory.
#[derive(Clone, Debug)]
pub struct DirectoryRead {
    /// What is listed.
    pub list: DirectoryList,
    /// How many entries are left out.
    skip: usize,
    /// The most entries that are wanted, if the request says so.
    top: Option<usize>,
    /// Path and query, without the position.
    target: String,
}

/// What a read of a directory lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryList {
    /// The people of a group and of the groups in it.
    Members(String),
    /// The people that meet all of these conditions.
    People(Vec<Condition>),
    /// Those who report to a manager; also those who report to them.
    Reports {
        /// The manager's Entra object id.
        manager: String,
        /// Whether the reports of reports are listed.
        transitive: bool,
    },
    /// The groups that meet all of these conditions.
    Groups(Vec<Condition>),
}

/// A condition of a filter: a property has one of these values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    property: String,
    values: Vec<String>,
}

impl DirectoryRead {
    /// Parses a read from its path segments behind the version, and its query; `None` if it is no read of a directory.
    pub(super) fn parse(segments: &[&str], target: &str, query: &str) -> Option<Result<Self, Refusal>> {
        let conditions = || {
            let filter = parameter(query, "$filter").unwrap_or_default();
            conditions(&filter).ok_or(Refusal::new(400, "Request_UnsupportedQuery"))
        };
        let list = match segments {
            ["groups", group, "transitiveMembers", USERS] => Ok(DirectoryList::Members((*group).to_owned())),
            [
                "users",
                manager,
                reports @ ("directReports" | "transitiveReports"),
                USERS,
            ] => Ok(DirectoryList::Reports {
                manager: (*manager).to_owned(),
                transitive: *reports == "transitiveReports",
            }),
            ["users"] => conditions().map(DirectoryList::People),
            ["groups"] => conditions().map(DirectoryList::Groups),
            _ => return None,
        };
        let (path, _) = target.split_once('?').unwrap_or((target, ""));
        let kept = query
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.starts_with("$skiptoken="));
        let kept: Vec<&str> = kept.collect();
        let number = |name: &str| parameter(query, name).and_then(|number| number.parse().ok());
        Some(list.map(|list| Self {
            list,
            skip: number("$skiptoken").unwrap_or_default(),
            top: number("$top").map(|top| top.clamp(1, PAGE)),
            target: format!("{path}?{}", kept.join("&")),
        }))
    }

    /// The group, the manager, or the word `users` or `groups`.
    pub fn subject(&self) -> &str {
        match &self.list {
            DirectoryList::Members(group) => group,
            DirectoryList::Reports { manager, .. } => manager,
            DirectoryList::People(_) => "users",
            DirectoryList::Groups(_) => "groups",
        }
    }

    /// A page of what is listed, by the Graph at this URL.
    pub(super) fn carry_out(&self, tenant: &Tenant, graph_url: &str) -> Result<Response, Refusal> {
        let organization = &tenant.organization;
        if organization.is_forbidden {
            let refusal = Refusal::new(403, "Authorization_RequestDenied");
            return Err(refusal.saying("Insufficient privileges to complete the operation."));
        }
        let entries = match &self.list {
            DirectoryList::Groups(conditions) => organization.groups_with(conditions)?,
            DirectoryList::Members(group) => listed(organization.members(group)?),
            DirectoryList::People(conditions) => listed(organization.people_with(conditions)?),
            DirectoryList::Reports { manager, transitive } => {
                listed(organization.reports(manager, *transitive)?)
            }
        };
        let most = self.top.map_or(DEFAULT_PAGE, |top| {
            organization.page_size.unwrap_or(PAGE).min(top)
        });
        let end = entries.len().min(self.skip.saturating_add(most));
        let page = entries.get(self.skip..end).unwrap_or_default();
        let mut body = json!({ "value": page });
        if end < entries.len() {
            body["@odata.nextLink"] = format!("{graph_url}{}&$skiptoken={end}", self.target).into();
        }
        Ok(Response::new(200, body))
    }
}

impl Organization {
    /// The enabled and disabled people of a group and of the groups in it, in the order of the walk.
    ///
    /// # Errors
    /// When there is no such group.
    pub fn members(&self, group: &str) -> Result<Vec<&OrganizationMember>, Refusal> {
        let known = |id: &str| {
            self.groups
                .iter()
                .find(|group| group.id == id && !group.is_deleted)
        };
        let mut open = vec![known(group).ok_or(NOT_FOUND)?];
        let (mut walked, mut people) = (BTreeSet::new(), Vec::new());
        while let Some(group) = open.pop() {
            if walked.insert(&group.id) {
                let members = group.members.iter();
                people.extend(members.filter_map(|id| self.person(id)));
                open.extend(group.members.iter().filter_map(|id| known(id)));
            }
        }
        Ok(people)
    }

    /// Those who report to a manager, and with `transitive` those who report to them.
    ///
    /// # Errors
    /// When there is no such person.
    pub fn reports(&self, manager: &str, transitive: bool) -> Result<Vec<&OrganizationMember>, Refusal> {
        let mut open = vec![self.person(manager).ok_or(NOT_FOUND)?];
        let mut reports: Vec<&OrganizationMember> = Vec::new();
        while let Some(manager) = open.pop() {
            let of = |person: &&OrganizationMember| person.manager.as_ref() == Some(&manager.id);
            for person in self.people.iter().filter(of) {
                if !reports.iter().any(|known| known.id == person.id) {
                    reports.push(person);
                    open.extend(transitive.then_some(person));
                }
            }
        }
        Ok(reports)
    }

    fn person(&self, id: &str) -> Option<&OrganizationMember> {
        self.people.iter().find(|person| person.id == id)
    }

    fn people_with(&self, conditions: &[Condition]) -> Result<Vec<&OrganizationMember>, Refusal> {
        let mut people: Vec<&OrganizationMember> = self.people.iter().collect();
        for Condition { property, values } in conditions {
            let value: fn(&OrganizationMember) -> &str = match property.as_str() {
                "accountEnabled" => |it| if it.is_disabled { "false" } else { "true" },
                "userType" => OrganizationMember::user_type,
                "department" => |it| &it.department,
                "country" => |it| &it.country,
                "officeLocation" => |it| &it.office_location,
                "jobTitle" => |it| &it.job_title,
                "mail" | "userPrincipalName" => |it| &it.mail,
                _ => return Err(Refusal::new(400, "Request_UnsupportedQuery")),
            };
            people.retain(|person| {
                values
                    .iter()
                    .any(|wanted| wanted.eq_ignore_ascii_case(value(person)))
            });
        }
        Ok(people)
    }

    fn groups_with(&self, conditions: &[Condition]) -> Result<Vec<Value>, Refusal> {
        let [Condition { property, values }] = conditions else {
            return Err(Refusal::new(400, "Request_UnsupportedQuery"));
        };
        let is_wanted = |group: &&OrganizationGroup| {
            property == "mail"
                && !group.is_deleted
                && values.iter().any(|mail| mail.eq_ignore_ascii_case(&group.mail))
        };
        let groups = self.groups.iter().filter(is_wanted);
        Ok(groups.map(|group| json!({ "id": group.id })).collect())
    }
}

impl OrganizationMember {
    fn user_type(&self) -> &str {
        if self.is_guest { "Guest" } else { "Member" }
    }
}

const NOT_FOUND: Refusal = Refusal::new(404, "Request_ResourceNotFound");

fn listed(people: Vec<&OrganizationMember>) -> Vec<Value> {
    let entry = |person: &OrganizationMember| {
        json!({
            "@odata.type": "#microsoft.graph.user", "id": person.id, "accountEnabled": !person.is_disabled,
            "userType": person.user_type(), "mail": person.mail, "userPrincipalName": person.mail,
        })
    };
    people.into_iter().map(entry).collect()
}

/// The conditions of a filter, which `and` joins: `property eq value` and `property in (values)`.
fn conditions(filter: &str) -> Option<Vec<Condition>> {
    let (mut rest, mut conditions) = (filter.trim(), Vec::new());
    while !rest.is_empty() {
        let (property, behind) = rest.split_once(' ')?;
        let (operator, behind) = behind.split_once(' ')?;
        let mut values = Vec::new();
        match operator {
            "eq" => rest = value(behind, &mut values)?,
            "in" => {
                let mut list = behind.strip_prefix('(')?;
                loop {
                    list = value(list, &mut values)?;
                    match list.strip_prefix(',') {
                        Some(more) => list = more,
                        None => break,
                    }
                }
                rest = list.strip_prefix(')')?;
            }
            _ => return None,
        }
        if !rest.is_empty() {
            rest = rest.strip_prefix(" and ")?;
        }
        conditions.push(Condition {
            property: property.to_owned(),
            values,
        });
    }
    Some(conditions)
}

/// Reads a literal, and returns what is behind it.
fn value<'t>(text: &'t str, values: &mut Vec<String>) -> Option<&'t str> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let end = text.find([' ', ',', ')']).unwrap_or(text.len());
        values.push(text[..end].to_owned());
        return Some(&text[end..]);
    };
    let mut end = 0;
    loop {
        end += quoted[end..].find('\'')?;
        // A doubled quote is one of the text.
        if quoted[end + 1..].starts_with('\'') {
            end += 2;
        } else {
            values.push(quoted[..end].replace("''", "'"));
            return Some(&quoted[end + 1..]);
        }
    }
}

#[cfg(test)]
mod tests;
