//! Selectors of people that only a tenant's directory knows: groups, the whole organization, mail addresses, reports.

use std::collections::HashSet;

use botframework::graph::directory::{ReportDepth, UserFilter, UserNameKind};
use botframework::id::EntraObjectId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Guests;
use super::fields::{guests, id, ids, kind, size};
use crate::id::normalize_guid;
use crate::problem::{Faults, pointer, suggestion};

/// The longest value of a condition in `where`, and the longest mail address or user principal name, in bytes. Entra's own
/// limits are lower.
const VALUE_BYTES_MAX: usize = 256;

/// The properties of people that `where` may name.
const CONDITIONS: [&str; 4] = ["department", "country", "officeLocation", "jobTitle"];

/// People of one tenant, whom Microsoft Graph names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryTarget {
    /// The Entra tenant; without one, that of a single-tenant bot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Who in it.
    pub people: DirectoryPeople,
    /// Whether guests of the tenant are selected.
    #[serde(default)]
    pub guests: Guests,
}

/// Which people of a tenant's directory are selected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DirectoryPeople {
    /// The members of a group and of the groups in it; by id or mail address.
    Group(String),
    /// Every enabled account that meets these conditions.
    Organization(UserFilter),
    /// The people with these mail addresses or user principal names.
    Named(UserNameKind, Vec<String>),
    /// Those who report to a manager.
    Reports(EntraObjectId, ReportDepth),
}

/// Something that a selector names and the directory does not lead to a person from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryMiss {
    /// What is named.
    pub kind: DirectoryNameKind,
    /// Its name, as the caller wrote it.
    pub name: String,
    /// Why.
    pub reason: MissReason,
}

/// What a name in a selector is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DirectoryNameKind {
    /// A group, by id or mail address.
    Group,
    /// A tenant, by id.
    Directory,
    /// A mail address.
    Mail,
    /// A user principal name.
    Upn,
    /// A manager, by Entra object id.
    Manager,
}

/// Why the directory leads to no person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MissReason {
    /// The tenant has no such person.
    NoSuchPerson,
    /// The tenant has no such group, or no longer.
    NoSuchGroup,
    /// The account is disabled.
    AccountDisabled,
    /// The person is a guest, and the selector leaves guests out.
    Guest,
    /// The bot lacks the permission to read it in the tenant, or is unknown there.
    Forbidden,
    /// No tenant is named, and the bot has none of its own.
    TenantUnknown,
    /// The directory did not answer before the notification expired.
    Unavailable,
}

impl DirectoryNameKind {
    /// The member of a selector that holds such a name, in the singular of a list.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Directory => "directory",
            Self::Mail => "mail",
            Self::Upn => "upn",
            Self::Manager => "manager",
        }
    }

    /// The application permission that reading it needs, with the consent of the tenant's administrator.
    pub const fn permission(self) -> &'static str {
        match self {
            Self::Group => "GroupMember.Read.All",
            Self::Directory | Self::Mail | Self::Upn | Self::Manager => "User.Read.All",
        }
    }
}

impl DirectoryTarget {
    /// What the selector names, of a list the kind of its items.
    pub const fn kind(&self) -> DirectoryNameKind {
        match &self.people {
            DirectoryPeople::Group(_) => DirectoryNameKind::Group,
            DirectoryPeople::Organization(_) => DirectoryNameKind::Directory,
            DirectoryPeople::Named(UserNameKind::Mail, _) => DirectoryNameKind::Mail,
            DirectoryPeople::Named(UserNameKind::UserPrincipalName, _) => DirectoryNameKind::Upn,
            DirectoryPeople::Reports(..) => DirectoryNameKind::Manager,
        }
    }

    /// The group, tenant or manager that cannot be read for this reason; of a list its first item.
    pub fn miss(&self, reason: MissReason) -> DirectoryMiss {
        let name = match &self.people {
            DirectoryPeople::Group(name) => name.clone(),
            DirectoryPeople::Organization(_) => self.tenant.clone().unwrap_or_default(),
            DirectoryPeople::Named(_, names) => names.first().cloned().unwrap_or_default(),
            DirectoryPeople::Reports(manager, _) => manager.to_string(),
        };
        DirectoryMiss {
            kind: self.kind(),
            name,
            reason,
        }
    }

    /// The selector's members as a request has them.
    pub(super) fn to_request(&self) -> Map<String, Value> {
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
        match &self.people {
            DirectoryPeople::Group(name) => put("group", json!(name)),
            DirectoryPeople::Organization(_) => put("directory", json!(self.tenant)),
            DirectoryPeople::Named(UserNameKind::Mail, names) => put("mails", json!(names)),
            DirectoryPeople::Named(UserNameKind::UserPrincipalName, names) => put("upns", json!(names)),
            DirectoryPeople::Reports(manager, _) => put("manager", json!(manager)),
        };
        if let DirectoryPeople::Organization(filter) = &self.people {
            let conditions = conditions(filter);
            let given = CONDITIONS.iter().zip(conditions);
            let given: Map<String, Value> = given
                .filter_map(|(name, value)| Some(((*name).to_owned(), json!(value.as_ref()?))))
                .collect();
            if !given.is_empty() {
                put("where", given.into());
            }
        } else if let Some(tenant) = &self.tenant {
            put("tenant", json!(tenant));
        }
        if let DirectoryPeople::Reports(_, ReportDepth::Transitive) = &self.people {
            put("transitive", json!(true));
        }
        if self.guests != default_guests(&self.people) {
            put("guests", json!(self.guests == Guests::Included));
        }
        members
    }
}

/// Whether guests are selected if the selector does not say so. A group has them as members by intention; a message to the whole
/// organization is not meant for people of others.
const fn default_guests(people: &DirectoryPeople) -> Guests {
    match people {
        DirectoryPeople::Organization(_) => Guests::Skipped,
        DirectoryPeople::Group(_) | DirectoryPeople::Named(..) | DirectoryPeople::Reports(..) => {
            Guests::Included
        }
    }
}

/// The values of the [`CONDITIONS`], in their order.
fn conditions(filter: &UserFilter) -> [&Option<String>; 4] {
    [
        &filter.department,
        &filter.country,
        &filter.office_location,
        &filter.job_title,
    ]
}

/// Parses the selector whose leading member is `group`, `directory`, `mails`, `upns` or `manager`.
pub(super) fn parse(
    object: &Map<String, Value>,
    leading: &str,
    at: &str,
    faults: &mut Faults,
) -> Option<DirectoryTarget> {
    let field = format!("{at}/{leading}");
    let tenant_member = if leading == "directory" { leading } else { "tenant" };
    let tenant = object
        .get(tenant_member)
        .and_then(|_| id(object, tenant_member, at, faults));
    let people = match leading {
        "group" => {
            let group = one_name(&object[leading], &field, faults)?;
            DirectoryPeople::Group(normalize_guid(&group))
        }
        "directory" => DirectoryPeople::Organization(filter(object.get("where"), at, faults)?),
        "manager" => {
            let depth = depth(object.get("transitive"), at, faults)?;
            DirectoryPeople::Reports(id(object, leading, at, faults)?.into(), depth)
        }
        _ => {
            let kind = match leading {
                "mails" => UserNameKind::Mail,
                _ => UserNameKind::UserPrincipalName,
            };
            DirectoryPeople::Named(kind, names(&object[leading], &field, faults)?)
        }
    };
    let guests = match object.get("guests") {
        None => default_guests(&people),
        Some(_) => guests(object, at, faults),
    };
    let people = match people {
        DirectoryPeople::Organization(filter) => DirectoryPeople::Organization(UserFilter {
            members_only: guests == Guests::Skipped,
            ..filter
        }),
        people => people,
    };
    Some(DirectoryTarget {
        tenant,
        people,
        guests,
    })
}

/// A list of addresses. Entra compares them without case, so they are kept in lower case and count once.
fn names(value: &Value, at: &str, faults: &mut Faults) -> Option<Vec<String>> {
    let names: Vec<String> = ids(value, at, faults)?;
    let mut seen = HashSet::new();
    let mut list = Vec::with_capacity(names.len());
    for (index, name) in names.into_iter().enumerate() {
        if !is_address(&name) {
            faults.note(format!("{at}/{index}"), not_an_address(&Value::String(name)));
            if faults.are_full() {
                return None;
            }
            continue;
        }
        let name = name.to_lowercase();
        if seen.insert(name.clone()) {
            list.push(name);
        }
    }
    Some(list)
}

fn one_name(value: &Value, at: &str, faults: &mut Faults) -> Option<String> {
    let name = value.as_str().filter(|name| is_text(name));
    if name.is_none() {
        let detail = format!(
            "must be the id or the mail address of a group, of 1 to {VALUE_BYTES_MAX} bytes without control characters, found {}",
            size(value)
        );
        faults.note(at, detail);
    }
    name.map(str::to_lowercase)
}

fn is_text(text: &str) -> bool {
    (1..=VALUE_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn is_address(name: &str) -> bool {
    let parts = name.rsplit_once('@');
    is_text(name) && parts.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
}

fn not_an_address(found: &Value) -> String {
    format!(
        "must be an address such as name@example.com, of at most {VALUE_BYTES_MAX} bytes, found {}",
        size(found)
    )
}

fn depth(value: Option<&Value>, at: &str, faults: &mut Faults) -> Option<ReportDepth> {
    match value {
        None | Some(Value::Bool(false)) => Some(ReportDepth::Direct),
        Some(Value::Bool(true)) => Some(ReportDepth::Transitive),
        Some(other) => {
            let detail = format!("must be true or false, found {}", kind(other));
            faults.note(format!("{at}/transitive"), detail);
            None
        }
    }
}

/// The conditions in `where`.
fn filter(value: Option<&Value>, at: &str, faults: &mut Faults) -> Option<UserFilter> {
    let at = format!("{at}/where");
    let object = match value {
        None => return Some(UserFilter::default()),
        Some(Value::Object(object)) => object,
        Some(other) => {
            faults.note(at, format!("must be an object, found {}", kind(other)));
            return None;
        }
    };
    let mut filter = UserFilter::default();
    let mut is_valid = true;
    for (name, value) in object {
        let place = match name.as_str() {
            "department" => &mut filter.department,
            "country" => &mut filter.country,
            "officeLocation" => &mut filter.office_location,
            "jobTitle" => &mut filter.job_title,
            _ => {
                let close = suggestion(name, &CONDITIONS);
                faults.note(pointer(&at, name), format!("is not a condition on people{close}"));
                is_valid = false;
                continue;
            }
        };
        match value.as_str().filter(|text| is_text(text)) {
            Some(text) => *place = Some(text.to_owned()),
            None => {
                let detail = format!(
                    "must be a string of 1 to {VALUE_BYTES_MAX} bytes without control characters, found {}",
                    size(value)
                );
                faults.note(pointer(&at, name), detail);
                is_valid = false;
            }
        }
    }
    is_valid.then_some(filter)
}

#[cfg(test)]
mod tests;
