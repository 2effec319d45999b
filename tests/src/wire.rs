//! A wire between Herald and a table that records its operations, and can lose answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// The text before the name of an operation in a request's head.
const TARGET: &[u8] = b"x-amz-target: DynamoDB_20120810.";

/// A wire to a server. Clones are the same wire.
#[derive(Clone, Debug)]
pub struct Wire {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    operations: Mutex<Vec<String>>,
    answers: Mutex<Answers>,
}

/// Decides which answers are lost.
#[derive(Debug, Default)]
struct Answers {
    /// The number of answers that still pass.
    passing: usize,
    /// The number of answers after them that are lost.
    losing: usize,
}

impl Wire {
    /// Opens a wire to the server at `upstream`, as long as the test's runtime lasts.
    pub async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
        };
        let state = Arc::clone(&wire.state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(upstream).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&state)));
            }
        });
        wire
    }

    /// The address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses the next `count` answers: the request is executed, and then the connection breaks.
    pub fn lose_answers(&self, count: usize) {
        self.lose_answers_after(0, count);
    }

    /// Lets `passing` answers through, and then loses `count`.
    pub fn lose_answers_after(&self, passing: usize, count: usize) {
        let answers = Answers {
            passing,
            losing: count,
        };
        *self.state.answers.lock().unwrap_or_else(PoisonError::into_inner) = answers;
    }

    /// The operations since the last call, in order.
    pub fn take_operations(&self) -> Vec<String> {
        std::mem::take(
            &mut self
                .state
                .operations
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

/// Carries one connection. It has one request at a time, as always in HTTP/1.1 without pipelining.
async fn carry(client: TcpStream, server: TcpStream, state: Arc<State>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let asked = AtomicBool::new(false);
    // Whichever side ends first ends both: the halves are dropped together.
    tokio::select! {
        () = requests(from_client, to_server, &state, &asked) => {}
        () = answers(from_server, to_client, &state, &asked) => {}
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State, asked: &AtomicBool) {
    let mut seen = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        seen.extend_from_slice(&buffer[..count]);
        while let Some((operation, end)) = operation(&seen) {
            state
                .operations
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(operation);
            asked.store(true, Ordering::SeqCst);
            seen.drain(..end);
        }
        // Only the end of these bytes can still become a target header.
        seen.drain(..seen.len().saturating_sub(TARGET.len() + 64));
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State, asked: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        // An answer may come in several parts; the first part decides.
        let lost = asked.swap(false, Ordering::SeqCst) && state.loses();
        if lost || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

impl State {
    fn loses(&self) -> bool {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.passing > 0 {
            answers.passing -= 1;
            return false;
        }
        let lost = answers.losing > 0;
        answers.losing = answers.losing.saturating_sub(1);
        lost
    }
}

/// The first operation named in these bytes, and where its name ends.
fn operation(bytes: &[u8]) -> Option<(String, usize)> {
    let start = bytes
        .windows(TARGET.len())
        .position(|window| window.eq_ignore_ascii_case(TARGET))?
        + TARGET.len();
    let length = bytes[start..].iter().position(|byte| *byte == b'\r')?;
    Some((
        String::from_utf8_lossy(&bytes[start..start + length]).into_owned(),
        start + length,
    ))
}
