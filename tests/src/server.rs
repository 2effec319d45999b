//! A small HTTP/1.1 server on loopback whose answers are functions, and which can cut the connection instead.

use std::future::Future;
use std::io;

use herald_local::teams::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The request line and the headers.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Header lines, each with its line end.
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        let wait = response
            .retry_after
            .map(|wait| format!("retry-after: {wait}\r\n"));
        Self {
            status: response.status,
            headers: format!("content-type: application/json\r\n{}", wait.unwrap_or_default()),
            body: response.body.map(|body| body.to_string()).unwrap_or_default(),
        }
    }
}

/// A server that listens until this is dropped.
#[derive(Debug)]
pub struct Served {
    /// Its URL without a trailing slash.
    pub url: String,
    /// Its port.
    pub port: u16,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Request {
    /// The request line.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The method and the target.
    pub(crate) fn target(&self) -> (&str, &str) {
        let mut words = self.line().split(' ');
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }

    /// The values of a header, in the order in which they came.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        values(&self.head, name)
    }

    /// The first request in these bytes and its length, once it is complete.
    fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = values(&head, "content-length");
        let length: usize = length.first().map_or(Some(0), |length| length.parse().ok())?;
        let body = bytes.get(end..end + length)?.to_vec();
        Some((Self { head, body }, end + length))
    }
}

fn values(head: &str, wanted: &str) -> Vec<String> {
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    let wanted = headers.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
    wanted.map(|(_, value)| value.trim().to_owned()).collect()
}

/// Serves on a free port. An answer of `None` cuts the connection.
///
/// # Errors
///
/// No port is free.
pub(crate) async fn serve<F>(answer: impl Fn(Request) -> F + Clone + Send + 'static) -> io::Result<Served>
where
    F: Future<Output = Option<Answer>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The client notices a connection that fails.
            tokio::spawn(converse(stream, answer.clone()));
        }
    });
    Ok(Served {
        url: format!("http://127.0.0.1:{port}"),
        port,
        task,
    })
}

async fn converse<F>(mut stream: TcpStream, answer: impl Fn(Request) -> F) -> io::Result<()>
where
    F: Future<Output = Option<Answer>>,
{
    let mut buffer = Vec::new();
    loop {
        let Some((request, length)) = Request::read(&buffer) else {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        buffer.drain(..length);
        let Some(Answer {
            status,
            headers,
            body,
        }) = answer(request).await
        else {
            return Ok(());
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} \r\n{headers}content-length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await?;
    }
}
