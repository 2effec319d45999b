use super::*;

const URL: &str = "http://127.0.0.1:1/graph";

fn person(id: &str, department: &str, manager: Option<&str>) -> OrganizationMember {
    OrganizationMember {
        id: id.to_owned(),
        mail: format!("{id}@library.example"),
        department: department.to_owned(),
        manager: manager.map(str::to_owned),
        ..OrganizationMember::default()
    }
}

fn group(id: &str, members: &[&str]) -> OrganizationGroup {
    OrganizationGroup {
        id: id.to_owned(),
        mail: format!("{id}@library.example"),
        members: members.iter().map(|id| (*id).to_owned()).collect(),
        is_deleted: false,
    }
}

/// Ada leads Kit and Alan, Kit leads Grace; Alan is disabled and Grace is a guest.
fn tenant() -> Tenant {
    let mut people = vec![
        person("ada", "Maps", None),
        person("kit", "Maps", Some("ada")),
        person("alan", "Keeper's room", Some("ada")),
        person("grace", "Maps", Some("kit")),
    ];
    people[2].is_disabled = true;
    people[3].is_guest = true;
    let organization = Organization {
        people,
        groups: vec![
            group("all", &["ada", "maps"]),
            group("maps", &["kit", "ada", "all", "nobody"]),
        ],
        page_size: None,
        is_forbidden: false,
    };
    Tenant {
        organization,
        ..Tenant::default()
    }
}

fn read(tenant: &Tenant, target: &str) -> Result<Value, u16> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let segments: Vec<&str> = path.trim_start_matches("/v1.0/").split('/').collect();
    let read = DirectoryRead::parse(&segments, target, query).unwrap();
    let answer = read.and_then(|read| read.carry_out(tenant, URL));
    answer
        .map(|answer| answer.body.unwrap())
        .map_err(|refusal| refusal.status)
}

fn ids(answer: &Value) -> Vec<&str> {
    let entries = answer["value"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| entry["id"].as_str().unwrap())
        .collect()
}

#[test]
fn people_are_listed_by_group_filter_and_manager() {
    let tenant = tenant();
    for (target, expected) in [
        (
            "/v1.0/groups/all/transitiveMembers/microsoft.graph.user?$top=999",
            &["ada", "kit", "ada"][..],
        ),
        (
            "/v1.0/users/ada/directReports/microsoft.graph.user",
            &["kit", "alan"],
        ),
        (
            "/v1.0/users/ada/transitiveReports/microsoft.graph.user",
            &["kit", "alan", "grace"],
        ),
        ("/v1.0/users", &["ada", "kit", "alan", "grace"]),
        (
            "/v1.0/users?$filter=accountEnabled%20eq%20true%20and%20userType%20eq%20%27Member%27",
            &["ada", "kit"],
        ),
        (
            "/v1.0/users?$filter=department%20eq%20%27keeper%27%27s%20room%27",
            &["alan"],
        ),
        (
            "/v1.0/users?$filter=mail%20in%20%28%27Kit%40library.example%27%2C%27x%27%29",
            &["kit"],
        ),
        (
            "/v1.0/groups?$filter=mail%20eq%20%27maps%40library.example%27",
            &["maps"],
        ),
        ("/v1.0/groups?$filter=mail%20eq%20%27x%27", &[]),
    ] {
        assert_eq!(ids(&read(&tenant, target).unwrap()), expected, "{target}");
    }
    for (target, status) in [
        ("/v1.0/groups/none/transitiveMembers/microsoft.graph.user", 404),
        ("/v1.0/users/none/directReports/microsoft.graph.user", 404),
        ("/v1.0/users?$filter=shoeSize%20eq%207", 400),
        ("/v1.0/users?$filter=mail%20lt%20%27a%27", 400),
    ] {
        assert_eq!(read(&tenant, target).unwrap_err(), status, "{target}");
    }
}

#[test]
fn pages_follow_each_other_by_their_links() {
    let mut tenant = tenant();
    tenant.organization.page_size = Some(3);
    let first = read(&tenant, "/v1.0/users?$select=id&$top=999").unwrap();
    assert_eq!(ids(&first), ["ada", "kit", "alan"]);
    let link = first["@odata.nextLink"].as_str().unwrap();
    assert_eq!(link, format!("{URL}/v1.0/users?$select=id&$top=999&$skiptoken=3"));
    let second = read(&tenant, link.strip_prefix(URL).unwrap()).unwrap();
    assert_eq!(ids(&second), ["grace"]);
    assert_eq!(second.get("@odata.nextLink"), None);
}

#[test]
fn a_deleted_group_and_a_directory_without_consent_are_refused() {
    let mut tenant = tenant();
    tenant.organization.groups[1].is_deleted = true;
    assert_eq!(
        read(
            &tenant,
            "/v1.0/groups/maps/transitiveMembers/microsoft.graph.user"
        )
        .unwrap_err(),
        404
    );
    tenant.organization.is_forbidden = true;
    assert_eq!(read(&tenant, "/v1.0/users").unwrap_err(), 403);
}
