//! The HTTP API as AWS hands its requests over: events in the shape that API Gateway sends, and the same requests through the
//! local host's front, get the same answers.

use std::collections::BTreeSet;

use herald::conversation::ConversationKey;
use herald::store::Conversations;
use lambda_http::http::Request;
use lambda_http::{Body, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tests::gateway;

use crate::world::{World, document, personal, text};

/// A request as it is sent, what API Gateway makes of it, and the answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    about: String,
    sent: String,
    body: Option<String>,
    route_key: String,
    raw_path: String,
    #[serde(default)]
    raw_query_string: String,
    path_parameters: Option<Value>,
    status: u16,
    allow: Option<String>,
    tags: Option<Vec<String>>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../fixtures/events/http-api-paths.json")).unwrap()
}

impl Case {
    fn request(&self) -> Request<Body> {
        let (method, target) = self.sent.split_once(' ').unwrap();
        Request::builder()
            .method(method)
            .uri(target)
            .body(self.body.clone().map_or(Body::Empty, Body::Text))
            .unwrap()
    }

    /// The event of AWS: a recorded one, with what API Gateway makes of this request.
    fn event(&self) -> Value {
        let recorded = include_str!("../fixtures/events/notify-status.json");
        let mut event: Value = serde_json::from_str(recorded).unwrap();
        event["routeKey"] = json!(self.route_key);
        event["rawPath"] = json!(self.raw_path);
        event["rawQueryString"] = json!(self.raw_query_string);
        event["requestContext"]["routeKey"] = json!(self.route_key);
        event["requestContext"]["http"]["path"] = json!(self.raw_path);
        event["requestContext"]["http"]["method"] = json!(self.sent.split_once(' ').unwrap().0);
        let event_members = event.as_object_mut().unwrap();
        event_members.remove("pathParameters");
        event_members.extend(
            self.path_parameters
                .clone()
                .map(|them| ("pathParameters".to_owned(), them)),
        );
        event_members.extend(self.body.clone().map(|body| ("body".to_owned(), body.into())));
        event
    }

    fn check(&self, answer: &Response<Body>) {
        let about = &self.about;
        assert_eq!(answer.status(), self.status, "{about}: {}", text(answer));
        if self.status >= 400 {
            assert_eq!(
                answer.headers()["content-type"],
                "application/problem+json",
                "{about}"
            );
            assert_eq!(document(answer)["status"], self.status, "{about}");
        }
        let allow = answer.headers().get("allow").map(|allow| allow.to_str().unwrap());
        assert_eq!(allow, self.allow.as_deref(), "{about}");
        if let Some(tags) = &self.tags {
            assert_eq!(document(answer)["tags"], json!(tags), "{about}");
        }
    }
}

/// A world in which one person is remembered.
async fn world() -> (World, ConversationKey) {
    let world = World::new();
    world.hears(&personal("ada", "installationUpdate")).await;
    (world, "msteams|28:bot|a:ada".parse().unwrap())
}

async fn is_untouched(world: &World, ada: &ConversationKey) -> bool {
    let remembered = world.store.get_many(std::slice::from_ref(ada)).await.unwrap();
    remembered.len() == 1 && world.plans.take().is_none()
}

#[tokio::test]
async fn an_event_of_aws_does_what_its_route_key_says_and_nothing_else() {
    for case in cases() {
        let (world, ada) = world().await;
        let answer = world.notify(gateway::received(case.event()).unwrap()).await;
        case.check(&answer);
        assert!(is_untouched(&world, &ada).await, "{}", case.about);
    }
}

#[tokio::test]
async fn the_local_host_hands_over_what_aws_does() {
    for case in cases() {
        let (world, ada) = world().await;
        let (ours, theirs) = (gateway::event(case.request()), case.event());
        for field in [
            "version",
            "routeKey",
            "rawPath",
            "rawQueryString",
            "pathParameters",
            "body",
            "isBase64Encoded",
        ] {
            assert_eq!(ours.get(field), theirs.get(field), "{}: {field}", case.about);
        }
        for field in [
            "/requestContext/routeKey",
            "/requestContext/http/path",
            "/requestContext/http/method",
        ] {
            assert_eq!(
                ours.pointer(field),
                theirs.pointer(field),
                "{}: {field}",
                case.about
            );
        }
        case.check(&world.notify(case.request()).await);
        assert!(is_untouched(&world, &ada).await, "{}", case.about);
    }
}

/// A gateway that matched a route and then parsed the path anew would ask for another thing than it authorised.
#[tokio::test]
async fn a_path_that_names_another_route_than_the_gateway_matched_is_not_believed() {
    let (world, ada) = world().await;
    for raw_path in [
        "/api/notify",
        "/api/conversations/msteams|28:bot|a:ada",
        "/api/notifications/../notify",
    ] {
        let mut event = cases().remove(0).event();
        event["routeKey"] = json!("GET /api/notifications/{id}");
        event["requestContext"]["routeKey"] = json!("GET /api/notifications/{id}");
        event["rawPath"] = json!(raw_path);
        event["pathParameters"] = json!({"id": "ntf_0192f0c8a1b27c3d8e4f5a6b7c8d9e0f"});
        let answer = world.notify(gateway::received(event).unwrap()).await;
        assert_eq!(answer.status(), 404, "{raw_path}");
        assert!(is_untouched(&world, &ada).await, "{raw_path}");
    }
}

#[test]
fn what_is_no_request_is_refused_and_panics_nowhere() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut event = cases().remove(0).event();
        change(&mut event);
        gateway::received(event).map_err(|answer| (answer.status().as_u16(), document(&answer)))
    };
    for host in ["[", "a b", "x:99999"] {
        let refused = with(&|event| event["headers"]["host"] = json!(host)).unwrap_err();
        assert_eq!((refused.0, &refused.1["status"]), (400, &json!(400)), "{host}");
    }
    assert_eq!(
        with(&|event| event["rawQueryString"] = json!("a=b c"))
            .unwrap_err()
            .0,
        400
    );
    // API Gateway sets this header; what it holds decides nothing.
    for scheme in ["", "http, https", "gopher"] {
        assert!(
            with(&|event| event["headers"]["x-forwarded-proto"] = json!(scheme)).is_ok(),
            "{scheme}"
        );
    }
}

#[test]
fn the_template_and_the_function_have_the_same_routes() {
    let in_template: BTreeSet<&str> = gateway::routes()
        .iter()
        .filter(|route| route.function == "notify")
        .map(|route| route.key.as_str())
        .collect();
    let keys: Vec<String> = notify::route_keys().chain(["$default".to_owned()]).collect();
    assert_eq!(in_template, keys.iter().map(String::as_str).collect());
}
