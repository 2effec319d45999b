//! Requests to the Connector, and its responses.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

/// The kind of service URL that a request was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// The URL of a region.
    Region(usize),
    /// The global URL of the cloud.
    Global,
    /// The URL of GCC.
    Gcc,
}

/// A request to the Connector.
#[derive(Clone, Debug)]
pub struct Request {
    /// The service URL.
    pub address: Address,
    /// The id of the conversation, team or batch that it names; empty if it creates one.
    pub id: String,
    /// The operation.
    pub operation: Operation,
}

/// An operation of the Connector.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Creates the conversation with one person, or finds it.
    Create {
        /// The tenant's id.
        tenant: String,
        /// The person's account or Entra object id.
        member: String,
        /// The first message, if the request has one.
        activity: Option<Value>,
    },
    /// Starts a thread in a channel, with this first message.
    CreateThread(Value),
    /// Sends a message, or a reply.
    Send(Value),
    /// Updates a message.
    Update {
        /// The message's id.
        message: String,
        /// The new content.
        activity: Value,
    },
    /// Deletes the message with this id.
    Delete(String),
    /// Reads members, teams or channels.
    Read(Query),
    /// The batch API.
    Batch(BatchOperation),
}

/// A read operation.
#[derive(Clone, Debug)]
pub enum Query {
    /// All members of a conversation.
    Members,
    /// A page of the members of a conversation.
    PagedMembers {
        /// The largest page.
        size: Option<usize>,
        /// The continuation token of the page before.
        token: Option<String>,
    },
    /// One member of a conversation, by their account or Entra object id.
    Member(String),
    /// The members who see the message with this id.
    ActivityMembers(String),
    /// A team.
    Team,
    /// The channels of a team.
    Channels,
}

/// An operation of the batch API.
#[derive(Clone, Debug)]
pub enum BatchOperation {
    /// Submits one message for many people.
    Submit {
        /// The tenant's id.
        tenant: String,
        /// Account ids or Entra object ids.
        members: Vec<String>,
        /// The message.
        activity: Value,
    },
    /// The progress of a batch.
    Poll,
    /// A page of the people that a batch did not reach.
    ListFailed {
        /// The continuation token of the page before.
        token: Option<String>,
    },
    /// Cancels a batch.
    Cancel,
}

impl Request {
    /// Parses a request from its method, its path and query from `/v3/` on, and its body.
    ///
    /// # Errors
    /// When Teams has no such endpoint, or the body is incomplete.
    pub fn read(address: Address, method: &str, target: &str, body: &Value) -> Result<Request, Refusal> {
        let (segments, query) = split_target(target);
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let parameter = |name: &str| parameter(query, name);
        let activity = || {
            body.get("activity")
                .filter(|activity| !activity.is_null())
                .cloned()
        };
        let (id, operation) = match (method, segments.as_slice()) {
            ("POST", ["v3", "conversations"]) => {
                let channel = body.pointer("/channelData/channel/id").and_then(Value::as_str);
                match (channel, members(body).as_deref()) {
                    (Some(channel), _) => {
                        let activity = activity().ok_or(Refusal::BAD_SYNTAX)?;
                        (channel, Operation::CreateThread(activity))
                    }
                    (None, Some([member])) => {
                        let (tenant, member) = (text(body, "/tenantId"), member.clone());
                        let activity = activity();
                        (
                            "",
                            Operation::Create {
                                tenant,
                                member,
                                activity,
                            },
                        )
                    }
                    (None, _) => return Err(Refusal::BAD_SYNTAX),
                }
            }
            (
                "POST",
                ["v3", "conversations", id, "activities"] | ["v3", "conversations", id, "activities", _],
            ) => (*id, Operation::Send(body.clone())),
            ("PUT", ["v3", "conversations", id, "activities", message]) => {
                let (message, activity) = ((*message).to_owned(), body.clone());
                (*id, Operation::Update { message, activity })
            }
            ("DELETE", ["v3", "conversations", id, "activities", message]) => {
                (*id, Operation::Delete((*message).to_owned()))
            }
            ("GET", ["v3", "conversations", id, rest @ ..]) => {
                let query = match rest {
                    ["members"] => Query::Members,
                    ["pagedmembers"] => Query::PagedMembers {
                        size: parameter("pageSize").and_then(|size| size.parse().ok()),
                        // Some clients send an empty token for the first page.
                        token: parameter("continuationToken").filter(|token| !token.is_empty()),
                    },
                    ["members", member] => Query::Member((*member).to_owned()),
                    ["activities", message, "members"] => Query::ActivityMembers((*message).to_owned()),
                    _ => return Err(Refusal::NO_ENDPOINT),
                };
                (*id, Operation::Read(query))
            }
            ("GET", ["v3", "teams", id]) => (*id, Operation::Read(Query::Team)),
            ("GET", ["v3", "teams", id, "conversations"]) => (*id, Operation::Read(Query::Channels)),
            (_, ["v3", "batch", "conversation", rest @ ..]) => {
                let (id, operation) = match (method, rest) {
                    ("POST", ["users"]) => {
                        let submit = BatchOperation::Submit {
                            tenant: text(body, "/tenantId"),
                            members: members(body).ok_or(Refusal::BAD_SYNTAX)?,
                            activity: activity().ok_or(Refusal::BAD_SYNTAX)?,
                        };
                        ("", submit)
                    }
                    ("GET", ["failedentries", id]) => {
                        let token = parameter("continuationToken");
                        (*id, BatchOperation::ListFailed { token })
                    }
                    ("GET", [id]) => (*id, BatchOperation::Poll),
                    ("DELETE", [id]) => (*id, BatchOperation::Cancel),
                    _ => return Err(Refusal::NO_ENDPOINT),
                };
                (id, Operation::Batch(operation))
            }
            _ => return Err(Refusal::NO_ENDPOINT),
        };
        let id = id.to_owned();
        Ok(Request {
            address,
            id,
            operation,
        })
    }
}

impl Operation {
    /// Whether it changes messages of a conversation: such requests run one at a time and within the conversation's
    /// limits.
    pub fn writes_message(&self) -> bool {
        match self {
            Operation::CreateThread(_)
            | Operation::Send(_)
            | Operation::Update { .. }
            | Operation::Delete(_) => true,
            Operation::Create { .. } | Operation::Read(_) | Operation::Batch(_) => false,
        }
    }
}

/// The text of an activity; empty if it has none.
pub fn text_of(activity: &Value) -> &str {
    activity.get("text").and_then(Value::as_str).unwrap_or_default()
}

impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = &self.id;
        match &self.operation {
            Operation::Create { tenant, member, .. } => write!(formatter, "create {member} of {tenant}")?,
            Operation::CreateThread(activity) => {
                write!(formatter, "create a thread {:?} in {id}", text_of(activity))?;
            }
            Operation::Send(activity) => write!(formatter, "send {:?} to {id}", text_of(activity))?,
            Operation::Update { message, activity } => {
                write!(formatter, "update {message} to {:?} in {id}", text_of(activity))?;
            }
            Operation::Delete(message) => write!(formatter, "delete {message} in {id}")?,
            Operation::Read(Query::PagedMembers {
                token: Some(token), ..
            }) => {
                write!(formatter, "members of {id} from {token}")?;
            }
            Operation::Read(Query::Channels) => write!(formatter, "channels of {id}")?,
            Operation::Read(Query::Team) => write!(formatter, "team {id}")?,
            Operation::Read(
                Query::Members | Query::PagedMembers { .. } | Query::Member(_) | Query::ActivityMembers(_),
            ) => write!(formatter, "members of {id}")?,
            Operation::Batch(batch) => write!(formatter, "{batch:?} {id}")?,
        }
        match self.address {
            Address::Region(region) => write!(formatter, " at region {region}"),
            Address::Global => formatter.write_str(" at the global address"),
            Address::Gcc => formatter.write_str(" at GCC"),
        }
    }
}

/// A refusal, in the error format of the Connector and Graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The code.
    pub code: &'static str,
    /// The error message.
    pub message: &'static str,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
}

impl Refusal {
    pub(super) const BAD_SYNTAX: Refusal = Refusal::new(400, "BadSyntax");
    pub(super) const NO_ENDPOINT: Refusal = Refusal::new(404, "NotFound");
    pub(super) const NO_CONVERSATION: Refusal = Refusal::new(404, "ConversationNotFound");
    pub(super) const NO_MEMBER: Refusal = Refusal::new(404, "MemberNotFoundInConversation");
    pub(super) const NO_ACTIVITY: Refusal = Refusal::new(404, "ActivityNotFoundInConversation");
    pub(super) const NO_TEAM: Refusal = Refusal::new(404, "TeamNotFound");

    /// A refusal by status and code.
    pub const fn new(status: u16, code: &'static str) -> Refusal {
        Refusal {
            status,
            code,
            message: "refused",
            retry_after: None,
        }
    }

    /// Adds a message.
    #[must_use]
    pub const fn saying(self, message: &'static str) -> Refusal {
        Refusal { message, ..self }
    }

    /// Adds a `Retry-After`.
    #[must_use]
    pub const fn retry_after(self, seconds: u64) -> Refusal {
        Refusal {
            retry_after: Some(seconds),
            ..self
        }
    }
}

/// An HTTP response.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// The JSON body; `None` for an empty one.
    pub body: Option<Value>,
}

impl Response {
    /// A response with a body.
    pub fn new(status: u16, body: Value) -> Response {
        Response {
            status,
            retry_after: None,
            body: Some(body),
        }
    }

    /// A response without a body.
    pub fn empty(status: u16) -> Response {
        Response {
            status,
            retry_after: None,
            body: None,
        }
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Response {
        let body = json!({ "error": { "code": refusal.code, "message": refusal.message } });
        Response {
            retry_after: refusal.retry_after,
            ..Response::new(refusal.status, body)
        }
    }
}

/// A percent-encoded path segment or query value.
pub fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// The decoded segments of a path, and its query.
pub(crate) fn split_target(target: &str) -> (Vec<String>, &str) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (path.trim_matches('/').split('/').map(decoded).collect(), query)
}

/// The decoded value of a query parameter.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(known, value)| (decoded(known) == name).then(|| decoded(value)))
}

/// The ids of the members in a body.
fn members(body: &Value) -> Option<Vec<String>> {
    let members = body.get("members")?.as_array()?;
    Some(members.iter().map(|member| text(member, "/id")).collect())
}

fn text(document: &Value, pointer: &str) -> String {
    let text = document.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}
