//! The HTTP front: API Gateway's HTTP API without its authorizers. Every program of this machine may call every route, so
//! it listens on loopback only, and refuses what pages and tunnels send to any route but the bot's.

mod payload;
mod route;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, State},
    response::{IntoResponse, Response},
};
use http::{HeaderName, Request, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{
    clock,
    event::{Event, Events},
    runtime::Functions,
    server::guard::{self, Refused},
    template,
};
use payload::Arrival;
use route::{Route, Routes};

/// The largest request body, in bytes.
const BODY_BYTES: usize = 10 * 1024 * 1024;
/// The bot's endpoint: a tunnel may hand in the activities of real channels.
const BOT: &str = "/api/messages";
/// The largest event of an invocation, in bytes: Lambda's limit.
const EVENT_BYTES: usize = 6 * 1024 * 1024;

/// Why the front cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another program uses the port.
    #[error("{0} is in use by another program; end it, or choose another address with HERALD_LISTEN")]
    InUse(SocketAddr),
    /// The address can be reached from other machines.
    #[error("{0} is not a loopback address, and nothing here is authenticated")]
    NotLoopback(SocketAddr),
    /// The system refused for another reason.
    #[error("cannot listen on {address}")]
    Io {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

/// Binds the front's address, so that a busy port is reported before anything else starts.
///
/// # Errors
/// When the address is in use, or is not a loopback address.
pub fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    if !address.ip().is_loopback() {
        return Err(ListenError::NotLoopback(address));
    }
    TcpListener::bind(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address),
        _ => ListenError::Io { address, source },
    })
}

#[derive(Clone)]
struct Front {
    routes: Arc<Routes>,
    functions: Functions,
    events: Events,
    account: String,
}

/// The routes as an HTTP service. It requires [`ConnectInfo`].
pub(crate) fn router(
    routes: &[template::Route],
    functions: Functions,
    events: Events,
    account: &str,
) -> Router {
    let routes = Arc::new(Routes::new(routes));
    Router::new().fallback(answer).with_state(Front {
        routes,
        functions,
        events,
        account: account.to_owned(),
    })
}

/// The event for the function of a request's route; `None` if it has no route.
pub fn event(routes: &[template::Route], request: Request<Bytes>) -> Option<Value> {
    let (parts, body) = request.into_parts();
    let routes = Routes::new(routes);
    let path = route::decoded(parts.uri.path());
    let (route, path_parameters) = routes.find(parts.method.as_str(), &path)?;
    let arrival = Arrival {
        route_key: &route.key,
        path: &path,
        path_parameters: &path_parameters,
        source: IpAddr::from(Ipv4Addr::LOCALHOST),
        account: "000000000000",
        request_id: "request",
        at: clock::now(),
    };
    Some(payload::event(&parts, &body, &arrival))
}

async fn answer(
    State(front): State<Front>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response {
    let (method, path) = (request.method().to_string(), shown(request.uri().path()));
    let start = Instant::now();
    let response = front
        .respond(request, peer.ip())
        .await
        .unwrap_or_else(Refusal::into_response);
    let status = response.status().as_u16();
    front.events.tell(&Event::Answered {
        method,
        path,
        status,
        elapsed: start.elapsed(),
    });
    response
}

/// A path as events show it: the address of a hook ends in its secret.
fn shown(path: &str) -> String {
    let mut parts = path.split('/');
    let begins = [parts.next(), parts.next(), parts.next()] == [Some(""), Some("api"), Some("hooks")];
    match (begins, parts.next(), parts.next()) {
        (true, Some(id), Some(_)) => format!("/api/hooks/{id}/…"),
        (_, _, _) => path.to_owned(),
    }
}

/// A response of API Gateway itself, or of this host, which is not for the rest of the world.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    NotLocal(Refused),
    NoRoute,
    HalfSent,
    TooLarge,
    FunctionFailed,
    FunctionSlow,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Refusal::NotLocal(refused) => (refused.status(), refused.message()),
            Refusal::NoRoute => (StatusCode::NOT_FOUND, "Not Found"),
            Refusal::HalfSent => (StatusCode::BAD_REQUEST, "Bad Request"),
            Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large"),
            Refusal::FunctionFailed => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
            Refusal::FunctionSlow => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
        };
        (
            status,
            [(CONTENT_TYPE, "application/json")],
            json!({ "message": message }).to_string(),
        )
            .into_response()
    }
}

impl Front {
    async fn respond(&self, request: Request<Body>, source: IpAddr) -> Result<Response, Refusal> {
        let (parts, body) = request.into_parts();
        if parts.uri.path() != BOT {
            guard::check_api(&parts).map_err(Refusal::NotLocal)?;
        }
        let path = route::decoded(parts.uri.path());
        let found = self.routes.find(parts.method.as_str(), &path);
        let (route, path_parameters) = found.ok_or(Refusal::NoRoute)?;
        let body = whole(body).await?;
        let request_id = uuid::Uuid::new_v4().to_string();
        let arrival = Arrival {
            route_key: &route.key,
            path: &path,
            path_parameters: &path_parameters,
            source,
            account: &self.account,
            request_id: &request_id,
            at: clock::now(),
        };
        let event = payload::event(&parts, &body, &arrival).to_string();
        if event.len() > EVENT_BYTES {
            return Err(Refusal::TooLarge);
        }
        let mut response = self.invoke(route, event.into()).await?;
        if let Ok(id) = request_id.parse() {
            response
                .headers_mut()
                .insert(HeaderName::from_static("apigw-requestid"), id);
        }
        Ok(response.map(Body::from))
    }

    async fn invoke(&self, route: &Route, event: Bytes) -> Result<http::Response<Bytes>, Refusal> {
        let answer = timeout(route.timeout, self.functions.invoke(&route.function, event)).await;
        // The reason is published as an event; the client gets API Gateway's response.
        let answer = answer
            .map_err(|_| Refusal::FunctionSlow)?
            .map_err(|_| Refusal::FunctionFailed)?;
        payload::response(&answer).map_err(|error| {
            let line = error.to_string();
            self.events.tell(&Event::Logged {
                function: route.function.clone(),
                line,
            });
            Refusal::FunctionFailed
        })
    }
}

async fn whole(body: Body) -> Result<Bytes, Refusal> {
    to_bytes(body, BODY_BYTES).await.map_err(|error| {
        // A limited body fails by the connection's error if it is truncated, and by the limit's if it is too long.
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            if error.is::<http_body_util::LengthLimitError>() {
                return Refusal::TooLarge;
            }
            cause = error.source();
        }
        Refusal::HalfSent
    })
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn the_secret_of_a_hook_is_not_shown() {
        assert_eq!(shown("/api/hooks/hook_1/secret"), "/api/hooks/hook_1/…");
        for path in [
            "/api/hooks",
            "/api/hooks/hook_1",
            "/api/notifications/ntf_1/message",
        ] {
            assert_eq!(shown(path), path);
        }
    }
}
