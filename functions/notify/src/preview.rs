//! `POST /api/notifications/preview`: what a recipient would get of a request. Nothing is sent or stored.

use botframework::activity::Activity;
use botframework::lossless::LosslessJson;
use herald::acceptance::Viewer;
use herald::backend::Backend;
use herald::conversation::{ConversationKey, is_id};
use herald::id::normalize_guid;
use herald::notification::size::TEAMS_BYTES_MAX;
use herald::problem::{Fault, Problem};
use herald::warning::Warning;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use serde_json::Value;

use crate::plan::Size;
use crate::request::document;
use crate::response::{ApiError, json};
use crate::{Context, caller};

/// The answer.
#[derive(Debug, Serialize)]
struct ShownPreview {
    /// The conversation whose recipient the message is for; absent if none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation: Option<ConversationKey>,
    /// The message as it would be sent.
    message: Activity,
    size: Size,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

impl<B: Backend> Context<B> {
    /// `POST /api/notifications/preview`
    pub(crate) async fn preview(&self, request: &Request) -> Result<Response<Body>, ApiError> {
        let mut document = document(request)?;
        let viewer = take_viewer(&mut document).map_err(Problem::invalid)?;
        let caller = caller::of(request);
        let preview = self.acceptor().preview(&document, &caller, viewer).await?;
        let shown = ShownPreview {
            conversation: preview.conversation,
            message: preview.message,
            size: Size::of(preview.bytes, TEAMS_BYTES_MAX),
            warnings: preview.warnings,
        };
        Ok(json(StatusCode::OK, &shown))
    }
}

/// Takes the recipient of the preview out of a request.
fn take_viewer(document: &mut LosslessJson) -> Result<Option<Viewer>, Vec<Fault>> {
    let members = document.value.as_object_mut();
    let Some(recipient) = members.and_then(|members| members.remove("recipient")) else {
        return Ok(None);
    };
    let refused = || {
        let detail = "must be an object with the id of a `conversation`, a `user` or an `account`";
        vec![Fault::new("#/recipient", detail)]
    };
    let mut named = recipient.as_object().into_iter().flatten();
    match (named.next(), named.next()) {
        (Some((kind, Value::String(id))), None) if is_id(id) => {
            let id = normalize_guid(id);
            match kind.as_str() {
                "conversation" => Ok(Some(Viewer::Conversation(id.into()))),
                "user" => Ok(Some(Viewer::User(id))),
                "account" => Ok(Some(Viewer::Account(id))),
                _ => Err(refused()),
            }
        }
        _ => Err(refused()),
    }
}
