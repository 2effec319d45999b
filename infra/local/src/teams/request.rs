//! Requests to the Connector as Teams reads them, and its answers.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

/// Which service URL a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// That of a region.
    Region(usize),
    /// The one for all regions of the cloud.
    Global,
    /// That of GCC.
    Gcc,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where it came to.
    pub address: Address,
    /// What it asks for.
    pub operation: Operation,
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub enum Operation {
    /// The conversation with one person, created or found.
    Create {
        /// The tenant's id.
        tenant: String,
        /// The person's account or Entra object id.
        member: String,
        /// The first message, if one is to be sent.
        activity: Option<Value>,
    },
    /// A new thread in a channel.
    CreateThread {
        /// The channel's id.
        channel: String,
        /// The first message.
        activity: Value,
    },
    /// A message, or a reply to one.
    Send {
        /// The conversation's id.
        conversation: String,
        /// The message.
        activity: Value,
    },
    /// Replaces a message.
    Update {
        /// The conversation's id.
        conversation: String,
        /// The message's id.
        id: String,
        /// What it becomes.
        activity: Value,
    },
    /// Deletes a message.
    Delete {
        /// The conversation's id.
        conversation: String,
        /// The message's id.
        id: String,
    },
    /// Reads members, teams or channels.
    Read(Query),
    /// The batch API.
    Batch(BatchOperation),
}

/// What can be read.
#[derive(Clone, Debug)]
pub enum Query {
    /// All members of a conversation.
    Members {
        /// The conversation's id.
        conversation: String,
    },
    /// A page of the members of a conversation.
    PagedMembers {
        /// The conversation's id.
        conversation: String,
        /// How many at most.
        size: Option<usize>,
        /// The continuation token of the page before.
        token: Option<String>,
    },
    /// One member of a conversation.
    Member {
        /// The conversation's id.
        conversation: String,
        /// The account or Entra object id.
        member: String,
    },
    /// The members who see a message.
    ActivityMembers {
        /// The conversation's id.
        conversation: String,
        /// The message's id.
        id: String,
    },
    /// A team.
    Team {
        /// Its id.
        team: String,
    },
    /// The channels of a team.
    Channels {
        /// Its id.
        team: String,
    },
}

/// What the batch API can do.
#[derive(Clone, Debug)]
pub enum BatchOperation {
    /// One message to many people.
    Submit {
        /// The tenant's id.
        tenant: String,
        /// Their accounts or Entra object ids.
        members: Vec<String>,
        /// The message.
        activity: Value,
    },
    /// The progress of a batch.
    Poll {
        /// The batch's id.
        id: String,
    },
    /// A page of the people whom a batch did not reach.
    ListFailed {
        /// The batch's id.
        id: String,
        /// The continuation token of the page before.
        token: Option<String>,
    },
    /// Ends a batch.
    Cancel {
        /// The batch's id.
        id: String,
    },
}

impl Operation {
    /// Reads a request by its method, its path and query from `/v3/` on, and its body.
    ///
    /// # Errors
    /// Teams has no such endpoint, or the body lacks what it needs.
    pub fn read(method: &str, target: &str, body: &Value) -> Result<Operation, Refusal> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let segments: Vec<String> = path.trim_matches('/').split('/').map(decoded).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let activity = || {
            body.get("activity")
                .filter(|activity| !activity.is_null())
                .cloned()
        };
        let parameter = |name: &str| parameter(query, name);
        let operation = match (method, segments.as_slice()) {
            ("POST", ["v3", "conversations"]) => return Operation::create(body),
            (
                "POST",
                ["v3", "conversations", conversation, "activities"]
                | ["v3", "conversations", conversation, "activities", _],
            ) => Operation::Send {
                conversation: (*conversation).to_owned(),
                activity: body.clone(),
            },
            ("PUT", ["v3", "conversations", conversation, "activities", id]) => Operation::Update {
                conversation: (*conversation).to_owned(),
                id: (*id).to_owned(),
                activity: body.clone(),
            },
            ("DELETE", ["v3", "conversations", conversation, "activities", id]) => Operation::Delete {
                conversation: (*conversation).to_owned(),
                id: (*id).to_owned(),
            },
            ("GET", ["v3", "conversations", conversation, rest @ ..]) => {
                let conversation = (*conversation).to_owned();
                Operation::Read(match rest {
                    ["members"] => Query::Members { conversation },
                    ["pagedmembers"] => Query::PagedMembers {
                        conversation,
                        size: parameter("pageSize").and_then(|size| size.parse().ok()),
                        token: parameter("continuationToken"),
                    },
                    ["members", member] => Query::Member {
                        conversation,
                        member: (*member).to_owned(),
                    },
                    ["activities", id, "members"] => Query::ActivityMembers {
                        conversation,
                        id: (*id).to_owned(),
                    },
                    _ => return Err(Refusal::NO_ENDPOINT),
                })
            }
            ("GET", ["v3", "teams", team]) => Operation::Read(Query::Team {
                team: (*team).to_owned(),
            }),
            ("GET", ["v3", "teams", team, "conversations"]) => Operation::Read(Query::Channels {
                team: (*team).to_owned(),
            }),
            ("POST", ["v3", "batch", "conversation", "users"]) => {
                let members = body.get("members").and_then(Value::as_array);
                let members = members.ok_or(Refusal::BAD_SYNTAX)?.iter();
                Operation::Batch(BatchOperation::Submit {
                    tenant: text(body, "/tenantId"),
                    members: members.map(|member| text(member, "/id")).collect(),
                    activity: activity().ok_or(Refusal::BAD_SYNTAX)?,
                })
            }
            ("GET", ["v3", "batch", "conversation", "failedentries", id]) => {
                Operation::Batch(BatchOperation::ListFailed {
                    id: (*id).to_owned(),
                    token: parameter("continuationToken"),
                })
            }
            ("GET", ["v3", "batch", "conversation", id]) => {
                Operation::Batch(BatchOperation::Poll { id: (*id).to_owned() })
            }
            ("DELETE", ["v3", "batch", "conversation", id]) => {
                Operation::Batch(BatchOperation::Cancel { id: (*id).to_owned() })
            }
            _ => return Err(Refusal::NO_ENDPOINT),
        };
        Ok(operation)
    }

    fn create(body: &Value) -> Result<Operation, Refusal> {
        let activity = body
            .get("activity")
            .filter(|activity| !activity.is_null())
            .cloned();
        if let Some(channel) = body.pointer("/channelData/channel/id").and_then(Value::as_str) {
            return Ok(Operation::CreateThread {
                channel: channel.to_owned(),
                activity: activity.ok_or(Refusal::BAD_SYNTAX)?,
            });
        }
        match body.get("members").and_then(Value::as_array).map(Vec::as_slice) {
            Some([member]) => Ok(Operation::Create {
                tenant: text(body, "/tenantId"),
                member: text(member, "/id"),
                activity,
            }),
            Some(_) | None => Err(Refusal::BAD_SYNTAX),
        }
    }

    /// The conversation or team that it names, if it names one.
    pub fn conversation(&self) -> Option<&str> {
        match self {
            Operation::Create { .. } | Operation::Batch(_) => None,
            Operation::CreateThread {
                channel: conversation,
                ..
            }
            | Operation::Send { conversation, .. }
            | Operation::Update { conversation, .. }
            | Operation::Delete { conversation, .. } => Some(conversation),
            Operation::Read(query) => Some(query.conversation()),
        }
    }

    /// Whether it posts, changes or deletes a message of a conversation, one at a time and within the limits of it.
    pub fn writes_message(&self) -> bool {
        match self {
            Operation::CreateThread { .. }
            | Operation::Send { .. }
            | Operation::Update { .. }
            | Operation::Delete { .. } => true,
            Operation::Create { .. } | Operation::Read(_) | Operation::Batch(_) => false,
        }
    }
}

impl Query {
    /// The conversation or team that is read.
    pub fn conversation(&self) -> &str {
        match self {
            Query::Members { conversation }
            | Query::PagedMembers { conversation, .. }
            | Query::Member { conversation, .. }
            | Query::ActivityMembers { conversation, .. }
            | Query::Team { team: conversation }
            | Query::Channels { team: conversation } => conversation,
        }
    }
}

/// The text of an activity; empty if it has none.
pub fn text_of(activity: &Value) -> &str {
    activity.get("text").and_then(Value::as_str).unwrap_or_default()
}

impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.operation {
            Operation::Create { tenant, member, .. } => write!(formatter, "create {member} of {tenant}")?,
            Operation::CreateThread { channel, activity } => {
                write!(formatter, "create a thread {:?} in {channel}", text_of(activity))?;
            }
            Operation::Send {
                conversation,
                activity,
            } => write!(formatter, "send {:?} to {conversation}", text_of(activity))?,
            Operation::Update {
                conversation,
                id,
                activity,
            } => write!(
                formatter,
                "update {id} to {:?} in {conversation}",
                text_of(activity)
            )?,
            Operation::Delete { conversation, id } => write!(formatter, "delete {id} in {conversation}")?,
            Operation::Read(query) => match query {
                Query::PagedMembers {
                    conversation,
                    token: Some(token),
                    ..
                } => write!(formatter, "members of {conversation} from {token}")?,
                Query::Channels { team } => write!(formatter, "channels of {team}")?,
                Query::Team { team } => write!(formatter, "team {team}")?,
                Query::Members { .. }
                | Query::PagedMembers { .. }
                | Query::Member { .. }
                | Query::ActivityMembers { .. } => write!(formatter, "members of {}", query.conversation())?,
            },
            Operation::Batch(batch) => write!(formatter, "{batch:?}")?,
        }
        match self.address {
            Address::Region(region) => write!(formatter, " at region {region}"),
            Address::Global => formatter.write_str(" at the global address"),
            Address::Gcc => formatter.write_str(" at GCC"),
        }
    }
}

/// Why a request is not carried out, in the Connector's and Graph's form of errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The code.
    pub code: &'static str,
    /// The message.
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

    /// The same with a message.
    #[must_use]
    pub const fn saying(self, message: &'static str) -> Refusal {
        Refusal { message, ..self }
    }

    /// The same with `Retry-After`.
    #[must_use]
    pub const fn retry_after(self, seconds: u64) -> Refusal {
        Refusal {
            retry_after: Some(seconds),
            ..self
        }
    }
}

/// An HTTP answer.
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
    /// An answer with a body.
    pub fn new(status: u16, body: Value) -> Response {
        Response {
            status,
            retry_after: None,
            body: Some(body),
        }
    }

    /// An answer with an empty body.
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

/// The decoded value of a query parameter.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(known, value)| (decoded(known) == name).then(|| decoded(value)))
}

fn text(document: &Value, pointer: &str) -> String {
    let text = document.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}
