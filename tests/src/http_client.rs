//! The HTTP client of tests and benches.

/// A client to configure further. reqwest comes without a provider of cryptography, so ring is installed first.
pub fn builder() -> reqwest::ClientBuilder {
    // Another test may have installed it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}
