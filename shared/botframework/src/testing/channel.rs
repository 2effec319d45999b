//! The channel of bots under test.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::connector::Connector;
use crate::http::{Body, ResponseFuture, Transport};

/// The service URL of the channel in this process.
pub(super) const SERVICE_URL: &str = "http://127.0.0.1:3979/";

/// The tenant of all people.
pub(super) const TENANT: &str = "0000000b-0000-4000-8000-00000000000a";

/// The channel in this process. It accepts everything that it is sent, unless [`refuse_next`](Self::refuse_next) says otherwise.
#[derive(Clone, Debug, Default)]
pub struct TestChannel(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<ChannelState>,
    /// The number of the last message.
    numbers: AtomicU64,
}

#[derive(Debug, Default)]
struct ChannelState {
    requests: Vec<SentRequest>,
    members: Vec<Value>,
    refusals: VecDeque<(StatusCode, String)>,
    /// The connection and the token of all people.
    token: Option<(String, String)>,
}

/// A request of the bot to the channel.
#[derive(Clone, Debug, PartialEq)]
pub struct SentRequest {
    /// The method: `POST` sends, `PUT` replaces, `DELETE` deletes.
    pub method: Method,
    /// The path, percent-encoded, with its query.
    pub path: String,
    /// The body, such as an activity; `null` if there is none.
    pub body: Value,
}

impl TestChannel {
    /// A connector whose channel and token service are this one.
    pub fn connector(&self) -> Connector {
        let connector = Connector::unauthenticated(self.clone());
        // It refuses a URL that is not on this machine.
        connector
            .clone()
            .with_user_tokens_at(SERVICE_URL)
            .unwrap_or(connector)
    }

    /// From now on, all people have this token for this OAuth connection, and a client's token is exchanged for it.
    pub fn has_token(&self, connection: &str, token: &str) {
        let token = Some((connection.to_owned(), token.to_owned()));
        self.state().token = token;
    }

    /// All requests of the bot so far.
    pub fn requests(&self) -> Vec<SentRequest> {
        self.state().requests.clone()
    }

    /// The texts that the bot has sent so far.
    pub fn texts(&self) -> Vec<String> {
        texts(&self.state().requests)
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    /// Who is in every conversation, by words such as `bob`.
    pub fn has_members(&self, names: &[&str]) {
        let members = names.iter().map(|name| {
            json!({"id": format!("29:{name}"), "name": name, "aadObjectId": format!("entra-{name}"),
                "email": format!("{name}@example.com"), "tenantId": TENANT})
        });
        self.state().members = members.collect();
    }

    /// Refuses the next request with this status and code, such as 403 `MessageWritesBlocked`.
    pub fn refuse_next(&self, status: StatusCode, code: &str) {
        self.state().refusals.push_back((status, code.to_owned()));
    }

    /// Numbers like those of Teams' messages.
    pub(super) fn next_number(&self) -> u64 {
        1_700_000_000_000 + self.0.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, ChannelState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, sent: &SentRequest) -> (StatusCode, Value) {
        let mut state = self.state();
        state.requests.push(sent.clone());
        if let Some((status, code)) = state.refusals.pop_front() {
            return (
                status,
                json!({"error": {"code": code, "message": "refused by the test"}}),
            );
        }
        let path = sent.path.split('?').next().unwrap_or_default();
        let (parent, last) = path.rsplit_once('/').unwrap_or_default();
        let member = |name: &str| {
            let named = |member: &&Value| {
                let id = member["id"].as_str().unwrap_or_default();
                name.eq_ignore_ascii_case(&id.replace(':', "%3A")) || member["aadObjectId"] == name
            };
            state.members.iter().find(named).cloned()
        };
        match (&sent.method, parent, last) {
            (_, "/api/usertoken" | "/api/botsignin", _) => state.token_service(last, &sent.path),
            (&Method::GET, _, "pagedmembers") => (StatusCode::OK, json!({"members": state.members})),
            (&Method::GET, parent, name) if parent.ends_with("/members") => match member(name) {
                Some(member) => (StatusCode::OK, member),
                None => (
                    StatusCode::NOT_FOUND,
                    json!({"error": {"code": "MemberNotFoundInConversation"}}),
                ),
            },
            (&Method::POST, _, "conversations") => (StatusCode::CREATED, self.created(&sent.body)),
            (&Method::DELETE, _, _) => (StatusCode::OK, Value::Null),
            (&Method::PUT, _, id) => (StatusCode::OK, json!({ "id": id })),
            _ => (StatusCode::CREATED, json!({"id": self.next_number().to_string()})),
        }
    }

    /// The conversation that these parameters create.
    fn created(&self, parameters: &Value) -> Value {
        let number = self.next_number();
        match parameters
            .pointer("/channelData/channel/id")
            .and_then(Value::as_str)
        {
            Some(channel) => {
                json!({"id": format!("{channel};messageid={number}"), "activityId": number.to_string()})
            }
            None => {
                let person = parameters.pointer("/members/0/id").and_then(Value::as_str);
                let name = person.unwrap_or_default().trim_start_matches("29:");
                json!({"id": format!("a:{name}")})
            }
        }
    }
}

impl ChannelState {
    /// The answer of the token service.
    fn token_service(&mut self, asked: &str, path: &str) -> (StatusCode, Value) {
        let of_connection =
            |(connection, _): &&(String, String)| path.contains(&format!("connectionName={connection}&"));
        match (asked, self.token.as_ref().filter(of_connection)) {
            ("GetToken" | "exchange", Some((connection, token))) => (
                StatusCode::OK,
                json!({"connectionName": connection, "token": token}),
            ),
            ("GetSignInResource", _) => {
                let resource = json!({"id": "sign-in", "uri": "api://bot"});
                let link = "https://token.example/sign-in";
                (
                    StatusCode::OK,
                    json!({"signInLink": link, "tokenExchangeResource": resource}),
                )
            }
            ("SignOut", _) => {
                self.token = None;
                (StatusCode::OK, Value::Null)
            }
            _ => (StatusCode::NOT_FOUND, Value::Null),
        }
    }
}

impl Transport for TestChannel {
    fn send(&self, request: Request<Bytes>) -> ResponseFuture<'_> {
        let path = request.uri().path_and_query().map(ToString::to_string);
        let sent = SentRequest {
            method: request.method().clone(),
            path: path.unwrap_or_default(),
            body: serde_json::from_slice(request.body()).unwrap_or_default(),
        };
        let (status, body) = self.answer(&sent);
        let mut response = Response::new(Body::Complete(body.to_string().into()));
        *response.status_mut() = status;
        Box::pin(async move { Ok(response) })
    }
}

/// The activities among requests, without typing indicators; of a new thread, its first message.
pub(super) fn sent(requests: &[SentRequest]) -> Vec<&Value> {
    let bodies = requests
        .iter()
        .filter_map(|request| match request.body.get("activity") {
            Some(first) => Some(first),
            None => request.path.contains("/activities").then_some(&request.body),
        });
    bodies
        .filter(|activity| activity.is_object() && activity["type"] != "typing")
        .collect()
}

pub(super) fn texts(requests: &[SentRequest]) -> Vec<&str> {
    let sent = sent(requests).into_iter();
    sent.filter_map(|activity| activity["text"].as_str()).collect()
}
