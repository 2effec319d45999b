//! What a Connector answers beside the requests of the [model](crate::teams): attachments, reactions, meetings, batches for
//! a tenant or a team, and operations that Teams does not have. Herald itself asks for none of it, but other clients of the
//! Bot Framework do.

use axum::body::Bytes;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::teams::{Kind, Refusal, Response, Teams, split_target};

const NO_ATTACHMENT: Refusal = Refusal::new(404, "AttachmentNotFound");
const NO_MEETING: Refusal = Refusal::new(404, "MeetingNotFound").saying("this channel has no meetings");
const NO_ACTIVITY: Refusal = Refusal::new(404, "ActivityNotFoundInConversation");
const NO_CONVERSATION: Refusal = Refusal::new(404, "ConversationNotFound");
const BAD_SYNTAX: Refusal = Refusal::new(400, "BadSyntax");
/// Other channels have these operations.
const NOT_OF_TEAMS: Refusal =
    Refusal::new(405, "MethodNotAllowed").saying("the channel does not support the operation");

/// The content of an uploaded attachment.
#[derive(Debug)]
struct Attachment {
    name: String,
    content_type: String,
    original: Bytes,
    thumbnail: Bytes,
}

/// The uploaded attachments, by number.
#[derive(Debug, Default)]
pub(super) struct Attachments(Vec<Attachment>);

/// An answer that the model has not.
#[derive(Debug)]
pub(super) enum Extra {
    /// An answer in JSON.
    Answer(Response),
    /// The bytes of an attachment, and their content type.
    Content(String, Bytes),
}

impl From<Refusal> for Extra {
    fn from(refusal: Refusal) -> Extra {
        Extra::Answer(refusal.into())
    }
}

/// Answers a request that is not the model's; `None` for the model's own.
pub(super) fn answer(
    attachments: &mut Attachments,
    teams: &Teams,
    (method, target, body): (&str, &str, &Value),
) -> Option<Extra> {
    let (segments, _) = split_target(target);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let answer = match (method, segments.as_slice()) {
        ("GET", ["v3", "conversations"])
        | ("DELETE", ["v3", "conversations", _, "members", _])
        | ("POST", ["v3", "conversations", _, "activities", "history"]) => NOT_OF_TEAMS.into(),
        ("PUT" | "DELETE", ["v3", "conversations", id, "activities", message, "reactions", _]) => {
            match react(teams, id, message) {
                Ok(()) => Extra::Answer(Response::empty(200)),
                Err(refusal) => refusal.into(),
            }
        }
        ("POST", ["v3", "conversations", id, "attachments"]) => match teams.place_index(id) {
            Some(_) => attachments.upload(body),
            None => NO_CONVERSATION.into(),
        },
        ("GET", ["v3", "attachments", id]) => attachments.info(id),
        ("GET", ["v3", "attachments", id, "views", view]) => attachments.view(id, view),
        (_, ["v1", "meetings", ..]) => NO_MEETING.into(),
        _ => return None,
    };
    Some(answer)
}

/// The request for a batch of users in place of one for a whole tenant, a team or channels; `None` for all others.
pub(super) fn as_batch_of_users(
    teams: &Teams,
    method: &str,
    target: &str,
    body: &Value,
) -> Option<(&'static str, Value)> {
    let (segments, _) = split_target(target);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["v3", "batch", "conversation", kind] = segments.as_slice() else {
        return None;
    };
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let members: Vec<&str> = match (method, *kind) {
        ("POST", "tenant") => {
            let is_meant = |place: &&crate::teams::Place| {
                place.kind == Kind::Person
                    && place.installed
                    && teams.tenants[place.tenant].id == text("tenantId")
            };
            let meant = teams.places.iter().filter(is_meant);
            meant.map(|place| place.account.as_str()).collect()
        }
        ("POST", "team") => {
            let team = teams
                .place_index(text("teamId"))
                .and_then(|place| teams.team(place));
            let present = team?.members.iter().filter(|member| member.quit.is_none());
            present
                .map(|member| teams.places[member.place].account.as_str())
                .collect()
        }
        ("POST", "channels") => return Some(("/v3/batch/conversation/users", body.clone())),
        _ => return None,
    };
    let members: Vec<Value> = members.into_iter().map(|id| json!({ "id": id })).collect();
    let mut body = body.clone();
    body["members"] = members.into();
    Some(("/v3/batch/conversation/users", body))
}

fn react(teams: &Teams, conversation: &str, message: &str) -> Result<(), Refusal> {
    let place = teams.place_index(conversation).ok_or(NO_CONVERSATION)?;
    if teams.has_activity(place, message) {
        Ok(())
    } else {
        Err(NO_ACTIVITY)
    }
}

impl Attachments {
    fn upload(&mut self, body: &Value) -> Extra {
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let bytes = |name: &str| {
            let decoded = BASE64_STANDARD.decode(text(name).unwrap_or_default());
            decoded.map(Bytes::from)
        };
        let (Some(content_type), Ok(original), Ok(thumbnail)) =
            (text("type"), bytes("originalBase64"), bytes("thumbnailBase64"))
        else {
            return BAD_SYNTAX.into();
        };
        self.0.push(Attachment {
            name: text("name").unwrap_or_default().to_owned(),
            content_type: content_type.to_owned(),
            original,
            thumbnail,
        });
        let id = self.0.len().to_string();
        Extra::Answer(Response::new(201, json!({ "id": id })))
    }

    fn get(&self, id: &str) -> Option<&Attachment> {
        self.0.get(id.parse::<usize>().ok()?.checked_sub(1)?)
    }

    fn info(&self, id: &str) -> Extra {
        let Some(attachment) = self.get(id) else {
            return NO_ATTACHMENT.into();
        };
        let views = [
            ("original", &attachment.original),
            ("thumbnail", &attachment.thumbnail),
        ];
        let views = views.into_iter().filter(|(_, bytes)| !bytes.is_empty());
        let views: Vec<Value> = views
            .map(|(name, bytes)| json!({ "viewId": name, "size": bytes.len() }))
            .collect();
        let info = json!({ "name": attachment.name, "type": attachment.content_type, "views": views });
        Extra::Answer(Response::new(200, info))
    }

    fn view(&self, id: &str, view: &str) -> Extra {
        let content = self.get(id).and_then(|attachment| {
            let bytes = match view {
                "original" => &attachment.original,
                "thumbnail" => &attachment.thumbnail,
                _ => return None,
            };
            Some((attachment, bytes))
        });
        match content.filter(|(_, bytes)| !bytes.is_empty()) {
            Some((attachment, bytes)) => Extra::Content(attachment.content_type.clone(), bytes.clone()),
            None => NO_ATTACHMENT.into(),
        }
    }
}
