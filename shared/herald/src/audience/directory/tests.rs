use serde_json::json;

use super::*;
use crate::audience::{Audience, Target};
use crate::problem::Fault;

fn parse(value: &Value) -> Result<Audience, Vec<Fault>> {
    let mut faults = Faults::default();
    let audience = Audience::parse(value, &mut faults);
    faults.none_in(audience)
}

fn directory(value: &Value) -> DirectoryTarget {
    let [selector] = <[_; 1]>::try_from(parse(value).unwrap().0).unwrap();
    match selector.target {
        Target::Directory(target) => target,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_selector_of_a_directory_is_read() {
    let group = directory(&json!({"group": "A0000000-0000-4000-8000-00000000000A", "tenant": "t"}));
    assert_eq!(group.tenant.as_deref(), Some("t"));
    assert_eq!(
        group.people,
        DirectoryPeople::Group("a0000000-0000-4000-8000-00000000000a".to_owned())
    );
    assert_eq!(group.guests, Guests::Included);
    let by_mail = directory(&json!({"group": "Maps@Library.example"}));
    assert_eq!(
        (by_mail.tenant, by_mail.people),
        (None, DirectoryPeople::Group("maps@library.example".to_owned()))
    );

    let all = directory(&json!({"directory": "t"}));
    assert_eq!((all.tenant.as_deref(), all.guests), (Some("t"), Guests::Skipped));
    let DirectoryPeople::Organization(filter) = all.people else {
        panic!("{all:?}");
    };
    assert!(filter.members_only);
    let some = directory(&json!({"directory": "t", "guests": true,
        "where": {"department": "Maps", "country": "NO", "officeLocation": "Hall 2", "jobTitle": "Keeper"}}));
    assert_eq!(
        some.people,
        DirectoryPeople::Organization(UserFilter {
            members_only: false,
            department: Some("Maps".to_owned()),
            country: Some("NO".to_owned()),
            office_location: Some("Hall 2".to_owned()),
            job_title: Some("Keeper".to_owned()),
        })
    );

    let mails =
        directory(&json!({"mails": ["Ada@library.example", "ada@LIBRARY.example", "b@library.example"]}));
    let names = vec!["ada@library.example".to_owned(), "b@library.example".to_owned()];
    assert_eq!(mails.people, DirectoryPeople::Named(UserNameKind::Mail, names));
    let upns = directory(&json!({"upns": ["ada@library.example"], "guests": false}));
    assert_eq!(upns.guests, Guests::Skipped);
    let team = directory(&json!({"manager": "m", "transitive": true}));
    assert_eq!(
        team.people,
        DirectoryPeople::Reports("m".into(), ReportDepth::Transitive)
    );
}

#[test]
fn a_fault_names_its_place() {
    for (audience, pointer) in [
        (json!({"group": ""}), "#/audience/group"),
        (json!({"group": 7}), "#/audience/group"),
        (json!({"group": "x".repeat(257)}), "#/audience/group"),
        (json!({"group": "a", "to": "members"}), "#/audience/to"),
        (json!({"group": "a", "tenant": ""}), "#/audience/tenant"),
        (json!({"group": "a", "guests": "no"}), "#/audience/guests"),
        (json!({"directory": true}), "#/audience/directory"),
        (json!({"directory": "t", "tenant": "t"}), "#/audience"),
        (json!({"directory": "t", "where": []}), "#/audience/where"),
        (
            json!({"directory": "t", "where": {"departement": "x"}}),
            "#/audience/where/departement",
        ),
        (
            json!({"directory": "t", "where": {"department": ""}}),
            "#/audience/where/department",
        ),
        (
            json!({"directory": "t", "where": {"a/b": "x"}}),
            "#/audience/where/a~1b",
        ),
        (json!({"group": "a", "where": {}}), "#/audience/where"),
        (json!({"mails": []}), "#/audience/mails"),
        (json!({"mails": ["a@b", "ada"]}), "#/audience/mails/1"),
        (json!({"mails": ["@b"]}), "#/audience/mails/0"),
        (json!({"upns": "a@b"}), "#/audience/upns"),
        (json!({"manager": "m", "transitive": 1}), "#/audience/transitive"),
        (json!({"manager": ["m"]}), "#/audience/manager"),
        (json!({"group": "a", "mails": ["a@b"]}), "#/audience"),
        (json!({"grup": "a"}), "#/audience/grup"),
    ] {
        let faults = parse(&audience).unwrap_err();
        assert_eq!(faults[0].pointer, pointer, "{audience}: {faults:?}");
    }
    let faults = parse(&json!({"directory": "t", "where": {"departement": "x"}})).unwrap_err();
    assert!(
        faults[0].detail.contains("did you mean `department`?"),
        "{faults:?}"
    );
}

#[test]
fn no_fault_repeats_an_address() {
    let faults = parse(&json!({"mails": ["secret-word", "secret-word@"]})).unwrap_err();
    assert_eq!(faults.len(), 2);
    assert!(faults.iter().all(|fault| !fault.detail.contains("secret-word")));
}

#[test]
fn a_selector_is_shown_as_it_was_asked_for_and_stored_as_it_is() {
    for asked in [
        json!({"group": "g", "tenant": "t", "guests": false}),
        json!({"group": "maps@library.example"}),
        json!({"directory": "t"}),
        json!({"directory": "t", "where": {"department": "Maps", "jobTitle": "Keeper"}, "guests": true}),
        json!({"mails": ["a@b"], "tenant": "t", "except": ["u"]}),
        json!({"upns": ["a@b"], "scope": "personal"}),
        json!({"manager": "m", "transitive": true}),
        json!({"manager": "m", "tenant": "t"}),
    ] {
        let audience = parse(&asked).unwrap();
        assert_eq!(audience.to_request(), asked);
        let stored = serde_json::to_string(&audience).unwrap();
        assert_eq!(serde_json::from_str::<Audience>(&stored).unwrap(), audience);
    }
}

#[test]
fn a_miss_names_what_the_caller_wrote() {
    for (audience, kind, name, permission) in [
        (json!({"group": "g"}), "group", "g", "GroupMember.Read.All"),
        (json!({"directory": "t"}), "directory", "t", "User.Read.All"),
        (json!({"mails": ["a@b", "c@d"]}), "mail", "a@b", "User.Read.All"),
        (json!({"upns": ["a@b"]}), "upn", "a@b", "User.Read.All"),
        (json!({"manager": "m"}), "manager", "m", "User.Read.All"),
    ] {
        let miss = directory(&audience).miss(MissReason::Forbidden);
        assert_eq!((miss.kind.as_str(), &*miss.name), (kind, name));
        assert_eq!(miss.kind.permission(), permission);
    }
}
