//! The model of Teams as a channel that misbehaves on request: it delays and refuses requests and cuts connections.
//!
//! Every conversation and person exists once it is named, and no rate is limited. The channel is reached in-process as a
//! [`Transport`], or over HTTP with [`Channel::serve`].

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::gate::Gate;
use crate::server::{self, Served};
use botframework::http::{Body, ResponseFuture, Transport, TransportError};
use bytes::Bytes;
use herald_local::teams::{
    Account, Address, Batch, BatchOperation, BatchScenario, Failure, Kind, Limits, Member, Operation, Place,
    Query, Refusal, Request, Response, Team as Channels, Teams, UnknownTargetPolicy,
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Where conversations are created.
const CREATE: &str = "/v3/conversations";
/// Where batches are submitted.
const USERS: &str = "/v3/batch/conversation/users";

/// The fixed time of all requests. The model derives its ids from it; nothing else depends on it.
const TIME: Timestamp = Timestamp::UNIX_EPOCH;

/// The batch API. Its endpoints have behaviours like conversations, by the names of [`batch::SUBMIT`] and others.
pub mod batch {
    pub use herald_local::teams::{Batch, BatchScenario, Failure};

    /// The endpoint that submits a batch.
    pub const SUBMIT: &str = "batch";
    /// The endpoint that polls a batch.
    pub const ASK: &str = "batch/operation";
    /// The endpoint that lists failed entries.
    pub const LIST: &str = "batch/failedentries";
    /// The endpoint that cancels a batch.
    pub const CANCEL: &str = "batch/cancel";
}

/// What the channel does with requests to one conversation.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Executes them.
    Accept,
    /// Executes them and answers 202 without a body, as Teams may.
    AcceptSilently,
    /// Refuses them.
    Refuse {
        /// The HTTP status.
        status: u16,
        /// The code in the error document.
        code: &'static str,
    },
    /// Gives these answers, one request each, and executes all later requests.
    Answers(VecDeque<Reply>),
    /// Serves them at this host, and refuses them at others for their region.
    ServedAt(&'static str),
    /// Executes them and answers with this id.
    Named(&'static str),
    /// Executes them and cuts the connection before the answer.
    Cut,
    /// Executes them after [`Channel::let_go`]; the caller waits.
    Hold,
}

/// A team or group chat.
#[derive(Clone, Debug, Default)]
pub struct Team {
    /// The ids of its channels; General's is the team's.
    pub channels: Vec<String>,
    /// The entries of its roster.
    pub members: Vec<Value>,
    /// How many continuation tokens are refused as expired.
    pub forgotten: usize,
    /// Whether a continuation token leads to itself.
    pub circles: bool,
}

/// The entry of a person in a roster, with both of their ids.
pub fn member(person: &str) -> Value {
    json!({"id": format!("29:{person}"), "aadObjectId": format!("entra-{person}"), "userRole": "user"})
}

/// One scripted answer. With the status 200 the request is executed.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The code in the error document.
    pub code: &'static str,
    /// The message in it.
    pub message: &'static str,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
}

impl From<Reply> for Response {
    fn from(reply: Reply) -> Self {
        Refusal {
            status: reply.status,
            code: reply.code,
            message: reply.message,
            retry_after: reply.retry_after.map(u64::from),
        }
        .into()
    }
}

/// One executed request, except reads. A batch counts as one for each member it reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// The HTTP method.
    pub method: String,
    /// The path, percent-encoded as it came.
    pub path: String,
    /// The conversation, decoded.
    pub conversation: String,
    /// The JSON body.
    pub activity: Value,
}

/// The channel. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Channel(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    gate: Gate,
}

#[derive(Debug)]
struct State {
    teams: Teams,
    behaviours: HashMap<String, Behaviour>,
    /// `forgotten` and `circles` of teams.
    rosters: HashMap<String, (usize, bool)>,
    received: Vec<Received>,
}

impl Default for Channel {
    fn default() -> Self {
        Self::new()
    }
}

impl Channel {
    /// A channel that accepts everything.
    pub fn new() -> Self {
        let state = State {
            teams: open_world(),
            behaviours: HashMap::new(),
            rosters: HashMap::new(),
            received: Vec::new(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            gate: Gate::default(),
        }))
    }

    /// From now on, does this with requests to that conversation, or with creations for that member.
    pub fn when(&self, conversation: &str, behaviour: Behaviour) {
        self.state().behaviours.insert(conversation.to_owned(), behaviour);
    }

    /// From now on there is this team.
    pub fn team(&self, id: &str, team: Team) {
        self.state().add_team(id, team);
    }

    /// How often a conversation with this member was created.
    pub fn created(&self, member: &str) -> usize {
        let is_of_member =
            |it: &&Received| it.path == CREATE && it.activity["members"][0]["id"] == json!(member);
        self.state().received.iter().filter(is_of_member).count()
    }

    /// Executes the held requests, and holds none from now on.
    pub fn let_go(&self) {
        self.0.gate.open();
    }

    /// Every request that was executed so far.
    pub fn received(&self) -> Vec<Received> {
        self.state().received.clone()
    }

    /// The number of executed requests in that conversation.
    pub fn count(&self, conversation: &str) -> usize {
        let received = &self.state().received;
        received
            .iter()
            .filter(|it| it.conversation == conversation)
            .count()
    }

    /// The number of requests that arrived, executed or not.
    pub fn requests(&self) -> usize {
        self.0.gate.requests()
    }

    /// Waits until this many requests arrived.
    pub async fn asked(&self, count: usize) {
        self.0.gate.wait_for_requests(count).await;
    }

    /// Sets the course of the next batches.
    pub fn course(&self, course: BatchScenario) {
        self.state().teams.course = course;
    }

    /// From now on no batch reaches this member.
    pub fn fails(&self, member: &str, failure: Failure) {
        self.state()
            .teams
            .batch_failures
            .insert(member.to_owned(), failure);
    }

    /// The batches so far.
    pub fn batches(&self) -> Vec<Batch> {
        self.state().teams.batches.clone()
    }

    /// Serves the channel over HTTP/1.1 on a free loopback port.
    ///
    /// # Errors
    ///
    /// No port is free.
    pub async fn serve(&self) -> io::Result<Served> {
        let channel = self.clone();
        server::serve(move |request| {
            let channel = channel.clone();
            async move {
                let (method, target) = request.target();
                let answer = channel.answer("", method, target, &request.body).await;
                answer.map(server::Answer::from)
            }
        })
        .await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a request; `None` cuts the connection.
    async fn answer(&self, host: &str, method: &str, target: &str, body: &[u8]) -> Option<Response> {
        let document: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let api = target.find("/v3/").map_or(target, |start| &target[start..]);
        let request = Request::read(Address::Region(0), method, api, &document);
        let subject = self.state().subject(request.as_ref().ok());
        self.0.gate.count();
        let behaviour = self.state().next_behaviour(&subject);
        match &behaviour {
            Behaviour::Answers(replies) => {
                if let Some(reply) = replies.front().filter(|reply| reply.status != 200) {
                    return Some(reply.clone().into());
                }
            }
            Behaviour::Refuse { status, code } => {
                // Real channels quote what they refuse.
                let message = format!("refused: {}", String::from_utf8_lossy(body));
                let error = json!({"code": code, "message": message});
                return Some(Response::new(*status, json!({ "error": error })));
            }
            Behaviour::ServedAt(served) if *served != host => {
                let error = json!({"code": "BadArgument", "message": "User is from different region"});
                return Some(Response::new(403, json!({ "error": error })));
            }
            Behaviour::Hold => self.0.gate.pass().await,
            Behaviour::Accept
            | Behaviour::AcceptSilently
            | Behaviour::ServedAt(_)
            | Behaviour::Named(_)
            | Behaviour::Cut => {}
        }
        let request = match request {
            Ok(request) => request,
            Err(refusal) => return Some(refusal.into()),
        };
        let is_read = matches!(request.operation, Operation::Read(_));
        let path = target.split('?').next().unwrap_or_default();
        let response = self.state().carry_out(&request, method, path, document);
        match behaviour {
            _ if is_read => Some(response),
            Behaviour::Cut => None,
            Behaviour::AcceptSilently => Some(Response::empty(202)),
            Behaviour::Named(id) => Some(Response::new(201, json!({ "id": id }))),
            Behaviour::Accept
            | Behaviour::Answers(_)
            | Behaviour::ServedAt(_)
            | Behaviour::Hold
            | Behaviour::Refuse { .. } => Some(response),
        }
    }
}

/// A world in which every person and conversation exists, and no rate is limited.
pub(crate) fn open_world() -> Teams {
    let mut teams = Teams::new("28:bot", crate::graph::MANIFEST);
    teams.strangers = UnknownTargetPolicy::Created;
    teams.limits = Limits::default();
    teams
}

impl State {
    /// The conversation, batch endpoint or member whose behaviour applies to a request.
    fn subject(&self, request: Option<&Request>) -> String {
        let Some(request) = request else {
            return String::new();
        };
        match &request.operation {
            // A creation has the behaviour of its member, if there is one.
            Operation::Create { member, .. } if self.behaviours.contains_key(member) => member.clone(),
            Operation::Batch(BatchOperation::Submit { .. }) => batch::SUBMIT.to_owned(),
            Operation::Batch(BatchOperation::Poll) => batch::ASK.to_owned(),
            Operation::Batch(BatchOperation::ListFailed { .. }) => batch::LIST.to_owned(),
            Operation::Batch(BatchOperation::Cancel) => batch::CANCEL.to_owned(),
            Operation::Create { .. }
            | Operation::CreateThread(_)
            | Operation::Send(_)
            | Operation::Update { .. }
            | Operation::Delete(_)
            | Operation::Read(_) => request.id.clone(),
        }
    }

    /// The behaviour of a conversation. A scripted answer is used once.
    fn next_behaviour(&mut self, subject: &str) -> Behaviour {
        match self.behaviours.get_mut(subject) {
            Some(Behaviour::Answers(replies)) => {
                Behaviour::Answers(replies.pop_front().into_iter().collect())
            }
            known => known.map_or(Behaviour::Accept, |behaviour| behaviour.clone()),
        }
    }

    fn carry_out(&mut self, request: &Request, method: &str, path: &str, body: Value) -> Response {
        let mut circle = None;
        if let Operation::Read(Query::PagedMembers {
            token: Some(token), ..
        }) = &request.operation
            && let Some((forgotten, circles)) = self.rosters.get_mut(&request.id)
        {
            if *forgotten > 0 {
                *forgotten -= 1;
                return Refusal::new(400, "BadArgument").into();
            }
            circle = circles.then(|| token.clone());
        }
        let before = self.teams.posted.len();
        let mut response = self.teams.handle(request, TIME);
        if let (Some(token), Some(page)) = (circle, &mut response.body) {
            page["continuationToken"] = json!(token);
        }
        let is_done = response.status < 300;
        match &request.operation {
            Operation::Read(_) => {}
            Operation::Batch(_) => {
                let reached = self.teams.posted[before..].iter().map(|posted| Received {
                    method: "POST".to_owned(),
                    path: USERS.to_owned(),
                    conversation: posted.conversation.clone(),
                    activity: posted.activity.clone(),
                });
                self.received.extend(reached);
            }
            _ if is_done => {
                let conversation = if path == CREATE { "" } else { &request.id };
                self.received.push(Received {
                    method: method.to_owned(),
                    path: path.to_owned(),
                    conversation: conversation.to_owned(),
                    activity: body,
                });
            }
            _ => {}
        }
        response
    }

    fn add_team(&mut self, id: &str, team: Team) {
        self.rosters.insert(id.to_owned(), (team.forgotten, team.circles));
        let (teams, now) = (&mut self.teams, TIME);
        let tenant = teams.tenant("tenant-1");
        let index = teams.teams.len();
        teams.teams.push(Channels::default());
        for entry in team.members {
            let person = entry["id"].as_str().or(entry["aadObjectId"].as_str());
            let person = teams.create_person(tenant, person.unwrap_or_default());
            teams.teams[index].members.push(Member::new(person, entry, now));
        }
        let others = team
            .channels
            .iter()
            .map(String::as_str)
            .filter(|channel| *channel != id);
        for channel in [id].into_iter().chain(others) {
            let place = teams.named(channel).unwrap_or_else(|| {
                teams.add(Place::new(
                    Kind::Channel,
                    tenant,
                    channel.to_owned(),
                    Account::default(),
                ))
            });
            teams.places[place].team = Some(index);
            teams.teams[index].channels.push(place);
        }
    }
}

impl Transport for Channel {
    fn send(&self, request: http::Request<Bytes>) -> ResponseFuture<'_> {
        Box::pin(async move {
            let host = request.uri().host().unwrap_or_default();
            let method = request.method().as_str();
            let target = request.uri().path_and_query();
            let target = target.map_or("", |target| target.as_str());
            match self.answer(host, method, target, request.body()).await {
                Some(response) => Ok(http_response(response)),
                None => Err(TransportError::MaybeSent("cut".into())),
            }
        })
    }
}

/// A response of the model as a transport returns it.
pub fn http_response(response: Response) -> http::Response<Body> {
    let body = response.body.map(|body| body.to_string()).unwrap_or_default();
    let mut answer = http::Response::new(Body::Complete(body.into()));
    *answer.status_mut() = http::StatusCode::from_u16(response.status).unwrap();
    if let Some(seconds) = response.retry_after {
        answer
            .headers_mut()
            .insert(http::header::RETRY_AFTER, seconds.into());
    }
    answer
}
