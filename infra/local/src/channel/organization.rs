//! An invented organization of 2,000 people, in departments and groups.
//!
//! The people of the demo are its first; the ids, names and places of the others follow from their numbers.

use super::{Channel, Person};
use crate::teams::{Organization, OrganizationGroup, OrganizationMember};

/// How many people the organization has.
pub const PEOPLE: usize = 2_000;

/// Every so many people, an account is disabled.
const DISABLED_EVERY: usize = 41;

/// Every so many people, one is a guest.
const GUEST_EVERY: usize = 27;

/// How many people report to one manager.
const REPORTS: usize = 12;

/// The departments, each a group with the mail address of its name.
pub const DEPARTMENTS: [&str; 8] = [
    "Maps",
    "Lending",
    "Reading",
    "Archive",
    "Bindery",
    "Music",
    "Garden",
    "Lighthouse",
];

const COUNTRIES: [&str; 3] = ["NO", "PT", "JP"];
const OFFICES: [&str; 4] = ["North Hall", "South Hall", "Tower", "Annex"];
const TITLES: [&str; 5] = ["Keeper", "Curator", "Porter", "Scribe", "Apprentice"];

const GIVEN: [&str; 25] = [
    "Ansa", "Bero", "Cilo", "Dova", "Elka", "Faro", "Gita", "Hani", "Ilmo", "Jora", "Kesi", "Luma", "Mika",
    "Neli", "Osmo", "Pira", "Quil", "Rina", "Sven", "Tala", "Ulla", "Vero", "Wila", "Yaro", "Zita",
];
const FAMILY: [&str; 20] = [
    "Aspen", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Gorse", "Hazel", "Ivy", "Juniper", "Kauri", "Larch",
    "Maple", "Nutmeg", "Oak", "Pine", "Quince", "Rowan", "Spruce", "Thorn",
];

impl Channel {
    /// Gives the tenant its organization, whose people do not have the bot. `known` are people of the channel, who are in it, too.
    pub fn add_organization(&self, known: &[Person]) {
        let known_members = known.iter().map(|person| member_of(person, known.first()));
        let others = (known.len()..PEOPLE).map(person);
        let mut people: Vec<OrganizationMember> = known_members.collect();
        let mut world = self.shared.lock();
        for (number, person) in (known.len()..).zip(others) {
            let member = member(number, &person, known);
            if !member.is_disabled && !member.is_guest {
                world.teams.register_without_bot(&person);
            }
            people.push(member);
        }
        let tenant = world.teams.tenant(super::TENANT);
        world.teams.tenants[tenant].organization = Organization {
            groups: groups(&people),
            people,
            page_size: None,
            is_forbidden: false,
        };
    }
}

/// The person of this number: `00000000-0000-4000-9000-000000000007`.
fn person(number: usize) -> Person {
    let (given, family) = (
        GIVEN[number % GIVEN.len()],
        FAMILY[number / GIVEN.len() % FAMILY.len()],
    );
    Person {
        name: format!("{given} {family} {number}"),
        id: format!("29:2{number:016}"),
        entra_object_id: format!("00000000-0000-4000-9000-{number:012}"),
    }
}

/// A person of the demo, in the department `Lending`. The first leads the others.
fn member_of(person: &Person, first: Option<&Person>) -> OrganizationMember {
    let manager = first.filter(|first| *first != person);
    OrganizationMember {
        id: person.entra_object_id.clone(),
        mail: mail(&person.name),
        department: DEPARTMENTS[1].to_owned(),
        country: COUNTRIES[0].to_owned(),
        office_location: OFFICES[0].to_owned(),
        job_title: TITLES[0].to_owned(),
        manager: manager.map(|first| first.entra_object_id.clone()),
        ..OrganizationMember::default()
    }
}

/// A person who is not of the demo. Each person has up to [`REPORTS`] people, those with the next numbers.
fn member(number: usize, invented: &Person, known: &[Person]) -> OrganizationMember {
    let above = number / REPORTS;
    let manager = match known.get(above) {
        Some(known) => known.entra_object_id.clone(),
        None => person(above).entra_object_id,
    };
    let address = invented.name.replace(' ', ".");
    OrganizationMember {
        id: invented.entra_object_id.clone(),
        mail: mail(&address),
        department: DEPARTMENTS[number % DEPARTMENTS.len()].to_owned(),
        country: COUNTRIES[number % COUNTRIES.len()].to_owned(),
        office_location: OFFICES[number / DEPARTMENTS.len() % OFFICES.len()].to_owned(),
        job_title: TITLES[number % TITLES.len()].to_owned(),
        manager: Some(manager),
        is_disabled: number.is_multiple_of(DISABLED_EVERY),
        is_guest: number.is_multiple_of(GUEST_EVERY),
    }
}

/// A group for each department, one of the managers, and `all` with these groups in it: managers are listed twice.
fn groups(people: &[OrganizationMember]) -> Vec<OrganizationGroup> {
    let group = |number: usize, name: &str, members: Vec<String>| OrganizationGroup {
        id: format!("00000000-0000-4000-a000-{number:012}"),
        mail: mail(name),
        members,
        is_deleted: false,
    };
    let of_department = |department: &&str| {
        let members = people.iter().filter(|person| person.department == *department);
        members.map(|person| person.id.clone()).collect()
    };
    let departments = (1..).zip(&DEPARTMENTS);
    let mut groups: Vec<OrganizationGroup> = departments
        .map(|(number, department)| group(number, department, of_department(department)))
        .collect();
    let managers = people.iter().take(people.len().div_ceil(REPORTS));
    let managers = managers.map(|person| person.id.clone()).collect();
    groups.push(group(groups.len() + 1, "Managers", managers));
    let all = groups.iter().map(|group| group.id.clone()).collect();
    groups.push(group(groups.len() + 1, "All", all));
    groups
}

fn mail(name: &str) -> String {
    format!("{}@library.example", name.to_lowercase())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_people_are_distinct_and_the_same_each_time() {
        let ids: BTreeSet<String> = (0..PEOPLE).map(|number| person(number).entra_object_id).collect();
        let names: BTreeSet<String> = (0..PEOPLE).map(|number| person(number).name).collect();
        assert_eq!((ids.len(), names.len()), (PEOPLE, PEOPLE));
        assert_eq!(person(7).name, "Hani Aspen 7");
        assert_eq!(person(7).entra_object_id, "00000000-0000-4000-9000-000000000007");
    }

    #[test]
    fn every_manager_is_one_of_the_people_and_nobody_is_their_own() {
        let known = [Person::named("Ada"), Person::named("Noor")];
        let mut ids: BTreeSet<String> = known.iter().map(|known| known.entra_object_id.clone()).collect();
        for number in known.len()..PEOPLE {
            let member = member(number, &person(number), &known);
            assert!(ids.contains(member.manager.as_ref().unwrap()), "{number}");
            ids.insert(member.id);
        }
    }
}
