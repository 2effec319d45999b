//! Issuers of tokens, in-process: they publish given keys, record requests, and misbehave on request.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use botframework::http::{Body, ResponseFuture, Transport, TransportError};
use bytes::Bytes;
use herald_local::issuer::{SigningKey, key_set, metadata};
use serde_json::{Value, json};

use crate::gate::Gate;

/// A key of the fixtures. It protects nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixture {
    /// The key that issuers sign with.
    Current,
    /// The key that they sign with after a rotation.
    Next,
    /// A key that no issuer publishes.
    Stranger,
}

impl Fixture {
    /// The key.
    ///
    /// # Panics
    ///
    /// The fixture is damaged.
    pub fn key(self) -> &'static SigningKey {
        static KEYS: [OnceLock<SigningKey>; 3] = [const { OnceLock::new() }; 3];
        let (slot, der): (_, &[u8]) = match self {
            Self::Current => (&KEYS[0], include_bytes!("../fixtures/keys/current.der")),
            Self::Next => (&KEYS[1], include_bytes!("../fixtures/keys/next.der")),
            Self::Stranger => (&KEYS[2], include_bytes!("../fixtures/keys/stranger.der")),
        };
        #[allow(clippy::unwrap_used, reason = "a fixture is there or nothing can be tested")]
        slot.get_or_init(|| SigningKey::read(der).unwrap())
    }
}

/// What an issuer does with a request.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Gives the document.
    Answer,
    /// Refuses connections.
    Down,
    /// Answers this status.
    Status(u16),
    /// Answers with this body.
    Say(Bytes),
    /// Cuts the connection within the answer.
    Cut,
    /// Never answers.
    Hang,
    /// Answers after [`Issuer::let_go`].
    Hold,
}

/// The channels' issuer of every cloud, and Entra. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Issuer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    gate: Gate,
}

#[derive(Debug)]
struct State {
    keys: Value,
    entra_keys: Value,
    metadata: Behaviour,
    set: Behaviour,
    jwks_uri: Option<String>,
    requests: Vec<String>,
}

impl Issuer {
    /// Issuers that publish one key each: of channels the current one, endorsed for these.
    pub fn endorsing(channels: &[&str]) -> Self {
        let published = Fixture::Current.key().published("current", channels);
        let mut entra = Fixture::Next.key().published("entra", &[]);
        if let Some(key) = entra.as_object_mut() {
            key.remove("endorsements");
        }
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                keys: json!([published]),
                entra_keys: json!([entra]),
                metadata: Behaviour::Answer,
                set: Behaviour::Answer,
                jwks_uri: None,
                requests: Vec::new(),
            }),
            gate: Gate::default(),
        }))
    }

    /// From now on, the channels' issuer publishes these keys.
    pub fn publish(&self, keys: Value) {
        self.state().keys = keys;
    }

    /// From now on, does this with requests for metadata.
    pub fn when_asked_for_metadata(&self, behaviour: Behaviour) {
        self.state().metadata = behaviour;
    }

    /// From now on, does this with requests for keys.
    pub fn when_asked_for_keys(&self, behaviour: Behaviour) {
        self.state().set = behaviour;
    }

    /// From now on, the metadata names this URL of keys.
    pub fn moves_keys_to(&self, url: &str) {
        self.state().jwks_uri = Some(url.to_owned());
    }

    /// Answers what is held, and holds nothing from now on.
    pub fn let_go(&self) {
        self.0.gate.open();
    }

    /// The URLs of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// How many requests for keys there were.
    pub fn fetches(&self) -> usize {
        let requests = self.requests();
        requests.iter().filter(|url| is_key_set(url)).count()
    }

    /// Waits until this many requests arrived.
    pub async fn asked(&self, count: usize) {
        self.0.gate.wait_for_requests(count).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The behaviour for a request, and the requested document.
    fn consider(&self, url: &str) -> (Behaviour, Value) {
        let mut state = self.state();
        state.requests.push(url.to_owned());
        let considered = if is_key_set(url) {
            let entra = url.contains("/discovery/");
            let keys = if entra { &state.entra_keys } else { &state.keys };
            (state.set.clone(), key_set(keys))
        } else {
            let origin: String = url.split_inclusive('/').take(3).collect();
            let path = if url.contains("/v1/") {
                "v1/.well-known/keys"
            } else {
                "common/discovery/v2.0/keys"
            };
            let uri = state.jwks_uri.clone().unwrap_or_else(|| origin + path);
            (state.metadata.clone(), metadata(&uri))
        };
        drop(state);
        self.0.gate.count();
        considered
    }
}

fn is_key_set(url: &str) -> bool {
    url.ends_with("/keys")
}

impl Transport for Issuer {
    fn send(&self, request: http::Request<Bytes>) -> ResponseFuture<'_> {
        Box::pin(async move {
            let (behaviour, document) = self.consider(&request.uri().to_string());
            let mut answer = http::Response::new(Body::Truncated);
            match behaviour {
                Behaviour::Down => return Err(TransportError::NotSent("connection refused".into())),
                Behaviour::Hang => std::future::pending().await,
                Behaviour::Cut => {}
                Behaviour::Status(status) => {
                    *answer.status_mut() =
                        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::IM_A_TEAPOT);
                    *answer.body_mut() = Body::Complete(document.to_string().into());
                }
                Behaviour::Say(body) => *answer.body_mut() = Body::Complete(body),
                Behaviour::Answer => *answer.body_mut() = Body::Complete(document.to_string().into()),
                Behaviour::Hold => {
                    self.0.gate.pass().await;
                    *answer.body_mut() = Body::Complete(document.to_string().into());
                }
            }
            Ok(answer)
        })
    }
}
