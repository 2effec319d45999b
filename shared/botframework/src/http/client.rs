//! The transport of a deployment: one hyper client, TLS by rustls on ring with roots compiled in.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout, timeout_at};
use tower_service::Service;

use super::transport::{Body, BoxError, ResponseFuture, Transport, TransportError};

/// The largest body that is read, in bytes. A roster of 10,000 members, the longest that Teams lists, has
/// about 6 MB.
const LARGEST_BODY: usize = 16 * 1024 * 1024;

/// HTTP/1.1 over pooled connections: no redirects, no proxy from the environment, no repeated request.
///
/// Cheap to clone: all clones share one pool.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    client: Client<TimedConnector, Full<Bytes>>,
    timeout: Duration,
}

/// How long the transport waits. Made by [`HttpTransport::builder`].
#[derive(Clone, Copy, Debug)]
pub struct HttpTransportBuilder {
    connect_timeout: Duration,
    timeout: Duration,
    idle_timeout: Duration,
}

/// The client could not be made: TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("HTTP client could not be made")]
pub struct BuildError(#[source] BoxError);

impl HttpTransport {
    /// Begins with 3 seconds to connect, 15 seconds for the whole exchange (what a channel itself gives a
    /// bot), and 20 seconds that an idle connection is kept.
    pub const fn builder() -> HttpTransportBuilder {
        HttpTransportBuilder {
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(20),
        }
    }

    /// Makes one request, whose whole exchange may take so long: for whoever else in the process must share the TLS set-up
    /// and the pool.
    ///
    /// # Errors
    /// When there is no response. The cause of [`TransportError::MaybeSent`] is tokio's [`Elapsed`](tokio::time::error::Elapsed)
    /// when the time was over.
    pub async fn send_with_timeout(
        &self,
        request: Request<Bytes>,
        within: Duration,
    ) -> Result<Response<Body>, TransportError> {
        let deadline = Instant::now() + within;
        let request = request.map(Full::new);
        let response = match timeout_at(deadline, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() => return Err(TransportError::NotSent(Box::new(error))),
            Ok(Err(error)) => return Err(TransportError::MaybeSent(Box::new(error))),
            Err(elapsed) => return Err(TransportError::MaybeSent(Box::new(elapsed))),
        };
        let (head, body) = response.into_parts();
        let body = timeout_at(deadline, read(body)).await.unwrap_or(Body::Truncated);
        Ok(Response::from_parts(head, body))
    }
}

impl HttpTransportBuilder {
    /// How long a connection may take, TLS included. A failure by then is known as not sent, so keep it
    /// well below the whole time-out: when that one strikes first, nobody knows.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long the whole exchange may take, from the connection to the last byte of the answer.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long an unused connection is kept. Shorter than the other side keeps it: a request on a
    /// connection that is just being closed there fails in a way that leaves unknown whether it arrived.
    #[must_use]
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Makes the transport. Connects to nothing yet; when it does, it needs a tokio runtime with I/O and
    /// time.
    ///
    /// # Errors
    /// When TLS cannot be set up; asking again will not help.
    pub fn build(self) -> Result<HttpTransport, BuildError> {
        let roots: rustls::RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        let tls =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| BuildError(Box::new(error)))?
                .with_root_certificates(roots)
                .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        // What is plain http is decided by whoever names the URL.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(self.idle_timeout)
            .pool_timer(TokioTimer::new())
            .build(TimedConnector {
                connector,
                timeout: self.connect_timeout,
            });
        Ok(HttpTransport {
            client,
            timeout: self.timeout,
        })
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request<Bytes>) -> ResponseFuture<'_> {
        Box::pin(self.send_with_timeout(request, self.timeout))
    }
}

async fn read(mut body: Incoming) -> Body {
    let first = match frame(&mut body).await {
        Ok(Some(first)) => first,
        Ok(None) => return Body::Complete(Bytes::new()),
        Err(_) => return Body::Truncated,
    };
    if body.is_end_stream() && first.len() <= LARGEST_BODY {
        // Nearly every answer comes in one piece.
        return Body::Complete(first);
    }
    let mut whole = BytesMut::from(first);
    loop {
        match frame(&mut body).await {
            Ok(Some(piece)) if whole.len() + piece.len() > LARGEST_BODY => return Body::Truncated,
            Ok(Some(piece)) => whole.extend_from_slice(&piece),
            Ok(None) => return Body::Complete(whole.freeze()),
            Err(_) => return Body::Truncated,
        }
    }
}

/// The next piece of a body; trailers are none.
async fn frame(body: &mut Incoming) -> Result<Option<Bytes>, hyper::Error> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Connections that must be there within a time, TLS included.
#[derive(Clone, Debug)]
struct TimedConnector {
    connector: HttpsConnector<HttpConnector>,
    timeout: Duration,
}

impl Service<Uri> for TimedConnector {
    type Response = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let (connecting, within) = (self.connector.call(address), self.timeout);
        Box::pin(async move { timeout(within, connecting).await? })
    }
}
