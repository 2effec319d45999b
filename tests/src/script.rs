//! A server that answers by a script: what a service can say, and an emulator never does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// In the place of an answer: the request is read, and the connection breaks.
pub const LOST: (u16, Value) = (0, Value::Null);

/// Answers requests in their order, and keeps them. Clones are the same server.
#[derive(Clone, Debug)]
pub struct Script {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    answers: VecDeque<(u16, Value)>,
    requests: Vec<Value>,
    heads: Vec<String>,
}

impl Script {
    /// Gives these answers, each a status and a document, and then no more: it hangs up.
    pub async fn of(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = State {
            answers: answers.into_iter().collect(),
            requests: Vec::new(),
            heads: Vec::new(),
        };
        let script = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(state)),
        };
        let state = Arc::clone(&script.state);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(play(connection, Arc::clone(&state)));
            }
        });
        script
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The documents that were sent to it.
    pub fn requests(&self) -> Vec<Value> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .requests
            .clone()
    }

    /// The heads of those requests: the request's line and its headers, whose names are in lower case.
    pub fn heads(&self) -> Vec<String> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .heads
            .clone()
    }
}

async fn play(mut connection: TcpStream, state: Arc<Mutex<State>>) {
    let mut bytes = Vec::new();
    loop {
        let Some((length, head, body)) = request(&bytes) else {
            match connection.read_buf(&mut bytes).await {
                Ok(1..) => continue,
                Ok(0) | Err(_) => return,
            }
        };
        bytes.drain(..length);
        let answer = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.requests.push(body);
            state.heads.push(head);
            state.answers.pop_front()
        };
        let Some((status, document)) = answer.filter(|answer| *answer != LOST) else {
            return;
        };
        let document = document.to_string();
        let head = format!(
            "HTTP/1.1 {status} Scripted\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n",
            document.len()
        );
        connection.write_all((head + &document).as_bytes()).await.unwrap();
    }
}

/// The first whole request in these bytes: its length, its head, and its document.
fn request(bytes: &[u8]) -> Option<(usize, String, Value)> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let length = text.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length:")?
            .trim()
            .parse::<usize>()
            .ok()
    })?;
    let body = bytes.get(head..head + length)?;
    Some((head + length, text, serde_json::from_slice(body).unwrap()))
}
