//! Audiences that Microsoft Graph lists, by the real functions over DynamoDB's wire, Graph's and the channel's own.

use herald::clock::Clock;
use herald_local::Event;
use herald_local::teams::{Organization, OrganizationGroup, OrganizationMember};
use serde_json::{Value, json};
use tests::channel::Reply;
use tests::graph::{Graph, MANIFEST};
use tests::server::Served;

use super::{System, settled};
use crate::world::personal;

/// More than two pages of the plan, and three of Graph.
const PEOPLE: usize = 250;

fn organization() -> Organization {
    let person = |number: usize| OrganizationMember {
        id: format!("entra-{number}"),
        mail: format!("canary-{number}@library.example"),
        ..OrganizationMember::default()
    };
    let group = OrganizationGroup {
        id: "all".to_owned(),
        mail: "all@library.example".to_owned(),
        members: (0..PEOPLE).map(|number| format!("entra-{number}")).collect(),
        is_deleted: false,
    };
    Organization {
        people: (0..PEOPLE).map(person).collect(),
        groups: vec![group],
        page_size: Some(100),
        is_forbidden: false,
    }
}

/// The system with this Graph, which is served as long as its handle lives.
async fn start(graph: &Graph) -> (Served, System) {
    let served = graph.serve().await.unwrap();
    let system = System::start_with(|options| {
        let (parameters, environment) = (&mut options.parameters, &mut options.environment);
        parameters.insert("TeamsAppId".to_owned(), MANIFEST.to_owned());
        // Without a limit of the channel that a busy machine would wait for.
        environment.insert("HERALD_TENANT_LIMIT".to_owned(), "150/1s".to_owned());
        environment.insert("HERALD_GRAPH_URL".to_owned(), served.url.clone());
    })
    .await;
    assert_eq!(system.hears(personal("0", "installationUpdate")).await, 200);
    (served, system)
}

async fn completed(system: &System, audience: Value) -> Value {
    let body = json!({"audience": audience, "message": {"text": "news"}, "ifNoConversation": "create"});
    let (status, accepted) = system.post("/api/notifications", body.to_string()).await;
    assert_eq!(status, 202, "{accepted}");
    system.host.drained().await;
    let status = system.status(&accepted).await;
    assert_eq!(status["state"], "completed", "{status}");
    settled(&status);
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_told_and_no_log_names_its_people() {
    // Without tokens there is one tenant, which has no name.
    let graph = Graph::at(Clock::system());
    graph.has_organization("", organization());
    let throttled = Reply {
        status: 429,
        retry_after: Some(1),
        ..Reply::default()
    };
    graph.replies("all", [throttled]);
    let (_served, system) = start(&graph).await;
    let mut events = system.host.events();

    let group = json!({"group": "all@library.example", "tenant": "tenant-1"});
    let status = completed(&system, group).await;
    assert_eq!(status["counts"]["delivered"], PEOPLE, "{status}");
    for number in 1..PEOPLE {
        assert_eq!(system.channel.count(&format!("a:{number}")), 1, "{number}");
    }
    // One refusal, and three pages.
    let asked = graph
        .asked()
        .into_iter()
        .filter(|asked| asked.line.contains("transitiveMembers"));
    assert_eq!(asked.count(), 4);

    let addresses =
        json!({"mails": ["canary-3@library.example", "canary-x@library.example"], "tenant": "tenant-1"});
    let status = completed(&system, addresses).await;
    assert_eq!(
        (&status["counts"]["delivered"], &status["counts"]["skipped"]),
        (&json!(1), &json!(1))
    );

    let mut forbidden = organization();
    forbidden.is_forbidden = true;
    graph.has_organization("", forbidden);
    let status = completed(&system, json!({"directory": "tenant-1"})).await;
    assert_eq!(status["warnings"][0]["code"], "directoryRefused", "{status}");
    let detail = status["warnings"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("User.Read.All in tenant tenant-1"), "{detail}");

    system.host.stop().await;
    let mut lines = Vec::new();
    while let Some(event) = events.recv().await {
        if let Event::Logged { line, .. } = event {
            lines.push(line);
        }
    }
    for word in ["DirectoryUnavailable", "DirectoryForbidden"] {
        assert!(lines.iter().any(|line| line.contains(word)), "{word}: {lines:?}");
    }
    let names_somebody = |line: &&String| line.contains("canary") || line.contains("entra-");
    assert_eq!(lines.iter().find(names_somebody), None);
}
