//! The transport of a deployment: one reqwest client, TLS by rustls on ring with roots compiled in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::transport::{Body, Cause, Exchange, Transport, TransportError};

/// The largest body that is read, in bytes. A roster of 10,000 members, the longest that Teams lists, has
/// about 6 MB.
const LARGEST_BODY: usize = 16 * 1024 * 1024;

/// HTTP/1.1 over pooled connections: no redirects, no proxy from the environment, no repeated request.
///
/// Cheap to clone: all clones share one pool.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    client: reqwest::Client,
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
pub struct BuildError(#[source] Cause);

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

    /// The client inside, for whoever else in the process must share its TLS set-up and its pool.
    pub fn client(&self) -> &reqwest::Client {
        &self.client
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
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(self.connect_timeout)
            .timeout(self.timeout)
            .pool_idle_timeout(self.idle_timeout)
            .build()
            .map_err(|error| BuildError(Box::new(error)))?;
        Ok(HttpTransport { client })
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: http::Request<Bytes>) -> Exchange<'_> {
        Box::pin(async move {
            let request = reqwest::Request::try_from(request)
                .map_err(|error| TransportError::NotSent(Box::new(error.without_url())))?;
            let mut response = self.client.execute(request).await.map_err(|error| {
                let never_left = error.is_connect() || error.is_builder();
                // The URL has the conversation's id in it; who called knows it, and a log need not.
                let cause = Box::new(error.without_url());
                if never_left {
                    TransportError::NotSent(cause)
                } else {
                    TransportError::MaybeSent(cause)
                }
            })?;
            let mut answer = http::Response::new(Body::Cut);
            *answer.status_mut() = response.status();
            *answer.headers_mut() = std::mem::take(response.headers_mut());
            *answer.body_mut() = read(response).await;
            Ok(answer)
        })
    }
}

async fn read(mut response: reqwest::Response) -> Body {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > LARGEST_BODY => return Body::Cut,
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Body::Whole(body.into()),
            Err(_) => return Body::Cut,
        }
    }
}
