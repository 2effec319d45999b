//! Audiences, by the real functions over DynamoDB's wire and the channel's own.

use std::collections::HashMap;

use herald::clock::Clock;
use herald_local::Event;
use serde_json::{Value, json};
use tests::channel::{Reply, Team, member};
use tests::graph::{Graph, MANIFEST};
use tokio::sync::mpsc;

use super::{System, settled};
use crate::world::{in_channel, personal};

const TEAM: &str = "19:team@thread.tacv2";
const SECOND: &str = "19:second@thread.tacv2";
const THIRD: &str = "19:third@thread.tacv2";

impl System {
    pub(super) async fn call(&self, method: &str, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.host.url());
        let request = self.http.request(method.parse().unwrap(), url);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Creates a notification, waits until it is complete, and returns its counts.
    async fn done(&self, audience: Value) -> Value {
        let body = json!({"audience": audience, "message": {"text": "news"}, "ifNoConversation": "create"});
        let (status, accepted) = self.post("/api/notifications", body.to_string()).await;
        assert_eq!(status, 202, "{accepted}");
        self.host.drained().await;
        let status = self.status(&accepted).await;
        assert_eq!(status["state"], "completed", "{status}");
        settled(&status);
        status["counts"].clone()
    }
}

/// Every member of a team gets a message in their own chat, as in the sample *message all members*.
#[tokio::test(flavor = "multi_thread")]
async fn all_members_of_a_large_team_get_one_message_each() {
    const MEMBERS: usize = 1_000;
    // At Teams' own limit the chats and messages would take a minute. Without any, a busy machine would answer so late that
    // senders give up requests, and repeat them.
    let system = System::start_with(|options| {
        let limit = ("HERALD_TENANT_LIMIT".to_owned(), "150/1s".to_owned());
        options.environment.extend([limit]);
    })
    .await;
    assert_eq!(system.hears(personal("p7", "installationUpdate")).await, 200);
    assert_eq!(system.hears(in_channel(TEAM, "installationUpdate")).await, 200);
    let team = Team {
        members: (0..MEMBERS).map(|number| member(&format!("p{number}"))).collect(),
        ..Team::default()
    };
    system.channel.team(TEAM, team);

    let counts = system.done(json!({"team": TEAM, "to": "members"})).await;
    assert_eq!(
        (&counts["audience"], &counts["delivered"]),
        (&json!(MEMBERS), &json!(MEMBERS))
    );
    let (mut created, mut reached) = (HashMap::new(), HashMap::new());
    for request in system.channel.received() {
        match request.activity["members"][0]["id"].as_str() {
            Some(member) => *created.entry(member.to_owned()).or_insert(0) += 1,
            None => *reached.entry(request.conversation).or_insert(0) += 1,
        }
    }
    // A person whom the bot knew needed no new chat.
    assert!(!created.contains_key("entra-p7"));
    assert_eq!((created.len(), reached.len()), (MEMBERS - 1, MEMBERS));
    let repeated = created.iter().chain(&reached).filter(|(_, times)| **times != 1);
    assert_eq!(repeated.collect::<Vec<_>>(), []);
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_a_new_person_and_a_tag_are_reached_and_a_person_is_erased() {
    let system = System::start().await;
    assert_eq!(system.hears(in_channel(TEAM, "installationUpdate")).await, 200);
    let team = Team {
        channels: [TEAM, SECOND, THIRD].map(str::to_owned).into(),
        ..Team::default()
    };
    system.channel.team(TEAM, team);

    // A new thread in each channel, and a reply in one.
    let channels = json!([{"team": TEAM, "to": "channels"}, {"channel": TEAM, "thread": "1700000000001"}]);
    assert_eq!(system.done(channels).await["delivered"], 4);
    let reply = format!("{TEAM};messageid=1700000000001");
    for place in [TEAM, SECOND, THIRD, &reply] {
        assert_eq!(system.channel.count(place), 1, "{place}");
    }

    let stranger = json!({"users": ["entra-zoe"], "tenant": "tenant-1"});
    assert_eq!(system.done(stranger).await["delivered"], 1);
    assert_eq!(system.channel.count("a:zoe"), 1);

    let key = "/api/conversations/msteams%7C28%3Abot%7Ca%3Azoe";
    let (status, tagged) = system.call("PUT", &format!("{key}/tags/release%20notes")).await;
    assert_eq!((status, &tagged["tags"]), (200, &json!(["release notes"])));
    assert_eq!(system.done(json!({"tag": "release notes"})).await["delivered"], 1);
    let (_, listed) = system.call("GET", "/api/conversations?tag=release%20notes").await;
    assert_eq!(listed["conversations"][0]["user"], "entra-zoe", "{listed}");
    assert_eq!(
        system
            .call("DELETE", &format!("{key}/tags/release%20notes"))
            .await
            .1["tags"],
        json!([])
    );

    let (status, erased) = system.call("DELETE", "/api/users/entra-zoe").await;
    assert_eq!((status, &erased["conversations"]), (200, &json!(1)));
    assert_eq!(system.call("GET", key).await.0, 404);
    let (_, listed) = system.call("GET", "/api/conversations?user=entra-zoe").await;
    assert_eq!(listed, json!({"conversations": []}));
    system.host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_without_the_app_gets_it_installed_and_the_message() {
    let graph = Graph::at(Clock::system());
    let served = graph.serve().await.unwrap();
    let system = System::start_with(|options| {
        let (parameters, environment) = (&mut options.parameters, &mut options.environment);
        parameters.insert("TeamsAppId".to_owned(), MANIFEST.to_owned());
        environment.insert("HERALD_GRAPH_URL".to_owned(), served.url.clone());
    })
    .await;
    let mut events = system.host.events();
    assert_eq!(system.hears(personal("ada", "installationUpdate")).await, 200);
    let (tell, mut told) = mpsc::unbounded_channel();
    graph.tells(move |person| tell.send(person.to_owned()).unwrap());
    let refused = Reply {
        status: 403,
        code: "Forbidden",
        message: "a canary called Fay may not have it",
        ..Reply::default()
    };
    graph.replies("entra-fay", [refused]);

    let body = json!({
        "audience": {"users": ["entra-zoe", "entra-fay", "entra-ada"], "tenant": "tenant-1"},
        "message": {"text": "news"},
        "ifNoConversation": "install",
    });
    let (status, accepted) = system.post("/api/notifications", body.to_string()).await;
    assert_eq!(status, 202, "{accepted}");
    assert_eq!(told.recv().await.as_deref(), Some("entra-zoe"));
    let mut installation = personal("zoe", "installationUpdate");
    installation["action"] = json!("add");
    assert_eq!(system.hears(installation).await, 200);
    system.host.drained().await;

    let status = system.status(&accepted).await;
    assert_eq!(
        (&status["state"], &status["counts"]["delivered"]),
        (&json!("completed"), &json!(2)),
        "{status}"
    );
    settled(&status);
    let path = format!(
        "{}/deliveries?state=skipped",
        accepted["statusUrl"].as_str().unwrap()
    );
    let (_, skipped) = system.call("GET", &path).await;
    assert_eq!(
        skipped["deliveries"][0]["reason"], "installForbidden",
        "{skipped}"
    );
    assert_eq!(
        (system.channel.created("entra-zoe"), system.channel.count("a:zoe")),
        (0, 2),
        "the bot's welcome, and the message"
    );
    assert_eq!(graph.installs(), 1);
    system.host.stop().await;
    let mut lines = Vec::new();
    while let Some(event) = events.recv().await {
        if let Event::Logged { line, .. } = event {
            lines.push(line);
        }
    }
    // An alarm can match it, and it names no person.
    assert!(
        lines.iter().any(|line| line.contains("InstallForbidden")),
        "{lines:?}"
    );
    assert!(
        !lines
            .iter()
            .any(|line| line.contains("canary") || line.contains("entra-")),
        "{lines:?}"
    );
}
