//! The client against a real server on loopback with scripted responses, and against a cloud in this process that records
//! each request with its token.

mod batch;
mod directory;
mod hostile;

use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::*;
use crate::cloud::Cloud;
use crate::connector::Connector;
use crate::connector::tests::{Act, Server, answer, serve};
use crate::credential::{
    AssertionContext, ClientAuthError, ClientCredential, Credential, InvalidRegistration, Registration,
    SecretString, Tenancy,
};
use crate::http::{BoxFuture, HttpTransport, ResponseFuture};
use crate::service_url::{Loopback, OtherChannels, TrustRule};

const APP: &str = "00000000-0000-4000-8000-00000000b07a";
const MANIFEST: &str = "11111111-2222-4333-8444-555555555555";

fn runtime() -> Runtime {
    Runtime::new(|| UNIX_EPOCH, || [0; 16])
}

fn secret() -> SecretString {
    SecretString::from("secret".to_owned())
}

fn tenant() -> Tenant {
    Tenant::new(Cloud::Public, "customer.example", APP).unwrap()
}

fn token(name: &str) -> String {
    json!({"token_type": "Bearer", "expires_in": 3599, "access_token": name}).to_string()
}

/// A server that gives a token first and then does the acts, and a client of it.
async fn serve_graph(acts: Vec<Act>) -> (Server, Graph) {
    let mut all = vec![Act::Say(answer("200 OK", &token("graph-1")))];
    all.extend(acts);
    let server = serve(all).await;
    let tenant = tenant()
        .at_stand_in(&format!("{}token", server.url), &server.url)
        .unwrap();
    let transport = HttpTransport::builder().build().unwrap();
    (server, Graph::new(transport, tenant, secret(), runtime()))
}

/// What was asked of a cloud.
#[derive(Clone, Debug)]
struct Asked {
    line: String,
    authorization: Option<String>,
    consistency: Option<String>,
    body: String,
}

type Answer = (u16, &'static str, String);

/// A cloud in this process: its token endpoints give tokens that are named after their scope, and the rest answers by
/// the number of the question.
#[derive(Clone)]
struct Sky {
    tokens: Arc<dyn Fn(usize) -> Answer + Send + Sync>,
    rest: Arc<dyn Fn(usize) -> Answer + Send + Sync>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Sky {
    fn answering(rest: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            tokens: Arc::new(|_| (200, "", String::new())),
            rest: Arc::new(rest),
            asked: Arc::default(),
        }
    }

    fn always(status: u16, headers: &'static str, body: impl Into<String>) -> Self {
        let body = body.into();
        Self::answering(move |_| (status, headers, body.clone()))
    }

    fn graph(&self) -> Graph {
        Graph::new(self.clone(), tenant(), secret(), runtime())
    }

    fn all(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// What was asked of anything but a token endpoint.
    fn asked(&self) -> Vec<Asked> {
        let all = self.all();
        all.into_iter().filter(|asked| !asked.is_for_token()).collect()
    }
}

impl Asked {
    fn is_for_token(&self) -> bool {
        self.line.ends_with("/oauth2/v2.0/token")
    }
}

impl Transport for Sky {
    fn send(&self, request: Request<Bytes>) -> ResponseFuture<'_> {
        let headers = request.headers().get_all(AUTHORIZATION);
        let said: Vec<_> = headers.iter().map(|value| value.to_str().unwrap()).collect();
        assert!(said.len() <= 1, "two headers: {said:?}");
        let now = Asked {
            line: format!("{} {}", request.method(), request.uri()),
            authorization: said.first().map(|&said| said.to_owned()),
            consistency: request
                .headers()
                .get("ConsistencyLevel")
                .map(|level| level.to_str().unwrap().to_owned()),
            body: String::from_utf8(request.body().to_vec()).unwrap(),
        };
        let number = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(now.clone());
            let alike = |asked: &&Asked| asked.is_for_token() == now.is_for_token();
            asked.iter().filter(alike).count()
        };
        let (status, headers, body) = if now.is_for_token() {
            match (self.tokens)(number) {
                (200, ..) => {
                    let scope = now.body.split("scope=").nth(1).unwrap();
                    let scope = scope.split('&').next().unwrap();
                    (200, "", token(&format!("{}.{number}", scope.replace('%', "~"))))
                }
                refusal => refusal,
            }
        } else {
            (self.rest)(number)
        };
        let mut response = Response::builder().status(status);
        for (name, value) in headers.lines().filter_map(|line| line.split_once(": ")) {
            response = response.header(name, value);
        }
        Box::pin(async move { Ok(response.body(Body::Complete(body.into())).unwrap()) })
    }
}

/// Runs a future that waits for nothing outside.
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

fn user(id: &str) -> EntraObjectId {
    id.into()
}

fn app() -> CatalogAppId {
    "app-1".into()
}

fn installed(id: &str) -> String {
    json!({"value": [{"id": id, "teamsApp": {"id": "APP-1"}}]}).to_string()
}

#[tokio::test]
async fn every_call_has_its_method_its_address_its_body_and_its_answer() {
    let (server, graph) = serve_graph(vec![
        Act::Say(answer(
            "200 OK",
            r#"{"value":[{"id":"s","distributionMethod":"store"},{"id":"o","distributionMethod":"organization"}]}"#,
        )),
        Act::Say(answer("200 OK", &installed("in==/1"))),
        Act::Say(answer("201 Created", "")),
        Act::Say(answer("409 Conflict", r#"{"error":{"code":"Conflict"}}"#)),
        Act::Say(answer("200 OK", r#"{"id":"19:1@unq.gbl.spaces"}"#)),
        Act::Say(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
    ])
    .await;
    let (person, group) = (user("u-1"), EntraGroupId::from("g-1"));
    assert_eq!(graph.catalog_app(MANIFEST).await.unwrap(), Some("o".into()));
    let installation = graph.installation(&person, &app()).await.unwrap().unwrap();
    assert_eq!(installation.as_str(), "in==/1");
    assert_eq!(
        graph.install_for_user(&person, &app()).await.unwrap(),
        Installation::Created
    );
    assert_eq!(
        graph.install_in_team(&group, &app()).await.unwrap(),
        Installation::Existing
    );
    let chat = graph.chat(&person, &installation).await.unwrap();
    assert_eq!(chat.as_str(), "19:1@unq.gbl.spaces");
    graph.uninstall(&person, &installation).await.unwrap();

    let filter = "externalId%20eq%20%2711111111-2222-4333-8444-555555555555%27";
    assert_eq!(
        server.lines(),
        [
            "POST /base/token",
            &format!("GET /base/v1.0/appCatalogs/teamsApps?$filter={filter}"),
            "GET /base/v1.0/users/u-1/teamwork/installedApps?$expand=teamsApp&$filter=teamsApp%2Fid%20eq%20%27app-1%27",
            "POST /base/v1.0/users/u-1/teamwork/installedApps",
            "POST /base/v1.0/teams/g-1/installedApps",
            "GET /base/v1.0/users/u-1/teamwork/installedApps/in%3D%3D%2F1/chat",
            "DELETE /base/v1.0/users/u-1/teamwork/installedApps/in%3D%3D%2F1",
        ]
    );
    let requests = server.requests();
    for request in &requests[3..5] {
        let body: Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
        let catalog = format!("{}v1.0/appCatalogs/teamsApps/app-1", server.url);
        assert_eq!(body, json!({"teamsApp@odata.bind": catalog}));
        assert!(request.contains("content-type: application/json; charset=utf-8\r\n"));
    }
    for request in &requests[1..] {
        assert!(request.contains("authorization: Bearer graph-1\r\n"), "{request}");
    }
    assert_eq!(server.connections(), 1, "the connection is kept and used again");
}

#[tokio::test]
async fn what_is_not_there_is_none_and_another_apps_installation_is_not_taken_for_it() {
    for (body, found) in [
        (r#"{"value":[]}"#.to_owned(), None),
        (installed("i"), Some("i")),
        (r#"{"value":[{"id":"i"}]}"#.to_owned(), Some("i")),
        (
            r#"{"value":[{"id":"other","teamsApp":{"id":"app-2"}}]}"#.to_owned(),
            None,
        ),
        (
            r#"{"value":[{"id":"other","teamsApp":{"id":"app-2"}},{"id":"i","teamsApp":{"id":"app-1"}}]}"#
                .to_owned(),
            Some("i"),
        ),
    ] {
        let graph = Sky::always(200, "", body).graph();
        let installation = graph.installation(&user("u"), &app()).await.unwrap();
        assert_eq!(installation, found.map(InstallationId::from));
    }
    let nothing = Sky::always(200, "", r#"{"value":[]}"#).graph();
    assert_eq!(nothing.catalog_app(MANIFEST).await.unwrap(), None);
    assert_eq!(nothing.store_app(MANIFEST).await.unwrap(), None);
}

#[tokio::test]
async fn a_success_that_cannot_be_read_is_asked_for_again() {
    for body in [
        "",
        "null",
        "{}",
        r#"{"value":{}}"#,
        r#"{"value":[{}]}"#,
        r#"{"value":[{"id":""}]}"#,
        "<html>",
    ] {
        let graph = Sky::always(200, "request-id: r", body).graph();
        let errors = [
            graph.catalog_app(MANIFEST).await.unwrap_err(),
            graph.installation(&user("u"), &app()).await.unwrap_err(),
            graph.chat(&user("u"), &"i".into()).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(
                (error.reason(), error.class()),
                (Reason::NoResponse, Class::Later),
                "{body}"
            );
            assert_eq!(error.correlation(), "request-id=r");
        }
    }
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n{\"value\":[".to_vec();
    let (_server, graph) = serve_graph(vec![Act::SayAndClose(cut)]).await;
    let error = graph.catalog_app(MANIFEST).await.unwrap_err();
    assert_eq!(error.reason(), Reason::NoResponse);
}

fn said(code: &str, message: &str) -> String {
    json!({"error": {"code": code, "message": message, "innerError": {"request-id": "r"}}}).to_string()
}

#[tokio::test]
async fn the_table_knows_what_each_answer_means() {
    use Reason::{
        NoResponse, NotAllowed, NotConsented, NotFound, Refused, ServerError, Throttled, Unauthorized,
    };
    let policy = "App is blocked by app permission policy. TenantId: t, UserObjectId: u";
    let missing = "Missing role permissions on the request. API requires one of 'TeamsAppInstallation.…'.";
    for (status, code, message, reason, class) in [
        (302, "", "", Refused, Class::Rejected),
        (
            400,
            "BadRequest",
            "Invalid filter clause",
            Refused,
            Class::Rejected,
        ),
        (401, "InvalidAuthenticationToken", "", Unauthorized, Class::Later),
        (403, "Forbidden", policy, NotAllowed, Class::Target),
        (403, "UnknownError", "", NotAllowed, Class::Target),
        (403, "Forbidden", missing, NotConsented, Class::Tenant),
        (
            403,
            "Authorization_RequestDenied",
            "",
            NotConsented,
            Class::Tenant,
        ),
        (
            403,
            "Forbidden",
            "AAD App Id 'a' is not allowed to manage the Teams App 'b'",
            NotConsented,
            Class::Tenant,
        ),
        (404, "NotFound", "User not found", NotFound, Class::Target),
        (404, "Request_ResourceNotFound", "", NotFound, Class::Target),
        (408, "", "", NoResponse, Class::Later),
        (429, "TooManyRequests", "", Throttled, Class::Later),
        (500, "InternalServerError", "", ServerError, Class::Later),
        (502, "BadGateway", "", ServerError, Class::Later),
        (503, "ServiceUnavailable", "", ServerError, Class::Later),
        (504, "", "", ServerError, Class::Later),
    ] {
        let sky = Sky::always(status, "retry-after: 7\nrequest-id: r1", said(code, message));
        let graph = sky.graph();
        let errors = [
            graph.catalog_app(MANIFEST).await.unwrap_err(),
            graph.installation(&user("u"), &app()).await.unwrap_err(),
            graph.install_for_user(&user("u"), &app()).await.unwrap_err(),
            graph.install_in_team(&"g".into(), &app()).await.unwrap_err(),
            graph.chat(&user("u"), &"i".into()).await.unwrap_err(),
            graph.uninstall(&user("u"), &"i".into()).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(
                (error.reason(), error.class()),
                (reason, class),
                "{status} {code} {message}"
            );
            assert_eq!(error.code(), Some(code).filter(|code| !code.is_empty()));
            assert_eq!(
                error.message(),
                Some(message).filter(|message| !message.is_empty())
            );
            let wait = error.retry_after().unwrap().delay(UNIX_EPOCH);
            assert_eq!((wait.as_secs(), error.correlation()), (7, "request-id=r1"));
            let printed = format!("{error} {error:?}");
            assert!(message.is_empty() || !printed.contains(message), "{printed}");
        }
    }
}

#[tokio::test]
async fn an_installation_that_is_there_already_is_a_success_and_only_there() {
    let graph = Sky::always(409, "", "").graph();
    assert_eq!(
        graph.install_for_user(&user("u"), &app()).await.unwrap(),
        Installation::Existing
    );
    let error = graph.uninstall(&user("u"), &"i".into()).await.unwrap_err();
    assert_eq!(error.class(), Class::Rejected);
}

#[tokio::test]
async fn a_request_that_fails_on_its_way_may_be_made_again_and_is_not_here() {
    let (server, graph) = serve_graph(vec![Act::SayAndClose(Vec::new())]).await;
    let error = graph.install_for_user(&user("u"), &app()).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        (Reason::NoResponse, Class::Later)
    );
    assert_eq!(server.requests().len(), 2, "the token, the request");
    let nobody = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    let graph = Graph::unauthenticated(HttpTransport::builder().build().unwrap(), &nobody).unwrap();
    let error = graph.catalog_app(MANIFEST).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        (Reason::Unreachable, Class::Later)
    );
}

#[tokio::test]
async fn a_redirect_takes_the_token_nowhere() {
    let elsewhere = serve(vec![Act::Hang]).await;
    let head = format!("307 Temporary Redirect\r\nlocation: {}", elsewhere.url);
    let (_server, graph) = serve_graph(vec![Act::Say(answer(&head, ""))]).await;
    let error = graph.catalog_app(MANIFEST).await.unwrap_err();
    assert_eq!((error.reason(), elsewhere.connections()), (Reason::Refused, 0));
}

#[tokio::test]
async fn in_each_cloud_the_token_is_the_tenants_and_goes_to_graph_alone() {
    for (cloud, login, graph_url) in [
        (
            Cloud::Public,
            "https://login.microsoftonline.com",
            "https://graph.microsoft.com",
        ),
        (
            Cloud::UsGov,
            "https://login.microsoftonline.us",
            "https://graph.microsoft.us",
        ),
        (
            Cloud::UsDod,
            "https://login.microsoftonline.us",
            "https://dod-graph.microsoft.us",
        ),
        (
            Cloud::China,
            "https://login.partner.microsoftonline.cn",
            "https://microsoftgraph.chinacloudapi.cn",
        ),
    ] {
        let sky = Sky::always(201, "", "");
        let tenant = Tenant::new(cloud, "customer.example", APP).unwrap();
        let graph = Graph::new(sky.clone(), tenant, secret(), runtime());
        graph.install_for_user(&user("u"), &app()).await.unwrap();
        let [bought, used] = sky.all().try_into().unwrap();
        assert_eq!(
            bought.line,
            format!("POST {login}/customer.example/oauth2/v2.0/token")
        );
        assert_eq!(bought.authorization, None);
        let scope = format!(
            "scope=https%3A%2F%2F{}%2F.default",
            &graph_url["https://".len()..]
        );
        assert!(bought.body.contains(&scope), "{}", bought.body);
        let line = format!("POST {graph_url}/v1.0/users/u/teamwork/installedApps");
        assert_eq!(used.line, line);
        let catalog = format!("{graph_url}/v1.0/appCatalogs/teamsApps/app-1");
        assert_eq!(used.body, json!({"teamsApp@odata.bind": catalog}).to_string());
    }
}

/// Something that vouches for the bot, shared by all who ask.
struct Vouched(Mutex<Vec<String>>);

impl ClientAuth for Vouched {
    fn authenticate<'a>(
        &'a self,
        context: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>> {
        self.0.lock().unwrap().push(context.token_url.to_owned());
        Box::pin(async { Ok(ClientCredential::Assertion("vouched".to_owned().into())) })
    }
}

#[tokio::test]
async fn of_one_bot_the_connector_and_two_tenants_have_a_token_each_and_none_sees_anothers() {
    let sky = Sky::always(200, "", r#"{"value":[],"conversations":[]}"#);
    let client_auth = Arc::new(Vouched(Mutex::default()));
    let bot = Registration::new(
        Cloud::Public,
        &Tenancy::SingleTenant("own.example".to_owned()),
        APP,
    )
    .unwrap();
    let credential = Credential::new(sky.clone(), bot, Arc::clone(&client_auth), runtime());
    let trust = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Refused);
    let connector = Connector::new(sky.clone(), trust, credential);
    let tenant = |name: &str| {
        let tenant = Tenant::new(Cloud::Public, name, APP).unwrap();
        Graph::new(sky.clone(), tenant, Arc::clone(&client_auth), runtime())
    };
    let (one, other) = (tenant("one.example"), tenant("other.example"));
    for _ in 0..2 {
        let service_url = "https://smba.trafficmanager.net/emea/";
        connector.channels(service_url, &"19:t".into()).await.unwrap();
        one.catalog_app(MANIFEST).await.unwrap();
        other.catalog_app(MANIFEST).await.unwrap();
    }
    let asked_for: Vec<_> = client_auth.0.lock().unwrap().clone();
    let logins = ["own", "one", "other"]
        .map(|name| format!("https://login.microsoftonline.com/{name}.example/oauth2/v2.0/token"));
    assert_eq!(asked_for, logins);
    for asked in sky.asked() {
        let authorization = asked.authorization.unwrap();
        let of_graph = asked.line.starts_with("GET https://graph.microsoft.com/v1.0/");
        let of_connector = asked
            .line
            .starts_with("GET https://smba.trafficmanager.net/emea/v3/");
        assert!(of_graph != of_connector, "{}", asked.line);
        assert_eq!(
            authorization.contains("graph.microsoft.com"),
            of_graph,
            "{authorization}"
        );
        assert_eq!(authorization.contains("api.botframework.com"), of_connector);
    }
}

#[tokio::test]
async fn a_token_that_is_not_taken_is_replaced_once_and_a_second_refusal_is_final() {
    let sky = Sky::answering(|number| match number {
        1 => (401, "", String::new()),
        _ => (201, "", String::new()),
    });
    let graph = sky.graph();
    graph.install_for_user(&user("u"), &app()).await.unwrap();
    let tokens = |sky: &Sky| -> Vec<_> {
        let asked = sky.asked().into_iter();
        asked
            .map(|asked| {
                asked
                    .authorization
                    .unwrap()
                    .rsplit_once('.')
                    .unwrap()
                    .1
                    .to_owned()
            })
            .collect()
    };
    assert_eq!(tokens(&sky), ["1", "2"]);

    let refusing = Sky::always(401, "", "");
    let error = refusing.graph().catalog_app(MANIFEST).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        (Reason::Unauthorized, Class::Later)
    );
    assert_eq!(tokens(&refusing), ["1", "2"]);
}

#[tokio::test]
async fn an_app_from_the_store_is_found_by_its_own_id() {
    let listed = json!({"value": [{"id": MANIFEST, "externalId": null, "distributionMethod": "store"}]});
    let sky = Sky::always(200, "", listed.to_string());
    let found = sky.graph().store_app(MANIFEST).await.unwrap();
    assert_eq!(found, Some(MANIFEST.into()));
    let asked = &sky.asked()[0].line;
    let filter = "$filter=id%20eq%20%2711111111-2222-4333-8444-555555555555%27";
    assert!(asked.ends_with(filter), "{asked}");
}

#[tokio::test]
async fn without_a_token_nothing_is_asked_and_a_tenant_that_does_not_know_the_bot_is_told_from_the_rest() {
    use Reason::{NotConsented, Unauthorized};
    for (status, number, reason, class) in [
        (400, 700_016, NotConsented, Class::Tenant),
        (401, 7_000_229, NotConsented, Class::Tenant),
        (400, 65_001, NotConsented, Class::Tenant),
        (401, 7_000_112, NotConsented, Class::Tenant),
        (400, 90_002, NotConsented, Class::Tenant),
        (401, 7_000_215, Unauthorized, Class::Later),
        (503, 0, Unauthorized, Class::Later),
    ] {
        let body = json!({"error": "invalid_client", "error_codes": [number]}).to_string();
        let mut sky = Sky::always(200, "", "");
        sky.tokens = Arc::new(move |_| (status, "retry-after: 30", body.clone()));
        let error = sky.graph().catalog_app(MANIFEST).await.unwrap_err();
        assert_eq!((error.reason(), error.class()), (reason, class), "{number}");
        assert_eq!(error.code(), Some("NoToken"));
        let wait = error.retry_after().unwrap().delay(UNIX_EPOCH);
        assert_eq!(wait, Duration::from_secs(30));
        assert!(std::error::Error::source(&error).is_some());
        assert!(sky.asked().is_empty());
    }
}

#[tokio::test]
async fn a_stand_in_is_on_this_machine_and_one_without_tokens_gets_none() {
    let here = "http://127.0.0.1:3980/token";
    for elsewhere in [
        "https://graph.microsoft.com",
        "http://127.0.0.1.evil.example/",
        "http://localhost@evil.example/",
        "http://127.0.0.1:1/?to=elsewhere",
        "",
    ] {
        let refused = Err(InvalidRegistration::StandIn);
        assert_eq!(tenant().at_stand_in(here, elsewhere), refused, "{elsewhere}");
        assert_eq!(tenant().at_stand_in(elsewhere, here), refused, "{elsewhere}");
        assert!(Graph::unauthenticated(Sky::always(200, "", ""), elsewhere).is_err());
    }
    for tenant in ["", "a/b", "..", "a?b", "a%2Fb"] {
        let refused = Err(InvalidRegistration::Tenant);
        assert_eq!(Tenant::new(Cloud::Public, tenant, APP), refused, "{tenant:?}");
    }
    let sky = Sky::always(201, "", "");
    let graph = Graph::unauthenticated(sky.clone(), "http://localhost:3980/graph/").unwrap();
    graph.install_for_user(&user("u"), &app()).await.unwrap();
    let [asked] = sky.all().try_into().unwrap();
    assert_eq!(
        asked.line,
        "POST http://localhost:3980/graph/v1.0/users/u/teamwork/installedApps"
    );
    assert_eq!(asked.authorization, None);
}

#[tokio::test]
async fn an_id_that_would_change_the_path_is_refused_before_anything_is_asked() {
    let sky = Sky::always(200, "", "{}");
    let graph = sky.graph();
    for id in ["", ".", ".."] {
        let errors = [
            graph.installation(&user(id), &app()).await.unwrap_err(),
            graph.install_for_user(&user("u"), &id.into()).await.unwrap_err(),
            graph.install_in_team(&id.into(), &app()).await.unwrap_err(),
            graph.chat(&user("u"), &id.into()).await.unwrap_err(),
            graph.uninstall(&user(id), &"i".into()).await.unwrap_err(),
        ];
        assert!(
            errors.iter().all(|error| error.class() == Class::Rejected),
            "{id}"
        );
    }
    assert!(sky.all().is_empty(), "not even a token was fetched");
}

#[tokio::test]
async fn nothing_that_can_be_printed_holds_a_token() {
    let sky = Sky::always(403, "", "");
    let graph = sky.graph();
    let error = graph.catalog_app(MANIFEST).await.unwrap_err();
    let token = sky.asked()[0].authorization.clone().unwrap();
    let token = token.trim_start_matches("Bearer ").to_owned();
    assert!(!format!("{graph:?} {error:?} {error}").contains(&token));
}

#[test]
fn every_call_can_be_made_from_any_thread() {
    fn is_send(_: impl Send) {}
    let graph = Sky::always(200, "", "").graph();
    let (person, installation, app) = (user("u"), InstallationId::from("i"), app());
    is_send(graph.catalog_app(MANIFEST));
    is_send(graph.installation(&person, &app));
    is_send(graph.installations(&[&person], &app));
    is_send(graph.install_for_user(&person, &app));
    is_send(graph.chat(&person, &installation));
    is_send(graph.uninstall(&person, &installation));
}
