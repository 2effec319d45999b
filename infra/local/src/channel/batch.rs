//! The batch API: one message for many people, each in their own chat with the bot. Here it is sent at once.

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Posting, Room,
    connector::{Answer, Refusal},
    conversation::Conversation,
};

/// What became of a message for many.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    reached: usize,
    /// Those whom nobody here knows.
    failed: Vec<String>,
}

pub(super) fn router() -> Router<Room> {
    Router::new()
        .route("/v3/batch/conversation/users", post(begin))
        .route("/v3/batch/conversation/{operation}", get(progress).delete(cancel))
        .route(
            "/v3/batch/conversation/failedentries/{operation}",
            get(failed_entries),
        )
}

async fn begin(State(room): State<Room>, Json(batch): Json<Value>) -> Answer {
    let activity = batch.get("activity").cloned().ok_or(Refusal::BadSyntax)?;
    let members = batch.get("members").and_then(Value::as_array);
    let ids = members.ok_or(Refusal::BadSyntax)?.iter();
    let ids = ids.filter_map(|member| member.get("id")?.as_str());
    let mut operation = Operation {
        reached: 0,
        failed: Vec::new(),
    };
    for id in ids {
        let Some(person) = room.person(id) else {
            operation.failed.push(id.to_owned());
            continue;
        };
        let chat = Conversation::personal(&person);
        room.add(&chat);
        room.post(&chat.id, activity.clone(), Posting::New);
        operation.reached += 1;
    }
    Ok((StatusCode::CREATED, Json(room.begin(operation).into())))
}

async fn progress(State(room): State<Room>, Path(id): Path<String>) -> Answer {
    let Operation { reached, failed } = room.operation(&id).ok_or(Refusal::NoOperation)?;
    let answer = json!({
        "state": "Completed",
        "statusMap": { "201": reached, "404": failed.len() },
        "totalEntriesCount": reached + failed.len(),
    });
    Ok((StatusCode::OK, Json(answer)))
}

/// All of them on one page: no list here is longer.
async fn failed_entries(State(room): State<Room>, Path(id): Path<String>) -> Answer {
    let Operation { failed, .. } = room.operation(&id).ok_or(Refusal::NoOperation)?;
    let entry = |id: &String| json!({ "entryId": id, "error": "404: MemberNotFoundInConversation" });
    let entries: Vec<Value> = failed.iter().map(entry).collect();
    Ok((StatusCode::OK, Json(json!({ "failedEntryResponses": entries }))))
}

/// It is over before anybody can ask for its end.
async fn cancel(State(room): State<Room>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    room.operation(&id).ok_or(Refusal::NoOperation)?;
    Ok(StatusCode::OK)
}

impl Room {
    /// Notes an operation and returns its id.
    fn begin(&self, operation: Operation) -> String {
        let mut state = self.lock();
        state.operations.push(operation);
        format!("local-{}", state.operations.len())
    }

    fn operation(&self, id: &str) -> Option<Operation> {
        let number: usize = id.strip_prefix("local-")?.parse().ok()?;
        self.lock().operations.get(number.checked_sub(1)?).cloned()
    }
}
