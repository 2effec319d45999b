//! The HTTP/1.1 server of every port of the host.
//!
//! The number of connections is bounded, so that idle ones do not use up the file descriptors that the functions need.
//! At the bound the connection that has been idle longest is closed. A request must arrive in time, and a client that has
//! finished sending (a half-closed connection) is still answered.

mod activity;
pub(crate) mod guard;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, sleep_until},
};

use activity::{Activity, TimedBody};

/// The limits of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The most connections.
    pub(crate) connections: usize,
    /// The time for the headers of a request, from the opening of the connection or the end of the last request.
    pub(crate) header_timeout: Duration,
}

impl Limits {
    /// For clients that are not this host's own.
    pub(crate) fn api() -> Limits {
        Limits {
            connections: share_of_descriptors(5),
            header_timeout: Duration::from_secs(15),
        }
    }

    /// For a service of the functions. Their clients close an idle connection first, after 90 seconds.
    pub(crate) fn service() -> Limits {
        Limits {
            connections: share_of_descriptors(5),
            header_timeout: Duration::from_secs(100),
        }
    }

    /// For a service that is called seldom.
    pub(crate) fn small_service() -> Limits {
        Limits {
            connections: share_of_descriptors(20),
            ..Limits::service()
        }
    }
}

/// This part of the file descriptors that the process may have, within reason. A system that does not tell has as many
/// as are usual.
fn share_of_descriptors(parts: usize) -> usize {
    static DESCRIPTORS: OnceLock<usize> = OnceLock::new();
    let all = DESCRIPTORS.get_or_init(|| {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let soft = limits.lines().find_map(|line| {
            let numbers = line.strip_prefix("Max open files")?;
            numbers.split_whitespace().next()?.parse().ok()
        });
        soft.unwrap_or(USUAL_DESCRIPTORS)
    });
    (all / parts).clamp(FEWEST_CONNECTIONS, MOST_CONNECTIONS)
}

/// How many file descriptors a process may have, if the system does not tell.
const USUAL_DESCRIPTORS: usize = 1_024;
/// The bounds of a server's connections.
const FEWEST_CONNECTIONS: usize = 50;
const MOST_CONNECTIONS: usize = 1_000;
/// The wait after a failed `accept`, for example without a free file descriptor.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Serves `router` until `stop` is sent or dropped; then ends requests under way. Dropping the future closes all
/// connections. Handlers may ask for [`ConnectInfo`].
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = Connections::new(limits);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &mut connections) => accepted,
            () = stopped(&mut stop) => break,
        };
        let (stream, peer) = accepted;
        let (router, stop) = (router.clone(), stop.clone());
        connections.add(|activity| converse(stream, peer, router, activity, limits, stop));
    }
    drop(listener);
    while connections.tasks.join_next().await.is_some() {}
}

/// The next connection, once there is room for it. None is closed before another one needs its place.
async fn accept(listener: &TcpListener, connections: &mut Connections) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                connections.make_room().await;
                return accepted;
            }
            Err(error) if is_of_connection(&error) => {}
            Err(_) => sleep(ACCEPT_BACKOFF).await,
        }
    }
}

/// Waits for the stop. The end of its sender is a stop, too.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// The open connections of a server.
struct Connections {
    limits: Limits,
    tasks: JoinSet<u64>,
    /// By age.
    open: BTreeMap<u64, (Arc<Activity>, AbortHandle)>,
    next: u64,
    /// Signals that a request has ended.
    idle: Arc<Notify>,
}

impl Connections {
    fn new(limits: Limits) -> Connections {
        Connections {
            limits,
            tasks: JoinSet::new(),
            open: BTreeMap::new(),
            next: 0,
            idle: Arc::default(),
        }
    }

    fn add<F: Future<Output = ()> + Send + 'static>(&mut self, converse: impl FnOnce(Arc<Activity>) -> F) {
        let number = self.next;
        self.next += 1;
        let activity = Arc::new(Activity::new(Arc::clone(&self.idle)));
        let conversation = converse(Arc::clone(&activity));
        let handle = self.tasks.spawn(async move {
            conversation.await;
            number
        });
        self.open.insert(number, (activity, handle));
    }

    /// Waits until there is room for one more connection. Closes one that has been without a request for some time, the
    /// longest first; if there is none, waits for one.
    async fn make_room(&mut self) {
        loop {
            while let Some(ended) = self.tasks.try_join_next() {
                self.forget(ended.ok());
            }
            if self.open.len() < self.limits.connections {
                return;
            }
            let idle = Arc::clone(&self.idle);
            let became_idle = idle.notified();
            let now = Instant::now();
            let spare = self.open.iter();
            let spare =
                spare.filter_map(|(number, (activity, _))| Some((activity.closable_since()?, *number)));
            let (at, number) = spare.min().unzip();
            if at.is_some_and(|at| at <= now) {
                let spare = number.and_then(|number| self.open.remove(&number));
                spare.inspect(|(_, handle)| handle.abort());
                return;
            }
            let next_spare = at.unwrap_or(now + self.limits.header_timeout);
            tokio::select! {
                ended = self.tasks.join_next() => self.forget(ended.and_then(Result::ok)),
                () = became_idle => {}
                () = sleep_until(next_spare) => {}
            }
        }
    }

    /// An aborted connection was removed when it was aborted.
    fn forget(&mut self, number: Option<u64>) {
        if let Some(number) = number {
            self.open.remove(&number);
        }
    }
}

/// Answers the requests of one connection.
async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    activity: Arc<Activity>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    // Answers are small and awaited. A socket without the option works, too.
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let under_way = Activity::begin(&activity);
        let mut request = request.map(|body| Body::new(TimedBody::new(body)));
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = hyper::service::Service::call(&router, request);
        async move {
            let answer = answer.await;
            drop(under_way);
            answer
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .half_close(true);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // A connection that fails has no one to answer.
        ended = connection.as_mut() => drop(ended),
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            drop(connection.await);
        }
    }
}

#[cfg(test)]
mod tests;
