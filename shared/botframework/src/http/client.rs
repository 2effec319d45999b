//! The HTTP client of a deployment: one reqwest client, TLS by rustls on ring.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use reqwest::{NoProxy, Proxy, redirect, retry};
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};
use tokio::time::{Instant, timeout_at};

use super::transport::{Body, BodyLimit, BoxError, ResponseFuture, Transport, TransportError};

/// The largest response body that is read if the request does not say, in bytes: AWS' services answer with 16 MB at most.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// Pooled connections without redirects, retries, cookies or decompression.
///
/// Cheap to clone: all clones share one pool.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    client: reqwest::Client,
    timeout: Duration,
}

/// Builds an [`HttpTransport`].
#[derive(Clone, Debug)]
pub struct HttpTransportBuilder {
    connect_timeout: Duration,
    timeout: Duration,
    idle_timeout: Duration,
    versions: HttpVersions,
    proxy: Option<String>,
    no_proxy: String,
}

/// The HTTP versions offered in the TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersions {
    /// HTTP/1.1: one connection per concurrent request.
    Http1,
    /// HTTP/2 where the server selects it by ALPN, else HTTP/1.1.
    Http2OrHttp1,
}

/// The client cannot be built: TLS or the proxy's URL is not usable.
#[derive(Debug, thiserror::Error)]
#[error("HTTP client cannot be built")]
pub struct BuildError(#[source] BoxError);

impl HttpTransport {
    /// The defaults: 3 seconds to connect; 15 seconds for the whole request, which is also a channel's time-out for the
    /// bot; idle connections are kept for 20 seconds; HTTP/1.1; no proxy.
    pub const fn builder() -> HttpTransportBuilder {
        HttpTransportBuilder {
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(20),
            versions: HttpVersions::Http1,
            proxy: None,
            no_proxy: String::new(),
        }
    }

    /// Sends one request with a time-out of its own, from the connection to the last byte of the response.
    ///
    /// # Errors
    /// When there is no response. The cause of [`TransportError::MaybeSent`] is tokio's
    /// [`Elapsed`](tokio::time::error::Elapsed) when the time-out struck.
    pub async fn send_with_timeout(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Body>, TransportError> {
        let deadline = Instant::now() + timeout;
        let limit = request.extensions().get::<BodyLimit>().copied();
        let request = reqwest::Request::try_from(request)
            .map_err(|error| TransportError::NotSent(Box::new(error.without_url())))?;
        let mut response = match timeout_at(deadline, self.client.execute(request)).await {
            Ok(Ok(response)) => response,
            // DNS, the connection, the proxy's tunnel or TLS failed. The URL names people and conversations.
            Ok(Err(error)) if error.is_connect() => {
                return Err(TransportError::NotSent(Box::new(error.without_url())));
            }
            Ok(Err(error)) => return Err(TransportError::MaybeSent(Box::new(error.without_url()))),
            Err(elapsed) => return Err(TransportError::MaybeSent(Box::new(elapsed))),
        };
        let mut head = Response::new(());
        *head.status_mut() = response.status();
        *head.version_mut() = response.version();
        *head.headers_mut() = std::mem::take(response.headers_mut());
        let limit = match limit {
            Some(BodyLimit(limit)) if head.status().is_success() => limit,
            Some(BodyLimit(limit)) => limit.min(BodyLimit::SMALL.0),
            None => MAX_BODY,
        };
        let body = timeout_at(deadline, read(response, limit)).await;
        Ok(head.map(|()| body.unwrap_or(Body::Truncated)))
    }
}

impl HttpTransportBuilder {
    /// The time-out of a connection, TLS included. A request that fails by it was certainly not sent. Keep it well below
    /// the whole time-out, after which the request may have been sent.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The time-out of a request, from the connection to the last byte of the response.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long an idle connection is kept. Keep it shorter than the server does: a request on a connection that the
    /// server is just closing fails in a way that leaves open whether it arrived.
    #[must_use]
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// The HTTP versions that are offered to a server. Plain HTTP is always HTTP/1.1.
    #[must_use]
    pub const fn versions(mut self, versions: HttpVersions) -> Self {
        self.versions = versions;
        self
    }

    /// The proxy for `https` requests and the hosts that go past it, as `HTTPS_PROXY` and `NO_PROXY` have them. Plain
    /// HTTP, which only this machine is spoken to by, never goes to a proxy.
    #[must_use]
    pub fn https_proxy(mut self, url: Option<String>, no_proxy: Option<String>) -> Self {
        self.proxy = url.filter(|url| !url.is_empty());
        self.no_proxy = no_proxy.unwrap_or_default();
        self
    }

    /// Builds the client. Opens no connection; requests need a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// When TLS or the proxy's URL is not usable; building again will not help.
    pub fn build(self) -> Result<HttpTransport, BuildError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| BuildError(Box::new(error)))?;
        let mut tls = with_roots(tls)?;
        tls.alpn_protocols = match self.versions {
            HttpVersions::Http1 => vec![b"http/1.1".to_vec()],
            HttpVersions::Http2OrHttp1 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        let mut client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(self.idle_timeout)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_proxy();
        if let Some(url) = self.proxy {
            let proxy = Proxy::https(url).map_err(|error| BuildError(Box::new(error.without_url())))?;
            client = client.proxy(proxy.no_proxy(NoProxy::from_string(&self.no_proxy)));
        }
        Ok(HttpTransport {
            client: client.build().map_err(|error| BuildError(Box::new(error)))?,
            timeout: self.timeout,
        })
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request<Bytes>) -> ResponseFuture<'_> {
        Box::pin(self.send_with_timeout(request, self.timeout))
    }
}

/// The roots that are compiled in.
#[cfg(not(feature = "platform-roots"))]
#[allow(clippy::unnecessary_wraps, reason = "the platform's may be unusable")]
fn with_roots(tls: ConfigBuilder<ClientConfig, WantsVerifier>) -> Result<ClientConfig, BuildError> {
    let roots: rustls::RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    Ok(tls.with_root_certificates(roots).with_no_client_auth())
}

/// The roots of the machine.
#[cfg(feature = "platform-roots")]
fn with_roots(tls: ConfigBuilder<ClientConfig, WantsVerifier>) -> Result<ClientConfig, BuildError> {
    use rustls_platform_verifier::BuilderVerifierExt;

    let tls = tls
        .with_platform_verifier()
        .map_err(|error| BuildError(Box::new(error)))?;
    Ok(tls.with_no_client_auth())
}

async fn read(mut response: reqwest::Response, limit: usize) -> Body {
    let announced = response.content_length();
    if announced.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit)) {
        return Body::TooLarge;
    }
    let mut body = match response.chunk().await {
        Ok(Some(first)) => first,
        Ok(None) => return Body::Complete(Bytes::new()),
        Err(_) => return Body::Truncated,
    };
    // Nearly every body comes in one piece, which is not copied.
    let mut whole: Option<BytesMut> = None;
    loop {
        let length = whole.as_ref().map_or(body.len(), BytesMut::len);
        if length > limit {
            return Body::TooLarge;
        }
        match response.chunk().await {
            Ok(Some(piece)) => whole
                .get_or_insert_with(|| BytesMut::from(std::mem::take(&mut body)))
                .extend_from_slice(&piece),
            Ok(None) => return Body::Complete(whole.map_or(body, BytesMut::freeze)),
            Err(_) => return Body::Truncated,
        }
    }
}
