//! The Connector's endpoints, as far as a bot that talks and notifies uses them.

use axum::{
    Json, Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Posting, Room, batch,
    conversation::{Conversation, Person, Scope},
};

/// Where the endpoints lie under the channel's address: a service URL has a path of its own more often than not.
pub(super) const BASE: &str = "/connector";

pub(super) fn router(room: Room) -> Router {
    let connector = Router::new()
        .route("/v3/conversations", post(create))
        .route("/v3/conversations/{conversation}/activities", post(send))
        .route(
            "/v3/conversations/{conversation}/activities/{activity}",
            put(update).post(reply).delete(delete),
        )
        .route("/v3/conversations/{conversation}/members", get(members))
        .route(
            "/v3/conversations/{conversation}/pagedmembers",
            get(paged_members),
        )
        .route("/v3/conversations/{conversation}/members/{member}", get(member))
        .route("/v3/teams/{team}", get(team))
        .route("/v3/teams/{team}/conversations", get(team_conversations))
        .merge(batch::router())
        .with_state(room);
    Router::new().nest(BASE, connector)
}

/// An error in the form that the Connector gives it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    BadSyntax,
    NoConversation,
    NoMember,
    NoTeam,
    NoActivity,
    NoOperation,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Refusal::BadSyntax => (
                StatusCode::BAD_REQUEST,
                "BadSyntax",
                "Incorrect conversation creation parameters",
            ),
            Refusal::NoConversation => (
                StatusCode::NOT_FOUND,
                "ConversationNotFound",
                "Conversation not found.",
            ),
            Refusal::NoMember => (
                StatusCode::NOT_FOUND,
                "MemberNotFoundInConversation",
                "Member not found.",
            ),
            Refusal::NoTeam => (StatusCode::NOT_FOUND, "TeamNotFound", "Team not found."),
            Refusal::NoActivity => (
                StatusCode::NOT_FOUND,
                "ActivityNotFoundInConversation",
                "Activity not found.",
            ),
            Refusal::NoOperation => (StatusCode::NOT_FOUND, "NotFound", "Operation not found."),
        };
        (
            status,
            Json(json!({ "error": { "code": code, "message": message } })),
        )
            .into_response()
    }
}

pub(super) type Answer = Result<(StatusCode, Json<Value>), Refusal>;

fn resource(status: StatusCode, id: &str) -> (StatusCode, Json<Value>) {
    (status, Json(json!({ "id": id })))
}

/// A chat with one person, always the same for the same person; or a new thread, which is its first message.
async fn create(State(room): State<Room>, Json(parameters): Json<Value>) -> Answer {
    if let Some(channel) = parameters
        .pointer("/channelData/channel/id")
        .and_then(Value::as_str)
    {
        let activity = parameters.get("activity").cloned().ok_or(Refusal::BadSyntax)?;
        room.conversation(channel).ok_or(Refusal::NoConversation)?;
        let id = room.post(channel, activity, Posting::New);
        let thread = format!("{channel};messageid={id}");
        return Ok((
            StatusCode::CREATED,
            Json(json!({ "id": thread, "activityId": id })),
        ));
    }
    let members = parameters
        .get("members")
        .and_then(Value::as_array)
        .map(Vec::as_slice);
    let Some([member]) = members else {
        return Err(Refusal::BadSyntax);
    };
    let id = member
        .get("id")
        .and_then(Value::as_str)
        .ok_or(Refusal::BadSyntax)?;
    let person = room.person(id).ok_or(Refusal::NoMember)?;
    let conversation = Conversation::personal(&person);
    room.add(&conversation);
    if let Some(activity) = parameters.get("activity").filter(|activity| !activity.is_null()) {
        room.post(&conversation.id, activity.clone(), Posting::New);
    }
    Ok(resource(StatusCode::CREATED, &conversation.id))
}

async fn send(
    State(room): State<Room>,
    Path(conversation): Path<String>,
    Json(activity): Json<Value>,
) -> Answer {
    room.conversation(&conversation).ok_or(Refusal::NoConversation)?;
    Ok(resource(
        StatusCode::CREATED,
        &room.post(&conversation, activity, Posting::New),
    ))
}

async fn reply(
    State(room): State<Room>,
    Path((conversation, _)): Path<(String, String)>,
    Json(activity): Json<Value>,
) -> Answer {
    send(State(room), Path(conversation), Json(activity)).await
}

async fn update(
    State(room): State<Room>,
    Path((conversation, id)): Path<(String, String)>,
    Json(activity): Json<Value>,
) -> Answer {
    room.conversation(&conversation).ok_or(Refusal::NoConversation)?;
    if !room.has_activity(&conversation, &id) {
        return Err(Refusal::NoActivity);
    }
    room.post(&conversation, activity, Posting::Update(id.clone()));
    Ok(resource(StatusCode::OK, &id))
}

async fn delete(
    State(room): State<Room>,
    Path((conversation, id)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    room.conversation(&conversation).ok_or(Refusal::NoConversation)?;
    if !room.has_activity(&conversation, &id) {
        return Err(Refusal::NoActivity);
    }
    room.post(&conversation, Value::Null, Posting::Delete(id));
    Ok(StatusCode::OK)
}

async fn members(State(room): State<Room>, Path(conversation): Path<String>) -> Answer {
    let conversation = room.conversation(&conversation).ok_or(Refusal::NoConversation)?;
    let members: Vec<Value> = conversation.members.iter().map(Person::member).collect();
    Ok((StatusCode::OK, Json(members.into())))
}

/// All of them on one page: nothing here is as large as a page of the real thing.
async fn paged_members(State(room): State<Room>, Path(conversation): Path<String>) -> Answer {
    let (status, Json(members)) = members(State(room), Path(conversation)).await?;
    Ok((status, Json(json!({ "members": members }))))
}

async fn member(State(room): State<Room>, Path((conversation, member)): Path<(String, String)>) -> Answer {
    let conversation = room.conversation(&conversation).ok_or(Refusal::NoConversation)?;
    let mut members = conversation.members.iter();
    let person = members.find(|person| person.id == member || person.entra_object_id == member);
    Ok((StatusCode::OK, Json(person.ok_or(Refusal::NoMember)?.member())))
}

async fn team(State(room): State<Room>, Path(team): Path<String>) -> Answer {
    let channels = room.channels_of(&team);
    if channels.is_empty() {
        return Err(Refusal::NoTeam);
    }
    Ok((
        StatusCode::OK,
        Json(json!({ "id": team, "name": "team", "channelCount": channels.len() })),
    ))
}

async fn team_conversations(State(room): State<Room>, Path(team): Path<String>) -> Answer {
    let channels = room.channels_of(&team);
    if channels.is_empty() {
        return Err(Refusal::NoTeam);
    }
    // The General channel has the team's own id, and no name.
    let shown = |conversation: &Conversation| {
        let name = (conversation.id != team).then_some(conversation.id.as_str());
        json!({ "id": conversation.id, "name": name })
    };
    let conversations: Vec<Value> = channels.iter().map(shown).collect();
    Ok((StatusCode::OK, Json(json!({ "conversations": conversations }))))
}

impl Room {
    fn channels_of(&self, team: &str) -> Vec<Conversation> {
        let of_team = |conversation: &Conversation| matches!(&conversation.scope, Scope::Channel { team: own } if own == team);
        self.conversations().into_iter().filter(of_team).collect()
    }
}
