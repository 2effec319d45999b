//! A server that records every request and answers by a function.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::server::{self, Served};

/// One request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method, path and version.
    pub line: String,
    /// Every value of its `Authorization`.
    pub authorization: Vec<String>,
    /// The body.
    pub body: String,
}

/// The status, additional headers as lines, and a JSON body.
pub type Answer = (u16, String, String);

/// A server on a free port of this machine, until it is dropped.
#[derive(Debug)]
pub struct Recorder {
    /// Its URL without a trailing slash.
    pub url: String,
    /// Its port.
    pub port: u16,
    requests: watch::Sender<Vec<Request>>,
    _served: Served,
}

impl Recorder {
    /// Answers each request by `answer`, which gets the number of requests so far, including this one.
    ///
    /// # Errors
    ///
    /// No port is free.
    pub async fn answering(
        answer: impl FnMut(&Request, usize) -> Answer + Send + 'static,
    ) -> io::Result<Self> {
        let requests = watch::Sender::new(Vec::new());
        let (recorded, answer) = (requests.clone(), Arc::new(Mutex::new(answer)));
        let served = server::serve(move |request| {
            let request = Request {
                line: request.line().to_owned(),
                authorization: request.values("authorization"),
                body: String::from_utf8_lossy(&request.body).into_owned(),
            };
            let mut number = 0;
            recorded.send_modify(|requests| {
                requests.push(request.clone());
                number = requests.len();
            });
            let mut answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
            let (status, headers, body) = answer(&request, number);
            async move {
                Some(server::Answer {
                    status,
                    headers,
                    body,
                })
            }
        });
        let served = served.await?;
        Ok(Self {
            url: served.url.clone(),
            port: served.port,
            requests,
            _served: served,
        })
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.borrow().clone()
    }

    /// Waits until this many requests arrived.
    pub async fn asked(&self, count: usize) {
        let mut requests = self.requests.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = requests.wait_for(|requests| requests.len() >= count).await;
    }
}
