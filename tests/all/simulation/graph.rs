//! Microsoft Graph: it behaves by protocol E, in every tenant, as far as installing the bot for people goes.
//!
//! Whoever is installed for is there for the channel from then on; that the bot is told of it is another matter: it may be at
//! once, after minutes, twice, or never.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use botframework::connector::{Body, Exchange, Transport, TransportError};
use botframework::graph::Graph;
use bytes::Bytes;
use herald::graph::Customers;
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::channel::{Kind, Refusal, State};
use super::lambda::Environment;
use super::limits;
use super::people::{Happening, happens};
use super::queues::pause;
use super::run::Run;
use super::wire::{Answer, PATIENCE, THERE, decoded, failed, hears, refused, response};

/// The id of the bot's app in its manifest.
pub(super) const MANIFEST: &str = "11111111-2222-4333-8444-555555555555";

/// How long Graph takes, and its answer.
const AND_BACK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(900));

/// How long it takes until the bot is told of an installation.
const TOLD_WITHIN: Duration = Duration::from_secs(150);

/// Graph as a worker reaches it, in every tenant.
pub(super) fn customers(environment: &Arc<Environment>) -> Customers {
    let portal = Portal(Arc::clone(environment));
    Customers::of(MANIFEST, move |tenant| {
        Graph::unauthenticated(portal.clone(), &format!("http://127.0.0.1/{tenant}"))
    })
}

/// What is asked of Graph, in a tenant.
#[derive(Clone, Debug)]
struct Asked {
    tenant: String,
    verb: Verb,
}

#[derive(Clone, Debug)]
enum Verb {
    /// Find the app in the catalog.
    Catalog { by_manifest: bool },
    /// Install it for this person.
    Install { user: String },
    /// Tell whether it is installed for this person.
    Installed { user: String },
    /// Tell the chat of this person.
    Chat { user: String },
}

impl fmt::Display for Asked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verb {
            Verb::Catalog { .. } => write!(formatter, "the catalog")?,
            Verb::Install { user } => write!(formatter, "install for {user}")?,
            Verb::Installed { user } => write!(formatter, "the installation of {user}")?,
            Verb::Chat { user } => write!(formatter, "the chat of {user}")?,
        }
        write!(formatter, " in {}", self.tenant)
    }
}

impl Asked {
    fn read(request: &Request<Bytes>) -> Self {
        let uri = request.uri().to_string();
        let (base, path) = uri.split_once("/v1.0/").unwrap();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<String> = path.split('/').map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let user = || parts[1].to_owned();
        let verb = match (request.method().as_str(), parts.as_slice()) {
            ("GET", ["appCatalogs", "teamsApps"]) => Verb::Catalog {
                by_manifest: decoded(query).contains("externalId"),
            },
            ("POST", ["users", _, "teamwork", "installedApps"]) => Verb::Install { user: user() },
            ("GET", ["users", _, "teamwork", "installedApps"]) => Verb::Installed { user: user() },
            ("GET", ["users", _, "teamwork", "installedApps", _, "chat"]) => Verb::Chat { user: user() },
            _ => panic!("nothing that a worker asks: {} {uri}", request.method()),
        };
        let tenant = base.rsplit('/').next().unwrap().to_owned();
        Self { tenant, verb }
    }
}

/// The wire of one worker.
#[derive(Clone, Debug)]
struct Portal(Arc<Environment>);

impl Transport for Portal {
    fn send(&self, request: Request<Bytes>) -> Exchange<'_> {
        Box::pin(self.exchange(request))
    }
}

impl Portal {
    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        let environment = &self.0;
        let run = &environment.run;
        if run.strikes(run.troubles.crash) {
            environment.die("before a request to Graph").await;
        }
        let asked = Asked::read(&request);
        run.tell(environment, format_args!("asks Graph: {asked}"));
        if let Verb::Install { user } = &asked.verb {
            run.book(|book| book.installs(run, environment, &asked.tenant, user));
        }
        if run.strikes(run.troubles.channel.unconnected) {
            pause(run.chance.wait(THERE.0, PATIENCE)).await;
            return Err(TransportError::NotSent("no connection".into()));
        }
        let (answer, answered) = oneshot::channel();
        spawn_local(serve(Arc::clone(run), asked.clone(), answer));
        let answer = hears(environment, "Graph", answered).await;
        if let (Verb::Install { user }, Ok(response)) = (&asked.verb, &answer)
            && response.status() == 201
        {
            run.book(|book| book.hears_of_installation(environment, &asked.tenant, user));
        }
        answer
    }
}

/// What becomes of a request once it has left.
async fn serve(run: Arc<Run>, asked: Asked, answer: oneshot::Sender<Answer>) {
    let troubles = &run.troubles.channel;
    pause(run.chance.wait(THERE.0, THERE.1)).await;
    let back = run.chance.wait(AND_BACK.0, AND_BACK.1);
    if run.strikes(troubles.cut_before) {
        pause(back).await;
        drop(answer.send(Err(TransportError::MaybeSent("cut".into()))));
        return;
    }
    let over = run.channel.with(|state| state.count_at_graph(&asked.tenant));
    if over && run.keeps_pace() {
        run.violated(
            4,
            format_args!("Graph counts more than its limit in {}", asked.tenant),
        );
    }
    if over || run.strikes(troubles.throttled) {
        pause(back).await;
        let seconds = run.chance.between(1, 120);
        let throttled = Refusal {
            retry_after: (run.chance.below(3) > 0).then_some(seconds),
            ..Refusal::new(429, "TooManyRequests")
        };
        drop(answer.send(Ok(refused(&throttled))));
        return;
    }
    if run.strikes(troubles.failed_before) {
        pause(back).await;
        drop(answer.send(Ok(failed(&run))));
        return;
    }
    pause(back / 2).await;
    let done = run.channel.with(|state| state.does(&asked));
    run.tell(&"Graph", format_args!("{asked}: {done:?}"));
    if let Ok((201, _, Some(place))) = done {
        spawn_local(tells(Arc::clone(&run), place));
    }
    pause(back / 2).await;
    let response = if run.strikes(troubles.failed_after) {
        Ok(failed(&run))
    } else if run.strikes(troubles.cut_after) {
        Err(TransportError::MaybeSent("cut".into()))
    } else {
        Ok(match done {
            Ok((status, document, _)) => response(status, Body::Whole(document.to_string().into())),
            Err(refusal) => refused(&refusal),
        })
    };
    drop(answer.send(response));
}

/// The bot is told of an installation: in its time, or twice, or never.
async fn tells(run: Arc<Run>, place: usize) {
    let times = *run.chance.pick(&[0, 1, 1, 1, 2]);
    for _ in 0..times {
        pause(run.chance.wait(Duration::ZERO, TOLD_WITHIN)).await;
        happens(&run, Happening::IsTold(place)).await;
    }
}

/// A status and a document; and whom it was installed for, if it was.
type Done = (u16, Value, Option<usize>);

impl State {
    /// Counts a request in a tenant; whether it is one too many.
    fn count_at_graph(&mut self, tenant: &str) -> bool {
        let now = Instant::now();
        let of_tenant = self.tenants.iter_mut().find(|known| known.id == tenant);
        of_tenant.is_some_and(|tenant| tenant.at_graph.count(limits::GRAPH, now).is_some())
    }

    fn does(&mut self, asked: &Asked) -> Result<Done, Refusal> {
        let Some(tenant) = self.tenants.iter().position(|tenant| tenant.id == asked.tenant) else {
            return Err(Refusal::new(404, "NotFound"));
        };
        let Tenant { consents, has_app } = self.tenants[tenant].graph;
        if !consents {
            return Err(Refusal {
                message: "Missing role permissions on the request",
                ..Refusal::new(403, "Forbidden")
            });
        }
        let user = match &asked.verb {
            Verb::Catalog { by_manifest } => {
                let app = json!({"id": "app", "distributionMethod": "organization"});
                let apps: Vec<Value> = [app].into_iter().filter(|_| has_app && *by_manifest).collect();
                return Ok((200, json!({ "value": apps }), None));
            }
            Verb::Install { user } | Verb::Installed { user } | Verb::Chat { user } => user,
        };
        // Guests are nobody's here.
        let is_meant = |place: &super::channel::Place| {
            place.kind == Kind::Person && place.tenant == tenant && place.user == *user
        };
        let number = self.places.iter().position(is_meant);
        let number = number.filter(|_| has_app).ok_or(Refusal::new(404, "NotFound"))?;
        let place = &mut self.places[number];
        match &asked.verb {
            Verb::Install { .. } if place.forbidden => Err(Refusal::new(403, "Forbidden")),
            Verb::Install { .. } if place.installed => Err(Refusal::new(409, "Conflict")),
            Verb::Install { .. } => {
                place.installed = true;
                place.refusal = None;
                Ok((201, Value::Null, Some(number)))
            }
            Verb::Installed { .. } => {
                let there = json!({"id": "installation", "teamsApp": {"id": "app"}});
                let there: Vec<Value> = [there].into_iter().filter(|_| place.installed).collect();
                Ok((200, json!({ "value": there }), None))
            }
            Verb::Chat { .. } if !place.installed => Err(Refusal::new(404, "NotFound")),
            Verb::Chat { .. } | Verb::Catalog { .. } => {
                let chat = format!("19:chat{number}@unq.gbl.spaces");
                self.call_also(&chat, number);
                Ok((200, json!({ "id": chat }), None))
            }
        }
    }
}

/// What Graph may do in a tenant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tenant {
    /// Whether its administrator lets the bot install itself.
    pub(super) consents: bool,
    /// Whether its catalog has the app.
    pub(super) has_app: bool,
}

impl Default for Tenant {
    fn default() -> Self {
        Self {
            consents: true,
            has_app: true,
        }
    }
}
