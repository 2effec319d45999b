//! `/api/conversations`: list, show, tag and erase conversations.

use herald::backend::Backend;
use herald::conversation::{
    self, Attributes, Conversation, ConversationKey, ConversationName, State, TAG_BYTES_MAX, TAGS_MAX,
};
use herald::id::normalize_guid;
use herald::store::{ConversationFilter, ConversationSummary, Conversations, Error};
use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::Context;
use crate::request::{CursorScope, Query, not_a_cursor};
use crate::response::{ApiError, json, no_content};
use herald::audit::AuditAction;

/// A conversation in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    conversation: ConversationKey,
    scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    /// The Entra object id of the person in a personal conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// The channel's id of the same person.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    state: &'static str,
    /// The channel's error code, of a blocked conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    since: Timestamp,
}

impl Summary {
    fn new(conversation: ConversationKey, attributes: Attributes, state: State, since: Timestamp) -> Self {
        let (state, code) = match state {
            State::Active => ("active", None),
            State::Blocked { code } => ("blocked", Some(code)),
            State::Removed => ("removed", None),
        };
        Self {
            conversation,
            scope: attributes.scope.as_str(),
            tenant: attributes.tenant,
            user: attributes.user.map(|user| user.as_str().to_owned()),
            account: attributes.account.map(|account| account.as_str().to_owned()),
            team: attributes.team,
            tags: attributes.tags,
            state,
            code,
            since,
        }
    }
}

impl From<ConversationSummary> for Summary {
    fn from(found: ConversationSummary) -> Self {
        Self::new(found.key, found.attributes, found.state, found.changed_at)
    }
}

/// One conversation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConversationDetail {
    #[serde(flatten)]
    summary: Summary,
    /// Newest first.
    service_urls: Vec<String>,
    remembered_at: Timestamp,
}

impl From<Conversation> for ConversationDetail {
    fn from(found: Conversation) -> Self {
        Self {
            summary: Summary::new(found.key, found.attributes, found.state, found.changed_at),
            service_urls: found.service_urls,
            remembered_at: found.remembered_at,
        }
    }
}

/// A page of the list.
#[derive(Debug, Serialize)]
struct Listed {
    conversations: Vec<Summary>,
    /// The cursor of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The tags of one conversation, after a change.
#[derive(Debug, Serialize)]
struct Tags {
    conversation: ConversationKey,
    tags: Vec<String>,
}

/// The query parameters that conversations are listed by.
pub(crate) const LISTED_BY: [&str; 5] = ["state", "tenant", "user", "team", "tag"];

impl<B: Backend> Context<B> {
    /// `GET /api/conversations`
    pub(crate) async fn conversations(&self, query: &Query) -> Result<Response<Body>, ApiError> {
        let filter = filter(query)?;
        let list = CursorScope::new("conversations", &[&format!("{filter:?}")]);
        let (cursor, limit) = (query.cursor(&list)?, query.limit()?);
        let listing = self.conversations.list(&filter, cursor.as_deref(), limit).await;
        let listing = listing.map_err(list_error)?;
        let listed = Listed {
            conversations: listing.items.into_iter().map(Summary::from).collect(),
            next: listing.cursor.map(|cursor| list.cursor(&cursor)),
        };
        Ok(json(StatusCode::OK, &listed))
    }

    /// `GET /api/conversations/{key}`
    pub(crate) async fn conversation(&self, key: &str) -> Result<Response<Body>, ApiError> {
        let found = self
            .conversations
            .get_many(&[self.conversation_named(key).await?])
            .await?
            .pop();
        let found = found.ok_or_else(not_found)?;
        Ok(json(StatusCode::OK, &ConversationDetail::from(found)))
    }

    /// The key of the conversation with this name.
    pub(crate) async fn conversation_named(&self, text: &str) -> Result<ConversationKey, ApiError> {
        let name = ConversationName::from(text);
        if let Some(key) = name.key() {
            return Ok(key);
        }
        // Two bars make a key, which this is not: conversation ids have at most one.
        if !conversation::is_id(name.as_str()) || text.matches('|').count() > 1 {
            return Err(not_a_name());
        }
        let filter = ConversationFilter::Conversation(name.id());
        let found = self.conversations.list(&filter, None, 2).await?.items;
        let mut keys = found.into_iter().map(|found| found.key);
        match (keys.next(), keys.next()) {
            (None, _) => Err(not_found()),
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(ApiError::conflict(
                "Conversations of several bots or channels have this id. Name one by its key, as lists print it.",
            )),
        }
    }

    /// `DELETE /api/conversations/{key}`
    pub(crate) async fn erase_conversation(
        &self,
        key: &str,
        caller: &str,
    ) -> Result<Response<Body>, ApiError> {
        let key = self.conversation_named(key).await?;
        if self.conversations.erase(&key).await? {
            AuditAction::EraseConversation.of_conversations(caller, 1);
            Ok(no_content())
        } else {
            Err(not_found())
        }
    }

    /// `PUT /api/conversations/{key}/tags/{tag}`
    pub(crate) async fn tag(&self, key: &str, tag: &str, caller: &str) -> Result<Response<Body>, ApiError> {
        let tag = tag_name(tag)?;
        let conversation = self.conversation_named(key).await?;
        let now = self.clock.now();
        let add = std::slice::from_ref(&tag);
        let tags = self.conversations.tag(&conversation, add, &[], now).await?;
        let tags = tags.ok_or_else(not_found)?;
        if !tags.contains(&tag) {
            let detail =
                format!("The conversation carries {TAGS_MAX} tags already: take it from under one first.");
            return Err(ApiError::conflict(detail));
        }
        AuditAction::Tag.of_conversations(caller, 1);
        Ok(json(StatusCode::OK, &Tags { conversation, tags }))
    }

    /// `DELETE /api/conversations/{key}/tags/{tag}`
    pub(crate) async fn untag(&self, key: &str, tag: &str, caller: &str) -> Result<Response<Body>, ApiError> {
        let tag = tag_name(tag)?;
        let conversation = self.conversation_named(key).await?;
        let now = self.clock.now();
        let tags = self.conversations.tag(&conversation, &[], &[tag], now).await?;
        let tags = tags.ok_or_else(not_found)?;
        AuditAction::Untag.of_conversations(caller, 1);
        Ok(json(StatusCode::OK, &Tags { conversation, tags }))
    }
}

pub(crate) fn list_error(error: Error) -> ApiError {
    match error {
        // The cursor is the only input that a caller can have made up.
        Error::Corrupt { what, .. } if what == "cursor" => not_a_cursor(),
        Error::Refused { .. } => not_a_cursor(),
        Error::Corrupt { .. } | Error::Unavailable { .. } => error.into(),
    }
}

/// The filter in a query.
fn filter(query: &Query) -> Result<ConversationFilter, ApiError> {
    let mut given = LISTED_BY
        .into_iter()
        .filter_map(|name| query.get(name).map(|value| (name, value)));
    match (given.next(), given.next()) {
        (Some((name, value)), None) => filter_by(name, value),
        (None | Some(_), _) => {
            let names = LISTED_BY.join("`, `");
            let detail = format!("Conversations are listed by exactly one of `{names}`.");
            Err(ApiError::bad_request(detail))
        }
    }
}

/// The filter that one of [`LISTED_BY`] names.
pub(crate) fn filter_by(name: &str, value: &str) -> Result<ConversationFilter, ApiError> {
    let text = || {
        let is_id = conversation::is_id(value);
        let bad = || ApiError::bad_request(format!("`{name}` must be an id."));
        is_id.then(|| value.to_owned()).ok_or_else(bad)
    };
    match name {
        "tenant" => text().map(|id| ConversationFilter::Tenant(normalize_guid(&id))),
        "user" => text().map(|id| ConversationFilter::User(normalize_guid(&id).into())),
        "team" => text().map(|id| {
            let id = ConversationName::from(id).id();
            ConversationFilter::Team(id.as_str().to_owned())
        }),
        "tag" => tag_name(value).map(ConversationFilter::Tag),
        _ => match value {
            "blocked" => Ok(ConversationFilter::Blocked),
            "removed" => Ok(ConversationFilter::Removed),
            _ => {
                let detail = "`state` must be `blocked` (the channel refuses the bot there) or `removed` (the bot was uninstalled or taken out).";
                Err(ApiError::bad_request(detail))
            }
        },
    }
}

fn tag_name(text: &str) -> Result<String, ApiError> {
    conversation::normalize_tag(text).ok_or_else(not_a_tag)
}

fn not_a_name() -> ApiError {
    ApiError::bad_request(
        "A conversation is named by its key, as lists print it (channel, bot and conversation with `|` between), or by its id; percent-encoded.",
    )
}

fn not_a_tag() -> ApiError {
    ApiError::bad_request(format!(
        "A tag has 1 to {TAG_BYTES_MAX} bytes, and no control characters."
    ))
}

pub(crate) fn not_found() -> ApiError {
    ApiError::not_found("No such conversation is remembered.")
}
