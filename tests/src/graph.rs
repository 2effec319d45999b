//! The model's Graph with its token endpoints, which misbehaves on request.
//!
//! Every person exists unless a test removes them, and has no installation. Graph is reached in-process as a [`Transport`],
//! where a token is valid for its own tenant only, or over HTTP with [`Graph::serve`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use botframework::http::{ResponseFuture, Transport};
use bytes::Bytes;
use herald::clock::Clock;
use herald_local::teams::{GraphOperation, GraphRequest, Organization, Refusal, Response, Teams, decoded};
use http::Request;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::channel::{Reply, http_response, open_world};
use crate::server::{self, Served};

/// The id of the bot's app in its manifest.
pub const MANIFEST: &str = "11111111-2222-4333-8444-555555555555";

/// The fake Graph. Clones are the same one.
#[derive(Clone)]
pub struct Graph(Arc<Shared>);

struct Shared {
    clock: Clock,
    state: Mutex<State>,
    installed: watch::Sender<usize>,
}

struct State {
    teams: Teams,
    nobody: HashSet<String>,
    replies: HashMap<String, VecDeque<Reply>>,
    /// Entra's error numbers, by tenant, for tenants without a token.
    without_token: HashMap<String, u64>,
    asked: Vec<Asked>,
    told: Option<Told>,
}

type Told = Box<dyn Fn(&str) + Send>;

/// One request, except those for tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The time of the request.
    pub at: Timestamp,
    /// The tenant of its token; empty without one.
    pub tenant: String,
    /// Method and path, decoded, without a query.
    pub line: String,
}

impl Graph {
    /// A Graph with this clock.
    pub fn at(clock: Clock) -> Self {
        let state = State {
            teams: open_world(),
            nobody: HashSet::new(),
            replies: HashMap::new(),
            without_token: HashMap::new(),
            asked: Vec::new(),
            told: None,
        };
        Self(Arc::new(Shared {
            clock,
            state: Mutex::new(state),
            installed: watch::Sender::new(0),
        }))
    }

    /// From now on the app has this id in the catalog, or is not there. Under that of its [`MANIFEST`] it is from the store.
    pub fn catalog(&self, app: Option<&str>) {
        self.state().teams.app = app.map(str::to_owned);
    }

    /// The tenant has this directory from now on.
    pub fn has_organization(&self, tenant: &str, organization: Organization) {
        let teams = &mut self.state().teams;
        let tenant = teams.tenant(tenant);
        teams.tenants[tenant].organization = organization;
    }

    /// Makes this person or group unknown.
    pub fn nobody(&self, person: &str) {
        self.state().nobody.insert(person.to_owned());
    }

    /// The app is installed for this person.
    pub fn has(&self, person: &str) {
        self.set_installed(person, true);
    }

    /// The app is not installed for this person.
    pub fn has_not(&self, person: &str) {
        self.set_installed(person, false);
    }

    fn set_installed(&self, person: &str, installed: bool) {
        let teams = &mut self.state().teams;
        let tenant = teams.tenant("");
        let place = teams
            .person(person)
            .unwrap_or_else(|| teams.create_person(tenant, person));
        teams.places[place].installed = installed;
    }

    /// Answers the next requests about this person or group, or about the `catalog`, the `users` or the `groups`, with these replies, one each. A reply with
    /// status 200 executes the request.
    pub fn replies(&self, about: &str, replies: impl IntoIterator<Item = Reply>) {
        let replies = replies.into_iter().collect();
        self.state().replies.insert(about.to_owned(), replies);
    }

    /// Refuses tokens for this tenant from now on, with this error number of Entra.
    pub fn gives_no_token(&self, tenant: &str, number: u64) {
        self.state().without_token.insert(tenant.to_owned(), number);
    }

    /// Calls `told` with the person of each installation from now on.
    pub fn tells(&self, told: impl Fn(&str) + Send + 'static) {
        self.state().told = Some(Box::new(told));
    }

    /// Waits until this many installations happened.
    pub async fn installed(&self, count: usize) {
        let mut installed = self.0.installed.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = installed.wait_for(|installed| *installed >= count).await;
    }

    /// The number of installations.
    pub fn installs(&self) -> usize {
        *self.0.installed.borrow()
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// Serves Graph over HTTP. Its token endpoint is at `/token`.
    ///
    /// # Errors
    ///
    /// No port is free.
    pub async fn serve(&self) -> io::Result<Served> {
        let graph = self.clone();
        server::serve(move |request| {
            let (method, target) = request.target();
            let token = request.values("authorization").pop().unwrap_or_default();
            let host = request.values("host").pop().unwrap_or_default();
            let answer = graph.answer(&format!("http://{host}"), (method, target), &token, &request.body);
            async move { Some(answer.into()) }
        })
        .await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, url: &str, (method, target): (&str, &str), token: &str, body: &[u8]) -> Response {
        let path = target.split('?').next().unwrap_or_default();
        if path.ends_with("/token") {
            return self.token(path);
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let operation = GraphOperation::read(method, target, &body);
        let subject = operation
            .as_ref()
            .ok()
            .and_then(GraphOperation::subject)
            .map(str::to_owned);
        let tenant = token.trim_start_matches("Bearer token-of-").to_owned();
        let mut state = self.state();
        state.asked.push(Asked {
            at: self.0.clock.now(),
            tenant: tenant.clone(),
            line: format!("{method} {}", decoded(path)),
        });
        let about = subject.as_deref().unwrap_or("catalog");
        let reply = state.replies.get_mut(about).and_then(VecDeque::pop_front);
        if let Some(reply) = reply.filter(|reply| reply.status != 200) {
            return reply.into();
        }
        if state.nobody.contains(about) {
            return Refusal::new(404, "NotFound").into();
        }
        let url = url.trim_end_matches('/').to_owned();
        let request = operation.map(|operation| GraphRequest {
            tenant,
            url,
            operation,
        });
        match request.and_then(|request| state.teams.graph(&request)) {
            Ok(done) => {
                if done.installed.is_some() {
                    if let Some(told) = &state.told {
                        told(about);
                    }
                    drop(state);
                    self.0.installed.send_modify(|installed| *installed += 1);
                }
                done.response
            }
            Err(refusal) => refusal.into(),
        }
    }

    /// A token of the tenant in the path.
    fn token(&self, path: &str) -> Response {
        let tenant = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        match self.state().without_token.get(tenant) {
            Some(number) => Response::new(
                400,
                json!({"error": "unauthorized_client", "error_codes": [number]}),
            ),
            None => {
                let token = format!("token-of-{tenant}");
                let grant = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token});
                Response::new(200, grant)
            }
        }
    }
}

impl Transport for Graph {
    fn send(&self, request: Request<Bytes>) -> ResponseFuture<'_> {
        Box::pin(async move {
            let target = request.uri().path_and_query();
            let target = target.map_or("", |target| target.as_str());
            let token = request.headers().get(AUTHORIZATION);
            let token = token.and_then(|token| token.to_str().ok()).unwrap_or_default();
            let url = request.uri().to_string();
            let url = url.strip_suffix(target).unwrap_or_default();
            let response = self.answer(url, (request.method().as_str(), target), token, request.body());
            Ok(http_response(response))
        })
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Graph")
    }
}
