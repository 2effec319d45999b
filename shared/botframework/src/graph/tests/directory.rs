//! People of a tenant: every answer that Graph documents, and links that lead elsewhere.

use percent_encoding::percent_decode_str;

use super::super::directory::{DirectoryUser, PageLink, PeopleQuery, ReportDepth, UserFilter, UserNameKind};
use super::*;
use crate::http::RetryAfter;

const NEXT: &str =
    "https://graph.microsoft.com/v1.0/groups/g-1/transitiveMembers/microsoft.graph.user?$skiptoken=x%3D1";

fn members() -> PeopleQuery {
    PeopleQuery::Members("g-1".into())
}

/// A page of these people, with a link to the next.
fn page(ids: &[&str], next: Option<&str>) -> String {
    let users: Vec<Value> = ids
        .iter()
        .map(|id| json!({"id": id, "accountEnabled": true}))
        .collect();
    let mut page = json!({"value": users});
    if let Some(next) = next {
        page["@odata.nextLink"] = next.into();
    }
    page.to_string()
}

fn ids(users: &[DirectoryUser]) -> Vec<&str> {
    users.iter().map(|user| user.id.as_str()).collect()
}

/// Method, and path with its query, decoded.
fn target(asked: &Asked) -> String {
    let line = asked.line.replace("https://graph.microsoft.com", "");
    percent_decode_str(&line).decode_utf8().unwrap().into_owned()
}

#[test]
fn every_query_has_its_address_and_asks_for_nothing_that_it_does_not_need() {
    let filter = UserFilter {
        members_only: true,
        department: Some("Maps & Atlases".to_owned()),
        job_title: Some("Keeper's aide".to_owned()),
        ..UserFilter::default()
    };
    let rest = "$select=id,accountEnabled,userType&$top=999&$count=true";
    for (query, asked) in [
        (
            members(),
            format!("/v1.0/groups/g-1/transitiveMembers/microsoft.graph.user?{rest}"),
        ),
        (
            PeopleQuery::Reports("u-1".into(), ReportDepth::Direct),
            format!("/v1.0/users/u-1/directReports/microsoft.graph.user?{rest}"),
        ),
        (
            PeopleQuery::Reports("u-1".into(), ReportDepth::Transitive),
            format!("/v1.0/users/u-1/transitiveReports/microsoft.graph.user?{rest}"),
        ),
        (
            PeopleQuery::Users(UserFilter::default()),
            format!("/v1.0/users?$filter=accountEnabled eq true&{rest}"),
        ),
        (
            PeopleQuery::Users(filter),
            format!(
                "/v1.0/users?$filter=accountEnabled eq true and userType eq 'Member' and department eq 'Maps & Atlases' and \
                 jobTitle eq 'Keeper''s aide'&{rest}"
            ),
        ),
    ] {
        let sky = Sky::always(200, "", page(&["u"], None));
        let found = run(sky.graph().people(&query, None)).unwrap();
        assert_eq!(ids(&found.users), ["u"]);
        assert_eq!(found.next, None);
        let [request] = <[Asked; 1]>::try_from(sky.asked()).unwrap();
        assert_eq!(target(&request), format!("GET {asked}"));
        assert_eq!(request.consistency.as_deref(), Some("eventual"));
        assert_eq!(request.authorization, sky.asked()[0].authorization);
    }
}

#[test]
fn pages_follow_each_other_and_a_link_can_be_kept_meanwhile() {
    let sky = Sky::answering(|number| match number {
        1 => (200, "", page(&["a", "b"], Some(NEXT))),
        2 => (200, "", page(&[], Some(NEXT))),
        _ => (200, "", page(&["b", "c"], None)),
    });
    let graph = sky.graph();
    let first = run(graph.people(&members(), None)).unwrap();
    let kept = serde_json::to_string(&first.next.unwrap()).unwrap();
    assert!(!kept.contains("microsoft.com"), "{kept}");
    let kept: PageLink = serde_json::from_str(&kept).unwrap();
    let second = run(graph.people(&members(), Some(&kept))).unwrap();
    assert_eq!(
        ids(&second.users),
        Vec::<&str>::new(),
        "an empty page is not the last"
    );
    let third = run(graph.people(&members(), second.next.as_ref())).unwrap();
    assert_eq!(ids(&third.users), ["b", "c"], "a person may be on two pages");
    assert_eq!(third.next, None);
    for asked in &sky.asked()[1..] {
        assert_eq!(asked.line, format!("GET {NEXT}"));
        assert_eq!(asked.consistency.as_deref(), Some("eventual"));
    }
}

#[test]
fn a_link_to_another_host_is_refused_and_the_token_stays_here() {
    let long = format!(
        "https://graph.microsoft.com/v1.0/users?$skiptoken={}",
        "x".repeat(9000)
    );
    for link in [
        "https://graph.microsoft.com.evil.example/v1.0/users",
        "https://evil.example/v1.0/users",
        "http://graph.microsoft.com/v1.0/users",
        "https://graph.microsoft.com:444/v1.0/users",
        "https://graph.microsoft.com@evil.example/v1.0/users",
        "https://graph.microsoft.com/beta/users",
        "//evil.example/v1.0/users",
        "/v1.0/users",
        "https://graph.microsoft.com\\@evil.example/v1.0/users",
        "",
        &long,
    ] {
        let sky = Sky::always(200, "", page(&["a"], Some(link)));
        let error = run(sky.graph().people(&members(), None)).unwrap_err();
        assert_eq!(error.reason(), Reason::NoResponse, "{link}");
        assert_eq!(sky.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_stand_in_has_its_links_under_its_own_path() {
    let server = serve(vec![
        Act::Say(answer("200 OK", &page(&["a"], None))),
        Act::Say(answer("200 OK", &page(&["b"], None))),
    ])
    .await;
    let transport = HttpTransport::builder().build().unwrap();
    let graph = Graph::unauthenticated(transport, &server.url).unwrap();
    let link = PageLink::read(&format!("{}v1.0/users?$skiptoken=1", server.url), &graph.url).unwrap();
    assert!(PageLink::read(&server.url.replace("/base/", "/v1.0/users"), &graph.url).is_err());
    graph.people(&members(), None).await.unwrap();
    graph.people(&members(), Some(&link)).await.unwrap();
    assert_eq!(server.lines()[1], "GET /base/v1.0/users?$skiptoken=1");
}

#[test]
fn every_refusal_has_its_reason() {
    let denied = r#"{"error":{"code":"Authorization_RequestDenied","message":"Insufficient privileges to complete the operation."}}"#;
    let gone = r#"{"error":{"code":"Request_ResourceNotFound","message":"Resource does not exist."}}"#;
    let unsupported = r#"{"error":{"code":"Request_UnsupportedQuery"}}"#;
    for (status, headers, body, reason, class) in [
        (403, "", denied, Reason::NotConsented, Class::Tenant),
        (403, "", "{}", Reason::NotAllowed, Class::Target),
        (404, "", gone, Reason::NotFound, Class::Target),
        (429, "Retry-After: 17", "{}", Reason::Throttled, Class::Later),
        (503, "Retry-After: 17", "{}", Reason::ServerError, Class::Later),
        (504, "", "", Reason::ServerError, Class::Later),
        (400, "", unsupported, Reason::Refused, Class::Rejected),
        (200, "", r#"{"value":7}"#, Reason::NoResponse, Class::Later),
        (200, "", "[]", Reason::NoResponse, Class::Later),
    ] {
        let graph = Sky::always(status, headers, body).graph();
        let link = PageLink::read(NEXT, &graph.url).unwrap();
        let errors = [
            run(graph.people(&members(), None)).unwrap_err(),
            run(graph.people(&members(), Some(&link))).unwrap_err(),
            run(graph.group_by_mail("maps@library.example")).unwrap_err(),
            run(graph.users_by_name(UserNameKind::Mail, &["ada@library.example"])).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(
                (error.reason(), error.class()),
                (reason, class),
                "{status} {body}"
            );
            if headers.is_empty() {
                continue;
            }
            let wait = RetryAfter::Delay(Duration::from_secs(17));
            assert_eq!(error.retry_after(), Some(wait), "{status}");
        }
    }
    assert_eq!(members().permission(), "GroupMember.Read.All");
    assert_eq!(
        PeopleQuery::Users(UserFilter::default()).permission(),
        "User.Read.All"
    );
}

#[test]
fn what_an_application_may_not_read_is_unknown_and_no_entry_spoils_a_page() {
    let body = json!({"value": [
        {"@odata.type": "#microsoft.graph.user", "id": "a", "accountEnabled": null, "userType": null},
        {"id": "b", "accountEnabled": false, "userType": "Guest"},
        {"id": ""}, {"displayName": "c"}, null, {"id": 7}, {"id": "d", "userType": "Member", "accountEnabled": true},
    ]});
    let graph = Sky::always(200, "", body.to_string()).graph();
    let users = run(graph.people(&members(), None)).unwrap().users;
    let said: Vec<_> = users
        .iter()
        .map(|user| (user.id.as_str(), user.is_disabled(), user.is_guest()))
        .collect();
    assert_eq!(
        said,
        [("a", false, false), ("b", true, true), ("d", false, false)]
    );
}

#[test]
fn people_are_looked_up_by_fifteen_names_at_a_time() {
    let body = json!({"value": [{"id": "u", "mail": "Ada@library.example", "userPrincipalName": "ada@library.example"}]});
    let sky = Sky::always(200, "", body.to_string());
    let graph = sky.graph();
    let found = run(graph.users_by_name(
        UserNameKind::Mail,
        &["ada@library.example", "o'hara@library.example"],
    ));
    assert_eq!(found.unwrap()[0].mail.as_deref(), Some("Ada@library.example"));
    run(graph.users_by_name(UserNameKind::UserPrincipalName, &["ada@library.example"])).unwrap();
    assert_eq!(run(graph.users_by_name(UserNameKind::Mail, &[])).unwrap(), []);
    let names = vec!["x"; limits::FILTER_VALUES + 1];
    let error = run(graph.users_by_name(UserNameKind::Mail, &names)).unwrap_err();
    assert_eq!(error.class(), Class::Rejected);
    let select = "$select=id,accountEnabled,userType,mail,userPrincipalName";
    assert_eq!(
        sky.asked().iter().map(target).collect::<Vec<_>>(),
        [
            format!(
                "GET /v1.0/users?$filter=mail in ('ada@library.example','o''hara@library.example')&{select}"
            ),
            format!("GET /v1.0/users?$filter=userPrincipalName in ('ada@library.example')&{select}"),
        ]
    );
}

#[test]
fn names_are_found_on_further_pages_too_and_never_without_end() {
    let sky = Sky::answering(|number| match number {
        1 => (200, "", page(&["a"], Some(NEXT))),
        _ => (200, "", page(&["b"], None)),
    });
    let found = run(sky
        .graph()
        .users_by_name(UserNameKind::Mail, &["a@b.example", "b@b.example"]));
    assert_eq!(ids(&found.unwrap()), ["a", "b"]);
    let endless = Sky::always(200, "", page(&[], Some(NEXT)));
    run(endless
        .graph()
        .users_by_name(UserNameKind::Mail, &["a@b.example"]))
    .unwrap();
    assert_eq!(endless.asked().len(), limits::FILTER_VALUES + 1);
}

#[test]
fn a_group_has_its_address_or_there_is_none() {
    let sky = Sky::always(200, "", r#"{"value":[{"id":"g-1"}]}"#);
    let group = run(sky.graph().group_by_mail("maps@library.example")).unwrap();
    assert_eq!(group, Some("g-1".into()));
    assert_eq!(
        target(&sky.asked()[0]),
        "GET /v1.0/groups?$filter=mail eq 'maps@library.example'&$select=id"
    );
    let none = Sky::always(200, "", r#"{"value":[]}"#).graph();
    assert_eq!(run(none.group_by_mail("maps@library.example")).unwrap(), None);
    let odd = Sky::always(200, "", r#"{"value":[{"id":""}]}"#).graph();
    assert_eq!(
        run(odd.group_by_mail("x")).unwrap_err().reason(),
        Reason::NoResponse
    );
}
