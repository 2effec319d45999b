//! A bot credential with an in-process token endpoint that always grants a token.

use botframework::cloud::Cloud;
use botframework::credential::{Credential, Registration, Runtime, SecretString, Tenancy};
use botframework::http::{Body, ResponseFuture, Transport};
use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use serde_json::json;

/// The credential of an invented bot, registered in `cloud`.
pub fn given(cloud: Cloud) -> Credential {
    let registration = Registration::new(cloud, &Tenancy::MultiTenant, "invented-bot").unwrap();
    let runtime = Runtime::new(|| Timestamp::UNIX_EPOCH.into(), || [0; 16]);
    Credential::new(
        Generous,
        registration,
        SecretString::from("invented".to_owned()),
        runtime,
    )
}

/// The credential of a bot whose secret the token endpoint refuses, with this code of Entra's.
pub fn refused(cloud: Cloud, code: u64) -> Credential {
    let registration = Registration::new(cloud, &Tenancy::MultiTenant, "invented-bot").unwrap();
    let runtime = Runtime::new(|| Timestamp::UNIX_EPOCH.into(), || [0; 16]);
    let secret = SecretString::from("invented".to_owned());
    Credential::new(Strict(code), registration, secret, runtime)
}

struct Strict(u64);

impl Transport for Strict {
    fn send(&self, _: Request<Bytes>) -> ResponseFuture<'_> {
        let answer = json!({"error": "invalid_client", "error_codes": [self.0]}).to_string();
        Box::pin(async move {
            let mut answer = Response::new(Body::Complete(answer.into()));
            *answer.status_mut() = http::StatusCode::UNAUTHORIZED;
            Ok(answer)
        })
    }
}

struct Generous;

impl Transport for Generous {
    fn send(&self, _: Request<Bytes>) -> ResponseFuture<'_> {
        let answer =
            json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "invented"}).to_string();
        Box::pin(async move { Ok(Response::new(Body::Complete(answer.into()))) })
    }
}
