//! The bot behind axum.

use std::io;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::StatusCode;
use tokio::net::{TcpListener, ToSocketAddrs};

use super::App;
use super::endpoint::ACTIVITY_MAX_BYTES;

impl App {
    /// The messaging endpoint at `/api/messages`, to serve beside other routes.
    pub fn into_router(self) -> Router {
        Router::new().route("/api/messages", any(answer)).with_state(self)
    }

    /// Serves the messaging endpoint at `/api/messages` of this address. Teams reaches it through a tunnel or a load balancer that
    /// speaks TLS; the Agents Playground reaches it on this machine.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn serve(self, address: impl ToSocketAddrs) -> io::Result<()> {
        let listener = TcpListener::bind(address).await?;
        let fetching = self.clone();
        let (served, ()) = tokio::join!(axum::serve(listener, self.into_router()), async move {
            fetching.prefetch().await;
        });
        served
    }
}

async fn answer(State(app): State<App>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    // One byte more, so that the app itself refuses what is too large by a little, and logs it.
    match axum::body::to_bytes(body, ACTIVITY_MAX_BYTES + 1).await {
        Ok(body) => app
            .handle(http::Request::from_parts(head, body))
            .await
            .map(axum::body::Body::from)
            .into_response(),
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
    }
}
