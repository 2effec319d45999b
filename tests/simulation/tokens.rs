//! The token endpoint, which may refuse the bot's secret.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use botframework::cloud::Cloud;
use botframework::credential::{Credential, Registration, Runtime, SecretString, Tenancy};
use botframework::http::{Body, ResponseFuture, Transport};
use bytes::Bytes;
use http::Request;
use serde_json::json;

use super::lambda::Environment;
use super::queues::pause;
use super::wire::response;

/// The lifetime of a token. Real ones live for an hour: then an outage would hardly be noticed in a run.
pub(super) const TOKEN_LIFETIME: Duration = Duration::from_mins(2);

/// The code of a secret that has expired.
pub(super) const EXPIRED_SECRET: u64 = 7_000_222;

/// The endpoint of a run.
#[derive(Debug, Default)]
pub(super) struct Tokens(AtomicBool);

impl Tokens {
    /// From now on refuses the bot's secret, or accepts it.
    pub(super) fn refuse(&self, refuses: bool) {
        self.0.store(refuses, Ordering::Relaxed);
    }

    fn refuses(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The credential of one worker, for the channel on this machine.
pub(super) fn credential(environment: &Arc<Environment>) -> Credential {
    let registration = Registration::new(Cloud::Public, &Tenancy::MultiTenant, "invented-bot").unwrap();
    let registration = registration.at_stand_in("http://127.0.0.1/token").unwrap();
    let clock = environment.clock();
    let runtime = Runtime::new(move || clock.now().into(), || [0; 16]);
    let secret = SecretString::from("invented".to_owned());
    Credential::new(Endpoint(Arc::clone(environment)), registration, secret, runtime)
}

struct Endpoint(Arc<Environment>);

impl Transport for Endpoint {
    fn send(&self, _: Request<Bytes>) -> ResponseFuture<'_> {
        let run = Arc::clone(&self.0.run);
        Box::pin(async move {
            pause(Duration::from_millis(5)).await;
            let refuses = run.tokens.refuses();
            run.tell(
                &self.0,
                format_args!(
                    "asks for a token: {}",
                    if refuses { "refused" } else { "granted" }
                ),
            );
            let (status, document) = if refuses {
                (
                    401,
                    json!({"error": "invalid_client", "error_codes": [EXPIRED_SECRET]}),
                )
            } else {
                let seconds = TOKEN_LIFETIME.as_secs();
                (
                    200,
                    json!({"token_type": "Bearer", "expires_in": seconds, "access_token": "invented"}),
                )
            };
            Ok(response(status, Body::Complete(document.to_string().into())))
        })
    }
}
