//! A fake Microsoft Graph, with its token endpoints: a catalog with one app, people for whom it is installed once, and chats.
//!
//! It is one thing with two doors: in-process as a [`Transport`], and over real HTTP with [`Graph::serve`]. Everybody is a
//! person of theirs, until it is told otherwise. By the first door it gives each tenant tokens of its own, and takes no other.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use botframework::connector::{Body, Exchange, Transport};
use bytes::Bytes;
use herald::clock::Clock;
use http::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::channel::{Reply, decode};
use crate::recorder::Recorder;

/// The id of the bot's app in its manifest.
pub const MANIFEST: &str = "11111111-2222-4333-8444-555555555555";

/// The fake. Clones are the same one.
#[derive(Clone)]
pub struct Graph(Arc<Shared>);

struct Shared {
    clock: Clock,
    state: Mutex<State>,
    installed: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    /// The app's id in the catalog.
    app: Option<String>,
    nobody: HashSet<String>,
    installed: HashSet<String>,
    replies: HashMap<String, VecDeque<Reply>>,
    /// By tenant, Entra's number for why it has no token.
    without_token: HashMap<String, u64>,
    asked: Vec<Asked>,
    told: Option<Told>,
}

type Told = Box<dyn Fn(&str) + Send>;

/// One request that came, tokens excepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When.
    pub at: Timestamp,
    /// In which tenant, by its token; empty without one.
    pub tenant: String,
    /// Method and path, decoded, without a query.
    pub line: String,
}

type Answer = (u16, Option<u32>, Value);

impl Graph {
    /// A Graph that tells the time by this clock.
    pub fn at(clock: Clock) -> Self {
        let state = State {
            app: Some("app-1".to_owned()),
            ..State::default()
        };
        Self(Arc::new(Shared {
            clock,
            state: Mutex::new(state),
            installed: watch::Sender::new(0),
        }))
    }

    /// From now on the app has this id in the catalog, or is not there. Under that of its [`MANIFEST`] it is from the store.
    pub fn catalog(&self, app: Option<&str>) {
        self.state().app = app.map(str::to_owned);
    }

    /// There is no such person.
    pub fn nobody(&self, person: &str) {
        self.state().nobody.insert(person.to_owned());
    }

    /// It is installed for this person already.
    pub fn has(&self, person: &str) {
        self.state().installed.insert(person.to_owned());
    }

    /// It is installed for this person no more.
    pub fn has_not(&self, person: &str) {
        self.state().installed.remove(person);
    }

    /// Answers requests about this person, or the `catalog`, with these first, one each. One of status 200 is what it would
    /// have answered anyway.
    pub fn replies(&self, about: &str, replies: impl IntoIterator<Item = Reply>) {
        let replies = replies.into_iter().collect();
        self.state().replies.insert(about.to_owned(), replies);
    }

    /// From now on there are no tokens for this tenant, for this reason of Entra's.
    pub fn gives_no_token(&self, tenant: &str, number: u64) {
        self.state().without_token.insert(tenant.to_owned(), number);
    }

    /// From now on somebody is told for whom it was installed, as the bot's endpoint is.
    pub fn tells(&self, told: impl Fn(&str) + Send + 'static) {
        self.state().told = Some(Box::new(told));
    }

    /// Waits until it was installed so often.
    pub async fn installed(&self, count: usize) {
        let mut installed = self.0.installed.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = installed.wait_for(|installed| *installed >= count).await;
    }

    /// How often it was installed for somebody who did not have it.
    pub fn installs(&self) -> usize {
        *self.0.installed.borrow()
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// Opens the second door. Its token endpoint is at `/token`.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn serve(&self) -> io::Result<Recorder> {
        let graph = self.clone();
        Recorder::answering(move |request, _| {
            let mut words = request.line.split(' ');
            let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let token = request.authorization.first().map_or("", String::as_str);
            let (status, wait, body) = graph.answer(method, target, token, &request.body);
            let headers = wait.map_or(String::new(), |wait| format!("retry-after: {wait}\r\n"));
            (status, headers, body.to_string())
        })
        .await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, method: &str, target: &str, token: &str, body: &str) -> Answer {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        if path.ends_with("/token") {
            return self.token(path);
        }
        let parts: Vec<String> = path.trim_start_matches('/').split('/').map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let mut state = self.state();
        state.asked.push(Asked {
            at: self.0.clock.now(),
            tenant: token.trim_start_matches("Bearer token-of-").to_owned(),
            line: format!("{method} /{}", parts.join("/")),
        });
        let about = match parts.as_slice() {
            ["v1.0", "users", person, "teamwork", ..] => *person,
            _ => "catalog",
        };
        let reply = state.replies.get_mut(about).and_then(VecDeque::pop_front);
        if let Some(reply) = reply.filter(|reply| reply.status != 200) {
            let error = json!({"error": {"code": reply.code, "message": reply.message}});
            return (reply.status, reply.retry_after, error);
        }
        let refused = |status, code: &str| {
            (
                status,
                None,
                json!({"error": {"code": code, "message": "refused"}}),
            )
        };
        let person = match (method, parts.as_slice()) {
            ("GET", ["v1.0", "appCatalogs", "teamsApps"]) => {
                // What is from the store has the id of its manifest, and is found by no other.
                let filter = decode(target);
                let by_manifest = filter.contains(&format!("externalId eq '{MANIFEST}'"));
                let meant = |app: &&String| {
                    (by_manifest && *app != MANIFEST) || filter.contains(&format!("filter=id eq '{app}'"))
                };
                let apps = state.app.iter().filter(meant);
                let apps = apps.map(|app| json!({"id": app, "distributionMethod": "organization"}));
                return (200, None, json!({"value": apps.collect::<Vec<_>>()}));
            }
            (_, ["v1.0", "users", person, "teamwork", "installedApps", ..]) => (*person).to_owned(),
            _ => return refused(400, "BadRequest"),
        };
        if state.nobody.contains(&person) {
            return refused(404, "NotFound");
        }
        let installation = format!("installation-of-{person}");
        let is_installed = state.installed.contains(&person);
        match (method, &parts[5..]) {
            ("GET", []) => {
                let there = is_installed.then(|| json!({"id": installation, "teamsApp": {"id": state.app}}));
                (200, None, json!({"value": there.into_iter().collect::<Vec<_>>()}))
            }
            ("GET", [id, "chat"]) if is_installed && *id == installation => {
                (200, None, json!({"id": format!("19:{person}@unq.gbl.spaces")}))
            }
            ("POST", []) => {
                let bound: Value = serde_json::from_str(body).unwrap_or(Value::Null);
                let bound = bound["teamsApp@odata.bind"].as_str().unwrap_or_default();
                let known = state
                    .app
                    .as_deref()
                    .is_some_and(|app| bound.ends_with(&format!("/{app}")));
                if !known {
                    return refused(404, "NotFound");
                }
                if !state.installed.insert(person.clone()) {
                    return refused(409, "Conflict");
                }
                if let Some(told) = &state.told {
                    told(&person);
                }
                drop(state);
                self.0.installed.send_modify(|installed| *installed += 1);
                (201, None, Value::Null)
            }
            _ => refused(404, "NotFound"),
        }
    }

    /// A token for the tenant in the path; of one tenant's no other makes use.
    fn token(&self, path: &str) -> Answer {
        let tenant = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        match self.state().without_token.get(tenant) {
            Some(number) => {
                let refusal = json!({"error": "unauthorized_client", "error_codes": [number]});
                (400, None, refusal)
            }
            None => {
                let token = format!("token-of-{tenant}");
                let grant = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token});
                (200, None, grant)
            }
        }
    }
}

impl Transport for Graph {
    fn send(&self, request: Request<Bytes>) -> Exchange<'_> {
        Box::pin(async move {
            let target = request
                .uri()
                .path_and_query()
                .map_or("", |target| target.as_str());
            let token = request.headers().get(AUTHORIZATION);
            let token = token.and_then(|token| token.to_str().ok()).unwrap_or_default();
            let body = String::from_utf8_lossy(request.body());
            let (status, wait, body) = self.answer(request.method().as_str(), target, token, &body);
            let mut response = Response::new(Body::Whole(body.to_string().into()));
            *response.status_mut() =
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            if let Some(wait) = wait {
                response
                    .headers_mut()
                    .insert(RETRY_AFTER, HeaderValue::from(wait));
            }
            Ok(response)
        })
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Graph")
    }
}
