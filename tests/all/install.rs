//! People for whom the bot is installed first, through Graph.

use botframework::activity::Activity;
use botframework::id::UserRef;
use herald::audience::Recipient;
use herald::conversation::{Observation, PersonKey};
use herald::delivery::{Outcome, SkipReason, State};
use herald::id::NotificationId;
use herald::notification::Notification;
use herald::store::Conversations;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::channel::{Behaviour, Received, Reply, Team, member};
use tests::graph::{Graph, MANIFEST};
use tokio::sync::mpsc;

use crate::world::{World, document, get, in_channel, personal, post, text};

const TEAM: &str = "19:team@thread.tacv2";

/// A world in which only Ada has the bot.
async fn world() -> (World, Graph) {
    let mut world = World::new();
    let graph = world.opens_graph();
    see(&world, personal("ada", "installationUpdate")).await;
    (world, graph)
}

async fn see(world: &World, activity: Value) {
    let activity = Activity::from_value(activity).unwrap();
    for observation in Observation::from_activity(&activity) {
        world.store.remember(observation, world.now()).await.unwrap();
    }
}

fn people(names: &[&str]) -> Value {
    let users: Vec<String> = names.iter().map(|name| format!("entra-{name}")).collect();
    json!({"users": users, "tenant": "tenant-1"})
}

fn installed(audience: &Value) -> Value {
    json!({"audience": audience, "message": {"text": "news"}, "ifNoConversation": "install"})
}

fn user(person: &str) -> Recipient {
    Recipient::User(format!("entra-{person}").as_str().into())
}

/// The activity that the channel sends after the bot was installed for a person.
fn installation(user: &str) -> Value {
    let person = user.trim_start_matches("entra-");
    let mut activity = personal(person, "installationUpdate");
    activity["action"] = json!("add");
    activity
}

/// Processes both queues until they are empty, while the bot receives the activity of every installation.
async fn work(world: &World, graph: &Graph) {
    let (tell, mut told) = mpsc::unbounded_channel();
    graph.tells(move |person| tell.send(person.to_owned()).unwrap());
    let telling = async {
        while let Some(person) = told.recv().await {
            world.hears(&installation(&person)).await;
        }
    };
    tokio::select! {
        () = Box::pin(world.work()) => {}
        () = telling => {}
    }
}

async fn ended(world: &World, id: &NotificationId) -> Notification {
    let done = world.notification(id).await;
    assert!(done.completed_at.is_some(), "{done:?}");
    done
}

/// The numbers of delivered and skipped recipients.
async fn counts(world: &World, id: &NotificationId) -> (u64, u64) {
    let done = ended(world, id).await;
    (done.counts.delivered, done.counts.skipped)
}

async fn skipped(world: &World, id: &NotificationId, person: &str) -> SkipReason {
    match world.row(id, &user(person)).await.state {
        State::Settled(Outcome::Skipped { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

/// The requests that no welcome of the bot made.
fn requests(world: &World) -> Vec<Received> {
    let received = world.channel.received().into_iter();
    received.filter(|it| !it.path.contains("/activities/")).collect()
}

/// How many messages of notifications a conversation got.
fn got(world: &World, conversation: &str) -> usize {
    let requests = requests(world).into_iter();
    requests.filter(|it| it.conversation == conversation).count()
}

fn sent(world: &World) -> usize {
    requests(world).len()
}

async fn asked_of(world: &World, id: &NotificationId, what: &str) -> Value {
    let path = format!("/api/notifications/{id}/{what}");
    document(&world.notify(get(&path)).await)
}

fn lines(graph: &Graph) -> Vec<String> {
    graph.asked().into_iter().map(|asked| asked.line).collect()
}

fn reply(status: u16, code: &'static str, message: &'static str) -> Reply {
    Reply {
        status,
        code,
        message,
        ..Reply::default()
    }
}

/// The Connector's refusal for a person without the bot.
fn not_installed() -> Behaviour {
    Behaviour::Refuse {
        status: 403,
        code: "ForbiddenOperationException",
    }
}

const CATALOG: &str = "GET /v1.0/appCatalogs/teamsApps";
const INSTALL: &str = "POST /v1.0/users/entra-zoe/teamwork/installedApps";
const INSTALLED: &str = "GET /v1.0/users/entra-zoe/teamwork/installedApps";
const CHAT: &str = "GET /v1.0/users/entra-zoe/teamwork/installedApps/installation-of-entra-zoe/chat";

#[tokio::test(start_paused = true)]
async fn the_message_is_sent_after_the_installation_event() {
    let (world, graph) = world().await;
    let began = world.now();
    let id = world.asks(&installed(&people(&["zoe", "ada"]))).await;
    work(&world, &graph).await;
    assert_eq!(counts(&world, &id).await, (2, 0));
    assert_eq!(lines(&graph), [CATALOG, INSTALL]);
    assert_eq!((world.channel.created("entra-zoe"), got(&world, "a:zoe")), (0, 1));
    let took = world.now().duration_since(began);
    assert!(took < SignedDuration::from_secs(10), "{took}");
}

#[tokio::test(start_paused = true)]
async fn a_pending_installation_is_explained_and_polled_four_times_in_a_minute() {
    let (world, graph) = world().await;
    let id = world.asks(&installed(&people(&["zoe"]))).await;
    world.plan().await;
    let mut looks = Vec::new();
    while let Some(chunk) = world.deliveries.take() {
        world.pass(i64::try_from(chunk.delay.as_secs()).unwrap());
        world.send_one(&chunk.body).await;
        let State::Waiting { until, reason } = world.row(&id, &user("zoe")).await.state else {
            break;
        };
        assert_eq!(reason, "Installing");
        let reasons = asked_of(&world, &id, "explain").await["reasons"].clone();
        assert_eq!(reasons[0]["reason"], "waitingForInstall", "{reasons}");
        assert_eq!(reasons[0]["until"], json!(until.to_string()));
        let listed = asked_of(&world, &id, "deliveries").await["deliveries"][0].clone();
        assert_eq!(
            (&listed["user"], &listed["state"], &listed["why"]),
            (&json!("entra-zoe"), &json!("open"), &json!("Installing"))
        );
        looks.push(until);
    }
    let since = graph.asked()[1].at;
    // The first poll waits inside the invocation that installed.
    let after: Vec<i64> = looks
        .iter()
        .map(|look| look.duration_since(since).as_secs())
        .collect();
    assert_eq!(after, [15, 30, 60]);
    assert_eq!(counts(&world, &id).await, (1, 0));
}

#[tokio::test(start_paused = true)]
async fn without_an_installation_event_the_conversation_is_created_after_a_minute() {
    let (world, graph) = world().await;
    let began = world.now();
    let id = world.asks(&installed(&people(&["zoe"]))).await;
    world.work().await;
    assert_eq!(counts(&world, &id).await, (1, 0));
    assert!(world.now().duration_since(began) >= SignedDuration::from_mins(1));
    assert_eq!(lines(&graph), [CATALOG, INSTALL]);
    assert_eq!((world.channel.created("entra-zoe"), got(&world, "a:zoe")), (1, 1));
    // The event arrives at last, and makes no second record.
    world.hears(&installation("entra-zoe")).await;
    let everyone = json!({"audience": {"everyone": true}, "message": {"text": "more"}});
    let id = world.asks(&everyone).await;
    world.work().await;
    assert_eq!(ended(&world, &id).await.audience, 2);
}

#[tokio::test(start_paused = true)]
async fn if_the_connector_refuses_the_chat_id_comes_from_graph() {
    for there_before in [false, true] {
        let (world, graph) = world().await;
        world.channel.when("entra-zoe", not_installed());
        if there_before {
            graph.has("entra-zoe");
        }
        let id = world.asks(&installed(&people(&["zoe"]))).await;
        world.work().await;
        assert_eq!(counts(&world, &id).await, (1, 0));
        assert_eq!(lines(&graph), [CATALOG, INSTALL, INSTALLED, CHAT]);
        assert_eq!(world.channel.count("19:entra-zoe@unq.gbl.spaces"), 1);
        // The person is now known by that id.
        let id = world
            .asks(&json!({"audience": people(&["zoe"]), "message": {"text": "more"}}))
            .await;
        world.work().await;
        assert_eq!(counts(&world, &id).await, (1, 0));
        assert_eq!(graph.asked().len(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_who_uninstalls_within_the_minute_is_skipped_until_the_next_notification() {
    let (world, graph) = world().await;
    world.channel.when("entra-zoe", not_installed());
    let id = world.asks(&installed(&people(&["zoe"]))).await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    world.send_one(&chunk.body).await;
    graph.has_not("entra-zoe");
    world.work().await;
    assert_eq!(counts(&world, &id).await, (0, 1));
    assert_eq!(skipped(&world, &id, "zoe").await, SkipReason::NotInstalled);

    let id = world.asks(&installed(&people(&["zoe"]))).await;
    work(&world, &graph).await;
    assert_eq!(counts(&world, &id).await, (1, 0));
    assert_eq!(graph.installs(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_installed_person_gets_a_conversation_at_once() {
    let (world, graph) = world().await;
    graph.has("entra-zoe");
    let began = world.now();
    let id = world.asks(&installed(&people(&["zoe"]))).await;
    world.work().await;
    assert_eq!(counts(&world, &id).await, (1, 0));
    assert_eq!((graph.installs(), world.channel.created("entra-zoe")), (0, 1));
    let took = world.now().duration_since(began);
    assert!(took < SignedDuration::from_secs(10), "{took}");
}

#[tokio::test(start_paused = true)]
async fn two_concurrent_notifications_install_for_a_person_once() {
    let (world, graph) = world().await;
    let body = installed(&people(&["zoe"]));
    let ids = [world.asks(&body).await, world.asks(&body).await];
    world.plan().await;
    let (first, second) = (world.deliveries.take().unwrap(), world.deliveries.take().unwrap());
    let telling = async {
        graph.installed(1).await;
        world.hears(&installation("entra-zoe")).await;
    };
    tokio::join!(world.send_one(&first.body), world.send_one(&second.body), telling);
    world.work().await;
    for id in &ids {
        assert_eq!(counts(&world, id).await, (1, 0));
    }
    assert_eq!(lines(&graph), [CATALOG, INSTALL]);
    assert_eq!((world.channel.created("entra-zoe"), got(&world, "a:zoe")), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn after_a_worker_dies_the_next_finds_the_app_installed() {
    let (world, graph) = world().await;
    let zoe = PersonKey {
        channel: "msteams".into(),
        bot: "28:bot".into(),
        tenant: "tenant-1".into(),
        person: UserRef::Entra("entra-zoe".into()),
    };
    // The worker installed, and died before it wrote that.
    let deadline = world.in_seconds(90);
    world
        .store
        .acquire_creation_lease(&zoe, world.now(), deadline)
        .await
        .unwrap();
    graph.has("entra-zoe");
    let id = world.asks(&installed(&people(&["zoe"]))).await;
    world.work().await;
    assert_eq!(counts(&world, &id).await, (1, 0));
    assert!(world.now() >= deadline);
    assert_eq!(lines(&graph), [CATALOG, INSTALL]);
    assert_eq!(got(&world, "a:zoe"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_graph_skips_one_person_with_its_reason() {
    let (world, graph) = world().await;
    let consent = "Missing role permissions on the request.";
    graph.replies("entra-fay", [reply(403, "Forbidden", consent)]);
    graph.replies(
        "entra-pol",
        [reply(403, "Forbidden", "App is blocked by policy.")],
    );
    graph.nobody("entra-gus");
    let id = world
        .asks(&installed(&people(&["fay", "pol", "gus", "zoe"])))
        .await;
    work(&world, &graph).await;
    assert_eq!(counts(&world, &id).await, (1, 3));
    for (person, reason) in [
        ("fay", SkipReason::InstallForbidden),
        ("pol", SkipReason::InstallForbidden),
        ("gus", SkipReason::NoSuchPerson),
    ] {
        assert_eq!(skipped(&world, &id, person).await, reason, "{person}");
    }
    let listed = asked_of(&world, &id, "deliveries?state=skipped").await["deliveries"].clone();
    let reasons: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["reason"].clone())
        .collect();
    assert_eq!(reasons, ["installForbidden", "installForbidden", "noSuchPerson"]);
    assert_eq!(sent(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn an_app_missing_from_the_catalog_is_looked_up_once() {
    let (world, graph) = world().await;
    graph.catalog(None);
    let id = world.asks(&installed(&people(&["zoe", "eve", "fay"]))).await;
    world.work().await;
    assert_eq!(counts(&world, &id).await, (0, 3));
    assert_eq!(skipped(&world, &id, "eve").await, SkipReason::AppNotInCatalog);
    // Its own id, and that of the store.
    assert_eq!(lines(&graph), [CATALOG, CATALOG]);
}

#[tokio::test(start_paused = true)]
async fn an_app_from_the_store_is_installed_like_one_of_the_tenants_own() {
    let (world, graph) = world().await;
    graph.catalog(Some(MANIFEST));
    let id = world.asks(&installed(&people(&["zoe"]))).await;
    work(&world, &graph).await;
    assert_eq!(counts(&world, &id).await, (1, 0));
    assert_eq!(lines(&graph), [CATALOG, CATALOG, INSTALL]);
}

#[tokio::test(start_paused = true)]
async fn a_republished_app_is_found_under_its_new_id() {
    let (world, graph) = world().await;
    let id = world.asks(&installed(&people(&["eve"]))).await;
    work(&world, &graph).await;
    assert_eq!(counts(&world, &id).await, (1, 0));
    graph.catalog(Some("app-2"));
    world.pass(3600);
    let id = world.asks(&installed(&people(&["zoe"]))).await;
    work(&world, &graph).await;
    assert_eq!(counts(&world, &id).await, (1, 0));
    assert_eq!(lines(&graph)[2..], [INSTALL, CATALOG, INSTALL]);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_without_consent_does_not_stop_other_tenants() {
    let (world, graph) = world().await;
    see(&world, in_tenant("bob", "tenant-2")).await;
    see(&world, in_tenant("pia", "../tenant")).await;
    graph.gives_no_token("tenant-2", 65_001);
    let nobody = json!({"users": ["entra-nia"], "tenant": "../tenant"});
    let other = json!({"users": ["entra-ned"], "tenant": "tenant-2"});
    let id = world
        .asks(&installed(&json!([other, people(&["zoe"]), nobody])))
        .await;
    work(&world, &graph).await;
    assert_eq!(counts(&world, &id).await, (1, 2));
    assert_eq!(skipped(&world, &id, "ned").await, SkipReason::InstallForbidden);
    assert_eq!(skipped(&world, &id, "nia").await, SkipReason::NoSuchPerson);
    assert!(graph.asked().iter().all(|asked| asked.tenant == "tenant-1"));
}

fn in_tenant(person: &str, tenant: &str) -> Value {
    let mut activity = personal(person, "installationUpdate");
    activity["conversation"]["tenantId"] = json!(tenant);
    activity
}

#[tokio::test(start_paused = true)]
async fn a_throttled_graph_does_not_delay_the_connector() {
    let (world, graph) = world().await;
    let throttled = Reply {
        retry_after: Some(90),
        ..reply(429, "TooManyRequests", "")
    };
    graph.replies("entra-eve", [throttled]);
    let began = world.now();
    let id = world.asks(&installed(&people(&["eve"]))).await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    world.send_one(&chunk.body).await;
    let reasons = asked_of(&world, &id, "explain").await["reasons"].clone();
    assert_eq!(
        (&reasons[0]["reason"], &reasons[0]["code"]),
        (&json!("retrying"), &json!("GraphTooManyRequests"))
    );
    // No request is sent for the others either, and each has the reason. A known person gets the message at once.
    let other = world.asks(&installed(&people(&["zoe", "ada"]))).await;
    world.plan().await;
    let waiting = world.deliveries.take().unwrap();
    let chunk = world.deliveries.take().unwrap();
    world.send_one(&chunk.body).await;
    assert_eq!(got(&world, "a:ada"), 1);
    assert_eq!(graph.asked().len(), 2);
    let State::Waiting { until, reason } = world.row(&other, &user("zoe")).await.state else {
        panic!("not waiting");
    };
    assert_eq!(reason, "GraphPaused");
    assert!(
        until.duration_since(began) >= SignedDuration::from_secs(80),
        "{until}"
    );
    herald::queue::Queue::send(&world.deliveries, vec![waiting])
        .await
        .unwrap();
    work(&world, &graph).await;
    for id in [&id, &other] {
        assert_eq!(ended(&world, id).await.counts.skipped, 0);
    }
    let again = graph.asked()[2].at;
    assert!(
        again.duration_since(began) >= SignedDuration::from_secs(90),
        "{again}"
    );
    assert_eq!(graph.installs(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_graph_is_retried_with_backoff_until_the_expiry() {
    for (about, number) in [("catalog", None), ("entra-zoe", None), ("", Some(7_000_215))] {
        let (world, graph) = world().await;
        graph.replies(about, (0..10_000).map(|_| reply(503, "ServiceUnavailable", "")));
        if let Some(number) = number {
            // The secret is wrong. An operator can correct it, so the delivery waits.
            graph.gives_no_token("tenant-1", number);
        }
        let mut body = installed(&people(&["zoe"]));
        body["expiresAt"] = json!(world.in_seconds(24 * 3600).to_string());
        let id = world.asks(&body).await;
        world.work().await;
        assert_eq!(ended(&world, &id).await.counts.expired, 1, "{about}");
        assert!(graph.asked().len() < 200, "{about}: {}", graph.asked().len());
        assert_eq!(sent(&world), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn installing_resumes_when_graph_recovers() {
    let (world, graph) = world().await;
    graph.replies(
        "catalog",
        [reply(503, "ServiceUnavailable", ""), reply(502, "BadGateway", "")],
    );
    graph.replies("entra-zoe", [reply(500, "InternalServerError", "")]);
    let id = world.asks(&installed(&people(&["zoe", "eve"]))).await;
    work(&world, &graph).await;
    assert_eq!(counts(&world, &id).await, (2, 0));
    assert_eq!(graph.installs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failing_catalog_is_retried_by_one_delivery_at_a_time() {
    let (world, graph) = world().await;
    graph.replies("catalog", [reply(503, "ServiceUnavailable", "")]);
    let names: Vec<String> = (0..50).map(|number| format!("p{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let id = world.asks(&installed(&people(&names))).await;
    work(&world, &graph).await;
    assert_eq!(counts(&world, &id).await, (50, 0));
    let asked = graph.asked();
    let catalog: Vec<_> = asked.iter().filter(|asked| asked.line == CATALOG).collect();
    assert_eq!(catalog.len(), 2);
    let wait = catalog[1].at.duration_since(catalog[0].at);
    assert!(wait >= SignedDuration::from_secs(7), "{wait}");
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_expires_before_the_next_look_does_not_wait_for_it() {
    let (world, graph) = world().await;
    let began = world.now();
    let mut body = installed(&people(&["zoe"]));
    body["expiresAt"] = json!(world.in_seconds(40).to_string());
    let id = world.asks(&body).await;
    world.work().await;
    assert_eq!(ended(&world, &id).await.counts.expired, 1);
    let took = world.now().duration_since(began);
    assert!(took < SignedDuration::from_secs(40), "{took}");
    assert_eq!((graph.installs(), sent(&world)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_redelivered_chunk_does_not_poll_before_its_time() {
    let (world, graph) = world().await;
    graph.replies("entra-zoe", [reply(500, "InternalServerError", "")]);
    let id = world.asks(&installed(&people(&["zoe"]))).await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    for _ in 0..2 {
        world.send_one(&chunk.body).await;
    }
    assert_eq!(lines(&graph), [CATALOG, INSTALL]);
    work(&world, &graph).await;
    assert_eq!(counts(&world, &id).await, (1, 0));
    assert_eq!(graph.installs(), 1);
}

#[tokio::test(start_paused = true)]
async fn graph_gets_at_most_thirty_requests_a_second() {
    let (world, graph) = world().await;
    let names: Vec<String> = (0..400).map(|number| format!("p{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let id = world.asks(&installed(&people(&names))).await;
    work(&world, &graph).await;
    assert_eq!(counts(&world, &id).await, (400, 0));
    assert_eq!(graph.installs(), 400);
    let asked = graph.asked();
    for (first, last) in asked.iter().zip(&asked[30..]) {
        let within = last.at.duration_since(first.at);
        assert!(
            within >= SignedDuration::from_millis(990),
            "31 requests in {within}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_without_an_entra_id_is_created_without_graph() {
    let (world, graph) = world().await;
    see(&world, in_channel(TEAM, "conversationUpdate")).await;
    let mut zoe = member("zoe");
    zoe.as_object_mut().unwrap().remove("aadObjectId");
    let team = Team {
        channels: vec![TEAM.to_owned()],
        members: vec![zoe],
        ..Team::default()
    };
    world.channel.team(TEAM, team);
    let id = world
        .asks(&installed(&json!({"team": TEAM, "to": "members"})))
        .await;
    world.work().await;
    assert_eq!(counts(&world, &id).await, (1, 0));
    assert_eq!((graph.asked().len(), world.channel.created("29:zoe")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_during_the_installation_sends_nothing() {
    let (world, graph) = world().await;
    let id = world.asks(&installed(&people(&["zoe"]))).await;
    world.plan().await;
    let chunk = world.deliveries.take().unwrap();
    world.send_one(&chunk.body).await;
    assert_eq!(graph.installs(), 1);
    let cancel = post(&format!("/api/notifications/{id}/cancel"), "");
    assert_eq!(world.notify(cancel).await.status(), 200);
    world.hears(&installation("entra-zoe")).await;
    world.work().await;
    assert_eq!(ended(&world, &id).await.counts.cancelled, 1);
    assert_eq!(sent(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn without_an_app_id_an_accepted_install_falls_back_to_create() {
    let (mut world, graph) = world().await;
    world.channel.when("entra-eve", not_installed());
    let id = world.asks(&installed(&people(&["zoe", "eve"]))).await;
    world.graph_clients = None;
    world.work().await;
    assert_eq!(counts(&world, &id).await, (1, 1));
    assert_eq!(skipped(&world, &id, "eve").await, SkipReason::NotInstalled);
    assert_eq!(graph.asked().len(), 0);
}

#[tokio::test]
async fn without_an_app_id_an_install_request_is_refused() {
    let world = World::new();
    let body = installed(&people(&["zoe"])).to_string();
    let answer = world.notify(post("/api/notifications", &body)).await;
    assert_eq!(answer.status(), 400);
    let said = text(&answer);
    assert!(
        said.contains("#/ifNoConversation") && said.contains("HERALD_TEAMS_APP_ID"),
        "{said}"
    );
    // The same body with `skip` or `create` is accepted.
    let create = body.replace("install", "create");
    assert_eq!(
        world.notify(post("/api/notifications", &create)).await.status(),
        202
    );
}
