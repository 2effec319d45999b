//! The issuers of tokens, in-process: they publish what they are told to, count who asks, and misbehave on request.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use botframework::http::{Body, ResponseFuture, Transport, TransportError};
use bytes::Bytes;
use herald_local::issuer::SigningKey;
use serde_json::{Value, json};
use tokio::sync::watch;

/// A key of the fixtures. Like every key in this repository it was made up for it and protects nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixture {
    /// The one that issuers sign with.
    Current,
    /// The one that they sign with after a rotation.
    Next,
    /// One that is nobody's.
    Stranger,
}

impl Fixture {
    /// The key.
    ///
    /// # Panics
    /// When the fixture is damaged.
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
    /// Answers.
    Answer,
    /// Takes no connection.
    Down,
    /// Answers this status.
    Status(u16),
    /// Answers this, whatever it was asked.
    Say(Bytes),
    /// Begins to answer, and is cut off.
    Cut,
    /// Never answers.
    Hang,
    /// Answers when it is told to, by [`Issuer::let_go`].
    Hold,
}

/// The channels' issuer of every cloud, and Entra. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Issuer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    asked: watch::Sender<usize>,
    let_go: watch::Sender<bool>,
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
            asked: watch::Sender::new(0),
            let_go: watch::Sender::new(false),
        }))
    }

    /// From now on, the channels' issuer publishes these keys.
    pub fn publish(&self, keys: Value) {
        self.state().keys = keys;
    }

    /// From now on, does this when it is asked for metadata.
    pub fn when_asked_for_metadata(&self, behaviour: Behaviour) {
        self.state().metadata = behaviour;
    }

    /// From now on, does this when it is asked for keys.
    pub fn when_asked_for_keys(&self, behaviour: Behaviour) {
        self.state().set = behaviour;
    }

    /// From now on, the metadata says that keys are there.
    pub fn moves_keys_to(&self, url: &str) {
        self.state().jwks_uri = Some(url.to_owned());
    }

    /// Answers what it held back, and holds nothing back any more.
    pub fn let_go(&self) {
        self.0.let_go.send_replace(true);
    }

    /// The URLs that were asked for so far.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// How often keys were asked for.
    pub fn fetches(&self) -> usize {
        let requests = self.requests();
        requests.iter().filter(|url| is_key_set(url)).count()
    }

    /// Waits until so many requests came.
    pub async fn asked(&self, count: usize) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.0.asked.subscribe().wait_for(|asked| *asked >= count).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it does with this request, and what it answers if it does.
    fn consider(&self, url: &str) -> (Behaviour, Value) {
        let mut state = self.state();
        state.requests.push(url.to_owned());
        let considered = if is_key_set(url) {
            let entra = url.contains("/discovery/");
            let keys = if entra { &state.entra_keys } else { &state.keys };
            (state.set.clone(), json!({ "keys": keys }))
        } else {
            let origin: String = url.split_inclusive('/').take(3).collect();
            let path = if url.contains("/v1/") {
                "v1/.well-known/keys"
            } else {
                "common/discovery/v2.0/keys"
            };
            let uri = state.jwks_uri.clone().unwrap_or_else(|| origin + path);
            (state.metadata.clone(), json!({ "jwks_uri": uri }))
        };
        drop(state);
        self.0.asked.send_modify(|asked| *asked += 1);
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
                    let _ = self.0.let_go.subscribe().wait_for(|let_go| *let_go).await;
                    *answer.body_mut() = Body::Complete(document.to_string().into());
                }
            }
            Ok(answer)
        })
    }
}
