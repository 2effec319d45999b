//! The directories of tenants: people in groups, which callers address.

use botframework::graph::directory::{UserFilter, UserNameKind};
use herald::audience::{
    DirectoryMiss, DirectoryNameKind, DirectoryPeople, DirectoryTarget, Guests, MissReason, Recipient,
};
use herald_local::teams::{Organization, OrganizationGroup, OrganizationMember, Tenant};

use super::channel::{Kind, State};
use super::fate::Chance;

/// How many groups a tenant has. The first has the second in it, so that some people are listed twice.
const GROUPS: usize = 2;

/// Draws the directory of each tenant: all of its people, on pages of a few.
pub(super) fn draw_directories(channel: &mut State, chance: &Chance) {
    for number in 0..channel.tenants.len() {
        let people = channel
            .places
            .iter()
            .filter(|place| place.kind == Kind::Person && place.tenant == number);
        let people: Vec<OrganizationMember> = people
            .map(|place| OrganizationMember {
                id: place.user.clone(),
                mail: mail_of(&place.user),
                is_disabled: chance.below(8) == 0,
                ..OrganizationMember::default()
            })
            .collect();
        let tenant = &mut channel.tenants[number];
        let groups = (0..GROUPS).map(|index| {
            let members = people.iter().filter(|_| chance.below(2) == 0);
            let mut members: Vec<String> = members.map(|person| person.id.clone()).collect();
            members.extend((index == 0).then(|| group_of(&tenant.id, 1)));
            let id = group_of(&tenant.id, index);
            OrganizationGroup {
                mail: mail_of(&id),
                id,
                members,
                is_deleted: false,
            }
        });
        tenant.organization = Organization {
            groups: groups.collect(),
            people,
            page_size: Some(1 + chance.index(6)),
            is_forbidden: chance.below(8) == 0,
        };
    }
}

fn group_of(tenant: &str, index: usize) -> String {
    format!("group{index}-of-{tenant}")
}

fn mail_of(id: &str) -> String {
    format!("{id}@library.example")
}

/// People of a directory, drawn from the seed.
pub(super) fn directory_target(channel: &State, chance: &Chance) -> DirectoryTarget {
    let tenant = &channel.tenants[chance.index(channel.tenants.len())];
    let group = match chance.below(8) {
        0 => "nogroup".to_owned(),
        drawn => group_of(&tenant.id, usize::from(drawn % 2 == 0)),
    };
    let (people, guests) = match chance.below(6) {
        0 | 1 => (DirectoryPeople::Group(group), Guests::Included),
        2 => (DirectoryPeople::Group(mail_of(&group)), Guests::Included),
        3 => {
            let members_only = true;
            let filter = UserFilter {
                members_only,
                ..UserFilter::default()
            };
            (DirectoryPeople::Organization(filter), Guests::Skipped)
        }
        _ => {
            let people = &tenant.organization.people;
            let mut mails: Vec<String> = people.iter().map(|person| person.mail.clone()).collect();
            mails.retain(|_| chance.below(2) == 0);
            mails.push(mail_of("nobody"));
            (
                DirectoryPeople::Named(UserNameKind::Mail, mails),
                Guests::Included,
            )
        }
    };
    DirectoryTarget {
        tenant: Some(tenant.id.clone()),
        people,
        guests,
    }
}

/// Deletes the first group of a tenant.
pub(super) fn delete_group(channel: &mut State, tenant: usize) {
    channel.tenants[tenant].organization.groups[0].is_deleted = true;
}

fn tenant_of<'a>(channel: &'a State, target: &DirectoryTarget) -> Option<&'a Tenant> {
    let id = target.tenant.as_deref()?;
    channel.tenants.iter().find(|tenant| tenant.id == id)
}

/// Whether the selector means this place. Directories do not change, but groups are deleted: then it means those who were in it.
pub(super) fn directory_means(channel: &State, target: &DirectoryTarget, number: usize) -> bool {
    let place = &channel.places[number];
    place.kind == Kind::Person && means_person(channel, target, &place.user)
}

fn means_person(channel: &State, target: &DirectoryTarget, id: &str) -> bool {
    let Some(tenant) = tenant_of(channel, target) else {
        return false;
    };
    let mut organization = tenant.organization.clone();
    for group in &mut organization.groups {
        group.is_deleted = false;
    }
    let person = organization.people.iter().find(|person| person.id == id);
    let Some(person) = person.filter(|person| !person.is_disabled) else {
        return false;
    };
    match &target.people {
        DirectoryPeople::Group(name) => {
            let mut groups = organization.groups.iter();
            let group = groups.find(|group| group.id == *name || group.mail == *name);
            let members = group.and_then(|group| organization.members(&group.id).ok());
            members.is_some_and(|members| members.iter().any(|member| member.id == id))
        }
        DirectoryPeople::Organization(_) => true,
        DirectoryPeople::Named(_, names) => names.contains(&person.mail),
        DirectoryPeople::Reports(..) => unreachable!("no caller of a run asks for these"),
    }
}

/// Whether the selector names a recipient without a known conversation.
pub(super) fn directory_names(channel: &State, target: &DirectoryTarget, unknown: &Recipient) -> bool {
    match unknown {
        Recipient::User(id) => means_person(channel, target, id.as_str()),
        Recipient::Missed(miss) => is_of(miss, target),
        Recipient::Conversation(_) | Recipient::Account(_) | Recipient::UnknownConversation(_) => false,
    }
}

fn is_of(miss: &DirectoryMiss, target: &DirectoryTarget) -> bool {
    let is_named = match &target.people {
        DirectoryPeople::Named(_, names) => names.contains(&miss.name),
        DirectoryPeople::Group(_) | DirectoryPeople::Organization(_) | DirectoryPeople::Reports(..) => {
            target.miss(miss.reason).name == miss.name
        }
    };
    is_named && miss.kind == target.kind()
}

/// Whether the selector stands in the audience instead of its people, or of some of them.
pub(super) fn is_missed<'a>(
    target: &DirectoryTarget,
    mut recipients: impl Iterator<Item = &'a Recipient>,
) -> bool {
    recipients.any(|recipient| match recipient {
        Recipient::Missed(miss) => is_of(miss, target) && is_whole(miss.reason),
        _ => false,
    })
}

/// Whether the reason is about the group, the tenant or the directory, and not about one person.
fn is_whole(reason: MissReason) -> bool {
    match reason {
        MissReason::NoSuchGroup
        | MissReason::Forbidden
        | MissReason::TenantUnknown
        | MissReason::Unavailable => true,
        MissReason::NoSuchPerson | MissReason::AccountDisabled | MissReason::Guest => false,
    }
}

/// Whether the reason is true of the directory; `None` if it is about time.
pub(super) fn is_true_miss(channel: &State, miss: &DirectoryMiss) -> Option<bool> {
    let mut organizations = channel.tenants.iter().map(|tenant| &tenant.organization);
    let mut people = channel
        .tenants
        .iter()
        .flat_map(|tenant| &tenant.organization.people);
    Some(match miss.reason {
        MissReason::NoSuchPerson => {
            miss.kind == DirectoryNameKind::Mail && people.all(|person| person.mail != miss.name)
        }
        MissReason::AccountDisabled => people.any(|person| person.mail == miss.name && person.is_disabled),
        MissReason::NoSuchGroup => organizations.all(|organization| {
            let is_meant = |group: &OrganizationGroup| group.id == miss.name || group.mail == miss.name;
            let mut groups = organization.groups.iter();
            !groups.any(|group| is_meant(group) && !group.is_deleted)
        }),
        MissReason::Forbidden => channel
            .tenants
            .iter()
            .any(|tenant| tenant.organization.is_forbidden || tenant.lacks_consent),
        MissReason::Guest | MissReason::TenantUnknown => false,
        MissReason::Unavailable => return None,
    })
}
