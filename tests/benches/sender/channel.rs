//! A minimal channel in its own process: it accepts every message, at once or after a delay.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A Connector's response.
const ANSWER: &[u8] = b"HTTP/1.1 201 Created\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: 22\r\n\r\n{\"id\":\"1767000100001\"}";

/// A running server; dropping it stops it.
pub(crate) struct Server {
    process: Child,
    /// Its URL, without a trailing slash.
    pub(crate) url: String,
}

impl Server {
    /// Runs this program again with these arguments; its first line is the URL it listens on.
    pub(crate) fn start(words: &[&str]) -> Result<Self, Box<dyn Error>> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(words)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut url = String::new();
        if let Some(told) = process.stdout.take() {
            BufReader::new(told).read_line(&mut url)?;
        }
        let url = url.trim().to_owned();
        Ok(Self { process, url })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The server holds no state.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves until it is killed.
pub(crate) async fn serve(delay: Duration) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say(&format!("http://{}", listener.local_addr()?))?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // The client notices a connection that ends.
        tokio::spawn(async move { converse(stream, delay).await });
    }
}

/// Prints the URL of a server for the parent.
pub(crate) fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    out.flush()
}

async fn converse(mut stream: TcpStream, delay: Duration) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        let length = loop {
            if let Some(length) = whole(&buffer) {
                break length;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        buffer.drain(..length);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        stream.write_all(ANSWER).await?;
    }
}

/// The length of the first request, once it is complete.
fn whole(buffer: &[u8]) -> Option<usize> {
    const LENGTH: &[u8] = b"content-length: ";
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let named = buffer[..head]
        .windows(LENGTH.len())
        .position(|window| window.eq_ignore_ascii_case(LENGTH))?
        + LENGTH.len();
    let digits = buffer[named..head]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let body = digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    (buffer.len() >= head + body).then_some(head + body)
}
