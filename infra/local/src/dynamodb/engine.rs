//! The engine's own HTTP server, out of the reach of web pages.
//!
//! dynoxide answers `Access-Control-Allow-Origin: *` to any page. Therefore its server has no open port: it serves only
//! connections that this process has opened, and each of its listening sockets is shut down as soon as it has accepted its
//! one connection. Requests reach it through the [guard](crate::server::guard).

use std::{
    future::pending,
    io,
    net::{Ipv4Addr, Shutdown},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    response::{IntoResponse, Response},
};
use dynoxide::Database as Engine;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

/// The largest request: DynamoDB's own limit.
const BODY_BYTES: usize = 16 * 1024 * 1024;
/// The most connections. The engine carries out one operation after the other.
const CONNECTIONS: usize = 16;

/// Why the engine did not answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot connect to the engine")]
    Connect(#[from] io::Error),
    #[error("the engine did not answer")]
    Http(#[from] hyper::Error),
}

/// Connections to the engine's server.
#[derive(Clone)]
pub(super) struct Connections(Arc<Shared>);

struct Shared {
    engine: Engine,
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// The server and the client's side; dropping them ends both.
    _tasks: JoinSet<()>,
}

impl Connections {
    pub(super) fn new(engine: Engine) -> Connections {
        Connections(Arc::new(Shared {
            engine,
            permits: Semaphore::new(CONNECTIONS),
            idle: Mutex::default(),
        }))
    }

    pub(super) fn router(&self) -> Router {
        Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::max(BODY_BYTES))
            .with_state(self.clone())
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response, Error> {
        // The semaphore is never closed.
        let _permit = self.0.permits.acquire().await;
        let mut connection = self.ready().await?;
        let response = connection.sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        self.lock().push(connection);
        Ok(Response::from_parts(parts, Body::from(body)))
    }

    /// A connection that takes a request now.
    async fn ready(&self) -> Result<Connection, Error> {
        loop {
            // The lock ends with this statement.
            let idle = self.lock().pop();
            let Some(mut connection) = idle else {
                return Connection::open(self.0.engine.clone()).await;
            };
            // A connection is ready some time after the end of its last answer, or it has ended.
            if connection.sender.ready().await.is_ok() {
                return Ok(connection);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Starts a server for one connection, and connects to it.
    async fn open(engine: Engine) -> Result<Connection, Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let socket = SockRef::from(&listener).try_clone()?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(
            async move { drop(dynoxide::server::serve_with_shutdown(listener, engine, pending()).await) },
        );
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tasks.spawn(async move { drop(connection.await) });
        // Its first answer says that the server has accepted the connection, and needs no open port any more.
        let mut first = Request::new(Full::default());
        first
            .headers_mut()
            .insert(http::header::HOST, http::HeaderValue::from_static("engine"));
        drop(sender.send_request(first).await?.into_body().collect().await?);
        socket.shutdown(Shutdown::Both)?;
        Ok(Connection {
            sender,
            _tasks: tasks,
        })
    }
}

async fn answer(
    State(connections): State<Connections>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    // The path alone: a request to a server has no authority.
    *request.uri_mut() = uri
        .path_and_query()
        .and_then(|target| Uri::try_from(target.as_str()).ok())
        .unwrap_or_default();
    *request.headers_mut() = headers;
    connections.send(request).await.unwrap_or_else(|error| {
        let body = serde_json::json!({ "__type": "InternalServerError", "message": error.to_string() });
        let json = [(CONTENT_TYPE, "application/x-amz-json-1.0")];
        (StatusCode::INTERNAL_SERVER_ERROR, json, body.to_string()).into_response()
    })
}
