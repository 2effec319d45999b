//! A server that writes down every request, and answers as it is told.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

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

/// The status, further headers as lines, and a JSON body.
pub type Answer = (u16, String, String);

/// A server on a free port of this machine, until it is dropped.
#[derive(Debug)]
pub struct Recorder {
    /// Where it is, without a trailing slash.
    pub url: String,
    /// Its port.
    pub port: u16,
    requests: watch::Sender<Vec<Request>>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Answers each request with what `answer` says to it and to the number of requests so far, itself included.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn answering(
        answer: impl FnMut(&Request, usize) -> Answer + Send + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let requests = watch::Sender::new(Vec::new());
        let (written, answer) = (requests.clone(), Arc::new(Mutex::new(answer)));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (written, answer) = (written.clone(), Arc::clone(&answer));
                // A connection that fails is the caller's to notice.
                tokio::spawn(async move {
                    converse(stream, |request| {
                        let mut number = 0;
                        written.send_modify(|requests| {
                            requests.push(request.clone());
                            number = requests.len();
                        });
                        answer.lock().unwrap_or_else(PoisonError::into_inner)(request, number)
                    })
                    .await
                });
            }
        });
        Ok(Self {
            url: format!("http://127.0.0.1:{port}"),
            port,
            requests,
            task,
        })
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.borrow().clone()
    }

    /// Waits until so many requests came.
    pub async fn asked(&self, count: usize) {
        let mut requests = self.requests.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = requests.wait_for(|requests| requests.len() >= count).await;
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(mut stream: TcpStream, answer: impl Fn(&Request) -> Answer) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let (request, length) = loop {
            if let Some(whole) = read(&buffer) {
                break whole;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        buffer.drain(..length);
        let (status, headers, body) = answer(&request);
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} \r\n{headers}content-length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// The request at the buffer's beginning and its length, once it is there in full.
fn read(buffer: &[u8]) -> Option<(Request, usize)> {
    let head_end = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let values = |wanted: &str| -> Vec<String> {
        head.lines()
            .filter_map(|line| line.split_once(": "))
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.to_owned())
            .collect()
    };
    let body_length: usize = values("content-length")
        .first()
        .map_or(Some(0), |it| it.parse().ok())?;
    let body = buffer.get(head_end..head_end + body_length)?;
    let request = Request {
        line: head.lines().next().unwrap_or_default().to_owned(),
        authorization: values("authorization"),
        body: String::from_utf8_lossy(body).into_owned(),
    };
    Some((request, head_end + body_length))
}
