//! The wire between Herald and a table: it tells what went over it, and can lose answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Before the name of an operation in a request's head.
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
    to_lose: AtomicUsize,
}

impl Wire {
    /// A wire to the server at `upstream`, as long as the test's runtime lasts.
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

    /// Where its near end is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses the next `count` answers: the request is carried out, and then the connection breaks.
    pub fn lose_answers(&self, count: usize) {
        self.state.to_lose.store(count, Ordering::SeqCst);
    }

    /// The operations since the last call, in the order they came.
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

/// Carries one connection. There is one request at a time on it, as always in HTTP/1.1 without pipelining.
async fn carry(client: TcpStream, server: TcpStream, state: Arc<State>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Whichever side ends first ends both: the halves are dropped together.
    tokio::select! {
        () = requests(from_client, to_server, &state) => {}
        () = answers(from_server, to_client, &state) => {}
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State) {
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
            seen.drain(..end);
        }
        // Only the beginning of a target can still grow into one.
        seen.drain(..seen.len().saturating_sub(TARGET.len() + 64));
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let lost = state
            .to_lose
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if lost.is_ok() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
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
