//! Audiences that only a tenant's directory knows: groups, the whole organization, addresses, reports.

use botframework::activity::Activity;
use herald::audience::{DirectoryMiss, DirectoryNameKind, MissReason, Recipient};
use herald::conversation::Observation;
use herald::delivery::{Outcome, SkipReason, State};
use herald::id::NotificationId;
use herald::notification::Notification;
use herald::store::Conversations;
use herald_local::teams::{Organization, OrganizationGroup, OrganizationMember};
use serde_json::{Value, json};
use tests::channel::Reply;
use tests::graph::Graph;

use crate::world::{World, document, get, personal, post, text};

const TENANT: &str = "tenant-1";
const MEMBERS_OF_ALL: &str = "GET /v1.0/groups/all/transitiveMembers/microsoft.graph.user";

/// A person of the directory; the number is of the order of the ids.
fn person(number: usize) -> OrganizationMember {
    OrganizationMember {
        id: entra(number),
        mail: format!("{number}@library.example"),
        department: if number.is_multiple_of(2) {
            "Maps"
        } else {
            "Lending"
        }
        .to_owned(),
        manager: (number > 0).then(|| entra(number / 10)),
        ..OrganizationMember::default()
    }
}

fn entra(number: usize) -> String {
    format!("entra-{number:04}")
}

fn group(id: &str, members: impl IntoIterator<Item = String>) -> OrganizationGroup {
    OrganizationGroup {
        id: id.to_owned(),
        mail: format!("{id}@library.example"),
        members: members.into_iter().collect(),
        is_deleted: false,
    }
}

/// So many people. All of them are in the group `all`, the even ones in `maps`, which is in `all`.
fn organization(people: usize) -> Organization {
    let maps = (0..people).step_by(2).map(entra);
    let all = (0..people).map(entra).chain(["maps".to_owned()]);
    Organization {
        people: (0..people).map(person).collect(),
        groups: vec![group("all", all), group("maps", maps)],
        page_size: None,
        is_forbidden: false,
    }
}

/// A world whose bot knows the people with these numbers.
async fn world(organization: Organization, known: &[usize]) -> (World, Graph) {
    let mut world = World::new();
    let graph = world.opens_graph();
    graph.has_organization(TENANT, organization);
    for number in known {
        let activity = Activity::from_value(personal(&format!("{number:04}"), "message")).unwrap();
        for observation in Observation::from_activity(&activity) {
            world.store.remember(observation, world.now()).await.unwrap();
        }
    }
    (world, graph)
}

fn to(audience: &Value) -> Value {
    json!({"audience": audience, "message": {"text": "news"}, "ifNoConversation": "create"})
}

fn to_group(name: &str) -> Value {
    to(&json!({"group": name, "tenant": TENANT}))
}

async fn done(world: &World, body: &Value) -> (NotificationId, Notification) {
    let id = world.asks(body).await;
    world.work().await;
    let done = world.notification(&id).await;
    assert!(done.completed_at.is_some(), "{done:?}");
    (id, done)
}

/// How many people got a message, and how many of them more than one.
fn told(world: &World, people: usize) -> (usize, usize) {
    let counts = (0..people).map(|number| world.channel.count(&format!("a:{number:04}")));
    let counts: Vec<usize> = counts.filter(|count| *count > 0).collect();
    (counts.len(), counts.iter().filter(|count| **count > 1).count())
}

async fn reason(world: &World, id: &NotificationId, miss: &DirectoryMiss) -> SkipReason {
    match world.row(id, &Recipient::Missed(miss.clone())).await.state {
        State::Settled(Outcome::Skipped { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

fn miss(kind: DirectoryNameKind, name: &str, reason: MissReason) -> DirectoryMiss {
    let name = name.to_owned();
    DirectoryMiss { kind, name, reason }
}

async fn asked_of(world: &World, id: &NotificationId, what: &str) -> Value {
    document(&world.notify(get(&format!("/api/notifications/{id}{what}"))).await)
}

fn lines(graph: &Graph) -> Vec<String> {
    graph.asked().into_iter().map(|asked| asked.line).collect()
}

fn reply(status: u16, code: &'static str) -> Reply {
    Reply {
        status,
        code,
        ..Reply::default()
    }
}

#[tokio::test(start_paused = true)]
async fn everyone_of_a_group_is_told_once_also_who_is_listed_twice() {
    let mut people = organization(250);
    people.page_size = Some(120);
    people.people[3].is_disabled = true;
    people.people[5].is_guest = true;
    let (world, graph) = world(people, &[0, 1, 2]).await;
    let (_, done) = done(&world, &to_group("all")).await;
    assert_eq!((done.audience, done.counts.delivered), (249, 249));
    assert_eq!(told(&world, 250), (249, 0));
    // 375 entries on pages of 120, each read once although a page of the plan has 96 recipients.
    assert_eq!(lines(&graph), [MEMBERS_OF_ALL; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_page_of_graph_holds_999_people_and_is_read_once() {
    let (world, graph) = world(organization(1998), &[0]).await;
    let all = json!({"directory": TENANT});
    let (_, done) = done(&world, &to(&all)).await;
    assert_eq!(done.counts.delivered, 1998);
    assert_eq!(told(&world, 1998), (1998, 0));
    assert_eq!(lines(&graph), ["GET /v1.0/users"; 2]);
}

#[tokio::test(start_paused = true)]
async fn selectors_of_a_directory_unite_and_exclude_like_others() {
    let (world, _graph) = world(organization(60), &[0, 7]).await;
    let union = json!([
        {"group": "maps", "tenant": TENANT}, {"group": "all", "tenant": TENANT, "except": [entra(1), entra(7)]},
        {"users": [entra(2), entra(3)], "tenant": TENANT}, {"mails": ["4@library.example"], "tenant": TENANT},
    ]);
    let (_, done) = done(&world, &to(&union)).await;
    assert_eq!(done.counts.delivered, 58);
    assert_eq!(told(&world, 60), (58, 0));
    assert_eq!(world.channel.count("a:0001") + world.channel.count("a:0007"), 0);
}

#[tokio::test(start_paused = true)]
async fn conditions_guests_and_managers_choose_people() {
    let mut people = organization(40);
    people.people[4].is_guest = true;
    people.people[6].is_disabled = true;
    for (audience, expected) in [
        (json!({"directory": TENANT}), 38),
        (json!({"directory": TENANT, "guests": true}), 39),
        (json!({"directory": TENANT, "where": {"department": "Maps"}}), 18),
        (
            json!({"directory": TENANT, "where": {"department": "Maps", "country": "NO"}}),
            0,
        ),
        (json!({"group": "maps", "tenant": TENANT}), 19),
        (json!({"group": "MAPS@library.example", "tenant": TENANT}), 19),
        (json!({"group": "maps", "tenant": TENANT, "guests": false}), 18),
        (json!({"manager": entra(1), "tenant": TENANT}), 10),
        (
            json!({"manager": entra(0), "tenant": TENANT, "transitive": true}),
            38,
        ),
        (
            json!({"upns": ["1@library.example", "9@library.example"], "tenant": TENANT}),
            2,
        ),
    ] {
        let (world, _graph) = world(people.clone(), &[]).await;
        let (_, done) = done(&world, &with_bot(&audience)).await;
        assert_eq!(done.audience, expected, "{audience}");
    }
}

/// No conversation names the bot here, so it could create none: the deliveries are skipped.
fn with_bot(audience: &Value) -> Value {
    let mut body = to(audience);
    body["ifNoConversation"] = json!("skip");
    body
}

#[tokio::test(start_paused = true)]
async fn each_address_is_a_recipient_and_says_why_it_leads_to_nobody() {
    let mut people = organization(100);
    people.people[1].is_disabled = true;
    people.people[2].is_guest = true;
    let (world, graph) = world(people, &[0]).await;
    let mut mails: Vec<String> = (0..100)
        .map(|number| format!("{number}@library.example"))
        .collect();
    mails.push("nobody@library.example".to_owned());
    mails.push("NOBODY@library.example".to_owned());
    let audience =
        json!({"mails": mails, "tenant": TENANT, "guests": false, "except": ["99@library.example"]});
    let (id, done) = done(&world, &to(&audience)).await;
    assert_eq!(
        (done.audience, done.counts.delivered, done.counts.skipped),
        (100, 97, 3)
    );
    // Fifteen addresses in each request.
    assert_eq!(lines(&graph), ["GET /v1.0/users"; 8]);
    for (name, missed, expected) in [
        ("nobody", MissReason::NoSuchPerson, SkipReason::NoSuchPerson),
        ("1", MissReason::AccountDisabled, SkipReason::AccountDisabled),
        ("2", MissReason::Guest, SkipReason::Guest),
    ] {
        let name = format!("{name}@library.example");
        let miss = miss(DirectoryNameKind::Mail, &name, missed);
        assert_eq!(reason(&world, &id, &miss).await, expected);
    }
    let report = asked_of(&world, &id, "/deliveries?state=skipped").await;
    let listed = report["deliveries"].as_array().unwrap();
    let nobody = listed
        .iter()
        .find(|it| it["mail"] == "nobody@library.example")
        .unwrap();
    assert_eq!(nobody["reason"], "noSuchPerson", "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_named_with_its_tenant() {
    let mut people = organization(10);
    people.is_forbidden = true;
    let (world, _graph) = world(people, &[0]).await;
    let (id, done) = done(&world, &to_group("all")).await;
    assert_eq!(
        (done.audience, done.counts.skipped, done.unreachable.directory),
        (1, 1, 1)
    );
    let miss = miss(DirectoryNameKind::Group, "all", MissReason::Forbidden);
    assert_eq!(reason(&world, &id, &miss).await, SkipReason::DirectoryForbidden);
    let status = asked_of(&world, &id, "").await;
    let warning = &status["warnings"][0];
    assert_eq!(
        (&warning["code"], &warning["pointer"]),
        (&json!("directoryRefused"), &json!("#/audience"))
    );
    let detail = warning["detail"].as_str().unwrap();
    assert!(
        detail.contains("GroupMember.Read.All in tenant tenant-1"),
        "{detail}"
    );
    let report = asked_of(&world, &id, "/deliveries").await;
    let delivery = &report["deliveries"][0];
    assert_eq!(
        (&delivery["group"], &delivery["reason"]),
        (&json!("all"), &json!("directoryForbidden"))
    );
    assert!(
        delivery["detail"]
            .as_str()
            .unwrap()
            .contains("GroupMember.Read.All"),
        "{delivery}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_gives_the_bot_no_token_is_forbidden_and_every_address_says_so() {
    let (world, graph) = world(organization(10), &[0]).await;
    graph.gives_no_token(TENANT, 700_016);
    let audience = json!({"mails": ["0@library.example", "1@library.example"], "tenant": TENANT});
    let (id, done) = done(&world, &to(&audience)).await;
    assert_eq!((done.audience, done.counts.skipped), (2, 2));
    for name in ["0@library.example", "1@library.example"] {
        let miss = miss(DirectoryNameKind::Mail, name, MissReason::Forbidden);
        assert_eq!(reason(&world, &id, &miss).await, SkipReason::DirectoryForbidden);
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_is_reported_as_missing() {
    let (world, _graph) = world(organization(10), &[0]).await;
    for (audience, kind, name, missed, expected) in [
        (
            json!({"group": "none", "tenant": TENANT}),
            DirectoryNameKind::Group,
            "none",
            MissReason::NoSuchGroup,
            SkipReason::NoSuchGroup,
        ),
        (
            json!({"group": "none@x.example", "tenant": TENANT}),
            DirectoryNameKind::Group,
            "none@x.example",
            MissReason::NoSuchGroup,
            SkipReason::NoSuchGroup,
        ),
        (
            json!({"manager": "none", "tenant": TENANT}),
            DirectoryNameKind::Manager,
            "none",
            MissReason::NoSuchPerson,
            SkipReason::NoSuchPerson,
        ),
        (
            json!({"group": "all"}),
            DirectoryNameKind::Group,
            "all",
            MissReason::TenantUnknown,
            SkipReason::TenantUnknown,
        ),
    ] {
        let (id, done) = done(&world, &to(&audience)).await;
        assert_eq!((done.audience, done.counts.skipped), (1, 1), "{audience}");
        assert_eq!(
            reason(&world, &id, &miss(kind, name, missed)).await,
            expected,
            "{audience}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_read_before_a_group_was_deleted_is_told() {
    let mut people = organization(200);
    people.page_size = Some(100);
    let (world, graph) = world(people, &[0]).await;
    graph.replies("all", [reply(200, ""), reply(404, "Request_ResourceNotFound")]);
    let (id, done) = done(&world, &to_group("all")).await;
    assert_eq!((done.counts.delivered, done.counts.skipped), (100, 1));
    let miss = miss(DirectoryNameKind::Group, "all", MissReason::NoSuchGroup);
    assert_eq!(reason(&world, &id, &miss).await, SkipReason::NoSuchGroup);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_or_failing_graph_is_waited_for() {
    let mut people = organization(200);
    people.page_size = Some(100);
    let (world, graph) = world(people, &[0]).await;
    let throttled = Reply {
        retry_after: Some(90),
        ..reply(429, "TooManyRequests")
    };
    let away = Reply {
        retry_after: Some(40),
        ..reply(503, "ServiceUnavailable")
    };
    graph.replies("all", [throttled, reply(200, ""), away, reply(504, "")]);
    let (_, done) = done(&world, &to_group("all")).await;
    assert_eq!(done.counts.delivered, 200);
    assert_eq!(told(&world, 200), (200, 0));
    let asked = graph.asked();
    let waits: Vec<i64> = asked
        .windows(2)
        .map(|pair| pair[1].at.duration_since(pair[0].at).as_secs())
        .collect();
    assert!(waits[0] >= 90 && waits[2] >= 40 && waits[3] >= 30, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_expired_leads_back_to_the_first_page_once() {
    for (expired, told_to) in [(1, 200), (2, 100)] {
        let mut people = organization(200);
        people.page_size = Some(100);
        let (world, graph) = world(people, &[0]).await;
        let expires = [reply(200, ""), reply(400, "Directory_ExpiredPageToken")];
        graph.replies("all", (0..expired).flat_map(|_| expires.clone()));
        let (_, done) = done(&world, &to_group("all")).await;
        assert_eq!(done.counts.delivered, told_to, "{done:?}");
        assert_eq!(told(&world, 200).1, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_graph_that_stays_away_ends_with_the_notification() {
    let (world, graph) = world(organization(10), &[0]).await;
    graph.replies("all", vec![reply(503, "ServiceUnavailable"); 5000]);
    graph.replies("users", vec![reply(503, "ServiceUnavailable"); 5000]);
    for audience in [
        json!({"group": "all", "tenant": TENANT}),
        json!({"mails": ["0@library.example"], "tenant": TENANT}),
    ] {
        let mut body = to(&audience);
        body["expiresAt"] = json!(world.in_seconds(3600).to_string());
        let id = world.asks(&body).await;
        world.work().await;
        let done = world.notification(&id).await;
        assert_eq!((done.audience, done.counts.expired), (1, 1), "{done:?}");
    }
}

#[tokio::test]
async fn without_an_app_a_directory_is_refused() {
    let world = World::new();
    for (audience, pointer) in [
        (json!({"group": "all", "tenant": TENANT}), "#/audience"),
        (json!([{"everyone": true}, {"directory": TENANT}]), "#/audience/1"),
    ] {
        let answer = world
            .notify(post("/api/notifications", &to(&audience).to_string()))
            .await;
        assert_eq!(answer.status(), 400);
        let problem = document(&answer);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        assert!(text(&answer).contains("HERALD_TEAMS_APP_ID"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_says_how_many_are_new_and_how_long_their_installation_takes() {
    let (world, graph) = world(organization(600), &[0, 1, 2]).await;
    for (policy, newcomers, seconds) in [("install", 597, 23), ("create", 597, 27), ("skip", 0, 14)] {
        let mut body = to_group("all");
        body["ifNoConversation"] = json!(policy);
        body["dryRun"] = json!(true);
        let id = world.asks(&body).await;
        world.work().await;
        let plan = asked_of(&world, &id, "/plan").await;
        assert_eq!(plan["audience"], 600, "{plan}");
        assert_eq!(
            plan.get("newcomers").map_or(0, |it| it.as_u64().unwrap()),
            newcomers,
            "{policy}"
        );
        assert_eq!(plan["predicted"]["atMostSeconds"], seconds, "{policy}: {plan}");
    }
    assert_eq!(graph.installs(), 0);
}
