//! A server with scripted answers, for those that a service may give and an emulator never does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::server::{self, Answer, Served};

/// In place of an answer: the request is read, and the connection is cut.
pub const LOST: (u16, Value) = (0, Value::Null);

/// Answers requests in order and records them. Clones are the same server.
#[derive(Clone, Debug)]
pub struct Script {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _served: Arc<Served>,
}

#[derive(Debug)]
struct State {
    answers: VecDeque<(u16, Value)>,
    requests: Vec<Value>,
    heads: Vec<String>,
}

impl Script {
    /// Gives these answers, each a status and a document, and cuts the connection of all later requests.
    pub async fn of(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
        let state = Arc::new(Mutex::new(State {
            answers: answers.into_iter().collect(),
            requests: Vec::new(),
            heads: Vec::new(),
        }));
        let recorded = Arc::clone(&state);
        let served = server::serve(move |request| {
            let mut state = recorded.lock().unwrap_or_else(PoisonError::into_inner);
            state
                .requests
                .push(serde_json::from_slice(&request.body).unwrap());
            state.heads.push(request.head);
            let answer = state.answers.pop_front().filter(|answer| *answer != LOST);
            async move {
                answer.map(|(status, document)| Answer {
                    status,
                    headers: "content-type: application/x-amz-json-1.0\r\n".to_owned(),
                    body: document.to_string(),
                })
            }
        });
        let served = served.await.unwrap();
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], served.port)),
            state,
            _served: Arc::new(served),
        }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The documents of the requests.
    pub fn requests(&self) -> Vec<Value> {
        self.state().requests.clone()
    }

    /// The heads of the requests: the request line, and the headers with names in lower case.
    pub fn heads(&self) -> Vec<String> {
        self.state().heads.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
