//! The wire between a worker and the channel: parsing of requests, and faults on the way there and back.

use std::sync::Arc;
use std::time::Duration;

use botframework::cloud::{Cloud, GCC_SERVICE_URL};
use botframework::http::{Body, ResponseFuture, Transport, TransportError};
use bytes::Bytes;
use herald_local::teams::{Address, Operation};
use http::Response;
use serde_json::Value;
use tests::channel::http_response;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::channel::{Done, Request};
use super::lambda::Environment;
use super::people::{Happening, happens};
use super::queues::pause;
use super::run::Run;

/// How long a worker's transport waits for an answer: the sender's own timeout.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The time from the worker to the channel.
pub(super) const THERE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// The time of the channel and the way back.
const AND_BACK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(280));

/// The service URL of a region.
pub(super) fn service_url(region: usize) -> String {
    format!("http://127.0.0.1/region{region}/")
}

fn read(request: &http::Request<Bytes>) -> Request {
    let uri = request.uri().to_string();
    let (base, _) = uri.split_once("/v3/").unwrap();
    let global = Cloud::Public.endpoints().service_url.unwrap();
    let address = if base == GCC_SERVICE_URL {
        Address::Gcc
    } else if base == global.trim_end_matches('/') {
        Address::Global
    } else {
        let region = base.rsplit("region").next().unwrap();
        let region = region.parse();
        Address::Region(region.unwrap_or_else(|_| panic!("no address of ours: {uri}")))
    };
    let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    let asked = Request::read(address, request.method().as_str(), &uri[base.len()..], &body);
    asked.unwrap_or_else(|_| panic!("no worker asks for {} {uri}", request.method()))
}

/// The wire of one worker.
#[derive(Clone, Debug)]
pub(super) struct Wire(pub(super) Arc<Environment>);

impl Transport for Wire {
    fn send(&self, request: http::Request<Bytes>) -> ResponseFuture<'_> {
        Box::pin(self.exchange(request))
    }
}

/// The answer to a request.
pub(super) type Answer = Result<Response<Body>, TransportError>;

/// Marks a request as waited for, until it is dropped.
struct Waiting<'a> {
    run: &'a Run,
    request: usize,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.run.book(|book| book.hears(self.request));
    }
}

impl Wire {
    async fn exchange(&self, request: http::Request<Bytes>) -> Result<Response<Body>, TransportError> {
        let environment = &self.0;
        let run = &environment.run;
        let troubles = &run.troubles.channel;
        if run.strikes(run.troubles.crash) {
            environment.die("before a request").await;
        }
        let asked = read(&request);
        let operation = asked.operation.clone();
        let number = run.book(|book| book.begins(run, environment, &asked));
        run.tell(environment, format_args!("request {number}: {asked}"));
        let _waiting = Waiting { run, request: number };
        if run.strikes(troubles.unconnected) {
            pause(run.chance.wait(THERE.0, PATIENCE)).await;
            run.book(|book| book.refused(number));
            run.tell(environment, format_args!("request {number}: no connection"));
            return Err(TransportError::NotSent("no connection".into()));
        }
        let (answer, answered) = oneshot::channel();
        spawn_local(serve(Arc::clone(run), asked, number, answer));
        let answer = hears(environment, &format!("request {number}"), answered).await;
        if let (Ok(response), Operation::Create { tenant, member, .. }) = (&answer, &operation)
            && let Body::Complete(body) = response.body()
            && response.status().is_success()
            && !body.is_empty()
        {
            run.book(|book| book.hears_of_conversation(number, tenant, member));
        }
        answer
    }
}

/// Waits for the answer, until the worker dies or its timeout is over.
pub(super) async fn hears(
    environment: &Environment,
    what: &str,
    answered: oneshot::Receiver<Answer>,
) -> Answer {
    let run = &environment.run;
    let patience = if run.strikes(run.troubles.crash) {
        run.chance.wait(Duration::ZERO, Duration::from_millis(350))
    } else {
        PATIENCE
    };
    let answer = timeout(patience, answered).await;
    if patience < PATIENCE {
        environment.die("while a request is under way").await;
    }
    match answer {
        Ok(Ok(Ok(response))) => {
            run.tell(environment, format_args!("{what}: {}", response.status()));
            Ok(response)
        }
        Ok(Ok(Err(error))) => {
            run.tell(environment, format_args!("{what}: the connection broke"));
            Err(error)
        }
        Ok(Err(_)) | Err(_) => {
            run.tell(environment, format_args!("{what}: no answer in time"));
            Err(TransportError::MaybeSent("no answer in time".into()))
        }
    }
}

/// Executes a request that has left its worker, which may no longer wait for the answer.
async fn serve(run: Arc<Run>, asked: Request, number: usize, answer: oneshot::Sender<Answer>) {
    let troubles = &run.troubles.channel;
    pause(run.chance.wait(THERE.0, THERE.1)).await;
    let back = run.chance.wait(AND_BACK.0, AND_BACK.1);
    if run.strikes(troubles.cut_before) {
        run.book(|book| book.refused(number));
        pause(back).await;
        drop(answer.send(Err(TransportError::MaybeSent("cut".into()))));
        return;
    }
    let place = match run.channel.admit(&run, &asked) {
        Ok(place) => place,
        Err(refusal) => {
            run.book(|book| book.refused(number));
            pause(back).await;
            if let Some(seconds) = refusal.retry_after {
                run.book(|book| book.told_to_wait(&run, number, seconds));
            }
            drop(answer.send(Ok(http_response(refusal.into()))));
            return;
        }
    };
    if run.strikes(troubles.failed_before) {
        pause(back).await;
        run.book(|book| book.refused(number));
        run.channel.finish(&asked, place);
        drop(answer.send(Ok(failed(&run))));
        return;
    }
    let takes = if run.strikes(troubles.slow) {
        run.chance.wait(Duration::from_secs(8), Duration::from_secs(17))
    } else {
        back / 2
    };
    pause(takes).await;
    let done = run.channel.carry_out(&run, &asked, place);
    run.tell(
        &"channel",
        format_args!("request {number} is carried out: {done:?}"),
    );
    run.book(|book| book.carried_out(&run, number, &done));
    run.channel.finish(&asked, place);
    if matches!(done, Done::Created { .. }) && run.strikes(troubles.eager) {
        // A person may write in a new conversation before the bot has the answer to its creation.
        spawn_local({
            let run = Arc::clone(&run);
            async move { happens(&run, Happening::Speaks(place)).await }
        });
    }
    pause(back / 2).await;
    let response = if run.strikes(troubles.failed_after) {
        Ok(failed(&run))
    } else if run.strikes(troubles.cut_after) {
        if run.chance.below(2) == 0 {
            Ok(response(201, Body::Truncated))
        } else {
            Err(TransportError::MaybeSent("cut".into()))
        }
    } else if run.strikes(troubles.silent) {
        Ok(response(202, Body::Complete(Bytes::new())))
    } else {
        Ok(http_response(done.into()))
    };
    drop(answer.send(response));
}

pub(super) fn response(status: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status.try_into().unwrap();
    response
}

pub(super) fn failed(run: &Run) -> Response<Body> {
    let status = *run.chance.pick(&[500, 502, 503, 504, 408]);
    response(status, Body::Complete(Bytes::from_static(b"{}")))
}
