//! Microsoft Graph: the model's, with fault injection. The bot may receive the activity about an installation at once, after
//! minutes, twice, or never.

use std::sync::Arc;
use std::time::Duration;

use botframework::graph::Graph;
use botframework::http::{Body, ResponseFuture, Transport, TransportError};
use bytes::Bytes;
use herald::graph_clients::GraphClients;
use herald_local::teams::{GraphOperation, GraphRequest, Refusal};
use http::{Request, Response};
use serde_json::Value;
use tests::channel::http_response;
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::lambda::Environment;
use super::people::{Happening, happens};
use super::queues::pause;
use super::run::Run;
use super::wire::{Answer, PATIENCE, THERE, failed, hears};

/// The id of the bot's app in its manifest.
pub(super) const MANIFEST: &str = "11111111-2222-4333-8444-555555555555";

/// How long Graph and the way back take.
const AND_BACK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(900));

/// The longest time until the bot receives the activity about an installation.
const TOLD_WITHIN: Duration = Duration::from_secs(150);

/// Graph as a worker reaches it, in every tenant.
pub(super) fn graph_clients(environment: &Arc<Environment>) -> GraphClients {
    let portal = Portal(Arc::clone(environment));
    GraphClients::of(MANIFEST, move |tenant| {
        Graph::unauthenticated(portal.clone(), &format!("http://127.0.0.1/{tenant}"))
    })
}

fn read(request: &Request<Bytes>) -> GraphRequest {
    let uri = request.uri().to_string();
    let (base, _) = uri.split_once("/v1.0/").unwrap();
    let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    let operation = GraphOperation::read(request.method().as_str(), &uri[base.len()..], &body);
    GraphRequest {
        tenant: base.rsplit('/').next().unwrap().to_owned(),
        url: base.to_owned(),
        operation: operation.unwrap_or_else(|_| panic!("no worker asks for {} {uri}", request.method())),
    }
}

/// The wire of one worker.
#[derive(Clone, Debug)]
struct Portal(Arc<Environment>);

impl Transport for Portal {
    fn send(&self, request: Request<Bytes>) -> ResponseFuture<'_> {
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
        let asked = read(&request);
        run.tell(environment, format_args!("asks Graph: {asked}"));
        if let GraphOperation::Install { user, .. } = &asked.operation {
            run.book(|book| book.installs(run, environment, &asked.tenant, user));
        }
        if run.strikes(run.troubles.channel.unconnected) {
            pause(run.chance.wait(THERE.0, PATIENCE)).await;
            return Err(TransportError::NotSent("no connection".into()));
        }
        let (answer, answered) = oneshot::channel();
        spawn_local(serve(Arc::clone(run), asked.clone(), answer));
        let answer = hears(environment, "Graph", answered).await;
        if let (GraphOperation::Install { user, .. }, Ok(response)) = (&asked.operation, &answer)
            && response.status() == 201
        {
            run.book(|book| book.hears_of_installation(environment, &asked.tenant, user));
        }
        answer
    }
}

/// Executes a request that has left its worker.
async fn serve(run: Arc<Run>, asked: GraphRequest, answer: oneshot::Sender<Answer>) {
    let troubles = &run.troubles.channel;
    pause(run.chance.wait(THERE.0, THERE.1)).await;
    let back = run.chance.wait(AND_BACK.0, AND_BACK.1);
    if run.strikes(troubles.cut_before) {
        pause(back).await;
        drop(answer.send(Err(TransportError::MaybeSent("cut".into()))));
        return;
    }
    let now = run.now();
    let counted = run.channel.with(|state| state.count_at_graph(&asked.tenant, now));
    if counted.is_err() && run.keeps_rate_limits() {
        let tenant = &asked.tenant;
        run.violated(4, format_args!("Graph counts more than its limit in {tenant}"));
    }
    if counted.is_err() || run.strikes(troubles.throttled) {
        pause(back).await;
        let seconds = run.chance.between(1, 120);
        let throttled = Refusal {
            retry_after: (run.chance.below(3) > 0).then_some(seconds),
            ..Refusal::new(429, "TooManyRequests")
        };
        drop(answer.send(Ok(http_response(throttled.into()))));
        return;
    }
    if run.strikes(troubles.failed_before) {
        pause(back).await;
        drop(answer.send(Ok(failed(&run))));
        return;
    }
    pause(back / 2).await;
    let done = run.channel.with(|state| state.graph(&asked));
    run.tell(&"Graph", format_args!("{asked}: {done:?}"));
    if let Some(place) = done.as_ref().ok().and_then(|done| done.installed) {
        spawn_local(tells(Arc::clone(&run), place));
    }
    pause(back / 2).await;
    let response = if run.strikes(troubles.failed_after) {
        Ok(failed(&run))
    } else if run.strikes(troubles.cut_after) {
        Err(TransportError::MaybeSent("cut".into()))
    } else {
        Ok(http_response(done.map_or_else(Into::into, |done| done.response)))
    };
    drop(answer.send(response));
}

/// Sends the bot the activity about an installation: late, twice, or never.
async fn tells(run: Arc<Run>, place: usize) {
    let times = *run.chance.pick(&[0, 1, 1, 1, 2]);
    for _ in 0..times {
        pause(run.chance.wait(Duration::ZERO, TOLD_WITHIN)).await;
        happens(&run, Happening::IsTold(place)).await;
    }
}
