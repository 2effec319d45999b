//! A fake channel: records what it is sent, and delays, refuses or cuts the connection when told to.
//!
//! It is one thing with two doors: in-process as a [`Transport`], and over real HTTP with [`Channel::serve`].

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use botframework::connector::{Body, Exchange, Transport, TransportError};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub mod batch;

/// Where conversations are created.
const CREATE: &str = "/v3/conversations";

/// What the channel does with a request to one conversation.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Takes it: 201 and an id.
    Accept,
    /// Takes it and says nothing: 202 without a body, as Teams may.
    AcceptSilently,
    /// Does not take it.
    Refuse {
        /// The status.
        status: u16,
        /// The code in the error document.
        code: &'static str,
    },
    /// Answers with these, one request each, and then takes everything.
    Answers(VecDeque<Reply>),
    /// Is served at this host: elsewhere it is refused for being in another region.
    ServedAt(&'static str),
    /// Takes it, and gives what was created, or sent, this id.
    Named(&'static str),
    /// Takes it, and cuts the connection before the answer.
    Cut,
    /// Takes it when told to, by [`Channel::let_go`]; the caller waits.
    Hold,
}

/// A team, as the channel knows it.
#[derive(Clone, Debug, Default)]
pub struct Team {
    /// The ids of its channels; General's is the team's.
    pub channels: Vec<String>,
    /// Its roster.
    pub members: Vec<Value>,
    /// How many requests that go on with the roster are refused, because what they go on with is too old.
    pub forgotten: usize,
    /// Whether what goes on with the roster is answered with where it goes on from.
    pub circles: bool,
}

/// A member of a team, as a roster names them: by both of their ids.
pub fn member(person: &str) -> Value {
    json!({"id": format!("29:{person}"), "aadObjectId": format!("entra-{person}"), "userRole": "user"})
}

/// One answer. With the status 200 it is what the channel would have answered anyway.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The code in the error document.
    pub code: &'static str,
    /// The message in it.
    pub message: &'static str,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
}

/// One request the channel carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// `POST`, …
    pub method: String,
    /// The path, as it came: percent-encoded.
    pub path: String,
    /// The conversation, decoded.
    pub conversation: String,
    /// The activity.
    pub activity: Value,
}

/// The channel. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Channel(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    requests: watch::Sender<usize>,
    let_go: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    behaviours: HashMap<String, Behaviour>,
    teams: HashMap<String, Team>,
    received: Vec<Received>,
    batches: batch::Batches,
}

enum Answer {
    Status(u16, Option<Value>),
    Wait(u16, Value, u32),
    Cut,
}

impl Default for Channel {
    fn default() -> Self {
        Self::new()
    }
}

impl Channel {
    /// A channel that accepts everything.
    pub fn new() -> Self {
        let (requests, let_go) = (watch::Sender::new(0), watch::Sender::new(false));
        Self(Arc::new(Shared {
            state: Mutex::default(),
            requests,
            let_go,
        }))
    }

    /// From now on, does this with requests to that conversation.
    pub fn when(&self, conversation: &str, behaviour: Behaviour) {
        self.state().behaviours.insert(conversation.to_owned(), behaviour);
    }

    /// From now on there is this team.
    pub fn team(&self, id: &str, team: Team) {
        self.state().teams.insert(id.to_owned(), team);
    }

    /// How often a conversation with this member was created.
    pub fn created(&self, member: &str) -> usize {
        let is_of_member =
            |it: &&Received| it.path == CREATE && it.activity["members"][0]["id"] == json!(member);
        self.state().received.iter().filter(is_of_member).count()
    }

    /// Carries out what it held back, and holds nothing back any more.
    pub fn let_go(&self) {
        self.0.let_go.send_replace(true);
    }

    /// Everything carried out so far.
    pub fn received(&self) -> Vec<Received> {
        self.state().received.clone()
    }

    /// How often something was carried out in that conversation.
    pub fn count(&self, conversation: &str) -> usize {
        self.state()
            .received
            .iter()
            .filter(|it| it.conversation == conversation)
            .count()
    }

    /// Requests that came, carried out or not.
    pub fn requests(&self) -> usize {
        *self.0.requests.borrow()
    }

    /// Waits until so many requests came.
    pub async fn asked(&self, count: usize) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self
            .0
            .requests
            .subscribe()
            .wait_for(|requests| *requests >= count)
            .await;
    }

    /// Opens the second door: HTTP/1.1 on a free port of this machine.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn serve(&self) -> io::Result<Served> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let channel = self.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let channel = channel.clone();
                // A connection that fails is the caller's to notice; that is often the test.
                tokio::spawn(async move { channel.converse(stream).await });
            }
        });
        Ok(Served { url, task })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is asked of the first answers to that conversation.
    fn next_reply(&self, conversation: &str) -> Option<Reply> {
        match self.state().behaviours.get_mut(conversation)? {
            Behaviour::Answers(replies) => replies.pop_front(),
            _ => None,
        }
    }

    async fn answer(&self, host: &str, method: &str, target: &str, body: &[u8]) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path.contains("/v3/batch/conversation") {
            return self.batch(method, path, query, body).await;
        }
        let after = |word| path.split(word).nth(1);
        let named = after("/conversations/").or_else(|| after("/v3/teams/"));
        let named = named.map(|rest| decode(rest.split('/').next().unwrap_or_default()));
        let mut conversation = named.clone().unwrap_or_default();
        let document: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let invited = document["members"][0]["id"].as_str().unwrap_or_default();
        if named.is_none() && self.state().behaviours.contains_key(invited) {
            // What is done about creating a conversation may be said of one member alone.
            invited.clone_into(&mut conversation);
        }
        let behaviour = self
            .state()
            .behaviours
            .get(&conversation)
            .cloned()
            .unwrap_or(Behaviour::Accept);
        if let Some(answer) = self.interferes(&conversation, body).await {
            return answer;
        }
        if let Behaviour::ServedAt(served) = behaviour
            && served != host
        {
            let error = json!({"code": "BadArgument", "message": "User is from different region"});
            return Answer::Status(403, Some(json!({"error": error})));
        }
        if method == "GET" {
            return self.tell(path, query, &conversation);
        }
        // It is no conversation yet.
        let conversation = named.unwrap_or_default();
        let anew = (path == CREATE).then(|| personal_chat(invited));
        let number = {
            let mut state = self.state();
            let activity = document;
            let (method, path) = (method.to_owned(), path.to_owned());
            state.received.push(Received {
                method,
                path,
                conversation,
                activity,
            });
            state.received.len()
        };
        match behaviour {
            Behaviour::Cut => Answer::Cut,
            Behaviour::AcceptSilently => Answer::Status(202, None),
            Behaviour::Named(id) => Answer::Status(201, Some(json!({"id": id}))),
            Behaviour::Accept
            | Behaviour::Answers(_)
            | Behaviour::ServedAt(_)
            | Behaviour::Hold
            | Behaviour::Refuse { .. } => {
                let id = anew.unwrap_or_else(|| format!("activity-{number}"));
                Answer::Status(201, Some(json!({ "id": id })))
            }
        }
    }

    /// Counts a request, holds it back if it is told to, and answers it before it is carried out if it is told to.
    async fn interferes(&self, conversation: &str, body: &[u8]) -> Option<Answer> {
        self.0.requests.send_modify(|requests| *requests += 1);
        if let Some(reply) = self.next_reply(conversation).filter(|reply| reply.status != 200) {
            let document = json!({"error": {"code": reply.code, "message": reply.message}});
            return Some(match reply.retry_after {
                Some(seconds) => Answer::Wait(reply.status, document, seconds),
                None => Answer::Status(reply.status, Some(document)),
            });
        }
        let behaviour = self.state().behaviours.get(conversation).cloned()?;
        match behaviour {
            Behaviour::Refuse { status, code } => {
                // Real ones quote what they refuse, too.
                let message = format!("refused: {}", String::from_utf8_lossy(body));
                let document = json!({"error": {"code": code, "message": message}});
                return Some(Answer::Status(status, Some(document)));
            }
            Behaviour::Hold => {
                let _ = self.0.let_go.subscribe().wait_for(|let_go| *let_go).await;
            }
            Behaviour::Accept
            | Behaviour::AcceptSilently
            | Behaviour::Answers(_)
            | Behaviour::ServedAt(_)
            | Behaviour::Named(_)
            | Behaviour::Cut => {}
        }
        None
    }

    /// What it knows of a team: its channels, or a page of its roster. Like the real one it makes a page of 50 at least and
    /// 500 at most, and has the last of one page on the next once more.
    fn tell(&self, path: &str, query: &str, team: &str) -> Answer {
        let parameter = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find_map(|(known, value)| (known == name).then(|| decode(value)))
        };
        let refused = |status, code: &str| Answer::Status(status, Some(json!({"error": {"code": code}})));
        let mut state = self.state();
        let Some(team) = state.teams.get_mut(team) else {
            return refused(404, "ConversationNotFound");
        };
        if path.ends_with("/conversations") {
            let channels = team.channels.iter().map(|id| json!({ "id": id }));
            return Answer::Status(200, Some(json!({"conversations": channels.collect::<Vec<_>>()})));
        }
        let size = parameter("pageSize").and_then(|size| size.parse().ok());
        let size = size.unwrap_or(200).clamp(50, 500);
        let token = parameter("continuationToken");
        if token.is_some() && team.forgotten > 0 {
            team.forgotten -= 1;
            return refused(400, "BadArgument");
        }
        let from: usize = token.as_ref().and_then(|token| token.parse().ok()).unwrap_or(0);
        let end = (from + size).min(team.members.len());
        let mut page = json!({"members": &team.members[from.saturating_sub(1)..end]});
        if let Some(token) = token.filter(|_| team.circles) {
            page["continuationToken"] = json!(token);
        } else if end < team.members.len() {
            page["continuationToken"] = json!(end.to_string());
        }
        Answer::Status(200, Some(page))
    }

    async fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            let head_end = loop {
                if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                    break end + 4;
                }
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
            };
            let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, value)| value.trim().parse().ok())
                .unwrap_or(0);
            while buffer.len() < head_end + length {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
            }
            let mut words = head.split(' ');
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            match self
                .answer("", method, path, &buffer[head_end..head_end + length])
                .await
            {
                Answer::Cut => return Ok(()),
                Answer::Wait(status, body, seconds) => {
                    let body = body.to_string();
                    let answer = format!(
                        "HTTP/1.1 {status} \r\nretry-after: {seconds}\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    stream.write_all(answer.as_bytes()).await?;
                }
                Answer::Status(status, body) => {
                    let body = body.map(|body| body.to_string()).unwrap_or_default();
                    let answer = format!(
                        "HTTP/1.1 {status} \r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    stream.write_all(answer.as_bytes()).await?;
                }
            }
            buffer.drain(..head_end + length);
        }
    }
}

impl Transport for Channel {
    fn send(&self, request: http::Request<Bytes>) -> Exchange<'_> {
        Box::pin(async move {
            let host = request.uri().host().unwrap_or_default();
            let method = request.method().as_str();
            let target = request
                .uri()
                .path_and_query()
                .map_or("", |target| target.as_str());
            match self.answer(host, method, target, request.body()).await {
                Answer::Cut => Err(TransportError::MaybeSent("cut".into())),
                Answer::Wait(status, body, seconds) => {
                    let mut response = http::Response::new(Body::Whole(body.to_string().into()));
                    *response.status_mut() =
                        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
                    response
                        .headers_mut()
                        .insert(http::header::RETRY_AFTER, seconds.into());
                    Ok(response)
                }
                Answer::Status(status, body) => {
                    let body = body.map(|body| body.to_string()).unwrap_or_default();
                    let mut response = http::Response::new(Body::Whole(body.into()));
                    *response.status_mut() =
                        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
                    Ok(response)
                }
            }
        })
    }
}

/// A channel that is reachable over HTTP until this is dropped.
#[derive(Debug)]
pub struct Served {
    /// Where, without a trailing slash: its service URL.
    pub url: String,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The conversation of the bot with one person, which is the same by whichever of their names.
fn personal_chat(member: &str) -> String {
    let person = member
        .strip_prefix("29:")
        .or_else(|| member.strip_prefix("entra-"));
    format!("a:{}", person.unwrap_or(member))
}

pub(crate) fn decode(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| tail.get(..2)).flatten();
        let decoded = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
